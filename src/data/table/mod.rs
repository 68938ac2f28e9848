//! Tables of numbers and categories: `.csv` and `.tsv`, one sample per row.

mod choice;
mod profile;
mod rows;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::Path;

use self::choice::Chosen;
use self::profile::{Profile, commented_header, is_header};
use super::dialect::{Dialect, Field, Separator, numbers, rise_evenly};
use super::options::{Header, Missing, ReadOptions};
use super::raw::{Raw, RawValues};
use super::{Categories, Columns, Kind, Origin};
use crate::io::extension;
use crate::text::count;
use crate::{Error, Result};

/// The texts of a column, given by its name or its number from 1; `None` if the table has only one.
///
/// # Errors
/// When a field is missing.
pub(super) fn texts(path: &Path, column: Option<&str>, header: Option<Header>) -> Result<Vec<String>> {
    let text = read_text(path)?;
    let dialect = Dialect::of(&text, extension(path) == "tsv");
    let prepared = dialect.prepared(&text);
    let options = ReadOptions { header, ..ReadOptions::default() };
    let table = Table::new(path.display().to_string(), dialect, &prepared, &options)?;
    let column = match column {
        Some(name) => table.find(name)?,
        None if table.width == 1 => 0,
        None => {
            return Err(Error::input(format!(
                "{}: the table has {} columns; name the one with the labels, such as {0}:{}",
                table.name,
                table.width,
                table.option_name(table.width - 1)
            )));
        }
    };
    let texts = table.records().enumerate().map(|(row, record)| {
        let record = record.map_err(|cause| Error::input(format!("{}: not a readable table ({cause})", table.name)))?;
        match record.get(column).map(str::trim) {
            Some(text) if dialect.field(text) != Field::Missing => Ok(text.to_string()),
            text => Err(Error::input(format!(
                "{}: row {}: {} is {:?}, which is no class; write another word, or remove the row and its sample",
                table.name,
                row + 1,
                table.title(column),
                text.unwrap_or_default()
            ))),
        }
    });
    texts.collect()
}

/// Reads the columns of numbers and of categories. A first column of text contains group names, and only the rows of `group`
/// are read. Columns with the names of `known` ones are read in their order, and their categories keep their numbers.
pub(super) fn read(path: &Path, group: Option<&str>, options: &ReadOptions, known: &Columns) -> Result<Raw> {
    let name = path.display().to_string();
    let text = read_text(path)?;
    let dialect = Dialect::of(&text, extension(path) == "tsv");
    let prepared = dialect.prepared(&text);
    let table = Table::new(name, dialect, &prepared, options)?;
    table.read(group, options, known)
}

/// The text of a table, without a byte order mark.
fn read_text(path: &Path) -> Result<String> {
    let name = path.display();
    let bytes = fs::read(path).map_err(|cause| Error::io("cannot read", path, cause))?;
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(Error::input(format!("{name}: the table is UTF-16 text; save it as UTF-8 text")));
    }
    let text = String::from_utf8(bytes)
        .map_err(|cause| Error::input(format!("{name}: not a readable table ({cause}); save it as UTF-8 text")))?;
    Ok(text.trim_start_matches('\u{feff}').to_string())
}

/// A table with its header and the contents of its columns.
struct Table<'a> {
    name: String,
    dialect: Dialect,
    text: &'a str,
    /// The fields of the header, if the table has one.
    header: Option<Vec<String>>,
    /// Whether the header is a comment.
    commented_header: bool,
    /// Whether the header is a row of numbers.
    numeric_header: bool,
    /// The number of fields per row.
    width: usize,
    columns: Vec<Profile>,
    rows: usize,
    comments: usize,
}

impl<'a> Table<'a> {
    fn new(name: String, dialect: Dialect, text: &'a str, options: &ReadOptions) -> Result<Self> {
        let mut records = dialect.reader(text).into_records();
        let unreadable = |cause| Error::input(format!("{name}: not a readable table ({cause}); save it as UTF-8 text"));
        let none = || Error::input(format!("{name}: the table has no row of numbers"));
        let first = records.next().ok_or_else(none)?.map_err(unreadable)?;
        let mut rest = Vec::new();
        let (mut columns, mut rows, mut width) = (vec![Profile::default(); first.len()], 0, 0);
        for record in records {
            let record = record.map_err(unreadable)?;
            if rows == 0 {
                (width, rest) = (record.len(), vec![record.clone()]);
                columns.resize(width.max(first.len()), Profile::default());
            }
            rows += 1;
            columns.iter_mut().zip(&record).for_each(|(column, text)| column.add(text, dialect.field(text)));
        }
        let second = rest.first();
        let is_header = match options.header {
            Some(header) => header == Header::Yes,
            None => is_header(dialect, &first, second, &columns),
        };
        let comments = text.lines().filter(|line| line.starts_with('#')).count();
        let numeric_header = is_header && numbers(dialect, &first, usize::from(first[0].is_empty())).is_some();
        let mut table = Table {
            name,
            dialect,
            text,
            header: None,
            commented_header: false,
            numeric_header,
            width,
            columns,
            rows,
            comments,
        };
        if !is_header {
            (table.width, table.rows) = (first.len(), rows + 1);
            let mut all = vec![Profile::default(); first.len()];
            let records =
                std::iter::once(first).chain(dialect.reader(text).into_records().skip(1).map_while(|r| r.ok()));
            for record in records {
                all.iter_mut().zip(&record).for_each(|(column, text)| column.add(text, dialect.field(text)));
            }
            table.columns = all;
            if options.header.is_none() {
                table.header = commented_header(dialect, text, table.width);
                table.commented_header = table.header.is_some();
            }
            return Ok(table);
        }
        if rows == 0 {
            return Err(none_of_numbers(&table.name));
        }
        let mut names: Vec<String> = first.iter().map(str::to_string).collect();
        // The last field of each row is empty, or R wrote the names of the rows without a header. Two columns with one name
        // are also numbers with decimal commas.
        if names.len() + 1 == width {
            match table.columns[width - 1].is_empty() {
                true => names.push(String::new()),
                false if width > 2 || dialect.separator != Separator::Byte(b',') => names.insert(0, String::new()),
                false => {}
            }
        }
        if names.len() != width {
            return Err(table.wrong_width(1, 2, width, names.len()));
        }
        table.columns.truncate(width);
        table.header = Some(names);
        Ok(table)
    }

    /// The rows, without the header and comments.
    fn records(&self) -> impl Iterator<Item = csv::Result<csv::StringRecord>> + use<'a> {
        let header = self.header.is_some() && !self.commented_header;
        self.dialect.reader(self.text).into_records().skip(usize::from(header))
    }

    /// The name of a column for messages: "column 2 (y)".
    fn title(&self, column: usize) -> String {
        let name = self.header.as_ref().map(|header| header[column].as_str()).filter(|name| !name.is_empty());
        format!("column {}{}", column + 1, name.map(|name| format!(" ({name})")).unwrap_or_default())
    }

    /// How an option names a column.
    fn option_name(&self, column: usize) -> String {
        let name = self.header.as_ref().map(|header| header[column].as_str());
        name.filter(|name| !name.is_empty()).map_or((column + 1).to_string(), str::to_string)
    }

    fn wrong_width(&self, row: usize, line: u64, found: usize, expected: usize) -> Error {
        let comma = self.dialect.separator == Separator::Byte(b',') && found == 2 * expected;
        let cause = match comma {
            true => "; if the commas in it are decimal commas, separate the columns by semicolons",
            false => "; all rows must have the same number, and a text with a separator must be in quotes",
        };
        Error::input(format!(
            "{}: row {row} (line {line}) has {}, but {expected} were expected{cause}",
            self.name,
            count(found, "column")
        ))
    }

    /// The index of the column that an option names.
    fn find(&self, wanted: &str) -> Result<usize> {
        let header = self.header.as_deref().unwrap_or_default();
        if let Some(at) = header.iter().position(|name| name == wanted) {
            return Ok(at);
        }
        match wanted.parse::<usize>() {
            Ok(number) if (1..=self.width).contains(&number) => Ok(number - 1),
            _ if header.is_empty() => Err(Error::setting(format!(
                "{}: there is no column {wanted:?}; the table has no header, so name columns by number from 1 to {}",
                self.name, self.width
            ))),
            _ => {
                let names: Vec<&str> = header.iter().take(40).map(String::as_str).collect();
                let more = if header.len() > 40 { ", ..." } else { "" };
                Err(Error::setting(format!(
                    "{}: there is no column {wanted:?}; there are: {}{more}",
                    self.name,
                    names.join(", ")
                )))
            }
        }
    }

    fn read(self, group: Option<&str>, options: &ReadOptions, known: &Columns) -> Result<Raw> {
        let mut origin = self.origin(options);
        let grouped = self.is_grouped(group, options, known)?;
        let chosen = self.chosen(options, known, grouped, &mut origin)?;
        if chosen.is_empty() {
            return Err(match self.columns.iter().any(|column| column.numbers > 0) {
                true => Error::setting(format!("{}: no column is left to read", self.name)),
                false => none_of_numbers(&self.name),
            });
        }
        if let (Some(group), false) = (group, grouped) {
            return Err(Error::input(format!(
                "{}: the group {group:?} cannot be selected, because the first column does not contain text",
                self.name
            )));
        }
        let (values, groups) = self.values(&chosen, group.filter(|_| grouped), grouped, options)?;
        if grouped {
            self.check_groups(group, &groups, values.is_empty(), options, &mut origin)?;
            if groups.rows.len() < self.rows {
                origin.keep(self.rows, groups.rows.clone());
            }
        }
        if options.missing == Some(Missing::Mean) {
            self.note_replaced(&chosen, &mut origin);
        }
        let width: usize = chosen.iter().map(Chosen::width).sum();
        let dims = vec![values.len() / width, width];
        let name = group.map_or(self.name.clone(), |group| format!("{}:{group}", self.name));
        let (names, categories) = self.names(&chosen);
        let suggested = self.suggested(&names, !categories.is_empty());
        if self.columns.iter().any(Profile::is_dates) && chosen.len() > 1 && options.window.is_none() {
            origin.choice("each row is a sample", "--window N for windows of N rows, if the rows are time steps");
        }
        let left_out = self.left_out(&chosen);
        Ok(Raw { names, categories, left_out, suggested, ..Raw::new(&name, origin, dims, RawValues::F64(values)) })
    }

    /// What was found in the file as a whole.
    fn origin(&self, options: &ReadOptions) -> Origin {
        let kind = if self.dialect.separator == Separator::Byte(b'\t') { "TSV" } else { "CSV" };
        let header = if self.header.is_some() { "with a header" } else { "without a header" };
        let mut origin = Origin::new(format!("{kind} table {header}, {}", self.dialect.describe()), "numbers as text");
        if self.commented_header {
            origin.choice("the names of the columns are in a comment line", "--header no");
        }
        match self.comments - usize::from(self.commented_header) {
            0 => {}
            comments => origin.note(format!("{} beginning with # left out", count(comments, "comment line"))),
        }
        if options.header.is_none() && self.numeric_header {
            origin.choice("the first line of evenly rising numbers is the header", "--header no");
        }
        origin
    }

    /// The name of a column in generated tables.
    fn written_name(&self, column: usize) -> String {
        let name = self.header.as_ref().map(|header| header[column].clone());
        name.filter(|name| !name.is_empty()).unwrap_or_else(|| format!("x{column}"))
    }

    /// The names of the values of a sample, such as "city=Ulm", and the columns of categories. Without a header or
    /// categories, there are no names.
    fn names(&self, chosen: &[Chosen]) -> (Vec<String>, Vec<Categories>) {
        let (mut names, mut all) = (Vec::new(), Vec::new());
        for Chosen { column, categories } in chosen {
            let name = self.written_name(*column);
            match categories {
                None => names.push(name),
                Some(values) => {
                    all.push(Categories { name: name.clone(), first: names.len(), values: values.clone() });
                    names.extend(values.iter().map(|value| format!("{name}={value}")));
                }
            }
        }
        if self.header.is_none() && all.is_empty() {
            names.clear();
        }
        (names, all)
    }

    /// The columns of text with some categories that are not read.
    fn left_out(&self, chosen: &[Chosen]) -> Vec<Categories> {
        let is_read = |column: usize| chosen.iter().any(|chosen| chosen.column == column);
        let texts = (0..self.width).filter(|&column| !is_read(column) && self.columns[column].is_text());
        let of = |column: usize| {
            let values = self.columns[column].categories()?;
            Some(Categories { name: self.written_name(column), first: 0, values })
        };
        texts.filter_map(of).collect()
    }

    /// The kind of the samples: names are those of a table, numbers count the values of a signal.
    fn suggested(&self, names: &[String], categorical: bool) -> Option<(Kind, String)> {
        if categorical {
            return Some((Kind::Table, "because it has columns of categories".to_string()));
        }
        if names.len() < 3 {
            return None;
        }
        let digits = |name: &str| name.trim_start_matches(|c: char| !c.is_ascii_digit()).parse::<f64>().ok();
        let prefix = |name: &str| name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.').to_string();
        let numbers: Option<Vec<f64>> = names.iter().map(|name| name.parse().ok().or_else(|| digits(name))).collect();
        let alike = names.windows(2).all(|pair| prefix(&pair[0]) == prefix(&pair[1]));
        match numbers {
            Some(numbers) if alike && rise_evenly(&numbers) => {
                Some((Kind::Signals, "because the header counts".to_string()))
            }
            _ => Some((Kind::Table, "because the columns have names".to_string())),
        }
    }
}

fn none_of_numbers(name: &str) -> Error {
    Error::input(format!("{name}: the table has no row of numbers"))
}
