//! Cases of the sum y = a + b, elementwise; the op itself is in `graph`, which uses it in the reverse pass.

pub use crate::graph::Add;

use super::case::{Case, MANY, Tolerance};

pub(super) fn cases() -> Vec<Case> {
    [vec![1], vec![7], vec![65, 3], vec![2, 3, 5, 7]]
        .into_iter()
        .map(|shape| Case::new(Add).input(shape.clone()).input(shape).tolerance(Tolerance::relative(2.0)).gradient())
        .collect()
}

pub(super) fn timed() -> Vec<Case> {
    vec![Case::new(Add).input([MANY]).input([MANY])]
}
