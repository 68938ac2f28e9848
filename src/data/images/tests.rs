//! What is read from folders and tar files of pictures.

use std::cmp::Ordering;
use std::fs;
use std::path::Path;

use super::super::options::Fit;
use super::super::tests::refusal;
use super::super::{Columns, Labels, Place};
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
    for (a, b) in [("2", "10"), ("a2b", "a10a"), ("img_9.png", "img_10.png"), ("a", "b"), ("07", "8"), ("x01", "x1")] {
        assert_eq!((natural(a, b), natural(b, a), natural(a, a)), (Ordering::Less, Ordering::Greater, Ordering::Equal));
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
    fs::create_dir(dir.path().join(".git")).unwrap();
    fs::write(dir.path().join(".a.png"), b"x").unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(dir.path().join("gone.png"), dir.path().join("f.png")).unwrap();
    let data = load(dir.path());
    assert_eq!((data.len(), data.shape.clone()), (5, vec![3, 3, 4]));
    assert!((0..5).all(|i| (data.sample(i)[0] - 1.0).abs() < 1e-3 && (data.sample(i)[24] - 0.2).abs() < 1e-3));
    let text = notes(&data);
    assert!(text.contains("1 other file left out: notes.txt") && text.contains("1 subfolder left out: more"), "{text}");
    assert!(text.contains("hidden files and folders left out (2): .a.png, .git"), "{text}");
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
    for (i, name) in ["dogs/10.png", "dogs/9.png", "cats/a.png", "cats/more/b.png", "cats/c.png"].iter().enumerate() {
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
    let labels = Labels::load(dir.path().to_str().unwrap()).unwrap();
    assert_eq!((labels.of, labels.names), (vec![0, 0, 0, 1, 1], vec!["cats".to_string(), "dogs".to_string()]));
    let part = Labels::load(&format!("{}[2:4]", dir.path().display())).unwrap();
    assert_eq!((part.of, part.names.len()), (vec![0, 1], 2));
    // One subfolder is a folder of pictures.
    fs::remove_dir_all(dir.path().join("dogs")).unwrap();
    let text = notes(&load(dir.path()));
    assert!(text.contains("in 1 subfolder: cats (3)"), "{text}");
    assert!(text.contains("cats: folder by folder, by their names in natural order, a.png to more/b.png"), "{text}");
    assert!(Labels::load(dir.path().to_str().unwrap()).unwrap_err().to_string().contains("two classes"));
    let message = Labels::load(dir.path().join("cats").to_str().unwrap()).unwrap_err().to_string();
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

/// Writes a tar file.
fn tar(path: &Path, members: &[(&str, &[u8])]) {
    let mut tar = tar::Builder::new(fs::File::create(path).unwrap());
    for (name, content) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, *content).unwrap();
    }
    tar.finish().unwrap();
}

/// A grey picture as a PNG file.
fn png(w: u32, h: u32, level: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    let picture = GrayImage::from_pixel(w, h, Luma([level]));
    picture.write_to(&mut std::io::Cursor::new(&mut bytes), image::ImageFormat::Png).unwrap();
    bytes
}

fn levels(data: &Dataset) -> Vec<f32> {
    data.values.iter().map(|v| (v * 255.0).round()).collect()
}

fn labels(spec: &str) -> (Vec<u32>, Vec<String>) {
    let labels = Labels::load(spec).unwrap();
    (labels.of, labels.names)
}

#[test]
fn a_tar_file_is_read_like_its_folder() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, path) = (dir.path().join("pets"), dir.path().join("pets.tar"));
    let names = ["dogs/10.png", "dogs/9.png", "cats/a.png", "cats/more/b.png", "cats/c.png"];
    for (i, name) in names.iter().enumerate() {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, png(2, 1, 50 * i as u8)).unwrap();
    }
    fs::write(folder.join("cats/notes.txt"), b"x").unwrap();
    // With entries for folders, a hidden folder, and a hidden file as macOS adds them.
    let mut builder = tar::Builder::new(fs::File::create(&path).unwrap());
    builder.append_dir_all("./pets", &folder).unwrap();
    let mut header = tar::Header::new_gnu();
    header.set_size(1);
    for name in ["./pets/cats/._a.png", ".git/a.png", ".git/b/a.png"] {
        builder.append_data(&mut header, name, &b"x"[..]).unwrap();
    }
    builder.finish().unwrap();
    let (on_disk, in_tar) = (load(&folder), load(&path));
    assert_eq!((&in_tar.values, &in_tar.shape), (&on_disk.values, &on_disk.shape));
    assert_eq!(levels(&in_tar)[..4], [100.0, 100.0, 200.0, 200.0]);
    let [folder, path] = [&folder, &path].map(|path| path.to_str().unwrap());
    assert_eq!(labels(path), labels(folder));
    let text = notes(&in_tar);
    for words in [
        "in 2 subfolders, one for each class: cats (3), dogs (2) (otherwise: name one of them, such as",
        "pets.tar:cats)",
        "dogs: in the order of the numbers in their names, 9.png to 10.png",
        "1 other file left out: notes.txt",
        "hidden files and folders left out (2): ._a.png, .git",
    ] {
        assert!(text.contains(words), "no {words:?} in: {text}");
    }
    let dogs = Dataset::load(&format!("{path}:dogs"), 0).unwrap();
    assert_eq!((levels(&dogs), dogs.len()), (vec![50.0, 50.0, 0.0, 0.0], 2));
    let message = Dataset::load(&format!("{path}:birds"), 0).unwrap_err().to_string();
    assert!(message.contains("has no folder birds; there are: cats, dogs"), "{message}");
    let part = Dataset::load(&format!("{path}[1:4]"), 0).unwrap();
    assert_eq!((part.values, labels(&format!("{path}[1:4]")).0), (on_disk.values[2..8].to_vec().into(), vec![0, 0, 1]));
}

#[test]
fn members_have_classes_as_in_webdataset() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
    let [a, b, c] = [10, 20, 30].map(|level| png(2, 1, level));
    let shard = |name: &str, classes: [&str; 2], first: usize| {
        let names: Vec<String> =
            (first..first + 2).flat_map(|i| ["png", "cls", "json"].map(|e| format!("{i:04}.{e}"))).collect();
        let members = [&a[..], classes[0].as_bytes(), b"{}", &b, classes[1].as_bytes(), b"{}"];
        tar(&dir.path().join(name), &names.iter().map(String::as_str).zip(members).collect::<Vec<_>>());
    };
    shard("n-2.tar", ["1\n", "0"], 0);
    shard("n-10.tar", ["2", " 1"], 2);
    let data = Dataset::load(&at("n-*.tar"), 0).unwrap();
    assert_eq!((levels(&data), data.len()), (vec![10.0, 10.0, 20.0, 20.0, 10.0, 10.0, 20.0, 20.0], 4));
    assert_eq!(labels(&at("n-*.tar")), (vec![1, 0, 2, 1], vec![]));
    assert_eq!(labels(&at("n-2.tar")).0, [1, 0]);
    let text = notes(&data);
    for words in [
        "the members NAME.cls have 3 classes: 0 (1), 1 (2), 2 (1)",
        "2 tar files, 4 pictures: n-2.tar to n-10.tar, one after the other, by their names in each, in natural order",
        "4 other files left out",
    ] {
        assert!(text.contains(words), "no {words:?} in: {text}");
    }
    // Words, in natural order, and folders that are no classes.
    tar(&dir.path().join("w.tar"), &[("x/1.png", &a), ("x/1.cls", b"bee 10"), ("y/1.png", &b), ("y/1.cls", b"bee 9")]);
    assert_eq!(labels(&at("w.tar")), (vec![1, 0], vec!["bee 9".to_string(), "bee 10".into()]));
    let text = notes(&Dataset::load(&at("w.tar"), 0).unwrap());
    assert!(text.contains("folder by folder, by their names in natural order, x/1.png to y/1.png"), "{text}");

    let refused = |spec: &str| Labels::load(&at(spec)).unwrap_err().to_string();
    tar(&dir.path().join("m.tar"), &[("1.png", &a), ("1.cls", b"0"), ("2.png", &b), ("3.png", &c), ("3.cls", b"1")]);
    let some = Dataset::load(&at("m.tar"), 0).unwrap();
    assert!(some.len() == 3 && notes(&some).contains("1 picture without a class, such as"), "{}", notes(&some));
    tar(&dir.path().join("l.tar"), &[("1.png", &a), ("1.cls", b"0"), ("2.png", &b), ("2.cls", b"1"), ("3.cls", b"1")]);
    let text = notes(&Dataset::load(&at("l.tar"), 0).unwrap());
    assert!(text.contains("1 other file left out: 3.cls"), "{text}");
    assert!(refused("m.tar").contains("m.tar:2.png: there is no class for this picture; add the member 2.cls"));
    tar(&dir.path().join("p.tar"), &[("1.left.png", &a), ("1.right.png", &b), ("1.cls", b"0")]);
    assert!(refused("p.tar").contains("both 1.left.png and 1.right.png belong to 1.cls"), "{}", refused("p.tar"));
    tar(&dir.path().join("u.tar"), &[("1.png", &a), ("2.png", &b)]);
    assert!(refused("u.tar").contains("a member NAME.cls for each picture"), "{}", refused("u.tar"));
    assert!(refused("[nu]*.tar").contains("u.tar: no classes, but"), "{}", refused("[nu]*.tar"));
}

#[test]
fn the_last_member_of_a_name_counts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.tar");
    let [a, b, c] = [10, 20, 30].map(|level| png(1, 1, level));
    tar(&path, &[("1.png", &a), ("1.cls", b"0"), ("2.png", &b), ("2.cls", b"0"), ("1.png", &c), ("1.cls", b"1")]);
    assert_eq!(levels(&load(&path)), [30.0, 20.0]);
    assert_eq!(labels(path.to_str().unwrap()).0, [1, 0]);
}

/// Only a folder that contains everything in all of them is none of the classes.
#[test]
fn tar_files_can_have_a_class_each() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
    let [a, b] = [10, 20].map(|level| png(1, 1, level));
    tar(&dir.path().join("1.tar"), &[("pets/cats/1.png", &a), ("pets/cats/2.png", &a)]);
    tar(&dir.path().join("2.tar"), &[("pets/dogs/1.png", &b)]);
    assert_eq!(labels(&at("*.tar")), (vec![0, 0, 1], vec!["cats".to_string(), "dogs".into()]));
    for part in ["2.tar:dogs", "2.tar:pets", "2.tar:pets/dogs"] {
        assert_eq!(levels(&Dataset::load(&at(part), 0).unwrap()), [20.0], "{part}");
    }
    let deep = format!("cats/{}3.png", "x/".repeat(20));
    tar(&dir.path().join("3.tar"), &[(&deep, &a), ("dogs/1.png", &b)]);
    assert_eq!(labels(&at("3.tar")).0, [0, 1]);
}

#[test]
fn bad_tar_files_say_why() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.tar");
    let good = png(2, 1, 9);
    let said = |words: &str| {
        let message = refusal(&path);
        assert!(message.contains(words) && message.contains("a.tar"), "no {words:?} in: {message}");
    };
    fs::write(&path, [0; 10_240]).unwrap();
    said("a tar file without PNG, JPEG, WebP, TIFF, BMP, GIF, PNM or TGA files; it is empty");
    fs::write(&path, b"").unwrap();
    said("the file is empty (0 bytes)");
    fs::write(&path, b"no tar file at all, but some text".repeat(40)).unwrap();
    said("not a readable tar file");
    tar(&path, &[("a.txt", b"x"), ("b.txt", b"x")]);
    said("it contains a.txt, b.txt; unpack it to read other files");
    tar(&path, &[("1.png", &good), ("2.png", &good[..40])]);
    said("a.tar:2.png: not a readable picture");
    tar(&path, &[("1.png", &good), ("2.png", &png(3, 1, 9))]);
    said("a.tar:2.png: 3 x 1 pixels, but");
    tar(&path, &[("1.png", &good), ("2.png", &png(90, 90, 9))]);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..1600]).unwrap();
    said("a.tar:2.png: the tar file ends within this member; copy it again");
    tar(&path, &[("1.png", &good), ("1.cls", &[b'a'; 1001])]);
    said("a.tar:1.cls: 1001 bytes; the name of a class has at most 1000");
    tar(&path, &[("1.png", &good), ("1.cls", &[0xff])]);
    said("a.tar:1.cls: the class cannot be read");
    tar(&path, &[("1.png", &good), ("1.cls", b"\n")]);
    said("a.tar:1.cls: is empty; write the class into it");
    fs::write(&path, b"\x1f\x8b\x08").unwrap();
    said("compressed, although it is not named so");
    tar(&path, &[(&format!("{}1.png", "a/".repeat(5000)), &good)]);
    said("a name has more than 64 folders");
    let packed = dir.path().join("a.tar.gz");
    fs::write(&packed, b"\x1f\x8b").unwrap();
    assert!(refusal(&packed).contains("unpack it, such as with: gunzip -k"), "{}", refusal(&packed));
    // Files that are not tar files are not read with them.
    fs::write(dir.path().join("b.npy"), b"x").unwrap();
    let message = Dataset::load(&format!("{}/?.*", dir.path().display()), 0).unwrap_err().to_string();
    assert!(message.contains("read together with other tar files only"), "{message}");
}

#[test]
fn pictures_on_disk_have_the_values_of_those_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let mut members = Vec::new();
    for i in 0..37u32 {
        let mut bytes = Vec::new();
        let picture = RgbImage::from_fn(9 + i % 3, 8, |x, y| Rgb([(x * 20 + i) as u8, (y * 30) as u8, (x * y) as u8]));
        picture.write_to(&mut std::io::Cursor::new(&mut bytes), image::ImageFormat::Png).unwrap();
        members.push((format!("{i}.png"), bytes));
    }
    members.push(("38.jpg".into(), oriented(6)));
    let members: Vec<(&str, &[u8])> = members.iter().map(|(name, bytes)| (&name[..], &bytes[..])).collect();
    tar(&dir.path().join("a.tar"), &members);
    members.iter().for_each(|(name, bytes)| fs::write(dir.path().join(name), bytes).unwrap());
    for (options, range) in [
        (ReadOptions { size: Some(7), ..ReadOptions::default() }, ""),
        (ReadOptions { size: Some(5), fit: Some(Fit::Pad), grey: true, ..ReadOptions::default() }, "[3:29]"),
    ] {
        for name in ["", "a.tar", "*[0-9].*"] {
            let spec = format!("{}/{name}{range}", dir.path().display());
            let read = |place| Dataset::load_with(&spec, 0, &ReadOptions { place: Some(place), ..options.clone() });
            let (memory, disk) = (read(Place::Memory).unwrap(), read(Place::Disk).unwrap());
            let (stored, len) = (disk.values.stored().unwrap(), memory.sample_len());
            assert!(memory.values.stored().is_none() && memory.origin == disk.origin, "{:?}", disk.origin);
            assert_eq!((&memory.shape, memory.checksum()), (&disk.shape, disk.checksum()), "{spec}");
            assert_eq!(stored.read(0..memory.values.len()).unwrap(), memory.values[..]);
            // From the middle of a picture, and single ones in another order.
            assert_eq!(stored.read(3..2 * len + 5).unwrap(), memory.values[3..2 * len + 5]);
            let some = disk.samples([20, 3, 4, 11].into_iter()).unwrap();
            assert!(some.chunks(len).zip([20, 3, 4, 11]).all(|(values, i)| values == memory.sample(i)));
            let columns = Columns { offset: vec![0.25], ..Columns::default() };
            let (memory, disk) = (memory.relative_to(&columns).unwrap(), disk.relative_to(&columns).unwrap());
            assert_eq!((&memory.values[..], memory.checksum()), (&disk.values.to_vec()[..], disk.checksum()));
        }
    }
}
