//! The table of a network's layers.

use std::fmt;
use std::ops::Deref;

use super::{Inputs, Model};
use crate::error::Result;
use crate::graph::Graph;
use crate::text::grouped;

/// One layer with parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Layer {
    /// The common prefix of its parameters, such as `fc1`.
    pub name: String,
    /// The op.
    pub op: &'static str,
    /// The shape of its output for one sample.
    pub output: Vec<usize>,
    /// Its number of trainable parameters.
    pub parameters: usize,
}

/// The layers of a network; displayed as a table in which `B` is any batch size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layers(Vec<Layer>);

impl Layers {
    /// The total number of trainable parameters.
    pub fn parameters(&self) -> usize {
        self.0.iter().map(|layer| layer.parameters).sum()
    }
}

impl Deref for Layers {
    type Target = [Layer];

    fn deref(&self) -> &[Layer] {
        &self.0
    }
}

impl fmt::Display for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wide = self.iter().map(|l| l.name.len() + l.op.len() + 3).max().unwrap_or(0).max(20);
        writeln!(f, "{:<wide$} {:>18} {:>14}", "layer", "output", "parameters")?;
        for Layer { name, op, output, parameters } in self.iter() {
            let output: String = output.iter().map(|n| format!(", {n}")).collect();
            let (layer, output) = (format!("{name} ({op})"), format!("(B{output})"));
            writeln!(f, "{layer:<wide$} {output:>18} {:>14}", grouped(*parameters))?;
        }
        write!(f, "{:<wide$} {:>18} {:>14}", "total", "", grouped(self.parameters()))
    }
}

/// The layers of a network that hold parameters, in the order in which they are computed.
///
/// # Errors
/// When the model does not fit samples of this shape.
pub fn layers(model: &Model, sample: &[usize]) -> Result<Layers> {
    let mut g = Graph::new();
    let network = model.build(&mut g, sample)?;
    let (x, t) = (g.state("x_t", [1, sample.iter().product()])?, g.state("t", [1])?);
    let inputs = model.conditions().add_states(&mut g, Inputs::new(x, t), sample)?;
    network.forward(&mut g, inputs)?;
    let mut layers: Vec<Layer> = Vec::new();
    let mut counted = Vec::new();
    for node in &g.nodes {
        let roots: Vec<_> = node.inputs.iter().map(|v| g.root(*v)).collect();
        let own = g.parameters().iter().filter(|p| roots.contains(&p.var) && !counted.contains(&p.var));
        let own: Vec<_> = own.collect();
        let (Some(first), Some(output)) = (own.first(), node.outputs.first()) else { continue };
        counted.extend(own.iter().map(|p| p.var));
        let name = first.name.rsplit_once('.').map_or(first.name.as_str(), |(layer, _)| layer);
        let parameters = own.iter().map(|p| p.shape.iter().product::<usize>()).sum();
        let (op, output) = (node.op.name(), g.shape(*output)[1..].to_vec());
        match layers.iter_mut().find(|layer| layer.name == name) {
            // An upsampled convolution is computed as a transposed one with a wider kernel.
            Some(layer) if layer.op == "widen" => {
                (layer.op, layer.output, layer.parameters) = ("nearest + conv", output, layer.parameters + parameters)
            }
            // The output of a layer of several ops is that of its last op.
            Some(layer) => (layer.op, layer.output, layer.parameters) = (op, output, layer.parameters + parameters),
            None => layers.push(Layer { name: name.to_string(), op, output, parameters }),
        }
    }
    Ok(Layers(layers))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{ConditionOptions, MODELS};

    #[test]
    fn the_chapters_layers_are_listed() {
        let layers = layers(&Model::named("chapter").unwrap(), &[100]).unwrap();
        assert!(layers.to_string().ends_with("42 212"), "{layers}");
        let rows: Vec<_> = layers.iter().map(|l| (l.name.as_str(), l.output.as_slice(), l.parameters)).collect();
        assert_eq!(rows, [("fc1", &[128][..], 29_312), ("fc2", &[100], 12_900)]);
    }

    #[test]
    fn layers_of_conditions_are_listed() {
        let conditions = ConditionOptions::default().classes(10).vector(3).given(2);
        let model = Model::named("mlp").unwrap().with_conditions(conditions).unwrap();
        let layers = layers(&model, &[8]).unwrap();
        let named = |name: &str| layers.iter().find(|layer| layer.name == name).map(|layer| layer.parameters);
        assert_eq!(
            [named("class"), named("vector.0"), named("input")],
            [Some(11 * 256), Some(4 * 256), Some(25 * 256)]
        );
    }

    #[test]
    fn layers_have_the_names_of_their_definition() {
        let unet = layers(&Model::named("unet").unwrap().for_sample(&[1, 8, 8]), &[1, 8, 8]).unwrap();
        let ops = |layers: &Layers| layers.iter().map(|l| l.op).collect::<Vec<_>>();
        assert!(ops(&unet).contains(&"nearest + conv"), "{unet}");
        assert!(!ops(&unet).iter().any(|op| ["conv_transpose", "widen"].contains(op)), "{unet}");
        let autoencoder = layers(&Model::named("autoencoder").unwrap(), &[1, 8, 8]).unwrap();
        assert!(ops(&autoencoder).contains(&"conv_transpose"), "{autoencoder}");
    }

    #[test]
    fn every_parameter_belongs_to_a_layer() {
        for name in MODELS {
            let model = Model::named(name).unwrap();
            let mut g = Graph::new();
            let shape = [1, 8, 8];
            if model.build(&mut g, &shape).is_ok() {
                assert_eq!(layers(&model, &shape).unwrap().parameters(), g.parameter_count(), "{name}");
            }
        }
    }
}
