//! Folders of audio files: one sample per file.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::audio;
use super::images::{is_hidden, name_of, natural, some};
use super::options::ReadOptions;
use super::raw::RawValues;
use super::{Dataset, Kind, Origin};
use crate::io::extension;
use crate::text::count;
use crate::{Error, Result};

/// Samples are this many time steps long, or a multiple, so that a U-Net can halve them.
const MULTIPLE: usize = 64;

/// The largest number of time steps of a sample: a file for this is a recording, not a sample.
const LONGEST: usize = 1 << 17;

/// The audio files of a folder in natural order; of its subfolders if it has none itself. `None` without audio files.
///
/// # Errors
/// When a folder cannot be read.
pub(super) fn files(folder: &Path) -> Result<Option<Vec<PathBuf>>> {
    let (mut sounds, folders) = sounds_and_folders(folder)?;
    if sounds.is_empty() {
        for folder in folders {
            sounds.append(&mut sounds_and_folders(&folder)?.0);
        }
    }
    Ok((!sounds.is_empty()).then_some(sounds))
}

/// The audio files and the subfolders of a folder, each in natural order. Hidden ones are ignored.
fn sounds_and_folders(folder: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let refused = |cause| Error::io("cannot read", folder, cause);
    let (mut sounds, mut folders) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(folder).map_err(refused)? {
        let path = entry.map_err(refused)?.path();
        match (path.is_file(), path.is_dir()) {
            _ if is_hidden(&name_of(&path)) => {}
            (true, _) if extension(&path) == "wav" => sounds.push(path),
            (_, true) => folders.push(path),
            _ => {}
        }
    }
    [&mut sounds, &mut folders]
        .into_iter()
        .for_each(|paths| paths.sort_by(|a, b| natural(&a.to_string_lossy(), &b.to_string_lossy())));
    Ok((sounds, folders))
}

/// Reads one signal per file. Shorter ones are followed by silence up to the longest, or up to `--window`, and longer ones
/// are cut there.
///
/// # Errors
/// When a file cannot be read, or the files have different sample rates, or one is too long for a sample.
pub(super) fn read(folder: &Path, files: &[PathBuf], options: &ReadOptions) -> Result<Dataset> {
    let name = folder.display().to_string();
    let (mut sounds, mut first) = (Vec::new(), None);
    for file in files {
        let raw = audio::read(file)?;
        let rate = raw.sound.map(|sound| sound.sample_rate);
        let first: &mut Origin = first.get_or_insert_with(|| Origin { rate, ..raw.origin.clone() });
        if rate != first.rate {
            return Err(Error::input(format!(
                "{}: {}, but {} has {}; all files of a folder need the same sample rate",
                file.display(),
                raw.origin.element,
                files[0].display(),
                first.element
            )));
        }
        sounds.push(match raw.values {
            RawValues::F32(values) => values,
            RawValues::F64(values) => values.into_iter().map(|v| v as f32).collect(),
            RawValues::Stored(_) => unreachable!("audio is read into memory"),
        });
    }
    let longest = sounds.iter().map(Vec::len).max().unwrap_or(0);
    let length = options.window.unwrap_or(longest.next_multiple_of(MULTIPLE));
    if length > LONGEST {
        return Err(Error::input(format!(
            "{name}: the longest of {} has {longest} values, which is too long for a sample; --window N reads the first N of \
             each, and to learn windows of a recording, name the file",
            count(files.len(), "file")
        )));
    }
    let mut origin = Origin::new(
        "WAV audio, one sample per file",
        first.as_ref().map(|first| first.element.clone()).unwrap_or_default(),
    );
    origin.rate = first.and_then(|first| first.rate);
    let (shorter, longer) = (sounds.iter().filter(|s| s.len() < length), sounds.iter().filter(|s| s.len() > length));
    let (shorter, longer) = (shorter.count(), longer.count());
    if shorter > 0 {
        let text = format!("{} shorter than {length} values are followed by silence", count(shorter, "file"));
        origin.choice(text, "--window N for the first N values of each");
    }
    if longer > 0 {
        origin.note(format!("of {}, the first {length} values are read", count(longer, "longer file")));
    }
    let subfolders = subfolders(folder, files);
    if !subfolders.is_empty() {
        origin.note(format!("from {}: {}", count(subfolders.len(), "subfolder"), some(&subfolders)));
    }
    let rest = left_out(folder, files)?;
    if !rest.is_empty() {
        origin.note(format!("other files and folders left out ({}): {}", rest.len(), some(&rest)));
    }
    sounds.iter_mut().for_each(|sound| sound.resize(length, 0.0));
    let data = Dataset::new(name, [length], sounds.concat())?;
    Ok(Dataset { kind: Kind::Signals, origin, ..data })
}

/// The numbers and the names of the subfolders that the files are in, as labels of the files.
///
/// # Errors
/// When the files are not in subfolders.
pub(super) fn read_labels(folder: &Path, files: &[PathBuf]) -> Result<(Vec<f32>, Vec<String>)> {
    let names = subfolders(folder, files);
    let class =
        |file: &PathBuf| names.iter().position(|name| file.parent().is_some_and(|parent| parent.ends_with(name)));
    let of: Option<Vec<f32>> = files.iter().map(|file| class(file).map(|class| class as f32)).collect();
    match of {
        Some(of) if !names.is_empty() => Ok((of, names)),
        _ => Err(Error::input(format!(
            "{}: labels are read from folders with a subfolder of files for each class",
            folder.display()
        ))),
    }
}

/// The names of the subfolders that the files are in.
fn subfolders(folder: &Path, files: &[PathBuf]) -> Vec<String> {
    let parents = files.iter().filter_map(|file| file.parent()).filter(|parent| *parent != folder);
    let mut names: Vec<String> =
        parents.filter_map(|parent| Some(parent.file_name()?.to_string_lossy().into_owned())).collect();
    names.dedup();
    names
}

/// The names of what is beside the files, in the folder and in the subfolders they are in, in natural order.
///
/// # Errors
/// When a folder cannot be read.
fn left_out(folder: &Path, files: &[PathBuf]) -> Result<Vec<String>> {
    let parents: BTreeSet<&Path> = files.iter().filter_map(|file| file.parent()).chain([folder]).collect();
    let read: HashSet<&Path> = files.iter().map(PathBuf::as_path).chain(parents.iter().copied()).collect();
    let mut rest = Vec::new();
    for parent in &parents {
        let refused = |cause| Error::io("cannot read", parent, cause);
        for entry in fs::read_dir(parent).map_err(refused)? {
            let path = entry.map_err(refused)?.path();
            rest.extend((!read.contains(&*path)).then(|| name_of(&path)));
        }
    }
    rest.sort_by(|a, b| natural(a, b));
    Ok(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, rate: u32, values: &[f32]) {
        let format = hound::WavSpec {
            channels: 1,
            sample_rate: rate,
            bits_per_sample: 32,
            sample_format: hound::SampleFormat::Float,
        };
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut file = hound::WavWriter::create(path, format).unwrap();
        values.iter().for_each(|v| file.write_sample(*v).unwrap());
        file.finalize().unwrap();
    }

    #[test]
    fn each_file_is_a_sample() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        write(&at("drums/hat/10.wav"), 16_000, &[0.25; 70]);
        write(&at("drums/hat/2.wav"), 16_000, &[0.5; 10]);
        write(&at("drums/tom/1.wav"), 16_000, &[-0.5; 100]);
        let read = |options: &ReadOptions| Dataset::load_with(&at("drums").to_string_lossy(), 0, options).unwrap();
        let data = read(&ReadOptions::default());
        assert_eq!((data.kind(), &data.shape[..], data.len()), (Kind::Signals, &[128][..], 3));
        assert_eq!(
            (data.sample(0)[9], data.sample(0)[10], data.sample(1)[69], data.sample(2)[99]),
            (0.5, 0.0, 0.25, -0.5)
        );
        let text = data.describe().to_string();
        assert!(text.contains("3 files shorter than 128 values are followed by silence"), "{text}");
        assert!(text.contains("from 2 subfolders: hat, tom"), "{text}");
        assert!(!text.contains("left out"), "{text}");
        fs::write(at("drums/tom/3.mp3"), "").unwrap();
        write(&at("drums/.old/1.wav"), 16_000, &[0.5; 10]);
        let text = read(&ReadOptions::default()).describe().to_string();
        assert!(text.contains("other files and folders left out (2): .old, 3.mp3"), "{text}");
        let data = read(&ReadOptions { window: Some(20), ..ReadOptions::default() });
        assert_eq!((&data.shape[..], data.len()), (&[20][..], 3));
        assert!(data.describe().to_string().contains("of 2 longer files, the first 20 values"));
        write(&at("drums/tom/2.wav"), 8_000, &[0.5; 10]);
        let message = Dataset::load(&at("drums").to_string_lossy(), 0).unwrap_err().to_string();
        assert!(message.contains("8000 Hz") && message.contains("16000 Hz"), "{message}");
    }
}
