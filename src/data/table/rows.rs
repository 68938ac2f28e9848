//! The rows of a table: values, missing fields and groups.

use std::collections::HashSet;

use csv::StringRecord;

use super::super::Origin;
use super::super::dialect::Field;
use super::super::options::{Missing, ReadOptions};
use super::super::repair::REMEDIES;
use super::Table;
use super::choice::Chosen;
use super::profile::has_only_digits;
use crate::text::count;
use crate::{Error, Result};

/// The distinct texts of the first column, in the order of their first row.
#[derive(Default)]
pub(super) struct Groups {
    names: Vec<String>,
    seen: HashSet<String>,
    /// The rows that are read.
    pub rows: Vec<usize>,
}

impl Groups {
    /// Adds the group of a row. Returns whether the row is read.
    fn note(&mut self, row: usize, group: &str, wanted: Option<&str>) -> bool {
        if !self.seen.contains(group) {
            self.seen.insert(group.to_string());
            self.names.push(group.to_string());
        }
        let read = wanted.is_none_or(|wanted| wanted == group);
        self.rows.extend(read.then_some(row));
        read
    }
}

impl Table<'_> {
    /// The values of the chosen columns and rows, and the groups.
    pub fn values(
        &self,
        chosen: &[Chosen],
        wanted: Option<&str>,
        grouped: bool,
        options: &ReadOptions,
    ) -> Result<(Vec<f64>, Groups)> {
        let width: usize = chosen.iter().map(Chosen::width).sum();
        let (mut values, mut groups) = (Vec::with_capacity(self.rows * width), Groups::default());
        let (mut missing, mut affected, mut first_missing) = (0, 0, None);
        for (row, record) in self.records().enumerate() {
            let record = record.map_err(|cause| {
                Error::input(format!("{}: not a readable table ({cause}); save it as UTF-8 text", self.name))
            })?;
            if record.len() != self.width {
                return Err(self.wrong_width(row + 1, line_of(&record), record.len(), self.width));
            }
            if grouped && !groups.note(row, &record[0], wanted) {
                continue;
            }
            let before = missing;
            for chosen in chosen {
                let from = values.len();
                match &chosen.categories {
                    Some(categories) => self.category(&record, row, chosen.column, categories, options, &mut values)?,
                    None => values.push(self.value(&record, row, chosen.column)?),
                }
                if values[from].is_nan() {
                    missing += 1;
                    first_missing.get_or_insert_with(|| self.place(&record, row, chosen.column));
                }
            }
            affected += usize::from(missing > before);
        }
        match first_missing {
            Some(first) if options.missing.is_none() => Err(Error::input(format!(
                "{}: {first} is missing ({} in {affected} of {}){}",
                self.name,
                count(missing, "missing value"),
                count(values.len() / width, "row"),
                REMEDIES[1]
            ))),
            _ => Ok((values, groups)),
        }
    }

    /// The place of a field and its text: `row 7 (line 8), column 2 (y): "seven"`.
    fn place(&self, record: &StringRecord, row: usize, column: usize) -> String {
        let text: String = record[column].chars().take(40).collect();
        format!("row {} (line {}), {}: {text:?}", row + 1, line_of(record), self.title(column))
    }

    /// A number, or NaN for a missing value.
    fn value(&self, record: &StringRecord, row: usize, column: usize) -> Result<f64> {
        let text = &record[column];
        let problem = match self.dialect.field(text) {
            Field::Number(value) if value.is_finite() => return Ok(value),
            Field::Missing => return Ok(f64::NAN),
            Field::Number(_) => "is not a finite number; remove or repair such rows".to_string(),
            Field::Date => format!("is a date; leave the column out with --drop-columns {}", self.option_name(column)),
            Field::Text if has_only_digits(text) => {
                "has a comma; write decimal points and no thousands separators".to_string()
            }
            Field::Text => "is not a number; repair it, or leave out the row or the column".to_string(),
        };
        Err(Error::input(format!("{}: {} {problem}", self.name, self.place(record, row, column))))
    }

    /// Adds a 1 for the category of a field and a 0 for each other one. If it is missing, the first of these is NaN, or it is
    /// replaced by the most frequent category.
    fn category(
        &self,
        record: &StringRecord,
        row: usize,
        column: usize,
        categories: &[String],
        options: &ReadOptions,
        values: &mut Vec<f64>,
    ) -> Result<()> {
        let from = values.len();
        values.resize(from + categories.len(), 0.0);
        let text = match (self.dialect.field(&record[column]), options.missing) {
            (Field::Missing, Some(Missing::Mean)) => self.columns[column].most_frequent().unwrap_or_default(),
            // Nothing is known about any of them.
            (Field::Missing, Some(Missing::Keep)) => {
                values[from..].fill(f64::NAN);
                return Ok(());
            }
            (Field::Missing, _) => {
                values[from] = f64::NAN;
                return Ok(());
            }
            _ => &record[column],
        };
        match categories.iter().position(|category| category == text) {
            Some(at) => values[from + at] = 1.0,
            None => {
                return Err(Error::input(format!(
                    "{}: {} is not among the categories of the other data: {}; leave such rows out",
                    self.name,
                    self.place(record, row, column),
                    categories.join(", ")
                )));
            }
        }
        Ok(())
    }

    /// Checks that the rows are those of one group.
    pub fn check_groups(
        &self,
        wanted: Option<&str>,
        groups: &Groups,
        empty: bool,
        options: &ReadOptions,
        origin: &mut Origin,
    ) -> Result<()> {
        let (name, names) = (&self.name, &groups.names);
        let list = || match names.len() {
            0..=24 => names.join(", "),
            more => format!("{}, ... ({more} in all)", names[..24].join(", ")),
        };
        let left_out = format!("{} is text and is left out", self.title(0));
        let stated =
            !options.columns.is_empty() || options.drop_columns.iter().any(|name| self.find(name).ok() == Some(0));
        match wanted {
            Some(group) if empty => {
                Err(Error::input(format!("{name}: there is no group {group:?}; there are: {}", list())))
            }
            Some(_) => Ok(()),
            None if names.len() == self.rows && self.rows > 2 => {
                origin.note(format!("{left_out}: each row has another one"));
                Ok(())
            }
            None if names.len() > 1 && !stated => Err(Error::input(format!(
                "{name}: the first column contains {} groups; select one as {name}:{}, or read all with --drop-columns {column}, \
                 with --kind table as a column of categories, or with train --labels {name}:{column} as classes; there \
                 are: {}",
                names.len(),
                names[0],
                list(),
                column = self.option_name(0)
            ))),
            None => {
                origin.note(format!("{left_out} ({})", count(names.len(), "group")));
                Ok(())
            }
        }
    }
}

fn line_of(record: &StringRecord) -> u64 {
    record.position().map_or(0, |at| at.line())
}
