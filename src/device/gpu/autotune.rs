//! Which family of products is the fastest, where no rule knows: a short timing, remembered for the next run.
//!
//! All families give the same bits, so the answer changes the speed alone.

use std::collections::BTreeMap;
use std::time::Duration;

use super::cache::Cache;
use crate::error::Result;
use crate::kernel::Family;

/// The file's name in the cache.
const NAME: &str = "products";
/// Answers so far, and the time left for others.
#[derive(Debug)]
pub(super) struct Autotune {
    answers: BTreeMap<String, Family>,
    left: Duration,
    more: bool,
}

impl Autotune {
    /// What earlier runs found on this adapter. All timings together take `left`; questions beyond get the rule's guess, and
    /// are asked again next time.
    pub fn load(cache: &Cache, left: Duration) -> Self {
        Self::parse(&String::from_utf8_lossy(&cache.load(NAME).unwrap_or_default()), left)
    }

    /// Remembers what is new.
    pub fn save(&self, cache: &Cache) {
        if self.more {
            cache.save(NAME, self.text().as_bytes());
        }
    }

    /// The fastest of `candidates`, the first of which is the rule's guess; `time` runs one and gives the time of compiling and
    /// running it, and that of its kernel alone.
    pub fn fastest(
        &mut self,
        question: &str,
        candidates: &[Family],
        mut time: impl FnMut(Family) -> Result<[Duration; 2]>,
    ) -> Result<Family> {
        if let Some(known) = self.answers.get(question).filter(|f| candidates.contains(f)) {
            return Ok(*known);
        }
        let mut best = (Duration::MAX, candidates[0]);
        for &family in candidates {
            if self.left.is_zero() {
                return Ok(candidates[0]);
            }
            let [all, kernel] = time(family)?;
            self.left = self.left.saturating_sub(all);
            best = if kernel < best.0 { (kernel, family) } else { best };
        }
        log::debug!("{question}: {:?} is the fastest of {candidates:?}", best.1);
        self.answers.insert(question.to_string(), best.1);
        self.more = true;
        Ok(best.1)
    }

    /// A line for each question and its answer.
    fn text(&self) -> String {
        self.answers.iter().map(|(question, family)| format!("{question} = {family:?}\n")).collect()
    }

    fn parse(text: &str, left: Duration) -> Self {
        let named = |name: &str| Family::ALL.into_iter().find(|f| format!("{f:?}") == name);
        let line = |line: &str| {
            let (question, family) = line.rsplit_once(" = ")?;
            Some((question.to_string(), named(family)?))
        };
        Self { answers: text.lines().filter_map(line).collect(), left, more: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANDIDATES: [Family; 2] = [Family::Blocked128, Family::Blocked64];

    fn parsed(text: &str) -> Autotune {
        Autotune::parse(text, Duration::from_millis(300))
    }

    /// Milliseconds of the two candidates, each timing taking ten times as long as the kernel.
    fn timer(asked: &mut usize, ms: [u64; 2]) -> impl FnMut(Family) -> Result<[Duration; 2]> {
        move |family| {
            *asked += 1;
            let ms = ms[(family != CANDIDATES[0]) as usize];
            Ok([10 * ms, ms].map(Duration::from_millis))
        }
    }

    #[test]
    fn the_fastest_is_found_once_and_remembered() {
        let (mut autotune, mut asked) = (parsed(""), 0);
        assert_eq!(autotune.fastest("a 1x2", &CANDIDATES, timer(&mut asked, [5, 4])).unwrap(), Family::Blocked64);
        assert_eq!(autotune.fastest("a 1x2", &CANDIDATES, timer(&mut asked, [4, 5])).unwrap(), Family::Blocked64);
        assert_eq!(autotune.fastest("b 1x2", &CANDIDATES, timer(&mut asked, [4, 5])).unwrap(), Family::Blocked128);
        assert_eq!((asked, autotune.more), (4, true));
        let mut again = parsed(&autotune.text());
        assert_eq!(again.fastest("a 1x2", &CANDIDATES, timer(&mut asked, [4, 5])).unwrap(), Family::Blocked64);
        assert_eq!((asked, again.more), (4, false));
    }

    #[test]
    fn the_rule_guesses_when_the_time_is_over() {
        let (mut autotune, mut asked) = (parsed(""), 0);
        assert_eq!(autotune.fastest("a", &CANDIDATES, timer(&mut asked, [40, 4])).unwrap(), CANDIDATES[0]);
        assert_eq!(autotune.fastest("b", &CANDIDATES, timer(&mut asked, [5, 4])).unwrap(), CANDIDATES[0]);
        assert_eq!((asked, autotune.text().as_str()), (1, ""));
    }

    #[test]
    fn answers_that_make_no_sense_are_asked_anew() {
        let (mut autotune, mut asked) = (parsed("a = Blocked32\nb = Nothing\n\nc\n"), 0);
        assert_eq!(autotune.fastest("a", &CANDIDATES, timer(&mut asked, [2, 1])).unwrap(), Family::Blocked64);
        assert_eq!(autotune.fastest("b", &CANDIDATES, timer(&mut asked, [2, 1])).unwrap(), Family::Blocked64);
        assert_eq!(asked, 4);
    }
}
