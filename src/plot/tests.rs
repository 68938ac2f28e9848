use std::path::Path;

use super::set::Set;
use super::sheet::{drawing, sheet};
use super::*;
use crate::Result;
use crate::data::{self, Kind};
use std::fs;

/// The folder of the test's plots, `LANGEVIN_PICTURES` if set.
fn drawn(name: &str, draw: impl FnOnce(&Path) -> Result<()>) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = std::env::var_os("LANGEVIN_PICTURES").map_or(dir.path().to_path_buf(), Into::into).join(name);
    draw(&path).unwrap();
    fs::read(path).unwrap()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

fn points(values: &[f32]) -> Set<'_> {
    Set { kind: Kind::Points, shape: &[2], values }
}

fn blobs(n: usize, h: usize, w: usize, channels: usize) -> Vec<f32> {
    let value = |i: usize| {
        let (image, channel) = (i / (channels * h * w), i / (h * w) % channels);
        let (y, x) = (i / w % h, i % w);
        let far = (y as f32 - (image * 3 % h) as f32).powi(2) + (x as f32 - (image * 5 % w) as f32).powi(2);
        (-far / (2.0 + 3.0 * channel as f32)).exp()
    };
    (0..n * channels * h * w).map(value).collect()
}

#[test]
fn loss_curves_are_drawn() {
    let noisy = |n: u64, floor: f64| -> Vec<(u64, f64)> {
        let loss =
            |i: u64| (floor + (-(i as f64) / 900.0).exp()) * (1.0 + 0.3 * ((i * 7919 % 1000) as f64 / 500.0 - 1.0));
        (0..n).map(|i| (i * 5, loss(i))).collect()
    };
    for (name, losses) in [
        ("loss.svg", noisy(10_000, 0.02)),
        ("loss-flat.svg", noisy(300, 5.0)),
        ("loss-deep.svg", noisy(20_000, 1e-9)),
        ("loss-one.svg", vec![(0, 0.7)]),
        ("loss-none.svg", vec![(0, f64::NAN), (1, 0.0), (2, f64::INFINITY)]),
    ] {
        let svg = text(drawn(name, |path| loss_curve(path, &[("loss", losses.clone())])));
        assert!(svg.contains("loss") && svg.contains("step") && !svg.contains("NaN"), "{name}");
        assert!(svg.len() < 100_000, "{name}: {} bytes", svg.len());
    }
    let terms = [("loss", noisy(3000, 0.3)), ("l1", noisy(3000, 0.2)), ("ssim", noisy(3000, 0.1))];
    let svg = text(drawn("loss-terms.svg", |path| loss_curve(path, &terms)));
    assert!(svg.contains(">\nl1\n<") && svg.contains(">\nssim\n<"));
}

#[test]
fn comparisons_are_drawn() {
    let (moons, far) = (data::two_moons(3000, 1), data::two_moons(2000, 2).iter().map(|x| 1.4 * x).collect::<Vec<_>>());
    let waves = data::sine_waves(20, 100, 1);
    for (name, shape, real, generated) in [
        ("compare-points.svg", vec![2], &moons, &far),
        ("compare-signals.svg", vec![100], &waves, &data::sine_waves(16, 100, 2)),
        ("compare-images.svg", vec![1, 28, 28], &blobs(40, 28, 28, 1), &blobs(20, 28, 28, 1)),
        ("compare-colour.svg", vec![3, 16, 24], &blobs(12, 16, 24, 3), &blobs(5, 16, 24, 3)),
    ] {
        let svg = text(drawn(name, |path| compare(path, Kind::of(&shape), &shape, real, generated)));
        // Sets of points that differ in size say so.
        let titles = if shape == [2] { ["3000 real", "2000 generated"] } else { ["real", "generated"] };
        assert!(titles.iter().all(|title| svg.contains(&format!(">\n{title}\n<"))), "{name}");
    }
}

#[test]
fn sheets_are_drawn() {
    for (name, shape, values) in [
        ("sheet-points.png", vec![2], data::swiss_roll(3000, 1)),
        ("sheet-signals.png", vec![100], data::sine_waves(9, 100, 1)),
        ("sheet-images.png", vec![1, 8, 8], blobs(50, 8, 8, 1)),
        ("sheet-colour.png", vec![3, 16, 24], blobs(6, 16, 24, 3)),
    ] {
        let kind = Kind::of(&shape);
        let png = drawn(name, |path| {
            sheet(path, &Set { kind, shape: &shape, values: &values }, &Scale::of(kind, &shape, &values), &[]).map(drop)
        });
        let picture = image::load_from_memory(&png).unwrap().to_rgb8();
        let first = *picture.get_pixel(0, 0);
        assert!(picture.pixels().any(|pixel| *pixel != first), "{name} is empty");
    }
    let circles = data::two_circles(2000, 1);
    let scale = Scale::of(Kind::Points, &[2], &circles);
    drawn("drawing-points.svg", |path| drawing(path, &points(&circles), &scale, &[]).map(drop));
}

#[test]
fn non_finite_values_are_skipped() {
    let values = [f32::NAN, f32::INFINITY, -f32::INFINITY, 1.0, f32::NAN, 2.0, 3.0, 4.0];
    for (shape, values) in
        [(vec![2], &values[..]), (vec![4], &values), (vec![1, 2, 2], &values), (vec![2], &[f32::NAN; 4])]
    {
        let scale = Scale::of(Kind::of(&shape), &shape, values);
        drawn("odd.png", |path| {
            sheet(path, &Set { kind: Kind::of(&shape), shape: &shape, values }, &scale, &[]).map(drop)
        });
        drawn("odd.svg", |path| compare(path, Kind::of(&shape), &shape, values, &[]));
    }
}

#[test]
fn a_drawing_returns_how_many_it_shows() {
    let dir = tempfile::tempdir().unwrap();
    for (shape, n, svg, png) in
        [(vec![2], 9000, 5000, 5000), (vec![30], 70, 16, 16), (vec![30], 9, 9, 9), (vec![1, 4, 4], 200, 144, 200)]
    {
        let (kind, values) = (Kind::of(&shape), vec![0.5; n * shape.iter().product::<usize>()]);
        let set = Set { kind, shape: &shape, values: &values };
        let scale = Scale::of(kind, &shape, &values);
        assert_eq!(drawing(&dir.path().join("a.svg"), &set, &scale, &[]).unwrap(), svg, "{shape:?}");
        assert_eq!(sheet(&dir.path().join("a.png"), &set, &scale, &[]).unwrap(), png, "{shape:?}");
    }
}

#[test]
fn any_number_of_sets_is_drawn_side_by_side() {
    let (clean, shape) = (blobs(9, 8, 8, 1), [1, 8, 8]);
    let noisy: Vec<f32> = clean.iter().enumerate().map(|(i, v)| v + 0.4 * (i as f32 * 1.7).sin()).collect();
    let sets = [("noisy", &noisy[..]), ("denoised", &clean), ("clean", &clean)];
    let scale = Scale::of(Kind::Images, &shape, &clean);
    let svg = text(drawn("three.svg", |path| {
        side_by_side(path, Kind::Images, &shape, &sets, &scale)?;
        #[cfg(feature = "cli")]
        assert!(is_side_by_side(path) && !is_side_by_side(&path.with_extension("none")));
        Ok(())
    }));
    assert!(svg.matches("<image").count() == 3 && svg.contains(">\ndenoised\n<"), "{svg}");
}

#[test]
fn points_outside_the_axes_are_counted() {
    let (near, mut far) = (data::two_moons(100, 1), data::two_moons(100, 2));
    let dots = |svg: &str| svg.matches("<circle").count();
    assert_eq!(dots(&text(drawn("near.svg", |path| compare(path, Kind::Points, &[2], &near, &far)))), 200);
    (far[0], far[7]) = (1e9, -1e9);
    let svg = text(drawn("far.svg", |path| compare(path, Kind::Points, &[2], &near, &far)));
    assert!(dots(&svg) == 198 && svg.contains("2 of 100 outside"), "{svg}");
}

#[test]
fn axes_have_the_units_of_the_data() {
    let columns = data::Columns { offset: vec![1_700_000_000.0, 0.0], ..Default::default() };
    let near = data::two_moons(100, 1);
    let scale = Scale::of(Kind::Points, &[2], &near).labelled(&columns);
    let svg = text(drawn("offset.svg", |path| drawing(path, &points(&near), &scale, &[]).map(drop)));
    assert!(svg.contains("\n1700000001\n") && svg.contains("\n2\n"), "{svg}");
    // Long labels of y are inside of the plot.
    let starts = |svg: &str| svg.matches("text-anchor=\"start\"").count();
    let columns = data::Columns { offset: vec![0.0, 5e6], ..Default::default() };
    let long = scale.clone().labelled(&columns);
    let inside = text(drawn("long.svg", |path| drawing(path, &points(&near), &long, &[]).map(drop)));
    assert!(starts(&svg) == 0 && starts(&inside) > 2, "{inside}");
}

#[test]
fn a_signal_of_one_value_is_a_dot() {
    let values = [0.1, 0.5, 0.9];
    let scale = Scale::of(Kind::Signals, &[1], &values);
    let svg = text(drawn("one.svg", |path| {
        drawing(path, &Set { kind: Kind::Signals, shape: &[1], values: &values }, &scale, &[]).map(drop)
    }));
    assert_eq!(svg.matches("<circle").count(), 3, "{svg}");
}
