//! Autotuning: selects the fastest variant of a matrix product by a short measurement, where the rule is uncertain.
//! Results are cached for the next run.
//!
//! All candidates compute bit-identical results where `fma` is the same in all kernels of an adapter
//! ([`crate::ops`], `gemm`). Elsewhere another choice may change the last bits of a result, so the choice is kept.

use std::collections::BTreeMap;
use std::time::Duration;

use super::cache::Cache;
use crate::error::Result;
use crate::kernel::GemmVariant;

/// The name of the file in the cache.
const NAME: &str = "products";

/// The results so far, and the remaining time budget.
#[derive(Debug)]
pub(super) struct Autotune {
    results: BTreeMap<String, GemmVariant>,
    budget: Duration,
    changed: bool,
}

impl Autotune {
    /// Loads the results of earlier runs on this adapter. `budget` limits the time of all measurements together. When
    /// it is used up, the choice of the rule is taken without being stored, so that the next run measures again.
    pub fn load(cache: &Cache, budget: Duration) -> Self {
        Self::parse(&String::from_utf8_lossy(&cache.load(NAME).unwrap_or_default()), budget)
    }

    /// Saves new results.
    pub fn save(&self, cache: &Cache) {
        if self.changed {
            cache.save(NAME, self.text().as_bytes());
        }
    }

    /// The fastest of `candidates` for the kernel `key`; the first candidate is the choice of the rule. `time`
    /// measures one, and returns the total time with compilation, and the time of one dispatch.
    pub fn fastest(
        &mut self,
        key: &str,
        candidates: &[GemmVariant],
        mut time: impl FnMut(GemmVariant) -> Result<[Duration; 2]>,
    ) -> Result<GemmVariant> {
        if let Some(known) = self.results.get(key).filter(|f| candidates.contains(f)) {
            return Ok(*known);
        }
        let mut best = (Duration::MAX, candidates[0]);
        for &variant in candidates {
            if self.budget.is_zero() {
                return Ok(candidates[0]);
            }
            let [all, kernel] = time(variant)?;
            self.budget = self.budget.saturating_sub(all);
            best = if kernel < best.0 { (kernel, variant) } else { best };
        }
        log::debug!("{key}: {:?} is the fastest of {candidates:?}", best.1);
        self.results.insert(key.to_string(), best.1);
        self.changed = true;
        Ok(best.1)
    }

    /// One line per result.
    fn text(&self) -> String {
        self.results.iter().map(|(key, variant)| format!("{key} = {variant:?}\n")).collect()
    }

    fn parse(text: &str, budget: Duration) -> Self {
        let named = |name: &str| GemmVariant::ALL.into_iter().find(|f| format!("{f:?}") == name);
        let line = |line: &str| {
            let (key, variant) = line.rsplit_once(" = ")?;
            Some((key.to_string(), named(variant)?))
        };
        Self { results: text.lines().filter_map(line).collect(), budget, changed: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANDIDATES: [GemmVariant; 2] = [GemmVariant::Blocked128, GemmVariant::Blocked64];

    fn parsed(text: &str) -> Autotune {
        Autotune::parse(text, Duration::from_millis(300))
    }

    /// Measures the two candidates as `ms` milliseconds, and each measurement as ten times as long.
    fn timer(count: &mut usize, ms: [u64; 2]) -> impl FnMut(GemmVariant) -> Result<[Duration; 2]> {
        move |variant| {
            *count += 1;
            let ms = ms[(variant != CANDIDATES[0]) as usize];
            Ok([10 * ms, ms].map(Duration::from_millis))
        }
    }

    #[test]
    fn the_fastest_is_measured_once_and_cached() {
        let (mut autotune, mut count) = (parsed(""), 0);
        assert_eq!(autotune.fastest("a 1x2", &CANDIDATES, timer(&mut count, [5, 4])).unwrap(), GemmVariant::Blocked64);
        assert_eq!(autotune.fastest("a 1x2", &CANDIDATES, timer(&mut count, [4, 5])).unwrap(), GemmVariant::Blocked64);
        assert_eq!(autotune.fastest("b 1x2", &CANDIDATES, timer(&mut count, [4, 5])).unwrap(), GemmVariant::Blocked128);
        assert_eq!((count, autotune.changed), (4, true));
        let mut again = parsed(&autotune.text());
        assert_eq!(again.fastest("a 1x2", &CANDIDATES, timer(&mut count, [4, 5])).unwrap(), GemmVariant::Blocked64);
        assert_eq!((count, again.changed), (4, false));
    }

    #[test]
    fn the_rule_decides_when_the_budget_is_used_up() {
        let (mut autotune, mut count) = (parsed(""), 0);
        assert_eq!(autotune.fastest("a", &CANDIDATES, timer(&mut count, [40, 4])).unwrap(), CANDIDATES[0]);
        assert_eq!(autotune.fastest("b", &CANDIDATES, timer(&mut count, [5, 4])).unwrap(), CANDIDATES[0]);
        assert_eq!((count, autotune.text().as_str()), (1, ""));
    }

    #[test]
    fn invalid_results_are_measured_again() {
        let (mut autotune, mut count) = (parsed("a = Blocked32\nb = Nothing\n\nc\n"), 0);
        assert_eq!(autotune.fastest("a", &CANDIDATES, timer(&mut count, [2, 1])).unwrap(), GemmVariant::Blocked64);
        assert_eq!(autotune.fastest("b", &CANDIDATES, timer(&mut count, [2, 1])).unwrap(), GemmVariant::Blocked64);
        assert_eq!(count, 4);
    }
}
