//! What the columns of a table contain, and whether the first line is a header.

use std::collections::BTreeMap;

use csv::StringRecord;

use super::super::dialect::{Dialect, Field, numbers, rise_evenly};
use super::super::images::natural;

/// The maximum number of categories of a column.
pub(super) const MOST_CATEGORIES: usize = 100;

/// What the fields of a column are, without the header.
#[derive(Clone, Debug, Default)]
pub(super) struct Profile {
    pub numbers: usize,
    pub missing: usize,
    dates: usize,
    texts: usize,
    /// The number of rows with each text, unless there are too many different ones.
    distinct: BTreeMap<String, usize>,
    too_many: bool,
    /// The texts that are numbers with commas.
    commas: usize,
    /// Whether the values are whole numbers that rise by 1.
    counting: bool,
    last: Option<f64>,
}

impl Profile {
    pub fn add(&mut self, text: &str, field: Field) {
        if field != Field::Missing {
            self.add_distinct(text);
        }
        self.commas += usize::from(field == Field::Text && has_only_digits(text));
        match field {
            Field::Number(number) => {
                let follows = self.last.is_none_or(|last| number == last + 1.0) && number.fract() == 0.0;
                self.counting = follows && (self.numbers == 0 || self.counting);
                self.last = Some(number);
                self.numbers += 1;
            }
            Field::Missing => self.missing += 1,
            Field::Date => self.dates += 1,
            Field::Text => self.texts += 1,
        }
    }

    fn add_distinct(&mut self, text: &str) {
        if self.too_many {
            return;
        }
        match self.distinct.get_mut(text) {
            Some(rows) => *rows += 1,
            None => drop(self.distinct.insert(text.to_string(), 1)),
        }
        if self.distinct.len() > MOST_CATEGORIES {
            self.too_many = true;
            self.distinct.clear();
        }
    }

    /// The different texts in alphabetical order, those of numbers in natural order; `None` if there are more than
    /// [`MOST_CATEGORIES`].
    pub fn categories(&self) -> Option<Vec<String>> {
        let mut all: Vec<String> = (!self.too_many).then(|| self.distinct.keys().cloned().collect())?;
        // Codes are in the order of their numbers.
        if self.texts + self.dates == 0 {
            all.sort_by(|a, b| natural(a, b));
        }
        Some(all)
    }

    /// The first of the most frequent texts.
    pub fn most_frequent(&self) -> Option<&str> {
        // The last of equal maxima is the first in the alphabet.
        self.distinct.iter().rev().max_by_key(|(_, rows)| **rows).map(|(text, _)| text.as_str())
    }

    pub fn counts_rows(&self) -> bool {
        self.counting && self.numbers > 1 && self.missing + self.dates + self.texts == 0
    }

    pub fn is_dates(&self) -> bool {
        self.dates > 0 && self.numbers + self.texts == 0
    }

    /// A few texts in a column of numbers are mistakes, which are reported.
    pub fn is_text(&self) -> bool {
        self.texts > self.commas && self.texts + self.dates >= self.numbers
    }

    pub fn is_empty(&self) -> bool {
        self.numbers + self.dates + self.texts == 0
    }
}

/// Whether a text that is not a number has the digits of one, and commas.
pub(super) fn has_only_digits(text: &str) -> bool {
    text.contains(',') && text.bytes().all(|byte| byte.is_ascii_digit() || b",.-+ ".contains(&byte))
}

/// The names of the columns in the last comment before the first row, as numpy.savetxt writes them.
pub(super) fn commented_header(dialect: Dialect, text: &str, width: usize) -> Option<Vec<String>> {
    let line = text.lines().take_while(|line| line.starts_with('#')).last()?;
    let line = dialect.prepared(line.trim_start_matches('#').trim()).into_owned();
    let record = dialect.reader(&line).into_records().next()?.ok()?;
    let named = record.len() == width && record.iter().all(|field| dialect.field(field) == Field::Text);
    named.then(|| record.iter().map(str::to_string).collect())
}

/// Whether the first record is a header: it has a name for a column of numbers, or rises evenly unlike the second one.
pub(super) fn is_header(
    dialect: Dialect,
    first: &StringRecord,
    second: Option<&StringRecord>,
    rest: &[Profile],
) -> bool {
    let fields: Vec<Field> = first.iter().map(|field| dialect.field(field)).collect();
    let is_name = |field: &Field| matches!(field, Field::Text | Field::Date);
    let named =
        fields.iter().zip(rest).any(|(field, column)| is_name(field) && column.numbers > 0 && !column.is_text());
    let names_only =
        fields.iter().any(is_name) && fields.iter().all(|field| is_name(field) || *field == Field::Missing);
    if named || names_only {
        return true;
    }
    // An index has no name, and the other columns may be named by numbers.
    let from = usize::from(first[0].is_empty());
    if from == 1 && first.len() > 1 && (rest[0].counts_rows() || rest[0].is_text() || rest[0].is_dates()) {
        return true;
    }
    let even = |record: &StringRecord| numbers(dialect, record, from).is_some_and(|numbers| rise_evenly(&numbers));
    second.is_some_and(|second| second.len() == first.len() && even(first) && !even(second))
}
