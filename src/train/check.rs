//! Checks of the settings: ranges and combinations.

use super::config::{Config, ObjectiveKind, Task};
use crate::data::Missing;
use crate::diffusion::{Objective, Weighting};
use crate::error::{Error, Result};
use crate::nn::{StepEncoderOptions, StepEncoding};
use crate::ops::Decay;

/// The maximum number of training steps.
pub(crate) const MOST_STEPS: u32 = 100_000_000;

impl Config {
    /// Checks everything that does not depend on the data.
    ///
    /// # Errors
    /// [`Error::Setting`] with the setting and its valid values.
    pub fn check(&self) -> Result<()> {
        self.check_stored()?;
        match self.task {
            Task::Diffusion | Task::Complete => self.objective()?.check_end(),
            Task::Denoise => Ok(()),
        }
    }

    /// [`Config::check`] of a stored run. Older versions also trained with noise schedules that do not end in noise: such a
    /// run can be shown and used for denoising.
    ///
    /// # Errors
    /// As [`Config::check`].
    pub(super) fn check_stored(&self) -> Result<()> {
        let refuse = |text: String| Err(Error::setting(text));
        if self.steps == 0 || self.steps > MOST_STEPS {
            return refuse(format!("{} training steps; use 1 to {MOST_STEPS}", self.steps));
        }
        if !(self.lr > 0.0 && self.lr < 100.0) {
            return refuse(format!(
                "a learning rate (lr) of {}; use one above 0 and below 100, such as 0.001",
                self.lr
            ));
        }
        if self.seed > i64::MAX as u64 {
            return refuse(format!("a seed of {}; use 0 to {}", self.seed, i64::MAX));
        }
        if !(0.0..1.0).contains(&self.ema) {
            return refuse(format!("ema is {}; use 0 for no average, or a decay below 1, such as 0.999", self.ema));
        }
        if !(self.clip_norm >= 0.0 && self.clip_norm.is_finite()) {
            return refuse(format!("clip_norm is {}; use 0 for no clipping, or a norm such as 1", self.clip_norm));
        }
        if self.ema_snapshot_every > self.steps {
            return refuse(format!(
                "ema_snapshot_every is {}, but there are {} steps; use 0 for no snapshots, or fewer steps",
                self.ema_snapshot_every, self.steps
            ));
        }
        if self.checkpoint_every == 0 {
            return refuse("checkpoint_every is 0; use the number of steps between checkpoints, such as 1000".into());
        }
        if let Some(&StepEncoderOptions { kind: StepEncoding::Learned, learned_steps, .. }) = self.model.step_encoder()
            && learned_steps < self.diffusion_steps
        {
            return refuse(format!(
                "a learned step encoding of {learned_steps} rows for {} diffusion steps; set model.learned_steps to {0} \
                 or more in the file of --config",
                self.diffusion_steps
            ));
        }
        self.augment.check()?;
        self.condition.check()?;
        self.check_task()?;
        self.check_decay()?;
        self.check_validation()?;
        self.optimizer()?;
        let objective = self.objective()?;
        self.check_objective(&objective)?;
        self.weighting.table(&self.compared(&objective))?;
        if self.loss.on_x0() {
            objective.x0_table()?;
        }
        Ok(())
    }

    /// Checks whether the settings of the objective fit each other.
    fn check_objective(&self, objective: &Objective) -> Result<()> {
        let (kind, continuous) = (self.objective, objective.path().is_continuous());
        if self.zero_terminal_snr && kind != ObjectiveKind::Ddpm {
            return Err(Error::setting(format!(
                "zero_terminal_snr needs the objective ddpm, but it is {kind}, which has no noise schedule; omit it"
            )));
        }
        let step = self.model.step_encoder();
        if continuous && step.is_some_and(|step| step.kind == StepEncoding::Learned) {
            return Err(Error::setting(format!(
                "a learned step encoding has one row per diffusion step, but the times of the objective {kind} are continuous; use \
                 another step encoding, such as halves"
            )));
        }
        if objective.table().iter().flatten().any(|number| !number.is_finite()) {
            return Err(Error::setting(format!(
                "the prediction {} has no finite target where the path ({}) is pure noise; predict v, x0 or flow",
                self.prediction,
                objective.path()
            )));
        }
        self.loss_target().map_or(Ok(vec![]), |target| target.table(objective)).map(drop)
    }

    /// The objective whose target the loss compares.
    pub(super) fn compared(&self, objective: &Objective) -> Objective {
        objective.with_prediction(self.loss_target().map_or(self.prediction, |target| target.of))
    }

    /// Checks whether noise and weighting fit the task.
    fn check_task(&self) -> Result<()> {
        let refuse = |text: String| Err(Error::setting(text));
        match (self.task, &self.noise) {
            (Task::Denoise, None) => {
                return refuse("the task denoise needs the noise to remove, such as --noise gaussian:0.1".into());
            }
            (Task::Denoise, Some(_)) if self.weighting != Weighting::None => {
                let weighting = self.weighting;
                return refuse(format!(
                    "the weighting {weighting} needs diffusion steps, which --task denoise does not have"
                ));
            }
            (Task::Denoise, Some(_)) if self.condition.is_some() => {
                return refuse(
                    "a denoiser has no condition; omit --labels, --condition and --given, or train a diffusion model with \
                     --given NOISY, which draws clean samples for noisy ones"
                        .into(),
                );
            }
            (Task::Diffusion | Task::Complete, Some(noise)) => {
                return refuse(format!(
                    "the noise {noise} needs --task denoise; a diffusion model takes --schedule instead"
                ));
            }
            _ => {}
        }
        if self.task == Task::Complete && self.loss.on_x0() {
            return refuse(format!(
                "the loss {} compares whole images, but a model that completes samples is trained on their unknown values; \
                 use mse, l1 or huber",
                self.loss
            ));
        }
        if self.augment.crop > 0 && self.mask.as_ref().is_some_and(|mask| mask.file().is_some()) {
            return refuse(
                "a file of masks has masks for whole samples, not for windows; omit --crop, or use rules".into(),
            );
        }
        if self.task != Task::Complete && self.mask.is_some() {
            return refuse("a mask needs a model that completes samples; add --task complete, or omit --mask".into());
        }
        if self.task != Task::Complete && self.read.missing == Some(Missing::Keep) {
            return refuse(
                "--missing keep needs a model that completes samples; add --task complete, or use --missing drop or mean"
                    .into(),
            );
        }
        if self.weighting != Weighting::None && !self.loss.is_weighted() {
            let (weighting, loss) = (self.weighting, &self.loss);
            return refuse(format!(
                "the weighting {weighting} applies to mse, mse_document, l1 and huber, but the loss is {loss}; omit \
                 --weighting, or add one of these losses"
            ));
        }
        Ok(())
    }

    fn check_decay(&self) -> Result<()> {
        let refuse = |text: String| Err(Error::setting(text));
        if let Decay::Cosine { warmup, total } = self.decay
            && warmup >= total
        {
            return refuse(format!(
                "decay: a warm-up of {warmup} steps must be shorter than the total of {total} steps"
            ));
        }
        if let Decay::Cosine { total, .. } = self.decay
            && total < self.steps
        {
            return refuse(format!(
                "decay: the cosine is 0 from step {total} on, but there are {} steps; use steps = {total}, or a total of {0}",
                self.steps
            ));
        }
        Ok(())
    }

    fn check_validation(&self) -> Result<()> {
        let refuse = |text: String| Err(Error::setting(text));
        if !(0.0..1.0).contains(&self.validation) {
            return refuse(format!(
                "validation is {}; use 0 for none, or the fraction of the data to hold out, such as 0.1",
                self.validation
            ));
        }
        if self.validation_every == 0 {
            return refuse("validation_every is 0; use the number of steps between evaluations, such as 100".into());
        }
        for (name, on) in [("early_stop", self.early_stop > 0), ("keep_best", self.keep_best)] {
            if on && self.validation == 0.0 {
                return refuse(format!("{name} needs held-out data; add --validation 0.1"));
            }
            if on && self.validation_every > self.steps {
                let (every, steps) = (self.validation_every, self.steps);
                return refuse(format!(
                    "{name}: there is no evaluation within {steps} steps; reduce validation_every, which is {every}"
                ));
            }
        }
        Ok(())
    }
}
