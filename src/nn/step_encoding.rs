//! Encodings of the step t for a network: an encoding selected by name, and the small network that follows it.

use serde::{Deserialize, Serialize};

use super::{Linear, check_size};
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::numeric::random::{Distribution, Draw};
use crate::ops::{Activation, Embedding, Encode, Layout};

/// The name of a step encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[non_exhaustive]
pub enum StepEncoding {
    /// Interleaved sines and cosines: [`Layout::Interleaved`].
    Sinusoidal,
    /// Sines, then cosines: [`Layout::Halves`], with the flip and shift of the options.
    Halves,
    /// A trained table with one row per step.
    Learned,
    /// Sines, then cosines, of random frequencies: N(0, 16^2) turns per thousand steps, from the seed.
    /// Tancik et al. 2020, "Fourier features let networks learn high frequency functions in low dimensional domains".
    Fourier,
}

/// Standard deviation of a random frequency, in turns per step.
const FREQUENCY: f64 = 16.0 / 1_000.0;

named!(
    StepEncoding,
    "step encoding",
    Sinusoidal = "sinusoidal",
    Halves = "halves",
    Learned = "learned",
    Fourier = "fourier",
);

/// The settings of a step encoding; in `config.toml` they are part of the network's table.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StepEncoderOptions {
    /// Width of the encoding.
    #[serde(rename = "encoding")]
    pub width: usize,
    /// The kind of encoding.
    #[serde(rename = "step_encoding")]
    pub kind: StepEncoding,
    /// `halves` only: cosines before sines.
    pub flip_sin_to_cos: bool,
    /// `halves` only: 0, or 1 as in DDPM's code.
    pub frequency_shift: f64,
    /// `learned` only: rows of the table, at least the number of diffusion steps.
    pub learned_steps: usize,
}

setters!(StepEncoderOptions {
    width: usize,
    kind: StepEncoding,
    flip_sin_to_cos: bool,
    frequency_shift: f64,
    learned_steps: usize,
});

impl Default for StepEncoderOptions {
    fn default() -> Self {
        let kind = StepEncoding::Halves;
        Self { width: 128, kind, flip_sin_to_cos: false, frequency_shift: 0.0, learned_steps: 1_000 }
    }
}

/// A step encoding in a graph: from t \[B\] to [B, E].
#[derive(Clone, Debug)]
pub struct StepEncoder {
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    /// Sines and cosines at the layout's own rates.
    Waves(Encode),
    /// Sines and cosines at given rates.
    Random(Encode, Var),
    /// Rows of a table.
    Table(Var),
}

impl StepEncoder {
    /// Adds the encoding: a learned one has the parameter `time.embedding.weight` [T, E].
    ///
    /// # Errors
    /// When a size is out of range, or the width leaves no frequencies.
    pub fn new(g: &mut Graph, options: &StepEncoderOptions) -> Result<Self> {
        let StepEncoderOptions { width, kind, flip_sin_to_cos, frequency_shift, learned_steps } = *options;
        check_size("encoding", width, 1 << 15)?;
        check_size("learned_steps", learned_steps, 1 << 20)?;
        let halves = |flip, shift| Encode::new(width, Layout::Halves { flip, shift });
        let source = match kind {
            StepEncoding::Sinusoidal => Source::Waves(Encode::new(width, Layout::Interleaved)?),
            StepEncoding::Halves => Source::Waves(halves(flip_sin_to_cos, frequency_shift)?),
            StepEncoding::Fourier => {
                let encode = halves(false, 0.0)?;
                let words = random_rates(g.seed(), encode.frequencies());
                Source::Random(encode, g.constant_u32([words.len() / 2, 2], words)?)
            }
            StepEncoding::Learned => {
                let draw = Draw { distribution: Distribution::Normal, seed: g.seed(), place: TABLE };
                Source::Table(g.drawn_parameter("time.embedding.weight", [learned_steps, width], draw)?)
            }
        };
        Ok(Self { source })
    }

    /// Encodes t \[B\].
    ///
    /// # Errors
    /// When t is not of shape \[B\].
    pub fn forward(&self, g: &mut Graph, t: Var) -> Result<Var> {
        match self.source {
            Source::Waves(encode) => encode.add_to(g, t),
            Source::Random(encode, rates) => g.apply1(encode, &[t, rates]),
            Source::Table(table) => g.apply1(Embedding, &[table, t]),
        }
    }
}

/// The positions of these draws in the stream of the seed.
const TABLE: [u32; 2] = [0, 3];
const FREQUENCIES: [u32; 2] = [0, 4];

/// Rates in 2^-64 turns per step, high and low words.
fn random_rates(seed: u64, n: usize) -> Vec<u32> {
    let rates = random_turns(seed, n).into_iter().map(|turns| (turns * 2f64.powi(64)) as u64);
    rates.flat_map(|rate| [(rate >> 32) as u32, rate as u32]).collect()
}

/// Random frequencies in turns per step, from 0 to 1: a negative frequency wraps around, as its phase does.
fn random_turns(seed: u64, n: usize) -> Vec<f64> {
    let draw = Draw { distribution: Distribution::Normal, seed, place: FREQUENCIES };
    draw.values(n).into_iter().map(|z| (z as f64 * FREQUENCY).rem_euclid(1.0)).collect()
}

impl StepEncoderOptions {
    /// The frequencies of the encoding `fourier` in turns per step, for a network with this seed; `None` for the others, whose
    /// frequencies do not depend on it.
    pub fn fourier_turns(&self, seed: u64) -> Option<Vec<f64>> {
        (self.kind == StepEncoding::Fourier).then(|| random_turns(seed, self.width / 2))
    }
}

/// A step encoding followed by two dense layers with a SiLU between them: `time.0` and `time.2`.
#[derive(Clone, Debug)]
pub struct TimeMlp {
    encoder: StepEncoder,
    layers: [Linear; 2],
}

impl TimeMlp {
    /// Adds the parameters, with `width` outputs.
    ///
    /// # Errors
    /// When an option is out of range, or a parameter of this name exists already.
    pub fn new(g: &mut Graph, options: &StepEncoderOptions, width: usize) -> Result<Self> {
        let encoder = StepEncoder::new(g, options)?;
        let layers = [Linear::new(g, "time.0", options.width, width)?, Linear::new(g, "time.2", width, width)?];
        Ok(Self { encoder, layers })
    }

    /// From t \[B\] to [B, width], with an activation after the second layer.
    ///
    /// # Errors
    /// When t is not of shape \[B\].
    pub fn forward(&self, g: &mut Graph, t: Var, last: Activation) -> Result<Var> {
        let encoding = self.encoder.forward(g, t)?;
        self.forward_encoded(g, encoding, last)
    }

    /// [`TimeMlp::forward`] from an encoding [B, E].
    ///
    /// # Errors
    /// When the encoding has another width.
    pub fn forward_encoded(&self, g: &mut Graph, encoding: Var, last: Activation) -> Result<Var> {
        let hidden = self.layers[0].forward(g, encoding, Activation::Silu)?;
        self.layers[1].forward(g, hidden, last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;

    fn encoded(kind: StepEncoding, seed: u64, t: &[f32]) -> Vec<f32> {
        let options = StepEncoderOptions { kind, width: 6, ..StepEncoderOptions::default() };
        let mut g = Graph::seeded(seed);
        let encoder = StepEncoder::new(&mut g, &options).unwrap();
        let steps = g.state("t", [t.len()]).unwrap();
        let y = encoder.forward(&mut g, steps).unwrap();
        g.keep(y);
        let mut run = Device::cpu().compile(&g).unwrap();
        run.write("t", t).unwrap();
        run.steps(1).unwrap();
        run.read(y).unwrap()
    }

    #[test]
    fn random_frequencies_come_from_the_seed_and_are_waves() {
        let t = [0.0, 1.0, 2.0, 999.0];
        let y = encoded(StepEncoding::Fourier, 7, &t);
        assert_eq!(y, encoded(StepEncoding::Fourier, 7, &t));
        assert_ne!(y, encoded(StepEncoding::Fourier, 8, &t));
        assert_eq!(y[..6], [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
        for row in y.chunks(6) {
            (0..3).for_each(|i| assert!((row[i] * row[i] + row[3 + i] * row[3 + i] - 1.0).abs() < 1e-6));
        }
        // Twice the step gives twice the phase.
        for i in 6..9 {
            assert!((y[6 + i] - 2.0 * y[i] * y[3 + i]).abs() < 1e-6);
        }
    }

    #[test]
    fn a_learned_table_gives_its_rows() {
        let y = encoded(StepEncoding::Learned, 1, &[5.0, 0.0, 5.0]);
        assert!(y[..6] == y[12..] && y[..6] != y[6..12]);
        let draw = Draw { distribution: Distribution::Normal, seed: 1, place: TABLE };
        let mean = draw.values(6_000).iter().sum::<f32>() / 6_000.0;
        assert!(mean.abs() < 5.0 / 6_000f32.sqrt());
    }

    #[test]
    fn names_round_trip() {
        for &name in StepEncoding::NAMES {
            assert_eq!(name.parse::<StepEncoding>().unwrap().to_string(), name);
        }
        assert!(
            "nope".parse::<StepEncoding>().unwrap_err().to_string().contains("sinusoidal, halves, learned, fourier")
        );
    }
}
