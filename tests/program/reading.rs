//! Data as people have them: every command reads them with the same options, and says what it read.

use langevin::data::{Dataset, Kind};
use langevin::train::RunFolder;

use crate::common::{Test, always, named};
use crate::support::{Place, json, npy, signals};

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
        outliers_are_clipped,
        categories_return_by_name,
        recordings_are_denoised_as_a_whole,
        several_recordings_are_windows,
        large_files_of_unknown_formats_are_not_read,
        subfolders_of_pictures_are_classes,
        colours_are_compressed_together,
        augmented_runs_are_resumed_and_described,
        sounds_are_drawn_at_their_rate,
        data_in_other_units_are_warned_of,
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
    place.refused("train a.csv --out run", 1, &["one column of 300 values", "--window 64"]);
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

/// One value of a million: named in a warning, and clipped on request before the scale is computed.
fn outliers_are_clipped() {
    let place = Place::new();
    let value = |i: usize| if i == 11 * 16 + 3 { 1e6 } else { (i as f32 * 0.3).sin() };
    let values: Vec<u8> = (0..400 * 16).flat_map(|i| value(i).to_le_bytes()).collect();
    place.write("a.npy", npy("<f4", false, &[400, 16], &values));
    let said = place.ok("inspect a.npy");
    assert!(said.contains("warning: sample 11") && said.contains("--clip-outliers clips such values"), "{said}");
    let said = place.ok("train a.npy --out run --config small.toml --steps 30 --clip-outliers");
    assert!(said.contains("1 value in 1 sample clipped") && !said.contains("warning"), "{said}");
    let facts = RunFolder::open(&place.path("run")).unwrap().checkpoint().unwrap().facts;
    assert!(facts.normalisation.scale[0] < 1.0 && facts.range[0][1] < 5.0, "{facts:?}");
    assert!(String::from_utf8(place.read("run/config.toml")).unwrap().contains("clip_outliers = true"));
    place.ok("train --out run --resume --steps 40");
    // Outliers of samples are not hidden from an evaluation.
    assert!(place.ok("evaluate a.npy a.npy[12:] --clip-outliers").contains("told apart"));
    place.refused("inspect moons --clip-outliers", 2, &["--clip-outliers has no effect"]);
}

fn categories_return_by_name() {
    let place = Place::new();
    let row = |i: usize| {
        let (city, price) = [("Ulm", 10), ("Bonn", 20), ("Koeln", 30)][i * 7 % 3];
        format!("{}.5,{city},{},{}\n", i % 10, price + i % 5, if i.is_multiple_of(11) { "" } else { ["y", "n"][i % 2] })
    };
    place.write("a.csv", "size,city,price,ok\n".to_string() + &(0..220).map(row).collect::<String>());
    place.refused("train a.csv --out run", 1, &["column 4 (ok)", "20 missing values", "--missing drop"]);
    place.ok("train a.csv --out run --config small.toml --steps 600 --batch 64 --missing drop");
    let said = place.ok("sample run --count 200 --out b.csv");
    assert!(said.contains("no generated value is missing"), "{said}");
    let text = String::from_utf8(place.read("b.csv")).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("size,city,price,ok"));
    let mut near = 0;
    for line in lines {
        let fields: Vec<&str> = line.split(',').collect();
        let price: i64 = fields[2].parse().unwrap_or_else(|_| panic!("{line}"));
        let of_city = ["Ulm", "Bonn", "Koeln"].iter().position(|city| *city == fields[1]).unwrap();
        near += usize::from((10 * (of_city as i64 + 1) - 3..=10 * (of_city as i64 + 1) + 8).contains(&price));
        assert!(["y", "n"].contains(&fields[3]), "{line}");
    }
    // The price follows from the city.
    assert!(near > 120, "{near} of 200 prices are those of their city");
    let said = place.ok("evaluate b.csv a.csv --missing drop");
    assert!(said.contains("one scale for each column") && said.contains("city="), "{said}");
    place.ok("sample run --count 20 --steps 5 --out b.npy");
    place.ok("evaluate b.npy a.csv --missing drop");
    place.ok("noise a.csv --missing drop --kind gaussian:0.01 --out n.csv");
    assert!(place.read("n.csv").starts_with(b"size,city=Bonn,city=Koeln,city=Ulm,price,ok=n,ok=y\n"));
    place.ok("denoise run n.csv --noise-level 0.1 --out d.csv");
    let text = String::from_utf8(place.read("d.csv")).unwrap();
    assert!(text.starts_with("size,city,price,ok\n") && text.contains(",Koeln,"), "{text}");
    let config = String::from_utf8(place.read("run/config.toml")).unwrap();
    assert!(config.contains("[[facts.columns.categories]]"), "{config}");
    place.ok("train --out run --resume --steps 610");
}

/// Columns and audio that were cut into windows come back with all their time steps.
fn recordings_are_denoised_as_a_whole() {
    let place = Place::new();
    let wave = |i: usize| 0.4 * (i as f64 * 0.2).sin() + 0.2 * (i as f64 * 0.031).cos();
    let rows: String =
        (0..1003).map(|i| format!("2020-01-01 00:{:02}:{:02},{:.4}\n", i / 60, i % 60, wave(i))).collect();
    place.write("a.csv", format!("when,v\n{rows}"));
    place.ok(
        "train a.csv --window 16 --hop 3 --task denoise --noise gaussian:0.2 --out run --config small.toml --steps 400",
    );
    let said = place.ok("noise a.csv --window 16 --kind gaussian:0.2 --out noisy.csv");
    assert!(said.contains("a recording of 1003 time steps"), "{said}");
    let report = place.ok("denoise run noisy.csv --compare a.csv --out clean.csv --json");
    let report: serde_json::Value = serde_json::from_str(report.lines().last().unwrap()).unwrap();
    assert_eq!(report["shape"], serde_json::json!([1003, 1]));
    let column = |name: &str| -> Vec<f64> {
        let text = String::from_utf8(place.read(name)).unwrap();
        assert_eq!(text.lines().next(), Some("v"), "{name}");
        text.lines().skip(1).map(|line| line.parse().unwrap()).collect()
    };
    let error = |values: &[f64]| values.iter().enumerate().map(|(i, v)| (v - wave(i)).powi(2)).sum::<f64>() / 1003.0;
    let [noisy, clean] = ["noisy.csv", "clean.csv"].map(column);
    assert_eq!((noisy.len(), clean.len()), (1003, 1003));
    let [noise, left] = [&noisy, &clean].map(|values| error(values));
    assert!((noise.sqrt() / 0.2 - 1.0).abs() < 0.1 && left < 0.5 * noise, "{noise} becomes {left}");

    let spec =
        hound::WavSpec { channels: 1, sample_rate: 8000, bits_per_sample: 16, sample_format: hound::SampleFormat::Int };
    let mut writer = hound::WavWriter::create(place.path("a.wav"), spec).unwrap();
    (0..1003).for_each(|i| writer.write_sample((wave(i) * 32_767.0) as i16).unwrap());
    writer.finalize().unwrap();
    place.ok("noise a.wav --window 16 --kind gaussian:0.2 --out noisy.wav");
    place.ok("denoise run noisy.wav --out clean.wav");
    for name in ["noisy.wav", "clean.wav"] {
        let reader = hound::WavReader::open(place.path(name)).unwrap();
        assert_eq!((reader.spec(), reader.duration()), (spec, 1003), "{name}");
    }
    place.ok("denoise run noisy.wav --hop 16 --out clean.npy");
    assert_eq!(place.read("clean.npy").len(), 128 + 4 * 1003);
    place.ok("denoise run noisy.wav --out clean.svg");
    for (args, code, words) in [
        ("denoise run noisy.wav --hop 17 --out b.wav", 2, &["--hop 17", "at most 16"][..]),
        ("denoise run noisy.csv --out b.wav", 2, &["b.wav", "not audio", ".npy or .csv"]),
        ("noise ok.npy --kind gaussian:1 --out b.wav", 2, &["b.wav", "40 samples", ".npy or .csv"]),
        ("sample run --out b.wav", 2, &["b.wav", "not audio with a known sample rate"]),
    ] {
        place.refused(args, code, words);
    }
}

fn subfolders_of_pictures_are_classes() {
    let place = Place::new();
    for (class, from) in [("bright", 150), ("dark", 0)] {
        std::fs::create_dir_all(place.path("pictures").join(class)).unwrap();
        for i in 0..30u8 {
            let picture = image::GrayImage::from_fn(8, 8, |x, y| image::Luma([from + (x * y) as u8 + i]));
            picture.save(place.path(&format!("pictures/{class}/{i}.png"))).unwrap();
        }
    }
    let said = place.ok("inspect pictures");
    assert!(said.contains("60 images") && said.contains("one for each class: bright (30), dark (30)"), "{said}");
    place.ok("noise pictures --kind gaussian:0.01 --out b.npy");
    let said = place.ok("evaluate b.npy pictures --labels pictures");
    assert!(said.contains("accuracy 100.0%") && said.contains("bright    50.0%    50.0%"), "{said}");
    place.refused(
        "evaluate b.npy pictures --labels pictures/dark",
        1,
        &["a subfolder of pictures or sounds for each class"],
    );
}

fn colours_are_compressed_together() {
    let place = Place::new();
    let values: Vec<u8> = (0..4 * 3 * 256).map(|i| (i * i / 64 % 251) as u8).collect();
    place.write("a.npy", npy("|u1", false, &[4, 3, 16, 16], &values));
    assert!(place.ok("noise a.npy --kind jpeg:50 --out b.npy").contains("luminance and chrominance (4:2:0)"));
    assert!(place.ok("noise a.npy --kind jpeg:50:444 --out c.npy").contains("luminance and chrominance (4:4:4)"));
    assert_ne!(place.read("b.npy"), place.read("c.npy"));
    place.write("grey.npy", npy("|u1", false, &[4, 1, 16, 16], &values[..1024]));
    place.refused("noise grey.npy --kind jpeg:50:444 --out b.npy", 2, &["needs RGB images", "jpeg:50"]);
}

fn augmented_runs_are_resumed_and_described() {
    let place = Place::new();
    place.write("images.npy", npy("<f4", false, &[40, 1, 6, 6], &signals(40 * 36)));
    let train = "train images.npy --crop 4 --shift 1 --flip --config small.toml";
    let said = place.ok(&format!("{train} --out whole --steps 20"));
    assert!(said.contains("changed at random: windows of 4 at random places, shifts by up to 1"), "{said}");
    place.ok(&format!("{train} --out parts --steps 10"));
    place.ok("train --out parts --resume --steps 20");
    assert!(place.read("whole/checkpoint.safetensors") == place.read("parts/checkpoint.safetensors"));
    let said = place.ok("inspect whole");
    assert!(said.contains("images of shape [1, 4, 4]") && said.contains("augmentation: windows of 4"), "{said}");
    let report = json(&place.ok("sample whole --count 3 --out new.npy --json"));
    assert_eq!(report["shape"], serde_json::json!([3, 1, 4, 4]), "{report}");
    place.refused("denoise whole images.npy --out d.npy", 1, &["[1, 6, 6]", "windows of its data (--crop 4)"]);
    place.refused("train moons --flip --out x", 2, &["--flip", "the samples are points"]);
    place.refused("train images.npy --crop 7 --out x", 2, &["--crop 7", "use 6 or less"]);
    place.refused("train images.npy --shift 0 --out x", 2, &["--shift 0 changes nothing"]);
    place.refused("train images.npy --shift-edge wrap --out x", 2, &["--shift-edge", "--shift N"]);
}

/// Writes a sound of 64 values.
fn sound(place: &Place, name: &str, rate: u32, from: usize) {
    let spec =
        hound::WavSpec { channels: 1, sample_rate: rate, bits_per_sample: 16, sample_format: hound::SampleFormat::Int };
    let mut writer = hound::WavWriter::create(place.path(name), spec).unwrap();
    (0..64).for_each(|i| writer.write_sample((9000.0 * (0.3 * (i + from) as f64).sin()) as i16).unwrap());
    writer.finalize().unwrap();
}

fn sounds_are_drawn_at_their_rate() {
    let place = Place::new();
    std::fs::create_dir(place.path("sounds")).unwrap();
    (0..20).for_each(|i| sound(&place, &format!("sounds/{i}.wav"), 8_000, 5 * i));
    let said = place.ok("train sounds --model mlp --config small.toml --steps 4 --out run");
    assert!(said.contains("--out new.wav"), "{said}");
    let said = place.ok("sample run --count 12 --out drum.wav");
    assert!(said.contains("drum-01.wav to drum-12.wav"), "{said}");
    place.ok("sample run --count 1 --out one.wav");
    for name in ["drum-01.wav", "drum-12.wav", "one.wav"] {
        let reader = hound::WavReader::open(place.path(name)).unwrap();
        assert_eq!((reader.spec().sample_rate, reader.duration()), (8_000, 64), "{name}");
    }
    place.ok("train ok.npy --config small.toml --steps 2 --out other");
    place.refused("sample other --out a.wav", 2, &["not audio", ".npy"]);
    sound(&place, "fast.wav", 16_000, 3);
    let outcome = place.run("denoise run fast.wav --window 64 --out d.wav");
    assert!(outcome.code == Some(0) && outcome.err.contains("16000 Hz"), "{outcome:?}");
}

fn data_in_other_units_are_warned_of() {
    let place = Place::new();
    let scaled = |factor: f32| -> Vec<u8> {
        (0..320).flat_map(|i| (factor * (i as f32 * 0.7).sin().abs()).to_le_bytes()).collect()
    };
    place.write("a.npy", npy("<f4", false, &[40, 8], &scaled(1.0)));
    place.write("b.npy", npy("<f4", false, &[40, 8], &scaled(255.0)));
    place.ok("train a.npy --task denoise --noise gaussian:0.1 --config small.toml --steps 4 --out run");
    let warned = place.run("denoise run b.npy --out d.npy");
    assert!(warned.code == Some(0) && warned.err.contains("other units"), "{warned:?}");
    place.ok("noise a.npy --kind gaussian:0.5 --out noisy.npy");
    let fine = place.run("denoise run noisy.npy --out d.npy");
    assert!(fine.code == Some(0) && !fine.err.contains("units"), "{fine:?}");
}

/// Commands that write one recording as a whole write the windows of several, none of which overlap.
fn several_recordings_are_windows() {
    let place = Place::new();
    for (name, n) in [("r1.npy", 10), ("r2.npy", 9)] {
        place.write(name, npy("<f4", false, &[n], &signals(n)));
    }
    let said = place.ok("noise r?.npy --window 4 --kind gaussian:0.1 --out noisy.npy");
    for words in
        ["r1.npy: a recording of 10 time steps, cut into 2 windows of 4, one every 4", "not put together again"]
    {
        assert!(said.contains(words), "no {words:?} in: {said}");
    }
    let read = json(&place.ok("inspect noisy.npy --json"));
    assert_eq!((read["samples"].as_u64(), read["shape"][0].as_u64()), (Some(4), Some(4)));
    let said = place.ok("noise r1.npy --window 4 --kind gaussian:0.1 --out one.npy");
    assert!(said.contains("a recording of 10 time steps") && !said.contains("not put together"), "{said}");
}

/// Only the first bytes tell whether a file is a safetensors file. This one fills no disk where it has no blocks.
#[cfg(unix)]
fn large_files_of_unknown_formats_are_not_read() {
    let place = Place::new();
    place.write("large.bin", b"");
    let file = std::fs::OpenOptions::new().write(true).open(place.path("large.bin")).unwrap();
    file.set_len(1 << 40).unwrap();
    place.refused("inspect large.bin", 1, &["large.bin: unknown file format"]);
    place.train("ok.npy", "run");
    // A checkpoint, and tensors of another program, are recognised by their content.
    place.write("renamed", place.read("run/checkpoint.safetensors"));
    assert!(place.ok("inspect renamed").contains("device memory to train, with all data on the device: "));
    let header = br#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
    let foreign = [&(header.len() as u64).to_le_bytes()[..], header, &[0; 8]].concat();
    place.write("foreign", &foreign);
    assert!(place.ok("inspect foreign").contains("a safetensors file of another program, 70 bytes"));
    place.write("cut", &foreign[..69]);
    place.refused("inspect cut", 1, &["cut: unknown file format"]);
}

#[cfg(not(unix))]
fn large_files_of_unknown_formats_are_not_read() {}
