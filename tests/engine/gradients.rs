//! Every reverse rule against central differences, in f64.

use langevin::ops::{Average, Factors, Measure, PointLoss, Ssim, catalog};
use langevin::verify::{check_gradient, check_losses};
use langevin::{Graph, Var};

use crate::common::{Test, always, named};

pub fn tests() -> Vec<Test> {
    always(named![
        reverse_rules_match_central_differences,
        point_losses_match_central_differences,
        structural_similarity_matches_central_differences,
        a_mix_of_losses_matches_central_differences,
    ])
}

fn reverse_rules_match_central_differences() {
    let cases: Vec<_> = catalog().into_iter().flat_map(|(_, c)| c).filter(|c| c.has_gradient()).collect();
    let failures: Vec<String> =
        cases.iter().filter_map(|case| check_gradient(case).err()).map(|e| e.to_string()).collect();
    println!("gradient cases: {}", cases.len());
    assert!(cases.len() >= 10, "the catalog lost its gradient cases");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn point_losses_match_central_differences() {
    for measure in [Measure::Squared, Measure::Absolute, Measure::Huber { delta: 0.6 }] {
        for average in [Average::Elements, Average::Positions] {
            let build = |g: &mut Graph, prediction, goal| {
                let t = g.constant([3], vec![2.0, 0.0, 1.0])?;
                let table = g.constant([3], vec![0.3, 1.7, 0.9])?;
                let mask = g.constant([3, 2, 4, 5], (0..120).map(|i| (i % 3) as f32).collect())?;
                let op = PointLoss::new(measure).weight(0.7).average(average);
                let factors = Factors::default().by_step(Some((t, table))).mask(Some(mask));
                Ok(vec![(g.point_loss(op, prediction, goal, factors)?, 0.7)])
            };
            check_losses(&[3, 2, 4, 5], build).unwrap();
        }
    }
}

fn structural_similarity_matches_central_differences() {
    for (shape, ssim) in [
        ([1, 1, 11, 11], Ssim::new(2.0)),
        ([2, 3, 12, 14], Ssim::new(1.0)),
        ([1, 2, 9, 6], Ssim::new(2.0).window(4).sigma(0.9)),
    ] {
        check_losses(&shape, |g, x, y| Ok(vec![(g.ssim_loss(&ssim, x, y, 0.3)?, 0.3)])).unwrap();
    }
}

/// Losses that are minimized together add their gradients, each with its weight.
fn a_mix_of_losses_matches_central_differences() {
    let build = |g: &mut Graph, x: Var, y: Var| {
        let mse = g.point_loss(PointLoss::new(Measure::Squared).weight(0.8), x, y, Factors::default())?;
        let ssim = g.ssim_loss(&Ssim::new(2.0), x, y, 0.05)?;
        let rows = [g.reshape(x, [2, 156])?, g.reshape(y, [2, 156])?];
        let l1 = g.point_loss(PointLoss::new(Measure::Absolute).weight(0.15), rows[0], rows[1], Factors::default())?;
        Ok(vec![(mse, 0.8), (ssim, 0.05), (l1, 0.15)])
    };
    check_losses(&[2, 1, 12, 13], build).unwrap();
}
