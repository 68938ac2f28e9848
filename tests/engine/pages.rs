//! The pages say what is so: tensors of networks, messages of the program, and links.

use std::fs;
use std::path::{Path, PathBuf};

use langevin::Graph;
use langevin::diffusion::Prediction;
use langevin::nn::{
    AutoEncoderOptions, ChapterOptions, ConditionOptions, MODELS, MlpOptions, Model, SimpleOptions, StepEncoderOptions,
    StepEncoding, UNetLevels, UNetOptions,
};
use langevin::ops::Activation;

use crate::common::{Test, always, named, no_sample_data};

pub fn tests() -> Vec<Test> {
    always(named![
        the_page_of_networks_lists_their_tensors,
        shapes_are_evaluated,
        every_network_and_prediction_has_code_in_python,
        the_messages_of_trouble_exist,
        links_lead_somewhere,
        wrong_links_and_messages_are_found,
        every_page_is_in_the_summary,
    ])
}

/// The sizes of the examples on the page.
const SIZES: [(&str, usize); 10] =
    [("B", 1), ("C", 1), ("D", 12), ("E", 8), ("F", 6), ("G", 2), ("K", 3), ("T", 64), ("V", 5), ("W", 16)];

/// A row of a table: the tensor, its shape in symbols, and that of the example.
type Row = [String; 3];

/// The tables of the page, each after a comment with the name of a network and the shape of a sample.
fn tables(page: &str) -> Vec<(String, Vec<usize>, Vec<Row>)> {
    let parts = page.split("<!-- tensors of ").skip(1);
    let table = |part: &str| {
        let (header, rest) = part.split_once(" -->").unwrap();
        let (name, shape) = header.split_once(' ').unwrap();
        let rows = rest.lines().skip_while(|line| !line.starts_with("| `")).take_while(|line| line.starts_with("| `"));
        let row = |line: &str| -> Row {
            let cells: Vec<&str> = line.trim_matches(['|', ' ']).split('|').map(str::trim).collect();
            [cells[0].trim_matches('`'), cells[1], cells[2]].map(String::from)
        };
        (name.to_string(), numbers(shape), rows.map(row).collect())
    };
    parts.map(table).collect()
}

/// The numbers of a shape such as `[16, 8]`.
fn numbers(shape: &str) -> Vec<usize> {
    shape.trim_matches(['[', ']']).split(',').map(|n| n.trim().parse().unwrap()).collect()
}

/// The value of a shape such as `[W, D + G D]`: sums of products.
fn evaluated(shape: &str, given: usize) -> Vec<usize> {
    let value = |word: &str| match word {
        "G" => given,
        word => word.parse().unwrap_or_else(|_| SIZES.iter().find(|(name, _)| *name == word).expect(word).1),
    };
    let product = |term: &str| term.split_whitespace().map(value).product::<usize>();
    shape.trim_matches(['[', ']']).split(',').map(|size| size.split('+').map(product).sum()).collect()
}

fn shapes_are_evaluated() {
    assert_eq!(evaluated("[W, D + G D]", 2), [16, 36]);
    assert_eq!(evaluated("[3 2 W, 1]", 1), [96, 1]);
}

fn every_network_and_prediction_has_code_in_python() {
    let code = fs::read_to_string("src/export/model.py").unwrap();
    let has = |name: &str| code.contains(&format!("\"{name}\": ")) || code.contains(&format!("== \"{name}\""));
    let activations = Activation::ALL.map(|(name, _)| name);
    for name in MODELS.iter().chain(Prediction::NAMES).chain(&activations) {
        assert!(has(name), "src/export/model.py does not know {name}");
    }
}

/// The network of an example, and the number of its channels of known values.
fn example(name: &str) -> (Model, usize) {
    let step = |kind| StepEncoderOptions::default().kind(kind).width(8);
    let conditions = |given: usize| ConditionOptions::default().classes(3).vector(5).given(given);
    let (halves, sinusoidal) = (step(StepEncoding::Halves), step(StepEncoding::Sinusoidal));
    match name {
        "mlp" => {
            let options = MlpOptions::default().width(16).depth(2).step(halves).input_encoding(6);
            (options.conditions(conditions(2)).into(), 2)
        }
        "chapter" => (ChapterOptions::default().width(16).step(sinusoidal).into(), 0),
        "simple" => (SimpleOptions::default().width(16).into(), 0),
        "autoencoder" => (AutoEncoderOptions::default().width(16).step(sinusoidal).into(), 0),
        "unet" => {
            let levels = UNetLevels::default().multipliers(Some(vec![1, 2])).attention(Some(vec![1]));
            let options = UNetOptions::default().width(16).depth(1).step(halves).levels(levels);
            (options.conditions(conditions(1)).into(), 1)
        }
        other => panic!("the page has no example of the network {other}"),
    }
}

fn the_page_of_networks_lists_their_tensors() {
    let page = fs::read_to_string("docs/networks.md").unwrap();
    let tables = tables(&page);
    let names: Vec<&str> = tables.iter().map(|(name, _, _)| name.as_str()).collect();
    let missing: Vec<&&str> = MODELS.iter().filter(|name| !names.contains(name)).collect();
    assert!(missing.is_empty(), "docs/networks.md has no table of {missing:?}");
    for (name, sample, rows) in &tables {
        let (model, given) = example(name);
        let mut g = Graph::new();
        model.build(&mut g, sample).unwrap();
        let code: Vec<(String, Vec<usize>)> =
            g.parameters().iter().map(|p| (p.name.clone(), p.shape.clone())).collect();
        let wanted: Vec<String> = code.iter().map(|(name, shape)| format!("| `{name}` | ... | {shape:?} |")).collect();
        let stated: Vec<(String, Vec<usize>)> = rows.iter().map(|row| (row[0].clone(), numbers(&row[2]))).collect();
        assert_eq!(stated, code, "{name}; the rows should be\n{}", wanted.join("\n"));
        for [tensor, symbols, numbers] in rows {
            let value = format!("{:?}", evaluated(symbols, given));
            assert_eq!(&value, numbers, "{name}: {tensor} {symbols}");
        }
    }
}

/// A page with its path in the repository.
type Page = (PathBuf, String);

/// README.md, and the pages of the folders.
fn pages(folders: &[&str]) -> Vec<Page> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = vec![PathBuf::from("README.md")];
    for folder in folders {
        let entries = fs::read_dir(root.join(folder)).into_iter().flatten();
        paths.extend(entries.map(|entry| Path::new(folder).join(entry.unwrap().file_name())));
    }
    paths.retain(|path| path.extension().is_some_and(|e| e == "md"));
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read_to_string(root.join(path)).unwrap())).collect()
}

/// What a source says: its text without comments and unit tests, with messages in one line.
fn said(source: &str) -> String {
    let tests =
        source.find("\n#[cfg(test)]\nmod tests {").or_else(|| source.find("\n#[cfg(test)]\npub(super) mod tests {"));
    let lines = source[..tests.unwrap_or(source.len())].lines().map(str::trim);
    let mut said = String::new();
    for line in lines.filter(|line| !line.starts_with("//")) {
        // A line that ends with a backslash continues in the next one, without its indentation.
        match line.strip_suffix('\\') {
            Some(part) => said += part,
            None => said.extend([line, "\n"]),
        }
    }
    said
}

/// What all sources of the program say.
fn messages() -> String {
    fn read(folder: &Path, all: &mut String) {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            match path.is_dir() {
                true => read(&path, all),
                false if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("tests.rs") => {
                    *all += &said(&fs::read_to_string(&path).unwrap());
                }
                false => {}
            }
        }
    }
    let mut all = String::new();
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut all);
    all
}

/// Whether the parts of a message, between the three dots, follow each other closely in the sources.
fn is_message(sources: &str, message: &str) -> bool {
    let parts: Vec<&str> = message.split('\u{2026}').map(str::trim).filter(|part| !part.is_empty()).collect();
    let follows = |mut rest: &str| {
        parts[1..].iter().all(|part| {
            let found = rest.find(part).filter(|at| *at < 120);
            rest = found.map_or("", |at| &rest[at + part.len()..]);
            found.is_some()
        })
    };
    sources.match_indices(parts[0]).any(|(at, first)| follows(&sources[at + first.len()..]))
}

fn the_messages_of_trouble_exist() {
    let page = fs::read_to_string("docs/trouble.md").unwrap();
    let headings: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`')).collect();
    assert!(headings.len() > 20, "{headings:?}");
    let sources = messages();
    let unknown: Vec<_> = headings.into_iter().filter(|heading| !is_message(&sources, heading)).collect();
    assert!(unknown.is_empty(), "the program has no such messages: {unknown:#?}");
}

/// The name of a heading in links, as on GitHub and in mdBook.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

/// The text of a page without its blocks of code.
fn without_code(page: &str) -> String {
    page.split("```").step_by(2).collect()
}

/// The links of a text: what is shown, and the target.
fn links(text: &str) -> Vec<(&str, &str)> {
    let parts: Vec<&str> = text.split("](").collect();
    let link = |pair: &[&'_ str]| -> Option<(usize, usize)> { Some((pair[0].rfind('[')? + 1, pair[1].find(')')?)) };
    parts.windows(2).filter_map(|pair| link(pair).map(|(from, to)| (&pair[0][from..], &pair[1][..to]))).collect()
}

/// What is wrong with the links of a page.
fn wrong_links((path, text): &Page) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = without_code(text);
    let wrong = links(&text).into_iter().filter_map(|(shown, target)| {
        let (file, heading) = target.split_once('#').unwrap_or((target, ""));
        if target.starts_with("http") {
            return None;
        }
        // A link that shows the name of a page leads there.
        let page = shown.trim_matches('`').rsplit('/').next().unwrap();
        if page.ends_with(".md") && file.rsplit('/').next() != Some(page) {
            return Some(format!("{}: the link {shown} leads to {target}", path.display()));
        }
        let file = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
        // The book has the pages of its folder only.
        if path.starts_with("docs") && target.starts_with("..") {
            return Some(format!("{}: {target} leads out of docs", path.display()));
        }
        if file.starts_with("data") && no_sample_data().is_some() {
            return None;
        }
        if !root.join(&file).exists() {
            return Some(format!("{}: there is no {target}", path.display()));
        }
        let has = |page: &str| {
            page.lines().any(|line| line.starts_with('#') && anchor(line.trim_start_matches('#')) == heading)
        };
        let found = heading.is_empty() || has(&without_code(&fs::read_to_string(root.join(&file)).unwrap()));
        (!found).then(|| format!("{}: {target} has no such heading", path.display()))
    });
    wrong.collect()
}

fn links_lead_somewhere() {
    let wrong: Vec<String> = pages(&["docs", "benches", "data", "tests/golden"]).iter().flat_map(wrong_links).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn wrong_links_and_messages_are_found() {
    let page = |text: &str| (PathBuf::from("docs/page.md"), text.to_string());
    let wrong = [
        "[a](none.md)",
        "[a](data.md#nothing)",
        "![a](none.svg)",
        "[a](../README.md)",
        "# b\n[a](#c)",
        "[results.md](data.md)",
        "[`docs/results.md`](data.md#tables)",
    ];
    for text in wrong {
        assert_eq!(wrong_links(&page(text)).len(), 1, "{text}");
    }
    let right = page("# A `b`, c\n[a](data.md#tables) [b](https://a.b/c) [c](pulse.svg)\n```text\n[a](none)\n```");
    assert_eq!(wrong_links(&right), [""; 0]);
    assert_eq!(links("a [b](c), ![d [e](f) g](h [i](j)"), [("b", "c"), ("e", "f"), ("i", "j")]);
    assert_eq!(anchor(" A `b`, c: d-e"), "a-b-c-d-e");
    // Neither comments nor unit tests are messages.
    let source =
        "/// first\n    // second\nsay(\"third \\\n     fourth\"); // fifth\n\n#[cfg(test)]\nmod tests {\n\"sixth\"";
    assert_eq!(said(source), "say(\"third fourth\"); // fifth\n");
    let sources = "say(\"the loss of {name} became {value}; use less\")";
    for (message, known) in
        [("the loss of … became", true), ("use less", true), ("became … the loss", false), ("a", true)]
    {
        assert_eq!(is_message(sources, message), known, "{message}");
    }
}

fn every_page_is_in_the_summary() {
    let summary = fs::read_to_string("docs/SUMMARY.md").unwrap();
    for (path, _) in pages(&["docs"]) {
        let name = path.file_name().unwrap().to_str().unwrap();
        let listed = summary.matches(&format!("({name})")).count();
        assert!(
            listed == 1 || ["SUMMARY.md", "README.md"].contains(&name),
            "docs/SUMMARY.md lists {name} {listed} times"
        );
    }
}
