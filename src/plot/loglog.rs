//! Curves with both axes logarithmic.

use std::path::Path;

use super::axes::{Tick, axes, log_ticks};
use super::canvas::{Across, Canvas, Down, PlotArea, Point, Rect, Svg};
use super::curves::CURVES;
use super::scale::span;
use crate::Result;

/// A named quantity: (x, y), both above 0.
pub type LogCurve = (String, Vec<(f64, f64)>);

/// The size of a panel, with its labels.
const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 400.0;
/// The space left of a panel.
const LEFT: f64 = 64.0;

/// Draws panels side by side, each with a title and its curves, with points where the values are. All share the axes,
/// which are logarithmic, and their names. Values that are not finite and above 0 are skipped.
///
/// # Errors
/// When the file cannot be written.
pub fn log_log(path: &Path, [across, upwards]: [&str; 2], panels: &[(&str, Vec<LogCurve>)]) -> Result<()> {
    let log = |(x, y): &(f64, f64)| (x.log10(), y.log10());
    let drawn = |curve: &LogCurve| -> Vec<Point> {
        curve.1.iter().map(log).filter(|(x, y)| x.is_finite() && y.is_finite()).collect()
    };
    let points = || panels.iter().flat_map(|(_, curves)| curves.iter().flat_map(drawn));
    let x = span(points().map(|p| p.0), 0.05).unwrap_or((0.0, 1.0));
    let y = span(points().map(|p| p.1), 0.05).unwrap_or((0.0, 1.0));
    let mut canvas = Svg::new(WIDTH * panels.len() as f64, HEIGHT);
    for (i, (title, curves)) in panels.iter().enumerate() {
        let left = WIDTH * i as f64;
        let view = PlotArea { frame: Rect::new(left + LEFT, 40.0, WIDTH - LEFT - 16.0, HEIGHT - 90.0), x, y };
        axes(&mut canvas, &view, LEFT, &log_ticks(y), &powers_of_two(x));
        canvas.text(title, (left + WIDTH / 2.0, 12.0), 14.0, (Across::Middle, Down::Top));
        canvas.text(upwards, (left + 20.0, 12.0), 13.0, (Across::Start, Down::Top));
        canvas.text(across, (left + WIDTH / 2.0, HEIGHT - 24.0), 13.0, (Across::Middle, Down::Top));
        for (j, (curve, colour)) in curves.iter().zip(CURVES.into_iter().cycle()).enumerate() {
            let pixels: Vec<Point> = drawn(curve).into_iter().map(|p| view.at(p)).collect();
            canvas.line(&pixels, colour, 2.0);
            pixels.iter().for_each(|at| canvas.dot(*at, colour, 2.5));
            let at = HEIGHT - 65.0 - 17.0 * (curves.len() - 1 - j) as f64;
            canvas.line(&[(left + 76.0, at), (left + 100.0, at)], colour, 2.0);
            canvas.text(&curve.0, (left + 106.0, at), 12.0, (Across::Start, Down::Middle));
        }
    }
    canvas.save(path)
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
}
