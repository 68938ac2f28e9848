//! The statistics of the noise layer against the expected ones of `statistics.json`, beside the golden values.
//!
//! Everything follows from the file: kinds, strengths, numbers of samples and bounds. A field without a bound of its own
//! has five standard errors, from the distribution the entry describes. A field that is not known is a failure.

use langevin::ops::{Disturbance, quantisation};
use langevin::{Device, Graph, Result, Var};
use serde_json::{Map, Value};

use crate::common::{On, Test, named, on};
use crate::golden::manifest::{Golden, folder};

pub fn tests() -> Vec<Test> {
    on(&[On::Gpu, On::Cpu], named![noise_has_the_expected_statistics])
}

type Entry = Map<String, Value>;

/// One number that has to be within a bound.
struct Claim {
    field: &'static str,
    got: f64,
    bound: f64,
}

/// Fields that describe the entry, or another program's file.
const DESCRIPTIONS: [&str; 9] =
    ["n", "scale", "amount", "salt_ratio", "x", "peak", "definition", "quality", "libjpeg_file_bytes"];

fn number(entry: &Entry, field: &str) -> f64 {
    entry.get(field).and_then(Value::as_f64).unwrap_or_else(|| panic!("no number {field:?} in {entry:?}"))
}

/// n values of `x` with noise, drawn on the device.
fn drawn(device: &Device, disturbance: Disturbance, n: usize, x: f64) -> Result<Vec<f64>> {
    let mut g = Graph::new();
    let x = g.constant([n], vec![x as f32; n])?;
    let y = g.add_noise(x, disturbance)?;
    run_once(device, g, y)
}

fn run_once(device: &Device, mut g: Graph, y: Var) -> Result<Vec<f64>> {
    g.keep(y);
    let mut run = device.compile(&g)?;
    run.seed(20_251);
    run.steps(1)?;
    run.read_f64(y)
}

fn mean(values: impl Iterator<Item = f64> + Clone) -> f64 {
    values.clone().sum::<f64>() / values.count() as f64
}

fn part(values: &[f64], is: impl Fn(f64) -> bool) -> f64 {
    values.iter().filter(|v| is(**v)).count() as f64 / values.len() as f64
}

/// Five standard errors of a fraction.
fn five_errors(p: f64, n: usize) -> f64 {
    5.0 * (p * (1.0 - p) / n as f64).sqrt()
}

fn gaussian(entry: &Entry, device: &Device) -> Result<Vec<Claim>> {
    let (n, scale) = (number(entry, "n") as usize, number(entry, "scale"));
    let y = drawn(device, Disturbance::Gaussian { scale }, n, 0.0)?;
    let m = mean(y.iter().copied());
    let moment = |k| mean(y.iter().map(|v| (v - m).powi(k)));
    let lag = y.windows(2).map(|w| (w[0] - m) * (w[1] - m)).sum::<f64>() / n as f64 / moment(2);
    let beyond = number(entry, "fraction_beyond_3_sigma");
    let bound = |field| number(entry, field);
    Ok(vec![
        Claim { field: "mean", got: m, bound: bound("mean_bound") },
        Claim { field: "std", got: moment(2).sqrt(), bound: bound("std_bound") },
        Claim { field: "excess_kurtosis", got: moment(4) / moment(2).powi(2) - 3.0, bound: bound("kurtosis_bound") },
        Claim { field: "lag1_correlation", got: lag, bound: bound("lag1_correlation_bound") },
        Claim {
            field: "fraction_beyond_3_sigma",
            got: part(&y, |v| v.abs() > 3.0 * scale),
            bound: five_errors(beyond, n),
        },
    ])
}

fn salt_and_pepper(entry: &Entry, device: &Device) -> Result<Vec<Claim>> {
    let n = number(entry, "n") as usize;
    let (low, high) = (number(entry, "pepper_value"), number(entry, "salt_value"));
    let (amount, ratio) = (number(entry, "amount"), number(entry, "salt_ratio"));
    let disturbance = Disturbance::SaltPepper { amount, ratio, low, high };
    let half = 0.5;
    let y = drawn(device, disturbance, n, half)?;
    let bound = number(entry, "fraction_bound");
    let (salt, pepper) = (part(&y, |v| v == high), part(&y, |v| v == low));
    let variance = mean(y.iter().map(|v| (v - half).powi(2))) - (mean(y.iter().copied()) - half).powi(2);
    let least = y.iter().copied().filter(|v| *v != half).fold(f64::INFINITY, f64::min);
    let most = y.iter().copied().filter(|v| *v != half).fold(f64::NEG_INFINITY, f64::max);
    Ok(vec![
        Claim { field: "salt_fraction", got: salt, bound },
        Claim { field: "pepper_fraction", got: pepper, bound },
        Claim { field: "unchanged_fraction", got: part(&y, |v| v == half), bound },
        Claim { field: "salt_value", got: most, bound: 0.0 },
        Claim { field: "pepper_value", got: least, bound: 0.0 },
        Claim {
            field: "mean_after_on_constant_half",
            got: mean(y.iter().copied()),
            bound: 5.0 * (variance / n as f64).sqrt(),
        },
    ])
}

fn shot_poisson(entry: &Entry, device: &Device) -> Result<Vec<Claim>> {
    let (n, x, peak) = (number(entry, "n") as usize, number(entry, "x"), number(entry, "peak"));
    let y = drawn(device, Disturbance::Poisson { peak, black: 0.0, white: 1.0 }, n, x)?;
    let m = mean(y.iter().copied());
    let variance = mean(y.iter().map(|v| (v - m).powi(2)));
    Ok(vec![
        Claim { field: "mean", got: m, bound: number(entry, "mean_bound") },
        Claim { field: "variance", got: variance, bound: number(entry, "variance_bound") },
    ])
}

/// Differences of neighbours across the edges of blocks, relative to those inside.
fn blockiness(image: &[f64], width: usize) -> f64 {
    let steps = |edge: bool| {
        let rows = image.chunks(width).flat_map(|row| row.windows(2).enumerate());
        mean(rows.filter(move |(j, _)| (j % 8 == 7) == edge).map(|(_, w)| (w[1] - w[0]).abs()))
    };
    steps(true) / steps(false)
}

/// The part of 8x8 cosine coefficients that `quality` quantises to nothing, from the definition.
fn zero_coefficients(image: &[f64], width: usize, quality: u32) -> Result<f64> {
    let table = quantisation(quality)?;
    let cosine = |u: usize, i: usize| {
        let norm: f64 = if u == 0 { 0.125 } else { 0.25 };
        norm.sqrt() * (std::f64::consts::PI * (2 * i + 1) as f64 * u as f64 / 16.0).cos()
    };
    let pixel = |i: usize, j: usize| (image[i * width + j] * 255.0).round_ties_even() - 128.0;
    let coefficient = |top: usize, left: usize, u: usize, v: usize| -> f64 {
        (0..64).map(|e| cosine(u, e / 8) * cosine(v, e % 8) * pixel(top + e / 8, left + e % 8)).sum()
    };
    let mut zeros = 0;
    for at in 0..image.len() {
        let (i, j) = (at / width, at % width);
        let k = coefficient(i / 8 * 8, j / 8 * 8, i % 8, j % 8) / f64::from(table[i % 8 * 8 + j % 8]);
        zeros += usize::from(k.round_ties_even() == 0.0);
    }
    Ok(zeros as f64 / image.len() as f64)
}

fn jpeg(entry: &Entry, device: &Device) -> Result<Vec<Claim>> {
    let golden = Golden::open();
    let case = golden.case("noise", entry["case"].as_str().expect("a case's name"));
    let shape = case.shape("image").to_vec();
    assert_eq!(entry["shape"], Value::from(shape.clone()), "{case}");
    let (quality, width) = (number(entry, "quality") as u32, *shape.last().expect("a plane"));
    let mut g = Graph::new();
    let image = g.constant(shape, case.f32s("image"))?;
    let y = g.jpeg(image, quality, 0.0, 1.0)?;
    let (clean, got) = (case.f64s("image"), run_once(device, g, y)?);
    let squares = clean.iter().zip(&got).map(|(a, b)| (a - b).powi(2));
    let psnr = -10.0 * mean(squares).log10();
    // The file gives four digits; float32 is far better, and no coefficient may flip.
    let printed = 6e-5;
    Ok(vec![
        Claim { field: "psnr_vs_clean", got: psnr, bound: number(entry, "psnr_bound") },
        Claim { field: "libjpeg_psnr_vs_clean", got: psnr, bound: number(entry, "psnr_bound") },
        Claim {
            field: "mean_shift",
            got: mean(got.iter().copied()) - mean(clean.iter().copied()),
            bound: number(entry, "mean_shift_bound"),
        },
        Claim { field: "blockiness", got: blockiness(&got, width), bound: printed },
        Claim { field: "blockiness_clean", got: blockiness(&clean, width), bound: printed },
        Claim { field: "zero_coefficient_fraction", got: zero_coefficients(&clean, width, quality)?, bound: printed },
    ])
}

/// Every claim holds, and there is one for every field.
fn check(kind: &str, entry: &Entry, claims: &[Claim]) -> Vec<String> {
    let mut failures = Vec::new();
    for Claim { field, got, bound } in claims {
        // A correlation without a stated value is none.
        let want = entry.get(*field).and_then(Value::as_f64).unwrap_or(0.0);
        if !((got - want).abs() <= *bound) {
            failures.push(format!("{kind}: {field} is {got}, expected {want} +- {bound}, in {entry:?}"));
        }
    }
    for field in
        entry.keys().filter(|f| !DESCRIPTIONS.contains(&f.as_str()) && !["case", "shape"].contains(&f.as_str()))
    {
        let of = field.strip_suffix("_bound").unwrap_or(field);
        if !claims.iter().any(|c| c.field.contains(of)) {
            failures.push(format!("{kind}: {field} is not known, in {entry:?}"));
        }
    }
    failures
}

fn noise_has_the_expected_statistics(on: On) {
    let device = &on.open();
    let path = folder().join("statistics.json");
    let text = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let all: Entry = serde_json::from_slice(&text).expect("an object of kinds");
    let (mut failures, mut count) = (Vec::new(), 0);
    for (kind, entries) in all.iter().filter(|(kind, _)| *kind != "note") {
        for entry in entries.as_array().unwrap_or_else(|| panic!("{kind} is no list")) {
            let entry = entry.as_object().unwrap_or_else(|| panic!("an entry of {kind} is no object"));
            let claims = match kind.as_str() {
                "gaussian" => gaussian(entry, device),
                "salt_and_pepper" => salt_and_pepper(entry, device),
                "shot_poisson" => shot_poisson(entry, device),
                "jpeg" => jpeg(entry, device),
                _ => panic!("nothing is known of the kind {kind:?}"),
            };
            let claims = claims.unwrap_or_else(|e| panic!("{kind}: {e}"));
            count += claims.len();
            failures.extend(check(kind, entry, &claims));
        }
    }
    println!("statistics on {}: {count} claims", device.name());
    assert!(count > 0 && failures.is_empty(), "{}:\n{}", device.name(), failures.join("\n"));
}
