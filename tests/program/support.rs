//! A folder to work in, and the program run there.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// Settings of a small network, and a checkpoint every ten steps.
const SMALL: &str = "batch = 16\ncheckpoint_every = 10\n[model]\nwidth = 16\ndepth = 1\nencoding = 8\n";

/// A folder with `small.toml` and `ok.npy`: 40 signals of 8 values.
pub struct Place(TempDir);

/// What a command left.
#[derive(Debug)]
pub struct Outcome {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Place {
    pub fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        place.write("small.toml", SMALL);
        place.write("ok.npy", npy("<f4", false, &[40, 8], &signals(40 * 8)));
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// Everything in a folder, hidden files too, but for the lock of a run, and previews, which are drawn by time.
    pub fn list(&self, name: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(name)).into_iter().flatten();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name != ".lock" && name != "previews");
        names.sort();
        names
    }

    /// The program in this folder, on the CPU executor unless `--device` says otherwise.
    pub fn command(&self, args: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_langevin"));
        command.args(args.split_whitespace()).current_dir(self.0.path());
        command.env("LANGEVIN_DEVICE", "cpu").env("LANGEVIN_CACHE", "off");
        command.env("RUST_BACKTRACE", "1").env_remove("RUST_LOG");
        command
    }

    pub fn run(&self, args: &str) -> Outcome {
        Outcome::of(self.command(args).output().unwrap())
    }

    /// Runs a command that has to succeed, and gives what it printed.
    pub fn ok(&self, args: &str) -> String {
        let outcome = self.run(args);
        assert_eq!(outcome.code, Some(0), "{args}: {outcome:?}");
        outcome.out
    }

    /// A short training of the small network.
    pub fn train(&self, data: &str, out: &str) -> String {
        self.ok(&format!("train {data} --out {out} --config small.toml --steps 30"))
    }

    /// Runs a command that has to fail with `code` and one paragraph that holds all `words`.
    pub fn refused(&self, args: &str, code: i32, words: &[&str]) {
        let outcome = self.run(args);
        assert_eq!(outcome.code, Some(code), "{args}: {outcome:?}");
        outcome.says(args, words);
    }
}

impl Outcome {
    pub fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let outcome = Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) };
        assert!(!outcome.err.contains("panicked") && !outcome.err.contains("backtrace"), "{outcome:?}");
        outcome
    }

    /// One paragraph with all `words`; clap adds a hint, and the usage when an argument is unknown.
    pub fn says(&self, what: &str, words: &[&str]) {
        let paragraph = self.err.trim_end();
        assert!(paragraph.lines().count() == 1 || paragraph.ends_with("try '--help'."), "{what}: {paragraph}");
        for word in words {
            assert!(paragraph.contains(word), "{what}: no {word:?} in: {paragraph}");
        }
    }
}

/// The bytes of a `.npy` file.
pub fn npy(descr: &str, fortran: bool, shape: &[usize], data: &[u8]) -> Vec<u8> {
    let shape: String = shape.iter().map(|d| format!("{d},")).collect();
    let order = if fortran { "True" } else { "False" };
    let header = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': ({shape}), }}\n");
    let len = (header.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\x00", &len[..], header.as_bytes(), data].concat()
}

/// The object that a command with `--json` printed.
pub fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// `n` float32 values that vary.
pub fn signals(n: usize) -> Vec<u8> {
    (0..n).flat_map(|i| ((i as f32 * 0.7).sin() + (i as f32 * 0.11).cos()).to_le_bytes()).collect()
}
