//! Changing one setting by its name, for `--sweep`.

use std::collections::BTreeMap;

use super::tables::{insert, leaves, one_line, to_table};
use super::{Config, Task};
use crate::data::corrupt::NoiseKind;
use crate::diffusion::{LossTarget, Prediction, TrainingTimes};
use crate::error::{Error, Result};
use crate::nn::{MODELS, Model};
use crate::ops::Decay;

/// Short names of settings.
const SHORT: [(&str, &str); 2] = [("noise", "model.activation_noise"), ("model", "model.name")];

/// The names of [`Config::decay_named`].
const DECAYS: &[&str] = &["constant", "cosine", "inverse_sqrt"];

impl Config {
    /// These settings with another value for one of them. The key is its name in `config.toml`, such as `lr` or
    /// `model.unet.heads`, without leading parts if wanted (`heads`). Another `model.name` resets the model to the defaults
    /// of that network.
    ///
    /// # Errors
    /// With the available settings, or the valid values of this one.
    pub fn with(&self, key: &str, value: &str) -> Result<Self> {
        let mut all = to_table(self);
        let settable = self.settable();
        let name = self.name_of(key, &settable)?;
        let new = self.value_of(&name, value, leaves(&all).get(&name), &settable[&name])?;
        match new.as_str().filter(|_| name == "model.name") {
            Some(network) => drop(all.insert("model".into(), to_table(&Model::named(network)?).into())),
            None => insert(&mut all, &name, new),
        }
        let mut changed: Self = all
            .try_into()
            .map_err(|e: toml::de::Error| Error::setting(format!("{name} = {value}: {}", one_line(&e))))?;
        if name == "objective" && changed.objective != self.objective {
            changed.prediction = changed.prediction_for(changed.objective);
        }
        let steps = changed.steps;
        let mut changed = Self { steps: self.steps, ..changed };
        changed.set_steps(steps);
        changed.check()?;
        Ok(changed)
    }

    /// A learning rate schedule by name. `warmup` is the number of steps of the warm-up of `cosine` (a twentieth of all
    /// steps by default), or the number of steps before `inverse_sqrt` decays (1000 by default).
    ///
    /// # Errors
    /// When the name is unknown, or `constant` is combined with a warm-up.
    pub(crate) fn decay_named(&self, name: &str, warmup: Option<u32>) -> Result<Decay> {
        match (name, warmup) {
            ("constant", None) => Ok(Decay::Constant),
            ("constant", Some(_)) => Err(Error::setting("--warmup needs --decay cosine or inverse_sqrt")),
            ("cosine", _) => Ok(Decay::Cosine { warmup: warmup.unwrap_or(self.steps / 20), total: self.steps }),
            ("inverse_sqrt", _) => Ok(Decay::InverseSqrt { hold: warmup.unwrap_or(1_000) }),
            _ => Err(Error::unknown("decay", name, DECAYS)),
        }
    }

    /// Whether the losses of both measure the same quantity, so that they can be compared.
    #[cfg(feature = "cli")]
    pub(crate) fn measures_like(&self, other: &Self) -> bool {
        // The other settings affect how well a run learns, but not the definition of its loss.
        let measured = |c: &Self| {
            let objective = (c.task, c.noise, c.prediction, c.loss.clone(), c.weighting, c.normalise);
            let path =
                (c.objective, c.schedule, c.zero_terminal_snr, c.diffusion_steps, c.sigma_data, c.times, c.loss_target);
            let samples = (c.data.clone(), c.read.clone(), c.validation, c.augment.crop, c.mask.clone());
            (objective, path, samples)
        };
        measured(self) == measured(other)
    }

    /// All settings by their names. Optional settings have an example value, so that they have a type.
    fn settable(&self) -> BTreeMap<String, toml::Value> {
        let model = self.model.clone().for_sample(&[32]);
        let mut filled = Self { model, ..self.clone() };
        if filled.task == Task::Denoise {
            filled.noise.get_or_insert(NoiseKind::Gaussian(0.1));
        }
        if filled.task == Task::Complete {
            filled.mask.get_or_insert_default();
        }
        if filled.augment.is_default() {
            filled.augment.flip = true;
        }
        filled.times.get_or_insert(TrainingTimes::Uniform);
        filled.loss_target.get_or_insert(LossTarget::new(Prediction::V));
        leaves(&to_table(&filled))
    }

    /// The full name of the setting `key`: itself, the shortest name with this ending, or the name that it abbreviates.
    fn name_of(&self, key: &str, settable: &BTreeMap<String, toml::Value>) -> Result<String> {
        let short = || SHORT.iter().find(|(short, _)| *short == key).map(|(_, name)| name.to_string());
        if let Some(name) = full_name(key, settable).or_else(short) {
            return Ok(name);
        }
        let of = |name: &str| Some((full_name(key, &Self::for_model(name).ok()?.settable())?, name.to_string()));
        let (names, owners): (Vec<String>, Vec<String>) = MODELS.iter().filter_map(|name| of(name)).unzip();
        if let Some(name) = names.first() {
            let (owners, model) = (owners.join(" or "), self.model.name());
            return Err(Error::setting(format!("{name} belongs to --model {owners}; the model is {model}")));
        }
        Err(Error::unknown("setting", key, &settable.keys().map(String::as_str).collect::<Vec<_>>()))
    }

    /// Parses a value of the setting `name`. `old` is its current value, `like` a value of the same type.
    fn value_of(&self, name: &str, value: &str, old: Option<&toml::Value>, like: &toml::Value) -> Result<toml::Value> {
        let plain = !value.starts_with(['"', '\'', '{']);
        let text = |text: String| Ok(toml::Value::String(text));
        match (name, self.noise) {
            ("decay", _) if plain => {
                let decay = self.decay_named(value, None)?;
                return Ok(toml::Value::try_from(decay).expect("a decay is TOML"));
            }
            // A strength without the kind of noise.
            ("noise", Some(noise)) if value.parse::<f64>().is_ok() => {
                let noise = noise.to_string();
                return text(format!("{}:{value}", noise.split(':').next().unwrap_or_default()));
            }
            // A list of losses as text.
            ("loss", _) if plain && !value.starts_with('[') => return text(value.into()),
            _ if like.is_str() && plain => return text(value.into()),
            _ => {}
        }
        let now = match old {
            Some(old) => format!("{name} is {old}"),
            None => format!("{name} is not set; it takes a value such as {like}"),
        };
        let line: Option<toml::Table> = format!("v = {value}").parse().ok();
        let new = line.and_then(|mut line| line.remove("v"));
        let new = new.ok_or_else(|| Error::setting(format!("{name} = {value} is not a valid value; {now}")))?;
        match new.as_integer() {
            Some(whole) if like.is_float() => Ok(toml::Value::Float(whole as f64)),
            _ if matches!(name, "decay" | "loss") || new.same_type(like) => Ok(new),
            _ => Err(Error::setting(format!("{name} = {value} has the wrong type; {now}"))),
        }
    }
}

/// `key` itself if it is the name of a setting, otherwise the shortest name with this ending.
fn full_name(key: &str, settable: &BTreeMap<String, toml::Value>) -> Option<String> {
    let end = format!(".{key}");
    let ends_so = settable.keys().filter(|name| name.ends_with(&end)).min_by_key(|name| name.matches('.').count());
    settable.get_key_value(key).map(|(name, _)| name).or(ends_so).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{MlpOptions, UNetLevels};
    use crate::train::ScheduleKind;

    #[test]
    fn one_setting_is_changed_by_its_name() {
        let config = Config::default();
        assert_eq!(config.with("lr", "1").unwrap(), Config { lr: 1.0, ..Config::default() });
        let narrow = Model::from(MlpOptions { width: 32, ..MlpOptions::default() });
        assert_eq!(config.with("model.width", "32").unwrap().model, narrow);
        assert_eq!(config.with("width", "32").unwrap().model, narrow);
        assert_eq!(config.with("model.name", "unet").unwrap().model, Model::named("unet").unwrap());
        assert_eq!(config.with("model", "unet").unwrap().model, Model::named("unet").unwrap());
        let denoiser = Config { task: Task::Denoise, noise: "gaussian:0.1".parse().ok(), ..Config::default() };
        assert_eq!(denoiser.with("noise", "0.5").unwrap().noise, "gaussian:0.5".parse().ok());
        let unset = Config { noise: None, ..denoiser };
        assert_eq!(unset.with("noise", "uniform:0.5").unwrap().noise, "uniform:0.5".parse().ok());
        let noisy = config.with("noise", "0.5").unwrap();
        assert_eq!(noisy, config.with("model.activation_noise", "0.5").unwrap());
        assert_ne!(noisy, config);
        assert_eq!(config.with("schedule", "cosine").unwrap().schedule, ScheduleKind::Cosine);
        let cropped = config.with("crop", "8").unwrap();
        assert_eq!((cropped.augment.crop, config.with("flip", "true").unwrap().augment.flip), (8, true));
        let complete = Config { task: Task::Complete, ..Config::default() };
        let masked = complete.with("mask", "point:0.2").unwrap();
        assert_eq!(masked.mask, "point:0.2".parse().ok());
        assert!(config.with("mask", "point:0.2").unwrap_err().to_string().contains("unknown setting"));
        for (key, value, cause) in [
            ("lrr", "1", "model.width"),
            ("lr", "fast", "lr is 0.002"),
            ("batch", "1.5", "wrong type"),
            ("lr", "-1", "-1"),
            ("schedule", "nope", "sigmoid"),
            ("decay", "linear", "inverse_sqrt"),
            ("heads", "2", "model.unet.heads belongs to --model unet; the model is mlp"),
            ("model.name", "nope", "there are: mlp, chapter"),
            ("model", "nope", "there are: mlp, chapter"),
        ] {
            let message = config.with(key, value).unwrap_err().to_string();
            assert!(message.contains(cause), "{message}");
        }
    }

    #[test]
    fn optional_settings_of_a_unet_have_names() {
        let config = Config::for_model("unet").unwrap();
        let options = |key: &str, value: &str| match config.with(key, value).unwrap().model {
            Model::UNet(options) => options.levels,
            other => panic!("{other:?}"),
        };
        assert_eq!(options("lr", "0.5"), UNetLevels::default());
        assert_eq!(options("heads", "2").heads, 2);
        assert_eq!(options("unet.groups", "2").groups, 2);
        assert_eq!(options("model.unet.time", "9").time, 9);
        assert_eq!(options("multipliers", "[1, 3]").multipliers, Some(vec![1, 3]));
        assert_eq!(options("attention", "[]").attention, Some(vec![]));
        let message = config.with("attention", "1").unwrap_err().to_string();
        assert!(message.contains("not set; it takes a value such as ["), "{message}");
        let message = Config::for_model("simple").unwrap().with("depth", "2").unwrap_err().to_string();
        assert!(message.contains("model.depth belongs to --model mlp or unet; the model is simple"), "{message}");
        let message = config.with("nope", "1").unwrap_err().to_string();
        assert!(message.contains("model.unet.heads") && message.contains("model.unet.multipliers"), "{message}");
    }

    #[test]
    fn a_decay_is_one_setting() {
        let config = Config { steps: 100, ..Config::default() };
        let decay = |value: &str| config.with("decay", value).unwrap().decay;
        assert_eq!(decay("constant"), Decay::Constant);
        assert_eq!(decay("\"constant\""), Decay::Constant);
        assert_eq!(decay("inverse_sqrt"), Decay::InverseSqrt { hold: 1_000 });
        assert_eq!(decay("{ inverse_sqrt = { hold = 5 } }"), Decay::InverseSqrt { hold: 5 });
        let cosine = config.with("decay", "cosine").unwrap();
        assert_eq!(cosine.decay, Decay::Cosine { warmup: 5, total: 100 });
        assert_eq!(cosine.with("decay", "constant").unwrap().decay, Decay::Constant);
        assert_eq!(cosine.with("steps", "50").unwrap().decay, Decay::Cosine { warmup: 5, total: 50 });
    }

    #[cfg(feature = "cli")]
    #[test]
    fn losses_of_the_same_quantity_can_be_compared() {
        let config = Config::default();
        let like = |key: &str, value: &str| config.measures_like(&config.with(key, value).unwrap());
        assert!(like("lr", "0.1") && like("width", "8") && like("batch", "8"));
        assert!(!like("loss", "l1") && !like("prediction", "epsilon") && !like("schedule", "cosine"));
    }
}
