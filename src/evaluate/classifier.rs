//! A small classifier trained on labelled data and applied to generated samples: the class distribution of the samples
//! and the confidence of the classifier.

use std::fmt;

use super::tails::ln_factorials;
use crate::data::{Dataset, Kind, Labels, Normalisation};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::generate::batches::{backward, in_parts, largest};
use crate::graph::{Graph, HISTORY, Slab, Var};
use crate::nn::{Conv, Linear};
use crate::numeric::random::permuted;
use crate::ops::{Activation, Decay, Optimizer, Softmax};

/// The share of each class that is held out.
const HELD_OUT: f64 = 0.2;
/// The random stream of the permutation that selects the held-out samples.
const SPLIT_STREAM: u32 = u32::MAX - 2;
/// The largest batch in training, and in inference.
const BATCH: usize = 64;
const CLASSIFY_BATCH: usize = 256;
/// Epochs of training, and the bounds of the number of steps.
const EPOCHS: usize = 40;
const STEPS: std::ops::RangeInclusive<usize> = 300..=3_000;
/// Channels of the two convolutions, and width of the hidden layer.
const CHANNELS: [usize; 2] = [16, 32];
const WIDTH: usize = 128;

/// One class: its share of the data and of the samples.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Share {
    /// The class index.
    pub class: usize,
    /// The name of the class, if it has one.
    pub name: Option<String>,
    /// Its share of the data, from the labels.
    pub data: f64,
    /// Its share of the samples, as predicted by the classifier.
    pub samples: f64,
}

/// The result of [`classify`].
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Classified {
    /// Number of training samples.
    pub trained: usize,
    /// Number of held-out samples.
    pub held_out: usize,
    /// Accuracy on the held-out data.
    pub accuracy: f64,
    /// Mean probability of the predicted class on the held-out data.
    pub confidence_data: f64,
    /// Mean probability of the predicted class on the samples.
    pub confidence_samples: f64,
    /// The class distribution of data and samples.
    pub mix: Vec<Share>,
    /// Total variation distance of the two distributions: half the sum of absolute differences.
    pub distance: f64,
    /// Mean distance of the same number of samples drawn from the data.
    pub floor: f64,
}

impl fmt::Display for Classified {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let percent = |x: f64| format!("{:.1}%", 100.0 * x);
        let Self { trained, held_out, distance, floor, .. } = self;
        let accuracy = percent(self.accuracy);
        writeln!(f, "classifier: trained on {trained} real samples, accuracy {accuracy} on {held_out} held out")?;
        let title = |share: &Share| share.name.clone().unwrap_or_else(|| share.class.to_string());
        let wide = self.mix.iter().map(|share| title(share).chars().count()).max().unwrap_or(0).max(6);
        writeln!(f, "{:>wide$} {:>8} {:>8}", "class", "data", "samples")?;
        for share in &self.mix {
            writeln!(f, "{:>wide$} {:>8} {:>8}", title(share), percent(share.data), percent(share.samples))?;
        }
        writeln!(
            f,
            "total variation distance of the classes {distance:.4}; the same number of real samples has {floor:.4} on average"
        )?;
        let (samples, data) = (percent(self.confidence_samples), percent(self.confidence_data));
        write!(f, "mean confidence: samples {samples}, held-out data {data}")
    }
}

/// Trains a classifier on `data`, except a held-out part, and applies it to `samples`. All random numbers follow from
/// `seed`: the same call on the same device gives the same numbers.
///
/// Images: Conv 3x3 ReLU, Conv 3x3 ReLU with stride 2, Dense. Signals and points: Dense ReLU, Dense. Training uses
/// dropout of 0.25 on the last hidden layer, Adam and a cosine learning rate.
///
/// # Errors
/// [`Error::Input`] when the shapes of the sets differ, the number of labels differs from the number of data, or a
/// class has too few samples to hold one out.
pub fn classify(device: &Device, samples: &Dataset, data: &Dataset, labels: &Labels, seed: u64) -> Result<Classified> {
    check(samples, data, labels)?;
    let [kept, held_out] = split(labels, seed);
    let part = |rows: &[usize]| {
        let values = rows.iter().flat_map(|&i| data.sample(i)).copied().collect();
        data.with_values(data.name.clone(), values)
    };
    let classifier = Classifier::train(device, &part(&kept)?, &picked(labels, &kept), labels.classes, seed)?;
    let real = classifier.apply(device, &part(&held_out)?)?;
    let drawn = classifier.apply(device, samples)?;
    let wanted = picked(labels, &held_out);
    let right = real.iter().zip(&wanted).filter(|(found, label)| found.class == **label as usize);
    let (n, m) = (labels.of.len() as f64, samples.len() as f64);
    let shares: Vec<f64> = labels.counts().iter().map(|&count| count as f64 / n).collect();
    let share = |class: usize| drawn.iter().filter(|found| found.class == class).count() as f64 / m;
    let of_class = |(class, &data): (usize, &f64)| Share {
        class,
        name: labels.names.get(class).cloned(),
        data,
        samples: share(class),
    };
    let mix: Vec<Share> = shares.iter().enumerate().map(of_class).collect();
    Ok(Classified {
        trained: kept.len(),
        held_out: held_out.len(),
        accuracy: right.count() as f64 / held_out.len() as f64,
        confidence_data: mean_confidence(&real),
        confidence_samples: mean_confidence(&drawn),
        distance: 0.5 * mix.iter().map(|share| (share.data - share.samples).abs()).sum::<f64>(),
        floor: expected_distance(&shares, samples.len()),
        mix,
    })
}

fn check(samples: &Dataset, data: &Dataset, labels: &Labels) -> Result<()> {
    if samples.shape != data.shape {
        return Err(Error::input(format!(
            "samples of shape {:?} in {}, data of {:?} in {}: the classifier needs samples and data of the same shape",
            samples.shape, samples.name, data.shape, data.name
        )));
    }
    if labels.of.len() != data.len() {
        return Err(Error::input(format!(
            "{} labels in {} for {} samples in {}; give one label for each, in the order of the data",
            labels.of.len(),
            labels.name,
            data.len(),
            data.name
        )));
    }
    match labels.counts().iter().position(|&count| count < 2) {
        None => Ok(()),
        Some(class) => Err(Error::input(format!(
            "{}: class {class} has {} sample; at least 2 of each are needed, one of them to hold out",
            labels.name,
            labels.counts()[class]
        ))),
    }
}

/// Splits into training and held-out samples, stratified by class.
fn split(labels: &Labels, seed: u64) -> [Vec<usize>; 2] {
    let mut parts = [Vec::new(), Vec::new()];
    for (class, &count) in labels.counts().iter().enumerate() {
        let of_class: Vec<usize> = (0..labels.of.len()).filter(|&i| labels.of[i] as usize == class).collect();
        let out = ((count as f64 * HELD_OUT).round() as usize).clamp(1, count - 1);
        for position in 0..count {
            let row = permuted(position as u32, count as u32, class as u32, SPLIT_STREAM, seed);
            parts[usize::from(position < out)].push(of_class[row as usize]);
        }
    }
    parts.iter_mut().for_each(|rows| rows.sort_unstable());
    parts
}

fn picked(labels: &Labels, rows: &[usize]) -> Vec<f32> {
    rows.iter().map(|&i| labels.of[i] as f32).collect()
}

/// The prediction for one sample.
pub(super) struct Found {
    pub class: usize,
    probability: f64,
}

fn mean_confidence(found: &[Found]) -> f64 {
    found.iter().map(|found| found.probability).sum::<f64>() / found.len() as f64
}

/// A trained network.
pub(super) struct Classifier {
    shape: Vec<usize>,
    classes: usize,
    normalisation: Normalisation,
    weights: Vec<f32>,
}

impl Classifier {
    pub fn train(device: &Device, data: &Dataset, labels: &[f32], classes: usize, seed: u64) -> Result<Self> {
        let normalisation = Normalisation::standard(data)?;
        let (n, shape, batch) = (data.len(), data.shape.clone(), data.len().min(BATCH));
        let steps = (EPOCHS * n / batch).clamp(*STEPS.start(), *STEPS.end()) as u32;
        let ((mut run, losses), _) = largest(batch, |rows| {
            let mut g = Graph::seeded(seed);
            g.train();
            let table = g.dataset("data", [n, data.sample_len()])?;
            let classes_of = g.dataset("labels", [n, 1])?;
            let network = Network::new(&mut g, &shape, classes)?;
            let losses = in_parts(&mut g, batch, rows, |g, share| {
                let [x, y] = table.batch_with(g, &classes_of, batch)?;
                let logits = network.forward(g, x)?;
                let loss = g.cross_entropy(logits, y)?;
                backward(g, &[loss], share)?;
                Ok(loss)
            })?;
            let decay = Decay::Cosine { warmup: steps / 20, total: steps };
            g.optimize(Optimizer { decay, clip: Some(1.0), ..Optimizer::adam(2e-3) })?;
            Ok((device.compile(&g)?, losses))
        })?;
        run.seed(seed);
        run.write("data", &normalisation.apply(&data.values))?;
        run.write("labels", labels)?;
        while run.step() < steps {
            run.steps((steps - run.step()).min(HISTORY as u32))?;
        }
        let last = losses.iter().map(|(share, loss)| Ok(share * run.scalar(*loss)?)).sum::<Result<f64>>()?;
        if !last.is_finite() {
            let text = format!("the classifier's loss became {last}; look for extreme values in {}", data.name);
            return Err(Error::NonFinite(text));
        }
        Ok(Self { shape, classes, normalisation, weights: run.read_slab(Slab::Params)? })
    }

    /// The most likely class of each sample.
    pub fn apply(&self, device: &Device, data: &Dataset) -> Result<Vec<Found>> {
        let width = data.sample_len();
        let ((mut run, probabilities), rows) = largest(data.len().min(CLASSIFY_BATCH), |rows| {
            let mut g = Graph::new();
            let x = g.state("x", [rows, width])?;
            let logits = Network::new(&mut g, &self.shape, self.classes)?.forward(&mut g, x)?;
            let probabilities = g.apply1(Softmax, &[logits])?;
            g.keep(probabilities);
            Ok((device.compile(&g)?, probabilities))
        })?;
        run.write_slab(Slab::Params, &self.weights)?;
        let mut found = Vec::with_capacity(data.len());
        for part in data.values.chunks(rows * width) {
            let mut full = self.normalisation.apply(part);
            full.resize(rows * width, 0.0);
            run.write("x", &full)?;
            run.steps(1)?;
            let rows = run.read(probabilities)?;
            found.extend(rows.chunks(self.classes).take(part.len() / width).map(likeliest));
        }
        Ok(found)
    }
}

fn likeliest(probabilities: &[f32]) -> Found {
    let best = probabilities.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    best.map_or(Found { class: 0, probability: 0.0 }, |(class, &p)| Found { class, probability: f64::from(p) })
}

/// The layers for samples of a shape.
struct Network {
    image: Option<([usize; 3], [Conv; 2])>,
    hidden: Option<Linear>,
    classes: Linear,
}

impl Network {
    fn new(g: &mut Graph, shape: &[usize], classes: usize) -> Result<Self> {
        let (image, hidden, width) = match (Kind::of(shape), shape) {
            (Kind::Images, &[c, h, w]) => {
                let first = Conv::new(g, "conv1", 2, [c, CHANNELS[0]], 3)?;
                let second = Conv::new(g, "conv2", 2, CHANNELS, 3)?.stride(2);
                (Some(([c, h, w], [first, second])), None, CHANNELS[1] * h.div_ceil(2) * w.div_ceil(2))
            }
            _ => (None, Some(Linear::new(g, "fc1", shape.iter().product(), WIDTH)?), WIDTH),
        };
        Ok(Self { image, hidden, classes: Linear::new(g, "classes", width, classes)? })
    }

    /// x [B, D] to one number for each class.
    fn forward(&self, g: &mut Graph, x: Var) -> Result<Var> {
        let mut hidden = x;
        if let Some(([c, h, w], [first, second])) = &self.image {
            let rows = g.shape(x)[0];
            let image = g.reshape(x, [rows, *c, *h, *w])?;
            let full = first.forward(g, image, Activation::Relu)?;
            let half = second.forward(g, full, Activation::Relu)?;
            let width = g.spec(half).rows().1;
            hidden = g.reshape(half, [rows, width])?;
        }
        if let Some(layer) = &self.hidden {
            hidden = layer.forward(g, hidden, Activation::Relu)?;
        }
        let hidden = g.dropout(hidden, 0.25)?;
        self.classes.forward(g, hidden, Activation::None)
    }
}

/// The mean total variation distance between the class shares of `n` samples and the distribution `shares` they are
/// drawn from: half the sum of the mean deviations of binomials, E|X - n p| = 2 m C(n, m) p^m q^(n - m + 1), m =
/// floor(n p) + 1 (de Moivre 1730).
fn expected_distance(shares: &[f64], n: usize) -> f64 {
    let ln_factorial = ln_factorials(n);
    let deviation = |&p: &f64| {
        let m = (n as f64 * p) as usize + 1;
        if p <= 0.0 || p >= 1.0 || m > n {
            return 0.0;
        }
        let choices = ln_factorial[n] - ln_factorial[m] - ln_factorial[n - m];
        let likelihood = choices + m as f64 * p.ln() + (n - m + 1) as f64 * (1.0 - p).ln();
        2.0 * m as f64 * likelihood.exp()
    };
    0.5 * shares.iter().map(deviation).sum::<f64>() / n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_is_the_mean_deviation_of_binomials() {
        // Two coins: the number of heads deviates by 1, 0, 0, 1 from its mean 1, so both shares by 1/4 on average.
        assert!((expected_distance(&[0.5, 0.5], 2) - 0.25).abs() < 1e-12);
        // One sample of ten classes is always off by 0.9.
        assert!((expected_distance(&[0.1; 10], 1) - 0.9).abs() < 1e-12);
        // For many samples close to a Gaussian's sqrt(2 p q / (pi n)).
        let many = expected_distance(&[0.1; 10], 10_000);
        let gaussian = 5.0 * (2.0 * 0.09 / (std::f64::consts::PI * 10_000.0)).sqrt();
        assert!((many / gaussian - 1.0).abs() < 1e-3, "{many} {gaussian}");
        assert_eq!(expected_distance(&[1.0, 0.0], 7), 0.0);
    }

    #[test]
    fn a_part_of_each_class_is_held_out() {
        let values: Vec<f32> = (0..53).map(|i| f32::from(u8::from(i % 10 == 0))).collect();
        let labels = Labels::new("l", &values).unwrap();
        let [kept, out] = split(&labels, 3);
        let ones = |rows: &[usize]| rows.iter().filter(|&&i| labels.of[i] == 1).count();
        assert_eq!((kept.len(), out.len(), ones(&kept), ones(&out)), (43, 10, 5, 1));
        let mut all = [kept.clone(), out].concat();
        all.sort_unstable();
        assert!(all.iter().copied().eq(0..53) && split(&labels, 3)[0] == kept && split(&labels, 4)[0] != kept);
    }

    /// Points in three corners, and samples from two of them.
    #[test]
    fn missing_classes_are_detected() {
        let corners = [[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]];
        let near = |class: usize, i: usize| {
            let by = |k: usize| ((i * k) % 17) as f32 / 17.0;
            [corners[class][0] + by(7), corners[class][1] + by(5)]
        };
        let points = |name: &str, classes: &dyn Fn(usize) -> usize| {
            Dataset::new(name, [2], (0..90).flat_map(|i| near(classes(i), i)).collect::<Vec<f32>>()).unwrap()
        };
        let data = points("data", &|i| i % 3);
        let labels = Labels::new("labels", &(0..90).map(|i| (i % 3) as f32).collect::<Vec<f32>>()).unwrap();
        let samples = points("samples", &|i| i % 2);
        let found = classify(&Device::cpu(), &samples, &data, &labels, 1).unwrap();
        assert_eq!((found.trained, found.held_out, found.accuracy), (72, 18, 1.0));
        assert!((found.distance - 1.0 / 3.0).abs() < 1e-9 && found.floor < 0.1, "{found}");
        assert!(found.mix[2].samples == 0.0 && found.confidence_samples > 0.9, "{found}");
        assert_eq!(found, classify(&Device::cpu(), &samples, &data, &labels, 1).unwrap());
    }
}
