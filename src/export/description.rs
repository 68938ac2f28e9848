//! `config.json` of an export: what a program needs besides the weights.

use serde::Serialize;
use serde_json::{Value, json};

use crate::data::{Grouping, Normalisation};
use crate::diffusion::Objective;
use crate::error::{Error, Result};
use crate::train::{Checkpoint, ConditionValues, Config, Facts, ObjectiveKind, Task};

/// The version of the format.
pub(super) const FORMAT: u64 = 1;

/// value = scale * normalised + shift, with entries for `repeat` consecutive values each, or one entry for all.
#[derive(Serialize)]
struct Units<'a> {
    shift: &'a [f32],
    scale: &'a [f32],
    repeat: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    shape: Option<&'a [usize]>,
}

impl<'a> Units<'a> {
    fn of(normalisation: &'a Normalisation, shape: Option<&'a [usize]>) -> Self {
        let Normalisation { shift, scale, repeat, .. } = normalisation;
        Self { shift, scale, repeat: *repeat, shape }
    }
}

/// The smallest and the largest normalised value, with entries for `repeat` consecutive values each, or one for all.
#[derive(Serialize)]
struct Limits {
    low: Vec<f32>,
    high: Vec<f32>,
    repeat: usize,
}

impl Limits {
    /// Those to which samplers clip: the range of the data within the bound of the normalisation.
    fn of(facts: &Facts) -> Self {
        let (bound, groups) = (facts.normalisation.bound, Grouping::of(facts.kind, &facts.shape));
        let ranges = facts.normalisation.apply_to_ranges(&facts.range);
        if ranges.len() != groups.count {
            return Self { low: vec![-bound], high: vec![bound], repeat: 1 };
        }
        let low = ranges.iter().map(|range| range[0].max(-bound)).collect();
        let high = ranges.iter().map(|range| range[1].min(bound)).collect();
        Self { low, high, repeat: groups.repeat }
    }
}

/// The content of `config.json`.
///
/// # Errors
/// When a setting of the run is out of range.
pub(super) fn description(checkpoint: &Checkpoint) -> Result<Value> {
    let Checkpoint { config, facts, step, .. } = checkpoint;
    let values = |values: &Option<ConditionValues>| {
        values.as_ref().map(|values| json!(Units::of(&values.normalisation, Some(&values.shape))))
    };
    let conditions = &facts.conditions;
    let names = (!facts.columns.names.is_empty()).then_some(&facts.columns.names);
    let offset = (!facts.columns.offset.is_empty()).then_some(&facts.columns.offset);
    // Why samples cannot be drawn.
    let no_samples = match config.task {
        Task::Denoise => Some("this model is a denoiser, which cannot generate samples; use `estimate`".to_string()),
        _ => config.objective()?.check_end().err().map(|e| e.to_string()),
    };
    Ok(json!({
        "format": FORMAT,
        "task": config.task,
        "no_samples": no_samples,
        "kind": facts.kind,
        "shape": facts.shape,
        "sample_rate": facts.sample_rate,
        "columns": {"names": names, "offset": offset, "categories": facts.columns.categories},
        "network": network(checkpoint)?,
        "process": process(config)?,
        "units": Units::of(&facts.normalisation, None),
        "limits": Limits::of(facts),
        "conditions": {
            "classes": conditions.classes,
            "names": conditions.names,
            "vector": values(&conditions.vector),
            "given": values(&conditions.given),
            "gaps": conditions.gaps,
        },
        "run": {"step": step, "config": config.without_secrets().to_run_toml(facts)},
    }))
}

/// The settings of the network, with what follows from the shape of the samples and from the seed.
fn network(checkpoint: &Checkpoint) -> Result<Value> {
    let (config, facts) = (&checkpoint.config, &checkpoint.facts);
    let model = config.model.clone().for_sample(&facts.shape);
    let mut network =
        serde_json::to_value(&model).map_err(|e| Error::input(format!("the settings of the network: {e}")))?;
    // The table is omitted without conditions.
    network["conditions"] = json!(model.conditions());
    if let Some(turns) = model.step_encoder().and_then(|step| step.fourier_turns(config.seed)) {
        network["fourier_turns"] = json!(turns);
    }
    Ok(network)
}

/// The noise levels and the prediction.
fn process(config: &Config) -> Result<Value> {
    let objective: Objective = config.objective()?;
    let mut process = json!({"prediction": config.prediction, "steps": objective.steps()});
    match config.objective {
        ObjectiveKind::Ddpm => {
            process["path"] = "steps".into();
            process["alpha_bar"] = json!(config.noise_schedule()?.alpha_bars());
        }
        ObjectiveKind::Flow => process["path"] = "flow".into(),
        ObjectiveKind::Edm => {
            process["path"] = "edm".into();
            let [low, high] = [0.0, objective.path().last()].map(|t| objective.sigma(t));
            process["sigma_range"] = json!([low, high, config.sigma_data]);
        }
    }
    Ok(process)
}
