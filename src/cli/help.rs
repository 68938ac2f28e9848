//! Two examples at the end of the help of each command.

use std::path::Path;

use clap::Command;
use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, Error, ErrorKind};

/// The commands and their examples.
const EXAMPLES: &[(&str, [&str; 2])] = &[
    ("devices", ["langevin devices", "langevin devices --device gpu --json"]),
    (
        "train",
        ["langevin train data/pulse.npy --out runs/pulse", "langevin train --out runs/pulse --resume --steps 6000"],
    ),
    (
        "convert",
        [
            "langevin convert photos --size 64 --labels photos --dtype uint8 photos.npy",
            "langevin convert 'recordings/*.wav' --window 1024 --hop 256 --shard-size 1GB recordings/",
        ],
    ),
    (
        "sample",
        [
            "langevin sample runs/pulse --count 1000 --out new.npy",
            "langevin sample runs/digits --class 3 --guidance 2 --count 16 --out threes.png",
        ],
    ),
    (
        "noise",
        [
            "langevin noise data/pulse.npy --kind gaussian:0.3 --out noisy.npy",
            "langevin noise data/digits8x8.npy --steps 8 --schedule cosine --out forward.png",
        ],
    ),
    (
        "denoise",
        [
            "langevin denoise runs/clean noisy.npy --out clean.npy",
            "langevin denoise runs/clean noisy.npy --compare data/pulse.npy --out clean.npy",
        ],
    ),
    (
        "complete",
        [
            "langevin complete runs/gaps incomplete.csv --out filled.csv",
            "langevin complete runs/gaps data/pulse.npy[1000:] --mask future:0.5 --out forecast",
        ],
    ),
    (
        "export",
        [
            "langevin export runs/pulse --pytorch pulse",
            "langevin export runs/pulse --onnx pulse.onnx --sampler unipc --steps 20",
        ],
    ),
    (
        "import",
        [
            "langevin import pulse --out runs/trained",
            "langevin import weights.safetensors --like runs/pulse --out runs/trained",
        ],
    ),
    ("inspect", ["langevin inspect data/dino.csv", "langevin inspect runs/pulse"]),
    (
        "evaluate",
        ["langevin evaluate new.npy data/pulse.npy", "langevin evaluate clean.npy data/pulse.npy --pairs --json"],
    ),
    (
        "plot",
        [
            "langevin plot runs/first runs/second --out curves.svg",
            "langevin plot runs/* --columns validation --out v.svg",
        ],
    ),
    (
        "schedule",
        [
            "langevin schedule cosine --out cosine.svg",
            "langevin schedule linear cosine flow --weighting min_snr:5 --out schedules.svg",
        ],
    ),
    ("serve", ["langevin serve runs", "langevin serve runs --port 9000"]),
    ("config", ["langevin config", "langevin config --model unet --out settings.toml"]),
    ("bench", ["langevin bench --quick", "langevin bench --device gpu --json"]),
    ("selftest", ["langevin selftest --device gpu", "langevin selftest --device cpu"]),
    ("completions", ["langevin completions bash", "langevin completions zsh"]),
    ("man", ["langevin man man", "langevin man ~/.local/share/man/man1"]),
];

/// The command line with the examples.
pub fn with_examples(mut command: Command) -> Command {
    for (name, examples) in EXAMPLES {
        let text = format!("Examples:\n  {}\n  {}", examples[0], examples[1]);
        command = command.mut_subcommand(name, |command| command.after_help(text));
    }
    command
}

/// An error of the command line, with a tip where a shell has put the files that match a pattern in its place.
pub fn with_tip(mut e: Error) -> Error {
    let file = match e.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(name)) if e.kind() == ErrorKind::UnknownArgument => Path::new(name).exists(),
        _ => false,
    };
    if file {
        let tip = "several files are one data set as a pattern in quotes, such as \"parts/*.npy\"";
        e.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![StyledStr::from(tip)]));
    }
    e
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::CommandFactory;

    #[test]
    fn each_command_says_what_it_is_for_and_has_examples_that_are_valid() {
        let all = with_examples(Cli::command());
        all.clone().debug_assert();
        for command in all.get_subcommands() {
            let name = command.get_name();
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            assert!(about.split_whitespace().count() >= 4, "{name}: {about}");
            let (_, examples) =
                EXAMPLES.iter().find(|(of, _)| *of == name).unwrap_or_else(|| panic!("{name} has none"));
            for example in examples {
                let parsed = all.clone().try_get_matches_from(example.split_whitespace());
                let parsed = parsed.unwrap_or_else(|e| panic!("{example}: {e}"));
                assert_eq!(parsed.subcommand_name(), Some(name));
            }
        }
    }
    #[test]
    fn files_of_a_shell_get_a_tip() {
        let refused = |last: &str| {
            let all = ["langevin", "train", "Cargo.toml", last, "--out", "runs/none"];
            with_tip(Cli::command().try_get_matches_from(all).unwrap_err()).to_string()
        };
        assert!(refused("Cargo.lock").contains("tip: several files are one data set as a pattern in quotes"));
        assert!(!refused("no-such-file").contains("pattern"));
    }
}
