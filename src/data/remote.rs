//! Files on servers and in object stores, which are downloaded once and then read like other files.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flate2::Crc;
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::http::HttpBuilder;
use object_store::path::Path as Key;
use object_store::{ClientConfigKey, GetOptions, ObjectMeta, ObjectStore, RetryConfig};

use super::files::{has_wildcards, matches};
use super::images::natural;
use super::stored::{DOWNLOADING, report};
use crate::device::cache_folder;
use crate::io::check_space;
use crate::{Error, Result};

/// The bytes of a part, which is what is lost at most when a download is interrupted, times the parts at the same time.
const PART: u64 = 8 << 20;
const AT_A_TIME: usize = 4;
/// The time after which a server that does not answer is given up.
const PATIENCE: Duration = Duration::from_secs(20);
/// The time for a part: connections can be slow.
const PART_TIME: &str = "10 minutes";

/// Local copies of the files at an address or a pattern of addresses, in natural order, and what follows the address after a colon.
/// What was downloaded before is used again if the server still has the same version. The answer is kept, so that a command reads
/// one version.
///
/// # Errors
/// [`Error::Input`] when there is no such file, or the server refuses it or does not answer; [`Error::Setting`] without a cache
/// folder; [`Error::Io`] when a file cannot be written.
pub(super) fn fetch(spec: &str) -> Result<(Vec<PathBuf>, Option<&str>)> {
    static KNOWN: Mutex<Option<HashMap<String, (Vec<PathBuf>, usize)>>> = Mutex::new(None);
    let mut known = KNOWN.lock().unwrap_or_else(|e| e.into_inner());
    let known = known.get_or_insert_default();
    let (files, end) = match known.get(spec) {
        Some(found) => found.clone(),
        None => {
            let failed = |e| Error::input(format!("{spec}: cannot start a download: {e}"));
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
            let found = runtime.block_on(download_all(spec))?;
            known.insert(spec.into(), found.clone());
            found
        }
    };
    Ok((files, spec.get(end + 1..)))
}

/// The files, and the end of the address in `ADDRESS` or `ADDRESS:PART`.
async fn download_all(spec: &str) -> Result<(Vec<PathBuf>, usize)> {
    let server = Server::of(spec)?;
    let Some(cache) = cache_folder() else {
        return Err(Error::setting(format!(
            "{spec}: files are downloaded to the cache folder, which is off; set LANGEVIN_CACHE to a folder, or download the file \
             and name it"
        )));
    };
    // A colon can belong to the name.
    let colons = spec.char_indices().filter(|(at, c)| *c == ':' && *at > server.start).map(|(at, _)| at);
    for end in [spec.len()].into_iter().chain(colons) {
        let objects = server.objects(&spec[..end]).await?;
        if objects.is_empty() {
            continue;
        }
        let mut progress = Progress { done: 0, total: objects.iter().map(|object| object.size).sum() };
        let mut files = Vec::new();
        for object in &objects {
            files.push(server.download(object, &cache.join("data"), &mut progress).await?);
        }
        return Ok((files, end));
    }
    let listing = if server.scheme.lists() {
        ""
    } else {
        "; a web server does not list its files, so that a pattern cannot be read"
    };
    Err(Error::input(format!("{spec}: the server has no such file; check the address{listing}")))
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

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Http,
    S3,
    Gs,
}

impl Scheme {
    fn of(name: &str) -> Option<Self> {
        match name {
            "http" | "https" => Some(Self::Http),
            "s3" => Some(Self::S3),
            "gs" => Some(Self::Gs),
            _ => None,
        }
    }

    /// Whether the files of a pattern can be found.
    fn lists(self) -> bool {
        self != Self::Http
    }

    /// What to do when the server asks who we are.
    fn credentials(self) -> &'static str {
        match self {
            Self::Http => "use an address that needs no password, or download the file",
            Self::S3 => {
                "set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION, or AWS_SKIP_SIGNATURE=true for a public bucket"
            }
            Self::Gs => {
                "set GOOGLE_SERVICE_ACCOUNT to the file of a service account, or GOOGLE_SKIP_SIGNATURE=true for a public bucket"
            }
        }
    }
}

/// A web server, or a bucket of an object store.
struct Server {
    scheme: Scheme,
    store: Arc<dyn ObjectStore>,
    /// The position of the slash after the name of the server or bucket in an address.
    start: usize,
}

impl Server {
    fn of(spec: &str) -> Result<Self> {
        let (name, rest) = spec.split_once("://").unwrap_or_default();
        let Some(scheme) = Scheme::of(name) else {
            return Err(Error::input(format!(
                "{spec}: no way to read {name}:// addresses; use https://, s3:// or gs://"
            )));
        };
        let Some(slash) = rest.find('/').filter(|at| *at > 0 && *at + 1 < rest.len()) else {
            return Err(Error::input(format!("{spec}: names no file; an address is {name}://SERVER/FILE")));
        };
        // Another part of the program may have chosen one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let start = name.len() + 3 + slash;
        let retry = RetryConfig { max_retries: 3, retry_timeout: PATIENCE, ..RetryConfig::default() };
        let base = &spec[..start];
        let store: object_store::Result<Arc<dyn ObjectStore>> = match scheme {
            Scheme::Http => {
                let query = spec.split_once('?').map(|(_, query)| format!("?{query}")).unwrap_or_default();
                let builder = HttpBuilder::new().with_url(format!("{base}/{query}")).with_retry(retry);
                let builder = builder.with_config(ClientConfigKey::Timeout, PART_TIME);
                builder.with_config(ClientConfigKey::AllowHttp, "true").build().map(|store| Arc::new(store) as _)
            }
            Scheme::S3 => {
                let builder = AmazonS3Builder::from_env().with_url(base).with_retry(retry);
                let endpoint = builder.get_config_value(&AmazonS3ConfigKey::Endpoint).unwrap_or_default();
                // Local servers.
                let builder = if endpoint.starts_with("http://") { builder.with_allow_http(true) } else { builder };
                let builder = builder.with_config(AmazonS3ConfigKey::Client(ClientConfigKey::Timeout), PART_TIME);
                builder.build().map(|store| Arc::new(store) as _)
            }
            Scheme::Gs => {
                let builder = GoogleCloudStorageBuilder::from_env().with_url(base).with_retry(retry);
                let builder = builder.with_config(GoogleConfigKey::Client(ClientConfigKey::Timeout), PART_TIME);
                builder.build().map(|store| Arc::new(store) as _)
            }
        };
        let store =
            store.map_err(|e| Error::input(format!("{spec}: cannot be read ({e}); {}", scheme.credentials())))?;
        Ok(Self { scheme, store, start })
    }

    /// What the server says about an address, with what to do.
    fn failed(&self, address: &str, cause: &object_store::Error) -> Error {
        use object_store::Error as E;
        let remedy = match cause {
            E::PermissionDenied { .. } | E::Unauthenticated { .. } => self.scheme.credentials().to_string(),
            E::Precondition { .. } => "the file was changed during the download; run the command again".into(),
            _ if self.scheme == Scheme::Http => {
                "check the address and the connection; what was downloaded is kept".into()
            }
            // Without credentials, those of a virtual machine are asked for, which fails elsewhere.
            _ => format!("check the connection; {}; what was downloaded is kept", self.scheme.credentials()),
        };
        Error::input(format!("{address}: cannot be downloaded ({cause}); {remedy}"))
    }

    /// The name of an object in the server or bucket.
    fn key(&self, address: &str) -> Result<Key> {
        let path = &address[self.start + 1..];
        let key = match self.scheme {
            Scheme::Http => Key::from_url_path(path.split(['?', '#']).next().unwrap_or_default()),
            _ => Key::parse(path),
        };
        key.map_err(|e| Error::input(format!("{address}: not an address ({e})")))
    }

    /// The objects at an address, or of a pattern in natural order; none if there are none.
    async fn objects(&self, address: &str) -> Result<Vec<Remote>> {
        let listed = self.scheme.lists() && has_wildcards(&address[self.start..]);
        let mut found = if listed { self.matching(address).await? } else { self.single(address).await? };
        found.sort_by(|a, b| natural(a.location.as_ref(), b.location.as_ref()));
        let base = &address[..self.start];
        let query =
            address.split_once('?').filter(|_| !self.scheme.lists()).map(|(_, query)| query).unwrap_or_default();
        Ok(found.into_iter().map(|meta| Remote::of(base, query, meta)).collect())
    }

    async fn single(&self, address: &str) -> Result<Vec<ObjectMeta>> {
        // Addresses that were signed for reading do not allow HEAD.
        match self.store.get_opts(&self.key(address)?, GetOptions::default()).await {
            Ok(found) => Ok(vec![found.meta]),
            Err(object_store::Error::NotFound { .. }) => Ok(Vec::new()),
            Err(e) => Err(self.failed(address, &e)),
        }
    }

    async fn matching(&self, address: &str) -> Result<Vec<ObjectMeta>> {
        let pattern = &address[self.start + 1..];
        let parts: Vec<Vec<char>> = pattern.split('/').map(|part| part.chars().collect()).collect();
        let known = pattern.split('/').take_while(|part| !has_wildcards(part)).collect::<Vec<_>>();
        let prefix = (!known.is_empty()).then(|| Key::parse(known.join("/")));
        let prefix = prefix.transpose().map_err(|e| Error::input(format!("{address}: not an address ({e})")))?;
        let listed = if known.len() + 1 == parts.len() {
            self.store.list_with_delimiter(prefix.as_ref()).await.map(|listed| listed.objects)
        } else {
            self.store.list(prefix.as_ref()).try_collect::<Vec<_>>().await
        };
        let mut objects = listed.map_err(|e| self.failed(address, &e))?;
        objects.retain(|object| {
            let names: Vec<&str> = object.location.as_ref().split('/').collect();
            let same = |(pattern, name): (&Vec<char>, &&str)| matches(pattern, &name.chars().collect::<Vec<_>>());
            names.len() == parts.len() && parts.iter().zip(&names).all(same)
        });
        Ok(objects)
    }

    /// The local copy of an object in a folder for its version.
    async fn download(&self, object: &Remote, cache: &Path, progress: &mut Progress) -> Result<PathBuf> {
        let folder = cache.join(&object.version);
        let path = folder.join(&object.name);
        if path.is_file() {
            progress.add(object.size);
            return Ok(path);
        }
        fs::create_dir_all(&folder).map_err(|cause| Error::io("cannot write", &folder, cause))?;
        let unfinished = folder.join(format!("{}.part", object.name));
        let failed = |cause| Error::io("cannot write", &unfinished, cause);
        let mut file = File::options().create(true).append(true).read(true).open(&unfinished).map_err(failed)?;
        // Another process may download the same file.
        file.lock().map_err(failed)?;
        if !path.is_file() {
            let there = file.metadata().map_err(failed)?.len().min(object.size);
            file.set_len(there).map_err(failed)?;
            check_space(&path, object.size - there)?;
            progress.add(there);
            self.complete(object, &unfinished, &mut file, progress).await?;
            file.sync_all().map_err(failed)?;
            fs::rename(&unfinished, &path).map_err(failed)?;
            crate::io::sync_folder(&path);
        }
        Ok(path)
    }

    /// Adds to a file what is missing of an object.
    async fn complete(&self, object: &Remote, path: &Path, file: &mut File, progress: &mut Progress) -> Result<()> {
        let written = |cause| Error::io("cannot write", path, cause);
        let start = file.seek(SeekFrom::End(0)).map_err(written)?;
        let part = |from: u64| GetOptions {
            range: Some((from..object.size.min(from + PART)).into()),
            if_match: object.strong_tag(),
            ..GetOptions::default()
        };
        let read = |options| async move { self.store.get_opts(&object.key, options).await?.bytes().await };
        let starts = (start..object.size).step_by(PART as usize);
        let mut parts = stream::iter(starts.map(part)).map(read).buffered(AT_A_TIME);
        let mut at = start;
        while let Some(part) = parts.next().await {
            let part = match part {
                Ok(part) => part,
                // Not every server reads parts.
                Err(object_store::Error::Generic { .. } | object_store::Error::NotSupported { .. }) if at == start => {
                    progress.done -= start;
                    return self.whole(object, path, file, progress).await;
                }
                Err(e) => return Err(self.failed(&object.address, &e)),
            };
            file.write_all(&part).map_err(written)?;
            at += part.len() as u64;
            progress.add(part.len() as u64);
        }
        self.check_size(object, at)
    }

    /// Replaces a file by an object that is read in one piece.
    async fn whole(&self, object: &Remote, path: &Path, file: &mut File, progress: &mut Progress) -> Result<()> {
        let written = |cause| Error::io("cannot write", path, cause);
        let failed = |e: object_store::Error| self.failed(&object.address, &e);
        file.set_len(0).map_err(written)?;
        let mut bytes = 0;
        let mut chunks = self.store.get_opts(&object.key, GetOptions::default()).await.map_err(failed)?.into_stream();
        while let Some(chunk) = chunks.try_next().await.map_err(failed)? {
            file.write_all(&chunk).map_err(written)?;
            bytes += chunk.len() as u64;
            progress.add(chunk.len() as u64);
        }
        self.check_size(object, bytes)
    }

    fn check_size(&self, object: &Remote, bytes: u64) -> Result<()> {
        if bytes == object.size {
            return Ok(());
        }
        Err(Error::input(format!(
            "{}: {bytes} of {} bytes were sent; run the command again",
            object.address, object.size
        )))
    }
}

/// A file on a server.
struct Remote {
    address: String,
    key: Key,
    /// The last part of the name.
    name: String,
    size: u64,
    tag: Option<String>,
    /// The name of a folder for this version of the file.
    version: String,
}

impl Remote {
    /// `base` is the address of the server or bucket.
    fn of(base: &str, query: &str, meta: ObjectMeta) -> Self {
        let name = meta.location.filename().unwrap_or("data").to_string();
        let address = format!("{base}/{}", meta.location);
        // A query often has a signature that changes; without a tag, it may select the content.
        let version = match &meta.e_tag {
            Some(tag) => format!("{tag} {}", meta.size),
            None => format!("{query} {} {}", meta.last_modified, meta.size),
        };
        let version = format!("{:08x}{:08x}", checksum(&address), checksum(&version));
        Self { address, key: meta.location, name, size: meta.size, tag: meta.e_tag, version }
    }

    /// The tag, if it stands for the bytes of the file.
    fn strong_tag(&self) -> Option<String> {
        self.tag.clone().filter(|tag| !tag.starts_with("W/"))
    }
}

fn checksum(text: &str) -> u32 {
    let mut crc = Crc::new();
    crc.update(text.as_bytes());
    crc.sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::memory::InMemory;

    fn run<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
    }

    fn put(store: &InMemory, key: &str, content: &[u8]) {
        run(store.put_opts(&Key::parse(key).unwrap(), content.to_vec().into(), Default::default())).unwrap();
    }

    fn bucket() -> (Arc<InMemory>, Server) {
        let store = Arc::new(InMemory::new());
        (store.clone(), Server { scheme: Scheme::S3, store, start: "s3://b".len() })
    }

    #[test]
    fn patterns_are_those_of_folders() {
        let (store, server) = bucket();
        for key in ["a/x-2.npy", "a/x-10.npy", "a/y.npy", "a/deep/x-1.npy", "x-1.npy"] {
            put(&store, key, b"x");
        }
        let found = |address: &str| {
            let objects = run(server.objects(address)).unwrap();
            objects.into_iter().map(|object| object.address).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(found("s3://b/a/x-*.npy"), "s3://b/a/x-2.npy s3://b/a/x-10.npy");
        assert_eq!(found("s3://b/?-1.npy"), "s3://b/x-1.npy");
        assert_eq!(found("s3://b/*/*/x-[0-9].npy"), "s3://b/a/deep/x-1.npy");
        assert_eq!(
            (found("s3://b/a/y.npy"), found("s3://b/z*.npy"), found("s3://b/z")),
            ("s3://b/a/y.npy".into(), "".into(), "".into())
        );
    }

    #[test]
    fn a_download_continues_and_a_changed_file_is_another_one() {
        let (folder, (store, server)) = (tempfile::tempdir().unwrap(), bucket());
        let content: Vec<u8> = (0..2 * PART as u32 + 77).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        put(&store, "a.npy", &content);
        let download = || {
            let object = run(server.objects("s3://b/a.npy")).unwrap().remove(0);
            let mut progress = Progress { done: 0, total: object.size };
            let path = run(server.download(&object, folder.path(), &mut progress));
            (path, progress.done, folder.path().join(object.version))
        };
        let (path, done, first) = download();
        assert_eq!((fs::read(path.unwrap()).unwrap() == content, done), (true, content.len() as u64));
        // What is there is read again.
        let kept = first.join("a.npy.part");
        fs::remove_file(first.join("a.npy")).unwrap();
        let mut started = content[..5_000].to_vec();
        started[0] ^= 1;
        fs::write(&kept, &started).unwrap();
        let whole = fs::read(download().0.unwrap()).unwrap();
        assert!(whole[1..] == content[1..] && whole[0] == started[0] && !kept.exists());
        put(&store, "a.npy", b"other");
        let (path, _, second) = download();
        assert_eq!(fs::read(path.unwrap()).unwrap(), b"other");
        assert_ne!(first, second);
    }

    #[test]
    fn addresses_without_a_file_are_refused() {
        let message = |spec: &str| Server::of(spec).err().unwrap().to_string();
        assert!(message("ftp://host/x.npy").contains("use https://, s3:// or gs://"));
        for spec in ["s3://bucket", "https://host/", "gs:///x"] {
            assert!(message(spec).contains("names no file"), "{spec}");
        }
    }
}
