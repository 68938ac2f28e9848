//! A process as a film strip: one column per snapshot, one row per sample.

use std::path::Path;

use super::Scale;
use super::canvas::{Across, Bitmap, Canvas, Down, REAL, RULE, Rect, Svg, save_png};
use super::samples::samples;
use super::set::Set;
use crate::data::Kind;
use crate::{Error, Result};

/// The side length of a picture, and the space above it for the title.
const CELL: f64 = 96.0;
const TITLE: f64 = 24.0;

/// Columns of a strip; further snapshots continue in a block below, after a gap.
const COLUMNS: usize = 16;
const GAP: f64 = 36.0;

/// Snapshots of a process: their titles and samples.
type Snapshots<'a> = [(String, &'a [f32])];

/// Draws one column per snapshot with its title above and one row per sample; points and rows of tables share one picture.
/// More than 16 snapshots continue below, in blocks of equal length. The snapshots are in the units of the data; images
/// keep the brightness of the first snapshot. Returns the number of columns.
///
/// # Errors
/// When the extension is not `.png` or `.svg`, or the file cannot be written.
pub fn film_strip(path: &Path, kind: Kind, shape: &[usize], snapshots: &Snapshots) -> Result<usize> {
    let all: Vec<f32> = match kind {
        Kind::Images => snapshots.iter().take(1).flat_map(|m| m.1).copied().collect(),
        _ => snapshots.iter().flat_map(|m| m.1).copied().collect(),
    };
    let columns = snapshots.len().div_ceil(snapshots.len().div_ceil(COLUMNS).max(1));
    film_blocks(path, kind, shape, snapshots, columns, &Scale::of(kind, shape, &all))?;
    Ok(columns)
}

/// [`film_strip`] with this number of columns and this scale.
///
/// # Errors
/// As [`film_strip`].
pub(crate) fn film_blocks(
    path: &Path,
    kind: Kind,
    shape: &[usize],
    snapshots: &Snapshots,
    columns: usize,
    scale: &Scale,
) -> Result<()> {
    let strip = Strip::of(kind, shape, snapshots, (columns, scale.clone()));
    match path.extension().map(|e| e.to_string_lossy().to_lowercase()).as_deref() {
        Some("svg") => strip.save_svg(path)?,
        Some("png") => strip.save_png(path)?,
        _ => return Err(Error::setting(format!("{}: a film strip is a .png or .svg", path.display()))),
    }
    Ok(())
}

/// Whether a picture shows all samples, and not one.
fn shares_a_picture(kind: Kind) -> bool {
    matches!(kind, Kind::Points | Kind::Table)
}

struct Strip<'a> {
    kind: Kind,
    shape: &'a [usize],
    snapshots: &'a Snapshots<'a>,
    columns: usize,
    scale: Scale,
    /// Pictures of a snapshot, one above the other.
    tall: usize,
}

impl<'a> Strip<'a> {
    fn of(kind: Kind, shape: &'a [usize], snapshots: &'a Snapshots<'a>, (columns, scale): (usize, Scale)) -> Self {
        let len: usize = shape.iter().product();
        let tall = if shares_a_picture(kind) { 1 } else { snapshots.first().map_or(0, |m| m.1.len() / len) };
        Self { kind, shape, snapshots, columns: columns.max(1), scale, tall }
    }

    fn blocks(&self) -> usize {
        self.snapshots.len().div_ceil(self.columns).max(1)
    }

    fn size(&self) -> (f64, f64) {
        (16.0 + CELL * self.columns as f64, self.top(self.blocks()) - GAP + 8.0)
    }

    /// Position of a block.
    fn top(&self, block: usize) -> f64 {
        8.0 + block as f64 * (TITLE + CELL * self.tall as f64 + GAP)
    }

    /// Position of a snapshot.
    fn corner(&self, snapshot: usize) -> (f64, f64) {
        (8.0 + CELL * (snapshot % self.columns) as f64, self.top(snapshot / self.columns))
    }

    /// Position and values of every picture.
    fn pictures(&self) -> impl Iterator<Item = (Rect, &'a [f32])> {
        let len: usize = self.shape.iter().product();
        self.snapshots.iter().enumerate().flat_map(move |(i, (_, values))| {
            let (left, top) = self.corner(i);
            let per = if shares_a_picture(self.kind) { values.len().max(1) } else { len };
            values.chunks(per).enumerate().map(move |(row, values)| {
                (Rect::new(left + 2.0, top + TITLE + CELL * row as f64 + 2.0, CELL - 4.0, CELL - 4.0), values)
            })
        })
    }

    fn draw(&self, canvas: &mut dyn Canvas) -> Result<()> {
        for block in 1..self.blocks() {
            let (y, right) = (self.top(block) - GAP / 2.0, self.size().0 - 8.0);
            canvas.line(&[(8.0, y), (right, y)], RULE, 1.5);
        }
        for (i, (title, _)) in self.snapshots.iter().enumerate() {
            let (left, top) = self.corner(i);
            canvas.text(title, (left + CELL / 2.0, top + 6.0), 11.0, (Across::Middle, Down::Top));
        }
        for (frame, values) in self.pictures() {
            let set = Set { kind: self.kind, shape: self.shape, values };
            samples(canvas, &frame, &set, &self.scale, REAL, false)?;
        }
        Ok(())
    }

    fn save_svg(&self, path: &Path) -> Result<()> {
        let (width, height) = self.size();
        let mut canvas = Svg::new(width, height);
        self.draw(&mut canvas)?;
        canvas.save(path)
    }

    fn save_png(&self, path: &Path) -> Result<()> {
        let (width, height) = self.size();
        let mut canvas = Bitmap::new(width as u32, height as u32)?;
        self.draw(&mut canvas)?;
        save_png(path, &canvas.picture())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strips_are_drawn() {
        let dir = tempfile::tempdir().unwrap();
        let folder = std::env::var_os("LANGEVIN_PICTURES").map_or(dir.path().to_path_buf(), Into::into);
        let values: Vec<f32> = (0..192).map(|i| (i as f32 * 0.3).sin()).collect();
        let snapshots: Vec<_> = (0..18).map(|i| (format!("t = {i}"), &values[..])).collect();
        for (name, shape) in
            [("points", vec![2]), ("signals", vec![64]), ("images", vec![1, 8, 8]), ("wide", vec![3, 4, 8])]
        {
            let (svg, png) = (folder.join(format!("strip-{name}.svg")), folder.join(format!("strip-{name}.png")));
            assert_eq!(film_strip(&svg, Kind::of(&shape), &shape, &snapshots).unwrap(), 9);
            film_strip(&png, Kind::of(&shape), &shape, &snapshots).unwrap();
            assert!(std::fs::read_to_string(svg).unwrap().contains("t = 17"));
            let picture = image::open(png).unwrap().to_rgb8();
            let first = *picture.get_pixel(0, 0);
            assert!(picture.pixels().any(|pixel| *pixel != first), "{name} is empty");
            // The title of the first snapshot.
            let title = (8..8 + CELL as u32).flat_map(|x| (8..8 + TITLE as u32).map(move |y| (x, y)));
            assert!(title.clone().any(|(x, y)| *picture.get_pixel(x, y) != first), "{name} has no title");
        }
        // Two blocks of points: the gap between them is wider than that between pictures.
        let scale = Scale::of(Kind::Points, &[2], &values);
        let strip = Strip::of(Kind::Points, &[2], &snapshots, (9, scale));
        assert_eq!(strip.corner(9), (8.0, 8.0 + TITLE + CELL + GAP));
        assert_eq!(strip.size(), (16.0 + 9.0 * CELL, 16.0 + 2.0 * (TITLE + CELL) + GAP));
        let refused =
            film_strip(&dir.path().join("strip.npy"), Kind::Points, &[2], &snapshots).unwrap_err().to_string();
        assert!(refused.contains(".png or .svg"), "{refused}");
    }
}
