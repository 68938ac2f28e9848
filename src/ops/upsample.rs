//! Nearest upsampling, and the kernel that fuses upsampling and convolution into one transposed convolution.

use super::case::{Case, Tolerance};
use super::conv::window::planes;
use super::{Io, Op, Specs, expect_count};
use crate::error::{Error, Result};
use crate::graph::Cost;
use crate::graph::{Reverse, Spec};
use crate::kernel::{Kernel, Target};
use crate::numeric::scalar::Scalar;
use crate::parallel;

/// y\[b, c, i, j\] = x\[b, c, i / fy, j / fx\].
///
/// *Shapes*: x [B, C, L] or [B, C, H, W], y with axes fy and fx times as long. *Gradient*: the sums of dy over the
/// copies.
#[derive(Clone, Copy, Debug)]
pub struct Upsample {
    /// Copies along height and width; a signal has height 1 and takes one copy.
    pub factor: [usize; 2],
}

/// Copies along height and width; a signal has height 1.
fn factors(axes: usize, factor: usize) -> [usize; 2] {
    [if axes == 1 { 1 } else { factor }, factor]
}

impl Upsample {
    /// The same number of copies along each of one or two axes.
    pub fn by(factor: usize, axes: usize) -> Self {
        Self { factor: factors(axes, factor) }
    }

    fn shader(&self, entry: &'static str, small: &Spec, n: usize) -> Kernel {
        let [fy, fx] = self.factor;
        let kernel = kernel!("upsample.wgsl", entry).flag("NEAREST", true).dim("N", n);
        kernel.dim("W", small.shape[small.shape.len() - 1]).dim("FY", fy).dim("FX", fx).over(n)
    }
}

impl Op for Upsample {
    fn name(&self) -> &'static str {
        "upsample"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("upsample", inputs, 1)?;
        let (b, c, places) = planes("upsample", "x", &inputs[0])?;
        let [fy, fx] = self.factor;
        if fy == 0 || fx == 0 || places.len() == 1 && fy > 1 {
            return Err(Error::shape("upsample", format!("{fy} x {fx} copies of {places:?}")));
        }
        let larger: Vec<usize> = places.iter().zip(&self.factor[2 - places.len()..]).map(|(n, f)| n * f).collect();
        Ok(vec![Spec::f32([&[b, c], &larger[..]].concat())])
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        self.shader("upsample", &specs.inputs[0], specs.outputs[0].len())
    }

    fn halves(&self, _: usize) -> [Vec<usize>; 2] {
        [vec![0], vec![0]]
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let shape = &io.specs.inputs[0].shape;
        let ([fy, fx], w) = (self.factor, shape[shape.len() - 1]);
        let (x, y) = (io.input(0), io.output(0));
        parallel::rows(
            y,
            w * fx,
            #[inline(always)]
            |row, y| {
                let x = &x[row / fy * w..][..w];
                y.chunks_exact_mut(fx).zip(x).for_each(|(y, x)| y.fill(*x));
            },
        );
    }

    fn reverse(&self, r: &mut Reverse) -> Result<()> {
        if let Some(dy) = r.d(0) {
            let dx = r.graph.apply1(BlockSums(*self), &[dy])?;
            r.add_gradient(0, dx);
        }
        Ok(())
    }
}

/// The gradient of [`Upsample`]: dx = the sums of dy over blocks of fy x fx.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockSums(Upsample);

impl Op for BlockSums {
    fn name(&self) -> &'static str {
        "block_sums"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("block_sums", inputs, 1)?;
        let (b, c, places) = planes("block_sums", "dy", &inputs[0])?;
        let smaller: Vec<usize> = places.iter().zip(&self.0.factor[2 - places.len()..]).map(|(n, f)| n / f).collect();
        Ok(vec![Spec::f32([&[b, c], &smaller[..]].concat())])
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        self.0.shader("block_sums", &specs.outputs[0], specs.outputs[0].len())
    }

    fn cost(&self, specs: &Specs) -> Cost {
        Cost { flops: specs.inputs[0].len() as u64, ..Cost::of(specs) }
    }

    fn halves(&self, _: usize) -> [Vec<usize>; 2] {
        [vec![0], vec![0]]
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let shape = &io.specs.outputs[0].shape;
        let ([fy, fx], w) = (self.0.factor, shape[shape.len() - 1]);
        let (dy, dx) = (io.input(0), io.output(0));
        parallel::rows(
            dx,
            w,
            #[inline(always)]
            |row, dx| {
                dx.fill(S::ZERO);
                for line in dy[row * fy * w * fx..][..fy * w * fx].chunks_exact(w * fx) {
                    dx.iter_mut().zip(line.chunks_exact(fx)).for_each(|(d, block)| {
                        block.iter().for_each(|v| *d += *v);
                    });
                }
            },
        );
    }
}

/// v\[c, o, m\] = sum of w\[o, c, k\] over the valid k from K - 1 - m to K - 1 - m + factor - 1, along each axis.
///
/// *Shapes*: w [O, C, k] or [O, C, kh, kw], v [C, O, ...] with `factor` - 1 more taps along each axis. *Gradient*: the
/// transpose. A convolution by w with stride 1 and padding p of an image upsampled by `factor` is the transposed
/// convolution of the image itself by v with stride `factor` and padding K - 1 - p: several taps of w read the same
/// element, so they can be added beforehand, which saves 5/9 of the products for K = 3 and a factor of 2.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Widen {
    /// The factor of the upsampling.
    pub factor: usize,
}

impl Widen {
    /// Channels and taps of w: [O, C, kh, kw].
    fn dims(&self, w: &Spec) -> [usize; 4] {
        let axes = w.shape.len() - 2;
        [w.shape[0], w.shape[1], if axes == 1 { 1 } else { w.shape[2] }, w.shape[w.shape.len() - 1]]
    }

    fn shader(&self, entry: &'static str, w: &Spec, n: usize) -> Kernel {
        let ([o, c, kh, kw], [fy, fx]) = (self.dims(w), factors(w.shape.len() - 2, self.factor));
        let kernel = kernel!("upsample.wgsl", entry).flag("NEAREST", false).dim("N", n).dim("O", o).dim("C", c);
        kernel.dim("KH", kh).dim("KW", kw).dim("FY", fy).dim("FX", fx).over(n)
    }

    /// Calls `f(row of w, row of v)`, as indices of their first elements, for each pair of rows that are added.
    fn rows(&self, w: &Spec, plane: usize, mut f: impl FnMut(usize, usize)) {
        let ([o, c, kh, kw], [fy, fx]) = (self.dims(w), factors(w.shape.len() - 2, self.factor));
        let (vh, vw) = (kh + fy - 1, kw + fx - 1);
        let (wp, vp) = (plane, plane % c * o + plane / c);
        for ky in 0..kh {
            for f_y in 0..fy {
                let my = kh - 1 - ky + f_y;
                f((wp * kh + ky) * kw, (vp * vh + my) * vw);
            }
        }
    }
}

impl Op for Widen {
    fn name(&self) -> &'static str {
        "widen"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("widen", inputs, 1)?;
        if self.factor == 0 {
            return Err(Error::shape("widen", "the factor is 0; use 1 or more"));
        }
        let (o, c, kernel) = planes("widen", "w", &inputs[0])?;
        let wider: Vec<usize> = kernel.iter().map(|k| k + self.factor - 1).collect();
        Ok(vec![Spec::f32([&[c, o], &wider[..]].concat())])
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        self.shader("widen", &specs.inputs[0], specs.outputs[0].len())
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let spec = &io.specs.inputs[0];
        let ([o, c, _, kw], [_, fx]) = (self.dims(spec), factors(spec.shape.len() - 2, self.factor));
        let (w, v) = (io.input(0), io.output(0));
        v.fill(S::ZERO);
        for plane in 0..o * c {
            self.rows(spec, plane, |from, to| {
                for (kx, w) in w[from..][..kw].iter().enumerate() {
                    v[to + kw - 1 - kx..][..fx].iter_mut().for_each(|v| *v += *w);
                }
            });
        }
    }

    fn reverse(&self, r: &mut Reverse) -> Result<()> {
        if let Some(dv) = r.d(0) {
            let shape = r.graph.shape(r.input(0)).to_vec();
            let dw = r.graph.apply1(Narrow { of: *self, shape }, &[dv])?;
            r.add_gradient(0, dw);
        }
        Ok(())
    }
}

/// The gradient of [`Widen`]: dw\[o, c, k\] = sum of dv\[c, o, m\] over the m from K - 1 - k to K - 1 - k + factor - 1.
#[derive(Clone, Debug)]
pub(crate) struct Narrow {
    of: Widen,
    shape: Vec<usize>,
}

impl Op for Narrow {
    fn name(&self) -> &'static str {
        "narrow"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("narrow", inputs, 1)?;
        let w = Spec::f32(self.shape.clone());
        super::expect_shape("narrow", "dv", &inputs[0], &Op::infer(&self.of, std::slice::from_ref(&w))?[0].shape)?;
        Ok(vec![w])
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        self.of.shader("narrow", &specs.outputs[0], specs.outputs[0].len())
    }

    fn cost(&self, specs: &Specs) -> Cost {
        let [fy, fx] = factors(self.shape.len() - 2, self.of.factor);
        Cost { flops: (specs.outputs[0].len() * fy * fx) as u64, ..Cost::of(specs) }
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        self.apply(io.input(0), io.output(0));
    }
}

impl Narrow {
    /// The transpose of the widening of weights of a shape by `factor`.
    pub fn new(factor: usize, shape: Vec<usize>) -> Self {
        Self { of: Widen { factor }, shape }
    }

    /// The number of elements of w.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// dw from dv.
    pub fn apply<S: Scalar>(&self, dv: &[S], dw: &mut [S]) {
        let spec = Spec::f32(self.shape.clone());
        let ([o, c, _, kw], [_, fx]) = (self.of.dims(&spec), factors(self.shape.len() - 2, self.of.factor));
        dw.fill(S::ZERO);
        for plane in 0..o * c {
            self.of.rows(&spec, plane, |to, from| {
                for (kx, w) in dw[to..][..kw].iter_mut().enumerate() {
                    dv[from + kw - 1 - kx..][..fx].iter().for_each(|v| *w += *v);
                }
            });
        }
    }

    /// Lines of a shader, as in `narrow` of `upsample.wgsl`: element i of dw is the sum of `copies` elements of dv, from
    /// `at` on, `across` in each row of `pitch`.
    pub fn text(&self) -> String {
        let ([o, c, kh, kw], [fy, fx]) =
            (self.of.dims(&Spec::f32(self.shape.clone())), factors(self.shape.len() - 2, self.of.factor));
        let (vh, vw) = (kh + fy - 1, kw + fx - 1);
        format!(
            "  let plane = i / {}u;\n  let my = {kh}u - 1u - i / {kw}u % {kh}u;\n  let mx = {kw}u - 1u - i % {kw}u;\n  let \
             at = (plane % {c}u * {o}u + plane / {c}u) * {}u + my * {vw}u + mx;\n  let copies = {}u;\n  let across = \
             {fx}u;\n  let pitch = {vw}u;\n",
            kh * kw,
            vh * vw,
            fy * fx
        )
    }
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (shape, factor) in
        [(vec![2, 3, 5, 3], [2, 2]), (vec![1, 2, 7], [1, 3]), (vec![3, 2, 1, 1], [5, 4]), (vec![3, 1, 2, 9], [4, 1])]
    {
        let op = Upsample { factor };
        let larger = Op::infer(&op, &[Spec::f32(shape.clone())]).expect("the shapes above fit")[0].shape.clone();
        cases.push(Case::new(op).input(shape).tolerance(Tolerance::exact()).gradient());
        let terms = Tolerance::terms(1.0, factor[0] * factor[1]);
        cases.push(Case::new(BlockSums(op)).input(larger).tolerance(terms));
    }
    for (shape, factor) in [(vec![3, 2, 3, 3], 2), (vec![5, 3, 3], 2), (vec![2, 4, 5, 2], 3), (vec![33, 17, 3, 3], 2)] {
        let of = Widen { factor };
        let wider = Op::infer(&of, &[Spec::f32(shape.clone())]).expect("the shapes above fit")[0].shape.clone();
        let terms = Tolerance::terms(1.0, factor * factor);
        let case = Case::new(of).input(shape.clone()).tolerance(terms);
        cases.push(if shape[0] == 33 { case } else { case.gradient() });
        cases.push(Case::new(Narrow { of, shape }).input(wider).tolerance(terms));
    }
    cases
}

pub(super) fn timed() -> Vec<Case> {
    vec![
        Case::new(Upsample { factor: [2, 2] }).input([32, 64, 14, 14]),
        Case::new(Widen { factor: 2 }).input([128, 64, 3, 3]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{Activation, Conv, ConvTranspose};
    use crate::{Device, Graph};

    #[test]
    fn upsampling_and_convolution_equal_one_transposed_convolution() {
        for (kernel, factor, padding) in [(3, 2, 1), (5, 2, 2), (3, 3, 0), (4, 2, 1)] {
            let mut g = Graph::new();
            let [x, w, b] = [vec![2, 3, 5, 4], vec![4, 3, kernel, kernel], vec![4]].map(|shape| {
                let n = shape.iter().product::<usize>();
                g.constant(shape, (0..n).map(|i| ((i * i + n) as f32).sin()).collect()).unwrap()
            });
            let activation = Activation::None;
            let large = g.apply1(Upsample::by(factor, 2), &[x]).unwrap();
            let two = g.apply1(Conv { stride: 1, padding, activation }, &[large, w, b]).unwrap();
            let v = g.apply1(Widen { factor }, &[w]).unwrap();
            let op = ConvTranspose { stride: factor, padding: kernel - 1 - padding, output_padding: 0, activation };
            let one = g.apply1(op, &[x, v, b]).unwrap();
            assert_eq!(g.shape(one), g.shape(two));
            for y in [one, two] {
                g.keep(y);
            }
            let mut run = Device::reference().compile(&g).unwrap();
            run.steps(1).unwrap();
            let (one, two) = (run.read_f64(one).unwrap(), run.read_f64(two).unwrap());
            let off = one.iter().zip(&two).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(off < 1e-12, "kernel {kernel}, factor {factor}, padding {padding}: off by {off}");
        }
    }
}
