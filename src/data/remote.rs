//! Files on servers and in object stores, which are downloaded once and then read like other files.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::panic::resume_unwind;
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
use crate::text::readable;
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
            // The program that calls may have a runtime on its thread, where no other one can start.
            let found = std::thread::scope(|scope| scope.spawn(|| run(spec)).join());
            let found = found.unwrap_or_else(|panic| resume_unwind(panic))?;
            known.insert(spec.into(), found.clone());
            found
        }
    };
    Ok((files, spec.get(end + 1..)))
}

fn run(spec: &str) -> Result<(Vec<PathBuf>, usize)> {
    let failed = |e| Error::input(format!("{}: cannot start a download: {e}", shown(spec)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    runtime.block_on(download_all(spec))
}

/// The files, and the end of the address in `ADDRESS` or `ADDRESS:PART`.
async fn download_all(spec: &str) -> Result<(Vec<PathBuf>, usize)> {
    let server = Server::of(spec)?;
    let cache = cache_folder("data").map_err(|why| {
        Error::setting(format!(
            "{}: files are downloaded to the cache folder, which is {why}; set LANGEVIN_CACHE to a folder that only you can write \
             to, or download the file and name it",
            shown(spec)
        ))
    })?;
    for end in server.ends(spec) {
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
    Err(Error::input(format!("{}: the server has no such file; check the address{listing}", shown(spec))))
}

/// An address in messages: without a password, and without a query, which can be a signature.
fn shown(address: &str) -> String {
    let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
    let is_web = Scheme::of(scheme).is_none_or(|scheme| !scheme.lists());
    let rest = rest.split('?').next().filter(|_| is_web).unwrap_or(rest);
    let server = rest.find('/').unwrap_or(rest.len());
    let user = rest[..server].rfind('@').map_or(0, |at| at + 1);
    format!("{scheme}://{}", &rest[user..])
}

/// What a library says, with its addresses as in other messages.
fn described(cause: &object_store::Error) -> String {
    let ends = |c: char| c.is_whitespace() || "()<>\"'".contains(c);
    let text = cause.to_string();
    let words = text.split_inclusive(ends).map(|word| {
        let bare = word.trim_end_matches(ends);
        let bare_shown = if bare.contains("://") { shown(bare) } else { bare.into() };
        bare_shown + &word[bare.len()..]
    });
    words.collect()
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

/// The query of an address of a web server, with its question mark.
fn query_of(scheme: Scheme, spec: &str) -> &str {
    let query = spec.find('?').filter(|_| !scheme.lists()).map_or("", |at| &spec[at..]);
    query.split(':').next().unwrap_or_default()
}

/// A web server, or a bucket of an object store.
struct Server {
    scheme: Scheme,
    store: Arc<dyn ObjectStore>,
    /// The position of the slash after the name of the server or bucket in an address.
    start: usize,
    /// The query of an address of a web server, with its question mark; a colon in it is `%3A`.
    query: String,
}

impl Server {
    fn of(spec: &str) -> Result<Self> {
        let (name, rest) = spec.split_once("://").unwrap_or_default();
        let Some(scheme) = Scheme::of(name) else {
            return Err(Error::input(format!(
                "{}: no way to read {name}:// addresses; use https://, s3:// or gs://",
                shown(spec)
            )));
        };
        let Some(slash) = rest.find('/').filter(|at| *at > 0 && *at + 1 < rest.len()) else {
            return Err(Error::input(format!("{}: names no file; an address is {name}://SERVER/FILE", shown(spec))));
        };
        // Another part of the program may have chosen one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let start = name.len() + 3 + slash;
        let retry = RetryConfig { max_retries: 3, retry_timeout: PATIENCE, ..RetryConfig::default() };
        let base = &spec[..start];
        let query = query_of(scheme, spec).to_string();
        let store: object_store::Result<Arc<dyn ObjectStore>> = match scheme {
            Scheme::Http => {
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
        let failed = |e: object_store::Error| {
            Error::input(format!("{}: cannot be read ({}); {}", shown(spec), described(&e), scheme.credentials()))
        };
        Ok(Self { scheme, store: store.map_err(failed)?, start, query })
    }

    /// Where the address may end in `ADDRESS` or `ADDRESS:PART`. A colon can belong to the name.
    fn ends(&self, spec: &str) -> Vec<usize> {
        match spec.find('?').filter(|_| !self.query.is_empty()) {
            Some(at) => vec![at + self.query.len()],
            None => {
                let colons = spec.char_indices().filter(|(at, c)| *c == ':' && *at > self.start).map(|(at, _)| at);
                [spec.len()].into_iter().chain(colons).collect()
            }
        }
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
        Error::input(format!("{}: cannot be downloaded ({}); {remedy}", shown(address), described(cause)))
    }

    /// The name of an object in the server or bucket.
    fn key(&self, address: &str) -> Result<Key> {
        let path = &address[self.start + 1..];
        let key = match self.scheme {
            Scheme::Http => Key::from_url_path(path.split(['?', '#']).next().unwrap_or_default()),
            _ => Key::parse(path),
        };
        key.map_err(|e| Error::input(format!("{}: not an address ({e})", shown(address))))
    }

    /// The objects at an address, or of a pattern in natural order; none if there are none.
    async fn objects(&self, address: &str) -> Result<Vec<Remote>> {
        let listed = self.scheme.lists() && has_wildcards(&address[self.start..]);
        let mut found = if listed { self.matching(address).await? } else { self.single(address).await? };
        found.sort_by(|a, b| natural(a.location.as_ref(), b.location.as_ref()));
        let base = &address[..self.start];
        Ok(found.into_iter().map(|meta| Remote::of(base, &self.query, meta)).collect())
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
        let prefix =
            prefix.transpose().map_err(|e| Error::input(format!("{}: not an address ({e})", shown(address))))?;
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
        let is_there = || object.has_version() && path.is_file();
        if is_there() {
            progress.add(object.size);
            return Ok(path);
        }
        fs::create_dir_all(&folder).map_err(|cause| Error::io("cannot write", &folder, cause))?;
        let unfinished = folder.join(format!("{}.part", object.name));
        let failed = |cause| Error::io("cannot write", &unfinished, cause);
        let opened = File::options().create(true).truncate(false).read(true).write(true).open(&unfinished);
        let mut file = opened.map_err(failed)?;
        // Another process may download the same file.
        file.lock().map_err(failed)?;
        if is_there() {
            progress.add(object.size);
            return Ok(path);
        }
        let there = file.metadata().map_err(failed)?.len().min(object.size);
        file.set_len(there).map_err(failed)?;
        object.check_space(&folder, object.size - there)?;
        if object.has_version() {
            progress.add(there);
            self.complete(object, &unfinished, &mut file, progress).await?;
        } else {
            self.whole(object, &unfinished, &mut file, progress).await?;
        }
        file.sync_all().map_err(failed)?;
        fs::rename(&unfinished, &path).map_err(failed)?;
        crate::io::sync_folder(&path);
        Ok(path)
    }

    /// Adds to a file what is missing of an object.
    async fn complete(&self, object: &Remote, path: &Path, file: &mut File, progress: &mut Progress) -> Result<()> {
        let written = |cause| Error::io("cannot write", path, cause);
        let start = file.seek(SeekFrom::End(0)).map_err(written)?;
        let part =
            |from: u64| GetOptions { range: Some((from..object.size.min(from + PART)).into()), ..object.conditions() };
        let read = |options| async move {
            let found = self.store.get_opts(&object.meta.location, options).await?;
            let meta = found.meta.clone();
            Ok::<_, object_store::Error>((meta, found.bytes().await?))
        };
        let starts = (start..object.size).step_by(PART as usize);
        let mut parts = stream::iter(starts.map(part)).map(read).buffered(AT_A_TIME);
        let mut at = start;
        while let Some(part) = parts.next().await {
            let (meta, part) = match part {
                Ok(found) => found,
                // Not every server reads parts.
                Err(object_store::Error::NotSupported { .. }) if at == start => {
                    progress.done -= start;
                    return self.whole(object, path, file, progress).await;
                }
                Err(e) => return Err(self.failed(&object.address, &e)),
            };
            object.check_version(&meta)?;
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
        let found = self.store.get_opts(&object.meta.location, object.conditions()).await.map_err(failed)?;
        object.check_version(&found.meta)?;
        file.set_len(0).and_then(|()| file.rewind()).map_err(written)?;
        let mut bytes = 0;
        let mut chunks = found.into_stream();
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
            shown(&object.address),
            object.size
        )))
    }
}

/// A file on a server.
struct Remote {
    address: String,
    meta: ObjectMeta,
    /// The last part of the name, as a name that every file system takes.
    name: String,
    size: u64,
    /// The name of a folder for this version of the file.
    version: String,
}

impl Remote {
    /// `base` is the address of the server or bucket.
    fn of(base: &str, query: &str, meta: ObjectMeta) -> Self {
        let plain = |c: char| if c.is_alphanumeric() || "._-".contains(c) { c } else { '_' };
        let name = meta.location.filename().unwrap_or("data").chars().map(plain).collect();
        let address = format!("{base}/{}", meta.location);
        // A query often has a signature that changes; without a tag, it may select the content.
        let version = match &meta.e_tag {
            Some(tag) => format!("{tag} {}", meta.size),
            None => format!("{query} {} {}", meta.last_modified, meta.size),
        };
        let version = format!("{:08x}{:08x}", checksum(&address), checksum(&version));
        Self { address, name, size: meta.size, meta, version }
    }

    /// The tag, if it stands for the bytes of the file.
    fn strong_tag(&self) -> Option<&String> {
        self.meta.e_tag.as_ref().filter(|tag| !tag.starts_with("W/"))
    }

    /// Whether the server says when the file was changed.
    fn has_time(&self) -> bool {
        self.meta.last_modified.timestamp() != 0
    }

    /// Whether a copy can be compared with the file on the server.
    fn has_version(&self) -> bool {
        self.meta.e_tag.is_some() || self.has_time()
    }

    /// Requests of this version.
    fn conditions(&self) -> GetOptions {
        match self.strong_tag() {
            Some(tag) => GetOptions { if_match: Some(tag.clone()), ..GetOptions::default() },
            None => {
                let time = self.has_time().then_some(self.meta.last_modified);
                GetOptions { if_unmodified_since: time, ..GetOptions::default() }
            }
        }
    }

    /// Checks whether a response is of this version: a server may ignore the conditions.
    fn check_version(&self, response: &ObjectMeta) -> Result<()> {
        let time = |meta: &ObjectMeta| meta.last_modified.timestamp();
        let same_time = self.strong_tag().is_some() || time(response) == time(&self.meta);
        if response.e_tag == self.meta.e_tag && response.size == self.size && same_time {
            return Ok(());
        }
        let address = shown(&self.address);
        Err(Error::input(format!("{address}: the file was changed during the download; run the command again")))
    }

    /// Checks whether `bytes` fit on the disk of a folder. Passes if its free space is unknown.
    fn check_space(&self, folder: &Path, bytes: u64) -> Result<()> {
        match fs4::available_space(folder) {
            Ok(free) if bytes > free => Err(Error::setting(format!(
                "{}: needs {} in {}, but its disk has only {} left; set LANGEVIN_CACHE to a folder on another disk",
                shown(&self.address),
                readable(bytes),
                folder.display(),
                readable(free)
            ))),
            _ => Ok(()),
        }
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

    fn wait<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
    }

    fn put(store: &InMemory, key: &str, content: &[u8]) {
        wait(store.put_opts(&Key::parse(key).unwrap(), content.to_vec().into(), Default::default())).unwrap();
    }

    fn bucket() -> (Arc<InMemory>, Server) {
        let store = Arc::new(InMemory::new());
        (store.clone(), Server { scheme: Scheme::S3, store, start: "s3://b".len(), query: String::new() })
    }

    #[test]
    fn patterns_are_those_of_folders() {
        let (store, server) = bucket();
        for key in ["a/x-2.npy", "a/x-10.npy", "a/y.npy", "a/deep/x-1.npy", "x-1.npy"] {
            put(&store, key, b"x");
        }
        let found = |address: &str| {
            let objects = wait(server.objects(address)).unwrap();
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
            let object = wait(server.objects("s3://b/a.npy")).unwrap().remove(0);
            let mut progress = Progress { done: 0, total: object.size };
            let path = wait(server.download(&object, folder.path(), &mut progress));
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
    fn a_part_follows_a_query() {
        let divided = |spec: &str| {
            let query = query_of(Scheme::Http, spec).to_string();
            let server = Server { scheme: Scheme::Http, query, ..bucket().1 };
            (server.query.clone(), server.ends(spec))
        };
        assert_eq!(divided("https://h/p.tar?download=true:cats"), ("?download=true".into(), vec![29]));
        assert_eq!(divided("https://h/p.tar?a=b%3Ac"), ("?a=b%3Ac".into(), vec![23]));
        assert_eq!(divided("https://h/p.tar:cats"), ("".into(), vec![20, 15]));
    }

    #[test]
    fn messages_show_no_credentials() {
        assert_eq!(shown("https://me:secret@h/x.npy?signature=1"), "https://h/x.npy");
        assert_eq!(shown("s3://b/x-?.npy"), "s3://b/x-?.npy");
        let cause = "error for url (https://me:secret@h/x?sig=1) in 2 s";
        let cause = object_store::Error::Generic { store: "HTTP", source: cause.into() };
        assert!(described(&cause).ends_with("error for url (https://h/x) in 2 s"));
    }

    #[test]
    fn another_version_is_refused() {
        let meta = |tag: Option<&str>, time: &str| ObjectMeta {
            location: Key::from("a/..\\..\\x.npy"),
            last_modified: time.parse().unwrap(),
            size: 3,
            e_tag: tag.map(str::to_string),
            version: None,
        };
        let (first, second) = ("2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z");
        let listed = |tag| Remote::of("https://h", "", meta(tag, first));
        assert!(listed(Some("\"1\"")).check_version(&meta(Some("\"1\""), second)).is_ok());
        assert!(listed(Some("\"1\"")).check_version(&meta(Some("\"2\""), first)).is_err());
        assert!(listed(Some("W/\"1\"")).check_version(&meta(Some("W/\"1\""), second)).is_err());
        assert!(listed(None).conditions().if_unmodified_since.is_some() && listed(None).has_version());
        assert!(!Remote::of("https://h", "", meta(None, "1970-01-01T00:00:00Z")).has_version());
        assert!(!listed(None).name.contains(['\\', '%']));
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
