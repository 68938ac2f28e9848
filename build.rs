//! Tells the program from which commit it was built, for reports of bugs.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=LANGEVIN_COMMIT");
    // A build for development is not repeated because of a commit.
    let is_release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    if std::env::var_os("CARGO_FEATURE_CLI").is_none() || !is_release {
        return;
    }
    let commit = std::env::var("LANGEVIN_COMMIT").ok().or_else(packaged).or_else(checked_out);
    if let Some(commit) = commit {
        println!("cargo:rustc-env=LANGEVIN_COMMIT={commit}");
    }
}

/// The commit of a package from a registry, where cargo notes it.
fn packaged() -> Option<String> {
    let text = std::fs::read_to_string(".cargo_vcs_info.json").ok()?;
    let (_, rest) = text.split_once("\"sha1\": \"")?;
    rest.split('"').next().map(str::to_string)
}

/// The commit of the git checkout with this file.
fn checked_out() -> Option<String> {
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8(output.stdout).ok()?.trim().to_string())
    };
    // Not the checkout of another project around a copy of this one.
    git(&["ls-files", "--error-unmatch", "build.rs"])?;
    println!("cargo:rerun-if-changed={}", git(&["rev-parse", "--git-path", "logs/HEAD"])?);
    let changed =
        if git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty() { "" } else { ", with changes" };
    Some(git(&["rev-parse", "--short=12", "HEAD"])? + changed)
}
