//! Values over two axes, as colours.

use std::path::Path;

use image::{Rgb, RgbImage};

use super::axes::{axes, linear_ticks};
use super::canvas::{Across, Canvas, Down, GENERATED, INK, PlotArea, REAL, Rect, save_picture};
use crate::text::short;
use crate::{Error, Result};

/// A table of values with a title and the names of its axes. The first row is at the top, and the axes count columns and rows.
#[derive(Clone, Copy, Debug)]
pub struct HeatMap<'a> {
    /// The title.
    pub title: &'a str,
    /// What the columns count.
    pub across: &'a str,
    /// What the rows count.
    pub downwards: &'a str,
    /// The number of columns.
    pub columns: usize,
    /// The values, row by row. NaN is dark grey.
    pub values: &'a [f32],
    /// The values with the colours at the two ends of the scale, blue and orange; the middle is white. Values beyond them have
    /// the colour of the nearer end.
    pub range: (f32, f32),
}

/// The picture, the plot in it, and the scale of colours beside it.
const SIZE: (f64, f64) = (764.0, 400.0);
const FRAME: Rect = Rect { left: 64.0, top: 40.0, width: 600.0, height: 310.0 };
const SCALE: Rect = Rect { left: 690.0, top: 40.0, width: 16.0, height: 310.0 };

/// Draws a table of values as colours, with a scale of the colours.
///
/// # Errors
/// When the values are no whole number of rows, the range is not one of two finite values, the smaller one first, the extension
/// is not `.png` or `.svg`, or the file cannot be written.
pub fn heat_map(path: &Path, map: &HeatMap) -> Result<()> {
    let HeatMap { values, columns, range, .. } = *map;
    if columns == 0 || values.is_empty() || !values.len().is_multiple_of(columns) {
        return Err(Error::setting(format!("a heat map of {} values in rows of {columns}", values.len())));
    }
    if !(range.0 < range.1 && (range.1 - range.0).is_finite()) {
        return Err(Error::setting(format!("a heat map of the range {} to {}: use a finite one", range.0, range.1)));
    }
    let rows = values.len() / columns;
    let at = |fraction: f64, count: usize| ((fraction * count as f64) as usize).min(count - 1);
    let cells = raster(&FRAME, |x, y| fraction(values[at(y, rows) * columns + at(x, columns)], range));
    let scale = raster(&SCALE, |_, y| 1.0 - y);
    // The first row is at the top.
    let (x, y) = ((0.0, columns as f64), (rows as f64, 0.0));
    save_picture(path, SIZE, &mut |canvas: &mut dyn Canvas| {
        let view = PlotArea { frame: FRAME, x, y };
        axes(canvas, &view, FRAME.left, &linear_ticks((0.0, rows as f64)), &linear_ticks(x));
        canvas.picture(&FRAME, &cells)?;
        canvas.picture(&SCALE, &scale)?;
        let middle = FRAME.left + FRAME.width / 2.0;
        canvas.text(map.title, (middle, 8.0), 14.0, (Across::Middle, Down::Top));
        canvas.text(map.across, (middle, 376.0), 12.0, (Across::Middle, Down::Top));
        canvas.text(map.downwards, (20.0, 20.0), 12.0, (Across::Start, Down::Top));
        for (value, y) in [(range.1, SCALE.top), (range.0, SCALE.top + SCALE.height)] {
            let pixel = (SCALE.left + SCALE.width + 6.0, y);
            canvas.text(&short(value.into()), pixel, 11.0, (Across::Start, Down::Middle));
        }
        Ok(())
    })
}

/// The position of a value in a range as a fraction of its width, from 0 to 1, or NaN.
fn fraction(value: f32, (low, high): (f32, f32)) -> f64 {
    f64::from((value - low) / (high - low)).clamp(0.0, 1.0)
}

/// A picture that fills `frame`. `of` gives the fraction of the scale of colours at the centre of a pixel, whose coordinates are
/// fractions of the width and the height.
fn raster(frame: &Rect, of: impl Fn(f64, f64) -> f64) -> RgbImage {
    let (width, height) = (frame.width as u32, frame.height as u32);
    let centre = |pixel: u32, size: u32| (f64::from(pixel) + 0.5) / f64::from(size);
    RgbImage::from_fn(width, height, |x, y| colour(of(centre(x, width), centre(y, height))))
}

/// From blue by white to orange, which differ with colour blindness, too; dark grey for NaN.
fn colour(fraction: f64) -> Rgb<u8> {
    if fraction.is_nan() {
        return Rgb(INK.rgb);
    }
    let end = if fraction < 0.5 { REAL } else { GENERATED };
    let strength = (2.0 * fraction - 1.0).abs();
    Rgb(end.rgb.map(|c| (255.0 + strength * (f64::from(c) - 255.0)).round() as u8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_go_down_and_columns_to_the_right() {
        let dir = tempfile::tempdir().unwrap();
        let map = |values, columns| HeatMap {
            title: "the title",
            across: "columns",
            downwards: "rows",
            columns,
            values,
            range: (-1.0, 1.0),
        };
        let values = [-1.0, 0.0, 1.0, f32::NAN, 0.0, 5.0];
        for name in ["a.svg", "a.png"] {
            heat_map(&dir.path().join(name), &map(&values, 3)).unwrap();
        }
        let text = std::fs::read_to_string(dir.path().join("a.svg")).unwrap();
        for word in ["the title", "columns", "rows"] {
            assert!(text.contains(&format!(">\n{word}\n<")), "{word}");
        }
        let picture = image::open(dir.path().join("a.png")).unwrap().to_rgb8();
        let pixel = |column: u32, row: u32| *picture.get_pixel(64 + 200 * column + 95, 40 + 155 * row + 70);
        assert_eq!(pixel(0, 0), Rgb(REAL.rgb));
        assert_eq!((pixel(1, 0), pixel(1, 1)), (Rgb([255; 3]), Rgb([255; 3])));
        assert_eq!(pixel(0, 1), Rgb(INK.rgb));
        // Values beyond the range have the colour of its end.
        assert_eq!((pixel(2, 0), pixel(2, 1)), (Rgb(GENERATED.rgb), Rgb(GENERATED.rgb)));
        for (values, columns) in [(&values[..5], 3), (&values[..], 0), (&[], 1)] {
            assert!(heat_map(&dir.path().join("b.svg"), &map(values, columns)).is_err());
        }
        for range in [(1.0, 1.0), (1.0, -1.0), (0.0, f32::INFINITY), (f32::NAN, 1.0)] {
            let error = heat_map(&dir.path().join("b.svg"), &HeatMap { range, ..map(&values, 3) }).unwrap_err();
            assert!(error.to_string().contains(&format!("the range {} to {}", range.0, range.1)), "{error}");
        }
        assert!(!dir.path().join("b.svg").exists());
    }
}
