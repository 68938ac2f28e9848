//! Cases of the sum y = a + b, elementwise; the op itself is part of the graph, which uses it in the backward pass.

use super::Add;
use super::case::{Case, Tolerance};

pub(super) fn cases() -> Vec<Case> {
    [vec![1], vec![7], vec![65, 3], vec![2, 3, 5, 7]]
        .into_iter()
        .map(|shape| Case::new(Add).input(shape.clone()).input(shape).tolerance(Tolerance::relative(2.0)).gradient())
        .collect()
}
