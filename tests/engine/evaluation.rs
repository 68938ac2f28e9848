//! The verdicts of `evaluate`.

use langevin::Error;
use langevin::data::{Dataset, Labels, two_moons};
use langevin::evaluate::{EvaluateOptions, Evaluation, Outcome, evaluate};
use langevin::generate::starting_noise;
use langevin::random::permuted;

use crate::common::{Test, always, named, no_sample_data, sample_data, unless};

pub fn tests() -> Vec<Test> {
    let mut tests = always(named![
        every_column_counts,
        few_samples_are_too_few,
        constant_sets_are_compared,
        results_repeat_and_bad_requests_are_refused,
    ]);
    tests.extend(unless(
        no_sample_data(),
        named![
            all_pairs_of_the_datasaurus_are_told_apart,
            memorised_sets_are_copies,
            dropped_modes_are_missing,
            new_data_pass_nineteen_times_in_twenty,
        ],
    ));
    tests
}

fn load(name: &str) -> Dataset {
    Dataset::load(&sample_data(name), 0).unwrap()
}

fn judged(samples: &Dataset, data: &Dataset, seed: u64) -> Evaluation {
    evaluate(samples, data, &EvaluateOptions::default().seed(seed).projections(16)).unwrap()
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
    Dataset::new("moons", [2], two_moons(n, seed)).unwrap()
}

/// The sets of the Datasaurus have equal means, standard deviations and correlations.
fn all_pairs_of_the_datasaurus_are_told_apart() {
    let names = [
        "dino",
        "away",
        "bullseye",
        "circle",
        "dots",
        "h_lines",
        "high_lines",
        "slant_down",
        "slant_up",
        "star",
        "v_lines",
        "wide_lines",
        "x_shape",
    ];
    let sets = names.map(|name| load(&format!("DatasaurusDozen.tsv:{name}")));
    let mut missed = Vec::new();
    for (i, a) in sets.iter().enumerate() {
        for b in &sets[..i] {
            let found = judged(a, b, 0);
            if found.verdict.outcome != Outcome::ToldApart {
                missed.push((&a.name, &b.name, found.verdict.p));
            }
        }
    }
    assert!(missed.is_empty(), "{missed:?}");
}

fn memorised_sets_are_copies() {
    let (moons, digits) = (moons(800, 1), part(&load("digits8x8.npy"), 0..600));
    // Pixels of the digits are between 0 and 1.
    for (data, tiny) in [(&moons, 1e-3), (&digits, 0.02)] {
        let some = part(data, (0..data.len()).step_by(3));
        for samples in [data, &some, &jittered(data, tiny), &jittered(&some, tiny)] {
            let found = judged(samples, data, 1);
            assert!(found.verdict.copies && found.copies.as_ref().unwrap().measure.value > 0.8, "{found}");
            assert!(found.to_string().contains("samples are copies of the data"), "{found}");
        }
    }
}

fn dropped_modes_are_missing() {
    // One of two moons: the upper one has most of its points above the other.
    let all = moons(2000, 2);
    let upper = part(&all, (0..2000).filter(|&i| all.sample(i)[1] > 0.25));
    let found = judged(&upper, &moons(1000, 3), 0);
    assert!(found.verdict.missing && found.verdict.outcome == Outcome::ToldApart, "{found}");
    // Nine of ten digits.
    let (digits, labels) = (load("digits8x8.npy"), Labels::load(&sample_data("digits8x8_labels.npy")).unwrap());
    let without = part(&digits, (0..digits.len()).filter(|&i| i % 2 == 0 && labels.of[i] != 4));
    let found = judged(&without, &part(&digits, (0..digits.len()).filter(|i| i % 2 == 1)), 0);
    assert!(found.verdict.missing, "{found}");
    assert!(found.to_string().contains("parts of the data have too few samples near them"), "{found}");
}

/// At most one in twenty evaluations of new data rejects them in any way: with 60 evaluations, eight or more rejections
/// have a probability below 1% at a rate of 5%.
fn new_data_pass_nineteen_times_in_twenty() {
    let digits = load("digits8x8.npy");
    let mut rejected = Vec::new();
    for seed in 0..30 {
        let order: Vec<usize> = (0..400u32).map(|i| permuted(i, digits.len() as u32, seed, 0, 5) as usize).collect();
        let pairs = [
            (moons(120, 100 + u64::from(seed)), moons(150, 200 + u64::from(seed))),
            (part(&digits, order[..150].iter().copied()), part(&digits, order[150..].iter().copied())),
        ];
        for (samples, data) in pairs {
            let verdict = judged(&samples, &data, seed.into()).verdict;
            if verdict.outcome == Outcome::ToldApart || verdict.copies || verdict.missing {
                rejected.push((data.name, seed, verdict));
            }
        }
    }
    assert!(rejected.len() < 8, "{rejected:?}");
}

/// Columns of standard deviation 0.01, 1 and 100: a change in any of them is detected.
fn every_column_counts() {
    let normal = |seed: u64| {
        let mut values = vec![0.0; 1800];
        starting_noise(seed, 0, &mut values);
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

fn constant_sets_are_compared() {
    let constant = |value: f32| Dataset::new("c", [40], vec![value; 40 * 300]).unwrap();
    let found = judged(&constant(1.0), &constant(1.0), 0);
    assert!(found.sliced.is_none() && found.energy.p == Some(1.0) && !found.verdict.copies, "{found}");
    assert_eq!(found.verdict.outcome, Outcome::NotToldApart);
    assert_eq!(judged(&constant(1.5), &constant(1.0), 0).verdict.outcome, Outcome::ToldApart);
}

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
