//! Sets of samples side by side.

use std::path::Path;

use super::Scale;
use super::canvas::{Across, Canvas, Down, Rect, Svg};
#[cfg(feature = "cli")]
use super::canvas::{Bitmap, save_png};
use super::curves::CURVES;
use super::samples::{MARGIN, samples};
use super::set::Set;
use crate::Result;
use crate::data::Kind;

/// The most images of one of several sets side by side. More would overlap.
const MOST_BESIDE: usize = 36;

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
