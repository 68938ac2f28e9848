//! What is drawn on: frames in pixels, lines, dots and text, as SVG or as a bitmap.

use std::io::{Cursor, Write};
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use image::{ImageFormat, RgbImage, imageops};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::io::write_atomically;
use crate::{Error, Result};

/// Plotters counts in whole units: a unit is this part of a pixel.
const FINE: f64 = 4.0;

const INK: RGBColor = RGBColor(70, 74, 82);
pub(super) const RULE: RGBColor = RGBColor(226, 229, 234);
pub(super) const PAPER: RGBColor = RGBColor(246, 247, 249);
pub(super) const REAL: RGBColor = RGBColor(58, 98, 146);
pub(super) const GENERATED: RGBColor = RGBColor(196, 106, 58);

/// A rectangle of the picture, in pixels.
#[derive(Clone, Copy)]
pub(super) struct Frame {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Frame {
    pub(super) fn new(left: f64, top: f64, width: f64, height: f64) -> Self {
        Frame { left, top, width, height }
    }

    /// Cell `i` of a square grid, with a gap around it.
    pub(super) fn cell(&self, i: usize, columns: usize) -> Frame {
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
pub(super) struct View {
    pub(super) frame: Frame,
    pub(super) x: (f64, f64),
    pub(super) y: (f64, f64),
}

impl View {
    /// The pixel of (x, y); what lies beyond the ranges is moved to the edge.
    pub(super) fn at(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let part = |value: f64, (low, high): (f64, f64)| ((value - low) / (high - low)).clamp(0.0, 1.0);
        let Frame { left, top, width, height } = self.frame;
        (left + width * part(x, self.x), top + height * (1.0 - part(y, self.y)))
    }

    /// Whether (x, y) is in the ranges.
    pub(super) fn holds(&self, (x, y): (f64, f64)) -> bool {
        (self.x.0..=self.x.1).contains(&x) && (self.y.0..=self.y.1).contains(&y)
    }

    /// The parts of a curve that are in the range of y, cut where it crosses the ends; a curve of one point is a part.
    pub(super) fn visible(&self, points: &[(f64, f64)]) -> Vec<Vec<(f64, f64)>> {
        let mut parts: Vec<Vec<(f64, f64)>> = Vec::new();
        if let [only] = points {
            parts.extend(self.holds(*only).then(|| vec![*only]));
        }
        for ends in points.windows(2) {
            let (from, to) = (ends[0], ends[1]);
            let rise = to.1 - from.1;
            // Where the line crosses the ends of the range, in parts of its length; a level one is in or out as a whole.
            let cross = [self.y.0, self.y.1].map(|y| (y - from.1) / if rise == 0.0 { f64::MIN_POSITIVE } else { rise });
            let (enter, leave) = (cross[0].min(cross[1]).max(0.0), cross[0].max(cross[1]).min(1.0));
            if enter > leave {
                continue;
            }
            let at = |part: f64| match part {
                1.0 => to,
                _ => (from.0 + part * (to.0 - from.0), from.1 + part * rise),
            };
            match parts.last_mut().filter(|part| part.last() == Some(&from)) {
                Some(part) => part.push(at(leave)),
                None => parts.push(vec![at(enter), at(leave)]),
            }
        }
        parts
    }
}

/// What is drawn on, in pixels.
pub(super) struct Canvas<DB: DrawingBackend>(DrawingArea<DB, Shift>);

impl<DB: DrawingBackend> Canvas<DB> {
    pub(super) fn line(
        &self,
        points: impl IntoIterator<Item = (f64, f64)>,
        colour: RGBAColor,
        width: f64,
    ) -> Result<()> {
        let points: Vec<(i32, i32)> = points.into_iter().map(fine).collect();
        let style = colour.stroke_width((FINE * width).round() as u32);
        self.0.draw(&PathElement::new(points, style)).map_err(failed)
    }

    pub(super) fn dot(&self, point: (f64, f64), colour: RGBAColor, radius: f64) -> Result<()> {
        self.0.draw(&Circle::new(fine(point), (FINE * radius).round() as i32, colour.filled())).map_err(failed)
    }

    pub(super) fn fill(&self, frame: &Frame, colour: RGBColor) -> Result<()> {
        let corners = [fine((frame.left, frame.top)), fine((frame.left + frame.width, frame.top + frame.height))];
        self.0.draw(&Rectangle::new(corners, colour.filled())).map_err(failed)
    }

    pub(super) fn text(&self, text: &str, at: (f64, f64), size: f64, (h, v): (HPos, VPos)) -> Result<()> {
        // The SVG backend divides the size by 1.24.
        let font = ("sans-serif", 1.24 * FINE * size).into_font();
        let style = TextStyle::from(font).color(&INK).pos(Pos::new(h, v));
        self.0.draw(&Text::new(text.to_string(), fine(at), style)).map_err(failed)
    }
}

fn fine((x, y): (f64, f64)) -> (i32, i32) {
    ((FINE * x).round() as i32, (FINE * y).round() as i32)
}

pub(super) fn failed(cause: impl std::fmt::Display) -> Error {
    Error::input(format!("the picture cannot be drawn: {cause}"))
}

/// The text of an SVG of `width` x `height` pixels.
pub(super) fn svg(width: f64, height: f64, draw: impl FnOnce(&Canvas<SVGBackend>) -> Result<()>) -> Result<String> {
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

/// Says in an SVG what it is.
pub(super) fn describe(svg: &mut String, what: &str) {
    let start = svg.find(">\n").map_or(0, |at| at + 2);
    svg.insert_str(start, &format!("<desc>{what}</desc>\n"));
}

/// A picture of so many pixels, drawn finer and averaged, which smooths the lines.
pub(super) fn bitmap(size: (u32, u32), draw: impl FnOnce(&Canvas<BitMapBackend>) -> Result<()>) -> Result<RgbImage> {
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

pub(super) fn png_bytes(picture: &RgbImage) -> Result<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png).map_err(failed)?;
    Ok(bytes.into_inner())
}

/// Puts a picture into an SVG, as large as fits `frame`, from its upper left corner.
pub(super) fn embed(svg: &mut String, frame: &Frame, picture: &RgbImage) -> Result<()> {
    let (w, h) = (f64::from(picture.width()), f64::from(picture.height()));
    let zoom = FINE * (frame.width / w).min(frame.height / h);
    let (x, y) = (FINE * frame.left + (FINE * frame.width - zoom * w) / 2.0, FINE * frame.top);
    let data = BASE64_STANDARD.encode(png_bytes(picture)?);
    let (w, h) = (zoom * w, zoom * h);
    let end = svg.rfind("</svg>").unwrap_or(svg.len());
    let element = format!(
        "<image x=\"{x:.1}\" y=\"{y:.1}\" width=\"{w:.1}\" height=\"{h:.1}\" href=\"data:image/png;base64,{data}\"/>\n"
    );
    svg.insert_str(end, &element);
    Ok(())
}

pub(super) fn write_text(path: &Path, text: &str) -> Result<()> {
    write_atomically(path, |file| file.write_all(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_are_cut_where_they_leave() {
        let view = View { frame: Frame::new(0.0, 0.0, 1.0, 1.0), x: (0.0, 9.0), y: (-1.0, 1.0) };
        let parts = |points: &[(f64, f64)]| view.visible(points);
        assert_eq!(
            parts(&[(0.0, 0.0), (1.0, 2.0), (2.0, 0.0), (3.0, 0.5)]),
            [vec![(0.0, 0.0), (0.5, 1.0)], vec![(1.5, 1.0), (2.0, 0.0), (3.0, 0.5)]]
        );
        // From below to above, and level inside and outside.
        assert_eq!(parts(&[(0.0, -2.0), (4.0, 2.0)]), [[(1.0, -1.0), (3.0, 1.0)]]);
        assert_eq!(parts(&[(0.0, 0.5), (1.0, 0.5)]), [[(0.0, 0.5), (1.0, 0.5)]]);
        assert_eq!(parts(&[(0.0, 1.5), (1.0, 1.5), (2.0, 3.0)]), Vec::<Vec<(f64, f64)>>::new());
        assert_eq!((parts(&[(0.0, 0.5)]), parts(&[(0.0, 5.0)]), parts(&[])), (vec![vec![(0.0, 0.5)]], vec![], vec![]));
    }
}
