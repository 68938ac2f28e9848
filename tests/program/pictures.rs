//! Tar files and folders of pictures: classes, data on disk, and what is wrong with them.

use std::fs;
use std::io::Cursor;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use image::{GrayImage, ImageFormat, Luma};

use crate::common::{Test, always, named};
use crate::support::{Outcome, Place, npy, signals};

pub fn tests() -> Vec<Test> {
    always(named![
        a_tar_file_trains_like_its_folder,
        a_bad_picture_is_named_before_the_training,
        a_picture_that_is_damaged_ends_a_training_at_its_last_checkpoint,
        many_parts_need_no_limit,
    ])
}

fn picture(size: u32, seed: u32, format: ImageFormat) -> Vec<u8> {
    let level = |x: u32, y: u32| (x * 31 + y * 17 + seed.wrapping_mul(2_654_435_761) % 97) as u8;
    let mut bytes = Cursor::new(Vec::new());
    GrayImage::from_fn(size, size, |x, y| Luma([level(x, y)])).write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// Writes a tar file.
fn tar(place: &Place, name: &str, members: impl Iterator<Item = (String, Vec<u8>)>) {
    let mut tar = tar::Builder::new(fs::File::create(place.path(name)).unwrap());
    for (name, content) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, name, &content[..]).unwrap();
    }
    tar.finish().unwrap();
}

fn losses(place: &Place, run: &str) -> String {
    let text = String::from_utf8(place.read(&format!("{run}/metrics.csv"))).unwrap();
    text.lines().map(|line| line.split(',').take(2).collect::<Vec<_>>().join(",") + "\n").collect()
}

fn a_tar_file_trains_like_its_folder() {
    let place = Place::new();
    let members =
        || (0..36).map(|i| (format!("pets/{}/{i}.png", [2, 10][i % 2]), picture(8, i as u32, ImageFormat::Png)));
    for (name, content) in members() {
        fs::create_dir_all(place.path(&name).parent().unwrap()).unwrap();
        place.write(&name, content);
    }
    tar(&place, "pets.tar", members());
    let said = place.train("pets.tar --labels pets.tar --data-from disk", "tar");
    assert!(said.contains("2 subfolders, one for each class: 2 (18), 10 (18)"), "{said}");
    assert!(said.contains("the values are read from disk during the training"), "{said}");
    place.train("pets --labels pets", "folder");
    assert_eq!(losses(&place, "tar"), losses(&place, "folder"));
    place.ok("sample tar --class 10 --count 2 --steps 2 --out ten.npy");
    // The classes keep their numbers in an array.
    place.ok("convert pets.tar c.npy --labels pets.tar");
    place.train("c.npy --kind images --labels c-labels.csv", "array");
    assert_eq!(losses(&place, "tar"), losses(&place, "array"));
    let said = place.ok("inspect pets.tar:10");
    assert!(said.contains("18 images of shape [1, 8, 8]"), "{said}");
    place.ok("evaluate pets.tar pets --labels pets");
    // Two tar files in the layout of WebDataset.
    for (name, first) in [("s-2.tar", 0), ("s-10.tar", 18)] {
        let sample = |i: usize| {
            let class = format!("{}", i % 2).into_bytes();
            [(format!("{i:03}.png"), picture(8, i as u32, ImageFormat::Png)), (format!("{i:03}.cls"), class)]
        };
        tar(&place, name, (first..first + 18).flat_map(sample));
    }
    let said = place.train("s-*.tar --labels s-*.tar --size 4", "shards");
    assert!(
        said.contains("2 tar files, 36 pictures: s-2.tar to s-10.tar") && said.contains("2 classes: 0 (18), 1 (18)"),
        "{said}"
    );
}

fn a_bad_picture_is_named_before_the_training() {
    let place = Place::new();
    let good = || picture(8, 1, ImageFormat::Png);
    tar(&place, "a.tar", [("1.png".into(), good()), ("2.png".into(), good()[..60].to_vec())].into_iter());
    for data in ["a.tar", "a.tar --data-from disk"] {
        place.refused(
            &format!("train {data} --out run"),
            1,
            &["a.tar:2.png", "not a readable picture", "replace or remove"],
        );
    }
    tar(&place, "b.tar", [("1.png".into(), good()), ("2.png".into(), picture(9, 1, ImageFormat::Png))].into_iter());
    place.refused("train b.tar --out run", 1, &["b.tar:2.png: 9 x 9 pixels", "b.tar:1.png has 8 x 8", "--size 64"]);
    tar(&place, "c.tar", [("notes.txt".into(), b"x".to_vec())].into_iter());
    place.refused("train c.tar --out run", 1, &["c.tar: a tar file without", "it contains notes.txt"]);
    place.write("d.tar.gz", b"\x1f\x8b");
    place.refused("train d.tar.gz --out run", 1, &["d.tar.gz: a compressed tar file", "gunzip -k d.tar.gz"]);
    #[cfg(not(feature = "remote"))]
    {
        place.refused("train s3://b/a.tar --out run", 1, &["s3://b/a.tar", "--features remote"]);
        let signed = place.run("train https://me:secret@h/a.npy?signature=secret --out run");
        signed.says("a signed address", &["https://h/a.npy: this program"]);
        assert!(!signed.err.contains("secret"), "{signed:?}");
    }
    place.write("t.csv", "a,b\n1,2\n3,5\n");
    place.refused("train t.csv --data-from disk --out run", 2, &["no effect on tables", "langevin convert"]);
    place.refused("inspect t.csv --data-from disk", 2, &["no effect on tables"]);
    assert!(place.ok("inspect ok.npy --data-from disk").contains("outliers are among some samples"));
    place.ok("train ok.npy --config small.toml --steps 1 --out run");
    place.refused("inspect run --data-from disk", 2, &["run: not data, but a run", "omit the options"]);
    fs::remove_dir_all(place.path("run")).unwrap();
    assert!(place.ok("inspect t.csv --columns a,b").contains("2 columns (a, b)"));
    let mut blank = place.command("inspect t.csv --columns");
    let outcome = Outcome::of(blank.arg("b, a").output().unwrap());
    assert!(outcome.out.contains("2 columns (b, a)"), "{outcome:?}");
}

/// A message for every picture that cannot be decoded; the run can be continued when the file is restored.
fn a_picture_that_is_damaged_ends_a_training_at_its_last_checkpoint() {
    let place = Place::new();
    tar(&place, "p.tar", (0..12_000).map(|i| (format!("{i}.pgm"), picture(28, i, ImageFormat::Pnm))));
    let whole = place.read("p.tar");
    let train =
        "train p.tar --data-from disk --out run --config small.toml --steps 10000000 --preview off --no-samples";
    let child = place.command(train).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let started = Instant::now();
    while !place.path("run/checkpoint.safetensors").exists() && started.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(10));
    }
    place.write("p.tar", vec![b'x'; whole.len()]);
    let outcome = Outcome::of(child.wait_with_output().unwrap());
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    let words = ["p.tar:", ".pgm", "not a readable picture", "The last checkpoint (step", "--out run --resume"];
    outcome.says("damaged", &words);
    place.write("p.tar", whole);
    let report: serde_json::Value = serde_json::from_str(&place.ok("inspect run --json")).unwrap();
    let step = report["step"].as_u64().unwrap();
    place.ok(&format!("train --out run --resume --steps {} --data-from disk", step + 20));
}

/// Each part of an array is an open file.
fn many_parts_need_no_limit() {
    let place = Place::new();
    fs::create_dir(place.path("parts")).unwrap();
    (0..100).for_each(|i| place.write(&format!("parts/{i}.npy"), npy("<f4", false, &[2, 8], &signals(16))));
    let program = place.command("train parts --data-from disk --out run --config small.toml --steps 10");
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -S -n 60; exec \"$0\" \"$@\""]).arg(program.get_program());
    shell
        .args(program.get_args())
        .current_dir(place.path("."))
        .env("LANGEVIN_DEVICE", "cpu")
        .env("LANGEVIN_CACHE", "off");
    let outcome = Outcome::of(shell.output().unwrap());
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
}
