//! Convolutional networks: output, loss, and the gradients by every parameter and by the input.

use langevin::nn::{AutoEncoder, AutoEncoderOptions, StepEncoderOptions, UNet, UNetLevels, UNetOptions};
use langevin::ops::GroupNorm;
use langevin::{Device, Graph, Result, Slab, Var};

use super::{Outcome, Outputs, Trouble, number, text, unsupported, whole};
use crate::golden::manifest::Case;

pub fn compute(case: &Case, device: &Device, got: &mut Outputs) -> Outcome {
    match text(case, "structure")? {
        "autoencoder" => {
            let step = StepEncoderOptions::default().width(case.shape("enc")[1]);
            let options = AutoEncoderOptions::default().width(whole(case, "c")?).step(step);
            check(case, device, got, str::to_string, |g, x, encoding| {
                let net = AutoEncoder::new(g, &case.shape("x")[1..], &options)?;
                let latent = net.latent(g, x, encoding)?;
                net.decode(g, latent)
            })
        }
        "unet" => {
            let options = small_unet(case)?;
            check(case, device, got, name_in_unet, |g, x, encoding| {
                UNet::new(g, &case.shape("x")[1..], &options)?.forward_encoded(g, x, encoding)
            })
        }
        other => unsupported(format!("{case}: a network {other:?}")),
    }
}

/// Two levels of one block each, attention on the coarser one.
fn small_unet(case: &Case) -> Outcome<UNetOptions> {
    if number(case, "eps")? != GroupNorm::new(1).epsilon {
        return unsupported(format!("{case}: another epsilon"));
    }
    let [groups, time] = [whole(case, "groups")?, whole(case, "temb")?];
    let (multipliers, attention) = (Some(vec![1, 2]), Some(vec![1]));
    let levels = UNetLevels::default().multipliers(multipliers).attention(attention).heads(1).groups(groups).time(time);
    let step = StepEncoderOptions::default().width(whole(case, "enc")?);
    Ok(UNetOptions::default().width(whole(case, "c")?).depth(1).step(step).levels(levels))
}

/// The name that the network gives to a parameter of the case.
fn name_in_unet(name: &str) -> String {
    let names = [
        ("time1.", "time.0."),
        ("time2.", "time.2."),
        ("downsample.", "down.0.downsample."),
        ("upsample.", "up.0.upsample."),
        ("down.", "down.0.0."),
        ("mid.", "middle.0."),
        ("attn.", "middle.0.attention."),
        ("up.", "up.0.0."),
    ];
    let other = names.iter().find_map(|(theirs, ours)| Some(format!("{ours}{}", name.strip_prefix(theirs)?)));
    other.unwrap_or(name.to_string())
}

/// Runs the network that `build` makes of x [B, D] and the encoding [B, E] with the case's parameters.
fn check(
    case: &Case,
    device: &Device,
    got: &mut Outputs,
    named: impl Fn(&str) -> String,
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
    let known = |name: &&str| data.contains(name) || g.find_parameter(&named(name)).is_some();
    if let Some(name) = case.inputs().into_iter().find(|name| !known(name)) {
        return unsupported(format!("{case}: the network has no parameter {name:?}"));
    }
    if g.parameters().len() + data.len() != case.inputs().len() {
        return unsupported(format!("{case}: the network has {} parameters", g.parameters().len()));
    }
    let mut run = device.compile(&g)?;
    for name in case.inputs().into_iter().filter(|name| *name != "t") {
        let place = if data.contains(&name) { name.to_string() } else { named(name) };
        run.write(&place, &case.f32s(name))?;
    }
    run.steps(1)?;
    got.insert("y".into(), run.read_f64(y)?);
    got.insert("d_x".into(), run.read_f64(d_x)?);
    got.insert("loss".into(), vec![run.scalar(loss)?]);
    for name in case.inputs().into_iter().filter(|name| !data.contains(name)) {
        got.insert(format!("d_{name}"), run.read_parameter(Slab::Grads, &named(name))?);
    }
    Ok(())
}
