//! The order of convergence of the solvers: the error against the number of steps, on data whose best prediction is known
//! exactly.
//!
//! `cargo run --release --example convergence`
//!
//! The data are one Gaussian, or two moons of many narrow Gaussians. Both have an exact E\[x0 | x_t\], so the only error is
//! that of the solver. It is measured at the end of the sampling process, against the exact solution of the probability flow
//! ODE for the Gaussian and against 4096 steps of UniPC for the moons.

use std::path::Path;
use std::sync::Arc;

use langevin::data::two_moons;
use langevin::diffusion::{
    Level, Objective, Prediction, Sampler, SamplerOptions, SamplerSettings, SamplerTable, Schedule, Spacing, sampler,
};
use langevin::generate::starting_noise;
use langevin::{Result, plot};

/// Equally likely Gaussians with one standard deviation.
struct Mixture {
    centres: Vec<[f64; 2]>,
    deviation: f64,
}

impl Mixture {
    /// E\[eps | x_t = x\].
    fn epsilon(&self, x: [f64; 2], level: &Level) -> [f64; 2] {
        let Level { a, s, .. } = *level;
        let variance = (a * self.deviation).powi(2) + s * s;
        let square = |c: &[f64; 2]| (x[0] - a * c[0]).powi(2) + (x[1] - a * c[1]).powi(2);
        let nearest = self.centres.iter().map(square).fold(f64::INFINITY, f64::min);
        let (mut sum, mut mean) = (0.0, [0.0; 2]);
        for c in &self.centres {
            let weight = ((nearest - square(c)) / (2.0 * variance)).exp();
            sum += weight;
            (0..2).for_each(|i| mean[i] += weight * (x[i] - a * c[i]));
        }
        mean.map(|v| s / variance * v / sum)
    }

    /// The samples that a solver makes of the noise `x`.
    fn samples(
        &self,
        objective: &Objective,
        solver: &Arc<dyn Sampler>,
        steps: usize,
        noise: &[f64],
    ) -> Result<Vec<f64>> {
        let options = SamplerOptions::shared(solver.clone(), steps).spacing(Spacing::KARRAS);
        let table = SamplerTable::new(objective, &options)?;
        let n = noise.len();
        let (mut x, mut h, mut g) = (noise.to_vec(), vec![0.0; n], vec![0.0; n]);
        for (k, row) in table.rows.iter().enumerate() {
            let m: Vec<f64> = x.chunks(2).flat_map(|x| self.epsilon([x[0], x[1]], &row.level)).collect();
            table.step_f64(k, &mut x, [&mut h, &mut g], &m, &vec![0.0; n]);
        }
        Ok(x)
    }
}

/// The exact end of the probability flow ODE for one Gaussian around 0: the state keeps its quantile, and the last step
/// takes the estimate of x0.
fn exact(gaussian: &Mixture, objective: &Objective, noise: &[f64]) -> Vec<f64> {
    let [last, first] = [0.0, objective.steps() as f64 - 1.0].map(|t| objective.level(t));
    let variance = |level: &Level| (level.a * gaussian.deviation).powi(2) + level.s.powi(2);
    let shrink = (variance(&last) / variance(&first)).sqrt() * last.a * gaussian.deviation.powi(2) / variance(&last);
    noise.iter().map(|x| shrink * x).collect()
}

/// The root mean square difference.
fn difference(a: &[f64], b: &[f64]) -> f64 {
    (a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / a.len() as f64).sqrt()
}

fn main() -> Result<()> {
    let short = std::env::var_os("LANGEVIN_SHORT").is_some();
    let objective = Objective::new(Schedule::linear(1_000, 1e-4, 0.02)?, Prediction::Epsilon);
    let mut noise = vec![0f32; if short { 16 } else { 128 }];
    starting_noise(1, 0, &mut noise);
    let noise: Vec<f64> = noise.into_iter().map(f64::from).collect();
    let by_name = |name| Ok((name, sampler(name, SamplerSettings::default())?));
    let solvers =
        ["ddim", "euler", "heun", "dpmpp_2m", "unipc"].map(by_name).into_iter().collect::<Result<Vec<_>>>()?;
    let gaussian = Mixture { centres: vec![[0.0, 0.0]], deviation: 0.5 };
    let points = two_moons(if short { 64 } else { 256 }, 7);
    let centres = points.chunks(2).map(|p| [(f64::from(p[0]) - 0.5) / 0.87, (f64::from(p[1]) - 0.25) / 0.5]).collect();
    let moons = Mixture { centres, deviation: 0.2 };
    let steps: Vec<usize> = (3..if short { 6 } else { 10 }).map(|i| 1 << i).collect();
    let mut panels = Vec::new();
    for (title, data) in [("Gaussian", &gaussian), ("two moons", &moons)] {
        let truth = match data.centres.len() {
            1 => exact(data, &objective, &noise),
            _ => data.samples(&objective, &solvers[4].1, if short { 256 } else { 4_096 }, &noise)?,
        };
        let mut curves = Vec::new();
        for (name, solver) in &solvers {
            let error = |&n: &usize| Ok((n as f64, difference(&data.samples(&objective, solver, n, &noise)?, &truth)));
            let errors = steps.iter().map(error).collect::<Result<Vec<_>>>()?;
            let [before, last] = [errors[errors.len() - 2], errors[errors.len() - 1]];
            let slope = (before.1 / last.1).log2();
            println!("{title:<9}  {name:<8}  error with {} steps {:.2e}, slope {slope:.2}", last.0, last.1);
            curves.push((format!("{name}: slope {slope:.1}"), errors));
        }
        panels.push((title, curves));
    }
    let out = Path::new("target/examples-out");
    std::fs::create_dir_all(out).expect("the target folder can be written");
    let picture = out.join("convergence.svg");
    plot::log_log(&picture, ["steps", "error"], &panels)?;
    println!("picture: {}", picture.display());
    Ok(())
}
