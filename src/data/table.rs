//! Tables of numbers: `.csv` and `.tsv`, one sample per row.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek};
use std::path::Path;

use csv::StringRecord;

use super::{Dataset, open};
use crate::io::extension;
use crate::{Error, Result};

/// Reads the rows of numbers. A header is skipped. A first column of text contains group names, and only the rows of `group`
/// are read.
pub(super) fn read(path: &Path, group: Option<&str>) -> Result<Dataset> {
    let file = BufReader::new(open(path)?);
    let (file, delimiter) = delimiter(path, file).map_err(|cause| Error::io("cannot read", path, cause))?;
    let mut rows = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .has_headers(false)
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(file);
    let mut table = Table::new(path, group);
    let mut record = StringRecord::new();
    loop {
        match rows.read_record(&mut record) {
            Ok(true) => table.push(&record)?,
            Ok(false) => return table.finish(),
            Err(cause) => {
                return Err(Error::input(format!(
                    "{}: not a readable table ({cause}); save it as UTF-8 text",
                    table.name
                )));
            }
        }
    }
}

/// The delimiter: tabs in a `.tsv`; commas, semicolons or tabs in a `.csv`, depending on the first line.
fn delimiter(path: &Path, mut file: BufReader<File>) -> std::io::Result<(BufReader<File>, u8)> {
    if extension(path) == "tsv" {
        return Ok((file, b'\t'));
    }
    let start = file.fill_buf()?;
    let line = start.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let found = [b',', b';', b'\t'].into_iter().find(|delimiter| line.contains(delimiter)).unwrap_or(b',');
    file.rewind()?;
    Ok((file, found))
}

/// A table that is being read.
struct Table<'a> {
    name: String,
    wanted: Option<&'a str>,
    header: Option<StringRecord>,
    /// The number of fields per row including the text field; 0 before the first row.
    width: usize,
    has_text: bool,
    rows: u64,
    /// The distinct text fields, in the order of their first row.
    groups: Vec<String>,
    seen: HashSet<String>,
    values: Vec<f32>,
}

impl<'a> Table<'a> {
    fn new(path: &Path, wanted: Option<&'a str>) -> Self {
        Table {
            name: path.display().to_string(),
            wanted,
            header: None,
            width: 0,
            has_text: false,
            rows: 0,
            groups: Vec::new(),
            seen: HashSet::new(),
            values: Vec::new(),
        }
    }

    fn push(&mut self, record: &StringRecord) -> Result<()> {
        if self.width == 0 {
            if self.header.is_none() && record.iter().all(|field| number(field).is_none()) {
                self.header = Some(record.clone());
                return Ok(());
            }
            self.width = record.len();
            self.has_text = self.width > 1 && number(&record[0]).is_none() && !record[0].is_empty();
        }
        self.rows += 1;
        let width = self.header.as_ref().map_or(self.width, |header| header.len());
        if record.len() != width {
            return Err(Error::input(format!(
                "{}: {} has {} columns, but {width} were expected; all rows must have the same number",
                self.name,
                self.place(record),
                record.len()
            )));
        }
        let chosen = !self.has_text || self.note_group(&record[0]);
        for column in usize::from(self.has_text)..width {
            let value = self.value(record, column)?;
            if chosen {
                self.values.push(value);
            }
        }
        Ok(())
    }

    /// Adds a group name. Returns whether its rows are read.
    fn note_group(&mut self, group: &str) -> bool {
        if !self.seen.contains(group) {
            self.seen.insert(group.to_string());
            self.groups.push(group.to_string());
        }
        self.wanted.is_none_or(|wanted| wanted == group)
    }

    fn value(&self, record: &StringRecord, column: usize) -> Result<f32> {
        let field = &record[column];
        let parts_are_numbers = |separator: fn(char) -> bool| {
            let mut parts = field.split(separator);
            field.contains(separator) && parts.all(|part| number(part).is_some())
        };
        let problem = match number(field) {
            Some(value) if value.is_finite() => return Ok(value),
            Some(_) if field.parse().is_ok_and(f64::is_finite) => "is too large for float32; rescale the data",
            None if parts_are_numbers(|c| c == ';') => {
                "contains a semicolon; write decimal numbers with a point, as in 1.5;2.5, so that semicolons separate the \
                 columns"
            }
            None if parts_are_numbers(char::is_whitespace) => {
                "contains several numbers; separate the columns with commas, semicolons or tabs"
            }
            Some(_) => "is not a finite number; remove or repair such rows",
            None if record[column].is_empty() => "is an empty field; remove or fill such rows",
            None => "is not a number; only the first line and the first column may contain text",
        };
        let title = self.header.as_ref().map(|header| format!(" ({})", &header[column])).unwrap_or_default();
        Err(Error::input(format!(
            "{}: {}, column {}{title}: {:?} {problem}",
            self.name,
            self.place(record),
            column + 1,
            record[column].chars().take(40).collect::<String>()
        )))
    }

    /// The number of the data row and the line in the file.
    fn place(&self, record: &StringRecord) -> String {
        format!("row {} (line {})", self.rows, record.position().map_or(0, |at| at.line()))
    }

    fn finish(self) -> Result<Dataset> {
        let Table { name, wanted, groups, .. } = self;
        let list = || match groups.len() {
            0..=24 => groups.join(", "),
            more => format!("{}, ... ({more} in all)", groups[..24].join(", ")),
        };
        if self.rows == 0 {
            return Err(Error::input(format!("{name}: the table has no row of numbers")));
        }
        match wanted {
            None if groups.len() > 1 => Err(Error::input(format!(
                "{name}: the first column contains {} groups; select one as {name}:{}; there are: {}",
                groups.len(),
                groups[0],
                list()
            ))),
            Some(group) if !self.has_text => Err(Error::input(format!(
                "{name}: the group {group:?} cannot be selected, because the first column does not contain text"
            ))),
            Some(group) if self.values.is_empty() => {
                Err(Error::input(format!("{name}: there is no group {group:?}; there are: {}", list())))
            }
            _ => {
                let shape = [self.width - usize::from(self.has_text)];
                let name = wanted.map_or(name.clone(), |group| format!("{name}:{group}"));
                Dataset::new(name, shape, self.values)
            }
        }
    }
}

/// Parses a number, ignoring a byte order mark at the beginning of the file.
fn number(field: &str) -> Option<f32> {
    field.trim_start_matches('\u{feff}').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{refusal, save};
    use super::*;
    use std::fs;

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
            ("7,", "column 2 (y): \"\" is an empty field"),
            ("7,nan", "\"nan\" is not a finite number"),
            ("7,1e300", "\"1e300\" is too large for float32"),
            ("inf,7", "column 1 (x): \"inf\""),
        ] {
            let message = load("a.csv", &rows(bad), "").unwrap_err().to_string();
            assert!(message.contains(cause), "{message}");
        }
        for (text, cause) in
            [("1,5;2,5\n3,5;4,5", "decimal numbers with a point"), ("x y\n1 2\n3 4\n", "separate the columns")]
        {
            let message = load("a.csv", text, "").unwrap_err().to_string();
            assert!(message.contains(cause), "{message}");
        }
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
}
