//! Folders of pictures.

mod folder;
mod page;

use std::path::PathBuf;

use super::options::ReadOptions;
use super::{Dataset, Kind, Origin};
use crate::Result;
use image::DynamicImage;

pub(super) use folder::{Folder, is_picture, natural, some};
use page::{Page, append, decoder, pages, resized, unreadable};

/// Reads all pictures of a folder, or of its subfolders, in the natural order of their names as `[c, h, w]` in 0..1. There is
/// one channel if all of them are grey, otherwise three. Transparency is ignored.
///
/// # Errors
/// When there are none, one cannot be read, or their sizes differ.
pub(super) fn read(folder: Folder, options: &ReadOptions) -> Result<Dataset> {
    let (mut origin, name) = (Origin::new("pictures", ""), folder.name());
    let files = folder.into_files(&mut origin)?;
    read_pages(name, &files, options, origin)
}

/// Reads pictures in this order, as [`read`] does.
///
/// # Errors
/// As [`read`].
pub(super) fn read_files(name: &str, files: &[PathBuf], options: &ReadOptions) -> Result<Dataset> {
    let mut origin = Origin::new("pictures", "");
    folder::note_order("", files, &mut origin);
    read_pages(name.to_string(), files, options, origin)
}

fn read_pages(name: String, files: &[PathBuf], options: &ReadOptions, mut origin: Origin) -> Result<Dataset> {
    let pages = pages(files, options, &mut origin)?;
    let grey = options.grey || pages.iter().all(Page::is_grey);
    let (w, h) = options.size.map_or(pages[0].upright(), |size| (size as u32, size as u32));
    let mut values = Vec::new();
    for (file, page) in files.iter().zip(&pages) {
        let picture = DynamicImage::from_decoder(decoder(file)?).map_err(|cause| unreadable(file, &cause))?;
        let mut picture =
            if grey { DynamicImage::ImageLuma16(picture.to_luma16()) } else { picture.to_rgb32f().into() };
        picture.apply_orientation(page.orientation);
        if let Some(size) = options.size {
            picture = resized(&picture, size as u32, options.fit.unwrap_or_default());
        }
        append(&picture, grey, &mut values);
    }
    let channels = if grey { 1 } else { 3 };
    let plane = h as usize * w as usize;
    let equal = |picture: &[f32]| {
        picture[..plane] == picture[plane..2 * plane] && picture[plane..2 * plane] == picture[2 * plane..]
    };
    if !grey && values.chunks_exact(3 * plane).all(equal) {
        origin.choice("the three channels of all pictures are equal", "--grey reads one channel");
    }
    let data = Dataset::new(name, [channels, h as usize, w as usize], values)?;
    Ok(Dataset { kind: Kind::Images, origin, ..data })
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;
    use std::fs;
    use std::path::Path;

    use super::super::options::Fit;
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
        assert!(!notes(&data).contains("are equal"), "{}", notes(&data));
        assert_eq!((data.shape.clone(), data.len()), (vec![3, 2, 3], 3));
        assert_eq!([data.sample(2)[0], data.sample(2)[6], data.sample(2)[12]], [1.0, 0.0, 0.2]);
    }

    #[test]
    fn equal_channels_are_said() {
        let dir = tempfile::tempdir().unwrap();
        RgbImage::from_fn(3, 2, |x, _| Rgb([x as u8; 3])).save(dir.path().join("a.bmp")).unwrap();
        let text = notes(&load(dir.path()));
        assert!(text.contains("channels of all pictures are equal (otherwise: --grey reads one channel)"), "{text}");
    }

    #[test]
    fn bad_folders_say_why() {
        let dir = tempfile::tempdir().unwrap();
        assert!(refusal(dir.path()).contains("it is empty"));
        fs::write(dir.path().join("digits.npz"), b"x").unwrap();
        assert!(refusal(dir.path()).contains("it contains digits.npz"));

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

    fn with(folder: &Path, options: ReadOptions) -> Dataset {
        Dataset::load_with(folder.to_str().unwrap(), 0, &options).unwrap()
    }

    fn notes(data: &Dataset) -> String {
        data.origin.notes.iter().map(|note| note.to_string()).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn files_are_in_natural_order() {
        let dir = tempfile::tempdir().unwrap();
        for i in 0..12u8 {
            GrayImage::from_pixel(1, 1, Luma([i * 5])).save(dir.path().join(format!("{i}.png"))).unwrap();
        }
        let data = load(dir.path());
        assert!(data.values.iter().enumerate().all(|(i, v)| (v - i as f32 * 5.0 / 255.0).abs() < 1e-4), "{data:?}");
        assert!(notes(&data).contains("numbers in their names, 0.png to 11.png"), "{}", notes(&data));
        for (a, b) in
            [("2", "10"), ("a2b", "a10a"), ("img_9.png", "img_10.png"), ("a", "b"), ("07", "8"), ("x01", "x1")]
        {
            assert_eq!(
                (natural(a, b), natural(b, a), natural(a, a)),
                (Ordering::Less, Ordering::Greater, Ordering::Equal)
            );
        }
    }

    #[test]
    fn every_format_is_read_and_the_rest_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let picture = RgbImage::from_pixel(4, 3, Rgb([255, 0, 51]));
        for name in ["a.png", "b.webp", "c.tif", "d.bmp", "e.gif"] {
            picture.save(dir.path().join(name)).unwrap();
        }
        fs::create_dir(dir.path().join("more")).unwrap();
        fs::write(dir.path().join("notes.txt"), b"x").unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(dir.path().join("gone.png"), dir.path().join("f.png")).unwrap();
        let data = load(dir.path());
        assert_eq!((data.len(), data.shape.clone()), (5, vec![3, 3, 4]));
        assert!((0..5).all(|i| (data.sample(i)[0] - 1.0).abs() < 1e-3 && (data.sample(i)[24] - 0.2).abs() < 1e-3));
        let text = notes(&data);
        assert!(
            text.contains("1 other file left out: notes.txt") && text.contains("1 subfolder left out: more"),
            "{text}"
        );
        #[cfg(unix)]
        assert!(text.contains("1 broken link left out: f.png"), "{text}");

        fs::remove_dir_all(dir.path().join("more")).unwrap();
        for name in ["h.ppm", "i.tga"] {
            picture.save(dir.path().join(name)).unwrap();
        }
        assert_eq!(load(dir.path()).len(), 7);
    }

    #[test]
    fn subfolders_are_classes() {
        let dir = tempfile::tempdir().unwrap();
        for (i, name) in ["dogs/10.png", "dogs/9.png", "cats/a.png", "cats/more/b.png", "cats/c.png"].iter().enumerate()
        {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            GrayImage::from_pixel(1, 1, Luma([50 * i as u8])).save(path).unwrap();
        }
        fs::create_dir(dir.path().join("empty")).unwrap();
        fs::write(dir.path().join("cats/notes.txt"), b"x").unwrap();
        let data = load(dir.path());
        let levels: Vec<f32> = data.values.iter().map(|v| (v * 255.0).round()).collect();
        assert_eq!(levels, [100.0, 200.0, 150.0, 50.0, 0.0]);
        let text = notes(&data);
        for words in [
            "in 2 subfolders, one for each class: cats (3), dogs (2) (otherwise: name one of them, such as",
            "evaluate --labels",
            "dogs: in the order of the numbers in their names, 9.png to 10.png",
            "1 other file left out: notes.txt",
            "1 subfolder left out: empty",
        ] {
            assert!(text.contains(words), "no {words:?} in: {text}");
        }
        let labels = super::super::Labels::load(dir.path().to_str().unwrap()).unwrap();
        assert_eq!((labels.of, labels.names), (vec![0, 0, 0, 1, 1], vec!["cats".to_string(), "dogs".to_string()]));
        let part = super::super::Labels::load(&format!("{}[2:4]", dir.path().display())).unwrap();
        assert_eq!((part.of, part.names.len()), (vec![0, 1], 2));
        // One subfolder is a folder of pictures.
        fs::remove_dir_all(dir.path().join("dogs")).unwrap();
        assert!(notes(&load(dir.path())).contains("in 1 subfolder: cats (3)"));
        assert!(
            super::super::Labels::load(dir.path().to_str().unwrap()).unwrap_err().to_string().contains("two classes")
        );
        let message = super::super::Labels::load(dir.path().join("cats").to_str().unwrap()).unwrap_err().to_string();
        assert!(message.contains("a subfolder of pictures or sounds for each class"), "{message}");
    }

    #[test]
    fn a_depth_of_16_bits_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let grey = image::ImageBuffer::from_fn(2, 1, |x, _| Luma([[1u16, 65_534][x as usize]]));
        grey.save(dir.path().join("a.png")).unwrap();
        let data = load(dir.path());
        assert_eq!(data.values, [1.0 / 65_535.0, 65_534.0 / 65_535.0]);
        assert_eq!(data.origin.element, "16 bits or more per channel");
        let rgb = image::ImageBuffer::from_fn(2, 1, |x, _| Rgb([[1u16, 65_534][x as usize], 2, 3]));
        rgb.save(dir.path().join("a.png")).unwrap();
        assert!((load(dir.path()).values[0] - 1.0 / 65_535.0).abs() < 1e-9);
    }

    /// A JPEG of a dark left and a bright right half, with an EXIF orientation.
    fn oriented(orientation: u8) -> Vec<u8> {
        let mut jpeg = Vec::new();
        let picture = GrayImage::from_fn(16, 8, |x, _| Luma([if x < 8 { 0 } else { 255 }]));
        picture.write_to(&mut std::io::Cursor::new(&mut jpeg), image::ImageFormat::Jpeg).unwrap();
        let mut exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
        exif.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
        let len = (exif.len() as u16 + 2).to_be_bytes();
        [&jpeg[..2], &[0xff, 0xe1], &len, &exif, &jpeg[2..]].concat()
    }

    #[test]
    fn pictures_are_upright() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.jpg"), oriented(6)).unwrap();
        GrayImage::from_pixel(8, 16, Luma([255])).save(dir.path().join("b.png")).unwrap();
        let data = load(dir.path());
        assert_eq!(data.shape, [1, 16, 8]);
        // The stored left half is the upper half.
        assert!(data.sample(0)[..48].iter().all(|v| *v < 0.1) && data.sample(0)[80..].iter().all(|v| *v > 0.9));
        assert!(notes(&data).contains("1 picture turned upright"), "{}", notes(&data));
    }

    #[test]
    fn pictures_are_scaled_to_one_size() {
        let dir = tempfile::tempdir().unwrap();
        let halves = |w: u32, h: u32| GrayImage::from_fn(w, h, |x, _| Luma([if x < w / 2 { 0 } else { 255 }]));
        halves(40, 20).save(dir.path().join("a.png")).unwrap();
        halves(20, 20).save(dir.path().join("b.png")).unwrap();
        assert!(refusal(dir.path()).contains("--size 64"));
        let read = |fit| with(dir.path(), ReadOptions { size: Some(8), fit: Some(fit), ..ReadOptions::default() });
        for fit in [Fit::Crop, Fit::Stretch] {
            let data = read(fit);
            assert_eq!((data.shape.clone(), data.sample(0)[0], data.sample(0)[7]), (vec![1, 8, 8], 0.0, 1.0), "{fit}");
        }
        let padded = read(Fit::Pad);
        assert_eq!((padded.sample(0)[7], padded.sample(0)[4 * 8 + 7], padded.sample(1)[7]), (0.0, 1.0, 1.0));

        RgbImage::from_pixel(8, 8, Rgb([255, 255, 255])).save(dir.path().join("c.png")).unwrap();
        let size = Some(8);
        assert_eq!(with(dir.path(), ReadOptions { size, ..ReadOptions::default() }).shape, [3, 8, 8]);
        let grey = with(dir.path(), ReadOptions { size, grey: true, ..ReadOptions::default() });
        assert_eq!((grey.shape.clone(), grey.sample(2)[0]), (vec![1, 8, 8], 1.0));
    }
}
