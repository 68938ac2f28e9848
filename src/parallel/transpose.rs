//! Transposes in squares with sides of a cache line, written so that they compile to shuffles of vectors.

use crate::numeric::scalar::Scalar;

/// The side of a square.
pub const SIDE: usize = 16;

/// A square inside a square.
const BLOCK: usize = 4;

/// `to[at(i) + j] = from[j * stride + i]` for i and j below [`SIDE`].
#[inline(always)]
pub fn square<S: Scalar>(from: &[S], stride: usize, to: &mut [S], at: impl Fn(usize) -> usize) {
    for j in (0..SIDE).step_by(BLOCK) {
        let rows = [0, 1, 2, 3].map(
            #[inline(always)]
            |k| line(from, j + k, stride),
        );
        for i in (0..SIDE).step_by(BLOCK) {
            let mut square = [[S::ZERO; BLOCK]; BLOCK];
            for k in 0..BLOCK {
                square[k].copy_from_slice(&rows[k][i..i + BLOCK]);
            }
            let square = block(square);
            for k in 0..BLOCK {
                to[at(i + k) + j..][..BLOCK].copy_from_slice(&square[k]);
            }
        }
    }
}

#[inline(always)]
fn line<S>(from: &[S], j: usize, stride: usize) -> &[S; SIDE] {
    from[j * stride..].first_chunk().expect("a square inside the matrix")
}

/// The transpose of a block.
#[inline(always)]
fn block<S: Scalar>(rows: [[S; BLOCK]; BLOCK]) -> [[S; BLOCK]; BLOCK] {
    #[cfg(target_arch = "x86_64")]
    if S::IS_F32 {
        let mut out = rows;
        let values: &mut [f32] = bytemuck::cast_slice_mut(out.as_flattened_mut());
        shuffle(values.try_into().expect("a block of f32"));
        return out;
    }
    let [p, q, r, s] = rows;
    [0, 1, 2, 3].map(|k| [p[k], q[k], r[k], s[k]])
}

/// [`block`] in shuffles, which the compiler does not find in every place. All processors of this kind have them.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn shuffle(rows: &mut [f32; BLOCK * BLOCK]) {
    use std::arch::x86_64::{__m128, _mm_movehl_ps, _mm_movelh_ps, _mm_unpackhi_ps, _mm_unpacklo_ps};
    let [p, q, r, s]: [__m128; BLOCK] = bytemuck::cast(*rows);
    // SAFETY: every processor with 64 bits of this kind has these instructions.
    #[allow(unsafe_code)]
    unsafe {
        let (pq, rs) = (_mm_unpacklo_ps(p, q), _mm_unpacklo_ps(r, s));
        let (pq_high, rs_high) = (_mm_unpackhi_ps(p, q), _mm_unpackhi_ps(r, s));
        *rows = bytemuck::cast([
            _mm_movelh_ps(pq, rs),
            _mm_movehl_ps(rs, pq),
            _mm_movelh_ps(pq_high, rs_high),
            _mm_movehl_ps(rs_high, pq_high),
        ]);
    }
}

/// The first element of each square that covers `n` elements, of which there is at least one square: the last squares may
/// overlap.
#[inline(always)]
pub fn squares(n: usize) -> impl Iterator<Item = usize> {
    (0..n).step_by(SIDE).map(move |i| i.min(n - SIDE))
}

/// `to[at(i) + j] = from[j * stride + i]` for i below `n` and j below `columns`, zero for j from there to [`SIDE`]. What is at
/// `spare` and following may be overwritten.
#[inline(always)]
pub fn columns<S: Scalar>(
    from: &[S],
    stride: usize,
    [n, columns]: [usize; 2],
    to: &mut [S],
    at: impl Fn(usize) -> usize,
    spare: usize,
) {
    if columns == SIDE && n >= SIDE {
        for i in squares(n) {
            square(
                &from[i..],
                stride,
                to,
                #[inline(always)]
                |k| at(i + k),
            );
        }
    } else if columns == SIDE && from.len() >= (SIDE - 1) * stride + SIDE {
        square(
            from,
            stride,
            to,
            #[inline(always)]
            |k| if k < n { at(k) } else { spare },
        );
    } else {
        for i in 0..n {
            let line = &mut to[at(i)..][..SIDE];
            line.fill(S::ZERO);
            (0..columns).for_each(|j| line[j] = from[j * stride + i]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_transposed_and_padded() {
        for (n, many, stride) in [(16, 16, 16), (50, 16, 61), (9, 16, 9), (9, 16, 20), (30, 5, 30), (3, 1, 7)] {
            let from = Vec::from_iter((1..=(many - 1) * stride + n).map(|i| i as f32));
            let mut to = vec![f32::NAN; (n + 1) * 20];
            columns(&from, stride, [n, many], &mut to, |i| i * 20, n * 20);
            for i in 0..n {
                let want = |j: usize| if j < many { from[j * stride + i] } else { 0.0 };
                assert!((0..SIDE).all(|j| to[i * 20 + j] == want(j)), "{n} {many} {stride}");
            }
        }
    }
}
