use super::super::{Labels, Missing, Normalisation, ReadOptions};
use super::*;
use tempfile::TempDir;

fn at(dir: &TempDir, name: &str) -> String {
    dir.path().join(name).to_string_lossy().into_owned()
}

/// The samples of `data`, written and read again as a file and as parts.
fn again(dir: &TempDir, data: &Dataset, element: Option<ElementType>, most: u64) -> [Dataset; 2] {
    let array = ArrayOfSamples::new(data, element).unwrap();
    let (file, parts) = (dir.path().join("file.npy"), dir.path().join("parts"));
    array.save(&file, &mut |_| Ok(())).unwrap();
    let mut done = Vec::new();
    let files = array
        .save_parts(&parts, most, &mut |n| {
            done.push(n);
            Ok(())
        })
        .unwrap();
    assert_eq!((done.last(), std::fs::read_dir(&parts).unwrap().count()), (Some(&data.len()), files));
    assert!(files > 1, "one part");
    let options = ReadOptions { kind: Some(data.kind()), ..ReadOptions::default() };
    [file, parts].map(|path| Dataset::load_with(path.to_str().unwrap(), 0, &options).unwrap())
}

fn assert_same(data: &Dataset, again: &Dataset) {
    assert_eq!((again.kind(), &again.shape), (data.kind(), &data.shape));
    assert!(again.values.iter().zip(&data.values[..]).all(|(a, b)| a.to_bits() == b.to_bits()), "the values differ");
    assert_eq!(again.len(), data.len());
    assert_eq!(again.columns.offset, data.columns.offset);
    for normalisation in [Normalisation::standard, Normalisation::range] {
        assert_eq!(normalisation(again).unwrap(), normalisation(data).unwrap());
    }
}

#[test]
fn a_table_with_labels_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let row = |i: usize| {
        let kind = ["a", "b, c", "d"][i % 3];
        format!(
            "{},{},{},\"{kind}\"\n",
            1.7e9 + 0.25 * i as f64,
            i * i,
            if i == 7 { "".into() } else { format!("0.{i}") }
        )
    };
    let table = at(&dir, "t.csv");
    std::fs::write(&table, format!("t,n,v,kind\n{}", (0..60).map(row).collect::<String>())).unwrap();
    let labels = format!("{table}:kind");
    let options = ReadOptions { missing: Some(Missing::Drop), ..ReadOptions::default() }.for_labels(&table, &labels);
    let data = Dataset::load_with(&table, 0, &options).unwrap().with_labels(Labels::load(&labels).unwrap()).unwrap();
    assert!(!data.columns.offset.is_empty() && data.len() == 59);
    for read in again(&dir, &data, None, 100) {
        assert_same(&data, &read);
    }
    assert_eq!(ArrayOfSamples::new(&data, None).unwrap().element(), ElementType::Float64);
    let message = ArrayOfSamples::new(&data, Some(ElementType::Float32)).unwrap_err().to_string();
    assert!(message.contains("float32 would change column t by") && message.contains("--dtype float64"), "{message}");
    let of = data.conditions().labels.as_ref().unwrap();
    let path = of.save(&dir.path().join("t-labels")).unwrap();
    assert_eq!(path.file_name().unwrap(), "t-labels.csv");
    let read = Labels::load(path.to_str().unwrap()).unwrap();
    assert_eq!((read.of, read.names), (of.of.clone(), of.names.clone()));
}

#[test]
fn images_are_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let pictures = dir.path().join("pictures");
    std::fs::create_dir(&pictures).unwrap();
    for i in 0..5u8 {
        let pixel = |x: u32, y: u32| image::Rgb([i * 50, (x * 16 + y) as u8, 255 - x as u8]);
        image::RgbImage::from_fn(16, 16, pixel).save(pictures.join(format!("{i}.png"))).unwrap();
    }
    let data = Dataset::load(pictures.to_str().unwrap(), 0).unwrap();
    for element in [ElementType::Float32, ElementType::Uint8] {
        for read in again(&dir, &data, Some(element), 2000) {
            assert_same(&data, &read);
        }
        assert_eq!(ArrayOfSamples::new(&data, Some(element)).unwrap().loss(), None);
    }
    let half = ArrayOfSamples::new(&data, Some(ElementType::Float16)).unwrap();
    assert!(half.loss().unwrap().starts_with("values are rounded by up to 0.0"), "{:?}", half.loss());
}

#[test]
fn windows_of_a_recording_are_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let values: Vec<f32> = (0..500).map(|i| (i as f32 * 0.3).sin()).collect();
    super::super::tests::save(&dir.path().join("r.npy"), &[2], &values).unwrap();
    let options = ReadOptions { window: Some(32), hop: Some(8), ..ReadOptions::default() };
    let data = Dataset::load_with(&at(&dir, "r.npy"), 0, &options).unwrap();
    assert_eq!(data.shape, [2, 32]);
    for read in again(&dir, &data, None, 700) {
        assert_same(&data, &read);
    }
    let single = ReadOptions { window: Some(1), ..ReadOptions::default() };
    super::super::tests::save(&dir.path().join("one.npy"), &[1], &values).unwrap();
    let data = Dataset::load_with(&at(&dir, "one.npy"), 0, &single).unwrap();
    for read in again(&dir, &data, None, 700) {
        assert_same(&data, &read);
    }
}

#[test]
fn an_interrupted_folder_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let data = Dataset::load("sine[0:20]", 0).unwrap();
    let array = ArrayOfSamples::new(&data, None).unwrap();
    let place = dir.path().join("parts");
    let mut stop = |n: usize| if n > 5 { Err(Error::Interrupted("stopped".into())) } else { Ok(()) };
    assert!(array.save_parts(&place, 900, &mut stop).is_err());
    assert!(array.save(&dir.path().join("a.npy"), &mut |_| Err(Error::Interrupted("stopped".into()))).is_err());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "something is left");
    // Parts are replaced by fewer, other files are not.
    assert_eq!(array.save_parts(&place, 900, &mut |_| Ok(())).unwrap(), 10);
    assert_eq!(array.save_parts(&place, 4000, &mut |_| Ok(())).unwrap(), 2);
    assert_eq!(std::fs::read_dir(&place).unwrap().count(), 2);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "something is left");
    std::fs::write(place.join("notes.txt"), "x").unwrap();
    let message = array.save_parts(&place, 900, &mut |_| Ok(())).unwrap_err().to_string();
    assert!(message.contains("contains notes.txt"), "{message}");
    let message = array.save_parts(&dir.path().join("no/parts"), 900, &mut |_| Ok(())).unwrap_err().to_string();
    assert!(message.contains("there is no folder"), "{message}");
}

#[test]
fn parts_that_cannot_be_replaced_stay() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("parts");
    let lost = || {
        let new = beside(&target).unwrap();
        // What cannot be renamed.
        std::fs::remove_dir(new.path()).unwrap();
        new
    };
    assert!(replace_folder(lost(), &target).is_err() && !target.exists());
    std::fs::create_dir(&target).unwrap();
    std::fs::write(target.join(part_name(0)), "old").unwrap();
    let message = replace_folder(lost(), &target).unwrap_err().to_string();
    assert!(message.contains("cannot write") && message.contains("parts"), "{message}");
    assert_eq!(std::fs::read_to_string(target.join(part_name(0))).unwrap(), "old");
    let new = beside(&target).unwrap();
    std::fs::write(new.path().join(part_name(0)), "new").unwrap();
    replace_folder(new, &target).unwrap();
    assert_eq!(std::fs::read_to_string(target.join(part_name(0))).unwrap(), "new");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "something is left");
}

#[test]
fn labels_that_cannot_be_read_again_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let labels = |of: &[u32], names: &[&str]| Labels {
        name: "l".into(),
        of: of.to_vec(),
        classes: 3,
        names: names.iter().map(ToString::to_string).collect(),
    };
    let base = dir.path().join("a-labels");
    assert_eq!(labels(&[0, 2, 1], &[]).save(&base).unwrap().file_name().unwrap(), "a-labels.npy");
    assert_eq!(Labels::load(&at(&dir, "a-labels.npy")).unwrap().of, [0, 2, 1]);
    let message = labels(&[0, 2, 2], &[]).save(&base).unwrap_err().to_string();
    assert!(message.contains("no sample has class 1"), "{message}");
    let message = labels(&[0, 1, 2], &["a", "NA", "b"]).save(&base).unwrap_err().to_string();
    assert!(message.contains("rename the classes"), "{message}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    // Their numbers follow the natural order of their names.
    labels(&[0, 2, 1], &["golden retriever", "grey \"c\" at", "ü z"]).save(&base).unwrap();
    let read = Labels::load(&at(&dir, "a-labels.csv")).unwrap();
    assert_eq!((read.of, &read.names[1][..]), (vec![0, 2, 1], "grey \"c\" at"));
    labels(&[0, 2, 1], &["c2", "c10", "d"]).save(&base).unwrap();
    let read = Labels::load(&at(&dir, "a-labels.csv")).unwrap();
    assert_eq!((read.of, read.names.join(" ")), (vec![0, 2, 1], "c2 c10 d".into()));
}
