//! The transforms of F(4, 3) along one and two axes.
//!
//! A tile of 4 outputs of a filter with 3 taps is a product of polynomials, which is computed from their values at 6 points
//! (Winograd 1980, "Arithmetic complexity of computations"; Lavin and Gray 2016, "Fast algorithms for convolutional neural
//! networks"): y = A^T ((G w) (B^T x)), with 6 multiplications instead of 12. Along two axes, both are transformed along one
//! and then along the other.
//!
//! The points are 0, 3/4, -3/4, 3/2, -3/2 and infinity. With them, A and B are exact in binary, and the error of a
//! result in f32 is half of that with the usual points 0, 1, -1, 2, -2 (Barabasz et al. 2020, "Error analysis and improving
//! the accuracy of Winograd convolution for deep neural networks").

use pulp::{Simd, WithSimd};

use crate::parallel::tile::add_product;

/// The outputs of a tile along an axis.
pub const OUTPUTS: usize = 4;
/// The taps of a filter.
pub const TAPS: usize = 3;
/// The inputs of a tile, and the points.
pub const POINTS: usize = 6;

/// Up to [`POINTS`] vectors, of which a transform uses the first ones.
type Line<V> = [V; POINTS];

/// The points other than 0 and infinity, without sign, their squares, and the sum and the product of these.
const NEAR: f32 = 0.75;
const FAR: f32 = 1.5;
const NEAR2: f32 = NEAR * NEAR;
const FAR2: f32 = FAR * FAR;
const SUM: f32 = NEAR2 + FAR2;
const PRODUCT: f32 = NEAR2 * FAR2;
/// The products of the differences of a point from the others.
const AT_NEAR: f32 = 2.0 * NEAR2 * (NEAR2 - FAR2);
const AT_FAR: f32 = 2.0 * FAR2 * (FAR2 - NEAR2);

/// A transform along one axis.
pub trait Transform {
    const FROM: usize;
    const TO: usize;

    fn line<S: Simd>(simd: S, from: Line<S::f32s>) -> Line<S::f32s>;
}

/// a scale + b.
#[inline(always)]
fn plus<S: Simd>(simd: S, a: S::f32s, scale: f32, b: S::f32s) -> S::f32s {
    add_product(simd, a, simd.splat_f32s(scale), b)
}

#[inline(always)]
fn times<S: Simd>(simd: S, a: S::f32s, scale: f32) -> S::f32s {
    simd.mul_f32s(a, simd.splat_f32s(scale))
}

/// B^T: of a tile of inputs.
pub struct Inputs;

impl Transform for Inputs {
    const FROM: usize = POINTS;
    const TO: usize = POINTS;

    #[inline(always)]
    fn line<S: Simd>(simd: S, [x0, x1, x2, x3, x4, x5]: Line<S::f32s>) -> Line<S::f32s> {
        let zero = plus(simd, x0, PRODUCT, plus(simd, x2, -SUM, x4));
        let infinity = plus(simd, x1, PRODUCT, plus(simd, x3, -SUM, x5));
        let (even, odd) = (plus(simd, x2, -FAR2, x4), plus(simd, x1, -FAR2, x3));
        let near = [NEAR, -NEAR].map(|point| plus(simd, odd, point, even));
        let (even, odd) = (plus(simd, x2, -NEAR2, x4), plus(simd, x1, -NEAR2, x3));
        let far = [FAR, -FAR].map(|point| plus(simd, odd, point, even));
        [zero, near[0], near[1], far[0], far[1], infinity]
    }
}

/// G: of the taps.
pub struct Taps;

impl Transform for Taps {
    const FROM: usize = TAPS;
    const TO: usize = POINTS;

    #[inline(always)]
    fn line<S: Simd>(simd: S, [w0, w1, w2, ..]: Line<S::f32s>) -> Line<S::f32s> {
        let pair = |point: f32, scale: f32| {
            let even = times(simd, plus(simd, w2, point * point, w0), scale);
            [point * scale, -point * scale].map(|point| plus(simd, w1, point, even))
        };
        let (near, far) = (pair(NEAR, 1.0 / AT_NEAR), pair(FAR, 1.0 / AT_FAR));
        [times(simd, w0, 1.0 / PRODUCT), near[0], near[1], far[0], far[1], w2]
    }
}

/// A^T: to a tile of outputs.
pub struct Outputs;

impl Transform for Outputs {
    const FROM: usize = POINTS;
    const TO: usize = OUTPUTS;

    #[inline(always)]
    fn line<S: Simd>(simd: S, [m0, m1, m2, m3, m4, m5]: Line<S::f32s>) -> Line<S::f32s> {
        let (even, odd) = (simd.add_f32s(m1, m2), simd.sub_f32s(m1, m2));
        let (even_far, odd_far) = (simd.add_f32s(m3, m4), simd.sub_f32s(m3, m4));
        let y0 = simd.add_f32s(m0, simd.add_f32s(even, even_far));
        let y1 = plus(simd, odd, NEAR, times(simd, odd_far, FAR));
        let y2 = plus(simd, even, NEAR2, times(simd, even_far, FAR2));
        let y3 = plus(simd, odd, NEAR * NEAR2, plus(simd, odd_far, FAR * FAR2, m5));
        [y0, y1, y2, y3, m0, m0]
    }
}

/// A: of the gradients of a tile of outputs.
pub struct Gradients;

impl Transform for Gradients {
    const FROM: usize = OUTPUTS;
    const TO: usize = POINTS;

    #[inline(always)]
    fn line<S: Simd>(simd: S, [z0, z1, z2, z3, ..]: Line<S::f32s>) -> Line<S::f32s> {
        let pair = |point: f32| {
            let (even, odd) = (plus(simd, z2, point * point, z0), plus(simd, z3, point * point, z1));
            [point, -point].map(|point| plus(simd, odd, point, even))
        };
        let (near, far) = (pair(NEAR), pair(FAR));
        [z0, near[0], near[1], far[0], far[1], z3]
    }
}

/// G^T: to the gradients of the taps.
pub struct TapGradients;

impl Transform for TapGradients {
    const FROM: usize = POINTS;
    const TO: usize = TAPS;

    #[inline(always)]
    fn line<S: Simd>(simd: S, [m0, m1, m2, m3, m4, m5]: Line<S::f32s>) -> Line<S::f32s> {
        let pair = |a, b, scale| (times(simd, simd.add_f32s(a, b), scale), times(simd, simd.sub_f32s(a, b), scale));
        let ((even, odd), (even_far, odd_far)) = (pair(m1, m2, 1.0 / AT_NEAR), pair(m3, m4, 1.0 / AT_FAR));
        let w0 = plus(simd, m0, 1.0 / PRODUCT, simd.add_f32s(even, even_far));
        let w1 = plus(simd, odd, NEAR, times(simd, odd_far, FAR));
        let w2 = plus(simd, even, NEAR2, plus(simd, even_far, FAR2, m5));
        [w0, w1, w2, m0, m0, m0]
    }
}

/// The shape of what is transformed.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Whether there are two axes.
    pub two: bool,
    /// The number of tiles.
    pub tiles: usize,
    /// The number of neighbouring elements that are transformed alike: a multiple of 16.
    pub lanes: usize,
}

/// Where the lanes of a tile at (y, x) are: from element `first + tile t + y y + x x` on.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    pub first: usize,
    pub tile: isize,
    pub y: isize,
    pub x: isize,
}

impl Layout {
    fn at(&self, [tile, y, x]: [usize; 3]) -> isize {
        self.first as isize + self.tile * tile as isize + self.y * y as isize + self.x * x as isize
    }

    /// Whether all elements of a shape with `n` elements along each axis are inside a slice.
    fn fits(&self, shape: Shape, n: usize, len: usize) -> bool {
        let ends = [(self.tile, shape.tiles), (self.y, if shape.two { n } else { 1 }), (self.x, n)];
        let span = |far: fn(isize, isize) -> isize| {
            ends.iter().map(|&(step, n)| far(0, step * (n as isize - 1))).sum::<isize>() + self.first as isize
        };
        span(Ord::min) >= 0 && span(Ord::max) + shape.lanes as isize <= len as isize
    }
}

/// Transforms tiles, from the last to the first, from one layout to another one. With one axis y is 0.
#[inline(always)]
pub fn transform<T: Transform>(
    _: T,
    shape: Shape,
    (from, source): (&[f32], Layout),
    (to, target): (&mut [f32], Layout),
) {
    assert!(shape.tiles > 0 && shape.lanes.is_multiple_of(LANES));
    assert!(source.fits(shape, T::FROM, from.len()), "{source:?} of {shape:?} in {} elements", from.len());
    assert!(target.fits(shape, T::TO, to.len()), "{target:?} of {shape:?} in {} elements", to.len());
    pulp::Arch::new().dispatch(Work { shape, from, source, to, target, transform: std::marker::PhantomData::<T> });
}

/// The lanes of [`Shape`] are a multiple of this, and every vector has a part of it.
const LANES: usize = 16;

struct Work<'a, T> {
    shape: Shape,
    from: &'a [f32],
    source: Layout,
    to: &'a mut [f32],
    target: Layout,
    transform: std::marker::PhantomData<T>,
}

impl<T: Transform> WithSimd for Work<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        const { assert!(LANES.is_multiple_of(S::F32_LANES)) };
        for tile in (0..self.shape.tiles).rev() {
            for lane in (0..self.shape.lanes).step_by(S::F32_LANES) {
                // SAFETY: `transform` has checked both layouts, and the tile and the lanes are inside the shape.
                #[allow(unsafe_code)]
                unsafe {
                    if self.shape.two {
                        self.tile::<S, true>(simd, tile, lane);
                    } else {
                        self.tile::<S, false>(simd, tile, lane);
                    }
                }
            }
        }
    }
}

impl<T: Transform> Work<'_, T> {
    /// A vector of lanes of a tile.
    ///
    /// # Safety
    /// Both layouts must be inside their slices for the tile and for `lane` and the following ones.
    #[inline(always)]
    #[allow(unsafe_code)]
    unsafe fn tile<S: Simd, const TWO: bool>(&mut self, simd: S, tile: usize, lane: usize) {
        let (lines, to) = if TWO { (T::FROM, T::TO) } else { (1, 1) };
        let zero = simd.splat_f32s(0.0);
        let mut half = [[zero; POINTS]; POINTS];
        // SAFETY: the caller guarantees that what is read and written is in the slices.
        unsafe {
            let from = self.from.as_ptr().add(lane);
            let out = self.to.as_mut_ptr().add(lane);
            for y in 0..lines {
                let mut line = [zero; POINTS];
                for x in 0..T::FROM {
                    line[x] = from.offset(self.source.at([tile, y, x])).cast::<S::f32s>().read_unaligned();
                }
                half[y] = T::line(simd, line);
            }
            for x in 0..T::TO {
                let mut column = [zero; POINTS];
                for y in 0..lines {
                    column[y] = half[y][x];
                }
                if TWO {
                    column = T::line(simd, column);
                }
                for y in 0..to {
                    out.offset(self.target.at([tile, y, x])).cast::<S::f32s>().write_unaligned(column[y]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values that are exact in f32, of `n` times 16 lanes.
    fn values(n: usize, by: usize) -> Vec<f32> {
        (0..n * LANES).map(|i| ((i * by + 3) % 61) as f32 / 8.0 - 3.5).collect()
    }

    fn apply<T: Transform>(transform_: T, two: bool, from: &[f32]) -> Vec<f32> {
        let shape = Shape { two, tiles: 1, lanes: LANES };
        let area = |n: usize| if two { n * n } else { n };
        let layout = |n: usize| Layout { first: 0, tile: 0, y: (n * LANES) as isize, x: LANES as isize };
        let mut to = vec![f32::NAN; area(T::TO) * LANES];
        assert_eq!(from.len(), area(T::FROM) * LANES);
        transform(transform_, shape, (from, layout(T::FROM)), (&mut to, layout(T::TO)));
        to
    }

    /// The sum of a[i] b[j] over all elements with i = j + k, where elements have one or two coordinates.
    fn correlation([a, b]: [&[f32]; 2], [n, m, taps]: [usize; 3], two: bool) -> Vec<f64> {
        let split = |i: usize, n: usize| if two { [i / n, i % n] } else { [0, i] };
        let area = |n: usize| if two { n * n } else { n };
        let mut out = vec![0.0; area(taps) * LANES];
        for (i, j, lane) in (0..area(m))
            .flat_map(|i| (0..area(taps)).map(move |j| (i, j)))
            .flat_map(|(i, j)| (0..LANES).map(move |l| (i, j, l)))
        {
            let ([y, x], [v, u]) = (split(i, m), split(j, taps));
            out[j * LANES + lane] +=
                a[((y + v) * if two { n } else { 1 } + x + u) * LANES + lane] as f64 * b[i * LANES + lane] as f64;
        }
        out
    }

    #[test]
    fn a_tile_is_a_convolution_and_its_gradient() {
        for two in [false, true] {
            let area = |n: usize| if two { n * n } else { n };
            let (x, w, z) = (values(area(POINTS), 7), values(area(TAPS), 11), values(area(OUTPUTS), 5));
            let product = |a: Vec<f32>, b: Vec<f32>| Vec::from_iter(a.iter().zip(b).map(|(a, b)| a * b));
            let y = apply(Outputs, two, &product(apply(Taps, two, &w), apply(Inputs, two, &x)));
            let dw = apply(TapGradients, two, &product(apply(Gradients, two, &z), apply(Inputs, two, &x)));
            let wanted = [
                (y, correlation([&x, &w], [POINTS, TAPS, OUTPUTS], two)),
                (dw, correlation([&x, &z], [POINTS, OUTPUTS, TAPS], two)),
            ];
            for (got, want) in wanted {
                for (got, want) in got.iter().zip(want) {
                    assert!((*got as f64 - want).abs() < 1e-3, "{got}, expected {want}");
                }
            }
        }
    }
}
