//! Scores of forecasts and of sets of samples, on the host.

use langevin::evaluate::{crps, interval_coverage, precision_recall, quantile_scores, quantiles};
use serde_json::Value;

use super::{Outcome, Outputs, Trouble, expect_inputs, has_inputs, rows, setting, unsupported, whole};
use crate::golden::manifest::Case;

pub fn compute(case: &Case, got: &mut Outputs) -> Outcome {
    if has_inputs(case, &["ensemble", "obs"]) {
        ensemble_scores(case, got)
    } else if has_inputs(case, &["ensemble", "levels"]) {
        let [_, members] = rows(case, "ensemble");
        got.insert("quantiles".into(), quantiles(&case.f32s("ensemble"), members, &case.f64s("levels"))?);
        Ok(())
    } else if has_inputs(case, &["quantiles", "levels", "obs"]) {
        scores_of_quantiles(case, got)
    } else if has_inputs(case, &["real", "fake"]) {
        precision_and_recall(case, got)
    } else {
        unsupported(format!("{case}: the inputs are {:?}", case.inputs()))
    }
}

fn mean(values: &[f64]) -> Vec<f64> {
    vec![values.iter().sum::<f64>() / values.len() as f64]
}

fn ensemble_scores(case: &Case, got: &mut Outputs) -> Outcome {
    let [_, members] = rows(case, "ensemble");
    for (name, fair) in [("crps", false), ("crps_fair", true)] {
        let scores = crps(&case.f32s("ensemble"), members, &case.f32s("obs"), fair)?;
        got.insert(format!("{name}_mean"), mean(&scores));
        got.insert(name.into(), scores);
    }
    Ok(())
}

fn scores_of_quantiles(case: &Case, got: &mut Outputs) -> Outcome {
    expect_inputs(case, &["quantiles", "levels", "obs"])?;
    let (all, observations) = (case.f32s("quantiles"), case.f32s("obs"));
    let [n, levels] = rows(case, "quantiles");
    let scores = quantile_scores(&all, &case.f64s("levels"), &observations)?;
    got.insert("pinball_mean".into(), mean(&scores.pinball));
    got.insert("pinball".into(), scores.pinball);
    got.insert("below".into(), scores.below);
    let column = |i: usize| (0..n).map(|row| all[row * levels + i]).collect::<Vec<f32>>();
    for interval in setting(case, "intervals", Value::as_array)? {
        let ends: Vec<usize> =
            interval.as_array().into_iter().flatten().filter_map(|end| Some(end.as_u64()? as usize)).collect();
        let [low, high] = ends[..] else {
            return unsupported(format!("{case}: the interval {interval}"));
        };
        let score = interval_coverage(&column(low), &column(high), &observations)?;
        got.entry("coverage".into()).or_default().push(score.coverage);
        got.entry("width".into()).or_default().push(score.width);
    }
    Ok(())
}

fn precision_and_recall(case: &Case, got: &mut Outputs) -> Outcome {
    let [_, dim] = rows(case, "real");
    if rows(case, "fake")[1] != dim {
        return Err(Trouble::Unsupported(format!("{case}: features of different width")));
    }
    let found = precision_recall(&case.f32s("real"), &case.f32s("fake"), dim, whole(case, "k")?)?;
    let (precision, recall) = (found.precision(), found.recall());
    let numbers = |inside: Vec<bool>| inside.into_iter().map(f64::from).collect::<Vec<f64>>();
    got.insert("radius_real".into(), found.radius_real);
    got.insert("radius_fake".into(), found.radius_fake);
    got.insert("fake_inside".into(), numbers(found.fake_inside));
    got.insert("real_inside".into(), numbers(found.real_inside));
    got.insert("precision".into(), vec![precision]);
    got.insert("recall".into(), vec![recall]);
    Ok(())
}
