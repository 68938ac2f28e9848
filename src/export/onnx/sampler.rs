//! The reverse process as a loop: a row of the sampler's table for each pass.

use super::builder::{Builder, batch_of, int, value_info};
use super::proto::{BOOL, FLOAT, INT64, Model, ValueInfo};
use super::{Names, Network, Units, size_of};
use crate::diffusion::{Row, SamplerTable};
use crate::error::{Error, Result};
use crate::inference::{Guidance, Sampling};
use crate::ops::SamplerStep;
use crate::train::{Checkpoint, Facts, Task};

/// The model that draws samples from noise.
///
/// # Errors
/// When the sampler adds noise, the settings do not fit the run, or the run does not generate samples.
pub(super) fn model(checkpoint: &Checkpoint, sampling: &Sampling) -> Result<Model> {
    let (facts, config) = (&checkpoint.facts, &checkpoint.config);
    if config.task == Task::Denoise {
        return Err(Error::setting("this run is a denoiser, which cannot generate samples; omit --sampler"));
    }
    let objective = config.objective()?;
    objective.check_end()?;
    let table = sampling.table(&objective, sampling.clip.then_some(facts.normalisation.bound.into()))?;
    if table.rows.iter().any(|row: &Row| row.k_z != 0.0) {
        return Err(Error::setting(format!(
            "the sampler {} adds random noise in each step, which an ONNX model cannot reproduce; use unipc, ddim, euler, heun or \
             dpmpp_2m",
            sampling.sampler
        )));
    }
    let Guidance { scale: guidance, rescale, interval, .. } = sampling.conditions.guidance;
    sampling.conditions.guidance.check()?;
    if sampling.guide.is_some() || rescale != 0.0 || interval.is_some() {
        return Err(Error::setting(
            "an ONNX model has the same guidance in all steps, away from the model without conditions; omit the guide, the interval \
             and the rescaling",
        ));
    }
    if guidance != 1.0 && (facts.conditions.options().is_none() || config.condition.dropout == 0.0) {
        return Err(Error::setting(
            "guidance needs a conditional run that has learned samples without a condition; omit --guidance, or train a run with \
             --labels and --label-dropout 0.1",
        ));
    }
    let network = Network::new(checkpoint)?;
    let (mut b, width) = (Builder::default(), network.width());
    let mut inputs = vec![value_info("noise", FLOAT, &batch_of(&facts.shape), "standard normal noise")];
    let names = network.conditions(&mut b, &mut inputs);
    let limits = facts.limits().filter(|_| sampling.clip);
    let reverse = Reverse { network: &network, names, size: size_of(&mut b, "noise"), table: &table, limits, guidance };
    let x = reverse.add(&mut b, width)?;
    let doc = format!("{}, {} evaluations of the network", sampling.sampler, table.rows.len());
    let output = match facts.conditions.gaps {
        0 => Units::of_samples(facts).restore(&mut b, &x, &facts.shape, "samples", "samples"),
        _ => completed(&mut b, &x, facts),
    };
    Ok(network.model(
        b,
        "sampler",
        &format!("A diffusion model that draws samples from noise by {doc}."),
        inputs,
        vec![output],
    ))
}

/// Samples with the known values in their places.
fn completed(b: &mut Builder, x: &str, facts: &Facts) -> ValueInfo {
    let output = Units::of_samples(facts).restore(b, x, &facts.shape, "drawn", "samples");
    let unknown = b.node("IsNaN", &["known"], vec![]);
    b.named("samples", "Where", &[&unknown, "drawn", "known"], vec![]);
    ValueInfo { name: "samples".into(), ..output }
}

/// The reverse process over a network.
struct Reverse<'a> {
    network: &'a Network<'a>,
    /// The conditions in normalised units.
    names: Names,
    /// The shape of the batch.
    size: String,
    table: &'a SamplerTable,
    /// The smallest, then the largest value of each element of a sample.
    limits: Option<Vec<f32>>,
    guidance: f64,
}

impl Reverse<'_> {
    /// Adds the loop, and returns the last state [B, D].
    fn add(&self, b: &mut Builder, width: usize) -> Result<String> {
        let rows = self.table.rows_f32();
        let table = b.parameter("sampler_table", &[rows.len(), SamplerStep::ROW], rows.as_flattened());
        let histories = self.table.histories();
        let (noise, zero) = (b.rows("noise", &[width]), b.floats(&[], &[0.0]));
        let zeros = b.node("Mul", &[&noise, &zero], vec![]);
        let [state, h, g] = ["state", "h", "g"].map(|name| b.fresh(name));
        let carried = [state, h, g][..=histories].to_vec();
        let [pass, going] = ["pass", "going"].map(|name| b.fresh(name));
        b.begin_body();
        let next = self.step(b, &table, &pass, &carried, width)?;
        let still = b.node("Identity", &[&going], vec![]);
        let info = |name: &String| value_info(name, FLOAT, &[None, Some(width)], "");
        let scalars = [value_info(&pass, INT64, &[], ""), value_info(&going, BOOL, &[], "")];
        let body_inputs = scalars.into_iter().chain(carried.iter().map(info)).collect();
        let body_outputs = std::iter::once(value_info(&still, BOOL, &[], "")).chain(next.iter().map(info)).collect();
        let body = b.end_body(body_inputs, body_outputs);
        let (trips, truth) = (b.integer(rows.len() as i64), b.truth());
        let start: Vec<&str> =
            [&*trips, &truth, &noise].into_iter().chain(std::iter::repeat_n(&*zeros, histories)).collect();
        let ends: Vec<String> = carried.iter().map(|name| b.fresh(name)).collect();
        let last = ends[0].clone();
        b.nodes("Loop", &start, vec![body], ends);
        Ok(last)
    }

    /// One pass: the next state and histories.
    fn step(&self, b: &mut Builder, table: &str, pass: &str, carried: &[String], width: usize) -> Result<Vec<String>> {
        let row = b.node("Gather", &[table, pass], vec![int("axis", 0)]);
        let number = |b: &mut Builder, i: usize| {
            let i = b.integer(i as i64);
            b.node("Gather", &[&row, &i], vec![int("axis", 0)])
        };
        let time = number(b, 0);
        let t = b.node("Expand", &[&time, &self.size], vec![]);
        let x = &carried[0];
        let m = self.prediction(b, x, &t)?;
        let times = |b: &mut Builder, i: usize, value: &str| {
            let factor = number(b, i);
            b.node("Mul", &[&factor, value], vec![])
        };
        let add = |b: &mut Builder, left: &str, right: &str| b.node("Add", &[left, right], vec![]);
        // whole x + (c_x x + c_m m), in the order of the kernel.
        let (whole, from_x, from_m) = (times(b, 1, x), times(b, 2, x), times(b, 3, &m));
        let small = add(b, &from_x, &from_m);
        let x0 = add(b, &whole, &small);
        let x0 = self.clipped(b, x0, width);
        let mut parts = vec![x0.clone(), x.clone(), m];
        if let Some(h) = carried.get(1) {
            parts.push(b.node("Sub", &[&x0, h], vec![]));
        }
        parts.extend(carried.get(2).cloned());
        let mix = |b: &mut Builder, first: usize| {
            let mut sum = times(b, first, &parts[0]);
            for (i, part) in parts.iter().enumerate().skip(1) {
                let term = times(b, first + i, part);
                sum = add(b, &sum, &term);
            }
            sum
        };
        // The first weights of the next state and of the next histories in a row.
        Ok([5, 11, 16][..carried.len()].iter().map(|first| mix(b, *first)).collect())
    }

    /// The estimate of the clean data within the limits and the bound.
    fn clipped(&self, b: &mut Builder, x0: String, width: usize) -> String {
        let bound = self.table.clip.map_or(f32::INFINITY, |bound| bound as f32);
        let (low, high) = match &self.limits {
            Some(limits) => {
                let (low, high) = limits.split_at(width);
                (low.iter().map(|v| v.max(-bound)).collect(), high.iter().map(|v| v.min(bound)).collect())
            }
            None if bound.is_finite() => (vec![-bound; width], vec![bound; width]),
            None => return x0,
        };
        let [low, high]: [Vec<f32>; 2] = [low, high];
        let (low, high) = (b.parameter("low", &[width], &low), b.parameter("high", &[width], &high));
        let x0 = b.node("Min", &[&x0, &high], vec![]);
        b.node("Max", &[&x0, &low], vec![])
    }

    /// The prediction, moved away from that without conditions by guidance.
    fn prediction(&self, b: &mut Builder, x: &str, t: &str) -> Result<String> {
        let names = Names { x_t: x.into(), t: t.into(), ..self.names.clone() };
        let with = self.network.evaluate(b, &names)?;
        if self.guidance == 1.0 {
            return Ok(with);
        }
        let options = self.network.checkpoint.facts.conditions.options();
        // The same value for all samples, in the shape of a condition.
        let all = |b: &mut Builder, name: &str, value: f32| {
            if name.is_empty() {
                return String::new();
            }
            let zeros = b.with_number("Mul", name, 0.0);
            b.with_number("Add", &zeros, value)
        };
        let unknown = Names {
            label: all(b, &names.label, options.classes as f32),
            vector: all(b, &names.vector, 0.0),
            given: all(b, &names.given, 0.0),
            ..names
        };
        let without = self.network.evaluate(b, &unknown)?;
        let difference = b.node("Sub", &[&with, &without], vec![]);
        let moved = b.with_number("Mul", &difference, self.guidance as f32);
        Ok(b.node("Add", &[&without, &moved], vec![]))
    }
}
