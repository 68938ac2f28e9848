//! The tables of tensors in `docs/networks.md` are those of the code.

use std::fs;

use langevin::Graph;
use langevin::diffusion::Prediction;
use langevin::nn::{
    AutoEncoderOptions, ChapterOptions, ConditionOptions, MODELS, MlpOptions, Model, SimpleOptions, StepEncoderOptions,
    StepEncoding, UNetLevels, UNetOptions,
};
use langevin::ops::Activation;

use crate::common::{Test, always, named};

pub fn tests() -> Vec<Test> {
    always(named![
        the_page_of_networks_lists_their_tensors,
        shapes_are_evaluated,
        every_network_and_prediction_has_code_in_python
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
