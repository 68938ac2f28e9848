use super::*;

fn judged(samples: &Dataset, data: &Dataset, seed: u64) -> Evaluation {
    let options = EvaluateOptions::default().seed(seed).projections(16);
    evaluate(samples, data, &options).unwrap()
}

/// The samples with these indices.
fn part(set: &Dataset, rows: impl IntoIterator<Item = usize>) -> Dataset {
    let values = rows.into_iter().flat_map(|i| set.sample(i)).copied().collect();
    Dataset::new("part", set.shape.clone(), values).unwrap()
}

fn jittered(set: &Dataset, by: f32) -> Dataset {
    let noise = |i: usize| by * (((i * 7919) % 10_007) as f32 / 5003.0 - 1.0);
    let values = set.values.iter().enumerate().map(|(i, x)| x + noise(i)).collect();
    Dataset::new("jittered", set.shape.clone(), values).unwrap()
}

fn moons(n: usize, seed: u64) -> Dataset {
    Dataset::new("moons", [2], crate::data::two_moons(n, seed)).unwrap()
}

/// Columns of standard deviation 0.01, 1 and 100: a change in any of them is detected.
#[test]
fn every_column_counts() {
    let normal = |seed: u64| {
        let values = crate::numeric::random::Draw {
            distribution: crate::numeric::random::Distribution::Normal,
            seed,
            place: [0, 0],
        }
        .values(900);
        Dataset::new("normal", [3], values).unwrap()
    };
    let table = |seed: u64, changed: usize| {
        let mut set = normal(seed);
        for (i, x) in set.values.iter_mut().enumerate() {
            let x0 = if i % 3 == changed { 1.6 * *x } else { *x };
            *x = [0.01, 1.0, 100.0][i % 3] * x0;
        }
        set
    };
    let data = table(0, 9);
    let same = judged(&table(1, 9), &data, 0);
    assert_eq!(same.verdict.outcome, Outcome::NotToldApart, "{same}");
    for column in 0..3 {
        let found = judged(&table(2, column), &data, 0);
        let columns = &found.columns.as_ref().unwrap().columns;
        assert!(found.verdict.outcome == Outcome::ToldApart && columns[column].p < 0.01, "{found}");
        assert!((columns[column].std_ratio - 1.6).abs() < 0.2, "{found}");
    }
    // A change of a column that is constant in the data.
    let constant = |value: f32| {
        let mut set = table(3, 9);
        set.values.iter_mut().skip(1).step_by(3).for_each(|x| *x = value);
        set
    };
    assert_eq!(judged(&constant(5.001), &constant(5.0), 0).verdict.outcome, Outcome::ToldApart);
}

#[test]
fn few_samples_are_too_few() {
    let data = moons(500, 1);
    for n in 1..4 {
        let found = judged(&moons(n, 2), &data, 0);
        assert!(found.verdict.outcome == Outcome::TooFew && found.classifier.is_none(), "{found}");
        assert!(found.to_string().contains("too few samples to tell"), "{found}");
        let tiny = judged(&moons(3, 2), &part(&data, 0..n), 0);
        assert!(tiny.verdict.outcome == Outcome::TooFew && tiny.sliced.is_none(), "{tiny}");
    }
    let far = jittered(&moons(8, 2), 0.1);
    let far = Dataset::new("far", [2], far.values.iter().map(|x| x + 50.0).collect()).unwrap();
    assert_eq!(judged(&far, &part(&data, 0..30), 0).verdict.outcome, Outcome::ToldApart);
}

#[test]
fn constant_sets_are_compared() {
    let constant = |value: f32| Dataset::new("c", [40], vec![value; 40 * 300]).unwrap();
    let found = judged(&constant(1.0), &constant(1.0), 0);
    assert!(found.sliced.is_none() && found.energy.p == Some(1.0) && !found.verdict.copies, "{found}");
    assert_eq!(found.verdict.outcome, Outcome::NotToldApart);
    assert_eq!(judged(&constant(1.5), &constant(1.0), 0).verdict.outcome, Outcome::ToldApart);
}

#[test]
fn results_repeat_and_bad_requests_are_refused() {
    let (a, b) = (moons(60, 1), moons(70, 2));
    assert_eq!(judged(&a, &b, 3), judged(&a, &b, 3));
    let signals = Dataset::new("signals", [128], vec![0.5; 128 * 70]).unwrap();
    let shapes = evaluate(&a, &signals, &EvaluateOptions::default()).unwrap_err().to_string();
    assert!(shapes.contains("[2]") && shapes.contains("[128]"), "{shapes}");
    for options in [EvaluateOptions::default().permutations(0), EvaluateOptions::default().projections(0)] {
        assert!(matches!(evaluate(&a, &b, &options), Err(Error::Setting(_))));
    }
}
