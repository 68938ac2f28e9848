//! How each file of reference values maps to the engine. What a case is follows from its settings and its inputs,
//! never from its name.

mod evaluation;
mod forward;
mod guided;
mod losses;
mod models;
mod networks;
mod noise;
mod ops;
mod optimizers;
mod random;
pub mod samplers;
mod schedules;
mod step_encoding;

use std::collections::BTreeMap;

use langevin::{Device, Error};

use crate::golden::manifest::{Case, Golden};

/// The computed tensors of a case by name, row-major and complete.
pub type Outputs = BTreeMap<String, Vec<f64>>;

/// Why a case has no (further) outputs.
#[derive(Debug)]
pub enum Trouble {
    /// A setting, tensor or kind of case that is not known.
    Unsupported(String),
    /// The engine refused or broke.
    Failed(String),
}

/// Shorthand for what computes a case.
pub type Outcome<T = ()> = Result<T, Trouble>;

impl From<Error> for Trouble {
    fn from(e: Error) -> Self {
        match e {
            Error::Setting(what) => Trouble::Unsupported(what),
            other => Trouble::Failed(other.to_string()),
        }
    }
}

/// Computes the outputs of a case on a device.
pub fn compute(golden: &Golden, case: &Case, device: &Device, got: &mut Outputs) -> Outcome {
    match case.file.as_str() {
        "random" => random::draw(case, device, got),
        "step_encoding" => step_encoding::encode(case, device, got),
        "forward" => forward::compute(case, device, got),
        "losses" => losses::compute(case, device, got),
        "networks" => networks::compute(case, device, got),
        "noise" => noise::compute(case, device, got),
        "ops" => ops::compute(case, device, got),
        "optimizers" => optimizers::compute(case, device, got),
        "samplers" if guided::is_guided(case) => guided::compute(golden, case, device, got),
        "samplers" => samplers::trajectory(golden, case, device, got),
        file if file.starts_with("model_") => models::compute(golden, case, device, got),
        file => unsupported(format!("nothing is known of the file {file}")),
    }
}

/// Whether all of the case is computed on the host.
pub fn is_of_the_host(case: &Case) -> bool {
    matches!(case.file.as_str(), "schedules" | "evaluation")
        || forward::is_precondition(case)
        || losses::is_frechet(case)
        || optimizers::is_of_gamma(case)
}

/// Computes the outputs of such a case.
pub fn compute_on_host(case: &Case, got: &mut Outputs) -> Outcome {
    match case.file.as_str() {
        "schedules" => schedules::compute(case, got),
        "losses" => losses::frechet(case, got),
        "optimizers" => optimizers::gammas(case, got),
        "evaluation" => evaluation::compute(case, got),
        _ => forward::precondition(case, got),
    }
}

fn unsupported<T>(what: impl Into<String>) -> Outcome<T> {
    Err(Trouble::Unsupported(what.into()))
}

fn setting<'a, T>(case: &'a Case, key: &str, read: impl FnOnce(&'a serde_json::Value) -> Option<T>) -> Outcome<T> {
    let bad = || Trouble::Unsupported(format!("{case}: the setting {key:?} is missing or of another type"));
    case.meta.get(key).and_then(read).ok_or_else(bad)
}

fn text<'a>(case: &'a Case, key: &str) -> Outcome<&'a str> {
    setting(case, key, |v| v.as_str())
}

fn number(case: &Case, key: &str) -> Outcome<f64> {
    setting(case, key, |v| v.as_f64())
}

fn whole(case: &Case, key: &str) -> Outcome<usize> {
    setting(case, key, |v| v.as_u64().map(|n| n as usize))
}

fn numbers(case: &Case, key: &str) -> Outcome<Vec<f64>> {
    setting(case, key, |v| v.as_array()?.iter().map(|v| v.as_f64()).collect())
}

fn flag(case: &Case, key: &str) -> Outcome<bool> {
    setting(case, key, |v| v.as_bool())
}

fn number_or(case: &Case, key: &str, default: f64) -> Outcome<f64> {
    if has_setting(case, key) { number(case, key) } else { Ok(default) }
}

fn has_setting(case: &Case, key: &str) -> bool {
    case.meta.get(key).is_some()
}

/// Whether the case's inputs are exactly these, in any order.
fn has_inputs(case: &Case, names: &[&str]) -> bool {
    let inputs = case.inputs();
    inputs.len() == names.len() && names.iter().all(|name| inputs.contains(name))
}

fn expect_inputs(case: &Case, names: &[&str]) -> Outcome {
    if has_inputs(case, names) {
        return Ok(());
    }
    unsupported(format!("{case}: the inputs are {:?}, known are {names:?}", case.inputs()))
}

/// A tensor's shape as rows, and what is in a row.
fn rows(case: &Case, tensor: &str) -> [usize; 2] {
    let shape = case.shape(tensor);
    let rows = shape.first().copied().unwrap_or(1);
    [rows, shape.iter().skip(1).product()]
}
