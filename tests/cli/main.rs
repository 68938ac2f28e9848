//! The program driven as a user would: real files, exit codes, and the words of its messages.
//!
//! `LANGEVIN_GPU=require` makes a missing adapter a failure; without it what needs one says so and is not run.

mod former;
mod jobs;
#[cfg(unix)]
mod mishaps;
mod models;
mod noise;
mod refusals;
mod repeats;
mod support;
mod sweeps;
