//! Web servers and buckets of object stores.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::http::HttpBuilder;
use object_store::path::Path as Key;
use object_store::{ClientConfigKey, GetOptions, ObjectMeta, ObjectStore, RetryConfig};

use tempfile::NamedTempFile;

use super::super::address::{Address, text_without_secrets, without_secrets};
use super::super::files::{has_wildcards, matches};
use super::super::images::natural;
use super::Progress;
use super::object::Object;
use crate::io::folder;
use crate::{Error, Result};

/// The bytes of a part, which is what is lost at most when a download is interrupted, times the parts at the same time.
pub(super) const PART: u64 = 8 << 20;
const AT_A_TIME: usize = 4;
/// The time during which requests that failed are repeated.
const PATIENCE: Duration = Duration::from_secs(20);
/// The time after which a server that sends nothing more is given up.
const SILENCE: &str = "30 seconds";
/// The time for a whole file, which is not limited: files can be large, and connections slow.
const FILE_TIME: &str = "365 days";
const TIMES: [(ClientConfigKey, &str); 2] =
    [(ClientConfigKey::ReadTimeout, SILENCE), (ClientConfigKey::Timeout, FILE_TIME)];

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    Http,
    S3,
    Gs,
}

impl Scheme {
    pub fn of(name: &str) -> Option<Self> {
        match name {
            "http" | "https" => Some(Self::Http),
            "s3" => Some(Self::S3),
            "gs" => Some(Self::Gs),
            _ => None,
        }
    }

    /// Whether the files of a pattern can be found.
    pub fn lists(self) -> bool {
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

/// What a server says about an address.
pub(super) enum Answer {
    /// The objects, or none if there are none.
    Found(Vec<Object>),
    /// The server does not allow to read it. Some do not say to everyone that there is no such file.
    Refused(Error),
}

/// A web server, or a bucket of an object store.
pub(super) struct Server {
    pub scheme: Scheme,
    pub store: Arc<dyn ObjectStore>,
    /// The position of the slash after the name of the server or bucket in an address.
    pub start: usize,
    /// The query of an address of a web server, with its question mark.
    pub query: String,
}

impl Server {
    pub fn of(spec: &str) -> Result<Self> {
        let name = spec.split_once("://").unwrap_or_default().0;
        let Some(scheme) = Scheme::of(name) else {
            return Err(Error::input(format!(
                "{}: no way to read {name}:// addresses; use https://, s3:// or gs://",
                without_secrets(spec)
            )));
        };
        let address = Address::of(spec);
        let Some((start, query)) = address.and_then(|address| Some((address.slash()?, address.query()))) else {
            return Err(Error::input(format!(
                "{}: names no file; an address is {name}://SERVER/FILE",
                without_secrets(spec)
            )));
        };
        // Another part of the program may have chosen one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let retry = RetryConfig { max_retries: 3, retry_timeout: PATIENCE, ..RetryConfig::default() };
        let base = &spec[..start];
        let store: object_store::Result<Arc<dyn ObjectStore>> = match scheme {
            Scheme::Http => {
                let builder = HttpBuilder::new().with_url(format!("{base}/{query}")).with_retry(retry);
                let builder = TIMES.into_iter().fold(builder, |builder, (key, time)| builder.with_config(key, time));
                builder.with_config(ClientConfigKey::AllowHttp, "true").build().map(|store| Arc::new(store) as _)
            }
            Scheme::S3 => {
                let builder = AmazonS3Builder::from_env().with_url(base).with_retry(retry);
                let endpoint = builder.get_config_value(&AmazonS3ConfigKey::Endpoint).unwrap_or_default();
                // Local servers.
                let builder = if endpoint.starts_with("http://") { builder.with_allow_http(true) } else { builder };
                let with =
                    |builder: AmazonS3Builder, (key, time)| builder.with_config(AmazonS3ConfigKey::Client(key), time);
                TIMES.into_iter().fold(builder, with).build().map(|store| Arc::new(store) as _)
            }
            Scheme::Gs => {
                let builder = GoogleCloudStorageBuilder::from_env().with_url(base).with_retry(retry);
                let with = |builder: GoogleCloudStorageBuilder, (key, time)| {
                    builder.with_config(GoogleConfigKey::Client(key), time)
                };
                TIMES.into_iter().fold(builder, with).build().map(|store| Arc::new(store) as _)
            }
        };
        let failed = |e: object_store::Error| {
            Error::input(format!(
                "{}: cannot be read ({}); {}",
                without_secrets(spec),
                text_without_secrets(&e.to_string()),
                scheme.credentials()
            ))
        };
        Ok(Self { scheme, store: store.map_err(failed)?, start, query: query.into() })
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
        Error::input(format!(
            "{}: cannot be downloaded ({}); {remedy}",
            without_secrets(address),
            text_without_secrets(&cause.to_string())
        ))
    }

    /// The name of an object in the server or bucket.
    fn key(&self, address: &str) -> Result<Key> {
        let path = &address[self.start + 1..];
        let key = match self.scheme {
            Scheme::Http => Key::from_url_path(path.split(['?', '#']).next().unwrap_or_default()),
            _ => Key::parse(path),
        };
        key.map_err(|e| Error::input(format!("{}: not an address ({e})", without_secrets(address))))
    }

    /// The objects at an address, or of a pattern in natural order.
    pub async fn objects(&self, address: &str) -> Result<Answer> {
        use object_store::Error as E;
        let listed = self.scheme.lists() && has_wildcards(&address[self.start..]);
        let found = if listed { self.matching(address).await? } else { self.single(address).await? };
        let mut found = match found {
            Ok(found) => found,
            Err(E::NotFound { .. }) => Vec::new(),
            Err(e @ (E::PermissionDenied { .. } | E::Unauthenticated { .. })) => {
                return Ok(Answer::Refused(self.failed(address, &e)));
            }
            Err(e) => return Err(self.failed(address, &e)),
        };
        found.sort_by(|a, b| natural(a.location.as_ref(), b.location.as_ref()));
        let base = &address[..self.start];
        Ok(Answer::Found(found.into_iter().map(|meta| Object::of(base, &self.query, meta)).collect()))
    }

    async fn single(&self, address: &str) -> Result<object_store::Result<Vec<ObjectMeta>>> {
        // Addresses that were signed for reading do not allow HEAD.
        let found = self.store.get_opts(&self.key(address)?, GetOptions::default()).await;
        Ok(found.map(|found| vec![found.meta]))
    }

    async fn matching(&self, address: &str) -> Result<object_store::Result<Vec<ObjectMeta>>> {
        let pattern = &address[self.start + 1..];
        let parts: Vec<Vec<char>> = pattern.split('/').map(|part| part.chars().collect()).collect();
        let known = pattern.split('/').take_while(|part| !has_wildcards(part)).collect::<Vec<_>>();
        let prefix = (!known.is_empty()).then(|| Key::parse(known.join("/")));
        let prefix = prefix
            .transpose()
            .map_err(|e| Error::input(format!("{}: not an address ({e})", without_secrets(address))))?;
        let listed = if known.len() + 1 == parts.len() {
            self.store.list_with_delimiter(prefix.as_ref()).await.map(|listed| listed.objects)
        } else {
            self.store.list(prefix.as_ref()).try_collect::<Vec<_>>().await
        };
        let is_meant = |object: &ObjectMeta| {
            let names: Vec<&str> = object.location.as_ref().split('/').collect();
            let same = |(pattern, name): (&Vec<char>, &&str)| matches(pattern, &name.chars().collect::<Vec<_>>());
            names.len() == parts.len() && parts.iter().zip(&names).all(same)
        };
        Ok(listed.map(|objects| objects.into_iter().filter(is_meant).collect()))
    }

    /// The local copies of objects in a folder.
    pub async fn download_each(&self, objects: &[Object], cache: &Path) -> Result<Vec<PathBuf>> {
        let mut progress = Progress { done: 0, total: objects.iter().map(|object| object.size).sum() };
        let mut files = Vec::new();
        for object in objects {
            files.push(self.download(object, cache, &mut progress).await?);
        }
        Ok(files)
    }

    /// The local copy of an object in a folder for its version.
    pub async fn download(&self, object: &Object, cache: &Path, progress: &mut Progress) -> Result<PathBuf> {
        let folder = cache.join(&object.version);
        let path = folder.join(&object.name);
        if object.has_version() && path.is_file() {
            progress.add(object.size);
            return Ok(path);
        }
        fs::create_dir_all(&folder).map_err(|cause| Error::io("cannot write", &folder, cause))?;
        if object.has_version() {
            self.download_the_rest(object, &path, progress).await?;
        } else {
            self.download_again(object, &path, progress).await?;
        }
        crate::io::sync_folder(&path);
        Ok(path)
    }

    /// Continues the download of a file, if it was interrupted.
    async fn download_the_rest(&self, object: &Object, path: &Path, progress: &mut Progress) -> Result<()> {
        let folder = folder(path);
        let unfinished = folder.join(format!("{}.part", object.name));
        let failed = |cause| Error::io("cannot write", &unfinished, cause);
        let opened = File::options().create(true).truncate(false).read(true).write(true).open(&unfinished);
        let mut file = opened.map_err(failed)?;
        // Another process may download the same file, and have finished it meanwhile.
        file.lock().map_err(failed)?;
        if path.is_file() {
            progress.add(object.size);
            return Ok(());
        }
        let there = file.metadata().map_err(failed)?.len().min(object.size);
        file.set_len(there).map_err(failed)?;
        object.check_space(folder, object.size - there)?;
        progress.add(there);
        self.complete(object, &unfinished, &mut file, progress).await?;
        file.sync_all().map_err(failed)?;
        fs::rename(&unfinished, path).map_err(failed)
    }

    /// Replaces a file, which other processes may be reading.
    async fn download_again(&self, object: &Object, path: &Path, progress: &mut Progress) -> Result<()> {
        let failed = |cause| Error::io("cannot write", path, cause);
        object.check_space(folder(path), object.size)?;
        let mut file = NamedTempFile::new_in(folder(path)).map_err(failed)?;
        self.whole(object, path, file.as_file_mut(), progress).await?;
        file.as_file().sync_all().map_err(failed)?;
        file.persist(path).map_err(|e| failed(e.error)).map(drop)
    }

    /// Adds to a file what is missing of an object.
    async fn complete(&self, object: &Object, path: &Path, file: &mut File, progress: &mut Progress) -> Result<()> {
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
    async fn whole(&self, object: &Object, path: &Path, file: &mut File, progress: &mut Progress) -> Result<()> {
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

    fn check_size(&self, object: &Object, bytes: u64) -> Result<()> {
        if bytes == object.size {
            return Ok(());
        }
        Err(Error::input(format!(
            "{}: {bytes} of {} bytes were sent; run the command again",
            without_secrets(&object.address),
            object.size
        )))
    }
}
