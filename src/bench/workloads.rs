//! The named workloads as compiled programs. Their definitions stay fixed, so that results are comparable over time.

use super::small_unet::{SAMPLE, SmallUNet};
use crate::data::sine_waves;
use crate::device::Device;
use crate::device::Run;
use crate::diffusion::{Objective, Prediction, SamplerOptions, SamplerSettings, SamplerTable, Schedule, sampler};
use crate::error::Result;
use crate::generate::{reverse_process, starting_noise};
use crate::graph::{Graph, Var};
use crate::nn::{
    Chapter, ChapterOptions, Conv, Denoiser, Inputs, Linear, StepEncoderOptions, StepEncoding, UNet, UNetOptions,
};
use crate::numeric::random::{Clock, fill_normals};
use crate::ops::{Activation, Attention, ChannelBias, Channels, Concat, DenseInput, Encode, Layout, Optimizer};

/// Steps of the noise schedule.
const T: usize = 1000;
/// Width of the step encoding.
const ENCODING: usize = 128;
/// Matrix products in a chain: each depends on the previous one.
const CHAIN: usize = 2;

/// What a workload measures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum WorkloadKind {
    /// A whole training step.
    Train { net: Net, batch: usize },
    /// C = A B in a chain, f32, [n, n].
    Gemm { n: usize },
    /// x_t and eps from x0 [16384, 784].
    Noise,
    /// Self-attention [1, 3 x 128, n] with 4 heads, forward and backward.
    Attention { n: usize },
    /// Forward and backward pass of the small U-Net with the mean squared error, without an optimizer.
    SmallUNet { batch: usize },
    /// A whole reverse process.
    Sample { net: Net, batch: usize, sampler: &'static str, steps: usize },
    /// Process start to the first finished training step of `seed-256`.
    FirstStep,
}

/// A network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Net {
    /// 100 + 128 -> 128 ReLU -> 100.
    Seed,
    /// 784 + 128 -> 1024 -> 1024 -> 1024 -> 784, ReLU.
    Mlp,
    /// 28 x 28: 1 -> 32 -> 64 (half) -> 128 (half, with the step) -> 64 (twice) -> 32 (twice) -> 1, ReLU, all 3 x 3.
    Conv,
    /// The default U-Net on images 28 x 28.
    UNet2d,
    /// The default U-Net on signals of 128 values.
    UNet1d,
}

/// A workload: a name and its definition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Workload {
    pub name: &'static str,
    pub kind: WorkloadKind,
}

/// All workloads, in the order in which they are run.
pub(super) const ALL: [Workload; 18] = [
    train("seed-32", Net::Seed, 32),
    train("seed-256", Net::Seed, 256),
    train("seed-4096", Net::Seed, 4096),
    train("mlp-256", Net::Mlp, 256),
    Workload { name: "gemm-512", kind: WorkloadKind::Gemm { n: 512 } },
    Workload { name: "gemm-1024", kind: WorkloadKind::Gemm { n: 1024 } },
    Workload { name: "gemm-2048", kind: WorkloadKind::Gemm { n: 2048 } },
    Workload { name: "noise", kind: WorkloadKind::Noise },
    Workload { name: "ddim-50", kind: WorkloadKind::Sample { net: Net::Mlp, batch: 64, sampler: "ddim", steps: 50 } },
    Workload {
        name: "ddpm-1000",
        kind: WorkloadKind::Sample { net: Net::Seed, batch: 256, sampler: "ddpm", steps: T },
    },
    train("conv-32", Net::Conv, 32),
    train("unet-28", Net::UNet2d, 64),
    train("unet-1d", Net::UNet1d, 64),
    Workload { name: "unet-32", kind: WorkloadKind::SmallUNet { batch: 2 } },
    Workload { name: "unet-32-b32", kind: WorkloadKind::SmallUNet { batch: 32 } },
    Workload { name: "attention-4096", kind: WorkloadKind::Attention { n: 4096 } },
    Workload {
        name: "sample-unet",
        kind: WorkloadKind::Sample { net: Net::UNet2d, batch: 64, sampler: "ddim", steps: 20 },
    },
    Workload { name: "first-step", kind: WorkloadKind::FirstStep },
];

const fn train(name: &'static str, net: Net, batch: usize) -> Workload {
    Workload { name, kind: WorkloadKind::Train { net, batch } }
}

impl WorkloadKind {
    pub fn batch(self) -> Option<usize> {
        match self {
            WorkloadKind::Train { batch, .. }
            | WorkloadKind::Sample { batch, .. }
            | WorkloadKind::SmallUNet { batch } => Some(batch),
            WorkloadKind::Noise => Some(NOISE[0]),
            WorkloadKind::FirstStep => Some(256),
            WorkloadKind::Gemm { .. } | WorkloadKind::Attention { .. } => None,
        }
    }

    /// The measured quantity and its unit.
    pub fn metric(self) -> (&'static str, &'static str) {
        match self {
            WorkloadKind::Train { .. } => ("training_steps", "steps/s"),
            WorkloadKind::Gemm { .. } => ("gemm", "GFLOP/s"),
            WorkloadKind::Attention { .. } | WorkloadKind::SmallUNet { .. } => ("passes", "passes/s"),
            WorkloadKind::Noise => ("elements", "elements/s"),
            WorkloadKind::Sample { .. } => ("samples", "samples/s"),
            WorkloadKind::FirstStep => ("first_step", "s"),
        }
    }
}

/// A compiled workload. One iteration is a training step, a chain of products, a batch of noise, or a reverse process.
pub(super) struct CompiledWorkload {
    pub run: Run,
    /// The amount of an iteration, in the workload's unit.
    pub amount: f64,
    /// Steps of the run per iteration.
    pub steps: u32,
    /// The loss, for training.
    pub loss: Option<Var>,
    /// The state and its length, for sampling.
    state: Option<(Var, usize)>,
    /// Completed reverse processes: each starts from different noise.
    drawn: u64,
}

impl CompiledWorkload {
    /// Compiles `kind`; `None` if it is not a single program.
    ///
    /// # Errors
    /// The errors of compiling.
    pub fn new(device: &Device, kind: WorkloadKind) -> Result<Option<Self>> {
        Ok(Some(match kind {
            WorkloadKind::Train { net, batch } => training(device, net, batch)?,
            WorkloadKind::Gemm { n } => products(device, n)?,
            WorkloadKind::Noise => noising(device)?,
            WorkloadKind::Attention { n } => attention(device, n)?,
            WorkloadKind::SmallUNet { batch } => small_unet(device, batch)?,
            WorkloadKind::Sample { net, batch, sampler, steps } => sampling(device, net, batch, sampler, steps)?,
            WorkloadKind::FirstStep => return Ok(None),
        }))
    }

    fn of(run: Run, amount: f64) -> Self {
        Self { run, amount, steps: 1, loss: None, state: None, drawn: 0 }
    }

    /// Runs `n` iterations to completion; the loss is read every hundred steps and at the end.
    ///
    /// # Errors
    /// The errors of running.
    pub fn advance(&mut self, n: u32) -> Result<()> {
        if let Some((x, len)) = self.state {
            for _ in 0..n {
                self.drawn += 1;
                let mut start = vec![0.0; len];
                starting_noise(self.drawn, 0, &mut start);
                self.run.seed(self.drawn);
                self.run.set_step(0);
                self.run.write("x", &start)?;
                self.run.steps(self.steps)?;
                self.run.read(x)?;
            }
            return Ok(());
        }
        let mut left = n;
        while left > 0 {
            let part = left.min(100);
            self.run.steps(part)?;
            if let Some(loss) = self.loss {
                self.run.scalar(loss)?;
            }
            left -= part;
        }
        self.run.finish()
    }
}

fn objective() -> Result<Objective> {
    Ok(Objective::new(Schedule::linear(T, 1e-4, 0.02)?, Prediction::Epsilon))
}

impl Net {
    fn data(self) -> usize {
        match self {
            Net::Seed => 100,
            Net::Mlp | Net::Conv | Net::UNet2d => 784,
            Net::UNet1d => 128,
        }
    }

    fn build(self, g: &mut Graph) -> Result<Box<dyn Denoiser>> {
        Ok(match self {
            Net::Seed => {
                let step = StepEncoderOptions { width: ENCODING, kind: StepEncoding::Sinusoidal, ..Default::default() };
                Box::new(Chapter::new(g, self.data(), &ChapterOptions { width: 128, step, ..Default::default() })?)
            }
            Net::Mlp => Box::new(Plain::new(g, self.data(), &[1024; 3])?),
            Net::Conv => Box::new(Pyramid::new(g)?),
            Net::UNet2d => Box::new(UNet::new(g, &[1, 28, 28], &UNetOptions::default())?),
            Net::UNet1d => Box::new(UNet::new(g, &[1, 128], &UNetOptions::default())?),
        })
    }
}

/// [x_t | enc(t)] -> Dense ReLU ... -> Dense.
struct Plain {
    encode: Encode,
    layers: Vec<Linear>,
}

impl Plain {
    fn new(g: &mut Graph, data: usize, hidden: &[usize]) -> Result<Self> {
        let widths = [&[data + ENCODING], hidden, &[data]].concat();
        let layers = widths.windows(2).enumerate();
        let layers = layers.map(|(i, w)| Linear::new(g, &format!("fc{}", i + 1), w[0], w[1])).collect::<Result<_>>()?;
        Ok(Self { encode: Encode::new(ENCODING, Layout::Interleaved)?, layers })
    }
}

impl Denoiser for Plain {
    fn forward(&self, g: &mut Graph, inputs: Inputs) -> Result<Var> {
        let (x_t, t) = inputs.unconditional("of this benchmark")?;
        let encoding = self.encode.add_to(g, t)?;
        let input = g.apply1(Concat, &[x_t, encoding])?;
        let last = self.layers.len() - 1;
        self.layers.iter().enumerate().try_fold(input, |x, (i, layer)| {
            layer.forward(g, x, if i < last { Activation::Relu } else { Activation::None })
        })
    }
}

/// The convolutional network; the encoding enters as a bias per channel at the middle.
struct Pyramid {
    encode: Encode,
    down: [Conv; 3],
    time: Linear,
    up: [Conv; 2],
    output: Conv,
}

impl Pyramid {
    fn new(g: &mut Graph) -> Result<Self> {
        let mut conv = |name, inputs, outputs| Conv::new(g, name, 2, [inputs, outputs], 3);
        let down = [conv("down1", 1, 32)?, conv("down2", 32, 64)?.stride(2), conv("down3", 64, 128)?.stride(2)];
        let (up, output) = ([conv("up1", 128, 64)?, conv("up2", 64, 32)?], conv("output", 32, 1)?);
        let time = Linear::new(g, "time", ENCODING, 128)?;
        Ok(Self { encode: Encode::new(ENCODING, Layout::Interleaved)?, down, time, up, output })
    }
}

impl Denoiser for Pyramid {
    fn forward(&self, g: &mut Graph, inputs: Inputs) -> Result<Var> {
        let (x_t, t) = inputs.unconditional("of this benchmark")?;
        let (batch, data) = g.spec(x_t).rows();
        let x = g.reshape(x_t, [batch, 1, 28, 28])?;
        let h = self.down[0].forward(g, x, Activation::Relu)?;
        let h = self.down[1].forward(g, h, Activation::Relu)?;
        let h = self.down[2].forward(g, h, Activation::None)?;
        let encoding = self.encode.add_to(g, t)?;
        let step = self.time.forward(g, encoding, Activation::None)?;
        let h = g.apply1(ChannelBias { activation: Activation::Relu }, &[h, step])?;
        let h = self.up[0].forward_upsampled(g, h, 2, Activation::Relu)?;
        let h = self.up[1].forward_upsampled(g, h, 2, Activation::Relu)?;
        let y = self.output.forward(g, h, Activation::None)?;
        g.reshape(y, [batch, data])
    }
}

/// A training step: batch from resident data, t and eps, noise, encoding, forward, loss, backward pass, Adam.
fn training(device: &Device, net: Net, batch: usize) -> Result<CompiledWorkload> {
    const ROWS: usize = 8192;
    let width = net.data();
    let mut g = Graph::seeded(1);
    let data = g.dataset("data", [ROWS, width])?;
    let network = net.build(&mut g)?;
    let noised = g.noisy_batch(&data, batch, &objective()?)?;
    let prediction = network.forward(&mut g, Inputs::new(noised.x_t, noised.t))?;
    let loss = g.mse(prediction, noised.target)?;
    g.minimize(loss, Optimizer::adam(1e-3))?;
    let mut run = device.compile(&g)?;
    run.write("data", &sine_waves(ROWS, width, 0))?;
    Ok(CompiledWorkload { loss: Some(loss), ..CompiledWorkload::of(run, 1.0) })
}

/// C = A B, then C B: B is scaled so that the magnitudes stay constant.
fn products(device: &Device, n: usize) -> Result<CompiledWorkload> {
    let mut g = Graph::new();
    let (a, b) = (g.state("a", [n, n])?, g.state("b", [n, n])?);
    let product = DenseInput { activation: Activation::None };
    let c = (0..CHAIN).try_fold(a, |c, _| g.apply1(product, &[c, b]))?;
    g.keep(c);
    let mut run = device.compile(&g)?;
    let mut values = vec![0f32; n * n];
    fill_normals(Clock { seed: 1, step: 0 }, 0, 0, &mut values);
    run.write("a", &values)?;
    values.iter_mut().for_each(|v| *v /= (n as f32).sqrt());
    run.write("b", &values)?;
    Ok(CompiledWorkload::of(run, (CHAIN * 2 * n * n * n) as f64 / 1e9))
}

const NOISE: [usize; 2] = [16_384, 784];

fn noising(device: &Device) -> Result<CompiledWorkload> {
    let mut g = Graph::new();
    let x0 = g.state("x0", NOISE)?;
    let noised = g.noise(x0, &objective()?)?;
    g.keep(noised.x_t);
    g.keep(noised.target);
    let mut run = device.compile(&g)?;
    run.write("x0", &sine_waves(NOISE[0], NOISE[1], 0))?;
    Ok(CompiledWorkload::of(run, (NOISE[0] * NOISE[1]) as f64))
}

fn attention(device: &Device, n: usize) -> Result<CompiledWorkload> {
    const CHANNELS: usize = 128;
    let mut g = Graph::new();
    let (qkv, dy) = (g.state("qkv", [1, 3 * CHANNELS, n])?, g.state("dy", [1, CHANNELS, n])?);
    let y = g.apply1(Attention { heads: 4, channels: Channels::First }, &[qkv])?;
    let gradients = g.backward_from(&[(y, dy)], &[qkv])?;
    g.keep(y);
    g.keep(gradients.of(qkv).expect("it was asked for"));
    let mut run = device.compile(&g)?;
    let mut values = vec![0f32; 3 * CHANNELS * n];
    fill_normals(Clock { seed: 1, step: 0 }, 0, 0, &mut values);
    run.write("qkv", &values)?;
    run.write("dy", &values[..CHANNELS * n])?;
    Ok(CompiledWorkload::of(run, 1.0))
}

fn small_unet(device: &Device, batch: usize) -> Result<CompiledWorkload> {
    let mut g = Graph::seeded(1);
    let shape = [&[batch], &SAMPLE[..]].concat();
    let (x, target) = (g.state("x", shape.clone())?, g.state("target", shape.clone())?);
    let y = SmallUNet::add_to(&mut g, x)?;
    let loss = g.mse(y, target)?;
    g.keep(loss);
    g.backward(&[loss], &[])?;
    let mut run = device.compile(&g)?;
    let mut values = vec![0f32; shape.iter().product()];
    for (i, name) in ["x", "target"].into_iter().enumerate() {
        fill_normals(Clock { seed: 1, step: 0 }, i as u32, 0, &mut values);
        run.write(name, &values)?;
    }
    Ok(CompiledWorkload::of(run, 1.0))
}

fn sampling(device: &Device, net: Net, batch: usize, name: &str, steps: usize) -> Result<CompiledWorkload> {
    let table =
        SamplerTable::new(&objective()?, &SamplerOptions::shared(sampler(name, SamplerSettings::default())?, steps))?;
    let mut g = Graph::seeded(1);
    let network = net.build(&mut g)?;
    let x = reverse_process(&mut g, network.as_ref(), &table, [batch, net.data()])?;
    let run = device.compile(&g)?;
    let state = Some((x, batch * net.data()));
    Ok(CompiledWorkload { steps: steps as u32, state, ..CompiledWorkload::of(run, batch as f64) })
}

/// Adds two large tensors: 12 bytes per element move, and everything else is negligible.
pub(super) fn copying(device: &Device) -> Result<CompiledWorkload> {
    const N: usize = 16 << 20;
    let mut g = Graph::new();
    let (a, b) = (g.state("a", [N])?, g.state("b", [N])?);
    let y = g.apply1(crate::ops::Add, &[a, b])?;
    g.keep(y);
    Ok(CompiledWorkload::of(device.compile(&g)?, 12.0 * N as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_has_few_dispatches() {
        for (name, dispatches) in [("seed-32", 9), ("ddpm-1000", 4), ("ddim-50", 6)] {
            let workload = ALL.into_iter().find(|workload| workload.name == name).unwrap();
            let job = CompiledWorkload::new(&Device::cpu(), workload.kind).unwrap().unwrap();
            assert_eq!(job.run.dispatches(), dispatches, "{name}");
        }
    }
}
