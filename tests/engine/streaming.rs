//! Training on data that stay in their files.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use langevin::data::{Dataset, Labels, Missing, Place, ReadOptions};
use langevin::nn::{ConditionOptions, Model};
use langevin::train::{Config, Task, Trainer};
use langevin::{Device, Error, Slab};

use crate::common::{On, Test, always, named, on};

pub fn tests() -> Vec<Test> {
    let mut tests = on(&[On::Gpu, On::Cpu], named![data_on_disk_train_as_those_in_memory]);
    tests.extend(always(named![
        a_resumed_training_continues_on_disk,
        incomplete_samples_and_their_classes_are_streamed,
        data_that_do_not_fit_the_device_are_uploaded_during_the_training,
        a_file_that_becomes_shorter_is_an_error,
        pictures_are_decoded_during_the_training,
        a_picture_that_is_damaged_during_the_training_is_named,
        an_outlier_on_disk_is_named,
        what_cannot_be_read_by_parts_is_refused,
    ]));
    tests
}

/// Writes a `.npy` file.
fn write(folder: &Path, name: &str, element: &str, shape: &[usize], bytes: &[u8]) -> PathBuf {
    let dims: String = shape.iter().map(|dim| format!("{dim}, ")).collect();
    let text = format!("{{'descr': '{element}', 'fortran_order': False, 'shape': ({dims}), }}");
    let text = format!("{text:<0$}\n", (text.len() + 11).next_multiple_of(64) - 11);
    let path = folder.join(name);
    let start = [&b"\x93NUMPY\x01\x00"[..], &(text.len() as u16).to_le_bytes(), text.as_bytes()].concat();
    fs::write(&path, [&start, bytes].concat()).unwrap();
    path
}

fn load(path: &Path, place: Place) -> langevin::Result<Dataset> {
    Dataset::load_with(path.to_str().unwrap(), 0, &ReadOptions { place: Some(place), ..ReadOptions::default() })
}

/// Pseudo-random bytes.
fn noise(n: usize) -> Vec<u8> {
    (0..n as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

fn config(validation: f64) -> Config {
    Config { batch: 100, validation, ema: 0.9, ..Config::for_model("simple").unwrap() }
}

/// The losses of some steps, the weights after them, and the validation loss.
fn trained(device: &Device, config: &Config, data: &Dataset, steps: u32) -> (Vec<f64>, Vec<f32>, Option<f64>) {
    let mut trainer = Trainer::new(device, config, data).unwrap();
    let losses = trainer.advance(steps).unwrap();
    let weights = trainer.run().read_slab(Slab::Params).unwrap();
    (losses, weights, trainer.validate().unwrap())
}

fn data_on_disk_train_as_those_in_memory(on: On) {
    let device = on.open();
    let folder = tempfile::tempdir().unwrap();
    // Half of the samples, in training and in validation, are more than are uploaded at once.
    let (n, steps) = (24_000, 125);
    let images = write(folder.path(), "images.npy", "|u1", &[n, 1, 28, 28], &noise(n * 784));
    let rows: Vec<u8> = noise(2 * n * 784).chunks(2).flat_map(|b| (1e6 + f64::from(b[0])).to_le_bytes()).collect();
    let wide = write(folder.path(), "wide.npy", "<f8", &[n, 784], &rows);
    for path in [images, wide] {
        let [memory, disk] = [Place::Memory, Place::Disk].map(|place| load(&path, place).unwrap());
        assert_eq!((memory.shape.clone(), memory.columns.clone()), (disk.shape.clone(), disk.columns.clone()));
        assert_eq!(memory.ranges().unwrap(), disk.ranges().unwrap());
        let [resident, streamed] = [&memory, &disk].map(|data| trained(&device, &config(0.5), data, steps));
        assert!(resident == streamed, "{device}: {:?} and {:?}", resident.0.last(), streamed.0.last());
        // Half of the samples are training data, the others validation data.
        let trainer = |data| Trainer::new(&Device::cpu(), &config(0.5), data).unwrap();
        assert!(trainer(&memory).waited_for_data().is_none() && trainer(&disk).waited_for_data().is_some());
        let all = 4 * memory.values.len() as u64;
        assert!(trainer(&disk).allocated() + all / 4 * 3 < trainer(&memory).allocated());
    }
}

/// A part of the data, in micro-batches, continued at a step in the middle of those that are uploaded together.
fn a_resumed_training_continues_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let values: Vec<u8> = noise(14_000 * 784).iter().flat_map(|b| (1e9 + f64::from(*b)).to_be_bytes()).collect();
    let path = write(folder.path(), "wide.npy", ">f8", &[14_000, 784], &values);
    let part = PathBuf::from(format!("{}[1000:13500]", path.display()));
    let config = Config { micro_batch: 30, ..config(0.0) };
    let [memory, disk] = [Place::Memory, Place::Disk].map(|place| load(&part, place).unwrap());
    let whole = trained(&Device::cpu(), &config, &memory, 60);
    let mut first = Trainer::new(&Device::cpu(), &config, &disk).unwrap();
    let mut losses = first.advance(37).unwrap();
    let mut second = Trainer::new(&Device::cpu(), &config, &disk).unwrap();
    second.restore(&first.checkpoint().unwrap()).unwrap();
    losses.extend(second.advance(23).unwrap());
    assert!(second.waited_for_data().is_some());
    assert!((losses, second.run().read_slab(Slab::Params).unwrap(), None) == whole);
}

fn incomplete_samples_and_their_classes_are_streamed() {
    let folder = tempfile::tempdir().unwrap();
    let n = 100_000;
    let value = |i: usize| if i.is_multiple_of(7) { f32::NAN } else { (i as f32 * 0.37).sin() };
    let bytes: Vec<u8> = (0..n * 100).flat_map(|i| value(i).to_le_bytes()).collect();
    let path = write(folder.path(), "gaps.npy", "<f4", &[n, 100], &bytes);
    let mask = Some("point:0.3".parse().unwrap());
    let conditions = ConditionOptions::default().classes(3).given(2);
    let model = Model::named("mlp").unwrap().with_conditions(conditions).unwrap();
    let config = Config { batch: 50, model, task: Task::Complete, mask, ..Config::default() };
    let results = [Place::Memory, Place::Disk].map(|place| {
        let options = ReadOptions { place: Some(place), missing: Some(Missing::Keep), ..ReadOptions::default() };
        let data = Dataset::load_with(path.to_str().unwrap(), 0, &options).unwrap();
        let labels = Labels::new("labels", &(0..n).map(|i| (i % 3) as f32).collect::<Vec<_>>()).unwrap();
        let data = data.with_labels(labels).unwrap();
        trained(&Device::cpu(), &config, &data, 30)
    });
    assert!(results[0] == results[1]);
}

fn data_that_do_not_fit_the_device_are_uploaded_during_the_training() {
    let values = noise(24_000 * 784).into_iter().map(f32::from).collect();
    let data = Dataset::new("images", [1, 28, 28], values).unwrap();
    let small = Device::cpu().with_memory(64 << 20);
    let [all, parts] = [Device::cpu(), small].map(|device| trained(&device, &config(0.0), &data, 40));
    assert!(all == parts);
}

fn a_file_that_becomes_shorter_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let n = 30_000;
    let path = write(folder.path(), "images.npy", "|u1", &[n, 1, 28, 28], &noise(n * 784));
    let data = load(&path, Place::Disk).unwrap();
    let mut trainer = Trainer::new(&Device::cpu(), &config(0.0), &data).unwrap();
    trainer.advance(3).unwrap();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(1000).unwrap();
    let e = trainer.advance(1000).unwrap_err();
    assert!(
        matches!(&e, Error::Io { path, source, .. } if path.ends_with("images.npy") && source.to_string().contains("shorter")),
        "{e:?}"
    );
}

/// 12,000 grey pictures of 28 x 28 pixels in three folders, as a tar file, with the position of the last one.
fn pictures(folder: &Path) -> (PathBuf, u64) {
    let path = folder.join("pictures.tar");
    let mut tar = tar::Builder::new(fs::File::create(&path).unwrap());
    let levels = noise(12_000 * 784);
    let mut last = 0;
    for (i, levels) in levels.chunks(784).enumerate() {
        let picture = image::GrayImage::from_raw(28, 28, levels.to_vec()).unwrap();
        let mut bytes = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut bytes, image::ImageFormat::Pnm).unwrap();
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.get_ref().len() as u64);
        last = fs::metadata(&path).unwrap().len();
        tar.append_data(&mut header, format!("class {}/{i:05}.pgm", i % 3), &bytes.get_ref()[..]).unwrap();
    }
    tar.finish().unwrap();
    (path, last)
}

fn pictures_are_decoded_during_the_training() {
    let folder = tempfile::tempdir().unwrap();
    let (tar, _) = pictures(folder.path());
    let unpacked = folder.path().join("pictures");
    tar::Archive::new(fs::File::open(&tar).unwrap()).unpack(&unpacked).unwrap();
    let conditions = ConditionOptions::default().classes(3);
    let model = Model::named("mlp").unwrap().with_conditions(conditions).unwrap();
    let config = Config { batch: 50, model, validation: 0.05, ..Config::default() };
    let read =
        |path: &Path, place| load(path, place).unwrap().with_labels(Labels::load(path.to_str().unwrap()).unwrap());
    let memory = read(&tar, Place::Memory).unwrap();
    let whole = trained(&Device::cpu(), &config, &memory, 30);
    for path in [&tar, &unpacked] {
        let disk = read(path, Place::Disk).unwrap();
        let mut first = Trainer::new(&Device::cpu(), &config, &disk).unwrap();
        let mut losses = first.advance(17).unwrap();
        let mut second = Trainer::new(&Device::cpu(), &config, &disk).unwrap();
        second.restore(&first.checkpoint().unwrap()).unwrap();
        losses.extend(second.advance(13).unwrap());
        assert!(second.waited_for_data().is_some());
        let weights = second.run().read_slab(Slab::Params).unwrap();
        assert!((losses, weights, second.validate().unwrap()) == whole, "{}", path.display());
    }
}

fn a_picture_that_is_damaged_during_the_training_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (path, last) = pictures(folder.path());
    let data = load(&path, Place::Disk).unwrap();
    let mut trainer = Trainer::new(&Device::cpu(), &config(0.0), &data).unwrap();
    trainer.advance(3).unwrap();
    // In place: batches are read ahead meanwhile, and all other pictures stay whole.
    let mut file = fs::File::options().write(true).open(&path).unwrap();
    let damage = vec![b'x'; (file.metadata().unwrap().len() - last) as usize];
    file.seek(SeekFrom::Start(last)).and_then(|_| file.write_all(&damage)).unwrap();
    let e = trainer.advance(1000).unwrap_err();
    assert!(
        matches!(&e, Error::Io { path, source, .. }
            if path.ends_with("pictures.tar:class 2/11999.pgm") && source.to_string().contains("not a readable picture")),
        "{e:?}"
    );
}

/// In a sample that is not one of those that are evenly spaced.
fn an_outlier_on_disk_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (n, at) = (300_000, 7);
    let mut values: Vec<f32> = (0..4 * n).map(|i| (i as f32 * 0.7).sin()).collect();
    values[4 * at + 2] = 1e7;
    let path = write(folder.path(), "a.npy", "<f4", &[n, 1, 4], bytemuck::cast_slice(&values));
    let [memory, disk] = [Place::Memory, Place::Disk].map(|place| load(&path, place).unwrap().describe());
    for description in [&memory, &disk] {
        assert_eq!(description.outliers.iter().map(|o| (o.sample, o.value)).collect::<Vec<_>>(), [(at, 1e7)]);
        assert!(description.to_string().contains("warning: sample 7"), "{description}");
    }
    assert!((memory.columns[0].std / disk.columns[0].std - 1.0).abs() < 1e-9);
}

fn what_cannot_be_read_by_parts_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut values: Vec<u8> = [1.0f32, 2.0, f32::NAN, 4.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let path = write(folder.path(), "a.npy", "<f4", &[2, 2], &values);
    let message = |path: &Path, options: ReadOptions| {
        let options = ReadOptions { place: Some(Place::Disk), ..options };
        Dataset::load_with(path.to_str().unwrap(), 0, &options).unwrap_err().to_string()
    };
    let text = message(&path, ReadOptions::default());
    assert!(text.contains("sample 1 has NaN at element 0"), "{text}");
    values.truncate(12);
    let path = write(folder.path(), "b.npy", "<f4", &[2, 2], &values);
    assert!(message(&path, ReadOptions::default()).contains("only 12 bytes follow"));
    let path = write(folder.path(), "c.npy", "<f4", &[8, 1], &[0; 32]);
    assert!(message(&path, ReadOptions { window: Some(2), ..ReadOptions::default() }).contains("--window"));
    assert!(message(Path::new("moons"), ReadOptions::default()).contains("--data-from has no effect"));
}
