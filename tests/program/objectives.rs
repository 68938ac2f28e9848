//! Objectives and averages of the weights from the command line.

use crate::common::{On, Test, always, named, on};
use crate::support::{Place, json};

pub fn tests() -> Vec<Test> {
    let mut tests = on(
        &[On::Gpu, On::Cpu, On::Reference],
        named![every_objective_is_trained_resumed_and_sampled, an_average_of_any_length_survives_a_stop],
    );
    tests.extend(always(named![options_that_do_not_fit_an_objective_are_refused]));
    tests
}

/// Settings, and how to sample.
const OBJECTIVES: [(&str, &[&str]); 6] = [
    ("--objective flow", &["--sampler euler", "--sampler heun", "--sampler ddpm --steps 5", "--spacing shift:3"]),
    ("--objective flow --times logit-normal:-0.5:1.2 --weighting snr", &[""]),
    ("--objective flow --prediction x0 --loss-target flow:0.1", &["--sampler dpmpp_2m"]),
    (
        "--objective edm",
        &["--sampler heun --spacing karras", "--sampler edm", "--sampler euler", "--sampler dpmpp_2m_sde"],
    ),
    ("--prediction x0 --loss-target v", &["--sampler ddim"]),
    ("--zero-terminal-snr --prediction v", &["--sampler ddpm --steps 5", "--sampler heun"]),
];

/// Whether a checkpoint has the whole state: that of the reference is in f64, and is rounded.
fn is_exact(on: On) -> bool {
    on != On::Reference
}

fn every_objective_is_trained_resumed_and_sampled(on: On) {
    let place = Place::new();
    for (options, samplers) in OBJECTIVES {
        let train = format!("train ok.npy --config small.toml {options} --device {on} --force --no-samples");
        place.ok(&format!("{train} --steps 20 --out whole"));
        place.ok(&format!("{train} --steps 10 --out parts"));
        place.ok(&format!("train --out parts --resume --steps 20 --device {on} --no-samples"));
        let bytes = |run: &str| place.read(&format!("{run}/checkpoint.safetensors"));
        assert!(!is_exact(on) || bytes("whole") == bytes("parts"), "{options}");
        for sampler in samplers {
            let steps = if sampler.contains("--steps") { "" } else { "--steps 4" };
            place.ok(&format!("sample whole {sampler} {steps} --count 3 --out a.npy --device {on}"));
        }
    }
}

fn an_average_of_any_length_survives_a_stop(on: On) {
    let place = Place::new();
    place.write("every.toml", "ema_snapshot_every = 8\n");
    let options = format!("--batch 8 --device {on} --no-samples");
    place.ok(&format!("train ok.npy --model simple --config every.toml --steps 40 --out whole {options}"));
    place.ok(&format!("train ok.npy --model simple --config every.toml --steps 20 --out parts {options}"));
    place.ok(&format!("train --out parts --resume --steps 40 --device {on} --no-samples"));
    let snapshots = place.list("whole/snapshots");
    assert_eq!(snapshots, place.list("parts/snapshots"));
    for file in snapshots.iter().map(|name| format!("snapshots/{name}")).chain(["checkpoint.safetensors".into()]) {
        let bytes = |run: &str| place.read(&format!("{run}/{file}"));
        assert!(!is_exact(on) || bytes("whole") == bytes("parts"), "{file}");
    }
    assert_eq!(place.list("whole/snapshots").len(), 5);
    let sample = |length: &str| {
        place.ok(&format!("sample whole --ema {length} --count 3 --out a{length}.npy --device {on}"));
        place.read(&format!("a{length}.npy"))
    };
    assert!(sample("0.1") != sample("0.05") && sample("0.1") != sample("0.2"));
    place.ok(&format!("sample whole --count 3 --out plain.npy --device {on}"));
    assert!(place.read("plain.npy") != sample("0.1"));
    if on != On::Cpu {
        return;
    }
    let said = place.ok("sample whole --ema 0.07 --count 3 --out a.npy");
    assert!(said.contains("the average of length 0.07 from 5 snapshots; its profile differs by"), "{said}");
    let said = json(&place.ok("sample whole --ema 0.07 --count 3 --out a.npy --json"));
    assert!(said["weights"].as_str().unwrap().contains("the average of length 0.07 from 5 snapshots"), "{said}");
    let said = place.ok("inspect whole");
    assert!(said.contains("weights for inference: the weights of the last step") && said.contains("--ema"), "{said}");
    place.refused("sample whole --ema 0.5 --out a.npy", 2, &["relative length 0.5", "at most 0.288"]);
    place.train("ok.npy", "without");
    place.refused("sample without --ema 0.1 --out a.npy", 2, &["no snapshots", "--ema-snapshots"]);
    for (task, command) in
        [("denoise --noise gaussian:0.1", "denoise"), ("complete", "complete --mask block:0.5 --count 1")]
    {
        let averaged = "--steps 10 --batch 8 --ema-snapshots=2 --no-samples --force --out other";
        place.ok(&format!("train ok.npy --task {task} {averaged}"));
        let (command, options) = command.split_once(' ').unwrap_or((command, ""));
        let said = place.ok(&format!("{command} other ok.npy --ema 0.1 --out a.npy {options}"));
        assert!(said.contains("the average of length 0.1 from 2 snapshots"), "{said}");
    }
    place.write("whole/snapshots/000000008.safetensors", "x");
    place.refused("sample whole --ema 0.1 --out a.npy", 1, &["000000008", "damaged"]);
    // A run that replaces another one removes its snapshots.
    place.ok("train ok.npy --out whole --force --steps 10 --batch 8 --ema-snapshots=2 --no-samples");
    assert_eq!(place.list("whole/snapshots"), ["000000005.safetensors", "000000010.safetensors"]);
}

fn options_that_do_not_fit_an_objective_are_refused() {
    let place = Place::new();
    for (options, words) in [
        ("--objective flow --schedule cosine", &["--schedule", "flow has no noise schedule"][..]),
        ("--objective flow --zero-terminal-snr", &["zero_terminal_snr needs the objective ddpm"]),
        ("--zero-terminal-snr --prediction epsilon", &["predicts epsilon", "pure noise", "predict v, x0 or flow"]),
        ("--objective flow --prediction epsilon", &["predicts epsilon", "pure noise"]),
        ("--objective flow --times steps", &["times steps", "use uniform or log_normal"]),
        ("--times uniform", &["times uniform", "the objective flow or edm"]),
        ("--objective flow --times log_normal:x", &["\"x\" is not a number"]),
        ("--objective flow --step-encoding learned", &["learned step encoding", "continuous"]),
        ("--objective flow --prediction x0 --loss-target flow:0", &["loss target flow:0", "at time 0", "flow:0.05"]),
        ("--objective rectified", &["there are: ddpm, flow, edm"]),
        ("--task denoise --noise gaussian:0.1 --objective flow", &["--objective needs a diffusion model"]),
    ] {
        place.refused(&format!("train ok.npy --steps 10 --out run {options}"), 2, words);
    }
    place.ok("train ok.npy --objective flow --steps 10 --batch 8 --out run --no-samples");
    place.refused("sample run --spacing leading --out a.npy", 2, &["leading spacing does not visit the last time"]);
    place.refused("sample run --spacing karras --out a.npy", 2, &["karras", "pure noise"]);
    place.refused("sample run --timesteps 1001 --out a.npy", 2, &["from 0 to 1000"]);
    place.refused("sample run --timesteps 1000,0 --out a.npy", 2, &["t = 0", "clean data"]);
    place.ok("sample run --timesteps 1000,500,20 --count 2 --out a.npy");
    let report = json(&place.ok("inspect run --json"));
    assert_eq!((&report["config"]["objective"], &report["config"]["prediction"]), (&"flow".into(), &"flow".into()));
}
