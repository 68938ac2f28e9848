//! The figures of `docs/textbook.md`: noise addition, step encoding, loss, denoising and the full diffusion model on recorded
//! pulse waves.
//!
//! `cargo run --release --example textbook [FOLDER]`

use std::path::{Path, PathBuf};

use langevin::data::corrupt::{NoiseKind, add_noise};
use langevin::data::{Dataset, Kind, Normalisation};
use langevin::diffusion::{Schedule, sampler};
use langevin::evaluate::psnr;
use langevin::generate::forward_process;
use langevin::inference::{Denoising, Sampling, denoise, sample};
use langevin::nn::{StepEncoder, StepEncoderOptions, StepEncoding};
use langevin::plot::{self, Axis, HeatMap, Panel, Scale};
use langevin::train::{Checkpoint, Config, Task, Trainer};
use langevin::{Device, Graph, Result};

/// Values of a pulse wave, per second.
const RATE: f64 = 64.0;
/// Diffusion steps, and the width of their encoding.
const STEPS: usize = 1_000;
const WIDTH: usize = 128;

fn main() -> Result<()> {
    let device = Device::auto()?;
    println!("device: {device}");
    let folder = std::env::args().nth(1).map_or("target/examples-out/textbook".into(), PathBuf::from);
    std::fs::create_dir_all(&folder).expect("the folder can be written");
    let short = std::env::var_os("LANGEVIN_SHORT").is_some();
    let pulses = Dataset::load("data/pulse.npy[0:962]", 0)?;
    let unseen = Dataset::load("data/pulse.npy[966:1203]", 0)?;

    noise(&device, &folder.join("noise.svg"), &pulses)?;
    encoding(&device, &folder)?;
    denoiser(&device, &folder.join("denoised.svg"), [&pulses, &unseen], if short { 30 } else { 4_000 })?;
    full_model(&device, &folder, &pulses, if short { 30 } else { 10_000 })
}

/// A pulse wave after some steps of the forward process.
fn noise(device: &Device, path: &Path, pulses: &Dataset) -> Result<()> {
    let x0 = Normalisation::standard(pulses)?.apply(pulses.sample(40));
    let schedule = Schedule::linear(STEPS, 1e-4, 0.02)?;
    let frames = forward_process(device, &x0, &schedule, 20, 1)?;
    let frame = |steps| frames.iter().find(|frame| frame.steps == steps).expect("a frame after each 50 steps");
    let panel = |frame: &langevin::generate::Frame| {
        let title = match frame.steps {
            0 => "the recorded wave, normalised".to_string(),
            t => format!("after {t} steps, alpha_bar = {:.3}", schedule.alpha_bars()[t - 1]),
        };
        waves(title, "value in standard deviations", &[("x_t", &frame.values)])
    };
    drawn(path, &[0, 100, 300, STEPS].map(|steps| panel(frame(steps))))
}

/// The sinusoidal encoding of all steps, and some of its columns.
fn encoding(device: &Device, folder: &Path) -> Result<()> {
    let options = StepEncoderOptions::default().width(WIDTH).kind(StepEncoding::Sinusoidal);
    let mut g = Graph::new();
    let t = g.state("t", [STEPS])?;
    let y = StepEncoder::new(&mut g, &options)?.forward(&mut g, t)?;
    g.keep(y);
    let mut run = device.compile(&g)?;
    run.write("t", &(0..STEPS).map(|t| t as f32).collect::<Vec<_>>())?;
    run.steps(1)?;
    let encoding = run.read(y)?;

    let columns: Vec<f32> = (0..WIDTH).flat_map(|i| encoding.chunks(WIDTH).map(move |row| row[i])).collect();
    let map = HeatMap {
        title: "sinusoidal encoding of the diffusion step",
        across: "diffusion step t",
        downwards: "element of the encoding",
        columns: STEPS,
        values: &columns,
        range: (-1.0, 1.0),
    };
    let path = folder.join("encoding.svg");
    plot::heat_map(&path, &map)?;
    println!("picture: {}", path.display());

    let curve = |i: usize| {
        let points = columns[i * STEPS..][..STEPS].iter().enumerate().map(|(t, y)| (t as f64, f64::from(*y)));
        (format!("element {i}"), points.collect())
    };
    let panel = |title: &str, elements: [usize; 3]| Panel {
        title: title.into(),
        x: Axis::linear("diffusion step t"),
        y: Axis::linear("value"),
        curves: elements.map(curve).into(),
    };
    drawn(&folder.join("elements.svg"), &[panel("sines", [32, 48, 64]), panel("cosines", [33, 49, 65])])
}

/// Trains the network `chapter` as a denoiser, and draws unseen waves.
fn denoiser(device: &Device, path: &Path, [pulses, unseen]: [&Dataset; 2], steps: u32) -> Result<()> {
    let noise: NoiseKind = "gaussian:0.3".parse()?;
    let config = Config { task: Task::Denoise, noise: Some(noise), steps, ..Config::for_model("chapter")? };
    let (checkpoint, losses) = trained(device, &config, pulses)?;
    println!("denoiser: loss {:.4} after {steps} steps", losses[losses.len() - 1]);
    let noisy = add_noise(device, unseen, noise, 7)?;
    let (clean, _) = denoise(device, &checkpoint, &noisy, &Denoising::default())?;
    let extent = range(&unseen.values);
    let [before, after] = [&noisy, &clean].map(|set| psnr(&set.values, &unseen.values, extent));
    println!("PSNR of unseen waves: {:.1} dB with noise, {:.1} dB denoised", before?, after?);
    let panel = |i: usize| {
        let curves =
            [("noisy", noisy.sample(i)), ("denoised", clean.sample(i)), ("recorded, without noise", unseen.sample(i))];
        waves(format!("unseen pulse wave {i}"), "value", &curves)
    };
    drawn(path, &[30, 90, 150, 210].map(panel))
}

/// Trains the network `chapter` as a diffusion model, and draws its loss and its samples.
fn full_model(device: &Device, folder: &Path, pulses: &Dataset, steps: u32) -> Result<()> {
    let config = Config { steps, ..Config::for_model("chapter")? };
    let (checkpoint, losses) = trained(device, &config, pulses)?;
    let curve = losses.iter().enumerate().map(|(i, &loss)| (i as f64 + 1.0, loss)).collect();
    drawn(
        &folder.join("loss.svg"),
        &[Panel {
            title: "training of the network chapter".into(),
            x: Axis::count("training step"),
            y: Axis::log("mean squared error of the noise"),
            curves: vec![("loss of each step, and its moving mean".into(), curve)],
        }],
    )?;
    let ddpm = sampler("ddpm", Default::default())?;
    let sampling = Sampling { sampler: ddpm, steps: if steps < 1_000 { 10 } else { STEPS }, ..Sampling::new(16) };
    let samples = sample(device, &checkpoint, &sampling)?;
    let recorded = plot::evenly_spaced(pulses, 16);
    let scale = Scale::of(Kind::Signals, &pulses.shape, &pulses.values);
    let sets = [("recorded", &recorded[..]), ("generated by the network chapter", &samples.values)];
    let path = folder.join("generated.svg");
    plot::side_by_side(&path, Kind::Signals, &pulses.shape, &sets, &scale)?;
    println!("picture: {}", path.display());
    Ok(())
}

/// A trained network, and the loss of each step.
fn trained(device: &Device, config: &Config, data: &Dataset) -> Result<(Checkpoint, Vec<f64>)> {
    let mut trainer = Trainer::new(device, config, data)?;
    let mut losses = Vec::new();
    while trainer.step() < config.steps {
        losses.extend(trainer.advance((config.steps - trainer.step()).min(1_000))?);
    }
    Ok((trainer.checkpoint()?, losses))
}

/// Pulse waves over time.
fn waves<'a>(title: String, value: &'a str, curves: &[(&str, &[f32])]) -> Panel<'a> {
    let curve = |(name, values): &(&str, &[f32])| {
        let points = values.iter().enumerate().map(|(i, x)| (i as f64 / RATE, f64::from(*x)));
        (name.to_string(), points.collect())
    };
    Panel { title, x: Axis::linear("time in s"), y: Axis::linear(value), curves: curves.iter().map(curve).collect() }
}

fn drawn(path: &Path, panels: &[Panel]) -> Result<()> {
    plot::panels(path, panels)?;
    println!("picture: {}", path.display());
    Ok(())
}

fn range(values: &[f32]) -> f64 {
    let (low, high) = values.iter().fold((f32::MAX, f32::MIN), |(low, high), x| (low.min(*x), high.max(*x)));
    f64::from(high - low)
}
