//! Samples as a Parquet file.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use parquet::basic::{Compression, ConvertedType, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{DataType, DoubleType, FloatType};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{Type, TypePtr};

use super::{ArrayOfSamples, ElementType, Written, parts_of};
use crate::data::{Dataset, Kind};
use crate::io::{AtomicFile, check_space};
use crate::{Error, Result};

impl ArrayOfSamples<'_> {
    /// Writes a Parquet file, compressed with snappy: a table with a column for each value of a sample, or signals as a column
    /// `signal` of lists. It appears when it is complete.
    ///
    /// # Errors
    /// [`Error::Setting`] for other samples or element types than float32 and float64, and as [`ArrayOfSamples::save`].
    pub fn save_parquet(&self, path: &Path, written: &mut Written) -> Result<()> {
        let Self { data, element, .. } = *self;
        let is_list = match (data.kind(), &data.shape[..]) {
            (Kind::Table | Kind::Points, _) => false,
            (Kind::Signals, [_]) => true,
            (kind, shape) => {
                return Err(Error::setting(format!(
                    "{}: a Parquet file has no {kind} of shape {shape:?}; write a .npy file",
                    path.display()
                )));
            }
        };
        let wide = match element {
            ElementType::Float32 => false,
            ElementType::Float64 => true,
            other => {
                return Err(Error::setting(format!(
                    "{}: a Parquet file has float32 or float64 values, not {other}; write a .npy file, or omit --dtype",
                    path.display()
                )));
            }
        };
        // Compressed or not, it is not much larger than its values.
        check_space(path, self.bytes())?;
        let mut failed = None;
        let mut file = AtomicFile::create(path)?;
        file.write(|out| {
            let schema = schema(data, is_list, wide).map_err(io::Error::other)?;
            // Few numbers repeat, so that a dictionary of them takes more space.
            let properties = WriterProperties::builder().set_dictionary_enabled(false);
            let properties = properties.set_compression(Compression::SNAPPY).build();
            let mut writer =
                SerializedFileWriter::new(&mut *out, schema, Arc::new(properties)).map_err(io::Error::other)?;
            for (first, values) in parts_of(data, 0..data.len()) {
                let part = || -> Result<()> {
                    let values = values?;
                    let group = writer.next_row_group().map_err(|e| unwritten(path, e))?;
                    let unit =
                        |(i, value): (usize, &f32)| f64::from(*value) + data.columns.offset_of(data.grouping().at(i));
                    let values: Vec<f64> = values.iter().enumerate().map(unit).collect();
                    let len = data.sample_len();
                    match wide {
                        true => write_group::<DoubleType, _>(group, &values, len, is_list, |value| value),
                        false => write_group::<FloatType, _>(group, &values, len, is_list, |value| value as f32),
                    }
                    .map_err(|e| unwritten(path, e))?;
                    written(first + values.len() / len)
                };
                if let Err(e) = part() {
                    failed = Some(e);
                    return Ok(());
                }
            }
            writer.close().map_err(io::Error::other)?;
            out.flush()
        })?;
        match failed {
            Some(e) => Err(e),
            None => file.commit(),
        }
    }
}

fn unwritten(path: &Path, cause: ParquetError) -> Error {
    let cause = match cause {
        ParquetError::External(cause) => match cause.downcast::<io::Error>() {
            Ok(cause) => *cause,
            Err(cause) => io::Error::other(cause),
        },
        other => io::Error::other(other),
    };
    Error::io("cannot write", path, cause)
}

/// The names of the values of a sample.
fn names(data: &Dataset) -> Vec<String> {
    let len = data.sample_len();
    match (&data.columns.names, len) {
        (names, _) if names.len() == len => names.clone(),
        (_, 2) => ["x", "y"].map(String::from).to_vec(),
        _ => (0..len).map(|i| format!("x{i}")).collect(),
    }
}

fn schema(data: &Dataset, is_list: bool, wide: bool) -> ParquetResult<TypePtr> {
    let physical = if wide { Physical::DOUBLE } else { Physical::FLOAT };
    let value = |name: &str| {
        Type::primitive_type_builder(name, physical).with_repetition(Repetition::REQUIRED).build().map(Arc::new)
    };
    let fields = if is_list {
        let list = Type::group_type_builder("list").with_repetition(Repetition::REPEATED);
        let list = list.with_fields(vec![value("element")?]).build()?;
        let signal = Type::group_type_builder("signal").with_repetition(Repetition::REQUIRED);
        let signal = signal.with_logical_type(Some(LogicalType::List)).with_converted_type(ConvertedType::LIST);
        vec![Arc::new(signal.with_fields(vec![Arc::new(list)]).build()?)]
    } else {
        names(data).iter().map(|name| value(name)).collect::<ParquetResult<Vec<_>>>()?
    };
    Ok(Arc::new(Type::group_type_builder("schema").with_fields(fields).build()?))
}

/// Writes samples of `len` values.
fn write_group<D: DataType, W: Write + Send>(
    mut group: SerializedRowGroupWriter<'_, W>,
    values: &[f64],
    len: usize,
    is_list: bool,
    convert: impl Fn(f64) -> D::T,
) -> ParquetResult<()> {
    let mut index = 0;
    while let Some(mut column) = group.next_column()? {
        let of_column = values.iter().skip(index).step_by(if is_list { 1 } else { len });
        let of_column: Vec<D::T> = of_column.map(|&value| convert(value)).collect();
        if is_list {
            // A list begins where the level of repetition is 0.
            let repeated: Vec<i16> = (0..of_column.len()).map(|i| i16::from(i % len > 0)).collect();
            let defined = vec![1; of_column.len()];
            column.typed::<D>().write_batch(&of_column, Some(&defined), Some(&repeated))?;
        } else {
            column.typed::<D>().write_batch(&of_column, None, None)?;
        }
        column.close()?;
        index += 1;
    }
    group.close().map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Normalisation, ReadOptions};

    /// More samples than are written at a time, with the names of their columns, and values that need float64.
    #[test]
    fn tables_and_signals_are_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let table = dir.path().join("t.csv");
        let row = |i: usize| format!("{},{},{}\n", 1.7e9 + 0.25 * i as f64, i * 7 % 13, 0.1 * i as f64);
        std::fs::write(&table, format!("time,\"a, b\",n\n{}", (0..100_000).map(row).collect::<String>())).unwrap();
        let read = |path: &Path, kind| {
            let options = ReadOptions { kind: Some(kind), ..ReadOptions::default() };
            Dataset::load_with(path.to_str().unwrap(), 0, &options).unwrap()
        };
        let short = dir.path().join("w.csv");
        std::fs::write(&short, "n,m\n1,2\n3,5\n").unwrap();
        let wave = Dataset::load("sine", 0).unwrap();
        let of = |data: &Dataset| {
            let path = dir.path().join("a.parquet");
            let mut done = 0;
            let mut written = |n: usize| {
                done = n;
                Ok(())
            };
            ArrayOfSamples::new(data, None).unwrap().save_parquet(&path, &mut written).unwrap();
            assert_eq!(done, data.len());
            let again = read(&path, data.kind());
            assert!(again.values == data.values && again.shape == data.shape);
            assert_eq!((&again.columns.names, &again.columns.offset), (&data.columns.names, &data.columns.offset));
            assert_eq!(Normalisation::standard(&again).unwrap(), Normalisation::standard(data).unwrap());
        };
        [read(&table, Kind::Table), read(&short, Kind::Points), wave].iter().for_each(of);
    }

    #[test]
    fn other_samples_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.parquet");
        let refused = |shape: &[usize], element| {
            let values = (0..16).map(|i| i as f32).collect::<Vec<f32>>();
            let data = Dataset::new("d", shape, values).unwrap();
            let array = ArrayOfSamples::new(&data, element).unwrap();
            array.save_parquet(&path, &mut |_| Ok(())).unwrap_err().to_string()
        };
        assert!(refused(&[1, 2, 2], None).contains("no images of shape [1, 2, 2]"));
        assert!(refused(&[2, 4], None).contains("no signals of shape [2, 4]"));
        assert!(refused(&[4], Some(ElementType::Uint8)).contains("not uint8; write a .npy file"));
        let data = Dataset::load("sine[0:4]", 0).unwrap();
        let stop = &mut |_: usize| Err(Error::Interrupted("stopped".into()));
        assert!(matches!(
            ArrayOfSamples::new(&data, None).unwrap().save_parquet(&path, stop),
            Err(Error::Interrupted(_))
        ));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
