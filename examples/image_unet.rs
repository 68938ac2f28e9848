//! A U-Net on handwritten digits of 8 x 8: trains for a minute or two on two CPU cores, generates new digits, and shows
//! real and generated ones side by side.
//!
//! `cargo run --release --example image_unet`

use std::path::Path;
use std::time::Instant;

use langevin::data::Dataset;
use langevin::evaluate::{EvaluateOptions, evaluate};
use langevin::inference::{Sampling, sample};
use langevin::nn::{UNetOptions, layers};
use langevin::ops::Decay;
use langevin::plot::evenly_spaced;
use langevin::plot::save;
use langevin::train::{Config, Trainer};
use langevin::{Device, Result, plot};

fn main() -> Result<()> {
    let device = Device::auto()?;
    println!("device: {device}");
    let out = Path::new("target/examples-out");
    std::fs::create_dir_all(out).expect("the target folder can be written");
    let short = std::env::var_os("LANGEVIN_SHORT").is_some();
    let digits = Dataset::load("data/digits8x8.npy", 0)?;

    // Residual blocks with step conditioning on two levels, 8 x 8 and 4 x 4, with attention on the coarser.
    let (steps, width, batch) = if short { (5, 8, 8) } else { (2_000, 16, 64) };
    let model = UNetOptions::default().width(width);
    let decay = Decay::Cosine { warmup: steps / 20, total: steps };
    let config = Config { steps, batch, decay, lr: 2e-3, ema: 0.99, ..Config::new(model) };
    println!("{}", layers(&config.model, &digits.shape)?);

    let mut trainer = Trainer::new(&device, &config, &digits)?;
    println!("{} digits, batch {batch}, {} MiB of device memory", digits.len(), trainer.allocated() >> 20);
    let started = Instant::now();
    for _ in 0..5 {
        let losses = trainer.advance(steps / 5)?;
        let mean = losses.iter().sum::<f64>() / losses.len() as f64;
        let rate = f64::from(trainer.step()) / started.elapsed().as_secs_f64();
        println!("step {:>5}  loss {mean:.4}  {rate:.1} steps/s", trainer.step());
    }

    let (count, steps) = if short { (4, 2) } else { (144, 50) };
    let started = Instant::now();
    let samples = sample(&device, &trainer.checkpoint()?, &Sampling { steps, ..Sampling::new(count) })?;
    println!("{count} digits drawn by UniPC in {steps} steps, {:.1} s", started.elapsed().as_secs_f64());
    println!("{}", evaluate(&samples, &digits, &EvaluateOptions::default().seed(1))?);

    plot::compare(
        &out.join("image_unet.svg"),
        digits.kind(),
        &digits.shape,
        &evenly_spaced(&digits, 36),
        &samples.values,
    )?;
    println!("picture: {}", out.join("image_unet.svg").display());
    save(&out.join("image_unet.png"), &samples.shape, &samples.values)?;
    println!("picture: {}", out.join("image_unet.png").display());
    Ok(())
}
