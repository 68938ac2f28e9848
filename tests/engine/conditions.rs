//! Conditional models: classes, vectors and known values from training to sampling, and guidance.

use std::sync::Arc;

use langevin::Device;
use langevin::data::{Dataset, Labels};
use langevin::diffusion::Ddim;
use langevin::inference::{Guidance, SampleConditions, Sampling, sample};
use langevin::nn::{ConditionOptions, Model};
use langevin::train::{Checkpoint, Config, Trainer};

use crate::common::{On, Test, always, named, on};
use crate::training::{close, small, tightest};

pub fn tests() -> Vec<Test> {
    let mut tests = on(
        &[On::Gpu, On::Cpu],
        named![
            guidance_moves_the_output_away_from_the_one_without_condition,
            a_conditional_step_has_the_loss_of_the_reference
        ],
    );
    tests.extend(always(named![
        classes_are_learned,
        vectors_and_known_values_are_learned,
        conditions_of_batches_in_parts_belong_to_their_samples,
        what_a_run_does_not_have_is_refused,
        networks_without_conditions_refuse_them,
    ]));
    tests
}

/// Numbers in +-1 that look random.
pub fn waves(n: usize) -> impl Iterator<Item = f32> {
    (0..n).map(|i| ((i * i) as f32 * 0.37 + i as f32 * 1.3).sin())
}

/// Points around (-2, 0) of class 0, around (2, 1) of class 1, and around (0, -2) of class 2.
pub fn clusters(n: usize) -> Dataset {
    let centres = [[-2.0, 0.0], [2.0, 1.0], [0.0, -2.0]];
    let noise: Vec<f32> = waves(2 * n).collect();
    let values = (0..2 * n).map(|i| centres[i / 2 % 3][i % 2] + 0.2 * noise[i]).collect();
    let classes: Vec<f32> = (0..n).map(|i| (i % 3) as f32).collect();
    let data = Dataset::new("clusters", [2], values).unwrap();
    data.with_labels(Labels::new("classes", &classes).unwrap()).unwrap()
}

pub fn trained(device: &Device, config: &Config, data: &Dataset, steps: u32) -> Checkpoint {
    let mut trainer = Trainer::new(device, config, data).unwrap();
    trainer.advance(steps).unwrap();
    trainer.checkpoint().unwrap()
}

pub fn of_class(classes: &[u32], scale: f64) -> SampleConditions {
    SampleConditions::default().classes(classes.to_vec()).guidance(Guidance::default().scale(scale))
}

/// One step of DDIM without clipping is linear in the output of the network.
fn guidance_moves_the_output_away_from_the_one_without_condition(on: On) {
    let device = on.open();
    for model in ["mlp", "unet"] {
        let data = match model {
            "mlp" => clusters(60),
            _ => {
                let images = Dataset::new("images", [2, 8, 8], waves(60 * 128).collect::<Vec<_>>()).unwrap();
                images.with_labels(Labels::new("classes", &[0.0, 1.0, 2.0].repeat(20)).unwrap()).unwrap()
            }
        };
        let checkpoint = trained(&device, &small(model), &data, 3);
        let draw = |conditions: SampleConditions| {
            let sampler = Arc::new(Ddim::default());
            let sampling = Sampling { sampler, steps: 1, clip: false, conditions, ..Sampling::new(5) };
            sample(&device, &checkpoint, &sampling).unwrap().values
        };
        let (with, without) = (draw(of_class(&[1], 1.0)), draw(of_class(&[3], 1.0)));
        assert!(with.iter().zip(&without).any(|(a, b)| (a - b).abs() > 1e-3 * a.abs()), "the class has no effect");
        let want: Vec<f32> =
            with.iter().zip(&without).map(|(with, without)| without + 2.5 * (with - without)).collect();
        let largest = want.iter().fold(1f32, |most, v| most.max(v.abs()));
        assert!(close(&draw(of_class(&[1], 2.5)), &want, 1e-4 * largest), "{model}");
        assert!(close(&draw(of_class(&[1], 0.0)), &without, 1e-4 * largest), "{model}: scale 0");
        // Outside of the interval there is no guidance.
        let outside = Guidance::default().scale(2.5).interval(Some([0.0, 10.0]));
        assert!(close(&draw(of_class(&[1], 1.0).guidance(outside)), &with, 1e-5 * largest), "{model}: interval");
        // Classes are taken in turn.
        let width = with.len() / 5;
        let turns = draw(of_class(&[1, 3], 1.0));
        assert!(close(&turns[..width], &with[..width], 1e-5 * largest), "{model}: in turn");
        assert!(close(&turns[width..2 * width], &without[width..2 * width], 1e-5 * largest), "{model}: in turn");
    }
}

fn a_conditional_step_has_the_loss_of_the_reference(on: On) {
    let data = clusters(60).with_vectors(Dataset::new("v", [3], waves(180).collect::<Vec<_>>()).unwrap()).unwrap();
    let data = data.with_given(Dataset::new("g", [2], waves(120).collect::<Vec<_>>()).unwrap()).unwrap();
    let losses = |device: &Device, dropout: f32| {
        let mut config = small("mlp");
        config.condition.dropout = dropout;
        Trainer::new(device, &config, &data).unwrap().advance(5).unwrap()
    };
    let (got, want) = (losses(&on.open(), 0.3), losses(&Device::reference(), 0.3));
    for (got, want) in got.iter().zip(&want) {
        assert!((got - want).abs() < 1e-4 * want, "{got} {want}");
    }
    assert!(losses(&Device::reference(), 0.0) != want, "dropout has no effect");
}

fn classes_are_learned() {
    let (device, config) = (Device::cpu(), Config { lr: 5e-3, ..small("mlp") });
    let checkpoint = trained(&device, &config, &clusters(300), 1_500);
    let centre = |values: &[f32]| {
        let n = values.len() as f32 / 2.0;
        [0, 1].map(|axis| values.iter().skip(axis).step_by(2).sum::<f32>() / n)
    };
    for (class, [x, y]) in [[-2.0, 0.0], [2.0, 1.0], [0.0, -2.0]].into_iter().enumerate() {
        let sampling = Sampling { conditions: of_class(&[class as u32], 1.0), steps: 20, ..Sampling::new(200) };
        let [a, b] = centre(&sample(&device, &checkpoint, &sampling).unwrap().values);
        assert!((a - x).abs() < 0.3 && (b - y).abs() < 0.3, "class {class}: {a} {b}");
    }
    // Without a class, all of them in turn.
    let all = sample(&device, &checkpoint, &Sampling { steps: 20, ..Sampling::new(300) }).unwrap().values;
    let second: Vec<f32> = all.chunks(6).flat_map(|turn| turn[2..4].to_vec()).collect();
    let [a, b] = centre(&second);
    assert!((a - 2.0).abs() < 0.3 && (b - 1.0).abs() < 0.3, "{a} {b}");
}

fn vectors_and_known_values_are_learned() {
    let device = Device::cpu();
    let (n, length) = (256, 8);
    // A signal is a known one, upside down and moved by a number.
    let (known, moved): (Vec<f32>, Vec<f32>) = (waves(n * length).collect(), waves(n).map(|v| 3.0 * v).collect());
    let values = known.iter().enumerate().map(|(i, v)| moved[i / length] - v).collect::<Vec<_>>();
    let data = Dataset::new("signals", [length], values).unwrap();
    let data = data.with_vectors(Dataset::new("moved", [1], moved.clone()).unwrap()).unwrap();
    let data = data.with_given(Dataset::new("known", [length], known).unwrap()).unwrap();
    let checkpoint = trained(&device, &Config { lr: 5e-3, ..small("mlp") }, &data, 2_000);
    let conditions = SampleConditions::default().known(data.conditions().clone());
    let drawn = sample(&device, &checkpoint, &Sampling { conditions, steps: 20, ..Sampling::new(n) }).unwrap();
    let squares = |of: &mut dyn Iterator<Item = f32>| of.map(|v| v * v).sum::<f32>();
    let error = squares(&mut drawn.values.iter().zip(&data.values).map(|(a, b)| a - b));
    let share = error / squares(&mut data.values.iter().copied());
    // Without the conditions it is 1 or more.
    assert!(share < 0.1, "{share}");
}

/// The conditions of a batch are those of its samples, however the batch is split.
fn conditions_of_batches_in_parts_belong_to_their_samples() {
    let data = clusters(60).with_given(Dataset::new("g", [2], waves(120).collect::<Vec<_>>()).unwrap()).unwrap();
    let losses = |device: &Device, micro_batch: usize| {
        Trainer::new(device, &Config { micro_batch, ..small("mlp") }, &data)?.advance(4)
    };
    let whole = losses(&Device::cpu(), 0).unwrap();
    let parts = losses(&Device::cpu(), 7).unwrap();
    let (_, split) = tightest(&Device::cpu(), |device| losses(device, 0));
    for (whole, part) in whole.iter().zip(parts).chain(whole.iter().zip(split)) {
        assert!((whole - part).abs() < 1e-5 * whole, "{whole} {part}");
    }
}

fn what_a_run_does_not_have_is_refused() {
    let device = Device::cpu();
    let plain = trained(&device, &small("mlp"), &Dataset::new("d", [2], clusters(60).values.into()).unwrap(), 1);
    let classes = trained(&device, &small("mlp"), &clusters(60), 1);
    let given = Dataset::new("g", [2], waves(120).collect::<Vec<_>>()).unwrap();
    let known = trained(&device, &small("mlp"), &clusters(60).with_given(given.clone()).unwrap(), 1);
    let mut always = small("mlp");
    always.condition.dropout = 0.0;
    let always = trained(&device, &always, &clusters(60), 1);
    let with_given = |n: usize| {
        let part = Dataset::new("g", [2], waves(2 * n).collect::<Vec<_>>()).unwrap();
        let data = Dataset::new("d", [2], waves(2 * n).collect::<Vec<_>>()).unwrap().with_given(part).unwrap();
        SampleConditions::default().known(data.conditions().clone())
    };
    for (run, conditions, cause) in [
        (&plain, of_class(&[0], 1.0), "no classes; train it with --labels"),
        (&plain, of_class(&[], 2.0), "guidance needs a conditional model"),
        (&classes, of_class(&[4], 1.0), "there is no class 4; the classes of this run are 0 to 2"),
        (&classes, of_class(&[0], f64::NAN), "a guidance of NaN"),
        (&always, of_class(&[0], 2.0), "trained with --label-dropout 0; omit"),
        (&always, of_class(&[3], 1.0), "omit --guidance and --class none"),
        (&classes, with_given(3), "--given: this run was trained without it"),
        (&known, SampleConditions::default(), "name a file with --given"),
        (&known, with_given(9), "9 conditions for 4 samples"),
    ] {
        let refused = sample(&device, run, &Sampling { conditions, steps: 1, ..Sampling::new(4) });
        let message = refused.unwrap_err().to_string();
        assert!(message.contains(cause), "{message}");
    }
    assert!(sample(&device, &known, &Sampling { conditions: with_given(4), steps: 1, ..Sampling::new(4) }).is_ok());
}

fn networks_without_conditions_refuse_them() {
    for name in ["chapter", "simple", "autoencoder"] {
        let model = Model::named(name).unwrap();
        assert!(model.clone().with_conditions(ConditionOptions::default()).is_ok());
        let message = model.with_conditions(ConditionOptions::default().classes(3)).unwrap_err().to_string();
        assert!(message.contains(name) && message.contains("use the model mlp or unet"), "{message}");
    }
}
