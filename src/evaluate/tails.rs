//! Tail probabilities of the distributions that the tests use.

/// ln 0!, ln 1!, ..., ln n!.
pub(super) fn ln_factorials(n: usize) -> Vec<f64> {
    let later = (1..=n).scan(0.0, |sum, i| {
        *sum += (i as f64).ln();
        Some(*sum)
    });
    std::iter::once(0.0).chain(later).collect()
}

/// P(X >= `successes`) for the number X of heads of `n` fair coins.
pub(super) fn coin_tail(successes: usize, n: usize) -> f64 {
    let ln = ln_factorials(n);
    let term = |k: usize| (ln[n] - ln[k] - ln[n - k] - n as f64 * 2f64.ln()).exp();
    (successes..=n).map(term).sum::<f64>().min(1.0)
}

/// Fisher's exact test, one-sided: the probability that the first of two groups has at least as many successes as
/// observed, given the number of successes in both. Each group is (successes, size).
pub(super) fn fisher_tail((a, n): (usize, usize), (b, m): (usize, usize)) -> f64 {
    let (all, total) = (a + b, n + m);
    let ln = ln_factorials(total);
    let choose = |n: usize, k: usize| ln[n] - ln[k] - ln[n - k];
    let term = |k: usize| (choose(n, k) + choose(m, all - k) - choose(total, all)).exp();
    (a..=all.min(n)).map(term).sum::<f64>().min(1.0)
}

/// Products n m of the sizes up to which the Kolmogorov-Smirnov test is exact.
const EXACT: usize = 100_000;

/// The p-value of the two-sample Kolmogorov-Smirnov statistic `d` for sets of `n` and `m` values: exact without ties and
/// too large with them; for many values from the limiting distribution with the correction of Stephens (1970).
pub(super) fn kolmogorov_tail(d: f64, n: usize, m: usize) -> f64 {
    if n * m <= EXACT {
        return exact_kolmogorov_tail(d, n, m);
    }
    let root = (n as f64 * m as f64 / (n + m) as f64).sqrt();
    let lambda = (root + 0.12 + 0.11 / root) * d;
    if lambda < 0.2 {
        return 1.0;
    }
    let term = |j: i32| f64::from(j).powi(2) * -2.0 * lambda * lambda;
    let sum: f64 = (1..=100).map(|j| if j % 2 == 1 { term(j).exp() } else { -term(j).exp() }).sum();
    (2.0 * sum).clamp(0.0, 1.0)
}

/// All orders of n and m values are equally likely. An order is a path from (0, 0) to (n, m), and its statistic is below
/// `d` if |i/n - j/m| is, at every point (i, j). `below[j]` is the share of such paths among those to (i, j) (Hodges 1958).
fn exact_kolmogorov_tail(d: f64, n: usize, m: usize) -> f64 {
    let mut below = vec![0.0; m + 1];
    for i in 0..=n {
        for j in 0..=m {
            let (from_i, from_j) = (below[j], if j > 0 { below[j - 1] } else { 0.0 });
            let inside = (i as f64 / n as f64 - j as f64 / m as f64).abs() < d - 1e-9;
            below[j] = match i + j {
                _ if !inside => 0.0,
                0 => 1.0,
                all => (from_i * i as f64 + from_j * j as f64) / all as f64,
            };
        }
    }
    (1.0 - below[m]).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_have_known_values() {
        let near = |got: f64, want: f64| assert!((got - want).abs() < 1e-9, "{got} {want}");
        near(coin_tail(3, 4), 5.0 / 16.0);
        near(coin_tail(0, 9), 1.0);
        // The lady tasting tea: 3 of 4 against 1 of 4 has p = 17/70.
        near(fisher_tail((3, 4), (1, 4)), 17.0 / 70.0);
        near(fisher_tail((0, 4), (3, 4)), 1.0);
        near(fisher_tail((5, 5), (0, 5)), 1.0 / 252.0);
        // The 5% point of Kolmogorov's distribution is 1.3581.
        let many = kolmogorov_tail(1.3581 / 5000f64.sqrt(), 10_000, 10_000);
        assert!((many - 0.05).abs() < 1e-3, "{many}");
        near(kolmogorov_tail(1.0, 5, 5), 2.0 / 252.0);
        // scipy.stats.ks_2samp of [0.3, 1.7, 2.2, 5.0] and [1.0, 2.5, 9.0], whose statistic is 5/12.
        near(kolmogorov_tail(5.0 / 12.0, 4, 3), 31.0 / 35.0);
        // Both methods agree where they meet.
        let [exact, limit] = [300, 333].map(|n| kolmogorov_tail(1.2 * (2.0 / n as f64).sqrt(), n, n));
        assert!((exact / limit - 1.0).abs() < 0.1, "{exact} {limit}");
        assert_eq!((kolmogorov_tail(0.0, 5, 5), kolmogorov_tail(1.0, 5000, 5000)), (1.0, 0.0));
    }
}
