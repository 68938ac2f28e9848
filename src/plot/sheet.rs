//! One set of samples.

use std::path::Path;

use super::Scale;
use super::canvas::{Across, Bitmap, Canvas, Down, REAL, Rect, Svg, save_png};
use super::contact_sheet::{ContactSheet, most_on_sheet};
use super::samples::{MARGIN, samples};
use super::set::{MOST_IMAGES, Set};
use crate::Result;
use crate::data::Kind;
use crate::text::count;

/// Draws samples as one SVG: images as a contact sheet, signals as a grid of lines, points as a scatter, columns of a table
/// as histograms, in the `scale` widened as in [`side_by_side`]. Images whose classes alternate have a row for each class,
/// with its name in `rows`. Returns how many of the samples are shown.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn drawing(path: &Path, set: &Set, scale: &Scale, rows: &[String]) -> Result<usize> {
    let scale = scale.covering(set.shape, &[set.values]);
    let (mut canvas, frame) = (Svg::new(610.0, 640.0), Rect::new(MARGIN, 40.0, 560.0, 560.0));
    let shown = match set.kind {
        Kind::Images => {
            let sheet = ContactSheet::new(set.shape, set.values, MOST_IMAGES.min(most_on_sheet(set.shape)), rows);
            sheet.draw(&mut canvas, &frame, &scale)?;
            sheet.shown()
        }
        _ => {
            samples(&mut canvas, &frame, set, &scale, REAL, true)?;
            set.shown()
        }
    };
    title(&mut canvas, &frame, set, shown);
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
pub(super) fn sheet(path: &Path, set: &Set, scale: &Scale, rows: &[String]) -> Result<usize> {
    let (picture, shown) = sheet_picture(set, scale, rows)?;
    save_png(path, &picture)?;
    Ok(shown)
}

/// The bytes of a PNG of samples, like [`drawing`].
///
/// # Errors
/// When the picture is too large.
#[cfg(feature = "cli")]
pub(crate) fn sheet_bytes(kind: Kind, shape: &[usize], values: &[f32], scale: &Scale) -> Result<Vec<u8>> {
    super::canvas::png_bytes(&sheet_picture(&Set { kind, shape, values }, scale, &[])?.0)
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
