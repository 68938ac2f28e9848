//! Panels of curves beside each other.

use std::path::Path;

use super::axes::{Tick, axes, count_ticks, linear_ticks, log_ticks};
use super::canvas::{Across, Canvas, Down, PlotArea, Point, Rect, ceil_sqrt, save_picture};
use super::curves::{CURVES, DASHES, envelope, moving_mean};
use super::scale::span;
use crate::Result;

/// A named quantity: (x, y), both above 0.
pub type LogCurve = (String, Vec<(f64, f64)>);

/// The name of an axis, with its unit if it has one, and its ticks.
#[derive(Clone, Copy, Debug)]
pub struct Axis<'a> {
    name: &'a str,
    kind: AxisKind,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum AxisKind {
    Linear,
    Log,
    /// Logarithmic, with ticks at powers of two.
    Doubling,
    /// Steps of a training, whose curves are noisy: their moving mean is drawn above faint values.
    Count,
}

impl<'a> Axis<'a> {
    /// A linear axis.
    pub fn linear(name: &'a str) -> Self {
        Self { name, kind: AxisKind::Linear }
    }

    /// A logarithmic axis; values that are not above 0 are skipped.
    pub fn log(name: &'a str) -> Self {
        Self { name, kind: AxisKind::Log }
    }

    /// The steps of a training.
    pub fn count(name: &'a str) -> Self {
        Self { name, kind: AxisKind::Count }
    }
}

impl AxisKind {
    fn scaled(self, value: f64) -> f64 {
        if matches!(self, Self::Log | Self::Doubling) { value.log10() } else { value }
    }

    fn ticks(self, range: (f64, f64)) -> Vec<Tick> {
        match self {
            Self::Linear => linear_ticks(range),
            Self::Log => log_ticks(range),
            Self::Doubling => powers_of_two(range),
            Self::Count => count_ticks(range),
        }
    }
}

/// Curves with a title, and their axes.
#[derive(Clone, Debug)]
pub struct Panel<'a> {
    /// The title.
    pub title: String,
    /// The horizontal axis.
    pub x: Axis<'a>,
    /// The vertical axis.
    pub y: Axis<'a>,
    /// The name and the points (x, y) of each curve. Values that are not finite are skipped; a curve without values is not in
    /// the legend, but counts for the colours of the others.
    pub curves: Vec<(String, Vec<(f64, f64)>)>,
}

/// The size of a panel without its legend, the space left of its plot, and the height of a line of the legend.
const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 390.0;
const LEFT: f64 = 64.0;
const LINE: f64 = 17.0;

/// The longest name in a legend.
const NAME: usize = 56;

impl Panel<'_> {
    /// The points of the curves on the axes.
    fn drawn(&self) -> Vec<Vec<Point>> {
        let scaled = |(x, y): &(f64, f64)| (self.x.kind.scaled(*x), self.y.kind.scaled(*y));
        let finite = |(x, y): &Point| x.is_finite() && y.is_finite();
        self.curves.iter().map(|(_, points)| points.iter().map(scaled).filter(finite).collect()).collect()
    }

    fn draw(&self, canvas: &mut dyn Canvas, (left, top): Point, (x, y): (Interval, Interval), dots: bool) {
        let frame = Rect::new(left + LEFT, top + 54.0, WIDTH - LEFT - 20.0, HEIGHT - 104.0);
        let view = PlotArea { frame, x, y };
        axes(canvas, &view, LEFT, &self.y.kind.ticks(y), &self.x.kind.ticks(x));
        let middle = frame.left + frame.width / 2.0;
        canvas.text(&self.title, (middle, top + 10.0), 14.0, (Across::Middle, Down::Top));
        canvas.text(self.y.name, (left + 20.0, top + 32.0), 12.0, (Across::Start, Down::Top));
        canvas.text(self.x.name, (middle, top + HEIGHT - 28.0), 12.0, (Across::Middle, Down::Top));
        let noisy = self.x.kind == AxisKind::Count;
        let styles = DASHES.into_iter().cycle().flat_map(|dash| CURVES.map(|colour| (colour, dash)));
        let curves = self.curves.iter().zip(self.drawn()).zip(styles).filter(|((_, points), _)| !points.is_empty());
        for (i, (((name, _), points), (colour, dash))) in curves.enumerate() {
            let pixels = |points: &[Point]| -> Vec<Point> {
                envelope(points, WIDTH as usize).into_iter().map(|p| view.at(p)).collect()
            };
            if noisy {
                canvas.line(&pixels(&points), colour.with_opacity(0.3), 1.0);
            }
            let line = if noisy { moving_mean(&points) } else { points };
            canvas.dashed_line(&pixels(&line), colour, 2.0, dash);
            if dots || line.len() == 1 {
                line.iter().for_each(|at| canvas.dot(view.at(*at), colour, 2.5));
            }
            let at = top + HEIGHT + LINE * i as f64;
            canvas.dashed_line(&[(left + LEFT, at), (left + LEFT + 24.0, at)], colour, 2.0, dash);
            canvas.text(&last_letters(name), (left + LEFT + 30.0, at), 12.0, (Across::Start, Down::Middle));
        }
    }

    fn range(&self, of: fn(&Point) -> f64, margin: f64) -> Option<Interval> {
        span(self.drawn().iter().flatten().map(of), margin)
    }
}

type Interval = (f64, f64);

/// The end of a long name, which tells runs apart.
fn last_letters(name: &str) -> String {
    match name.chars().count() {
        n if n <= NAME => name.to_string(),
        n => std::iter::once('\u{2026}').chain(name.chars().skip(n - NAME + 1)).collect(),
    }
}

/// The ranges of a panel, where it has no values of its own those of an empty one.
fn ranges(panel: &Panel) -> (Interval, Interval) {
    let x = panel.range(|p| p.0, 0.0).unwrap_or((0.0, 1.0));
    (x, panel.range(|p| p.1, 0.05).unwrap_or((0.0, 1.0)))
}

/// Draws panels beside each other, each with its title, its axes and a legend below; more than three in several rows.
///
/// # Errors
/// When the extension is not `.png` or `.svg`, or the file cannot be written.
pub fn panels(path: &Path, panels: &[Panel]) -> Result<()> {
    draw(path, panels, false, ranges)
}

/// Draws panels side by side, each with a title and its curves, with points where the values are. All share the axes,
/// which are logarithmic, and their names. Values that are not finite and above 0 are skipped.
///
/// # Errors
/// When the file cannot be written.
pub fn log_log(path: &Path, [across, upwards]: [&str; 2], panels: &[(&str, Vec<LogCurve>)]) -> Result<()> {
    let (x, y) = (Axis { name: across, kind: AxisKind::Doubling }, Axis { name: upwards, kind: AxisKind::Log });
    let panel =
        |(title, curves): &(&str, Vec<LogCurve>)| Panel { title: (*title).into(), x, y, curves: curves.clone() };
    let panels: Vec<Panel> = panels.iter().map(panel).collect();
    let all = |of: fn(Point) -> f64| {
        span(panels.iter().flat_map(|panel| panel.drawn().concat()).map(of), 0.05).unwrap_or((0.0, 1.0))
    };
    let shared = (all(|p| p.0), all(|p| p.1));
    draw(path, &panels, true, |_| shared)
}

/// Panels in one row, or in as many rows as columns.
fn draw(path: &Path, panels: &[Panel], dots: bool, ranges: impl Fn(&Panel) -> (Interval, Interval)) -> Result<()> {
    let lines = panels.iter().map(|panel| panel.curves.len()).max().unwrap_or(0);
    let columns = if panels.len() <= 3 { panels.len() } else { ceil_sqrt(panels.len()) };
    let (rows, height) = (panels.len().div_ceil(columns.max(1)), HEIGHT + LINE * lines as f64);
    save_picture(path, (WIDTH * columns as f64, height * rows as f64), &mut |canvas| {
        for (i, panel) in panels.iter().enumerate() {
            let corner = (WIDTH * (i % columns) as f64, height * (i / columns) as f64);
            panel.draw(canvas, corner, ranges(panel), dots);
        }
        Ok(())
    })
}

/// Ticks at the powers of two within a range in log10, if there are few, otherwise at round values.
fn powers_of_two(range: (f64, f64)) -> Vec<Tick> {
    let unit = 2f64.log10();
    let (first, last) = ((range.0 / unit).ceil() as i32, (range.1 / unit).floor() as i32);
    if !(3..=12).contains(&(last - first)) {
        return log_ticks(range);
    }
    (first..=last).map(|i| (f64::from(i) * unit, crate::text::short(2f64.powi(i)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_are_drawn() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.svg");
        let curve = |name: &str, slope: i32| {
            (name.to_string(), (3..9).map(|i| 2f64.powi(i)).map(|n| (n, n.powi(-slope))).collect())
        };
        let odd = ("odd".to_string(), vec![(0.0, 1.0), (10.0, f64::NAN), (20.0, 0.01)]);
        let panels = [("left", vec![curve("first", 1), odd]), ("right", vec![curve("second", 2)])];
        log_log(&path, ["steps", "error"], &panels).unwrap();
        let drawn = std::fs::read_to_string(&path).unwrap();
        for text in ["left", "right", "first", "second", "steps", "error", "\n256\n"] {
            assert!(drawn.contains(text), "{text}");
        }
        assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{drawn}");
    }

    #[test]
    fn more_curves_than_colours_are_dashed() {
        let dir = tempfile::tempdir().unwrap();
        let curves = (0..20).map(|i| (format!("run {i}"), vec![(0.0, f64::from(i)), (1.0, 1.0)])).collect();
        let panel = Panel { title: "runs".into(), x: Axis::linear("t"), y: Axis::linear("u"), curves };
        for name in ["a.svg", "a.png"] {
            panels(&dir.path().join(name), std::slice::from_ref(&panel)).unwrap();
        }
        let drawn = std::fs::read_to_string(dir.path().join("a.svg")).unwrap();
        // The curve and its line in the legend.
        let lines = |dash: &str| drawn.matches(&format!("stroke-dasharray=\"{dash}\"")).count();
        assert_eq!(["7 4", "2 3", "9 3 2 3"].map(lines), [12, 12, 4]);
    }

    #[test]
    fn each_panel_has_a_title_axes_and_a_legend() {
        let dir = tempfile::tempdir().unwrap();
        let curve = |name: &str| (name.to_string(), (1..200).map(|i| (f64::from(i), 1.0 / f64::from(i))).collect());
        let long = "runs/".repeat(30) + "last";
        let panel = |title: &str, y| Panel {
            title: title.into(),
            x: Axis::count("step"),
            y,
            curves: vec![curve("a"), curve(&long)],
        };
        let empty = Panel { title: "empty".into(), x: Axis::linear("t"), y: Axis::linear("u"), curves: vec![] };
        let all = [panel("logarithmic", Axis::log("loss")), panel("linear", Axis::linear("samples per second")), empty];
        let path = dir.path().join("a.svg");
        panels(&path, &all).unwrap();
        let drawn = std::fs::read_to_string(&path).unwrap();
        for text in ["logarithmic", "linear", "empty", "step", "loss", "samples per second", "a", "0.01", "t", "u"] {
            assert!(drawn.contains(&format!(">\n{text}\n<")), "{text}");
        }
        assert!(drawn.contains("runs/last\n<") && !drawn.contains(&long));
        panels(&dir.path().join("a.png"), &all).unwrap();
        let size = |path: &Path| image::image_dimensions(path).unwrap();
        let wide = size(&dir.path().join("a.png"));
        assert_eq!(wide, (3 * WIDTH as u32, (HEIGHT + 2.0 * LINE) as u32));
        let four = [all[0].clone(), all[0].clone(), all[1].clone(), all[2].clone()];
        panels(&dir.path().join("four.png"), &four).unwrap();
        assert_eq!(size(&dir.path().join("four.png")), (2 * WIDTH as u32, 2 * wide.1));
        assert!(panels(&dir.path().join("a.npy"), &all).unwrap_err().to_string().contains(".png or .svg"));
    }
}
