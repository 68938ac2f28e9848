//! Checks files as a reader of ONNX would: every input of a node was made before it, and every name once.

use std::collections::HashSet;

use super::proto::Graph as Proto;
use super::*;
use crate::data::{Dataset, Kind, Labels};
use crate::device::Device;
use crate::diffusion::{SamplerSettings, sampler};
use crate::inference::{Guidance, SampleConditions};
use crate::nn::{MODELS, MlpOptions, StepEncoding};
use crate::ops::Activation;
use crate::train::{Config, Trainer};

/// The operators of version 17 that are used, with the numbers of their inputs and outputs. `Concat` and `Loop` have any number.
const OPS: &[(&str, [usize; 2])] = &[
    ("Add", [2, 1]),
    ("Cast", [1, 1]),
    ("Ceil", [1, 1]),
    ("Clip", [3, 1]),
    ("Conv", [3, 1]),
    ("ConvTranspose", [3, 1]),
    ("Cos", [1, 1]),
    ("Div", [2, 1]),
    ("Erf", [1, 1]),
    ("Expand", [2, 1]),
    ("Floor", [1, 1]),
    ("Gather", [2, 1]),
    ("Gemm", [3, 1]),
    ("Identity", [1, 1]),
    ("InstanceNormalization", [3, 1]),
    ("IsNaN", [1, 1]),
    ("LayerNormalization", [3, 1]),
    ("LeakyRelu", [1, 1]),
    ("MatMul", [2, 1]),
    ("Max", [2, 1]),
    ("Min", [2, 1]),
    ("Mul", [2, 1]),
    ("Not", [1, 1]),
    ("Pad", [2, 1]),
    ("Relu", [1, 1]),
    ("Reshape", [2, 1]),
    ("Resize", [3, 1]),
    ("Round", [1, 1]),
    ("Shape", [1, 1]),
    ("Sigmoid", [1, 1]),
    ("Sin", [1, 1]),
    ("Slice", [4, 1]),
    ("Softmax", [1, 1]),
    ("Split", [2, 3]),
    ("Sub", [2, 1]),
    ("Tanh", [1, 1]),
    ("Transpose", [1, 1]),
    ("Unsqueeze", [2, 1]),
    ("Where", [3, 1]),
];

/// Checks a graph whose nodes see the names `outer`, and returns the operators that it uses.
fn check(graph: &Proto, outer: &HashSet<String>) -> HashSet<String> {
    let (mut known, mut used) = (outer.clone(), HashSet::new());
    let define = |known: &mut HashSet<String>, name: &String| assert!(known.insert(name.clone()), "{name} twice");
    let own = graph.initializer.iter().map(|t| &t.name).chain(graph.input.iter().map(|value| &value.name));
    own.for_each(|name| define(&mut known, name));
    for tensor in &graph.initializer {
        let size = match tensor.data_type {
            FLOAT => 4,
            INT64 | DOUBLE => 8,
            _ => 1,
        };
        let len: i64 = tensor.dims.iter().product();
        assert_eq!(len * size, tensor.raw_data.len() as i64, "{}", tensor.name);
    }
    for node in &graph.node {
        for input in node.input.iter().filter(|input| !input.is_empty()) {
            assert!(known.contains(input), "{} reads {input} before it is made", node.op_type);
        }
        match OPS.iter().find(|(op, _)| *op == node.op_type) {
            Some((op, sizes)) => assert_eq!([node.input.len(), node.output.len()], *sizes, "{op}"),
            None => assert!(["Concat", "Loop"].contains(&&*node.op_type), "{}", node.op_type),
        }
        for body in node.attribute.iter().filter_map(|attribute| attribute.g.as_ref()) {
            // A loop reads as many states as it carries; the body has the number and the condition in addition.
            assert_eq!((body.input.len(), body.output.len()), (node.input.len(), node.input.len() - 1));
            used.extend(check(body, &known));
        }
        node.output.iter().for_each(|name| define(&mut known, name));
        used.insert(node.op_type.clone());
    }
    graph.output.iter().for_each(|output| assert!(known.contains(&output.name), "{} is not made", output.name));
    used
}

/// The inputs of all nodes, also of those in the bodies of loops.
fn inputs_of(graph: &Proto) -> HashSet<String> {
    let bodies = graph.node.iter().flat_map(|node| &node.attribute).filter_map(|attribute| attribute.g.as_ref());
    graph.node.iter().flat_map(|node| node.input.clone()).chain(bodies.flat_map(inputs_of)).collect()
}

/// A run that was not trained.
fn run(model: &str, data: &Dataset, change: impl Fn(&mut Config)) -> Checkpoint {
    let mut config = Config { batch: 4, ..Config::for_model(model).unwrap() };
    change(&mut config);
    Trainer::new(&Device::cpu(), &config, data).unwrap().checkpoint().unwrap()
}

fn signals() -> Dataset {
    Dataset::new("signals", [16], (0..160).map(|i| (i as f32 * 0.7).sin()).collect()).unwrap()
}

fn images() -> Dataset {
    let values = (0..2_560).map(|i| (i as f32 * 0.3).sin()).collect();
    Dataset::new("images", [1, 16, 16], values).unwrap().of_kind(Kind::Images).unwrap()
}

fn labelled() -> Dataset {
    images()
        .with_labels(Labels { name: "labels".into(), of: (0..10).map(|i| i % 3).collect(), classes: 3, names: vec![] })
        .unwrap()
}

/// The operators of a model, after it was written and read.
fn written(checkpoint: &Checkpoint, sampling: Option<Sampling>) -> HashSet<String> {
    let model = match sampling {
        None => denoiser(checkpoint).unwrap(),
        Some(sampling) => sampler::model(checkpoint, &sampling).unwrap(),
    };
    let read = Model::decode(&model.encode_to_vec()[..]).unwrap();
    assert_eq!(read, model);
    assert_eq!(read.opset_import[0].version, OPSET);
    let inputs = inputs_of(read.graph.as_ref().unwrap());
    let unused = read.graph.iter().flat_map(|graph| &graph.initializer).find(|t| !inputs.contains(&t.name));
    assert!(unused.is_none(), "{:?} is not used", unused.map(|t| &t.name));
    check(read.graph.as_ref().unwrap(), &HashSet::new())
}

fn with(name: &str) -> Sampling {
    Sampling { sampler: sampler(name, SamplerSettings::default()).unwrap(), steps: 3, ..Sampling::new(1) }
}

#[test]
fn every_network_is_written() {
    for model in MODELS {
        for data in [signals(), images()] {
            let run = run(model, &data, |_| {});
            let used = written(&run, None);
            assert!(!used.contains("Loop"), "{model}");
            for name in ["unipc", "ddim", "heun", "euler", "dpmpp_2m"] {
                assert!(written(&run, Some(with(name))).contains("Loop"), "{model} {name}");
            }
            if *model == "unet" {
                assert!(["Resize", "Softmax", "InstanceNormalization"].iter().all(|op| used.contains(*op)), "{used:?}");
                assert!(!used.contains("ConvTranspose"), "an upsampled convolution is a convolution");
            }
        }
    }
}

#[test]
fn every_encoding_and_activation_is_written() {
    for kind in [StepEncoding::Sinusoidal, StepEncoding::Halves, StepEncoding::Learned, StepEncoding::Fourier] {
        for width in [8, 9] {
            let run = run("mlp", &signals(), |config| {
                let step = config.model.step_encoder_mut().unwrap();
                (step.kind, step.width) = (kind, width);
            });
            written(&run, None);
        }
    }
    for (_, activation) in Activation::ALL {
        let options = MlpOptions::default().activation(activation).input_encoding(4).width(16);
        written(&run("mlp", &signals(), |config| config.model = options.into()), None);
    }
}

#[test]
fn conditions_are_inputs_and_guidance_evaluates_twice() {
    let run = run("unet", &labelled(), |_| {});
    let model = |scale: f64| {
        let conditions = SampleConditions::default().guidance(Guidance::default().scale(scale));
        sampler::model(&run, &Sampling { conditions, ..with("unipc") }).unwrap().graph.unwrap()
    };
    let count = |graph: &Proto| {
        let body = graph.node.iter().find_map(|node| node.attribute.iter().find_map(|a| a.g.as_ref())).unwrap();
        body.node.iter().filter(|node| node.op_type == "Softmax").count()
    };
    let (plain, guided) = (model(1.0), model(2.0));
    check(&guided, &HashSet::new());
    assert_eq!(count(&guided), 2 * count(&plain));
    assert_eq!(plain.initializer.iter().filter(|t| t.name == "class.weight").count(), 1);
    assert_eq!(guided.initializer.iter().filter(|t| t.name == "class.weight").count(), 1);
    let inputs: Vec<_> = plain.input.iter().map(|input| input.name.as_str()).collect();
    assert_eq!(inputs, ["noise", "label"]);
}

#[test]
fn unknown_values_are_marked_by_nan() {
    let run = run("unet", &images(), |config| config.task = Task::Complete);
    let used = written(&run, Some(with("ddim")));
    assert!(["IsNaN", "Where", "Not"].iter().all(|op| used.contains(*op)), "{used:?}");
}

#[test]
fn samplers_with_noise_are_refused() {
    let run = run("simple", &signals(), |_| {});
    for name in ["ddpm", "euler_ancestral", "edm", "dpmpp_2m_sde"] {
        let refused = sampler::model(&run, &with(name)).unwrap_err().to_string();
        assert!(refused.contains("adds random noise"), "{refused}");
    }
}

#[test]
fn offsets_of_columns_are_a_part_of_the_units() {
    let columns = Columns { offset: vec![1.7e9, 0.0], ..Columns::default() };
    let data = Dataset::new("data", [2], vec![0.0, 1.0, 4.0, 3.0]).unwrap().of_kind(Kind::Table).unwrap();
    let normalisation = Normalisation::standard(&data).unwrap();
    let plain = Units::of(Kind::Table, &[2], &normalisation, &Columns::default());
    let far = Units::of(Kind::Table, &[2], &normalisation, &columns);
    assert_eq!(far.shift, [plain.shift[0] + 1.7e9, plain.shift[1]]);
    assert_eq!((far.scale, far.element, plain.element), (plain.scale, DOUBLE, FLOAT));
    let config = Config { batch: 2, ..Config::for_model("mlp").unwrap() };
    let mut checkpoint = Trainer::new(&Device::cpu(), &config, &data).unwrap().checkpoint().unwrap();
    checkpoint.facts.columns = columns;
    let graph = denoiser(&checkpoint).unwrap().graph.unwrap();
    let element = |values: &[ValueInfo], name: &str| {
        let found = values.iter().find(|value| value.name == name).unwrap();
        found.r#type.as_ref().unwrap().tensor_type.as_ref().unwrap().elem_type
    };
    assert_eq!([element(&graph.input, "x_t"), element(&graph.output, "clean")], [DOUBLE; 2]);
}
