//! The matrix products of `langevin bench` in the crate `gemm`, on as many of its own threads as there are cores.

#[path = "../../common.rs"]
#[allow(dead_code)] // the other peers' tables
mod common;

use common::{Job, Kind, Peer};
use gemm::Parallelism;

const NAMES: [&str; 3] = ["gemm-512", "gemm-1024", "gemm-2048"];

fn main() {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|a| a == "--workload") {
        arguments.extend(NAMES.into_iter().flat_map(|name| ["--workload".into(), name.into()]));
    }
    let job = |kind| match kind {
        Kind::Gemm { n } => products(n),
        _ => panic!("this library has only {NAMES:?}"),
    };
    Peer { library: "gemm 0.19", backend: "cpu", job: Box::new(job) }.run(&arguments);
}

/// C = A B, then D = C B, of [n, n]; B is scaled so that the magnitudes stay constant.
fn products(n: usize) -> Job {
    let scale = (12.0 / n as f32).sqrt();
    let mut state = 1u32;
    let mut values = move || -> Vec<f32> {
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32 - 0.5
        };
        (0..n * n).map(|_| next()).collect()
    };
    let (a, mut b) = (values(), values());
    b.iter_mut().for_each(|v| *v *= scale);
    let (mut c, mut d) = (vec![0f32; n * n], vec![0f32; n * n]);
    Box::new(move |count, _| {
        for _ in 0..count {
            multiply(&mut c, &a, &b, n);
            multiply(&mut d, &c, &b, n);
        }
        std::hint::black_box(&d);
    })
}

/// out = left right, all row by row.
fn multiply(out: &mut [f32], left: &[f32], right: &[f32], n: usize) {
    assert!([out.len(), left.len(), right.len()] == [n * n; 3]);
    let row = n as isize;
    let (out, left, right) = (out.as_mut_ptr(), left.as_ptr(), right.as_ptr());
    // SAFETY: the three matrices have n x n elements and do not overlap.
    unsafe {
        let threads = Parallelism::Rayon(0);
        gemm::gemm(n, n, n, out, 1, row, false, left, 1, row, right, 1, row, 0.0, 1.0, false, false, false, threads);
    }
}
