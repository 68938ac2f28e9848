//! `train --sweep`: a run per value, and what is said of them.

use crate::common::{Test, always, named};
use crate::support::{Place, json};

pub fn tests() -> Vec<Test> {
    always(named![
        a_sweep_names_the_best_value,
        a_value_that_diverges_does_not_stop_the_others,
        all_values_are_checked_before_the_first_one_is_trained,
        an_interrupted_sweep_is_resumed,
        losses_that_measure_something_else_have_no_best,
        a_sweep_is_not_mixed_with_other_runs,
        networks_are_swept_by_name,
    ])
}

fn a_sweep_names_the_best_value() {
    let place = Place::new();
    let sweep =
        "train ok.npy --config small.toml --steps 20 --validation 0.2 --validation-every 10 --sweep lr=0.000001,0.01";
    let said = place.ok(&format!("{sweep} --out sweep"));
    for words in ["lr = 0.01", "validation loss", "best by validation loss: lr = 0.01"] {
        assert!(said.contains(words), "no {words:?} in: {said}");
    }
    assert_eq!(place.list("sweep"), ["lr=0.000001", "lr=0.01"]);
    let report = json(&place.ok(&format!("{sweep} --out again --json")));
    assert_eq!((&report["best"], report["runs"].as_array().unwrap().len()), (&"0.01".into(), 2));
}

fn a_value_that_diverges_does_not_stop_the_others() {
    let place = Place::new();
    place.write(
        "wild.toml",
        "clip_norm = 0\noptimizer = \"sgd\"\ndecay = \"constant\"\n[model]\nwidth = 16\ndepth = 1\n",
    );
    let train = "train ok.npy --config wild.toml --steps 30 --out sweep";
    let said = place.ok(&format!("{train} --sweep lr=50,0.001"));
    for words in ["lr = 50 failed: the loss became", "failed                -", "best by training loss: lr = 0.001"] {
        assert!(said.contains(words), "no {words:?} in: {said}");
    }
    // What is done is taken as it is, the failed value is tried again.
    let report = json(&place.ok(&format!("{train} --sweep lr=50,0.001 --resume --json")));
    assert!(report["runs"][0]["failed"].as_str().unwrap().contains("Lower --lr"), "{report}");
    assert!(report["runs"][1]["loss"].is_f64() && report["best"] == "0.001", "{report}");
    let outcome = place.run(&format!("{train}2 --sweep lr=50,60"));
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    outcome.says("all failed", &["training failed for all values of lr"]);
}

fn all_values_are_checked_before_the_first_one_is_trained() {
    let place = Place::new();
    place.write("tall.npy", crate::support::npy("<f4", false, &[40, 8], &crate::support::signals(320)));
    for (options, words) in [
        ("--sweep batch=8,5000", &["--sweep batch=5000", "a batch of 5000", "40 samples"][..]),
        ("--model unet --batch 8 --sweep heads=2,3", &["--sweep heads=3", "model.unet.heads is 3", "divide"]),
        ("--model unet --batch 8 --sweep multipliers=[1,2],[1,2,2,2,2,2]", &["multipliers=[1,2,2,2,2,2]", "8"]),
        ("--sweep data=tall.npy,none.npy", &["--sweep data=none.npy", "no such file"]),
        ("--sweep precision=f32,f16", &["--sweep precision=f16", "CPU executor"]),
        ("--sweep storage=f32,f16", &["--sweep storage=f16", "CPU executor"]),
        ("--sweep lrr=1,2", &["lrr", "model.width"]),
        ("--sweep heads=1,2", &["model.unet.heads belongs to --model unet"]),
        ("--sweep lr", &["--sweep lr", "lr=0.001,0.01"]),
        ("--sweep lr=0.001,1e-3", &["1e-3 is the same as 0.001", "once"]),
        ("--sweep decay=constant,linear", &["linear", "inverse_sqrt"]),
    ] {
        let outcome = place.run(&format!("train ok.npy --steps 5 --out sweep {options}"));
        assert!(outcome.code.is_some_and(|code| code > 0), "{options}: {outcome:?}");
        outcome.says(options, words);
        assert!(!place.path("sweep").exists(), "{options} left a folder");
    }
}

fn an_interrupted_sweep_is_resumed() {
    let place = Place::new();
    let sweep = "train ok.npy --config small.toml --sweep lr=0.001,0.002,0.003 --out sweep";
    // The first value is done, the second is at a half.
    for (lr, steps) in [(0.001, 40), (0.002, 20)] {
        place.ok(&format!("train ok.npy --config small.toml --lr {lr} --steps {steps} --out sweep/lr={lr}"));
    }
    let before = place.read("sweep/lr=0.001/metrics.csv");
    place.refused(&format!("{sweep} --steps 40"), 2, &["sweep/lr=0.001 already contains a run", "--resume", "--out"]);
    place.refused(&format!("{sweep} --steps 40 --batch 8 --resume"), 2, &["--sweep lr=0.001", "batch from 16 to 8"]);
    let said = place.ok(&format!("{sweep} --steps 40 --resume"));
    assert!(said.contains("lr = 0.001: already done") && said.contains("best by training loss: lr ="), "{said}");
    assert!(place.read("sweep/lr=0.001/metrics.csv") == before);
    place.ok("train ok.npy --config small.toml --sweep lr=0.002,0.003 --steps 40 --out whole");
    for value in ["0.002", "0.003"] {
        let bytes = |sweep: &str| place.read(&format!("{sweep}/lr={value}/checkpoint.safetensors"));
        assert!(bytes("sweep") == bytes("whole"), "{value}");
    }
}

fn a_sweep_is_not_mixed_with_other_runs() {
    let place = Place::new();
    let train = "train ok.npy --config small.toml --steps 10";
    place.ok(&format!("{train} --sweep lr=0.001,0.002 --out sweep"));
    let words = ["sweep already contains other runs ('sweep/lr=0.001' and 1 more)", "another --out", "--resume"];
    place.refused(&format!("{train} --batch 8 --sweep lr=0.1,0.2 --out sweep"), 2, &words);
    assert_eq!(place.list("sweep"), ["lr=0.001", "lr=0.002"]);
    place.ok(&format!("{train} --sweep lr=0.001,0.002,0.003 --out sweep --resume"));
    place.refused(&format!("{train} --sweep lr=0.1,0.2 --out sweep/lr=0.001"), 2, &["is the folder of a run"]);
    place.refused(
        "sample sweep --out a.npy",
        1,
        &["contains runs; name one of them: 'sweep/lr=0.001', 'sweep/lr=0.002', "],
    );
}

fn networks_are_swept_by_name() {
    let place = Place::new();
    place.ok("train ok.npy --batch 16 --steps 10 --sweep model=chapter,simple --out sweep");
    assert_eq!(place.list("sweep"), ["model=chapter", "model=simple"]);
}

fn losses_that_measure_something_else_have_no_best() {
    let place = Place::new();
    let sweep = "train ok.npy --config small.toml --steps 10 --sweep prediction=epsilon,v";
    let said = place.ok(&format!("{sweep} --out sweep"));
    assert!(said.contains("cannot be compared") && !said.contains("best by"), "{said}");
    let report = json(&place.ok(&format!("{sweep} --out again --json")));
    assert!(report["best"].is_null() && report["comparable"] == false, "{report}");
    let sweep = "train ok.npy --config small.toml --steps 10 --sweep decay=constant,cosine,inverse_sqrt";
    assert!(place.ok(&format!("{sweep} --out decays")).contains("best by training loss"));
}
