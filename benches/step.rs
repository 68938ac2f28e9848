//! Whole training steps: of the models, and of plain MLPs by depth.
//!
//! `cargo bench --bench step` (`-- gpu/depth` for a part). The difference between two depths is the cost of the layers;
//! a linear fit extrapolated to depth 0 is everything else: batch, noise, encoding, loss. A large addition has its own
//! row, where the cost of the host is negligible.

mod control;

use control::{control, devices, group, step};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use langevin::data::{Dataset, sine_waves};
use langevin::train::{Config, Trainer};
use langevin::{Device, Graph, ops};

fn steps(c: &mut Criterion) {
    control(c, "start");
    let data = Dataset::new("sine", [100], sine_waves(8_192, 100, 0)).expect("sine waves are a data set");
    let trainer = |device: &Device, config: &Config| Trainer::new(device, config, &data).expect("the model compiles");
    for (label, device) in devices() {
        let mut group = group(c, label);
        group.throughput(Throughput::Elements(1));
        for (model, batch) in [("chapter", 32), ("chapter", 256), ("mlp", 256)] {
            let config = Config { batch, ..Config::for_model(model).expect("a listed name") };
            let mut trainer = trainer(&device, &config);
            group.bench_function(format!("step/{model}/{batch}"), |b| b.iter(|| trainer.advance(1).expect("a step")));
        }
        for depth in [1, 2, 4, 8] {
            let config = Config::for_model("mlp").and_then(|c| c.with("model.depth", &depth.to_string()));
            let config = Config { batch: 256, ..config.expect("settings in range") };
            let mut trainer = trainer(&device, &config);
            group.bench_function(format!("depth/{depth}"), |b| b.iter(|| trainer.advance(1).expect("a step")));
        }
        let mut run = addition(&device);
        group.throughput(Throughput::Bytes(run.cost().bytes));
        group.bench_function("add 4 Mi", |b| b.iter(|| step(&mut run)));
    }
    control(c, "end");
}

fn addition(device: &Device) -> langevin::Run {
    let mut g = Graph::new();
    let [a, b] = ["a", "b"].map(|name| g.state(name, [4 << 20]).expect("a state"));
    let y = g.apply1(ops::Add, &[a, b]).expect("equal shapes");
    g.keep(y);
    device.compile(&g).expect("it compiles")
}

criterion_group!(benches, steps);
criterion_main!(benches);
