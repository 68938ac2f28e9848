//! Samples of a kind in a frame: points as a scatter, signals as a grid of lines, columns as histograms, images as a contact sheet.

use super::Scale;
use super::axes::{Tick, axes, ends_with_offset, ticks_with_offset};
use super::canvas::{Across, Canvas, Colour, Down, PAPER, PlotArea, Point, Rect, ceil_sqrt};
use super::contact_sheet::ContactSheet;
use super::curves::{CURVES, envelope};
use super::histograms::histograms;
use super::set::{MOST_POINTS, Set};
use crate::Result;
use crate::data::{Grouping, Kind};

/// The space left of a plot, for the labels of an axis.
pub(super) const MARGIN: f64 = 34.0;

/// Draws a set into `frame`; with `labels`, points get axes.
pub(super) fn samples(
    canvas: &mut dyn Canvas,
    frame: &Rect,
    set: &Set,
    scale: &Scale,
    colour: Colour,
    labels: bool,
) -> Result<()> {
    match (set.kind, &scale.axes()[..]) {
        (Kind::Signals, axes) => {
            signals(canvas, frame, set, axes, colour);
            if labels {
                signal_axes(canvas, frame, set, scale);
            }
        }
        (Kind::Table, _) => histograms(canvas, frame, set, scale, colour, labels),
        (Kind::Points, &[x, y]) => {
            let view = PlotArea { frame: *frame, x, y };
            let ticks =
                labels.then(|| [(x, 0), (y, 1)].map(|(range, axis)| ticks_with_offset(range, scale.offset(axis))));
            points(canvas, &view, set, colour, ticks);
            if labels {
                axis_names(canvas, frame, scale);
            }
        }
        _ => canvas.picture(frame, &ContactSheet::square(set.shape, set.values, set.shown()).picture(scale))?,
    }
    Ok(())
}

/// The names of the two coordinates of points: those of their columns, or x and y.
fn axis_names(canvas: &mut dyn Canvas, frame: &Rect, scale: &Scale) {
    let name = |axis: usize, usual: &str| scale.columns().names.get(axis).cloned().unwrap_or(usual.into());
    let below = (frame.left + frame.width / 2.0, frame.top + frame.height + 19.0);
    canvas.text(&name(0, "x"), below, 11.0, (Across::Middle, Down::Top));
    canvas.text(&name(1, "y"), (frame.left, frame.top - 3.0), 11.0, (Across::Middle, Down::Bottom));
}

/// What the cells of signals show: all have the same axes.
pub(super) fn signal_axes(canvas: &mut dyn Canvas, frame: &Rect, set: &Set, scale: &Scale) {
    let length = Grouping::of(set.kind, set.shape).repeat;
    let up = match scale.axes()[..] {
        [range] => format!("up: value, {}", ends_with_offset(range, scale.offset(0)).join(" to ")),
        _ => "up: value of each channel, in its own range".to_string(),
    };
    let text = format!("across: time step, 0 to {}; {up}", length - 1);
    let below = (frame.left + frame.width / 2.0, frame.top + frame.height + 6.0);
    canvas.text(&text, below, 11.0, (Across::Middle, Down::Top));
}

/// A scatter plot. Points outside the axes are skipped, and counted if there are labels: the ticks of x and y.
fn points(canvas: &mut dyn Canvas, view: &PlotArea, set: &Set, colour: Colour, ticks: Option<[Vec<Tick>; 2]>) {
    let points = set.values.chunks_exact(set.shape[0]).take(MOST_POINTS).map(|p| (p[0].into(), p[1].into()));
    let (inside, outside): (Vec<_>, Vec<_>) = points.partition(|&point| view.holds(point));
    match &ticks {
        Some([x, y]) => axes(canvas, view, MARGIN, y, x),
        None => canvas.fill(&view.frame, PAPER),
    }
    if ticks.is_some() && !outside.is_empty() {
        let text = format!("{} of {} outside", outside.len(), inside.len() + outside.len());
        let corner = (view.frame.left + view.frame.width, view.frame.top - 3.0);
        canvas.text(&text, corner, 10.0, (Across::End, Down::Bottom));
    }
    let radius = if set.values.len() < 1000 { 2.5 } else { 1.5 };
    for point in inside {
        canvas.dot(view.at(point), colour.with_opacity(0.45), radius);
    }
}

/// The first signals in a square grid. Each channel of a signal fills the height of the cell with its axis.
fn signals(canvas: &mut dyn Canvas, frame: &Rect, set: &Set, axes: &[(f64, f64)], colour: Colour) {
    let (groups, count) = (Grouping::of(set.kind, set.shape), set.shown());
    let len: usize = set.shape.iter().product();
    let length = groups.repeat;
    let colours = std::iter::once(colour).chain(CURVES.into_iter().filter(|other| other.rgb != colour.rgb));
    for (i, sample) in set.values.chunks_exact(len).take(count).enumerate() {
        let cell = frame.cell(i, ceil_sqrt(count));
        canvas.fill(&cell, PAPER);
        let single = axes.len() == 1;
        let y = if single { axes[0] } else { (0.0, 1.0) };
        let view = PlotArea { frame: cell, x: (-0.5, length as f64 - 0.5), y };
        for ((channel, values), colour) in sample.chunks_exact(length).enumerate().zip(colours.clone().cycle()) {
            let height = |at: usize, value: f64| match axes.get(groups.at(channel * length + at)) {
                Some((low, high)) if !single => (value - low) / (high - low),
                _ => value,
            };
            let mut at = 0;
            // A line ends at an unknown value.
            for run in values.chunk_by(|a, b| a.is_finite() && b.is_finite()) {
                let places = at..at + run.len();
                at = places.end;
                if !run[0].is_finite() {
                    continue;
                }
                let points: Vec<Point> =
                    places.zip(run).map(|(at, &value)| (at as f64, height(at, value.into()))).collect();
                for part in view.visible(&envelope(&points, 300)) {
                    match part[..] {
                        [only] => canvas.dot(view.at(only), colour, 2.5),
                        _ => canvas.line(&part.into_iter().map(|p| view.at(p)).collect::<Vec<_>>(), colour, 1.2),
                    }
                }
            }
        }
    }
}
