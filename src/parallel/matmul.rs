//! Matrix products on the CPU: the `gemm` crate in f32, and three plain loops in f64, the reference.

use std::any::TypeId;

use crate::numeric::scalar::Scalar;
use crate::parallel;
use crate::parallel::transpose::{SIDE, square};

/// A matrix as a slice with strides, so that a transpose is free.
#[derive(Clone, Copy)]
pub struct Matrix<'a, S> {
    data: &'a [S],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a, S> Matrix<'a, S> {
    /// A row-major matrix [rows, cols].
    pub fn new(data: &'a [S], rows: usize, cols: usize) -> Self {
        assert_eq!(data.len(), rows * cols, "a [{rows}, {cols}] matrix over {} elements", data.len());
        Self { data, rows, cols, row_stride: cols, col_stride: 1 }
    }

    /// A matrix [rows, cols] inside `data`, with row and column strides.
    pub fn strided(data: &'a [S], [rows, cols]: [usize; 2], [row_stride, col_stride]: [usize; 2]) -> Self {
        let last = (rows - 1) * row_stride + (cols - 1) * col_stride;
        assert!(last < data.len(), "a [{rows}, {cols}] matrix up to element {last} of {}", data.len());
        Self { data, rows, cols, row_stride, col_stride }
    }

    /// A range of its rows.
    pub fn rows(self, start: usize, count: usize) -> Self {
        assert!(start + count <= self.rows && count > 0, "rows {start} and {count} more of {}", self.rows);
        Self { data: &self.data[start * self.row_stride..], rows: count, ..self }
    }

    /// An element.
    #[inline(always)]
    pub fn at(self, row: usize, col: usize) -> S
    where
        S: Copy,
    {
        self.data[row * self.row_stride + col * self.col_stride]
    }

    /// The transpose, without a copy.
    pub fn t(self) -> Self {
        let Self { data, rows, cols, row_stride, col_stride } = self;
        Self { data, rows: cols, cols: rows, row_stride: col_stride, col_stride: row_stride }
    }

    /// Rows first .. first + count.
    fn some_rows(self, first: usize, count: usize) -> Self {
        assert!(first + count <= self.rows, "rows {first} to {} of a matrix of {}", first + count, self.rows);
        Self { data: &self.data[(first * self.row_stride).min(self.data.len())..], rows: count, ..self }
    }

    /// Whether its columns are contiguous, and not its rows.
    fn is_transposed(&self) -> bool {
        self.row_stride == 1 && self.col_stride > 1
    }

    /// out = the same matrix with contiguous rows, from one with contiguous columns; `finish(offset, part)` on parts of
    /// whole rows that cover it.
    fn copy_to(self, out: &mut [S], finish: impl Fn(usize, &mut [S]) + Sync)
    where
        S: Scalar,
    {
        let (rows, cols) = (self.rows, self.cols);
        parallel::pieces(
            parallel::cut(out, SIDE * cols),
            #[inline(always)]
            |band, out| {
                let row = band * SIDE;
                for col in (0..cols).step_by(SIDE) {
                    if row + SIDE <= rows && col + SIDE <= cols {
                        square(
                            &self.data[col * self.col_stride + row..],
                            self.col_stride,
                            out,
                            #[inline(always)]
                            |i| i * cols + col,
                        );
                        continue;
                    }
                    for i in 0..out.len() / cols {
                        for j in col..cols.min(col + SIDE) {
                            out[i * cols + j] = self.data[j * self.col_stride + row + i];
                        }
                    }
                }
                finish(row * cols, out);
            },
        );
    }
}

/// Multiply-adds above which a piece is worth a separate task.
const PIECE: usize = 1 << 17;
/// The maximum number of pieces of a single row or column.
const MANY: usize = 16;
/// The tile of the kernels of `gemm`: pieces end on multiples of it.
const TILE: [usize; 2] = [6, 64];

/// out = a b (+ out when `accumulate`), row-major [a.rows, b.cols], on all cores.
pub fn matmul<S: Scalar>(out: &mut [S], a: Matrix<S>, b: Matrix<S>, accumulate: bool) {
    let start = if accumulate { Initial::Out } else { Initial::Zero };
    matmul_with(out, a, b, start, |_, _| {});
}

/// The initial value of a product's output.
#[derive(Clone, Copy)]
pub enum Initial<'a, S> {
    /// Zero.
    Zero,
    /// The current output.
    Out,
    /// This row, in each row.
    Row(&'a [S]),
}

/// out = a b + start, then `finish(offset, part)` on parts that cover the output.
///
/// `gemm` reads 64 contiguous columns of b side by side. If their strides are powers of two, they map to the same few
/// cache sets, and every line is fetched many times; a copy with contiguous rows is cheaper, even for other strides.
/// With few rows, out^T = b^T a^T is cheaper still: a and out are smaller than b.
///
/// The result does not depend on the number of threads: an element is summed in the order of k, in parts of
/// [`DEPTH`], in any piece. `gemm` guarantees this except for products of a single row or column, and for small
/// products of two matrices that are both contiguous along k. The former are split by their shape only, and no piece
/// of a larger product is a single row or column; for the latter, one matrix is copied.
pub fn matmul_with<S: Scalar>(
    out: &mut [S],
    a: Matrix<S>,
    b: Matrix<S>,
    start: Initial<S>,
    finish: impl Fn(usize, &mut [S]) + Sync,
) {
    product_for(parallel::threads(), out, a, b, start, finish);
}

/// [`matmul_with`] for a number of threads.
fn product_for<S: Scalar>(
    threads: usize,
    out: &mut [S],
    a: Matrix<S>,
    b: Matrix<S>,
    start: Initial<S>,
    finish: impl Fn(usize, &mut [S]) + Sync,
) {
    assert_eq!(a.cols, b.rows, "inner dimensions of a matrix product");
    assert_eq!(out.len(), a.rows * b.cols, "output of a matrix product");
    if TypeId::of::<S>() == TypeId::of::<f64>() {
        return plain(out, a, b, start, finish);
    }
    let (m, n, k) = (a.rows, b.cols, a.cols);
    let pieces = if m.min(n) == 1 { MANY } else { threads }.min(m * n * k / PIECE).max(1);
    if b.is_transposed() && m >= SIDE && m * (n + k) < n * k && !matches!(start, Initial::Out) {
        return by_transpose(out, a, b, start, pieces, finish);
    }
    let many_columns = n > 2 * m && n >= 2 * pieces * TILE[1];
    let parts = parts_of_k(m, n, k);
    if many_columns || parts.is_some() {
        if let Initial::Row(row) = start {
            parallel::rows(
                out,
                n,
                #[inline(always)]
                |_, out| out.copy_from_slice(row),
            );
        }
        let accumulate = !matches!(start, Initial::Zero);
        match parts {
            Some(parts) => with_rows(b, m, |b| sum_of_products(out, a, b, accumulate, parts)),
            None => by_columns(out, a, b, accumulate, pieces),
        }
        return parallel::chunks(
            out,
            #[inline(always)]
            |offset, out| finish(offset, out),
        );
    }
    with_rows(b, m, |b| by_rows(out, a, b, start, pieces, finish));
}

/// The reference: three plain loops.
fn plain<S: Scalar>(
    out: &mut [S],
    a: Matrix<S>,
    b: Matrix<S>,
    start: Initial<S>,
    finish: impl Fn(usize, &mut [S]) + Sync,
) {
    let n = b.cols;
    parallel::pieces(
        parallel::cut(out, n),
        #[inline(always)]
        |i, out| {
            match start {
                Initial::Zero => out.fill(S::ZERO),
                Initial::Out => {}
                Initial::Row(row) => out.copy_from_slice(row),
            }
            for k in 0..a.cols {
                for j in 0..n {
                    out[j] += a.at(i, k) * b.at(k, j);
                }
            }
            finish(i * n, out);
        },
    );
}

/// The length of a piece, in whole tiles: at most `limit`, unless a single row or column would be left.
fn unit(len: usize, tile: usize, pieces: usize, limit: usize) -> usize {
    let mut unit = (len.div_ceil(tile).div_ceil(pieces) * tile).min(limit.max(1).next_multiple_of(tile));
    while len % unit == 1 && unit < len {
        unit += tile;
    }
    unit
}

/// Calls `f` with the matrix, copied if its columns are contiguous and the product has several rows.
fn with_rows<S: Scalar>(b: Matrix<S>, m: usize, f: impl FnOnce(Matrix<S>)) {
    if !b.is_transposed() || m < 2 {
        return f(b);
    }
    S::with_scratch(b.rows * b.cols, |copy| {
        b.copy_to(copy, |_, _| {});
        f(Matrix::new(copy, b.rows, b.cols));
    });
}

/// Pieces of whole rows, each finished while it is in the cache.
fn by_rows<S: Scalar>(
    out: &mut [S],
    a: Matrix<S>,
    b: Matrix<S>,
    start: Initial<S>,
    pieces: usize,
    finish: impl Fn(usize, &mut [S]) + Sync,
) {
    let n = b.cols;
    // Each piece copies b, so it has rows enough for that to cost little.
    let rows = unit(a.rows, TILE[0], pieces, HOT.div_ceil(n).max(b.rows / 2));
    parallel::pieces(
        parallel::cut(out, rows * n),
        #[inline(always)]
        |i, out| {
            if let Initial::Row(row) = start {
                out.chunks_mut(n).for_each(|out| out.copy_from_slice(row));
            }
            let accumulate = !matches!(start, Initial::Zero);
            product(out, a.some_rows(i * rows, out.len() / n), b, accumulate);
            finish(i * rows * n, out);
        },
    );
}

/// Computes out^T = b^T a^T, and transposes it.
fn by_transpose<S: Scalar>(
    out: &mut [S],
    a: Matrix<S>,
    b: Matrix<S>,
    start: Initial<S>,
    pieces: usize,
    finish: impl Fn(usize, &mut [S]) + Sync,
) {
    let (m, n) = (a.rows, b.cols);
    S::with_scratch(m * n, |result| {
        with_rows(a.t(), n, |a| by_rows(result, b.t(), a, Initial::Zero, pieces, |_, _| {}));
        Matrix::new(result, n, m).t().copy_to(
            out,
            #[inline(always)]
            |offset, out| {
                if let Initial::Row(row) = start {
                    for out in out.chunks_mut(n) {
                        out.iter_mut().zip(row).for_each(|(o, r)| *o += *r);
                    }
                }
                finish(offset, out);
            },
        );
    });
}

/// Elements of the output that fit in a core's cache together with the operands.
const HOT: usize = 1 << 15;

/// The number of parts into which a long sum is split (split-K) when the output is too small to be divided. It depends
/// on the shape only, so that the order of summation does not depend on the number of cores.
fn parts_of_k(m: usize, n: usize, k: usize) -> Option<usize> {
    let parts = (k / 512).min(8);
    (m * n <= 1 << 16 && parts > 1 && m * n * k >= 4 * PIECE).then_some(parts)
}

fn sum_of_products<S: Scalar>(out: &mut [S], a: Matrix<S>, b: Matrix<S>, accumulate: bool, parts: usize) {
    let (size, each) = (out.len(), a.cols.div_ceil(parts));
    S::with_scratch(size * parts, |partial| {
        parallel::pieces(
            parallel::cut(partial, size),
            #[inline(always)]
            |i, partial| {
                let (start, len) = (i * each, each.min(a.cols - i * each));
                product(partial, a.t().some_rows(start, len).t(), b.some_rows(start, len), false);
            },
        );
        parallel::chunks(
            out,
            #[inline(always)]
            |start, out| {
                for part in 0..parts {
                    let add = accumulate || part > 0;
                    let partial = &partial[part * size + start..][..out.len()];
                    out.iter_mut().zip(partial).for_each(|(o, p)| *o = if add { *o + *p } else { *p });
                }
            },
        );
    });
}

/// Pieces of columns; the columns of b that a piece needs are copied by it, so that they are in its cache.
fn by_columns<S: Scalar>(out: &mut [S], a: Matrix<S>, b: Matrix<S>, accumulate: bool, pieces: usize) {
    struct Shared<S>(*mut S);
    // SAFETY: every task writes its own columns.
    #[allow(unsafe_code)]
    unsafe impl<S> Sync for Shared<S> {}
    let (n, start) = (b.cols, Shared(out.as_mut_ptr()));
    let each = unit(n, TILE[1], pieces, 4 * HOT / b.rows);
    parallel::tasks(n.div_ceil(each), |i| {
        let start = &start;
        let (first, len) = (i * each, each.min(n - i * each));
        with_rows(b.t().some_rows(first, len).t(), a.rows, |b| {
            // SAFETY: columns first .. first + len of an [a.rows, n] matrix lie in `out`, as `matmul_with` asserts.
            #[allow(unsafe_code)]
            unsafe {
                product_at(start.0.add(first), n, a, b, accumulate);
            }
        });
    });
}

/// Terms that `gemm` sums in registers before it adds them to the output, for matrices of every size.
const DEPTH: usize = 512;

/// out = a b (+ out) on this thread, row-major.
fn product<S: Scalar>(out: &mut [S], a: Matrix<S>, b: Matrix<S>, accumulate: bool) {
    assert_eq!(out.len(), a.rows * b.cols, "output of a matrix product");
    // SAFETY: the assert above.
    #[allow(unsafe_code)]
    unsafe {
        product_at(out.as_mut_ptr(), b.cols, a, b, accumulate);
    }
}

/// # Safety
/// `out` must be valid for writes of a.rows rows of b.cols elements, `stride` apart.
#[allow(unsafe_code)]
unsafe fn product_at<S: Scalar>(out: *mut S, stride: usize, a: Matrix<S>, b: Matrix<S>, accumulate: bool) {
    for first in (0..a.cols.max(1)).step_by(DEPTH) {
        let len = DEPTH.min(a.cols - first);
        let (a, b) = (a.t().some_rows(first, len).t(), b.some_rows(first, len));
        // SAFETY: `Matrix::new` and `some_rows` keep every (row, col) of a and b inside their slices; that `out` may
        // be written is guaranteed by the caller, and as a mutable borrow it overlaps neither. `Scalar` is sealed:
        // f32 and f64, both of which `gemm` supports.
        unsafe {
            gemm::gemm(
                a.rows,
                b.cols,
                a.cols,
                out,
                1,
                stride as isize,
                accumulate || first > 0,
                a.data.as_ptr(),
                a.col_stride as isize,
                a.row_stride as isize,
                b.data.as_ptr(),
                b.col_stride as isize,
                b.row_stride as isize,
                S::ONE,
                S::ONE,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<S: Scalar>([m, n, k]: [usize; 3], tolerance: f64) {
        let fill = |n: usize, by: f64| (0..n).map(|i| S::of((i as f64 * by).sin())).collect::<Vec<S>>();
        let (a, b) = (fill(m * k, 0.7), fill(n * k, 1.3));
        let (at, bt) = (fill(m * k, 0.7), fill(n * k, 1.3));
        for (a, b) in [
            (Matrix::new(&a, m, k), Matrix::new(&b, n, k).t()),
            (Matrix::new(&a, m, k), Matrix::new(&bt, k, n)),
            (Matrix::new(&at, k, m).t(), Matrix::new(&bt, k, n)),
        ] {
            let at = |x: &Matrix<S>, r: usize, c: usize| x.data[r * x.row_stride + c * x.col_stride].f64();
            let mut out = vec![S::ONE; m * n];
            matmul(&mut out, a, b, true);
            for (i, j) in [(0, 0), (m - 1, n - 1), (m / 2, n / 3), (m / 3, n - 1)] {
                let want = (0..k).map(|l| at(&a, i, l) * at(&b, l, j)).sum::<f64>();
                let error = (out[i * n + j].f64() - 1.0 - want).abs();
                assert!(error < tolerance * (k as f64).sqrt(), "{m} {n} {k}: {error}");
            }
        }
    }

    #[test]
    fn products_with_transposes_and_accumulation() {
        // By rows, by columns, by parts of k, with columns that thrash a cache, and on one thread.
        for shape in [[5, 7, 3], [300, 100, 129], [33, 700, 64], [64, 60, 2100], [70, 130, 256], [1, 1, 1]] {
            check::<f32>(shape, 1e-6);
            check::<f64>(shape, 1e-14);
        }
    }

    /// Shapes around the tiles of `gemm` and the sizes where it sums in another way: single rows and columns, few
    /// elements, and long sums.
    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let fill = |n: usize, by: f32| (0..n).map(|i| (i as f32 * by).sin()).collect::<Vec<f32>>();
        for (m, n, k) in [1, 2, 7, 13, 31, 97, 250, 1000]
            .into_iter()
            .flat_map(|m| [1, 3, 65, 130, 333, 1000].map(|n| (m, n)))
            .flat_map(|(m, n)| [128, 300, 1100].map(|k| (m, n, k)))
            .filter(|(m, n, k)| m * n * k <= 1 << 26)
        {
            let (a, b, row) = (fill(m * k, 0.7), fill(n * k, 1.3), fill(n, 0.3));
            for (a, b) in [
                (Matrix::new(&a, m, k), Matrix::new(&b, n, k).t()),
                (Matrix::new(&a, m, k), Matrix::new(&b, k, n)),
                (Matrix::new(&a, k, m).t(), Matrix::new(&b, k, n)),
            ] {
                let product = |threads, start| {
                    let mut out = vec![0.5; m * n];
                    product_for(threads, &mut out, a, b, start, |_, _| {});
                    out
                };
                for start in [Initial::Zero, Initial::Out, Initial::Row(&row)] {
                    let want = product(1, start);
                    for threads in [2, 3, 8, 32] {
                        assert!(product(threads, start) == want, "[{m}, {k}] x [{k}, {n}] with {threads} threads");
                    }
                }
            }
        }
    }
}
