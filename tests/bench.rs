//! `langevin bench`: a quick row of it, and what it refuses.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_langevin");

fn bench(arguments: &[&str]) -> Output {
    let options = ["--device", "cpu", "--quick"];
    Command::new(PROGRAM).arg("bench").args(arguments).args(options).output().expect("it starts")
}

fn rows(arguments: &[&str]) -> Vec<Value> {
    let output = bench(&[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("JSON is text");
    text.lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect()
}

#[test]
fn a_row_has_falling_losses_and_can_be_compared_with() {
    let row = rows(&["--workload", "seed-32"]).remove(0);
    assert_eq!(row["workload"], "seed-32");
    assert_eq!((row["batch"].as_u64(), row["backend"].as_str()), (Some(32), Some("cpu")));
    assert!(row["value"].as_f64() > Some(0.0) && row["unit"] == "steps/s");
    assert!(row["loss_last"].as_f64() < row["loss_first"].as_f64(), "{row}");
    assert!(row["dispatches"].as_u64() <= Some(9), "{row}");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let before = folder.path().join("before.json");
    let slower = serde_json::json!({"workload": "seed-32", "metric": row["metric"], "backend": "cpu", "value": 1e-3});
    std::fs::write(&before, slower.to_string()).expect("a file");
    let again = rows(&["--workload", "seed-32", "--compare", before.to_str().expect("a plain path")]).remove(0);
    assert!(again["ratio"].as_f64() > Some(1.0), "{again}");
}

#[test]
fn the_time_to_the_first_step_is_measured_in_new_processes() {
    let rows = rows(&["--workload", "first-step"]);
    assert!(rows[0]["metric"] == "first_step_cold" && rows[1]["metric"] == "first_step_warm", "{rows:?}");
    assert!(rows[0]["value"].as_f64() > Some(0.0) && rows[0]["unit"] == "s");
}

#[test]
fn a_profile_names_every_dispatch() {
    let rows = rows(&["--workload", "seed-32", "--profile"]);
    assert!(rows.iter().any(|r| r["op"] == "optimizer") && rows.iter().filter(|r| r["op"] == "dense").count() == 2);
    let share: f64 = rows.iter().map(|r| r["share"].as_f64().expect("a share")).sum();
    assert!((share - 1.0).abs() < 1e-6);
}

#[test]
fn an_unknown_workload_is_refused_with_the_names() {
    let output = bench(&["--workload", "seed-33"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("seed-4096"));
}

/// A first step on the GPU with its cache in `folder`: whether it worked, and what it printed.
fn first_step_on_gpu(folder: &Path) -> (bool, String) {
    let mut command = Command::new(PROGRAM);
    command.args(["bench", "--first-step", "--json", "--device", "gpu"]).env("LANGEVIN_CACHE", folder);
    let output = command.output().expect("it starts");
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_damaged_cache_is_as_good_as_none() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (works, cold) = first_step_on_gpu(folder.path());
    if !works {
        assert!(std::env::var("LANGEVIN_GPU").as_deref() != Ok("require"), "a GPU is required");
        return println!("not run: no GPU adapter");
    }
    assert!(cold.contains("loss"), "{cold}");
    let files = || fs::read_dir(folder.path()).expect("a folder").map(|entry| entry.expect("an entry").path());
    assert_eq!(first_step_on_gpu(folder.path()), (true, cold.clone()));
    for file in files() {
        let mut bytes = fs::read(&file).expect("a file");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&file, bytes).expect("a file");
    }
    assert_eq!(first_step_on_gpu(folder.path()), (true, cold));
}
