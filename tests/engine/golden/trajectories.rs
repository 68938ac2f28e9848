//! The sampler tables on the host, step by step along the golden trajectories: in f64, and in f32 with multiply-adds
//! fused or not, which is what kernels do.

use super::cases::samplers::Walk;
use super::manifest::Golden;
use crate::common::{Test, always, named};

pub fn tests() -> Vec<Test> {
    always(named![host_trajectories_keep_a_margin_to_the_golden_tolerance])
}

fn states_f64(walk: &Walk) -> Vec<f64> {
    let n = walk.start.len();
    let (mut h, mut g) = (vec![0.0; n], vec![0.0; n]);
    let states = walk.walk(|k, x, m| {
        let mut x = x.to_vec();
        walk.table.step_f64(k, &mut x, [&mut h, &mut g], m, &walk.noise[k * n..][..n]);
        Ok(x)
    });
    walk.states_of_the_case(&states.unwrap())
}

fn states_f32(walk: &Walk, fused: bool) -> Vec<f64> {
    let (n, rows) = (walk.start.len(), walk.table.rows_f32());
    let mul_add = |a: f32, b: f32, c: f32| if fused { a.mul_add(b, c) } else { a * b + c };
    let mut histories = vec![[0f32; 2]; n];
    let states = walk.walk(|k, x, m| {
        let (row, z) = (&rows[k], &walk.noise[k * n..][..n]);
        let element = |i: usize| {
            let ([h, g], [x, m, z]) = (histories[i], [x[i], m[i], z[i]].map(|v| v as f32));
            let x0 = mul_add(row[1], x, mul_add(row[3], m, row[2] * x)).clamp(-row[4], row[4]);
            let mix =
                |k: &[f32]| mul_add(k[4], g, mul_add(k[3], x0 - h, mul_add(k[2], m, mul_add(k[1], x, k[0] * x0))));
            (mul_add(row[10], z, mix(&row[5..])), [mix(&row[11..]), mix(&row[16..])])
        };
        let next: Vec<(f32, [f32; 2])> = (0..n).map(element).collect();
        histories = next.iter().map(|(_, h)| *h).collect();
        Ok(next.iter().map(|(x, _)| f64::from(*x)).collect())
    });
    walk.states_of_the_case(&states.unwrap())
}

/// A quarter of the tolerance in f32, so that an adapter has room for another order of operations.
fn host_trajectories_keep_a_margin_to_the_golden_tolerance() {
    let golden = Golden::open();
    let mut walked = 0;
    for case in golden.cases("samplers") {
        let Ok(walk) = Walk::new(&golden, case) else { continue };
        let part = |states: Vec<f64>| case.measure("x", &states).unwrap();
        let exact = part(states_f64(&walk));
        assert!(exact <= 1.0, "{case}: {exact:.3} of the tolerance in f64");
        for fused in [false, true] {
            let part = part(states_f32(&walk, fused));
            assert!(part < 0.25, "{case}: {part:.3} of the tolerance");
        }
        walked += 1;
    }
    assert!(walked >= 60, "only {walked} trajectories");
}
