//! Autoguidance: the network of a second, weaker run, whose output guidance moves away from.
//!
//! *Source*: Karras et al. 2024, "Guiding a diffusion model with a bad version of itself".

use crate::diffusion::{Objective, Prediction, SamplerTable};
use crate::error::{Error, Result};
use crate::graph::{Graph, Var};
use crate::nn::{ConditionOptions, Inputs};
use crate::ops::{Combine, FillRow};
use crate::text::short;
use crate::train::{Checkpoint, ConditionFacts, Facts, Task};

/// The scope of the parameters of the guide in the graph.
pub(super) const SCOPE: &str = "guide.";

/// The guide of a run: another run of the same data and the same noise, with a smaller network or fewer training steps.
pub(super) struct GuideNetwork<'a> {
    checkpoint: &'a Checkpoint,
    /// Rows (l_x, l_m), one per row of the sampler, with which l_x x_t + l_m m is the prediction of the run; `None` if both
    /// predict the same.
    conversion: Option<Vec<f32>>,
}

impl<'a> GuideNetwork<'a> {
    /// Checks that `guide` estimates the same clean data as `run` from the same noisy data, at the same times and for the
    /// same conditions, some of which it may lack.
    ///
    /// # Errors
    /// [`Error::Setting`] with what differs.
    pub fn new(run: &Checkpoint, guide: &'a Checkpoint, table: &SamplerTable) -> Result<Self> {
        if guide.config.task == Task::Denoise {
            return Err(refused("it is a denoiser; use a run that generates samples of the same data"));
        }
        check_data(&run.facts, &guide.facts)?;
        check_conditions(&run.facts.conditions, &guide.facts.conditions)?;
        let (of_run, of_guide) = (run.config.objective()?, guide.config.objective()?);
        check_path(&of_run, &of_guide)?;
        let conversion = match [of_guide.prediction(), of_run.prediction()] {
            [from, to] if from == to => None,
            [from, to] => Some(conversion(table, from, to)?),
        };
        Ok(Self { checkpoint: guide, conversion })
    }

    /// The checkpoint.
    pub fn checkpoint(&self) -> &'a Checkpoint {
        self.checkpoint
    }

    /// The conditions of the network.
    fn conditions(&self) -> ConditionOptions {
        self.checkpoint.facts.conditions.options()
    }

    /// Whether it can be used for samples without a class.
    ///
    /// # Errors
    /// [`Error::Setting`] when it has classes, but has not learned samples without one.
    pub fn check_unknown_class(&self) -> Result<()> {
        if self.conditions().classes == 0 || self.checkpoint.config.condition.dropout > 0.0 {
            return Ok(());
        }
        Err(refused(
            "it was trained with --label-dropout 0 and has not learned samples without a class; omit --class none",
        ))
    }

    /// Adds the network in the scope [`SCOPE`], and its output as the prediction of the run [B, D]. It gets those of the
    /// conditions of the run that it has.
    ///
    /// # Errors
    /// When the settings of the network do not fit its samples.
    pub fn forward(&self, g: &mut Graph, inputs: Inputs) -> Result<Var> {
        let (Checkpoint { config, facts, .. }, conditions) = (self.checkpoint, self.conditions());
        let Inputs { x_t, t, class, vector, given } = inputs;
        let inputs = Inputs {
            class: class.filter(|_| conditions.classes > 0),
            vector: vector.filter(|_| conditions.vector > 0),
            given: given.filter(|_| conditions.given > 0),
            ..inputs
        };
        // The random frequencies of a step encoding depend on the seed of the run.
        let m = g.scoped(SCOPE, config.seed, |g| config.model.build(g, &facts.shape)?.forward(g, inputs))?;
        let Some(rows) = &self.conversion else { return Ok(m) };
        let count = rows.len() / 2;
        let numbers = g.constant([count, 1], (0..count).map(|row| row as f32).collect())?;
        let row = g.apply1(FillRow { batch: g.shape(t)[0] }, &[numbers])?;
        let rows = g.constant([count, 2], rows.clone())?;
        g.apply1(Combine, &[x_t, m, row, rows])
    }
}

fn refused(why: impl std::fmt::Display) -> Error {
    Error::setting(format!("the run of --guide does not fit: {why}"))
}

/// Checks that both networks see samples in the same form.
fn check_data(run: &Facts, guide: &Facts) -> Result<()> {
    if run.shape != guide.shape {
        return Err(refused(format!(
            "its samples have shape {:?}, but those of the run that it guides have {:?}; train it on the same data",
            guide.shape, run.shape
        )));
    }
    if run.normalisation.maps_like(&guide.normalisation) && run.columns.essential() == guide.columns.essential() {
        return Ok(());
    }
    Err(refused(
        "its data were normalised with another mean and deviation; train it on the same data, with the same --validation and \
         `normalise`, and with the same --seed if the data are built in, which draws them",
    ))
}

/// Checks that the run has every condition of its guide.
fn check_conditions(run: &ConditionFacts, guide: &ConditionFacts) -> Result<()> {
    let classes = guide.classes == 0 || (guide.classes, &guide.names) == (run.classes, &run.names);
    let vector = guide.vector.is_none() || guide.vector == run.vector;
    let given = guide.options().given == 0 || (&guide.given, guide.gaps) == (&run.given, run.gaps);
    let conditions = [
        ("classes", "--labels", classes),
        ("vectors", "--condition", vector),
        ("known values", "--given or --task complete", given),
    ];
    match conditions.into_iter().find(|(.., fits)| !fits) {
        None => Ok(()),
        Some((what, option, _)) => Err(refused(format!(
            "it is conditioned on {what} that the run that it guides does not have; train it with the same {option}, or without"
        ))),
    }
}

/// Checks that both networks get the same noisy data at the same times.
fn check_path(run: &Objective, guide: &Objective) -> Result<()> {
    let [a, b] = [run, guide].map(|objective| {
        let levels = objective.levels();
        (objective.path().is_continuous(), levels.iter().map(|level| [level.t, level.a, level.s]).collect::<Vec<_>>())
    });
    if a == b {
        return Ok(());
    }
    Err(refused(format!(
        "its noise is that of {}, but the run that it guides has {}; train it with the same --objective, --schedule and \
         diffusion_steps",
        guide.path(),
        run.path()
    )))
}

/// Rows (l_x, l_m) that convert a prediction to another, at the levels of a sampler.
fn conversion(table: &SamplerTable, from: Prediction, to: Prediction) -> Result<Vec<f32>> {
    let mut rows = Vec::with_capacity(2 * table.rows.len());
    for row in &table.rows {
        let converted = row.level.with_prediction(from).converted(to);
        if !converted.iter().all(|l| l.is_finite()) {
            return Err(refused(format!(
                "it predicts {from}, which does not determine {to} at t = {}; train it with --prediction {to}",
                short(row.level.t)
            )));
        }
        rows.extend(converted.map(|l| l as f32));
    }
    Ok(rows)
}
