//! What a user does on a good day.

use langevin::train::Checkpoint;

use crate::common::{Test, always, named, no_sample_data, sample_data, unless};
use crate::support::{Place, json, npy, signals};

pub fn tests() -> Vec<Test> {
    let mut tests = unless(
        no_sample_data(),
        named![
            the_main_job_in_short,
            each_term_of_a_loss_has_a_column_and_a_curve,
            pairs_are_compared_one_by_one,
            the_classes_of_samples_are_counted,
            samples_are_written_in_every_format,
        ],
    );
    tests.extend(always(named![
        a_run_starts_from_the_weights_of_another,
        a_run_may_be_called_like_its_toy,
        inspect_counts_the_chapters_model,
        json_is_all_there_is_on_standard_output,
        settings_come_from_a_file_and_options_win,
        held_out_data_have_a_column_a_curve_and_a_best_state,
        training_stops_early_when_nothing_gets_better,
        the_learning_rate_warms_up_and_falls,
        a_denoiser_is_judged_on_held_out_samples,
        only_files_that_are_there_are_named,
        other_samples_have_another_seed,
        a_denoiser_is_described_as_one,
        a_training_that_diverges_is_reported,
        messages_of_verbose_commands_are_printed,
    ]));
    tests
}

fn other_samples_have_another_seed() {
    let place = Place::new();
    let said = place.train("ok.npy", "run");
    assert!(said.contains("langevin sample run --count 64 --seed 1 --out new.npy"), "{said}");
    assert!(said.contains("drew samples in"), "{said}");
    let said = place.ok("sample run --count 40 --out new.npy");
    assert!(said.contains("40 samples of shape [8] with seed 0 in"), "{said}");
    assert!(place.read("new.npy") == place.read("run/samples/samples.npy"), "the same seed");
    place.ok("sample run --count 40 --seed 1 --out new.npy");
    assert!(place.read("new.npy") != place.read("run/samples/samples.npy"));
    let report = json(&place.ok("sample run --count 4 --seed 7 --out new.npy --json"));
    assert_eq!(report["seed"], 7);
}

fn a_denoiser_is_described_as_one() {
    let place = Place::new();
    place.ok("train ok.npy --out run --config small.toml --steps 10 --task denoise --noise salt_pepper:0.1:0.9");
    let said = place.ok("inspect run");
    assert!(said.contains("task denoise, removes the noise salt_pepper:0.1:0.9"), "{said}");
    assert!(!said.contains("predicts") && !said.contains("schedule"), "{said}");
    let config = String::from_utf8(place.read("run/config.toml")).unwrap();
    assert!(!config.contains("prediction") && !config.contains("schedule"), "{config}");
    let report = json(&place.ok("inspect run --json"));
    assert!(report["config"]["prediction"].is_null() && report["config"]["noise"] == "salt_pepper:0.1:0.9", "{report}");
    place.ok("train --out run --resume --steps 20");
}

fn a_training_that_diverges_is_reported() {
    let place = Place::new();
    let train = "train ok.npy --config small.toml --steps 60 --lr 90 --no-samples";
    let said = place.ok(&format!("{train} --out run"));
    assert!(said.contains("the training diverged. Lower --lr (it is 90)"), "{said}");
    let report = json(&place.ok(&format!("{train} --out other --json")));
    assert!(report["diverged"] == true && report["picture"].is_null(), "{report}");
    assert!(!place.path("run/samples").exists());
    assert!(!place.train("ok.npy", "good").contains("diverged"));
}

fn messages_of_verbose_commands_are_printed() {
    let place = Place::new();
    place.train("ok.npy", "run");
    for (command, words) in [
        ("train ok.npy --out other --steps 2 --batch 8 -v", &["compiled a step", "saved step 2"][..]),
        ("sample run --count 3 --steps 2 --out a.npy -v", &["3 samples in batches of 3"]),
    ] {
        let outcome = place.run(command);
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        for word in words {
            assert!(outcome.err.contains(&format!("info: {word}")), "{word}: {outcome:?}");
        }
    }
}

fn the_main_job_in_short() {
    let place = Place::new();
    let pulse = sample_data("pulse.npy");
    let said = place.ok(&format!("train {pulse} --out runs/pulse --steps 40"));
    for words in [
        "device: CPU executor",
        "1203 signals of shape [128]",
        "chosen for 1203 signals",
        "step 40/40",
        "done: 40 steps",
    ] {
        assert!(said.contains(words), "no {words:?} in: {said}");
    }
    let files = ["checkpoint.safetensors", "config.toml", "loss.svg", "metrics.csv", "samples"];
    assert_eq!(place.list("runs/pulse"), files);
    assert_eq!(place.list("runs/pulse/samples"), ["compare.svg", "samples.npy"]);
    let metrics = String::from_utf8(place.read("runs/pulse/metrics.csv")).unwrap();
    assert_eq!((metrics.lines().count(), metrics.starts_with("step,loss,lr,")), (5, true), "{metrics}");

    place.ok("sample runs/pulse --count 64 --sampler ddim --steps 10 --out new.npy");
    let new = place.read("new.npy");
    let header = String::from_utf8_lossy(&new[..128]).into_owned();
    assert!(header.contains("'<f4'") && header.contains("(64, 128"), "{header}");
    assert!(header.contains("'fortran_order': False"), "{header}");
    assert!(new.len() >= 64 * 128 * 4 + 80);
    let said = place.ok(&format!("evaluate new.npy {pulse}"));
    assert!(said.contains("64 samples against 1203") && said.contains("samples and data are told apart"), "{said}");
    assert!(!said.contains("PSNR") && !said.contains("device"), "{said}");
}

fn each_term_of_a_loss_has_a_column_and_a_curve() {
    let place = Place::new();
    let images = sample_data("mnist-1k/train-images-idx3-ubyte");
    let options = "--loss l1:1,ssim:0.1 --weighting min_snr:5";
    let said = place.ok(&format!("train {images} --out run --config small.toml --steps 20 {options}"));
    assert!(said.contains("loss: l1,ssim:0.1; weighting: min_snr:5"), "{said}");
    let metrics = String::from_utf8(place.read("run/metrics.csv")).unwrap();
    assert!(metrics.starts_with("step,loss,lr,samples_per_second,l1,ssim\n"), "{metrics}");
    let cells: Vec<f64> = metrics.lines().nth(1).unwrap().split(',').map(|cell| cell.parse().unwrap()).collect();
    assert!((cells[1] - cells[4] - 0.1 * cells[5]).abs() < 1e-5 * cells[1], "{metrics}");
    let picture = String::from_utf8(place.read("run/loss.svg")).unwrap();
    assert!(picture.contains(">\nl1\n<") && picture.contains(">\nssim\n<"));
    let config = String::from_utf8(place.read("run/config.toml")).unwrap();
    assert!(
        config.contains("[[loss]]\nname = \"ssim\"\nweight = 0.1") && config.contains("weighting = \"min_snr:5\""),
        "{config}"
    );
    place.ok("train --out run --resume --steps 30");
}

/// The name of a toy is the toy, even beside a run of that name.
fn a_run_may_be_called_like_its_toy() {
    let place = Place::new();
    place.ok("train moons --out moons --steps 10 --batch 32");
    place.ok("train --out moons --resume --steps 20");
    place.ok("sample moons --count 20 --steps 5 --out new.npy");
    assert!(place.ok("evaluate new.npy moons").contains("Wasserstein ratio"));
    place.refused("evaluate new.npy ./moons", 1, &["./moons", "a folder without PNG, JPEG"]);
}

fn pairs_are_compared_one_by_one() {
    let place = Place::new();
    let digits = sample_data("digits8x8.npy");
    let said = place.ok(&format!("evaluate {digits} {digits} --projections 8 --pairs"));
    assert!(said.contains("PSNR inf dB") && said.contains("8 x 8 are smaller"), "{said}");
    let images = sample_data("mnist-1k/train-images-idx3-ubyte");
    let report =
        json(&place.ok(&format!("evaluate {images}[0:150] {images}[0:150] --projections 8 --pairs --range 2 --json")));
    let pairs = &report["pairs"];
    assert!(pairs["psnr"].is_null() && pairs["range"] == 2.0, "{report}");
    assert!((pairs["ssim"].as_f64().unwrap() - 1.0).abs() < 1e-9, "{report}");
    assert_eq!(report["verdict"]["copies"], true, "{report}");
    place.refused("evaluate ok.npy ok.npy[0:9] --pairs", 1, &["not pairs"]);
}

/// A classifier on real digits sees that samples without the last five classes lack them.
fn the_classes_of_samples_are_counted() {
    let place = Place::new();
    let (digits, labels) = (sample_data("digits8x8.npy"), sample_data("digits8x8_labels.npy"));
    let real = format!("{digits}[0:400] --labels {labels}[0:400] --projections 8");
    let said = place.ok(&format!("evaluate {digits}[400:900] {real}"));
    for words in ["trained on 320 real samples", "on 80 held out", " class     data  samples", "mean confidence"] {
        assert!(said.contains(words), "no {words:?} in: {said}");
    }
    let report = json(&place.ok(&format!("evaluate {digits}[400:900] {real} --json")));
    let classes = &report["classes"];
    let number = |name: &str| classes[name].as_f64().unwrap_or_else(|| panic!("{name}: {report}"));
    assert!(number("accuracy") > 0.85 && number("confidence_samples") > 0.8, "{report}");
    assert!(number("distance") < 0.15 && number("floor") < 0.06, "{report}");
    assert_eq!(classes["mix"].as_array().unwrap().len(), 10);
    // The same seed, the same numbers; the classes of MNIST come from IDX.
    assert_eq!(report, json(&place.ok(&format!("evaluate {digits}[400:900] {real} --json"))));
    let mnist = ["images-idx3", "labels-idx1"].map(|part| sample_data(&format!("mnist-1k/train-{part}-ubyte")));
    let [images, labels] = &mnist;
    let of = format!("evaluate {images}[0:40] {images}[0:60] --labels {labels}[0:60] --projections 8 --json");
    assert_eq!(json(&place.ok(&of))["classes"]["mix"].as_array().unwrap().len(), 10);
}

fn samples_are_written_in_every_format() {
    let place = Place::new();
    let digits = sample_data("digits8x8.npy");
    for (data, run) in [("ok.npy", "signals"), ("moons", "points"), (digits.as_str(), "images")] {
        place.train(data, run);
        for extension in ["npy", "csv", "png", "svg"] {
            let out = format!("{run}.{extension}");
            place.ok(&format!("sample {run} --count 5 --steps 3 --out {out}"));
            let bytes = place.read(&out);
            match extension {
                "npy" => assert!(bytes.starts_with(b"\x93NUMPY")),
                "csv" => assert_eq!(bytes.iter().filter(|&&b| b == b'\n').count(), 6),
                "png" => assert!(bytes.starts_with(b"\x89PNG")),
                _ => assert!(bytes.ends_with(b"</svg>\n")),
            }
        }
    }
    place.ok("sample signals --sampler ddpm --count 3 --out ddpm.npy");
    assert!(place.list(".").iter().all(|name| !name.starts_with('.')), "{:?}", place.list("."));
}

fn inspect_counts_the_chapters_model() {
    let place = Place::new();
    place.ok("train sine --model chapter --steps 2 --batch 8 --out run");
    let said = place.ok("inspect run");
    for words in [
        "fc1.weight",
        "[128, 228]",
        "fc2.bias",
        "42 212",
        "(B, 128)",
        "at the peak",
        "parameters 168 848",
        "optimizer 337 696",
    ] {
        assert!(said.contains(words), "no {words:?} in: {said}");
    }
    let report = json(&place.ok("inspect run/checkpoint.safetensors --json"));
    assert_eq!((&report["parameters"], &report["step"]), (&42_212.into(), &2.into()));
    let foreign = format!("{}/tests/golden/model_mlp.safetensors", env!("CARGO_MANIFEST_DIR"));
    assert!(place.ok(&format!("inspect {foreign}")).contains("fc1.weight"));
}

fn json_is_all_there_is_on_standard_output() {
    let place = Place::new();
    let trained = json(&place.ok("train ok.npy --out run --config small.toml --steps 20 --json"));
    assert_eq!((&trained["steps"], trained["loss"].is_f64()), (&20.into(), true));
    assert_eq!(json(&place.ok("sample run --count 6 --out a.npy --json"))["shape"], serde_json::json!([6, 8]));
    let report = json(&place.ok("evaluate a.npy ok.npy --json"));
    assert!(report["energy"]["p"].is_f64() && report["sliced"]["ratio"].is_f64(), "{report}");
    assert!(report["pairs"].is_null() && report["verdict"]["outcome"].is_string(), "{report}");
    assert!(json(&place.ok("devices --json"))["adapters"].is_array());
    let lines = place.ok("selftest --json");
    assert_eq!(json(lines.lines().next().unwrap())["target"]["software"], false);
    assert!(lines.lines().count() > 5 && lines.lines().all(|line| json(line)["failures"] == serde_json::json!([])));
}

fn settings_come_from_a_file_and_options_win() {
    let place = Place::new();
    place.train("ok.npy", "first");
    place.ok("train --config first/config.toml --out second --lr 0.5 --model chapter");
    let report = json(&place.ok("inspect second --json"));
    let (config, model) = (&report["config"], &report["config"]["model"]);
    assert_eq!((&config["lr"], &config["batch"], &config["steps"]), (&0.5.into(), &16.into(), &30.into()));
    assert_eq!((&model["name"], &model["width"]), (&"chapter".into(), &16.into()));
}

fn held_out_data_have_a_column_a_curve_and_a_best_state() {
    let place = Place::new();
    let said = place.ok(
        "train ok.npy --out run --config small.toml --steps 40 --validation 0.25 --validation-every 10 --keep-best",
    );
    for words in ["10 samples held out, 30 trained on", "averaged weights", "the lowest was"] {
        assert!(said.contains(words), "no {words:?} in: {said}");
    }
    let metrics = String::from_utf8(place.read("run/metrics.csv")).unwrap();
    assert!(metrics.starts_with("step,loss,lr,samples_per_second,validation\n"), "{metrics}");
    assert!(String::from_utf8(place.read("run/loss.svg")).unwrap().contains("validation"));
    place.ok("sample run --best --count 3 --steps 3 --out best.npy");
    place.train("ok.npy", "plain");
    place.refused("sample plain --best --out best.npy", 2, &["best.safetensors", "--keep-best"]);
    place.refused("train ok.npy --out x --early-stop 3", 2, &["early_stop", "--validation 0.1"]);
    place.refused("train ok.npy --out x --validation 1", 2, &["validation is 1", "0.1"]);
}

fn training_stops_early_when_nothing_gets_better() {
    let place = Place::new();
    // A rate so low that the weights do not change in f32, and no average: every evaluation is the same.
    place.write("still.toml", "lr = 1e-30\nema = 0\n[model]\nwidth = 16\ndepth = 1\nencoding = 8\n");
    let options = "--config still.toml --steps 500 --validation 0.2 --validation-every 10 --early-stop 3";
    let said = place.ok(&format!("train ok.npy --out run {options}"));
    assert!(said.contains("stopped early at step 40"), "{said}");
    let words = "stopped early at step 40: the validation loss did not improve in 3 evaluations; to continue anyway: \
                 --resume --early-stop 6";
    assert!(place.ok("train --out run --resume").contains(words));
    // More steps alone do not make it go on, and leave everything as it is.
    let before = place.read("run/config.toml");
    place.refused("train --out run --resume --steps 600", 2, &[words]);
    assert!(place.read("run/config.toml") == before);
    assert!(place.ok("train --out run --resume --early-stop 6").contains("stopped early at step 70"));
    assert!(place.ok("train --out run --resume --early-stop 0 --steps 90").contains("done: 90 steps"));
}

fn the_learning_rate_warms_up_and_falls() {
    let place = Place::new();
    place.ok("train ok.npy --out run --config small.toml --steps 30 --decay cosine --warmup 5");
    let config = &json(&place.ok("inspect run --json"))["config"];
    assert_eq!(config["decay"]["cosine"], serde_json::json!({"warmup": 5, "total": 30}));
    // More steps would be at a rate of 0; a new run with more of them stretches the decay.
    place.refused("train --out run --resume --steps 40", 2, &["40 steps", "falls to 0 at step 30", "another --out"]);
    assert!(place.ok("train --out run --resume").contains("need a new run"));
    place.ok("train --config run/config.toml --out longer --steps 40");
    let config = &json(&place.ok("inspect longer --json"))["config"];
    assert_eq!(config["decay"]["cosine"], serde_json::json!({"warmup": 5, "total": 40}));
    place.refused("train ok.npy --out x --decay linear", 2, &["linear", "cosine"]);
    place.refused("train ok.npy --out x --decay constant --warmup 5", 2, &["--warmup"]);
    let said =
        place.ok("train ok.npy --out parts --config small.toml --steps 20 --micro-batch 4 --optimizer sgd_momentum");
    assert!(said.contains("summed over micro-batches of 4"), "{said}");
}

fn a_denoiser_is_judged_on_held_out_samples() {
    let place = Place::new();
    let train = "train ok.npy --config small.toml --steps 20 --task denoise --noise gaussian:0.3";
    let said = place.ok(&format!("{train} --out run --validation 0.25"));
    for words in
        ["done: 20 steps in", "loss ", "validation loss of the averaged weights", "on the held-out samples with"]
    {
        assert!(said.contains(words), "no {words:?} in: {said}");
    }
    let report = json(&place.ok(&format!("{train} --out other --validation 0.25 --json")));
    for name in ["loss", "validation", "seconds"] {
        assert!(report[name].is_f64(), "{name}: {report}");
    }
    assert_eq!((&report["held_out"], &report["best"]["step"]), (&true.into(), &20.into()));
    // 10 of the 40 samples.
    let samples = place.read("run/samples/samples.npy");
    assert!(String::from_utf8_lossy(&samples[..128]).contains("(10, 8"));
    let said = place.ok(&format!("{train} --out all"));
    assert!(said.contains("on the training data with") && !said.contains("validation loss"), "{said}");
}

fn only_files_that_are_there_are_named() {
    let place = Place::new();
    let said = place.ok("train ok.npy --out one --config small.toml --steps 10");
    assert!(said.contains("run folder: one (config.toml, metrics.csv, checkpoint.safetensors)"), "{said}");
    let said = place.ok("train --out one --resume --steps 20");
    assert!(said.contains("run folder: one (config.toml, metrics.csv, checkpoint.safetensors, loss.svg)"), "{said}");
}

fn a_run_starts_from_the_weights_of_another() {
    let place = Place::new();
    place.train("ok.npy", "run");
    place.write("other.npy", npy("<f4", false, &[60, 8], &signals(60 * 8)));
    let said = place.ok("train other.npy --init run --out new --lr 1e-30 --loss l1 --steps 5 --no-samples");
    assert!(said.contains("the weights are those of run after 30 steps"), "{said}");
    let settings = String::from_utf8(place.read("new/config.toml")).unwrap();
    assert!(settings.contains("init = \"run\"") && settings.contains("width = 16"), "{settings}");
    // At a rate that changes nothing, the run has the averaged weights of the other one.
    place.ok("train --out new --resume --steps 6");
    place.refused("train --out new --resume --init other --steps 7", 2, &["init"]);
    let [run, new] = ["run", "new"]
        .map(|run| Checkpoint::load(&place.path(&format!("{run}/checkpoint.safetensors"))).unwrap().tensors);
    let averaged = run.iter().filter_map(|t| Some((t.name.strip_prefix("ema.")?, &t.values)));
    for (name, values) in averaged {
        assert_eq!(&new.iter().find(|t| t.name == name).unwrap().values, values, "{name}");
    }

    place.write("wide.npy", npy("<f4", false, &[40, 16], &signals(40 * 16)));
    let words = ["--init run", "samples of shape [8]", "wide.npy have shape [16]"];
    place.refused("train wide.npy --init run --out x", 2, &words);
    place.write("wide.toml", "[model]\nwidth = 32\ndepth = 1\nencoding = 8\n");
    let words = ["--init run", "another network (model.width: 16 and 32)"];
    place.refused("train ok.npy --init run --config wide.toml --out x", 2, &words);
    place.refused("train ok.npy --init run --model unet --out x", 2, &["--model unet", "network of run is mlp"]);
    place.refused("train ok.npy --init missing --out x", 1, &["missing does not exist"]);
    assert!(!place.path("x").exists());
}
