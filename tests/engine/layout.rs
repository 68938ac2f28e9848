//! The order of the modules: `src/lib.rs` lists them from the ground up, and no import points up; and no test of these
//! programs is forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{Test, always, named};

pub fn tests() -> Vec<Test> {
    always(named![imports_point_down, an_import_that_points_up_is_found, tests_are_listed_by_their_modules])
}

/// Every `.rs` file below `folder`.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let mut all: Vec<PathBuf> = folders.iter().flat_map(|folder| self::files(folder)).chain(files).collect();
    all.retain(|path| path.extension().is_some_and(|e| e == "rs"));
    all.sort();
    all
}

/// The code of a file without its comments and its unit tests, which may use anything.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The names in `text` after `prefix`, up to the next character that no identifier has; those in braces one by one.
fn names_after(text: &str, prefix: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, _) in text.match_indices(prefix) {
        let rest = &text[at + prefix.len()..];
        let list = rest.strip_prefix('{').and_then(|rest| rest.split('}').next());
        for item in list.unwrap_or(rest).split(',').take(if list.is_some() { usize::MAX } else { 1 }) {
            let is_part = |c: char| c.is_alphanumeric() || c == '_';
            names.insert(item.trim_start().chars().take_while(|c| is_part(*c)).collect());
        }
    }
    names
}

/// The modules of `lib.rs` in their order, and the module that each name of its root comes from.
fn floors(lib: &str) -> (Vec<String>, BTreeMap<String, String>) {
    let modules = lib.lines().filter_map(|line| {
        let line = line.trim_start_matches("pub ").strip_prefix("mod ")?;
        Some(line.trim_end_matches(';').to_string())
    });
    let mut roots = BTreeMap::new();
    for statement in lib.split("pub use ").skip(1) {
        let statement = statement.split(';').next().unwrap();
        let (module, _) = statement.split_once("::").unwrap();
        let (_, last) = statement.rsplit_once("::").unwrap();
        for name in last.trim_matches(['{', '}']).split(',') {
            roots.insert(name.trim().to_string(), module.to_string());
        }
    }
    (modules.collect(), roots)
}

/// The imports that point up, as "file -> module".
fn pointing_up(src: &Path) -> Vec<String> {
    let (modules, roots) = floors(&fs::read_to_string(src.join("lib.rs")).unwrap());
    let floor = |name: &str| {
        let module = roots.get(name).map_or(name, String::as_str);
        modules.iter().position(|m| m == module)
    };
    let mut wrong = Vec::new();
    for path in files(src) {
        // A file of unit tests may use anything.
        if path.ends_with("tests.rs") {
            continue;
        }
        let inside = path.strip_prefix(src).unwrap();
        let own = inside.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        let Some(here) = floor(own) else { continue };
        // The root of the crate is as many modules up as the path has parts, without a `mod.rs`.
        let depth = inside.with_extension("").iter().filter(|part| *part != "mod").count();
        let (code, up) = (code(&path), "super::".repeat(depth));
        for name in names_after(&code, "crate::").into_iter().chain(names_after(&code, &up)) {
            match floor(&name) {
                Some(there) if there > here => wrong.push(format!("{} -> {name}", inside.display())),
                Some(_) => {}
                None if name.is_empty() || name.starts_with(char::is_lowercase) => {}
                None => wrong.push(format!("{} -> {name}, which lib.rs does not have", inside.display())),
            }
        }
    }
    wrong
}

fn imports_point_down() {
    assert_eq!(pointing_up(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")), [""; 0]);
}

fn an_import_that_points_up_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("lib.rs", "mod low;\npub mod high;\npub use high::{Roof, Tile};\npub use low::Stone;\n");
    write("low.rs", "// use crate::high::X;\nuse crate::low::Y;\n#[cfg(test)]\nmod tests { use crate::high::X; }\n");
    write("high.rs", "use crate::low::{Y, Z};\nuse crate::{Stone, Tile};\n");
    assert_eq!(pointing_up(folder.path()), [""; 0]);
    write("low.rs", "fn f() { crate::high::g(); }\nuse crate::{Stone,\n    Tile};\n");
    assert_eq!(pointing_up(folder.path()), ["low.rs -> Tile", "low.rs -> high"]);
    // Beyond a module that only tests use, and by way of the root.
    write("low.rs", "#[cfg(test)]\nmod size;\nuse crate::high::X;\n");
    assert_eq!(pointing_up(folder.path()), ["low.rs -> high"]);
    fs::create_dir(folder.path().join("low")).unwrap();
    write("low.rs", "use super::high::X;\n");
    write("low/mod.rs", "use super::high::X;\n");
    write("low/part.rs", "use super::high::X;\nuse super::super::high::X;\n");
    assert_eq!(pointing_up(folder.path()), ["low/mod.rs -> high", "low/part.rs -> high", "low.rs -> high"]);
    write("low/mod.rs", "");
    write("low/part.rs", "use super::high::X;\n");
    assert_eq!(pointing_up(folder.path()), ["low.rs -> high"]);
}

/// A function with libtest's attribute would be left out without a word.
fn tests_are_listed_by_their_modules() {
    let attribute = concat!("#[", "test]");
    let marked = |path: &PathBuf| fs::read_to_string(path).unwrap().contains(attribute);
    let found: Vec<_> =
        files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")).into_iter().filter(marked).collect();
    assert!(found.is_empty(), "name these tests in `tests()` of their modules instead: {found:?}");
}
