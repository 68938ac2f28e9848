//! Curves over training steps, on a logarithmic axis.

use std::path::Path;

use super::axes::{axes, count_ticks, log_ticks};
use super::canvas::{Across, Canvas, Colour, Down, GENERATED, PlotArea, Point, REAL, Rect, Svg};
use super::scale::span;
use crate::Result;

/// Colours of curves; the first is that of the total. They differ with colour blindness, too (after Okabe and Ito 2008).
pub(super) const CURVES: [Colour; 6] = [
    REAL,
    GENERATED,
    Colour::new(0, 158, 115),
    Colour::new(190, 100, 155),
    Colour::new(190, 140, 0),
    Colour::new(86, 180, 233),
];

/// The dashes of curves: those after the last colour have the first colours again, with other dashes. The page of `serve` has
/// the same ones, which a test compares.
pub(super) const DASHES: [&[f64]; 4] = [&[], &[7.0, 4.0], &[2.0, 3.0], &[9.0, 3.0, 2.0, 3.0]];

/// A named quantity over the steps: (step, value) in order.
pub type Curve<'a> = (&'a str, Vec<(u64, f64)>);

/// Draws `loss.svg`: each curve with its raw values, faint, and their moving mean, over the step on a logarithmic axis;
/// several curves get a legend below. Values that are not finite and positive are skipped.
///
/// # Errors
/// When the file cannot be written.
pub fn loss_curve(path: &Path, curves: &[Curve]) -> Result<()> {
    self::curves(path, "loss of the training", ["step", "loss"], curves)
}

/// The space left of the curves, for the labels of the axis, and the height of a line of the legend.
const MARGIN: f64 = 64.0;
const LINE: f64 = 17.0;

/// Like [`loss_curve`] with another title and other axis labels.
///
/// # Errors
/// When the file cannot be written.
pub fn curves(path: &Path, title: &str, [across, upwards]: [&str; 2], curves: &[Curve]) -> Result<()> {
    let kept = |points: &[(u64, f64)]| -> Vec<(f64, f64)> {
        let drawn = points.iter().filter(|(_, loss)| loss.is_finite() && *loss > 0.0);
        drawn.map(|&(step, loss)| (step as f64, loss.log10())).collect()
    };
    let curves: Vec<(&str, Vec<(f64, f64)>)> = curves.iter().map(|(name, points)| (*name, kept(points))).collect();
    let steps = || curves.iter().flat_map(|(_, points)| points.iter().map(|p| p.0));
    let first = steps().fold(f64::INFINITY, f64::min);
    let (first, last) = if first.is_finite() { (first, steps().fold(0.0, f64::max)) } else { (0.0, 1.0) };
    let y = span(curves.iter().flat_map(|(_, points)| points.iter().map(|p| p.1)), 0.05).unwrap_or((-2.0, 0.0));
    let view = PlotArea { frame: Rect::new(MARGIN, 30.0, 680.0, 330.0), x: (first, last.max(first + 1.0)), y };
    let legend = if curves.len() > 1 { LINE * curves.len() as f64 } else { 0.0 };
    let mut canvas = Svg::new(764.0, 410.0 + legend);
    axes(&mut canvas, &view, MARGIN, &log_ticks(y), &count_ticks(view.x));
    canvas.text(title, (404.0, 9.0), 14.0, (Across::Middle, Down::Top));
    canvas.text(upwards, (20.0, 10.0), 13.0, (Across::Start, Down::Top));
    canvas.text(across, (404.0, 386.0), 13.0, (Across::Middle, Down::Top));
    let pixels = |points: &[Point]| -> Vec<Point> { envelope(points, 700).into_iter().map(|p| view.at(p)).collect() };
    // The first curve is drawn on top.
    for (i, (name, points)) in curves.iter().enumerate().rev() {
        let colour = CURVES[i % CURVES.len()];
        canvas.line(&pixels(points), colour.with_opacity(0.3), 1.0);
        if let [only] = points[..] {
            canvas.dot(view.at(only), colour, 3.0);
        }
        canvas.line(&pixels(&moving_mean(points)), colour, 2.0);
        if curves.len() > 1 {
            let at = 412.0 + LINE * i as f64;
            canvas.line(&[(MARGIN, at), (MARGIN + 24.0, at)], colour, 2.0);
            canvas.text(name, (MARGIN + 30.0, at), 12.0, (Across::Start, Down::Middle));
        }
    }
    canvas.save(path)
}

/// The curve reduced to about 2 `bins` points: the minimum and maximum of each bin.
pub(super) fn envelope(points: &[(f64, f64)], bins: usize) -> Vec<(f64, f64)> {
    if points.len() <= 2 * bins {
        return points.to_vec();
    }
    let mut kept = Vec::with_capacity(2 * bins);
    for bin in points.chunks(points.len().div_ceil(bins)) {
        let (mut low, mut high) = (0, 0);
        for i in 1..bin.len() {
            low = if bin[i].1 < bin[low].1 { i } else { low };
            high = if bin[i].1 > bin[high].1 { i } else { high };
        }
        kept.push(bin[low.min(high)]);
        if low != high {
            kept.push(bin[low.max(high)]);
        }
    }
    kept
}

/// The mean over a window of a fortieth of the curve around each point, truncated at the ends.
pub(super) fn moving_mean(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let n = points.len();
    let mut sums = vec![0.0; n + 1];
    for (i, point) in points.iter().enumerate() {
        sums[i + 1] = sums[i] + point.1;
    }
    let half = n / 80;
    (0..n)
        .map(|i| {
            let (from, to) = (i.saturating_sub(half), (i + half + 1).min(n));
            (points[i].0, (sums[to] - sums[from]) / (to - from) as f64)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_serve_has_the_same_dashes() {
        let page = include_str!("../cli/serve/page/page.js");
        let list = page.split_once("const DASHES = [").and_then(|(_, rest)| rest.split_once(']')).unwrap().0;
        let dashes: Vec<Vec<f64>> = list
            .split(", ")
            .map(|dash| dash.trim_matches('"').split_whitespace().map(|n| n.parse().unwrap()).collect())
            .collect();
        assert_eq!(dashes, DASHES);
    }
}
