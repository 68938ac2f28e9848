//! Folders of pictures.

use std::cmp::Ordering;
use std::fs;
use std::path::{Path, PathBuf};

use image::imageops::FilterType;
use image::metadata::Orientation;
use image::{ColorType, DynamicImage, GenericImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use super::options::{Fit, ReadOptions};
use super::{Dataset, Kind, Origin};
use crate::io::extension;
use crate::text::count;
use crate::{Error, Result};

/// The maximum width and height, which protects against damaged headers.
const LARGEST_SIDE: u32 = 16_384;

/// The maximum depth of subfolders, which protects against links in a circle.
const DEEPEST: usize = 8;

/// The maximum number of names in a list of files that are left out.
const MOST_NAMES: usize = 4;

/// Reads all pictures of a folder, or of its subfolders, in the natural order of their names as `[c, h, w]` in 0..1. There is one channel if all of
/// them are grey, otherwise three. Transparency is ignored.
pub(super) fn read(folder: &Path, options: &ReadOptions) -> Result<Dataset> {
    let mut origin = Origin::new("pictures", "");
    let files = pictures(folder, &mut origin)?;
    let pages = pages(&files, options, &mut origin)?;
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
    let data = Dataset::new(folder.display().to_string(), [channels, h as usize, w as usize], values)?;
    Ok(Dataset { kind: Kind::Images, origin, ..data })
}

/// The properties of a picture.
struct Page {
    size: (u32, u32),
    colour: ColorType,
    orientation: Orientation,
}

impl Page {
    fn of(file: &Path) -> Result<Self> {
        let mut reader = decoder(file)?;
        // A damaged orientation is no orientation, as in browsers.
        let orientation = reader.orientation().unwrap_or(Orientation::NoTransforms);
        Ok(Self { size: reader.dimensions(), colour: reader.color_type(), orientation })
    }

    fn is_grey(&self) -> bool {
        matches!(self.colour, ColorType::L8 | ColorType::L16 | ColorType::La8 | ColorType::La16)
    }

    /// Width and height of the upright picture.
    fn upright(&self) -> (u32, u32) {
        use Orientation::*;
        match self.orientation {
            Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH => (self.size.1, self.size.0),
            _ => self.size,
        }
    }
}

/// The properties of all pictures, which have the same size if they are not resized.
fn pages(files: &[PathBuf], options: &ReadOptions, origin: &mut Origin) -> Result<Vec<Page>> {
    let pages = files.iter().map(|file| Page::of(file)).collect::<Result<Vec<_>>>()?;
    let first = pages[0].upright();
    for (file, page) in files.iter().zip(&pages) {
        let now = page.upright();
        if options.size.is_none() && now != first {
            return Err(Error::input(format!(
                "{}: {} x {} pixels, but {} has {} x {}; all pictures of a folder must have the same size: --size 64 scales \
                 them to 64 x 64 pixels (--fit crop, pad or stretch)",
                file.display(),
                now.0,
                now.1,
                files[0].display(),
                first.0,
                first.1
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

/// Compares names like a reader: 2.png comes before 10.png.
pub(super) fn natural(a: &str, b: &str) -> Ordering {
    let (mut x, mut y) = (a, b);
    loop {
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let (n, m) = (digits(x), digits(y));
        let order = match (n, m, x.chars().next(), y.chars().next()) {
            (_, _, None, None) => return a.cmp(b),
            (0, 0, Some(c), Some(d)) if c == d => {
                (x, y) = (&x[c.len_utf8()..], &y[d.len_utf8()..]);
                continue;
            }
            (1.., 1.., ..) => {
                let (i, j) = (x[..n].trim_start_matches('0'), y[..m].trim_start_matches('0'));
                (x, y) = (&x[n..], &y[m..]);
                i.len().cmp(&j.len()).then(i.cmp(j))
            }
            (_, _, c, d) => c.cmp(&d),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// The content of a folder, each in natural order. Hidden files are ignored.
#[derive(Default)]
struct Listing {
    pictures: Vec<PathBuf>,
    others: Vec<String>,
    folders: Vec<PathBuf>,
    broken: Vec<String>,
}

impl Listing {
    fn of(folder: &Path) -> Result<Self> {
        let mut listing = Self::default();
        let refused = |cause| Error::io("cannot read", folder, cause);
        for entry in fs::read_dir(folder).map_err(refused)? {
            let path = entry.map_err(refused)?.path();
            let name = name_of(&path);
            match (path.is_file(), path.is_dir()) {
                _ if name.starts_with('.') => {}
                (true, _) if is_picture(&path) => listing.pictures.push(path),
                (true, _) => listing.others.push(name),
                (_, true) => listing.folders.push(path),
                _ => listing.broken.push(name),
            }
        }
        [&mut listing.pictures, &mut listing.folders]
            .into_iter()
            .for_each(|paths| paths.sort_by(|a, b| natural(&name_of(a), &name_of(b))));
        [&mut listing.others, &mut listing.broken].into_iter().for_each(|names| names.sort_by(|a, b| natural(a, b)));
        Ok(listing)
    }

    /// Adds the pictures of all folders below, folder by folder.
    fn descend(&mut self, depth: usize) -> Result<()> {
        for folder in std::mem::take(&mut self.folders) {
            let mut below = Self::of(&folder)?;
            if depth < DEEPEST {
                below.descend(depth + 1)?;
            }
            self.pictures.append(&mut below.pictures);
            self.others.append(&mut below.others);
            self.broken.append(&mut below.broken);
            self.folders.append(&mut below.folders);
        }
        Ok(())
    }

    /// Notes what is left out.
    fn note_rest(&self, origin: &mut Origin) {
        for (what, names) in [("other file", &self.others), ("broken link", &self.broken)] {
            if !names.is_empty() {
                origin.note(format!("{} left out: {}", count(names.len(), what), some(names)));
            }
        }
        if let Some(first) = self.folders.first() {
            let names: Vec<String> = self.folders.iter().map(|folder| name_of(folder)).collect();
            let text = format!("{} left out: {}", count(names.len(), "subfolder"), some(&names));
            origin.choice(text, format!("name one of them, such as {}", first.display()));
        }
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Some names of a list.
pub(super) fn some(names: &[String]) -> String {
    let more = if names.len() > MOST_NAMES { ", ..." } else { "" };
    format!("{}{more}", names[..names.len().min(MOST_NAMES)].join(", "))
}

/// Whether a file has the extension of a format that is read.
fn is_picture(path: &Path) -> bool {
    ImageFormat::from_extension(extension(path)).is_some_and(|format| format.reading_enabled())
}

/// Whether a folder or one of its subfolders contains pictures.
pub(super) fn has_pictures(folder: &Path) -> bool {
    let classes = |listing: &Listing| classes_in(listing).is_ok_and(|classes| !classes.is_empty());
    Listing::of(folder).is_ok_and(|listing| !listing.pictures.is_empty() || classes(&listing))
}

/// The pictures of a class.
struct Class {
    name: String,
    pictures: Listing,
}

/// The classes of pictures in a folder that contains no pictures itself: its subfolders.
fn classes_in(listing: &Listing) -> Result<Vec<Class>> {
    let mut classes = Vec::new();
    if listing.pictures.is_empty() {
        for folder in &listing.folders {
            let mut pictures = Listing::of(folder)?;
            pictures.descend(1)?;
            classes.push(Class { name: name_of(folder), pictures });
        }
        classes.retain(|class| !class.pictures.pictures.is_empty());
    }
    Ok(classes)
}

/// The names of the classes of pictures in a folder, and the class of each picture in the order in which they are read.
///
/// # Errors
/// When there are none.
pub(super) fn read_labels(folder: &Path) -> Result<(Vec<f32>, Vec<String>)> {
    let classes = classes_in(&Listing::of(folder)?)?;
    if classes.is_empty() {
        return Err(Error::input(format!(
            "{}: labels are read from folders with a subfolder of pictures or sounds for each class, or from .npy, IDX and table files",
            folder.display()
        )));
    }
    let of = classes.iter().enumerate().flat_map(|(i, class)| vec![i as f32; class.pictures.pictures.len()]).collect();
    Ok((of, classes.into_iter().map(|class| class.name).collect()))
}

/// The pictures in a folder, or else those of its subfolders class by class, in natural order. What is left out is noted.
///
/// # Errors
/// When there are none.
fn pictures(folder: &Path, origin: &mut Origin) -> Result<Vec<PathBuf>> {
    let mut listing = Listing::of(folder)?;
    let classes = classes_in(&listing)?;
    if listing.pictures.is_empty() && classes.is_empty() {
        let folders = listing.folders.iter().map(|folder| name_of(folder)).collect();
        let names = [listing.others, folders].concat();
        let held = match names.is_empty() {
            true => "it is empty".to_string(),
            false => format!("it contains {}; to read one of these, name it", some(&names)),
        };
        return Err(Error::input(format!(
            "{}: a folder without PNG, JPEG, WebP, TIFF, BMP, GIF, PNM or TGA files; {held}",
            folder.display()
        )));
    }
    note_classes(folder, &classes, origin);
    if !classes.is_empty() {
        listing.folders.retain(|folder| classes.iter().all(|class| class.name != name_of(folder)));
        for mut class in classes {
            note_order(&class.name, &class.pictures.pictures, origin);
            listing.pictures.append(&mut class.pictures.pictures);
            listing.others.append(&mut class.pictures.others);
            listing.broken.append(&mut class.pictures.broken);
        }
    } else {
        note_order("", &listing.pictures, origin);
    }
    listing.note_rest(origin);
    if listing.pictures.iter().any(|path| extension(path) == "gif") {
        origin.note("of an animated picture, the first one is read");
    }
    Ok(listing.pictures)
}

fn note_classes(folder: &Path, classes: &[Class], origin: &mut Origin) {
    let Some(first) = classes.first() else { return };
    let folder = folder.display();
    let sizes: Vec<String> =
        classes.iter().map(|class| format!("{} ({})", class.name, class.pictures.pictures.len())).collect();
    let what = if classes.len() == 1 { "subfolder" } else { "subfolders, one for each class" };
    origin.choice(
        format!("the pictures are in {} {what}: {}", classes.len(), some(&sizes)),
        format!("name one of them, such as {folder}/{}", first.name),
    );
    if classes.len() > 1 {
        origin.note(format!("evaluate --labels {folder} compares the classes"));
    }
}

/// Notes the order of pictures where it is not that of a plain list.
fn note_order(class: &str, pictures: &[PathBuf], origin: &mut Origin) {
    let plain = pictures.is_sorted_by(|a, b| a <= b);
    let within = if class.is_empty() { String::new() } else { format!("{class}: ") };
    let (first, last) = (name_of(&pictures[0]), name_of(&pictures[pictures.len() - 1]));
    match plain {
        true if class.is_empty() => origin.note(format!("in the order of their names, {first} to {last}")),
        true => {}
        false => origin.note(format!("{within}in the order of the numbers in their names, {first} to {last}")),
    }
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

/// A picture of `size` x `size` pixels.
fn resized(picture: &DynamicImage, size: u32, fit: Fit) -> DynamicImage {
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
