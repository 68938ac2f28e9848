//! Files cached between runs of the program: the driver's compiled pipelines, and the results of autotuning.
//!
//! Files are stored in the user's cache folder (`~/.cache/langevin` on Linux). `LANGEVIN_CACHE` sets another folder, or
//! `off`. In debug builds the cache is off unless the variable is set, so that tests do not change the user's files. A
//! cache never causes an error: write errors are logged and ignored, and a file that is damaged, or of another adapter,
//! driver or version of the crate, is ignored too. So is a folder that is owned or writable by another user.

use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Once;

use etcetera::BaseStrategy;
use flate2::Crc;

/// The environment variable with the folder, or `off`.
const VARIABLE: &str = "LANGEVIN_CACHE";
/// The first bytes of every file, with the version of the format: magic, checksum of the rest, length of the key, key,
/// content.
const MAGIC: &[u8; 8] = b"langev\0\x01";
/// The offset of the key.
const HEADER: usize = 16;
/// The maximum size of a file.
const MAX_BYTES: usize = 64 << 20;

/// Files that are valid for one key: an adapter with its driver, and this version of the crate.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    folder: Option<PathBuf>,
    key: String,
}

impl Cache {
    /// A cache in the user's folder, for data that depend on `key` and on the version of the crate.
    pub fn of_user(key: &str) -> Self {
        Self::new(folder(std::env::var_os(VARIABLE), user_folder()), key)
    }

    /// Whether files are stored. Otherwise autotuning is not worth its time.
    pub fn is_enabled(&self) -> bool {
        self.private_folder().is_some()
    }

    /// A cache in `folder`, or a disabled one.
    pub fn new(folder: Option<PathBuf>, key: &str) -> Self {
        Self { folder, key: format!("langevin {}\n{key}", env!("CARGO_PKG_VERSION")) }
    }

    /// Loads what [`Cache::save`] stored under this name (letters, digits and hyphens).
    pub fn load(&self, name: &str) -> Option<Vec<u8>> {
        let file = fs::read(self.path(name)?).ok()?;
        let content = self.content(&file).map(<[u8]>::to_vec);
        log::debug!("cache: {name}: {}", if content.is_some() { "found" } else { "not valid, ignored" });
        content
    }

    /// Stores bytes under this name, and replaces earlier ones.
    pub fn save(&self, name: &str, content: &[u8]) {
        let Some(path) = self.path(name).filter(|_| content.len() <= MAX_BYTES) else { return };
        match self.replace(&path, content) {
            Ok(()) => log::debug!("cache: {name}: {} bytes stored", content.len()),
            Err(e) => log::debug!("cache: cannot write {}: {e}", path.display()),
        }
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        let folder = self.private_folder()?;
        Some(folder.join(format!("{name}-{:08x}", checksum(&[self.key.as_bytes()]))))
    }

    /// The folder, if no other user can write to it, because its files are passed to the driver.
    fn private_folder(&self) -> Option<&Path> {
        static WARNING: Once = Once::new();
        let folder = self.folder.as_deref()?;
        if is_private(folder) {
            return Some(folder);
        }
        WARNING.call_once(|| {
            log::warn!(
                "the cache folder {} is owned or writable by another user, so it is not used; set {VARIABLE} to another folder",
                folder.display()
            );
        });
        None
    }

    /// The content of a file, if it is complete, undamaged and has this key.
    fn content<'a>(&self, file: &'a [u8]) -> Option<&'a [u8]> {
        let word = |at: usize| Some(u32::from_le_bytes(file.get(at..at + 4)?.try_into().ok()?));
        let rest = file.strip_prefix(MAGIC)?.get(4..)?;
        let key = file.get(HEADER..)?.get(..word(12)? as usize)?;
        let valid = word(8)? == checksum(&[rest]) && key == self.key.as_bytes();
        valid.then(|| &file[HEADER + key.len()..])
    }

    /// Writes a temporary file and renames it, so that a reader never sees partial content.
    fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let folder = path.parent().expect("the path has a folder");
        create_private(folder)?;
        let (length, key) = ((self.key.len() as u32).to_le_bytes(), self.key.as_bytes());
        let sum = checksum(&[&length, key, content]).to_le_bytes();
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        for part in [MAGIC, &sum[..], &length, key, content] {
            file.write_all(part)?;
        }
        file.persist(path)?;
        Ok(())
    }
}

/// A folder in that of this user's files, which is created if it does not exist; an error says what is wrong with the cache
/// folder.
#[cfg(feature = "remote")]
pub(crate) fn cache_folder(name: &str) -> Result<PathBuf, String> {
    let folder = Cache::of_user("").folder.ok_or("off")?;
    if !is_private(&folder) {
        return Err(format!("{}, owned or writable by another user", folder.display()));
    }
    let inside = folder.join(name);
    create_private(&inside).map_err(|e| format!("{}, not writable ({e})", folder.display()))?;
    Ok(inside)
}

/// The folder set by the variable, otherwise the user's folder.
fn folder(variable: Option<OsString>, user: Option<PathBuf>) -> Option<PathBuf> {
    match variable.filter(|v| !v.is_empty()) {
        Some(v) if v == "off" => None,
        Some(v) => Some(v.into()),
        None => user.filter(|_| !cfg!(debug_assertions)),
    }
}

fn user_folder() -> Option<PathBuf> {
    Some(etcetera::base_strategy::choose_native_strategy().ok()?.cache_dir().join("langevin"))
}

/// Whether a folder is owned by the user and not writable by others. A folder that does not exist yet is created so.
#[cfg(unix)]
fn is_private(folder: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let own = |m: fs::Metadata| m.uid() == rustix::process::geteuid().as_raw() && m.mode() & 0o022 == 0;
    fs::metadata(folder).map_or(true, own)
}

#[cfg(not(unix))]
fn is_private(_: &Path) -> bool {
    true
}

/// Creates a folder that only the user can write to.
fn create_private(folder: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

fn checksum(parts: &[&[u8]]) -> u32 {
    let mut crc = Crc::new();
    parts.iter().for_each(|part| crc.update(part));
    crc.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(folder: &Path, key: &str) -> Cache {
        Cache::new(Some(folder.join("a/b")), key)
    }

    #[test]
    fn content_is_found_by_the_same_key_only() {
        let folder = tempfile::tempdir().unwrap();
        let ours = cache(folder.path(), "adapter 1");
        assert_eq!(ours.load("tiles"), None);
        ours.save("tiles", b"64x64");
        ours.save("tiles", b"128x128");
        assert_eq!(ours.load("tiles").as_deref(), Some(&b"128x128"[..]));
        assert_eq!(ours.load("pipelines"), None);
        assert_eq!(cache(folder.path(), "adapter 2").load("tiles"), None);
        assert_eq!(fs::read_dir(folder.path().join("a/b")).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn damaged_files_and_other_keys_are_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let ours = cache(folder.path(), "adapter");
        ours.save("tiles", b"some content");
        let path = ours.path("tiles").unwrap();
        let whole = fs::read(&path).unwrap();
        for i in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[i] ^= 1;
            fs::write(&path, &damaged).unwrap();
            assert_eq!(ours.load("tiles"), None, "byte {i} differs");
            fs::write(&path, &whole[..i]).unwrap();
            assert_eq!(ours.load("tiles"), None, "{i} bytes");
        }
        let theirs = cache(folder.path(), "other");
        fs::write(theirs.path("tiles").unwrap(), &whole).unwrap();
        assert_eq!(theirs.load("tiles"), None);
    }

    #[test]
    #[cfg(unix)]
    fn a_folder_writable_by_others_is_ignored() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let ours = cache(folder.path(), "adapter");
        ours.save("tiles", b"64x64");
        let mode = |mode| fs::set_permissions(folder.path().join("a/b"), fs::Permissions::from_mode(mode)).unwrap();
        for others in [0o777, 0o770, 0o702] {
            mode(others);
            assert!(!ours.is_enabled() && ours.load("tiles").is_none(), "{others:o}");
            ours.save("other", b"1");
        }
        mode(0o755);
        assert!(ours.is_enabled() && ours.load("tiles").is_some() && ours.load("other").is_none());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_folder_of_another_user_is_ignored() {
        // `/proc/1` belongs to the user of the first process, and `/` to root; at least one of them is another user's.
        let theirs = [Path::new("/"), Path::new("/proc/1")];
        let me = rustix::process::geteuid().as_raw();
        for folder in theirs {
            use std::os::unix::fs::MetadataExt;
            let owner = fs::metadata(folder).unwrap();
            assert_eq!(is_private(folder), owner.uid() == me && owner.mode() & 0o022 == 0);
        }
    }

    #[test]
    fn an_impossible_folder_is_not_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let ours = cache(file.path(), "adapter");
        ours.save("tiles", b"64x64");
        assert_eq!(ours.load("tiles"), None);
        let off = Cache::new(None, "adapter");
        off.save("tiles", b"64x64");
        assert_eq!(off.load("tiles"), None);
    }

    #[test]
    fn the_variable_sets_the_folder_or_disables_the_cache() {
        let user = || Some(PathBuf::from("/home/me/.cache/langevin"));
        assert_eq!(folder(Some("off".into()), user()), None);
        assert_eq!(folder(Some("elsewhere".into()), user()), Some("elsewhere".into()));
        let own = user().filter(|_| !cfg!(debug_assertions));
        assert_eq!(folder(None, user()), own);
        assert_eq!(folder(Some("".into()), user()), own);
    }
}
