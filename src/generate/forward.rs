//! The forward process: states of samples with increasing noise.

use crate::device::Device;
use crate::diffusion::{Level, Mix, Row, SamplerTable, Schedule};
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::ops::SamplerStep;

/// A state of the forward process.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Frame {
    /// The number of noise steps so far.
    pub steps: usize,
    /// The samples.
    pub values: Vec<f32>,
}

/// The forward process x_t = sqrt(1 - beta_t) x_{t-1} + z_t, z_t ~ N(0, beta_t), from `samples` to the end of the
/// schedule: the state at the start, and after each `n`-th of the steps.
///
/// *Units*: samples and frames are in those of the network. *Source*: Ho et al. 2020, eq. 2.
///
/// # Errors
/// If the number of frames is 0 or larger than the number of steps.
pub fn forward_process(
    device: &Device,
    samples: &[f32],
    schedule: &Schedule,
    n: usize,
    seed: u64,
) -> Result<Vec<Frame>> {
    let total = schedule.steps();
    if n == 0 || n > total {
        return Err(Error::setting(format!("{n} pictures of a process of {total} steps; use 1 to {total}")));
    }
    let mut g = Graph::new();
    let x = g.state("x", [1, samples.len()])?;
    // A sampler's row that only scales and adds noise.
    let row = |beta: &f64| {
        let next = Mix { x: (1.0 - beta).sqrt(), ..Mix::ZERO };
        Row::new(&Level::CLEAN, next, beta.sqrt())
    };
    let table = SamplerTable { rows: schedule.betas().iter().map(row).collect(), levels: vec![], clip: None };
    let rows = g.constant([total, SamplerStep::ROW], table.rows_f32().concat())?;
    let nothing = g.constant([1, samples.len()], vec![0.0; samples.len()])?;
    let stream = g.stream();
    g.apply_to(SamplerStep { stream, given: false, histories: 0, limited: false }, &[nothing, rows], &[x])?;
    let mut run = device.compile(&g)?;
    run.seed(seed);
    run.write("x", samples)?;
    let mut frames = vec![Frame { steps: 0, values: samples.to_vec() }];
    for i in 1..=n {
        let steps = i * total / n;
        run.steps((steps - frames[i - 1].steps) as u32)?;
        frames.push(Frame { steps, values: run.read(x)? });
    }
    Ok(frames)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_ends_where_the_closed_form_says() {
        let data: Vec<f32> = (0..40_000).map(|i| if i % 2 == 0 { 1.0 } else { 3.0 }).collect();
        let schedule = Schedule::linear(60, 1e-3, 0.05).unwrap();
        let frames = forward_process(&Device::cpu(), &data, &schedule, 4, 3).unwrap();
        assert_eq!(frames.iter().map(|f| f.steps).collect::<Vec<_>>(), [0, 15, 30, 45, 60]);
        for frame in &frames[1..] {
            let [a, s] = schedule.noise_table()[frame.steps - 1];
            let (n, error) = (20_000.0f64, 5.0 / 20_000f64.sqrt());
            for (offset, x0) in [(0, 1.0), (1, 3.0)] {
                let values = || frame.values.iter().skip(offset).step_by(2).map(|&v| f64::from(v));
                let mean = values().sum::<f64>() / n;
                let sd = (values().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
                assert!((mean - a * x0).abs() < error * s, "{mean} {}", a * x0);
                assert!((sd / s - 1.0).abs() < error / 2f64.sqrt(), "{sd} {s}");
            }
        }
        assert!(forward_process(&Device::cpu(), &data, &schedule, 61, 3).is_err());
    }
}
