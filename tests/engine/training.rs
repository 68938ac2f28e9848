//! Whole models: gradients and losses against the reference, bit-equal repetition and continuation, and batches in parts.

use langevin::data::{Dataset, sine_waves, two_moons};
use langevin::diffusion::Prediction;
use langevin::inference::{Sampling, sample};
use langevin::nn::{Inputs, Model, StepEncoding};
use langevin::ops::{Optimizer, OptimizerKind};
use langevin::train::{Checkpoint, Config, Trainer};
use langevin::verify::compare;
use langevin::{Device, Graph, Run, Slab};

use crate::common::{On, Test, always, named, on};

pub fn tests() -> Vec<Test> {
    let mut tests = on(
        &[On::Gpu, On::Cpu],
        named![
            first_gradients_of_whole_models_match_the_reference,
            mixes_of_losses_match_the_reference,
            ten_losses_match_the_reference,
            the_same_run_twice_is_equal_to_the_bit,
            a_continued_run_is_equal_to_the_bit,
            a_batch_in_parts_is_the_batch,
            recomputed_blocks_have_the_same_results_and_take_less_memory,
            the_latent_of_a_batch_in_parts_is_that_of_its_last_full_part,
            what_trains_on_a_device_is_validated_there,
            the_predicted_memory_is_what_is_allocated,
            validation_measures_the_weights_alone,
            data_larger_than_one_binding_is_split,
        ],
    );
    tests.extend(on(&[On::Gpu], named![without_immediates_training_is_equal_to_the_bit]));
    tests.extend(on(&[On::F16], named![a_device_in_f16_is_not_used_in_f32]));
    tests.extend(on(
        &[On::Stored],
        named![
            the_same_run_twice_is_equal_to_the_bit,
            a_continued_run_is_equal_to_the_bit,
            recomputed_blocks_have_the_same_results_and_take_less_memory,
            the_predicted_memory_is_what_is_allocated,
        ],
    ));
    tests.extend(always(named![
        dropout_and_noise_on_activations_are_off_when_the_network_is_used,
        every_step_encoding_trains_and_survives_in_its_checkpoint,
        a_network_without_blocks_is_not_recomputed,
        a_program_does_not_grow_with_the_number_of_parts,
        any_number_of_steps_is_done,
        parts_of_a_batch_share_their_memory,
        what_does_not_fit_is_split_or_refused,
        training_learns_moons,
        a_diverging_run_names_step_and_tensor,
        swapped_layers_are_refused_with_both_shapes,
    ]));
    tests
}

/// With other values for some settings.
fn with(config: Config, settings: &[(&str, &str)]) -> Config {
    settings.iter().fold(config, |config, (name, value)| config.with(name, value).unwrap())
}

pub fn small(model: &str) -> Config {
    let config = Config { batch: 33, data: "test".into(), ..Config::for_model(model).unwrap() };
    match model {
        "mlp" => with(config, &[("width", "24"), ("depth", "2"), ("encoding", "16")]),
        "simple" => with(config, &[("width", "24")]),
        "unet" => {
            let config = with(config, &[("batch", "9"), ("width", "8"), ("encoding", "16")]);
            with(config, &[("groups", "4"), ("heads", "2")])
        }
        _ => with(config, &[("width", "24"), ("encoding", "16")]),
    }
}

/// A network that draws random numbers in training.
fn disturbed(model: &str) -> Config {
    with(small(model), &[("dropout", "0.2"), ("activation_noise", "0.1")])
}

/// Signals; some networks halve their length.
pub fn data(config: &Config) -> Dataset {
    let length = if ["unet", "autoencoder"].contains(&config.model.name()) { 16 } else { 17 };
    Dataset::new("test", [length], sine_waves(100, length, 3)).unwrap()
}

pub fn trainer(device: &Device, config: &Config) -> Trainer {
    Trainer::new(device, &Config { storage: device.storage(), ..config.clone() }, &data(config)).unwrap()
}

/// How far a gradient in f32 may be off, as a part of the tensor's largest: n ops in a row, from the data through the
/// network to the loss and back, each a sum of up to k terms and a few more roundings. Their errors are independent and
/// add up like a random walk: sqrt(n) (2 + sqrt(k)) eps.
fn rounding(model: &str) -> f64 {
    let (n, k): (f64, f64) = match model {
        "simple" => (6.0, 33.0),
        "chapter" => (10.0, 33.0),
        "mlp" => (24.0, 33.0),
        // A gradient of a weight sums over the batch of 33 and up to 16 places.
        "autoencoder" => (14.0, 33.0 * 16.0),
        "unet" => (64.0, 9.0 * 16.0),
        other => panic!("nothing is known of {other}"),
    };
    n.sqrt() * (2.0 + k.sqrt()) * 2f64.powi(-24)
}

/// Compares the gradients of the last step parameter by parameter, each with what is usual in its own tensor.
pub fn compare_gradients(
    (got, got_in): (&Run, Slab),
    (want, want_in): (&Run, Slab),
    tolerance: f64,
) -> Result<(), String> {
    for name in want.graph().parameters().iter().map(|p| &p.name) {
        let gradient = |run: &Run, slab| run.read_parameter(slab, name).unwrap();
        let (got, want) = (gradient(got, got_in), gradient(want, want_in));
        let scale = want.iter().fold(0.0, |most: f64, v| most.max(v.abs()));
        compare(&got, &want, |_| tolerance * scale)
            .map_err(|e| format!("{name}, of which the largest is {scale:e}: {e}"))?;
    }
    Ok(())
}

fn first_gradients_of_whole_models_match_the_reference(on: On) {
    let device = on.open();
    for model in ["simple", "chapter", "mlp", "autoencoder", "unet"] {
        let stepped = |device| {
            let mut t = trainer(device, &small(model));
            t.advance(1).unwrap();
            t
        };
        let (got, want) = (stepped(&device), stepped(&Device::reference()));
        compare_gradients((got.run(), Slab::Grads), (want.run(), Slab::Grads), rounding(model))
            .unwrap_or_else(|e| panic!("{model}: {e}"));
    }
}

/// Several terms, steps weighted, and SSIM on the estimate of x0, for whatever the network predicts.
fn mixes_of_losses_match_the_reference(on: On) {
    let device = on.open();
    let wave = |i: usize| ((i % 169) as f32 * 0.21).sin() + ((i / 169) as f32 * 1.3).cos();
    let images = Dataset::new("test", [1, 13, 13], (0..60 * 169).map(wave).collect()).unwrap();
    for (model, prediction) in
        [("mlp", Prediction::V), ("chapter", Prediction::Epsilon), ("mlp", Prediction::X0), ("chapter", Prediction::V)]
    {
        let (loss, weighting) = ("l1:0.5,ssim:0.2,mse".parse().unwrap(), "min_snr:5".parse().unwrap());
        let config = Config { prediction, loss, weighting, ..small(model) };
        let trainer = |device: &Device| Trainer::new(device, &config, &images).unwrap();
        let mut reference = trainer(&Device::reference());
        assert_eq!(reference.terms(), ["l1", "ssim", "mse"]);
        let want = reference.advance_by_term(10).unwrap();
        let first = &want[0];
        let sum = 0.5 * first.terms[0] + 0.2 * first.terms[1] + first.terms[2];
        assert!((first.total - sum).abs() < 1e-12 && first.terms[1] > 0.0, "{first:?}");
        let got = trainer(&device).advance_by_term(10).unwrap();
        for (g, w) in got.iter().zip(&want) {
            assert!((g.total - w.total).abs() <= 2e-5 * w.total, "{model} {prediction}: {got:?} {want:?}");
        }
    }
}

fn ten_losses_match_the_reference(on: On) {
    let device = on.open();
    for model in ["mlp", "chapter", "unet"] {
        let want = trainer(&Device::reference(), &small(model)).advance(10).unwrap();
        let got = trainer(&device, &small(model)).advance(10).unwrap();
        for (g, w) in got.iter().zip(&want) {
            assert!((g - w).abs() <= 2e-5 * w, "{model}: {got:?} {want:?}");
        }
    }
}

fn the_same_run_twice_is_equal_to_the_bit(on: On) {
    let device = on.open();
    for config in [small("mlp"), disturbed("unet")] {
        let run = || {
            let mut t = trainer(&device, &config);
            t.advance(12).unwrap();
            t.checkpoint().unwrap()
        };
        assert!(run() == run(), "{}", config.model.name());
    }
}

fn a_continued_run_is_equal_to_the_bit(on: On) {
    let device = on.open();
    for config in [small("mlp"), disturbed("mlp"), disturbed("unet")] {
        let mut whole = trainer(&device, &config);
        whole.advance(16).unwrap();
        let mut first = trainer(&device, &config);
        first.advance(10).unwrap();
        let saved = first.checkpoint().unwrap();
        let mut second = trainer(&device, &config);
        second.restore(&saved).unwrap();
        second.advance(6).unwrap();
        assert!(second.checkpoint().unwrap() == whole.checkpoint().unwrap(), "{}", config.model.name());
    }
}

fn dropout_and_noise_on_activations_are_off_when_the_network_is_used() {
    for model in ["mlp", "unet"] {
        let (plain, config) = (small(model), disturbed(model));
        let losses = |config| trainer(&Device::cpu(), config).advance(2).unwrap();
        assert_ne!(losses(&plain), losses(&config), "{model}: training draws");
        let used = |config: &Config| {
            let mut g = Graph::seeded(3);
            let network = config.model.build(&mut g, &[16]).unwrap();
            let (x, t) = (g.state("x", [4, 16]).unwrap(), g.state("t", [4]).unwrap());
            let y = network.forward(&mut g, Inputs::new(x, t)).unwrap();
            g.keep(y);
            let mut run = Device::cpu().compile(&g).unwrap();
            run.write("x", &sine_waves(4, 16, 5)).unwrap();
            run.write("t", &[0.0, 3.0, 500.0, 999.0]).unwrap();
            run.steps(1).unwrap();
            (run.dispatches(), run.read(y).unwrap())
        };
        assert_eq!(used(&plain), used(&config), "{model}");
    }
}

/// The network of a checkpoint that was written and read is the one that was trained, with the same step encoding.
fn every_step_encoding_trains_and_survives_in_its_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let cpu = Device::cpu();
    for &name in StepEncoding::NAMES {
        let config = with(Config { validation: 0.2, ..small("mlp") }, &[("step_encoding", name)]);
        let mut trained = trainer(&cpu, &config);
        assert!(trained.advance(5).unwrap().iter().all(|loss| loss.is_finite()), "{name}");
        let (path, mut kept) = (folder.path().join(name), trained.checkpoint().unwrap());
        kept.save(&path).unwrap();
        kept.tensors.sort_by(|a, b| a.name.cmp(&b.name)); // as a file holds them
        let read = Checkpoint::load(&path).unwrap();
        assert!(read == kept, "{name}");

        let mut restored = trainer(&cpu, &read.config);
        assert_ne!(restored.validate().unwrap(), trained.validate().unwrap(), "{name}: before it is restored");
        restored.restore(&read).unwrap();
        assert_eq!(restored.validate().unwrap(), trained.validate().unwrap(), "{name}");

        let draw = |c: &Checkpoint| sample(&cpu, c, &Sampling { steps: 5, ..Sampling::new(3) }).unwrap().values;
        let samples = draw(&read);
        assert!(samples.iter().all(|v| v.is_finite()) && samples == draw(&kept), "{name}");
        // Random frequencies come from the seed of the run, and nothing else of a sample does.
        let mut other = read.clone();
        other.config.seed += 1;
        assert_eq!(draw(&other) == samples, name != "fourier", "{name}");
    }
}

/// The parts take the samples, steps and random numbers of the whole batch; rows of 23 and of 17 numbers begin and end within
/// blocks of four that are drawn together.
fn a_batch_in_parts_is_the_batch(on: On) {
    let device = on.open();
    let odd = |config| with(config, &[("batch", "33"), ("width", "23")]);
    for (config, sizes) in
        [(odd(small("mlp")), &[8, 9, 1][..]), (odd(disturbed("mlp")), &[8, 9, 1]), (disturbed("unet"), &[4])]
    {
        let after = |micro_batch, steps| {
            let mut t = trainer(&device, &Config { micro_batch, clip_norm: 0.0, ..config.clone() });
            (t.advance(steps).unwrap(), t)
        };
        let ((want, _), (_, whole)) = (after(0, 5), after(0, 1));
        for &micro in sizes {
            let ((got, _), (_, parts)) = (after(micro, 5), after(micro, 1));
            let what = format!("{} in parts of {micro}", config.model.name());
            // The same tolerances as between devices: the sums have the same terms in another order.
            assert!(got.iter().zip(&want).all(|(g, w)| (g - w).abs() <= 2e-5 * w), "{what}: {got:?} {want:?}");
            let tolerance = rounding(config.model.name());
            compare_gradients((parts.run(), Slab::Sum), (whole.run(), Slab::Grads), tolerance)
                .unwrap_or_else(|e| panic!("{what}: {e}"));
        }
    }
}

/// Blocks with attention and dropout, in whole batches and in parts.
fn recomputed_blocks_have_the_same_results_and_take_less_memory(on: On) {
    let device = on.open();
    for micro_batch in [0, 4] {
        let kept = with(disturbed("unet"), &[("depth", "2")]);
        let kept = Config { micro_batch, ..kept };
        let again = Config { recompute: true, ..kept.clone() };
        let [mut kept, mut again] = [kept, again].map(|config| trainer(&device, &config));
        assert!(again.run().bytes() < kept.run().bytes(), "{} {}", again.run().bytes(), kept.run().bytes());
        assert!(again.run().dispatches() > kept.run().dispatches());
        let [a, b] = [&mut kept, &mut again].map(|t| t.advance(5).unwrap());
        // On a GPU, the copies of nodes may be fused with others than the nodes themselves.
        let rounding = if on == On::Stored { 1e-3 } else { 1e-5 };
        let same = |a: f64, b: f64| if device.is_gpu() { (a - b).abs() <= rounding * a.abs() } else { a == b };
        assert!(a.iter().zip(&b).all(|(a, b)| same(*a, *b)), "{a:?} {b:?}");
        if !device.is_gpu() {
            let [a, b] = [&kept, &again].map(|t| t.run().read_slab(Slab::Params).unwrap());
            assert!(a.iter().zip(&b).all(|(a, b)| a.to_bits() == b.to_bits()));
        }
    }
}

fn a_network_without_blocks_is_not_recomputed() {
    let config = Config { recompute: true, ..small("mlp") };
    let e = Trainer::new(&Device::cpu(), &config, &data(&config)).unwrap_err().to_string();
    assert!(e.contains("mlp") && e.contains("--micro-batch"), "{e}");
}

fn a_program_does_not_grow_with_the_number_of_parts() {
    for model in ["mlp", "unet"] {
        let counts = |micro_batch| {
            let t = trainer(&Device::cpu(), &Config { batch: 32, micro_batch, ..small(model) });
            (t.run().costs().len(), t.run().dispatches(), t.run().cost().flops)
        };
        let (whole, dispatches, flops) = counts(0);
        assert_eq!(whole, dispatches);
        // One op more, which adds up the gradients. The optimizer and the norm of the gradient come once. Which sums are
        // fused also depends on the sizes of the tensors.
        let (parts, dispatches, in_parts) = counts(1);
        let (once, few) = (3, 4);
        assert!(parts.abs_diff(whole + 1) <= few, "{model}: {parts} {whole}");
        assert_eq!(dispatches, 32 * (parts - once) + once, "{model}");
        assert!(in_parts as f64 > 0.9 * flops as f64, "{model}: all parts are counted");
        // A smaller last part is a second version of the ops.
        let two = counts(5).0;
        assert!(two.abs_diff(2 * (whole + 1 - once) + once) <= 2 * few, "{model}: {two} {whole}");
    }
}

/// A device on which programs may take as little memory as `fits` allows, to a factor of two.
pub fn tightest<T>(device: &Device, fits: impl Fn(&Device) -> langevin::Result<T>) -> (Device, T) {
    let tight = (10..40).map(|power| device.clone().with_memory(1 << power));
    tight.map(|device| (fits(&device), device)).find_map(|(made, device)| Some((device, made.ok()?))).unwrap()
}

pub fn close(got: &[f32], want: &[f32], tolerance: f32) -> bool {
    got.len() == want.len() && got.iter().zip(want).all(|(g, w)| (g - w).abs() <= tolerance * w.abs().max(1.0))
}

/// Each part replaces the latent of the one before; the part that is smaller has its own.
fn the_latent_of_a_batch_in_parts_is_that_of_its_last_full_part(on: On) {
    let device = on.open();
    let latent = |micro_batch: usize| {
        let mut t = trainer(&device, &Config { micro_batch, ..small("autoencoder") });
        t.advance(1).unwrap();
        let latent = t.run().graph().find("latent").unwrap();
        (t.run().graph().shape(latent)[0], t.run().read(latent).unwrap())
    };
    let ((rows, whole), (few, part)) = (latent(0), latent(8));
    let each = whole.len() / rows;
    assert_eq!((rows, few, part.len()), (33, 8, 8 * each));
    assert!(close(&part, &whole[24 * each..32 * each], 1e-5));
}

/// Several submissions in flight, each with the positions of many passes.
fn without_immediates_training_is_equal_to_the_bit(on: On) {
    let device = on.open();
    let after = |device: &Device| {
        let mut t = trainer(device, &Config { micro_batch: 4, ..disturbed("mlp") });
        let losses = t.advance(60).unwrap();
        (losses.iter().map(|loss| loss.to_bits()).collect::<Vec<_>>(), t.checkpoint().unwrap())
    };
    assert!(after(&device) == after(&device.clone().without_immediates()));
}

/// The default of the settings is f32.
fn a_device_in_f16_is_not_used_in_f32(on: On) {
    let (device, config) = (on.open(), small("mlp"));
    let e = Trainer::new(&device, &config, &data(&config)).unwrap_err().to_string();
    assert!(e.contains("f16") && e.contains("`precision`"), "{e}");
    trainer(&device, &Config { precision: device.precision(), ..config });
}

fn what_trains_on_a_device_is_validated_there(on: On) {
    let device = on.open();
    let data = Dataset::new("test", [17], sine_waves(600, 17, 3)).unwrap();
    let trainer = |device: &Device, micro_batch| {
        let config = Config { validation: 0.5, batch: 16, micro_batch, ..small("mlp") };
        Trainer::new(device, &config, &data)
    };
    let loss = |mut t: Trainer| t.validate().unwrap().unwrap();
    let plain = Config { batch: 16, ..small("mlp") };
    let bytes = Trainer::new(&device, &plain, &data).unwrap().run().bytes();
    let want = loss(trainer(&device, 0).unwrap());
    let tight = trainer(&device.clone().with_memory(bytes), 0).unwrap();
    assert_eq!(tight.split(), None, "the training fits");
    for (got, how) in [(loss(tight), "little memory"), (loss(trainer(&device, 5).unwrap()), "micro-batches")] {
        assert!((got - want).abs() <= 1e-5 * want, "{how}: {got} {want}");
    }
}

fn any_number_of_steps_is_done() {
    let config = Config { batch: 4, ..small("mlp") };
    let mut t = trainer(&Device::cpu(), &config);
    assert_eq!((t.advance(2_500).unwrap().len(), t.step()), (2_500, 2_500));
    let mut parts = trainer(&Device::cpu(), &config);
    (0..25).for_each(|_| drop(parts.advance(100).unwrap()));
    assert!(parts.checkpoint().unwrap() == t.checkpoint().unwrap());
}

fn parts_of_a_batch_share_their_memory() {
    let memory = |micro_batch| {
        let config = with(Config { batch: 64, micro_batch, ..small("mlp") }, &[("width", "96")]);
        config.memory(data(&config).len(), &data(&config).shape).unwrap()
    };
    let (whole, parts) = (memory(0), memory(8));
    assert!(4 * parts.activations < whole.activations, "{parts:?} {whole:?}");
    assert!(parts.total() < whole.total(), "{parts:?} {whole:?}");
}

fn what_does_not_fit_is_split_or_refused() {
    let config = Config { batch: 64, ..small("mlp") };
    let whole = Trainer::new(&Device::cpu(), &config, &data(&config)).unwrap();
    assert_eq!(whole.split(), None);
    let tight = Device::cpu().with_memory(whole.run().bytes() - 1_000);
    let mut t = Trainer::new(&tight, &config, &data(&config)).unwrap();
    let micro = t.split().unwrap();
    assert!(micro < 64 && t.config().micro_batch == micro);
    t.advance(2).unwrap();
    let e = Trainer::new(&Device::cpu().with_memory(10_000), &config, &data(&config)).unwrap_err().to_string();
    assert!(e.contains("the data and the weights alone need") && e.contains("9.8 KiB"), "{e}");
}

fn the_predicted_memory_is_what_is_allocated(on: On) {
    let device = on.open();
    for (model, validation, micro_batch) in [("mlp", 0.0, 0), ("mlp", 0.2, 8), ("chapter", 0.1, 0), ("simple", 0.0, 0)]
    {
        let config = Config { validation, micro_batch, storage: device.storage(), ..small(model) };
        let allocated = trainer(&device, &config).allocated();
        let predicted = config.memory(data(&config).len(), &data(&config).shape).unwrap().total() as u64;
        // The layers of these networks are fused on a GPU, so their intermediate results have other sizes.
        let allowed = match model {
            "chapter" | "simple" if device.is_gpu() => allocated / 20,
            _ => 0,
        };
        assert!(predicted.abs_diff(allocated) <= allowed, "{model}: {predicted} {allocated}");
    }
}

fn validation_measures_the_weights_alone(on: On) {
    let device = on.open();
    let mut t = trainer(&device, &Config { validation: 0.2, ..small("mlp") });
    assert_eq!(t.facts().samples, 100);
    let before = t.validate().unwrap().unwrap();
    assert_eq!(t.validate().unwrap(), Some(before));
    t.advance(200).unwrap();
    let after = t.validate().unwrap().unwrap();
    assert!(after < before, "{before} {after}");
    // Evaluations leave the training alone.
    let mut plain = trainer(&device, &Config { validation: 0.2, ..small("mlp") });
    plain.advance(200).unwrap();
    assert!(plain.checkpoint().unwrap() == t.checkpoint().unwrap());
    assert_eq!(trainer(&Device::cpu(), &small("mlp")).validate().unwrap(), None);
}

fn training_learns_moons() {
    let mut config = small("mlp");
    config.prediction = Prediction::Epsilon;
    let moons = Dataset::new("moons", [2], two_moons(1_000, 5)).unwrap();
    let mut t = Trainer::new(&Device::cpu(), &config, &moons).unwrap();
    let early = t.advance(20).unwrap().iter().sum::<f64>() / 20.0;
    t.advance(600).unwrap();
    let late = t.advance(100).unwrap().iter().sum::<f64>() / 100.0;
    assert!(late < 0.75 * early, "{early} -> {late}");
}

fn a_diverging_run_names_step_and_tensor() {
    let mut config = small("chapter");
    (config.lr, config.optimizer) = (90.0, OptimizerKind::Sgd);
    let e = trainer(&Device::cpu(), &config).advance(400).unwrap_err().to_string();
    assert!(e.contains("step ") && e.contains("fc") && e.contains("--lr"), "{e}");
}

fn data_larger_than_one_binding_is_split(on: On) {
    let device = on.open();
    // 40 million numbers are 160 MB: more than the 128 MiB that any adapter binds at once.
    let (n, width) = (40_000usize, 1_000usize);
    let values: Vec<f32> = (0..n * width).map(|i| (i / width) as f32).collect();
    let mut g = Graph::new();
    let data = g.dataset("data", [n, width]).unwrap();
    let x = data.batch(&mut g, 500).unwrap();
    g.keep(x);
    let mut run = device.compile(&g).unwrap();
    run.write("data", &values).unwrap();
    run.steps(3).unwrap();
    let batch = run.read(x).unwrap();
    let rows: Vec<f32> = batch.chunks(width).map(|row| row[0]).collect();
    assert!(batch.chunks(width).all(|row| row.iter().all(|v| *v == row[0])));
    assert!(rows.iter().any(|r| *r > 35_000.0) && rows.iter().any(|r| *r < 5_000.0), "both parts are read");
}

fn swapped_layers_are_refused_with_both_shapes() {
    let mut g = Graph::new();
    let x = g.state("x", [4, 7]).unwrap();
    let t = g.state("t", [4]).unwrap();
    let network = Model::named("chapter").unwrap().build(&mut g, &[9]).unwrap();
    let e = network.forward(&mut g, Inputs::new(x, t)).unwrap_err().to_string();
    assert!(e.contains("dense") && e.contains("[4, 135]") && e.contains("137"), "{e}");
    let y = g.state("y", [4, 7]).unwrap();
    let loss = g.mse(x, y).unwrap();
    g.minimize(loss, Optimizer::adam(1e-3)).unwrap();
    assert!(g.minimize(loss, Optimizer::adam(1e-3)).is_err());
}
