//! Checkpoints: the state of a training run.

mod file;

use super::snapshots::LENGTHS;
use super::{Config, Facts, Losses};
use crate::device::Run;
use crate::error::{Error, Result};
use crate::graph::{Graph, Slab};
use crate::nn::StepEncoding;

pub(super) use file::Unusable;

/// The prefix of the tensor names of each slab.
const PREFIXES: [(Slab, &str); 6] = [
    (Slab::Params, ""),
    (Slab::Ema, "ema."),
    (Slab::First, "optimizer.exp_avg."),
    (Slab::Second, "optimizer.exp_avg_sq."),
    (Slab::ShortAverage, "power_ema.0.05."),
    (Slab::LongAverage, "power_ema.0.1."),
];

/// The prefix of the tensor names of a slab.
pub(super) fn prefix_of(slab: Slab) -> &'static str {
    PREFIXES.into_iter().find(|(of, _)| *of == slab).map_or("", |(_, prefix)| prefix)
}

/// A named tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorData {
    /// The name, such as `fc1.weight` or `ema.fc1.weight`.
    pub name: String,
    /// The shape.
    pub shape: Vec<usize>,
    /// The values in row-major order.
    pub values: Vec<f32>,
}

/// The complete state of a training run.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// The settings.
    pub config: Config,
    /// The facts about the training data.
    pub facts: Facts,
    /// The number of completed steps.
    pub step: u32,
    /// The weights, their moving average and the moments of the optimizer.
    pub tensors: Vec<TensorData>,
    /// The losses of the steps since the last row of `metrics.csv`.
    pub pending: Vec<Losses>,
}

impl Checkpoint {
    /// Reads the state of a training run from the device.
    ///
    /// # Errors
    /// [`Error::NonFinite`] with the name of the tensor when a value is NaN or infinite.
    pub(crate) fn of(run: &Run, config: &Config, facts: &Facts, pending: &[Losses]) -> Result<Self> {
        let tensors = tensors_of(run, &PREFIXES, config)?;
        let (config, facts) = (config.clone(), facts.clone());
        Ok(Self { config, facts, step: run.step(), tensors, pending: pending.to_vec() })
    }

    /// Reads the weights of a training run and their moving average from the device, which is what inference needs.
    ///
    /// # Errors
    /// As [`Checkpoint::of`].
    #[cfg(feature = "cli")]
    pub(super) fn weights_of(run: &Run, config: &Config, facts: &Facts) -> Result<Self> {
        let slabs = [Slab::Params, Slab::Ema].map(|slab| (slab, prefix_of(slab)));
        let (tensors, config, facts) = (tensors_of(run, &slabs, config)?, config.clone(), facts.clone());
        Ok(Self { config, facts, step: run.step(), tensors, pending: vec![] })
    }

    /// Reads the power-function averages of a training run from the device. They do not depend on when the run is to end.
    ///
    /// # Errors
    /// As [`Checkpoint::of`].
    pub(super) fn snapshot_of(run: &Run, config: &Config, facts: &Facts) -> Result<Self> {
        let tensors = tensors_of(run, &LENGTHS.map(|(slab, _)| (slab, prefix_of(slab))), config)?;
        let config = Config { steps: run.step(), early_stop: 0, keep_best: false, ..config.clone() };
        Ok(Self { config, facts: facts.clone(), step: run.step(), tensors, pending: vec![] })
    }

    /// The approximate size of the file of a checkpoint of `run`, in bytes.
    pub(super) fn size(run: &Run) -> u64 {
        Self::size_of(run, &PREFIXES.map(|(slab, _)| slab))
    }

    /// The approximate size of the file of a snapshot of the averages of `run`, in bytes.
    pub(super) fn snapshot_size(run: &Run) -> u64 {
        Self::size_of(run, &LENGTHS.map(|(slab, _)| slab))
    }

    fn size_of(run: &Run, slabs: &[Slab]) -> u64 {
        let graph = run.graph();
        let slabs = slabs.iter().filter(|slab| graph.slab_if_used(**slab).is_some()).count() as u64;
        // The header has at most about 200 bytes per tensor, and the settings.
        slabs * (4 * graph.parameter_count() as u64 + 200 * graph.parameters().len() as u64) + (16 << 10)
    }

    /// Whether there are weights, but no state of an optimizer.
    pub(crate) fn is_imported(&self) -> bool {
        self.tensors.iter().all(|t| Self::is_weight(&t.name))
    }

    /// Restores the state of a run on a device.
    ///
    /// # Errors
    /// When a tensor is missing or has another shape, which means that the checkpoint belongs to another model.
    pub fn restore(&self, run: &mut Run) -> Result<()> {
        let needs_more = PREFIXES[1..].iter().any(|(slab, _)| run.graph().slab_if_used(*slab).is_some());
        if needs_more && self.is_imported() {
            return Err(Error::setting(
                "this run was imported: it has weights, but no state of the optimizer, and cannot be resumed; start a new run from \
                 its weights with: langevin train DATA --init RUN --out NEW",
            ));
        }
        for (slab, prefix) in PREFIXES {
            if run.graph().slab_if_used(slab).is_some() {
                let whole = self.slab(run.graph(), prefix)?;
                run.write_slab(slab, &whole)?;
            }
        }
        run.set_step(self.step);
        Ok(())
    }

    /// The prefix of the names of the tensors for inference: those of the moving average if there is one.
    fn inference_prefix(&self) -> &'static str {
        let average = prefix_of(Slab::Ema);
        if self.tensors.iter().any(|t| t.name.starts_with(average)) { average } else { "" }
    }

    /// The weights for inference under the names of the network's parameters, in the order of these names.
    pub fn inference_weights(&self) -> Vec<TensorData> {
        let prefix = self.inference_prefix();
        let of_network =
            |t: &&TensorData| if prefix.is_empty() { Self::is_weight(&t.name) } else { t.name.starts_with(prefix) };
        let weights = self.tensors.iter().filter(of_network);
        let mut weights: Vec<_> =
            weights.map(|t| TensorData { name: t.name[prefix.len()..].into(), ..t.clone() }).collect();
        weights.sort_by(|a, b| a.name.cmp(&b.name));
        weights
    }

    /// Writes the weights for inference: the moving average if there is one, otherwise the weights.
    ///
    /// # Errors
    /// As [`Checkpoint::restore`].
    pub fn write_weights(&self, run: &mut Run) -> Result<()> {
        Self::write_networks(run, &[("", self)])
    }

    /// Writes the weights for inference of several networks, each in the scope that it has in the graph.
    ///
    /// # Errors
    /// As [`Checkpoint::restore`].
    pub(crate) fn write_networks(run: &mut Run, networks: &[(&str, &Self)]) -> Result<()> {
        let mut whole = empty_slab(run.graph())?;
        for (scope, checkpoint) in networks {
            checkpoint.fill(run.graph(), scope, checkpoint.inference_prefix(), &mut whole)?;
        }
        run.write_slab(Slab::Params, &whole)
    }

    /// Writes the weights as the initial weights of another run, and of their moving average.
    ///
    /// # Errors
    /// As [`Checkpoint::restore`].
    pub(super) fn start(&self, run: &mut Run) -> Result<()> {
        self.write_weights(run)?;
        // The power-function averages start with the first step.
        if run.graph().slab_if_used(Slab::Ema).is_some() {
            run.write_slab(Slab::Ema, &run.read_slab(Slab::Params)?)?;
        }
        Ok(())
    }

    /// Checks whether the weights can be those of a run with these settings and samples of this shape.
    ///
    /// # Errors
    /// [`Error::Setting`] with what differs.
    pub(super) fn check_network(&self, config: &Config, shape: &[usize]) -> Result<()> {
        let [mine, other] = [&self.config, config];
        if self.facts.shape != shape {
            return Err(Error::setting(format!(
                "the weights are those of a network for samples of shape {:?}, but the samples of {} have shape {shape:?}; \
                 use data of the same shape",
                self.facts.shape, other.data
            )));
        }
        if let Some(difference) = mine.differences(other).iter().find(|d| d.is_of_model()) {
            return Err(Error::setting(format!(
                "the weights are those of another network ({difference}); use the settings of its section [model]"
            )));
        }
        let is_random = mine.model.step_encoder().is_some_and(|step| step.kind == StepEncoding::Fourier);
        if is_random && mine.seed != other.seed {
            return Err(Error::setting(format!(
                "the fourier step encoding depends on the seed, which is {} for these weights; use --seed {0}",
                mine.seed
            )));
        }
        Ok(())
    }

    /// Whether a tensor is one of the network itself, and not an average or a moment of the optimizer.
    pub(crate) fn is_weight(name: &str) -> bool {
        !PREFIXES.iter().any(|(_, prefix)| !prefix.is_empty() && name.starts_with(prefix))
    }

    /// The values of a tensor.
    pub(super) fn tensor(&self, name: &str, shape: &[usize]) -> Result<&[f32]> {
        let found = self.tensors.iter().find(|t| t.name == name && t.shape == shape);
        found.map(|t| &t.values[..]).ok_or_else(|| {
            Error::input(format!("the snapshot of step {} has no tensor {name:?} of shape {shape:?}", self.step))
        })
    }

    /// The content of a slab in the layout of `graph`.
    fn slab(&self, graph: &Graph, prefix: &str) -> Result<Vec<f32>> {
        let mut whole = empty_slab(graph)?;
        self.fill(graph, "", prefix, &mut whole)?;
        Ok(whole)
    }

    /// Fills in the tensors with a prefix, those of the network of a scope of `graph`.
    fn fill(&self, graph: &Graph, scope: &str, prefix: &str, whole: &mut [f32]) -> Result<()> {
        for p in graph.parameters().iter().filter(|p| p.scope == scope) {
            let name = format!("{prefix}{}", &p.name[scope.len()..]);
            let found = self.tensors.iter().find(|t| t.name == name);
            let t = found.ok_or_else(|| {
                Error::input(format!("the checkpoint has no tensor {name:?}; it belongs to another model"))
            })?;
            if t.shape != p.shape {
                let (got, want) = (&t.shape, &p.shape);
                return Err(Error::input(format!(
                    "{name} has shape {got:?} in the checkpoint, but {want:?} in the model"
                )));
            }
            whole[p.offset..p.offset + t.values.len()].copy_from_slice(&t.values);
        }
        Ok(())
    }
}

/// The tensors of slabs that the graph of a run has, each with the prefix of its slab.
fn tensors_of(run: &Run, slabs: &[(Slab, &str)], config: &Config) -> Result<Vec<TensorData>> {
    let mut tensors = Vec::new();
    for &(slab, prefix) in slabs {
        if run.graph().slab_if_used(slab).is_none() {
            continue;
        }
        let whole = run.read_slab(slab)?;
        for p in run.graph().parameters() {
            let len: usize = p.shape.iter().product();
            let (name, values) = (format!("{prefix}{}", p.name), whole[p.offset..p.offset + len].to_vec());
            if let Some(bad) = values.iter().find(|v| !v.is_finite()) {
                let (step, lr) = (run.step(), config.lr);
                let text = format!("{name} became {bad} at step {step}. Lower --lr (it is {lr})");
                return Err(Error::NonFinite(text));
            }
            tensors.push(TensorData { name, shape: p.shape.clone(), values });
        }
    }
    Ok(tensors)
}

/// A slab of zeros in the layout of `graph`.
fn empty_slab(graph: &Graph) -> Result<Vec<f32>> {
    let params = graph.slab_if_used(Slab::Params).ok_or_else(|| Error::setting("the model has no parameters"))?;
    Ok(vec![0.0; graph.spec(params).len()])
}
