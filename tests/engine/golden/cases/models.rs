//! Dense networks: output, loss and gradients of the first step, and what each optimizer makes of the parameters.

use langevin::ops::{Activation, Dense, Reduce, Reduction, SquaredNorm};
use langevin::{Device, Graph, Run, Slab, Var};

use super::optimizers::{named, state};
use super::{Outcome, Outputs, Trouble, number, text, unsupported, whole};
use crate::golden::manifest::{Case, Golden};

pub fn compute(golden: &Golden, case: &Case, device: &Device, got: &mut Outputs) -> Outcome {
    let net = Net::new(golden, case)?;
    net.gradients(device, got)?;
    let stages: Vec<(&str, Stage)> = case.outputs().into_iter().filter_map(|n| Some((n, Stage::of(n)?))).collect();
    let mut optimizers: Vec<&str> = stages.iter().map(|(_, stage)| stage.optimizer).collect();
    optimizers.sort_unstable();
    optimizers.dedup();
    // An optimizer that is not known leaves the others to be checked.
    let mut outcome = Ok(());
    for name in optimizers {
        let wanted: Vec<_> = stages.iter().filter(|(_, stage)| stage.optimizer == name).copied().collect();
        match net.train(case, name, &wanted, device, got) {
            Err(Trouble::Unsupported(what)) => outcome = unsupported(what),
            other => other?,
        }
    }
    outcome
}

/// Layers `fc1`, `fc2`, ... with the activation between them, on the first rows of the shared inputs.
struct Net<'a> {
    inputs: &'a Case,
    activation: Activation,
    batch: usize,
    layers: usize,
}

/// The handles of a built network.
struct Built {
    x: Var,
    y: Var,
    loss: Var,
}

impl<'a> Net<'a> {
    fn new(golden: &'a Golden, case: &Case) -> Outcome<Self> {
        let (name, batch) = (text(case, "inputs")?, whole(case, "batch")?);
        let Some(inputs) = golden.cases(&case.file).iter().find(|c| c.name == name) else {
            return unsupported(format!("{case}: there are no inputs {name:?}"));
        };
        let layers = (1..).take_while(|i| inputs.has(&format!("fc{i}.weight"))).count();
        let known = |n: &str| n.starts_with("fc") || ["x", "t", "target"].contains(&n);
        if layers == 0 || !inputs.inputs().into_iter().all(known) || inputs.inputs().len() != 2 * layers + 3 {
            return unsupported(format!("{inputs}: {layers} dense layers and {:?}", inputs.inputs()));
        }
        Ok(Self { inputs, activation: Activation::named(text(case, "activation")?)?, batch, layers })
    }

    fn build(&self, g: &mut Graph) -> langevin::Result<Built> {
        let x = self.first_rows(g, "x")?;
        let mut y = x;
        for i in 1..=self.layers {
            let mut parameter = |part: &str| {
                let name = format!("fc{i}.{part}");
                g.parameter(&name, self.inputs.shape(&name), self.inputs.f32s(&name))
            };
            let (w, b) = (parameter("weight")?, parameter("bias")?);
            let activation = if i == self.layers { Activation::None } else { self.activation };
            y = g.apply1(Dense { activation }, &[y, w, b])?;
        }
        let target = self.first_rows(g, "target")?;
        Ok(Built { x, y, loss: g.mse(y, target)? })
    }

    fn first_rows(&self, g: &mut Graph, tensor: &str) -> langevin::Result<Var> {
        let [_, width] = super::rows(self.inputs, tensor);
        let values = self.inputs.f32s(tensor).into_iter().take(self.batch * width).collect();
        g.constant([self.batch, width], values)
    }

    fn gradients(&self, device: &Device, got: &mut Outputs) -> Outcome {
        let mut g = Graph::new();
        let Built { x, y, loss } = self.build(&mut g)?;
        let gradients = g.backward(&[loss], &[x])?;
        let grads = g.slab(Slab::Grads);
        let partials = g.apply1(SquaredNorm::of(g.spec(grads).len()), &[grads])?;
        let norm = g.apply1(Reduce(Reduction::Clip { max: 1.0 }), &[partials])?;
        let d_x = gradients.of(x).ok_or(Trouble::Failed("there is no gradient by x".into()))?;
        for var in [y, d_x] {
            g.keep(var);
        }
        let mut run = device.compile(&g)?;
        run.steps(1)?;
        got.insert("y".into(), run.read_f64(y)?);
        got.insert("d_x".into(), run.read_f64(d_x)?);
        got.insert("loss".into(), vec![run.scalar(loss)?]);
        got.insert("grad_norm".into(), vec![run.scalar(norm)?]);
        for p in g.parameters() {
            got.insert(format!("d_{}", p.name), run.read_parameter(Slab::Grads, &p.name)?);
        }
        Ok(())
    }

    /// Trains on the same batch, as long as the wanted tensors need, and reads them on the way.
    fn train(&self, case: &Case, name: &str, wanted: &[(&str, Stage)], device: &Device, got: &mut Outputs) -> Outcome {
        let lr = self.inputs.meta["lr"][name].as_f64();
        let lr = lr.ok_or_else(|| Trouble::Unsupported(format!("{}: no lr for {name}", self.inputs)))?;
        let averaged = wanted.iter().any(|(_, stage)| matches!(stage.what, What::Average { .. }));
        let ema = if averaged { Some(number(case, "ema_decay")?) } else { None };
        let mut g = Graph::new();
        let loss = self.build(&mut g)?.loss;
        g.minimize(loss, named(case, name, lr)?.ema(ema))?;
        let mut run = device.compile(&g)?;
        let step_of = |tensor: &str, stage: Stage| match stage.what {
            What::Losses => case.shape(tensor).iter().product::<usize>() as u32,
            What::After { step, .. } | What::Average { step, .. } => step,
        };
        let last = wanted.iter().map(|&(tensor, stage)| step_of(tensor, stage)).max().unwrap_or(0);
        for step in 1..=last {
            run.steps(1)?;
            for &(tensor, stage) in wanted.iter().filter(|(tensor, stage)| step_of(tensor, *stage) == step) {
                got.insert(tensor.to_string(), stage.read(&run, loss)?);
            }
        }
        Ok(())
    }
}

/// An output of training: `adam.losses`, `adam.step3.exp_avg.fc1.weight`, `adam.ema3.fc1.weight`.
#[derive(Clone, Copy)]
struct Stage<'a> {
    optimizer: &'a str,
    what: What<'a>,
}

#[derive(Clone, Copy)]
enum What<'a> {
    /// The loss before each step; the last one is that after all.
    Losses,
    /// A parameter or its state after a step.
    After { step: u32, tensor: &'a str },
    /// A parameter's moving average after a step.
    Average { step: u32, tensor: &'a str },
}

impl<'a> Stage<'a> {
    fn of(name: &'a str) -> Option<Self> {
        let (optimizer, rest) = name.split_once('.')?;
        if rest == "losses" {
            return Some(Self { optimizer, what: What::Losses });
        }
        let (stage, tensor) = rest.split_once('.')?;
        let numbered = |prefix: &str| stage.strip_prefix(prefix)?.parse().ok().filter(|&step| step > 0);
        let after = numbered("step").map(|step| What::After { step, tensor });
        let what = after.or_else(|| numbered("ema").map(|step| What::Average { step, tensor }))?;
        Some(Self { optimizer, what })
    }

    fn read(self, run: &Run, loss: Var) -> langevin::Result<Vec<f64>> {
        match self.what {
            What::Losses => run.history(loss, run.step() as usize),
            What::Average { tensor, .. } => run.read_parameter(Slab::Ema, tensor),
            What::After { tensor, .. } => {
                let (slab, parameter) = state(tensor);
                run.read_parameter(slab, parameter)
            }
        }
    }
}
