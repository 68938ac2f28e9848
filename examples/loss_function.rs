//! Loss functions: the mean squared error computed manually and by the engine, a sum that is not divided by the channels, other
//! losses and a mix, each with its gradient, and how they grow with the noise.
//!
//! `cargo run --release --example loss_function`

use std::path::Path;

use langevin::data::corrupt::{NoiseKind, add_noise};
use langevin::data::{Dataset, sine_waves};
use langevin::train::{LossInputs, LossMix, Term};
use langevin::{Device, Graph, Result, plot};

/// Images of three channels, which `mse_document` does not count.
const IMAGE: [usize; 3] = [3, 16, 16];
const LEN: usize = 3 * 16 * 16;
const LOSSES: [&str; 6] = ["mse", "mse_document", "l1", "huber:1:0.1", "ssim", "mse:1,l1:0.2,ssim:0.1"];

fn main() -> Result<()> {
    let device = Device::auto()?;
    println!("device: {device}");
    let out = Path::new("target/examples-out");
    std::fs::create_dir_all(out).expect("the target folder can be written");
    let short = std::env::var_os("LANGEVIN_SHORT").is_some();

    // Products of two waves, between 0 and 1, clean and with noise.
    let n = if short { 8 } else { 64 };
    let (rows, columns) = (sine_waves(3 * n, 16, 1), sine_waves(3 * n, 16, 2));
    let pairs = rows.chunks(16).zip(columns.chunks(16));
    let values = pairs.flat_map(|(r, c)| r.iter().flat_map(move |r| c.iter().map(move |c| 0.5 + 0.5 * r * c)));
    let clean = Dataset::new("images", IMAGE, values.collect())?;
    let noisy = add_noise(&device, &clean, NoiseKind::Gaussian(0.1), 1)?;

    let errors: Vec<f64> = noisy.values.iter().zip(&clean.values).map(|(x, y)| f64::from(*x) - f64::from(*y)).collect();
    let squares: f64 = errors.iter().map(|e| e * e).sum();
    let count = errors.len() as f64;
    println!("{:<28} {:>12} {:>12}", "loss", "value", "|gradient|");
    println!("{:<28} {:>12.6} {:>12.6}", "mse by hand", squares / count, 2.0 * squares.sqrt() / count);
    let positions = count / 3.0;
    println!(
        "{:<28} {:>12.6} {:>12.6}",
        "sum / (N W H) by hand",
        squares / positions,
        2.0 * squares.sqrt() / positions
    );
    for text in LOSSES {
        let (value, gradient) = loss(&device, text, &noisy, &clean)?;
        println!("{text:<28} {value:>12.6} {gradient:>12.6}");
    }

    // MSE grows with the square of the noise; SSIM already reacts to little noise and then saturates.
    let levels: Vec<u64> = (1..=if short { 4 } else { 25 }).map(|i| 20 * i).collect();
    let mut curves: Vec<_> = ["mse", "l1", "ssim"].into_iter().map(|name| (name, Vec::new())).collect();
    for &level in &levels {
        let noisy = add_noise(&device, &clean, NoiseKind::Gaussian(level as f64 / 1_000.0), 1)?;
        for (name, points) in &mut curves {
            points.push((level, loss(&device, name, &noisy, &clean)?.0));
        }
    }
    let picture = out.join("loss_function.svg");
    plot::curves(
        &picture,
        "error of the two losses",
        ["deviation of the noise, thousandths of the range", "loss"],
        &curves,
    )?;
    println!("picture: {}", picture.display());
    Ok(())
}

/// A loss, and the norm of its gradient with respect to the prediction.
fn loss(device: &Device, text: &str, prediction: &Dataset, target: &Dataset) -> Result<(f64, f64)> {
    let mix: LossMix = text.parse()?;
    let mut g = Graph::new();
    let (x, y) = (g.state("prediction", [target.len(), LEN])?, g.state("target", [target.len(), LEN])?);
    let terms = mix.add_to(&mut g, &LossInputs::new(x, y, &IMAGE, 1.0))?;
    let d = g.backward(&Term::scalars(&terms), &[x])?.of(x).expect("every loss depends on the prediction");
    g.keep(d);
    let mut run = device.compile(&g)?;
    run.write("prediction", &prediction.values)?;
    run.write("target", &target.values)?;
    run.steps(1)?;
    let mut value = 0.0;
    for term in &terms {
        value += term.weight * term.history(&run, 1)?[0];
    }
    Ok((value, run.read_f64(d)?.iter().map(|d| d * d).sum::<f64>().sqrt()))
}
