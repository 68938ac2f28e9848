//! The files that a name with wildcards stands for.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};

use super::address::is_address;
#[cfg(not(feature = "remote"))]
use super::address::without_secrets;
use super::images::natural;
#[cfg(feature = "remote")]
use super::remote::fetch;
use crate::{Error, Result};

/// The files that match `PATTERN` or `PATTERN:PART` in natural order, and the part; `None` if none does. Those at an address are
/// downloaded. In a pattern, `*` is
/// any text, `?` any character, and `[a-z]` a character of a set, in the name of a file or folder.
///
/// # Errors
/// [`Error::Io`] when a folder or a file that matches cannot be read, and those of a download.
pub(super) fn matching(spec: &str) -> Result<Option<(Vec<PathBuf>, Option<&str>)>> {
    if is_address(spec) {
        return fetch(spec).map(Some);
    }
    if !has_wildcards(spec) {
        return Ok(None);
    }
    let colons = spec.char_indices().filter(|(_, c)| *c == ':');
    let divided = colons.map(|(at, _)| (&spec[..at], Some(&spec[at + 1..])));
    for (pattern, part) in [(spec, None)].into_iter().chain(divided) {
        let files = expand(pattern)?;
        if !files.is_empty() {
            return Ok(Some((files, part)));
        }
    }
    Ok(None)
}

#[cfg(not(feature = "remote"))]
fn fetch(spec: &str) -> Result<(Vec<PathBuf>, Option<&str>)> {
    let shown = without_secrets(spec);
    Err(Error::input(match spec.split_once("://") {
        Some(("http" | "https" | "s3" | "gs", _)) => format!(
            "{shown}: this program does not read addresses; install it with: cargo install --path . --features remote, or download \
             the file"
        ),
        Some(("file", path)) => format!("{shown}: not a path; name the file as {path}"),
        _ => format!("{shown}: such addresses are not read; download the file and name it"),
    }))
}

/// Whether a name has characters that stand for others.
pub(super) fn has_wildcards(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// The files that match a pattern, in natural order.
fn expand(pattern: &str) -> Result<Vec<PathBuf>> {
    let mut found = vec![PathBuf::new()];
    for part in Path::new(pattern).components() {
        let name = part.as_os_str().to_string_lossy();
        match part {
            Component::Normal(_) if has_wildcards(&name) => {
                let name: Vec<char> = name.chars().collect();
                let inside = found.iter().map(|folder| matching_in(folder, &name));
                found = inside.collect::<Result<Vec<_>>>()?.concat();
            }
            _ => found.iter_mut().for_each(|path| path.push(part)),
        }
    }
    let mut files = Vec::new();
    for path in found {
        if is_file(&path)? {
            files.push(path);
        }
    }
    files.sort_by(|a, b| natural(&a.to_string_lossy(), &b.to_string_lossy()));
    Ok(files)
}

/// Whether this is a file; not if it does not exist.
///
/// # Errors
/// [`Error::Io`] for a link to a file that does not exist, or when the folder cannot be read.
fn is_file(path: &Path) -> Result<bool> {
    match fs::metadata(path) {
        Ok(found) => Ok(found.is_file()),
        Err(cause) if is_absent(&cause) && fs::symlink_metadata(path).is_err() => Ok(false),
        Err(cause) => Err(Error::io("cannot read", path, cause)),
    }
}

/// Whether there is no such file or folder.
fn is_absent(cause: &io::Error) -> bool {
    matches!(cause.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// The entries of a folder that match a pattern; none if it is no folder. Hidden ones only match a pattern that begins with a dot.
fn matching_in(folder: &Path, pattern: &[char]) -> Result<Vec<PathBuf>> {
    let place = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let unreadable = |cause| Error::io("cannot read", place, cause);
    let entries = match fs::read_dir(place) {
        Ok(entries) => entries,
        Err(cause) if is_absent(&cause) => return Ok(Vec::new()),
        Err(cause) => return Err(unreadable(cause)),
    };
    let mut matching = Vec::new();
    for entry in entries {
        let name = entry.map_err(unreadable)?.file_name();
        // A character of a name that is not Unicode is one that only wildcards match.
        let text = name.to_string_lossy();
        let seen = !text.starts_with('.') || pattern.first() == Some(&'.');
        if seen && matches(pattern, &text.chars().collect::<Vec<_>>()) {
            matching.push(folder.join(&name));
        }
    }
    Ok(matching)
}

/// Whether a name matches a pattern.
pub(super) fn matches(pattern: &[char], name: &[char]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        (['*', rest @ ..], _) => (0..=name.len()).any(|at| matches(rest, &name[at..])),
        (['?', rest @ ..], [_, tail @ ..]) => matches(rest, tail),
        (['[', ..], [first, tail @ ..]) if set(pattern).is_some() => {
            set(pattern).is_some_and(|(set, rest)| is_in(set, *first) && matches(rest, tail))
        }
        ([wanted, rest @ ..], [first, tail @ ..]) => wanted == first && matches(rest, tail),
        _ => false,
    }
}

/// The set at the start of a pattern such as `[0-9]`, and the rest of the pattern.
fn set(pattern: &[char]) -> Option<(&[char], &[char])> {
    // A bracket at the start is a character of the set.
    let end = pattern.iter().skip(2).position(|c| *c == ']')? + 2;
    Some((&pattern[1..end], &pattern[end + 1..]))
}

/// Whether a character is in a set of characters and ranges, or not in it after `!`.
fn is_in(set: &[char], c: char) -> bool {
    let (inverse, mut set) = match set {
        ['!', rest @ ..] if !rest.is_empty() => (true, rest),
        _ => (false, set),
    };
    let mut found = false;
    while let [first, rest @ ..] = set {
        (found, set) = match rest {
            ['-', last, rest @ ..] => (found || (*first..=*last).contains(&c), rest),
            _ => (found || *first == c, rest),
        };
    }
    found != inverse
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_names() {
        let is = |pattern: &str, name: &str| {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            matches(&chars(pattern), &chars(name))
        };
        for (pattern, yes, no) in [
            ("part-*.npy", ["part-.npy", "part-10.npy"], ["part-1.npz", "apart-1.npy"]),
            ("?.csv", ["a.csv", "ö.csv"], [".csv", "ab.csv"]),
            ("*a*b*", ["ab", "xaxxbx"], ["ba", "aaa"]),
            ("x[0-3b].npy", ["x2.npy", "xb.npy"], ["x4.npy", "x.npy"]),
            ("x[!0-3]", ["xa", "x4"], ["x0", "x"]),
            ("x[", ["x[", "x["], ["x", "x[]"]),
        ] {
            assert!(yes.iter().all(|name| is(pattern, name)), "{pattern}");
            assert!(no.iter().all(|name| !is(pattern, name)), "{pattern}");
        }
    }

    #[test]
    fn files_are_found_in_natural_order() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b/2.npy", "b/10.npy", "a/3.npy", "a/3.txt", "a/.4.npy"] {
            fs::create_dir_all(dir.path().join(name).parent().unwrap()).unwrap();
            fs::write(dir.path().join(name), "x").unwrap();
        }
        let found = |pattern: &str| {
            let pattern = format!("{}/{pattern}", dir.path().display());
            let (files, part) = matching(&pattern).unwrap()?;
            let names = files.iter().map(|file| file.strip_prefix(dir.path()).unwrap().to_string_lossy().into_owned());
            Some((names.collect::<Vec<_>>().join(" "), part.unwrap_or_default().to_string()))
        };
        let some = |names: &str, part: &str| Some((names.to_string(), part.to_string()));
        assert_eq!(found("*/*.npy"), some("a/3.npy b/2.npy b/10.npy", ""));
        assert_eq!(found("b/[1-9]*.npy:x"), some("b/2.npy b/10.npy", "x"));
        assert_eq!(found("a/.*"), some("a/.4.npy", ""));
        assert_eq!((found("*.npy"), found("a/3.npy"), found("*")), (None, None, None));
    }

    #[cfg(unix)]
    #[test]
    fn names_need_not_be_unicode() {
        use std::os::unix::ffi::OsStrExt;
        let dir = tempfile::tempdir().unwrap();
        let name = std::ffi::OsStr::from_bytes(b"a\xff.npy");
        // Some file systems refuse such names.
        if fs::write(dir.path().join(name), "x").is_err() {
            return;
        }
        let (files, _) = matching(&format!("{}/a*.npy", dir.path().display())).unwrap().unwrap();
        assert_eq!(files, [dir.path().join(name)]);
    }

    #[cfg(unix)]
    #[test]
    fn what_cannot_be_read_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let of = |pattern: &str| {
            let pattern = format!("{}/{pattern}", dir.path().display());
            matching(&pattern).map(|found| found.map(|(files, _)| files))
        };
        fs::write(dir.path().join("a.npy"), "x").unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("b.npy")).unwrap();
        let message = of("*.npy").unwrap_err().to_string();
        assert!(message.contains("cannot read") && message.contains("b.npy"), "{message}");
        assert_eq!(of("a*/x*.npy").unwrap(), None, "a file is no folder");
        // A link to itself cannot be followed.
        std::os::unix::fs::symlink("loop", dir.path().join("loop")).unwrap();
        let message = of("loop/*.npy").unwrap_err().to_string();
        assert!(message.contains("cannot read") && message.contains("loop"), "{message}");
    }
}
