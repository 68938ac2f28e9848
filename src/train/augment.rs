//! Augmentation: the samples of each batch are cut, shifted and mirrored at random.

use std::fmt;

use serde::{Deserialize, Serialize};

#[cfg(feature = "cli")]
use crate::data::Dataset;
use crate::data::Kind;
use crate::error::{Error, Result};
use crate::ops::{Augment, Edge};

/// Random changes of the samples of each batch: the table `[augment]` of `config.toml`. They apply to images and signals, and
/// to their known values (`--given`) in the same way, and are drawn on the device from the seed and the step.
///
/// The samples of a validation are not changed at random: their windows are in the middle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Augmentation {
    /// Mirrors half of the samples: images from left to right, signals in time.
    pub flip: bool,
    /// Cuts windows of this size at random places: images of `crop` x `crop` pixels, signals of `crop` values. The model has
    /// this sample size. 0 for whole samples.
    pub crop: usize,
    /// Shifts samples by up to this many places in each direction: images along both axes, signals in time.
    pub shift: usize,
    /// What stands beyond the edges of a shifted sample.
    pub edge: Edge,
}

setters!(Augmentation { flip: bool, crop: usize, shift: usize, edge: Edge });

impl Augmentation {
    /// Whether samples are used as they are.
    pub(crate) fn is_none(&self) -> bool {
        !self.flip && self.crop == 0 && self.shift == 0
    }

    /// Whether these are the default settings.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Checks what does not depend on the data.
    ///
    /// # Errors
    /// When the edge of a shift is set without a shift.
    pub(super) fn check(&self) -> Result<()> {
        match self.edge {
            Edge::Wrap if self.shift == 0 => {
                Err(Error::setting("--shift-edge has no effect without --shift N; add it, or omit --shift-edge"))
            }
            _ => Ok(()),
        }
    }

    /// The shape of the samples of a model for samples of this kind and shape.
    ///
    /// # Errors
    /// [`Error::Setting`] when the kind has no neighbouring values, or samples are smaller than a window or a shift.
    pub(crate) fn sample_shape(&self, kind: Kind, shape: &[usize]) -> Result<Vec<usize>> {
        if self.is_none() {
            return Ok(shape.to_vec());
        }
        if matches!(kind, Kind::Points | Kind::Table) {
            return Err(Error::setting(format!(
                "--flip, --crop and --shift are for images and signals, whose values have neighbours; the samples are {}, so \
                 omit them (another --kind reads the data as something else)",
                kind.samples()
            )));
        }
        let axes = axes(shape);
        for (option, size) in [("--crop", self.crop), ("--shift", self.shift)] {
            if let Some(axis) = axes.iter().find(|axis| size > **axis) {
                return Err(Error::setting(format!(
                    "{option} {size}, but samples of shape {shape:?} have only {axis} places along an axis; use {axis} or less"
                )));
            }
        }
        Ok(self.window_of(shape))
    }

    /// The shape of the windows of samples of a shape that [`Augmentation::sample_shape`] accepts.
    pub(super) fn window_of(&self, shape: &[usize]) -> Vec<usize> {
        let channels = shape.len() - axes(shape).len();
        let cut = |(i, &size): (usize, &usize)| if i < channels || self.crop == 0 { size } else { self.crop };
        shape.iter().enumerate().map(cut).collect()
    }

    /// The op for samples of a shape, at random with a stream, otherwise only cut in the middle; `None` if it changes nothing.
    pub(super) fn op(&self, shape: &[usize], stream: Option<u32>) -> Option<Augment> {
        let pair = |shape: &[usize]| match *axes(shape) {
            [length] => [1, length],
            [height, width, ..] => [height, width],
            [] => [1, 1],
        };
        let (size, window) = (pair(shape), pair(&self.window_of(shape)));
        // Signals are shifted in time only.
        let shift = size.map(|size| if size == 1 { 0 } else { self.shift });
        let changes = size != window || stream.is_some() && !self.is_none();
        changes.then_some(Augment { size, window, shift, flip: self.flip, edge: self.edge, stream })
    }

    /// The samples in the middle of which the windows are cut, as the model is validated on them.
    ///
    /// # Errors
    /// As [`Augmentation::sample_shape`].
    #[cfg(feature = "cli")]
    pub(crate) fn middle_of(&self, data: Dataset) -> Result<Dataset> {
        let shape = self.sample_shape(data.kind(), &data.shape)?;
        if shape == data.shape { Ok(data) } else { data.cut_to(&shape) }
    }
}

/// The axes along which values have neighbours.
fn axes(shape: &[usize]) -> &[usize] {
    if shape.len() > 1 { &shape[1..] } else { shape }
}

/// Such as "windows of 24 at random places, shifts by up to 2 (the edge is repeated), half of them mirrored".
impl fmt::Display for Augmentation {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let edge = if self.edge == Edge::Wrap { "wraps around" } else { "is repeated" };
        let parts = [
            (self.crop > 0).then(|| format!("windows of {} at random places", self.crop)),
            (self.shift > 0).then(|| format!("shifts by up to {} (the edge {edge})", self.shift)),
            self.flip.then(|| "half of them mirrored".to_string()),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        f.write_str(&if parts.is_empty() { "none".into() } else { parts.join(", ") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::corrupt::Extent;
    use crate::data::{Columns, Dataset, Normalisation};
    use crate::device::Device;
    use crate::nn::{ConditionOptions, Inputs, Model};
    use crate::train::data::{DataTensors, Gaps};
    use crate::train::feed::Held;
    use crate::train::{Config, Trainer, objective::SampleInfo};

    fn some(crop: usize) -> Augmentation {
        Augmentation::default().flip(true).crop(crop).shift(1)
    }

    fn images() -> Dataset {
        Dataset::new("images", [1, 6, 5], (0..32 * 30).map(|i| (i as f32 * 0.37).sin()).collect()).unwrap()
    }

    fn config(augment: Augmentation) -> Config {
        Config { steps: 8, batch: 8, augment, ..Config::for_model("simple").unwrap() }
    }

    #[test]
    fn known_values_are_changed_like_their_samples() {
        let n = 12;
        let mut g = crate::Graph::new();
        g.train();
        let model = Model::named("unet").unwrap();
        let model = model.with_conditions(ConditionOptions::default().given(2)).unwrap();
        let config = Config { model, ..config(some(4)) };
        let (shape, stored) = (&[1, 4, 4], &[1, 6, 5]);
        let normalisation = &Normalisation { shift: vec![0.0], scale: vec![1.0], bound: 1.0, repeat: 1 };
        let gaps = &Gaps::unknown(shape);
        let sample =
            SampleInfo { shape, stored, range: 1.0, normalisation, extent: Extent { low: 0.0, high: 1.0 }, gaps };
        let data = DataTensors::new(&mut g, Held::All { samples: n }, sample, &config).unwrap();
        let rows = data.rows(&mut g, n).unwrap();
        let clean = data.clean(&mut g, rows).unwrap();
        let t = g.constant([n], vec![0.0; n]).unwrap();
        let given = data.condition(&mut g, Inputs::new(clean, t), rows, 0.0).unwrap().inputs.given.unwrap();
        g.keep(clean);
        g.keep(given);
        let mut run = Device::cpu().compile(&g).unwrap();
        let image = |i: usize| (0..30).map(move |k| (100 * i + k) as f32);
        run.write("data", &(0..n).flat_map(image).collect::<Vec<_>>()).unwrap();
        // Two channels: the image, and its negative.
        run.write("data.given", &(0..n).flat_map(|i| image(i).chain(image(i).map(|v| -v))).collect::<Vec<_>>())
            .unwrap();
        run.steps(1).unwrap();
        let (clean, given) = (run.read(clean).unwrap(), run.read(given).unwrap());
        let mut places = std::collections::BTreeSet::new();
        for (clean, given) in clean.chunks(16).zip(given.chunks(32)) {
            assert_eq!(clean, &given[..16]);
            assert!(clean.iter().zip(&given[16..]).all(|(a, b)| a + b == 0.0));
            places.insert(clean.iter().map(|v| *v as usize % 100).collect::<Vec<_>>());
        }
        assert!(places.len() > n / 2, "the windows of different samples differ: {places:?}");
    }

    #[test]
    fn a_model_has_the_size_of_the_windows() {
        let mut trainer = Trainer::new(&Device::cpu(), &config(some(4)), &images()).unwrap();
        let facts = trainer.facts().clone();
        assert_eq!((&facts.shape[..], facts.cut_from), (&[1, 4, 4][..], Some(vec![1, 6, 5])));
        assert!(trainer.advance(3).unwrap().iter().all(|loss| loss.is_finite()));
        let plain = Trainer::new(&Device::cpu(), &config(Augmentation::default()), &images()).unwrap();
        assert_eq!((&plain.facts().shape[..], &plain.facts().cut_from), (&[1, 6, 5][..], &None));
        // Each channel keeps its own scale, and loses the names of places.
        let values = (0..32 * 2 * 20).map(|i| (i as f32 * 0.7).sin() * if i / 20 % 2 == 0 { 1.0 } else { 50.0 });
        let names = (0..40).map(|i| format!("t{i}")).collect();
        let signals = Dataset::new("signals", [2, 20], values.collect()).unwrap();
        let signals = signals.with_columns(Columns { names, ..Columns::default() });
        let mut trainer = Trainer::new(&Device::cpu(), &config(some(8)), &signals).unwrap();
        let facts = trainer.facts();
        assert_eq!((facts.normalisation.repeat, facts.columns.names.len(), &facts.shape[..]), (8, 0, &[2, 8][..]));
        assert!(facts.normalisation.scale[1] > 20.0 * facts.normalisation.scale[0]);
        assert!(trainer.advance(3).unwrap().iter().all(|loss| *loss < 10.0), "both channels are normalised");
    }

    #[test]
    fn windows_depend_on_the_step_and_not_on_the_micro_batch_or_an_interruption() {
        let losses = |micro_batch: usize, interrupted: bool| {
            let config = Config { micro_batch, ..config(some(4)) };
            let mut trainer = Trainer::new(&Device::reference(), &config, &images()).unwrap();
            let mut losses = trainer.advance(4).unwrap();
            if interrupted {
                let checkpoint = trainer.checkpoint().unwrap();
                trainer = Trainer::new(&Device::reference(), &config, &images()).unwrap();
                trainer.restore(&checkpoint).unwrap();
            }
            losses.extend(trainer.advance(4).unwrap());
            losses
        };
        let whole = losses(0, false);
        let close = |other: Vec<f64>| whole.iter().zip(other).all(|(a, b)| (a - b).abs() < 1e-5 * a);
        assert!(close(losses(3, false)) && close(losses(0, true)));
        let plain = Trainer::new(&Device::reference(), &config(Augmentation::default().crop(4)), &images());
        assert_ne!(plain.unwrap().advance(8).unwrap(), whole);
    }

    #[test]
    fn held_out_samples_are_cut_in_the_middle() {
        let validated = |augment: Augmentation, data: &Dataset| {
            let config = Config { validation: 0.25, ..config(augment) };
            Trainer::new(&Device::reference(), &config, data).unwrap().validate().unwrap().unwrap()
        };
        let flipped = validated(Augmentation::default().flip(true).shift(2), &images());
        assert_eq!(flipped, validated(Augmentation::default(), &images()), "the same samples, weights and noise");
        assert!(validated(some(4), &images()).is_finite());
    }

    #[test]
    fn points_tables_and_small_samples_are_refused() {
        let refused =
            |augment: Augmentation, kind, shape: &[usize]| augment.sample_shape(kind, shape).unwrap_err().to_string();
        assert!(refused(some(0), Kind::Points, &[2]).contains("the samples are points"));
        assert!(refused(some(0), Kind::Table, &[7]).contains("rows of a table"));
        assert!(refused(some(7), Kind::Images, &[3, 8, 6]).starts_with("--crop 7, but samples of shape [3, 8, 6]"));
        assert!(refused(Augmentation::default().shift(9), Kind::Signals, &[8]).starts_with("--shift 9"));
        assert_eq!(some(4).sample_shape(Kind::Images, &[3, 8, 6]).unwrap(), [3, 4, 4]);
        assert_eq!(some(4).sample_shape(Kind::Signals, &[2, 9]).unwrap(), [2, 4]);
        assert_eq!(Augmentation::default().sample_shape(Kind::Table, &[7]).unwrap(), [7]);
        let e = Config { augment: Augmentation::default().edge(Edge::Wrap), ..Config::default() }.check().unwrap_err();
        assert!(e.to_string().contains("--shift-edge"), "{e}");
    }

    #[test]
    fn settings_are_stored_and_described() {
        let config = config(some(4).edge(Edge::Wrap));
        let text = config.to_toml();
        assert!(text.contains("[augment]") && text.contains("edge = \"wrap\""), "{text}");
        assert!(!Config::default().to_toml().contains("augment"));
        let words = "windows of 4 at random places, shifts by up to 1 (the edge wraps around), half of them mirrored";
        assert_eq!(config.augment.to_string(), words);
    }
}
