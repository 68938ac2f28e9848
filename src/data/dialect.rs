//! How the numbers of a text table are written: separators, decimal commas, dates.

use csv::{Reader, ReaderBuilder, StringRecord};

/// The separator of the columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Separator {
    Byte(u8),
    /// One or more blanks or tabs.
    Blanks,
}

/// How the numbers of a table are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dialect {
    pub separator: Separator,
    pub decimal_comma: bool,
}

/// The number of lines from which the dialect is determined.
const LINES: usize = 30;

/// Words for a missing value.
const MISSING: [&str; 14] =
    ["", "NA", "N/A", "n/a", "na", "#N/A", "NaN", "nan", "NAN", "NULL", "null", "None", "?", "-"];

/// A field of a table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Field {
    Number(f64),
    Missing,
    Date,
    Text,
}

impl Dialect {
    /// The dialect in which most fields of the first lines are numbers and the rows have most columns.
    pub fn of(text: &str, tabs: bool) -> Self {
        let lines: Vec<&str> =
            text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')).take(LINES).collect();
        let commas = [false, true].map(|decimal_comma| Self { separator: Separator::Byte(b'\t'), decimal_comma });
        if tabs && lines.iter().any(|line| line.contains('\t')) {
            return commas.into_iter().rev().max_by_key(|dialect| dialect.score(&lines)).unwrap_or(commas[0]);
        }
        let mut best = Self { separator: Separator::Byte(b','), decimal_comma: false };
        let mut score = best.score(&lines);
        for (separator, decimal_comma) in [
            (Separator::Byte(b';'), false),
            (Separator::Byte(b'\t'), false),
            (Separator::Blanks, false),
            (Separator::Byte(b';'), true),
            (Separator::Byte(b'\t'), true),
            (Separator::Blanks, true),
        ] {
            let dialect = Self { separator, decimal_comma };
            let found = dialect.score(&lines);
            if found > score {
                (best, score) = (dialect, found);
            }
        }
        best
    }

    /// The share of numbers among the fields after the first line, in thousandths, and the number of columns.
    fn score(self, lines: &[&str]) -> (usize, usize) {
        let rows = if lines.len() > 1 { &lines[1..] } else { lines };
        let text = rows.join("\n");
        let text = self.prepared(&text);
        let (mut good, mut all, mut width) = (0, 0, 0);
        for record in self.reader(&text).into_records().map_while(Result::ok) {
            width = width.max(record.len());
            all += record.len();
            good += record.iter().filter(|field| self.field(field) != Field::Text).count();
        }
        (1000 * good / all.max(1), width)
    }

    /// The text with one separator between two columns.
    pub fn prepared<'a>(self, text: &'a str) -> std::borrow::Cow<'a, str> {
        if self.separator != Separator::Blanks {
            return text.into();
        }
        let line = |line: &str| line.split_whitespace().collect::<Vec<_>>().join("\t");
        text.lines().map(line).collect::<Vec<_>>().join("\n").into()
    }

    /// A reader of the records in the [prepared](Self::prepared) text.
    pub fn reader(self, text: &str) -> Reader<&[u8]> {
        let delimiter = match self.separator {
            Separator::Byte(byte) => byte,
            Separator::Blanks => b'\t',
        };
        ReaderBuilder::new()
            .delimiter(delimiter)
            .has_headers(false)
            .flexible(true)
            .comment(Some(b'#'))
            .trim(csv::Trim::All)
            .from_reader(text.as_bytes())
    }

    /// "separated by semicolons, with decimal commas".
    pub fn describe(self) -> String {
        let by = match self.separator {
            Separator::Byte(b';') => "semicolons",
            Separator::Byte(b'\t') => "tabs",
            Separator::Byte(_) => "commas",
            Separator::Blanks => "blanks",
        };
        format!("separated by {by}{}", if self.decimal_comma { ", with decimal commas" } else { "" })
    }

    /// Parses a field.
    pub fn field(self, text: &str) -> Field {
        if MISSING.contains(&text) {
            return Field::Missing;
        }
        let number = match (self.decimal_comma, text.split_once(',')) {
            (true, Some((whole, part))) if digits_around(whole, part) => format!("{whole}.{part}").parse(),
            _ => text.parse(),
        };
        match number {
            Ok(number) => Field::Number(number),
            Err(_) if is_date(text) => Field::Date,
            Err(_) => Field::Text,
        }
    }
}

/// Whether a comma between these parts is a decimal comma.
fn digits_around(whole: &str, part: &str) -> bool {
    whole.ends_with(|c: char| c.is_ascii_digit())
        && part.starts_with(|c: char| c.is_ascii_digit())
        && !whole.contains('.')
}

/// The fields of a record as numbers; `None` if one is something else.
pub(super) fn numbers(dialect: Dialect, record: &StringRecord, from: usize) -> Option<Vec<f64>> {
    let number = |text: &str| match dialect.field(text) {
        Field::Number(number) if number.is_finite() => Some(number),
        _ => None,
    };
    record.iter().skip(from).map(number).collect()
}

/// Whether numbers rise evenly: at least three, or 0 and 1.
pub(super) fn rise_evenly(numbers: &[f64]) -> bool {
    let [first, second, ..] = *numbers else { return false };
    if numbers.len() == 2 {
        return (first, second) == (0.0, 1.0);
    }
    let step = second - first;
    step > 0.0 && numbers.windows(2).all(|pair| ((pair[1] - pair[0]) / step - 1.0).abs() < 1e-3)
}

/// Whether a text is a date, a time of day, or both.
fn is_date(text: &str) -> bool {
    let mut parts = text.split(['T', ' ']).filter(|part| !part.is_empty());
    let Some(first) = parts.next() else { return false };
    let date = is_day(first);
    if !date && !is_time(first) {
        return false;
    }
    let zone = |part: &str| {
        matches!(part, "UTC" | "Z" | "AM" | "PM" | "am" | "pm")
            || part
                .strip_prefix(['+', '-'])
                .is_some_and(|zone| !zone.is_empty() && zone.len() <= 5 && is_time_or_digits(zone))
    };
    match (date, parts.next()) {
        (_, None) => true,
        (true, Some(time)) => is_time(time) && parts.all(zone),
        (false, Some(other)) => zone(other) && parts.all(zone),
    }
}

fn is_time_or_digits(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_digit() || c == ':')
}

/// 2016-07-01, 2016/7/1, 01.07.2016, 7/1/16.
fn is_day(text: &str) -> bool {
    let Some(separator) = text.chars().find(|c| matches!(c, '-' | '/' | '.')) else { return false };
    let parts: Vec<&str> = text.split(separator).collect();
    let fits =
        |part: &str, most: usize| (1..=most).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    match parts[..] {
        [year, month] => year.len() == 4 && fits(year, 4) && month.len() == 2 && fits(month, 2) && separator != '.',
        [a, b, c] => {
            let (long, short) = (fits(a, 4) && a.len() == 4, fits(b, 2));
            (long && short && fits(c, 2)) || (fits(a, 2) && short && fits(c, 4) && c.len() % 2 == 0)
        }
        _ => false,
    }
}

/// 12:30, 12:30:15, 12:30:15.250Z, 12:30+02:00.
fn is_time(text: &str) -> bool {
    let text = text.strip_suffix('Z').unwrap_or(text);
    let time = text.split(['+', '-']).next().unwrap_or_default();
    let parts: Vec<&str> = time.split(':').collect();
    let digits =
        |part: &str, most: usize| (1..=most).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    match parts[..] {
        [hour, minute] => digits(hour, 2) && digits(minute, 2),
        [hour, minute, second] => {
            let second = second.split(['.', ',']).collect::<Vec<_>>();
            digits(hour, 2) && digits(minute, 2) && second.len() <= 2 && second.iter().all(|part| digits(part, 9))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dialect_is_found() {
        let found = |text: &str| Dialect::of(text, false);
        let dialect = |separator, decimal_comma| Dialect { separator, decimal_comma };
        let byte = |byte: char, comma| dialect(Separator::Byte(byte as u8), comma);
        for (text, want) in [
            ("1,2\n3,4\n", byte(',', false)),
            ("1, 2, 3\n4, 5, 6\n", byte(',', false)),
            ("1;2\n3;4\n", byte(';', false)),
            ("1,5;2,5\n3,5;4,5\n", byte(';', true)),
            ("x;y\n1;2,5\n3;4\n", byte(';', true)),
            ("1,5\t2,5\n3,5\t4,5\n", byte('\t', true)),
            ("# c\n 1.0  2.0\n 3.0 4.0\n", dialect(Separator::Blanks, false)),
            ("1,5 2,5\n3,5 4,5\n", dialect(Separator::Blanks, true)),
            ("t;a\n2016-07-01 00:00:00;1,5\n2016-07-01 00:00:01;1,5\n", byte(';', true)),
            ("a b,1,2\nc d,3,4\n", byte(',', false)),
            ("x\n5\n6\n", byte(',', false)),
            ("1,2\n3\n", byte(',', false)),
        ] {
            assert_eq!(found(text), want, "{text:?}");
        }
        assert_eq!(Dialect::of("a\tb c\n1\t2\n", true), byte('\t', false));
    }

    #[test]
    fn dates_are_recognised() {
        for text in [
            "2016-07-01",
            "2016-07",
            "2016/7/1",
            "01.07.2016",
            "7/1/16",
            "2016-07-01 00:00:00",
            "2016-07-01T00:00:00.5Z",
            "2016-07-01 00:00:00 +0200",
            "2016-07-01 00:00:00+02:00",
            "12:30",
            "12:30:15",
            "7/1/2016 12:30 PM",
        ] {
            assert!(is_date(text), "{text}");
        }
        for text in
            ["", "dino", "1-2", "a-b-c", "12", "1.2.3.4", "2016-07-01 dino", "12:", "-", "1:2:3:4", "192.168.1.1"]
        {
            assert!(!is_date(text), "{text}");
        }
    }

    #[test]
    fn even_numbers_rise() {
        assert!(rise_evenly(&[0.0, 1.0]) && rise_evenly(&[400.0, 402.5, 405.0]) && rise_evenly(&[0.1, 0.2, 0.3, 0.4]));
        assert!(!rise_evenly(&[1.0, 2.0]) && !rise_evenly(&[3.0, 2.0, 1.0]) && !rise_evenly(&[1.0, 2.0, 4.0]));
    }
}
