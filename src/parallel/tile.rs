//! The kernel of the products of convolutions in f32: rows times a panel of columns, summed in registers.
//!
//! A panel holds [`WIDTH`] columns of the right operand, the columns of one term side by side. The left operand is read
//! in place, one element at a time, at the sum of an offset of its row and an offset of its term. The windows of a padded
//! image have this form, with places as rows and taps as terms or the other way around.
//!
//! Every element of a product is a sum in the order of the terms, whatever is computed beside it.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use crate::numeric::scalar::Scalar;

/// Columns of a panel.
pub const WIDTH: usize = 32;
/// The number of rows that are computed together at most, in half of 32 registers with two vectors of columns; 6 where there
/// are 16 registers.
pub const ROWS: usize = 8;

/// Offsets into a slice.
#[derive(Clone, Debug)]
pub struct Offsets {
    values: Vec<usize>,
    largest: usize,
}

impl FromIterator<usize> for Offsets {
    fn from_iter<I: IntoIterator<Item = usize>>(values: I) -> Self {
        let values = Vec::from_iter(values);
        Self { largest: values.iter().copied().max().unwrap_or(0), values }
    }
}

impl Offsets {
    /// The number of offsets.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Some of them. Their largest one is taken to be that of all.
    #[inline(always)]
    pub fn part(&self, range: Range<usize>) -> Part<'_> {
        Part { values: &self.values[range], limit: self.largest }
    }

    /// All of them.
    #[inline(always)]
    pub fn all(&self) -> Part<'_> {
        self.part(0..self.len())
    }
}

/// Some offsets, none of them above the limit.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    values: &'a [usize],
    limit: usize,
}

/// The left operand: its element of row i and term k is `data[rows[i] + terms[k]]`.
#[derive(Clone, Copy, Debug)]
pub struct Left<'a, S> {
    /// What the offsets point into.
    pub data: &'a [S],
    /// The offset of each row.
    pub rows: Part<'a>,
    /// The offset of each term.
    pub terms: Part<'a>,
}

/// Calls `take(first, tile)` with all rows of the product in f32 of `left` and a panel [terms, [`WIDTH`]], up to [`ROWS`]
/// at a time: the first row and the rows from there on.
#[inline(always)]
pub fn multiply<S: Scalar>(left: Left<S>, panel: &[S], mut take: impl FnMut(usize, &mut [[S; WIDTH]])) {
    let Left { data, rows, terms } = left;
    assert!(S::IS_F32, "the reference is computed with plain loops");
    assert!(panel.len() == terms.values.len() * WIDTH, "a panel of {} for {} terms", panel.len(), terms.values.len());
    let limit = rows.limit.checked_add(terms.limit).expect("offsets into one slice");
    assert!(limit < data.len(), "offsets up to {limit} in {} elements", data.len());
    let left = Left { data: bytemuck::cast_slice(data), rows, terms };
    in_vectors(
        left,
        bytemuck::cast_slice(panel),
        #[inline(always)]
        |first, tile| take(first, bytemuck::cast_slice_mut(tile)),
    );
}

#[inline(always)]
fn in_vectors(left: Left<f32>, panel: &[f32], take: impl FnMut(usize, &mut [[f32; WIDTH]])) {
    pulp::Arch::new().dispatch(Multiply { left, panel, take });
}

struct Multiply<'a, F> {
    left: Left<'a, f32>,
    panel: &'a [f32],
    take: F,
}

impl<F: FnMut(usize, &mut [[f32; WIDTH]])> WithSimd for Multiply<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let Left { data, rows, terms } = self.left;
        const { assert!(WIDTH.is_multiple_of(2 * S::F32_LANES)) };
        // 16 registers hold fewer sums.
        let most = if S::REGISTER_COUNT >= 32 { ROWS } else { 6 };
        let (rows, terms) = (rows.values, terms.values);
        let (count, chunks) = (rows.len(), rows.len().div_ceil(most));
        let mut tile = [[0.0; WIDTH]; ROWS];
        for chunk in 0..chunks {
            let (first, end) = (count * chunk / chunks, count * (chunk + 1) / chunks);
            let (rows, tile) = (&rows[first..end], &mut tile[..end - first]);
            // SAFETY: `multiply` has checked the offsets and the panel.
            #[allow(unsafe_code)]
            unsafe {
                match tile.len() {
                    1 => sums::<S, 1>(simd, data, rows, terms, self.panel, tile),
                    2 => sums::<S, 2>(simd, data, rows, terms, self.panel, tile),
                    3 => sums::<S, 3>(simd, data, rows, terms, self.panel, tile),
                    4 => sums::<S, 4>(simd, data, rows, terms, self.panel, tile),
                    5 => sums::<S, 5>(simd, data, rows, terms, self.panel, tile),
                    6 => sums::<S, 6>(simd, data, rows, terms, self.panel, tile),
                    7 => sums::<S, 7>(simd, data, rows, terms, self.panel, tile),
                    8 => sums::<S, 8>(simd, data, rows, terms, self.panel, tile),
                    _ => {}
                }
            }
            (self.take)(first, tile);
        }
    }
}

/// tile = N rows times the panel, two vectors of columns at a time.
///
/// # Safety
/// `rows` and `tile` must have N elements, each sum of offsets must lie in `data`, and `panel` must have
/// `terms.len() * WIDTH` elements.
#[inline(always)]
#[allow(unsafe_code)]
unsafe fn sums<S: Simd, const N: usize>(
    simd: S,
    data: &[f32],
    rows: &[usize],
    terms: &[usize],
    panel: &[f32],
    tile: &mut [[f32; WIDTH]],
) {
    let lanes = S::F32_LANES;
    let tile: &mut [[f32; WIDTH]; N] = tile.try_into().expect("the caller counts them");
    let rows: &[usize; N] = rows.try_into().expect("the caller counts them");
    for column in (0..WIDTH).step_by(2 * lanes) {
        let mut sums = [[simd.splat_f32s(0.0); 2]; N];
        // SAFETY: the caller guarantees that the elements lie in the slices; `column + 2 * lanes` is at most WIDTH.
        unsafe {
            let mut right = panel.as_ptr().add(column);
            for &term in terms {
                let first = right.cast::<S::f32s>().read_unaligned();
                let second = right.add(lanes).cast::<S::f32s>().read_unaligned();
                right = right.wrapping_add(WIDTH);
                let left = data.as_ptr().add(term);
                for i in 0..N {
                    let value = simd.splat_f32s(*left.add(rows[i]));
                    sums[i][0] = add_product(simd, value, first, sums[i][0]);
                    sums[i][1] = add_product(simd, value, second, sums[i][1]);
                }
            }
            for i in 0..N {
                let out = tile[i].as_mut_ptr().add(column);
                out.cast::<S::f32s>().write_unaligned(sums[i][0]);
                out.add(lanes).cast::<S::f32s>().write_unaligned(sums[i][1]);
            }
        }
    }
}

/// sum + a b, fused where the machine can do so.
#[inline(always)]
pub fn add_product<S: Simd>(simd: S, a: S::f32s, b: S::f32s, sum: S::f32s) -> S::f32s {
    // Narrower vectors have it on ARM only; elsewhere it would be a function call for each element.
    match S::F32_LANES >= 8 || cfg!(target_arch = "aarch64") {
        true => simd.mul_add_f32s(a, b, sum),
        false => simd.add_f32s(simd.mul_f32s(a, b), sum),
    }
}
