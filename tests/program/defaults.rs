//! The settings that `langevin train` chooses by itself, and what it prints before the training.

use langevin::train::Config;

use crate::common::{Test, always, named, no_sample_data, sample_data, unless};
use crate::support::{Place, npy, signals};

pub fn tests() -> Vec<Test> {
    let mut tests = unless(no_sample_data(), named![real_data_get_the_network_that_suits_them]);
    tests.extend(always(named![
        settings_are_chosen_by_the_data_and_said,
        every_choice_can_be_overridden,
        sounds_in_subfolders_are_signals,
    ]));
    tests
}

fn config(place: &Place, run: &str) -> Config {
    Config::read(&place.path(&format!("{run}/config.toml")), None).unwrap()
}

fn settings_are_chosen_by_the_data_and_said() {
    let place = Place::new();
    let said = place.ok("train moons --out points --steps 2 --no-samples");
    assert!(said.contains("model mlp 4x128, 2 steps of batch 128, learning rate 0.002"), "{said}");
    assert!(said.contains("chosen for 8192 points on the CPU, except for the steps"), "{said}");
    assert!(said.contains("standard deviations from the mean"), "{said}");
    assert!(!said.contains("dispatches"), "details are for --verbose: {said}");
    let said = place.ok("train moons --out details --steps 2 --no-samples --verbose");
    assert!(said.contains("dispatches per step") && said.contains("objective: ddpm, linear, 1000 steps"), "{said}");
    place.write("long.npy", npy("<f4", false, &[40, 64], &signals(40 * 64)));
    place.ok("train long.npy --out signals --steps 2 --no-samples");
    place.ok("train long.npy --out again --steps 2 --no-samples");
    let [points, signals] = ["points", "signals"].map(|run| config(&place, run));
    assert_eq!((points.model.name(), signals.model.name()), ("mlp", "unet"));
    assert_eq!((points.batch, signals.batch), (128, 32), "the batch is written as it is");
    assert_eq!(place.read("signals/config.toml"), place.read("again/config.toml"));
    assert_eq!(place.read("signals/checkpoint.safetensors"), place.read("again/checkpoint.safetensors"));
    // A resumed run needs none of them.
    place.ok("train --out signals --resume --steps 3 --no-samples");
    assert_eq!(config(&place, "signals").model, signals.model);
}

fn every_choice_can_be_overridden() {
    let place = Place::new();
    place.write("long.npy", npy("<f4", false, &[40, 64], &signals(40 * 64)));
    let said = place.ok("train long.npy --out a --model mlp --steps 3 --batch 7 --lr 0.01 --no-samples");
    assert!(said.contains("model mlp 4x256, 3 steps of batch 7, learning rate 0.01"), "{said}");
    let a = config(&place, "a");
    assert_eq!((a.model.name(), a.steps, a.batch, a.lr), ("mlp", 3, 7, 0.01));
    place.write("some.toml", "lr = 0.02\nbatch = 0\nsteps = 2\n[model]\nwidth = 16\ndepth = 1\n");
    let said = place.ok("train long.npy --out b --config some.toml --no-samples");
    assert!(said.contains("except for the model, the steps, the learning rate"), "{said}");
    let b = config(&place, "b");
    assert_eq!((b.model.name(), b.steps, b.batch, b.lr), ("unet", 2, 32, 0.02), "0 is the default");
    place.ok("train --out b --resume --config some.toml --steps 3 --no-samples");
    // The settings of a run can be used for another one.
    place.ok("train long.npy --out c --config a/config.toml --no-samples");
    assert_eq!(place.read("a/checkpoint.safetensors"), place.read("c/checkpoint.safetensors"));
    for (options, words) in [
        ("--batch 41", &["a batch of 41", "40 samples"][..]),
        ("--decay cosine --warmup 200000000", &["warm-up"]),
        ("--validation 1.5", &["validation is 1.5"]),
        ("--model nope", &["nope", "mlp"]),
    ] {
        place.refused(&format!("train long.npy --out d {options}"), 2, words);
    }
}

fn sounds_in_subfolders_are_signals() {
    let place = Place::new();
    for (folder, sounds) in [("hat", 5), ("kick", 3)] {
        std::fs::create_dir_all(place.path(&format!("drums/{folder}"))).unwrap();
        for i in 0..sounds {
            let format = hound::WavSpec {
                channels: 1,
                sample_rate: 16_000,
                bits_per_sample: 16,
                sample_format: hound::SampleFormat::Int,
            };
            let path = place.path(&format!("drums/{folder}/{i}.wav"));
            let mut file = hound::WavWriter::create(path, format).unwrap();
            (0..1_900 + i).for_each(|j| file.write_sample((j * (i + 7) % 2_000) as i16).unwrap());
            file.finalize().unwrap();
        }
    }
    let said = place.ok("train drums --out run --steps 2 --no-samples");
    assert!(said.contains("8 signals of shape [1920]") && said.contains("hat, kick"), "{said}");
    assert!(said.contains("model unet of width 32 on patches of"), "{said}");
    place.ok("sample run --count 3 --steps 2 --out new.npy");
    place.ok("sample run --count 2 --steps 2 --out new.wav");
    assert_eq!(place.list(".").iter().filter(|name| name.starts_with("new-")).count(), 2);
    for out in ["drums/new.wav", "drums/kick/new.wav"] {
        place.refused(
            &format!("sample run --count 2 --steps 2 --out {out}"),
            2,
            &["would add a file to the input data"],
        );
    }
}

fn real_data_get_the_network_that_suits_them() {
    let place = Place::new();
    for (data, run, name) in [
        (sample_data("dino.csv"), "dino", "mlp"),
        (sample_data("mnist-1k/train-images-idx3-ubyte"), "mnist", "unet"),
        (sample_data("pulse.npy"), "pulse", "unet"),
    ] {
        place.ok(&format!("train {data} --out {run} --steps 1 --no-samples"));
        assert_eq!(config(&place, run).model.name(), name, "{data}");
    }
}
