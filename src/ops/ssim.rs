//! Structural similarity as a loss, with its gradient: four dispatches with a separable window.

use super::case::{Case, Tolerance};
use super::{Io, Op, Reduce, Reduction, Specs, expect_count, expect_shape};
use crate::error::{Error, Result};
use crate::graph::Cost;
use crate::graph::{Graph, Spec, Var};
use crate::kernel::{Kernel, Target};
use crate::numeric::scalar::Scalar;
use crate::parallel;

/// The structural similarity of two images, averaged over all positions of a Gaussian window that lie inside:
///
/// SSIM = (2 mu_x mu_y + c1) (2 s_xy + c2) / ((mu_x^2 + mu_y^2 + c1) (s_x + s_y + c2)), c1 = (k1 range)^2,
/// c2 = (k2 range)^2, with means mu and (population) variances and covariance s under the window.
///
/// *Units*: `range` is the difference of the largest and smallest possible value, in the units of the images.
/// *Source*: Wang et al. 2004, Image quality assessment: from error visibility to structural similarity, eq. 13.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Ssim {
    /// Side length of the window, in elements.
    pub window: usize,
    /// Standard deviation of the window, in elements.
    pub sigma: f64,
    /// The constant k1 of the means.
    pub k1: f64,
    /// The constant k2 of the variances.
    pub k2: f64,
    /// The range of the data.
    pub range: f64,
}

setters!(Ssim { window: usize, sigma: f64, k1: f64, k2: f64 });

impl Ssim {
    /// The settings of the paper: a window of 11 x 11 with sigma 1.5, k1 = 0.01, k2 = 0.03.
    pub fn new(range: f64) -> Self {
        Self { window: 11, sigma: 1.5, k1: 0.01, k2: 0.03, range }
    }

    /// Checks that images of shape [N, C, H, W] can be compared.
    ///
    /// # Errors
    /// [`Error::Setting`] when a setting is out of range, [`Error::Shape`] for tensors that are not images and for
    /// images smaller than the window.
    pub fn check(&self, shape: &[usize]) -> Result<()> {
        let Self { window, sigma, k1, k2, range } = *self;
        for (what, value) in [("range", range), ("sigma", sigma), ("k1", k1), ("k2", k2)] {
            if !(value > 0.0 && value.is_finite()) {
                return Err(Error::setting(format!("ssim: {what} is {value}; use a positive number")));
            }
        }
        match *shape {
            [_, _, h, w] if window > 0 && h >= window && w >= window => Ok(()),
            [_, _, h, w] => {
                let text = format!(
                    "the images are {h} x {w}, smaller than the window of {window} x {window}; use larger images, or \
                     another loss"
                );
                Err(Error::shape("ssim", text))
            }
            _ => Err(Error::shape("ssim", format!("compares images [N, C, H, W], got {shape:?}"))),
        }
    }

    /// The weights of the window along a side; their sum is 1.
    pub fn weights(&self) -> Vec<f64> {
        let middle = (self.window as f64 - 1.0) / 2.0;
        let bell = |i: usize| (-(i as f64 - middle).powi(2) / (2.0 * self.sigma.powi(2))).exp();
        let sum: f64 = (0..self.window).map(bell).sum();
        (0..self.window).map(|i| bell(i) / sum).collect()
    }
}

impl Graph {
    /// Adds the loss 1 - SSIM of images [N, C, H, W], the mean over windows, channels and images. `weight` is its
    /// weight in a sum of losses, which the recorded value excludes.
    ///
    /// # Errors
    /// When the shapes differ or [`Ssim::check`] fails.
    pub fn ssim_loss(&mut self, ssim: &Ssim, prediction: Var, goal: Var, weight: f64) -> Result<Var> {
        let shape = self.shape(prediction).to_vec();
        ssim.check(&shape)?;
        if !(weight >= 0.0 && weight.is_finite()) {
            return Err(Error::setting(format!("ssim: a weight of {weight}; use 0 or a positive number")));
        }
        let window = self.constant([ssim.window], ssim.weights().iter().map(|&w| w as f32).collect())?;
        let k = ssim.window;
        let positions = (shape[0] * shape[1] * (shape[2] + 1 - k) * (shape[3] + 1 - k)) as f64;
        let moments = self.apply1(Rows, &[window, prediction, goal])?;
        let (c1, c2) = ((ssim.k1 * ssim.range).powi(2), (ssim.k2 * ssim.range).powi(2));
        let map = self.apply(Map { c1, c2, scale: -weight / positions }, &[window, moments])?;
        let loss = self.apply1(Reduce(Reduction::Sum { scale: 1.0 / positions }), &[map[0]])?;
        let spread = self.apply1(Spread, &[window, map[1]])?;
        let d = self.apply1(Gradient, &[window, prediction, goal, spread])?;
        self.define_loss(loss, prediction, d)?;
        Ok(loss)
    }
}

fn kernel(entry: &'static str, flag: &'static str) -> Kernel {
    kernel!("ssim.wgsl", entry).one_of(&["ROWS", "MAP", "SPREAD", "GRADIENT"], flag)
}

/// Averages of x, y, x^2, y^2 and x y along rows: window \[K\], x and y [N, C, H, W], moments [N C, H, 5, W - K + 1].
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows;

impl Op for Rows {
    fn name(&self) -> &'static str {
        "ssim_rows"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("ssim_rows", inputs, 3)?;
        let (k, x) = (inputs[0].len(), &inputs[1].shape);
        expect_shape("ssim_rows", "goal", &inputs[2], x)?;
        match **x {
            [n, c, h, w] if h >= k && w >= k => Ok(vec![Spec::f32([n * c, h, 5, w + 1 - k])]),
            _ => Err(Error::shape("ssim_rows", format!("no image [N, C, H, W] of at least {k} x {k}: {x:?}"))),
        }
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let n = specs.outputs[0].len() / 5;
        kernel("rows", "ROWS").dim("N", n).dim("W", specs.inputs[1].shape[3]).dim("K", specs.inputs[0].len()).over(n)
    }

    fn cost(&self, specs: &Specs) -> Cost {
        Cost { flops: (2 * specs.inputs[0].len() * specs.outputs[0].len()) as u64, ..Cost::of(specs) }
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let (w, width) = (io.specs.inputs[1].shape[3], io.specs.outputs[0].shape[3]);
        let (window, x, y, moments) = (io.input(0), io.input(1), io.input(2), io.output(0));
        parallel::rows(
            moments,
            5 * width,
            #[inline(always)]
            |row, moments| {
                let (x, y) = (&x[row * w..][..w], &y[row * w..][..w]);
                moments.fill(S::ZERO);
                for (k, &weight) in window.iter().enumerate() {
                    let (x, y) = (&x[k..][..width], &y[k..][..width]);
                    for i in 0..width {
                        moments[i] += weight * x[i];
                        moments[width + i] += weight * y[i];
                        moments[2 * width + i] += weight * (x[i] * x[i]);
                        moments[3 * width + i] += weight * (y[i] * y[i]);
                        moments[4 * width + i] += weight * (x[i] * y[i]);
                    }
                }
            },
        );
    }
}

/// Partial sums of 1 - SSIM, and `scale` times the derivatives of SSIM by the averages of x, x^2 and x y under the
/// window: window \[K\], moments [P, H, 5, W], partials \[G\], slopes [P, H - K + 1, 3, W]. G is determined by the
/// shape.
#[derive(Clone, Copy, Debug)]
struct Map {
    c1: f64,
    c2: f64,
    scale: f64,
}

/// Rows of positions per partial sum.
fn rows_per_group(slopes: &Spec) -> usize {
    let rows = slopes.shape[0] * slopes.shape[1];
    rows.div_ceil((rows * slopes.shape[3]).div_ceil(1024).clamp(1, 4096))
}

impl Op for Map {
    fn name(&self) -> &'static str {
        "ssim_map"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("ssim_map", inputs, 2)?;
        let k = inputs[0].len();
        match *inputs[1].shape {
            [planes, h, 5, w] if h >= k => {
                let slopes = Spec::f32([planes, h + 1 - k, 3, w]);
                let groups = (planes * (h + 1 - k)).div_ceil(rows_per_group(&slopes));
                Ok(vec![Spec::f32([groups]), slopes])
            }
            _ => Err(Error::shape("ssim_map", format!("no moments [P, H, 5, W]: {:?}", inputs[1].shape))),
        }
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let (slopes, w) = (&specs.outputs[1], specs.inputs[1].shape[3]);
        kernel("map", "MAP")
            .dim("N", slopes.len() / 3)
            .dim("H", specs.inputs[1].shape[1])
            .dim("W", w)
            .dim("K", specs.inputs[0].len())
            .dim("CHUNK", rows_per_group(slopes) * w)
            .hyper("C1", self.c1)
            .hyper("C2", self.c2)
            .hyper("SCALE", self.scale)
            .groups(specs.outputs[0].len())
    }

    fn cost(&self, specs: &Specs) -> Cost {
        let positions = specs.outputs[1].len() / 3;
        Cost { flops: (positions * (10 * specs.inputs[0].len() + 40)) as u64, ..Cost::of(specs) }
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let (h, w) = (io.specs.inputs[1].shape[1], io.specs.inputs[1].shape[3]);
        let height = io.specs.outputs[1].shape[1];
        let per_group = rows_per_group(&io.specs.outputs[1]);
        let (window, moments, partials, slopes) = (io.input(0), io.input(1), io.output(0), io.output(1));
        parallel::rows2(
            slopes,
            per_group * 3 * w,
            partials,
            1,
            #[inline(always)]
            |group, slopes, partial| {
                let mut averages = vec![S::ZERO; 5 * w];
                let mut sum = S::ZERO;
                for (i, slopes) in slopes.chunks_mut(3 * w).enumerate() {
                    let row = group * per_group + i;
                    let top = row / height * h + row % height;
                    averages.fill(S::ZERO);
                    for (k, &weight) in window.iter().enumerate() {
                        let moments = &moments[(top + k) * 5 * w..][..5 * w];
                        averages.iter_mut().zip(moments).for_each(|(a, m)| *a += weight * *m);
                    }
                    sum += self.row(&averages, slopes, w);
                }
                partial[0] = sum;
            },
        );
    }
}

impl Map {
    /// Computes one row of positions: writes the slopes, returns the sum of 1 - SSIM.
    #[inline(always)]
    fn row<S: Scalar>(&self, averages: &[S], slopes: &mut [S], w: usize) -> S {
        let (c1, c2, scale, two) = (S::of(self.c1), S::of(self.c2), S::of(self.scale), S::of(2.0));
        let (x, rest) = averages.split_at(w);
        let (y, rest) = rest.split_at(w);
        let (xx, rest) = rest.split_at(w);
        let (yy, xy) = rest.split_at(w);
        let (by_x, rest) = slopes.split_at_mut(w);
        let (by_xx, by_xy) = rest.split_at_mut(w);
        let mut sum = S::ZERO;
        for i in 0..w {
            let a1 = two * x[i] * y[i] + c1;
            let a2 = two * (xy[i] - x[i] * y[i]) + c2;
            let b1 = x[i] * x[i] + y[i] * y[i] + c1;
            let b2 = (xx[i] - x[i] * x[i]) + (yy[i] - y[i] * y[i]) + c2;
            let s = a1 * a2 / (b1 * b2);
            by_x[i] = scale * two * (y[i] * (a2 - a1) / (b1 * b2) + x[i] * s * (b1 - b2) / (b1 * b2));
            by_xx[i] = -scale * s / b2;
            by_xy[i] = scale * two * a1 / (b1 * b2);
            sum += S::ONE - s;
        }
        sum
    }
}

/// The transpose of averaging along columns: window \[K\], slopes [P, H - K + 1, 3, W], spread [P, H, 3, W].
#[derive(Clone, Copy, Debug)]
struct Spread;

impl Op for Spread {
    fn name(&self) -> &'static str {
        "ssim_spread"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("ssim_spread", inputs, 2)?;
        match *inputs[1].shape {
            [planes, height, 3, w] => Ok(vec![Spec::f32([planes, height + inputs[0].len() - 1, 3, w])]),
            _ => Err(Error::shape("ssim_spread", format!("no slopes [P, H, 3, W]: {:?}", inputs[1].shape))),
        }
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let spread = &specs.outputs[0];
        kernel("columns", "SPREAD")
            .dim("N", spread.len())
            .dim("H", spread.shape[1])
            .dim("W", spread.shape[3])
            .dim("K", specs.inputs[0].len())
            .over(spread.len())
    }

    fn cost(&self, specs: &Specs) -> Cost {
        Cost { flops: (2 * specs.inputs[0].len() * specs.inputs[1].len()) as u64, ..Cost::of(specs) }
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let (height, h) = (io.specs.inputs[1].shape[1], io.specs.outputs[0].shape[1]);
        let width = 3 * io.specs.outputs[0].shape[3];
        let (window, slopes, spread) = (io.input(0), io.input(1), io.output(0));
        parallel::rows(
            spread,
            width,
            #[inline(always)]
            |row, spread| {
                spread.fill(S::ZERO);
                let (plane, row) = (row / h, row % h);
                for (k, &weight) in window.iter().enumerate().filter(|(k, _)| row >= *k && row - k < height) {
                    let slopes = &slopes[(plane * height + row - k) * width..][..width];
                    spread.iter_mut().zip(slopes).for_each(|(sum, slope)| *sum += weight * *slope);
                }
            },
        );
    }
}

/// The transpose of averaging along rows, and the derivatives of x^2 and x y: window \[K\], x and y [N, C, H, W],
/// spread [N C, H, 3, W - K + 1], d [N, C, H, W].
#[derive(Clone, Copy, Debug)]
struct Gradient;

impl Op for Gradient {
    fn name(&self) -> &'static str {
        "ssim_gradient"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("ssim_gradient", inputs, 4)?;
        let (k, x) = (inputs[0].len(), &inputs[1].shape);
        expect_shape("ssim_gradient", "goal", &inputs[2], x)?;
        match **x {
            [n, c, h, w] if w >= k => {
                expect_shape("ssim_gradient", "spread", &inputs[3], &[n * c, h, 3, w + 1 - k])?;
                Ok(vec![Spec::f32(x.clone())])
            }
            _ => Err(Error::shape("ssim_gradient", format!("no image [N, C, H, W]: {x:?}"))),
        }
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let d = &specs.outputs[0];
        kernel("gradient", "GRADIENT")
            .dim("N", d.len())
            .dim("W", d.shape[3])
            .dim("K", specs.inputs[0].len())
            .over(d.len())
    }

    fn cost(&self, specs: &Specs) -> Cost {
        Cost { flops: (2 * specs.inputs[0].len() * specs.inputs[3].len()) as u64, ..Cost::of(specs) }
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let (w, width) = (io.specs.inputs[1].shape[3], io.specs.inputs[3].shape[3]);
        let (window, x, y, spread, d) = (io.input(0), io.input(1), io.input(2), io.input(3), io.output(0));
        let two = S::of(2.0);
        parallel::rows(
            d,
            w,
            #[inline(always)]
            |row, d| {
                let (x, y) = (&x[row * w..][..w], &y[row * w..][..w]);
                let (by_x, rest) = spread[row * 3 * width..][..3 * width].split_at(width);
                let (by_xx, by_xy) = rest.split_at(width);
                d.fill(S::ZERO);
                for (k, &weight) in window.iter().enumerate() {
                    let (x, y, d) = (&x[k..][..width], &y[k..][..width], &mut d[k..][..width]);
                    for i in 0..width {
                        d[i] += weight * (by_x[i] + two * x[i] * by_xx[i] + y[i] * by_xy[i]);
                    }
                }
            },
        );
    }
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (shape, k, sigma) in [([1, 1, 11, 11], 11, 1.5), ([2, 3, 13, 17], 11, 1.5), ([3, 1, 28, 9], 4, 0.8)] {
        let [n, c, h, w] = shape;
        let (planes, height, width) = (n * c, h + 1 - k, w + 1 - k);
        let ssim = Ssim { window: k, sigma, ..Ssim::new(2.0) };
        let window: Vec<f32> = ssim.weights().iter().map(|&w| w as f32).collect();
        let with_window = |case: Case| case.values([k], window.clone());
        let sums = Tolerance::terms(6.0, k);
        cases.push(with_window(Case::new(Rows)).input(shape).input(shape).tolerance(sums));
        cases.push(with_window(Case::new(Spread)).input([planes, height, 3, width]).tolerance(sums));
        let case = with_window(Case::new(Gradient)).input(shape).input(shape).input([planes, h, 3, width]);
        cases.push(case.tolerance(Tolerance::terms(6.0, 3 * k)));
        // Moments of actual x and y: means of 0.4 to 1, variances of 0.3 to 0.5, so that no quotient is large and every
        // term is accurate to some ten roundings.
        let op = Map { c1: 0.02, c2: 0.05, scale: -0.25 };
        let moments = moments([planes, h, width]);
        let case = with_window(Case::new(op)).values([planes, h, 5, width], moments);
        let terms = height * width * planes;
        let first = Tolerance::value(60.0 + (terms as f64).sqrt());
        cases.push(case.tolerance(Tolerance::absolute(60.0)).first_tolerance(first));
    }
    cases
}

pub(super) fn timed() -> Vec<Case> {
    const WINDOW: usize = 11;
    let weights = Ssim::new(2.0).window(WINDOW).weights().iter().map(|&w| w as f32).collect();
    let images = [32, 1, 64, 64];
    vec![Case::new(Rows).values([WINDOW], weights).input(images).input(images)]
}

fn moments([planes, h, w]: [usize; 3]) -> Vec<f32> {
    let mut values = Vec::new();
    for row in 0..planes * h {
        let at = |col: usize, salt: usize| ((row * 31 + col * 17 + salt * 7) % 23) as f32 / 23.0;
        let (x, y) = (|col| 0.4 + 0.6 * at(col, 0), |col| 0.4 + 0.6 * at(col, 1));
        values.extend((0..w).map(x));
        values.extend((0..w).map(y));
        values.extend((0..w).map(|col| x(col) * x(col) + 0.3 + 0.2 * at(col, 2)));
        values.extend((0..w).map(|col| y(col) * y(col) + 0.3 + 0.2 * at(col, 3)));
        values.extend((0..w).map(|col| x(col) * y(col) + 0.2 * at(col, 4)));
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_images_and_other_tensors_are_refused() {
        let mut g = Graph::new();
        let digits = [g.state("x", [4, 1, 8, 12]).unwrap(), g.state("y", [4, 1, 8, 12]).unwrap()];
        let points = [g.state("p", [4, 2]).unwrap(), g.state("q", [4, 2]).unwrap()];
        let mut message =
            |ssim: Ssim, [x, y]: [Var; 2], weight| g.ssim_loss(&ssim, x, y, weight).unwrap_err().to_string();
        let small = message(Ssim::new(1.0), digits, 1.0);
        assert!(small.contains("8 x 12") && small.contains("11 x 11"), "{small}");
        assert!(message(Ssim::new(1.0), points, 1.0).contains("[4, 2]"));
        assert!(message(Ssim::new(0.0), digits, 1.0).contains("range is 0"));
        assert!(message(Ssim { window: 5, ..Ssim::new(1.0) }, digits, -1.0).contains("-1"));
    }
}
