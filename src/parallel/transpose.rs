//! Transposes in squares with sides of a cache line, written so that they compile to shuffles of vectors.

/// The side of a square.
pub const SIDE: usize = 16;

/// A square inside a square.
const BLOCK: usize = 4;

/// `to[at(i) + j] = from[j * stride + i]` for i and j below [`SIDE`].
#[inline(always)]
pub fn square<T: Copy>(from: &[T], stride: usize, to: &mut [T], at: impl Fn(usize) -> usize) {
    let rows: [&[T; SIDE]; SIDE] = std::array::from_fn(|j| first(&from[j * stride..]));
    for i in (0..SIDE).step_by(BLOCK) {
        let blocks: [[[T; BLOCK]; BLOCK]; BLOCK] = std::array::from_fn(|b| {
            let [p, q, r, s]: [&[T; BLOCK]; BLOCK] = std::array::from_fn(|j| first(&rows[BLOCK * b + j][i..]));
            std::array::from_fn(|i| [p[i], q[i], r[i], s[i]])
        });
        for k in 0..BLOCK {
            let line = &mut to[at(i + k)..][..SIDE];
            for (b, block) in blocks.iter().enumerate() {
                line[BLOCK * b..][..BLOCK].copy_from_slice(&block[k]);
            }
        }
    }
}

#[inline(always)]
fn first<T, const N: usize>(slice: &[T]) -> &[T; N] {
    slice.first_chunk().expect("a square inside the matrix")
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
pub fn columns<T: Copy + Default>(
    from: &[T],
    stride: usize,
    [n, columns]: [usize; 2],
    to: &mut [T],
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
            line.fill(T::default());
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
            let from = Vec::from_iter((1..=(many - 1) * stride + n).map(|i| i as u32));
            let mut to = vec![u32::MAX; (n + 1) * 20];
            columns(&from, stride, [n, many], &mut to, |i| i * 20, n * 20);
            for i in 0..n {
                let want = |j: usize| if j < many { from[j * stride + i] } else { 0 };
                assert!((0..SIDE).all(|j| to[i * 20 + j] == want(j)), "{n} {many} {stride}");
            }
        }
    }
}
