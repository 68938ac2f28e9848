//! The same command writes the same bytes, and a stopped run goes on as if it had not stopped.

use safetensors::SafeTensors;

use crate::common::{On, Test, always, named, on};
use crate::support::Place;

pub fn tests() -> Vec<Test> {
    let mut tests = on(
        &[On::Gpu, On::Cpu],
        named![
            one_command_writes_the_same_bytes_twice,
            a_resumed_run_equals_an_unbroken_one,
            validation_and_the_best_state_survive_a_stop,
        ],
    );
    tests.extend(on(&[On::Stored], named![a_resumed_run_equals_an_unbroken_one]));
    tests.extend(always(named![
        rows_do_not_tell_where_a_run_was_stopped,
        a_finished_run_is_left_as_it_is,
        seeds_do_not_share_samples,
    ]));
    tests
}

fn one_command_writes_the_same_bytes_twice(on: On) {
    let place = Place::new();
    for run in ["a", "b"] {
        place.ok(&format!("train ok.npy --out {run} --steps 30 --batch 32 --seed 3 --device {on}"));
    }
    for file in ["checkpoint.safetensors", "samples/samples.npy"] {
        let bytes = |run: &str| place.read(&format!("{run}/{file}"));
        assert!(bytes("a") == bytes("b"), "{file} differs");
    }
}

fn a_resumed_run_equals_an_unbroken_one(on: On) {
    let place = Place::new();
    place.write("every.toml", "checkpoint_every = 40\n");
    // What the activations are stored in is a setting of the run.
    let (device, storage) = if on == On::Stored { ("gpu".into(), "f16") } else { (on.to_string(), "f32") };
    let options = format!("--device {device} --storage {storage}");
    place.ok(&format!("train ok.npy --out whole --config every.toml --batch 32 --steps 100 {options}"));
    place.ok(&format!("train ok.npy --out parts --config every.toml --batch 32 --steps 60 {options}"));
    place.ok(&format!("train --out parts --resume --steps 100 --device {device}"));
    let bytes = |run: &str| place.read(&format!("{run}/checkpoint.safetensors"));
    assert!(bytes("whole") == bytes("parts"), "the checkpoints differ");
}

/// The rows of `metrics.csv` without the column of speeds.
fn rows(place: &Place, run: &str) -> Vec<Vec<String>> {
    let metrics = String::from_utf8(place.read(&format!("{run}/metrics.csv"))).unwrap();
    let cells = |row: &str| row.split(',').enumerate().filter(|(i, _)| *i != 3).map(|(_, cell)| cell.into()).collect();
    metrics.lines().map(cells).collect()
}

/// Stops between the rows leave no trace: neither rows of their own, nor other means, nor another curve.
fn rows_do_not_tell_where_a_run_was_stopped() {
    let place = Place::new();
    for options in ["", "--validation 0.2 --validation-every 6"] {
        let train = format!("train ok.npy --config small.toml {options} --steps");
        place.ok(&format!("{train} 34 --out whole{}", options.len()));
        let parts = format!("parts{}", options.len());
        place.ok(&format!("{train} 11 --out {parts}"));
        for steps in [15, 16, 20, 34] {
            place.ok(&format!("train --out {parts} --resume --steps {steps}"));
        }
        let whole = format!("whole{}", options.len());
        assert_eq!(rows(&place, &whole), rows(&place, &parts));
        for file in ["checkpoint.safetensors", "loss.svg"] {
            let bytes = |run: &str| place.read(&format!("{run}/{file}"));
            assert!(bytes(&whole) == bytes(&parts), "{file} differs with {options:?}");
        }
    }
}

fn a_finished_run_is_left_as_it_is() {
    let place = Place::new();
    place.train("ok.npy", "run");
    let files = ["checkpoint.safetensors", "checkpoint.previous.safetensors", "metrics.csv", "config.toml"];
    let before = files.map(|file| place.read(&format!("run/{file}")));
    assert!(place.ok("train --out run --resume").contains("has already completed all of its 30 steps"));
    assert_eq!(files.map(|file| place.read(&format!("run/{file}"))), before);
}

/// A large seed is not the continuation of a smaller one.
fn seeds_do_not_share_samples() {
    let place = Place::new();
    place.train("ok.npy", "run");
    let samples = |seed: u64, count: usize| {
        place.ok(&format!("sample run --seed {seed} --count {count} --steps 2 --out a.npy"));
        let bytes = place.read("a.npy");
        bytes[bytes.len() - count * 32..].to_vec()
    };
    let zero = samples(0, 3072);
    for seed in [1, 1 << 31, 1 << 32, 1 << 40, 1 << 41, u64::MAX] {
        let other = samples(seed, 1024);
        assert!(zero.chunks(1024 * 32).all(|part| part != other), "seed {seed}");
        assert!(zero.chunks(32).all(|sample| sample != &other[..32]), "seed {seed}");
    }
    // More samples do not change the first ones.
    assert!(samples(1 << 40, 2048)[..1024 * 32] == samples(1 << 40, 1024));
}

fn validation_and_the_best_state_survive_a_stop(on: On) {
    let place = Place::new();
    let settings = "checkpoint_every = 40\nvalidation = 0.25\nvalidation_every = 20\nkeep_best = true\nearly_stop = 50\n\
                    micro_batch = 4\n[model]\nwidth = 16\ndepth = 1\nencoding = 8\n";
    place.write("held.toml", settings);
    let options = format!("--config held.toml --batch 16 --device {on}");
    place.ok(&format!("train ok.npy --out whole {options} --steps 100"));
    place.ok(&format!("train ok.npy --out parts {options} --steps 50"));
    place.ok(&format!("train --out parts --resume --steps 100 --device {on}"));
    let bytes = |run: &str, file: &str| place.read(&format!("{run}/{file}"));
    let last = "checkpoint.safetensors";
    assert!(bytes("whole", last) == bytes("parts", last), "{last} differs");
    // The best state may be from before the stop, and then says how many steps were asked for at that time.
    let (whole, parts) = (bytes("whole", "best.safetensors"), bytes("parts", "best.safetensors"));
    let (whole, parts) = (SafeTensors::deserialize(&whole).unwrap(), SafeTensors::deserialize(&parts).unwrap());
    assert_eq!(whole.len(), parts.len());
    for (name, tensor) in whole.iter() {
        assert!(tensor.data() == parts.tensor(name).unwrap().data(), "the best {name} differs");
    }
    assert_eq!(rows(&place, "whole"), rows(&place, "parts"));
}
