//! A film of pictures: an animated PNG.

use std::io::Write;
use std::path::{Path, PathBuf};

use image::RgbImage;

use crate::io::write_atomically;
use crate::{Error, Result};

/// The time that a picture is shown, and the last one, in milliseconds.
const EACH: u16 = 150;
const LAST: u16 = 2_000;

/// Writes an animated PNG (APNG) of pictures of the same size, which repeats without end. Pictures of another size than the
/// last one are left out. Returns the number of pictures.
///
/// # Errors
/// When a picture cannot be read, or the file cannot be written.
pub(crate) fn film(path: &Path, pictures: &[PathBuf]) -> Result<usize> {
    let read = |picture: &PathBuf| {
        let opened = image::open(picture).map_err(|e| Error::input(format!("{}: {e}", picture.display())));
        opened.map(|picture| picture.to_rgb8())
    };
    let pictures = pictures.iter().map(read).collect::<Result<Vec<_>>>()?;
    let Some(size) = pictures.last().map(RgbImage::dimensions) else {
        return Err(Error::input(format!("{}: a film needs a picture", path.display())));
    };
    let pictures: Vec<&RgbImage> = pictures.iter().filter(|picture| picture.dimensions() == size).collect();
    let bytes = animated(&pictures, size).map_err(|e| Error::input(format!("{}: {e}", path.display())))?;
    write_atomically(path, |file| file.write_all(&bytes))?;
    Ok(pictures.len())
}

fn animated(pictures: &[&RgbImage], (width, height): (u32, u32)) -> std::result::Result<Vec<u8>, png::EncodingError> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_animated(pictures.len() as u32, 0)?;
    encoder.set_frame_delay(EACH, 1_000)?;
    let mut writer = encoder.write_header()?;
    for (i, picture) in pictures.iter().enumerate() {
        if i + 1 == pictures.len() {
            writer.set_frame_delay(LAST, 1_000)?;
        }
        writer.write_image_data(picture.as_raw())?;
    }
    writer.finish()?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_film_has_all_pictures_in_their_order() {
        let dir = tempfile::tempdir().unwrap();
        let picture = |name: &str, side: u32, grey: u8| {
            let path = dir.path().join(name);
            RgbImage::from_pixel(side, 6, image::Rgb([grey; 3])).save(&path).unwrap();
            path
        };
        let pictures = [picture("a.png", 8, 10), picture("b.png", 9, 0), picture("c.png", 8, 200)];
        let path = dir.path().join("film.png");
        assert_eq!(film(&path, &pictures).unwrap(), 2, "one has another size");
        let mut reader =
            png::Decoder::new(std::io::BufReader::new(std::fs::File::open(&path).unwrap())).read_info().unwrap();
        let animation = reader.info().animation_control().copied().unwrap();
        assert_eq!((animation.num_frames, animation.num_plays), (2, 0));
        let mut frame = vec![0; 8 * 6 * 3];
        for grey in [10, 200] {
            reader.next_frame(&mut frame).unwrap();
            assert_eq!(frame, [grey; 8 * 6 * 3]);
        }
        assert_eq!(reader.info().frame_control().unwrap().delay_num, LAST);
        std::fs::write(&pictures[0], "x").unwrap();
        assert!(film(&path, &pictures).unwrap_err().to_string().contains("a.png"));
        assert!(film(&path, &[]).is_err());
    }
}
