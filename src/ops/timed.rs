//! Cases of the sizes common in training, for `cargo bench`: about a million elements, or some hundred million FLOPs.

use super::case::Case;
use super::*;

/// Rows of a data set, steps of a schedule, and the elements of a large tensor.
const ROWS: usize = 8192;
const T: usize = 1000;
const MANY: usize = 1 << 20;

/// One or more cases for each op of [`catalog`], by its name there.
pub fn timed_cases() -> Vec<(&'static str, Case)> {
    [elementwise(), convolutions(), products(), randoms(), rows(), sums()].concat()
}

/// A table [rows, cols] of values below 1.
fn table(case: Case, [rows, cols]: [usize; 2]) -> Case {
    case.values([rows, cols], (0..rows * cols).map(|i| 0.1 + 0.8 * (i % 97) as f32 / 97.0).collect())
}

/// Steps, or rows of a table: [n], as floats.
fn steps(case: Case, n: usize) -> Case {
    case.values([n], (0..n).map(|i| (i * 7 % T) as f32).collect())
}

fn indices(case: Case, n: usize, end: usize) -> Case {
    case.integers([n], (0..n).map(|i| (i * 7 % end) as u32).collect())
}

fn zeros(case: Case, n: usize) -> Case {
    case.update([n], vec![0.0; n])
}

fn elementwise() -> Vec<(&'static str, Case)> {
    let silu = Activation::Silu;
    let adam = Case::new(Optimizer::adam(1e-3)).input([MANY]);
    let combine = Case::new(Combine).input([1024, 784]).input([1024, 784]);
    let stepped = table(
        Case::new(SamplerStep { stream: 3, given: false, history: false }).input([1024, 784]),
        [T, SamplerStep::ROW],
    );
    vec![
        ("accumulate", zeros(Case::new(Accumulate { share: 0.125 }).input([MANY]), MANY)),
        ("activation", Case::new(Activate(silu)).input([MANY])),
        ("activation", Case::new(activation::Slope(silu)).input([MANY]).input([MANY])),
        ("add", Case::new(Add).input([MANY]).input([MANY])),
        ("affine", Case::new(Affine).input([1024, 784]).input([2, 784])),
        ("combine", steps(combine, 1024).input([T, 2])),
        ("concat", Case::new(Concat).input([1024, 784]).input([1024, 128])),
        ("fill", Case::new(FillRow { batch: MANY }).input([T, 8])),
        ("optimizer", zeros(zeros(zeros(adam, MANY), MANY), MANY)),
        ("sampler_step", stepped.update([1024, 784], vec![0.5; 1024 * 784])),
        ("upsample", Case::new(Upsample { factor: [2, 2] }).input([32, 64, 14, 14])),
        ("upsample", Case::new(Widen { factor: 2 }).input([128, 64, 3, 3])),
    ]
}

fn convolutions() -> Vec<(&'static str, Case)> {
    let (image, places, weight) = ([32, 32, 14, 14], [32, 64, 14, 14], [64, 32, 3, 3]);
    let (stride, padding, activation) = (1, 1, Activation::None);
    let conv = Conv { stride, padding, activation: Activation::Relu };
    let input =
        conv::gradient::ConvInput { stride, padding, transposed: false, image: image[2..].to_vec(), activation };
    let transpose = ConvTranspose { stride: 2, padding: 1, output_padding: 0, activation };
    let weights = conv::gradient::ConvWeight { stride, padding, kernel: [3, 3], bias: true };
    let pool = Pool { kind: Pooling::Max, kernel: 2, stride: 2, padding: 0 };
    let bias = ChannelBias { activation: Activation::Relu };
    let window = |k: usize| Ssim { window: k, ..Ssim::new(2.0) }.weights().iter().map(|&w| w as f32).collect();
    vec![
        ("channels", Case::new(bias).input(places).input([32, 64])),
        ("channels", Case::new(channels::ChannelSum).input(places)),
        ("conv", Case::new(conv).input(image).input(weight).input([64])),
        ("conv_gradient", Case::new(input).input(places).input(weight)),
        ("conv_gradient", Case::new(weights).input(image).input(places)),
        ("conv_transpose", Case::new(transpose).input([32, 64, 7, 7]).input([64, 32, 4, 4]).input([32])),
        ("pool", Case::new(pool).input(places)),
        ("ssim", Case::new(ssim::Rows).values([11], window(11)).input([32, 1, 64, 64]).input([32, 1, 64, 64])),
    ]
}

fn products() -> Vec<(&'static str, Case)> {
    let (relu, none) = (Activation::Relu, Activation::None);
    let attention = Attention { heads: 4, channels: Channels::First };
    vec![
        ("attention", Case::new(attention).input([8, 384, 256])),
        ("dense", Case::new(Dense { activation: relu }).input([256, 1024]).input([1024, 1024]).input([1024])),
        ("dense", Case::new(DenseInput { activation: none }).input([256, 1024]).input([1024, 1024])),
        ("dense", Case::new(dense::DenseWeight).input([256, 1024]).input([256, 1024])),
    ]
}

fn randoms() -> Vec<(&'static str, Case)> {
    let noise = Noise { stream: 5 };
    let gather = Gather { batch: 256, rows: 256, rows_per_part: ROWS, stream: 2 };
    let encode = Encode { width: 128, layout: Layout::Interleaved };
    let (shape, rates) = encode.rate_words();
    let batch = NoisyBatch { gather, noise, encode: Some(encode) };
    let gaussian = AddNoise { disturbance: Disturbance::Gaussian { scale: 0.5 }, stream: 3, given: false };
    let joined = table(Case::new(StepInput { encode }).input([1024, 784]), [T, 8]);
    let counters = (0..4 * 65_536).collect();
    vec![
        ("add_noise", Case::new(gaussian).input([1024, 784])),
        ("dropout", Case::new(dropout::Dropout { p: 0.1, stream: 4 }).input([1024, 1024])),
        ("encode", steps(Case::new(encode), ROWS).integers(shape, rates.clone())),
        ("gather", Case::new(gather).input([ROWS, 784])),
        ("noise", table(Case::new(noise).input([1024, 784]), [T, Noise::ROW])),
        ("noisy_batch", table(Case::new(batch).input([ROWS, 784]), [T, Noise::ROW]).integers(shape, rates.clone())),
        ("step_input", joined.integers(shape, rates)),
        ("philox", Case::new(Philox).integers([65_536, 4], counters).integers([65_536, 2], vec![7; 2 * 65_536])),
    ]
}

fn rows() -> Vec<(&'static str, Case)> {
    let embedding = Case::new(Embedding).input([T, 128]);
    let group = Case::new(GroupNorm::new(8)).input([32, 64, 14, 14]);
    let reverse = norm::NormInput { groups: Some(8), activation: Activation::None };
    let reverse = Case::new(reverse).input([32, 64, 14, 14]).input([32, 64, 14, 14]);
    let quality = jpeg::tables(50).expect("a quality in range");
    let table_gradient = embedding::EmbeddingTable { rows: T };
    vec![
        ("cross_entropy", indices(Case::new(cross_entropy::CrossEntropy).input([ROWS, 10]), ROWS, 10)),
        ("embedding", indices(embedding, 4096, T)),
        ("embedding", indices(Case::new(table_gradient).input([4096, 128]), 4096, T)),
        ("jpeg", Case::new(Jpeg { low: 0.0, high: 1.0 }).input([64, 1, 32, 32]).values([2, 8, 8], quality)),
        ("norm", group.input([64]).input([64])),
        ("norm", table(reverse, [256, 2]).input([64])),
        ("norm", Case::new(LayerNorm::default()).input([1024, 1024]).input([1024]).input([1024])),
        ("softmax", Case::new(Softmax).input([4096, 256])),
    ]
}

fn sums() -> Vec<(&'static str, Case)> {
    vec![
        ("point_loss", Case::new(PointLoss::new(Measure::Squared)).input([1024, 784]).input([1024, 784])),
        ("reduce", Case::new(SquaredNorm).input([MANY])),
        ("reduce", Case::new(Reduce(Reduction::Sum { scale: 1.0 })).input([4096])),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;
    use std::collections::BTreeSet;

    #[test]
    fn every_op_of_the_catalog_is_timed_and_runs() {
        let cases = timed_cases();
        let timed: BTreeSet<_> = cases.iter().map(|(name, _)| *name).collect();
        assert_eq!(timed, catalog().iter().map(|(name, _)| *name).collect());
        for (name, case) in cases {
            let mut run = case.compile(&Device::cpu()).unwrap_or_else(|e| panic!("{name}: {e}"));
            run.steps(1).unwrap();
        }
    }
}
