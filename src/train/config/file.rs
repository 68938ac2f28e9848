//! The settings as TOML: `config.toml`, and the files of `--config`.

use std::path::Path;

use super::{Config, ObjectiveKind, Task};
use crate::error::{Error, Result};
use crate::train::tables::{one_line, to_table};
use crate::train::{Facts, model_table};

/// The defaults for the network with this name, or for the one that is used if none is named.
pub(crate) type Base<'a> = dyn Fn(Option<&str>) -> Result<Config> + 'a;

impl Config {
    /// Reads a TOML file. Settings that are not in the file have the defaults of the network `model`, or of the network
    /// in the file when `model` is `None`.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read, [`Error::Setting`] with the invalid line or setting.
    pub fn read(path: &Path, model: Option<&str>) -> Result<Self> {
        Self::read_over(path, &|stated| Self::for_model(model.or(stated).unwrap_or("mlp")))
    }

    /// [`Config::read`] with other defaults: those of `base` for the network that the file names, if it names one.
    ///
    /// # Errors
    /// As [`Config::read`], and those of `base`.
    pub(crate) fn read_over(path: &Path, base: &Base) -> Result<Self> {
        Self::read_with(path, |text| Ok(Self::parse_all(text, base)?.0))
    }

    /// Reads the `config.toml` of a run, with the facts about its data if it contains them.
    ///
    /// # Errors
    /// As [`Config::read`].
    pub(crate) fn read_run(path: &Path) -> Result<(Self, Option<Facts>)> {
        Self::read_with(path, Self::parse_run)
    }

    fn read_with<T>(path: &Path, parse: impl FnOnce(&str) -> Result<T>) -> Result<T> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::io("cannot read", path, e))?;
        parse(&text).map_err(|e| Error::setting(format!("{}: {e}", path.display())))
    }

    /// Parses settings and the facts about the data of a run.
    pub(crate) fn parse_run(text: &str) -> Result<(Self, Option<Facts>)> {
        Self::parse_all(text, &|stated| Self::for_model(stated.unwrap_or("mlp")))
    }

    pub(super) fn parse_all(text: &str, base: &Base) -> Result<(Self, Option<Facts>)> {
        let invalid = |e: toml::de::Error| Error::setting(one_line(&e));
        let mut stated: toml::Table = text.parse().map_err(|e| not_toml(text, &e))?;
        let facts = stated.remove("facts").map(toml::Value::try_into).transpose().map_err(invalid)?;
        let model = stated.remove("model");
        let usual = base(model_table::name(model.as_ref())?)?;
        let model = model_table::read(model, usual.model.clone())?;
        let mut all = to_table(&Self { model, ..usual });
        let of_objective = stated.contains_key("objective") && !stated.contains_key("prediction");
        all.extend(stated);
        complete_decay(&mut all);
        let mut config: Self = all.try_into().map_err(invalid)?;
        if of_objective {
            config.prediction = config.prediction_for(config.objective);
        }
        Ok((config, facts))
    }

    /// The settings as TOML. Settings of the diffusion process are omitted for a denoiser, which does not have one.
    pub fn to_toml(&self) -> String {
        let text = toml::to_string(self).expect("settings are TOML");
        let omitted = self.without_effect();
        let is_stated = |line: &&str| !omitted.iter().any(|name| line.starts_with(&format!("{name} = ")));
        text.split_inclusive('\n').filter(is_stated).collect()
    }

    /// The settings that have no effect. One that differs from its default is not among them, so that it is not lost.
    pub(crate) fn without_effect(&self) -> Vec<&'static str> {
        let unused = match (self.task, self.objective) {
            (Task::Denoise, _) => &OF_DIFFUSION[..],
            (_, ObjectiveKind::Ddpm) => &["sigma_data"],
            (_, ObjectiveKind::Flow) => &["schedule", "zero_terminal_snr", "sigma_data"],
            (_, ObjectiveKind::Edm) => &["schedule", "zero_terminal_snr"],
        };
        let (all, default) = (to_table(self), to_table(&Self::new(self.model.clone())));
        unused.iter().copied().filter(|name| all.get(*name) == default.get(*name)).collect()
    }

    /// The content of the `config.toml` of a run: the settings, then the facts about its data.
    pub(crate) fn to_run_toml(&self, facts: &Facts) -> String {
        format!("{}\n{}", self.to_toml(), facts.to_table())
    }
}

/// The settings of the diffusion process.
pub(super) const OF_DIFFUSION: [&str; 6] =
    ["objective", "schedule", "zero_terminal_snr", "diffusion_steps", "sigma_data", "prediction"];

/// Adds the omitted parts of `decay` in a file: the default warm-up, and all steps as the length of a cosine. A name alone
/// selects the default of all parts.
fn complete_decay(all: &mut toml::Table) {
    let steps = all.get("steps").and_then(toml::Value::as_integer).unwrap_or(0);
    let parts = |name: &str| match name {
        "cosine" => vec![("warmup", steps / 20), ("total", steps)],
        "inverse_sqrt" => vec![("hold", 1_000)],
        _ => vec![],
    };
    let Some(decay) = all.get_mut("decay") else { return };
    if let Some(name) = decay.as_str().filter(|name| !parts(name).is_empty()) {
        *decay = toml::Table::from_iter([(name.to_string(), toml::Table::new().into())]).into();
    }
    for (name, stated) in decay.as_table_mut().into_iter().flatten() {
        for (part, value) in parts(name) {
            if let Some(stated) = stated.as_table_mut() {
                stated.entry(part).or_insert(value.into());
            }
        }
    }
}

/// A syntax error with its line.
fn not_toml(text: &str, e: &toml::de::Error) -> Error {
    let line = e.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
    let content = text.lines().nth(line - 1).unwrap_or_default();
    if let Some((name, "")) = content.split_once('=').map(|(name, value)| (name.trim(), value.trim())) {
        return Error::setting(format!("line {line}: `{name}` has no value; write {name} = VALUE, or remove the line"));
    }
    Error::setting(format!("line {line} is not TOML: {}", e.message()))
}
