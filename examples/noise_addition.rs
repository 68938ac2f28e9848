//! Noise addition: clean and noisy sine waves, every kind of noise on images with its PSNR, and the forward process
//! step by step compared with its closed form.
//!
//! `cargo run --release --example noise_addition`

use std::path::Path;

use langevin::data::corrupt::{NoiseKind, add_noise};
use langevin::data::{Dataset, Kind, Normalisation, sine_waves};
use langevin::diffusion::Schedule;
use langevin::evaluate::psnr;
use langevin::generate::forward_process;
use langevin::plot::{self, Scale};
use langevin::{Device, Result};

fn main() -> Result<()> {
    let device = Device::auto()?;
    println!("device: {device}");
    let out = Path::new("target/examples-out");
    std::fs::create_dir_all(out).expect("the target folder can be written");
    let n = if std::env::var_os("LANGEVIN_SHORT").is_some() { 64 } else { 2_000 };
    let waves = Dataset::new("sine waves", [100], sine_waves(n, 100, 1))?;

    // The chapter's add_noise: data + N(0, scale^2).
    let noisy = add_noise(&device, &waves, NoiseKind::Gaussian(0.1), 1)?;
    let changed: Vec<f64> = noisy.values.iter().zip(&waves.values).map(|(y, x)| f64::from(y - x)).collect();
    let (mean, deviation) = moments(&changed);
    println!("{n} waves of shape {:?}; noise of mean {mean:.4} and deviation {deviation:.4}", waves.shape);
    let picture = out.join("noise_addition.svg");
    let scale = Scale::of(Kind::Signals, &[100], &waves.values);
    let sets = [("clean", &waves.values[..]), ("noisy", &noisy.values)];
    plot::side_by_side(&picture, Kind::Signals, &[100], &sets, &scale)?;
    println!("picture: {}", picture.display());

    kinds(&device, out)?;
    forward(&device, out, &waves)
}

/// Every kind of noise on handwritten digits, whose values are between 0 and 1.
fn kinds(device: &Device, out: &Path) -> Result<()> {
    let images = Dataset::load("data/mnist-1k/train-images-idx3-ubyte[0:64]", 0)?;
    let mut seen = vec![("clean".to_string(), images.clone())];
    println!("{:<18} {:>8}", "noise", "PSNR, dB");
    for kind in ["gaussian:0.1", "uniform:0.17", "speckle:0.2", "salt_pepper:0.05", "poisson:30", "jpeg:10"] {
        let noisy = add_noise(device, &images, kind.parse()?, 1)?;
        println!("{kind:<18} {:>8.2}", psnr(&noisy.values, &images.values, 1.0)?);
        seen.push((kind.to_string(), noisy));
    }
    let columns: Vec<_> = seen.iter().map(|(title, set)| (title.clone(), &set.values[..4 * 784])).collect();
    plot::film_strip(&out.join("noise_kinds.svg"), Kind::Images, &images.shape, &columns)?;
    println!("picture: {}", out.join("noise_kinds.svg").display());
    Ok(())
}

/// Stepwise x_t = sqrt(1 - beta_t) x_{t-1} + z_t, and directly x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) z.
fn forward(device: &Device, out: &Path, waves: &Dataset) -> Result<()> {
    let schedule = Schedule::linear(1_000, 1e-4, 0.02)?;
    let x0 = Normalisation::standard(waves)?.apply(&waves.values);
    let frames = forward_process(device, &x0, &schedule, 10, 1)?;
    println!("{:>5}  {:^29}  {:^29}", "steps", "signal left", "deviation of the noise");
    println!(
        "{:>5}  {:>9} {:>9} {:>9}  {:>9} {:>9} {:>9}",
        "", "formula", "stepwise", "at once", "formula", "stepwise", "at once"
    );
    for frame in frames[1..].iter().step_by(3) {
        let alpha_bar = schedule.alpha_bars()[frame.steps - 1];
        let (signal, noise) = (alpha_bar.sqrt(), (1.0 - alpha_bar).sqrt());
        let faded = Dataset::new("faded", [100], x0.iter().map(|x| signal as f32 * x).collect())?;
        let closed = add_noise(device, &faded, NoiseKind::Gaussian(noise), 2)?;
        let [step, once] = [&frame.values[..], &closed.values].map(|x_t| split(x_t, &x0));
        let steps = frame.steps;
        println!(
            "{steps:>5}  {signal:>9.4} {:>9.4} {:>9.4}  {noise:>9.4} {:>9.4} {:>9.4}",
            step.0, once.0, step.1, once.1
        );
    }
    let columns: Vec<_> = frames.iter().map(|f| (format!("t = {}", f.steps), &f.values[..400])).collect();
    plot::film_strip(&out.join("noise_forward.svg"), Kind::Signals, &[100], &columns)?;
    println!("picture: {}", out.join("noise_forward.svg").display());
    Ok(())
}

/// Splits x_t into a multiple of x_0 and a remainder: the factor by least squares, and the remainder's standard
/// deviation.
fn split(x_t: &[f32], x0: &[f32]) -> (f64, f64) {
    let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
    let factor = product(x_t, x0) / product(x0, x0);
    let rest: Vec<f64> = x_t.iter().zip(x0).map(|(x, x0)| f64::from(*x) - factor * f64::from(*x0)).collect();
    (factor, moments(&rest).1)
}

fn moments(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (mean, (values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt())
}
