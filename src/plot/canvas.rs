//! Drawing surfaces: frames in pixels, lines, dots, text and pictures, as SVG or bitmap.

use std::io::{Cursor, Write};
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use font8x8::{BASIC_FONTS, GREEK_FONTS, LATIN_FONTS, UnicodeFonts};
use image::{ImageFormat, RgbImage};
use svg::Document;
use svg::node::Node;
use svg::node::element::{Circle, Description, Image, Polyline, Rectangle, Text};
use tiny_skia::{
    FillRule, FilterQuality, LineJoin, Paint, PathBuilder, Pixmap, PixmapPaint, Stroke, StrokeDash, Transform,
};

use crate::io::{extension, write_atomically};
use crate::{Error, Result};

/// A colour with an opacity from 0 (transparent) to 1.
#[derive(Clone, Copy)]
pub(super) struct Colour {
    pub(super) rgb: [u8; 3],
    opacity: f32,
}

impl Colour {
    pub(super) const fn new(r: u8, g: u8, b: u8) -> Self {
        Self { rgb: [r, g, b], opacity: 1.0 }
    }

    pub(super) fn with_opacity(self, opacity: f32) -> Self {
        Self { opacity, ..self }
    }

    /// The SVG notation; the opacity is a separate attribute.
    fn hex(self) -> String {
        let [r, g, b] = self.rgb;
        format!("#{r:02x}{g:02x}{b:02x}")
    }
}

const WHITE: Colour = Colour::new(255, 255, 255);
pub(super) const INK: Colour = Colour::new(70, 74, 82);
pub(super) const RULE: Colour = Colour::new(226, 229, 234);
pub(super) const PAPER: Colour = Colour::new(246, 247, 249);
pub(super) const REAL: Colour = Colour::new(58, 98, 146);
pub(super) const GENERATED: Colour = Colour::new(196, 106, 58);
/// A band around generated values.
pub(super) const BAND: Colour = Colour::new(243, 212, 190);

/// A position in pixels from the upper left corner, to the right and down.
pub(super) type Point = (f64, f64);

/// A rectangle of the picture, in pixels.
#[derive(Clone, Copy)]
pub(super) struct Rect {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Rect {
    pub(super) fn new(left: f64, top: f64, width: f64, height: f64) -> Self {
        Rect { left, top, width, height }
    }

    /// Cell `i` of a square grid, with a gap around it.
    pub(super) fn cell(&self, i: usize, columns: usize) -> Rect {
        let (width, height) = (self.width / columns as f64, self.height / columns as f64);
        let gap = 0.04 * width;
        let (row, column) = ((i / columns) as f64, (i % columns) as f64);
        Rect::new(
            self.left + column * width + gap,
            self.top + row * height + gap,
            width - 2.0 * gap,
            height - 2.0 * gap,
        )
    }
}

/// A frame with the data ranges of its sides.
pub(super) struct PlotArea {
    pub(super) frame: Rect,
    pub(super) x: (f64, f64),
    pub(super) y: (f64, f64),
}

impl PlotArea {
    /// The pixel of (x, y); values outside the ranges are clamped to the edge.
    pub(super) fn at(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let part = |value: f64, (low, high): (f64, f64)| ((value - low) / (high - low)).clamp(0.0, 1.0);
        let Rect { left, top, width, height } = self.frame;
        (left + width * part(x, self.x), top + height * (1.0 - part(y, self.y)))
    }

    /// Whether (x, y) lies within the ranges.
    pub(super) fn holds(&self, (x, y): (f64, f64)) -> bool {
        (self.x.0..=self.x.1).contains(&x) && (self.y.0..=self.y.1).contains(&y)
    }

    /// The segments of a curve within the range of y, cut at the limits; a curve of a single point is a segment.
    pub(super) fn visible(&self, points: &[(f64, f64)]) -> Vec<Vec<(f64, f64)>> {
        let mut parts: Vec<Vec<(f64, f64)>> = Vec::new();
        if let [only] = points {
            parts.extend(self.holds(*only).then(|| vec![*only]));
        }
        for ends in points.windows(2) {
            let (from, to) = (ends[0], ends[1]);
            let rise = to.1 - from.1;
            // Where the line crosses the limits, as fractions of its length; a horizontal line is inside or outside as
            // a whole.
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

/// Horizontal alignment of a text at its position.
#[derive(Clone, Copy)]
pub(super) enum Across {
    Start,
    Middle,
    End,
}

/// Vertical alignment of a text at its position.
#[derive(Clone, Copy)]
pub(super) enum Down {
    Top,
    Middle,
    Bottom,
}

/// A drawing surface, in pixels.
pub(super) trait Canvas {
    /// A line of strokes and gaps with the lengths in `dash`, in turns; a solid one if there are none.
    fn dashed_line(&mut self, points: &[Point], colour: Colour, width: f64, dash: &[f64]);

    fn line(&mut self, points: &[Point], colour: Colour, width: f64) {
        self.dashed_line(points, colour, width, &[]);
    }

    fn dot(&mut self, centre: Point, colour: Colour, radius: f64);

    fn fill(&mut self, frame: &Rect, colour: Colour);

    fn text(&mut self, text: &str, at: Point, size: f64, anchor: (Across, Down));

    /// Draws `picture` at the top centre of `frame`, as large as fits.
    fn picture(&mut self, frame: &Rect, picture: &RgbImage) -> Result<()>;
}

/// Position of a picture of `size` in `frame`, and its scale.
pub(super) fn placed(frame: &Rect, size: (u32, u32)) -> (Point, f64) {
    let (w, h) = (f64::from(size.0), f64::from(size.1));
    let zoom = (frame.width / w).min(frame.height / h);
    ((frame.left + (frame.width - zoom * w) / 2.0, frame.top), zoom)
}

/// The colours where the viewer prefers a dark background: of the page, the paper behind samples, the text, the grid, and
/// the curves.
const DARK: [(Colour, &str); 11] = [
    (WHITE, "#16191d"),
    (PAPER, "#20252b"),
    (INK, "#d5dae1"),
    (RULE, "#39414b"),
    (BAND, "#5b3d2a"),
    (REAL, "#6fa8e0"),
    (GENERATED, "#ef9362"),
    (super::curves::CURVES[2], "#3ccfa2"),
    (super::curves::CURVES[3], "#e09ac4"),
    (super::curves::CURVES[4], "#f0c040"),
    (super::curves::CURVES[5], "#9ad4f5"),
];

/// The style sheet of [`DARK`]: classes for filled shapes and for lines.
fn dark_style() -> String {
    let rules = DARK.iter().enumerate().map(|(i, (_, dark))| format!(".f{i}{{fill:{dark}}}.s{i}{{stroke:{dark}}}"));
    format!("@media (prefers-color-scheme:dark){{{}}}", rules.collect::<String>())
}

/// The class of a colour, which begins with a letter for its use.
fn class(use_: char, colour: Colour) -> String {
    let place = DARK.iter().position(|(light, _)| light.rgb == colour.rgb);
    place.map_or(String::new(), |i| format!("{use_}{i}"))
}

/// A vector drawing, with text in the viewer's font.
pub(super) struct Svg(Document);

impl Svg {
    /// An empty picture of `width` x `height` pixels.
    pub(super) fn new(width: f64, height: f64) -> Self {
        let document = Document::new().set("width", width).set("height", height);
        let document = document.set("viewBox", (0, 0, width, height)).set("font-family", "sans-serif");
        let mut svg = Self(document.add(svg::node::element::Style::new(dark_style())));
        svg.fill(&Rect::new(0.0, 0.0, width, height), WHITE);
        svg
    }

    /// Describes the picture, for programs and for screen readers.
    pub(super) fn describe(&mut self, what: &str) {
        self.0.append(Description::new().add(svg::node::Text::new(what)));
    }

    pub(super) fn save(&self, path: &Path) -> Result<()> {
        write_atomically(path, |file| writeln!(file, "{}", self.0))
    }
}

/// Rounds to a tenth of a pixel.
fn rounded(value: f64) -> f64 {
    (10.0 * value).round() / 10.0
}

impl Canvas for Svg {
    fn dashed_line(&mut self, points: &[Point], colour: Colour, width: f64, dash: &[f64]) {
        let points: Vec<String> = points.iter().map(|p| format!("{},{}", rounded(p.0), rounded(p.1))).collect();
        let line = Polyline::new().set("points", points.join(" ")).set("fill", "none").set("stroke-linejoin", "round");
        let mut line = line.set("stroke", colour.hex()).set("stroke-width", width);
        if !dash.is_empty() {
            line = line.set("stroke-dasharray", dash.iter().map(f64::to_string).collect::<Vec<_>>().join(" "));
        }
        self.0.append(line.set("stroke-opacity", colour.opacity).set("class", class('s', colour)));
    }

    fn dot(&mut self, (x, y): Point, colour: Colour, radius: f64) {
        let circle = Circle::new().set("cx", rounded(x)).set("cy", rounded(y)).set("r", radius);
        let circle = circle.set("fill", colour.hex()).set("fill-opacity", colour.opacity);
        self.0.append(circle.set("class", class('f', colour)));
    }

    fn fill(&mut self, frame: &Rect, colour: Colour) {
        let place = Rectangle::new().set("x", rounded(frame.left)).set("y", rounded(frame.top));
        let rectangle = place.set("width", rounded(frame.width)).set("height", rounded(frame.height));
        self.0.append(rectangle.set("fill", colour.hex()).set("class", class('f', colour)));
    }

    fn text(&mut self, text: &str, (x, y): Point, size: f64, (across, down): (Across, Down)) {
        let anchor = match across {
            Across::Start => "start",
            Across::Middle => "middle",
            Across::End => "end",
        };
        // `dominant-baseline` is supported by few programs.
        let shift = match down {
            Down::Top => "0.76em",
            Down::Middle => "0.5ex",
            Down::Bottom => "-0.5ex",
        };
        let text = Text::new(text).set("x", rounded(x)).set("y", rounded(y)).set("dy", shift);
        let text = text.set("text-anchor", anchor).set("font-size", size).set("fill", INK.hex());
        self.0.append(text.set("class", class('f', INK)));
    }

    fn picture(&mut self, frame: &Rect, picture: &RgbImage) -> Result<()> {
        let ((x, y), zoom) = placed(frame, picture.dimensions());
        let data = BASE64_STANDARD.encode(png_bytes(picture)?);
        let side = |pixels: u32| rounded(zoom * f64::from(pixels));
        let image = Image::new().set("x", rounded(x)).set("y", rounded(y));
        let image = image.set("width", side(picture.width())).set("height", side(picture.height()));
        self.0.append(image.set("href", format!("data:image/png;base64,{data}")));
        Ok(())
    }
}

/// The height of a character of the bitmap font, and the distance of two characters, in pixels.
const GLYPH: f64 = 8.0;
const ADVANCE: f64 = 7.0;

/// A bitmap, antialiased, with text in a font of 8 x 8 pixels.
pub(super) struct Bitmap(Pixmap);

impl Bitmap {
    /// An empty picture of `width` x `height` pixels.
    pub(super) fn new(width: u32, height: u32) -> Result<Self> {
        let pixels = Pixmap::new(width, height);
        let mut pixels = pixels.ok_or_else(|| failed(format!("{width} x {height} pixels are too many or none")))?;
        pixels.fill(tiny_skia::Color::WHITE);
        Ok(Self(pixels))
    }

    /// The finished picture.
    pub(super) fn picture(&self) -> RgbImage {
        let (width, height) = (self.0.width(), self.0.height());
        // The background is opaque, and so is everything drawn on it.
        let rgb = self.0.pixels().iter().flat_map(|pixel| [pixel.red(), pixel.green(), pixel.blue()]).collect();
        RgbImage::from_raw(width, height, rgb).expect("three bytes a pixel")
    }
}

fn paint(colour: Colour) -> Paint<'static> {
    let ([r, g, b], mut paint) = (colour.rgb, Paint::default());
    paint.set_color_rgba8(r, g, b, (255.0 * colour.opacity).round() as u8);
    paint
}

impl Canvas for Bitmap {
    fn dashed_line(&mut self, points: &[Point], colour: Colour, width: f64, dash: &[f64]) {
        let mut path = PathBuilder::new();
        for (i, &(x, y)) in points.iter().enumerate() {
            match i {
                0 => path.move_to(x as f32, y as f32),
                _ => path.line_to(x as f32, y as f32),
            }
        }
        let dash = StrokeDash::new(dash.iter().map(|length| *length as f32).collect(), 0.0);
        let stroke = Stroke { width: width as f32, line_join: LineJoin::Round, dash, ..Stroke::default() };
        if let Some(path) = path.finish() {
            self.0.stroke_path(&path, &paint(colour), &stroke, Transform::identity(), None);
        }
    }

    fn dot(&mut self, (x, y): Point, colour: Colour, radius: f64) {
        if let Some(path) = PathBuilder::from_circle(x as f32, y as f32, radius as f32) {
            self.0.fill_path(&path, &paint(colour), FillRule::Winding, Transform::identity(), None);
        }
    }

    fn fill(&mut self, &Rect { left, top, width, height }: &Rect, colour: Colour) {
        if let Some(rectangle) = tiny_skia::Rect::from_xywh(left as f32, top as f32, width as f32, height as f32) {
            self.0.fill_rect(rectangle, &paint(colour), Transform::identity(), None);
        }
    }

    fn text(&mut self, text: &str, (x, y): Point, size: f64, (across, down): (Across, Down)) {
        let zoom = (size / 10.0).round().max(1.0);
        let width = zoom * ADVANCE * text.chars().count() as f64;
        let left = match across {
            Across::Start => x,
            Across::Middle => x - width / 2.0,
            Across::End => x - width,
        };
        let top = match down {
            Down::Top => y,
            Down::Middle => y - zoom * GLYPH / 2.0,
            Down::Bottom => y - zoom * GLYPH,
        };
        for (i, c) in text.chars().enumerate() {
            let known = BASIC_FONTS.get(c).or_else(|| LATIN_FONTS.get(c)).or_else(|| GREEK_FONTS.get(c));
            let rows = known.or_else(|| BASIC_FONTS.get('?')).unwrap_or_default();
            let at = left.round() + zoom * ADVANCE * i as f64;
            for (row, bits) in rows.into_iter().enumerate() {
                for column in (0..8).filter(|column| bits >> column & 1 == 1) {
                    let place = (at + zoom * f64::from(column), top.round() + zoom * row as f64);
                    self.fill(&Rect::new(place.0, place.1, zoom, zoom), INK);
                }
            }
        }
    }

    fn picture(&mut self, frame: &Rect, picture: &RgbImage) -> Result<()> {
        let ((x, y), zoom) = placed(frame, picture.dimensions());
        let mut pixels = Self::new(picture.width(), picture.height())?.0;
        for (pixel, rgb) in pixels.pixels_mut().iter_mut().zip(picture.pixels()) {
            let [r, g, b] = rgb.0;
            *pixel = tiny_skia::ColorU8::from_rgba(r, g, b, 255).premultiply();
        }
        let paint = PixmapPaint { quality: FilterQuality::Nearest, ..PixmapPaint::default() };
        let place = Transform::from_row(zoom as f32, 0.0, 0.0, zoom as f32, x as f32, y as f32);
        self.0.draw_pixmap(0, 0, pixels.as_ref(), &paint, place, None);
        Ok(())
    }
}

fn failed(cause: impl std::fmt::Display) -> Error {
    Error::input(format!("the picture cannot be drawn: {cause}"))
}

pub(super) fn png_bytes(picture: &RgbImage) -> Result<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png).map_err(failed)?;
    Ok(bytes.into_inner())
}

pub(super) fn save_png(path: &Path, picture: &RgbImage) -> Result<()> {
    let bytes = png_bytes(picture)?;
    write_atomically(path, |file| file.write_all(&bytes))
}

/// Draws a picture of `width` x `height` pixels as a `.svg` or a `.png`.
///
/// # Errors
/// [`Error::Setting`] for another extension, [`Error::Io`] when the file cannot be written, and those of `draw`, after which
/// nothing is written.
pub(super) fn save_picture(
    path: &Path,
    (width, height): (f64, f64),
    draw: &mut dyn FnMut(&mut dyn Canvas) -> Result<()>,
) -> Result<()> {
    match extension(path).as_str() {
        "png" => {
            let mut canvas = Bitmap::new(width as u32, height as u32)?;
            draw(&mut canvas)?;
            save_png(path, &canvas.picture())
        }
        "svg" => {
            let mut canvas = Svg::new(width, height);
            draw(&mut canvas)?;
            canvas.save(path)
        }
        _ => Err(Error::setting(format!("{}: a picture is a .png or .svg", path.display()))),
    }
}

/// Saves an image that may be grey.
#[cfg(feature = "cli")]
pub(super) fn save_image(path: &Path, image: &image::DynamicImage) -> Result<()> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::Png).map_err(failed)?;
    write_atomically(path, |file| file.write_all(bytes.get_ref()))
}

/// The sides of a square grid of `n` cells.
pub(super) fn ceil_sqrt(n: usize) -> usize {
    (1..).find(|root| root * root >= n).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_are_cut_at_the_limits() {
        let view = PlotArea { frame: Rect::new(0.0, 0.0, 1.0, 1.0), x: (0.0, 9.0), y: (-1.0, 1.0) };
        let parts = |points: &[(f64, f64)]| view.visible(points);
        assert_eq!(
            parts(&[(0.0, 0.0), (1.0, 2.0), (2.0, 0.0), (3.0, 0.5)]),
            [vec![(0.0, 0.0), (0.5, 1.0)], vec![(1.5, 1.0), (2.0, 0.0), (3.0, 0.5)]]
        );
        // From below to above, and horizontal inside and outside.
        assert_eq!(parts(&[(0.0, -2.0), (4.0, 2.0)]), [[(1.0, -1.0), (3.0, 1.0)]]);
        assert_eq!(parts(&[(0.0, 0.5), (1.0, 0.5)]), [[(0.0, 0.5), (1.0, 0.5)]]);
        assert_eq!(parts(&[(0.0, 1.5), (1.0, 1.5), (2.0, 3.0)]), Vec::<Vec<(f64, f64)>>::new());
        assert_eq!((parts(&[(0.0, 0.5)]), parts(&[(0.0, 5.0)]), parts(&[])), (vec![vec![(0.0, 0.5)]], vec![], vec![]));
    }
}
