//! Cases of the sum, which lives with the reverse pass: y = a + b, elementwise.

use super::Add;
use super::case::{Case, Tolerance};

pub(super) fn cases() -> Vec<Case> {
    [vec![1], vec![7], vec![65, 3], vec![2, 3, 5, 7]]
        .into_iter()
        .map(|shape| Case::new(Add).input(shape.clone()).input(shape).tolerance(Tolerance::relative(2.0)).gradient())
        .collect()
}
