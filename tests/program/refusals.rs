//! Bad input: one paragraph with the cause and the remedy, exit code 2 for usage and 1 for failure, nothing left behind.

use std::fs;

use crate::common::{Test, always, named, no_sample_data, sample_data, unless};
use crate::support::{Outcome, Place, npy, signals};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

pub fn tests() -> Vec<Test> {
    let mut tests = unless(
        no_sample_data(),
        named![images_smaller_than_the_window_are_refused, labels_that_do_not_fit_are_refused,],
    );
    tests.extend(always(named![
        bad_data_are_named,
        addresses_are_no_places_to_write_to,
        bad_settings_are_named,
        bad_settings_files_are_named,
        a_place_that_is_taken_is_left_alone,
        a_resumed_run_keeps_its_settings,
        damaged_checkpoints_are_noticed,
        a_checkpoint_of_another_run_is_noticed,
        bad_sampling_is_refused_before_the_work,
        the_variable_of_the_device_is_named,
        names_in_files_do_not_control_the_terminal,
    ]));
    tests
}

fn the_variable_of_the_device_is_named() {
    let place = Place::new();
    let with = |variables: &[(&str, &str)], args: &str| {
        Outcome::of(place.command(args).envs(variables.iter().copied()).output().unwrap())
    };
    let noise = "noise ok.npy --kind gaussian:0.1 --out a.npy";
    let outcome = with(&[("LANGEVIN_DEVICE", "foo")], noise);
    assert_eq!(outcome.code, Some(2), "{outcome:?}");
    outcome.says("foo", &["LANGEVIN_DEVICE: unknown device \"foo\""]);
    let outcome = with(&[("LANGEVIN_DEVICE", "CPU")], noise);
    assert!(outcome.code == Some(0) && outcome.out.contains("LANGEVIN_DEVICE is CPU"), "{outcome:?}");
    let outcome = with(&[("LANGEVIN_DEVICE", "")], noise);
    assert!(outcome.code == Some(0) && outcome.out.contains("device: "), "{outcome:?}");
    let outcome = with(&[("WGPU_BACKEND", "gl")], "noise ok.npy --kind gaussian:0.1 --out a.npy --device GPU");
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    outcome.says("gl", &["no Vulkan, Metal or DX12 adapter", "WGPU_BACKEND is \"gl\""]);
}

/// Escape sequences in the names of tensors and files.
fn names_in_files_do_not_control_the_terminal() {
    let place = Place::new();
    let tensor = TensorView::new(Dtype::F32, vec![1], &[0; 4]).unwrap();
    let names = ["a\u{1b}[2J", "b\nc"].map(|name| (name, &tensor));
    place.write("foreign.safetensors", safetensors::serialize(names, None).unwrap());
    let said = place.ok("inspect foreign.safetensors");
    assert!(said.contains("a\\u001b[2J ") && said.contains("b\\u000ac "), "{said}");
    let outcome = place.run("evaluate no\u{1b}[2J.npy ok.npy");
    assert!(!outcome.err.contains('\u{1b}') && outcome.err.contains("no"), "{outcome:?}");
}

fn bad_data_are_named() {
    let place = Place::new();
    let float = |n: usize, bad: f32| [&signals(n - 1)[..], &bad.to_le_bytes()].concat();
    fs::create_dir(place.path("folder")).unwrap();
    place.write("complex.npy", npy("<c8", false, &[20, 8], &signals(320)));
    place.write("flat.npy", npy("<f4", false, &[160], &signals(160)));
    place.write("deep.npy", npy("<f4", false, &[5, 2, 2, 2, 4], &signals(160)));
    place.write("short.npy", npy("<f4", false, &[20, 8], &signals(100)));
    place.write("nan.npy", npy("<f4", false, &[20, 8], &float(160, f32::NAN)));
    place.write("inf.npy", npy("<f4", false, &[20, 8], &float(160, f32::INFINITY)));
    place.write("none.npy", npy("<f4", false, &[0, 8], &[]));
    place.write("one.npy", npy("<f4", false, &[1, 8], &signals(8)));
    place.write("same.npy", npy("<f4", false, &[20, 8], &[0; 640]));
    place.write("zero.npy", "");
    place.write("text.csv", "x,y\n".to_string() + &"1,2\n".repeat(6) + "7,seven\n8,8\n");
    place.write("nan.csv", "1,2\nnan,3\n");
    place.write("names.csv", "x,y\n");
    for (data, words) in [
        ("missing.npy", &["\"missing.npy\"", "no such file", "swissroll"][..]),
        ("folder", &["a folder without PNG, JPEG", "empty"]),
        ("complex.npy", &["complex64", "save numbers"]),
        ("flat.npy", &["160 values", "--window 32", "[n, length]"]),
        ("deep.npy", &["5 axes", "save it as"]),
        ("short.npy", &["truncated", "640 bytes", "400 bytes", "again"]),
        ("nan.npy", &["sample 19 has NaN", "--missing drop"]),
        ("inf.npy", &["infinite value", "repair"]),
        ("none.npy", &["empty", "use a file with samples"]),
        ("one.npy", &["only one sample", "at least two"]),
        ("same.npy", &["every value is 0", "check the file"]),
        ("zero.npy", &["0 bytes"]),
        ("text.csv", &["row 7 (line 8), column 2 (y)", "\"seven\" is not a number"]),
        ("nan.csv", &["row 2", "is missing", "--missing drop"]),
        ("names.csv", &["no row of numbers"]),
    ] {
        place.refused(&format!("train {data} --out run"), 1, words);
        assert!(!place.path("run").exists(), "{data} left a run folder");
    }
    place.write("turned.npy", npy("<f4", true, &[20, 8], &signals(160)));
    place.train("turned.npy", "run");
}

fn images_smaller_than_the_window_are_refused() {
    let place = Place::new();
    let digits = sample_data("digits8x8.npy");
    place.refused(&format!("train {digits} --out run --loss ssim"), 2, &["8 x 8", "11 x 11", "another loss"]);
    place.refused("train moons --out run --task denoise --noise jpeg:20", 2, &["jpeg:20 needs images", "[2]"]);
    let other = format!("{}/tests/golden/random.safetensors", env!("CARGO_MANIFEST_DIR"));
    let features = format!("train {digits} --out run --loss mse,perceptual:0.1:");
    place.refused(&format!("{features}{other}"), 1, &["no conv1.weight", "but [\"philox"]);
    place.refused(&format!("{features}missing.safetensors"), 1, &["missing.safetensors", "check the spelling"]);
    place.refused("train moons --out run --loss ssim", 2, &["loss ssim", "shape [2]"]);
    assert!(!place.path("run").exists());
}

fn addresses_are_no_places_to_write_to() {
    let place = Place::new();
    let address = "https://me:SECRET@host/file?signature=SECRET";
    for (args, code, words) in [
        (format!("train moons --out {address}"), 2, ["--out", "name a file or folder of this computer"]),
        (format!("convert moons {address}"), 2, ["not a path", "name a file or folder"]),
        (format!("sample {address} --out a.npy"), 1, ["https://host/file", "langevin train"]),
        (format!("train moons --out a --unknown={address}"), 2, ["unexpected argument", "--unknown"]),
    ] {
        let outcome = place.run(&args);
        assert_eq!(outcome.code, Some(code), "{args}: {outcome:?}");
        assert!(!outcome.err.contains("SECRET"), "{outcome:?}");
        outcome.says(&args, &words);
    }
    assert!(!place.path("https:").exists());
}

fn bad_settings_are_named() {
    let place = Place::new();
    for (options, words) in [
        ("--model nope", &["unknown model \"nope\"", "mlp, chapter"][..]),
        ("--schedule square", &["unknown schedule", "linear", "cosine"]),
        ("--optimizer sg", &["unknown optimizer", "adamw"]),
        ("--prediction noise", &["unknown prediction", "epsilon", "v"]),
        ("--loss lpips", &["unknown loss \"lpips\"", "mse, mse_document, l1, huber"]),
        ("--loss l1:-1", &["the weight is \"-1\"", "positive"]),
        ("--loss perceptual:1", &["name a file of features"]),
        ("--loss mse,ssim:0.1", &["loss ssim", "shape [8]", "mse, l1 or huber"]),
        ("--weighting min", &["unknown weighting \"min\"", "none, snr", "min_snr[:GAMMA]"]),
        ("--weighting min_snr:0", &["gamma is \"0\"", "min_snr:5"]),
        ("--precision f8", &["--precision", "unknown number format \"f8\"", "f32, f16"]),
        ("--storage f8", &["--storage", "unknown number format \"f8\"", "f32, f16"]),
        ("--precision f16", &["CPU executor", "omit --precision", "--device"]),
        ("--storage f16", &["storage f16", "CPU executor", "omit --storage", "--device"]),
        ("--device tpu", &["unknown device \"tpu\"", "gpu, cpu, reference"]),
        ("--steps 0", &["0 training steps", "1 to 100000000"]),
        ("--steps 99999999999", &["--steps", "too large"]),
        ("--steps 1e3", &["--steps", "whole number"]),
        ("--batch 0", &["batch of 0", "--batch 1"]),
        ("--batch -3", &["--batch", "a whole number of 0 or more"]),
        ("--seed -1", &["--seed", "a whole number of 0 or more"]),
        ("--batch 41", &["batch of 41", "40 samples", "--batch 40 or less"]),
        ("--lr 0", &["learning rate (lr) of 0", "0.001"]),
        ("--lr -1", &["learning rate (lr) of -1"]),
        ("--lr nan", &["learning rate (lr) of NaN"]),
        ("--lr fast", &["--lr", "use a number"]),
        ("--seed 18446744073709551615", &["a seed of", "use 0 to"]),
        ("--frobnicate", &["--frobnicate"]),
    ] {
        place.refused(&format!("train ok.npy --out run {options}"), 2, words);
        assert!(!place.path("run").exists(), "{options} left a run folder");
    }
    place.refused("train --out run", 2, &["<DATA>"]);
    place.refused("train --out run --config small.toml", 2, &["no data"]);
    place.refused("trian", 2, &["trian"]);
}

fn bad_settings_files_are_named() {
    let place = Place::new();
    for (text, words) in [
        ("learning_rate = 1", &["unknown field `learning_rate`", "`lr`"][..]),
        ("lr = \"fast\"", &["\"fast\"", "in `lr`"]),
        ("steps = 5\nlr = = 3", &["line 2 is not TOML"]),
        ("steps = ", &["line 1: `steps` has no value"]),
        ("steps = \"a\"", &["\"a\"", "expected a whole number"]),
        ("steps = 100000000000", &["in `steps`"]),
        ("diffusion_steps = 0", &["0 diffusion steps", "1000 is usual"]),
        ("diffusion_steps = 100", &["linear, 100 steps", "does not end in noise", "cosine", "= 1000"]),
        ("diffusion_steps = 1000000000000", &["use 1 to"]),
        ("checkpoint_every = 0", &["checkpoint_every is 0"]),
        ("ema = 1.5", &["ema is 1.5", "0.999"]),
        ("clip_norm = nan", &["clip_norm is NaN"]),
        ("decay = { cosine = { warmup = 9, total = 5 } }", &["warm-up of 9"]),
        ("steps = 9\ndecay = { cosine = { warmup = 1, total = 5 } }", &["0 from step 5 on", "9 steps", "a total of 9"]),
        ("precision = \"f8\"", &["unknown number format \"f8\"; there are: f32, f16", "in `precision`"]),
        ("normalise = \"max\"", &["unknown normalisation \"max\"", "standard, range"]),
        ("[model]\nname = \"nope\"", &["unknown model", "mlp, chapter"]),
        ("optimizer = \"sgd_momentum\"\nmomentum = 1.5", &["momentum is 1.5", "such as 0.9"]),
        ("[model]\nencoding = 1", &["width 1", "no frequencies", "width of 4 or more"]),
        ("[model]\nfrequency_shift = nan", &["shift NaN", "0, or 1"]),
        ("[model]\nname = \"chapter\"\ndepth = 3", &["depth is 3", "chapter has no such setting", "mlp, unet"]),
        ("loss = \"ssim\"\nweighting = \"snr\"", &["the weighting snr", "the loss is ssim"]),
        ("weighting = \"p2:1e9\"", &["every step has a weight of 0"]),
        ("[model]\nwidth = 0", &["width is 0"]),
        ("[model]\nwidth = 100000000", &["width is 100000000", "1 to 32768"]),
        ("[model]\nwidth = 32768\ndepth = 256", &["more than 1e9 parameters", "GB", "make the network smaller"]),
    ] {
        place.write("bad.toml", text);
        place.refused("train ok.npy --out run --config bad.toml", 2, words);
        assert!(!place.path("run").exists(), "{text} left a run folder");
    }
    place.refused("train ok.npy --out run --config none.toml", 1, &["cannot read none.toml", "check the spelling"]);
    place.refused("train ok.npy --out run --config ok.npy", 1, &["ok.npy", "not a text file"]);
    place.refused("train ok.npy --out run --config .", 1, &["name a file"]);
}

fn a_place_that_is_taken_is_left_alone() {
    let place = Place::new();
    place.train("ok.npy", "run");
    let before = place.read("run/checkpoint.safetensors");
    place.refused("train moons --out run", 2, &["already contains a run", "--resume", "--force", "another --out"]);
    place.refused("train moons --out run --force --batch 0", 2, &["batch of 0"]);
    place.refused("train --out run --force --resume", 2, &["--force", "--resume"]);
    assert!(place.read("run/checkpoint.safetensors") == before);
    place.refused("train ok.npy --out ok.npy", 2, &["ok.npy is a file", "must be a folder"]);
    place.refused("train ok.npy --out ok.npy/run", 1, &["cannot create the folder", "choose another"]);
    place.refused("train ok.npy --out .", 2, &["not empty", "new or empty folder"]);

    // What a run that ended before its first checkpoint leaves is no obstacle.
    fs::remove_file(place.path("run/checkpoint.safetensors")).unwrap();
    fs::remove_file(place.path("run/checkpoint.previous.safetensors")).unwrap();
    place.refused(
        "train --out run --resume",
        1,
        &["ended before the first checkpoint", "langevin train DATA --out run"],
    );
    place.train("moons", "run");
    let said = place.ok("train ok.npy --out run --config small.toml --steps 10 --force --no-samples");
    assert!(said.contains("the run in run is replaced") && said.contains("done: 10 steps"), "{said}");
    assert!(place.list("run/samples").is_empty() && !place.path("run/checkpoint.previous.safetensors").exists());
    fs::create_dir(place.path("mine")).unwrap();
    place.write("mine/notes.txt", "");
    place.refused("train ok.npy --out mine --force", 2, &["not empty", "notes.txt"]);
}

fn a_resumed_run_keeps_its_settings() {
    let place = Place::new();
    place.train("ok.npy", "run");
    place.refused("train --resume --out nowhere", 1, &["nowhere does not exist", "langevin train DATA"]);
    let words = ["keeps its settings", "change batch from 16 to 8, lr from 0.002 to 0.5;", "another --out"];
    place.refused("train --resume --out run --lr 0.5 --batch 8", 2, &words);
    place.refused("train --resume --out run --model chapter", 2, &["model.name from \"mlp\" to \"chapter\""]);
    place.write(
        "other.toml",
        "lr = 0.25\ncheckpoint_every = 1000\nbatch = 16\n[model]\nwidth = 16\ndepth = 1\nencoding = 8\n",
    );
    let words = ["checkpoint_every from 10 to 1000", "lr from 0.002 to 0.25"];
    place.refused("train --resume --out run --config other.toml", 2, &words);
    place.ok("train --resume --out run --config small.toml");
    place.refused("train --resume --out run --steps 10", 2, &["--steps 10", "already completed 30 steps"]);
    place.refused("train moons --resume --out run", 1, &["trained on other data", "restore the original data"]);
    // Fewer samples than a batch.
    place.refused("train ok.npy[0:5] --resume --out run", 1, &["trained on other data"]);

    fs::rename(place.path("ok.npy"), place.path("moved.npy")).unwrap();
    place.refused(
        "train --resume --out run --steps 40",
        1,
        &["cannot read the data of the run again", "if they were moved"],
    );
    place.refused("train --resume --out run", 1, &["the run in run is finished and saved after 30 steps"]);
    place.ok("train moved.npy --resume --out run --steps 40");
    let mut other = place.read("moved.npy");
    *other.last_mut().unwrap() ^= 1;
    place.write("moved.npy", other);
    place.refused("train --resume --out run --steps 50", 1, &["trained on other data", "another --out"]);
}

fn damaged_checkpoints_are_noticed() {
    let place = Place::new();
    place.train("ok.npy", "run");
    let good = place.read("run/checkpoint.safetensors");
    let mut flipped = good.clone();
    flipped[good.len() - 100] ^= 0x10;
    let commands = ["sample run --out a.npy", "train --out run --resume --steps 40", "inspect run"];
    for (what, bytes) in [("cut", &good[..good.len() / 2]), ("flipped", &flipped), ("emptied", &[])] {
        place.write("run/checkpoint.safetensors", bytes);
        for command in commands {
            place.refused(command, 1, &["damaged", "(step 20) is intact", "cp run/checkpoint.previous.safetensors"]);
        }
        assert!(!place.path("a.npy").exists(), "{what}");
    }
    let remedy = fs::copy(place.path("run/checkpoint.previous.safetensors"), place.path("run/checkpoint.safetensors"));
    remedy.unwrap();
    place.ok("train --out run --resume --steps 40");
    fs::remove_file(place.path("run/checkpoint.previous.safetensors")).unwrap();
    place.write("run/checkpoint.safetensors", &good[..3000]);
    place.refused("sample run --out a.npy", 1, &["damaged", "train again"]);
    place.write("other.safetensors", "x".repeat(100));
    place.refused("inspect other.safetensors", 1, &["other.safetensors", "not a safetensors file"]);
    place.refused("inspect run --device foo", 2, &["unknown device \"foo\""]);
}

fn a_checkpoint_of_another_run_is_noticed() {
    let place = Place::new();
    place.train("ok.npy", "run");
    place.ok("train ok.npy --out other --config small.toml --steps 30 --model chapter");
    fs::copy(place.path("other/checkpoint.safetensors"), place.path("run/checkpoint.safetensors")).unwrap();
    for command in ["sample run --out a.npy", "train --out run --resume", "inspect run"] {
        place.refused(command, 1, &["another run", "model.name:", "chapter", "restore the original file"]);
    }
    let config = String::from_utf8(place.read("other/config.toml")).unwrap();
    place.write("other/config.toml", config.replace("lr = ", "lr = 1"));
    place.refused("train --out other --resume --steps 40", 1, &["(lr: ", "belongs to another run"]);
    place.write("other/config.toml", "rubbish");
    place.refused("sample other --out a.npy", 1, &["config.toml", "line 1 is not TOML", "delete config.toml"]);
    fs::remove_file(place.path("other/config.toml")).unwrap();
    place.ok("train --out other --resume --steps 40");
}

fn bad_sampling_is_refused_before_the_work() {
    let place = Place::new();
    place.train("ok.npy", "run");
    fs::create_dir(place.path("folder.npy")).unwrap();
    for (options, words) in [
        ("--out a.npy --count 0", &["0 samples", "a count of 1 to"][..]),
        ("--out a.npy --steps 0", &["--steps 0", "at least one"]),
        ("--out a.npy --spacing trailing --steps 5000", &["5000 sampling steps", "1 to 1000"]),
        ("--out a.npy --sampler euler2", &["unknown sampler", "ddpm, ddim", "unipc"]),
        ("--out a.npy --spacing odd", &["unknown spacing", "trailing", "karras[:RHO]"]),
        ("--out a.npy --spacing karras:-1", &["the number is \"-1\"", "karras:7"]),
        ("--out a.npy --eta -1 --sampler ddim", &["eta = -1", "use 0"]),
        ("--out a.npy --eta 1 --sampler ddpm", &["ddpm has no eta", "use ddim or euler_ancestral"]),
        ("--out a.npy --churn 1 --sampler heun", &["heun has no churn", "use edm"]),
        ("--out a.npy --churn-min 2 --churn-max 1 --sampler edm", &["churn_min = 2", "<= churn_max"]),
        ("--out a.npy --timesteps 10,500", &["500 follows 10", "noisiest (largest) first"]),
        ("--out a.npy --timesteps 1000", &["from 0 to 999"]),
        ("--out a.npy --timesteps 10 --steps 3", &["--timesteps", "cannot be used with", "--steps"]),
        ("--out a.npy --save-noise n.txt", &["--save-noise n.txt", ".npy"]),
        ("--out a.npy --trace a.npy", &["also --out"]),
        ("--out a.npy --save-noise n.npy --trace n.npy", &["--trace n.npy", "also --save-noise"]),
        ("--out a.npy --trace t.csv", &[".npy, .png, .svg"]),
        ("--out a.jpg", &["a.jpg", ".npy, .csv, .png, .svg"]),
        ("--out folder.npy", &["is a folder"]),
        ("--out nowhere/a.npy", &["no folder nowhere", "create it first"]),
    ] {
        place.refused(&format!("sample run {options}"), 2, words);
    }
    assert!(!place.path("a.npy").exists());
    place.refused("sample ok.npy --out a.npy", 1, &["not a run folder"]);
    place.refused("sample run/config.toml --out a.npy", 1, &["part of one; use run"]);
    place.refused("sample . --out a.npy", 1, &["contains runs", "run"]);
    place.refused("denoise run ok.npy --noise-level 0.3 --sampler edm --out a.npy", 2, &["edm", "use heun"]);
    let weak: Vec<u8> = (0..160).flat_map(|i| (0.3 * (i as f32).sin()).to_le_bytes()).collect();
    place.write("weak.npy", npy("<f4", false, &[20, 8], &weak));
    place.refused("sample run --out a.npy --noise weak.npy", 1, &["root mean square", "standard normal"]);
    place.refused("sample run --out a.npy --noise missing.npy", 1, &["missing.npy"]);
    place.refused("evaluate ok.npy moons", 1, &["differ in shape"]);
    place.refused("evaluate ok.npy ok.npy --pairs --range -2", 2, &["a range of -2"]);
    place.refused("evaluate ok.npy ok.npy --permutations 0", 2, &["--permutations 1 to"]);
    place.refused("evaluate ok.npy ok.npy --scaling rows", 2, &["unknown scaling", "columns, channels"]);
    place.refused("evaluate ok.npy ok.npy --device nonsense", 2, &["unknown device", "nonsense"]);
    place.refused("evaluate ok.npy ok.npy --projections 0", 2, &["--projections 1 to"]);
    place.refused("evaluate ok.npy ok.npy --projections 100000000000", 2, &["--projections 1 to"]);
}

fn labels_that_do_not_fit_are_refused() {
    let place = Place::new();
    let labels = |name: &str, values: &[u8]| place.write(name, npy("|u1", false, &[values.len()], values));
    let alternating: Vec<u8> = (0..40).map(|i| i % 2).collect();
    labels("few.npy", &alternating[..39]);
    labels("one.npy", &[0; 40]);
    labels("gap.npy", &alternating.iter().map(|v| 2 * v).collect::<Vec<_>>());
    labels("rare.npy", &[&[1], &[0; 39][..]].concat());
    place.write("half.npy", npy("<f4", false, &[40], &signals(40)));
    place.write("many.npy", npy("<i2", false, &[2], &[0, 0, 0xe8, 3]));
    place.write("table.npy", npy("|u1", false, &[20, 2], &[1; 40]));
    for (file, words) in [
        ("few.npy", &["39 labels", "40 samples", "one for each sample"][..]),
        ("one.npy", &["all 40 labels are 0"]),
        ("gap.npy", &["no sample has class 1", "the largest label is 2"]),
        ("rare.npy", &["class 1 has 1 sample", "at least 2"]),
        ("half.npy", &["half.npy: label 1 is 1.6", "whole numbers from 0 to 999"]),
        ("many.npy", &["label 1 is 1000", "999"]),
        ("table.npy", &["[20, 2]", "labels are [n]"]),
        ("small.toml", &["small.toml", "IDX"]),
        ("none.npy", &["cannot read none.npy"]),
    ] {
        place.refused(&format!("evaluate ok.npy ok.npy --labels {file}"), 1, words);
    }
    let digits = sample_data("digits8x8.npy");
    place.refused(&format!("evaluate {digits} ok.npy --labels few.npy"), 1, &["39 labels", "40 samples of ok.npy"]);
}
