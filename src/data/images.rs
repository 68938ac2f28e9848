//! Folders of PNG or JPEG files.

use std::fs;
use std::path::{Path, PathBuf};

use image::{ColorType, DynamicImage, ImageDecoder, ImageReader, Limits};

use super::Dataset;
use crate::io::extension;
use crate::{Error, Result};

/// The maximum width and height, which protects against damaged headers.
const LARGEST_SIDE: u32 = 16_384;

/// Reads all pictures of a folder in the order of their names as `[c, h, w]` in 0..1. There is one channel if all of them
/// are grey, otherwise three. Transparency is ignored.
pub(super) fn read(folder: &Path) -> Result<Dataset> {
    let files = pictures(folder)?;
    let mut grey = true;
    let mut size = None;
    for file in &files {
        let reader = decoder(file)?;
        let now = reader.dimensions();
        if *size.get_or_insert(now) != now {
            let (w, h) = size.unwrap_or(now);
            return Err(Error::input(format!(
                "{}: {} x {} pixels, but {} has {w} x {h}; all pictures of a folder must have the same size: crop or resize them",
                file.display(),
                now.0,
                now.1,
                files[0].display()
            )));
        }
        grey &= matches!(reader.color_type(), ColorType::L8 | ColorType::L16 | ColorType::La8 | ColorType::La16);
    }
    let (w, h) = size.unwrap_or_default();
    let mut values = Vec::new();
    for file in &files {
        let picture = DynamicImage::from_decoder(decoder(file)?).map_err(|cause| unreadable(file, &cause))?;
        append(&picture, grey, &mut values);
    }
    let channels = if grey { 1 } else { 3 };
    Dataset::new(folder.display().to_string(), [channels, h as usize, w as usize], values)
}

/// The pictures in a folder, sorted by name.
///
/// # Errors
/// When there are none.
fn pictures(folder: &Path) -> Result<Vec<PathBuf>> {
    let (mut files, mut others) = (Vec::new(), Vec::new());
    let refused = |cause| Error::io("cannot read", folder, cause);
    for entry in fs::read_dir(folder).map_err(refused)? {
        let path = entry.map_err(refused)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let picture = matches!(extension(&path).as_str(), "png" | "jpg" | "jpeg");
        match name.starts_with('.') {
            true => {}
            false if picture && path.is_file() => files.push(path),
            false => others.push(name),
        }
    }
    files.sort();
    if !files.is_empty() {
        return Ok(files);
    }
    others.sort();
    others.truncate(4);
    let held = match others.is_empty() {
        true => "it is empty".to_string(),
        false => format!("it contains {}; to read one of these, name it", others.join(", ")),
    };
    Err(Error::input(format!("{}: a folder without PNG or JPEG files; {held}", folder.display())))
}

fn decoder(file: &Path) -> Result<impl ImageDecoder> {
    let reader = ImageReader::open(file).map_err(|cause| Error::io("cannot read", file, cause))?;
    let mut reader = reader.with_guessed_format().map_err(|cause| Error::io("cannot read", file, cause))?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(LARGEST_SIDE);
    limits.max_image_height = Some(LARGEST_SIDE);
    reader.limits(limits);
    reader.into_decoder().map_err(|cause| unreadable(file, &cause))
}

fn unreadable(file: &Path, cause: &dyn std::fmt::Display) -> Error {
    Error::input(format!("{}: not a readable picture ({cause}); replace or remove it", file.display()))
}

/// Appends the channels of a picture one after the other, with a depth of up to 16 bits.
fn append(picture: &DynamicImage, grey: bool, values: &mut Vec<f32>) {
    if grey {
        values.extend(picture.to_luma16().iter().map(|&value| f32::from(value) / 65_535.0));
        return;
    }
    let rgb = picture.to_rgb32f();
    for channel in 0..3 {
        values.extend(rgb.pixels().map(|pixel| pixel.0[channel]));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::refusal;
    use super::*;
    use image::{GrayImage, Luma, Rgb, RgbImage};

    fn load(folder: &Path) -> Dataset {
        Dataset::load(folder.to_str().unwrap(), 0).unwrap()
    }

    #[test]
    fn grey_and_colour_folders_are_read() {
        let dir = tempfile::tempdir().unwrap();
        GrayImage::from_fn(3, 2, |x, y| Luma([(51 * (x + y)) as u8])).save(dir.path().join("b.png")).unwrap();
        GrayImage::from_pixel(3, 2, Luma([255])).save(dir.path().join("a.png")).unwrap();
        let data = load(dir.path());
        assert_eq!((data.shape.clone(), data.len()), (vec![1, 2, 3], 2));
        assert_eq!(data.sample(0), [1.0; 6]);
        assert!(data.sample(1).iter().zip([0.0, 0.2, 0.4, 0.2, 0.4, 0.6]).all(|(got, want)| (got - want).abs() < 1e-6));

        RgbImage::from_pixel(3, 2, Rgb([255, 0, 51])).save(dir.path().join("c.png")).unwrap();
        let data = load(dir.path());
        assert_eq!((data.shape.clone(), data.len()), (vec![3, 2, 3], 3));
        assert_eq!([data.sample(2)[0], data.sample(2)[6], data.sample(2)[12]], [1.0, 0.0, 0.2]);
    }

    #[test]
    fn bad_folders_say_why() {
        let dir = tempfile::tempdir().unwrap();
        assert!(refusal(dir.path()).contains("it is empty"));
        fs::write(dir.path().join("digits.npy"), b"x").unwrap();
        assert!(refusal(dir.path()).contains("it contains digits.npy"));

        GrayImage::new(3, 2).save(dir.path().join("a.png")).unwrap();
        GrayImage::new(4, 2).save(dir.path().join("b.png")).unwrap();
        let message = refusal(dir.path());
        assert!(message.contains("b.png: 4 x 2 pixels") && message.contains("a.png has 3 x 2"), "{message}");

        fs::write(dir.path().join("b.png"), b"no picture").unwrap();
        assert!(refusal(dir.path()).contains("b.png: not a readable picture"));
        let good = fs::read(dir.path().join("a.png")).unwrap();
        fs::write(dir.path().join("b.png"), &good[..good.len() - 24]).unwrap();
        assert!(refusal(dir.path()).contains("b.png"));
    }
}
