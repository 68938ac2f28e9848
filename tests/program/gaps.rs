//! Filling gaps from the command line.

use crate::common::{Test, always, named};
use crate::support::{Place, json, npy, signals};

pub fn tests() -> Vec<Test> {
    always(named![
        gaps_of_an_array_are_filled_and_known_values_kept,
        gaps_of_a_table_are_filled_in_its_units,
        windows_of_incomplete_signals_are_trained_on,
        an_incomplete_recording_is_completed_as_a_whole,
        points_without_a_coordinate_are_completed,
        the_column_of_labels_is_left_out_of_a_table_with_gaps,
        a_run_with_masks_is_resumed,
        a_run_without_masks_says_that_it_is_weaker,
        masks_of_archives_and_ranges_are_files,
        gaps_that_do_not_fit_are_refused,
    ])
}

/// The values of a `.npy` file of float32.
fn values(bytes: &[u8]) -> Vec<f32> {
    bytes[128..].chunks(4).map(|v| f32::from_le_bytes(v.try_into().unwrap())).collect()
}

/// Forty signals with every fifth value missing.
fn gappy() -> (Vec<u8>, Vec<f32>) {
    let mut bytes = signals(320);
    for value in bytes.chunks_mut(4).step_by(5) {
        value.copy_from_slice(&f32::NAN.to_le_bytes());
    }
    let values = bytes.chunks(4).map(|v| f32::from_le_bytes(v.try_into().unwrap())).collect();
    (npy("<f4", false, &[40, 8], &bytes), values)
}

const TRAIN: &str = "train gaps.npy --task complete --config small.toml --steps 20";

fn gaps_of_an_array_are_filled_and_known_values_kept() {
    let place = Place::new();
    let (file, known) = gappy();
    place.write("gaps.npy", file);
    let said = place.ok(&format!("{TRAIN} --out run"));
    assert!(said.contains("64 missing values in 40 samples of 40 are unknown"), "{said}");
    assert!(said.contains("langevin complete run DATA"), "{said}");
    let report = json(&place.ok("complete run gaps.npy --out all --count 3 --steps 3 --json"));
    assert_eq!((&report["unknown"], &report["method"]), (&64.into(), &"learned".into()), "{report}");
    let names = ["completed.svg", "draws.npy", "mean.npy", "median.npy", "q05.npy", "q95.npy"];
    assert_eq!(place.list("all"), names);
    for name in ["mean", "median", "q05", "q95"] {
        let written = values(&place.read(&format!("all/{name}.npy")));
        assert!(written.iter().zip(&known).all(|(a, b)| b.is_nan() && a.is_finite() || a == b), "{name}");
    }
    let draws = values(&place.read("all/draws.npy"));
    assert_eq!(draws.len(), 3 * known.len());
    let (of, median) = (|k: usize| draws[8 * k], values(&place.read("all/median.npy")));
    let mut first = [of(0), of(1), of(2)];
    first.sort_by(f32::total_cmp);
    assert!(first[0] < first[2] && median[0] == first[1], "{first:?} {}", median[0]);
    // Draw i of a sample does not depend on how many are asked for.
    place.ok("complete run gaps.npy[0:1] --out one.npy --count 1 --steps 3");
    assert!((values(&place.read("one.npy"))[0] - of(0)).abs() < 1e-4);
    place.ok("complete run gaps.npy --out picture.svg --count 2 --steps 2 --mask future:0.25");
    place.ok("sample run --count 3 --steps 2 --out samples.npy");
}

fn gaps_of_a_table_are_filled_in_its_units() {
    let place = Place::new();
    let row = |i: usize| {
        let city = if i % 4 == 1 { "" } else { ["Ulm", "Bonn"][i % 2] };
        let time = if i % 5 == 2 { String::new() } else { format!("{}", 1_700_000_000.5 + i as f64) };
        format!("{time},{city},{}\n", i % 7)
    };
    place.write("gaps.csv", format!("time,city,n\n{}", (0..40).map(row).collect::<String>()));
    let train = "train gaps.csv --task complete --config small.toml --steps 20 --mask point:0.3 --out run";
    place.ok(train);
    place.ok("complete run gaps.csv --out all --count 4 --steps 3");
    let text = String::from_utf8(place.read("all/median.csv")).unwrap();
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!((rows.len(), &rows[0][..]), (41, &["time", "city", "n"][..]));
    for (i, fields) in rows[1..].iter().enumerate() {
        let want = row(i);
        let want: Vec<&str> = want.trim().split(',').collect();
        assert!(want[0].is_empty() || fields[0] == want[0], "{fields:?} {want:?}");
        assert!(if want[1].is_empty() { ["Ulm", "Bonn"].contains(&fields[1]) } else { fields[1] == want[1] });
        let time: f64 = fields[0].parse().unwrap();
        assert!((1_699_999_000.0..1_700_001_000.0).contains(&time) && fields[2] == want[2], "{fields:?}");
    }
    // A whole column may be unknown.
    place.write("future.csv", "time,city,n\n1700000003.5,,4\n1700000004.5,,5\n");
    let said = place.ok("complete run future.csv --out future --count 3 --steps 2");
    assert!(said.contains("2 samples were unknown; 3 draws of each"), "{said}");
    assert_eq!(String::from_utf8(place.read("future/draws.csv")).unwrap().lines().count(), 7);
}

fn windows_of_incomplete_signals_are_trained_on() {
    let place = Place::new();
    let (file, known) = gappy();
    place.write("gaps.npy", file);
    let said = place.ok(&format!("{TRAIN} --crop 4 --flip --validation 0.2 --out run"));
    assert!(said.contains("given, completed and real samples"), "{said}");
    let cut: Vec<f32> = known.chunks(8).flat_map(|signal| signal[2..6].to_vec()).collect();
    let bytes: Vec<u8> = cut.iter().flat_map(|v| v.to_le_bytes()).collect();
    place.write("cut.npy", npy("<f4", false, &[40, 4], &bytes));
    place.ok("complete run cut.npy --count 1 --steps 2 --out all.npy");
    let filled = values(&place.read("all.npy"));
    assert!(filled.iter().zip(&cut).all(|(a, b)| b.is_nan() && a.is_finite() || a == b));
}

fn an_incomplete_recording_is_completed_as_a_whole() {
    let place = Place::new();
    let known = |i: usize| (i as f32 * 0.4).sin() * 0.9;
    let recording: Vec<f32> = (0..70).map(|i| if (20..26).contains(&i) { f32::NAN } else { known(i) }).collect();
    let bytes = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    place.write("whole.npy", npy("<f4", false, &[70], &bytes(&(0..70).map(known).collect::<Vec<f32>>())));
    place.write("gaps.npy", npy("<f4", false, &[70], &bytes(&recording)));
    place.ok("train whole.npy --window 8 --task complete --config small.toml --batch 8 --steps 10 --out run");
    let said = place.ok("complete run gaps.npy --count 3 --steps 2 --out all");
    assert!(
        said.contains("needs --count 19 or more") && said.contains("put together from overlapping windows"),
        "{said}"
    );
    place.ok("complete run gaps.npy --count 19 --steps 2 --out one.npy");
    for file in ["all/mean.npy", "all/median.npy", "all/q05.npy", "one.npy"] {
        let filled = values(&place.read(file));
        assert_eq!(filled.len(), 70, "{file}");
        assert!(filled.iter().zip(&recording).all(|(a, b)| b.is_nan() && a.is_finite() || a == b), "{file}");
    }
    // Masks differ between windows.
    place.ok("complete run whole.npy --mask block:0.3 --count 2 --steps 2 --out windows.npy");
    assert_eq!(values(&place.read("windows.npy")).len(), 64);
    place.refused("complete run gaps.npy --out a.wav", 2, &["the data are not audio"]);
}

fn points_without_a_coordinate_are_completed() {
    let place = Place::new();
    let row = |i: usize| format!("{}{}\n", i % 7, if i % 5 == 2 { ",".into() } else { format!(",{}", i % 3) });
    place.write("gaps.csv", format!("x,y\n{}", (0..40).map(row).collect::<String>()));
    let config = String::from_utf8(place.read("small.toml")).unwrap();
    place.write("all.toml", format!("{config}\n[condition]\ndropout = 0.0\n"));
    let said = place.ok("train gaps.csv --task complete --config all.toml --steps 10 --out run");
    assert!(said.contains("\ncompleted and real samples side by side"), "{said}");
    // Nothing can be missing in a built-in data set.
    place.ok("train moons --task complete --config small.toml --steps 2 --out toy");
    place.refused("sample run --count 3 --out s.csv", 2, &["has not learned samples of which nothing is known"]);
}

fn the_column_of_labels_is_left_out_of_a_table_with_gaps() {
    let place = Place::new();
    let row =
        |i: usize| format!("{},{},{}\n", i * i % 11, if i % 5 == 2 { "".into() } else { (i % 7).to_string() }, i % 2);
    let table = |n: usize| format!("a,b,sort\n{}", (0..n).map(row).collect::<String>());
    place.write("gaps.csv", table(40));
    place.write("other.csv", table(10));
    place.ok("train gaps.csv --labels gaps.csv:sort --task complete --config small.toml --steps 10 --out run");
    for file in ["gaps.csv", "other.csv"] {
        // A second time, into the same folder.
        place.ok(&format!("complete run {file} --class 1 --count 2 --steps 2 --out filled"));
    }
    let text = String::from_utf8(place.read("filled/draws.csv")).unwrap();
    assert_eq!((text.lines().next(), text.lines().count()), (Some("a,b"), 21), "{text}");
    let said = place.ok("complete run other.csv --count 2 --steps 2 --out filled");
    assert!(said.contains("classes of the samples are taken as unknown"), "{said}");
    let said = place.ok("complete run other.csv --labels other.csv:sort --count 2 --steps 2 --out filled");
    assert!(!said.contains("taken as unknown"), "{said}");
    let wrong = "complete run gaps.csv --labels other.csv:sort --count 2 --out filled";
    place.refused(wrong, 1, &["10 labels", "40 samples"]);
    let over = "complete run other.csv --labels other.csv:sort --count 2 --steps 2 --out";
    place.refused(&format!("{over} gaps.csv"), 2, &["would overwrite the input data gaps.csv"]);
    // Such a model has learned neither samples without a class nor those of which nothing is known.
    let train = "train gaps.csv --labels gaps.csv:sort --task complete --config small.toml --steps 5 --out always";
    place.ok(&format!("{train} --label-dropout 0"));
    place.refused("complete always other.csv --out filled", 2, &["unknown class", "--labels FILE or --class"]);
}

fn masks_of_archives_and_ranges_are_files() {
    let place = Place::new();
    place.write("gaps.npy", gappy().0);
    place.write("masks.npy", npy("|u1", false, &[3, 8], &[1, 1, 1, 1, 1, 1, 0, 0].repeat(3)));
    place.ok(&format!("{TRAIN} --mask masks.npy[0:2],point:0.2 --out run --label-dropout 0.3"));
    place.refused(&format!("{TRAIN} --mask missing.npz:masks --out other"), 1, &["missing.npz"]);
    place.refused("complete run ok.npy --mask masks.npy[0:1] --count 1 --steps 2 --out masks.npy", 2, &["overwrite"]);
    place.ok("complete run ok.npy --mask masks.npy[0:1] --count 1 --steps 2 --out filled.npy");
}

fn a_run_with_masks_is_resumed() {
    let place = Place::new();
    place.write("gaps.npy", gappy().0);
    place.write("masks.npy", npy("|u1", false, &[2, 8], &[1, 0, 1, 0, 1, 0, 1, 0, 0, 0, 0, 0, 1, 1, 1, 1]));
    let train = format!("{TRAIN} --mask masks.npy,point:0.2-0.5 --validation 0.2");
    place.ok(&format!("{train} --out whole"));
    place.ok(&format!("{} --out parts", train.replace("--steps 20", "--steps 10")));
    place.ok("train --out parts --resume --steps 20");
    assert!(place.read("whole/checkpoint.safetensors") == place.read("parts/checkpoint.safetensors"));
    assert!(place.read("whole/samples/samples.npy") == place.read("parts/samples/samples.npy"));
    place.write("masks.npy", npy("|u1", false, &[1, 8], &[1, 0, 1, 0, 1, 0, 1, 1]));
    place.refused("train --out whole --resume --steps 30", 1, &["other conditions"]);
    let said = place.ok("complete whole gaps.npy --mask masks.npy --count 2 --steps 2 --out all.npy");
    assert!(said.contains("hidden values: CRPS"), "{said}");
    assert!(place.ok("inspect whole").contains("the known values of incomplete samples"));
}

fn a_run_without_masks_says_that_it_is_weaker() {
    let place = Place::new();
    place.train("ok.npy", "plain");
    let said =
        place.ok("complete plain ok.npy[0:3] --mask block:0.5 --count 2 --steps 6 --resample 2 --jump 3 --out a.npy");
    assert!(said.contains("was not trained to fill gaps") && said.contains("12 steps"), "{said}");
    let data: Vec<f32> = signals(24).chunks(4).map(|v| f32::from_le_bytes(v.try_into().unwrap())).collect();
    let done = values(&place.read("a.npy"));
    assert_eq!(done.iter().zip(&data).filter(|(a, b)| a == b).count(), 12);
    place.refused("complete plain ok.npy --mask block:0.5 --sampler ddim --out a.npy", 2, &["--resample and --jump"]);
}

fn gaps_that_do_not_fit_are_refused() {
    let place = Place::new();
    place.write("gaps.npy", gappy().0);
    let plain = "train gaps.npy --config small.toml --steps 10 --out run";
    place.refused(plain, 1, &["64 missing values", "--missing drop"]);
    place.refused(&format!("{plain} --missing keep"), 2, &["add --task complete"]);
    place.refused(&format!("{plain} --mask point:0.2"), 2, &["add --task complete, or omit --mask"]);
    place.refused(&format!("{TRAIN} --mask blok:0.3 --out run"), 2, &["unknown mask", "block:0.3"]);
    place.refused(&format!("{TRAIN} --mask none.npy --out run"), 1, &["none.npy"]);
    // No run of the sweep starts.
    place.refused(
        &format!("{TRAIN} --sweep task=complete,diffusion --out sweep"),
        1,
        &["--sweep task=diffusion", "64 miss"],
    );
    let simple = TRAIN.replace("--config small.toml", "--model simple --mask point:0.2");
    place.refused(&format!("{simple} --out run"), 2, &["the network simple cannot", "mlp or unet"]);
    place.ok(&format!("{TRAIN} --out run"));
    place.refused("complete run ok.npy --out a.npy", 1, &["no value is missing", "--mask block:0.3"]);
    place.refused("complete run gaps.npy --out gaps.npy", 2, &["would overwrite the input data"]);
    place.refused("complete run gaps.npy --out a.npy --count 0", 2, &["--count 0"]);
    place.refused("complete run gaps.npy --out a.npy --missing mean", 2, &["missing values are what is filled"]);
    place.refused("complete run gaps.npy --out a.npy --resample 3", 2, &["not trained with --task complete"]);
    place.refused("complete run gaps.npy --out ok.npy/x", 2, &["ok.npy"]);
    place.refused("denoise run gaps.npy --out a.npy", 1, &["missing value"]);
    place.refused("denoise run ok.npy --out a.npy", 2, &["langevin complete RUN DATA"]);
    place.refused("evaluate gaps.npy ok.npy --missing keep", 2, &["train --task complete"]);
    place.write("masks.npy", npy("|u1", false, &[2, 4], &[1; 8]));
    place.refused("complete run gaps.npy --mask masks.npy --out a.npy", 1, &["masks of shape [4]"]);
}
