use super::super::tests::{refusal, save};
use super::super::{Dataset, Missing};
use super::*;

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
        assert_eq!((data.shape, data.values.to_vec()), (vec![2], vec![1.0, 2.0, 3.0, 0.4]), "{text:?}");
    }
}

#[test]
fn groups_are_selected_by_name() {
    let dino = load("a.tsv", GROUPS, ":dino").unwrap();
    assert_eq!((dino.shape.clone(), dino.values.to_vec()), (vec![2], vec![1.0, 2.0, 5.0, 6.0]));
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
        ("7", "row 7 (line 8) has 1 column, but 2 were expected"),
        ("7,8,9", "has 3 columns"),
        ("7,", "row 7 (line 8), column 2 (y): \"\" is missing (1 missing value in 1 of 8 rows); --missing drop"),
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
    assert!(load("a.csv", "1,2\n3", "").unwrap_err().to_string().contains("row 2 (line 2) has 1 column,"));
}

#[test]
fn csv_round_trip() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.csv");
    let values = vec![0.1, -2.5e-12, 3e20, 4.0, f32::MIN_POSITIVE, 1.0 / 3.0];
    for shape in [[2], [3]] {
        save(&path, &shape, &values).unwrap();
        let back = Dataset::load(path.to_str().unwrap(), 0).unwrap();
        assert_eq!((back.shape, back.values.to_vec()), (shape.to_vec(), values.clone()));
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
        assert_eq!((data.len(), data.columns.names.iter().map(String::as_str).collect()), (rows, names), "{text:?}");
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
    let message = with("x,y\n1,a\n2,4\n3,2\n", ReadOptions::default()).unwrap_err().to_string();
    assert!(message.contains("column 2 (y): \"a\" is not a number; repair it"), "{message}");
}

#[test]
fn columns_are_chosen_by_name_or_number() {
    let text = "a,b,c,d\n1,2,3,x\n4,5,6,y\n";
    let read = |columns: &[&str], drop: &[&str]| {
        let own = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();
        with(text, ReadOptions { columns: own(columns), drop_columns: own(drop), ..ReadOptions::default() })
    };
    let data = read(&["c", "1"], &[]).unwrap();
    assert_eq!((data.columns.names, data.values.to_vec()), (vec!["c".into(), "a".into()], vec![3.0, 1.0, 6.0, 4.0]));
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

/// 12 rows: a number, two columns of text with three and two values, and names that differ.
fn mixed() -> String {
    let row = |i: usize| format!("{}.5,{},{},n{i}\n", i, ["Ulm", "Bonn", "Köln"][i % 3], ["yes", "no"][i % 2]);
    "age,city,ok,who\n".to_string() + &(0..12).map(row).collect::<String>()
}

#[test]
fn columns_of_categories_become_values() {
    let data = with(&mixed(), ReadOptions::default()).unwrap();
    assert_eq!((data.kind(), &data.shape[..]), (Kind::Table, &[6][..]));
    assert_eq!(data.columns.names, ["age", "city=Bonn", "city=Köln", "city=Ulm", "ok=no", "ok=yes"]);
    assert_eq!(data.sample(1), [1.5, 1.0, 0.0, 0.0, 1.0, 0.0]);
    let [city, ok] = &data.columns.categories[..] else { panic!() };
    assert_eq!((city.name.as_str(), city.first, ok.first, ok.values.len()), ("city", 1, 4, 2));
    for words in [
        "column 2 (city) is text with 3 categories (Bonn, Köln, Ulm) (otherwise: --drop-columns city)",
        "column 4 (who) is text with 12 different values and is left out",
        "because it has columns of categories (otherwise: --kind signals leaves them out)",
    ] {
        assert!(notes(&data).contains(words), "no {words:?} in: {}", notes(&data));
    }
    let read = |options| with(&mixed(), options);
    let columns = |names: &[&str]| ReadOptions {
        columns: names.iter().map(|name| name.to_string()).collect(),
        ..ReadOptions::default()
    };
    assert_eq!(read(columns(&["ok", "age"])).unwrap().columns.names, ["ok=no", "ok=yes", "age"]);
    assert_eq!(read(columns(&["age", "who"])).unwrap().shape, [13]);
    let signals = ReadOptions { kind: Some(Kind::Signals), ..columns(&["city", "age"]) };
    assert!(read(signals).unwrap_err().to_string().contains("omit it from --columns"));
    let signals = ReadOptions { kind: Some(Kind::Signals), ..ReadOptions::default() };
    assert!(read(signals).unwrap_err().to_string().contains("one column"));
    // More than a hundred texts are no categories.
    let long: String = (0..300).map(|i| format!("{i}.5,t{}\n", i % 120)).collect();
    let data =
        with(&format!("a,b\n{long}"), ReadOptions { kind: Some(Kind::Table), ..ReadOptions::default() }).unwrap();
    assert!(data.shape == [1] && notes(&data).contains("more than 100 different values"), "{}", notes(&data));
    assert!(with(&format!("a,b\n{long}"), columns(&["a", "b"])).unwrap_err().to_string().contains("more than 100"));
    // Points with a label are a table with categories, or points.
    let points: String = (0..8).map(|i| format!("{i}.5,{}.5,{}\n", i * 3 % 8, ["a", "b"][i % 2])).collect();
    let points = format!("x,y,label\n{points}");
    assert_eq!(with(&points, ReadOptions::default()).unwrap().shape, [4]);
    let asked = ReadOptions { kind: Some(Kind::Points), ..ReadOptions::default() };
    assert_eq!(with(&points, asked).unwrap().shape, [2]);
}

#[test]
fn a_first_column_of_text_is_groups_or_categories() {
    let rows = |i: usize| format!("{},{i},{}.5\n", ["a", "b"][i % 2], i * i);
    let text = "g,x,y\n".to_string() + &(0..8).map(rows).collect::<String>();
    let message = with(&text, ReadOptions::default()).unwrap_err().to_string();
    assert!(message.contains("2 groups") && message.contains("--kind table as a column of categories"), "{message}");
    let table = with(&text, ReadOptions { kind: Some(Kind::Table), ..ReadOptions::default() }).unwrap();
    assert_eq!(
        (table.shape.clone(), &table.columns.names[..2]),
        (vec![4], &["g=a".to_string(), "g=b".to_string()][..])
    );
    let named = ReadOptions { columns: vec!["x".into(), "g".into()], ..ReadOptions::default() };
    assert_eq!(with(&text, named).unwrap().shape, [3]);
    let dropped = ReadOptions { drop_columns: vec!["g".into()], ..ReadOptions::default() };
    assert_eq!(with(&text, dropped).unwrap().shape, [2]);
    // Beside another column of categories, it is one, too.
    let rows = |i: usize| format!("{},{i},{}\n", ["a", "b"][i % 2], ["c", "d"][i / 2 % 2]);
    let text = "g,x,h\n".to_string() + &(0..8).map(rows).collect::<String>();
    assert_eq!(with(&text, ReadOptions::default()).unwrap().shape, [5]);
    assert_eq!(load("a.csv", &text, ":a").unwrap().shape, [3]);
}

#[test]
fn missing_categories_are_left_out_or_filled() {
    let rows = |i: usize| format!("{i},{}\n", ["b", "a", "b", "", "b"][i % 5]);
    let text = "x,c\n".to_string() + &(0..10).map(rows).collect::<String>();
    let read = |missing| with(&text, ReadOptions { missing, ..ReadOptions::default() });
    let message = read(None).unwrap_err().to_string();
    assert!(message.contains("row 4 (line 5), column 2 (c): \"\" is missing (2 missing values in 2 of 10 rows)"));
    assert_eq!(read(Some(Missing::Drop)).unwrap().len(), 8);
    let filled = read(Some(Missing::Mean)).unwrap();
    assert_eq!((filled.len(), filled.sample(3)), (10, &[3.0, 0.0, 1.0][..]));
    let words = "2 missing values of column 2 (c) are replaced by its most frequent category, b";
    assert!(notes(&filled).contains(words), "{}", notes(&filled));
}

/// Samples without some of the categories of the data have their shape.
#[test]
fn categories_are_those_of_the_data() {
    let dir = tempfile::tempdir().unwrap();
    let [all, some, other] = ["all", "some", "other"].map(|name| dir.path().join(name).with_extension("csv"));
    let rows =
        |of: &[&str]| "x,c\n".to_string() + &(0..9).map(|i| format!("{i},{}\n", of[i % of.len()])).collect::<String>();
    fs::write(&all, rows(&["a", "b", "c"])).unwrap();
    fs::write(&some, rows(&["c", "a"])).unwrap();
    fs::write(&other, rows(&["a", "d"])).unwrap();
    let data = Dataset::load(all.to_str().unwrap(), 0).unwrap();
    let like = |path: &Path| Dataset::load_like(path.to_str().unwrap(), 0, &ReadOptions::default(), &data);
    let found = like(&some).unwrap();
    assert_eq!(
        (found.shape.clone(), found.sample(0), &found.columns),
        (vec![4], &[0.0, 0.0, 0.0, 1.0][..], &data.columns)
    );
    let twice = |of: [&str; 2]| {
        "c,c\n".to_string() + &(0..8).map(|i| format!("{},{}\n", ["a", "b"][i % 2], of[i / 4])).collect::<String>()
    };
    fs::write(&other, twice(["p", "q"])).unwrap();
    let same = Dataset::load(other.to_str().unwrap(), 0).unwrap();
    let options = ReadOptions::default();
    assert_eq!(Dataset::load_like(other.to_str().unwrap(), 0, &options, &same).unwrap().values, same.values);
    fs::write(&other, rows(&["a", "d"])).unwrap();
    let message = like(&other).unwrap_err().to_string();
    assert!(message.contains("\"d\" is not among the categories of the other data: a, b, c"), "{message}");
}

#[test]
fn missing_values_of_a_table_are_left_out_or_filled() {
    let text = "a,b\n1,2\nNA,4\n3,?\n5,6\n";
    let read = |missing| with(text, ReadOptions { missing, ..ReadOptions::default() });
    let message = read(None).unwrap_err().to_string();
    assert!(message.contains("2 missing values in 2 of 4 rows"), "{message}");
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

#[test]
fn numeric_codes_are_categories_on_request() {
    let text: String = "code,v\n"
        .chars()
        .chain((0..12).flat_map(|i| format!("{},{}.5\n", [10, 2, 1][i % 3], i).chars().collect::<Vec<_>>()))
        .collect();
    let options = || ReadOptions { categories: vec!["code".into()], ..ReadOptions::default() };
    let data = with(&text, options()).unwrap();
    assert_eq!((data.kind(), &data.shape[..], data.sample(0)), (Kind::Table, &[4][..], &[0.0, 0.0, 1.0, 0.5][..]));
    assert_eq!(data.columns.categories[0].values, ["1", "2", "10"], "in the order of the numbers");
    assert!(
        notes(&data).contains("column 1 (code) is read as numeric codes of 3 categories (1, 2, 10)"),
        "{}",
        notes(&data)
    );
    let chosen = ReadOptions { columns: vec!["v".into(), "code".into()], ..options() };
    assert_eq!(with(&text, chosen).unwrap().sample(0), [0.5, 0.0, 0.0, 1.0]);
    // Other data of the same columns keep the categories, and generated tables have the codes.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("b.csv");
    let mut file = crate::data::SampleFile::create(&path, data.layout(), 12).unwrap().unwrap();
    file.write(&data.values).unwrap();
    file.finish().unwrap();
    assert!(fs::read_to_string(&path).unwrap().starts_with("code,v\n10,0.5\n2,1.5\n"));
    let back = Dataset::load_like(path.to_str().unwrap(), 0, &ReadOptions::default(), &data).unwrap();
    assert_eq!((back.values, back.columns), (data.values.clone(), data.columns.clone()));
    for (options, cause) in [
        (ReadOptions { kind: Some(Kind::Signals), ..options() }, "column 1 (code) cannot be read here"),
        (ReadOptions { categories: vec!["x".into()], ..options() }, "no column \"x\""),
    ] {
        let message = with(&text, options).unwrap_err().to_string();
        assert!(message.contains(cause), "{message}");
    }
}

#[test]
fn the_column_of_labels_is_not_a_value() {
    let text: String =
        (0..12).fold("species,a,b,c\n".into(), |text, i| format!("{text}{},{i},{},1.5\n", ["x", "y"][i % 2], i * i));
    let read = |columns: &[&str]| {
        let columns = columns.iter().map(|name| name.to_string()).collect();
        with(&text, ReadOptions { label: Some("species".into()), columns, ..ReadOptions::default() }).unwrap()
    };
    let data = read(&[]);
    assert_eq!((&data.shape[..], &data.columns.names[..]), (&[3][..], &["a".to_string(), "b".into(), "c".into()][..]));
    assert!(notes(&data).contains("column 1 (species) contains the labels"), "{}", notes(&data));
    assert_eq!(read(&["species", "a"]).shape, [3], "two categories and a number");
}

#[test]
fn rows_that_are_read_are_known() {
    let kept = |data: Dataset| data.origin.kept.map(|kept| (kept.of, kept.rows));
    assert_eq!(kept(load("a.tsv", GROUPS, ":dino").unwrap()), Some((3, vec![0, 2])));
    assert_eq!(kept(load("a.tsv", GROUPS, ":dino[1:2]").unwrap()), Some((3, vec![2])));
    assert_eq!(kept(load("a.csv", "1,2\n3,4\n", "").unwrap()), None);
    let options = ReadOptions { missing: Some(Missing::Drop), ..ReadOptions::default() };
    assert_eq!(kept(with("x,y\n1,2\n,3\n4,5\n", options.clone()).unwrap()), Some((3, vec![0, 2])));
    assert!(notes(&with("x,y\n1,2\n3,4\n", options).unwrap()).contains("--missing changes nothing"));
}

#[test]
fn an_index_is_read_with_the_columns_that_can_be_read() {
    let data =
        with(",day,a,b\n0,2020-01-01,5,1\n1,2020-01-02,6,3\n2,2020-01-03,4,9\n", ReadOptions::default()).unwrap();
    assert!(notes(&data).contains("--columns 1,a,b"), "{}", notes(&data));
}

#[test]
fn columns_are_compared_by_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let rows = |header: &str, row: &dyn Fn(usize) -> String| {
        (0..12).fold(format!("{header}\n"), |text, i| format!("{text}{}\n", row(i)))
    };
    let word = |i: usize| ["cat", "dog"][i % 2];
    fs::write(path("a.csv"), rows("height,animal,weight", &|i| format!("{i}.5,{},{}.25", word(i), 10 * i))).unwrap();
    fs::write(path("b.csv"), rows("note,weight,height,animal", &|i| format!("x,{0},{0},{1}", 10 * i, word(i))))
        .unwrap();
    let options = ReadOptions { kind: Some(Kind::Table), ..ReadOptions::default() };
    let data = Dataset::load_with(&path("a.csv"), 0, &options).unwrap();
    let other = Dataset::load_like(&path("b.csv"), 0, &options, &data).unwrap();
    assert_eq!((&other.shape, &other.columns.names), (&data.shape, &data.columns.names));
    assert_eq!(other.values[..8], [0.0, 1.0, 0.0, 0.0, 10.0, 0.0, 1.0, 10.0]);
    let said = other.describe().to_string();
    assert!(said.contains("by their names") && said.contains("(note), which is left out"), "{said}");
    // Whole numbers by chance are no property of the data.
    assert_eq!(other.columns.whole, data.columns.whole);
    // Columns with other names are taken in their order.
    fs::write(path("c.csv"), rows("a,b,c", &|i| format!("{i}.5,{},7", word(i)))).unwrap();
    assert_eq!(Dataset::load_like(&path("c.csv"), 0, &options, &data).unwrap().values[..4], [0.5, 1.0, 0.0, 7.0]);
}
