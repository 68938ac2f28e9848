//! A small diffusion model, the network `chapter`, trained on sine waves: its loss curve, its DDPM and DDIM samples compared
//! with real waves, and their distance from the data; then the default model with as many steps.
//!
//! `cargo run --release --example full_diffusion_model`

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use langevin::data::{Dataset, Kind, sine_waves};
use langevin::diffusion::{Ddim, Ddpm, Sampler};
use langevin::evaluate::{EvaluateOptions, evaluate};
use langevin::inference::{Sampling, sample};
use langevin::nn::layers;
use langevin::ops::Decay;
use langevin::train::{Config, Trainer};
use langevin::{Device, Result, plot};

fn main() -> Result<()> {
    let device = Device::auto()?;
    println!("device: {device}");
    let out = Path::new("target/examples-out");
    std::fs::create_dir_all(out).expect("the target folder can be written");
    let short = std::env::var_os("LANGEVIN_SHORT").is_some();
    let (steps, count, projections) = if short { (20, 16, 16) } else { (1_500, 128, 128) };
    let waves = Dataset::new("sine waves", [100], sine_waves(8_192, 100, 1))?;

    let mut drawn = vec![("real".to_string(), waves.clone())];
    let mut curves = Vec::new();
    for name in ["chapter", "mlp"] {
        let decay = Decay::Cosine { warmup: 0, total: steps };
        let config = Config { steps, batch: 64, decay, ..Config::for_model(name)? };
        println!("{name}, which predicts {}\n{}", config.prediction, layers(&config.model, &waves.shape)?);
        let mut trainer = Trainer::new(&device, &config, &waves)?;
        let mut losses = Vec::new();
        let started = Instant::now();
        for _ in 0..5 {
            losses.extend(trainer.advance(steps / 5)?);
            let recent = &losses[losses.len() - losses.len().min(steps as usize / 10)..];
            println!("step {:>5}  loss {:.4}", trainer.step(), recent.iter().sum::<f64>() / recent.len() as f64);
        }
        println!("{:.0} steps/s", f64::from(steps) / started.elapsed().as_secs_f64());
        curves.push((
            format!("{name}, on {}", config.prediction),
            losses.iter().enumerate().map(|(i, &loss)| (i as u64 + 1, loss)).collect(),
        ));

        // The chapter's sampler visits all steps, DDIM a tenth of them.
        let checkpoint = trainer.checkpoint()?;
        let ways: [(_, Arc<dyn Sampler>, _); 2] =
            [("DDPM", Arc::new(Ddpm::default()), 1_000), ("DDIM", Arc::new(Ddim::default()), 100)];
        for (title, sampler, steps) in ways.map(|(title, rule, n)| (title, rule, if short { 10 } else { n })) {
            let started = Instant::now();
            let samples = sample(&device, &checkpoint, &Sampling { sampler, steps, ..Sampling::new(count) })?;
            let seconds = started.elapsed().as_secs_f64();
            let found = evaluate(&samples, &waves, &EvaluateOptions::default().projections(projections))?.energy;
            println!(
                "{name}, {title} in {steps} steps, {seconds:.1} s: energy distance {:.3}, {:.3} expected of new data",
                found.value, found.expected
            );
            drawn.push((format!("{name}, {title}"), samples));
        }
    }

    let columns: Vec<_> = drawn.iter().map(|(title, set)| (title.clone(), &set.values[..6 * 100])).collect();
    plot::film_strip(&out.join("full_diffusion_model.svg"), Kind::Signals, &[100], &columns)?;
    println!("picture: {}", out.join("full_diffusion_model.svg").display());
    // Losses on different targets are not comparable, samples are: the chapter's network is small and gives poor waves.
    let curves: Vec<_> =
        curves.iter().map(|(name, losses): &(String, Vec<_>)| (name.as_str(), losses.clone())).collect();
    plot::loss_curve(&out.join("full_diffusion_loss.svg"), &curves)?;
    println!("picture: {}", out.join("full_diffusion_loss.svg").display());
    println!("losses on epsilon and on v are not comparable: compare the samples");
    println!("so few steps give rough waves; a U-Net (langevin train sine --model unet) gives smooth ones");
    Ok(())
}
