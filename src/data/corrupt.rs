//! Noise on data sets, by name and strength.
//!
//! Some texts call salt-and-pepper noise (values replaced by black or white) shot noise. Here, shot noise is `poisson`, the
//! counts of a Poisson process.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::data::Dataset;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::graph::{Graph, Var};
use crate::ops::{Chroma, Disturbance, MAX_RATE};
use crate::text::{count, exact, short};

/// A kind of noise with its strength, written as `kind:strength`.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum NoiseKind {
    /// `gaussian:SCALE`: normal noise with this standard deviation, in the units of the data.
    Gaussian(f64),
    /// `uniform:WIDTH`: uniform noise between -WIDTH and WIDTH, in the units of the data.
    Uniform(f64),
    /// `speckle:SCALE`: normal noise with a standard deviation of SCALE times the value.
    Speckle(f64),
    /// `salt_pepper:AMOUNT[:RATIO]`: replaces a fraction of the values by the smallest or largest value of the data.
    SaltPepper {
        /// The fraction of values that is replaced, from 0 to 1.
        amount: f64,
        /// The fraction of these that becomes the largest value, from 0 to 1; 0.5 by default.
        ratio: f64,
    },
    /// `poisson:PEAK`: shot noise, counts of a Poisson process with this mean at white.
    Poisson(f64),
    /// `jpeg:QUALITY[:444]`: JPEG compression of images with a quality from 1 to 100; of RGB images with 4:2:0 or 4:4:4
    /// subsampling.
    Jpeg(u32, Chroma),
}

/// An example of each kind, for messages.
const FORMS: [&str; 6] = [
    "gaussian:0.1",
    "uniform:0.3",
    "speckle:0.2",
    "salt_pepper:0.05 (or salt_pepper:0.05:0.5)",
    "poisson:30",
    "jpeg:20 (or jpeg:20:444)",
];

/// The names of the kinds.
const NOISES: [&str; 6] = ["gaussian", "uniform", "speckle", "salt_pepper", "poisson", "jpeg"];

/// The smallest and largest value of a data set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Extent {
    /// The smallest value.
    pub low: f64,
    /// The largest value.
    pub high: f64,
}

impl Extent {
    /// The extent of these values.
    pub fn of(values: &[f32]) -> Self {
        let (low, high) = values.iter().fold((f32::MAX, f32::MIN), |(low, high), &v| (low.min(v), high.max(v)));
        Self { low: low.into(), high: high.into() }
    }

    /// The extent of coordinates with these ranges.
    pub(crate) fn of_ranges(ranges: &[[f32; 2]]) -> Self {
        let (low, high) = ranges.iter().fold((f32::MAX, f32::MIN), |(low, high), r| (low.min(r[0]), high.max(r[1])));
        Self { low: low.into(), high: high.into() }
    }

    /// Black and white: 0 and 1 for data in [0, 1], 0 and the largest value for other non-negative data, otherwise the
    /// smallest and largest value.
    pub(crate) fn black_and_white(self) -> [f64; 2] {
        match (self.low >= 0.0, self.high <= 1.0) {
            (true, true) => [0.0, 1.0],
            (true, false) => [0.0, self.high],
            (false, _) => [self.low, self.high],
        }
    }
}

impl FromStr for NoiseKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, strength) = text.split_once(':').unwrap_or((text, ""));
        let Some(form) = NOISES.iter().position(|known| *known == name).map(|at| FORMS[at]) else {
            return Err(Error::unknown("noise", name, &NOISES));
        };
        let bad = |what: &str| Error::setting(format!("noise {text:?}: {what}; write it like {form}"));
        let parts: Vec<&str> = strength.split(':').collect();
        let most = if matches!(name, "salt_pepper" | "jpeg") { 2 } else { 1 };
        if strength.is_empty() || parts.len() > most {
            return Err(bad(if strength.is_empty() { "no strength" } else { "too many numbers" }));
        }
        let number = |at: usize| {
            let value: f64 = parts[at].parse().map_err(|_| bad(&format!("{:?} is not a number", parts[at])))?;
            if value.is_finite() { Ok(value) } else { Err(bad("the strength must be finite")) }
        };
        let kind = match name {
            "gaussian" => NoiseKind::Gaussian(number(0)?),
            "uniform" => NoiseKind::Uniform(number(0)?),
            "speckle" => NoiseKind::Speckle(number(0)?),
            "salt_pepper" => {
                NoiseKind::SaltPepper { amount: number(0)?, ratio: if parts.len() > 1 { number(1)? } else { 0.5 } }
            }
            "poisson" => NoiseKind::Poisson(number(0)?),
            _ => match number(0)? {
                quality if quality.fract() == 0.0 && (1.0..=100.0).contains(&quality) => {
                    let chroma = match parts.get(1) {
                        None | Some(&"420") => Chroma::Quarter,
                        Some(&"444") => Chroma::Full,
                        Some(other) => return Err(bad(&format!("{other:?} is neither 420 nor 444"))),
                    };
                    NoiseKind::Jpeg(quality as u32, chroma)
                }
                quality => {
                    let quality = exact(quality);
                    return Err(bad(&format!("the quality must be a whole number from 1 to 100, not {quality}")));
                }
            },
        };
        kind.check().map_err(|e| bad(&e.to_string()))?;
        Ok(kind)
    }
}

impl fmt::Display for NoiseKind {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            NoiseKind::Gaussian(scale) => write!(f, "gaussian:{}", exact(*scale)),
            NoiseKind::Uniform(width) => write!(f, "uniform:{}", exact(*width)),
            NoiseKind::Speckle(scale) => write!(f, "speckle:{}", exact(*scale)),
            NoiseKind::SaltPepper { amount, ratio } if *ratio == 0.5 => write!(f, "salt_pepper:{}", exact(*amount)),
            NoiseKind::SaltPepper { amount, ratio } => {
                write!(f, "salt_pepper:{}:{}", exact(*amount), exact(*ratio))
            }
            NoiseKind::Poisson(peak) => write!(f, "poisson:{}", exact(*peak)),
            NoiseKind::Jpeg(quality, Chroma::Full) => write!(f, "jpeg:{quality}:444"),
            NoiseKind::Jpeg(quality, _) => write!(f, "jpeg:{quality}"),
        }
    }
}

stands_as_text!(NoiseKind);

impl NoiseKind {
    fn check(self) -> Result<()> {
        if let NoiseKind::Poisson(peak) = self
            && !(peak > 0.0 && peak <= MAX_RATE)
        {
            return Err(Error::setting(format!("the peak must be above 0 and at most {MAX_RATE}")));
        }
        self.disturbance(Extent { low: 0.0, high: 1.0 }).map_or(Ok(()), |d| d.check())
    }

    /// The elementwise operation for data of this extent; `None` for JPEG.
    fn disturbance(self, extent: Extent) -> Option<Disturbance> {
        let [black, white] = extent.black_and_white();
        Some(match self {
            NoiseKind::Gaussian(scale) => Disturbance::Gaussian { scale },
            NoiseKind::Uniform(width) => Disturbance::Uniform { width },
            NoiseKind::Speckle(scale) => Disturbance::Speckle { scale },
            NoiseKind::SaltPepper { amount, ratio } => {
                Disturbance::SaltPepper { amount, ratio, low: extent.low, high: extent.high }
            }
            NoiseKind::Poisson(peak) => Disturbance::Poisson { peak, black, white },
            NoiseKind::Jpeg(..) => return None,
        })
    }

    /// Describes the effect on samples of this shape in data of this extent.
    #[cfg(feature = "cli")]
    pub(crate) fn describe(self, shape: &[usize], extent: Extent) -> String {
        let [black, white] = extent.black_and_white().map(short);
        let part = |part: f64| short(100.0 * part);
        match self {
            NoiseKind::Gaussian(scale) => format!("x + {} z, z standard normal", exact(scale)),
            NoiseKind::Uniform(width) => format!("x + v, v uniform in +-{}", exact(width)),
            NoiseKind::Speckle(scale) => format!("x + {} x z, z standard normal", exact(scale)),
            NoiseKind::SaltPepper { amount, ratio } => format!(
                "{}% of the values become {} (salt, the largest value), {}% become {} (pepper, the smallest)",
                part(amount * ratio),
                short(extent.high),
                part(amount * (1.0 - ratio)),
                short(extent.low)
            ),
            NoiseKind::Poisson(peak) => {
                let peak = exact(peak);
                format!("Poisson counts with a mean of 0 at {black} and {peak} at {white}, scaled back to the data")
            }
            NoiseKind::Jpeg(quality, chroma) => {
                let colours = match shape {
                    [1, ..] => String::new(),
                    [3, ..] => format!("RGB as luminance and chrominance ({}), ", chroma.ratio()),
                    _ => "each channel as a grey image, ".to_string(),
                };
                format!(
                    "{colours}8x8 cosine transform, quantised with quality {quality}; {black} is black and {white} is white"
                )
            }
        }
    }

    /// Adds the noise to x [B, ...] in a graph. `shape` is the shape of a sample, `extent` the extent of the data.
    ///
    /// # Errors
    /// When JPEG is used for samples that are not images, or the extent is empty.
    pub fn add_to(self, g: &mut Graph, x: Var, shape: &[usize], extent: Extent) -> Result<Var> {
        if let Some(disturbance) = self.disturbance(extent) {
            return g.add_noise(x, disturbance);
        }
        let (NoiseKind::Jpeg(quality, chroma), [c, h, w]) = (self, shape) else {
            return Err(Error::setting(format!(
                "the noise {self} needs images, but these samples have shape {shape:?}; use another kind of noise"
            )));
        };
        let flat = g.shape(x).to_vec();
        let images = g.reshape(x, [flat[0], *c, *h, *w])?;
        let [black, white] = extent.black_and_white();
        let y = match (c, chroma) {
            (3, _) => g.jpeg_colour(images, quality, chroma, black, white)?,
            (_, Chroma::Full) => {
                return Err(Error::setting(format!(
                    "the noise {self} needs RGB images, but these have {}; use jpeg:{quality}",
                    count(*c, "channel")
                )));
            }
            _ => g.jpeg(images, quality, black, white)?,
        };
        g.reshape(y, flat)
    }
}

/// The number of values that are processed at a time.
const CHUNK: usize = 1 << 20;

/// Adds noise to a data set on a device. The noise depends only on the seed.
///
/// # Errors
/// As [`NoiseKind::add_to`], and when the result exceeds the range of float32.
pub fn add_noise(device: &Device, data: &Dataset, kind: NoiseKind, seed: u64) -> Result<Dataset> {
    add_noise_within(device, data, kind, Extent::of(&data.values), seed)
}

/// [`add_noise`] for samples of a larger data set with this extent.
pub(crate) fn add_noise_within(
    device: &Device,
    data: &Dataset,
    kind: NoiseKind,
    extent: Extent,
    seed: u64,
) -> Result<Dataset> {
    let len = data.sample_len();
    if matches!(kind, NoiseKind::Speckle(_) | NoiseKind::Poisson(_)) && !data.columns.offset.is_empty() {
        return Err(Error::input(format!(
            "{}: {kind} depends on the size of the values, but these are so large compared with their spread that float32 \
             does not hold them; subtract a constant first, or use gaussian noise",
            data.name
        )));
    }
    let own_extremes = !data.columns.offset.is_empty() || !data.columns.categories.is_empty();
    if matches!(kind, NoiseKind::SaltPepper { .. }) && own_extremes {
        return Err(Error::input(format!(
            "{}: {kind} replaces values by the smallest and the largest of all columns, which these columns do not share; name \
             columns of one unit with --columns, or use gaussian noise",
            data.name
        )));
    }
    let batch = (CHUNK / len).clamp(1, data.len());
    let mut g = Graph::new();
    let x = g.state("x", [batch, len])?;
    let y = kind.add_to(&mut g, x, &data.shape, extent)?;
    g.keep(y);
    let mut run = device.compile(&g)?;
    run.seed(seed);
    let mut values: Vec<f32> = Vec::with_capacity(data.values.len());
    // Each part is a separate step with its own random numbers.
    for part in data.values.chunks(batch * len) {
        let mut x = part.to_vec();
        x.resize(batch * len, 0.0);
        run.write("x", &x)?;
        run.steps(1)?;
        values.extend(&run.read(y)?[..part.len()]);
    }
    if let Some(at) = values.iter().position(|value| !value.is_finite()) {
        return Err(Error::input(format!(
            "{}: with {kind}, sample {} (counted from 0) exceeds {}, the largest float32; use a smaller strength",
            data.name,
            at / len,
            short(f32::MAX.into())
        )));
    }
    data.with_values(format!("{} with {kind}", data.name), values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_that_depends_on_the_values_is_refused_for_columns_with_offsets() {
        let data = Dataset::new("t.csv", [2], (0..40).map(|i| (i as f32).sin()).collect()).unwrap();
        let offset = crate::data::Columns { offset: vec![1e6, 0.0], ..Default::default() };
        let moved = data.clone().with_columns(offset);
        let add = |data: &Dataset, noise: &str| add_noise(&Device::cpu(), data, noise.parse().unwrap(), 1);
        for (noise, cause) in [("salt_pepper:0.2", "do not share"), ("speckle:0.2", "size of the values")] {
            assert!(add(&data, noise).is_ok());
            let message = add(&moved, noise).unwrap_err().to_string();
            assert!(message.contains("t.csv") && message.contains(cause), "{message}");
        }
        assert!(add(&moved, "gaussian:0.2").is_ok());
    }

    #[test]
    fn kinds_are_read_and_written() {
        for text in
            ["gaussian:0.1", "uniform:0.3", "speckle:0.2", "salt_pepper:0.05", "poisson:30", "jpeg:20", "jpeg:20:444"]
        {
            assert_eq!(text.parse::<NoiseKind>().unwrap().to_string(), text);
        }
        let kind: NoiseKind = "salt_pepper:0.05:0.25".parse().unwrap();
        assert_eq!(kind, NoiseKind::SaltPepper { amount: 0.05, ratio: 0.25 });
        assert_eq!(kind.to_string(), "salt_pepper:0.05:0.25");
        assert_eq!("salt_pepper:0.05:0.5".parse::<NoiseKind>().unwrap().to_string(), "salt_pepper:0.05");
    }

    #[test]
    fn mistakes_are_named_with_the_right_form() {
        for (text, words) in [
            ("shot:3", &["unknown noise \"shot\"", "poisson"][..]),
            ("gaussian", &["no strength", "gaussian:0.1"]),
            ("gaussian:", &["no strength"]),
            ("gaussian:x", &["\"x\" is not a number"]),
            ("gaussian:0.1:2", &["too many numbers"]),
            ("gaussian:-1", &["-1", "use 0 to"]),
            ("gaussian:inf", &["finite"]),
            ("gaussian:1e39", &["1e39", "0 to 3.403e38"]),
            ("speckle:1e300", &["strength of 1e300;"]),
            ("salt_pepper:1.5", &["1.5", "0 to 1"]),
            ("salt_pepper:0.5:2", &["ratio of salt of 2"]),
            ("poisson:0", &["above 0"]),
            ("jpeg:0", &["1 to 100"]),
            ("jpeg:20.5", &["whole number"]),
            ("jpeg:20:422", &["neither 420 nor 444", "jpeg:20:444"]),
        ] {
            let message = text.parse::<NoiseKind>().unwrap_err().to_string();
            assert!(words.iter().all(|word| message.contains(word)), "{text}: {message}");
        }
    }

    #[test]
    fn black_and_white_follow_the_data() {
        let of = |low, high| Extent { low, high }.black_and_white();
        assert_eq!((of(0.1, 0.8), of(3.0, 16.0), of(-2.0, 1.5)), ([0.0, 1.0], [0.0, 16.0], [-2.0, 1.5]));
    }

    #[test]
    fn every_kind_changes_images_and_depends_on_the_seed() {
        let image = |i: usize| ((i * 7 % 64) as f32 / 64.0).powi(2);
        let data = Dataset::new("images", [1, 8, 8], (0..640).map(image).collect()).unwrap();
        let device = Device::cpu();
        for form in ["gaussian:0.1", "uniform:0.3", "speckle:0.2", "salt_pepper:0.3", "poisson:30", "jpeg:20"] {
            let kind: NoiseKind = form.parse().unwrap();
            let noisy = |seed| add_noise(&device, &data, kind, seed).unwrap().values;
            assert_ne!(noisy(1), data.values, "{kind}");
            assert_eq!(noisy(1), noisy(1), "{kind}");
            assert_eq!(noisy(1) == noisy(2), matches!(kind, NoiseKind::Jpeg(..)), "{kind}");
        }
        let waves = Dataset::new("waves", [8], vec![0.5; 16]).unwrap();
        let jpeg = NoiseKind::Jpeg(9, Chroma::Quarter);
        let message = add_noise(&device, &waves, jpeg, 0).unwrap_err().to_string();
        assert!(message.contains("[8]") && message.contains("images"), "{message}");
        let message = add_noise(&device, &data, NoiseKind::Jpeg(9, Chroma::Full), 0).unwrap_err().to_string();
        assert!(message.contains("1 channel; use jpeg:9"), "{message}");
        // Colours are coded together.
        let colours = Dataset::new("colours", [3, 8, 8], data.values[..576].to_vec()).unwrap();
        let [together, apart] = [&colours, &data].map(|data| add_noise(&device, data, jpeg, 0).unwrap().values);
        assert_ne!(together[..], apart[..576]);
        let message = add_noise(&device, &waves, NoiseKind::Gaussian(3e38), 0).unwrap_err().to_string();
        assert!(message.contains("gaussian:3e38") && message.contains("a smaller strength"), "{message}");
    }

    /// As in training, where the extent is that of the training data.
    #[test]
    fn noise_on_some_samples_has_the_extent_of_all() {
        let part = Dataset::new("part", [4], vec![0.5; 400]).unwrap();
        let (extent, kind) = (Extent { low: -1.0, high: 2.0 }, "salt_pepper:0.5".parse().unwrap());
        let mut values = add_noise_within(&Device::cpu(), &part, kind, extent, 3).unwrap().values.to_vec();
        values.sort_by(f32::total_cmp);
        values.dedup();
        assert_eq!(values, [-1.0, 0.5, 2.0]);
    }
}
