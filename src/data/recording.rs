//! Recordings, with one row per time step: cut into windows, and put together again.

use std::io::Cursor;
use std::path::Path;

use hound::{SampleFormat, WavSpec, WavWriter};

use super::options::ReadOptions;
use super::raw::Raw;
use super::{Columns, Kind, SampleFile, SampleLayout};
use crate::io::{extension, write_atomically};
use crate::text::count;
use crate::{Error, Result};

/// How a recording was cut into windows.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    /// The number of time steps.
    pub steps: usize,
    /// The shape of a time step in the file: `[]` or `[channels]`.
    pub shape: Vec<usize>,
    /// The number of time steps in a window.
    window: usize,
    /// The first time step of each window.
    starts: Vec<usize>,
    /// The names of the channels.
    names: Vec<String>,
    /// The format of an audio file.
    sound: Option<WavSpec>,
    /// Whether the windows contain all time steps.
    pub whole: bool,
}

/// How windows that overlap are put together.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Join {
    /// Their mean with weights that fall to zero at the ends of a window: sin^2(pi (i + 1/2) / window).
    Blend,
    /// The first one that has a value for a time step.
    First,
}

impl Recording {
    fn channels(&self) -> usize {
        self.shape.iter().product()
    }

    /// Indices of the values in windows [.., channels, window], with their time step, channel and place in the window.
    fn places(&self) -> impl Iterator<Item = (usize, usize, usize)> + '_ {
        let channels = self.channels();
        self.starts.iter().flat_map(move |start| {
            (0..channels).flat_map(move |channel| (0..self.window).map(move |at| (start + at, channel, at)))
        })
    }

    /// The values [steps, channels] of a recording as windows [n, channels, window].
    pub fn cut(&self, values: &[f32]) -> Vec<f32> {
        let channels = self.channels();
        self.places().map(|(step, channel, _)| values[step * channels + channel]).collect()
    }

    /// The values [steps, channels] of a recording from its windows [n, channels, window], as [`super::Dataset::load_whole`]
    /// reads them. A time step that is in no window is NaN.
    pub fn join(&self, windows: &[f32], how: Join) -> Vec<f32> {
        let channels = self.channels();
        let mut sums = vec![(0.0, 0.0); self.steps * channels];
        for ((step, channel, at), value) in self.places().zip(windows) {
            let (sum, weights) = &mut sums[step * channels + channel];
            let weight = match how {
                Join::First => f64::from(u8::from(*weights == 0.0)),
                Join::Blend => (std::f64::consts::PI * (at as f64 + 0.5) / self.window as f64).sin().powi(2),
            };
            *sum += weight * f64::from(*value);
            *weights += weight;
        }
        sums.into_iter().map(|(sum, weights)| (sum / weights) as f32).collect()
    }

    /// Checks before long computations whether [`save`](Self::save) can write `path`.
    ///
    /// # Errors
    /// [`Error::Setting`] for a `.wav` file of something else than audio.
    pub fn check(&self, path: &Path) -> Result<()> {
        match (extension(path).as_str(), self.sound) {
            ("wav", None) => Err(Error::setting(format!(
                "{}: the data are not audio, so their sample rate is unknown; write .npy or .csv",
                path.display()
            ))),
            _ => Ok(()),
        }
    }

    /// Writes values [steps, channels], relative to the offsets in `columns`, to a `.npy`, `.csv` or `.wav` file.
    ///
    /// # Errors
    /// [`Error::Setting`] for another extension, or a `.wav` file of something else than audio, [`Error::Io`] when the file
    /// cannot be written.
    pub fn save(&self, path: &Path, values: &[f32], columns: &Columns) -> Result<()> {
        self.check(path)?;
        if let (Some(spec), "wav") = (self.sound, extension(path).as_str()) {
            return save_wav(path, spec, values);
        }
        // A row per time step is written like a row of a table.
        let columns = Columns { names: self.names.clone(), whole: Vec::new(), ..columns.clone() };
        let layout = SampleLayout { kind: Kind::Table, shape: &self.shape, columns: &columns };
        let mut file = SampleFile::create(path, layout, self.steps)?.ok_or_else(|| {
            Error::setting(format!("{}: a recording is written as .npy, .csv or .wav", path.display()))
        })?;
        file.write(values)?;
        file.finish()
    }
}

/// Writes a sound in 16-bit PCM at a sample rate. Values beyond -1..1 are clipped.
///
/// # Errors
/// [`Error::Io`] when the file cannot be written.
#[cfg(feature = "cli")]
pub(crate) fn save_sound(path: &Path, rate: u32, values: &[f32]) -> Result<()> {
    let spec = WavSpec { channels: 1, sample_rate: rate, bits_per_sample: 16, sample_format: SampleFormat::Int };
    save_wav(path, spec, values)
}

fn save_wav(path: &Path, spec: WavSpec, values: &[f32]) -> Result<()> {
    let mut bytes = Cursor::new(Vec::new());
    encode(spec, values, &mut bytes)
        .map_err(|cause| Error::input(format!("{}: cannot be encoded ({cause})", path.display())))?;
    write_atomically(path, |out| std::io::Write::write_all(out, bytes.get_ref()))
}

/// Writes audio. Values beyond full scale are clipped in formats of integers.
fn encode(spec: WavSpec, values: &[f32], out: &mut Cursor<Vec<u8>>) -> std::result::Result<(), hound::Error> {
    let mut writer = WavWriter::new(out, spec)?;
    let full = 2f64.powi(i32::from(spec.bits_per_sample) - 1);
    for value in values {
        match spec.sample_format {
            SampleFormat::Float => writer.write_sample(*value)?,
            SampleFormat::Int => {
                writer.write_sample((f64::from(*value) * full).round().clamp(-full, full - 1.0) as i32)?;
            }
        }
    }
    writer.finalize()
}

impl Raw {
    /// Refuses an array with one value per time step, or one column.
    pub fn refuse_a_recording(&self, options: &ReadOptions) -> Result<()> {
        let n = match self.dims[..] {
            [n] => n,
            [n, 1] if options.kind != Some(Kind::Table) => n,
            _ => return Ok(()),
        };
        let name = &self.name;
        let others = match self.dims[..] {
            [_] => {
                "; save an array of samples as [n, length] for signals, [n, 2] for points or [n, c, h, w] for images"
            }
            _ => "",
        };
        // Windows of which there are some.
        let window = (1 << (n / 4).max(2).ilog2()).min(128);
        let hop = (window / 8).max(1);
        let left_out = self.origin.notes.iter().filter(|note| note.text.ends_with("is left out"));
        let left_out: String = left_out.map(|note| format!("; {}", note.text)).collect();
        Err(Error::input(format!(
            "{name}: one column of {}, which does not contain the length of a sample; if it is a recording with one row \
             per time step, --window {window} cuts it into signals of {window} values (--hop {hop} starts one every {}); \
             --kind table reads each value as a sample{others}{left_out}",
            count(n, "value"),
            count(hop, "value")
        )))
    }

    /// Cuts a recording [n] or [n, channels] into windows. If `whole`, the windows contain all time steps.
    pub fn cut(&mut self, window: usize, hop: usize, whole: bool) -> Result<()> {
        let (n, channels) = match self.dims[..] {
            [n] => (n, 1),
            [n, channels] => (n, channels),
            _ => {
                return Err(Error::setting(format!(
                    "{}: --window cuts recordings with one row per time step, but the array has shape {:?}",
                    self.name, self.dims
                )));
            }
        };
        if n < window {
            return Err(Error::input(format!(
                "{}: the recording has {}, less than one window of {window}; use a smaller --window or a longer recording",
                self.name,
                count(n, "time step")
            )));
        }
        if whole && hop > window {
            return Err(Error::setting(format!(
                "{}: --hop {hop} leaves out parts of the recording, which is written as a whole; use at most {window}",
                self.name
            )));
        }
        let mut starts: Vec<usize> = (0..=n - window).step_by(hop).collect();
        let rest = n - (starts[starts.len() - 1] + window);
        if whole && rest > 0 {
            starts.push(n - window);
        }
        self.note_windows(n, window, hop, starts.len(), if whole { 0 } else { rest });
        let recording = Recording {
            steps: n,
            shape: self.dims[1..].to_vec(),
            window,
            starts,
            names: self.names.clone(),
            sound: self.sound,
            whole,
        };
        self.values = self.values.at(recording.places().map(|(step, channel, _)| step * channels + channel));
        let windows = recording.starts.len();
        self.dims = if channels == 1 { vec![windows, window] } else { vec![windows, channels, window] };
        if channels == 1 {
            self.names.clear();
        }
        self.origin.recording = Some(recording);
        Ok(())
    }

    fn note_windows(&mut self, n: usize, window: usize, hop: usize, windows: usize, rest: usize) {
        let skipped =
            if hop > window { format!(", {} between them are left out", hop - window) } else { String::new() };
        let left = match rest {
            0 => String::new(),
            rest => format!("; the last {} are left out", count(rest, "time step")),
        };
        self.origin.choice(
            format!(
                "a recording of {}, cut into {} of {window}, one every {hop}{skipped}{left}",
                count(n, "time step"),
                count(windows, "window")
            ),
            "--window N --hop M",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::raw::tests::{raw, read};
    use super::super::{Dataset, Missing, ReadOptions};
    use super::*;

    #[test]
    fn recordings_are_cut_into_windows() {
        for dims in [&[50][..], &[50, 1]] {
            let message = read(dims, ReadOptions::default()).unwrap_err().to_string();
            assert!(message.contains("50 values") && message.contains("--window"), "{message}");
        }
        let cut = |dims: &[usize], window, hop| {
            let n: usize = dims.iter().product();
            let options = ReadOptions { window: Some(window), hop, ..ReadOptions::default() };
            raw(dims, (0..n).map(|i| i as f64).collect()).finish_for(&options, false)
        };
        let data = cut(&[10], 4, None).unwrap();
        assert_eq!((data.shape.clone(), data.len(), data.sample(1)), (vec![4], 2, &[4.0, 5.0, 6.0, 7.0][..]));
        assert!(data.origin.notes[0].text.contains("the last 2 time steps are left out"), "{:?}", data.origin.notes);
        let data = cut(&[10, 1], 4, Some(2)).unwrap();
        assert_eq!((data.len(), data.sample(1)), (4, &[2.0, 3.0, 4.0, 5.0][..]));
        let data = cut(&[10, 2], 3, Some(5)).unwrap();
        assert_eq!((data.shape.clone(), data.sample(1)), (vec![2, 3], &[10.0, 12.0, 14.0, 11.0, 13.0, 15.0][..]));
        assert!(cut(&[10], 11, None).unwrap_err().to_string().contains("less than one window of 11"));
        assert!(cut(&[10, 2, 2], 3, None).unwrap_err().to_string().contains("[10, 2, 2]"));
    }

    fn whole(dims: &[usize], window: usize, hop: usize) -> Dataset {
        let n: usize = dims.iter().product();
        let options = ReadOptions { window: Some(window), hop: Some(hop), ..ReadOptions::default() };
        raw(dims, (0..n).map(|i| (i as f64 * 0.3).sin()).collect()).finish_for(&options, true).unwrap()
    }

    #[test]
    fn windows_are_put_together() {
        for (dims, window, hop) in
            [(&[50][..], 8, 4), (&[50, 1], 8, 3), (&[50, 2], 8, 8), (&[53, 3], 10, 7), (&[8], 8, 1)]
        {
            let data = whole(dims, window, hop);
            let recording = data.recording().unwrap();
            assert_eq!((recording.steps, &recording.shape[..]), (dims[0], &dims[1..]));
            for how in [Join::Blend, Join::First] {
                let joined = recording.join(&data.values, how);
                let want = |i: usize| (i as f64 * 0.3).sin() as f32;
                assert_eq!(joined.len(), dims.iter().product::<usize>());
                assert!(joined.iter().enumerate().all(|(i, v)| (v - want(i)).abs() < 1e-6), "{dims:?} {how:?}");
                assert_eq!(recording.cut(&joined).len(), data.values.len());
            }
        }
        // The middle of a window counts more than its ends.
        let data = whole(&[12], 8, 4);
        let windows = [vec![0.0; 8], vec![1.0; 8]].concat();
        let blended = data.recording().unwrap().join(&windows, Join::Blend);
        assert!(blended[3] == 0.0 && blended[4] < 0.1 && blended[7] > 0.9 && blended[8] == 1.0, "{blended:?}");
        assert_eq!(data.recording().unwrap().join(&windows, Join::First)[7..9], [0.0, 1.0]);
        let options = ReadOptions { window: Some(4), hop: Some(5), ..ReadOptions::default() };
        let message = raw(&[50], vec![0.0; 50]).finish_for(&options, true).unwrap_err().to_string();
        assert!(message.contains("--hop 5") && message.contains("at most 4"), "{message}");
    }

    #[test]
    fn a_recording_without_some_windows_is_not_put_together() {
        let read = |missing, whole| {
            let options = ReadOptions { window: Some(4), missing: Some(missing), ..ReadOptions::default() };
            let values = (0..12).map(|i| if i == 5 { f64::NAN } else { f64::from(i).sin() }).collect();
            raw(&[12], values).finish_for(&options, whole)
        };
        let message = read(Missing::Drop, true).unwrap_err().to_string();
        assert!(message.contains("written as a whole; use --missing mean"), "{message}");
        let part = read(Missing::Drop, false).unwrap();
        assert!(part.len() == 2 && part.recording().is_none());
        let filled = read(Missing::Mean, true).unwrap();
        assert_eq!(filled.recording().unwrap().join(&filled.values, Join::Blend).len(), 12);
    }

    #[test]
    fn audio_is_written_in_its_format() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.wav");
        for (bits, sample_format) in
            [(8, SampleFormat::Int), (16, SampleFormat::Int), (24, SampleFormat::Int), (32, SampleFormat::Float)]
        {
            let spec = WavSpec { channels: 1, sample_rate: 8000, bits_per_sample: bits, sample_format };
            let recording = Recording {
                steps: 5,
                shape: vec![],
                window: 5,
                starts: vec![0],
                names: vec![],
                sound: Some(spec),
                whole: true,
            };
            recording.save(&path, &[-1.5, -1.0, 0.25, 0.5, 1.5], &Columns::default()).unwrap();
            let options = ReadOptions { window: Some(5), ..ReadOptions::default() };
            let back = Dataset::load_with(path.to_str().unwrap(), 0, &options).unwrap();
            let beyond = |sign: f32| if bits == 32 { 1.5 * sign } else { sign };
            assert!((back.values[4] - beyond(1.0)).abs() < 0.01, "{:?}", back.values);
            assert_eq!(back.values[..4], [beyond(-1.0), -1.0, 0.25, 0.5]);
            let mut reader = hound::WavReader::open(&path).unwrap();
            assert_eq!((reader.spec(), reader.duration()), (spec, 5));
            assert!(bits == 32 || reader.samples::<i32>().all(|sample| sample.is_ok()));
        }
    }
}
