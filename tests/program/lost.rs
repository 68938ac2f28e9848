//! A driver that loses its device: an error with advice that fits the command, and no lost run.
//!
//! The driver is `lost/driver.c`, which forwards to the software rasterizer llvmpipe.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use tempfile::TempDir;

use crate::common::{Test, named, unless};
use crate::support::{Outcome, Place};

pub fn tests() -> Vec<Test> {
    let missing = DRIVER.as_ref().err().cloned();
    unless(
        missing,
        named![
            a_run_on_a_lost_device_continues_from_its_checkpoint,
            a_run_continues_by_itself_on_a_new_device,
            a_device_that_is_lost_at_any_time_is_no_panic,
            a_lost_device_does_not_compute_wrongly,
        ],
    )
}

/// The compiled driver.
struct Driver {
    folder: TempDir,
    /// The driver that it forwards to.
    below: PathBuf,
}

static DRIVER: LazyLock<Result<Driver, String>> = LazyLock::new(|| {
    let below = llvmpipe().ok_or("no llvmpipe in /usr/share/vulkan/icd.d")?;
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let library = folder.path().join("driver.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/program/lost/driver.c");
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).args([source, "-ldl"]).output();
    let compiled = compiled.map_err(|e| format!("no C compiler: cc: {e}"))?;
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let manifest = serde_json::json!({"file_format_version": "1.0.0",
                                      "ICD": {"library_path": library, "api_version": "1.3.0"}});
    std::fs::write(folder.path().join("driver.json"), manifest.to_string()).map_err(|e| e.to_string())?;
    Ok(Driver { folder, below })
});

/// The library of llvmpipe.
fn llvmpipe() -> Option<PathBuf> {
    let manifests = std::fs::read_dir("/usr/share/vulkan/icd.d").ok()?.flatten().map(|entry| entry.path());
    let manifest = manifests.into_iter().find(|path| path.to_string_lossy().contains("lvp_icd"))?;
    let manifest: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&manifest).ok()?).ok()?;
    let library = Path::new("/usr/share/vulkan/icd.d").join(manifest["ICD"]["library_path"].as_str()?);
    Some(library)
}

/// Runs a command on a device that is lost at a call, such as `wait:3`, and remains lost.
fn losing(place: &Place, args: &str, at: &str) -> Outcome {
    Outcome::of(command(place, args, at).output().unwrap())
}

fn command(place: &Place, args: &str, at: &str) -> Command {
    let driver = DRIVER.as_ref().unwrap_or_else(|e| panic!("{e}"));
    let mut command = place.command(args);
    command.env("VK_DRIVER_FILES", driver.folder.path().join("driver.json")).env("LANGEVIN_DEVICE", "gpu");
    command.env("LANGEVIN_TEST_DRIVER", &driver.below).env("LANGEVIN_TEST_LOSE", at);
    command
}

const TRAIN: &str = "train ok.npy --config small.toml --steps 100000";

fn a_run_on_a_lost_device_continues_from_its_checkpoint() {
    for at in ["wait:100", "submit:100"] {
        let place = Place::new();
        let outcome = losing(&place, &format!("{TRAIN} --out run"), at);
        assert_eq!(outcome.code, Some(1), "{at}: {outcome:?}");
        let report: serde_json::Value = serde_json::from_str(&place.ok("inspect run --json")).unwrap();
        let step = report["step"].as_u64().unwrap();
        let kept =
            format!("The last checkpoint (step {step}) is kept; continue with: langevin train --out run --resume");
        // It was opened again, and lost again.
        let again = format!("warn: run: the device was lost; the run continues from step {step}\n");
        let outcome = Outcome { err: outcome.err.replacen(&again, "", 1), ..outcome };
        outcome.says(at, &["the device was lost", &kept]);
        let outcome = losing(&place, &format!("train --out run --resume --steps {}", step + 10), "never");
        assert_eq!(outcome.code, Some(0), "{at}: {outcome:?}");
    }
}

fn a_run_continues_by_itself_on_a_new_device() {
    let place = Place::new();
    let train = |out: &str, at: &str| {
        let args = format!("train ok.npy --config small.toml --steps 300 --no-samples --force --out {out}");
        let outcome = Outcome::of(command(&place, &args, at).env("LANGEVIN_TEST_RECOVER", "1").output().unwrap());
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        outcome.err
    };
    assert!(!train("whole", "never").contains("lost"));
    for at in ["wait:100", "submit:100"] {
        let said = train("run", at);
        assert!(said.contains("run: the device was lost; the run continues from step "), "{said}");
        assert!(place.read("run/checkpoint.safetensors") == place.read("whole/checkpoint.safetensors"));
    }
}

fn a_device_that_is_lost_at_any_time_is_no_panic() {
    let place = Place::new();
    place.train("ok.npy", "run");
    // Many steps of many samples take several submissions.
    let long = "sample run --count 512 --sampler ddpm";
    for (args, n) in [(TRAIN, 1), (TRAIN, 4), (TRAIN, 9), ("sample run --count 8", 1), (long, 3)] {
        for kind in ["wait", "submit"] {
            let (at, new) = (format!("{kind}:{n}"), format!("{kind}{n}"));
            let args = if args == TRAIN { format!("{args} --out {new}") } else { format!("{args} --out {new}.npy") };
            let outcome = losing(&place, &args, &at);
            assert_eq!(outcome.code, Some(1), "{args} {at}: {outcome:?}");
            outcome.says(&at, &["lost", "choose another --device"]);
            assert!(!outcome.err.contains("--resume") || args.starts_with("train"), "{outcome:?}");
            assert!(!place.path(&format!("{new}.npy")).exists());
        }
    }
}

fn a_lost_device_does_not_compute_wrongly() {
    let place = Place::new();
    for args in ["selftest", "bench --workload mlp-256 --quick"] {
        for at in ["wait:20", "submit:20"] {
            let outcome = losing(&place, args, at);
            assert_eq!(outcome.code, Some(1), "{args}: {outcome:?}");
            outcome.says(args, &["lost", "choose another --device"]);
            assert!(!outcome.out.contains("wrong") && !outcome.err.contains("--resume"), "{outcome:?}");
        }
    }
}
