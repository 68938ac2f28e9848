//! The command-line program: `langevin --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    langevin::cli::run()
}
