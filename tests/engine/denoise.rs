//! Denoising for use: the training step on every kind of noise, and what comes out on samples that were held back.

use langevin::Device;
use langevin::data::corrupt::{NoiseKind, add_noise};
use langevin::data::{Dataset, sine_waves};
use langevin::diffusion::{SamplerSettings, sampler};
use langevin::evaluate::compare_denoised;
use langevin::inference::{Denoising, denoise, denoise_in_parts};
use langevin::nn::{MlpOptions, StepEncoderOptions};
use langevin::train::{Checkpoint, Config, Task, Trainer};

use crate::common::{On, Test, always, named, on};

pub fn tests() -> Vec<Test> {
    let mut tests = on(
        &[On::Gpu, On::Cpu],
        named![
            losses_match_the_reference_for_every_kind_of_noise,
            a_batch_in_parts_is_disturbed_as_a_whole_one,
            the_loss_on_held_out_data_falls_and_is_repeated,
            any_number_of_samples_is_denoised_where_few_fit_at_a_time,
        ],
    );
    tests.extend(always(named![
        a_trained_denoiser_beats_the_noise_and_tuned_filters_on_new_samples,
        a_diffusion_starts_at_the_level_of_the_noise,
        random_frequencies_are_those_of_the_run,
    ]));
    tests
}

fn small(noise: &str, steps: u32) -> Config {
    let step = StepEncoderOptions::default().width(8);
    let model = MlpOptions::default().width(48).depth(2).step(step);
    let mut config = Config { data: "test".into(), steps, batch: 32, ..Config::new(model) };
    (config.task, config.noise) = (Task::Denoise, Some(noise.parse().unwrap()));
    config
}

/// Soft spots on 8 x 8 pixels, in 0 to 1.
fn spots(n: usize) -> Dataset {
    let value = |i: usize| {
        let (image, y, x) = (i / 64, (i / 8 % 8) as f32, (i % 8) as f32);
        let (cy, cx) = ((image * 3 % 8) as f32, (image * 5 % 7) as f32);
        (-((y - cy).powi(2) + (x - cx).powi(2)) / 6.0).exp()
    };
    Dataset::new("spots", [1, 8, 8], (0..64 * n).map(value).collect()).unwrap()
}

fn losses_match_the_reference_for_every_kind_of_noise(on: On) {
    let (device, data) = (on.open(), spots(60));
    for noise in ["gaussian:0.1", "uniform:0.3", "speckle:0.5", "salt_pepper:0.2", "poisson:30", "jpeg:20"] {
        let losses = |device: &Device| Trainer::new(device, &small(noise, 5), &data).unwrap().advance(5).unwrap();
        for (got, want) in losses(&device).iter().zip(losses(&Device::reference())) {
            // As for the diffusion: five steps of Adam let float32 drift by some 1e-5.
            assert!((got - want).abs() < 1e-4 * want.max(0.1), "{noise}: {got} {want}");
        }
    }
}

/// Every kind of noise is drawn for the rows of the batch, whichever part they are in.
fn a_batch_in_parts_is_disturbed_as_a_whole_one(on: On) {
    let (device, data) = (on.open(), spots(60));
    for noise in ["gaussian:0.1", "uniform:0.3", "speckle:0.5", "salt_pepper:0.2", "poisson:30", "jpeg:20"] {
        let losses = |micro_batch| {
            let config = Config { micro_batch, ..small(noise, 4) };
            Trainer::new(&device, &config, &data).unwrap().advance(4).unwrap()
        };
        for (got, want) in losses(12).iter().zip(losses(0)) {
            // The sums have the same terms in another order, and Adam lets that drift.
            assert!((got - want).abs() <= 1e-4 * want.max(0.1), "{noise}: {got} {want}");
        }
    }
}

fn the_loss_on_held_out_data_falls_and_is_repeated(on: On) {
    let config = Config { validation: 0.2, micro_batch: 12, ..small("gaussian:0.2", 300) };
    let mut trainer = Trainer::new(&on.open(), &config, &spots(100)).unwrap();
    let before = trainer.validate().unwrap().unwrap();
    trainer.advance(300).unwrap();
    let after = trainer.validate().unwrap().unwrap();
    assert!(after < 0.8 * before && trainer.validate().unwrap() == Some(after), "{before} {after}");
    // What is held out is no part of the training.
    let part = |validation| Config { validation, ..config.clone() }.training_samples(100).unwrap();
    assert_eq!((part(0.2), part(0.0)), (80, 100));
}

fn a_trained_denoiser_beats_the_noise_and_tuned_filters_on_new_samples() {
    let waves = |seed| Dataset::new("waves", [32], sine_waves(600, 32, seed)).unwrap();
    let (train, clean) = (waves(1), waves(2));
    let device = Device::cpu();
    for noise in ["gaussian:0.5", "salt_pepper:0.3"] {
        let mut trainer = Trainer::new(&device, &small(noise, 1_500), &train).unwrap();
        for _ in 0..3 {
            trainer.advance(500).unwrap();
        }
        let noisy = add_noise(&device, &clean, noise.parse::<NoiseKind>().unwrap(), 9).unwrap();
        let checkpoint = trainer.checkpoint().unwrap();
        let (denoised, start) = denoise(&device, &checkpoint, &noisy, &Denoising::default()).unwrap();
        let found = compare_denoised(&noisy, &denoised, &clean).unwrap();
        println!("{noise}: {found}");
        let filters = found.gaussian.unwrap().psnr.max(found.median.unwrap().psnr);
        assert!(start.is_none() && found.denoised > found.noisy + 5.0 && found.denoised > filters, "{noise}: {found}");
    }
}

fn a_diffusion_starts_at_the_level_of_the_noise() {
    let data = Dataset::new("waves", [32], sine_waves(600, 32, 1)).unwrap();
    let device = Device::cpu();
    let config = Config { task: Task::Diffusion, noise: None, ..small("gaussian:1", 1_500) };
    let mut trainer = Trainer::new(&device, &config, &data).unwrap();
    for _ in 0..3 {
        trainer.advance(500).unwrap();
    }
    let checkpoint = trainer.checkpoint().unwrap();
    let clean = Dataset::new("waves", [32], sine_waves(600, 32, 2)).unwrap();
    let noisy = add_noise(&device, &clean, NoiseKind::Gaussian(0.5), 9).unwrap();
    for how in [Denoising::default(), Denoising { level: Some(0.5), steps: 5, ..Denoising::default() }] {
        let (denoised, start) = denoise(&device, &checkpoint, &noisy, &how).unwrap();
        let start = start.unwrap();
        let [a, s] = checkpoint.config.noise_schedule().unwrap().noise_table()[start.t];
        let scale = f64::from(checkpoint.facts.normalisation.scale[0]);
        assert!((s / a * scale / start.levels[0] - 1.0).abs() < 0.02, "{start:?}");
        assert!(start.estimated == how.level.is_none() && (start.levels[0] / 0.5 - 1.0).abs() < 0.2, "{start:?}");
        let found = compare_denoised(&noisy, &denoised, &clean).unwrap();
        println!("{} steps: {found}", how.steps);
        assert!(found.denoised > found.noisy + 3.0, "{found}");
    }
    let other = Dataset::new("other", [31], vec![0.5; 62]).unwrap();
    let message = denoise(&device, &checkpoint, &other, &Denoising::default()).unwrap_err().to_string();
    assert!(message.contains("[31]") && message.contains("[32]"), "{message}");
    for bad in [Denoising { level: Some(0.0), ..Denoising::default() }, Denoising { steps: 0, ..Denoising::default() }]
    {
        assert!(denoise(&device, &checkpoint, &noisy, &bad).is_err(), "{bad:?}");
    }
}

/// Both tasks, with noise in the steps of a diffusion: batches of a few samples, or of all that there are.
fn any_number_of_samples_is_denoised_where_few_fit_at_a_time(on: On) {
    let device = on.open();
    let data = Dataset::new("waves", [17], sine_waves(300, 17, 1)).unwrap();
    for task in [Task::Denoise, Task::Diffusion] {
        let noise = if task == Task::Denoise { "gaussian:0.3".parse().ok() } else { None };
        let config = Config { task, noise, ..small("gaussian:0.3", 20) };
        let mut trainer = Trainer::new(&device, &config, &data).unwrap();
        trainer.advance(20).unwrap();
        let checkpoint = trainer.checkpoint().unwrap();
        let sampler = sampler("ddpm", SamplerSettings::default()).unwrap();
        let how = Denoising { level: Some(0.3), steps: 4, sampler, seed: 3 };
        let (want, start) = denoise(&device, &checkpoint, &data, &how).unwrap();
        let tight = (10..40).map(|power| device.clone().with_memory(1 << power));
        let denoised = tight.map(|tight| {
            let (mut parts, mut values) = (0, Vec::new());
            let mut take = |part: &[f32]| {
                parts += 1;
                values.extend_from_slice(part);
                Ok(())
            };
            let start = denoise_in_parts(&tight, &checkpoint, &data, &how, &mut |_| true, &mut take)?;
            langevin::Result::Ok((parts, values, start))
        });
        let (parts, values, began) = denoised.filter_map(|made| made.ok()).next().unwrap();
        assert!(parts > 3 && began == start, "{task}: {parts} parts");
        let off = values.iter().zip(&want.values).fold(0f32, |off, (a, b)| off.max((a - b).abs()));
        assert!(values.len() == want.values.len() && off < 2e-5, "{task}: {off}");
    }
}

/// The frequencies of a random step encoding are no weights: they come from the seed that the run was trained with.
fn random_frequencies_are_those_of_the_run() {
    let data = Dataset::new("waves", [32], sine_waves(60, 32, 1)).unwrap();
    let config = Config { task: Task::Diffusion, noise: None, seed: 5, ..small("gaussian:1", 20) };
    let config = config.with("step_encoding", "fourier").unwrap();
    let mut trainer = Trainer::new(&Device::cpu(), &config, &data).unwrap();
    trainer.advance(20).unwrap();
    let mut checkpoint = trainer.checkpoint().unwrap();
    let how = Denoising { level: Some(0.5), ..Denoising::default() };
    let values = |checkpoint: &Checkpoint| denoise(&Device::cpu(), checkpoint, &data, &how).unwrap().0.values;
    let right = values(&checkpoint);
    checkpoint.config.seed = 0;
    assert!(values(&checkpoint) != right);
}
