//! Files on servers and in object stores, which are downloaded once and then read like other files.

mod object;
mod server;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use self::server::{Answer, Server};
use super::address::{Address, without_secrets};
use super::stored::{DOWNLOADING, report};
use crate::device::cache_folder;
use crate::{Error, Result};

/// The local files of addresses and patterns that were asked for; none where the server has none.
type Known = HashMap<String, Vec<PathBuf>>;

/// Local copies of the files at an address or a pattern of addresses, in natural order, and what follows the address after a colon.
/// What was downloaded before is used again if the server still has the same version. The answer for a file is kept, so that a command
/// reads one version of all its parts.
///
/// # Errors
/// [`Error::Input`] when there is no such file, or the server refuses it or does not answer; [`Error::Setting`] without a cache
/// folder; [`Error::Io`] when a file cannot be written.
pub(super) fn fetch(spec: &str) -> Result<(Vec<PathBuf>, Option<&str>)> {
    static KNOWN: Mutex<Option<Known>> = Mutex::new(None);
    let mut known = KNOWN.lock().unwrap_or_else(|e| e.into_inner());
    let known = known.get_or_insert_default();
    // The program that calls may have a runtime on its thread, where no other one can start.
    let found = std::thread::scope(|scope| scope.spawn(|| run(spec, known)).join());
    let (files, end) = found.unwrap_or_else(|panic| resume_unwind(panic))?;
    Ok((files, spec.get(end + 1..)))
}

fn run(spec: &str, known: &mut Known) -> Result<(Vec<PathBuf>, usize)> {
    let cache = cache_folder("data").map_err(|why| {
        Error::setting(format!(
            "{}: files are downloaded to the cache folder, which is {why}; set LANGEVIN_CACHE to a folder that only you can write \
             to, or download the file and name it",
            without_secrets(spec)
        ))
    })?;
    let failed = |e| Error::input(format!("{}: cannot start a download: {e}", without_secrets(spec)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    runtime.block_on(download_all(spec, &cache, known))
}

/// The files, and the end of the address in `ADDRESS` or `ADDRESS:PART`.
async fn download_all(spec: &str, cache: &Path, known: &mut Known) -> Result<(Vec<PathBuf>, usize)> {
    let server = Server::of(spec)?;
    let mut refused = None;
    for end in Address::of(spec).map(|address| address.ends()).unwrap_or_default() {
        let address = &spec[..end];
        if !known.contains_key(address) {
            let objects = match server.objects(address).await? {
                Answer::Found(objects) => objects,
                Answer::Refused(error) => {
                    refused.get_or_insert(error);
                    continue;
                }
            };
            known.insert(address.into(), server.download_each(&objects, cache).await?);
        }
        let files = &known[address];
        if !files.is_empty() {
            return Ok((files.clone(), end));
        }
    }
    if let Some(error) = refused {
        return Err(error);
    }
    let listing = if server.scheme.lists() {
        ""
    } else {
        "; a web server does not list its files, so that a pattern cannot be read"
    };
    Err(Error::input(format!("{}: the server has no such file; check the address{listing}", without_secrets(spec))))
}

/// Counts the bytes of all files that are downloaded.
struct Progress {
    done: u64,
    total: u64,
}

impl Progress {
    fn add(&mut self, bytes: u64) {
        self.done += bytes;
        report(DOWNLOADING, self.done as usize, self.total as usize);
    }
}
