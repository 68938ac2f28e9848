//! Audio: `.wav` files, divided into windows.

use std::io::BufReader;
use std::path::Path;

use hound::{SampleFormat, WavReader};

use super::{Dataset, open};
use crate::{Error, Result};

/// Samples per window: 64 ms at 16 kHz.
const WINDOW: usize = 1024;

/// Reads a file, mixes its channels to mono and divides it into windows of 1024 samples without overlap. The remainder is
/// dropped. Full scale is -1..1.
pub(super) fn read(path: &Path) -> Result<Dataset> {
    let name = path.display().to_string();
    let damaged = |cause: &dyn std::fmt::Display| {
        Error::input(format!("{name}: not a readable .wav file ({cause}); save it again as 16-bit PCM"))
    };
    let file = open(path)?;
    let len = file.metadata().map_err(|cause| Error::io("cannot read", path, cause))?.len();
    let reader = WavReader::new(BufReader::new(file)).map_err(|cause| damaged(&cause))?;
    let spec = reader.spec();
    let bytes = u64::from(reader.len()) * u64::from(spec.bits_per_sample.div_ceil(8));
    if bytes > len || spec.channels == 0 {
        return Err(damaged(&format!("the header declares {bytes} bytes of audio, but the file has {len}")));
    }
    let sound: hound::Result<Vec<f32>> = match spec.sample_format {
        SampleFormat::Float => reader.into_samples::<f32>().collect(),
        SampleFormat::Int => {
            let full = (spec.bits_per_sample.clamp(1, 32) - 1) as i32;
            reader.into_samples::<i32>().map(|value| Ok(value? as f32 / 2f32.powi(full))).collect()
        }
    };
    let sound = sound.map_err(|cause| damaged(&cause))?;
    let channels = usize::from(spec.channels);
    let mut mono: Vec<f32> =
        sound.chunks_exact(channels).map(|frame| frame.iter().sum::<f32>() / channels as f32).collect();
    if mono.len() < WINDOW {
        return Err(Error::input(format!(
            "{name}: {} samples of audio are less than one window of {WINDOW}; use a longer recording",
            mono.len()
        )));
    }
    mono.truncate(mono.len() / WINDOW * WINDOW);
    Dataset::new(name, [WINDOW], mono)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::tests::refusal;
    use super::*;
    use hound::{WavSpec, WavWriter};
    use std::fs;

    fn write(path: &Path, frames: usize) {
        let spec = WavSpec { channels: 2, sample_rate: 8000, bits_per_sample: 16, sample_format: SampleFormat::Int };
        let mut writer = WavWriter::create(path, spec).unwrap();
        for i in 0..frames {
            writer.write_sample((i % 1000) as i16).unwrap();
            writer.write_sample(16_384i16).unwrap();
        }
        writer.finalize().unwrap();
    }

    pub fn sample_file(dir: &Path) -> Vec<u8> {
        write(&dir.join("sample.wav"), 1100);
        fs::read(dir.join("sample.wav")).unwrap()
    }

    #[test]
    fn audio_is_mixed_and_divided() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.wav");
        write(&path, 2500);
        let data = Dataset::load(path.to_str().unwrap(), 0).unwrap();
        assert_eq!((data.shape.clone(), data.len()), (vec![1024], 2));
        assert_eq!(data.sample(0)[8], 0.25 + 4.0 / 32_768.0);
    }

    #[test]
    fn bad_files_say_why() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.wav");
        write(&path, 1000);
        assert!(refusal(&path).contains("1000 samples of audio"));
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..900]).unwrap();
        assert!(refusal(&path).contains("declares 4000 bytes"));
        fs::write(&path, b"RIFF nothing").unwrap();
        assert!(refusal(&path).contains("not a readable .wav"));
    }
}
