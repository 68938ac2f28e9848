//! The meaning and the unit of each setting, and all settings as a commented file.

use super::Config;
use crate::error::Result;
use crate::train::tables::{leaves, to_table};

/// The name of a setting, its unit (empty where it has none), and its meaning.
type Meaning = (&'static str, &'static str, &'static str);

/// All settings in the order of the file.
const MEANINGS: &[Meaning] = &[
    ("data", "", "The data: a file, a folder, or sine, ecg, moons, circles, swissroll or coastline"),
    ("init", "", "The folder of a run whose weights the new run starts from"),
    ("task", "", "diffusion for a generative model, denoise for a denoiser, complete for a model that fills gaps"),
    ("noise", "", "The noise that a denoiser removes: KIND:STRENGTH, see langevin noise --help"),
    ("mask", "", "Which values the task complete hides in training: point:SHARE, block:SHARE, future:SHARE, or a file"),
    ("steps", "steps", "Length of the training. With train, the default is chosen by the data"),
    ("batch", "samples", "Samples per step; 0 for the number that suits the network and the data"),
    ("micro_batch", "samples", "Samples on the device at the same time; 0 for the whole batch"),
    (
        "recompute",
        "",
        "Whether the backward pass recomputes the blocks of the network, which takes less memory and more time",
    ),
    ("lr", "", "Learning rate. With train, the default is chosen by the data"),
    ("optimizer", "", "sgd, sgd_momentum, sgd_nesterov, adam, adam_keras or adamw"),
    ("momentum", "", "Momentum of sgd_momentum and sgd_nesterov"),
    ("beta1", "", "Decay rate of Adam's first moment"),
    ("beta2", "", "Decay rate of Adam's second moment"),
    ("weight_decay", "", "Weight decay of adamw"),
    ("clip_norm", "", "Maximum global norm of the gradient; 0 for no clipping"),
    ("ema", "per step", "Decay of the moving average of the weights, which samples use; 0 for none"),
    ("ema_snapshot_every", "steps", "Time between two snapshots of the power-function averages; 0 for none"),
    ("seed", "", "Seed of the initial weights, the order of the data and the noise"),
    ("objective", "", "ddpm for the steps of a noise schedule, flow for rectified flow, edm for EDM"),
    (
        "schedule",
        "",
        "Noise schedule of ddpm: linear, scaled_linear, cosine, sigmoid, sigmoid_alphabar or linear_scaled_T",
    ),
    ("zero_terminal_snr", "", "Whether the schedule is rescaled so that its last step is pure noise"),
    ("diffusion_steps", "steps", "Number of diffusion steps T; the last time of flow and edm"),
    ("sigma_data", "standard deviations", "Standard deviation of the normalised data, for edm"),
    (
        "times",
        "",
        "Distribution of the times of flow and edm: uniform, or log_normal:MEAN:DEVIATION of the noise level",
    ),
    ("prediction", "", "What the network predicts: epsilon, x0, v, flow or edm"),
    ("loss_target", "", "The quantity whose error is the loss, if it is not the prediction: epsilon, x0, v or flow"),
    ("loss", "", "The terms of the loss, by name and weight: mse, mse_document, l1, huber, ssim or perceptual"),
    ("weighting", "", "Loss weight of each diffusion step: none, snr, snr_plus_one, truncated_snr, min_snr:5 or p2:1"),
    ("normalise", "", "standard for mean 0 and standard deviation 1, range for -1 to 1"),
    ("precision", "", "f32, or f16 for matrix products on the cooperative matrices of a GPU"),
    ("storage", "", "f32, or f16 for activations and their gradients in half of the memory of a GPU"),
    (
        "checkpoint_every",
        "steps",
        "Time between two checkpoints; one is also written when the last one is a minute old",
    ),
    ("validation", "fraction of the data", "Samples that are held out; 0 for none"),
    ("validation_every", "steps", "Time between two evaluations of the held-out data"),
    ("early_stop", "evaluations", "Patience: stop after this many without improvement; 0 for never"),
    ("keep_best", "", "Whether the state with the lowest validation loss is kept as best.safetensors"),
    ("decay", "steps", "Learning rate schedule: constant, cosine (warmup, total) or inverse_sqrt (hold)"),
    ("read.kind", "", "Kind of the samples: signals, points, images or table"),
    ("read.header", "", "Whether the first line of a table is a header: yes or no"),
    ("read.columns", "", "Columns of a table to read, by name or by number from 1"),
    ("read.drop_columns", "", "Columns of a table to leave out"),
    ("read.categories", "", "Columns of a table that are categories"),
    ("read.missing", "", "Missing values: drop, mean or keep"),
    ("read.clip_outliers", "", "Whether extreme values of a column or channel are clipped"),
    ("read.window", "time steps", "Length of the windows into which a recording is cut"),
    ("read.hop", "time steps", "Distance of two windows"),
    ("read.size", "pixels", "Side to which pictures are scaled"),
    ("read.fit", "", "How a picture becomes square: crop, pad or stretch"),
    ("read.grey", "", "Whether pictures are read as grey images"),
    ("read.data_from", "", "Where the values of an array are during the training: auto, memory or disk"),
    ("augment.flip", "", "Whether half of the samples are mirrored: images from left to right, signals in time"),
    ("augment.crop", "values or pixels", "Side of the windows at random places of the samples; 0 for whole samples"),
    ("augment.shift", "values or pixels", "Largest random shift; 0 for none"),
    ("augment.edge", "", "What follows beyond the edge of a shifted sample: repeat or wrap"),
    ("condition.labels", "", "File with the class of each sample"),
    ("condition.label_header", "", "Whether the first line of a table of labels is a header: yes or no"),
    ("condition.dropout", "probability", "How often a sample is trained without its condition, for guidance"),
    ("condition.vector", "", "File with a vector for each sample"),
    ("condition.given", "", "File with known values for each sample"),
    ("model.name", "", "The network: mlp, unet, autoencoder, chapter or simple. train chooses it by the data"),
    (
        "model.width",
        "neurons or channels",
        "Size of a hidden layer; channels at full resolution of unet and autoencoder",
    ),
    ("model.depth", "blocks", "Residual blocks, for unet on each level"),
    ("model.encoding", "values", "Size of the step encoding"),
    ("model.step_encoding", "", "sinusoidal, halves, learned or fourier"),
    ("model.flip_sin_to_cos", "", "Variant of halves: cosines before sines"),
    ("model.frequency_shift", "", "Variant of halves: 1 for the frequencies of DDPM's code"),
    ("model.learned_steps", "steps", "Rows of the table of learned; at least diffusion_steps"),
    ("model.activation", "", "none, relu, silu, gelu_tanh, gelu_erf, tanh, sigmoid or leaky_relu"),
    ("model.residual", "", "Whether the blocks are residual"),
    ("model.layer_norm", "", "Whether the blocks have layer normalisation"),
    ("model.input_encoding", "values", "Size of a sinusoidal encoding of each input value; 0 for none"),
    ("model.dropout", "probability", "Dropout in hidden layers"),
    ("model.activation_noise", "standard deviations", "Noise that is added to hidden activations in training"),
    ("model.unet.multipliers", "times width", "Channels of each level; chosen by the size of the samples if omitted"),
    (
        "model.unet.attention",
        "levels",
        "Levels with attention, 0 is the finest; chosen by the size of the samples if omitted",
    ),
    ("model.unet.heads", "heads", "Attention heads"),
    ("model.unet.groups", "groups", "Groups of the group normalisation"),
    ("model.unet.time", "neurons", "Network on the step encoding; 0 for four times width"),
    ("model.unet.patch", "values or pixels", "Side of the patches that the network works on; 1 for single values"),
];

/// Settings that are not set by default, each with an example.
const EXAMPLES: &[(&str, &str)] = &[
    ("init", "\"runs/first\""),
    ("noise", "\"gaussian:0.3\""),
    ("mask", "\"block:0.1-0.6,future:0.5\""),
    ("times", "\"log_normal:0:1\""),
    ("loss_target", "\"v\""),
    ("read.kind", "\"signals\""),
    ("read.header", "\"yes\""),
    ("read.columns", "[\"1\", \"2\"]"),
    ("read.drop_columns", "[\"id\"]"),
    ("read.categories", "[\"code\"]"),
    ("read.missing", "\"mean\""),
    ("read.clip_outliers", "true"),
    ("read.window", "128"),
    ("read.hop", "64"),
    ("read.size", "32"),
    ("read.fit", "\"pad\""),
    ("read.grey", "true"),
    ("read.data_from", "\"disk\""),
    ("augment.flip", "true"),
    ("augment.crop", "24"),
    ("augment.shift", "2"),
    ("augment.edge", "\"wrap\""),
    ("condition.labels", "\"labels.npy\""),
    ("condition.label_header", "\"yes\""),
    ("condition.dropout", "0.1"),
    ("condition.vector", "\"vectors.npy\""),
    ("condition.given", "\"given.npy\""),
    ("model.unet.multipliers", "[1, 2, 4]"),
    ("model.unet.attention", "[2]"),
];

impl Config {
    /// All settings of the default for a network as a TOML file, with their meaning and, in brackets, their unit. Settings that are not set
    /// by default are comments with an example.
    ///
    /// # Errors
    /// When there is no network of this name.
    pub fn commented_toml(model: &str) -> Result<String> {
        let config = Self::for_model(model)?;
        let values = leaves(&to_table(&config));
        let (mut text, mut table) = (String::new(), "");
        let is_used = |name: &str| values.contains_key(name) || !name.starts_with("model.unet") || model == "unet";
        for (name, unit, meaning) in MEANINGS.iter().filter(|(name, ..)| is_used(name)) {
            let example = EXAMPLES.iter().find(|(of, _)| of == name).map(|(_, example)| *example);
            let (of, own) = name.rsplit_once('.').unwrap_or(("", name));
            let line = match (values.get(*name), example) {
                (Some(value), _) => format!("{own} = {value}"),
                (None, Some(example)) => format!("# {own} = {example}"),
                // A setting of other networks.
                (None, None) => continue,
            };
            if of != table {
                text += &format!("\n[{of}]\n");
                table = of;
            }
            let unit = if unit.is_empty() { String::new() } else { format!(" [{unit}]") };
            text += &format!("# {meaning}.{unit}\n{line}\n");
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::MODELS;
    use crate::train::ConditionSources;

    #[test]
    fn the_file_is_that_of_the_defaults() {
        for model in MODELS {
            let text = Config::commented_toml(model).unwrap();
            let config = Config::parse_run(&text).unwrap_or_else(|e| panic!("{e}: {text}")).0;
            assert_eq!(config, Config::for_model(model).unwrap(), "{text}");
        }
        assert!(Config::commented_toml("nope").is_err());
    }

    #[test]
    fn every_setting_has_a_meaning() {
        for model in MODELS {
            for name in leaves(&to_table(&Config::for_model(model).unwrap())).into_keys() {
                assert!(MEANINGS.iter().any(|(of, ..)| *of == name), "{name} has no meaning");
            }
        }
        let text = Config::commented_toml("unet").unwrap();
        for (name, example) in EXAMPLES {
            let own = name.rsplit('.').next().unwrap();
            assert!(text.contains(&format!("# {own} = {example}\n")), "{name} is not in the file");
        }
    }

    /// The examples are accepted, and are not what is the default anyway.
    #[test]
    fn examples_are_settings() {
        let default = Config { condition: ConditionSources::default(), ..Config::for_model("unet").unwrap() };
        for (name, example) in EXAMPLES {
            let (of, own) = name.rsplit_once('.').unwrap_or(("", name));
            let line = if of.is_empty() { format!("{own} = {example}") } else { format!("[{of}]\n{own} = {example}") };
            let model = if of.starts_with("model") { "" } else { "\n[model]\nname = \"unet\"" };
            let line = line.replace("[model.unet]", "[model]\nname = \"unet\"\n[model.unet]");
            let config = Config::parse_run(&format!("{line}{model}")).unwrap_or_else(|e| panic!("{name}: {e}")).0;
            assert!(config != default || *name == "condition.dropout", "{name}");
        }
    }

    /// The page of settings has a row for each of them.
    #[test]
    fn the_documentation_names_every_setting() {
        let page = include_str!("../../../docs/settings.md");
        for (name, ..) in MEANINGS {
            let own = name.rsplit('.').next().unwrap();
            let stated =
                [format!("`{own}`"), format!("`.{own}`"), format!(".{own}`"), format!("`--{}`", own.replace('_', "-"))];
            assert!(stated.iter().any(|stated| page.contains(stated)), "docs/settings.md does not name {name}");
        }
    }
}
