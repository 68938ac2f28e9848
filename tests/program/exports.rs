//! Models for other programs, and back. `tests/export/compare.py` compares what they compute.

use std::fs;

use safetensors::SafeTensors;
use serde_json::Value;

use crate::common::{Test, always, named};
use crate::support::{Place, json};

pub fn tests() -> Vec<Test> {
    always(named![
        a_model_goes_to_pytorch_and_back_to_the_bit,
        an_export_replaces_nothing,
        weights_that_do_not_fit_are_named,
        an_imported_run_is_not_resumed_but_starts_another,
        onnx_files_are_written_for_networks_and_samplers,
    ])
}

fn a_model_goes_to_pytorch_and_back_to_the_bit() {
    let place = Place::new();
    place.write("labels.csv", (0..40).map(|i| format!("{}\n", i % 3)).collect::<String>());
    place.ok("train ok.npy --labels labels.csv --out run --config small.toml --steps 20 --no-samples");
    let said = place.ok("export run --pytorch model");
    assert!(said.contains("python model/model.py"), "{said}");
    let names = ["check.npz", "config.json", "model.py", "model.safetensors", "model_index.json", "pipeline.py"];
    assert_eq!(place.list("model"), names);
    let config = json(&String::from_utf8(place.read("model/config.json")).unwrap());
    assert_eq!((&config["network"]["name"], &config["conditions"]["classes"]), (&"mlp".into(), &3.into()));
    assert_eq!(config["process"]["alpha_bar"].as_array().map(Vec::len), Some(1_000));
    assert_eq!(config["shape"], json("[8]"));
    // The averaged weights under the names of the network's parameters.
    let (exported, run) = (place.read("model/model.safetensors"), place.read("run/checkpoint.safetensors"));
    let [exported, run] = [&exported, &run].map(|bytes| SafeTensors::deserialize(bytes).unwrap());
    assert_eq!(exported.tensor("class.weight").unwrap().shape(), [4, 16]);
    for (name, tensor) in exported.iter() {
        assert_eq!(tensor.data(), run.tensor(&format!("ema.{name}")).unwrap().data(), "{name}");
    }
    place.ok("import model --out back");
    place.ok("export back --pytorch again");
    for name in ["model.safetensors", "check.npz"] {
        assert!(place.read(&format!("model/{name}")) == place.read(&format!("again/{name}")), "{name}");
    }
    for run in ["run", "back"] {
        place.ok(&format!("sample {run} --count 5 --steps 3 --out {run}.npy"));
    }
    assert!(place.read("run.npy") == place.read("back.npy"));
    place.ok("import model/model.safetensors --like run --out like");
    place.ok("sample like --count 5 --steps 3 --out like.npy");
    assert!(place.read("run.npy") == place.read("like.npy"));
}

fn an_export_replaces_nothing() {
    let place = Place::new();
    place.train("ok.npy", "run");
    place.ok("export run --pytorch model");
    place.refused("export run --pytorch model", 2, &["model is not empty", "new or empty folder"]);
    fs::create_dir(place.path("full")).unwrap();
    place.write("full/mine.txt", "");
    place.refused("export run --pytorch full", 2, &["full is not empty", "mine.txt", "new or empty folder"]);
    place.refused("export run --pytorch ok.npy", 2, &["ok.npy is a file"]);
    place.refused("export run", 2, &["--pytorch", "--onnx"]);
    place.refused("import model --out run", 2, &["already contains a run", "new folder"]);
    place.refused("import run --out other", 1, &["run has no config.json", "not an export"]);
}

/// A copy of an export whose weights are changed.
fn with_weights(place: &Place, change: impl Fn(&str, Vec<usize>, Vec<u8>) -> Vec<(String, Vec<usize>, Vec<u8>)>) {
    use safetensors::tensor::{Dtype, TensorView};
    let bytes = place.read("model/model.safetensors");
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensors = file.iter().flat_map(|(name, t)| change(name, t.shape().to_vec(), t.data().to_vec()));
    let tensors: Vec<_> = tensors.collect();
    let views =
        tensors.iter().map(|(name, shape, data)| (name, TensorView::new(Dtype::F32, shape.clone(), data).unwrap()));
    fs::create_dir_all(place.path("changed")).unwrap();
    place.write("changed/config.json", place.read("model/config.json"));
    place.write("changed/model.safetensors", safetensors::serialize(views, None).unwrap());
}

fn weights_that_do_not_fit_are_named() {
    let place = Place::new();
    place.train("ok.npy", "run");
    place.ok("export run --pytorch model");
    let refused = |words: &[&str]| place.refused("import changed --out new", 1, words);
    with_weights(&place, |name, shape, data| match name {
        "input.bias" => vec![],
        "norm.weight" => vec![("norm.gamma".into(), shape, data)],
        "output.bias" => vec![(name.into(), vec![shape[0] / 2, 2], data)],
        _ => vec![(name.into(), shape, data)],
    });
    refused(&[
        "do not fit the network mlp",
        "input.bias [16] is missing",
        "norm.weight [16] is missing",
        "output.bias has shape [4, 2], expected [8]",
        "norm.gamma [16] is not a parameter",
    ]);
    with_weights(&place, |name, shape, mut data| {
        if name == "input.bias" {
            data[..4].copy_from_slice(&f32::NAN.to_le_bytes());
        }
        vec![(name.into(), shape, data)]
    });
    refused(&["input.bias contains NaN"]);
    // The state dict of a module that has the network as a part.
    with_weights(&place, |name, shape, data| vec![(format!("network.{name}"), shape, data)]);
    place.ok("import changed --out new");
    place.refused("import model/model.safetensors --out other", 2, &["has only weights", "--like RUN"]);
    place.refused("import nowhere --out other", 1, &["nowhere does not exist"]);
    place.refused("import model --like run --out other", 2, &["--like", "is a folder"]);
    place.write("changed/config.json", "{}");
    place.refused("import changed --out other", 1, &["config.json: not the settings of an export"]);
    assert!(!place.path("other").exists());
}

fn an_imported_run_is_not_resumed_but_starts_another() {
    let place = Place::new();
    place.train("ok.npy", "run");
    place.ok("export run --pytorch model");
    place.ok("import model --out back");
    place.refused("train --out back --resume --steps 60", 2, &["imported", "--init RUN"]);
    place.ok("train ok.npy --init back --out new --config small.toml --steps 20 --no-samples");
    place.ok("inspect back");
}

fn onnx_files_are_written_for_networks_and_samplers() {
    let place = Place::new();
    place.train("ok.npy", "run");
    place.ok("export run --onnx net.onnx");
    let report: Value = json(&place.ok("export run --onnx all.onnx --sampler --steps 3 --json"));
    assert_eq!(report["onnx"]["model"], "the reverse process of unipc");
    for (name, words) in [("net.onnx", ["x_t", "prediction"]), ("all.onnx", ["noise", "Loop"])] {
        let bytes = place.read(name);
        for word in words {
            assert!(bytes.windows(word.len()).any(|part| part == word.as_bytes()), "no {word} in {name}");
        }
    }
    place.refused("export run --onnx a.onnx --sampler ddpm", 2, &["ddpm", "random noise", "unipc, ddim"]);
    place.refused("export run --onnx a.pt", 2, &["extension must be .onnx"]);
    place.refused("export run --onnx a.onnx --steps 3", 2, &["--sampler"]);
    place.refused("export run --onnx a.onnx --sampler --guidance 2", 2, &["guidance needs a conditional run"]);
    assert!(!place.path("a.onnx").exists());
    place.ok("train ok.npy --out clean --task denoise --noise gaussian:0.3 --config small.toml --steps 20");
    place.ok("export clean --onnx clean.onnx");
    place.refused("export clean --onnx a.onnx --sampler", 2, &["denoiser", "omit --sampler"]);
}
