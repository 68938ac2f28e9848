//! Contact sheets: images side by side, or in a row for each class.

#[cfg(feature = "cli")]
use image::{DynamicImage, GrayImage, Luma};
use image::{Rgb, RgbImage};

use super::Scale;
use super::canvas::{Across, Bitmap, Canvas, Down, PAPER, Rect, ceil_sqrt, placed};
use super::scale::Interval;
use crate::Result;

/// The maximum number of pixels along a side of a sheet.
const SHEET_PIXELS: usize = 4096;

/// The colour of unknown pixels.
const UNKNOWN: [u8; 3] = [176, 196, 222];

/// The number of characters of the name of a class.
const NAME: usize = 16;

/// The brightness of a value, from black at `low` to white at `high`.
fn level(value: f32, (low, high): Interval) -> u8 {
    (255.0 * (f64::from(value) - low) / (high - low)).round().clamp(0.0, 255.0) as u8
}

/// One image of shape [C, H, W], a pixel for each place: 3 channels are colours, otherwise the first one is grey.
#[cfg(feature = "cli")]
pub(super) fn whole_image(shape: &[usize], image: &[f32], scale: &Scale) -> DynamicImage {
    let [channels, h, w] = [shape[0], shape[1], shape[2]];
    let range = scale.axes()[0];
    let at = |channel: usize, x: u32, y: u32| level(image[(channel * h + y as usize) * w + x as usize], range);
    match channels {
        3 => RgbImage::from_fn(w as u32, h as u32, |x, y| Rgb([0, 1, 2].map(|channel| at(channel, x, y)))).into(),
        _ => GrayImage::from_fn(w as u32, h as u32, |x, y| Luma([at(0, x, y)])).into(),
    }
}

/// The magnification of an image, and the gap between images.
fn zoom_and_gap(side: usize) -> (usize, usize) {
    let zoom = 64usize.div_ceil(side).max(1);
    (zoom, 4.max(zoom * side / 24))
}

/// The number of images of this shape along a side of a sheet.
fn most_along(shape: &[usize]) -> usize {
    let side = shape[1].max(shape[2]);
    let (zoom, gap) = zoom_and_gap(side);
    (SHEET_PIXELS / (zoom * side + gap)).max(1)
}

/// The number of images of this shape that fit on a sheet.
pub(super) fn most_on_sheet(shape: &[usize]) -> usize {
    most_along(shape).pow(2)
}

/// Images side by side, small ones magnified: 1 channel is grey, otherwise the first 3 are shown.
pub(super) struct ContactSheet<'a> {
    shape: &'a [usize],
    /// The images row by row; `None` for an empty place.
    images: Vec<Option<&'a [f32]>>,
    columns: usize,
    /// The names of the rows.
    names: &'a [String],
}

impl<'a> ContactSheet<'a> {
    /// Up to `most` images in their order, in as many columns as rows.
    pub fn square(shape: &'a [usize], values: &'a [f32], most: usize) -> Self {
        let images = values.chunks_exact(shape.iter().product()).take(most.min(most_on_sheet(shape)));
        let images: Vec<_> = images.map(Some).collect();
        Self { shape, columns: ceil_sqrt(images.len()), images, names: &[] }
    }

    /// Up to `most` images whose classes alternate, in a row for each class. A square without classes, or where they have not
    /// two images each.
    pub fn new(shape: &'a [usize], values: &'a [f32], most: usize, names: &'a [String]) -> Self {
        let all: Vec<&[f32]> = values.chunks_exact(shape.iter().product()).collect();
        let (classes, along) = (names.len(), most_along(shape));
        if classes < 2 || all.len() < 2 * classes || classes > along || most < 2 * classes {
            return Self::square(shape, values, most);
        }
        let columns = all.len().div_ceil(classes).min(along).min(most / classes);
        let place = |class: usize, column: usize| all.get(column * classes + class).copied();
        let images = (0..classes).flat_map(|class| (0..columns).map(move |column| (class, column)));
        let images = images.map(|(class, column)| place(class, column)).collect();
        Self { shape, images, columns, names }
    }

    /// The number of images.
    pub fn shown(&self) -> usize {
        self.images.iter().flatten().count()
    }

    /// The width and the height of an image with the gap that follows it.
    fn cell(&self) -> (usize, usize) {
        let (zoom, gap) = self.zoom_and_gap();
        (zoom * self.shape[2] + gap, zoom * self.shape[1] + gap)
    }

    fn zoom_and_gap(&self) -> (usize, usize) {
        zoom_and_gap(self.shape[1].max(self.shape[2]))
    }

    /// The width and the height of the picture.
    fn size(&self) -> (u32, u32) {
        let ((_, gap), (cell_w, cell_h)) = (self.zoom_and_gap(), self.cell());
        let rows = self.images.len().div_ceil(self.columns);
        ((self.columns * cell_w + gap) as u32, (rows * cell_h + gap) as u32)
    }

    /// The images without names.
    pub fn picture(&self, scale: &Scale) -> RgbImage {
        let [channels, h, w] = [self.shape[0], self.shape[1], self.shape[2]];
        let ((zoom, gap), (cell_w, cell_h)) = (self.zoom_and_gap(), self.cell());
        let (width, height) = self.size();
        let mut sheet = RgbImage::from_pixel(width, height, Rgb(PAPER.rgb));
        let (low, high) = scale.axes()[0];
        for (i, image) in self.images.iter().enumerate() {
            let Some(image) = image else { continue };
            let (left, top) = (gap + i % self.columns * cell_w, gap + i / self.columns * cell_h);
            for (y, x) in (0..zoom * h).flat_map(|y| (0..zoom * w).map(move |x| (y, x))) {
                let value = |channel: usize| image[(channel.min(channels - 1) * h + y / zoom) * w + x / zoom];
                let level = |channel: usize| level(value(channel), (low, high));
                let pixel = match channels {
                    _ if value(0).is_nan() => UNKNOWN,
                    0..3 => [level(0); 3],
                    _ => [level(0), level(1), level(2)],
                };
                sheet.put_pixel((left + x) as u32, (top + y) as u32, Rgb(pixel));
            }
        }
        sheet
    }

    /// The space for the names of the rows, in pixels.
    fn margin(&self) -> u32 {
        let longest = self.names.iter().map(|name| name.chars().take(NAME).count()).max();
        longest.map_or(0, |n| 8 * n as u32 + 8)
    }

    /// Draws the images into `frame`, and the names of the rows to the left of them.
    pub fn draw(&self, canvas: &mut dyn Canvas, frame: &Rect, scale: &Scale) -> Result<()> {
        let picture = self.picture(scale);
        let margin = f64::from(self.margin());
        // Narrow sheets have room beside them.
        let ((left, _), _) = placed(frame, picture.dimensions());
        let missing = (margin - left).max(0.0);
        let frame = &Rect::new(frame.left + missing, frame.top, frame.width - missing, frame.height);
        let ((left, top), zoom) = placed(frame, picture.dimensions());
        canvas.picture(frame, &picture)?;
        let ((_, gap), (_, cell)) = (self.zoom_and_gap(), self.cell());
        for (row, name) in self.names.iter().enumerate() {
            let middle = (gap + row * cell) as f64 + (cell - gap) as f64 / 2.0;
            let text: String = name.chars().take(NAME).collect();
            canvas.text(&text, (left - 4.0, top + zoom * middle), 11.0, (Across::End, Down::Middle));
        }
        Ok(())
    }

    /// The images with the names of the rows.
    pub fn labelled(&self, scale: &Scale) -> Result<RgbImage> {
        if self.names.is_empty() {
            return Ok(self.picture(scale));
        }
        let (width, height) = self.size();
        let margin = self.margin();
        let mut canvas = Bitmap::new(margin + width, height)?;
        self.draw(&mut canvas, &Rect::new(margin.into(), 0.0, width.into(), height.into()), scale)?;
        Ok(canvas.picture())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Kind;

    #[test]
    fn classes_have_rows() {
        // Image i has the value i.
        let values: Vec<f32> = (0..8).flat_map(|i| [i as f32; 4]).collect();
        let names = ["a".to_string(), "b".into(), "c".into()];
        let first = |sheet: &ContactSheet| {
            sheet.images.iter().map(|image| image.map(|image| image[0] as usize)).collect::<Vec<_>>()
        };
        let sheet = ContactSheet::new(&[1, 2, 2], &values, usize::MAX, &names);
        let rows = [[Some(0), Some(3), Some(6)], [Some(1), Some(4), Some(7)], [Some(2), Some(5), None]].concat();
        assert_eq!((first(&sheet), sheet.columns, sheet.shown()), (rows, 3, 8));
        let few = ContactSheet::new(&[1, 2, 2], &values, 6, &names);
        assert_eq!((few.columns, few.shown()), (2, 6));
        let square = ContactSheet::new(&[1, 2, 2], &values[..20], usize::MAX, &names);
        assert!(square.names.is_empty() && first(&square) == (0..5).map(Some).collect::<Vec<_>>());
        let scale = Scale::of(Kind::Images, &[1, 2, 2], &values);
        let (plain, named) = (sheet.picture(&scale), sheet.labelled(&scale).unwrap());
        assert_eq!((named.width() - plain.width(), named.height()), (16, plain.height()));
        let dark = |picture: &RgbImage, x: u32| picture.rows().any(|mut row| row.nth(x as usize).unwrap().0[0] < 100);
        assert!((0..16).any(|x| dark(&named, x)), "the names are drawn");
    }
}
