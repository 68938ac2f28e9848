//! One dispatch of each op of the catalog, at the sizes common in training, on the CPU executor and on a GPU.
//!
//! `cargo bench --bench kernels` (`-- cpu/dense` for a part). Matrix products report FLOPs, all other ops the minimum
//! number of bytes moved. On a GPU a row includes submission and wait: 0.1 to 0.3 ms on llvmpipe.

mod control;

use control::{control, devices, group, step};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use langevin::ops::timed_cases;

/// FLOPs per byte above which a row reports FLOPs.
const INTENSE: u64 = 16;

fn kernels(c: &mut Criterion) {
    control(c, "start");
    for (label, device) in devices() {
        let mut group = group(c, label);
        let cases = timed_cases().into_iter().flat_map(|(name, cases)| cases.into_iter().map(move |case| (name, case)));
        for (name, case) in cases {
            let mut run = case.compile(&device).expect("it compiles");
            let of = run.costs()[0].clone();
            let products = of.cost.flops > INTENSE * of.cost.bytes;
            group.throughput(match products {
                true => Throughput::Elements(of.cost.flops),
                false => Throughput::Bytes(of.cost.bytes),
            });
            group.bench_function(format!("{name}/{} {}", of.op, of.shapes), |b| b.iter(|| step(&mut run)));
        }
    }
    control(c, "end");
}

criterion_group!(benches, kernels);
criterion_main!(benches);
