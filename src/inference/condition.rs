//! Conditions of generated samples, and guidance.

use std::sync::Arc;

use super::guide::GuideNetwork;
use crate::data::{Conditions, Dataset};
use crate::diffusion::SamplerTable;
use crate::error::{Error, Result};
use crate::graph::{Graph, Var};
use crate::nn::{ConditionOptions, Denoiser, Inputs};
use crate::ops::{Concat, Guide};
use crate::text::count;
use crate::train::{Checkpoint, ConditionFacts, ConditionValues, Facts};

/// Guidance: the network's output is moved away from that without the condition (classifier-free guidance), or from that of
/// a weaker network (autoguidance, see [`Sampling::guide`](super::Sampling::guide)).
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Guidance {
    /// The scale w: 1 for none, 0 for samples without a condition, or of the weaker network.
    pub scale: f64,
    /// How far the output is rescaled to the deviation of that without guidance, from 0 to 1.
    pub rescale: f64,
    /// The smallest and largest diffusion step with guidance; `None` for all.
    pub interval: Option<[f64; 2]>,
}

setters!(Guidance { scale: f64, rescale: f64, interval: Option<[f64; 2]> });

impl Default for Guidance {
    fn default() -> Self {
        Self { scale: 1.0, rescale: 0.0, interval: None }
    }
}

impl Guidance {
    pub(super) fn is_none(&self) -> bool {
        self.scale == 1.0
    }

    pub(crate) fn check(&self) -> Result<()> {
        if !self.scale.is_finite() || self.scale.abs() > 1e6 {
            return Err(Error::setting(format!("a guidance of {}; use a number such as 2, or 1 for none", self.scale)));
        }
        if !(0.0..=1.0).contains(&self.rescale) {
            return Err(Error::setting(format!("a guidance rescale of {}; use 0 to 1, such as 0.7", self.rescale)));
        }
        match self.interval {
            Some([low, high]) if !(low <= high && low.is_finite() && high.is_finite()) => Err(Error::setting(format!(
                "a guidance interval from {low} to {high}; use two diffusion steps, the smaller one first"
            ))),
            _ => Ok(()),
        }
    }

    /// The scale of each row of a sampler: 1 outside of the interval.
    pub fn scales(&self, table: &SamplerTable) -> Vec<f32> {
        let within = |t: f64| self.interval.is_none_or(|[low, high]| (low..=high).contains(&t));
        table.rows.iter().map(|row| if within(row.level.t) { self.scale as f32 } else { 1.0 }).collect()
    }
}

/// A network whose conditions are states of the graph, with guidance.
pub(super) struct Conditioned<'a> {
    pub network: &'a dyn Denoiser,
    pub options: ConditionOptions,
    /// The shape of a sample.
    pub sample: &'a [usize],
    pub guidance: Guidance,
    /// The network of the negative branch; `None` for the network itself without its conditions.
    pub guide: Option<&'a GuideNetwork<'a>>,
    pub table: &'a SamplerTable,
}

/// The names of the states, see [`ConditionOptions::add_states`].
const CLASS: &str = "class";
const VECTOR: &str = "vector";
const GIVEN: &str = "given";

impl Conditioned<'_> {
    /// Rows \[p | n\] of the outputs of the network with and without the conditions, which it computes as alternating rows
    /// of a batch of twice the size.
    fn with_and_without(&self, g: &mut Graph, inputs: Inputs) -> Result<Var> {
        let (rows, width) = g.spec(inputs.x_t).rows();
        let (x_t, t) = (interleave(g, inputs.x_t, inputs.x_t)?, interleave(g, inputs.t, inputs.t)?);
        let class = Self::pairs(g, inputs.class, self.options.classes as f32)?;
        let (vector, given) = (Self::pairs(g, inputs.vector, 0.0)?, Self::pairs(g, inputs.given, 0.0)?);
        let outputs = self.network.forward(g, Inputs { x_t, t, class, vector, given })?;
        g.reshape(outputs, [rows, 2 * width])
    }

    /// Rows \[p | n\] of the outputs of the network and of its guide.
    fn own_and_guide(&self, g: &mut Graph, inputs: Inputs, guide: &GuideNetwork) -> Result<Var> {
        let (own, weaker) = (self.network.forward(g, inputs)?, guide.forward(g, inputs)?);
        g.apply1(Concat, &[own, weaker])
    }

    /// Alternating rows of a condition and of the value that stands for an unknown one.
    fn pairs(g: &mut Graph, known: Option<Var>, unknown: f32) -> Result<Option<Var>> {
        let Some(known) = known else { return Ok(None) };
        let (rows, width) = g.spec(known).rows();
        let unknown = g.constant(g.shape(known).to_vec(), vec![unknown; rows * width])?;
        interleave(g, known, unknown).map(Some)
    }
}

/// The rows a\[0\], b\[0\], a\[1\], b\[1\], ... of two tensors [B, ...].
fn interleave(g: &mut Graph, a: Var, b: Var) -> Result<Var> {
    let (shape, (rows, width)) = (g.shape(a).to_vec(), g.spec(a).rows());
    let (a, b) = (g.reshape(a, [rows, width])?, g.reshape(b, [rows, width])?);
    let both = g.apply1(Concat, &[a, b])?;
    g.reshape(both, [&[2 * rows], &shape[1..]].concat())
}

impl Denoiser for Conditioned<'_> {
    /// The output of the network for the conditions in the states, with guidance.
    fn forward(&self, g: &mut Graph, inputs: Inputs) -> Result<Var> {
        let inputs = self.options.add_states(g, inputs, self.sample)?;
        let outputs = match self.guide {
            _ if self.guidance.is_none() => return self.network.forward(g, inputs),
            Some(guide) => self.own_and_guide(g, inputs, guide)?,
            None => self.with_and_without(g, inputs)?,
        };
        let scales = self.guidance.scales(self.table);
        let scales = g.constant([scales.len()], scales)?;
        g.apply1(Guide { rescale: self.guidance.rescale }, &[outputs, scales])
    }
}

/// The values of the condition states of each sample. Conditions that are fewer than the samples are repeated in turn.
pub(super) struct ConditionInputs {
    states: Vec<ConditionInput>,
    /// The number of samples in a row with the same conditions.
    each: usize,
}

/// The values of a condition state.
struct ConditionInput {
    state: &'static str,
    /// Where vectors and known values come from, for messages.
    source: String,
    /// The number of values for a sample.
    width: usize,
    values: Vec<f32>,
}

impl ConditionInputs {
    /// Checks the conditions of samples of a run. Without classes, a run that has some draws all of them in turn.
    ///
    /// # Errors
    /// [`Error::Setting`] when a condition is missing, or the run does not have it, or has not learned samples without a
    /// condition, which guidance without a guide needs; [`Error::Input`] when its shape differs.
    pub fn new(checkpoint: &Checkpoint, sampling: &SampleConditions, guide: Option<&GuideNetwork>) -> Result<Self> {
        sampling.guidance.check()?;
        let facts = &checkpoint.facts;
        let ConditionFacts { classes, vector, given, gaps, .. } = &facts.conditions;
        let needs_unknown = !sampling.guidance.is_none() && guide.is_none();
        if needs_unknown && facts.conditions.is_none() {
            return Err(Error::setting(
                "guidance needs a conditional model, but this run has no condition; train it with --labels, --condition or \
                 --given, or name a weaker run with --guide",
            ));
        }
        let unknown = sampling.classes.iter().any(|class| *class as usize == *classes && *classes > 0);
        if let Some(guide) = guide.filter(|_| unknown) {
            guide.check_unknown_class()?;
        }
        if (unknown || needs_unknown) && checkpoint.config.condition.dropout == 0.0 {
            return Err(Error::setting(
                "guidance and samples without a class need a run that has learned samples without a condition, but this run \
                 was trained with --label-dropout 0; omit --guidance and --class none, or train it with --label-dropout 0.1",
            ));
        }
        if *gaps == 0 && sampling.incomplete.is_some() {
            return Err(Error::setting(
                "this run was not trained to complete samples, so it cannot be given incomplete ones; use `complete`, or train a \
                 run with the task complete",
            ));
        }
        if *gaps > 0 && sampling.incomplete.is_none() && checkpoint.config.condition.dropout == 0.0 {
            return Err(Error::setting(
                "this run fills gaps, and has not learned samples of which nothing is known, because it was trained with \
                 --label-dropout 0; use it with: langevin complete RUN DATA --out F",
            ));
        }
        let mut states = Vec::new();
        if let Some(values) = class_values(*classes, &sampling.classes)? {
            states.push(ConditionInput { state: CLASS, source: String::new(), width: 1, values });
        }
        let Conditions { vectors, given: known, .. } = &sampling.known;
        for (name, option, facts, data) in [(VECTOR, "--condition", vector, vectors), (GIVEN, "--given", given, known)]
        {
            states.extend(condition_values(name, option, facts, data.as_deref())?);
        }
        if *gaps > 0 {
            let known = match &sampling.incomplete {
                Some(incomplete) => known_values(facts, incomplete)?,
                None => vec![0.0; 2 * facts.shape.iter().product::<usize>()],
            };
            let given = states.iter().position(|input| input.state == GIVEN).map(|at| states.swap_remove(at));
            states.push(beside(given, known, 2 * facts.shape.iter().product::<usize>()));
        }
        Ok(Self { states, each: sampling.each.max(1) })
    }

    /// Checks that each vector and each known value is used for one of this number of samples.
    ///
    /// # Errors
    /// [`Error::Input`] when there are more of them than samples.
    pub fn check_count(&self, samples: usize) -> Result<()> {
        let samples = samples.div_ceil(self.each);
        let vectors = self.states.iter().filter(|input| input.state != CLASS);
        let mut counts = vectors.map(|input| (&input.source, input.values.len() / input.width));
        match counts.find(|(_, n)| *n > samples) {
            None => Ok(()),
            Some((source, n)) => Err(Error::input(format!(
                "{source}: {} for {}; draw at least as many samples, or use a part such as {source}[0:{samples}]",
                count(n, "condition"),
                count(samples, "sample")
            ))),
        }
    }

    /// The states and their widths.
    pub fn names(&self) -> impl Iterator<Item = (&'static str, usize)> {
        self.states.iter().map(|input| (input.state, input.width))
    }

    /// Writes the values of state `name` for the samples from `first` on.
    pub fn fill(&self, name: &str, first: usize, out: &mut [f32]) {
        if let Some(ConditionInput { width, values, .. }) = self.states.iter().find(|input| input.state == name) {
            for (i, row) in out.chunks_exact_mut(*width).enumerate() {
                let from = (first + i) / self.each * width % values.len();
                row.copy_from_slice(&values[from..][..*width]);
            }
        }
    }
}

/// The normalised known values of samples, each followed by its mask. Unknown values are 0.
///
/// # Errors
/// [`Error::Input`] when the shape of the samples is not that of the run.
pub(super) fn known_values(facts: &Facts, incomplete: &Dataset) -> Result<Vec<f32>> {
    if incomplete.shape != facts.shape {
        return Err(Error::input(format!(
            "{}: samples of shape {:?}, but the model was trained on {:?}; use samples of this shape",
            incomplete.name, incomplete.shape, facts.shape
        )));
    }
    let normalised = facts.normalisation.apply(&incomplete.values);
    let row = |row: &[f32]| {
        let values = row.iter().map(|value| if value.is_nan() { 0.0 } else { *value });
        values.chain(row.iter().map(|value| f32::from(u8::from(!value.is_nan())))).collect::<Vec<f32>>()
    };
    Ok(normalised.chunks_exact(incomplete.sample_len()).flat_map(row).collect())
}

/// Known values of incomplete samples beside those of a file, which are repeated in turn if they are fewer.
fn beside(file: Option<ConditionInput>, known: Vec<f32>, width: usize) -> ConditionInput {
    let Some(ConditionInput { state, source, width: first, values }) = file else {
        return ConditionInput { state: GIVEN, source: String::new(), width, values: known };
    };
    let rows = (values.len() / first).max(known.len() / width);
    let row = |i: usize| {
        let part = |values: &[f32], width: usize| {
            let from = i * width % values.len();
            values[from..][..width].to_vec()
        };
        [part(&values, first), part(&known, width)].concat()
    };
    ConditionInput { state, source, width: first + width, values: (0..rows).flat_map(row).collect() }
}

fn class_values(classes: usize, wanted: &[u32]) -> Result<Option<Vec<f32>>> {
    if classes == 0 {
        return match wanted {
            [] => Ok(None),
            _ => Err(Error::setting("a class was given, but this run has no classes; train it with --labels")),
        };
    }
    if let Some(bad) = wanted.iter().find(|class| **class as usize > classes) {
        return Err(Error::setting(format!(
            "there is no class {bad}; the classes of this run are 0 to {}",
            classes - 1
        )));
    }
    Ok(Some(match wanted {
        [] => (0..classes).map(|class| class as f32).collect(),
        some => some.iter().map(|class| *class as f32).collect(),
    }))
}

/// The normalised values of the condition in the state `name`.
fn condition_values(
    name: &'static str,
    option: &str,
    facts: &Option<ConditionValues>,
    data: Option<&Dataset>,
) -> Result<Option<ConditionInput>> {
    let (facts, data) = match (facts, data) {
        (None, None) => return Ok(None),
        (None, Some(_)) => {
            return Err(Error::setting(format!("{option}: this run was trained without it; omit it")));
        }
        (Some(facts), None) => {
            return Err(Error::setting(format!(
                "this run is conditioned on `{name}`, of shape {:?} for each sample; name a file with {option}",
                facts.shape
            )));
        }
        (Some(facts), Some(data)) => (facts, data),
    };
    if data.shape != facts.shape {
        let sizes: Vec<String> = facts.shape.iter().map(usize::to_string).collect();
        return Err(Error::input(format!(
            "{}: samples of shape {:?}, but this run was conditioned on samples of shape {:?}; use an array [n, {}] for {option}",
            data.name,
            data.shape,
            facts.shape,
            sizes.join(", ")
        )));
    }
    let (width, values) = (facts.shape.iter().product(), facts.normalised(data)?);
    Ok(Some(ConditionInput { state: name, source: data.name.clone(), width, values }))
}

/// What samples are conditioned on. Conditions that are fewer than the samples are repeated in turn.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SampleConditions {
    /// The class of each sample, the number of classes for an unknown one; empty for all classes in turn.
    pub classes: Vec<u32>,
    /// The vectors and known values. Its labels are not used.
    pub known: Conditions,
    /// The guidance.
    pub guidance: Guidance,
    /// Incomplete samples, in which NaN stands for an unknown value, for a model that completes samples.
    pub incomplete: Option<Arc<Dataset>>,
    /// How many samples in a row are drawn for the same conditions; 0 is the same as 1.
    pub each: usize,
}

setters!(SampleConditions {
    classes: Vec<u32>,
    known: Conditions,
    guidance: Guidance,
    incomplete: Option<Arc<Dataset>>,
    each: usize,
});

impl SampleConditions {
    /// The conditions of `samples`, in their order.
    pub fn of(samples: &Dataset) -> Self {
        let known = samples.conditions().clone();
        let classes = known.labels.as_ref().map_or(vec![], |labels| labels.of.clone());
        Self { classes, known, ..Self::default() }
    }
}
