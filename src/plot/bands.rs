//! Completed signals: known values, and the median and a band of the generated ones.

use std::path::Path;

use super::Scale;
use super::canvas::{Across, BAND, Canvas, Down, GENERATED, PAPER, PlotArea, Point, REAL, Rect, Svg, ceil_sqrt};
use super::samples::{MARGIN, signal_axes};
use super::set::Set;
use crate::Result;
use crate::data::{Grouping, Kind};

/// Completed signals, each [n, ...] with the shape of a sample.
#[derive(Clone, Copy)]
pub(crate) struct Completed<'a> {
    /// The known values, NaN for unknown ones.
    pub known: &'a [f32],
    /// A low quantile, the median and a high quantile.
    pub quantiles: [&'a [f32]; 3],
    /// The true values, if they are known.
    pub truth: Option<&'a [f32]>,
}

/// The number of signals in a picture.
pub(crate) const MOST_COMPLETED: usize = 9;

/// Draws completed signals as one SVG: known values and the median as lines, the band between the quantiles as an area, and
/// the true values as a thin line. Channels of a signal share a cell, each with its own scale.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn completed_signals(path: &Path, shape: &[usize], of: Completed, scale: &Scale) -> Result<()> {
    let Completed { known, quantiles: [low, median, high], truth } = of;
    let (groups, len) = (Grouping::of(Kind::Signals, shape), shape.iter().product::<usize>());
    let scale = scale.covering(shape, &[known, low, high]);
    let axes = scale.axes();
    let count = (known.len() / len).min(MOST_COMPLETED);
    let mut canvas = Svg::new(910.0, 750.0);
    let frame = Rect::new(MARGIN, 40.0, 860.0, 680.0);
    let title = match truth {
        Some(_) => "known values (blue), median and band of the draws (orange), true values (grey)",
        None => "known values (blue), median and band of the draws (orange)",
    };
    canvas.text(title, (frame.left + frame.width / 2.0, 14.0), 15.0, (Across::Middle, Down::Top));
    for i in 0..count {
        let cell = frame.cell(i, ceil_sqrt(count));
        canvas.fill(&cell, PAPER);
        let channel = |group: usize| {
            let part = i * len + group * groups.repeat..i * len + (group + 1) * groups.repeat;
            let view = PlotArea { frame: cell, x: (-0.5, groups.repeat as f64 - 0.5), y: axes[group] };
            (view, part)
        };
        // No band hides the lines of another channel.
        for (view, part) in (0..groups.count).map(channel) {
            draw_band(&mut canvas, &view, &known[part.clone()], [&low[part.clone()], &high[part]]);
        }
        for (view, part) in (0..groups.count).map(channel) {
            let truth = truth.map(|truth| &truth[part.clone()]);
            draw_lines(&mut canvas, &view, &known[part.clone()], &median[part], truth);
        }
    }
    let set = Set { kind: Kind::Signals, shape, values: &known[..count * len] };
    signal_axes(&mut canvas, &frame, &set, &scale);
    canvas.save(path)
}

/// Draws the band of a channel where its values are unknown.
fn draw_band(canvas: &mut dyn Canvas, view: &PlotArea, known: &[f32], [low, high]: [&[f32]; 2]) {
    for i in (0..known.len()).filter(|i| known[*i].is_nan()) {
        let ((left, top), (right, bottom)) =
            (view.at((i as f64 - 0.5, high[i].into())), view.at((i as f64 + 0.5, low[i].into())));
        // Neighbouring rectangles overlap, so that no line is seen between them.
        canvas.fill(&Rect::new(left - 0.3, top, right - left + 0.6, bottom - top), BAND);
    }
}

/// Draws the lines of a channel.
fn draw_lines(canvas: &mut dyn Canvas, view: &PlotArea, known: &[f32], median: &[f32], truth: Option<&[f32]>) {
    let unknown = |i: usize| known[i].is_nan();
    let mut line = |values: &[f32], shown: &dyn Fn(usize) -> bool, colour, width| {
        let mut part: Vec<Point> = Vec::new();
        for i in 0..=values.len() {
            match i < values.len() && shown(i) {
                true => part.push(view.at((i as f64, values[i].into()))),
                false => {
                    match part[..] {
                        [] => {}
                        [only] => canvas.dot(only, colour, width),
                        _ => canvas.line(&part, colour, width),
                    }
                    part.clear();
                }
            }
        }
    };
    if let Some(truth) = truth {
        line(truth, &unknown, super::canvas::INK, 0.8);
    }
    line(median, &unknown, GENERATED, 1.4);
    line(known, &|i| !unknown(i), REAL, 1.4);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bands_of_all_channels_are_below_the_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.svg");
        let known = [0.0, f32::NAN, 1.0, 2.0, f32::NAN, f32::NAN];
        let filled = [0.0, 0.5, 1.0, 2.0, 1.0, 0.0];
        let of = Completed { known: &known, quantiles: [&filled; 3], truth: Some(&filled) };
        let scale = Scale::of(Kind::Signals, &[2, 3], &filled);
        completed_signals(&path, &[2, 3], of, &scale).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let band = text.rfind("#f3d4be").unwrap();
        let line = text.find("<polyline").unwrap();
        assert!(band < line, "{text}");
    }
}
