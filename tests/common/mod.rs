//! What both test programs share: tests with names, what they need to run, and the devices they run on.
//!
//! libtest decides at compile time what is ignored, so these programs are driven by `libtest-mimic`: what cannot run on
//! this machine is reported as *ignored*, never as passed, and the reasons are printed first.
#![allow(dead_code)] // each program uses a part

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::LazyLock;

use langevin::{Device, Precision};
use libtest_mimic::{Arguments, Trial};

/// The functions of a module under their names: `named![a, b]`.
macro_rules! named {
    ($($test:ident),* $(,)?) => {
        &[$((concat!(module_path!(), "::", stringify!($test)), $test)),*]
    };
}
pub(crate) use named;

/// A test function with the path that [`named`] gives it.
pub type Named<F> = (&'static str, F);

/// A test that is run or ignored.
pub struct Test {
    name: String,
    /// Why it cannot run here.
    missing: Option<String>,
    run: Box<dyn FnOnce() + Send>,
}

/// Tests that run on every machine.
pub fn always(tests: &[Named<fn()>]) -> Vec<Test> {
    unless(None, tests)
}

/// Tests that are ignored when something is missing.
pub fn unless(missing: Option<String>, tests: &[Named<fn()>]) -> Vec<Test> {
    let test = |&(name, run): &Named<fn()>| Test::new(name, None, missing.clone(), run);
    tests.iter().map(test).collect()
}

/// Each test on each of these devices, as a test of its own: `name::gpu`, `name::cpu`.
pub fn on(devices: &[On], tests: &[Named<fn(On)>]) -> Vec<Test> {
    let test = |(name, run): Named<fn(On)>, on: On| Test::new(name, Some(on), on.missing(), move || run(on));
    tests.iter().flat_map(|&named| devices.iter().map(move |&on| test(named, on))).collect()
}

impl Test {
    /// A test with the path of a module, and what it runs.
    pub fn new(path: &str, on: Option<On>, missing: Option<String>, run: impl FnOnce() + Send + 'static) -> Self {
        let name = path.split_once("::").map_or(path, |(_, name)| name);
        let name = on.map_or(name.to_string(), |on| format!("{name}::{on}"));
        Self { name, missing, run: Box::new(run) }
    }
}

/// A device that tests run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// The best adapter, a software rasterizer included.
    Gpu,
    /// The same with products in f16.
    F16,
    /// The best adapter, with activations stored in f16.
    Stored,
    /// The CPU executor.
    Cpu,
    /// The CPU executor in f64.
    Reference,
}

impl fmt::Display for On {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            On::Gpu => "gpu",
            On::F16 => "f16",
            On::Stored => "stored_in_f16",
            On::Cpu => "cpu",
            On::Reference => "reference",
        })
    }
}

impl On {
    /// The device; panics when there is none.
    pub fn open(self) -> Device {
        self.find().unwrap_or_else(|e| panic!("the test needs a device: {e}"))
    }

    fn find(self) -> langevin::Result<Device> {
        match self {
            On::Gpu => Device::gpu(),
            On::F16 => Device::gpu()?.with_precision(Precision::F16),
            On::Stored => Device::gpu()?.with_storage(Precision::F16),
            On::Cpu => Ok(Device::cpu()),
            On::Reference => Ok(Device::reference()),
        }
    }

    /// Why tests on this device are ignored. With `LANGEVIN_GPU=require` they run, and fail, without an adapter; with
    /// `LANGEVIN_COOPERATIVE=require` those in f16 do, without cooperative matrices.
    pub fn missing(self) -> Option<String> {
        static GPU: LazyLock<Option<String>> = LazyLock::new(|| On::Gpu.find().err().map(|e| e.to_string()));
        static F16: LazyLock<Option<String>> = LazyLock::new(|| On::F16.find().err().map(|e| e.to_string()));
        static STORED: LazyLock<Option<String>> = LazyLock::new(|| On::Stored.find().err().map(|e| e.to_string()));
        match self {
            // A GPU may lack f16 in shaders.
            On::Stored => STORED.clone().filter(|e| e.contains("storage f16") || !required("LANGEVIN_GPU")),
            On::Gpu if !required("LANGEVIN_GPU") => GPU.clone(),
            // Wrong products are no reason.
            On::F16 if !required("LANGEVIN_COOPERATIVE") => {
                F16.clone().filter(|e| !e.contains("computes incorrect products"))
            }
            _ => None,
        }
    }
}

/// A file of the sample data of the repository.
pub fn sample_data(name: &str) -> String {
    format!("{}/data/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Why tests on the sample data are ignored.
pub fn no_sample_data() -> Option<String> {
    let folder = sample_data("");
    (!Path::new(&folder).exists()).then(|| format!("no sample data: {folder} does not exist"))
}

/// Whether an environment variable says that what it names must be there.
pub fn required(variable: &str) -> bool {
    std::env::var(variable).as_deref() == Ok("require")
}

/// Runs the tests that the arguments ask for, as libtest does.
pub fn run(tests: Vec<Test>) -> ExitCode {
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in tests.iter().filter_map(|test| test.missing.as_deref()) {
        *reasons.entry(reason).or_default() += 1;
    }
    for (reason, count) in reasons {
        eprintln!("{count} tests are ignored: {reason}");
    }
    let trial = |Test { name, missing, run }: Test| {
        let run = || {
            run();
            Ok(())
        };
        Trial::test(name, run).with_ignored_flag(missing.is_some())
    };
    libtest_mimic::run(&Arguments::from_args(), tests.into_iter().map(trial).collect()).exit_code()
}
