//! One matrix product for all CPU twins, over the `gemm` crate.

use crate::scalar::Scalar;

/// A matrix as a slice with strides, so that a transpose costs nothing.
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

    /// A matrix [rows, cols] inside `data`, with the steps from row to row and from column to column.
    pub fn strided(data: &'a [S], [rows, cols]: [usize; 2], [row_stride, col_stride]: [usize; 2]) -> Self {
        let last = (rows - 1) * row_stride + (cols - 1) * col_stride;
        assert!(last < data.len(), "a [{rows}, {cols}] matrix up to element {last} of {}", data.len());
        Self { data, rows, cols, row_stride, col_stride }
    }

    /// Some of its rows.
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
}

/// out = a b (+ out when `accumulate`), row-major [a.rows, b.cols], on all cores.
pub fn matmul<S: Scalar>(out: &mut [S], a: Matrix<S>, b: Matrix<S>, accumulate: bool) {
    // Handing work to a second thread costs some microseconds; below that much arithmetic one thread is faster.
    let small = a.rows * b.cols * a.cols < 1 << 18;
    product(out, a, b, accumulate, if small { gemm::Parallelism::None } else { gemm::Parallelism::Rayon(0) });
}

/// [`matmul`] on the calling thread alone, for callers that share out several products.
pub fn matmul_alone<S: Scalar>(out: &mut [S], a: Matrix<S>, b: Matrix<S>, accumulate: bool) {
    product(out, a, b, accumulate, gemm::Parallelism::None);
}

fn product<S: Scalar>(out: &mut [S], a: Matrix<S>, b: Matrix<S>, accumulate: bool, parallelism: gemm::Parallelism) {
    assert_eq!(a.cols, b.rows, "inner dimensions of a matrix product");
    assert_eq!(out.len(), a.rows * b.cols, "output of a matrix product");
    let (m, n, k) = (a.rows, b.cols, a.cols);
    // SAFETY: the asserts above and in `Matrix::new` keep every (row, col) of the three matrices inside its slice;
    // `out` is borrowed mutably, so it overlaps neither input. `Scalar` is implemented for f32 and f64 only, both
    // of which `gemm` supports.
    #[allow(unsafe_code)]
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            accumulate,
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
            parallelism,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<S: Scalar>(tolerance: f64) {
        let (m, n, k) = (5, 7, 3);
        let a: Vec<S> = (0..m * k).map(|i| S::of((i as f64 * 0.7).sin())).collect();
        let b: Vec<S> = (0..n * k).map(|i| S::of((i as f64 * 1.3).cos())).collect();
        let mut out = vec![S::ONE; m * n];
        matmul(&mut out, Matrix::new(&a, m, k), Matrix::new(&b, n, k).t(), true);
        for i in 0..m {
            for j in 0..n {
                let want = 1.0 + (0..k).map(|l| a[i * k + l].f64() * b[j * k + l].f64()).sum::<f64>();
                assert!((out[i * n + j].f64() - want).abs() < tolerance);
            }
        }
    }

    #[test]
    fn product_with_a_transpose_and_accumulation() {
        check::<f32>(1e-6);
        check::<f64>(1e-14);
    }
}
