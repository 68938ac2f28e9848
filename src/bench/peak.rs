//! The arithmetic peak of the CPU: multiply-adds in registers on all threads.

use std::hint::black_box;
use std::time::Instant;

use crate::parallel::{tasks, threads, with_simd};

/// Independent sums of a thread: 8 vectors of 16 lanes hide the latency of a multiply-add, and fit into the registers.
const SUMS: usize = 8 * 16;

/// FLOP per second of multiply-adds in f32 on all threads: the best of many rounds of less than a millisecond, because
/// whatever else runs only slows them down.
pub(super) fn multiply_add_rate() -> f64 {
    const ROUNDS: usize = 50;
    const TIMES: usize = 1 << 17;
    let seconds = |_| {
        let start = Instant::now();
        tasks(threads(), |_| with_simd(multiply_adds::<TIMES>));
        start.elapsed().as_secs_f64()
    };
    let best = (0..ROUNDS).map(seconds).fold(f64::INFINITY, f64::min);
    (2 * SUMS * TIMES * threads()) as f64 / best
}

#[inline(always)]
fn multiply_adds<const TIMES: usize>() {
    let (scale, shift) = (black_box(0.5f32), black_box(1.0f32));
    let mut sums = [0f32; SUMS];
    for _ in 0..TIMES {
        for sum in &mut sums {
            *sum = sum.mul_add(scale, shift);
        }
    }
    black_box(sums);
}
