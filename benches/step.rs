//! Kernels of the catalog and whole training steps, on the CPU executor and on a GPU where there is one.
//!
//! `cargo bench` (`cargo bench -- 'llvmpipe/step'` for a part). Numbers are quoted in RESULTS.md with adapter, driver
//! and commit.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use langevin::data::{Dataset, sine_waves};
use langevin::train::{Config, Trainer};
use langevin::{Device, Graph, ops};

fn devices() -> Vec<(&'static str, Device)> {
    let gpu = Device::gpu().map(|d| ("gpu", d)).ok();
    std::iter::once(("cpu", Device::cpu())).chain(gpu).collect()
}

/// Training steps of the chapter's model and of the default model; adding two large tensors is the control, where the
/// cost of the host must not matter.
fn steps(c: &mut Criterion) {
    let data = Dataset::new("sine", [100], sine_waves(8_192, 100, 0)).expect("sine waves are a data set");
    for (label, device) in devices() {
        let mut group = c.benchmark_group(format!("{label}/step"));
        group.sample_size(10);
        for (model, batch) in [("chapter", 32), ("chapter", 256), ("mlp", 256)] {
            let config = Config { batch, ..Config::for_model(model).expect("a listed name") };
            let mut trainer = Trainer::new(&device, &config, &data).expect("the model compiles");
            group.throughput(Throughput::Elements(1));
            group.bench_function(BenchmarkId::new(model, batch), |b| b.iter(|| trainer.advance(1).expect("a step")));
        }
        let mut g = Graph::new();
        let a = g.state("a", [4 << 20]).expect("a state");
        let b = g.state("b", [4 << 20]).expect("a state");
        let y = g.apply(ops::Add, &[a, b]).expect("equal shapes")[0];
        g.keep(y);
        let mut run = device.compile(&g).expect("it compiles");
        group.throughput(Throughput::Bytes((3 * 16) << 20));
        group.bench_function("control: add 4 Mi", |b| {
            b.iter(|| {
                run.steps(1).expect("a step");
                run.finish().expect("a step");
            });
        });
    }
}

criterion_group!(benches, steps);
criterion_main!(benches);
