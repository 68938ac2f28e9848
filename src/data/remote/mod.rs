//! Files on servers and in object stores, which are downloaded once and then read like other files.

mod object;
mod server;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::Mutex;

use self::server::Server;
use super::address::{Address, without_secrets};
use super::stored::{DOWNLOADING, report};
use crate::device::cache_folder;
use crate::{Error, Result};

/// Local files, and where the address of them ends.
type Found = (Vec<PathBuf>, usize);

/// Local copies of the files at an address or a pattern of addresses, in natural order, and what follows the address after a colon.
/// What was downloaded before is used again if the server still has the same version. The answer is kept, so that a command reads
/// one version.
///
/// # Errors
/// [`Error::Input`] when there is no such file, or the server refuses it or does not answer; [`Error::Setting`] without a cache
/// folder; [`Error::Io`] when a file cannot be written.
pub(super) fn fetch(spec: &str) -> Result<(Vec<PathBuf>, Option<&str>)> {
    static KNOWN: Mutex<Option<HashMap<String, Found>>> = Mutex::new(None);
    let mut known = KNOWN.lock().unwrap_or_else(|e| e.into_inner());
    let known = known.get_or_insert_default();
    let (files, end) = match known.get(spec) {
        Some(found) => found.clone(),
        None => {
            // The program that calls may have a runtime on its thread, where no other one can start.
            let found = std::thread::scope(|scope| scope.spawn(|| run(spec)).join());
            let found = found.unwrap_or_else(|panic| resume_unwind(panic))?;
            known.insert(spec.into(), found.clone());
            found
        }
    };
    Ok((files, spec.get(end + 1..)))
}

fn run(spec: &str) -> Result<Found> {
    let failed = |e| Error::input(format!("{}: cannot start a download: {e}", without_secrets(spec)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    runtime.block_on(download_all(spec))
}

/// The files, and the end of the address in `ADDRESS` or `ADDRESS:PART`.
async fn download_all(spec: &str) -> Result<Found> {
    let server = Server::of(spec)?;
    let cache = cache_folder("data").map_err(|why| {
        Error::setting(format!(
            "{}: files are downloaded to the cache folder, which is {why}; set LANGEVIN_CACHE to a folder that only you can write \
             to, or download the file and name it",
            without_secrets(spec)
        ))
    })?;
    for end in Address::of(spec).map(|address| address.ends()).unwrap_or_default() {
        let objects = server.objects(&spec[..end]).await?;
        if objects.is_empty() {
            continue;
        }
        let mut progress = Progress { done: 0, total: objects.iter().map(|object| object.size).sum() };
        let mut files = Vec::new();
        for object in &objects {
            files.push(server.download(object, &cache, &mut progress).await?);
        }
        return Ok((files, end));
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
