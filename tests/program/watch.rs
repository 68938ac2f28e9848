//! Watching a training: previews, events, TensorBoard, pictures of curves; and the help of the program.

use std::fs;

use serde_json::Value;

use crate::common::{Test, always, named};
use crate::support::{Place, json};

pub fn tests() -> Vec<Test> {
    always(named![
        previews_do_not_change_a_run,
        a_resumed_run_has_one_film,
        events_are_json,
        a_quiet_training_prints_nothing,
        tensorboard_gets_the_rows_and_the_previews,
        curves_of_runs_are_overlaid,
        schedules_are_drawn,
        the_printed_settings_train,
        misspelt_names_have_a_suggestion,
        completions_and_a_manual_are_written,
        the_version_says_what_a_report_needs,
    ])
}

fn previews_do_not_change_a_run() {
    let place = Place::new();
    let train = "train ok.npy --config small.toml --steps 30 --validation 0.2";
    place.ok(&format!("{train} --out without --preview off"));
    let said = place.ok(&format!("{train} --out with --preview 7"));
    for file in ["checkpoint.safetensors", "samples/samples.npy"] {
        assert!(place.read(&format!("with/{file}")) == place.read(&format!("without/{file}")), "{file} differs");
    }
    let steps = ["000000007.png", "000000014.png", "000000021.png", "000000028.png", "000000030.png", "film.png"];
    assert_eq!(place.list("with/previews"), steps);
    assert!(said.contains("with/previews/film.png"), "{said}");
    assert!(!place.path("without/previews").exists());
    // The noise is the same, so that a preview depends on the weights only.
    place.ok("train ok.npy --config small.toml --steps 14 --validation 0.2 --out short --preview 7");
    assert!(place.read("short/previews/000000014.png") == place.read("with/previews/000000014.png"));
    place.refused("train ok.npy --out x --preview often", 2, &["such as 500"]);
}

fn a_resumed_run_has_one_film() {
    let place = Place::new();
    let train = "--config small.toml --preview 10";
    place.ok(&format!("train ok.npy --out run --steps 20 {train}"));
    let film = place.read("run/previews/film.png");
    place.ok(&format!("train --out run --resume --steps 20 {train}"));
    assert!(place.read("run/previews/film.png") == film, "a finished run is left as it is");
    place.ok(&format!("train --out run --resume --steps 40 {train}"));
    assert_eq!(place.list("run/previews").len(), 5);
    assert!(place.read("run/previews/film.png").len() > film.len());
    place.ok("train ok.npy --out run --force --steps 10 --preview off --config small.toml");
    assert!(place.list("run/previews").is_empty(), "the previews of the run that was replaced");
}

fn events_are_json() {
    let place = Place::new();
    let said = place
        .ok("train ok.npy --out run/ --config small.toml --steps 30 --log jsonl --preview 15 --loss l1:1,huber:0.5");
    let events: Vec<Value> = said.lines().map(json).collect();
    let named = |name: &str| events.iter().filter(|event| event["event"] == name).collect::<Vec<_>>();
    assert_eq!(
        events.len(),
        ["start", "progress", "preview", "end"].map(|name| named(name).len()).iter().sum::<usize>()
    );
    assert_eq!((&events[0]["event"], &events[events.len() - 1]["event"]), (&"start".into(), &"end".into()));
    assert_eq!((&events[0]["steps"], &events[0]["batch"], &events[0]["run"]), (&30.into(), &16.into(), &"run".into()));
    let last = named("progress").pop().unwrap();
    assert_eq!((&last["step"], &last["seconds_left"]), (&30.into(), &0.0.into()));
    for key in ["loss", "lr", "samples_per_second", "memory_bytes"] {
        assert!(last[key].as_f64() > Some(0.0), "{key}: {last}");
    }
    assert!(last["terms"]["l1"].is_f64() && last["terms"]["huber"].is_f64(), "{last}");
    let previews = named("preview");
    assert_eq!(previews.len(), 2);
    assert!(place.path(previews[1]["file"].as_str().unwrap()).is_file());
}

fn a_quiet_training_prints_nothing() {
    let place = Place::new();
    let outcome = place.run("train ok.npy --out run --config small.toml --steps 20 --quiet");
    assert_eq!((outcome.code, outcome.out.as_str(), outcome.err.as_str()), (Some(0), "", ""));
    assert!(place.path("run/samples/compare.svg").is_file());
    place.refused("train ok.npy --out run --quiet", 2, &["--force"]);
}

fn tensorboard_gets_the_rows_and_the_previews() {
    let place = Place::new();
    place.ok("train ok.npy --out run --config small.toml --steps 20 --tensorboard --preview 10");
    place.ok("train --out run --resume --steps 30 --tensorboard --preview off");
    let files = place.list("run/tensorboard");
    assert_eq!(files.len(), 2, "one for each training: {files:?}");
    assert!(files.iter().all(|name| name.starts_with("events.out.tfevents.")), "{files:?}");
    let text = |file: &str| String::from_utf8_lossy(&place.read(&format!("run/tensorboard/{file}"))).into_owned();
    let first = text(files.iter().find(|name| name.ends_with(".0")).unwrap());
    for tag in ["brain.Event:2", "loss", "lr", "samples_per_second", "preview", "PNG"] {
        assert!(first.contains(tag), "{tag}");
    }
    assert_eq!(first.matches("samples_per_second").count(), 2, "a value for each row");
    // Another run in its place has its own events.
    place.ok("train ok.npy --out run --force --config small.toml --steps 10 --tensorboard --preview off");
    assert_eq!(place.list("run/tensorboard").len(), 1);
}

fn curves_of_runs_are_overlaid() {
    let place = Place::new();
    place.ok("train ok.npy --out runs/a --config small.toml --steps 30 --validation 0.2 --validation-every 10");
    place.train("ok.npy", "runs/b");
    place.ok("plot runs/a runs/b --out curves.svg");
    let drawn = String::from_utf8(place.read("curves.svg")).unwrap();
    for text in ["Training loss", "Validation loss", "step", "runs/a", "runs/b"] {
        assert!(drawn.contains(&format!(">\n{text}\n<")), "{text}: {drawn}");
    }
    let said = json(&place.ok("plot runs --columns lr,samples_per_second --out c.png --json"));
    assert_eq!((&said["runs"][1], &said["columns"][0]), (&"b".into(), &"lr".into()));
    place.refused("plot runs --columns validatoin --out c.png", 2, &["there are: loss", "did you mean validation?"]);
    place.refused("plot ok.npy --out c.png", 1, &["ok.npy is not a run folder"]);
    place.refused("plot runs --out c.npy", 2, &[".png or .svg"]);
    // A run that has just begun is left out, unless it is named.
    std::fs::create_dir(place.path("runs/c")).unwrap();
    std::fs::copy(place.path("runs/b/config.toml"), place.path("runs/c/config.toml")).unwrap();
    let said = place.run("plot runs --out c.png");
    assert!(said.code == Some(0) && said.err.contains("has no values yet"), "{said:?}");
    place.refused("plot runs/c --out c.png", 1, &["has no values yet"]);
}

fn schedules_are_drawn() {
    let place = Place::new();
    place.ok("schedule linear cosine flow edm --weighting min_snr:5 --out s.svg");
    let drawn = String::from_utf8(place.read("s.svg")).unwrap();
    for text in ["Share of the data", "diffusion step t", "log SNR = ln(a^2 / s^2)", "weight", "cosine", "flow", "edm"]
    {
        assert!(drawn.contains(&format!(">\n{text}\n<")), "{text}");
    }
    assert!(!drawn.contains("NaN") && !drawn.contains("inf,"));
    place.ok("schedule sigmoid --zero-terminal-snr --steps 50 --out s.png");
    place.refused("schedule cosin --out s.svg", 2, &["unknown schedule \"cosin\"", "did you mean cosine?"]);
    place.refused("schedule linear --steps 0 --out s.svg", 2, &["0 diffusion steps", "1000 is usual"]);
}

fn the_printed_settings_train() {
    let place = Place::new();
    place.ok("config --model mlp --out settings.toml");
    let text = String::from_utf8(place.read("settings.toml")).unwrap();
    assert_eq!(place.ok("config"), text);
    place.write("short.toml", text.replace("\nsteps = ", "\nsteps = 10 #"));
    place.ok("train ok.npy --config short.toml --out run --no-samples");
    place.refused("config --model unett", 2, &["did you mean unet?"]);
}

fn misspelt_names_have_a_suggestion() {
    let place = Place::new();
    place.write("bad.toml", "lrr = 0.1\n");
    place.refused("train ok.npy --out x --config bad.toml", 2, &["unknown field `lrr`", "did you mean `lr`?"]);
    place.refused("train ok.npy --out x --optimizer adm", 2, &["did you mean adam?"]);
    place.refused("train monos --out x", 1, &["there are: ", "did you mean moons?"]);
    place.refused("train ok.npy --out x --step 3", 2, &["'--steps'"]);
    let outcome = place.run("trian ok.npy");
    assert!(outcome.code == Some(2) && outcome.err.contains("'train'"), "{outcome:?}");
}

fn completions_and_a_manual_are_written() {
    let place = Place::new();
    for (shell, words) in [("bash", "complete -F"), ("zsh", "#compdef langevin"), ("fish", "complete -c langevin")] {
        let text = place.ok(&format!("completions {shell}"));
        assert!(text.contains(words) && text.contains("tensorboard"), "{shell}");
    }
    place.ok("man pages");
    let pages = place.list("pages");
    assert!(pages.contains(&"langevin.1".into()) && pages.contains(&"langevin-train.1".into()), "{pages:?}");
    let page = fs::read_to_string(place.path("pages/langevin-sample.1")).unwrap();
    assert!(page.contains("Examples") && page.contains("langevin sample"), "{page}");
}

fn the_version_says_what_a_report_needs() {
    let place = Place::new();
    assert_eq!(place.ok("--version").trim(), format!("langevin {}", env!("CARGO_PKG_VERSION")));
    let said = place.ok("--version --verbose");
    for words in ["commit: ", "features: cli, files, onnx", "adapter"] {
        assert!(said.contains(words), "{words}: {said}");
    }
}
