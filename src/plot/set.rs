//! The samples of a drawing.

use super::contact_sheet::most_on_sheet;
use crate::data::Kind;

/// Limits: points in one scatter, signals in one grid, images in one SVG. More would overlap.
pub(super) const MOST_POINTS: usize = 5000;
const MOST_SIGNALS: usize = 16;
pub(super) const MOST_IMAGES: usize = 144;

/// The samples to draw.
pub(super) struct Set<'a> {
    pub kind: Kind,
    pub shape: &'a [usize],
    pub values: &'a [f32],
}

impl Set<'_> {
    /// How many samples a drawing shows.
    pub fn shown(&self) -> usize {
        let n = self.values.len() / self.shape.iter().product::<usize>().max(1);
        n.min(match self.kind {
            Kind::Points => MOST_POINTS,
            Kind::Table => n,
            Kind::Signals => MOST_SIGNALS,
            Kind::Images => MOST_IMAGES.min(most_on_sheet(self.shape)),
        })
    }
}
