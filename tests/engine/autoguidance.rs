//! Autoguidance: a second network as the negative branch, against a host computation from both networks by themselves.

use std::sync::Arc;

use langevin::data::{Dataset, sine_waves};
use langevin::diffusion::{Level, SamplerSettings, Spacing, sampler};
use langevin::generate::starting_noise;
use langevin::inference::{Guidance, SampleConditions, Sampling, sample, trace};
use langevin::nn::Inputs;
use langevin::train::{Checkpoint, Config, Task};
use langevin::{Device, Graph, Run, Var};

use crate::common::{On, Test, always, named, on};
use crate::conditions::{clusters, of_class, trained, waves};
use crate::training::{close, small, tightest};

pub fn tests() -> Vec<Test> {
    let mut tests = on(
        &[On::Gpu, On::Cpu, On::Reference],
        named![guided_samples_are_those_of_both_networks_by_themselves, a_scale_of_zero_draws_the_samples_of_the_guide,],
    );
    tests.extend(always(named![a_guide_that_does_not_fit_is_refused]));
    tests
}

/// A network alone in a graph, with the class 1 for all samples if it has classes.
struct Alone {
    run: Run,
    output: Var,
}

impl Alone {
    fn new(device: &Device, checkpoint: &Checkpoint, [rows, width]: [usize; 2]) -> Self {
        let Checkpoint { config, facts, .. } = checkpoint;
        let mut g = Graph::seeded(config.seed);
        let network = config.model.build(&mut g, &facts.shape).unwrap();
        let inputs = Inputs::new(g.state("x", [rows, width]).unwrap(), g.state("t", [rows]).unwrap());
        let inputs = config.model.conditions().add_states(&mut g, inputs, &facts.shape).unwrap();
        let output = network.forward(&mut g, inputs).unwrap();
        g.keep(output);
        let mut run = device.compile(&g).unwrap();
        checkpoint.write_weights(&mut run).unwrap();
        if inputs.class.is_some() {
            run.write("class", &vec![1.0; rows]).unwrap();
        }
        Self { run, output }
    }

    /// The estimates of (x0, eps) at a level.
    fn estimates(&mut self, x: &[f64], level: &Level) -> Vec<[f64; 2]> {
        let rows = self.run.graph().shape(self.output)[0];
        self.run.write("x", &x.iter().map(|x| *x as f32).collect::<Vec<_>>()).unwrap();
        self.run.write("t", &vec![level.t as f32; rows]).unwrap();
        self.run.steps(1).unwrap();
        let m = self.run.read_f64(self.output).unwrap();
        let ([c_x, c_m], [e_x, e_m]) = (level.x0(), level.eps());
        x.iter().zip(m).map(|(x, m)| [c_x * x + c_m * m, e_x * x + e_m * m]).collect()
    }
}

/// The reverse process of a solver without noise, from estimates of both networks that are combined on the host.
fn on_the_host(device: &Device, [run, guide]: [&Checkpoint; 2], sampling: &Sampling) -> Vec<f32> {
    let [to, from] = [run, guide].map(|checkpoint| checkpoint.config.objective().unwrap());
    let table = sampling.table(&to, None).unwrap();
    let Guidance { scale: w, interval, .. } = sampling.conditions.guidance;
    let width: usize = run.facts.shape.iter().product();
    let shape = [sampling.count, width];
    let mut networks = [run, guide].map(|checkpoint| Alone::new(device, checkpoint, shape));
    let mut noise = vec![0.0; sampling.count * width];
    starting_noise(sampling.seed, 0, &mut noise);
    let mut x: Vec<f64> = noise.iter().map(|v| f64::from(*v)).collect();
    let zeros = vec![0.0; x.len()];
    let mut histories = [zeros.clone(), zeros.clone()];
    for (k, row) in table.rows.iter().enumerate() {
        let of_guide = row.level.with_prediction(from.prediction());
        let own = networks[0].estimates(&x, &row.level);
        let weaker = networks[1].estimates(&x, &of_guide);
        let w = if interval.is_none_or(|[low, high]| (low..=high).contains(&row.level.t)) { w } else { 1.0 };
        let guided = |(own, weaker): (&[f64; 2], &[f64; 2])| {
            let [x0, eps] = [0, 1].map(|i| weaker[i] + w * (own[i] - weaker[i]));
            row.level.p * x0 + row.level.q * eps
        };
        let m: Vec<f64> = own.iter().zip(&weaker).map(guided).collect();
        let [h, g] = &mut histories;
        table.step_f64(k, &mut x, [h, g], &m, &zeros);
    }
    run.facts.normalisation.undo(&x.iter().map(|v| *v as f32).collect::<Vec<_>>())
}

/// A run and its guide, and how samples are drawn.
struct Pair {
    run: Checkpoint,
    guide: Checkpoint,
    sampling: Sampling,
}

fn with(config: Config, settings: &[(&str, &str)]) -> Config {
    settings.iter().fold(config, |config, (name, value)| config.with(name, value).unwrap())
}

/// The same points without their classes.
fn points(n: usize) -> Dataset {
    Dataset::new("clusters", [2], clusters(n).values.into()).unwrap()
}

/// Guides with the conditions of the run and without, of another size and another prediction, on paths of steps and of
/// continuous times. The frequencies of `fourier` depend on the seed.
fn pairs(device: &Device) -> Vec<Pair> {
    let weak = [("width", "12"), ("depth", "1"), ("seed", "7"), ("step_encoding", "fourier")];
    let mlp = || small("mlp");
    let flow =
        |settings: &[(&str, &str)]| with(mlp(), &[&[("objective", "flow"), ("prediction", "flow")], settings].concat());
    let signals = Dataset::new("signals", [16], sine_waves(60, 16, 3)).unwrap();
    let drawn = |name: &str, steps: usize, spacing: Option<Spacing>| {
        let sampler = sampler(name, SamplerSettings::default()).unwrap();
        Sampling { sampler, steps, spacing, clip: false, seed: 5, ..Sampling::new(6) }
    };
    let pair = |run: (&Config, &Dataset), guide: (&Config, &Dataset), sampling: Sampling| {
        let (run, guide) = (trained(device, run.0, run.1, 6), trained(device, guide.0, guide.1, 3));
        let classes = if run.facts.conditions.classes > 0 { vec![1] } else { vec![] };
        let conditions = of_class(&classes, 2.5);
        Pair { run, guide: guide.clone(), sampling: Sampling { conditions, guide: Some(Arc::new(guide)), ..sampling } }
    };
    let latent = with(small("autoencoder"), &[("prediction", "x0"), ("width", "8"), ("seed", "3")]);
    vec![
        pair((&mlp(), &clusters(60)), (&with(mlp(), &weak), &clusters(60)), drawn("unipc", 4, None)),
        pair(
            (&mlp(), &clusters(60)),
            (&with(mlp(), &[("prediction", "epsilon")]), &points(60)),
            drawn("euler", 5, Some(Spacing::Linspace)),
        ),
        pair((&small("autoencoder"), &signals), (&latent, &signals), drawn("heun", 3, None)),
        pair(
            (&flow(&[]), &points(60)),
            (&flow(&[("prediction", "x0"), ("times", "log_normal")]), &points(60)),
            drawn("dpmpp_2m", 4, None),
        ),
    ]
}

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(1.0, |most, v| most.max(v.abs()))
}

fn guided_samples_are_those_of_both_networks_by_themselves(on: On) {
    let device = on.open();
    for (i, Pair { run, guide, sampling }) in pairs(&device).iter().enumerate() {
        let drawn = |sampling: &Sampling| sample(&device, run, sampling).unwrap().values;
        let (got, want) = (drawn(sampling), on_the_host(&device, [run, guide], sampling));
        let error = 1e-4 * largest(&want);
        assert!(close(&got, &want, error), "pair {i}: {got:?} {want:?}");
        let alone = drawn(&Sampling { guide: None, conditions: no_guidance(sampling), ..sampling.clone() });
        assert!(!close(&got, &alone, 1e-2), "pair {i}: the guide has no effect");
        // A scale of 1 is no guidance.
        let one = drawn(&Sampling { conditions: no_guidance(sampling), ..sampling.clone() });
        assert!(close(&one, &alone, 1e-5), "pair {i}: scale 1");
        let traced = trace(&device, run, sampling).unwrap();
        assert!(close(&traced.samples, &want, error), "pair {i}: trace");
        let within = sampling.conditions.guidance.interval(Some([300.0, 900.0]));
        let sampling = Sampling { conditions: sampling.conditions.clone().guidance(within), ..sampling.clone() };
        let (got, want) = (drawn(&sampling), on_the_host(&device, [run, guide], &sampling));
        assert!(close(&got, &want, error), "pair {i}, interval: {got:?} {want:?}");
    }
    // In batches of a few samples, on a device with little memory.
    let Pair { run, sampling, .. } = pairs(&device).swap_remove(0);
    let many = Sampling { count: 50, ..sampling };
    let whole = sample(&device, &run, &many).unwrap().values;
    let (_, split) = tightest(&device, |device| sample(device, &run, &many));
    assert!(close(&split.values, &whole, 1e-4), "batches");
}

fn no_guidance(sampling: &Sampling) -> SampleConditions {
    sampling.conditions.clone().guidance(Guidance::default())
}

/// With noise in each step, and clipped to the range of the data.
fn a_scale_of_zero_draws_the_samples_of_the_guide(on: On) {
    let device = on.open();
    for Pair { run, guide, sampling } in pairs(&device) {
        for (name, spacing) in
            [("ddpm", Spacing::Trailing), ("edm", Spacing::Linspace), ("dpmpp_2m_sde", Spacing::Trailing)]
        {
            let sampler = sampler(name, SamplerSettings::default()).unwrap();
            let zero = sampling.conditions.guidance.scale(0.0);
            let conditions = sampling.conditions.clone().guidance(zero);
            let drawn = Sampling { sampler, spacing: Some(spacing), conditions, clip: true, ..sampling.clone() };
            let got = sample(&device, &run, &drawn).unwrap().values;
            let conditions = match guide.facts.conditions.classes {
                0 => SampleConditions::default(),
                _ => no_guidance(&sampling),
            };
            let want = sample(&device, &guide, &Sampling { guide: None, conditions, ..drawn }).unwrap().values;
            assert!(close(&got, &want, 2e-4 * largest(&want)), "{name}: {got:?} {want:?}");
        }
    }
}

fn a_guide_that_does_not_fit_is_refused() {
    let device = Device::cpu();
    let mlp = || small("mlp");
    let made = |config: Config, data: &Dataset| trained(&device, &config, data, 1);
    let (plain, classes) = (made(mlp(), &points(60)), made(mlp(), &clusters(60)));
    let mut never = mlp();
    never.condition.dropout = 0.0;
    let always = made(never, &clusters(60));
    let longer = made(mlp(), &Dataset::new("d", [3], waves(180).collect::<Vec<_>>()).unwrap());
    let wider = points(60).values.iter().map(|v| 2.0 * v).collect::<Vec<_>>();
    let wider = made(mlp(), &Dataset::new("d", [2], wider).unwrap());
    let denoiser = Config { task: Task::Denoise, noise: Some("gaussian:0.1".parse().unwrap()), ..mlp() };
    let denoiser = made(denoiser, &points(60));
    let cosine = made(with(mlp(), &[("schedule", "cosine")]), &points(60));
    let flow = made(with(mlp(), &[("objective", "flow"), ("prediction", "flow")]), &points(60));
    let vectors = points(60).with_vectors(Dataset::new("v", [3], waves(180).collect::<Vec<_>>()).unwrap()).unwrap();
    let vectors = made(mlp(), &vectors);
    let gaps = made(Config { task: Task::Complete, ..mlp() }, &points(60));
    let refused = |run: &Checkpoint, guide: &Checkpoint, conditions: SampleConditions, causes: &[&str]| {
        let guide = Some(Arc::new(guide.clone()));
        let drawn = sample(&device, run, &Sampling { conditions, guide, steps: 1, ..Sampling::new(4) });
        let message = drawn.unwrap_err().to_string();
        assert!(causes.iter().all(|cause| message.contains(cause)), "{message}");
    };
    for (guide, causes) in [
        (&longer, &["shape [3]", "[2]", "the same data"][..]),
        (&wider, &["another mean and deviation", "the same data"]),
        (&denoiser, &["a denoiser", "generates samples"]),
        (&cosine, &["cosine", "linear", "the same --objective"]),
        (&flow, &["straight path", "linear", "the same --objective"]),
        (&classes, &["conditioned on classes", "--labels"]),
        (&vectors, &["conditioned on vectors", "--condition"]),
        (&gaps, &["conditioned on known values", "--task complete"]),
    ] {
        refused(&plain, guide, of_class(&[], 2.0), causes);
    }
    refused(&classes, &always, of_class(&[3], 2.0), &["--label-dropout 0", "omit --class none"]);
    refused(&plain, &cosine, of_class(&[], 1.0), &["cosine"]);
    // Neither network needs to have learned samples without a class.
    let guide = Some(Arc::new(always.clone()));
    let drawn = Sampling { conditions: of_class(&[0], 2.0), guide, steps: 1, ..Sampling::new(4) };
    assert_eq!(sample(&device, &always, &drawn).unwrap().len(), 4);
}
