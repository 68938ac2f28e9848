//! Interrupts, full disks and broken pipes: nothing is lost, and the message says how to go on.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Outcome, Place};

/// Starts a command, sends it `signal` once `ready`, and waits for its end.
fn interrupted(place: &Place, args: &str, signal: &str, ready: impl Fn() -> bool) -> Outcome {
    let child = place.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let started = Instant::now();
    while !ready() && started.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let kill = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    Outcome::of(child.wait_with_output().unwrap())
}

fn step(place: &Place) -> u64 {
    let report: serde_json::Value = serde_json::from_str(&place.ok("inspect run --json")).unwrap();
    report["step"].as_u64().unwrap()
}

#[test]
fn ctrl_c_saves_and_says_how_to_go_on() {
    let place = Place::new();
    let trained = || place.path("run/checkpoint.previous.safetensors").exists();
    let train = "train ok.npy --out run --config small.toml --steps 100000000";
    let outcome = interrupted(&place, train, "-INT", trained);
    assert_eq!(outcome.code, Some(130), "{outcome:?}");
    let first = step(&place);
    outcome.says("Ctrl-C", &[&format!("stopped at step {first} of 100000000"), "langevin train --out run --resume"]);

    let before = place.read("run/checkpoint.safetensors");
    let moved = || place.read("run/checkpoint.safetensors") != before;
    let outcome = interrupted(&place, "train --out run --resume", "-TERM", moved);
    assert_eq!(outcome.code, Some(130), "{outcome:?}");
    let second = step(&place);
    assert!(second > first, "{first} and {second}");
    place.ok(&format!("train --out run --resume --steps {}", second + 5));
    assert!(place.list("run").iter().all(|name| !name.starts_with('.') && !name.contains("new")));
}

#[test]
fn a_killed_run_leaves_no_rubbish_for_the_next() {
    let place = Place::new();
    place.train("ok.npy", "run");
    place.write("run/.tmpAbCdEf", "half a checkpoint");
    place.ok("train --out run --resume --steps 40");
    assert!(!place.list("run").contains(&".tmpAbCdEf".to_string()));
}

/// The program where no file may grow beyond a few kilobytes: settings fit, checkpoints do not.
fn on_a_full_disk(place: &Place, args: &str) -> Outcome {
    let program = place.command(args);
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$0\" \"$@\""]).arg(program.get_program());
    shell.args(program.get_args()).current_dir(place.path("."));
    shell.env("LANGEVIN_DEVICE", "cpu");
    Outcome::of(shell.output().unwrap())
}

#[test]
fn a_full_disk_keeps_the_last_checkpoint() {
    let place = Place::new();
    let outcome = on_a_full_disk(&place, "train ok.npy --out run --config small.toml --steps 30");
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    outcome.says("full", &["cannot write", "checkpoint", "free some space"]);
    assert!(!place.path("run/checkpoint.safetensors").exists());

    place.train("ok.npy", "run");
    let before = place.read("run/checkpoint.safetensors");
    let outcome = on_a_full_disk(&place, "train --out run --resume --steps 60");
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    outcome.says("full", &["The last good checkpoint (step 30) is kept", "langevin train --out run --resume"]);
    assert!(place.read("run/checkpoint.safetensors") == before);
    assert!(place.list("run").iter().all(|name| !name.starts_with('.') && !name.contains("new")));
    place.ok("train --out run --resume --steps 60");

    let outcome = on_a_full_disk(&place, "sample run --count 2000 --steps 2 --out new.npy");
    outcome.says("full", &["cannot write new.npy"]);
    assert!(!place.path("new.npy").exists());
    assert!(place.list(".").iter().all(|name| !name.starts_with('.')));
}

#[test]
fn divergence_stops_and_keeps_the_last_good_checkpoint() {
    let place = Place::new();
    let settings = "checkpoint_every = 2\nclip_norm = 0.0\ndecay = \"constant\"\noptimizer = \"sgd\"\nlr = 50.0\n";
    place.write("wild.toml", format!("{settings}[model]\nwidth = 16\ndepth = 1\nencoding = 8\n"));
    place.refused("train ok.npy --config wild.toml --out run", 1, &["step", "weight", "Lower --lr", "checkpoint"]);
    place.ok("inspect run");
    place
        .write("wilder.toml", format!("{settings}checkpoint_every = 1000\n").replacen("checkpoint_every = 2\n", "", 1));
    place.refused("train ok.npy --config wilder.toml --out again", 1, &["no checkpoint yet", "can use again again"]);
    place.train("ok.npy", "again");
}

#[test]
fn a_closed_pipe_is_no_panic() {
    let place = Place::new();
    for args in ["devices", "train ok.npy --out run --config small.toml --steps 30", "inspect run", "--help"] {
        let mut child = place.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let outcome = Outcome::of(child.wait_with_output().unwrap());
        assert_eq!(outcome.code, Some(0), "{args}: {outcome:?}");
    }
}
