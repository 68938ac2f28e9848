//! `langevin bench`: a quick row of it, and what it refuses.

use serde_json::Value;

use crate::common::{On, Test, always, named, unless};
use crate::support::{Outcome, Place};

pub fn tests() -> Vec<Test> {
    let mut tests = always(named![
        a_row_has_falling_losses_and_can_be_compared_with,
        the_time_to_the_first_step_is_measured_in_new_processes,
        a_profile_names_every_dispatch,
        an_unknown_workload_is_refused_with_the_names,
    ]);
    tests.extend(unless(On::Gpu.missing(), named![a_damaged_cache_is_as_good_as_none]));
    tests
}

fn rows(place: &Place, arguments: &str) -> Vec<Value> {
    let text = place.ok(&format!("bench {arguments} --device cpu --quick --json"));
    text.lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect()
}

fn a_row_has_falling_losses_and_can_be_compared_with() {
    let place = Place::new();
    let row = rows(&place, "--workload seed-32").remove(0);
    assert_eq!(row["workload"], "seed-32");
    assert_eq!((row["batch"].as_u64(), row["backend"].as_str()), (Some(32), Some("cpu")));
    assert!(row["value"].as_f64() > Some(0.0) && row["unit"] == "steps/s");
    assert!(row["loss_last"].as_f64() < row["loss_first"].as_f64(), "{row}");
    assert!(row["dispatches"].as_u64() <= Some(9), "{row}");
    let slower = serde_json::json!({"workload": "seed-32", "metric": row["metric"], "backend": "cpu", "value": 1e-3});
    place.write("before.json", slower.to_string());
    let again = rows(&place, "--workload seed-32 --compare before.json").remove(0);
    assert!(again["ratio"].as_f64() > Some(1.0), "{again}");
}

fn the_time_to_the_first_step_is_measured_in_new_processes() {
    let rows = rows(&Place::new(), "--workload first-step");
    assert!(rows[0]["metric"] == "first_step_cold" && rows[1]["metric"] == "first_step_warm", "{rows:?}");
    assert!(rows[0]["value"].as_f64() > Some(0.0) && rows[0]["unit"] == "s");
}

fn a_profile_names_every_dispatch() {
    let rows = rows(&Place::new(), "--workload seed-32 --profile");
    assert!(rows.iter().any(|r| r["op"] == "optimizer") && rows.iter().filter(|r| r["op"] == "dense").count() == 2);
    let share: f64 = rows.iter().map(|r| r["share"].as_f64().expect("a share")).sum();
    assert!((share - 1.0).abs() < 1e-6);
    for row in &rows {
        assert!(row["share_of_ceiling"].as_f64() > Some(0.0) && row["seconds"].as_f64() > Some(0.0), "{row}");
        assert!(row["bound"] == "memory" || row["flops"].as_u64() > row["bytes"].as_u64(), "{row}");
    }
}

fn an_unknown_workload_is_refused_with_the_names() {
    let words = &["seed-33", "seed-4096"];
    Place::new().refused("bench --workload seed-33 --device cpu --quick", 2, words);
    Place::new().refused("bench --compare none.json", 1, &["cannot read none.json", "check the spelling"]);
}

/// What a first step on the GPU prints, with its cache in the folder `cache`.
fn first_step_on_gpu(place: &Place) -> String {
    let mut command = place.command("bench --first-step --json --device gpu");
    let outcome = Outcome::of(command.env("LANGEVIN_CACHE", place.path("cache")).output().unwrap());
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    outcome.out
}

fn a_damaged_cache_is_as_good_as_none() {
    let place = Place::new();
    let cold = first_step_on_gpu(&place);
    assert!(cold.contains("loss"), "{cold}");
    assert_eq!(first_step_on_gpu(&place), cold);
    let files = place.list("cache");
    assert!(!files.is_empty(), "nothing is cached");
    for file in files.iter().map(|name| format!("cache/{name}")) {
        let mut bytes = place.read(&file);
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        place.write(&file, bytes);
    }
    assert_eq!(first_step_on_gpu(&place), cold);
}
