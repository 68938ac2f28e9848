//! Parquet files: columns of numbers as a table, or a column of lists as signals.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use half::f16;
use parquet::basic::{ConvertedType, LogicalType, Type};
use parquet::column::reader::ColumnReader;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};
use parquet::schema::types::ColumnDescriptor;

use super::raw::{Raw, RawValues};
use super::{Kind, Origin, ReadOptions, images, open};
use crate::text::count;
use crate::{Error, Result};

/// What a column contains.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Content {
    /// Numbers that are divided by this power of ten; whether float32 holds them.
    Numbers {
        scale: i32,
        unsigned: bool,
        narrow: bool,
    },
    Text,
    Times,
    Other,
}

/// A column of single values or of lists.
#[derive(Clone, Debug)]
struct Field {
    /// Its number in the file, and its name.
    index: usize,
    name: String,
    is_list: bool,
    content: Content,
    levels: Levels,
}

/// The levels at which a value of a column is there.
#[derive(Clone, Copy, Debug)]
struct Levels {
    most: i16,
    /// Whether the level below the most is that of a missing element.
    optional: bool,
}

impl Field {
    fn of(index: usize, column: &ColumnDescriptor) -> Self {
        let parts = column.path().parts();
        let (is_list, nested) = (column.max_rep_level() == 1, column.max_rep_level() > 1);
        let name = if is_list { parts[0].clone() } else { parts.join(".") };
        let content = if nested { Content::Other } else { Content::of(column) };
        let levels = Levels { most: column.max_def_level(), optional: column.self_type().is_optional() };
        Self { index, name, is_list, content, levels }
    }

    fn is_numeric(&self) -> bool {
        matches!(self.content, Content::Numbers { .. })
    }
}

impl Content {
    fn of(column: &ColumnDescriptor) -> Self {
        let (logical, converted) = (column.logical_type_ref(), column.converted_type());
        let numbers = |narrow: bool| {
            let small = matches!(
                converted,
                ConvertedType::INT_8 | ConvertedType::INT_16 | ConvertedType::UINT_8 | ConvertedType::UINT_16
            );
            let unsigned = matches!(
                converted,
                ConvertedType::UINT_8 | ConvertedType::UINT_16 | ConvertedType::UINT_32 | ConvertedType::UINT_64
            ) || matches!(logical, Some(LogicalType::Integer(of)) if !of.is_signed);
            let scale = if converted == ConvertedType::DECIMAL { column.type_scale() } else { 0 };
            Self::Numbers { scale, unsigned, narrow: narrow || small }
        };
        match (column.physical_type(), logical) {
            (_, Some(LogicalType::Date | LogicalType::Time(_) | LogicalType::Timestamp(_))) => Self::Times,
            _ if matches!(
                converted,
                ConvertedType::DATE
                    | ConvertedType::TIME_MILLIS
                    | ConvertedType::TIME_MICROS
                    | ConvertedType::TIMESTAMP_MILLIS
                    | ConvertedType::TIMESTAMP_MICROS
            ) =>
            {
                Self::Times
            }
            (Type::INT96, _) => Self::Times,
            (Type::BOOLEAN | Type::FLOAT, _) => numbers(true),
            (Type::INT32 | Type::INT64 | Type::DOUBLE, _) => numbers(false),
            (Type::FIXED_LEN_BYTE_ARRAY, Some(LogicalType::Float16)) => numbers(true),
            (Type::BYTE_ARRAY, Some(LogicalType::String | LogicalType::Enum)) => Self::Text,
            (Type::BYTE_ARRAY, _) if converted == ConvertedType::UTF8 => Self::Text,
            _ => Self::Other,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Numbers { .. } => "numbers",
            Self::Text => "text",
            Self::Times => "dates or times",
            Self::Other => "values that are not numbers",
        }
    }
}

/// An open file.
struct File {
    name: String,
    reader: SerializedFileReader<std::fs::File>,
    fields: Vec<Field>,
}

impl File {
    fn open(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let reader = SerializedFileReader::new(open(path)?).map_err(|cause| damaged(&name, &cause))?;
        let columns = reader.metadata().file_metadata().schema_descr().columns();
        let fields = columns.iter().enumerate().map(|(i, column)| Field::of(i, column)).collect();
        Ok(Self { name, reader, fields })
    }

    /// The column that an option names, by its name or its number from 1.
    fn find(&self, wanted: &str) -> Result<&Field> {
        let by_name = self.fields.iter().find(|field| field.name == wanted);
        let number = wanted.parse::<usize>().ok().and_then(|number| self.fields.get(number.checked_sub(1)?));
        by_name.or(number).ok_or_else(|| {
            Error::setting(format!("{}: there is no column {wanted:?}; there are: {}", self.name, self.names()))
        })
    }

    fn names(&self) -> String {
        let names: Vec<&str> = self.fields.iter().take(40).map(|field| field.name.as_str()).collect();
        format!("{}{}", names.join(", "), if self.fields.len() > 40 { ", ..." } else { "" })
    }

    /// The columns to read. What is left out is noted.
    fn chosen(&self, options: &ReadOptions, origin: &mut Origin) -> Result<Vec<&Field>> {
        let dropped: Vec<usize> =
            options.drop_columns.iter().map(|name| Ok(self.find(name)?.index)).collect::<Result<_>>()?;
        let label = options.label.as_ref().filter(|_| options.columns.is_empty());
        let label = label.and_then(|name| self.find(name).ok()).map(|field| field.index);
        let left = |field: &&Field| !dropped.contains(&field.index) && Some(field.index) != label;
        if !options.columns.is_empty() {
            let wanted = options.columns.iter().map(|name| self.find(name)).collect::<Result<Vec<_>>>()?;
            return self.checked(wanted.into_iter().filter(left).collect());
        }
        if let Some(label) = label {
            let text =
                format!("column {} contains the labels and is not a value of the samples", self.fields[label].name);
            origin.choice(text, "--columns with its name reads it as a value, too");
        }
        let (numbers, others): (Vec<&Field>, Vec<&Field>) =
            self.fields.iter().filter(left).partition(|field| field.is_numeric());
        for field in others {
            origin.note(format!("column {} contains {} and is left out", field.name, field.content.name()));
        }
        let lists: Vec<&Field> = numbers.iter().filter(|field| field.is_list).copied().collect();
        if lists.is_empty() {
            return self.checked(numbers);
        }
        let names = |fields: Vec<&Field>| fields.into_iter().map(|field| field.name.clone()).collect::<Vec<_>>();
        if lists.len() > 1 {
            return Err(Error::setting(format!(
                "{}: the columns {} are lists, and each can be the samples; select one with --columns {}",
                self.name,
                names(lists.clone()).join(", "),
                lists[0].name
            )));
        }
        let rest = names(numbers.into_iter().filter(|field| !field.is_list).collect());
        if !rest.is_empty() {
            let text = format!(
                "each list of column {} is a sample; other columns are left out: {}",
                lists[0].name,
                images::some(&rest)
            );
            origin.choice(text, "--columns with their names");
        }
        self.checked(lists)
    }

    fn checked<'a>(&self, chosen: Vec<&'a Field>) -> Result<Vec<&'a Field>> {
        let refused = |text: String| Err(Error::setting(format!("{}: {text}", self.name)));
        match chosen.iter().find(|field| !field.is_numeric()) {
            Some(other) => refused(format!(
                "column {} contains {}; --columns names columns of numbers",
                other.name,
                other.content.name()
            )),
            None if chosen.is_empty() => {
                refused(format!("no column of numbers is left to read; there are: {}", self.names()))
            }
            None if chosen.len() > 1 && chosen.iter().any(|field| field.is_list) => refused(
                "a column of lists is read alone, or columns of single values together; name either with --columns"
                    .into(),
            ),
            None => Ok(chosen),
        }
    }

    /// The rows of all chosen columns, or the lists of one, one row group at a time. Returns the length of a row.
    fn values(&self, chosen: &[&Field]) -> Result<(RawValues, usize)> {
        let narrow = |field: &&Field| matches!(field.content, Content::Numbers { narrow: true, .. });
        let narrow = chosen.iter().all(narrow);
        let (mut singles, mut doubles): (Vec<f32>, Vec<f64>) = (Vec::new(), Vec::new());
        let mut width = if chosen[0].is_list { None } else { Some(chosen.len()) };
        let mut first = 0;
        for index in 0..self.reader.num_row_groups() {
            let group = self.reader.get_row_group(index).map_err(|cause| damaged(&self.name, &cause))?;
            let rows = group.metadata().num_rows().max(0) as usize;
            let read = |field: &Field| self.cells(&*group, field, rows, first);
            let part = match chosen {
                [list] if list.is_list => {
                    let lists = read(list)?;
                    self.check_lengths(list, &lists, first, &mut width)?;
                    lists.values
                }
                columns => {
                    let columns = columns.iter().map(|field| Ok(read(field)?.values)).collect::<Result<Vec<_>>>()?;
                    (0..rows).flat_map(|row| columns.iter().map(move |column| column[row])).collect()
                }
            };
            match narrow {
                true => singles.extend(part.iter().map(|&value| value as f32)),
                false => doubles.extend(part),
            }
            first += rows;
        }
        let values = if narrow { RawValues::F32(singles) } else { RawValues::F64(doubles) };
        Ok((values, width.unwrap_or(0)))
    }

    fn check_lengths(&self, field: &Field, lists: &Cells, first: usize, width: &mut Option<usize>) -> Result<()> {
        for (row, &len) in lists.lengths.iter().enumerate() {
            let expected = *width.get_or_insert(len);
            if len != expected || len == 0 {
                return Err(Error::input(format!(
                    "{}: row {} (counted from 0), column {}: a list of {}, but signals have one length, which is {expected} in row \
                     0; leave out other rows",
                    self.name,
                    first + row,
                    field.name,
                    count(len, "value")
                )));
            }
        }
        Ok(())
    }

    /// The numbers of a column in a row group. A missing one is NaN.
    fn cells(&self, group: &dyn RowGroupReader, field: &Field, rows: usize, first: usize) -> Result<Cells> {
        let Content::Numbers { scale, unsigned, .. } = field.content else { unreachable!("only numbers are chosen") };
        let column = group.get_column_reader(field.index).map_err(|cause| damaged(&self.name, &cause))?;
        let unit = 10f64.powi(scale);
        let (present, levels, found) = numbers(column, rows, unsigned).map_err(|cause| damaged(&self.name, &cause))?;
        let mut present = present.into_iter().map(|value| value / unit);
        if found != rows {
            return Err(damaged(&self.name, &format!("column {} ends after {} rows", field.name, first + found)));
        }
        let Levels { most, optional } = field.levels;
        let mut cells = Cells { values: Vec::with_capacity(rows), lengths: vec![] };
        let count = if most == 0 { present.len() } else { levels.defined.len() };
        for at in 0..count {
            if field.is_list && levels.repeated[at] == 0 {
                cells.lengths.push(0);
            }
            let level = levels.defined.get(at).copied().unwrap_or(most);
            let value = match level == most {
                true => present.next().unwrap_or(f64::NAN),
                false if field.is_list && !(optional && level == most - 1) => continue,
                false => f64::NAN,
            };
            cells.values.push(value);
            if let Some(len) = cells.lengths.last_mut() {
                *len += 1;
            }
        }
        Ok(cells)
    }

    /// The texts of a column of labels.
    fn texts(&self, field: &Field) -> Result<Vec<String>> {
        let mut texts = Vec::new();
        for index in 0..self.reader.num_row_groups() {
            let group = self.reader.get_row_group(index).map_err(|cause| damaged(&self.name, &cause))?;
            let rows = group.metadata().num_rows().max(0) as usize;
            if field.is_numeric() && !field.is_list {
                let cells = self.cells(&*group, field, rows, texts.len())?;
                texts.extend(cells.values.iter().map(|value| Some(value.to_string()).filter(|_| !value.is_nan())));
            } else if field.content == Content::Text && !field.is_list {
                let column = group.get_column_reader(field.index).map_err(|cause| damaged(&self.name, &cause))?;
                texts.extend(words(column, rows, field.levels.most).map_err(|cause| damaged(&self.name, &cause))?);
            } else {
                return Err(Error::input(format!(
                    "{}: column {} contains {}, and not the class of each row",
                    self.name,
                    field.name,
                    if field.is_list { "lists" } else { field.content.name() }
                )));
            }
        }
        let known = texts.into_iter().enumerate().map(|(row, text)| {
            text.ok_or_else(|| {
                Error::input(format!(
                    "{}: row {row} (counted from 0): column {} has no value, which is no class; leave out such rows",
                    self.name, field.name
                ))
            })
        });
        known.collect()
    }
}

/// The numbers of a column, and the lengths of its lists.
struct Cells {
    values: Vec<f64>,
    lengths: Vec<usize>,
}

/// Which values are there, and where lists begin.
#[derive(Default)]
struct FoundLevels {
    defined: Vec<i16>,
    repeated: Vec<i16>,
}

/// Reads all values of a column of a row group. Evaluates to the values, the levels, and the number of rows.
macro_rules! read_all {
    ($reader:expr, $rows:expr) => {{
        let (mut reader, mut levels, mut values, mut found) = ($reader, FoundLevels::default(), Vec::new(), 0);
        while found < $rows {
            let (rows, ..) = reader.read_records(
                $rows - found,
                Some(&mut levels.defined),
                Some(&mut levels.repeated),
                &mut values,
            )?;
            if rows == 0 {
                break;
            }
            found += rows;
        }
        (values, levels, found)
    }};
}

fn numbers(
    column: ColumnReader,
    rows: usize,
    unsigned: bool,
) -> std::result::Result<(Vec<f64>, FoundLevels, usize), ParquetError> {
    macro_rules! converted {
        ($reader:expr, $convert:expr) => {{
            let (values, levels, found) = read_all!($reader, rows);
            (values.into_iter().map($convert).collect(), levels, found)
        }};
    }
    Ok(match column {
        ColumnReader::BoolColumnReader(of) => converted!(of, |value| f64::from(u8::from(value))),
        ColumnReader::Int32ColumnReader(of) if unsigned => converted!(of, |value| f64::from(value as u32)),
        ColumnReader::Int32ColumnReader(of) => converted!(of, f64::from),
        ColumnReader::Int64ColumnReader(of) if unsigned => converted!(of, |value| value as u64 as f64),
        ColumnReader::Int64ColumnReader(of) => converted!(of, |value| value as f64),
        ColumnReader::FloatColumnReader(of) => converted!(of, f64::from),
        ColumnReader::DoubleColumnReader(of) => converted!(of, |value| value),
        ColumnReader::FixedLenByteArrayColumnReader(of) => converted!(of, |value| match *value.data() {
            [low, high] => f16::from_le_bytes([low, high]).to_f64(),
            _ => f64::NAN,
        }),
        _ => return Err(ParquetError::General("a column of another type than its description".into())),
    })
}

/// The texts of a column; `None` for missing ones.
fn words(column: ColumnReader, rows: usize, most: i16) -> std::result::Result<Vec<Option<String>>, ParquetError> {
    let ColumnReader::ByteArrayColumnReader(reader) = column else {
        return Err(ParquetError::General("a column of another type than its description".into()));
    };
    let (values, levels, _) = read_all!(reader, rows);
    let text = |value: ByteArray| String::from_utf8_lossy(value.data()).into_owned();
    let mut values = values.into_iter().map(text);
    Ok(match most {
        0 => values.map(Some).collect(),
        _ => levels.defined.iter().map(|&level| if level == most { values.next() } else { None }).collect(),
    })
}

fn damaged(name: &str, cause: &dyn std::fmt::Display) -> Error {
    Error::input(format!(
        "{name}: not a readable Parquet file ({cause}); write it again, with the compression snappy or zstd"
    ))
}

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic of the current thread is caught and reported as an error: a damaged file.
#[cfg(feature = "cli")]
pub(crate) fn catches_panics() -> bool {
    GUARDED.get()
}

/// Reads a file. The crate panics about some of the numbers in damaged ones.
fn guarded<T>(path: &Path, read: impl FnOnce() -> Result<T>) -> Result<T> {
    GUARDED.set(true);
    let result = catch_unwind(AssertUnwindSafe(read));
    GUARDED.set(false);
    result.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Err(damaged(&path.display().to_string(), &text.unwrap_or("damaged numbers")))
    })
}

/// Reads a file: its columns of numbers, or its column of lists of numbers.
///
/// # Errors
/// When it cannot be read, there is no such column, or lists have different lengths.
pub(super) fn read(path: &Path, options: &ReadOptions) -> Result<Raw> {
    guarded(path, || read_unguarded(path, options))
}

fn read_unguarded(path: &Path, options: &ReadOptions) -> Result<Raw> {
    let file = File::open(path)?;
    let mut origin = Origin::new("Parquet", "");
    let chosen = file.chosen(options, &mut origin)?;
    let (values, width) = file.values(&chosen)?;
    let is_list = chosen[0].is_list;
    origin.format = if is_list { "Parquet file, a list per sample" } else { "Parquet table" }.to_string();
    origin.element =
        if matches!(values, RawValues::F32(_)) { "float32 or less" } else { "float64 or integers" }.to_string();
    let dims = vec![values.len() / width.max(1), width];
    let suggested = match is_list {
        true => Some((Kind::Signals, String::new())),
        false if chosen.len() > 2 => Some((Kind::Table, "because the columns have names".to_string())),
        false => None,
    };
    let names = if is_list { vec![] } else { chosen.iter().map(|field| field.name.clone()).collect() };
    Ok(Raw { names, suggested, ..Raw::new(&file.name, origin, dims, values) })
}

/// The classes in a column, given by its name or its number from 1; `None` if the file has only one.
///
/// # Errors
/// When one is missing.
pub(super) fn texts(path: &Path, column: Option<&str>) -> Result<Vec<String>> {
    guarded(path, || texts_unguarded(path, column))
}

fn texts_unguarded(path: &Path, column: Option<&str>) -> Result<Vec<String>> {
    let file = File::open(path)?;
    let field = match (column, &file.fields[..]) {
        (Some(name), _) => file.find(name)?,
        (None, [only]) => only,
        (None, fields) => {
            return Err(Error::input(format!(
                "{}: the file has {}; name the one with the labels, such as {0}:{}",
                file.name,
                count(fields.len(), "column"),
                fields.last().map_or("", |field| &field.name)
            )));
        }
    };
    file.texts(field)
}

#[cfg(test)]
mod tests;
