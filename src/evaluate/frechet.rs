//! The Frechet distance of two sets of features, each modelled as a Gaussian.

use crate::{Error, Result};

/// The squared 2-Wasserstein distance of the Gaussians fitted to two sets, as computed by FID from features:
///
/// |mu_a - mu_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)).
///
/// The covariances divide by n - 1. (C_a C_b)^(1/2) has the trace of (R C_b R)^(1/2) with R = C_a^(1/2), a symmetric
/// matrix, whose eigenvalues are computed by Jacobi's method.
///
/// *Shapes*: `a` is `[n, dim]`, `b` is `[m, dim]`. *Units*: those of the features, squared.
/// *Accuracy*: f64; time grows as dim^3, about a second for 256.
///
/// # Errors
/// [`Error::Input`] for ragged sets and for fewer than two samples.
///
/// *Source*: Dowson and Landau 1982; Heusel et al. 2017, eq. 6.
pub fn frechet_distance(a: &[f32], b: &[f32], dim: usize) -> Result<f64> {
    for (name, set) in [("first", a), ("second", b)] {
        if dim == 0 || !set.len().is_multiple_of(dim) || set.len() < 2 * dim {
            return Err(Error::input(format!(
                "Frechet distance: the {name} set has {} values; at least two whole samples of {dim} are needed",
                set.len()
            )));
        }
    }
    let ((mean_a, cov_a), (mean_b, cov_b)) = (moments(a, dim), moments(b, dim));
    let means: f64 = mean_a.iter().zip(&mean_b).map(|(a, b)| (a - b).powi(2)).sum();
    let root = square_root(&cov_a, dim);
    let product = multiply(&multiply(&root, &cov_b, dim), &root, dim);
    let (values, _) = eigen(product, dim);
    let trace = |m: &[f64]| (0..dim).map(|i| m[i * dim + i]).sum::<f64>();
    let overlap: f64 = values.iter().map(|v| v.max(0.0).sqrt()).sum();
    Ok((means + trace(&cov_a) + trace(&cov_b) - 2.0 * overlap).max(0.0))
}

/// Mean and covariance.
fn moments(set: &[f32], dim: usize) -> (Vec<f64>, Vec<f64>) {
    let n = (set.len() / dim) as f64;
    let mut mean = vec![0.0; dim];
    for x in set.chunks_exact(dim) {
        mean.iter_mut().zip(x).for_each(|(m, x)| *m += f64::from(*x) / n);
    }
    let mut covariance = vec![0.0; dim * dim];
    let mut centred = vec![0.0; dim];
    for x in set.chunks_exact(dim) {
        (0..dim).for_each(|i| centred[i] = f64::from(x[i]) - mean[i]);
        for (i, row) in covariance.chunks_exact_mut(dim).enumerate() {
            let factor = centred[i] / (n - 1.0);
            row.iter_mut().zip(&centred).for_each(|(c, x)| *c += factor * x);
        }
    }
    (mean, covariance)
}

fn multiply(a: &[f64], b: &[f64], dim: usize) -> Vec<f64> {
    let mut out = vec![0.0; dim * dim];
    for (out, a) in out.chunks_exact_mut(dim).zip(a.chunks_exact(dim)) {
        for (a, b) in a.iter().zip(b.chunks_exact(dim)) {
            out.iter_mut().zip(b).for_each(|(o, b)| *o += a * b);
        }
    }
    out
}

/// The square root of a positive semidefinite matrix (negative eigenvalues caused by rounding are set to 0).
fn square_root(matrix: &[f64], dim: usize) -> Vec<f64> {
    let (values, vectors) = eigen(matrix.to_vec(), dim);
    let mut out = vec![0.0; dim * dim];
    for (value, vector) in values.iter().zip(vectors.chunks_exact(dim)) {
        let root = value.max(0.0).sqrt();
        for (row, v) in out.chunks_exact_mut(dim).zip(vector) {
            row.iter_mut().zip(vector).for_each(|(o, w)| *o += root * v * w);
        }
    }
    out
}

/// Maximum number of sweeps over all pairs; eight suffice for most matrices, and convergence is quadratic.
const SWEEPS: usize = 60;

/// Eigenvalues of a symmetric matrix, and its eigenvectors as rows: cyclic Jacobi rotations until the off-diagonal part
/// is negligible (Golub and Van Loan, Matrix computations, algorithm 8.5.3).
fn eigen(mut a: Vec<f64>, dim: usize) -> (Vec<f64>, Vec<f64>) {
    let mut vectors = vec![0.0; dim * dim];
    (0..dim).for_each(|i| vectors[i * dim + i] = 1.0);
    let whole: f64 = a.iter().map(|x| x * x).sum();
    for _ in 0..SWEEPS {
        let off: f64 = (0..dim * dim).filter(|i| i / dim != i % dim).map(|i| a[i] * a[i]).sum();
        if off <= 1e-30 * whole {
            break;
        }
        for p in 0..dim {
            for q in p + 1..dim {
                if a[p * dim + q] != 0.0 {
                    let rotation = rotation(a[p * dim + p], a[q * dim + q], a[p * dim + q]);
                    rotate_rows(&mut a, dim, p, q, rotation);
                    rotate_columns(&mut a, dim, p, q, rotation);
                    rotate_rows(&mut vectors, dim, p, q, rotation);
                }
            }
        }
    }
    ((0..dim).map(|i| a[i * dim + i]).collect(), vectors)
}

/// (cos, sin) of the rotation that makes the element (p, q) zero.
fn rotation(pp: f64, qq: f64, pq: f64) -> (f64, f64) {
    let tau = (qq - pp) / (2.0 * pq);
    let t = tau.signum() / (tau.abs() + (1.0 + tau * tau).sqrt());
    let c = 1.0 / (1.0 + t * t).sqrt();
    (c, t * c)
}

fn rotate_rows(a: &mut [f64], dim: usize, p: usize, q: usize, (c, s): (f64, f64)) {
    let (head, tail) = a.split_at_mut(q * dim);
    let (row_p, row_q) = (&mut head[p * dim..][..dim], &mut tail[..dim]);
    for (x, y) in row_p.iter_mut().zip(row_q) {
        (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
    }
}

fn rotate_columns(a: &mut [f64], dim: usize, p: usize, q: usize, (c, s): (f64, f64)) {
    for row in a.chunks_exact_mut(dim) {
        (row[p], row[q]) = (c * row[p] - s * row[q], s * row[p] + c * row[q]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eigenvalues_and_root_of_a_known_matrix() {
        let matrix = [2.0, 1.0, 0.0, 1.0, 2.0, 0.0, 0.0, 0.0, 5.0];
        let (mut values, _) = eigen(matrix.to_vec(), 3);
        values.sort_by(f64::total_cmp);
        for (value, want) in values.iter().zip([1.0, 3.0, 5.0]) {
            assert!((value - want).abs() < 1e-12, "{value} {want}");
        }
        let root = square_root(&matrix, 3);
        for (got, want) in multiply(&root, &root, 3).iter().zip(matrix) {
            assert!((got - want).abs() < 1e-12);
        }
    }

    /// In one dimension it is (mu_a - mu_b)^2 + (s_a - s_b)^2.
    #[test]
    fn one_dimension_has_the_known_distance() {
        let a: Vec<f32> = (0..100).map(|i| i as f32).collect();
        let b: Vec<f32> = a.iter().map(|x| 3.0 * x + 7.0).collect();
        let deviation = (a.iter().map(|x| f64::from(*x - 49.5).powi(2)).sum::<f64>() / 99.0).sqrt();
        let want = (2.0 * 49.5 + 7.0f64).powi(2) + (2.0 * deviation).powi(2);
        let got = frechet_distance(&a, &b, 1).unwrap();
        assert!((got / want - 1.0).abs() < 1e-12, "{got} {want}");
    }

    #[test]
    fn a_set_has_no_distance_from_itself_even_when_flat() {
        // Two of the four coordinates are equal: the covariance is singular.
        let a: Vec<f32> = (0..50).flat_map(|i| [i as f32, (i * i % 7) as f32, i as f32, 1.0]).collect();
        let distance = frechet_distance(&a, &a, 4).unwrap();
        assert!(distance < 1e-8, "{distance}");
    }

    #[test]
    fn ragged_and_single_sets_are_refused() {
        assert!(frechet_distance(&[1.0, 2.0], &[1.0, 2.0, 3.0, 4.0], 2).unwrap_err().to_string().contains("first"));
        assert!(frechet_distance(&[1.0; 4], &[1.0; 5], 2).unwrap_err().to_string().contains("second"));
    }
}
