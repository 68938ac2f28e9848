//! Data as people have them: every command reads them with the same options, and says what it read.

use langevin::data::{Dataset, Kind};
use langevin::train::RunFolder;

use crate::common::{Test, always, named};
use crate::support::{Place, npy, signals};

pub fn tests() -> Vec<Test> {
    always(named![
        data_are_described,
        names_offsets_and_whole_numbers_return,
        columns_of_all_scales_are_learnt,
        channels_have_their_own_scales,
        a_run_remembers_how_its_data_were_read,
        a_run_on_a_table_that_was_read_as_signals_is_resumed,
        options_are_checked,
        arrays_of_an_archive_are_selected,
    ])
}

/// 200 rows: a timestamp, a small number, a whole number, and a category that is text.
fn table() -> String {
    let row = |i: usize| {
        let (t, small, n) = (1_700_000_000.0 + 0.25 * i as f64, 0.001 * (i as f64 * 0.7).sin(), i * 7 % 13);
        format!("{i},{t},{small},{n}\n")
    };
    ",time,small,n\n".to_string() + &(0..200).map(row).collect::<String>()
}

fn data_are_described() {
    let place = Place::new();
    place.write("a.csv", table());
    let said = place.ok("inspect a.csv");
    for words in [
        "200 rows of a table of shape [3] from a.csv (CSV table with a header, separated by commas)",
        "the first column has no name and counts the rows; it is left out (otherwise: --columns 1,",
        "because the columns have names (otherwise: --kind signals)",
        "column time is read relative to 1700000",
        "3 columns (time, small, n)",
        "1700000049.75",
        "whole numbers",
    ] {
        assert!(said.contains(words), "no {words:?} in: {said}");
    }
    let json: serde_json::Value = serde_json::from_str(&place.ok("inspect a.csv --json")).unwrap();
    assert_eq!((json["samples"].as_u64(), json["kind"].as_str()), (Some(200), Some("table")));
    assert_eq!(json["columns"][0]["max"].as_f64(), Some(1_700_000_049.75));
    // Every command that reads says the same.
    let first = said.lines().next().unwrap();
    assert!(place.ok("noise a.csv --kind gaussian:0.1 --out b.csv").contains(first));
    assert!(place.train("a.csv", "run").contains(first));
    assert!(place.ok("evaluate b.csv a.csv").contains(first));
    place.write("signals.npy", npy("<f4", false, &[20, 3, 32], &signals(20 * 96)));
    assert!(place.ok("inspect signals.npy").contains("--kind images for images 3 pixels high"));
    assert!(place.ok("noise signals.npy --kind gaussian:0.1 --out q.npy").contains("--data-kind images"));
}

fn names_offsets_and_whole_numbers_return() {
    let place = Place::new();
    place.write("a.csv", table());
    place.train("a.csv", "run");
    let said = place.ok("sample run --count 50 --steps 5 --out b.csv");
    let text = String::from_utf8(place.read("b.csv")).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("time,small,n"));
    for line in lines {
        let fields: Vec<&str> = line.split(',').collect();
        let number = |i: usize| fields[i].parse::<f64>().unwrap();
        assert!((1_700_000_000.0..=1_700_000_049.75).contains(&number(0)), "{line}");
        assert!(number(1).abs() <= 0.001 && !fields[2].contains('.') && (0.0..=12.0).contains(&number(2)), "{line}");
    }
    assert!(said.contains("% of the values were clipped") || !said.contains("clipped"), "{said}");
    // A number that float32 cannot hold returns exactly.
    place.ok("noise a.csv --kind gaussian:0 --out c.csv");
    let text = String::from_utf8(place.read("c.csv")).unwrap();
    assert_eq!(text.lines().nth(4).unwrap().split(',').next(), Some("1700000000.75"));
    place.ok("noise a.csv --kind gaussian:0 --out c.npy");
    let path = place.path("c.npy");
    let back = Dataset::load(path.to_str().unwrap(), 0).unwrap();
    assert_eq!(f64::from(back.sample(3)[0]) + back.columns.offset[0], 1_700_000_000.75);
    place.refused("noise a.csv --kind speckle:0.1 --out c.npy", 1, &["depends on the size", "subtract"]);
}

/// Standard deviations of 0.01, 1 and 100: every column comes out with its own.
fn columns_of_all_scales_are_learnt() {
    let place = Place::new();
    // Uniform in a cube, by an additive recurrence.
    let unit = |i: usize, a: f64| ((i as f64 * a).fract() - 0.5) * 12f64.sqrt();
    let row = |i: usize| [0.01 * unit(i, 0.819_172_5), unit(i, 0.671_043_6), 100.0 * unit(i, 0.549_700_5)];
    let values: Vec<u8> = (0..1_000).flat_map(row).flat_map(|v| (v as f32).to_le_bytes()).collect();
    place.write("u.npy", npy("<f4", false, &[1_000, 3], &values));
    place.ok("train u.npy --out run --config small.toml --steps 600 --batch 64");
    place.ok("sample run --count 500 --out g.npy");
    let path = place.path("g.npy");
    let drawn = Dataset::load(path.to_str().unwrap(), 0).unwrap();
    for (column, want) in [0.01, 1.0, 100.0].into_iter().enumerate() {
        let values: Vec<f64> = (0..drawn.len()).map(|i| drawn.sample(i)[column].into()).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let std = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt();
        assert!((std / want - 1.0).abs() < 0.3, "column {column}: {std} for {want}");
        assert!(values.iter().all(|v| v.abs() <= want * 1.7321), "column {column} leaves its range");
    }
}

fn channels_have_their_own_scales() {
    let place = Place::new();
    let value = |i: usize| (i as f32 * 0.7).sin() * [0.014, 0.71, 71.0][i / 16 % 3];
    let values: Vec<u8> = (0..60 * 48).flat_map(|i| value(i).to_le_bytes()).collect();
    place.write("a.npy", npy("<f4", false, &[60, 3, 16], &values));
    let said = place.ok("train a.npy --out run --config small.toml --steps 30");
    assert!(
        said.contains("60 signals of shape [3, 16]") && said.contains("clipped to the range of each channel"),
        "{said}"
    );
    for model in ["unet", "autoencoder"] {
        place.ok(&format!("train a.npy --out {model} --model {model} --steps 2 --batch 4"));
        place.ok(&format!("sample {model} --count 2 --steps 2 --out {model}.svg"));
    }
    place.ok("denoise run a.npy --noise-level 0.1 --out d.npy");
    let facts = RunFolder::open(&place.path("run")).unwrap().checkpoint().unwrap().facts;
    assert_eq!((facts.normalisation.scale.len(), facts.normalisation.repeat, facts.range.len()), (3, 16, 3));
}

fn a_run_remembers_how_its_data_were_read() {
    let place = Place::new();
    let rows: String =
        (0..300).map(|i| format!("2020-01-01 00:00:{:02};{:.3}\n", i % 60, (i as f64 * 0.3).sin())).collect();
    place.write("a.csv", "when;v\n".to_string() + &rows.replace('.', ","));
    place.refused("train a.csv --out run", 1, &["one column of 300 values", "--window 128"]);
    let options = "--window 16 --hop 4";
    place.ok(&format!("train a.csv --out run --config small.toml --steps 30 {options}"));
    let config = String::from_utf8(place.read("run/config.toml")).unwrap();
    assert!(config.contains("[read]\nwindow = 16\nhop = 4\n"), "{config}");
    place.ok("train --out run --resume --steps 40");
    place.ok("denoise run a.csv --compare a.csv --noise-level 0.1 --out b.npy");
    place.refused("train --out run --resume --window 8", 2, &["read.window from 16 to 8"]);
    place.ok("train --config run/config.toml --out again --steps 10");
}

/// Earlier versions read every table as signals, and said so in the facts of a run.
fn a_run_on_a_table_that_was_read_as_signals_is_resumed() {
    let place = Place::new();
    place.write(
        "a.csv",
        "a,b,c\n".to_string() + &(0..40).map(|i| format!("{i},{},{}\n", i * i, i % 7)).collect::<String>(),
    );
    place.ok("train a.csv --out run --config small.toml --steps 30 --kind signals");
    let config = String::from_utf8(place.read("run/config.toml")).unwrap();
    let facts = RunFolder::open(&place.path("run")).unwrap().checkpoint().unwrap().facts;
    assert_eq!((facts.kind, facts.normalisation.scale.len()), (Kind::Signals, 1));
    assert!(config.contains("kind = \"signals\""), "{config}");
    place.ok("train --out run --resume --steps 40");
}

fn options_are_checked() {
    let place = Place::new();
    place.write("a.csv", "a,b,c\n1,2,3\n4,,6\n7,8,9\n");
    for (args, code, words) in [
        ("inspect ok.npy --header yes", 2, &["ok.npy: --header has no effect on arrays"][..]),
        ("inspect moons --window 8", 2, &["--window has no effect on built-in data sets"]),
        ("inspect a.csv --columns a,x", 2, &["no column \"x\"", "a, b, c"]),
        ("inspect a.csv", 1, &["row 2 (line 3), column 2 (b)", "--missing drop", "--missing mean"]),
        ("inspect a.csv --missing zero", 2, &["drop, mean"]),
        ("inspect ok.npy --kind pictures", 2, &["signals, points, images, table"]),
        ("inspect ok.npy --kind images", 2, &["[40, 8]", "--kind images needs [n, h, w]"]),
        ("inspect a.csv --drop-columns b --hop 4", 2, &["--hop needs --window"]),
        ("noise ok.npy --kind gaussian:1 --data-kind images --out b.npy", 2, &["--data-kind images needs"]),
    ] {
        place.refused(args, code, words);
    }
    assert!(place.ok("inspect a.csv --missing drop").contains("1 sample of 3 with 1 missing value are left out"));
    assert!(place.ok("inspect a.csv --drop-columns b").contains("points of shape [2]"));
}

fn arrays_of_an_archive_are_selected() {
    use zip::write::{SimpleFileOptions, ZipWriter};
    let place = Place::new();
    let mut archive = ZipWriter::new(std::fs::File::create(place.path("a.npz")).unwrap());
    for (name, shape) in [("labels", &[40][..]), ("images", &[40, 8, 8])] {
        archive.start_file(format!("{name}.npy"), SimpleFileOptions::default()).unwrap();
        let n = shape.iter().product();
        std::io::Write::write_all(&mut archive, &npy("<f4", false, shape, &signals(n))).unwrap();
    }
    archive.finish().unwrap();
    place.refused("inspect a.npz", 1, &["2 arrays", "a.npz:labels", "labels, images"]);
    place.refused("inspect a.npz:pictures", 1, &["no array \"pictures\"", "labels, images"]);
    assert!(place.ok("inspect a.npz:images").contains("40 images of shape [1, 8, 8] from a.npz:images"));
    assert!(place.ok("inspect a.npz:images[0:5]").contains("5 images"));
}
