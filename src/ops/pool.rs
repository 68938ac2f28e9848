//! Pooling: the mean or the maximum of each window.

use super::case::{Case, Tolerance};
use super::conv::window::{Window, planes};
use super::{Io, Op, Specs, expect_count, expect_shape};
use crate::error::{Error, Result};
use crate::graph::Cost;
use crate::graph::{Reverse, Spec};
use crate::kernel::{Kernel, Target};
use crate::numeric::scalar::Scalar;
use crate::parallel;

/// The reduction of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pooling {
    /// The mean of kernel^2 elements, padding included as zeros (PyTorch's default).
    Average,
    /// The maximum; padding is ignored, and a NaN propagates.
    Max,
}

/// y\[b, c, p\] = mean or maximum over the taps k of x\[b, c, p s + k - padding\].
///
/// *Shapes*: x [B, C, L] or [B, C, H, W], y with the number of windows along each axis. *Gradient*: dy distributed
/// evenly, or to the first maximum of the window. *Source*: PyTorch's `avg_pool` and `max_pool`.
#[derive(Clone, Copy, Debug)]
pub struct Pool {
    /// The reduction of a window.
    pub kind: Pooling,
    /// Elements of a window along each axis.
    pub kernel: usize,
    /// Stride: elements between neighbouring windows.
    pub stride: usize,
    /// Padding before and after each axis, at most half a kernel.
    pub padding: usize,
}

impl Pool {
    fn window(&self, x: &Spec) -> Result<Window> {
        let (_, _, image) = planes("pool", "x", x)?;
        let Self { kernel, stride, padding, .. } = *self;
        if 2 * padding > kernel {
            let text = format!("padding {padding} should be at most half of the kernel {kernel}");
            return Err(Error::shape("pool", text));
        }
        Window::over("pool", image, &vec![kernel; image.len()], stride, padding)
    }

    fn shader(&self, entry: &'static str, window: &Window, n: usize) -> Kernel {
        let max = self.kind == Pooling::Max;
        let kernel = kernel!("pool.wgsl", entry).flag("MAX", max).flag("READS_X", max || entry == "pool");
        let kernel = kernel.flag("FORWARD", entry == "pool");
        window.constants(kernel).dim("N", n).over(n)
    }
}

impl Op for Pool {
    fn name(&self) -> &'static str {
        "pool"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        expect_count("pool", inputs, 1)?;
        let window = self.window(&inputs[0])?;
        let axes = inputs[0].shape.len() - 2;
        Ok(vec![Spec::f32([&inputs[0].shape[..2], &window.places[2 - axes..]].concat())])
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        let window = self.window(&specs.inputs[0]).expect("inferred before");
        self.shader("pool", &window, specs.outputs[0].len())
    }

    fn cost(&self, specs: &Specs) -> Cost {
        let window = self.window(&specs.inputs[0]).expect("inferred before");
        Cost { flops: (specs.outputs[0].len() * window.taps()) as u64, ..Cost::of(specs) }
    }

    fn halves(&self, _: usize) -> [Vec<usize>; 2] {
        [vec![0], vec![0]]
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let window = self.window(&io.specs.inputs[0]).expect("inferred before");
        let (x, y) = (io.input(0), io.output(0));
        let (pixels, kernel) = (window.pixels(), S::of(window.taps() as f64));
        parallel::rows(
            y,
            window.count(),
            #[inline(always)]
            |plane, y| {
                let x = &x[plane * pixels..][..pixels];
                y.iter_mut().enumerate().for_each(|(place, y)| {
                    *y = match self.kind {
                        Pooling::Max => x[largest(&window, x, place)],
                        Pooling::Average => elements(&window, place).map(|i| x[i]).sum::<S>() / kernel,
                    }
                });
            },
        );
    }

    fn reverse(&self, r: &mut Reverse) -> Result<()> {
        if let Some(dy) = r.d(0) {
            let x = r.input(0);
            let op = PoolInput { of: *self, shape: r.graph.shape(x).to_vec() };
            // Only the position of the maximum depends on x.
            let inputs = if self.kind == Pooling::Max { vec![x, dy] } else { vec![dy] };
            let dx = r.graph.apply1(op, &inputs)?;
            r.add_gradient(0, dx);
        }
        Ok(())
    }
}

/// The elements of a window inside the image, as indices into the plane.
fn elements(window: &Window, place: usize) -> impl Iterator<Item = usize> {
    let Window { image: [h, w], places, kernel, stride, padding } = *window;
    let (oy, ox) = (place / places[1], place % places[1]);
    let inside = move |base: usize, k: usize, p: usize, size: usize| (base + k).checked_sub(p).filter(|i| *i < size);
    (0..kernel[0]).filter_map(move |ky| inside(oy * stride[0], ky, padding[0], h)).flat_map(move |iy| {
        (0..kernel[1]).filter_map(move |kx| Some(iy * w + inside(ox * stride[1], kx, padding[1], w)?))
    })
}

/// The first maximum of a window; a NaN is larger than every number.
fn largest<S: Scalar>(window: &Window, x: &[S], place: usize) -> usize {
    let first = elements(window, place).next().expect("padding is at most half of a window");
    elements(window, place).fold(first, |best, i| if x[i] > x[best] || x[i].f64().is_nan() { i } else { best })
}

/// The gradient of [`Pool`]: x as its input (absent for the mean), dy as y, dx as x.
#[derive(Clone, Debug)]
pub(crate) struct PoolInput {
    of: Pool,
    shape: Vec<usize>,
}

impl PoolInput {
    fn window(&self) -> Window {
        self.of.window(&Spec::f32(self.shape.clone())).expect("the shape was pooled before")
    }
}

impl Op for PoolInput {
    fn name(&self) -> &'static str {
        "pool_input"
    }

    trusted!();

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        let x = Spec::f32(self.shape.clone());
        let y = Op::infer(&self.of, std::slice::from_ref(&x))?;
        if self.of.kind == Pooling::Max {
            expect_count("pool_input", inputs, 2)?;
            expect_shape("pool_input", "x", &inputs[0], &x.shape)?;
            expect_shape("pool_input", "dy", &inputs[1], &y[0].shape)?;
        } else {
            expect_count("pool_input", inputs, 1)?;
            expect_shape("pool_input", "dy", &inputs[0], &y[0].shape)?;
        }
        Ok(vec![x])
    }

    fn kernel(&self, specs: &Specs, _: &Target) -> Kernel {
        self.of.shader("pool_input", &self.window(), specs.outputs[0].len())
    }

    fn halves(&self, _: usize) -> [Vec<usize>; 2] {
        [vec![0, 1], vec![0]]
    }

    fn cpu<S: Scalar>(&self, io: &mut Io<S>) {
        let window = self.window();
        let (pixels, count, kernel) = (window.pixels(), window.count(), S::of(window.taps() as f64));
        let (x, dx) = (io.input(0), io.output(0));
        let dy = if self.of.kind == Pooling::Max { io.input(1) } else { x };
        parallel::rows(
            dx,
            pixels,
            #[inline(always)]
            |plane, dx| {
                let dy = &dy[plane * count..][..count];
                dx.fill(S::ZERO);
                for (place, d) in dy.iter().enumerate() {
                    match self.of.kind {
                        Pooling::Max => dx[largest(&window, &x[plane * pixels..][..pixels], place)] += *d,
                        Pooling::Average => elements(&window, place).for_each(|i| dx[i] += *d / kernel),
                    }
                }
            },
        );
    }
}

pub(super) fn cases() -> Vec<Case> {
    let shapes: [(&[usize], usize, usize, usize); 6] = [
        (&[2, 3, 8, 6], 2, 2, 0),
        (&[1, 2, 7, 5], 3, 2, 1),
        (&[2, 2, 5, 9], 3, 1, 1),
        (&[3, 2, 11], 4, 3, 2),
        (&[2, 1, 6], 1, 2, 0),
        (&[5, 7, 13, 9], 2, 2, 0),
    ];
    let mut cases = Vec::new();
    for (shape, kernel, stride, padding) in shapes {
        for kind in [Pooling::Average, Pooling::Max] {
            let op = Pool { kind, kernel, stride, padding };
            let places = op.window(&Spec::f32(shape)).expect("the shapes above fit").places;
            let dy = [&shape[..2], &places[4 - shape.len()..]].concat();
            let terms = Tolerance::terms(2.0, kernel * kernel);
            cases.push(Case::new(op).input(shape).tolerance(terms).gradient());
            let case = Case::new(PoolInput { of: op, shape: shape.to_vec() });
            cases.push(match kind {
                // On absolute values the maximum is elsewhere, so these do not bound the terms.
                Pooling::Max => case.input(shape).input(dy).tolerance(Tolerance::value(4.0)),
                Pooling::Average => case.input(dy).tolerance(terms),
            });
        }
    }
    cases
}

pub(super) fn timed() -> Vec<Case> {
    let pool = Pool { kind: Pooling::Max, kernel: 2, stride: 2, padding: 0 };
    vec![Case::new(pool).input([32, 64, 14, 14])]
}
