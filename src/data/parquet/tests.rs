use super::super::{Dataset, Labels, Missing};
use super::*;

/// Files that pyarrow wrote, see tests/data/parquet.py.
fn sample(name: &str) -> String {
    format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn refused(spec: &str, options: &ReadOptions) -> String {
    Dataset::load_with(spec, 0, options).unwrap_err().to_string()
}

#[test]
fn tables_of_pyarrow_are_read() {
    let (table, labels) = (sample("table.parquet"), sample("table.parquet:species"));
    let message = refused(&table, &ReadOptions::default());
    assert!(message.contains("1 missing value") && message.contains("column half"), "{message}");
    let options = ReadOptions { missing: Some(Missing::Drop), ..ReadOptions::default() };
    let data = Dataset::load_with(&table, 0, &options).unwrap();
    assert_eq!((data.kind(), data.len()), (Kind::Table, 29));
    assert_eq!(data.columns.names, ["time", "count", "large", "half", "flag", "code"]);
    let value = |row: usize, column: usize| f64::from(data.sample(row)[column]) + data.columns.offset_of(column);
    // Row 7 is left out; rows 12 and 24 begin a row group.
    for (row, i) in [(0, 0.0), (6, 6.0), (7, 8.0), (11, 12.0), (28, 29.0)] {
        let want = [1.7e9 + 0.25 * i, i * i, 4e9 + i, 0.5 * i, f64::from(i % 3.0 == 0.0), i % 2.0];
        assert_eq!([0, 1, 2, 3, 4, 5].map(|column| value(row, column)), want, "row {row}");
    }
    let text = data.describe().to_string();
    assert!(text.contains("column day contains dates or times and is left out"), "{text}");
    assert!(text.contains("column species contains text and is left out"), "{text}");
    let data = Dataset::load_with(&table, 0, &options.for_labels(&table, &labels)).unwrap();
    let data = data.with_labels(Labels::load(&labels).unwrap()).unwrap();
    let classes = data.conditions().labels.as_ref().unwrap();
    assert_eq!((classes.names.join(" "), &classes.of[5..9]), ("ant bee cat".into(), &[2, 0, 2, 0][..]));
    let codes = Labels::load(&sample("table.parquet:code")).unwrap();
    assert_eq!((&codes.of[..3], codes.names.len()), (&[0, 1, 0][..], 0));
    let some = ReadOptions { columns: vec!["code".into(), "2".into()], ..ReadOptions::default() };
    let some = Dataset::load_with(&table, 0, &some.for_labels(&table, &sample("table.parquet:code"))).unwrap();
    assert_eq!((some.kind(), some.columns.names.join(" ")), (Kind::Points, "code time".into()));
    for (columns, cause) in [
        ("species", "contains text; --columns names columns of numbers"),
        ("colour", "there are: day, time, count"),
        ("9", "there is no column \"9\""),
    ] {
        let message = refused(&table, &ReadOptions { columns: vec![columns.into()], ..ReadOptions::default() });
        assert!(message.contains(cause), "{message}");
    }
    assert!(Labels::load(&table).unwrap_err().to_string().contains("name the one with the labels"));
    assert!(Labels::load(&sample("table.parquet:half")).unwrap_err().to_string().contains("row 7"));
    let header = ReadOptions { categories: vec!["code".into()], ..ReadOptions::default() };
    assert!(refused(&table, &header).contains("--categories has no effect on Parquet files"));
}

#[test]
fn lists_of_pyarrow_are_signals() {
    let data = Dataset::load(&sample("signals.parquet"), 0).unwrap();
    assert_eq!((data.kind(), &data.shape[..], data.len()), (Kind::Signals, &[8][..], 30));
    for row in [0, 7, 8, 29] {
        let want: Vec<f32> = (0..8).map(|k| row as f32 + 0.125 * k as f32).collect();
        assert_eq!(data.sample(row), want);
    }
    let text = data.describe().to_string();
    assert!(text.contains("each list of column wave is a sample; other columns are left out: id, class"), "{text}");
    let classes = Labels::load(&sample("signals.parquet:class")).unwrap();
    assert_eq!((classes.classes, classes.of[29]), (3, 2));
    let both = ReadOptions { columns: vec!["id".into(), "wave".into()], ..ReadOptions::default() };
    assert!(refused(&sample("signals.parquet"), &both).contains("a column of lists is read alone"));
}

#[test]
fn decimals_are_the_nearest_numbers() {
    use parquet::{data_type::Int32Type, file::writer::SerializedFileWriter, schema::parser::parse_message_type};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    let schema = parse_message_type("message m { REQUIRED INT32 price (DECIMAL(5, 1)); }").unwrap();
    let file = std::fs::File::create(&path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema.into(), Default::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<Int32Type>().write_batch(&[3, 7, 3], None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    let labels = Labels::load(&format!("{}:price", path.display())).unwrap();
    assert_eq!((labels.names.join(" "), labels.of), ("0.3 0.7".into(), vec![0, 1, 0]));
}

#[test]
fn several_files_are_one_table() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["1.parquet", "2.parquet"] {
        std::fs::copy(sample("signals.parquet"), dir.path().join(name)).unwrap();
    }
    assert_eq!(Dataset::load(dir.path().join("*.parquet").to_str().unwrap(), 0).unwrap().len(), 60);
    let labels = Labels::load(&format!("{}/*.parquet:class", dir.path().display())).unwrap();
    assert_eq!(labels.of.len(), 60);
}

/// Damaged files give an error or data, but no panic.
#[test]
fn damaged_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    let good = std::fs::read(sample("table.parquet")).unwrap();
    for cut in [8, 100, good.len() / 2, good.len() - 1] {
        std::fs::write(&path, &good[..cut]).unwrap();
        assert!(refused(path.to_str().unwrap(), &ReadOptions::default()).contains("not a readable Parquet file"));
    }
    for at in (4..good.len()).step_by(37) {
        let mut bytes = good.clone();
        bytes[at] ^= 0x55;
        std::fs::write(&path, &bytes).unwrap();
        let _ = Dataset::load(path.to_str().unwrap(), 0);
    }
}
