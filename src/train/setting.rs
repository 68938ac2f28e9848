//! One setting by its name, as `--sweep` changes it.

use std::collections::BTreeMap;

use super::config::{one_line, to_table};
use super::{Config, Task};
use crate::data::corrupt::NoiseKind;
use crate::error::{Error, Result};
use crate::nn::{MODELS, Model};
use crate::ops::Decay;

/// Short names of settings.
const SHORT: [(&str, &str); 1] = [("noise", "model.activation_noise")];

/// The names of [`Config::decay_named`].
const DECAYS: &[&str] = &["constant", "cosine", "inverse_sqrt"];

/// The settings of a table by their names, such as `model.width`.
pub(super) fn leaves(table: &toml::Table) -> BTreeMap<String, toml::Value> {
    let mut found = BTreeMap::new();
    for (name, value) in table {
        match value {
            // The course of the learning rate is one setting, whatever belongs to it.
            toml::Value::Table(inner) if name != "decay" => {
                found.extend(leaves(inner).into_iter().map(|(inner, value)| (format!("{name}.{inner}"), value)));
            }
            _ => drop(found.insert(name.clone(), value.clone())),
        }
    }
    found
}

/// Puts a value into a table by the name that [`leaves`] gives it, in place of what does not lead there.
pub(super) fn insert(table: &mut toml::Table, name: &str, value: toml::Value) {
    let Some((first, rest)) = name.split_once('.') else {
        table.insert(name.into(), value);
        return;
    };
    let mut inner = match table.remove(first) {
        Some(toml::Value::Table(inner)) => inner,
        _ => toml::Table::new(),
    };
    insert(&mut inner, rest, value);
    table.insert(first.into(), inner.into());
}

impl Config {
    /// These settings with another value for one of them, named as in `config.toml`: `lr`, or `model.unet.heads`, or
    /// by the end of its name, `heads`. Another `model.name` comes with that network's usual settings.
    ///
    /// # Errors
    /// With the settings there are, or the values that this one takes.
    pub fn with(&self, key: &str, value: &str) -> Result<Self> {
        let mut all = to_table(&Self { facts: None, ..self.clone() });
        let settable = self.settable();
        let name = self.name_of(key, &settable)?;
        let new = self.value_of(&name, value, leaves(&all).get(&name), &settable[&name])?;
        match new.as_str().filter(|_| name == "model.name") {
            Some(network) => drop(all.insert("model".into(), to_table(&Model::named(network)?).into())),
            None => insert(&mut all, &name, new),
        }
        let changed: Self = all
            .try_into()
            .map_err(|e: toml::de::Error| Error::setting(format!("{name} = {value}: {}", one_line(&e))))?;
        let steps = changed.steps;
        let mut changed = Self { steps: self.steps, ..changed };
        changed.set_steps(steps);
        changed.check()?;
        Ok(changed)
    }

    /// A course of the learning rate over these steps by its name; `warmup` are the steps in which it grows (a twentieth
    /// when absent), or stays (1000).
    ///
    /// # Errors
    /// With the names there are.
    pub fn decay_named(&self, name: &str, warmup: Option<u32>) -> Result<Decay> {
        match (name, warmup) {
            ("constant", None) => Ok(Decay::Constant),
            ("constant", Some(_)) => {
                Err(Error::setting("--warmup belongs to --decay cosine or inverse_sqrt; a constant rate has none"))
            }
            ("cosine", _) => Ok(Decay::Cosine { warmup: warmup.unwrap_or(self.steps / 20), total: self.steps }),
            ("inverse_sqrt", _) => Ok(Decay::InverseSqrt { hold: warmup.unwrap_or(1_000) }),
            _ => Err(Error::unknown("decay", name, DECAYS)),
        }
    }

    /// Whether losses of both measure the same, so that the lower one is the better one.
    pub fn measures_like(&self, other: &Self) -> bool {
        // All else decides how well a run learns, not what its loss is.
        let measured = |c: &Self| {
            let objective = (c.task, c.noise, c.prediction, c.loss.clone(), c.weighting, c.normalise);
            (objective, c.schedule.clone(), c.diffusion_steps, c.data.clone(), c.validation)
        };
        measured(self) == measured(other)
    }

    /// The settings by their names, with a value for each that may be absent, so that all have a name and a kind.
    fn settable(&self) -> BTreeMap<String, toml::Value> {
        let model = self.model.clone().for_sample(&[32]);
        let mut filled = Self { facts: None, model, ..self.clone() };
        if filled.task == Task::Denoise {
            filled.noise.get_or_insert(NoiseKind::Gaussian(0.1));
        }
        leaves(&to_table(&filled))
    }

    /// The full name of the setting that `key` means: itself, the shortest one that ends so, or what it is short for.
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

    /// What `value` is for the setting `name`, which is `old` now and of the kind of `like`.
    fn value_of(&self, name: &str, value: &str, old: Option<&toml::Value>, like: &toml::Value) -> Result<toml::Value> {
        let plain = !value.starts_with(['"', '\'', '{']);
        let text = |text: String| Ok(toml::Value::String(text));
        match (name, self.noise) {
            ("decay", _) if plain => {
                let decay = self.decay_named(value, None)?;
                return Ok(toml::Value::try_from(decay).expect("a decay is TOML"));
            }
            // The strength of a noise may be given without its kind.
            ("noise", Some(noise)) if value.parse::<f64>().is_ok() => {
                let noise = noise.to_string();
                return text(format!("{}:{value}", noise.split(':').next().unwrap_or_default()));
            }
            // A list of losses may be written as text.
            ("loss", _) if plain && !value.starts_with('[') => return text(value.into()),
            _ if like.is_str() && plain => return text(value.into()),
            _ => {}
        }
        let now = match old {
            Some(old) => format!("{name} is {old} now"),
            None => format!("{name} is not set now; it takes a value such as {like}"),
        };
        let line: Option<toml::Table> = format!("v = {value}").parse().ok();
        let new = line.and_then(|mut line| line.remove("v"));
        let new = new.ok_or_else(|| Error::setting(format!("{name} = {value} is not understood; {now}")))?;
        match new.as_integer() {
            Some(whole) if like.is_float() => Ok(toml::Value::Float(whole as f64)),
            _ if matches!(name, "decay" | "loss") || new.same_type(like) => Ok(new),
            _ => Err(Error::setting(format!("{name} = {value} is of the wrong kind; {now}"))),
        }
    }
}

/// `key` itself where it names a setting, else the shortest name that ends so.
fn full_name(key: &str, settable: &BTreeMap<String, toml::Value>) -> Option<String> {
    let end = format!(".{key}");
    let ends_so = settable.keys().filter(|name| name.ends_with(&end)).min_by_key(|name| name.matches('.').count());
    settable.get_key_value(key).map(|(name, _)| name).or(ends_so).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{MlpOptions, UNetLevels};

    #[test]
    fn one_setting_is_changed_by_its_name() {
        let config = Config::default();
        assert_eq!(config.with("lr", "1").unwrap(), Config { lr: 1.0, ..Config::default() });
        let narrow = Model::from(MlpOptions { width: 32, ..MlpOptions::default() });
        assert_eq!(config.with("model.width", "32").unwrap().model, narrow);
        assert_eq!(config.with("width", "32").unwrap().model, narrow);
        assert_eq!(config.with("model.name", "unet").unwrap().model, Model::named("unet").unwrap());
        let denoiser = Config { task: Task::Denoise, noise: "gaussian:0.1".parse().ok(), ..Config::default() };
        assert_eq!(denoiser.with("noise", "0.5").unwrap().noise, "gaussian:0.5".parse().ok());
        let unset = Config { noise: None, ..denoiser };
        assert_eq!(unset.with("noise", "uniform:0.5").unwrap().noise, "uniform:0.5".parse().ok());
        let noisy = config.with("noise", "0.5").unwrap();
        assert_eq!(noisy, config.with("model.activation_noise", "0.5").unwrap());
        assert_ne!(noisy, config);
        assert_eq!(config.with("schedule", "cosine").unwrap().schedule, "cosine");
        for (key, value, cause) in [
            ("lrr", "1", "model.width"),
            ("lr", "fast", "lr is 0.002 now"),
            ("batch", "1.5", "wrong kind"),
            ("lr", "-1", "-1"),
            ("schedule", "nope", "sigmoid"),
            ("decay", "linear", "inverse_sqrt"),
            ("heads", "2", "model.unet.heads belongs to --model unet; the model is mlp"),
            ("model.name", "nope", "there are: mlp, chapter"),
            ("model", "unet", "model.name"),
        ] {
            let message = config.with(key, value).unwrap_err().to_string();
            assert!(message.contains(cause), "{message}");
        }
    }

    #[test]
    fn a_u_nets_settings_have_names_when_they_are_unset() {
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
        assert!(message.contains("not set now; it takes a value such as ["), "{message}");
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

    #[test]
    fn losses_compare_when_they_measure_the_same() {
        let config = Config::default();
        let like = |key: &str, value: &str| config.measures_like(&config.with(key, value).unwrap());
        assert!(like("lr", "0.1") && like("width", "8") && like("batch", "8"));
        assert!(!like("loss", "l1") && !like("prediction", "epsilon") && !like("schedule", "cosine"));
    }
}
