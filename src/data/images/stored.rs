//! Pictures that are decoded when their values are needed.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder};

use super::page::{append, decoder, resized, unreadable};
use super::picture::Picture;
use crate::data::options::Fit;
use crate::data::stored::{Content, Offset};
use crate::parallel::threads;
use crate::{Error, Result};

/// The values that are decoded at a time, and the pictures for each thread if they are large.
const AT_A_TIME: usize = 1 << 20;
const EACH: usize = 2;

/// Pictures of one shape.
#[derive(Clone, Debug)]
pub(super) struct StoredPictures {
    pub pictures: Vec<Picture>,
    /// Channels, height and width of the values.
    pub shape: [usize; 3],
    /// How each becomes square, if it is scaled.
    pub scaled: Option<(u32, Fit)>,
    pub offset: Offset,
    /// Whether a picture was decoded whose channels differ.
    pub coloured: Arc<AtomicBool>,
}

impl StoredPictures {
    fn sample_len(&self) -> usize {
        self.shape.iter().product()
    }

    /// All values.
    ///
    /// # Errors
    /// When a picture cannot be read, or the memory is too small for all of them. `name` is that of the data.
    pub fn read_all(&self, name: &str) -> Result<Vec<f32>> {
        let (mut values, len) = (Vec::new(), self.len());
        values.try_reserve_exact(len).map_err(|_| {
            Error::input(format!(
                "{name}: not enough memory for {len} values; use a smaller part of the data, a smaller --size, or --data-from disk"
            ))
        })?;
        self.each(&mut std::iter::once(0..len), |part| values.extend_from_slice(part))?;
        Ok(values)
    }

    /// Calls `take` with the values of each picture in several ranges, decoded some pictures at a time.
    fn each(&self, ranges: &mut dyn Iterator<Item = Range<usize>>, mut take: impl FnMut(&[f32])) -> Result<()> {
        let len = self.sample_len();
        // A part of the values of each picture.
        let wanted: Vec<(usize, Range<usize>)> = ranges
            .flat_map(|Range { start, end }| {
                let part = move |i: usize| start.max(i * len) - i * len..end.min((i + 1) * len) - i * len;
                (start / len..end.div_ceil(len)).map(move |i| (i, part(i)))
            })
            .collect();
        for some in wanted.chunks(self.parallel() / len) {
            let decoded = in_parallel(some.len(), |i| self.decode(&self.pictures[some[i].0]))?;
            decoded.iter().zip(some).for_each(|(all, (_, part))| take(&all[part.clone()]));
        }
        Ok(())
    }

    /// The values of a picture.
    fn decode(&self, picture: &Picture) -> Result<Vec<f32>> {
        let ([channels, h, w], mut decoder) = (self.shape, decoder(picture)?);
        // A damaged orientation is no orientation, as in browsers.
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        let decoded = DynamicImage::from_decoder(decoder).map_err(|cause| unreadable(picture, &cause))?;
        let grey = channels == 1;
        let mut upright =
            if grey { DynamicImage::ImageLuma16(decoded.to_luma16()) } else { decoded.to_rgb32f().into() };
        upright.apply_orientation(orientation);
        if let Some((size, fit)) = self.scaled {
            upright = resized(&upright, size, fit);
        }
        if (upright.height() as usize, upright.width() as usize) != (h, w) {
            return Err(picture.refused(format!(
                "{} x {} pixels, but {w} x {h} when the data were listed; do not write to the data of a run",
                upright.width(),
                upright.height()
            )));
        }
        let mut values = Vec::with_capacity(self.sample_len());
        append(&upright, grey, &mut values);
        if !self.coloured.load(Relaxed) && !grey && !equal_channels(&values) {
            self.coloured.store(true, Relaxed);
        }
        if let Some((offset, grouping)) = &self.offset {
            values.iter_mut().enumerate().for_each(|(i, v)| *v = (f64::from(*v) - offset[grouping.at(i)]) as f32);
        }
        Ok(values)
    }
}

/// Whether the three channels of a picture are equal.
fn equal_channels(values: &[f32]) -> bool {
    let plane = values.len() / 3;
    values[..plane] == values[plane..2 * plane] && values[plane..2 * plane] == values[2 * plane..]
}

impl Content for StoredPictures {
    fn name(&self) -> String {
        self.pictures[0].to_string()
    }

    fn len(&self) -> usize {
        self.pictures.len() * self.sample_len()
    }

    fn part(&self, range: Range<usize>) -> Box<dyn Content> {
        let len = self.sample_len();
        let pictures = self.pictures[range.start / len..range.end.div_ceil(len)].to_vec();
        Box::new(Self { pictures, ..self.clone() })
    }

    fn relative_to(self: Box<Self>, offset: Offset) -> Box<dyn Content> {
        Box::new(Self { offset, ..*self })
    }

    fn size(&self) -> usize {
        size_of::<f32>()
    }

    /// The bytes of the decoded values.
    fn read(&self, ranges: &mut dyn Iterator<Item = Range<usize>>, bytes: &mut Vec<u8>) -> Result<()> {
        self.each(ranges, |part| bytes.extend_from_slice(bytemuck::cast_slice(part)))
    }

    fn decode(&self, _: usize, bytes: &[u8], values: &mut [f32]) {
        values.iter_mut().zip(bytes.as_chunks().0).for_each(|(value, item)| *value = f32::from_ne_bytes(*item));
    }

    fn parallel(&self) -> usize {
        let len = self.sample_len();
        (AT_A_TIME / len).max(EACH * threads()) * len
    }
}

/// Returns `f(0)`, ..., `f(count - 1)`, computed by several threads. These are not those of the CPU executor, which computes at the
/// same time.
///
/// # Errors
/// The first error in this order.
pub(super) fn in_parallel<T: Send>(count: usize, f: impl Fn(usize) -> Result<T> + Sync) -> Result<Vec<T>> {
    let threads = threads().min(count);
    if threads < 2 {
        return (0..count).map(f).collect();
    }
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let work = || {
        let mut done = Vec::new();
        // The indices before that of an error are claimed when it is seen.
        while !failed.load(Relaxed) {
            let i = next.fetch_add(1, Relaxed);
            if i >= count {
                break;
            }
            let result = f(i);
            failed.fetch_or(result.is_err(), Relaxed);
            done.push((i, result));
        }
        done
    };
    let mut all: Vec<(usize, Result<T>)> = thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let own = work();
        let joined = others.into_iter().flat_map(|other| other.join().unwrap_or_else(|e| std::panic::resume_unwind(e)));
        own.into_iter().chain(joined.collect::<Vec<_>>()).collect()
    });
    all.sort_unstable_by_key(|(i, _)| *i);
    all.into_iter().map(|(_, result)| result).collect()
}
