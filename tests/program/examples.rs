//! Every example runs, in its short mode, and draws what it says.

use std::path::Path;
use std::process::Command;
use std::time::SystemTime;
use std::{env, fs};

use crate::common::{Test, named, no_sample_data, unless};

pub fn tests() -> Vec<Test> {
    unless(no_sample_data(), named![every_example_runs_and_draws])
}

/// Runs an example and looks at its pictures; gives their number.
fn run(name: &str) -> usize {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let began = SystemTime::now();
    let mut command = Command::new(env!("CARGO"));
    command.args(["run", "--quiet", "--example", name]).current_dir(root).env("LANGEVIN_SHORT", "1");
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let output = command.output().unwrap();
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{name}, {:.1} s:\n{text}", began.elapsed().unwrap().as_secs_f64());
    assert!(output.status.success(), "{name}: {}\n{errors}", output.status);
    assert!(!text.contains("NaN"), "{name} prints what is no number");
    let pictures = text.lines().filter_map(|line| line.strip_prefix("picture: ")?.split_whitespace().next());
    let pictures: Vec<_> = pictures.map(|path| root.join(path)).collect();
    for path in &pictures {
        let found = fs::metadata(path).unwrap_or_else(|e| panic!("{name}: {}: {e}", path.display()));
        assert!(found.modified().unwrap() >= began, "{name}: {} is old", path.display());
        let bytes = fs::read(path).unwrap();
        let whole = bytes.starts_with(b"\x89PNG") || bytes.ends_with(b"</svg>\n");
        assert!(whole && bytes.len() > 500, "{name}: {} is no picture", path.display());
    }
    pictures.len()
}

fn every_example_runs_and_draws() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let draws = fs::read_to_string(&path).unwrap().contains("examples-out");
        names.push((path.file_stem().unwrap().to_string_lossy().to_string(), draws));
    }
    names.sort();
    for (name, draws) in &names {
        assert_eq!(run(name) > 0, *draws, "{name}");
    }
    println!("examples: {} run in short mode", names.len());
}
