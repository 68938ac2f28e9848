//! What the validation losses of a run say: the best one, and whether to stop.

/// Follows the validation losses as `metrics.csv` states them, so that a resumed run decides as an unbroken one.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Watch {
    /// The lowest loss and its step.
    pub best: Option<(u32, f64)>,
    /// The last loss.
    pub last: Option<f64>,
    /// Evaluations since the best one.
    pub since: u32,
}

impl Watch {
    /// Takes one more loss; whether it is the best so far.
    pub fn see(&mut self, step: u32, loss: f64) -> bool {
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
        let mut watch = Watch::default();
        assert_eq!([3.0, 2.0, 2.0, 4.0].map(|loss| watch.see(7, loss)), [true, true, false, false]);
        assert_eq!(watch, Watch { best: Some((7, 2.0)), last: Some(4.0), since: 2 });
    }
}
