//! Filling gaps: training with masks, incomplete data, and completing samples by both methods.

use langevin::Device;
use langevin::data::{Dataset, MaskMix};
use langevin::inference::{Completing, Method, SampleConditions, Sampling, complete, sample};
use langevin::train::{Checkpoint, Config, Task, Trainer};

use crate::common::{On, Test, always, named, on};
use crate::training::{close, small};

pub fn tests() -> Vec<Test> {
    let mut tests = on(
        &[On::Gpu, On::Cpu],
        named![a_step_with_masks_has_the_loss_of_the_reference, draws_on_a_device_are_those_of_the_reference,],
    );
    tests.extend(always(named![
        gaps_are_filled_with_what_follows_from_the_known_values,
        missing_values_of_the_training_data_have_no_effect,
        masks_of_a_file_are_used_in_training,
        a_model_without_masks_completes_samples_too,
        what_cannot_fill_gaps_is_refused,
    ]));
    tests
}

/// Sines of one period with any phase: half of one determines the other half.
fn sines(n: usize, length: usize) -> Dataset {
    let value = |i: usize| {
        let phase = (i / length) as f32 * 2.399_963;
        (phase + std::f32::consts::TAU * (i % length) as f32 / length as f32).sin()
    };
    Dataset::new("sines", [length], (0..n * length).map(value).collect()).unwrap()
}

/// Images of two channels.
fn images(n: usize) -> Dataset {
    let values = (0..n * 128).map(|i| ((i * i) as f32 * 0.37 + i as f32 * 1.3).sin()).collect::<Vec<_>>();
    Dataset::new("images", [2, 8, 8], values).unwrap()
}

fn config(model: &str, mask: &str) -> Config {
    Config { task: Task::Complete, mask: Some(mask.parse().unwrap()), ..small(model) }
}

fn hidden(data: &Dataset, mask: &str) -> Dataset {
    mask.parse::<MaskMix>().unwrap().hide(data, 3).unwrap()
}

fn trained(config: &Config, data: &Dataset, steps: u32) -> Checkpoint {
    let mut trainer = Trainer::new(&Device::cpu(), config, data).unwrap();
    trainer.advance(steps).unwrap();
    trainer.checkpoint().unwrap()
}

fn completing(count: usize, steps: usize) -> Completing {
    let how = Completing::new(count);
    Completing { sampling: Sampling { steps, ..how.sampling }, ..how }
}

/// The root mean square difference of the values that `given` does not have.
fn error(completed: &[f32], given: &Dataset, truth: &Dataset) -> f64 {
    let all = completed.iter().zip(given.values.iter().zip(&truth.values).cycle());
    let squares: Vec<f64> =
        all.filter(|(_, (given, _))| given.is_nan()).map(|(a, (_, b))| f64::from(a - b).powi(2)).collect();
    (squares.iter().sum::<f64>() / squares.len() as f64).sqrt()
}

fn a_step_with_masks_has_the_loss_of_the_reference(on: On) {
    let device = on.open();
    for (model, data) in [("mlp", sines(60, 9)), ("unet", images(40))] {
        let gappy = hidden(&data, "point:0.2");
        let config = config(model, "block:0.2-0.5,future:0.3,point:0.1-0.9");
        let losses = |device: &Device, data: &Dataset| Trainer::new(device, &config, data).unwrap().advance(4).unwrap();
        for data in [&data, &gappy] {
            let (got, want) = (losses(&device, data), losses(&Device::reference(), data));
            for (got, want) in got.iter().zip(&want) {
                assert!((got - want).abs() < 1e-4 * want, "{model}: {got} {want}");
            }
        }
    }
}

fn draws_on_a_device_are_those_of_the_reference(on: On) {
    let device = on.open();
    let data = sines(60, 8);
    let plain = small("mlp");
    for config in [config("mlp", "future:0.5"), plain] {
        let checkpoint = trained(&config, &data, 20);
        let given = hidden(&data, "block:0.4");
        let how = completing(2, 4);
        let draw = |device: &Device| complete(device, &checkpoint, &given, &how).unwrap().values;
        assert!(close(&draw(&device), &draw(&Device::reference()), 2e-3), "{}", config.task);
    }
}

fn gaps_are_filled_with_what_follows_from_the_known_values() {
    let data = sines(256, 16);
    let config = Config { lr: 5e-3, ..config("mlp", "block:0.1-0.5,future:0.5") };
    let checkpoint = trained(&config, &data, 2_500);
    assert_eq!(Completing::method(&checkpoint).unwrap(), Method::Learned);
    for mask in ["future:0.5", "block:0.4"] {
        let given = hidden(&data, mask);
        let drawn = complete(&Device::cpu(), &checkpoint, &given, &completing(2, 20)).unwrap();
        assert_eq!(drawn.len(), 2 * data.len());
        for (i, draw) in drawn.values.chunks(16).enumerate() {
            let known = given.sample(i / 2).iter().zip(draw).filter(|(known, _)| !known.is_nan());
            assert!(known.clone().count() >= 8 && known.clone().all(|(known, value)| known == value));
        }
        let drawn: Vec<f32> = drawn.values.chunks(32).flat_map(|two| two[..16].to_vec()).collect();
        let error = error(&drawn, &given, &data);
        // A value that is independent of what is known is off by 1.
        assert!(error < 0.35, "{mask}: {error}");
    }
    // Nothing is known about samples of `sample`, which are sines of all phases.
    let any = sample(&Device::cpu(), &checkpoint, &Sampling { steps: 20, ..Sampling::new(200) }).unwrap();
    let first: Vec<f32> = any.values.chunks(16).map(|sample| sample[0]).collect();
    let mean = first.iter().sum::<f32>() / 200.0;
    let square = first.iter().map(|v| v * v).sum::<f32>() / 200.0;
    assert!(mean.abs() < 0.3 && (0.3..0.7).contains(&square), "{mean} {square}");
}

/// Unknown values neither change the normalisation nor the loss: whatever stands in their place has no effect.
fn missing_values_of_the_training_data_have_no_effect() {
    let data = sines(60, 8);
    let gappy = hidden(&data, "point:0.3");
    let trainer = Trainer::new(&Device::cpu(), &config("mlp", "point:0.5"), &gappy).unwrap();
    let known: Vec<f64> = gappy.values.iter().filter(|v| !v.is_nan()).map(|v| f64::from(*v)).collect();
    let mean = known.iter().sum::<f64>() / known.len() as f64;
    let deviation = (known.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / known.len() as f64).sqrt();
    let normalisation = &trainer.facts().normalisation;
    assert!((f64::from(normalisation.shift[0]) - mean).abs() < 1e-6, "{normalisation:?}");
    assert!((f64::from(normalisation.scale[0]) - deviation).abs() < 1e-6, "{normalisation:?}");
    let checkpoint =
        trained(&Config { lr: 5e-3, ..config("mlp", "future:0.5") }, &hidden(&sines(256, 16), "point:0.2"), 2_500);
    let (truth, given) = (sines(256, 16), hidden(&sines(256, 16), "future:0.5"));
    let drawn = complete(&Device::cpu(), &checkpoint, &given, &completing(1, 20)).unwrap();
    let error = error(&drawn.values, &given, &truth);
    assert!(error < 0.35, "{error}");
}

fn masks_of_a_file_are_used_in_training() {
    let data = sines(60, 8);
    let masks = Dataset::new("masks", [8], [[1.0f32, 0.0].repeat(4), [0.0, 1.0].repeat(4)].concat()).unwrap();
    let data = data.with_masks(masks).unwrap();
    let losses = |device: &Device, data: &Dataset| {
        Trainer::new(device, &config("mlp", "masks.npy"), data).unwrap().advance(3).unwrap()
    };
    let (got, want) = (losses(&Device::cpu(), &data), losses(&Device::reference(), &data));
    assert!(got.iter().zip(&want).all(|(got, want)| (got - want).abs() < 1e-4 * want), "{got:?} {want:?}");
    // Masks that hide everything leave other losses.
    let all = Dataset::new("masks", [8], vec![0.0; 8]).unwrap();
    let other = data.clone().with_masks(all).unwrap();
    assert!(losses(&Device::reference(), &other) != want);
    assert!(data.with_masks(Dataset::new("masks", [4], vec![1.0; 4]).unwrap()).is_err());
}

/// Its draws agree with the known values: less well than those of a model that is given them, but much better than chance.
fn a_model_without_masks_completes_samples_too() {
    let data = sines(256, 16);
    let checkpoint = trained(&Config { lr: 5e-3, ..small("mlp") }, &data, 2_500);
    assert_eq!(Completing::method(&checkpoint).unwrap(), Method::Replaced);
    let part = Dataset::new("sines", [16], data.values[..16 * 64].to_vec()).unwrap();
    let given = hidden(&part, "block:0.25");
    let drawn = complete(&Device::cpu(), &checkpoint, &given, &completing(1, 40)).unwrap();
    let (got, free) = (error(&drawn.values, &given, &part), {
        let sampling = Sampling { steps: 20, ..Sampling::new(64) };
        error(&sample(&Device::cpu(), &checkpoint, &sampling).unwrap().values, &given, &part)
    });
    assert!(got < 0.5 * free, "{got} {free}");
    let known = drawn.values.iter().zip(&given.values).filter(|(_, known)| !known.is_nan());
    assert!(known.clone().all(|(value, known)| value == known));
}

fn what_cannot_fill_gaps_is_refused() {
    let (device, data) = (Device::cpu(), sines(60, 8));
    let denoiser = Config { task: Task::Denoise, noise: "gaussian:0.1".parse().ok(), ..small("mlp") };
    let given = hidden(&data, "future:0.5");
    let cause = |checkpoint: &Checkpoint, given: &Dataset, how: &Completing| {
        complete(&device, checkpoint, given, how).unwrap_err().to_string()
    };
    let how = completing(1, 2);
    let message = cause(&trained(&denoiser, &data, 1), &given, &how);
    assert!(message.contains("a denoiser, which cannot fill gaps"), "{message}");
    let learned = trained(&config("mlp", "point:0.5"), &data, 1);
    let message = cause(&learned, &hidden(&sines(4, 12), "future:0.5"), &how);
    assert!(message.contains("shape [12], but the model was trained on [8]"), "{message}");
    let mut always = config("mlp", "point:0.5");
    always.condition.dropout = 0.0;
    let always = trained(&always, &data, 1);
    complete(&device, &always, &given, &how).unwrap();
    let message = sample(&device, &always, &Sampling { steps: 1, ..Sampling::new(2) }).unwrap_err().to_string();
    assert!(message.contains("langevin complete RUN DATA"), "{message}");
    let message = Trainer::new(&device, &small("mlp"), &given).unwrap_err().to_string();
    assert!(message.contains("missing values") && message.contains("complete"), "{message}");
    let message =
        Trainer::new(&device, &Config { loss: "ssim".parse().unwrap(), ..config("unet", "point:0.5") }, &images(9));
    assert!(message.unwrap_err().to_string().contains("use mse, l1 or huber"));
    let conditions = SampleConditions::default().incomplete(Some(given.clone().into()));
    let plain = trained(&small("mlp"), &data, 1);
    let message =
        sample(&device, &plain, &Sampling { conditions, steps: 1, ..Sampling::new(60) }).unwrap_err().to_string();
    assert!(message.contains("was not trained to complete samples"), "{message}");
}
