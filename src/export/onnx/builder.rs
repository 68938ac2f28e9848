//! Builds the nodes of an ONNX graph. A value is its name.

use std::collections::HashSet;

use super::proto::{
    Attribute, BOOL, DOUBLE, Dimension, FLOAT, Graph, INT64, Node, OF_FLOAT, OF_GRAPH, OF_INT, OF_INTS, OF_STRING,
    Shape, Tensor, TensorType, Type, ValueInfo,
};
use crate::ops::Activation;

/// The name of the first dimension of inputs and outputs.
const BATCH: &str = "batch";

/// Nodes and initializers. Names are unique in the whole model, because the body of a loop sees those around it.
#[derive(Default)]
pub struct Builder {
    nodes: Vec<Node>,
    /// The nodes around the body that is built.
    outer: Vec<Vec<Node>>,
    initializers: Vec<Tensor>,
    known: HashSet<String>,
    count: usize,
}

/// An attribute.
pub fn int(name: &str, value: i64) -> Attribute {
    Attribute { name: name.into(), i: Some(value), r#type: OF_INT, ..Attribute::default() }
}

/// An attribute with a list.
pub fn ints(name: &str, values: impl IntoIterator<Item = usize>) -> Attribute {
    let ints = values.into_iter().map(|v| v as i64).collect();
    Attribute { name: name.into(), ints, r#type: OF_INTS, ..Attribute::default() }
}

/// An attribute.
pub fn float(name: &str, value: f64) -> Attribute {
    Attribute { name: name.into(), f: Some(value as f32), r#type: OF_FLOAT, ..Attribute::default() }
}

/// An attribute.
pub fn text(name: &str, value: &str) -> Attribute {
    Attribute { name: name.into(), s: Some(value.into()), r#type: OF_STRING, ..Attribute::default() }
}

/// An input or output. [`None`] is a dimension of the size of the batch.
pub fn value_info(name: &str, element: i32, shape: &[Option<usize>], doc: &str) -> ValueInfo {
    let dim = |size: &Option<usize>| Dimension {
        dim_value: size.map(|n| n as i64),
        dim_param: size.is_none().then(|| BATCH.to_string()),
    };
    let shape = Some(Shape { dim: shape.iter().map(dim).collect() });
    let of = Type { tensor_type: Some(TensorType { elem_type: element, shape }) };
    ValueInfo { name: name.into(), r#type: Some(of), doc_string: doc.into() }
}

/// The shape [batch, ...].
pub fn batch_of(sample: &[usize]) -> Vec<Option<usize>> {
    std::iter::once(None).chain(sample.iter().map(|n| Some(*n))).collect()
}

impl Builder {
    /// Adds a node with one output, and returns its name.
    pub fn node(&mut self, op: &str, inputs: &[&str], attributes: Vec<Attribute>) -> String {
        let name = self.fresh(op);
        self.named(&name, op, inputs, attributes);
        name
    }

    /// Adds a node whose output has a name.
    pub fn named(&mut self, output: &str, op: &str, inputs: &[&str], attributes: Vec<Attribute>) {
        self.nodes(op, inputs, attributes, vec![output.to_string()]);
    }

    /// Adds a node with several outputs.
    pub fn nodes(&mut self, op: &str, inputs: &[&str], attribute: Vec<Attribute>, output: Vec<String>) {
        let input = inputs.iter().map(|name| name.to_string()).collect();
        let name = format!("node_{}", output[0]);
        self.nodes.push(Node { input, output, name, op_type: op.into(), attribute });
    }

    /// A new name.
    pub fn fresh(&mut self, what: &str) -> String {
        self.count += 1;
        format!("{}_{}", what.to_lowercase(), self.count)
    }

    fn initializer(&mut self, name: &str, data_type: i32, shape: &[usize], raw_data: Vec<u8>) -> String {
        if self.known.insert(name.to_string()) {
            let dims = shape.iter().map(|n| *n as i64).collect();
            self.initializers.push(Tensor { dims, data_type, name: name.into(), raw_data });
        }
        name.to_string()
    }

    /// A constant with a name, which is added once.
    pub fn parameter(&mut self, name: &str, shape: &[usize], values: &[f32]) -> String {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.initializer(name, FLOAT, shape, bytes)
    }

    /// A constant.
    pub fn floats(&mut self, shape: &[usize], values: &[f32]) -> String {
        let name = self.fresh("constant");
        self.parameter(&name, shape, values)
    }

    /// A constant of 64-bit floats.
    pub fn doubles(&mut self, shape: &[usize], values: &[f64]) -> String {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let name = self.fresh("constant");
        self.initializer(&name, DOUBLE, shape, bytes)
    }

    /// A constant list of 64-bit integers; equal ones share a name.
    pub fn integers(&mut self, values: &[i64]) -> String {
        let words: Vec<String> = values.iter().map(|v| v.to_string().replace('-', "minus")).collect();
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.initializer(&format!("integers_{}", words.join("_")), INT64, &[values.len()], bytes)
    }

    /// A constant 64-bit integer; equal ones share a name.
    pub fn integer(&mut self, value: i64) -> String {
        self.initializer(&format!("integer_{value}"), INT64, &[], value.to_le_bytes().to_vec())
    }

    /// The constant true.
    pub fn truth(&mut self) -> String {
        self.initializer("true", BOOL, &[], vec![1])
    }

    /// Reshapes rows: the first dimension is what remains.
    pub fn rows(&mut self, x: &str, shape: &[usize]) -> String {
        let dims: Vec<i64> = std::iter::once(-1).chain(shape.iter().map(|n| *n as i64)).collect();
        let dims = self.integers(&dims);
        self.node("Reshape", &[x, &dims], vec![])
    }

    /// Converts to another element type.
    pub fn cast(&mut self, x: &str, to: i32) -> String {
        self.node("Cast", &[x], vec![int("to", to.into())])
    }

    /// x op y, with a constant number y.
    pub fn with_number(&mut self, op: &str, x: &str, number: f32) -> String {
        let number = self.floats(&[], &[number]);
        self.node(op, &[x, &number], vec![])
    }

    /// Applies an activation.
    pub fn activate(&mut self, x: String, activation: Activation) -> String {
        match activation {
            Activation::None => x,
            Activation::Relu => self.node("Relu", &[&x], vec![]),
            Activation::Tanh => self.node("Tanh", &[&x], vec![]),
            Activation::Sigmoid => self.node("Sigmoid", &[&x], vec![]),
            Activation::LeakyRelu { slope } => self.node("LeakyRelu", &[&x], vec![float("alpha", slope.into())]),
            Activation::Silu => {
                let gate = self.node("Sigmoid", &[&x], vec![]);
                self.node("Mul", &[&x, &gate], vec![])
            }
            Activation::GeluErf => {
                let scaled = self.with_number("Mul", &x, std::f32::consts::FRAC_1_SQRT_2);
                let erf = self.node("Erf", &[&scaled], vec![]);
                self.half_gate(&x, &erf)
            }
            Activation::GeluTanh => {
                let square = self.node("Mul", &[&x, &x], vec![]);
                let cubic = self.with_number("Mul", &square, 0.044_715);
                let factor = self.with_number("Add", &cubic, 1.0);
                let inner = self.node("Mul", &[&x, &factor], vec![]);
                let inner = self.with_number("Mul", &inner, (2.0 / std::f32::consts::PI).sqrt());
                let tanh = self.node("Tanh", &[&inner], vec![]);
                self.half_gate(&x, &tanh)
            }
        }
    }

    /// x (1 + y) / 2.
    fn half_gate(&mut self, x: &str, y: &str) -> String {
        let gate = self.with_number("Add", y, 1.0);
        let gate = self.with_number("Mul", &gate, 0.5);
        self.node("Mul", &[x, &gate], vec![])
    }

    /// Begins the body of a loop: nodes are added to it until [`Builder::end_body`].
    pub fn begin_body(&mut self) {
        self.outer.push(std::mem::take(&mut self.nodes));
    }

    /// The body as an attribute.
    pub fn end_body(&mut self, input: Vec<ValueInfo>, output: Vec<ValueInfo>) -> Attribute {
        let outer = self.outer.pop().unwrap_or_default();
        let node = std::mem::replace(&mut self.nodes, outer);
        let graph = Graph { node, name: "step".into(), input, output, ..Graph::default() };
        Attribute { name: "body".into(), g: Some(graph), r#type: OF_GRAPH, ..Attribute::default() }
    }

    /// The whole graph.
    pub fn finish(self, name: &str, input: Vec<ValueInfo>, output: Vec<ValueInfo>) -> Graph {
        Graph { node: self.nodes, name: name.into(), initializer: self.initializers, input, output }
    }
}
