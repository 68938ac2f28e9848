//! The commands of README.md and of the pages in `docs/`, run in a short form.
//!
//! The lines of a page's `sh` blocks run in their order, in a folder of their own with a copy of the sample data. A training has
//! a thousandth of its steps, a sampler two; see [`shortened`]. Before a block, a page can have comments:
//!
//! - `<!-- not run: REASON -->`: the lines of the block are not run; only the names of their options and files are checked.
//! - `<!-- first: COMMAND -->`: runs a command that the page does not show.
//!
//! Lines that do not call langevin are not run, but the files of the repository that they name must exist. So must the options
//! of commands in the text, as in `langevin train --out RUN`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{LazyLock, Mutex};
use std::time::Instant;

use crate::common::{Test, always, named, no_sample_data, sample_data};
use crate::support::Place;

pub fn tests() -> Vec<Test> {
    let mut tests = always(named![options_in_the_text_exist, wrong_commands_are_found, blocks_are_read]);
    for page in pages() {
        let name = page.strip_prefix(ROOT).unwrap().display().to_string();
        let run = move || run_page(&fs::read_to_string(&page).unwrap());
        tests.push(Test::new(&format!("program::pages::the_commands_run::{name}"), None, no_sample_data(), run));
    }
    tests
}

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// README.md and the pages of the book.
fn pages() -> Vec<PathBuf> {
    let docs = fs::read_dir(Path::new(ROOT).join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut pages: Vec<PathBuf> = docs.filter(|path| path.extension().is_some_and(|e| e == "md")).collect();
    pages.push(Path::new(ROOT).join("README.md"));
    pages.sort();
    pages
}

/// A line of a page, and whether it is run.
#[derive(Debug, PartialEq)]
struct Line {
    text: String,
    runs: bool,
}

/// The lines of the `sh` blocks of a page, with those of its comments.
fn lines(page: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    let (mut inside, mut runs, mut open) = (false, true, String::new());
    for line in page.lines() {
        match (inside, line.trim_end()) {
            (false, "```sh") => inside = true,
            (true, "```") => (inside, runs) = (false, true),
            (true, line) => match line.strip_suffix('\\') {
                Some(part) => open += part,
                None => {
                    let text = std::mem::take(&mut open) + line;
                    let text = text.split(" # ").next().unwrap().trim();
                    if !text.is_empty() && !text.starts_with('#') {
                        lines.push(Line { text: text.into(), runs });
                    }
                }
            },
            (false, line) => {
                let comment = line.strip_prefix("<!-- ").and_then(|line| line.strip_suffix(" -->"));
                if let Some(command) = comment.and_then(|comment| comment.strip_prefix("first: ")) {
                    lines.push(Line { text: command.into(), runs: true });
                } else if let Some(reason) = comment.and_then(|comment| comment.strip_prefix("not run: ")) {
                    assert!(reason.len() > 10, "a block is not run without a reason: {line}");
                    runs = false;
                }
            }
        }
    }
    lines
}

/// The words of a line; quotes hold blanks together.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for c in line.chars() {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            (None, ' ') => words.extend(Some(std::mem::take(&mut word)).filter(|word| !word.is_empty())),
            _ => word.push(c),
        }
    }
    words.extend(Some(word).filter(|word| !word.is_empty()));
    words
}

/// The arguments of a line that calls the program.
fn arguments(line: &str) -> Option<Vec<String>> {
    let line = line.strip_prefix("cargo run --release -- ").or_else(|| line.strip_prefix("langevin "))?;
    Some(words(line))
}

/// An option of the short form, its value, and the option with which a command gets it, "" if any command does.
type Short = (&'static str, &'static str, &'static str);

/// Fewer steps, samples and permutations.
const SHORT: [(&str, &[Short]); 6] = [
    (
        "train",
        &[
            ("--steps", "2", ""),
            ("--batch", "4", ""),
            ("--preview", "off", ""),
            ("--no-samples", "", ""),
            ("--validation-every", "2", "--validation"),
        ],
    ),
    ("sample", &[("--steps", "2", ""), ("--count", "4", "")]),
    ("complete", &[("--steps", "2", ""), ("--count", "2", "")]),
    ("denoise", &[("--steps", "2", "--steps")]),
    ("evaluate", &[("--permutations", "19", ""), ("--projections", "8", "")]),
    ("bench", &[("--quick", "", "")]),
];

/// The arguments in a short form: with the options of [`SHORT`], in the place of those that are there.
fn shortened(mut args: Vec<String>) -> Vec<String> {
    let Some((command, options)) = SHORT.iter().find(|(command, _)| args[0] == *command) else { return args };
    let given = args.clone();
    let has = |option: &str| given.iter().any(|arg| arg == option);
    // The runs of a sweep draw no samples anyway.
    for (option, value, with) in options.iter().filter(|option| !(has("--sweep") && option.0 == "--no-samples")) {
        match args.iter().position(|arg| arg == option) {
            None if with.is_empty() || has(with) => {
                args.push(option.to_string());
                args.extend(Some(value.to_string()).filter(|value| !value.is_empty()));
            }
            None => {}
            Some(_) if value.is_empty() => {}
            // The steps of a training keep their order: 300 are fewer than 6000, and a resumed run needs more.
            Some(at) if (*command, *option) == ("train", "--steps") => {
                let steps: u32 = args[at + 1].parse().unwrap();
                args[at + 1] = (steps.div_ceil(1_000) + 1).to_string();
            }
            Some(at) => args[at + 1] = value.to_string(),
        }
    }
    args
}

/// The options of a command, from its help.
fn options(command: &str) -> Vec<String> {
    static KNOWN: LazyLock<Mutex<BTreeMap<String, Vec<String>>>> = LazyLock::new(Mutex::default);
    if let Some(known) = KNOWN.lock().unwrap().get(command) {
        return known.clone();
    }
    let outcome = Place::new().run(&format!("{command} --help"));
    assert_eq!(outcome.code, Some(0), "there is no command `langevin {command}`");
    let is_part = |c: &char| c.is_ascii_alphanumeric() || *c == '-';
    let names = outcome.out.match_indices("--").map(|(at, _)| {
        let rest = outcome.out[at + 2..].chars().take_while(is_part);
        format!("--{}", rest.collect::<String>())
    });
    let names: Vec<String> = names.collect();
    KNOWN.lock().unwrap().insert(command.to_string(), names.clone());
    names
}

/// Panics if an option of a command, in full or in part, is not in its help.
fn check_options(line: &str, args: &[String]) {
    let (command, rest) = args.split_first().unwrap();
    if command.starts_with('-') || *command == command.to_uppercase() {
        return;
    }
    let known = options(command);
    for option in rest.iter().filter(|arg| arg.starts_with("--")) {
        let name = option.split('=').next().unwrap().trim_end_matches([',', '.', ';']);
        assert!(known.iter().any(|known| known == name), "{line}: langevin {command} has no option {name}");
    }
}

/// Panics if a file of the repository, or an example, does not exist. A package of the crate has no sample data.
fn check_files(line: &str) {
    let words = words(line);
    for word in &words {
        let path = word.trim_start_matches("./").split(['[', ':']).next().unwrap();
        let of_repository = ["data/", "tests/", "benches/", "docs/", "examples/"].iter().any(|f| path.starts_with(f));
        let packed_apart = path.starts_with("data/") && no_sample_data().is_some();
        if of_repository && !packed_apart || word == "./test.sh" {
            assert!(Path::new(ROOT).join(path).exists(), "{line}: there is no {path}");
        }
    }
    if let Some(at) = words.iter().position(|word| word == "--example") {
        let path = format!("examples/{}.rs", words[at + 1]);
        assert!(Path::new(ROOT).join(&path).exists(), "{line}: there is no {path}");
    }
}

/// Runs what a page shows.
fn run_page(page: &str) {
    let place = Place::new();
    let lines = lines(page);
    if lines.iter().any(|line| line.runs && line.text.contains("data/")) {
        copy(Path::new(&sample_data("")), &place.path("data"));
    }
    for Line { text, runs } in lines {
        check_files(&text);
        let Some(mut args) = arguments(&text) else { continue };
        check_options(&text, &args);
        if !runs {
            continue;
        }
        // A file that the shell writes.
        let redirected = args.iter().position(|arg| arg == ">").map(|at| args.split_off(at)[1].clone());
        let home = place.path("").display().to_string();
        let args = shortened(args).into_iter().map(|arg| arg.replace("~/", &home)).collect::<Vec<_>>();
        let began = Instant::now();
        if args[0] == "serve" {
            serve(&place, &args);
        } else {
            let output = place.command("").args(&args).output().unwrap();
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{text}\nrun as: langevin {}\n{errors}", args.join(" "));
            if let Some(file) = redirected {
                let path = PathBuf::from(file.replace("~/", &home));
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, output.stdout).unwrap();
            }
        }
        println!("{:5.1} s  langevin {}", began.elapsed().as_secs_f64(), args.join(" "));
    }
}

/// Waits for the address that `serve` prints, and ends it.
fn serve(place: &Place, args: &[String]) {
    let mut command = place.command("");
    let mut child = command.args(args).args(["--port", "0"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let read = BufReader::new(child.stdout.take().unwrap()).read_line(&mut line);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(read.is_ok() && line.contains("http://127.0.0.1"), "{line}");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        match from.is_dir() {
            true => copy(&from, &to),
            false => fs::copy(from, to).map(|_| ()).unwrap(),
        }
    }
}

/// The pieces of code in the text of a page, outside of blocks.
fn code(page: &str) -> Vec<String> {
    let outside: String = page.split("```").step_by(2).collect();
    outside.split('`').skip(1).step_by(2).map(|code| code.replace('\n', " ")).collect()
}

fn options_in_the_text_exist() {
    let mut checked = 0;
    for page in pages() {
        for code in code(&fs::read_to_string(&page).unwrap()) {
            let Some(args) = arguments(&code) else { continue };
            check_options(&format!("{}: `{code}`", page.display()), &args);
            check_files(&code);
            checked += 1;
        }
    }
    println!("options of {checked} commands in the text exist");
}

fn wrong_commands_are_found() {
    let wrong = [
        "```sh\nlangevin train moons --stepps 5 --out run\n```",
        "```sh\nlangevin sample nowhere --out a.npy\n```",
        "```sh\nlangevin evaluate a.npy data/pulses.npy\n```",
        "```sh\ncargo run --release --example none\n```",
        "```sh\npython3 benches/none.py\n```",
        "```sh\nlangevin trian moons --out run\n```",
        "<!-- not run: it takes an hour -->\n```sh\nlangevin train moons --stepps 5 --out run\n```",
    ];
    for page in wrong {
        let caught = std::panic::catch_unwind(|| run_page(page));
        assert!(caught.is_err(), "{page}");
    }
    run_page("<!-- not run: it takes an hour -->\n```sh\nlangevin sample nowhere --out a.npy\n```");
}

fn blocks_are_read() {
    let page = "text\n```sh\nlangevin a \\\n  --b \"c d\"  # why\n\n# no\nls\n```\n```text\nnot this\n```\n\
                <!-- first: langevin x -->\n<!-- not run: a good reason -->\n```sh\ny\n```\n```sh\nz\n```\n`langevin e`";
    let line = |text: &str, runs| Line { text: text.into(), runs };
    let wanted = [
        line("langevin a   --b \"c d\"", true),
        line("ls", true),
        line("langevin x", true),
        line("y", false),
        line("z", true),
    ];
    assert_eq!(lines(page), wanted);
    assert_eq!(arguments(&wanted[0].text).unwrap(), ["a", "--b", "c d"]);
    assert_eq!(code(page), ["langevin e"]);
    let train = |line: &str| shortened(arguments(line).unwrap()).join(" ");
    assert_eq!(
        train("langevin train moons --steps 6000"),
        "train moons --steps 7 --batch 4 --preview off --no-samples"
    );
}
