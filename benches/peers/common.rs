//! What the Rust peers share: the definitions of `langevin bench`, the timing, and the output of a row.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};

pub const T: usize = 1000;
pub const ENCODING: usize = 128;
pub const ROWS: usize = 8192;
pub const NOISE: [usize; 2] = [16_384, 784];

/// What an iteration does.
#[derive(Clone, Copy)]
pub enum Kind {
    Train { net: Net, batch: usize },
    Gemm { n: usize },
    Noise,
    Sample { net: Net, batch: usize, steps: usize },
    FirstStep,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Net {
    Seed,
    Mlp,
    Conv,
}

impl Net {
    pub fn data(self) -> usize {
        if self == Net::Seed { 100 } else { 784 }
    }

    /// Of the layers of a network without convolutions.
    pub fn widths(self) -> &'static [usize] {
        match self {
            Net::Seed => &[100 + ENCODING, 128, 100],
            Net::Mlp => &[784 + ENCODING, 1024, 1024, 1024, 784],
            Net::Conv => &[],
        }
    }
}

const ALL: [(&str, Kind); 12] = [
    ("seed-32", Kind::Train { net: Net::Seed, batch: 32 }),
    ("seed-256", Kind::Train { net: Net::Seed, batch: 256 }),
    ("seed-4096", Kind::Train { net: Net::Seed, batch: 4096 }),
    ("mlp-256", Kind::Train { net: Net::Mlp, batch: 256 }),
    ("gemm-512", Kind::Gemm { n: 512 }),
    ("gemm-1024", Kind::Gemm { n: 1024 }),
    ("gemm-2048", Kind::Gemm { n: 2048 }),
    ("noise", Kind::Noise),
    ("ddim-50", Kind::Sample { net: Net::Mlp, batch: 64, steps: 50 }),
    ("ddpm-1000", Kind::Sample { net: Net::Seed, batch: 256, steps: T }),
    ("conv-32", Kind::Train { net: Net::Conv, batch: 32 }),
    ("first-step", Kind::FirstStep),
];

/// The cumulative products of the linear schedule.
pub fn alpha_bar() -> Vec<f64> {
    let mut product = 1.0;
    let beta = |t: usize| 1e-4 + (0.02 - 1e-4) * t as f64 / (T - 1) as f64;
    let mut next = |t| {
        product *= 1.0 - beta(t);
        product
    };
    (0..T).map(&mut next).collect()
}

/// enc[t][2i] = sin(t r_i), enc[t][2i+1] = cos(t r_i), r_i = 10000^(-2i/d).
pub fn encoding_table() -> Vec<f32> {
    let angle = |t: usize, i: usize| t as f64 * 10_000f64.powf(-2.0 * i as f64 / ENCODING as f64);
    let pair = |t: usize, i: usize| [angle(t, i).sin() as f32, angle(t, i).cos() as f32];
    (0..T).flat_map(|t| (0..ENCODING / 2).flat_map(move |i| pair(t, i))).collect()
}

/// t and a, b, s of each step of x <- a x + b eps + s z: DDIM with eta 0, or DDPM with its small variance for T steps.
pub fn reverse_table(steps: usize) -> Vec<(usize, [f64; 3])> {
    let (bar, stride) = (alpha_bar(), T / steps);
    let row = |t: usize| {
        let (at, ap) = (bar[t], if t >= stride { bar[t - stride] } else { 1.0 });
        let (scale, part) = (at.powf(-0.5), ((1.0 - at) / at).sqrt()); // x0 = scale x - part eps
        if steps < T {
            return (t, [ap.sqrt() * scale, (1.0 - ap).sqrt() - ap.sqrt() * part, 0.0]);
        }
        let beta = 1.0 - at / ap;
        let (of_x0, of_x) = (ap.sqrt() * beta / (1.0 - at), (at / ap).sqrt() * (1.0 - ap) / (1.0 - at));
        (t, [of_x0 * scale + of_x, -of_x0 * part, (beta * (1.0 - ap) / (1.0 - at)).sqrt()])
    };
    (0..T).step_by(stride).rev().map(row).collect()
}

/// `advance(n, losses)` of a workload: `n` iterations, finished; `losses` gets every hundredth and the last.
pub type Job = Box<dyn FnMut(usize, &mut Vec<f32>)>;

/// A library on a device.
pub struct Peer {
    pub library: &'static str,
    pub backend: &'static str,
    /// Makes a workload ready.
    pub job: Box<dyn Fn(Kind) -> Job>,
}

impl Peer {
    /// Measures what the arguments name: `--workload W` (several times if wanted), `--quick`.
    pub fn run(&self, arguments: &[String]) {
        let has = |word: &str| arguments.iter().any(|a| a == word);
        if has("--child") {
            let mut losses = Vec::new();
            (self.job)(ALL[1].1)(1, &mut losses); // seed-256
            return println!("loss {}", losses[0]);
        }
        let named: Vec<&String> = arguments.windows(2).filter(|w| w[0] == "--workload").map(|w| &w[1]).collect();
        if let Some(unknown) = named.iter().find(|n| ALL.iter().all(|(name, _)| name != *n)) {
            panic!("no workload {unknown:?}; there are {:?}", ALL.map(|w| w.0));
        }
        for (name, kind) in ALL.into_iter().filter(|(name, _)| named.is_empty() || named.iter().any(|n| n == name)) {
            match kind {
                Kind::FirstStep => self.first_step(name, arguments),
                kind => self.measure(name, kind, has("--quick")),
            }
        }
    }

    fn measure(&self, name: &str, kind: Kind, quick: bool) {
        let mut job = (self.job)(kind);
        let mut losses = Vec::new();
        let rates = rates(quick, |n| job(n, &mut losses));
        let print = |metric, unit, amount: f64, more| {
            self.print(name, metric, unit, &rates.iter().map(|r| r * amount).collect::<Vec<_>>(), more);
        };
        match kind {
            Kind::Gemm { n } => print("gemm", "GFLOP/s", 4e-9 * (n as f64).powi(3), json!({})),
            Kind::Noise => print("elements", "elements/s", (NOISE[0] * NOISE[1]) as f64, json!({"batch": NOISE[0]})),
            Kind::Sample { batch, .. } => print("samples", "samples/s", batch as f64, json!({"batch": batch})),
            Kind::Train { batch, .. } => {
                (0..5).for_each(|_| job(4, &mut losses));
                let last = &losses[losses.len() - (losses.len() / 4).max(1)..];
                let last = last.iter().sum::<f32>() / last.len() as f32;
                let more = json!({"batch": batch, "loss_first": losses[0], "loss_last": last});
                print("training_steps", "steps/s", 1.0, more);
            }
            Kind::FirstStep => unreachable!("measured by starts"),
        }
    }

    /// One JSON object with the keys of `langevin bench --json`, for its `--compare` too.
    fn print(&self, name: &str, metric: &str, unit: &str, values: &[f64], more: Value) {
        let mut row = json!({
            "library": self.library, "backend": self.backend, "workload": name, "metric": metric, "unit": unit,
            "value": values[values.len() / 2], "chunks": values, "precision": "f32",
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            row[key] = value.clone();
        }
        println!("{row}");
    }

    /// Seconds of fresh processes up to their first line, with whatever the library keeps on disk there already.
    fn first_step(&self, name: &str, arguments: &[String]) {
        let start = || {
            let started = Instant::now();
            let mut command = Command::new(std::env::current_exe().expect("the program has a path"));
            let mut child = command.args(arguments).arg("--child").stdout(Stdio::piped()).spawn().expect("it starts");
            let mut line = String::new();
            BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("it says a line");
            let seconds = started.elapsed().as_secs_f64();
            assert!(child.wait().is_ok_and(|s| s.success()) && line.starts_with("loss"), "it said {line:?}");
            seconds
        };
        start();
        let mut times = [(); 3].map(|()| start());
        times.sort_by(f64::total_cmp);
        self.print(name, "first_step_warm", "s", &times, json!({"batch": 256}));
    }
}

/// Rates of iterations, sorted. Tuning is over before the clock starts: `advance` is called until its time settles.
fn rates(quick: bool, mut advance: impl FnMut(usize)) -> Vec<f64> {
    let (chunk, chunks) = if quick { (0.2, 3) } else { (1.0, 5) };
    let mut timed = |n: usize| {
        let start = Instant::now();
        advance(n);
        start.elapsed().as_secs_f64()
    };
    let mut least = f64::INFINITY;
    loop {
        let seconds = timed(1);
        if seconds > 0.7 * least {
            break;
        }
        least = seconds;
    }
    let mut n = 1;
    let seconds = loop {
        let seconds = timed(n);
        if seconds >= 0.3 * chunk {
            break seconds;
        }
        n *= 2;
    };
    let n = (n as f64 / seconds * chunk).ceil() as usize;
    let mut rates: Vec<f64> = (0..chunks).map(|_| n as f64 / timed(n)).collect();
    rates.sort_by(f64::total_cmp);
    rates
}
