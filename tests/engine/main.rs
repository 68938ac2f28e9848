//! The engine: ops, networks and training on every device, against the f64 reference and the golden values.
//!
//! `LANGEVIN_GPU=require` makes a missing adapter a failure; without it the tests that need one are ignored.

mod autoguidance;
#[path = "../common/mod.rs"]
mod common;
mod conditions;
mod denoise;
mod devices;
mod evaluation;
mod gaps;
mod golden;
mod gradients;
mod harness;
mod languages;
mod layout;
mod pages;
mod parity;
mod sample_data;
mod sampling;
mod statistics;
mod stored;
mod streaming;
mod training;
mod unets;

fn main() -> std::process::ExitCode {
    let modules =
        [parity::tests, gradients::tests, golden::tests, harness::tests, languages::tests, layout::tests, pages::tests];
    let models = [
        devices::tests,
        statistics::tests,
        sample_data::tests,
        evaluation::tests,
        training::tests,
        stored::tests,
        streaming::tests,
        unets::tests,
        sampling::tests,
        conditions::tests,
        autoguidance::tests,
        denoise::tests,
        gaps::tests,
    ];
    common::run(modules.into_iter().chain(models).flat_map(|tests| tests()).collect())
}
