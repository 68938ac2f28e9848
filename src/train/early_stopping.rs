//! The best validation loss of a run, and when to stop.

/// Tracks the validation losses as rounded in `metrics.csv`, so that a resumed run makes the same decisions as an
/// uninterrupted one.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct EarlyStopping {
    /// The lowest loss and its step.
    pub best: Option<(u32, f64)>,
    /// The last loss.
    pub last: Option<f64>,
    /// The number of evaluations since the lowest loss.
    pub since: u32,
}

impl EarlyStopping {
    /// Adds a loss. Returns whether it is the lowest so far.
    pub fn observe(&mut self, step: u32, loss: f64) -> bool {
        self.last = Some(loss);
        let better = self.best.is_none_or(|(_, best)| loss < best);
        if better {
            (self.best, self.since) = (Some((step, loss)), 0);
        } else {
            self.since += 1;
        }
        better
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lower_loss_is_better() {
        let mut tracked = EarlyStopping::default();
        assert_eq!([3.0, 2.0, 2.0, 4.0].map(|loss| tracked.observe(7, loss)), [true, true, false, false]);
        assert_eq!(tracked, EarlyStopping { best: Some((7, 2.0)), last: Some(4.0), since: 2 });
    }
}
