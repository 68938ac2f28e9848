//! What is installed beside the program: completions of a shell and pages of the manual; and the version of the program.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::{Error, adapters};
use clap::{Args, Command};
use clap_complete::Shell;

/// Print the completions of a shell, to be loaded by it
///
/// bash: langevin completions bash > ~/.local/share/bash-completion/completions/langevin
///
/// zsh: langevin completions zsh > DIR/_langevin, where DIR is in $fpath
///
/// fish: langevin completions fish > ~/.config/fish/completions/langevin.fish
///
/// PowerShell: langevin completions powershell >> $PROFILE
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Write pages of the manual, one for each command, into a folder
#[derive(Args)]
pub struct ManArgs {
    /// The folder, such as ~/.local/share/man/man1; it is created
    folder: PathBuf,
}

pub fn completions(args: &CompletionsArgs, mut command: Command) -> anyhow::Result<ExitCode> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut command, "langevin", &mut text);
    match io::stdout().write_all(&text) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(anyhow::anyhow!("cannot write to standard output: {e}")),
        _ => Ok(ExitCode::SUCCESS),
    }
}

pub fn man(args: &ManArgs, command: Command) -> anyhow::Result<ExitCode> {
    let failed = |e| Error::io("cannot write the manual into", &args.folder, e);
    fs::create_dir_all(&args.folder).map_err(failed)?;
    clap_mangen::generate_to(command.disable_help_subcommand(true), &args.folder).map_err(failed)?;
    say!(
        "wrote the manual to {}; read it with: man -l {}",
        args.folder.display(),
        args.folder.join("langevin.1").display()
    );
    Ok(ExitCode::SUCCESS)
}

/// The version; `verbose` adds what a report of a bug needs.
pub fn version(verbose: bool) {
    say!("langevin {}", env!("CARGO_PKG_VERSION"));
    if !verbose {
        return;
    }
    say!(
        "commit: {}",
        option_env!("LANGEVIN_COMMIT")
            .unwrap_or("unknown, since it was not built from a git checkout in the profile release")
    );
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    say!("built for: {} {}, {profile}", std::env::consts::OS, std::env::consts::ARCH);
    let features = [
        ("cli", cfg!(feature = "cli")),
        ("files", cfg!(feature = "files")),
        ("onnx", cfg!(feature = "onnx")),
        ("mpi", cfg!(feature = "mpi")),
    ];
    let features: Vec<&str> = features.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect();
    say!("features: {}", features.join(", "));
    let found = adapters();
    for (index, a) in found.iter().enumerate() {
        say!("adapter {index}: {} ({}, {}), a {}", a.name, a.backend, a.driver, a.kind);
    }
    if found.is_empty() {
        say!("adapters: none");
    }
}
