//! Tables of numbers: `.csv` and `.tsv`, one sample per row.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use csv::StringRecord;

use super::dialect::{Dialect, Field, Separator, numbers, rise_evenly};
use super::options::{Header, ReadOptions};
use super::raw::{Raw, RawValues};
use super::{Kind, Origin};
use crate::io::extension;
use crate::text::count;
use crate::{Error, Result};

/// The texts of a column, given by its name or its number from 1; `None` if the table has only one.
pub(super) fn texts(path: &Path, column: Option<&str>) -> Result<Vec<String>> {
    let text = read_text(path)?;
    let dialect = Dialect::of(&text, extension(path) == "tsv");
    let prepared = dialect.prepared(&text);
    let table = Table::new(path.display().to_string(), dialect, &prepared, &ReadOptions::default())?;
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
    let records = dialect.reader(&prepared).into_records().skip(usize::from(table.header.is_some()));
    let texts = records.enumerate().map(|(row, record)| {
        let record = record.map_err(|cause| Error::input(format!("{}: not a readable table ({cause})", table.name)))?;
        match record.get(column).map(str::trim) {
            Some(text) if !text.is_empty() => Ok(text.to_string()),
            _ => Err(Error::input(format!("{}: row {}: {} is empty", table.name, row + 1, table.title(column)))),
        }
    });
    texts.collect()
}

/// Reads the columns of numbers. A first column of text contains group names, and only the rows of `group` are read.
pub(super) fn read(path: &Path, group: Option<&str>, options: &ReadOptions) -> Result<Raw> {
    let name = path.display().to_string();
    let text = read_text(path)?;
    let dialect = Dialect::of(&text, extension(path) == "tsv");
    let prepared = dialect.prepared(&text);
    let table = Table::new(name, dialect, &prepared, options)?;
    table.read(group, options)
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

/// What the fields of a column are, without the header.
#[derive(Clone, Debug, Default)]
struct Profile {
    numbers: usize,
    missing: usize,
    dates: usize,
    texts: usize,
    /// The texts that are numbers with commas.
    commas: usize,
    /// Whether the values are whole numbers that rise by 1.
    counting: bool,
    last: Option<f64>,
}

impl Profile {
    fn add(&mut self, text: &str, field: Field) {
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

    fn counts_rows(&self) -> bool {
        self.counting && self.numbers > 1 && self.missing + self.dates + self.texts == 0
    }

    fn is_dates(&self) -> bool {
        self.dates > 0 && self.numbers + self.texts == 0
    }

    /// A few texts in a column of numbers are mistakes, which are reported.
    fn is_text(&self) -> bool {
        self.texts > self.commas && self.texts + self.dates >= self.numbers
    }

    fn is_empty(&self) -> bool {
        self.numbers + self.dates + self.texts == 0
    }
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
            "{}: row {row} (line {line}) has {found} columns, but {expected} were expected{cause}",
            self.name
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

    /// The columns to read, and what was left out.
    fn chosen(&self, options: &ReadOptions, grouped: bool, origin: &mut Origin) -> Result<Vec<usize>> {
        let dropped = options.drop_columns.iter().map(|name| self.find(name)).collect::<Result<HashSet<_>>>()?;
        if !options.columns.is_empty() {
            let wanted = options.columns.iter().map(|name| self.find(name)).collect::<Result<Vec<_>>>()?;
            return Ok(wanted.into_iter().filter(|column| !dropped.contains(column)).collect());
        }
        let mut chosen = Vec::new();
        for (column, profile) in self.columns.iter().enumerate().filter(|(column, _)| !dropped.contains(column)) {
            let unnamed = self.header.as_ref().is_some_and(|header| {
                header[column].is_empty() || (column == 0 && header[column].starts_with("Unnamed:"))
            });
            match profile {
                _ if column == 0 && grouped => {}
                _ if profile.is_empty() && column + 1 == self.width && (unnamed || self.header.is_none()) => {
                    origin.note("the last column is empty and is left out");
                }
                _ if profile.is_empty() => origin.note(format!("{} is empty and is left out", self.title(column))),
                _ if profile.is_dates() => {
                    origin.note(format!("{} contains dates or times and is left out", self.title(column)));
                }
                _ if column == 0 && unnamed && profile.counts_rows() && self.width > 1 => {
                    let others = (2..=self.width).map(|i| self.option_name(i - 1)).collect::<Vec<_>>().join(",");
                    let all = if self.width > 12 { "--columns 1,...".into() } else { format!("--columns 1,{others}") };
                    origin.choice("the first column has no name and counts the rows; it is left out", all);
                }
                _ => {
                    if column == 0 && profile.counts_rows() && self.rows > 2 && self.width > 1 {
                        let drop = format!("--drop-columns {}", self.option_name(column));
                        origin.choice(format!("{} counts the rows, but is read as values", self.title(column)), drop);
                    }
                    chosen.push(column);
                }
            }
        }
        Ok(chosen)
    }

    fn read(self, group: Option<&str>, options: &ReadOptions) -> Result<Raw> {
        if self.columns.iter().all(|column| column.numbers == 0) {
            return Err(none_of_numbers(&self.name));
        }
        let kind = if self.dialect.separator == Separator::Byte(b'\t') { "TSV" } else { "CSV" };
        let header = if self.header.is_some() { "with a header" } else { "without a header" };
        let mut origin = Origin::new(format!("{kind} table {header}, {}", self.dialect.describe()), "text");
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
        let grouped = self.width > 1 && (self.columns[0].is_text() || (group.is_some() && self.columns[0].is_dates()));
        let chosen = self.chosen(options, grouped, &mut origin)?;
        if chosen.is_empty() {
            return Err(Error::setting(format!("{}: no column is left to read", self.name)));
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
        }
        let dims = vec![values.len() / chosen.len(), chosen.len()];
        let name = group.map_or(self.name.clone(), |group| format!("{}:{group}", self.name));
        let names: Vec<String> = match &self.header {
            Some(header) => chosen.iter().map(|&column| header[column].clone()).collect(),
            None => Vec::new(),
        };
        let suggested = self.suggested(&chosen, &names);
        if self.columns.iter().any(Profile::is_dates) && chosen.len() > 1 && options.window.is_none() {
            origin.choice("each row is a sample", "--window N for windows of N rows, if the rows are time steps");
        }
        Ok(Raw { names, suggested, ..Raw::new(&name, origin, dims, RawValues::F64(values)) })
    }

    /// The kind of the samples: names are those of a table, numbers count the values of a signal.
    fn suggested(&self, chosen: &[usize], names: &[String]) -> Option<(Kind, String)> {
        if names.is_empty() || chosen.len() < 3 {
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

    /// The values of the chosen columns and rows, and the groups.
    fn values(
        &self,
        chosen: &[usize],
        wanted: Option<&str>,
        grouped: bool,
        options: &ReadOptions,
    ) -> Result<(Vec<f64>, Groups)> {
        let (mut values, mut groups) = (Vec::with_capacity(self.rows * chosen.len()), Groups::default());
        let (mut missing, mut affected, mut first_missing) = (0, 0, None);
        let records = self
            .dialect
            .reader(self.text)
            .into_records()
            .skip(usize::from(self.header.is_some() && !self.commented_header));
        for (row, record) in records.enumerate() {
            let record = record.map_err(|cause| {
                Error::input(format!("{}: not a readable table ({cause}); save it as UTF-8 text", self.name))
            })?;
            if record.len() != self.width {
                return Err(self.wrong_width(row + 1, line_of(&record), record.len(), self.width));
            }
            if grouped && !groups.note(&record[0], wanted) {
                continue;
            }
            let before = missing;
            for &column in chosen {
                let value = self.value(&record, row, column)?;
                if value.is_nan() {
                    missing += 1;
                    first_missing.get_or_insert_with(|| self.place(&record, row, column));
                }
                values.push(value);
            }
            affected += usize::from(missing > before);
        }
        match first_missing {
            Some(first) if options.missing.is_none() => Err(Error::input(format!(
                "{}: {first} is missing (in all {} in {} of {}); --missing drop leaves out such rows, --missing mean uses the \
                 mean of the column",
                self.name,
                count(missing, "missing value"),
                count(affected, "row"),
                values.len() / chosen.len()
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
            Field::Text if self.columns[column].is_text() => format!(
                "is not a number; only the first column may contain text: leave this one out with --drop-columns {}",
                self.option_name(column)
            ),
            Field::Text => "is not a number; repair it, or leave out the row or the column".to_string(),
        };
        Err(Error::input(format!("{}: {} {problem}", self.name, self.place(record, row, column))))
    }

    /// Checks that the rows are those of one group.
    fn check_groups(
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
                "{name}: the first column contains {} groups; select one as {name}:{}, or read all with --drop-columns {}; \
                 there are: {}",
                names.len(),
                names[0],
                self.option_name(0),
                list()
            ))),
            None => {
                origin.note(format!("{left_out} ({})", count(names.len(), "group")));
                Ok(())
            }
        }
    }
}

/// Whether a text that is not a number has the digits of one, and commas.
fn has_only_digits(text: &str) -> bool {
    text.contains(',') && text.bytes().all(|byte| byte.is_ascii_digit() || b",.-+ ".contains(&byte))
}

fn line_of(record: &StringRecord) -> u64 {
    record.position().map_or(0, |at| at.line())
}

/// The names of the columns in the last comment before the first row, as numpy.savetxt writes them.
fn commented_header(dialect: Dialect, text: &str, width: usize) -> Option<Vec<String>> {
    let line = text.lines().take_while(|line| line.starts_with('#')).last()?;
    let line = dialect.prepared(line.trim_start_matches('#').trim()).into_owned();
    let record = dialect.reader(&line).into_records().next()?.ok()?;
    let named = record.len() == width && record.iter().all(|field| dialect.field(field) == Field::Text);
    named.then(|| record.iter().map(str::to_string).collect())
}

fn none_of_numbers(name: &str) -> Error {
    Error::input(format!("{name}: the table has no row of numbers"))
}

/// Whether the first record is a header: it has a name for a column of numbers, or rises evenly unlike the second one.
fn is_header(dialect: Dialect, first: &StringRecord, second: Option<&StringRecord>, rest: &[Profile]) -> bool {
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

/// The distinct texts of the first column, in the order of their first row.
#[derive(Default)]
struct Groups {
    names: Vec<String>,
    seen: HashSet<String>,
}

impl Groups {
    /// Adds a group. Returns whether its rows are read.
    fn note(&mut self, group: &str, wanted: Option<&str>) -> bool {
        if !self.seen.contains(group) {
            self.seen.insert(group.to_string());
            self.names.push(group.to_string());
        }
        wanted.is_none_or(|wanted| wanted == group)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{refusal, save};
    use super::*;
    use crate::data::{Dataset, Missing};

    fn load(name: &str, text: &str, group: &str) -> Result<Dataset> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        Dataset::load(&format!("{}{group}", path.display()), 0)
    }

    const GROUPS: &str = "dataset\tx\ty\ndino\t1\t2\nstar\t3\t4\ndino\t5\t6\n";

    #[test]
    fn headers_are_optional() {
        for text in ["x,y\n1,2\n3,4e-1\n", "1,2\n3,0.4", "1;2\n 3 ;0.4\n", "\u{feff}x,y\r\n1,2\r\n3,.4\r\n"] {
            let data = load("a.csv", text, "").unwrap();
            assert_eq!((data.shape, data.values), (vec![2], vec![1.0, 2.0, 3.0, 0.4]), "{text:?}");
        }
    }

    #[test]
    fn groups_are_selected_by_name() {
        let dino = load("a.tsv", GROUPS, ":dino").unwrap();
        assert_eq!((dino.shape.clone(), dino.values), (vec![2], vec![1.0, 2.0, 5.0, 6.0]));
        assert_eq!(load("a.csv", "a,1,2\na,3,4", "").unwrap().len(), 2);
        for (name, text, group, cause) in [
            ("a.tsv", GROUPS, "", "there are: dino, star"),
            ("a.tsv", GROUPS, ":cat", "no group \"cat\"; there are: dino, star"),
            ("a.csv", "1,2\n3,4", ":cat", "first column does not contain text"),
        ] {
            let message = load(name, text, group).unwrap_err().to_string();
            assert!(message.contains(cause), "{message}");
        }
    }

    #[test]
    fn bad_rows_are_named() {
        let rows = |bad: &str| format!("x,y\n{}{bad}\n8,8\n", "1,2\n".repeat(6));
        for (bad, cause) in [
            ("7,seven", "row 7 (line 8), column 2 (y): \"seven\" is not a number"),
            ("7", "row 7 (line 8) has 1 columns, but 2 were expected"),
            ("7,8,9", "has 3 columns"),
            (
                "7,",
                "row 7 (line 8), column 2 (y): \"\" is missing (in all 1 missing value in 1 row of 8); --missing drop",
            ),
            ("7,nan", "\"nan\" is missing"),
            ("\"7,5\",8", "column 1 (x): \"7,5\" has a comma"),
            ("inf,7", "column 1 (x): \"inf\""),
        ] {
            let message = load("a.csv", &rows(bad), "").unwrap_err().to_string();
            assert!(message.contains(cause), "{message}");
        }
        assert_eq!(load("a.csv", "1,5;2,5\n3,5;4,5", "").unwrap().values, [1.5, 2.5, 3.5, 4.5]);
        assert_eq!(load("a.csv", "x y\n1 2\n3 4\n", "").unwrap().values, [1.0, 2.0, 3.0, 4.0]);
        assert!(load("a.csv", "x,y\n", "").unwrap_err().to_string().contains("no row of numbers"));
        assert!(load("a.csv", "1,2\n3", "").unwrap_err().to_string().contains("row 2 (line 2) has 1 columns"));
    }

    #[test]
    fn csv_round_trip() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.csv");
        let values = vec![0.1, -2.5e-12, 3e20, 4.0, f32::MIN_POSITIVE, 1.0 / 3.0];
        for shape in [[2], [3]] {
            save(&path, &shape, &values).unwrap();
            let back = Dataset::load(path.to_str().unwrap(), 0).unwrap();
            assert_eq!((back.shape, &back.values), (shape.to_vec(), &values));
        }
        fs::write(&path, [b'1', b',', 0xff, 0xfe]).unwrap();
        assert!(refusal(&path).contains("UTF-8"));
    }

    fn with(text: &str, options: ReadOptions) -> Result<Dataset> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.csv");
        fs::write(&path, text).unwrap();
        Dataset::load_with(path.to_str().unwrap(), 0, &options)
    }

    fn notes(data: &Dataset) -> String {
        data.origin.notes.iter().map(|note| note.to_string()).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn headers_of_numbers_are_found_and_chosen() {
        let no = ReadOptions { header: Some(Header::No), ..ReadOptions::default() };
        for (text, rows, names) in [
            ("0,1\n5,6\n7,8\n", 2, vec!["0", "1"]),
            (",0,1\n0,5,6\n1,7,8\n", 2, vec!["0", "1"]),
            ("400,402,404\n5,6,9\n7,8,1\n", 2, vec!["400", "402", "404"]),
            ("a,2019,2020\n5,6,9\n7,8,1\n", 2, vec!["a", "2019", "2020"]),
            ("1,2,3\n4,5,6\n", 2, vec![]),
            ("1,2\n4,5\n", 2, vec![]),
        ] {
            let data = with(text, ReadOptions::default()).unwrap();
            assert_eq!(
                (data.len(), data.columns.names.iter().map(String::as_str).collect()),
                (rows, names),
                "{text:?}"
            );
        }
        let data = with("0,1\n5,6\n7,8\n", ReadOptions::default()).unwrap();
        assert!(notes(&data).contains("is the header (otherwise: --header no)"), "{}", notes(&data));
        assert_eq!(with("0,1\n5,6\n7,8\n", no).unwrap().len(), 3);
        let yes = ReadOptions { header: Some(Header::Yes), ..ReadOptions::default() };
        assert_eq!(with("1,2\n5,6\n7,8\n", yes).unwrap().len(), 2);
    }

    #[test]
    fn an_index_is_left_out_and_said() {
        for text in [",x,y\n0,5,6\n1,7,8\n", "Unnamed: 0,x,y\n0,5,6\n1,7,8\n", "x y\n1 5 6\n2 7 8\n"] {
            let data = with(text, ReadOptions::default()).unwrap();
            assert_eq!((data.shape.clone(), &data.values[..]), (vec![2], &[5.0, 6.0, 7.0, 8.0][..]), "{text}");
            assert_eq!(data.columns.names, ["x", "y"]);
            assert!(notes(&data).contains("counts the rows; it is left out"), "{}", notes(&data));
        }
        let data = with("id,x,y\n0,5,6\n1,7,8\n2,7,8\n", ReadOptions::default()).unwrap();
        assert_eq!(data.shape, [3]);
        assert!(notes(&data).contains("--drop-columns id"), "{}", notes(&data));
    }

    #[test]
    fn dates_and_names_of_rows_are_left_out() {
        let data = with("t,x,y\n2016-07-01 00:00:00,5,6\n2016-07-01 01:00:00,7,8\n", ReadOptions::default()).unwrap();
        assert_eq!(data.values, [5.0, 6.0, 7.0, 8.0]);
        assert!(notes(&data).contains("column 1 (t) contains dates or times and is left out"), "{}", notes(&data));
        let data = with("who,x,y\nann,5,6\nbob,7,8\ncy,1,2\n", ReadOptions::default()).unwrap();
        assert_eq!((data.len(), data.shape), (3, vec![2]));
        let text = "when,x,y\n2016-07-01 00:00:00,5,6\n2016-07-02 00:00:00,7,8\n";
        assert_eq!(load("e.csv", text, ":2016-07-01 00:00:00").unwrap().values, [5.0, 6.0]);
        let text = "g,x,y\na:b[0],5,6\nc,7,8\na:b[0],1,2\n";
        assert_eq!(load("e.csv", text, ":a:b[0]").unwrap().values, [5.0, 6.0, 1.0, 2.0]);
        assert_eq!(load("e.csv", text, ":a:b[0][1:2]").unwrap().values, [1.0, 2.0]);
    }

    #[test]
    fn separators_decimal_commas_and_comments_are_read() {
        for text in [
            "x;y\n1,5;2\n3;0,25\n",
            "x\ty\n1,5\t2\n3\t0,25\n",
            "1.5 2\n  3   0.25  \n",
            "# made by a program\nx,y\n1.5,2\n# half\n3,0.25\n",
            "x,y,\n1.5,2,\n3,0.25,\n",
            "x,y\n1.5,2,\n3,0.25,\n",
            "1.5,2,\n3,0.25,\n",
            "\"x\",\"y\"\r\n\"1.5\",\"2\"\r\n\r\n3,0.25\r\n",
        ] {
            let data = with(text, ReadOptions::default()).unwrap();
            assert_eq!((data.shape.clone(), &data.values[..]), (vec![2], &[1.5, 2.0, 3.0, 0.25][..]), "{text:?}");
        }
        let message = with("x\n1,5\n2,5\n", ReadOptions::default()).unwrap_err().to_string();
        assert!(message.contains("decimal commas"), "{message}");
        let message = with("x,y\n\"1,234\",5\n\"2,345\",6\n", ReadOptions::default()).unwrap_err().to_string();
        assert!(message.contains("\"1,234\" has a comma"), "{message}");
        for text in ["# a b\n1 2\n3 4\n", "# made by a program\n# a,b\n1,2\n3,4\n"] {
            assert_eq!(with(text, ReadOptions::default()).unwrap().columns.names, ["a", "b"], "{text:?}");
        }
        let message = with("x,y\n1,a\n2,b\n", ReadOptions::default()).unwrap_err().to_string();
        assert!(message.contains("--drop-columns y"), "{message}");
    }

    #[test]
    fn columns_are_chosen_by_name_or_number() {
        let text = "a,b,c,d\n1,2,3,x\n4,5,6,y\n";
        let read = |columns: &[&str], drop: &[&str]| {
            let own = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();
            with(text, ReadOptions { columns: own(columns), drop_columns: own(drop), ..ReadOptions::default() })
        };
        let data = read(&["c", "1"], &[]).unwrap();
        assert_eq!((data.columns.names, data.values), (vec!["c".into(), "a".into()], vec![3.0, 1.0, 6.0, 4.0]));
        assert_eq!(read(&[], &["d", "b"]).unwrap().values, [1.0, 3.0, 4.0, 6.0]);
        assert!(read(&["e"], &[]).unwrap_err().to_string().contains("no column \"e\"; there are: a, b, c, d"));
    }

    #[test]
    fn named_columns_are_a_table_and_counted_ones_a_signal() {
        let kind = |text: &str| with(text, ReadOptions::default()).unwrap().kind();
        assert_eq!(kind("a,b,c\n1,2,3\n4,5,7\n"), Kind::Table);
        assert_eq!(kind("x0,x1,x2\n1,2,3\n4,5,7\n"), Kind::Signals);
        assert_eq!(kind("400,402,404\n1,2,4\n4,5,7\n"), Kind::Signals);
        assert_eq!(kind("a,b\n1,2\n4,5\n"), Kind::Points);
        let data = with("a,b,c\n1,2.5,3\n4,5,7\n", ReadOptions::default()).unwrap();
        assert_eq!(data.columns.whole, [true, false, true]);
    }

    #[test]
    fn missing_values_of_a_table_are_left_out_or_filled() {
        let text = "a,b\n1,2\nNA,4\n3,?\n5,6\n";
        let read = |missing| with(text, ReadOptions { missing, ..ReadOptions::default() });
        let message = read(None).unwrap_err().to_string();
        assert!(message.contains("2 missing values in 2 rows of 4"), "{message}");
        assert_eq!(read(Some(Missing::Drop)).unwrap().values, [1.0, 2.0, 5.0, 6.0]);
        assert_eq!(read(Some(Missing::Mean)).unwrap().values, [1.0, 2.0, 3.0, 4.0, 3.0, 4.0, 5.0, 6.0]);
    }

    #[test]
    fn a_recording_is_cut_into_windows() {
        let text: String = (0..20).map(|i| format!("{i}.5\n")).collect();
        assert!(with(&text, ReadOptions::default()).unwrap_err().to_string().contains("--window"));
        let options = ReadOptions { window: Some(8), hop: Some(4), ..ReadOptions::default() };
        let data = with(&format!("v\n{text}"), options).unwrap();
        assert_eq!((data.shape.clone(), data.len(), data.sample(1)[0]), (vec![8], 4, 4.5));
    }

    #[test]
    fn large_offsets_keep_their_digits() {
        let text = "x,y\n4523123.25,0.5\n4523124.50,0.25\n4523125.75,1\n";
        let data = with(text, ReadOptions::default()).unwrap();
        let x = |i: usize| f64::from(data.sample(i)[0]) + data.columns.offset[0];
        assert_eq!((x(0), x(1), x(2)), (4_523_123.25, 4_523_124.5, 4_523_125.75));
        assert_eq!(data.columns.offset[1], 0.0);
    }
}
