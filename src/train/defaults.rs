//! The settings of a run that the user does not state: chosen from the data and the kind of the device.

use super::{Config, Task};
use crate::data::{Dataset, Kind};
use crate::device::Device;
use crate::diffusion::Prediction;
use crate::error::Result;
use crate::nn::{MlpOptions, Model, UNetLevels, UNetOptions};

/// What the choice depends on. It depends neither on the speed of the machine nor on its free memory, so that the same
/// command chooses the same settings again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Situation<'a> {
    /// What the network is trained for.
    pub task: Task,
    /// The kind of the samples.
    pub kind: Kind,
    /// The shape of a sample.
    pub shape: &'a [usize],
    /// The number of samples that are trained on.
    pub samples: usize,
    /// Whether the device is a GPU, and not the CPU or a software adapter.
    pub on_gpu: bool,
}

impl<'a> Situation<'a> {
    /// Training on `data`, of which the model sees samples of `shape`, with the settings that the user states.
    ///
    /// # Errors
    /// When no samples are left to train on.
    #[cfg(feature = "cli")]
    pub fn of(stated: &Config, data: &Dataset, shape: &'a [usize], device: &Device) -> Result<Self> {
        let samples = stated.training_samples(data.len())?;
        let (task, kind) = (stated.task, data.kind());
        Ok(Self { task, kind, shape, samples, on_gpu: !device.uses_host_memory() })
    }
}

impl Config {
    /// The default settings for the network with this name, or for the network that suits the data best.
    ///
    /// On two CPU cores, training takes less than a minute. A GPU, which is much faster, gets smaller patches and more steps.
    ///
    /// | data | network | why |
    /// | --- | --- | --- |
    /// | points | a narrow MLP, 20000 short steps | a curve in the plane is fine structure: a network learns it late |
    /// | table | a narrow MLP, few steps | a table has few rows, which many steps would memorise |
    /// | signals, images | U-Net on patches | values depend on their neighbours, wherever they are; patches make a step fast |
    /// | short signals, small or odd images | MLP | a U-Net gains little, or cannot halve them |
    ///
    /// A denoiser has the defaults of its network, by default an MLP: it learns much faster, and needs single values and not
    /// patches. So have the autoencoder and the networks of the textbook chapter.
    ///
    /// # Errors
    /// When there is no model of this name.
    pub(crate) fn for_data(name: Option<&str>, situation: Situation) -> Result<Self> {
        let model = match name {
            _ if situation.task == Task::Denoise => Model::named(name.unwrap_or("mlp"))?,
            None => network(situation),
            Some("mlp") => mlp(situation).into(),
            Some("unet") => patched(situation).unwrap_or_default().into(),
            Some(name) => Model::named(name)?,
        };
        let usual = Self::new(model);
        let batch = usual.model.recipe().batch.min(situation.samples);
        let usual = Self { batch, ..usual };
        match &usual.model {
            _ if situation.task == Task::Denoise => Ok(usual),
            Model::Mlp(_) => Ok(with_mlp(usual, situation)),
            Model::UNet(_) => Ok(with_unet(usual, situation)),
            _ => Ok(usual),
        }
    }
}

/// The network for samples of this kind and shape.
fn network(situation: Situation) -> Model {
    match situation.kind {
        Kind::Signals | Kind::Images => patched(situation).map_or_else(|| mlp(situation).into(), Model::from),
        Kind::Points | Kind::Table => mlp(situation).into(),
    }
}

/// An MLP. Points and rows of a table have few values, which do not need wide layers.
fn mlp(situation: Situation) -> MlpOptions {
    let narrow = matches!(situation.kind, Kind::Points | Kind::Table) && !situation.on_gpu;
    let width = if narrow { 128 } else { 256 };
    let input_encoding = if situation.kind == Kind::Points { 64 } else { 0 };
    MlpOptions::default().width(width).input_encoding(input_encoding)
}

/// The training of an MLP.
fn with_mlp(usual: Config, situation: Situation) -> Config {
    match situation.kind {
        Kind::Points => Config { steps: 20_000, batch: usual.batch.min(128), ..usual },
        _ => usual,
    }
}

/// The smallest length of signals, and width and height of images, for which a U-Net is chosen.
const SHORTEST_SIGNAL: usize = 32;
const SMALLEST_IMAGE: usize = 16;

/// A U-Net on the smallest patches with which a step is fast. A patch has at most as many values as the network has channels
/// on the finest level. `None` for small samples, and for those that cannot be halved.
fn patched(situation: Situation) -> Option<UNetOptions> {
    let Situation { kind, shape, on_gpu, .. } = situation;
    let (channels, axes, least) = match (kind, shape) {
        (Kind::Signals, [length]) => (1, &[*length][..], SHORTEST_SIGNAL),
        (Kind::Signals, [channels, length]) => (*channels, &[*length][..], SHORTEST_SIGNAL),
        (Kind::Images, [channels, axes @ ..]) => (*channels, axes, SMALLEST_IMAGE),
        _ => return None,
    };
    let options = UNetOptions::default();
    let most = match (kind, on_gpu) {
        (Kind::Images, false) => 16,
        (Kind::Images, true) => 64,
        (_, false) => 32,
        (_, true) => 256,
    };
    let can_be = |patch: &usize| {
        let values = channels * patch.pow(axes.len() as u32);
        (*patch == 1 || values <= options.width) && axes.iter().all(|n| n.is_multiple_of(2 * patch) && *n >= least)
    };
    let is_fast = |patch: &usize| axes.iter().all(|n| n / patch <= most);
    let patches: Vec<usize> = (1..=options.width).filter(can_be).collect();
    let patch = patches.iter().copied().find(is_fast).or(patches.last().copied())?;
    Some(options.levels(UNetLevels::default().patch(patch)))
}

/// The training of a U-Net: as many steps as fit an amount of arithmetic, which is known before, and not a time, which
/// depends on the machine. If these are few, the batch is smaller.
fn with_unet(usual: Config, situation: Situation) -> Config {
    let Situation { kind, shape, samples, on_gpu, .. } = situation;
    // About 45 s on two cores; convolutions of signals have shorter rows, which are slower.
    let budget = match (kind, on_gpu) {
        (Kind::Images, false) => 5e12,
        (_, false) => 2.4e12,
        (_, true) => 2e14,
    };
    let usual = Config { lr: if on_gpu { 1e-3 } else { 2e-3 }, prediction: prediction(&usual, shape), ..usual };
    let of_batch = |batch: usize| {
        let config = Config { batch: batch.min(samples), ..usual.clone() };
        // A network that does not take the samples is reported when it is built for them.
        let flops = config.flops(samples, shape).unwrap_or(u64::MAX).max(1);
        (config, budget / flops as f64)
    };
    let batches: &[usize] = if on_gpu { &[64] } else { &[32, 16, 8] };
    let mut tried = batches.iter().map(|batch| of_batch(*batch));
    let enough = tried.by_ref().find(|(_, steps)| *steps >= ENOUGH_STEPS);
    let (config, steps) = enough.unwrap_or_else(|| of_batch(batches[batches.len() - 1]));
    let steps = steps.clamp(FEWEST_STEPS, MOST_STEPS);
    // Two digits, which are easier to read.
    let unit = 10f64.powf(steps.log10().floor() - 1.0);
    Config { steps: ((steps / unit).floor() * unit) as u32, ..config }
}

/// What a U-Net predicts. The noise of a large patch has too many values to pass through the channels of the network, but its
/// clean values, which are fewer independent ones, do (Li and He 2025, Back to basics: let denoising generative models
/// denoise).
fn prediction(usual: &Config, shape: &[usize]) -> Prediction {
    let Model::UNet(UNetOptions { width, levels, .. }) = &usual.model else { return usual.prediction };
    let (channels, axes) = if shape.len() > 1 { (shape[0], shape.len() - 1) } else { (1, 1) };
    let values = channels * levels.patch.pow(axes as u32);
    if levels.patch > 1 && 4 * values > *width { Prediction::X0 } else { usual.prediction }
}

/// The range of the steps of a U-Net, and the number below which the batch is smaller.
const FEWEST_STEPS: f64 = 300.0;
const ENOUGH_STEPS: f64 = 500.0;
const MOST_STEPS: f64 = 3_000.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Graph;

    fn situation(kind: Kind, shape: &[usize]) -> Situation<'_> {
        Situation { task: Task::Diffusion, kind, shape, samples: 1_000, on_gpu: false }
    }

    #[test]
    fn the_chosen_network_takes_the_samples() {
        let shapes: [(Kind, &[usize], &str); 14] = [
            (Kind::Points, &[2], "mlp"),
            (Kind::Table, &[13], "mlp"),
            (Kind::Signals, &[8], "mlp"),
            (Kind::Signals, &[101], "mlp"),
            (Kind::Signals, &[100], "unet"),
            (Kind::Signals, &[128], "unet"),
            (Kind::Signals, &[3, 160], "unet"),
            (Kind::Signals, &[4096], "unet"),
            (Kind::Images, &[1, 28, 28], "unet"),
            (Kind::Images, &[3, 96, 96], "unet"),
            (Kind::Images, &[3, 32, 48], "unet"),
            (Kind::Images, &[1, 45, 45], "mlp"),
            (Kind::Images, &[1, 256, 256], "unet"),
            (Kind::Images, &[1, 100, 60], "unet"),
        ];
        for (kind, shape, name) in shapes {
            for on_gpu in [false, true] {
                let situation = Situation { on_gpu, ..situation(kind, shape) };
                let config = Config::for_data(None, situation).unwrap();
                assert_eq!(config.model.name(), name, "{kind:?} {shape:?}");
                config.model.for_sample(shape).build(&mut Graph::new(), shape).unwrap();
            }
        }
    }

    #[test]
    fn a_batch_is_at_most_all_samples() {
        let few = Situation { samples: 7, ..situation(Kind::Points, &[2]) };
        for name in [None, Some("mlp"), Some("unet"), Some("chapter")] {
            assert_eq!(Config::for_data(name, few).unwrap().batch, 7);
        }
    }

    #[test]
    fn a_denoiser_and_the_networks_of_the_chapter_have_their_own_defaults() {
        let denoiser = Situation { task: Task::Denoise, ..situation(Kind::Images, &[1, 32, 32]) };
        let config = Config::for_data(Some("unet"), denoiser).unwrap();
        let usual = Config::for_model("unet").unwrap();
        assert_eq!((config.steps, config.lr, config.model), (usual.steps, usual.lr, usual.model));
        assert_eq!(Config::for_data(None, denoiser).unwrap().model.name(), "mlp");
        let config = Config::for_data(Some("chapter"), situation(Kind::Signals, &[128])).unwrap();
        assert_eq!(config, Config { batch: 256, ..Config::for_model("chapter").unwrap() });
        assert!(Config::for_data(Some("nope"), denoiser).is_err());
    }
}
