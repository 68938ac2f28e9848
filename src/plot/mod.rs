//! Plots: the loss curve, comparisons of real and generated samples, sheets of samples, values as colours.
//!
//! SVG files contain text, which the viewer renders in its own font; PNG files have short labels in a bitmap font.
//!
//! # Example
//!
//! ```
//! use langevin::plot::{Axis, Panel, panels};
//!
//! let wave = |rate: f64| (0..100).map(|i| (f64::from(i) / 50.0, (rate * f64::from(i)).sin())).collect();
//! let panel = Panel {
//!     title: "two waves".into(),
//!     x: Axis::linear("time in s"),
//!     y: Axis::linear("value"),
//!     curves: vec![("slow".into(), wave(0.1)), ("fast".into(), wave(0.3))],
//! };
//! let path = std::env::temp_dir().join(format!("langevin-{}.svg", std::process::id())); // or .png
//! panels(&path, &[panel])?;
//! assert!(std::fs::read_to_string(&path)?.contains("time in s"));
//! # std::fs::remove_file(&path)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod axes;
#[cfg(feature = "cli")]
mod bands;
mod canvas;
mod contact_sheet;
mod curves;
#[cfg(feature = "cli")]
mod film;
mod heat_map;
mod histograms;
mod output;
mod panels;
mod scale;
mod strip;

#[cfg(feature = "cli")]
pub(crate) use bands::{Completed, MOST_COMPLETED, completed_signals};
pub use curves::{Curve, curves, loss_curve};
#[cfg(feature = "cli")]
pub(crate) use film::film;
pub use heat_map::{HeatMap, heat_map};
pub use output::save;
#[cfg(feature = "cli")]
pub(crate) use output::{
    Output, check_output, check_picture, check_recording_output, check_samples_output, numbered, save_as,
};
pub use panels::{Axis, LogCurve, Panel, log_log, panels};
pub use scale::Scale;
#[cfg(feature = "cli")]
pub(crate) use strip::film_blocks;
pub use strip::film_strip;

use std::path::Path;

use self::axes::{Tick, axes, ticks_with_offset};
use self::canvas::{Across, Bitmap, Canvas, Colour, Down, PAPER, PlotArea, Point, REAL, Rect, Svg, save_png};
use self::contact_sheet::{ContactSheet, most_on_sheet};
use self::curves::{CURVES, envelope};
use self::histograms::histograms;
use crate::Result;
use crate::data::{Dataset, Grouping, Kind};
use crate::text::{count, short};

/// Limits: points in one scatter, signals in one grid, images in one SVG, and images in one of several side by side.
/// More would overlap.
const MOST_POINTS: usize = 5000;
const MOST_SIGNALS: usize = 16;
const MOST_IMAGES: usize = 144;
const MOST_BESIDE: usize = 36;

/// The space left of a plot, for the labels of an axis.
const MARGIN: f64 = 34.0;

/// Draws an SVG with `real` samples on the left and `generated` ones on the right, see [`side_by_side`].
///
/// # Errors
/// When the file cannot be written.
pub fn compare(path: &Path, kind: Kind, shape: &[usize], real: &[f32], generated: &[f32]) -> Result<()> {
    compare_with(path, kind, shape, [real, generated], &Scale::of(kind, shape, real))
}

/// [`compare`] with another scale.
pub(crate) fn compare_with(
    path: &Path,
    kind: Kind,
    shape: &[usize],
    [real, generated]: [&[f32]; 2],
    scale: &Scale,
) -> Result<()> {
    let width = shape.iter().product::<usize>();
    let title = |name: &str, set: &[f32]| match kind {
        Kind::Points if real.len() != generated.len() => format!("{} {name}", set.len() / width),
        _ => name.to_string(),
    };
    let titles = [title("real", real), title("generated", generated)];
    side_by_side(path, kind, shape, &[(&titles[0], real), (&titles[1], generated)], scale)
}

/// The description in an SVG of [`side_by_side`].
const SIDE_BY_SIDE: &str = "langevin: samples side by side";

/// Whether a file was drawn by [`side_by_side`].
#[cfg(feature = "cli")]
pub(crate) fn is_side_by_side(path: &Path) -> bool {
    use std::io::Read;
    let mut head = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(1024).read_to_end(&mut head));
    read.is_ok() && String::from_utf8_lossy(&head).contains(SIDE_BY_SIDE)
}

/// Draws an SVG with titled sets of samples, of one `kind` and `shape`, from left to right. All share one scale:
/// `scale`, widened for signals and points until nearly all samples fit. Points beyond it are counted, signals are cut
/// and images are clipped to black or white. All sets show the same number of signals or images.
///
/// # Errors
/// When the file cannot be written.
pub fn side_by_side(path: &Path, kind: Kind, shape: &[usize], sets: &[(&str, &[f32])], scale: &Scale) -> Result<()> {
    let mut canvas = Svg::new(SET * sets.len() as f64, 490.0);
    canvas.describe(SIDE_BY_SIDE);
    draw_side_by_side(&mut canvas, kind, shape, sets, scale)?;
    canvas.save(path)
}

/// Draws the picture of [`side_by_side`] as a PNG.
///
/// # Errors
/// When the file cannot be written.
#[cfg(feature = "cli")]
pub(crate) fn side_by_side_png(
    path: &Path,
    kind: Kind,
    shape: &[usize],
    sets: &[(&str, &[f32])],
    scale: &Scale,
) -> Result<()> {
    let mut canvas = Bitmap::new((SET * sets.len() as f64) as u32, 490)?;
    draw_side_by_side(&mut canvas, kind, shape, sets, scale)?;
    save_png(path, &canvas.picture())
}

/// The width of a set of samples beside others.
const SET: f64 = 472.0;

fn draw_side_by_side(
    canvas: &mut dyn Canvas,
    kind: Kind,
    shape: &[usize],
    sets: &[(&str, &[f32])],
    scale: &Scale,
) -> Result<()> {
    let scale = scale.covering(shape, &sets.iter().map(|set| set.1).collect::<Vec<_>>());
    let least = sets.iter().map(|set| set.1.len()).min().unwrap_or(0);
    let shown = match kind {
        Kind::Points | Kind::Table => usize::MAX,
        Kind::Signals => least,
        Kind::Images => least.min(MOST_BESIDE * shape.iter().product::<usize>()),
    };
    for ((i, (title, all)), colour) in sets.iter().enumerate().zip(CURVES.into_iter().cycle()) {
        let frame = Rect::new(MARGIN + SET * i as f64, 40.0, 420.0, 420.0);
        canvas.text(title, (frame.left + frame.width / 2.0, 14.0), 15.0, (Across::Middle, Down::Top));
        let set = Set { kind, shape, values: &all[..all.len().min(shown)] };
        samples(canvas, &frame, &set, &scale, colour, true)?;
    }
    Ok(())
}

/// Draws samples as one SVG: images as a contact sheet, signals as a grid of lines, points as a scatter, columns of a table
/// as histograms, in the `scale` widened as in [`side_by_side`]. Images whose classes alternate have a row for each class,
/// with its name in `rows`. Returns how many of the samples are shown.
///
/// # Errors
/// When the file cannot be written.
fn drawing(path: &Path, kind: Kind, shape: &[usize], values: &[f32], scale: &Scale, rows: &[String]) -> Result<usize> {
    let scale = scale.covering(shape, &[values]);
    let set = Set { kind, shape, values };
    let (mut canvas, frame) = (Svg::new(610.0, 640.0), Rect::new(MARGIN, 40.0, 560.0, 560.0));
    let shown = match kind {
        Kind::Images => {
            let sheet = ContactSheet::new(shape, values, MOST_IMAGES.min(most_on_sheet(shape)), rows);
            sheet.draw(&mut canvas, &frame, &scale)?;
            sheet.shown()
        }
        _ => {
            samples(&mut canvas, &frame, &set, &scale, REAL, true)?;
            set.shown()
        }
    };
    title(&mut canvas, &frame, &set, shown);
    canvas.save(path)?;
    Ok(shown)
}

/// Writes above a drawing how many of the samples it shows.
fn title(canvas: &mut dyn Canvas, frame: &Rect, set: &Set, shown: usize) {
    let all = set.values.len() / set.shape.iter().product::<usize>().max(1);
    let first = if shown < all { format!("the first {shown} of ") } else { String::new() };
    let text = first + &count(all, set.kind.one());
    canvas.text(&text, (frame.left + frame.width / 2.0, frame.top - 26.0), 15.0, (Across::Middle, Down::Top));
}

/// Draws samples as one PNG, like [`drawing`]; images without a title.
///
/// # Errors
/// When the file cannot be written.
fn sheet(path: &Path, kind: Kind, shape: &[usize], values: &[f32], scale: &Scale, rows: &[String]) -> Result<usize> {
    let (picture, shown) = sheet_picture(&Set { kind, shape, values }, scale, rows)?;
    save_png(path, &picture)?;
    Ok(shown)
}

/// The bytes of a PNG of samples, like [`drawing`].
///
/// # Errors
/// When the picture is too large.
#[cfg(feature = "cli")]
pub(crate) fn sheet_bytes(kind: Kind, shape: &[usize], values: &[f32], scale: &Scale) -> Result<Vec<u8>> {
    canvas::png_bytes(&sheet_picture(&Set { kind, shape, values }, scale, &[])?.0)
}

/// The picture of [`sheet`], and how many samples it shows.
fn sheet_picture(set: &Set, scale: &Scale, rows: &[String]) -> Result<(image::RgbImage, usize)> {
    let scale = scale.covering(set.shape, &[set.values]);
    match set.kind {
        Kind::Images => {
            let sheet = ContactSheet::new(set.shape, set.values, usize::MAX, rows);
            Ok((sheet.labelled(&scale)?, sheet.shown()))
        }
        _ => {
            let mut canvas = Bitmap::new(800, 828)?;
            let frame = Rect::new(MARGIN + 6.0, 40.0, 748.0, 748.0);
            title(&mut canvas, &frame, set, set.shown());
            samples(&mut canvas, &frame, set, &scale, REAL, true)?;
            Ok((canvas.picture(), set.shown()))
        }
    }
}

/// The samples to draw.
struct Set<'a> {
    kind: Kind,
    shape: &'a [usize],
    values: &'a [f32],
}

impl Set<'_> {
    /// How many samples a drawing shows.
    fn shown(&self) -> usize {
        let n = self.values.len() / self.shape.iter().product::<usize>().max(1);
        n.min(match self.kind {
            Kind::Points => MOST_POINTS,
            Kind::Table => n,
            Kind::Signals => MOST_SIGNALS,
            Kind::Images => MOST_IMAGES.min(most_on_sheet(self.shape)),
        })
    }
}

/// Draws a set into `frame`; with `labels`, points get axes.
fn samples(
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
                signal_axes(canvas, frame, set, axes);
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
fn signal_axes(canvas: &mut dyn Canvas, frame: &Rect, set: &Set, axes: &[(f64, f64)]) {
    let length = Grouping::of(set.kind, set.shape).repeat;
    let up = match axes {
        [(low, high)] => format!("up: value, {} to {}", short(*low), short(*high)),
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

fn ceil_sqrt(n: usize) -> usize {
    (1..).find(|root| root * root >= n).unwrap_or(1)
}

/// The samples of a data set to show: all points, or `count` evenly spaced signals or images.
pub fn evenly_spaced(data: &Dataset, count: usize) -> Vec<f32> {
    let mut spread = EvenlySpaced::of(data, count);
    spread.take(&data.values);
    spread.values()
}

/// Collects the samples of [`evenly_spaced`] from a data set that is computed part by part.
pub(crate) struct EvenlySpaced {
    sample_len: usize,
    /// The total number of samples, and the number to show.
    all: usize,
    shown: usize,
    /// The number of samples so far, and the values of those to show.
    seen: usize,
    values: Vec<f32>,
}

impl EvenlySpaced {
    /// For a data set of the size and shape of `like`.
    pub fn of(like: &Dataset, count: usize) -> Self {
        let shown = if like.kind() == Kind::Points { like.len() } else { count.min(like.len()) };
        Self { sample_len: like.sample_len(), all: like.len(), shown, seen: 0, values: Vec::new() }
    }

    /// Adds the next samples.
    pub fn take(&mut self, part: &[f32]) {
        for sample in part.chunks_exact(self.sample_len) {
            let next = self.values.len() / self.sample_len;
            if next < self.shown && self.seen == next * self.all / self.shown {
                self.values.extend_from_slice(sample);
            }
            self.seen += 1;
        }
    }

    /// The samples to show.
    pub fn values(self) -> Vec<f32> {
        self.values
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data;
    use std::fs;

    /// The folder of the test's plots, `LANGEVIN_PICTURES` if set.
    fn drawn(name: &str, draw: impl FnOnce(&Path) -> Result<()>) -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let path = std::env::var_os("LANGEVIN_PICTURES").map_or(dir.path().to_path_buf(), Into::into).join(name);
        draw(&path).unwrap();
        fs::read(path).unwrap()
    }

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    fn blobs(n: usize, h: usize, w: usize, channels: usize) -> Vec<f32> {
        let value = |i: usize| {
            let (image, channel) = (i / (channels * h * w), i / (h * w) % channels);
            let (y, x) = (i / w % h, i % w);
            let far = (y as f32 - (image * 3 % h) as f32).powi(2) + (x as f32 - (image * 5 % w) as f32).powi(2);
            (-far / (2.0 + 3.0 * channel as f32)).exp()
        };
        (0..n * channels * h * w).map(value).collect()
    }

    #[test]
    fn loss_curves_are_drawn() {
        let noisy = |n: u64, floor: f64| -> Vec<(u64, f64)> {
            let loss =
                |i: u64| (floor + (-(i as f64) / 900.0).exp()) * (1.0 + 0.3 * ((i * 7919 % 1000) as f64 / 500.0 - 1.0));
            (0..n).map(|i| (i * 5, loss(i))).collect()
        };
        for (name, losses) in [
            ("loss.svg", noisy(10_000, 0.02)),
            ("loss-flat.svg", noisy(300, 5.0)),
            ("loss-deep.svg", noisy(20_000, 1e-9)),
            ("loss-one.svg", vec![(0, 0.7)]),
            ("loss-none.svg", vec![(0, f64::NAN), (1, 0.0), (2, f64::INFINITY)]),
        ] {
            let svg = text(drawn(name, |path| loss_curve(path, &[("loss", losses.clone())])));
            assert!(svg.contains("loss") && svg.contains("step") && !svg.contains("NaN"), "{name}");
            assert!(svg.len() < 100_000, "{name}: {} bytes", svg.len());
        }
        let terms = [("loss", noisy(3000, 0.3)), ("l1", noisy(3000, 0.2)), ("ssim", noisy(3000, 0.1))];
        let svg = text(drawn("loss-terms.svg", |path| loss_curve(path, &terms)));
        assert!(svg.contains(">\nl1\n<") && svg.contains(">\nssim\n<"));
    }

    #[test]
    fn comparisons_are_drawn() {
        let (moons, far) =
            (data::two_moons(3000, 1), data::two_moons(2000, 2).iter().map(|x| 1.4 * x).collect::<Vec<_>>());
        let waves = data::sine_waves(20, 100, 1);
        for (name, shape, real, generated) in [
            ("compare-points.svg", vec![2], &moons, &far),
            ("compare-signals.svg", vec![100], &waves, &data::sine_waves(16, 100, 2)),
            ("compare-images.svg", vec![1, 28, 28], &blobs(40, 28, 28, 1), &blobs(20, 28, 28, 1)),
            ("compare-colour.svg", vec![3, 16, 24], &blobs(12, 16, 24, 3), &blobs(5, 16, 24, 3)),
        ] {
            let svg = text(drawn(name, |path| compare(path, Kind::of(&shape), &shape, real, generated)));
            // Sets of points that differ in size say so.
            let titles = if shape == [2] { ["3000 real", "2000 generated"] } else { ["real", "generated"] };
            assert!(titles.iter().all(|title| svg.contains(&format!(">\n{title}\n<"))), "{name}");
        }
    }

    #[test]
    fn sheets_are_drawn() {
        for (name, shape, values) in [
            ("sheet-points.png", vec![2], data::swiss_roll(3000, 1)),
            ("sheet-signals.png", vec![100], data::sine_waves(9, 100, 1)),
            ("sheet-images.png", vec![1, 8, 8], blobs(50, 8, 8, 1)),
            ("sheet-colour.png", vec![3, 16, 24], blobs(6, 16, 24, 3)),
        ] {
            let kind = Kind::of(&shape);
            let png = drawn(name, |path| {
                sheet(path, kind, &shape, &values, &Scale::of(kind, &shape, &values), &[]).map(drop)
            });
            let picture = image::load_from_memory(&png).unwrap().to_rgb8();
            let first = *picture.get_pixel(0, 0);
            assert!(picture.pixels().any(|pixel| *pixel != first), "{name} is empty");
        }
        let circles = data::two_circles(2000, 1);
        let scale = Scale::of(Kind::Points, &[2], &circles);
        drawn("drawing-points.svg", |path| drawing(path, Kind::Points, &[2], &circles, &scale, &[]).map(drop));
    }

    #[test]
    fn non_finite_values_are_skipped() {
        let values = [f32::NAN, f32::INFINITY, -f32::INFINITY, 1.0, f32::NAN, 2.0, 3.0, 4.0];
        for (shape, values) in
            [(vec![2], &values[..]), (vec![4], &values), (vec![1, 2, 2], &values), (vec![2], &[f32::NAN; 4])]
        {
            let scale = Scale::of(Kind::of(&shape), &shape, values);
            drawn("odd.png", |path| sheet(path, Kind::of(&shape), &shape, values, &scale, &[]).map(drop));
            drawn("odd.svg", |path| compare(path, Kind::of(&shape), &shape, values, &[]));
        }
    }

    #[test]
    fn a_drawing_returns_how_many_it_shows() {
        let dir = tempfile::tempdir().unwrap();
        for (shape, n, svg, png) in
            [(vec![2], 9000, 5000, 5000), (vec![30], 70, 16, 16), (vec![30], 9, 9, 9), (vec![1, 4, 4], 200, 144, 200)]
        {
            let (kind, values) = (Kind::of(&shape), vec![0.5; n * shape.iter().product::<usize>()]);
            let scale = Scale::of(kind, &shape, &values);
            assert_eq!(
                drawing(&dir.path().join("a.svg"), kind, &shape, &values, &scale, &[]).unwrap(),
                svg,
                "{shape:?}"
            );
            assert_eq!(sheet(&dir.path().join("a.png"), kind, &shape, &values, &scale, &[]).unwrap(), png, "{shape:?}");
        }
    }

    #[test]
    fn any_number_of_sets_is_drawn_side_by_side() {
        let (clean, shape) = (blobs(9, 8, 8, 1), [1, 8, 8]);
        let noisy: Vec<f32> = clean.iter().enumerate().map(|(i, v)| v + 0.4 * (i as f32 * 1.7).sin()).collect();
        let sets = [("noisy", &noisy[..]), ("denoised", &clean), ("clean", &clean)];
        let scale = Scale::of(Kind::Images, &shape, &clean);
        let svg = text(drawn("three.svg", |path| {
            side_by_side(path, Kind::Images, &shape, &sets, &scale)?;
            #[cfg(feature = "cli")]
            assert!(is_side_by_side(path) && !is_side_by_side(&path.with_extension("none")));
            Ok(())
        }));
        assert!(svg.matches("<image").count() == 3 && svg.contains(">\ndenoised\n<"), "{svg}");
    }

    #[test]
    fn points_outside_the_axes_are_counted() {
        let (near, mut far) = (data::two_moons(100, 1), data::two_moons(100, 2));
        let dots = |svg: &str| svg.matches("<circle").count();
        assert_eq!(dots(&text(drawn("near.svg", |path| compare(path, Kind::Points, &[2], &near, &far)))), 200);
        (far[0], far[7]) = (1e9, -1e9);
        let svg = text(drawn("far.svg", |path| compare(path, Kind::Points, &[2], &near, &far)));
        assert!(dots(&svg) == 198 && svg.contains("2 of 100 outside"), "{svg}");
    }

    #[test]
    fn axes_have_the_units_of_the_data() {
        let columns = data::Columns { offset: vec![1_700_000_000.0, 0.0], ..Default::default() };
        let near = data::two_moons(100, 1);
        let scale = Scale::of(Kind::Points, &[2], &near).labelled(&columns);
        let svg = text(drawn("offset.svg", |path| drawing(path, Kind::Points, &[2], &near, &scale, &[]).map(drop)));
        assert!(svg.contains("\n1700000001\n") && svg.contains("\n2\n"), "{svg}");
        // Long labels of y are inside of the plot.
        let starts = |svg: &str| svg.matches("text-anchor=\"start\"").count();
        let columns = data::Columns { offset: vec![0.0, 5e6], ..Default::default() };
        let long = scale.clone().labelled(&columns);
        let inside = text(drawn("long.svg", |path| drawing(path, Kind::Points, &[2], &near, &long, &[]).map(drop)));
        assert!(starts(&svg) == 0 && starts(&inside) > 2, "{inside}");
    }

    #[test]
    fn a_signal_of_one_value_is_a_dot() {
        let values = [0.1, 0.5, 0.9];
        let scale = Scale::of(Kind::Signals, &[1], &values);
        let svg = text(drawn("one.svg", |path| drawing(path, Kind::Signals, &[1], &values, &scale, &[]).map(drop)));
        assert_eq!(svg.matches("<circle").count(), 3, "{svg}");
    }
}
