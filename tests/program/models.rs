//! The smaller networks from training to use, and a loss whose features come from one of them.

use std::fs;

use langevin::nn::Inputs;
use langevin::train::RunFolder;
use langevin::{Device, Graph};

use crate::common::{Test, always, named, no_sample_data, sample_data, unless};
use crate::support::Place;

pub fn tests() -> Vec<Test> {
    let mut tests = unless(no_sample_data(), named![a_changed_feature_file_is_detected_on_resume]);
    tests.extend(always(named![
        the_simple_denoiser_has_two_layers_and_no_step,
        the_latent_of_an_autoencoder_is_read_by_name,
    ]));
    tests
}

fn the_simple_denoiser_has_two_layers_and_no_step() {
    let place = Place::new();
    place.refused(
        "train ok.npy --out run --config small.toml --model simple --steps 20",
        2,
        &["model.encoding is 8", "simple has no such setting", "mlp, chapter"],
    );
    place.write("simple.toml", "batch = 16\n[model]\nwidth = 16\n");
    place.ok("train ok.npy --out run --config simple.toml --model simple --steps 20");
    let said = place.ok("inspect run");
    for words in ["fc1.weight", "[16, 8]", "fc2.weight", "[8, 16]"] {
        assert!(said.contains(words), "no {words:?} in: {said}");
    }
    place.ok("sample run --count 5 --steps 3 --out new.npy");
    let options = "--task denoise --noise gaussian:0.3 --model simple --config simple.toml --steps 20";
    place.ok(&format!("train ok.npy --out clean {options}"));
    place.ok("noise ok.npy --kind gaussian:0.3 --out noisy.npy");
    assert!(place.ok("denoise clean noisy.npy --out a.npy --compare ok.npy").contains("PSNR"));
}

/// Samples of 8 values become a latent of 2 places with 2 x 16 channels.
fn the_latent_of_an_autoencoder_is_read_by_name() {
    let place = Place::new();
    // In parts too, each of which has a latent.
    for (run, parts) in [("whole", ""), ("parts", "--micro-batch 8")] {
        place.ok(&format!("train ok.npy --out {run} --config small.toml --model autoencoder --steps 20 {parts}"));
        place.ok(&format!("sample {run} --count 5 --steps 3 --out new.npy"));
        let checkpoint = RunFolder::open(&place.path(run)).unwrap().checkpoint().unwrap();
        let mut g = Graph::seeded(checkpoint.config.seed);
        let network = checkpoint.config.model.build(&mut g, &[8]).unwrap();
        let (x, t) = (g.state("x", [3, 8]).unwrap(), g.state("t", [3]).unwrap());
        network.forward(&mut g, Inputs::new(x, t)).unwrap();
        let latent = g.find("latent").unwrap();
        assert_eq!(g.shape(latent), [3, 32, 2]);
        let mut run = Device::cpu().compile(&g).unwrap();
        checkpoint.write_weights(&mut run).unwrap();
        run.write("x", &(0..24).map(|i| (i as f32 * 0.7).sin()).collect::<Vec<_>>()).unwrap();
        run.steps(1).unwrap();
        let values = run.read(latent).unwrap();
        // After a ReLU: some are 0, some are not, and the samples differ.
        assert!(values.iter().all(|v| *v >= 0.0 && v.is_finite()) && values.contains(&0.0));
        assert!(values[..64] != values[64..128] && values.iter().any(|v| *v > 0.01), "{values:?}");
    }
    place.write("odd.csv", "1,2,3,4,5,6\n".repeat(2) + "2,3,4,5,6,7\n");
    place.refused("train odd.csv --out odd --model autoencoder", 2, &["multiples of 4", "[6]"]);
}

fn a_changed_feature_file_is_detected_on_resume() {
    let place = Place::new();
    let digits = sample_data("digits8x8.npy");
    let encoder = format!("train {digits}[0:64] --config small.toml --model autoencoder --steps");
    let trained_by = |steps: u32| {
        place.ok(&format!("{encoder} {steps} --out encoder-{steps}"));
        fs::copy(place.path(&format!("encoder-{steps}/checkpoint.safetensors")), place.path("features")).unwrap();
    };
    trained_by(2);
    let loss = "--loss mse,perceptual:0.1:features --config small.toml";
    place.ok(&format!("train {digits}[0:64] --out run {loss} --steps 10"));
    place.ok("train --out run --resume --steps 20");
    trained_by(3);
    let words = [
        "feature file of the loss has changed",
        "checksum of /",
        "/features is",
        "restore the original file",
        "another --out",
    ];
    place.refused("train --out run --resume --steps 30", 1, &words);
    place.ok("sample run --count 3 --steps 2 --out new.npy");
    fs::copy(place.path("encoder-2/checkpoint.safetensors"), place.path("features")).unwrap();
    place.ok("train --out run --resume --steps 30");
    fs::remove_file(place.path("features")).unwrap();
    place.refused("train --out run --resume --steps 40", 1, &["features", "check the spelling"]);
}
