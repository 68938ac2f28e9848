//! Shared by both benchmarks: the devices, the settings, and control rows that do not depend on this crate.

use std::hint::black_box;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode, Throughput};
use langevin::{Device, Run};

/// The CPU executor, and a GPU if there is one.
pub fn devices() -> Vec<(&'static str, Device)> {
    let gpu = Device::gpu().map(|d| ("gpu", d)).ok();
    std::iter::once(("cpu", Device::cpu())).chain(gpu).collect()
}

/// Ten samples in about a second, so that everything together takes a few minutes.
pub fn group<'a>(c: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = c.benchmark_group(name);
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    group
}

/// Runs one step to completion.
pub fn step(run: &mut Run) {
    run.steps(1).and_then(|()| run.finish()).expect("the device is there");
}

/// Control rows: a memory copy, and a plain loop on each core. If these differ from the previous run, or between the
/// start and the end, the machine was not idle and the other rows are unreliable.
pub fn control(c: &mut Criterion, when: &str) {
    const N: usize = 4 << 20;
    let (from, mut to) = (vec![1f32; N], vec![0f32; N]);
    let mut group = group(c, "control");
    group.throughput(Throughput::Bytes(8 * N as u64));
    group.bench_function(format!("copy/{when}"), |b| b.iter(|| black_box(&mut to).copy_from_slice(black_box(&from))));
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let mix = |state: u64, _| (state ^ (state << 13)).rotate_left(7).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let spin = || {
        black_box((0..N).fold(black_box(1), mix));
    };
    group.throughput(Throughput::Elements((cores * N) as u64));
    group.bench_function(format!("loop/{when}"), |b| {
        b.iter(|| std::thread::scope(|s| (0..cores).for_each(|_| drop(s.spawn(spin)))));
    });
}
