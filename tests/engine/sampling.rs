//! Sampling: samples do not depend on how they are drawn, and samplers on a distribution whose best predictor is known.

use std::sync::Arc;

use langevin::diffusion::{
    Ddim, Ddpm, Mix, Objective, Prediction, Row, Sampler, SamplerOptions, SamplerSettings, SamplerTable, Schedule,
    Spacing, Step, Variance, sampler,
};
use langevin::generate::{reverse_process, starting_noise};
use langevin::inference::{Completion, Sampling, sample, sample_in_parts, trace};
use langevin::nn::{Denoiser, Inputs};
use langevin::ops::Combine;
use langevin::train::Checkpoint;
use langevin::{Device, Graph, Var};

use crate::common::{On, Test, always, named, on};
use crate::training::{close, small, tightest, trainer};

pub fn tests() -> Vec<Test> {
    let mut tests = on(
        &[On::Gpu, On::Cpu],
        named![
            a_sample_follows_from_its_number_and_the_seed_alone,
            given_noise_replaces_that_of_the_seed,
            a_trace_leads_to_the_samples,
            solvers_in_f32_follow_those_in_f64,
            the_history_of_a_sampler_starts_at_zero_for_every_sample,
            samplers_reproduce_a_gaussian,
        ],
    );
    tests.extend(always(named![sampling_stops_when_the_observer_says_so]));
    tests
}

/// Noise in every step, and rows of 17 numbers, so that batches begin within blocks of four that are drawn together.
fn a_sample_follows_from_its_number_and_the_seed_alone(on: On) {
    let device = on.open();
    let config = small("mlp");
    let mut t = trainer(&device, &config);
    t.advance(20).unwrap();
    let checkpoint = t.checkpoint().unwrap();
    for (name, calls) in [("ddpm", 5), ("dpmpp_2m_sde", 5), ("unipc", 5), ("edm", 9)] {
        independent_of_batches(&device, &checkpoint, name, calls);
    }
}

/// Draws with 5 steps of a sampler in batches of several sizes.
fn independent_of_batches(device: &Device, checkpoint: &Checkpoint, name: &str, calls: u64) {
    let sampler = sampler(name, SamplerSettings::default()).unwrap();
    let draw = |device: &Device, count: usize| {
        let sampling = Sampling { sampler: sampler.clone(), steps: 5, seed: 9, ..Sampling::new(count) };
        let (mut values, mut parts, mut steps) = (Vec::new(), 0, 0);
        let mut take = |part: &[f32]| {
            parts += 1;
            values.extend_from_slice(part);
            Ok(())
        };
        let mut observe = |progress: Completion| {
            steps = progress.total;
            true
        };
        sample_in_parts(device, checkpoint, &sampling, &mut observe, &mut take)?;
        assert_eq!(steps, calls * parts);
        Ok((values, parts))
    };
    let (whole, parts) = draw(device, 1_100).unwrap();
    assert_eq!((whole.len(), parts), (17 * 1_100, 2));
    assert!(close(&draw(device, 7).unwrap().0, &whole[..7 * 17], 1e-5), "a few of {name}");
    let (_, (split, parts)) = tightest(device, |device| draw(device, 50));
    assert!(parts > 1 && close(&split, &whole[..50 * 17], 1e-5), "{name}: {parts} parts");
    let row = |i: usize| &whole[17 * i..][..17];
    assert!((1..1_100).all(|i| row(i) != row(0)), "every sample has its own noise");
}

/// A checkpoint of a network after a few steps, and its initial noise.
fn trained(device: &Device, seed: u64, count: usize) -> (Checkpoint, Vec<f32>) {
    let mut t = trainer(device, &small("mlp"));
    t.advance(20).unwrap();
    let mut noise = vec![0.0; 17 * count];
    starting_noise(seed, 0, &mut noise);
    (t.checkpoint().unwrap(), noise)
}

fn given_noise_replaces_that_of_the_seed(on: On) {
    let device = on.open();
    let (checkpoint, noise) = trained(&device, 9, 30);
    let draw = |seed, noise: Option<&[f32]>, count| {
        let noise = noise.map(<[f32]>::to_vec);
        sample(&device, &checkpoint, &Sampling { steps: 5, seed, noise, ..Sampling::new(count) }).map(|s| s.values)
    };
    let own = draw(9, None, 30).unwrap();
    assert_eq!(draw(4, Some(&noise), 30).unwrap(), own);
    assert!(close(&draw(4, Some(&noise), 11).unwrap(), &own[..11 * 17], 1e-5), "the first of the noise");
    assert!(draw(4, None, 30).unwrap() != own);
    let e = draw(4, Some(&noise), 31).unwrap_err().to_string();
    assert!(e.contains("31 samples of shape [17] need 527 values") && e.contains("there are 510"), "{e}");
}

fn a_trace_leads_to_the_samples(on: On) {
    let device = on.open();
    let (checkpoint, noise) = trained(&device, 9, 6);
    for (name, times) in [
        ("ddim", &[999.0, 749.0, 499.0, 249.0][..]),
        ("heun", &[999.0, 749.0, 749.0, 499.0, 499.0, 249.0, 249.0]),
        ("unipc", &[999.0, 749.0, 499.0, 249.0]),
    ] {
        for clip in [false, true] {
            let sampler = sampler(name, SamplerSettings::default()).unwrap();
            let spacing = Some(Spacing::Trailing);
            let sampling = Sampling { sampler, steps: 4, seed: 9, clip, spacing, ..Sampling::new(6) };
            let samples = sample(&device, &checkpoint, &sampling).unwrap().values;
            let trace = trace(&device, &checkpoint, &sampling).unwrap();
            assert_eq!(trace.times, times);
            assert_eq!(trace.states[0], checkpoint.facts.normalisation.undo(&noise));
            assert!(close(&trace.samples, &samples, 1e-5), "{name}");
            // The last step of these solvers goes to the estimate.
            assert!(close(trace.estimates.last().unwrap(), &samples, 1e-5), "{name}, clip {clip}");
            assert!(!close(&trace.estimates[0], &samples, 1e-3), "{name}: the first estimate is another one");
        }
    }
}

/// The network of the golden trajectories, in f32 on a device: m = 0.3 x + 0.1 sin(t / 100). Its numbers are exact in f32.
struct Wave;

impl Wave {
    fn row(t: usize) -> [f32; 2] {
        [0.3, 0.1 * (t as f32 / 100.0).sin()]
    }
}

impl Denoiser for Wave {
    fn forward(&self, g: &mut Graph, inputs: Inputs) -> langevin::Result<Var> {
        let (x_t, t) = inputs.unconditional("wave")?;
        let table = g.constant([1_000, 2], (0..1_000).flat_map(Self::row).collect())?;
        let shape = g.shape(x_t).to_vec();
        let ones = g.constant(shape.clone(), vec![1.0; shape.iter().product()])?;
        g.apply1(Combine, &[x_t, ones, t, table])
    }
}

/// The largest error of a state, relative to its largest value, over all states of a trajectory.
fn error_in_f32(device: &Device, table: &SamplerTable) -> f64 {
    let shape = [8, 16];
    let n = shape[0] * shape[1];
    let mut noise = vec![0.0; n];
    starting_noise(3, 0, &mut noise);
    let mut g = Graph::new();
    let state = reverse_process(&mut g, &Wave, table, shape).unwrap();
    let mut run = device.compile(&g).unwrap();
    run.write("x", &noise).unwrap();
    let (mut x, mut h, mut g) = (noise.iter().map(|v| f64::from(*v)).collect::<Vec<_>>(), vec![0.0; n], vec![0.0; n]);
    let mut worst = 0.0f64;
    for (k, row) in table.rows.iter().enumerate() {
        let [slope, shift] = Wave::row(row.level.t as usize).map(f64::from);
        let m: Vec<f64> = x.iter().map(|x| slope * x + shift).collect();
        table.step_f64(k, &mut x, [&mut h, &mut g], &m, &vec![0.0; n]);
        run.steps(1).unwrap();
        let got = run.read_f64(state).unwrap();
        let largest = x.iter().fold(0.0f64, |largest, v| largest.max(v.abs()));
        let error = x.iter().zip(&got).map(|(x, got)| (x - got).abs()).fold(0.0, f64::max);
        assert!(error.is_finite());
        worst = worst.max(error / largest);
    }
    worst
}

/// With few steps, a solver of higher order extrapolates over differences of estimates that are larger than the state that
/// they lead to: 5 steps of Karras spacing on the cosine schedule take sigma from 20,000 to 0.006.
fn solvers_in_f32_follow_those_in_f64(on: On) {
    let device = on.open();
    // The bounds from 20 steps on, and for fewer.
    let solvers = [
        ("ddim", [1e-6, 1e-6]),
        ("euler", [1e-6, 1e-6]),
        ("dpmpp_2m", [1e-6, 4e-6]),
        ("heun", [3e-6, 3e-4]),
        ("unipc", [3e-6, 1e-5]),
    ];
    for (name, steps, bound) in
        solvers.into_iter().flat_map(|(name, [many, few])| [(name, &[20, 50], many), (name, &[5, 10], few)])
    {
        let mut worst = (0.0, String::new());
        for (schedule, prediction, spacing, steps) in settings(steps) {
            let objective = Objective::new(Schedule::named(schedule, 1_000).unwrap(), prediction);
            let sampler = sampler(name, SamplerSettings::default()).unwrap();
            let options = SamplerOptions::shared(sampler, steps).spacing(spacing);
            let error = error_in_f32(&device, &SamplerTable::new(&objective, &options).unwrap());
            if error > worst.0 {
                worst = (error, format!("{schedule}, {prediction}, {steps} steps of {spacing} spacing"));
            }
        }
        println!("{on}: {name}: {:.2e} of the largest value, with {}", worst.0, worst.1);
        assert!(worst.0 <= bound, "{name}: {:.2e} of the largest value, with {}", worst.0, worst.1);
    }
}

fn settings(steps: &[usize]) -> impl Iterator<Item = (&'static str, Prediction, Spacing, usize)> {
    let spacings = [Spacing::Trailing, Spacing::KARRAS, Spacing::Lambda];
    let predictions = [Prediction::Epsilon, Prediction::V, Prediction::X0];
    ["linear", "cosine"].into_iter().flat_map(move |schedule| {
        predictions.into_iter().flat_map(move |prediction| {
            spacings.into_iter().flat_map(move |spacing| steps.iter().map(move |&n| (schedule, prediction, spacing, n)))
        })
    })
}

/// A sampler whose steps depend on those before.
#[derive(Debug)]
struct Remembering;

impl std::fmt::Display for Remembering {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("remembering")
    }
}

impl Sampler for Remembering {
    fn rows(&self, _: &Objective, steps: &[Step]) -> Vec<Row> {
        let row = |step: &Step| {
            let next = step.to.a * Mix::X0 + step.to.s * step.eps() + Mix { d: 0.3, g: 0.2, ..Mix::ZERO };
            let history = [Mix { x0: 0.5, d: 0.5, ..Mix::ZERO }, Mix { x: 0.5, g: 0.5, ..Mix::ZERO }];
            Row { history, ..Row::new(&step.from, next, 0.0) }
        };
        steps.iter().map(row).collect()
    }

    fn default_steps(&self, steps: usize) -> usize {
        steps
    }
}

fn the_history_of_a_sampler_starts_at_zero_for_every_sample(on: On) {
    let device = on.open();
    let checkpoint = trainer(&device, &small("mlp")).checkpoint().unwrap();
    let draw = |device: &Device| {
        let sampling = Sampling { sampler: Arc::new(Remembering), steps: 3, seed: 9, ..Sampling::new(50) };
        let (mut values, mut parts) = (Vec::new(), 0);
        let mut take = |part: &[f32]| {
            parts += 1;
            values.extend_from_slice(part);
            Ok(())
        };
        sample_in_parts(device, &checkpoint, &sampling, &mut |_| true, &mut take)?;
        Ok((values, parts))
    };
    let (whole, one) = draw(&device).unwrap();
    let (_, (split, parts)) = tightest(&device, draw);
    assert!(one == 1 && parts > 3 && close(&split, &whole, 1e-5), "{parts} parts");
}

fn sampling_stops_when_the_observer_says_so() {
    let config = small("mlp");
    let checkpoint = trainer(&Device::cpu(), &config).checkpoint().unwrap();
    let (mut asked, mut taken) = (0, 0);
    let mut observe = |_: Completion| {
        asked += 1;
        asked < 3
    };
    let mut take = |_: &[f32]| {
        taken += 1;
        Ok(())
    };
    let sampling = Sampling { steps: 100, ..Sampling::new(3) };
    let e = sample_in_parts(&Device::cpu(), &checkpoint, &sampling, &mut observe, &mut take).unwrap_err();
    assert!(matches!(e, langevin::Error::Interrupted(_)), "{e:?}");
    assert_eq!((asked, taken), (3, 0));
    // The random numbers of more than 2^34 values would repeat.
    let e = sample(&Device::cpu(), &checkpoint, &Sampling::new(1_010_580_541)).unwrap_err().to_string();
    assert!(e.contains("1010580541 samples of shape [17]; use a count of 1 to 1010580540"), "{e}");
}

/// The best predictor of eps for data N(mean, deviation^2): E[eps | x_t] = (x_t - a_t mean) s_t / (a_t^2 dev^2 + s_t^2).
struct Gaussian {
    schedule: Schedule,
    mean: f64,
    deviation: f64,
}

impl Denoiser for Gaussian {
    fn forward(&self, g: &mut Graph, inputs: Inputs) -> langevin::Result<Var> {
        let (x_t, t) = inputs.unconditional("gaussian")?;
        let rows = self.schedule.noise_table();
        let table = rows.iter().flat_map(|[a, s]| {
            let share = s / (a * a * self.deviation * self.deviation + s * s);
            [share as f32, (-share * a * self.mean) as f32]
        });
        let table = g.constant([rows.len(), 2], table.collect())?;
        let shape = g.shape(x_t).to_vec();
        let ones = g.constant(shape.clone(), vec![1.0; shape.iter().product()])?;
        g.apply1(Combine, &[x_t, ones, t, table])
    }
}

/// Mean and deviation that the sampler's linear recursion gives for this predictor, exactly.
fn predicted(table: &SamplerTable, known: &Gaussian) -> (f64, f64) {
    let rows = known.schedule.noise_table();
    let (mut mean, mut variance) = (0.0, 1.0);
    for row in &table.rows {
        let [a, s] = rows[row.level.t as usize];
        let share = s / (a * a * known.deviation * known.deviation + s * s);
        let shift = -share * a * known.mean;
        let [c_x, c_m] = row.level.x0();
        let factor = row.next.x0 * (c_x + c_m * share) + row.next.x + row.next.m * share;
        mean = factor * mean + (row.next.x0 * c_m + row.next.m) * shift;
        variance = factor * factor * variance + row.k_z * row.k_z;
    }
    (mean, variance.sqrt())
}

fn samplers_reproduce_a_gaussian(on: On) {
    let device = on.open();
    let schedule = Schedule::linear(1_000, 1e-4, 0.02).unwrap();
    let known = Gaussian { schedule: schedule.clone(), mean: 0.7, deviation: 0.5 };
    let samplers: [(Arc<dyn Sampler>, usize); 4] = [
        (Arc::new(Ddpm { variance: Variance::FixedSmall }), 1_000),
        (Arc::new(Ddpm { variance: Variance::FixedLarge }), 1_000),
        (Arc::new(Ddim { eta: 0.0 }), 250),
        (Arc::new(Ddim { eta: 1.0 }), 250),
    ];
    let objective = Objective::new(schedule.clone(), Prediction::Epsilon);
    for (sampler, steps) in samplers {
        let options = SamplerOptions::shared(sampler.clone(), steps).spacing(Spacing::Trailing);
        let table = SamplerTable::new(&objective, &options).unwrap();
        let (rows, cols) = (64, 64);
        let mut g = Graph::new();
        let x = reverse_process(&mut g, &known, &table, [rows, cols]).unwrap();
        let mut run = device.compile(&g).unwrap();
        run.seed(11);
        let clock = langevin::random::Clock { seed: 4, step: 0 };
        let start = (0..(rows * cols / 4) as u32).flat_map(|b| langevin::random::normals::<f32>(clock.words(0, b)));
        run.write("x", &start.collect::<Vec<_>>()).unwrap();
        run.steps(steps as u32).unwrap();
        let x = run.read_f64(x).unwrap();
        let n = x.len() as f64;
        let mean = x.iter().sum::<f64>() / n;
        let deviation = (x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
        // Five standard errors around what the recursion gives, which itself is within 2 % of the data.
        let (want_mean, want_deviation) = predicted(&table, &known);
        assert!(
            (want_mean - 0.7).abs() < 0.01 && (want_deviation - 0.5).abs() < 0.015,
            "{sampler:?}: {want_mean} {want_deviation}"
        );
        assert!((mean - want_mean).abs() < 5.0 * want_deviation / n.sqrt(), "{sampler:?}: {mean}");
        let error = 5.0 * want_deviation / (2.0 * n).sqrt();
        assert!((deviation - want_deviation).abs() < error, "{sampler:?}: {deviation}");
    }
}
