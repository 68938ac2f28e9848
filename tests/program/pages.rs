//! The commands of README.md and of the pages in `docs/`, run in a short form.
//!
//! The lines of a page's `sh` blocks run in their order, in a folder of their own with a copy of the sample data. A training has
//! a thousandth of its steps, a sampler two; see [`shortened`]. Before a block, a page can have comments:
//!
//! - `<!-- not run: REASON -->`: the lines of the block are not run; only the names of their options and files are checked.
//! - `<!-- first: COMMAND -->`: runs a command that the page does not show.
//!
//! Lines that do not call langevin are not run, but the files of the repository that they name must exist. So must the options
//! of commands in the text, as in `langevin train --out RUN`, and those that stand alone, as in `--out RUN`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{LazyLock, Mutex};
use std::time::Instant;

use crate::common::{Test, always, named, no_sample_data, sample_data, unless};
use crate::support::Place;

pub fn tests() -> Vec<Test> {
    let mut tests = always(named![options_in_the_text_exist, wrong_options_are_found, blocks_are_read]);
    tests.extend(unless(no_sample_data(), named![wrong_commands_are_found]));
    for page in pages() {
        let name = page.strip_prefix(ROOT).unwrap().display().to_string();
        let run = move || run_page(&fs::read_to_string(&page).unwrap()).unwrap_or_else(|wrong| panic!("{wrong}"));
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

/// What is wrong with a page.
type Checked<T = ()> = Result<T, String>;

/// Languages of blocks without commands.
const NO_COMMANDS: [&str; 3] = ["text", "rust", "python"];

/// The lines of the `sh` blocks of a page, with those of its comments. An error for blocks of other names, which nobody would
/// check.
fn lines(page: &str) -> Checked<Vec<Line>> {
    let mut lines = Vec::new();
    // The language of the block.
    let mut inside: Option<&str> = None;
    let (mut runs, mut open) = (true, String::new());
    for line in page.lines() {
        match (inside, line.trim_end()) {
            (None, line) if line.trim_start().starts_with("```") => {
                let language = line.trim().trim_start_matches('`');
                if language != "sh" && !NO_COMMANDS.contains(&language) {
                    return Err(format!("a block of {language:?}; use sh for commands, or one of {NO_COMMANDS:?}"));
                }
                inside = Some(language);
            }
            (Some(language), line) if line.trim_start() == "```" => {
                inside = None;
                runs |= language == "sh";
            }
            (Some("sh"), line) => match line.strip_suffix('\\') {
                Some(part) => open += part,
                None => {
                    let text = std::mem::take(&mut open) + line;
                    let text = text.split(" # ").next().unwrap().trim();
                    if !text.is_empty() && !text.starts_with('#') {
                        lines.push(Line { text: text.into(), runs });
                    }
                }
            },
            (Some(_), _) => {}
            (None, line) => {
                let comment = line.strip_prefix("<!-- ").and_then(|line| line.strip_suffix(" -->"));
                if let Some(command) = comment.and_then(|comment| comment.strip_prefix("first: ")) {
                    lines.push(Line { text: command.into(), runs: true });
                } else if let Some(reason) = comment.and_then(|comment| comment.strip_prefix("not run: ")) {
                    if reason.len() <= 10 {
                        return Err(format!("a block is not run without a reason: {line}"));
                    }
                    runs = false;
                }
            }
        }
    }
    Ok(lines)
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

/// The help of a command, of the program itself for "".
fn help(command: &str) -> Checked<String> {
    static KNOWN: LazyLock<Mutex<BTreeMap<String, String>>> = LazyLock::new(Mutex::default);
    if let Some(known) = KNOWN.lock().unwrap().get(command) {
        return Ok(known.clone());
    }
    let outcome = Place::new().run(format!("{command} --help").trim());
    if outcome.code != Some(0) {
        return Err(format!("there is no command `langevin {command}`"));
    }
    KNOWN.lock().unwrap().insert(command.to_string(), outcome.out.clone());
    Ok(outcome.out)
}

/// The options of a command. Only the lines of its help that begin with an option count, not its descriptions and examples.
fn options(command: &str) -> Checked<Vec<String>> {
    Ok(options_of_help(&help(command)?))
}

fn options_of_help(help: &str) -> Vec<String> {
    let is_part = |c: &char| c.is_ascii_alphanumeric() || *c == '-';
    // "  -v, --verbose...", or "      --seed <SEED>"
    let option = |line: &str| {
        let line = line.strip_prefix("  ").filter(|line| line.starts_with('-') || line.starts_with("    --"))?;
        let (_, name) = line.split_once("--")?;
        Some(format!("--{}", name.chars().take_while(is_part).collect::<String>()))
    };
    help.lines().filter_map(option).collect()
}

/// All commands, from the help of the program.
fn commands() -> Vec<String> {
    let help = help("").unwrap();
    let list = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = list.filter_map(|line| line.strip_prefix("  ")?.split(' ').next().filter(|name| !name.is_empty()));
    names.filter(|name| *name != "help").map(String::from).collect()
}

/// The options of all commands.
fn all_options() -> Vec<String> {
    let mut all: Vec<String> = commands().iter().flat_map(|command| options(command).unwrap()).collect();
    all.extend(options("").unwrap());
    all
}

/// The name of an option, without its value and the punctuation of the text.
fn option_name(word: &str) -> &str {
    word.split(['=', '[']).next().unwrap().trim_end_matches([',', '.', ';'])
}

/// Whether the options of a command, in full or in part, are in its help.
fn check_options(line: &str, args: &[String]) -> Checked {
    let (command, rest) = args.split_first().unwrap();
    if command.starts_with('-') || *command == command.to_uppercase() {
        return Ok(());
    }
    let known = options(command)?;
    let mut names = rest.iter().filter(|arg| arg.starts_with("--")).map(|arg| option_name(arg));
    match names.find(|name| !known.iter().any(|known| known == name)) {
        None => Ok(()),
        Some(name) => Err(format!("{line}: langevin {command} has no option {name}")),
    }
}

/// Whether the files of the repository, and the examples, exist. A package of the crate has no sample data.
fn check_files(line: &str) -> Checked {
    let words = words(line);
    let missing = |path: &str| !Path::new(ROOT).join(path).exists();
    for word in &words {
        let path = word.trim_start_matches("./").split(['[', ':', '*']).next().unwrap();
        let of_repository = ["data/", "tests/", "benches/", "docs/", "examples/"].iter().any(|f| path.starts_with(f));
        let packed_apart = path.starts_with("data/") && no_sample_data().is_some();
        if (of_repository && !packed_apart || word == "./test.sh") && missing(path) {
            return Err(format!("{line}: there is no {path}"));
        }
    }
    if let Some(at) = words.iter().position(|word| word == "--example") {
        let path = format!("examples/{}.rs", words[at + 1]);
        if missing(&path) {
            return Err(format!("{line}: there is no {path}"));
        }
    }
    Ok(())
}

/// Runs what a page shows.
fn run_page(page: &str) -> Checked {
    let place = Place::new();
    let lines = lines(page)?;
    if lines.iter().any(|line| line.runs && line.text.contains("data/")) {
        copy(Path::new(&sample_data("")), &place.path("data"));
    }
    for Line { text, runs } in lines {
        check_files(&text)?;
        let Some(mut args) = arguments(&text) else { continue };
        check_options(&text, &args)?;
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
            if !output.status.success() {
                return Err(format!("{text}\nrun as: langevin {}\n{errors}", args.join(" ")));
            }
            if let Some(file) = redirected {
                let path = PathBuf::from(file.replace("~/", &home));
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, output.stdout).unwrap();
            }
        }
        println!("{:5.1} s  langevin {}", began.elapsed().as_secs_f64(), args.join(" "));
    }
    Ok(())
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

/// Whether the options of a piece of code in the text exist, and whether there are any: in a call of the program, or alone.
fn check_code(code: &str) -> Checked<bool> {
    if let Some(args) = arguments(code) {
        check_options(code, &args)?;
        check_files(code)?;
        return Ok(true);
    }
    if !code.starts_with("--") {
        return Ok(false);
    }
    static KNOWN: LazyLock<Vec<String>> = LazyLock::new(all_options);
    let words = words(code);
    let mut names = words.iter().filter(|word| word.starts_with("--")).map(|word| option_name(word));
    match names.find(|name| !KNOWN.iter().any(|known| known == name)) {
        None => Ok(true),
        Some(name) => Err(format!("{code}: no command has an option {name}")),
    }
}

fn options_in_the_text_exist() {
    let mut checked = 0;
    let mut wrong = Vec::new();
    for page in pages() {
        for code in code(&fs::read_to_string(&page).unwrap()) {
            match check_code(&code) {
                Ok(has_options) => checked += usize::from(has_options),
                Err(e) => wrong.push(format!("{}: {e}", page.display())),
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(checked > 300, "only {checked} pieces of code have options");
    println!("options of {checked} pieces of code in the text exist");
}

fn wrong_options_are_found() {
    let wrong = [
        ("langevin train moons --stepps 5", "train has no option --stepps"),
        ("langevin trian moons", "no command `langevin trian`"),
        ("langevin evaluate a.npy data/none.npy", "there is no data/none.npy"),
        // An option of another command; "--out" is in an example of the help.
        ("langevin inspect moons --sampler ddim", "inspect has no option --sampler"),
        ("langevin devices --out a.txt", "devices has no option --out"),
        ("--steps 5 --stepps 5", "no command has an option --stepps"),
        ("--nothing", "no command has an option --nothing"),
    ];
    for (code, message) in wrong {
        if code.contains("data/") && no_sample_data().is_some() {
            continue;
        }
        let error = check_code(code).unwrap_err();
        assert!(error.contains(message), "{code}: {error}");
    }
    assert_eq!(
        check_code("--steps 5, --batch=4 --ema-snapshots[=N]").and_then(|_| check_code("langevin serve RUNS")),
        Ok(true)
    );
    assert_eq!(check_code("docker run --gpus all"), Ok(false));
    let help = "Usage: a\n\nOptions:\n  -v, --verbose...\n          Like --loud\n      --seed <N>  As --dice\n  langevin a --b";
    assert_eq!(options_of_help(help), ["--verbose", "--seed"]);
}

fn wrong_commands_are_found() {
    let wrong = [
        ("```sh\nlangevin train moons --stepps 5 --out run\n```", "langevin train has no option --stepps"),
        ("```sh\nlangevin sample nowhere --out a.npy\n```", "run as: langevin sample nowhere"),
        ("```sh\nlangevin evaluate a.npy data/pulses.npy\n```", "there is no data/pulses.npy"),
        ("```sh\ncargo run --release --example none\n```", "there is no examples/none.rs"),
        ("```sh\npython3 benches/none.py\n```", "there is no benches/none.py"),
        ("```sh\nlangevin trian moons --out run\n```", "there is no command `langevin trian`"),
        ("```bash\nlangevin train moons --out run\n```", "a block of \"bash\""),
        ("```\nlangevin train moons --out run\n```", "a block of \"\""),
        ("<!-- not run: why -->\n```sh\nlangevin devices\n```", "not run without a reason"),
        (
            "<!-- not run: it takes an hour -->\n```sh\nlangevin train moons --stepps 5 --out run\n```",
            "langevin train has no option --stepps",
        ),
    ];
    for (page, message) in wrong {
        let error = run_page(page).unwrap_err();
        assert!(error.contains(message), "{page}: {error}");
    }
    let not_run = "<!-- not run: it takes an hour -->\n```sh\nlangevin sample nowhere --out a.npy\n```";
    assert_eq!(run_page(not_run), Ok(()));
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
    assert_eq!(lines(page).unwrap(), wanted);
    assert_eq!(arguments(&wanted[0].text).unwrap(), ["a", "--b", "c d"]);
    assert_eq!(code(page), ["langevin e"]);
    let train = |line: &str| shortened(arguments(line).unwrap()).join(" ");
    assert_eq!(
        train("langevin train moons --steps 6000"),
        "train moons --steps 7 --batch 4 --preview off --no-samples"
    );
}
