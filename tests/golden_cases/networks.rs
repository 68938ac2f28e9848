//! Convolutional networks: output, loss, and the gradients by every parameter and by the input.

use langevin::nn::AutoEncoder;
use langevin::{Device, Graph, Result, Slab, Var};

use super::{Outcome, Outputs, Trouble, text, unsupported, whole};
use crate::golden_support::Case;

pub fn compute(case: &Case, device: &Device, got: &mut Outputs) -> Outcome {
    match text(case, "structure")? {
        "autoencoder" => check(case, device, got, |g, x, encoding| {
            let net = AutoEncoder::new(g, &case.shape("x")[1..], width(case)?, case.shape("enc")[1])?;
            let latent = net.latent(g, x, encoding)?;
            net.decode(g, latent)
        }),
        other => unsupported(format!("{case}: a network {other:?}")),
    }
}

fn width(case: &Case) -> Result<usize> {
    whole(case, "c").map_err(|_| langevin::Error::Setting(format!("{case}: the number of channels")))
}

/// Runs the network that `build` makes of x [B, D] and the encoding [B, E] with the case's parameters.
fn check(
    case: &Case,
    device: &Device,
    got: &mut Outputs,
    build: impl FnOnce(&mut Graph, Var, Var) -> Result<Var>,
) -> Outcome {
    let mut g = Graph::new();
    let [x, target] = [g.state("x", super::rows(case, "x"))?, g.state("target", super::rows(case, "target"))?];
    let encoding = g.state("enc", case.shape("enc"))?;
    let y = build(&mut g, x, encoding)?;
    let loss = g.mse(y, target)?;
    let gradients = g.backward(&[loss], &[x])?;
    let d_x = gradients.of(x).ok_or(Trouble::Failed("there is no gradient by x".into()))?;
    for var in [y, d_x] {
        g.keep(var);
    }
    let data = ["x", "t", "enc", "target"];
    let known = |name: &&str| data.contains(name) || g.find_parameter(name).is_some();
    if let Some(name) = case.inputs().into_iter().find(|name| !known(name)) {
        return unsupported(format!("{case}: the network has no parameter {name:?}"));
    }
    let mut run = device.compile(&g)?;
    for name in case.inputs().into_iter().filter(|name| *name != "t") {
        run.write(name, &case.f32s(name))?;
    }
    run.steps(1)?;
    got.insert("y".into(), run.read_f64(y)?);
    got.insert("d_x".into(), run.read_f64(d_x)?);
    got.insert("loss".into(), vec![run.scalar(loss)?]);
    for p in g.parameters() {
        got.insert(format!("d_{}", p.name), run.read_parameter(Slab::Grads, &p.name)?);
    }
    Ok(())
}
