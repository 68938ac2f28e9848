//! The columns of a table as histograms.

use super::Scale;
use super::canvas::{Across, Canvas, Colour, Down, PAPER, Rect, ceil_sqrt};
use super::set::Set;
use crate::data::{Categories, Columns};
use crate::text::{exact, short, shortest_sum};

/// The maximum number of columns in a picture.
const MOST_COLUMNS: usize = 36;

/// The number of bins of a column of numbers, if its values are not few whole numbers.
const BINS: usize = 24;

/// The smallest width of a cell that has room for text, in pixels.
const WITH_TEXT: f64 = 60.0;

/// A column: where its values are, and what they mean.
enum Column<'a> {
    Numbers { at: usize },
    Categories(&'a Categories),
}

impl<'a> Column<'a> {
    /// The columns of samples of `width` values.
    fn all(width: usize, columns: &'a Columns) -> Vec<(String, Self)> {
        let name = |at: usize| columns.names.get(at).cloned().unwrap_or_else(|| format!("column {}", at + 1));
        let column = |at: usize| match columns.categories_at(at) {
            None => Some((name(at), Self::Numbers { at })),
            Some(of) if of.first == at => Some((of.name.clone(), Self::Categories(of))),
            Some(_) => None,
        };
        (0..width).filter_map(column).collect()
    }

    /// The share of the samples in each bin. Values beyond the range, which are few, belong to the outermost bins.
    fn shares(&self, set: &Set, columns: &Columns, (low, high): (f64, f64)) -> Vec<f64> {
        let width = set.shape[0];
        let samples = set.values.chunks_exact(width);
        let n = samples.len().max(1) as f64;
        let mut shares = match self {
            Self::Numbers { at } => vec![0.0; bins(columns.whole.get(*at) == Some(&true), low, high)],
            Self::Categories(of) => vec![0.0; of.values.len()],
        };
        let last = shares.len() - 1;
        for sample in samples {
            let bin = match self {
                Self::Numbers { at } if sample[*at].is_finite() => {
                    let part = (f64::from(sample[*at]) - low) / (high - low);
                    ((part * shares.len() as f64) as usize).min(last)
                }
                Self::Numbers { .. } => continue,
                Self::Categories(of) => of.of(sample),
            };
            shares[bin] += 1.0 / n;
        }
        shares
    }
}

/// One bin for each of few whole numbers.
fn bins(whole: bool, low: f64, high: f64) -> usize {
    let width = (high - low).round();
    if whole && width >= 1.0 && width <= BINS as f64 { width as usize } else { BINS }
}

/// Draws a histogram of each column, in its range in `scale`, with its name above and the ends of its range below. Bars
/// of categories are in the order of the categories. At most 36 columns are drawn.
pub(super) fn histograms(
    canvas: &mut dyn Canvas,
    frame: &Rect,
    set: &Set,
    scale: &Scale,
    colour: Colour,
    labels: bool,
) {
    let columns = scale.columns();
    let all = Column::all(set.shape[0], columns);
    let across = ceil_sqrt(all.len().min(MOST_COLUMNS));
    let ranges = scale.ranges();
    for (i, (name, column)) in all.iter().take(MOST_COLUMNS).enumerate() {
        let cell = frame.cell(i, across);
        canvas.fill(&cell, PAPER);
        let text = labels && cell.width >= WITH_TEXT;
        let (above, below) = if text { (16.0, 14.0) } else { (2.0, 2.0) };
        let (range, ends) = match column {
            Column::Numbers { at } => {
                let (mut low, mut high) = ranges.get(*at).copied().unwrap_or((0.0, 1.0));
                let whole = columns.whole.get(*at) == Some(&true);
                // Generated values are rounded when they are written.
                if whole {
                    (low, high) = (low.round(), high.round());
                }
                let ends = [low, high].map(|end| match columns.offset_of(*at) {
                    0.0 => short(end),
                    offset => exact(shortest_sum(end as f32, offset)),
                });
                if whole {
                    (low, high) = (low - 0.5, high + 0.5);
                }
                if high <= low {
                    (low, high) = (low - 0.5, low + 0.5);
                }
                ((low, high), ends)
            }
            Column::Categories(of) => {
                let ends = [of.values.first(), of.values.last()];
                ((0.0, 1.0), ends.map(|value| value.cloned().unwrap_or_default()))
            }
        };
        let shares = column.shares(set, columns, range);
        let highest = shares.iter().copied().fold(0.0, f64::max).max(f64::MIN_POSITIVE);
        let bar = cell.width / shares.len() as f64;
        let height = cell.height - above - below;
        for (bin, share) in shares.iter().enumerate().filter(|(_, share)| **share > 0.0) {
            let tall = height * share / highest;
            let left = cell.left + bar * bin as f64 + 0.05 * bar;
            canvas.fill(&Rect::new(left, cell.top + above + height - tall, 0.9 * bar, tall), colour);
        }
        if text {
            let most = (cell.width / 6.5) as usize;
            let (left, right) = (cell.left + 2.0, cell.left + cell.width - 2.0);
            let middle = cell.left + cell.width / 2.0;
            canvas.text(&fitting(name, most), (middle, cell.top + 3.0), 10.0, (Across::Middle, Down::Top));
            let bottom = cell.top + cell.height - 3.0;
            canvas.text(&fitting(&ends[0], most / 2), (left, bottom), 9.0, (Across::Start, Down::Bottom));
            if shares.len() > 1 {
                canvas.text(&fitting(&ends[1], most / 2), (right, bottom), 9.0, (Across::End, Down::Bottom));
            }
        }
    }
}

/// At most `most` characters of a text.
fn fitting(text: &str, most: usize) -> String {
    match text.chars().count() {
        n if n <= most.max(2) => text.to_string(),
        _ => text.chars().take(most.max(2) - 1).chain(['.']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::canvas::{REAL, Svg};
    use super::*;
    use crate::data::{Categories, Kind};

    #[test]
    fn columns_are_drawn_with_their_names_and_ranges() {
        let columns = Columns {
            names: vec!["age".into(), "city=Bonn".into(), "city=Ulm".into(), "price".into()],
            whole: vec![true, false, false, false],
            offset: vec![0.0, 0.0, 0.0, 1000.0],
            categories: vec![Categories { name: "city".into(), first: 1, values: vec!["Bonn".into(), "Ulm".into()] }],
        };
        let row = |i: usize| {
            [
                (i % 4) as f32,
                f32::from(u8::from(i.is_multiple_of(4))),
                f32::from(u8::from(!i.is_multiple_of(4))),
                i as f32,
            ]
        };
        let values: Vec<f32> = (0..100).flat_map(row).collect();
        let set = Set { kind: Kind::Table, shape: &[4], values: &values };
        let all = Column::all(4, &columns);
        assert_eq!(all.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["age", "city", "price"]);
        assert_eq!(all[0].1.shares(&set, &columns, (-0.5, 3.5)).len(), 4, "a bin for each whole number");
        let near = |shares: Vec<f64>, want: &[f64]| shares.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-9);
        assert!(near(all[0].1.shares(&set, &columns, (-0.5, 3.5)), &[0.25; 4]));
        assert!(near(all[1].1.shares(&set, &columns, (0.0, 1.0)), &[0.25, 0.75]));
        assert_eq!(all[2].1.shares(&set, &columns, (0.0, 99.0)).len(), BINS);
        let scale = Scale::of(Kind::Table, &[4], &values).labelled(&columns);
        let mut svg = Svg::new(400.0, 400.0);
        histograms(&mut svg, &Rect::new(0.0, 0.0, 400.0, 400.0), &set, &scale, REAL, true);
        let dir = tempfile::tempdir().unwrap();
        svg.save(&dir.path().join("a.svg")).unwrap();
        let text = std::fs::read_to_string(dir.path().join("a.svg")).unwrap();
        for word in ["age", "city", "price", "Bonn", "Ulm", "1000", "1099"] {
            assert!(text.contains(&format!(">\n{word}\n<")), "{word}: {text}");
        }
    }

    #[test]
    fn constant_and_missing_values_are_drawn() {
        let values = [5.0, f32::NAN, 5.0, f32::INFINITY];
        let set = Set { kind: Kind::Table, shape: &[2], values: &values };
        let scale = Scale::of(Kind::Table, &[2], &values);
        let mut svg = Svg::new(100.0, 100.0);
        histograms(&mut svg, &Rect::new(0.0, 0.0, 100.0, 100.0), &set, &scale, REAL, false);
    }
}
