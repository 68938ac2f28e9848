//! The pictures of a folder: their properties, and a common size.

use image::imageops::FilterType;
use image::metadata::Orientation;
use image::{ColorType, DynamicImage, GenericImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use super::super::Origin;
use super::super::options::{Fit, ReadOptions};
use super::picture::Picture;
use super::stored::in_parallel;
use crate::text::count;
use crate::{Error, Result};

/// The maximum width and height, which protects against damaged headers.
const LARGEST_SIDE: u32 = 16_384;
/// The maximum number of pixels: 1 GiB of memory for each thread that decodes pictures, with 12 bytes for each pixel.
const MOST_PIXELS: u64 = (1 << 30) / 12;

/// The properties of a picture.
pub(super) struct Page {
    size: (u32, u32),
    colour: ColorType,
    orientation: Orientation,
}

impl Page {
    fn of(picture: &Picture) -> Result<Self> {
        let mut reader = decoder(picture)?;
        let orientation = reader.orientation().unwrap_or(Orientation::NoTransforms);
        Ok(Self { size: reader.dimensions(), colour: reader.color_type(), orientation })
    }

    pub fn is_grey(&self) -> bool {
        matches!(self.colour, ColorType::L8 | ColorType::L16 | ColorType::La8 | ColorType::La16)
    }

    /// Width and height of the upright picture.
    pub fn upright(&self) -> (u32, u32) {
        use Orientation::*;
        match self.orientation {
            Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH => (self.size.1, self.size.0),
            _ => self.size,
        }
    }
}

/// The properties of all pictures, which have the same size if they are not resized.
pub(super) fn pages(pictures: &[Picture], options: &ReadOptions, origin: &mut Origin) -> Result<Vec<Page>> {
    let pages = in_parallel(pictures.len(), |i| Page::of(&pictures[i]))?;
    let first = pages[0].upright();
    for (picture, page) in pictures.iter().zip(&pages) {
        let now = page.upright();
        if options.size.is_none() && now != first {
            return Err(Error::input(format!(
                "{picture}: {} x {} pixels, but {} has {} x {}; all pictures of a data set must have the same size: --size 64 scales \
                 them to 64 x 64 pixels (--fit crop, pad or stretch)",
                now.0, now.1, pictures[0], first.0, first.1
            )));
        }
    }
    let deep = pages.iter().filter(|page| page.colour.bytes_per_pixel() / page.colour.channel_count() > 1).count();
    origin.element = match deep {
        0 => "8 bits per channel".into(),
        _ if deep == pages.len() => "16 bits or more per channel".into(),
        _ => format!("8 bits per channel, 16 or more in {deep} of {}", pages.len()),
    };
    if let Some(size) = options.size {
        let fit = options.fit.unwrap_or_default();
        origin.choice(format!("scaled to {size} x {size} pixels ({fit})"), "--size N --fit crop|pad|stretch");
    }
    let grey = pages.iter().filter(|page| page.is_grey()).count();
    match grey {
        _ if options.grey && grey < pages.len() => origin.note("colours are read as grey"),
        _ if options.grey || grey == pages.len() => {}
        0 => {}
        _ => origin.choice(format!("{grey} of {} pictures are grey and become RGB", pages.len()), "--grey"),
    }
    let turned = pages.iter().filter(|page| page.orientation != Orientation::NoTransforms).count();
    if turned > 0 {
        origin.note(format!("{} turned upright by their EXIF orientation", count(turned, "picture")));
    }
    let clear = pages.iter().filter(|page| page.colour.has_alpha()).count();
    if clear > 0 {
        origin.note(format!("transparency of {} is ignored", count(clear, "picture")));
    }
    Ok(pages)
}

pub(super) fn decoder(picture: &Picture) -> Result<impl ImageDecoder> {
    let mut reader = ImageReader::new(picture.open()?);
    // What is not known by its content.
    if let Ok(format) = ImageFormat::from_path(&picture.path) {
        reader.set_format(format);
    }
    let mut reader = reader.with_guessed_format().map_err(|cause| picture.failed(cause))?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(LARGEST_SIDE);
    limits.max_image_height = Some(LARGEST_SIDE);
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(|cause| unreadable(picture, &cause))?;
    let (w, h) = decoder.dimensions();
    if u64::from(w) * u64::from(h) > MOST_PIXELS {
        return Err(picture.refused(format!("{w} x {h} pixels; at most {MOST_PIXELS} are decoded, so scale it first")));
    }
    Ok(decoder)
}

pub(super) fn unreadable(picture: &Picture, cause: &dyn std::fmt::Display) -> Error {
    picture.refused(format!("not a readable picture ({cause}); replace or remove it"))
}

/// A picture of `size` x `size` pixels.
pub(super) fn resized(picture: &DynamicImage, size: u32, fit: Fit) -> DynamicImage {
    let (w, h) = (picture.width(), picture.height());
    let scaled = |picture: &DynamicImage, w: u32, h: u32| match (picture.width(), picture.height()) == (w, h) {
        true => picture.clone(),
        false => picture.resize_exact(w.max(1), h.max(1), FilterType::Triangle),
    };
    match fit {
        Fit::Stretch => scaled(picture, size, size),
        Fit::Crop => {
            let side = w.min(h);
            scaled(&picture.crop_imm((w - side) / 2, (h - side) / 2, side, side), size, size)
        }
        Fit::Pad => {
            let side = f64::from(w.max(h));
            let [w, h] = [w, h].map(|n| (f64::from(n) / side * f64::from(size)).round().max(1.0) as u32);
            let small = scaled(picture, w, h);
            let mut padded = DynamicImage::new(size, size, picture.color());
            match (&mut padded, &small) {
                (DynamicImage::ImageLuma16(padded), DynamicImage::ImageLuma16(small)) => {
                    padded.copy_from(small, (size - w) / 2, (size - h) / 2).expect("the picture is smaller");
                }
                (DynamicImage::ImageRgb32F(padded), DynamicImage::ImageRgb32F(small)) => {
                    padded.copy_from(small, (size - w) / 2, (size - h) / 2).expect("the picture is smaller");
                }
                _ => unreachable!("pictures are converted before they are resized"),
            }
            padded
        }
    }
}

/// Appends the channels of a picture one after the other, with a depth of up to 16 bits for grey ones.
pub(super) fn append(picture: &DynamicImage, grey: bool, values: &mut Vec<f32>) {
    if grey {
        values.extend(picture.to_luma16().iter().map(|&value| f32::from(value) / 65_535.0));
        return;
    }
    let rgb = picture.to_rgb32f();
    for channel in 0..3 {
        values.extend(rgb.pixels().map(|pixel| pixel.0[channel]));
    }
}
