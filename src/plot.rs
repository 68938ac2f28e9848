//! Pictures: the loss curve, real beside generated samples, sheets of samples.
//!
//! SVG pictures carry text, which the viewer sets in its own font; PNG pictures carry none, since no font is shipped.

mod strip;

pub use strip::film_strip;

use std::io::{Cursor, Write};
use std::path::Path;

use image::{ImageFormat, Rgb, RgbImage, imageops};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::data::{Kind, write_atomically};
use crate::{Error, Result};

/// Plotters counts in whole units: a unit is this part of a pixel.
const FINE: f64 = 4.0;

const INK: RGBColor = RGBColor(70, 74, 82);
const RULE: RGBColor = RGBColor(226, 229, 234);
const PAPER: RGBColor = RGBColor(246, 247, 249);
const REAL: RGBColor = RGBColor(58, 98, 146);
const GENERATED: RGBColor = RGBColor(196, 106, 58);

/// Points in one scatter, and pictures along a side of one contact sheet: more would hide each other.
const MOST_POINTS: usize = 5000;
const SHEET_PIXELS: usize = 4096;

/// Colours of curves, the first for the total.
const CURVES: [RGBColor; 6] =
    [REAL, GENERATED, RGBColor(74, 137, 92), RGBColor(139, 92, 152), RGBColor(150, 130, 50), RGBColor(70, 150, 160)];

/// A named quantity over the steps: (step, value) in their order.
pub type Curve<'a> = (&'a str, Vec<(u64, f64)>);

/// Draws `loss.svg`: each curve as its values came, faint, and their moving mean, over the step on a logarithmic axis;
/// several curves get a legend. Values that are not finite and positive are left out.
pub fn loss_curve(path: &Path, curves: &[Curve]) -> Result<()> {
    self::curves(path, ["step", "loss"], curves)
}

/// Draws [`loss_curve`] over something else than steps, under other names of the axes.
pub fn curves(path: &Path, [across, upwards]: [&str; 2], curves: &[Curve]) -> Result<()> {
    let kept = |points: &[(u64, f64)]| -> Vec<(f64, f64)> {
        let drawn = points.iter().filter(|(_, loss)| loss.is_finite() && *loss > 0.0);
        drawn.map(|&(step, loss)| (step as f64, loss.log10())).collect()
    };
    let curves: Vec<(&str, Vec<(f64, f64)>)> = curves.iter().map(|(name, points)| (*name, kept(points))).collect();
    let steps = || curves.iter().flat_map(|(_, points)| points.iter().map(|p| p.0));
    let first = steps().fold(f64::INFINITY, f64::min);
    let (first, last) = if first.is_finite() { (first, steps().fold(0.0, f64::max)) } else { (0.0, 1.0) };
    let y = span(curves.iter().flat_map(|(_, points)| points.iter().map(|p| p.1)), 0.05).unwrap_or((-2.0, 0.0));
    let view = View { frame: Frame::new(64.0, 30.0, 680.0, 330.0), x: (first, last.max(first + 1.0)), y };
    let text = svg(764.0, 410.0, |canvas| {
        axes(canvas, &view, &log_ticks(y), &count_ticks(view.x))?;
        canvas.text(upwards, (20.0, 10.0), 13.0, (HPos::Left, VPos::Top))?;
        canvas.text(across, (404.0, 386.0), 13.0, (HPos::Center, VPos::Top))?;
        // The legend is at the right, away from where the curves end.
        let ends = || curves.iter().filter_map(|(_, points)| points.last());
        let high = ends().map(|end| end.1 - (y.0 + y.1) / 2.0).sum::<f64>() > 0.0;
        let legend = if high { 350.0 - 17.0 * curves.len() as f64 } else { 50.0 };
        // The first curve lies above the others.
        for (i, (name, points)) in curves.iter().enumerate().rev() {
            let colour = CURVES[i % CURVES.len()];
            canvas.line(envelope(points, 700).into_iter().map(|p| view.at(p)), colour.mix(0.3), 1.0)?;
            if let [only] = points[..] {
                canvas.dot(view.at(only), colour.mix(1.0), 3.0)?;
            }
            canvas.line(envelope(&moving_mean(points), 700).into_iter().map(|p| view.at(p)), colour.mix(1.0), 2.0)?;
            if curves.len() > 1 {
                let at = legend + 17.0 * i as f64;
                canvas.line([(620.0, at), (644.0, at)], colour.mix(1.0), 2.0)?;
                canvas.text(name, (650.0, at), 12.0, (HPos::Left, VPos::Center))?;
            }
        }
        Ok(())
    })?;
    write_text(path, &text)
}

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

/// A rectangle of the picture, in pixels.
#[derive(Clone, Copy)]
struct Frame {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
}

impl Frame {
    fn new(left: f64, top: f64, width: f64, height: f64) -> Self {
        Frame { left, top, width, height }
    }

    /// Cell `i` of a square grid, with a gap around it.
    fn cell(&self, i: usize, columns: usize) -> Frame {
        let (width, height) = (self.width / columns as f64, self.height / columns as f64);
        let gap = 0.04 * width;
        let (row, column) = ((i / columns) as f64, (i % columns) as f64);
        Frame::new(
            self.left + column * width + gap,
            self.top + row * height + gap,
            width - 2.0 * gap,
            height - 2.0 * gap,
        )
    }
}

/// A frame with the ranges its sides stand for.
struct View {
    frame: Frame,
    x: (f64, f64),
    y: (f64, f64),
}

impl View {
    /// The pixel of (x, y); what lies beyond the ranges is moved to the edge.
    fn at(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let part = |value: f64, (low, high): (f64, f64)| ((value - low) / (high - low)).clamp(0.0, 1.0);
        let Frame { left, top, width, height } = self.frame;
        (left + width * part(x, self.x), top + height * (1.0 - part(y, self.y)))
    }
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

/// What is drawn on, in pixels.
struct Canvas<DB: DrawingBackend>(DrawingArea<DB, Shift>);

impl<DB: DrawingBackend> Canvas<DB> {
    fn line(&self, points: impl IntoIterator<Item = (f64, f64)>, colour: RGBAColor, width: f64) -> Result<()> {
        let points: Vec<(i32, i32)> = points.into_iter().map(fine).collect();
        let style = colour.stroke_width((FINE * width).round() as u32);
        self.0.draw(&PathElement::new(points, style)).map_err(failed)
    }

    fn dot(&self, point: (f64, f64), colour: RGBAColor, radius: f64) -> Result<()> {
        self.0.draw(&Circle::new(fine(point), (FINE * radius).round() as i32, colour.filled())).map_err(failed)
    }

    fn fill(&self, frame: &Frame, colour: RGBColor) -> Result<()> {
        let corners = [fine((frame.left, frame.top)), fine((frame.left + frame.width, frame.top + frame.height))];
        self.0.draw(&Rectangle::new(corners, colour.filled())).map_err(failed)
    }

    fn text(&self, text: &str, at: (f64, f64), size: f64, (h, v): (HPos, VPos)) -> Result<()> {
        // The SVG backend divides the size by 1.24.
        let font = ("sans-serif", 1.24 * FINE * size).into_font();
        let style = TextStyle::from(font).color(&INK).pos(Pos::new(h, v));
        self.0.draw(&Text::new(text.to_string(), fine(at), style)).map_err(failed)
    }
}

fn fine((x, y): (f64, f64)) -> (i32, i32) {
    ((FINE * x).round() as i32, (FINE * y).round() as i32)
}

fn failed(cause: impl std::fmt::Display) -> Error {
    Error::input(format!("the picture cannot be drawn: {cause}"))
}

/// The text of an SVG of `width` x `height` pixels.
fn svg(width: f64, height: f64, draw: impl FnOnce(&Canvas<SVGBackend>) -> Result<()>) -> Result<String> {
    let size = fine((width, height));
    let size = (size.0 as u32, size.1 as u32);
    let mut text = String::new();
    {
        let canvas = Canvas(SVGBackend::with_string(&mut text, size).into_drawing_area());
        canvas.0.fill(&WHITE).map_err(failed)?;
        draw(&canvas)?;
        canvas.0.present().map_err(failed)?;
    }
    let counted = format!("width=\"{}\" height=\"{}\"", size.0, size.1);
    Ok(text.replacen(&counted, &format!("width=\"{width}\" height=\"{height}\""), 1))
}

/// A picture of so many pixels, drawn finer and averaged, which smooths the lines.
fn bitmap(size: (u32, u32), draw: impl FnOnce(&Canvas<BitMapBackend>) -> Result<()>) -> Result<RgbImage> {
    let (width, height) = (size.0 * FINE as u32, size.1 * FINE as u32);
    let mut pixels = RgbImage::new(width, height);
    {
        let canvas = Canvas(BitMapBackend::with_buffer(&mut pixels, (width, height)).into_drawing_area());
        canvas.0.fill(&WHITE).map_err(failed)?;
        draw(&canvas)?;
        canvas.0.present().map_err(failed)?;
    }
    Ok(imageops::thumbnail(&pixels, size.0, size.1))
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

/// A light grid with labels left and below.
fn axes<DB: DrawingBackend>(canvas: &Canvas<DB>, view: &View, y: &[Tick], x: &[Tick]) -> Result<()> {
    let Frame { left, top, width, height } = view.frame;
    for (value, label) in y {
        let at = view.at((view.x.0, *value)).1;
        canvas.line([(left, at), (left + width, at)], RULE.mix(1.0), 0.75)?;
        canvas.text(label, (left - 7.0, at), 11.0, (HPos::Right, VPos::Center))?;
    }
    for (value, label) in x {
        let at = view.at((*value, view.y.0)).0;
        canvas.line([(at, top), (at, top + height)], RULE.mix(1.0), 0.75)?;
        canvas.text(label, (at, top + height + 7.0), 11.0, (HPos::Center, VPos::Top))?;
    }
    Ok(())
}

/// Where a tick stands and what is written there.
type Tick = (f64, String);

/// Four to eight ticks at round values.
fn round_values((low, high): (f64, f64)) -> Vec<f64> {
    let rough = (high - low) / 5.0;
    let power = 10f64.powf(rough.log10().floor());
    let step = power * [1.0, 2.0, 5.0, 10.0].into_iter().find(|step| step * power >= rough).unwrap_or(10.0);
    let (first, last) = ((low / step).ceil() as i64, (high / step).floor() as i64);
    (first..=last.min(first.saturating_add(12))).map(|i| i as f64 * step).collect()
}

fn linear_ticks(range: (f64, f64)) -> Vec<Tick> {
    round_values(range).into_iter().map(|value| (value, short(value))).collect()
}

/// Whole numbers, in thousands or millions where they are long.
fn count_ticks(range: (f64, f64)) -> Vec<Tick> {
    let whole = round_values(range).into_iter().filter(|value| value.fract() == 0.0);
    whole
        .map(|value| match value {
            value if value >= 1e6 => (value, format!("{}M", short(value / 1e6))),
            value if value >= 1e4 => (value, format!("{}k", short(value / 1e3))),
            value => (value, short(value)),
        })
        .collect()
}

/// Ticks of a logarithmic axis at the powers of ten, or more densely where there are few of them. `range` is in log10.
fn log_ticks(range: (f64, f64)) -> Vec<Tick> {
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

/// At most four digits that matter, without zeros at the end.
fn short(value: f64) -> String {
    let trim = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => text.to_string(),
    };
    match value.abs() {
        0.0 => "0".to_string(),
        size if (1e-3..1e5).contains(&size) => {
            trim(&format!("{value:.*}", (3 - size.log10().floor() as i32).max(0) as usize))
        }
        _ => {
            let text = format!("{value:.3e}");
            let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
            format!("{}e{power}", trim(digits))
        }
    }
}

/// The curve with no more than about 2 `bins` points: of more, the lowest and the highest in each bin.
fn envelope(points: &[(f64, f64)], bins: usize) -> Vec<(f64, f64)> {
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

/// The mean over a fortieth of the curve around each point, over what there is of it at the ends.
fn moving_mean(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
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

fn png_bytes(picture: &RgbImage) -> Result<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png).map_err(failed)?;
    Ok(bytes.into_inner())
}

/// Puts a picture into an SVG, as large as fits `frame`, from its upper left corner.
fn embed(svg: &mut String, frame: &Frame, picture: &RgbImage) -> Result<()> {
    let (w, h) = (f64::from(picture.width()), f64::from(picture.height()));
    let zoom = FINE * (frame.width / w).min(frame.height / h);
    let (x, y) = (FINE * frame.left + (FINE * frame.width - zoom * w) / 2.0, FINE * frame.top);
    let data = base64(&png_bytes(picture)?);
    let (w, h) = (zoom * w, zoom * h);
    let end = svg.rfind("</svg>").unwrap_or(svg.len());
    let element = format!(
        "<image x=\"{x:.1}\" y=\"{y:.1}\" width=\"{w:.1}\" height=\"{h:.1}\" href=\"data:image/png;base64,{data}\"/>\n"
    );
    svg.insert_str(end, &element);
    Ok(())
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for part in bytes.chunks(3) {
        let word = (0..3).fold(0, |word, i| word << 8 | usize::from(part.get(i).copied().unwrap_or(0)));
        for i in 0..4 {
            let digit = DIGITS[word >> (18 - 6 * i) & 63] as char;
            text.push(if i <= part.len() { digit } else { '=' });
        }
    }
    text
}

fn write_text(path: &Path, text: &str) -> Result<()> {
    write_atomically(path, |file| file.write_all(text.as_bytes()))
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
    fn labels_are_short() {
        for (value, want) in
            [(0.05, "0.05"), (1e-5, "1e-5"), (2.5e-7, "2.5e-7"), (300.0, "300"), (-1.5, "-1.5"), (0.0, "0")]
        {
            assert_eq!(short(value), want);
        }
        let ticks = |low: f64, high: f64| log_ticks((low.log10(), high.log10()));
        for (low, high) in [(1e-9, 1e3), (0.01, 2.0), (0.02, 0.05), (0.031, 0.033), (1e-30, 1e30)] {
            let n = ticks(low, high).len();
            assert!((3..=14).contains(&n), "{low} {high}: {n}");
        }
    }

    #[test]
    fn brightness_of_images_in_0_to_1_is_kept() {
        assert_eq!(brightness(&[0.2, 0.5, 0.6]), (0.0, 1.0));
        assert_eq!(brightness(&[-1.0, 0.5, 1.0]), (-1.0, 1.0));
    }

    #[test]
    fn base64_matches_the_standard() {
        for (bytes, want) in [("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(bytes.as_bytes()), want);
        }
    }
}
