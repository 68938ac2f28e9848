//! Folders and tar files of pictures.

mod archive;
mod collection;
mod folder;
mod page;
mod picture;
mod stored;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::options::ReadOptions;
use super::range::SampleRange;
use super::stored::{Content, Stored};
use super::{Dataset, Grouping, Kind, Origin, Values};
use crate::Result;

pub(super) use archive::{is_archive, unpacked_by};
pub(super) use collection::{Collection, some};
pub(super) use folder::{is_hidden, is_picture, natural};
use page::{Page, pages};
use picture::Picture;
pub(super) use picture::name_of;
use stored::StoredPictures;

/// Reads all pictures of a collection in its order, or a range of them, as `[c, h, w]` in 0..1. There is one channel if all of them
/// are grey, otherwise three. Transparency is ignored.
///
/// # Errors
/// When there are none, one cannot be read, or their sizes differ.
pub(super) fn read(pictures: Collection, options: &ReadOptions, range: Option<&SampleRange>) -> Result<Dataset> {
    let (mut origin, name) = (Origin::new("pictures", ""), pictures.name().to_string());
    let pictures = pictures.into_pictures(&mut origin)?;
    read_pages(name, pictures, options, range, origin)
}

/// Reads picture files in this order, as [`read`] does.
///
/// # Errors
/// As [`read`].
pub(super) fn read_files(
    name: &str,
    files: &[PathBuf],
    options: &ReadOptions,
    range: Option<&SampleRange>,
) -> Result<Dataset> {
    let mut origin = Origin::new("pictures", "");
    let pictures: Vec<Picture> = files.iter().map(|path| Picture { path: path.clone(), member: None }).collect();
    collection::note_order("", &pictures, &mut origin);
    read_pages(name.to_string(), pictures, options, range, origin)
}

fn read_pages(
    mut name: String,
    mut pictures: Vec<Picture>,
    options: &ReadOptions,
    range: Option<&SampleRange>,
    mut origin: Origin,
) -> Result<Dataset> {
    let pages = pages(&pictures, options, &mut origin)?;
    let grey = options.grey || pages.iter().all(Page::is_grey);
    let (w, h) = options.size.map_or(pages[0].upright(), |size| (size as u32, size as u32));
    if let Some(range) = range {
        let (from, to) = range.within(pictures.len())?;
        origin.keep(pictures.len(), (from..to).collect());
        (name, pictures) = (range.name(), pictures[from..to].to_vec());
    }
    let coloured = Arc::new(AtomicBool::new(false));
    let stored = StoredPictures {
        pictures,
        shape: [if grey { 1 } else { 3 }, h as usize, w as usize],
        scaled: options.size.map(|size| (size as u32, options.fit.unwrap_or_default())),
        offset: None,
        coloured: coloured.clone(),
    };
    let (shape, all) = (stored.shape, stored.len());
    let values: Values = if options.streams(4 * all as u64) {
        let grouping = Grouping::of(Kind::Images, &shape);
        Values::stored_in(Stored::measured(Box::new(stored), &name, shape.iter().product(), grouping, false)?)
    } else {
        stored.read_all(&name)?.into()
    };
    if !grey && !coloured.load(Relaxed) {
        origin.choice("the three channels of all pictures are equal", "--grey reads one channel");
    }
    let data = Dataset::build(name, shape.to_vec(), values, false)?;
    Ok(Dataset { kind: Kind::Images, origin, ..data })
}
