//! Step encoding: the step t as a row of sines and cosines, the distance between steps, the other available encodings,
//! and their accuracy at the last step.
//!
//! `cargo run --release --example step_encoding`

use std::f64::consts::TAU;
use std::path::Path;

use langevin::data::Kind;
use langevin::nn::{StepEncoder, StepEncoderOptions, StepEncoding};
use langevin::{Device, Graph, Result, plot};

const STEPS: usize = 1_000;
const WIDTH: usize = 128;
/// Steps in the plots.
const SHOWN: usize = 128;

fn main() -> Result<()> {
    let device = Device::auto()?;
    println!("device: {device}");
    let out = Path::new("target/examples-out");
    std::fs::create_dir_all(out).expect("the target folder can be written");

    // The chapter's encoding: enc[2i] = sin(t / 10000^(2i / d)), enc[2i + 1] = cos(t / 10000^(2i / d)).
    let encoding = encode(&device, "sinusoidal")?;
    let row = |t: usize| &encoding[t * WIDTH..][..WIDTH];
    println!("encoding of {STEPS} steps: shape [{STEPS}, {WIDTH}]; step 10 begins {:.4?}", &row(10)[..6]);
    println!("distance between t and t + k: it depends on k alone");
    println!("{:>6} {:>8} {:>8} {:>8} {:>8} {:>8}", "t", "k = 1", "k = 5", "k = 25", "k = 125", "k = 500");
    for t in [0, 100, 450] {
        let [a, b, c, d, e] = [1, 5, 25, 125, 500].map(|k| distance(row(t), row(t + k)));
        println!("{t:>6} {a:>8.4} {b:>8.4} {c:>8.4} {d:>8.4} {e:>8.4}");
    }

    // Some columns over t, each sine above its cosine; every pair has a lower frequency than the one before.
    let curve = |column: usize| encoding.chunks(WIDTH).take(SHOWN).map(move |row| row[column] as f32);
    let pairs = (0..8).map(|i| (format!("{}, {}", 8 * i, 8 * i + 1), curve(8 * i).chain(curve(8 * i + 1)).collect()));
    strip(&out.join("step_encoding_curves.svg"), Kind::Signals, &[SHOWN], &pairs.collect::<Vec<_>>())?;

    // All encodings of the first steps as images: t to the right, columns downwards.
    let mut pictures = Vec::new();
    let last = STEPS - 1;
    println!("{:<12} {:>10} {:>22}", "encoding", "|enc(999)|", "error against f64");
    for &name in StepEncoding::NAMES {
        let (values, exact) = (encode(&device, name)?, encode(&Device::reference(), name)?);
        let norm = distance(&values[last * WIDTH..], &[0.0; WIDTH]);
        let error = values.iter().zip(&exact).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        println!("{name:<12} {norm:>10.4} {error:>22.1e}");
        let pixel = |at: usize| values[at % SHOWN * WIDTH + at / SHOWN].clamp(-1.0, 1.0) as f32;
        pictures.push((name.to_string(), (0..WIDTH * SHOWN).map(pixel).collect()));
    }
    println!("a learned encoding is initialised with noise and is untrained here");
    strip(&out.join("step_encoding.svg"), Kind::Images, &[1, WIDTH, SHOWN], &pictures)?;

    // The formula evaluated in f64 and naively in f32.
    let rate = |i: usize| 10_000f64.powf(-((2 * i) as f64) / WIDTH as f64);
    let worst = |of: &dyn Fn(usize) -> f64| {
        let error = |i: usize| (of(i) - (last as f64 * rate(i)).sin()).abs();
        (0..WIDTH / 2).map(error).fold(0.0, f64::max)
    };
    let naive = worst(&|i| f64::from((last as f32 * rate(i) as f32).sin()));
    let turns = last as f64 / TAU;
    println!(
        "sines at t = {last} (up to {turns:.0} turns) against the formula in f64: engine {:.1e}, plain f32 {naive:.1e}",
        worst(&|i| row(last)[2 * i])
    );
    Ok(())
}

fn strip(path: &Path, kind: Kind, shape: &[usize], columns: &[(String, Vec<f32>)]) -> Result<()> {
    let columns: Vec<_> = columns.iter().map(|(title, values)| (title.clone(), &values[..])).collect();
    plot::film_strip(path, kind, shape, &columns)?;
    println!("picture: {}", path.display());
    Ok(())
}

/// The encodings of all steps, one row per step.
fn encode(device: &Device, name: &str) -> Result<Vec<f64>> {
    let kind = name.parse()?;
    let options = StepEncoderOptions::default().width(WIDTH).kind(kind).learned_steps(STEPS);
    let mut g = Graph::new();
    let t = g.state("t", [STEPS])?;
    let y = StepEncoder::new(&mut g, &options)?.forward(&mut g, t)?;
    g.keep(y);
    let mut run = device.compile(&g)?;
    run.write("t", &(0..STEPS).map(|t| t as f32).collect::<Vec<_>>())?;
    run.steps(1)?;
    run.read_f64(y)
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
}
