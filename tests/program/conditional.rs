//! Conditional models from the command line.

use crate::common::{On, Test, always, named, on};
use crate::support::{Place, json, npy, signals};

pub fn tests() -> Vec<Test> {
    let mut tests = on(&[On::Gpu, On::Cpu, On::Reference], named![a_run_is_guided_by_a_weaker_one]);
    tests.extend(always(named![
        a_conditional_run_is_resumed_and_sampled,
        vectors_of_a_table_keep_their_columns,
        a_number_for_each_sample_is_a_vector,
        known_values_of_another_size_are_scaled,
        conditions_that_do_not_fit_are_refused,
        labels_are_read_from_tables_and_by_name,
        conditions_follow_the_samples_that_are_read,
        what_is_drawn_is_said,
        guides_that_do_not_fit_are_refused,
    ]));
    tests
}

/// A place with a class, a vector and a known signal for each of the 40 samples of `ok.npy`.
fn place() -> Place {
    let place = Place::new();
    place.write("classes.npy", npy("|u1", false, &[40], &[0, 1, 2, 1].repeat(10)));
    place.write("vectors.npy", npy("<f4", false, &[40, 2], &signals(80)));
    place.write("known.npy", npy("<f4", false, &[40, 8], &signals(320)));
    place.write("other.npy", npy("|u1", false, &[40], &[0, 1, 1, 2].repeat(10)));
    place
}

const ALL: &str = "--labels classes.npy --condition vectors.npy --given known.npy";

fn a_conditional_run_is_resumed_and_sampled() {
    let place = place();
    let train = format!("train ok.npy --config small.toml {ALL} --label-dropout 0.2");
    place.ok(&format!("{train} --out whole --steps 20"));
    place.ok(&format!("{train} --out parts --steps 10"));
    place.ok("train --out parts --resume --steps 20");
    assert!(place.read("whole/checkpoint.safetensors") == place.read("parts/checkpoint.safetensors"));
    assert!(place.read("whole/samples/samples.npy") == place.read("parts/samples/samples.npy"));
    let draw = "sample whole --condition vectors.npy[0:1] --given known.npy[0:2]";
    place.ok(&format!("{draw} --class 1,2 --count 5 --guidance 2.5 --guidance-rescale 0.5 --out a.npy"));
    place.ok(&format!("{draw} --class 1,2 --count 5 --guidance 2.5 --guidance-interval 100,900 --out b.npy"));
    assert!(place.read("a.npy") != place.read("b.npy"));
    // Without --count, as many samples as conditions.
    let report = json(&place.ok(&format!("{draw} --out d.npy --json")));
    assert_eq!(report["shape"][0], 2, "{report}");
    place.ok(&format!("{draw} --class none --count 3 --out c.npy"));
    // A trace is drawn for the first samples only.
    let many = "sample whole --condition vectors.npy --given known.npy --count 40 --steps 2";
    place.ok(&format!("{many} --out d.npy --trace trace.npy"));
    assert!(place.read("trace.npy").len() == 128 + 4 * 2 * 2 * 4 * 8);
    place.refused(&format!("{draw} --out known.npy"), 2, &["known.npy", "would overwrite the input data"]);
    place.refused(&format!("{draw} --out classes.npy"), 2, &["would overwrite the input data classes.npy"]);
    place.refused("train --out whole --resume --labels other.npy --steps 30", 1, &["other conditions"]);
    let report = json(&place.ok("inspect whole --json"));
    assert_eq!(report["config"]["model"]["conditions"]["classes"], 3, "{report}");
    let said = place.ok("inspect whole");
    assert!(said.contains("conditions: 3 classes, vectors of 2 values, known values of shape [8]"), "{said}");
}

/// An array [n] is as [n, 1], in training and in sampling.
fn a_number_for_each_sample_is_a_vector() {
    let place = place();
    place.write("numbers.npy", npy("<f4", false, &[40], &signals(40)));
    place.write("column.npy", npy("<f4", false, &[40, 1], &signals(40)));
    for (run, numbers) in [("of-numbers", "numbers.npy"), ("of-column", "column.npy")] {
        place.ok(&format!("train ok.npy --config small.toml --condition {numbers} --steps 10 --out {run}"));
        place.ok(&format!("sample {run} --condition {numbers}[0:3] --out {run}.npy"));
    }
    assert!(place.read("of-numbers.npy") == place.read("of-column.npy"));
}

/// A row of a table is the same condition alone, where neither its offset nor its categories follow from the file.
fn vectors_of_a_table_keep_their_columns() {
    let place = place();
    let row = |i: usize| format!("{},{}\n", 1_700_000_000.5 + 100_000.0 * i as f64, ["Ulm", "Bonn", "Koeln"][i % 3]);
    let rows: String = (0..40).map(row).collect();
    place.write("table.csv", format!("time,city\n{rows}"));
    place.write("one.csv", format!("time,city\n{}", row(4)));
    place.write("other.csv", "time,city\n1700000000.5,Rom\n");
    place.ok("train ok.npy --config small.toml --steps 10 --out run --condition table.csv");
    let draw = |condition: &str| {
        place.ok(&format!("sample run --condition {condition} --count 3 --no-clip --out a.npy"));
        let bytes = place.read("a.npy");
        bytes[128..].chunks(4).map(|v| f32::from_le_bytes(v.try_into().unwrap())).collect::<Vec<f32>>()
    };
    let (part, alone, other) = (draw("table.csv[4:5]"), draw("one.csv"), draw("table.csv[30:31]"));
    let near = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-2 * a.abs().max(1.0));
    assert!(near(&part, &alone), "{part:?} {alone:?}");
    assert!(part != other, "the vectors have no effect");
    place.refused("sample run --condition other.csv --out a.npy", 1, &["Rom", "not among the categories"]);
}

/// Known values of half the size have the effect of the scaled ones.
fn known_values_of_another_size_are_scaled() {
    let place = place();
    let values = |n: usize| (0..n).map(|i| (i as f32 * 0.7).sin());
    let short: Vec<u8> = values(160).flat_map(f32::to_le_bytes).collect();
    // Between the centres of four values, eight are at a quarter and three quarters.
    let all: Vec<f32> = values(160).collect();
    let scaled = |i: usize| {
        let (row, at) = (&all[i / 8 * 4..][..4], ((i % 8) as f32 - 0.5) / 2.0);
        let (low, high) = (at.floor().max(0.0) as usize, (at.floor() as usize + 1).min(3));
        row[low] + (at - low as f32).max(0.0) * (row[high] - row[low])
    };
    place.write("short.npy", npy("<f4", false, &[40, 4], &short));
    place.write(
        "scaled.npy",
        npy("<f4", false, &[40, 8], &(0..320).flat_map(|i| scaled(i).to_le_bytes()).collect::<Vec<u8>>()),
    );
    let train = |given: &str| format!("train ok.npy --config small.toml --steps 20 --given {given}.npy --out {given}");
    let said = place.ok(&train("short"));
    assert!(said.contains("known values of shape [8], scaled from [4]"), "{said}");
    place.ok(&train("scaled"));
    let losses = |run: &str| String::from_utf8(place.read(&format!("{run}/metrics.csv"))).unwrap();
    let loss = |run: &str| losses(run).lines().last().unwrap().split(',').nth(1).unwrap().parse::<f64>().unwrap();
    assert!((loss("short") - loss("scaled")).abs() < 1e-4, "{} {}", loss("short"), loss("scaled"));
    place.ok("sample short --given short.npy[0:2] --out a.npy");
    place.refused("sample short --given scaled.npy --out a.npy", 1, &["scaled.npy", "[8]", "have the size [4]"]);
}

fn conditions_that_do_not_fit_are_refused() {
    let place = place();
    place.write("few.npy", npy("|u1", false, &[4], &[0, 1, 2, 1]));
    place.write("long.npy", npy("<f4", false, &[40, 16], &signals(640)));
    let train = "train ok.npy --config small.toml --steps 10 --out run";
    place.refused(&format!("{train} --labels few.npy"), 1, &["few.npy: 4 labels for 40 samples of ok.npy"]);
    place.write("plane.npy", npy("<f4", false, &[40, 6, 6], &signals(1440)));
    place.refused(&format!("{train} --given plane.npy"), 1, &["plane.npy", "[6, 6]", "[8]", "as many axes"]);
    place.write("deep.npy", npy("<f4", false, &[40, 2, 2, 2], &signals(320)));
    for data in ["plane.npy", "deep.npy"] {
        let words = [data, "[40, ", "condition vectors are an array [n, k] or [n]", "reshape", "--given"];
        place.refused(&format!("{train} --condition {data}"), 2, &words);
    }
    place.write("bad.csv", format!("a,b\n{}x,2\n", "1,2\n".repeat(39)));
    place.refused(&format!("{train} --condition bad.csv"), 1, &["bad.csv: row 40", "\"x\" is not a number", "repair"]);
    place.write("nan.npy", npy("<f4", false, &[40], &[&signals(39)[..], &f32::NAN.to_le_bytes()].concat()));
    place.refused(&format!("{train} --condition nan.npy"), 1, &["nan.npy", "sample 39 has NaN", "fill in such values"]);
    place.refused(&format!("{train} --labels classes.npy --label-dropout 2"), 2, &["condition.dropout is 2"]);
    let simple = "train ok.npy --model simple --steps 10 --out run --labels classes.npy";
    place.refused(simple, 2, &["the network simple cannot", "mlp or unet"]);
    let denoise = format!("{train} --task denoise --noise gaussian:0.1 --labels classes.npy");
    place.refused(&denoise, 2, &["a denoiser has no condition", "omit"]);
    place.ok("train ok.npy --config small.toml --steps 10 --out vectors --condition vectors.npy");
    for (data, found) in [("classes.npy", "[1]"), ("plane.npy", "[1, 6, 6]"), ("known.npy", "[8]")] {
        let words = [&format!("{data}: samples of shape {found}"), "use an array [n, 2] for --condition"];
        place.refused(&format!("sample vectors --condition {data} --out a.npy"), 1, &words.map(|word| word as &str));
    }
    place.ok(&format!("{train} --labels classes.npy"));
    place.refused("sample run --class 7 --out a.npy", 2, &["there is no class 7; the classes of this run are 0 to 2"]);
    place.refused("sample run --class 0,1,2 --count 2 --out a.npy", 2, &["3 classes for 2 samples", "--count 3"]);
    place.refused("sample run --given known.npy --out a.npy", 2, &["--given: this run was trained without it"]);
    place.refused("denoise run ok.npy --out a.npy", 2, &["conditional"]);
    place.train("ok.npy", "plain");
    place.refused("sample plain --class 0 --out a.npy", 2, &["this run has no classes; train it with --labels"]);
    place.refused("sample plain --guidance 2 --out a.npy", 2, &["guidance needs a conditional model"]);
}

fn labels_are_read_from_tables_and_by_name() {
    let place = place();
    let rows: String = (0..40).map(|i| format!("{},{}\n", i, ["b", "a"][i % 2])).collect();
    place.write("table.csv", format!("n,kind\n{rows}"));
    place.ok("train ok.npy --config small.toml --steps 10 --out run --labels table.csv:kind");
    place.ok("sample run --class b --count 4 --out named.npy");
    place.ok("sample run --class 1 --count 4 --out numbered.npy");
    assert!(place.read("named.npy") == place.read("numbered.npy"));
    place.refused("sample run --class c --out a.npy", 2, &["a, b"]);
}

/// Samples that are left out take their conditions with them, and the labels of a table are not among its values.
fn conditions_follow_the_samples_that_are_read() {
    let place = place();
    let row = |i: usize| {
        let a = if i == 3 { String::new() } else { (i as f32 * 0.7).sin().to_string() };
        format!("{a},{},{},{}\n", i * i % 7, i % 5, ["no", "yes"][i % 2])
    };
    place.write("table.csv", format!("a,b,c,class\n{}", (0..40).map(row).collect::<String>()));
    let train = "train table.csv --labels table.csv:class --missing drop --config small.toml --steps 2";
    let said = place.ok(&format!("{train} --out dropped"));
    assert!(said.contains("of 40 labels, those of the 39 samples that are read"), "{said}");
    assert!(
        said.contains("column 4 (class) contains the labels") && said.contains("39 rows of a table of shape [3]"),
        "{said}"
    );
    place.ok("train --out dropped --resume --steps 4");
    place.ok("sample dropped --count 4 --out new.csv");
    assert!(String::from_utf8(place.read("new.csv")).unwrap().starts_with("a,b,c\n"));
    place.ok("evaluate new.csv table.csv --missing drop --labels table.csv:class");
    let said = place.ok(&format!("train ok.npy[10:30] {ALL} --config small.toml --steps 2 --out part"));
    for file in ["classes.npy: of 40 labels", "vectors.npy: of 40 vectors", "known.npy: of 40 samples"] {
        assert!(said.contains(file), "{said}");
    }
    std::fs::rename(place.path("classes.npy"), place.path("moved.npy")).unwrap();
    place.refused("train --out part --resume --steps 4", 1, &["conditions of the run", "--resume with --labels"]);
    place.ok("train --out part --resume --steps 4 --labels moved.npy");
    place.write("gaps.csv", format!("u,v\n{}", ",1\n".repeat(40)));
    let outcome = place.run("train ok.npy --condition gaps.csv --config small.toml --out gaps");
    assert!(
        outcome.code == Some(1) && outcome.err.contains("gaps.csv") && !outcome.err.contains("--missing"),
        "{outcome:?}"
    );
}

fn what_is_drawn_is_said() {
    let place = place();
    place.write("images.npy", npy("<f4", false, &[40, 1, 4, 4], &signals(640)));
    let labelled = "train images.npy --labels classes.npy --config small.toml --steps 2";
    let said = place.ok(&format!("{labelled} --out run"));
    assert!(said.contains("sample run --count 64 --class 0 --guidance 2"), "{said}");
    let said = place.ok("sample run --class 2,0 --guidance 3 --count 6 --steps 5 --out a.png");
    assert!(said.contains("10 evaluations of the network; classes 2, 0 in turn; guidance 3"), "{said}");
    let report = json(&place.ok("sample run --count 6 --steps 5 --out a.svg --json"));
    assert_eq!(
        (&report["classes"], &report["evaluations"]),
        (&serde_json::json!(["0", "1", "2"]), &5.into()),
        "{report}"
    );
    let svg = String::from_utf8(place.read("a.svg")).unwrap();
    assert!([0, 1, 2].iter().all(|class| svg.contains(&format!(">\n{class}\n<"))), "a row for each class");
    let late = place.run("sample run --timesteps 50,10 --count 2 --out a.npy");
    assert!(late.code == Some(0) && late.err.contains("starts at 50"), "{late:?}");
    assert!(!place.run("sample run --timesteps 999,10 --count 2 --out a.npy").err.contains("starts"));
    let never = place.run(&format!("{labelled} --label-dropout 1 --out never"));
    assert!(never.code == Some(0) && never.err.contains("--label-dropout 1 removes every condition"), "{never:?}");
    place.refused("train ok.npy --label-dropout 0.2 --out x", 2, &["--label-dropout needs a condition"]);
    place.refused("train ok.npy --label-header yes --out x", 2, &["--label-header needs --labels"]);
    place.refused("train ok.npy --config small.toml --micro-batch 16 --out x", 2, &["--micro-batch 16 has no effect"]);
    // The known values of whole samples are not those of windows.
    let said = place.ok("train ok.npy --given ok.npy --crop 4 --config small.toml --steps 2 --out cut");
    assert!(said.contains("sample cut --given WINDOWS --seed"), "{said}");
    let said = place.ok("evaluate ok.npy ok.npy --permutations 5");
    assert!(said.contains("no p-value can be below 0.1667"), "{said}");
    assert!(!place.ok("evaluate ok.npy ok.npy").contains("no p-value"));
}

/// A run without conditions, and a conditional one, with a guide of fewer steps.
fn a_run_is_guided_by_a_weaker_one(on: On) {
    let place = place();
    for labels in ["", "--labels classes.npy"] {
        let train = format!("train ok.npy --config small.toml {labels} --device {on} --no-samples --force");
        place.ok(&format!("{train} --steps 40 --out run"));
        place.ok(&format!("{train} --steps 5 --seed 3 --step-encoding fourier --out weak"));
        let draw = format!("sample run --count 5 --steps 4 --device {on}");
        place.ok(&format!("{draw} --out plain.npy"));
        let said = place.ok(&format!("{draw} --guide weak --guidance 2 --out guided.npy"));
        assert!(said.contains("4 evaluations of the network and 4 of its guide weak"), "{said}");
        assert!(said.contains("guidance 2"), "{said}");
        assert!(place.read("guided.npy") != place.read("plain.npy"), "the guide has no effect");
        let more = "--guidance-interval 100,900 --guidance-rescale 0.7 --sampler heun --trace trace.svg --json";
        let report = json(&place.ok(&format!("{draw} --guide weak --guidance 2 {more} --out other.npy")));
        assert!(place.read("other.npy") != place.read("guided.npy"));
        let said = ["guide", "guidance", "evaluations", "guide_evaluations"].map(|key| report[key].clone());
        assert_eq!(serde_json::json!(said), serde_json::json!(["weak", 2.0, 7, 7]), "{report}");
        let report = json(&place.ok(&format!("{draw} --guide weak --guidance 1 --out one.npy --json")));
        assert!(report["evaluations"] == 4 && report["guide_evaluations"] == 0, "{report}");
        assert!(place.read("one.npy") == place.read("plain.npy"), "1 is no guidance");
    }
}

fn guides_that_do_not_fit_are_refused() {
    let place = place();
    place.train("ok.npy", "run");
    place.write("long.npy", npy("<f4", false, &[40, 16], &signals(640)));
    place.train("long.npy", "long");
    place.ok("train ok.npy --config small.toml --steps 10 --out flow --objective flow");
    place.ok("train ok.npy --config small.toml --steps 10 --out classes --labels classes.npy");
    let draw = "sample run --out a.npy --count 3";
    place.refused(&format!("{draw} --guide run"), 2, &["--guidance"]);
    place.refused(&format!("{draw} --guide nowhere --guidance 2"), 1, &["nowhere does not exist"]);
    place.refused(&format!("{draw} --guide long --guidance 2"), 2, &["--guide does not fit", "[16]", "[8]"]);
    place.refused(&format!("{draw} --guide flow --guidance 2"), 2, &["straight path", "linear", "--objective"]);
    place.refused(&format!("{draw} --guide classes --guidance 2"), 2, &["conditioned on classes", "--labels"]);
    place.refused(&format!("{draw} --guidance 2"), 2, &["guidance needs a conditional model", "--guide"]);
    // A guide may lack conditions.
    place.ok("sample classes --out a.npy --count 3 --guide run --guidance 2");
}
