//! Runs that an earlier version of the program wrote: `tests/runs`, with four steps done.

use std::fs;
use std::path::Path;

use langevin::nn::Model;
use langevin::train::{Checkpoint, Config, RunFolder};

use crate::common::{Test, always, named};
use crate::support::Place;

pub fn tests() -> Vec<Test> {
    always(named![
        an_earlier_run_is_read_sampled_and_resumed,
        a_resumed_run_states_only_what_its_network_has,
        an_earlier_setting_with_another_value_is_refused
    ])
}

/// A copy of the stored runs and their data.
fn place() -> Place {
    let place = Place::new();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/runs");
    fs::copy(from.join("signals.npy"), place.path("signals.npy")).unwrap();
    for run in RUNS {
        fs::create_dir(place.path(run)).unwrap();
        for file in fs::read_dir(from.join(run)).unwrap().map(|file| file.unwrap()) {
            fs::copy(file.path(), place.path(run).join(file.file_name())).unwrap();
        }
    }
    place
}

/// The networks of the runs.
const RUNS: [&str; 3] = ["mlp", "chapter", "unet"];

/// The settings that a file states under [model].
fn stated(config: &str) -> Vec<&str> {
    let model = config.split("[model]").nth(1).unwrap().split("[facts]").next().unwrap();
    model.lines().filter_map(|line| Some(line.split_once(" = ")?.0)).collect()
}

fn an_earlier_run_is_read_sampled_and_resumed() {
    let place = place();
    for run in RUNS {
        let before = RunFolder::open(&place.path(run)).unwrap().checkpoint().unwrap();
        assert_eq!((before.config.model.name(), before.step), (run, 4));
        // The file of settings and those in the checkpoint are the same.
        assert_eq!(Config::read(&place.path(&format!("{run}/config.toml")), None).unwrap(), before.config);
        place.ok(&format!("inspect {run}"));
        place.ok(&format!("sample {run} --count 3 --steps 4 --out {run}.npy"));
        place.ok(&format!("train --out {run} --resume --steps 9"));
        let after = Checkpoint::load(&place.path(&format!("{run}/checkpoint.safetensors"))).unwrap();
        assert_eq!((after.step, after.config.model), (9, before.config.model));
        assert!(after.tensors.iter().zip(&before.tensors).all(|(a, b)| a.name == b.name && a.values != b.values));
    }
}

fn a_resumed_run_states_only_what_its_network_has() {
    let place = place();
    let unused = ["depth", "activation", "residual", "layer_norm"];
    let settings = |place: &Place| String::from_utf8(place.read("chapter/config.toml")).unwrap();
    let before = settings(&place);
    assert!(unused.iter().all(|setting| stated(&before).contains(setting)), "{before}");
    place.ok("train --out chapter --resume --steps 5");
    let after = settings(&place);
    let kept: Vec<&str> = stated(&before).into_iter().filter(|setting| !unused.contains(setting)).collect();
    assert_eq!(stated(&after), kept);
}

fn an_earlier_setting_with_another_value_is_refused() {
    let place = place();
    let settings = String::from_utf8(place.read("chapter/config.toml")).unwrap();
    place.write("new.toml", settings.replace("residual = true", "residual = false"));
    let words = ["model.residual is false", "the network chapter has no such setting", "mlp"];
    place.refused("train signals.npy --out new --config new.toml", 2, &words);
    // The settings of a run serve for another network too.
    place.write("new.toml", settings);
    place.refused("train signals.npy --out new --config new.toml --model simple", 2, &["model.encoding is 4"]);
    place.ok("train signals.npy --out new --config new.toml --steps 4");
    assert!(matches!(
        RunFolder::open(&place.path("new")).unwrap().checkpoint().unwrap().config.model,
        Model::Chapter(_)
    ));
}
