//! Data of all formats as arrays, and several files as one data set.

use std::fs;

use crate::common::{Test, always, named};
use crate::support::{Place, json, npy, signals};

pub fn tests() -> Vec<Test> {
    always(named![
        converted_data_train_alike,
        conversions_say_what_they_wrote,
        conversions_do_not_overwrite,
        what_does_not_fit_is_refused,
        every_command_reads_patterns,
        arrays_stay_on_disk_where_asked
    ])
}

/// 60 rows: a timestamp, a whole number and a word.
fn table() -> String {
    let row = |i: usize| {
        let (t, n) = (1_700_000_000.0 + 0.25 * (i * i % 17) as f64, i * 7 % 13);
        format!("{t},{n},{}\n", ["low", "high"][i % 2])
    };
    "time,n,level\n".to_string() + &(0..60).map(row).collect::<String>()
}

/// What does not depend on time in the metrics of a run: the step and the loss.
fn losses(place: &Place, run: &str) -> Vec<String> {
    let text = String::from_utf8(place.read(&format!("{run}/metrics.csv"))).unwrap();
    let lines: Vec<String> = text.lines().map(|line| line.split(',').take(2).collect::<Vec<_>>().join(",")).collect();
    assert!(lines.len() > 2 && lines[0] == "step,loss", "{text}");
    lines
}

/// A training on the data, and one with the command that `convert` prints, have the same losses.
fn converted_data_train_alike() {
    let place = Place::new();
    place.write("t.csv", table());
    place.write("r.npy", npy("<f4", false, &[500, 2], &signals(1000)));
    for (case, (from, options)) in
        [("t.csv", "--labels t.csv:level"), ("r.npy", "--window 32 --hop 8"), ("sine[0:50]", "--condition v.npy")]
            .into_iter()
            .enumerate()
    {
        place.write("v.npy", npy("<f4", false, &[50, 3], &signals(150)));
        place.train(&format!("{from} {options}"), &format!("direct{case}"));
        for out in [format!("c{case}.npy"), format!("c{case}/")] {
            let said = place.ok(&format!("convert {from} {out} {options} --force --shard-size 2kB")
                .replace(if out.ends_with('/') { "no such text" } else { " --shard-size 2kB" }, ""));
            let command = said.lines().last().unwrap().strip_prefix("train on it with: langevin train ").unwrap();
            let (data, run) = command.split_once(" --out ").unwrap();
            assert_eq!(run, format!("runs/c{case}"));
            place.train(&format!("{data} --force"), &format!("again{case}"));
            assert_eq!(losses(&place, &format!("again{case}")), losses(&place, &format!("direct{case}")), "{command}");
        }
    }
}

fn conversions_say_what_they_wrote() {
    let place = Place::new();
    place.write("t.csv", table());
    let said = place.ok("convert t.csv t.npy --labels t.csv:level");
    for words in [
        "an array has no names of columns",
        "float64, because the values of a column differ little for their size",
        "float64 array of shape [60, 2], 960 bytes: t.npy",
        "classes: t-labels.csv",
        "train on it with: langevin train t.npy --kind points --labels t-labels.csv --out runs/t",
    ] {
        assert!(said.contains(words), "no {words:?} in: {said}");
    }
    assert!(place.read("t-labels.csv").starts_with(b"class\nlow\nhigh\n"));
    let again = place.run("convert t.csv t.npy --force");
    assert!(again.err.contains("t-labels.csv: was there before"), "{}", again.err);
    let wrote = json(&place.ok("convert ok.npy parts/ --shard-size 0.5kB --dtype float16 --json"));
    assert_eq!((wrote["files"].as_u64(), wrote["dtype"].as_str()), (Some(2), Some("float16")));
    assert!(wrote["loss"].as_str().unwrap().contains("of the standard deviation"));
    assert_eq!(place.list("parts"), ["part-00000.npy", "part-00001.npy"]);
    let train = wrote["train"].as_str().unwrap();
    assert_eq!(train, "langevin train parts/ --kind signals --out runs/parts");
    let read = json(&place.ok("inspect parts/ --json"));
    assert_eq!((read["samples"].as_u64(), read["element"].as_str()), (Some(40), Some("float16")));
}

fn conversions_do_not_overwrite() {
    let place = Place::new();
    place.ok("convert ok.npy a.npy");
    place.refused("convert ok.npy a.npy", 2, &["a.npy: exists; --force replaces it"]);
    place.ok("convert ok.npy a.npy --force --dtype float16");
    place.refused(
        "convert a.npy[0:3] a.npy --force",
        2,
        &["would overwrite the input data a.npy[0:3]; choose another OUT"],
    );
    place.write("my--out.npy", place.read("ok.npy"));
    let overwritten = "my--out.npy: would overwrite the input data my--out.npy; choose another OUT";
    place.refused("convert my--out.npy my--out.npy --force", 2, &[overwritten]);
    fs::create_dir(place.path("parts")).unwrap();
    place.ok("convert ok.npy parts");
    place.refused("convert ok.npy parts", 2, &["parts: exists; --force"]);
    place.refused("convert parts/part-00000.npy parts --force", 2, &["contains parts/part-00000.npy, which is read"]);
    place.refused("convert parts/part-*.npy parts/ --force", 2, &["which is read"]);
    place.write("parts/own.txt", "x");
    place.refused("convert ok.npy parts/ --force", 2, &["contains own.txt"]);
    place.refused("convert ok.npy b.csv", 2, &["writes a .npy file, or a folder"]);
    place.refused("convert ok.npy b.npy --shard-size 1MB", 2, &["name one that ends in /"]);
    place.refused("convert ok.npy ok.npy/", 2, &["ok.npy/"]);
    place.refused("convert ok.npy c.npy --shard-size 1XB", 2, &["500MB"]);
    place.refused("convert ok.npy no/c.npy", 2, &["there is no folder no"]);
    place.refused("convert ok.npy c.npy --label-header yes", 2, &["--label-header needs --labels"]);
    assert!(!place.list(".").iter().any(|name| name.starts_with(".tmp")), "{:?}", place.list("."));
    place.write("q-labels.npy", npy("<f4", false, &[3], &signals(3)));
    place.write("b.npy", npy("<f4", false, &[3, 2], &signals(6)));
    place.refused("convert b.npy q.npy --labels q-labels.npy --force", 2, &["would overwrite", "q-labels.npy"]);
    place.write("parts/1.npy", npy("<f4", false, &[3, 2], &signals(6)));
    place.write("parts/2.npy", npy("<f4", false, &[3, 2], &signals(6)));
    for input in ["parts", "parts/?.npy"] {
        place.refused(&format!("convert {input} parts/all.npy"), 2, &["would add samples to", "another OUT"]);
    }
}

fn what_does_not_fit_is_refused() {
    let place = Place::new();
    place.refused("convert ok.npy a.npy --dtype uint8", 2, &["uint8", "--dtype float32"]);
    place.refused("convert ok.npy a.npy --dtype int7", 2, &["unknown element type", "float16"]);
    let large: Vec<u8> = (0..80).flat_map(|i| (1e5 + (i as f32).sin()).to_le_bytes()).collect();
    place.write("l.npy", npy("<f4", false, &[10, 8], &large));
    place.refused("convert l.npy a.npy --dtype float16", 2, &["sample 0 has 1e5 at element 0", "-65504 to 65504"]);
    let near: Vec<u8> = (0..80).flat_map(|i| (1e3 + (i as f32).sin()).to_le_bytes()).collect();
    place.write("n.npy", npy("<f4", false, &[10, 8], &near));
    place.refused(
        "convert n.npy a.npy --dtype float16",
        2,
        &["would change the values by", "of their standard deviation"],
    );
    assert_eq!(place.list("."), ["l.npy", "n.npy", "ok.npy", "small.toml"]);
}

fn every_command_reads_patterns() {
    let place = Place::new();
    for (i, n) in [(2, 8), (10, 12), (1, 20)] {
        place.write(&format!("p{i}.npy"), npy("<f4", false, &[n, 8], &signals(8 * n)));
        let labels: Vec<u8> = (0..n as u8).map(|k| (k + i as u8) % 2).collect();
        place.write(&format!("l{i}.npy"), npy("|u1", false, &[n], &labels));
    }
    let said = place.train("p*.npy --labels l*.npy", "run");
    assert!(said.contains("3 files, 40 samples: p1.npy to p10.npy"), "{said}");
    place.ok("inspect p*.npy");
    place.ok("noise p*.npy --kind gaussian:0.1 --out noisy.npy");
    place.train("p*.npy", "plain");
    place.ok("denoise plain noisy.npy --compare p*.npy --out clean.npy --noise-level 0.1");
    place.ok("evaluate noisy.npy p*.npy");
    place.refused("noise p*.npy --kind gaussian:0.1 --out p2.npy", 2, &["would overwrite the input data p*.npy"]);
    place.write("p3.npy", npy("<f4", false, &[4, 9], &signals(36)));
    place.refused("train p*.npy --out other", 1, &["p3.npy: samples of shape [9]", "p1.npy have the shape [8]"]);
    place.refused("train q*.npy --out other", 1, &["\"q*.npy\"", "no file matches it as a pattern"]);
}

fn arrays_stay_on_disk_where_asked() {
    let place = Place::new();
    let note = "the values are read from disk during the training (otherwise: --data-from memory)";
    assert!(place.train("ok.npy --data-from disk", "disk").contains(note));
    assert!(!place.train("ok.npy", "memory").contains(note));
    assert_eq!(losses(&place, "disk"), losses(&place, "memory"));
    let [disk, memory] =
        ["disk", "memory"].map(|run| fs::read(place.path(&format!("{run}/checkpoint.safetensors"))).unwrap());
    assert!(disk == memory, "a checkpoint does not depend on the place");
    let resume = |options: &str| place.ok(&format!("train --out disk --resume --device cpu --no-samples {options}"));
    assert!(resume("--steps 31").contains(note), "a run keeps the place");
    assert!(!resume("--steps 32 --data-from memory").contains(note) && !resume("--steps 33").contains(note));
    for i in 0..2 {
        place.write(&format!("f{i}.npy"), npy("<f4", true, &[40, 16], &signals(640)));
    }
    let words = ["an array in Fortran order cannot be read from disk", "langevin convert, or omit --data-from disk"];
    place.refused("train f?.npy --data-from disk --out f", 2, &words);
    place.train("f?.npy --data-from auto", "f");
    let said = place.ok("convert f?.npy c.npy");
    assert!(said.contains("float32 array of shape [80, 16]") && !said.contains("data-from"), "{said}");
}
