//! Interrupts, full disks and broken pipes: nothing is lost, and the message says how to go on.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{Test, always, named, unless};
use crate::support::{Outcome, Place, npy, signals};

pub fn tests() -> Vec<Test> {
    let no_limit = (!cfg!(target_os = "linux")).then(|| "limits of the address space are tested on Linux".to_string());
    let mut tests = unless(no_limit, named![a_memory_limit_is_no_abort, data_larger_than_the_memory_train_from_disk]);
    tests.extend(always(named![
        a_signal_to_stop_saves_and_says_how_to_resume,
        signals_that_are_ignored_do_not_stop_a_run,
        a_signal_while_samples_are_drawn_leaves_no_file,
        a_signal_at_the_last_picture_keeps_the_training,
        samples_that_no_disk_holds_are_refused_before_the_first_step,
        a_killed_run_leaves_no_rubbish_for_the_next,
        two_do_not_train_in_one_folder,
        a_best_state_has_a_run_around_it,
        a_sweep_that_is_stopped_says_how_to_go_on,
        a_full_disk_keeps_the_last_checkpoint,
        divergence_stops_and_keeps_the_last_good_checkpoint,
        a_closed_pipe_is_no_panic,
    ]));
    tests
}

const SIGNALS: [(&str, libc::c_int); 3] = [("-INT", libc::SIGINT), ("-TERM", libc::SIGTERM), ("-HUP", libc::SIGHUP)];

/// Starts a command with every signal in its default state, or with those of [`SIGNALS`] ignored, as `nohup` starts
/// one; what the shell that runs the tests does with them does not matter.
fn started(place: &Place, args: &str, ignoring: bool) -> Child {
    let mut command = place.command(args);
    let action = if ignoring { libc::SIG_IGN } else { libc::SIG_DFL };
    let set = move || {
        for (_, signal) in SIGNALS {
            // SAFETY: `signal` may be called between fork and exec, and the two actions are no functions.
            #[allow(unsafe_code)]
            let before = unsafe { libc::signal(signal, action) };
            if before == libc::SIG_ERR {
                return Err(std::io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: `set` allocates nothing and takes no lock.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(set);
    }
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn send(signal: &str, child: &Child) {
    let kill = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
}

fn wait_until(ready: impl Fn() -> bool) {
    let started = Instant::now();
    while !ready() && started.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Starts a command, sends it `signal` once `ready`, and waits for its end.
fn interrupted(place: &Place, args: &str, signal: &str, ready: impl Fn() -> bool) -> Outcome {
    let child = started(place, args, false);
    wait_until(ready);
    send(signal, &child);
    Outcome::of(child.wait_with_output().unwrap())
}

fn step(place: &Place) -> u64 {
    let report: serde_json::Value = serde_json::from_str(&place.ok("inspect run --json")).unwrap();
    report["step"].as_u64().unwrap()
}

fn a_signal_to_stop_saves_and_says_how_to_resume() {
    let place = Place::new();
    let trained = || place.path("run/checkpoint.previous.safetensors").exists();
    let train = "train ok.npy --out run --config small.toml --steps 100000000";
    let outcome = interrupted(&place, train, "-INT", trained);
    assert_eq!(outcome.code, Some(130), "{outcome:?}");
    let first = step(&place);
    outcome.says("Ctrl-C", &[&format!("stopped at step {first} of 100000000"), "langevin train --out run --resume"]);

    let mut last = first;
    for (signal, code) in [("-TERM", 143), ("-HUP", 129)] {
        let before = place.read("run/checkpoint.safetensors");
        let moved = || place.read("run/checkpoint.safetensors") != before;
        let outcome = interrupted(&place, "train --out run --resume", signal, moved);
        assert_eq!(outcome.code, Some(code), "{outcome:?}");
        outcome.says(signal, &["stopped at step", "langevin train --out run --resume"]);
        let step = step(&place);
        assert!(step > last, "{signal}: {last} and {step}");
        last = step;
    }
    place.ok(&format!("train --out run --resume --steps {}", last + 5));
    assert!(place.list("run").iter().all(|name| !name.starts_with('.') && !name.contains("new")));
}

/// `nohup` ignores the hang-up, and a shell without job control ignores Ctrl-C in what it starts in the background.
fn signals_that_are_ignored_do_not_stop_a_run() {
    let place = Place::new();
    let mut child = started(&place, "train ok.npy --out run --config small.toml --steps 2000", true);
    wait_until(|| place.path("run/checkpoint.safetensors").exists());
    for (signal, _) in SIGNALS {
        assert!(child.try_wait().unwrap().is_none(), "the run ended before {signal}");
        send(signal, &child);
    }
    let outcome = Outcome::of(child.wait_with_output().unwrap());
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert_eq!(step(&place), 2000);
}

fn a_signal_while_samples_are_drawn_leaves_no_file() {
    let place = Place::new();
    place.train("ok.npy", "run");
    let begun = || place.list(".").iter().any(|name| name.starts_with(".tmp"));
    for sample in [
        "sample run --count 10000000 --steps 1000 --out new.npy",
        "sample run --count 100000 --steps 1000 --out new.csv",
        "denoise run many.npy --noise-level 0.5 --steps 1000 --out new.npy",
    ] {
        place.write("many.npy", npy("<f4", false, &[400_000, 8], &signals(400_000 * 8)));
        let outcome = interrupted(&place, sample, "-INT", begun);
        assert_eq!(outcome.code, Some(130), "{sample}: {outcome:?}");
        outcome.says(sample, &["stopped after ", "00000 samples; nothing is written"]);
        let left = place.list(".");
        assert!(left.iter().all(|name| !name.starts_with('.') && !name.starts_with("new.")), "{left:?}");
    }
}

/// The picture of a trained run takes a while to draw: its training is saved already.
fn a_signal_at_the_last_picture_keeps_the_training() {
    let place = Place::new();
    let deep = "batch = 4\n[model]\nwidth = 1000\ndepth = 4\nencoding = 8\n";
    place.write("deep.toml", deep);
    let saved = || place.path("run/samples").exists();
    let outcome = interrupted(&place, "train ok.npy --out run --config deep.toml --steps 1", "-INT", saved);
    assert_eq!(outcome.code, Some(130), "{outcome:?}");
    outcome.says("Ctrl-C", &["the training is finished and saved"]);
    assert!(outcome.out.contains("the training is saved; drawing samples for run/samples/compare.svg"), "{outcome:?}");
    assert!(place.list("run/samples").is_empty());
    assert_eq!(step(&place), 1);
}

fn samples_that_no_disk_holds_are_refused_before_the_first_step() {
    let place = Place::new();
    place.train("ok.npy", "run");
    place.refused("sample run --count 1000000000000 --out new.npy", 2, &["new.npy needs 29.1 TiB", "left"]);
    place.refused("sample run --count 1000000000000 --out new.png", 2, &["all samples in memory: 29.1 TiB of", ".npy"]);
    assert!(place.list(".").iter().all(|name| !name.starts_with('.') && !name.starts_with("new.")));
}

/// 64 MB of data, and limits of the address space from less than the data need to more than enough.
fn a_memory_limit_is_no_abort() {
    let place = Place::new();
    place.write("big.npy", npy("<f4", false, &[16_384, 1_024], &signals(16_384 * 1_024)));
    let mut refused = 0;
    for limit in [80_000, 130_000, 160_000, 200_000, 280_000, 1_000_000] {
        let program =
            place.command(&format!("train big.npy --out run{limit} --config small.toml --steps 2 --no-samples"));
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -v {limit}; exec \"$0\" \"$@\"")]).arg(program.get_program());
        shell.args(program.get_args()).current_dir(place.path("."));
        shell.env("LANGEVIN_DEVICE", "cpu").env("LANGEVIN_THREADS", "2");
        let outcome = Outcome::of(shell.output().unwrap());
        assert!(matches!(outcome.code, Some(0 | 1)), "{limit}: {outcome:?}");
        if outcome.code == Some(1) {
            refused += 1;
            outcome.says("memory", &["memory", "use "]);
        }
    }
    assert!((1..6).contains(&refused), "{refused}");
}

/// 320 MB of values under a limit of 300 MB of address space.
fn data_larger_than_the_memory_train_from_disk() {
    let place = Place::new();
    let start = npy("<f4", false, &[80_000, 1_000], &signals(64_000));
    place.write("big.npy", &start[..]);
    let header = start.len() - 4 * 64_000;
    // The rest of the file is a hole, which reads as zeros.
    let file = fs::OpenOptions::new().write(true).open(place.path("big.npy")).unwrap();
    file.set_len((header + 4 * 80_000 * 1_000) as u64).unwrap();
    let train = |options: &str| {
        let program = place.command(&format!(
            "train big.npy --model simple --batch 32 --steps 60 --no-samples --preview off --out run --force {options}"
        ));
        let mut shell = Command::new("sh");
        shell.args(["-c", "ulimit -v 300000; exec \"$0\" \"$@\""]).arg(program.get_program());
        shell.args(program.get_args()).current_dir(place.path("."));
        shell.env("LANGEVIN_DEVICE", "cpu").env("LANGEVIN_THREADS", "2");
        Outcome::of(shell.output().unwrap())
    };
    assert_eq!(train("--data-from memory").code, Some(1));
    let disk = train("--data-from disk");
    assert_eq!(disk.code, Some(0), "{disk:?}");
    assert!(disk.out.contains("waiting for data"), "{disk:?}");
}

fn a_killed_run_leaves_no_rubbish_for_the_next() {
    let place = Place::new();
    place.train("ok.npy", "run");
    place.write("run/.tmpAbCdEf", "half a checkpoint");
    place.ok("train --out run --resume --steps 40");
    assert!(!place.list("run").contains(&".tmpAbCdEf".to_string()));
}

/// Starts a training of very many steps, and waits until it has written a file.
fn long_training(place: &Place, options: &str, file: &str) -> Child {
    let train = format!("train ok.npy --out run --config rare.toml --steps 100000000 {options}");
    place
        .write("rare.toml", "batch = 16\ncheckpoint_every = 100000000\n[model]\nwidth = 16\ndepth = 1\nencoding = 8\n");
    let child = place.command(&train).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_until(|| place.path(file).exists());
    child
}

fn two_do_not_train_in_one_folder() {
    let place = Place::new();
    let mut first = long_training(&place, "", "run/config.toml");
    place.refused(
        "train ok.npy --out run --steps 10",
        1,
        &["run is being trained by another process", "another --out"],
    );
    place.refused("sample run --out a.npy", 1, &["is being trained and has no checkpoint.safetensors yet"]);
    first.kill().unwrap();
    first.wait().unwrap();
    // The lock went with the process.
    let said = place.ok("train ok.npy --out run --config small.toml --steps 10");
    assert!(said.contains("ended before its first checkpoint; it is replaced"), "{said}");
}

fn a_best_state_has_a_run_around_it() {
    let place = Place::new();
    let options = "--validation 0.2 --validation-every 10 --keep-best";
    let mut killed = long_training(&place, options, "run/checkpoint.safetensors");
    place.refused("train --out run --resume", 1, &["being trained by another process"]);
    killed.kill().unwrap();
    killed.wait().unwrap();
    place.ok("sample run --best --count 3 --steps 2 --out a.npy");
    let step = step(&place);
    place.ok(&format!("train --out run --resume --steps {}", step + 10));

    // Without one, a new run does not take over what an old one left.
    for file in ["checkpoint.safetensors", "checkpoint.previous.safetensors"] {
        let _ = std::fs::remove_file(place.path(&format!("run/{file}")));
    }
    place.refused(
        "sample run --best --out a.npy",
        1,
        &["ended before the first checkpoint", "langevin train DATA --out run"],
    );
    place.train("ok.npy", "run");
    assert!(!place.path("run/best.safetensors").exists());
    place.refused("sample run --best --out a.npy", 2, &["has no best.safetensors"]);
}

fn a_sweep_that_is_stopped_says_how_to_go_on() {
    let place = Place::new();
    let sweep = "train ok.npy --config small.toml --steps 100000000 --sweep lr=0.001,0.002 --out sweep --device cpu";
    let trained = || place.path("sweep/lr=0.001/checkpoint.safetensors").exists();
    let outcome = interrupted(&place, sweep, "-INT", trained);
    assert_eq!(outcome.code, Some(130), "{outcome:?}");
    let words = "stopped at lr = 0.001; everything is saved; continue with: langevin train ok.npy --config small.toml \
                 --steps 100000000 --sweep 'lr=0.001,0.002' --out sweep --device cpu --resume";
    outcome.says("Ctrl-C", &[words]);
    assert_eq!(place.list("sweep"), ["lr=0.001"]);
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
    outcome.says("full", &["The last checkpoint (step 30) is kept", "langevin train --out run --resume"]);
    assert!(place.read("run/checkpoint.safetensors") == before);
    assert!(place.list("run").iter().all(|name| !name.starts_with('.') && !name.contains("new")));
    place.ok("train --out run --resume --steps 60");

    let outcome = on_a_full_disk(&place, "sample run --count 2000 --steps 2 --out new.npy");
    outcome.says("full", &["cannot write new.npy"]);
    assert!(!place.path("new.npy").exists());
    assert!(place.list(".").iter().all(|name| !name.starts_with('.')));
}

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

fn a_closed_pipe_is_no_panic() {
    let place = Place::new();
    for args in ["devices", "train ok.npy --out run --config small.toml --steps 30", "inspect run", "--help"] {
        let mut child = place.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let outcome = Outcome::of(child.wait_with_output().unwrap());
        assert_eq!(outcome.code, Some(0), "{args}: {outcome:?}");
    }
}
