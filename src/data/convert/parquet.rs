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

/// The values of a row group, which is in memory as a whole when it is written and read: 64 MiB of float32.
const GROUP: usize = 1 << 24;
/// The most rows of a row group.
const MOST_ROWS: usize = 1 << 18;

impl ArrayOfSamples<'_> {
    /// Writes a Parquet file, compressed with snappy: a table with a column for each value of a sample, or signals as a column
    /// `signal` of lists. A row group has up to 2^18 rows and 2^24 values. The file appears when it is complete.
    ///
    /// # Errors
    /// [`Error::Setting`] for other samples or element types than float32 and float64, and as [`ArrayOfSamples::save`].
    pub fn save_parquet(&self, path: &Path, written: &mut Written) -> Result<()> {
        let columns = self.columns(path)?;
        // Compressed or not, it is not much larger than its values.
        check_space(path, self.bytes())?;
        let mut failed = None;
        let mut file = AtomicFile::create(path)?;
        file.write(|out| {
            let mut writer = writer(&mut *out, self.data, columns).map_err(io::Error::other)?;
            if let Err(e) = self.write_groups(&mut writer, path, columns, written) {
                failed = Some(e);
                return Ok(());
            }
            writer.close().map_err(io::Error::other)?;
            out.flush()
        })?;
        match failed {
            Some(e) => Err(e),
            None => file.commit(),
        }
    }

    /// The columns of the file, or why there is none for these samples and this element type.
    fn columns(&self, path: &Path) -> Result<FileColumns> {
        let Self { data, element, .. } = *self;
        let refused = |what: String| Err(Error::setting(format!("{}: a Parquet file has {what}", path.display())));
        let is_list = match (data.kind(), &data.shape[..]) {
            (Kind::Table | Kind::Points, _) => false,
            (Kind::Signals, [_]) => true,
            (kind, shape) => return refused(format!("no {kind} of shape {shape:?}; write a .npy file")),
        };
        let wide = match element {
            ElementType::Float32 => false,
            ElementType::Float64 => true,
            other => {
                return refused(format!("float32 or float64 values, not {other}; write a .npy file, or omit --dtype"));
            }
        };
        Ok(FileColumns { is_list, wide })
    }

    /// Writes all samples in row groups.
    fn write_groups<W: Write + Send>(
        &self,
        writer: &mut SerializedFileWriter<W>,
        path: &Path,
        FileColumns { is_list, wide }: FileColumns,
        written: &mut Written,
    ) -> Result<()> {
        let (data, groups, len) = (self.data, self.data.grouping(), self.data.sample_len());
        for (first, values) in parts_of(data, 0..data.len(), GROUP.min(MOST_ROWS * len)) {
            let values = values?;
            let value = |i: usize| f64::from(values[i]) + data.columns.offset_of(groups.at(i));
            let group = writer.next_row_group().map_err(|e| unwritten(path, e))?;
            let samples = Samples { count: values.len() / len, len, is_list };
            match wide {
                true => write_group::<DoubleType, _>(group, samples, value),
                false => write_group::<FloatType, _>(group, samples, |i| value(i) as f32),
            }
            .map_err(|e| unwritten(path, e))?;
            written(first + samples.count)?;
        }
        Ok(())
    }
}

/// The columns of a file.
#[derive(Clone, Copy)]
struct FileColumns {
    /// One column of lists, or one of single values for each value of a sample.
    is_list: bool,
    /// float64, or float32.
    wide: bool,
}

/// A writer that compresses.
fn writer<W: Write + Send>(
    out: W,
    data: &Dataset,
    FileColumns { is_list, wide }: FileColumns,
) -> ParquetResult<SerializedFileWriter<W>> {
    // Few numbers repeat, so that a dictionary of them takes more space.
    let properties = WriterProperties::builder().set_dictionary_enabled(false);
    let properties = properties.set_compression(Compression::SNAPPY).build();
    SerializedFileWriter::new(out, schema(data, is_list, wide)?, Arc::new(properties))
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

/// The samples of a row group.
#[derive(Clone, Copy)]
struct Samples {
    count: usize,
    len: usize,
    is_list: bool,
}

/// Writes samples, of which `value` returns value i.
fn write_group<D: DataType, W: Write + Send>(
    mut group: SerializedRowGroupWriter<'_, W>,
    Samples { count, len, is_list }: Samples,
    value: impl Fn(usize) -> D::T,
) -> ParquetResult<()> {
    let mut index = 0;
    while let Some(mut column) = group.next_column()? {
        if is_list {
            let values: Vec<D::T> = (0..count * len).map(&value).collect();
            // A list begins where the level of repetition is 0.
            let repeated: Vec<i16> = (0..values.len()).map(|i| i16::from(i % len > 0)).collect();
            let defined = vec![1; values.len()];
            column.typed::<D>().write_batch(&values, Some(&defined), Some(&repeated))?;
        } else {
            let values: Vec<D::T> = (0..count).map(|row| value(row * len + index)).collect();
            column.typed::<D>().write_batch(&values, None, None)?;
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
    fn row_groups_have_many_rows() {
        use parquet::file::reader::{FileReader, SerializedFileReader};
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.parquet");
        let groups = |n: usize, len: usize| {
            let values = (0..n * len).map(|i| (i % 7) as f32).collect();
            let data = Dataset::new("d", [len], values).unwrap().of_kind(Kind::Table).unwrap();
            ArrayOfSamples::new(&data, None).unwrap().save_parquet(&path, &mut |_| Ok(())).unwrap();
            let reader = SerializedFileReader::new(std::fs::File::open(&path).unwrap()).unwrap();
            reader.metadata().row_groups().iter().map(|group| group.num_rows()).collect::<Vec<_>>()
        };
        assert_eq!(groups(2_000, 1_000), [2_000]);
        assert_eq!(groups(300_000, 3), [1 << 18, 300_000 - (1 << 18)]);
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
