//! Pictures: the loss curve, real beside generated samples, sheets of samples.
//!
//! SVG pictures carry text, which the viewer sets in its own font; PNG pictures carry none, since no font is shipped.

mod axes;
mod canvas;
mod curves;
mod strip;

pub use curves::{Curve, curves, loss_curve};
pub use strip::film_strip;

use std::io::Write;
use std::path::Path;

use image::{Rgb, RgbImage};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use self::axes::{axes, linear_ticks};
use self::canvas::{Canvas, Frame, GENERATED, PAPER, REAL, View, bitmap, embed, png_bytes, svg, write_text};
use self::curves::envelope;
use crate::Result;
use crate::data::{Kind, write_atomically};

/// Points in one scatter, and pictures along a side of one contact sheet: more would hide each other.
const MOST_POINTS: usize = 5000;
const SHEET_PIXELS: usize = 4096;

/// Draws an SVG with `real` samples on the left and `generated` ones on the right, see [`side_by_side`].
pub fn compare(path: &Path, kind: Kind, shape: &[usize], real: &[f32], generated: &[f32]) -> Result<()> {
    side_by_side(path, kind, shape, [("real", real), ("generated", generated)])
}

/// Draws an SVG with two titled sets of samples, of one `kind` and `shape`. Both share the scale of the left one; what
/// lies beyond is drawn at the edge. Of signals and images both sides show equally many.
pub fn side_by_side(path: &Path, kind: Kind, shape: &[usize], sets: [(&str, &[f32]); 2]) -> Result<()> {
    let scale = Scale::of(kind, shape, sets[0].1);
    let least = sets[0].1.len().min(sets[1].1.len());
    let shown = if kind == Kind::Points { usize::MAX } else { least };
    let sets = sets.map(|(title, values)| (title, &values[..values.len().min(shown)]));
    let frames = [Frame::new(34.0, 40.0, 420.0, 420.0), Frame::new(506.0, 40.0, 420.0, 420.0)];
    let mut text = svg(944.0, 490.0, |canvas| {
        for ((frame, (title, values)), colour) in frames.iter().zip(sets).zip([REAL, GENERATED]) {
            canvas.text(title, (frame.left + frame.width / 2.0, 14.0), 15.0, (HPos::Center, VPos::Top))?;
            samples(canvas, frame, &Set { kind, shape, values }, &scale, colour, true)?;
        }
        Ok(())
    })?;
    if kind == Kind::Images {
        for (frame, (_, values)) in frames.iter().zip(sets) {
            embed(&mut text, frame, &contact_sheet(shape, values, &scale, 36))?;
        }
    }
    write_text(path, &text)
}

/// Draws samples as one SVG: images as a contact sheet, signals as a grid of lines, points as a scatter.
pub fn drawing(path: &Path, kind: Kind, shape: &[usize], values: &[f32]) -> Result<()> {
    let scale = Scale::of(kind, shape, values);
    let frame = Frame::new(34.0, 16.0, 560.0, 560.0);
    let set = Set { kind, shape, values };
    let mut text = svg(610.0, 606.0, |canvas| samples(canvas, &frame, &set, &scale, REAL, true))?;
    if kind == Kind::Images {
        embed(&mut text, &frame, &contact_sheet(shape, values, &scale, 144))?;
    }
    write_text(path, &text)
}

/// Draws samples as one PNG, as [`drawing`] does. Images in 0..1 keep their brightness; others are scaled from the
/// smallest to the largest value.
pub fn sheet(path: &Path, kind: Kind, shape: &[usize], values: &[f32]) -> Result<()> {
    let scale = Scale::of(kind, shape, values);
    let picture = match kind {
        Kind::Images => contact_sheet(shape, values, &scale, usize::MAX),
        _ => {
            let frame = Frame::new(12.0, 12.0, 776.0, 776.0);
            let set = Set { kind, shape, values };
            bitmap((800, 800), |canvas| samples(canvas, &frame, &set, &scale, REAL, false))?
        }
    };
    let bytes = png_bytes(&picture)?;
    write_atomically(path, |file| file.write_all(&bytes))
}

/// The ranges of the axes: one for signals and images, one a coordinate for points.
struct Scale(Vec<(f64, f64)>);

impl Scale {
    fn of(kind: Kind, shape: &[usize], values: &[f32]) -> Self {
        let wide = || values.iter().map(|&value| f64::from(value));
        match kind {
            Kind::Signals => Scale(vec![span(wide(), 0.1).unwrap_or((-1.0, 1.0))]),
            Kind::Images => Scale(vec![brightness(values)]),
            Kind::Points => {
                let range = |axis| span(wide().skip(axis).step_by(shape[0]), 0.1).unwrap_or((-1.0, 1.0));
                let (x, y) = (range(0), range(1));
                let half = (x.1 - x.0).max(y.1 - y.0) / 2.0;
                let square = |(low, high): (f64, f64)| ((low + high) / 2.0 - half, (low + high) / 2.0 + half);
                Scale(vec![square(x), square(y)])
            }
        }
    }
}

/// Black and white: 0 and 1 where (nearly) all values lie between them, else the smallest and the largest value.
fn brightness(values: &[f32]) -> (f64, f64) {
    let inside = values.iter().filter(|value| (-0.1..=1.1).contains(*value)).count();
    match inside >= values.len() - values.len() / 50 {
        true => (0.0, 1.0),
        false => span(values.iter().map(|&value| f64::from(value)), 0.0).unwrap_or((0.0, 1.0)),
    }
}

/// Smallest and largest finite value, widened on both sides by `margin` of their distance; `None` when there are none.
fn span(values: impl Iterator<Item = f64>, margin: f64) -> Option<(f64, f64)> {
    let finite = values.filter(|value| value.is_finite());
    let (low, high) = finite.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
    let wide = match high - low {
        extent if extent > 1e-9 * high.abs().max(1e-30) => margin * extent,
        _ => 0.5 * high.abs().max(0.1),
    };
    (low <= high).then_some((low - wide, high + wide))
}

/// What is drawn.
struct Set<'a> {
    kind: Kind,
    shape: &'a [usize],
    values: &'a [f32],
}

/// Draws signals or points into `frame`; images are embedded afterwards.
fn samples<DB: DrawingBackend>(
    canvas: &Canvas<DB>,
    frame: &Frame,
    set: &Set,
    scale: &Scale,
    colour: RGBColor,
    labels: bool,
) -> Result<()> {
    let Set { kind, shape, values } = *set;
    match kind {
        Kind::Images => Ok(()),
        Kind::Signals => signals(canvas, frame, shape[0], values, scale.0[0], colour),
        Kind::Points => {
            let view = View { frame: *frame, x: scale.0[0], y: scale.0[1] };
            if labels {
                axes(canvas, &view, &linear_ticks(view.y), &linear_ticks(view.x))?;
            } else {
                canvas.fill(frame, PAPER)?;
            }
            let points = values.chunks_exact(shape[0]).filter(|p| p.iter().all(|value| value.is_finite()));
            let radius = if values.len() < 1000 { 2.5 } else { 1.5 };
            for p in points.take(MOST_POINTS) {
                canvas.dot(view.at((f64::from(p[0]), f64::from(p[1]))), colour.mix(0.45), radius)?;
            }
            Ok(())
        }
    }
}

/// Up to 16 signals in a square grid.
fn signals<DB: DrawingBackend>(
    canvas: &Canvas<DB>,
    frame: &Frame,
    length: usize,
    values: &[f32],
    y: (f64, f64),
    colour: RGBColor,
) -> Result<()> {
    let count = (values.len() / length).min(16);
    for (i, signal) in values.chunks_exact(length).take(count).enumerate() {
        let cell = frame.cell(i, ceil_sqrt(count));
        canvas.fill(&cell, PAPER)?;
        let view = View { frame: cell, x: (-0.5, length as f64 - 0.5), y };
        let points: Vec<(f64, f64)> = signal
            .iter()
            .enumerate()
            .filter(|(_, value)| value.is_finite())
            .map(|(at, &value)| (at as f64, f64::from(value)))
            .collect();
        canvas.line(envelope(&points, 300).into_iter().map(|p| view.at(p)), colour.mix(1.0), 1.2)?;
    }
    Ok(())
}

fn ceil_sqrt(n: usize) -> usize {
    (1..).find(|root| root * root >= n).unwrap_or(1)
}

/// Up to `most` images side by side, small ones enlarged: 1 channel is grey, of others the first 3 are shown.
fn contact_sheet(shape: &[usize], values: &[f32], scale: &Scale, most: usize) -> RgbImage {
    let [channels, h, w] = [shape[0], shape[1], shape[2]];
    let zoom = 64usize.div_ceil(h.max(w)).max(1);
    let gap = 4.max(zoom * h.max(w) / 24);
    let (cell_w, cell_h) = (zoom * w + gap, zoom * h + gap);
    let widest = (SHEET_PIXELS / cell_w.max(cell_h)).max(1);
    let images: Vec<&[f32]> = values.chunks_exact(channels * h * w).take(most.min(widest * widest)).collect();
    let columns = ceil_sqrt(images.len());
    let rows = images.len().div_ceil(columns);
    let size = ((columns * cell_w + gap) as u32, (rows * cell_h + gap) as u32);
    let mut sheet = RgbImage::from_pixel(size.0, size.1, Rgb([PAPER.0, PAPER.1, PAPER.2]));
    let (low, high) = scale.0[0];
    for (i, image) in images.into_iter().enumerate() {
        let (left, top) = (gap + i % columns * cell_w, gap + i / columns * cell_h);
        for (y, x) in (0..zoom * h).flat_map(|y| (0..zoom * w).map(move |x| (y, x))) {
            let level = |channel: usize| {
                let value = image[(channel.min(channels - 1) * h + y / zoom) * w + x / zoom];
                (255.0 * (f64::from(value) - low) / (high - low)).round().clamp(0.0, 255.0) as u8
            };
            let pixel = if channels < 3 { [level(0); 3] } else { [level(0), level(1), level(2)] };
            sheet.put_pixel((left + x) as u32, (top + y) as u32, Rgb(pixel));
        }
    }
    sheet
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data;
    use std::fs;

    /// Where the pictures go: a folder to look at them when `LANGEVIN_PICTURES` names one.
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
            assert!(svg.contains(">\nreal\n<") && svg.contains(">\ngenerated\n<"), "{name}");
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
            let png = drawn(name, |path| sheet(path, Kind::of(&shape), &shape, &values));
            let picture = image::load_from_memory(&png).unwrap().to_rgb8();
            let first = *picture.get_pixel(0, 0);
            assert!(picture.pixels().any(|pixel| *pixel != first), "{name} is empty");
        }
        drawn("drawing-points.svg", |path| drawing(path, Kind::Points, &[2], &data::two_circles(2000, 1)));
    }

    #[test]
    fn values_that_are_not_finite_do_no_harm() {
        let values = [f32::NAN, f32::INFINITY, -f32::INFINITY, 1.0, f32::NAN, 2.0, 3.0, 4.0];
        for (shape, values) in
            [(vec![2], &values[..]), (vec![4], &values), (vec![1, 2, 2], &values), (vec![2], &[f32::NAN; 4])]
        {
            drawn("odd.png", |path| sheet(path, Kind::of(&shape), &shape, values));
            drawn("odd.svg", |path| compare(path, Kind::of(&shape), &shape, values, &[]));
        }
    }

    #[test]
    fn brightness_of_images_in_0_to_1_is_kept() {
        assert_eq!(brightness(&[0.2, 0.5, 0.6]), (0.0, 1.0));
        assert_eq!(brightness(&[-1.0, 0.5, 1.0]), (-1.0, 1.0));
    }
}
