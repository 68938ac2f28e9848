//! Single ops: y from the inputs, then the gradients that belong to the given gradient gy of y.

mod attention;
mod conv;
mod layers;
mod norm;

use std::collections::BTreeMap;

use langevin::{Device, Graph, Result, Var};

use super::{Outcome, Outputs, Trouble, has_inputs, has_setting, number, text, unsupported, whole};
use crate::golden::manifest::Case;

/// What a case is follows from its inputs and settings.
pub fn compute(case: &Case, device: &Device, got: &mut Outputs) -> Outcome {
    let known = [norm::compute, attention::compute, layers::compute, conv::compute];
    for try_it in known {
        match try_it(case, device, got) {
            None => {}
            Some(outcome) => return outcome,
        }
    }
    unsupported(format!("{case}: no op is known with the inputs {:?} and the settings {}", case.inputs(), case.meta))
}

/// The graph's tensors by the names of the case.
pub type Inputs = BTreeMap<String, Var>;

/// Computes `y` and every `d_NAME` of the case from the graph that `build` makes of its inputs.
fn check(
    case: &Case,
    device: &Device,
    got: &mut Outputs,
    build: impl FnOnce(&mut Graph, &Inputs) -> Result<Var>,
) -> Outcome {
    let mut g = Graph::new();
    let mut inputs = Inputs::new();
    for name in case.inputs() {
        let integers = name == "index";
        let (shape, label) = (case.shape(name), name.to_string());
        let var = if integers { g.state_u32(name, shape)? } else { g.state(name, shape)? };
        inputs.insert(label, var);
    }
    let y = build(&mut g, &inputs)?;
    let gy = inputs["gy"];
    if g.shape(y) != g.shape(gy) {
        return Err(Trouble::Failed(format!("{case}: y has shape {:?}, gy {:?}", g.shape(y), g.shape(gy))));
    }
    let wanted: Vec<(String, Var)> = case
        .outputs()
        .into_iter()
        .filter_map(|output| Some((output.to_string(), *inputs.get(output.strip_prefix("d_")?)?)))
        .collect();
    let gradients = g.backward_from(&[(y, gy)], &wanted.iter().map(|(_, var)| *var).collect::<Vec<_>>())?;
    let mut results = vec![("y".to_string(), g.keep(y))];
    for (name, var) in wanted {
        let d = gradients.of(var).ok_or_else(|| Trouble::Failed(format!("{case}: there is no {name}")))?;
        results.push((name, g.keep(d)));
    }
    let mut run = device.compile(&g)?;
    for name in case.inputs() {
        if name == "index" { run.write_u32(name, &case.u32s(name))? } else { run.write(name, &case.f32s(name))? }
    }
    run.steps(1)?;
    for (name, var) in results {
        got.insert(name, run.read_f64(var)?);
    }
    Ok(())
}

/// Refuses settings that are none of these.
fn expect_settings(case: &Case, known: &[&str]) -> Outcome {
    let settings = case.meta.as_object().into_iter().flat_map(|table| table.keys());
    match settings.into_iter().find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => unsupported(format!("{case}: the setting {key:?}")),
    }
}
