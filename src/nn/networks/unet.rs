//! The U-Net for signals and images: an encoder to coarse levels and a decoder with skip connections.

use serde::{Deserialize, Serialize};

use super::{MAX_DEPTH, MAX_WIDTH, Options, Recipe};
use crate::error::{Error, Result};
use crate::graph::{Graph, Var};
use crate::nn::conditions::Conditions;
use crate::nn::{
    ConditionOptions, Conv, ConvTranspose, Denoiser, GroupNorm, Inputs, Linear, Regularisation, StepEncoderOptions,
    check_size,
};
use crate::ops::{Activation, Add, Attention, ChannelBias, Channels};

/// The settings of a [`UNet`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct UNetOptions {
    /// Channels of the finest level.
    pub width: usize,
    /// Residual blocks per level.
    pub depth: usize,
    /// The step encoding.
    #[serde(flatten)]
    pub step: StepEncoderOptions,
    /// Dropout and noise on hidden activations.
    #[serde(flatten)]
    pub regularisation: Regularisation,
    /// The levels.
    #[serde(rename = "unet", default)]
    pub levels: UNetLevels,
    /// The conditions besides the step.
    #[serde(default, skip_serializing_if = "ConditionOptions::is_none")]
    pub conditions: ConditionOptions,
}

setters!(UNetOptions {
    width: usize,
    depth: usize,
    step: StepEncoderOptions,
    regularisation: Regularisation,
    levels: UNetLevels,
    conditions: ConditionOptions,
});

/// The levels of a [`UNet`], with their attention and normalisation: the table `[model.unet]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct UNetLevels {
    /// Channels of each level, finest first, as multiples of the width; `None` for the defaults of
    /// [`UNetLevels::for_sample`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multipliers: Option<Vec<usize>>,
    /// The levels with attention, 0 being the finest; `None` for the coarsest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attention: Option<Vec<usize>>,
    /// Attention heads.
    pub heads: usize,
    /// Groups of the group normalisation.
    pub groups: usize,
    /// Width of the network on the step encoding; 0 for four times the width.
    pub time: usize,
    /// The side of the patches that the network works on. With 1, the finest level has the size of the sample; with P, a
    /// convolution turns each patch of P or P x P values into one place of the finest level, and a transposed convolution
    /// turns it back, which makes a step faster (Hoogeboom et al. 2023, section 3.2).
    pub patch: usize,
}

setters!(UNetLevels {
    multipliers: Option<Vec<usize>>,
    attention: Option<Vec<usize>>,
    heads: usize,
    groups: usize,
    time: usize,
    patch: usize,
});

impl Default for UNetOptions {
    fn default() -> Self {
        Self {
            width: 32,
            depth: 1,
            step: StepEncoderOptions { width: 64, ..StepEncoderOptions::default() },
            regularisation: Regularisation::default(),
            levels: UNetLevels::default(),
            conditions: ConditionOptions::default(),
        }
    }
}

impl Options for UNetOptions {
    fn build(&self, g: &mut Graph, sample: &[usize]) -> Result<Box<dyn Denoiser>> {
        Ok(Box::new(UNet::new(g, sample, self)?))
    }

    fn recipe(&self) -> Recipe {
        Recipe { steps: 3_000, batch: 64, lr: 1e-3, ..Recipe::default() }
    }

    fn step(&self) -> Option<&StepEncoderOptions> {
        Some(&self.step)
    }

    fn step_mut(&mut self) -> Option<&mut StepEncoderOptions> {
        Some(&mut self.step)
    }

    fn conditions(&self) -> Option<&ConditionOptions> {
        Some(&self.conditions)
    }

    fn conditions_mut(&mut self) -> Option<&mut ConditionOptions> {
        Some(&mut self.conditions)
    }

    fn resolve(&mut self, sample: &[usize]) {
        self.levels = self.levels.clone().for_sample(sample);
    }
}

impl Default for UNetLevels {
    fn default() -> Self {
        Self { multipliers: None, attention: None, heads: 4, groups: 8, time: 0, patch: 1 }
    }
}

/// The default multipliers of [`UNetLevels::for_sample`].
const MULTIPLIERS: [usize; 4] = [1, 2, 4, 4];

impl UNetLevels {
    /// Fills in the levels for samples of a shape \[L\], [C, L] or [C, H, W]: two, plus one as long as the coarsest can
    /// be halved and has more than 8 places per side, at most four, with 1, 2, 4 and 4 times the width. The coarsest
    /// level then covers the whole sample, and its attention is cheap. A place is a patch of the sample.
    pub fn for_sample(self, sample: &[usize]) -> Self {
        let (multipliers, attention) = self.resolved(sample);
        Self { multipliers: Some(multipliers), attention: Some(attention), ..self }
    }

    /// Multipliers, and the levels with attention.
    fn resolved(&self, sample: &[usize]) -> (Vec<usize>, Vec<usize>) {
        let axes = if sample.len() > 1 { &sample[1..] } else { sample };
        let places = axes.iter().map(|n| n / self.patch.max(1)).collect::<Vec<_>>();
        let halves = |level: &usize| places.iter().all(|n| (n >> level) > 8 && (n >> level).is_multiple_of(2));
        let levels = 2 + (1..MULTIPLIERS.len() - 1).take_while(halves).count();
        let multipliers = self.multipliers.clone().unwrap_or_else(|| MULTIPLIERS[..levels].to_vec());
        let coarsest = multipliers.len().saturating_sub(1);
        (multipliers, self.attention.clone().unwrap_or_else(|| vec![coarsest]))
    }
}

/// conv_in of the sample and of known values; per level blocks, then downsampling by 2; blocks on the coarsest; per level upsampling by 2, concatenation
/// with the skip connections, and blocks again; act(norm_out), conv_out.
///
/// *Source*: Ronneberger et al. 2015; residual blocks with step conditioning and attention as in Ho et al. 2020.
#[derive(Clone, Debug)]
pub struct UNet {
    regularisation: Regularisation,
    /// [C, L] or [C, H, W].
    sample: Vec<usize>,
    conditions: Conditions,
    conv_in: Conv,
    levels: Vec<Level>,
    middle: Vec<Block>,
    norm_out: GroupNorm,
    conv_out: Output,
}

/// The last layer.
#[derive(Clone, Debug)]
enum Output {
    Values(Conv),
    Patches(ConvTranspose),
}

/// A level that has a coarser level below it.
#[derive(Clone, Debug)]
struct Level {
    down: Vec<Block>,
    downsample: Conv,
    upsample: Conv,
    up: Vec<Block>,
}

/// A residual block, followed by attention if the level has it.
#[derive(Clone, Debug)]
struct Block {
    residual: Residual,
    attention: Option<SelfAttention>,
}

/// The settings shared by the layers of a level.
#[derive(Clone, Copy)]
struct Sizes {
    axes: usize,
    time: usize,
    groups: usize,
    heads: Option<usize>,
}

impl UNet {
    /// Adds the parameters for samples \[L\], [C, L] or [C, H, W].
    ///
    /// # Errors
    /// When a size is out of range, the size of a level is odd, or groups or heads do not divide its channels; the
    /// message suggests a setting that works.
    pub fn new(g: &mut Graph, sample: &[usize], options: &UNetOptions) -> Result<Self> {
        let UNetOptions { width, depth, step, regularisation, ref levels, conditions } = *options;
        check_size("width", width, MAX_WIDTH)?;
        check_size("depth", depth, MAX_DEPTH)?;
        let (multipliers, attention) = levels.resolved(sample);
        let UNetLevels { heads, groups, time, patch, .. } = *levels;
        let sample = if sample.len() > 1 { sample.to_vec() } else { [&[1], sample].concat() };
        check(&sample, options, &multipliers, &attention)?;
        let time = if time == 0 { 4 * width } else { time };
        let channels: Vec<usize> = multipliers.iter().map(|m| m * width).collect();
        let axes = sample.len() - 1;
        let sizes = |level: usize| {
            let heads = attention.contains(&level).then_some(heads);
            Sizes { axes, time, groups, heads }
        };
        let conv = |g: &mut Graph, name: &str, i, o| Conv::new(g, name, axes, [i, o], 3);
        let inputs = sample[0] + conditions.given;
        let conditions = Conditions::new(g, &step, conditions, time)?;
        let conv_in = match patch {
            1 => conv(g, "conv_in", inputs, channels[0])?,
            _ => Conv::new(g, "conv_in", axes, [inputs, channels[0]], patch)?.stride(patch).padding(0),
        };
        let last = channels.len() - 1;
        let mut ways = Vec::new();
        for level in 0..last {
            let (c, below) = (channels[level], channels[level + 1]);
            let down = blocks(g, &format!("down.{level}"), c, c, depth, sizes(level))?;
            ways.push((down, conv(g, &format!("down.{level}.downsample"), c, below)?.stride(2)));
        }
        let middle = blocks(g, "middle", channels[last], channels[last], depth, sizes(last))?;
        let mut levels = Vec::new();
        for (level, (down, downsample)) in ways.into_iter().enumerate().rev() {
            let (c, below) = (channels[level], channels[level + 1]);
            let upsample = conv(g, &format!("up.{level}.upsample"), below, c)?;
            let up = blocks(g, &format!("up.{level}"), 2 * c, c, depth, sizes(level))?;
            levels.insert(0, Level { down, downsample, upsample, up });
        }
        let norm_out = GroupNorm::new(g, "norm_out", channels[0], groups)?;
        let conv_out = match patch {
            1 => Output::Values(conv(g, "conv_out", channels[0], sample[0])?),
            _ => {
                let sizes = [patch, patch, 0];
                Output::Patches(ConvTranspose::new(g, "conv_out", axes, [channels[0], sample[0]], sizes)?)
            }
        };
        Ok(Self { regularisation, sample, conditions, conv_in, levels, middle, norm_out, conv_out })
    }

    /// The prediction [B, D] from x_t [B, D] and a step encoding [B, E].
    ///
    /// # Errors
    /// When the width of an input differs from the network's.
    pub fn forward_encoded(&self, g: &mut Graph, x_t: Var, encoding: Var) -> Result<Var> {
        let time = self.conditions.forward_encoded(g, encoding, Activation::Silu)?;
        self.forward_timed(g, x_t, time)
    }

    /// From x [B, D + G], the noisy data and the known values, and the embedding of the step.
    fn forward_timed(&self, g: &mut Graph, x: Var, time: Var) -> Result<Var> {
        let (batch, width) = g.spec(x).rows();
        let places: usize = self.sample[1..].iter().product();
        let x = g.reshape(x, [&[batch, width / places], &self.sample[1..]].concat())?;
        let mut h = self.conv_in.forward(g, x, Activation::None)?;
        let mut known = Vec::new();
        for level in &self.levels {
            h = self.through(g, &level.down, h, None, time)?;
            known.push(h);
            h = level.downsample.forward(g, h, Activation::None)?;
        }
        h = self.through(g, &self.middle, h, None, time)?;
        for (level, known) in self.levels.iter().zip(known).rev() {
            h = level.upsample.forward_upsampled(g, h, 2, Activation::None)?;
            h = self.through(g, &level.up, h, Some(known), time)?;
        }
        let h = self.norm_out.forward(g, h, Activation::Silu)?;
        let y = match &self.conv_out {
            Output::Values(conv) => conv.forward(g, h, Activation::None)?,
            Output::Patches(conv) => conv.forward(g, h, Activation::None)?,
        };
        g.reshape(y, [batch, self.sample[0] * places])
    }

    /// Blocks on h, joined with the channels of a skip connection.
    fn through(&self, g: &mut Graph, blocks: &[Block], mut h: Var, skip: Option<Var>, time: Var) -> Result<Var> {
        let mut skip = skip;
        for block in blocks {
            h = g.block(|g| {
                let h = skip.take().map_or(Ok(h), |skip| g.concat_channels(h, skip))?;
                let h = block.residual.forward(g, h, time, self.regularisation)?;
                block.attention.as_ref().map_or(Ok(h), |attention| attention.forward(g, h))
            })?;
        }
        Ok(h)
    }
}

impl Denoiser for UNet {
    fn forward(&self, g: &mut Graph, inputs: Inputs) -> Result<Var> {
        let (x, time) = self.conditions.forward(g, inputs, "unet", Activation::Silu)?;
        self.forward_timed(g, x, time)
    }
}

/// Checks the settings before the first parameter is added.
fn check(sample: &[usize], options: &UNetOptions, multipliers: &[usize], attention: &[usize]) -> Result<()> {
    let refuse = |text: String| Err(Error::setting(text));
    if sample[1..] == [2] {
        return refuse("a U-Net needs signals or images, and these are points in the plane; use the model mlp".into());
    }
    let (levels, axes, patch) = (multipliers.len(), &sample[1..], options.levels.patch);
    if patch == 0 || axes.iter().any(|n| !n.is_multiple_of(patch)) {
        let least = axes.iter().min().copied().unwrap_or(1).min(64);
        let fitting: Vec<usize> = (1..=least).filter(|p| axes.iter().all(|n| n.is_multiple_of(*p))).collect();
        return refuse(format!(
            "model.unet.patch is {patch}, which does not divide samples of size {axes:?}; use one of {fitting:?}"
        ));
    }
    let places: Vec<usize> = axes.iter().map(|n| n / patch).collect();
    if levels == 0 || levels > 16 || multipliers.iter().any(|m| *m == 0 || *m > 64) {
        let text = format!("model.unet.multipliers is {multipliers:?}; use 1 to 16 numbers from 1 to 64");
        return refuse(text);
    }
    if let Some(level) = attention.iter().find(|level| **level >= levels) {
        let last = levels - 1;
        return refuse(format!(
            "model.unet.attention names level {level}, but the levels are 0 to {last}; name some of these, the coarsest \
             being {last}, or [] for no attention"
        ));
    }
    for level in 1..levels {
        let halved: Vec<usize> = places.iter().map(|n| n >> (level - 1)).collect();
        if halved.iter().any(|n| n % 2 == 1) {
            let whole = patch << (levels - 1);
            return refuse(format!(
                "a U-Net of {levels} levels halves the size {} times, but samples of size {axes:?} have the odd size \
                 {halved:?} at level {}; state {} under [model.unet], bring the data to multiples of {whole}, or use the model mlp",
                levels - 1,
                level - 1,
                if level == 1 { "multipliers = [1]".into() } else { format!("{level} multipliers") }
            ));
        }
    }
    for (level, m) in multipliers.iter().enumerate() {
        let channels = m * options.width;
        let attends = attention.contains(&level);
        for (what, parts, asked) in [("groups", options.levels.groups, true), ("heads", options.levels.heads, attends)]
        {
            if asked && (parts == 0 || !channels.is_multiple_of(parts)) {
                let fitting: Vec<usize> = (1..=channels.min(64)).filter(|n| channels.is_multiple_of(*n)).collect();
                return refuse(format!(
                    "model.unet.{what} is {parts}, which does not divide the {channels} channels of level {level}; use \
                     one of {fitting:?}, or another model.width"
                ));
            }
        }
    }
    Ok(())
}

/// `name.0`, `name.1`, ... from `inputs` to `outputs` channels.
fn blocks(g: &mut Graph, name: &str, inputs: usize, outputs: usize, count: usize, sizes: Sizes) -> Result<Vec<Block>> {
    let block = |i: usize| {
        let name = format!("{name}.{i}");
        let residual = Residual::new(g, &name, if i == 0 { inputs } else { outputs }, outputs, sizes)?;
        let attention = |heads| SelfAttention::new(g, &format!("{name}.attention"), outputs, heads, sizes.groups);
        Ok(Block { residual, attention: sizes.heads.map(attention).transpose()? })
    };
    (0..count).map(block).collect()
}

/// x + conv2(act(norm2(conv1(act(norm1(x))) + time))), with x through a pointwise convolution if the channels change.
#[derive(Clone, Debug)]
struct Residual {
    norm1: GroupNorm,
    conv1: Conv,
    time: Linear,
    norm2: GroupNorm,
    conv2: Conv,
    skip: Option<Conv>,
}

impl Residual {
    fn new(g: &mut Graph, name: &str, inputs: usize, outputs: usize, sizes: Sizes) -> Result<Self> {
        let Sizes { axes, time, groups, .. } = sizes;
        let named = |part: &str| format!("{name}.{part}");
        Ok(Self {
            norm1: GroupNorm::new(g, &named("norm1"), inputs, groups)?,
            conv1: Conv::new(g, &named("conv1"), axes, [inputs, outputs], 3)?,
            time: Linear::new(g, &named("time"), time, outputs)?,
            norm2: GroupNorm::new(g, &named("norm2"), outputs, groups)?,
            conv2: Conv::new(g, &named("conv2"), axes, [outputs, outputs], 3)?,
            skip: match inputs == outputs {
                true => None,
                false => Some(Conv::new(g, &named("skip"), axes, [inputs, outputs], 1)?),
            },
        })
    }

    fn forward(&self, g: &mut Graph, x: Var, time: Var, regularisation: Regularisation) -> Result<Var> {
        let none = Activation::None;
        let h = self.norm1.forward(g, x, Activation::Silu)?;
        let h = self.conv1.forward(g, h, none)?;
        let bias = self.time.forward(g, time, none)?;
        let h = g.apply1(ChannelBias { activation: none }, &[h, bias])?;
        let h = self.norm2.forward(g, h, Activation::Silu)?;
        let h = regularisation.forward(g, h)?;
        let h = self.conv2.forward(g, h, none)?;
        let x = match &self.skip {
            Some(skip) => skip.forward(g, x, none)?,
            None => x,
        };
        g.apply1(Add, &[x, h])
    }
}

/// x + out(attention(qkv(norm(x)))) over all places, with pointwise convolutions as projections.
#[derive(Clone, Debug)]
struct SelfAttention {
    norm: GroupNorm,
    qkv: Conv,
    out: Conv,
    heads: usize,
}

impl SelfAttention {
    fn new(g: &mut Graph, name: &str, channels: usize, heads: usize, groups: usize) -> Result<Self> {
        Ok(Self {
            norm: GroupNorm::new(g, &format!("{name}.norm"), channels, groups)?,
            qkv: Conv::new(g, &format!("{name}.qkv"), 1, [channels, 3 * channels], 1)?,
            out: Conv::new(g, &format!("{name}.out"), 1, [channels, channels], 1)?,
            heads,
        })
    }

    fn forward(&self, g: &mut Graph, x: Var) -> Result<Var> {
        let shape = g.shape(x).to_vec();
        let places = shape[2..].iter().product();
        let h = self.norm.forward(g, x, Activation::None)?;
        let h = g.reshape(h, [shape[0], shape[1], places])?;
        let h = self.qkv.forward(g, h, Activation::None)?;
        let h = g.apply1(Attention { heads: self.heads, channels: Channels::First }, &[h])?;
        let h = self.out.forward(g, h, Activation::None)?;
        let h = g.reshape(h, shape)?;
        g.apply1(Add, &[x, h])
    }
}
