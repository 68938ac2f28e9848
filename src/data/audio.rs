//! Audio: `.wav` files, divided into windows.

use std::io::{BufReader, Read};
use std::path::Path;

use hound::{SampleFormat, WavSpec};

use super::raw::{Raw, RawValues};
use super::{Origin, open};
use crate::text::count;
use crate::{Error, Result};

/// Samples per window: 64 ms at 16 kHz.
pub(super) const WINDOW: usize = 1024;

/// The length that a program writes which does not know it yet, such as one that writes to a pipe.
const UNKNOWN: u32 = u32::MAX;

/// Reads a file and mixes its channels to mono. Full scale is -1..1.
pub(super) fn read(path: &Path) -> Result<Raw> {
    let name = path.display().to_string();
    let file = open(path)?;
    let len = file.metadata().map_err(|cause| Error::io("cannot read", path, cause))?.len();
    let wrong = |cause: String| {
        Error::input(format!("{name}: not a readable .wav file ({cause}); save it again as 16-bit PCM"))
    };
    let mut reader = BufReader::new(file);
    let (format, bytes, open_ended) = chunks(&mut reader, len).map_err(wrong)?;
    let frame = format.frame();
    let frames = bytes.len() / frame;
    let channels = usize::from(format.channels);
    let mono = |frame: &[u8]| {
        frame.chunks_exact(format.container()).map(|sample| format.decode(sample)).sum::<f64>() / channels as f64
    };
    let frames_of = || bytes.chunks_exact(frame).map(mono);
    let values = match format.code {
        PCM if format.bits > 24 => RawValues::F64(frames_of().collect()),
        FLOAT if format.bits > 32 => RawValues::F64(frames_of().collect()),
        _ => RawValues::F32(frames_of().map(|v| v as f32).collect()),
    };
    let what = if format.code == PCM { "bit PCM" } else { "bit float" };
    let element = format!("{}-{what}, {} Hz, {}", format.bits, format.rate, count(channels, "channel"));
    let mut origin = Origin::new("WAV audio", element);
    if channels > 1 {
        origin.note(format!("the {} are averaged", count(channels, "channel")));
    }
    if open_ended {
        origin.note("the length in the header is unknown, as in files from a pipe; everything to the end is read");
    }
    Ok(Raw { sound: Some(format.mono()), ..Raw::new(&name, origin, vec![frames], values) })
}

const PCM: u16 = 1;
const FLOAT: u16 = 3;
const EXTENSIBLE: u16 = 0xfffe;

/// The content of the chunk `fmt `.
#[derive(Clone, Copy, Debug)]
struct WaveFormat {
    code: u16,
    channels: u16,
    rate: u32,
    /// The size of a frame, with a sample of each channel.
    align: u16,
    bits: u16,
}

impl WaveFormat {
    fn of(chunk: &[u8]) -> std::result::Result<Self, String> {
        let word = |at: usize| u16::from_le_bytes([chunk[at], chunk[at + 1]]);
        if chunk.len() < 16 {
            return Err(format!("the format takes {} bytes", chunk.len()));
        }
        let rate = u32::from_le_bytes([chunk[4], chunk[5], chunk[6], chunk[7]]);
        let mut format = Self { code: word(0), channels: word(2), rate, align: word(12), bits: word(14) };
        if format.code == EXTENSIBLE && chunk.len() >= 26 {
            format.code = word(24);
        }
        let Self { code, channels, align, bits, .. } = format;
        let codec = match code {
            2 | 17 => "ADPCM",
            6 => "A-law",
            7 => "mu-law",
            85 => "MP3",
            _ => "an unknown codec",
        };
        match code {
            PCM if (1..=32).contains(&bits) => {}
            FLOAT if matches!(bits, 32 | 64) && align == channels.saturating_mul(bits / 8) => {}
            PCM | FLOAT => return Err(format!("it has samples of {bits} bits")),
            _ => return Err(format!("it is compressed with {codec}")),
        }
        let least = u32::from(channels) * u32::from(bits.div_ceil(8));
        if channels == 0 || !align.is_multiple_of(channels) || u32::from(align) < least || align / channels > 8 {
            return Err(format!("a frame of {align} bytes does not hold {channels} channels of {bits} bits"));
        }
        Ok(format)
    }

    /// The format in which one channel is written: with whole bytes, and float of 32 bits at most.
    fn mono(&self) -> WavSpec {
        let (bits_per_sample, sample_format) = match self.code {
            FLOAT => (32, SampleFormat::Float),
            _ => (8 * self.bits.div_ceil(8), SampleFormat::Int),
        };
        WavSpec { channels: 1, sample_rate: self.rate, bits_per_sample, sample_format }
    }

    fn frame(&self) -> usize {
        self.align.into()
    }

    fn container(&self) -> usize {
        (self.align / self.channels).into()
    }

    /// The value of a sample. Samples that do not fill their bytes are in the upper bits.
    fn decode(&self, bytes: &[u8]) -> f64 {
        let word = bytes.iter().rev().fold(0u64, |word, &byte| word << 8 | u64::from(byte));
        match (self.code, bytes.len()) {
            (FLOAT, 4) => f32::from_bits(word as u32).into(),
            (FLOAT, _) => f64::from_bits(word),
            (_, 1) => (word as f64 - 128.0) / 128.0,
            (_, n) => {
                let unused = 64 - 8 * n as u32;
                ((word << unused) as i64 >> unused) as f64 / 2f64.powi(8 * n as i32 - 1)
            }
        }
    }
}

/// The format, the audio bytes, and whether their length was unknown. `len` is the length of the file.
fn chunks(reader: &mut impl Read, len: u64) -> std::result::Result<(WaveFormat, Vec<u8>, bool), String> {
    let text = |cause: std::io::Error| cause.to_string();
    let mut start = [0; 12];
    reader.read_exact(&mut start).map_err(text)?;
    if !matches!(&start[..4], b"RIFF" | b"RF64") || &start[8..] != b"WAVE" {
        return Err("it does not begin with RIFF and WAVE".into());
    }
    let (mut format, mut long, mut read) = (None, None, 12u64);
    loop {
        let mut head = [0; 8];
        reader.read_exact(&mut head).map_err(|_| match format {
            Some(_) => "it has no data".to_string(),
            None => "it has no format".to_string(),
        })?;
        read += 8;
        let size = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        let padded = u64::from(size) + u64::from(size % 2);
        if &head[..4] == b"data" {
            let format: WaveFormat = format.ok_or("its data come before their format")?;
            let left = len.saturating_sub(read);
            // A length of 0 at the end of a file is also written before the length is known.
            let unknown = size == UNKNOWN || (size == 0 && left > 0);
            let declared = if unknown { long.filter(|_| size == UNKNOWN).unwrap_or(left) } else { size.into() };
            if declared > left {
                return Err(format!("the header declares {declared} bytes of audio, but the file has {len}"));
            }
            let mut bytes = Vec::new();
            reader.take(declared).read_to_end(&mut bytes).map_err(text)?;
            let whole = bytes.len() / format.frame() * format.frame();
            bytes.truncate(whole);
            return Ok((format, bytes, unknown && long.is_none()));
        }
        if padded > len.saturating_sub(read) {
            return Err(format!("the header declares a chunk of {size} bytes, but the file has {len}"));
        }
        let mut chunk = Vec::new();
        reader.take(padded).read_to_end(&mut chunk).map_err(text)?;
        read += padded;
        match &head[..4] {
            b"fmt " => format = Some(WaveFormat::of(&chunk)?),
            // The sizes of a file of more than 4 GiB.
            b"ds64" if chunk.len() >= 16 => {
                long = Some(u64::from_le_bytes(chunk[8..16].try_into().expect("eight bytes")));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::tests::refusal;
    use super::*;
    use crate::data::{Dataset, ReadOptions};
    use hound::{SampleFormat, WavSpec, WavWriter};
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
        assert!(refusal(&path).contains("1000 time steps, less than one window of 1024"));
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..900]).unwrap();
        assert!(refusal(&path).contains("declares 4000 bytes"));
        fs::write(&path, b"RIFF nothing").unwrap();
        assert!(refusal(&path).contains("not a readable .wav"));
    }

    /// The bytes of a file with these chunks `fmt ` and `data`; the length of the data is `size`.
    fn wav(code: u16, channels: u16, bits: u16, size: u32, data: &[u8]) -> Vec<u8> {
        let align = channels * bits.div_ceil(8);
        let mut bytes = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0".to_vec();
        for word in [code, channels] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend([8000u32, 8000 * u32::from(align)].map(u32::to_le_bytes).concat());
        bytes.extend([align, bits].map(u16::to_le_bytes).concat());
        bytes.extend(b"LIST\x03\0\0\0odd\0data");
        bytes.extend(size.to_le_bytes());
        bytes.extend(data);
        bytes
    }

    #[test]
    fn every_width_is_read_exactly() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.wav");
        let load = |bytes: Vec<u8>| {
            fs::write(&path, bytes).unwrap();
            let options = ReadOptions { window: Some(4), ..ReadOptions::default() };
            Dataset::load_with(path.to_str().unwrap(), 0, &options).unwrap()
        };
        let full = [-1.0, -0.5, 0.25, 0.75];
        for (code, bits, data) in [
            (PCM, 8, full.map(|v| (v * 128.0 + 128.0) as u8).to_vec()),
            (PCM, 16, full.map(|v| ((v * 32_768.0) as i16).to_le_bytes()).concat()),
            (PCM, 24, full.map(|v| ((v * 8_388_608.0) as i32).to_le_bytes()[..3].to_vec()).concat()),
            (PCM, 32, full.map(|v| ((v * 2_147_483_648.0) as i32).to_le_bytes()).concat()),
            (FLOAT, 32, full.map(|v| (v as f32).to_le_bytes()).concat()),
            (FLOAT, 64, full.map(f64::to_le_bytes).concat()),
        ] {
            let data = load(wav(code, 1, bits, data.len() as u32, &data));
            assert_eq!(data.values, full.map(|v| v as f32), "{code} {bits}");
        }
    }

    #[test]
    fn audio_from_a_pipe_is_read_to_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.wav");
        let sound: Vec<u8> = (0..2100i16).flat_map(i16::to_le_bytes).collect();
        for size in [u32::MAX, 0] {
            fs::write(&path, wav(PCM, 1, 16, size, &sound)).unwrap();
            let data = Dataset::load(path.to_str().unwrap(), 0).unwrap();
            assert_eq!((data.len(), data.sample(1)[1023]), (2, 2047.0 / 32_768.0));
            let notes: Vec<String> = data.origin.notes.iter().map(|note| note.to_string()).collect();
            assert!(notes[0].contains("pipe") && notes[1].contains("the last 52 time steps"), "{notes:?}");
        }
        fs::write(&path, wav(7, 1, 8, 4, &[0; 4])).unwrap();
        assert!(refusal(&path).contains("mu-law"));
    }

    /// Windows can overlap.
    #[test]
    fn windows_and_hops_are_options() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.wav");
        write(&path, 2500);
        let options = ReadOptions { window: Some(500), hop: Some(100), ..ReadOptions::default() };
        let data = Dataset::load_with(path.to_str().unwrap(), 0, &options).unwrap();
        assert_eq!((data.len(), data.shape), (21, vec![500]));
    }
}
