//! The axes of a plot, with ticks at round values.

use super::canvas::{Across, Canvas, Down, PlotArea, RULE, Rect};
use crate::text::short;

/// The height of a label, the width of its digits, and its distance from the plot.
const SIZE: f64 = 11.0;
const DIGIT: f64 = 6.2;
const GAP: f64 = 7.0;

/// A light grid with labels left and below. Labels of y that are too long for the `margin` left of the plot are above their
/// lines.
pub(super) fn axes(canvas: &mut dyn Canvas, view: &PlotArea, margin: f64, y: &[Tick], x: &[Tick]) {
    let Rect { left, top, width, height } = view.frame;
    let inside = y.iter().any(|(_, label)| DIGIT * label.chars().count() as f64 + GAP > margin);
    for (value, label) in y {
        let at = view.at((view.x.0, *value)).1;
        canvas.line(&[(left, at), (left + width, at)], RULE, 0.75);
        match inside {
            true => canvas.text(label, (left + 2.0, at - 2.0), SIZE, (Across::Start, Down::Bottom)),
            false => canvas.text(label, (left - GAP, at), SIZE, (Across::End, Down::Middle)),
        }
    }
    for (value, label) in x {
        let at = view.at((*value, view.y.0)).0;
        canvas.line(&[(at, top), (at, top + height)], RULE, 0.75);
        canvas.text(label, (at, top + height + GAP), SIZE, (Across::Middle, Down::Top));
    }
}

/// Position and label of a tick.
pub(super) type Tick = (f64, String);

/// Four to eight ticks at round values.
fn round_values((low, high): (f64, f64)) -> Vec<f64> {
    let rough = (high - low) / 5.0;
    let power = 10f64.powf(rough.log10().floor());
    let step = power * [1.0, 2.0, 5.0, 10.0].into_iter().find(|step| step * power >= rough).unwrap_or(10.0);
    let (first, last) = ((low / step).ceil() as i64, (high / step).floor() as i64);
    (first..=last.min(first.saturating_add(12))).map(|i| i as f64 * step).collect()
}

pub(super) fn linear_ticks(range: (f64, f64)) -> Vec<Tick> {
    round_values(range).into_iter().map(|value| (value, short(value))).collect()
}

/// Ticks at round values of `offset` plus the values of an axis. If all values are large, the labels have as many digits as
/// are needed to tell them apart.
pub(super) fn ticks_with_offset((low, high): (f64, f64), offset: f64) -> Vec<Tick> {
    if offset == 0.0 {
        return linear_ticks((low, high));
    }
    let values = round_values((low + offset, high + offset));
    let decimals = decimals(values.windows(2).map(|pair| pair[1] - pair[0]).fold(f64::MAX, f64::min));
    values.into_iter().map(|value| (value - offset, format!("{value:.decimals$}"))).collect()
}

/// The ends of an axis at `offset` plus its values, with as many digits as tell a hundredth of the axis.
pub(super) fn ends_with_offset((low, high): (f64, f64), offset: f64) -> [String; 2] {
    if offset == 0.0 {
        return [low, high].map(short);
    }
    let decimals = decimals((high - low) / 100.0);
    [low, high].map(|end| format!("{:.decimals$}", end + offset))
}

/// The decimals that numbers have which are `step` apart.
fn decimals(step: f64) -> usize {
    (-step.log10().floor()).clamp(0.0, 12.0) as usize
}

/// Integers, in thousands or millions when they are long.
pub(super) fn count_ticks(range: (f64, f64)) -> Vec<Tick> {
    let whole = round_values(range).into_iter().filter(|value| value.fract() == 0.0);
    whole
        .map(|value| match value {
            value if value >= 1e6 => (value, format!("{}M", short(value / 1e6))),
            value if value >= 1e4 => (value, format!("{}k", short(value / 1e3))),
            value => (value, short(value)),
        })
        .collect()
}

/// Ticks of a logarithmic axis at the powers of ten, or more densely if there are few of them. `range` is in log10.
pub(super) fn log_ticks(range: (f64, f64)) -> Vec<Tick> {
    let decades = range.0.floor() as i32..=range.1.ceil() as i32;
    let every = ((range.1 - range.0) / 8.0).ceil().max(1.0) as i32;
    for digits in [&[1.0][..], &[1.0, 2.0, 5.0], &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0]] {
        let values =
            decades.clone().filter(|d| d % every == 0).flat_map(|d| digits.iter().map(move |x| x * 10f64.powi(d)));
        let inside: Vec<f64> = values.filter(|x| (range.0..=range.1).contains(&x.log10())).collect();
        if inside.len() >= 4 {
            return inside.into_iter().map(|x| (x.log10(), short(x))).collect();
        }
    }
    let plain = round_values((10f64.powf(range.0), 10f64.powf(range.1)));
    plain.into_iter().filter(|x| *x > 0.0).map(|x| (x.log10(), short(x))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_large_values_differ() {
        let ticks = ticks_with_offset((-0.3, 0.4), 1_700_000_000.0);
        let labels: Vec<&str> = ticks.iter().map(|(_, label)| label.as_str()).collect();
        assert_eq!(labels, ["1699999999.8", "1700000000.0", "1700000000.2", "1700000000.4"]);
        assert!((ticks[0].0 + 0.2).abs() < 1e-6);
        assert_eq!(ticks_with_offset((-90.0, 110.0), 5e6)[0].1, "4999950");
        assert_eq!(ticks_with_offset((0.0, 1.0), 0.0), linear_ticks((0.0, 1.0)));
        assert_eq!(ends_with_offset((-0.25, 0.4), 1_700_000_000.0), ["1699999999.750", "1700000000.400"]);
        assert_eq!(ends_with_offset((-90.0, 110.0), 5e6), ["4999910", "5000110"]);
        assert_eq!(ends_with_offset((-0.25, 0.4), 0.0), ["-0.25", "0.4"]);
    }

    #[test]
    fn there_are_a_few_ticks() {
        let ticks = |low: f64, high: f64| log_ticks((low.log10(), high.log10()));
        for (low, high) in [(1e-9, 1e3), (0.01, 2.0), (0.02, 0.05), (0.031, 0.033), (1e-30, 1e30)] {
            let n = ticks(low, high).len();
            assert!((3..=14).contains(&n), "{low} {high}: {n}");
        }
    }
}
