//! Previews: pictures of samples that are drawn from time to time while a run is trained, from the averaged weights and with
//! the same noise each time, and a film of them.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::data::{Dataset, Kind, Subset};
use crate::plot::{self, Scale, evenly_spaced};
use crate::train::{RunFolder, Trainer};
use crate::{Device, Error};

use super::drawing::{Drawing, complete, denoise, generate, scale_of, with_a_place};

/// When previews are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Every {
    /// By time.
    #[default]
    Auto,
    Off,
    Steps(u32),
}

impl FromStr for Every {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            steps => match steps.parse() {
                Ok(1..) => Ok(Self::Steps(steps.parse().unwrap_or(u32::MAX))),
                _ => Err("use auto, off, or a number of steps such as 500"),
            },
        }
    }
}

/// Draws the previews of a run.
pub struct Previews<'a> {
    device: &'a Device,
    folder: &'a RunFolder,
    stopped: &'a AtomicBool,
    /// The samples of the data that are denoised, completed, or have the conditions of generated ones.
    real: Dataset,
    scale: Scale,
    every: Every,
    pace: Pace,
}

/// The number of samples, and the most values of the images among them.
const SAMPLES: usize = 36;
const POINTS: usize = 2_000;
const MOST_VALUES: usize = 1 << 20;

impl<'a> Previews<'a> {
    /// Prepares previews with some of the samples `shown`; `None` if there are to be none.
    ///
    /// # Errors
    /// When the samples cannot be copied.
    pub fn new(
        every: Every,
        (device, folder): (&'a Device, &'a RunFolder),
        shown: &Dataset,
        stopped: &'a AtomicBool,
    ) -> crate::Result<Option<Self>> {
        if every == Every::Off {
            return Ok(None);
        }
        let most = match shown.kind() {
            Kind::Points | Kind::Table => POINTS,
            Kind::Signals => 16,
            Kind::Images => (MOST_VALUES / shown.sample_len()).clamp(4, SAMPLES),
        };
        let real = Subset::all(shown).evenly_spaced(most)?;
        let scale = scale_of(shown);
        Ok(Some(Self { device, folder, stopped, real, scale, every, pace: Pace::new() }))
    }

    /// The number of steps until the next preview, if it is due after a number of steps.
    pub fn until(&self, step: u32) -> u32 {
        match self.every {
            Every::Steps(n) => n - step % n,
            _ => u32::MAX,
        }
    }

    /// Draws a preview if it is due. A failure is reported once; the training continues without previews.
    pub fn draw_if_due(&mut self, trainer: &mut Trainer) -> Option<PathBuf> {
        let due = match self.every {
            Every::Steps(n) => trainer.step().is_multiple_of(n),
            Every::Auto => self.pace.is_due(trainer, self.real.len()),
            Every::Off => false,
        };
        if due { self.draw(trainer) } else { None }
    }

    /// Draws the preview of the last step of a run that has ended, if it has others.
    pub fn draw_last(&mut self, trainer: &mut Trainer) -> Option<PathBuf> {
        let last = self.folder.previews().pop().map(|(step, _)| step);
        if last.is_some_and(|step| step != trainer.step()) { self.draw(trainer) } else { None }
    }

    /// Writes the film of all previews, if there are several.
    pub fn film(&self) -> Option<PathBuf> {
        let pictures: Vec<PathBuf> = self.folder.previews().into_iter().map(|(_, path)| path).collect();
        if pictures.len() < 2 {
            return None;
        }
        let path = self.folder.film();
        let written = plot::film(&path, &pictures);
        written.inspect_err(|e| log::warn!("the film of the previews cannot be written: {e}")).ok().map(|_| path)
    }

    fn draw(&mut self, trainer: &mut Trainer) -> Option<PathBuf> {
        let began = Instant::now();
        let drawn = self.picture(trainer);
        self.pace.drew(began);
        match drawn {
            Ok(path) => Some(path),
            Err(Error::Interrupted(_)) => None,
            Err(e) => {
                log::warn!("the training continues without previews: {e}; --preview off omits them");
                self.every = Every::Off;
                None
            }
        }
    }

    fn picture(&self, trainer: &mut Trainer) -> crate::Result<PathBuf> {
        let (real, checkpoint) = (&self.real, trainer.weights()?);
        let with = Drawing { device: self.device, seed: trainer.config().seed, real };
        let mut observe = |_| !self.stopped.load(Ordering::Relaxed);
        let title = |what: &str| format!("{what}, step {}", trainer.step());
        let path = self.folder.new_preview(trainer.step())?;
        let save = |sets: &[(&str, &[f32])]| plot::side_by_side_png(&path, real.kind(), &real.shape, sets, &self.scale);
        match (&checkpoint.config.noise, &checkpoint.config.mask) {
            (Some(noise), _) => {
                let (noisy, denoised) = denoise(&with, &checkpoint, *noise, &mut observe)?;
                let [noisy, denoised, clean] = [&noisy, &denoised, real].map(|set| evenly_spaced(set, SAMPLES));
                save(&[("noisy", &noisy[..]), (&title("denoised"), &denoised), ("clean", &clean)])?;
            }
            (None, Some(mask)) => {
                let (given, completed) = complete(&with, &checkpoint, mask, &mut observe)?;
                let title = title("completed");
                let sets = [("given", &given[..]), (&title[..], &completed), ("real", &real.values)];
                save(with_a_place(&sets, real))?;
            }
            (None, None) => {
                let generated = generate(&with, &checkpoint, &mut observe)?;
                save(&[(&title("generated"), &generated)])?;
            }
        }
        Ok(path)
    }
}

/// When the next preview by time is due: at most a twentieth of the time is spent on them, and their number grows with the
/// logarithm of the time.
struct Pace {
    start: Instant,
    first: Option<u32>,
    last: Instant,
    /// How long the last preview took.
    took: Option<Duration>,
}

impl Pace {
    /// The time until the first preview, and between two of them at the start.
    const FIRST: Duration = Duration::from_secs(5);
    /// The share of the time between two previews to that of one of them, and of the time since the start to it.
    const COST: u32 = 20;
    const DENSITY: u32 = 16;
    /// The steps of the sampler, and the cost of a training step relative to that of the network.
    const SAMPLING_STEPS: f64 = 20.0;
    const TRAINING: f64 = 3.0;

    fn new() -> Self {
        Self { start: Instant::now(), first: None, last: Instant::now(), took: None }
    }

    fn is_due(&mut self, trainer: &Trainer, count: usize) -> bool {
        let elapsed = self.start.elapsed();
        let done = trainer.step() - *self.first.get_or_insert(trainer.step());
        let took = self.took.unwrap_or_else(|| {
            // Before the first one, from the time of a training step.
            let steps = count as f64 * Self::SAMPLING_STEPS / (Self::TRAINING * trainer.batch() as f64);
            elapsed.mul_f64(steps / f64::from(done.max(1)))
        });
        self.last.elapsed() >= Self::pause(elapsed, took)
    }

    fn pause(elapsed: Duration, took: Duration) -> Duration {
        Self::FIRST.max(Self::COST * took).max(elapsed / Self::DENSITY)
    }

    fn drew(&mut self, began: Instant) {
        (self.last, self.took) = (Instant::now(), Some(began.elapsed()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn previews_are_rare_where_they_are_slow_or_many() {
        let seconds = Duration::from_secs;
        assert_eq!(Pace::pause(seconds(10), Duration::from_millis(100)), seconds(5));
        assert_eq!(Pace::pause(seconds(10), seconds(3)), seconds(60));
        assert_eq!(Pace::pause(seconds(16_000), seconds(3)), seconds(1_000));
    }

    #[test]
    fn previews_are_stated_as_text() {
        let parse = |text: &str| text.parse::<Every>();
        assert_eq!(
            (parse("auto"), parse("off"), parse("500")),
            (Ok(Every::Auto), Ok(Every::Off), Ok(Every::Steps(500)))
        );
        for bad in ["0", "-1", "often", "4294967296"] {
            assert!(parse(bad).unwrap_err().contains("such as 500"), "{bad}");
        }
    }
}
