//! `langevin noise`: every kind on every sort of data, pictures, and what is refused.

use crate::common::{Test, always, named, no_sample_data, sample_data, unless};
use crate::support::{Place, npy};

pub fn tests() -> Vec<Test> {
    let mut tests =
        unless(no_sample_data(), named![noise_is_added_in_the_units_of_the_data, the_forward_process_is_a_film_strip,]);
    tests.extend(always(named![
        noise_follows_the_seed,
        noise_that_means_nothing_is_refused,
        no_file_is_overwritten_that_was_not_named,
        pictures_say_what_they_show,
        a_denoiser_is_trained_and_used,
        a_denoiser_in_parts_is_followed_on_held_out_data,
        a_diffusion_run_denoises,
    ]));
    tests
}

fn noise_is_added_in_the_units_of_the_data() {
    let place = Place::new();
    let digits = sample_data("digits8x8.npy");
    for kind in ["gaussian:0.1", "uniform:0.3", "speckle:0.2", "salt_pepper:0.05:0.5", "poisson:30", "jpeg:20"] {
        let said = place.ok(&format!("noise {digits} --kind {kind} --out noisy.npy"));
        assert!(said.contains("1797 samples of shape [1, 8, 8], PSNR"), "{said}");
        assert!(place.read("noisy-compare.svg").ends_with(b"</svg>\n"));
        if kind != "jpeg:20" {
            place.ok(&format!("noise ok.npy --kind {kind} --out ok.csv"));
            place.ok(&format!("noise moons --kind {kind} --out moons.png"));
        }
    }
    let said = place.ok(&format!("noise {digits} --kind salt_pepper --strength 0.2 --out noisy.svg"));
    for words in ["10% of the values become 1 (salt", "10% become 0 (pepper", "some texts call salt_pepper shot noise"]
    {
        assert!(said.contains(words), "no {words:?} in: {said}");
    }
    let report = place.ok(&format!("noise {digits} --kind poisson:255 --out noisy.npy --json"));
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!((report["kind"].as_str(), report["shape"][0].as_u64()), (Some("poisson:255"), Some(1797)));
    assert!(report["psnr"].as_f64().unwrap() > 20.0, "{report}");
}

fn noise_follows_the_seed() {
    let place = Place::new();
    let noisy = |seed: u32| {
        place.ok(&format!("noise ok.npy --kind gaussian:0.1 --seed {seed} --out a.npy"));
        place.read("a.npy")
    };
    assert_eq!(noisy(1), noisy(1));
    assert_ne!(noisy(1), noisy(2));
}

fn the_forward_process_is_a_film_strip() {
    let place = Place::new();
    for (data, out) in [("ok.npy", "a.svg"), ("moons", "b.png"), (&sample_data("digits8x8.npy"), "c.svg")] {
        let said = place.ok(&format!("noise {data} --steps 5 --schedule cosine --out {out}"));
        assert!(said.contains("6 pictures from t = 0 to 1000") && said.contains("N(0, beta_t)"), "{said}");
        assert!(place.read(out).len() > 1_000);
    }
}

fn noise_that_means_nothing_is_refused() {
    let place = Place::new();
    place.write("flat.npy", npy("<f4", false, &[20, 8], &[0; 640]));
    for (options, code, words) in [
        ("ok.npy --kind shot:3 --out a.npy", 2, &["unknown noise \"shot\"", "poisson"][..]),
        ("ok.npy --kind gaussian --out a.npy", 2, &["no strength", "gaussian:0.1"]),
        (
            "ok.npy --kind gaussian:0.1 --strength 2 --out a.npy",
            2,
            &["set the strength only once, as --kind gaussian:0.1 or"],
        ),
        ("ok.npy --kind nope --strength 1 --out a.npy", 2, &["unknown noise \"nope\"", "poisson"]),
        ("ok.npy --kind gaussian:1 --schedule cosine --out a.npy", 2, &["--schedule", "cannot be used with"]),
        ("ok.npy --steps 3 --strength 1 --out a.npy", 2, &["--strength", "cannot be used with"]),
        ("ok.npy --kind gaussian:-1 --out a.npy", 2, &["-1", "0 to 3.403e38"]),
        ("ok.npy --kind gaussian:1e39 --out a.npy", 2, &["1e39", "0 to 3.403e38"]),
        ("ok.npy --kind gaussian:3e38 --out a.npy", 1, &["gaussian:3e38", "a smaller strength"]),
        ("ok.npy --kind jpeg:20 --out a.npy", 2, &["jpeg:20 needs images", "[8]"]),
        ("ok.npy --kind jpeg:0 --out a.npy", 2, &["1 to 100"]),
        ("flat.npy --kind poisson:3 --steps 3 --out a.npy", 2, &["cannot be used with"]),
        ("ok.npy --steps 3 --out a.npy", 2, &[".png or .svg"]),
        ("ok.npy --steps 100 --out a.svg", 2, &["1 to 64"]),
        ("ok.npy --steps 3 --schedule square --out a.svg", 2, &["unknown schedule", "cosine"]),
        ("ok.npy --kind poisson:3 --out a.txt", 2, &[".npy, .csv"]),
        ("missing.npy --kind poisson:3 --out a.npy", 1, &["no such file"]),
    ] {
        place.refused(&format!("noise {options}"), code, words);
        assert!(!place.path("a.npy").exists() && !place.path("a-compare.svg").exists(), "{options}");
    }
    place.ok("noise flat.npy --kind poisson:3 --out a.npy");
}

/// The data that are read, and a file of the user's that the comparison would replace.
fn no_file_is_overwritten_that_was_not_named() {
    let place = Place::new();
    place.write("mine-compare.svg", "<svg>my own</svg>");
    place.train("ok.npy", "run");
    for (command, words) in [
        (
            "noise ok.npy --kind gaussian:1 --out ok.npy",
            &["ok.npy: would overwrite the input data", "another --out"][..],
        ),
        ("noise ok.npy[3:9] --kind gaussian:1 --out ../W/ok.npy", &["would overwrite the input data"]),
        ("noise ok.npy --kind gaussian:1 --out mine.npy", &["mine-compare.svg", "another file of this name"]),
        ("denoise run moons --out mine.npy", &["mine-compare.svg", "another file of this name"]),
        ("denoise run ok.npy --out ok.npy", &["would overwrite the input data"]),
        ("denoise run moons --compare ok.npy --out ok.npy", &["would overwrite the input data"]),
        ("sample run --out ok.npy", &["would overwrite the input data"]),
    ] {
        let here = place.path("").file_name().unwrap().to_str().unwrap().to_string();
        let before = place.list("");
        place.refused(&command.replace("/W/", &format!("/{here}/")), 2, words);
        assert_eq!(place.list(""), before, "{command}");
    }
    assert_eq!(place.read("mine-compare.svg"), b"<svg>my own</svg>");
    for _ in 0..2 {
        place.ok("noise ok.npy --kind gaussian:1 --out other.npy");
    }
    for command in ["noise", "denoise"] {
        assert!(place.ok(&format!("{command} --help")).contains("F-compare.svg"));
    }
}

fn pictures_say_what_they_show() {
    let place = Place::new();
    let said = place.ok("noise ok.npy --kind gaussian:1 --out a.svg");
    assert!(said.contains("the first 16 of 40 samples of shape [8]"), "{said}");
    assert!(place.ok("noise ok.npy[0:1] --kind gaussian:1 --out a.svg").contains("1 sample of shape"));
    // One sample is enough for its own forward process; 21 pictures take two rows.
    let said = place.ok("noise ok.npy[0:1] --steps 20 --out a.png");
    assert!(said.contains("11 per row") && said.contains("t = 0, 50, 100"), "{said}");
    place.train("ok.npy", "run");
    let said = place.ok("sample run --count 30 --steps 3 --out b.png");
    assert!(said.contains("the first 16 of 30 samples of shape [8]"), "{said}");
    let report: serde_json::Value =
        serde_json::from_str(&place.ok("sample run --count 30 --steps 3 --out b.png --json")).unwrap();
    assert_eq!((report["held"].as_u64(), report["shape"][0].as_u64()), (Some(16), Some(30)));
}

fn a_denoiser_is_trained_and_used() {
    let place = Place::new();
    place.ok("noise ok.npy[30:40] --kind gaussian:0.3 --out noisy.npy");
    let options = "--task denoise --noise gaussian:0.3 --config small.toml";
    let said = place.ok(&format!("train ok.npy[0:30] {options} --steps 20 --out run"));
    for words in ["learns to remove the noise gaussian:0.3", "best median filter", "langevin denoise run NOISY"] {
        assert!(said.contains(words), "no {words:?} in: {said}");
    }
    let config = String::from_utf8(place.read("run/config.toml")).unwrap();
    assert!(config.contains("task = \"denoise\"") && config.contains("noise = \"gaussian:0.3\""), "{config}");
    place.ok("train --out run --resume --steps 30");
    place.ok(&format!("train ok.npy[0:30] {options} --steps 30 --out whole"));
    assert!(place.read("run/checkpoint.safetensors") == place.read("whole/checkpoint.safetensors"));

    let said = place.ok("denoise run noisy.npy --compare ok.npy[30:40] --out clean.npy");
    for words in
        ["10 samples of shape [8]", "PSNR: noisy", "best Gaussian filter", "noisy, denoised and clean side by side"]
    {
        assert!(said.contains(words), "no {words:?} in: {said}");
    }
    let report = place.ok("denoise run noisy.npy --compare ok.npy[30:40] --out clean.csv --json");
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert!(report["compare"]["denoised"].is_number() && report["start"].is_null(), "{report}");
    for (command, code, words) in [
        ("denoise run noisy.npy --steps 3 --out a.npy", 2, &["need a diffusion model"][..]),
        ("denoise run moons --out a.npy", 1, &["[2]", "[8]"]),
        ("denoise run noisy.npy --compare ok.npy --out a.npy", 1, &["not pairs", "10", "40"]),
        ("denoise run noisy.npy --best --out a.npy", 2, &["no best.safetensors", "--keep-best"]),
        ("denoise none noisy.npy --out a.npy", 1, &["does not exist"]),
        ("denoise run noisy.npy --out a.txt", 2, &[".npy, .csv"]),
        ("sample run --out a.npy", 2, &["is a denoiser", "langevin denoise"]),
        ("train ok.npy --task denoise --out new", 2, &["--noise gaussian:0.1"]),
        ("train ok.npy --noise gaussian:0.1 --out new", 2, &["--task denoise"]),
        ("train ok.npy --task clean --out new", 2, &["unknown task", "denoise"]),
        ("train ok.npy --task denoise --noise gaussian:1 --schedule cosine --out new", 2, &["--schedule", "omit it"]),
        ("train ok.npy --validation-every 3 --out new", 2, &["--validation 0.1"]),
        ("train ok.npy --task denoise --noise jpeg:5 --out new", 2, &["jpeg:5 needs images"]),
        ("train --out run --resume --noise gaussian:0.1", 2, &["keeps its settings"]),
    ] {
        place.refused(command, code, words);
        assert!(!place.path("new").exists(), "{command} left a run folder");
        assert!(!place.path("a.npy").exists(), "{command} left samples");
    }
}

/// Held-out data and a batch in parts, stopped and resumed: the same bytes as without a stop.
fn a_denoiser_in_parts_is_followed_on_held_out_data() {
    let place = Place::new();
    let options = "--task denoise --noise salt_pepper:0.1 --config small.toml --micro-batch 6 --validation 0.25";
    let train = format!("train ok.npy {options} --validation-every 10 --keep-best");
    let said = place.ok(&format!("{train} --steps 20 --out run"));
    for words in [
        "10 samples held out, 30 trained on",
        "summed over micro-batches of 6",
        "learns to remove the noise salt_pepper:0.1",
    ] {
        assert!(said.contains(words), "no {words:?} in: {said}");
    }
    place.ok("train --out run --resume --steps 40");
    place.ok(&format!("{train} --steps 40 --out whole"));
    for file in ["checkpoint.safetensors", "best.safetensors"] {
        assert!(place.read(&format!("run/{file}")) == place.read(&format!("whole/{file}")), "{file}");
    }
    let losses = |run: &str| -> Vec<String> {
        let metrics = String::from_utf8(place.read(&format!("{run}/metrics.csv"))).unwrap();
        assert!(metrics.starts_with("step,loss,lr,samples_per_second,validation\n"), "{metrics}");
        metrics.lines().map(|row| row.rsplit(',').next().unwrap().to_string()).collect()
    };
    assert_eq!(losses("run"), losses("whole"));
    place.ok("denoise run ok.npy --best --out best.npy");
    std::fs::copy(place.path("run/best.safetensors"), place.path("run/checkpoint.safetensors")).unwrap();
    place.ok("denoise run ok.npy --out last.npy");
    assert!(place.read("best.npy") == place.read("last.npy"));
}

fn a_diffusion_run_denoises() {
    let place = Place::new();
    place.train("ok.npy", "run");
    place.ok("noise ok.npy --kind gaussian:0.3 --out noisy.npy");
    let said = place.ok("denoise run noisy.npy --out clean.npy --noise-level 0.3 --steps 4");
    assert!(said.contains("noise level 0.3 (given)") && said.contains("4 steps of ddim"), "{said}");
    let said = place.ok("denoise run noisy.npy --out clean.npy --noise-level 0.3 --steps 100000000000");
    let t: usize = said.split("starts at t = ").nth(1).unwrap().split(',').next().unwrap().parse().unwrap();
    assert!(said.contains(&format!("{} steps (100000000000 were requested)", t + 1)), "{said}");
    assert!(place.ok("denoise run noisy.npy --out clean.npy --noise-level 0.3").contains("1 step of ddim"));
    let said = place.ok("denoise run noisy.npy --out clean.npy --compare ok.npy");
    assert!(said.contains("(estimated)") && said.contains("PSNR"), "{said}");
    place.refused("denoise run noisy.npy --out clean.npy --noise-level 0", 2, &["noise level of 0"]);
    let edm = "denoise run noisy.npy --out clean.npy --noise-level 0.3 --steps 4 --sampler edm";
    place.refused(edm, 2, &["edm", "adds noise before its first step", "use heun"]);
    place.ok("denoise run noisy.npy --out clean.npy --noise-level 0.3 --steps 4 --sampler heun");
    place.refused(
        "denoise run noisy.npy --out clean.npy --noise-level 1e9",
        2,
        &["noise level of 1000000000", "grows to"],
    );
    place.train("moons", "points");
    place.refused("denoise points moons --out clean.npy", 1, &["cannot be estimated", "--noise-level 0.1"]);
    place.ok("denoise points moons --out clean.npy --noise-level 0.1");
}
