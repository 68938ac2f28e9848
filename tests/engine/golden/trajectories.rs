//! The sampler tables on the host, step by step along the golden trajectories: in f64, and in f32 with multiply-adds
//! fused or not, which is what kernels do.

use langevin::diffusion::SamplerTable;

use super::cases::samplers::{Model, inputs, table_of};
use super::manifest::{Case, Golden};
use crate::common::{Test, always, named};

pub fn tests() -> Vec<Test> {
    always(named![host_trajectories_keep_a_margin_to_the_golden_tolerance])
}

/// All states when `step(k, [x, h], m, z)` gives the next element of row k and of its history.
fn walk(inputs: &Case, table: &SamplerTable, step: impl Fn(usize, [f64; 2], f64, f64) -> [f64; 2]) -> Vec<f64> {
    let (model, noise, x) = (Model::new(inputs).unwrap(), inputs.f64s("noise"), inputs.f64s("x_init"));
    let mut states = x.clone();
    let mut now: Vec<[f64; 2]> = x.iter().map(|x| [*x, 0.0]).collect();
    for (k, row) in table.rows.iter().enumerate() {
        let z = &noise[k * x.len()..];
        now.iter_mut().zip(z).for_each(|(now, z)| *now = step(k, *now, model.output(now[0], row.t), *z));
        states.extend(now.iter().map(|[x, _]| x));
    }
    states
}

fn states_f64(inputs: &Case, table: &SamplerTable) -> Vec<f64> {
    walk(inputs, table, |k, [x, h], m, z| {
        let (mut x, mut h) = ([x], [h]);
        table.step_f64(k, &mut x, &mut h, &[m], &[z]);
        [x[0], h[0]]
    })
}

fn states_f32(inputs: &Case, table: &SamplerTable, fused: bool) -> Vec<f64> {
    let rows = table.rows_f32();
    let mul_add = |a: f32, b: f32, c: f32| if fused { a.mul_add(b, c) } else { a * b + c };
    walk(inputs, table, |k, [x, h], m, z| {
        let [_, c_x, c_m, bound, n_x0, n_x, n_m, n_h, k_z, h_x0, h_x, h_m, h_h] = rows[k];
        let [x, h, m, z] = [x, h, m, z].map(|v| v as f32);
        let x0 = mul_add(c_m, m, c_x * x).clamp(-bound, bound);
        let mix = |[k_x0, k_x, k_m, k_h]: [f32; 4]| mul_add(k_h, h, mul_add(k_m, m, mul_add(k_x, x, k_x0 * x0)));
        [mul_add(k_z, z, mix([n_x0, n_x, n_m, n_h])), mix([h_x0, h_x, h_m, h_h])].map(f64::from)
    })
}

/// A quarter of the tolerance in f32, so that an adapter has room for another order of operations.
fn host_trajectories_keep_a_margin_to_the_golden_tolerance() {
    let golden = Golden::open();
    let mut walked = 0;
    for case in golden.cases("samplers") {
        let Ok(table) = table_of(case) else { continue };
        let inputs = inputs(&golden, case).unwrap();
        let part = |states: Vec<f64>| case.measure("x", &states).unwrap();
        assert!(part(states_f64(inputs, &table)) <= 1.0);
        for fused in [false, true] {
            let part = part(states_f32(inputs, &table, fused));
            assert!(part < 0.25, "{case}: {part:.3} of the tolerance");
        }
        walked += 1;
    }
    assert!(walked >= 60, "only {walked} trajectories");
}
