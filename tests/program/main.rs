//! The program driven as a user would: real files, exit codes, and the words of its messages; and the examples.
//!
//! `LANGEVIN_GPU=require` makes a missing adapter a failure; without it the tests that need one are ignored.

mod bench;
#[path = "../common/mod.rs"]
mod common;
mod defaults;
mod conditional;
mod converting;
mod examples;
mod exports;
mod former;
mod gaps;
mod jobs;
#[cfg(target_os = "linux")]
mod lost;
#[cfg(unix)]
mod mishaps;
mod models;
mod noise;
mod objectives;
mod pages;
#[cfg(unix)]
mod pictures;
mod reading;
mod refusals;
mod repeats;
mod serve;
mod support;
mod sweeps;
mod threads;
mod watch;

fn main() -> std::process::ExitCode {
    let mut tests = [
        conditional::tests,
        converting::tests,
        defaults::tests,
        exports::tests,
        former::tests,
        gaps::tests,
        jobs::tests,
        models::tests,
        noise::tests,
        objectives::tests,
        pages::tests,
        reading::tests,
        refusals::tests,
        repeats::tests,
        serve::tests,
        sweeps::tests,
        threads::tests,
        watch::tests,
    ]
    .to_vec();
    #[cfg(unix)]
    tests.extend([mishaps::tests, pictures::tests]);
    #[cfg(target_os = "linux")]
    tests.push(lost::tests);
    // The examples last: they use all cores, and what else runs waits for them.
    tests.extend([bench::tests, examples::tests]);
    common::run(tests.into_iter().flat_map(|tests| tests()).collect())
}
