//! Several files as one data set.

use std::fs;
use std::path::{Path, PathBuf};

use super::array::ArrayLayout;
use super::description::Kept;
use super::options::Source;
use super::raw::{Raw, RawValues};
use super::source::{Request, read_layout, read_raw};
use super::{Categories, Columns, Dataset, Note, Place, ReadOptions, images};
use crate::text::count;
use crate::{Error, Result};

/// The number of files whose own notes are shown.
const MOST_NOTED: usize = 4;

/// Reads files that contain samples of one shape, in their order. `part` is the group of each table or the array of each
/// archive. Kind, offsets and means are those of all samples together; only recordings are cut into windows one by one.
pub(super) fn read(spec: &str, files: &[PathBuf], part: Option<&str>, request: &mut Request) -> Result<Dataset> {
    if part.is_none() && files.iter().all(|file| images::is_picture(file)) {
        let options = (request.choose)(spec, Source::Pictures)?;
        return images::read_files(spec, files, &options, request.range.take());
    }
    let Request { choose, known, whole, range } = request;
    let mut decided = None;
    let mut placed = |name: &str, source| {
        let options = choose(name, source)?;
        if (options.place, source) != (Some(Place::Auto), Source::Array) {
            return Ok(options);
        }
        let place = match decided {
            Some(place) => place,
            None => *decided.insert(place_of_all(files, part, &options)?),
        };
        Ok(ReadOptions { place: Some(place), ..options })
    };
    let request = &mut Request { choose: &mut placed, known, whole: *whole, range: None };
    let (mut first, options, source) = read_cut(&files[0], part, request)?;
    if source != Source::Table {
        let values = expected_values(files, &first)?;
        first.values.reserve(values);
    }
    let others = files[1..].iter().map(|file| Ok(read_cut(file, part, request)?.0));
    let all = [Ok(first)].into_iter().chain(others);
    let joined = match source {
        Source::Table => {
            let tables = all.collect::<Result<Vec<_>>>()?;
            match common_columns(&tables) {
                None => join(files, tables.into_iter().map(Ok))?,
                Some(known) => {
                    let mut request = Request { known: &known, choose: &mut *request.choose, range: None, ..*request };
                    join(files, files.iter().map(|file| Ok(read_cut(file, part, &mut request)?.0)))?
                }
            }
        }
        _ => join(files, all)?,
    };
    Raw { name: spec.to_string(), ..joined }.finish(&options, range.take())
}

/// Reads a file, and cuts it into windows if it is a recording.
fn read_cut(file: &Path, part: Option<&str>, request: &mut Request) -> Result<(Raw, ReadOptions, Source)> {
    let (mut raw, options, source) = read_raw(file, part, request)?;
    // The windows of several recordings are samples, which are not put together again.
    raw.prepare(&options, false)?;
    if raw.origin.recording.take().is_some() && request.whole {
        raw.origin.choice("the windows of several recordings are not put together again", "name one recording");
    }
    Ok((raw, options, source))
}

/// Where the arrays of all files are with [`Place::Auto`], by their headers: on disk, if they would fill the memory together and
/// each can be read there, as elements of one type.
fn place_of_all(files: &[PathBuf], part: Option<&str>, options: &ReadOptions) -> Result<Place> {
    let mut layouts: Vec<ArrayLayout> = Vec::new();
    for file in files {
        match read_layout(file, part)? {
            Some((layout, true)) => layouts.push(layout),
            _ => return Ok(Place::Memory),
        }
    }
    let on_disk = ReadOptions { place: Some(Place::Disk), ..options.clone() };
    let type_of = |layout: &ArrayLayout| (layout.element, layout.big_endian);
    let can_stay = |layout: &ArrayLayout| {
        type_of(layout) == type_of(&layouts[0]) && on_disk.stays_on_disk("", layout).is_ok_and(|stays| stays)
    };
    if !layouts.iter().all(can_stay) {
        return Ok(Place::Memory);
    }
    let count = |layout: &ArrayLayout| layout.shape.iter().fold(1u64, |count, dim| count.saturating_mul(*dim));
    let values = layouts.iter().map(count).fold(0, u64::saturating_add);
    let all = ArrayLayout { shape: vec![values], ..layouts[0].clone() };
    Ok(if options.stays_on_disk("", &all)? { Place::Disk } else { Place::Memory })
}

/// The number of values of all files, if they have as many per byte as the first one.
fn expected_values(files: &[PathBuf], first: &Raw) -> Result<usize> {
    let size =
        |file: &PathBuf| fs::metadata(file).map(|found| found.len()).map_err(|e| Error::io("cannot read", file, e));
    let sizes = files.iter().map(size).collect::<Result<Vec<u64>>>()?;
    Ok((sizes.iter().sum::<u64>() as f64 / sizes[0] as f64 * first.values.len() as f64) as usize)
}

/// The columns that tables have in common, if these differ in their categories: those of all tables. A column may be left out
/// where it has only one category.
fn common_columns(tables: &[Raw]) -> Option<Columns> {
    let widest = tables.iter().max_by_key(|table| table.columns().len())?;
    if widest.categories.is_empty() || tables.iter().all(|table| table.names == widest.names) {
        return None;
    }
    let mut common = Columns::default();
    for (name, categories) in widest.columns() {
        let Some(mut values) = categories.map(|categories| categories.values.clone()) else {
            common.names.push(name.to_string());
            continue;
        };
        let of_tables = tables.iter().flat_map(|table| table.categories.iter().chain(&table.left_out));
        let all = of_tables.filter(|other| other.name == name);
        let others: Vec<&String> =
            all.flat_map(|other| &other.values).filter(|value| !values.contains(value)).collect();
        if !others.is_empty() {
            values.extend(others.into_iter().cloned());
            values.sort_by(|a, b| images::natural(a, b));
            values.dedup();
        }
        common.categories.push(Categories {
            name: name.to_string(),
            first: common.names.len(),
            values: values.clone(),
        });
        common.names.extend(values.iter().map(|value| format!("{name}={value}")));
    }
    Some(common)
}

/// The samples of all files.
fn join(files: &[PathBuf], raws: impl Iterator<Item = Result<Raw>>) -> Result<Raw> {
    let mut notes: Vec<Vec<Note>> = Vec::new();
    let mut joined: Option<Raw> = None;
    for (file, raw) in files.iter().zip(raws) {
        let mut raw = raw?;
        notes.push(std::mem::take(&mut raw.origin.notes));
        match &mut joined {
            None => joined = Some(raw),
            Some(joined) => joined.append(&files[0], file, raw)?,
        }
    }
    let mut joined = joined.ok_or_else(|| Error::input("no file to read"))?;
    let [first, last] = [&files[0], &files[files.len() - 1]].map(|file| name_of(file));
    let (files_read, samples) = (count(files.len(), "file"), count(joined.dims[0], "sample"));
    let order =
        if files.len() > 1 { format!(" to {last}, in the natural order of their names") } else { String::new() };
    joined.origin.note(format!("{files_read}, {samples}: {first}{order}"));
    joined.origin.notes.extend(summarised(files, notes));
    Ok(joined)
}

/// The notes that all files have, once, and those of the first files that have others.
fn summarised(files: &[PathBuf], notes: Vec<Vec<Note>>) -> Vec<Note> {
    let mut common = notes[0].clone();
    common.retain(|note| notes.iter().all(|of_file| of_file.contains(note)));
    let own = |of_file: &Vec<Note>| of_file.iter().any(|note| !common.contains(note));
    let others: Vec<_> = files.iter().zip(&notes).filter(|(_, of_file)| own(of_file)).collect();
    let mut all = common.clone();
    for (file, of_file) in others.iter().take(MOST_NOTED) {
        let of_file = of_file.iter().filter(|note| !common.contains(note)).cloned();
        all.extend(of_file.map(|note| Note { text: format!("{}: {}", name_of(file), note.text), ..note }));
    }
    if others.len() > MOST_NOTED {
        let text = format!("and so on for {}", count(others.len() - MOST_NOTED, "other file"));
        all.push(Note { text, otherwise: None, warning: false });
    }
    all
}

fn name_of(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

impl Raw {
    /// The columns in the file: their names, and their categories.
    fn columns(&self) -> Vec<(&str, Option<&Categories>)> {
        let mut columns = Vec::new();
        let mut at = 0;
        while let Some(name) = self.names.get(at) {
            let categories = self.categories.iter().find(|categories| categories.first == at);
            columns.push((categories.map_or(name.as_str(), |categories| categories.name.as_str()), categories));
            at += categories.map_or(1, |categories| categories.values.len());
        }
        columns
    }

    /// Adds the samples of `file` to those of files that begin with `first`.
    ///
    /// # Errors
    /// [`Error::Input`] with both names when their samples differ in what they are.
    fn append(&mut self, first: &Path, file: &Path, other: Raw) -> Result<()> {
        self.check_same(first, file, &other)?;
        let (of, more) = (self.dims[0], other.dims[0]);
        let (kept, more_kept) = (self.origin.kept.take(), other.origin.kept);
        if kept.is_some() || more_kept.is_some() {
            let all = |n: usize| Kept { of: n, rows: (0..n).collect() };
            let (kept, more) = (kept.unwrap_or_else(|| all(of)), more_kept.unwrap_or_else(|| all(more)));
            let rows = kept.rows.into_iter().chain(more.rows.into_iter().map(|row| kept.of + row)).collect();
            self.origin.kept = Some(Kept { of: kept.of + more.of, rows });
        }
        self.dims[0] += other.dims[0];
        if !self.values.append(other.values) {
            return Err(Error::input(format!(
                "{}: the elements are of another type than those of {}, so they cannot be read from disk together; write them \
                 again with langevin convert, or omit --data-from disk",
                file.display(),
                first.display()
            )));
        }
        self.origin.replaced |= other.origin.replaced;
        if !self.origin.element.split(", ").any(|element| element == other.origin.element) {
            self.origin.element = format!("{}, {}", self.origin.element, other.origin.element);
        }
        Ok(())
    }

    fn check_same(&self, first: &Path, file: &Path, other: &Raw) -> Result<()> {
        let (first, file) = (first.display(), file.display());
        let differ = |what: String| {
            Err(Error::input(format!(
                "{file}: {what}; files that are read together contain samples of one shape and kind, so name those that do"
            )))
        };
        let listed = |names: &[String]| match names {
            [] => "no names".to_string(),
            names => format!("the names {}", images::some(names)),
        };
        if self.dims.len() != other.dims.len() || self.dims[1..] != other.dims[1..] {
            let [shape, of_first] = [other, self].map(|raw| raw.dims.get(1..).unwrap_or_default());
            return differ(format!("samples of shape {shape:?}, but those of {first} have the shape {of_first:?}"));
        }
        if self.names != other.names {
            let [names, of_first] = [other, self].map(|raw| listed(&raw.names));
            return differ(format!("the columns have {names}, but those of {first} have {of_first}"));
        }
        if self.bytes != other.bytes {
            let [element, of_first] = [other, self].map(|raw| raw.origin.element.as_str());
            return differ(format!("values of type {element}, but those of {first} are {of_first}"));
        }
        let [rate, of_first] = [other, self].map(|raw| raw.sound.map(|sound| sound.sample_rate));
        if rate != of_first {
            let hertz = |rate: Option<u32>| rate.map_or("no sample rate".to_string(), |rate| format!("{rate} Hz"));
            return differ(format!("{}, but {first} has {}", hertz(rate), hertz(of_first)));
        }
        Ok(())
    }
}

impl RawValues {
    /// Reserves memory for `all` values, so that they are not copied when more are added.
    fn reserve(&mut self, all: usize) {
        let more = all.saturating_sub(self.len());
        // Without the memory, it is asked for again value by value.
        let _ = match self {
            Self::F32(values) => values.try_reserve_exact(more),
            Self::F64(values) => values.try_reserve_exact(more),
            Self::Stored(_) => Ok(()),
        };
    }

    /// Adds values, in the precision that holds all; false for files with elements of another type.
    #[must_use]
    fn append(&mut self, other: Self) -> bool {
        match (&mut *self, other) {
            (Self::F32(values), Self::F32(more)) => values.extend(more),
            (Self::F64(values), Self::F64(more)) => values.extend(more),
            (Self::F64(values), Self::F32(more)) => values.extend(more.into_iter().map(f64::from)),
            (Self::F32(values), Self::F64(more)) => {
                *self = Self::F64(values.iter().copied().map(f64::from).chain(more).collect());
            }
            (Self::Stored(stored), Self::Stored(more)) => return stored.append(more),
            (Self::Stored(_), _) | (_, Self::Stored(_)) => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::save;
    use super::super::{Kind, Labels, Missing};
    use super::*;
    use tempfile::TempDir;

    fn at(dir: &TempDir, name: &str) -> String {
        dir.path().join(name).to_string_lossy().into_owned()
    }

    fn load(dir: &TempDir, spec: &str, options: &ReadOptions) -> Result<Dataset> {
        Dataset::load_with(&at(dir, spec), 0, options)
    }

    fn counted(n: usize, first: usize) -> Vec<f32> {
        (first..first + n).map(|i| i as f32).collect()
    }

    #[test]
    fn parts_are_one_data_set() {
        let dir = tempfile::tempdir().unwrap();
        for (i, n) in [3, 1, 2].into_iter().enumerate() {
            let name = ["part-2.npy", "part-9.npy", "part-10.npy"][i];
            save(&dir.path().join(name), &[4], &counted(4 * n, 100 * i)).unwrap();
        }
        let data = load(&dir, "part-*.npy", &ReadOptions::default()).unwrap();
        assert_eq!((data.len(), data.sample(2)[3], data.sample(3)[0], data.sample(5)[3]), (6, 11.0, 100.0, 207.0));
        let text = data.describe().to_string();
        assert!(text.contains("3 files, 6 samples: part-2.npy to part-10.npy"), "{text}");
        assert_eq!(load(&dir, "", &ReadOptions::default()).unwrap().values, data.values, "a folder of parts");
        let some = load(&dir, "part-*.npy[2:4]", &ReadOptions::default()).unwrap();
        assert_eq!(some.values, data.values[8..16]);
        // A name that is a pattern, too.
        save(&dir.path().join("part-*.npy"), &[4], &counted(4, 7)).unwrap();
        assert_eq!(load(&dir, "part-*.npy", &ReadOptions::default()).unwrap().len(), 1);
        fs::remove_file(dir.path().join("part-*.npy")).unwrap();

        save(&dir.path().join("labels.npy"), &[2, 3], &counted(6, 0)).unwrap();
        let message = load(&dir, "", &ReadOptions::default()).unwrap_err().to_string();
        assert!(message.contains("labels.npy") && message.contains("part-2.npy"), "{message}");
        assert!(message.contains("shape"), "{message}");
        let message = load(&dir, "no-*.npy", &ReadOptions::default()).unwrap_err().to_string();
        assert!(message.contains("no file matches it"), "{message}");
    }

    #[test]
    fn parts_stay_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        for i in 0..3 {
            save(&dir.path().join(format!("{i}.npy")), &[4], &counted(4 * (i + 1), 100 * i)).unwrap();
        }
        let at_place = |place| ReadOptions { place: Some(place), ..ReadOptions::default() };
        let (disk, memory) =
            (load(&dir, "?.npy", &at_place(Place::Disk)), load(&dir, "?.npy", &at_place(Place::Memory)));
        let (disk, memory) = (disk.unwrap(), memory.unwrap());
        assert!(disk.values.stored().is_some() && memory.values.stored().is_none());
        assert_eq!(*disk.values.part(0..24).unwrap(), memory.values[..]);
        let cut = load(&dir, "?.npy[1:4]", &at_place(Place::Disk)).unwrap();
        assert_eq!(*cut.values.part(2..12).unwrap(), memory.values[6..16]);
        let wide = [0f64; 8].map(f64::to_le_bytes).concat();
        fs::write(dir.path().join("3.npy"), super::super::npy::tests::file("'<f8'", "False", "(2, 4)", &wide)).unwrap();
        let message = load(&dir, "?.npy", &at_place(Place::Disk)).unwrap_err().to_string();
        assert!(message.contains("3.npy") && message.contains("langevin convert"), "{message}");
        assert_eq!(load(&dir, "?.npy", &at_place(Place::Memory)).unwrap().len(), 8);
    }

    /// Only headers are read for this, so that the arrays need not be there.
    #[test]
    fn large_parts_stay_on_disk_if_all_can() {
        let dir = tempfile::tempdir().unwrap();
        let quarter = 1u64 << 40;
        let place = |second: (&str, &str, u64), options: ReadOptions| {
            let parts =
                [("'<f4'", "False", quarter), second].into_iter().enumerate().map(|(i, (element, fortran, n))| {
                    let path = dir.path().join(format!("{i}.npy"));
                    let shape = format!("({n}, 8)");
                    fs::write(&path, super::super::npy::tests::file(element, fortran, &shape, &[])).unwrap();
                    path
                });
            let options = ReadOptions { place: Some(Place::Auto), ..options };
            place_of_all(&parts.collect::<Vec<_>>(), None, &options).unwrap()
        };
        let plain = ("'<f4'", "False", 3);
        assert_eq!(place(plain, ReadOptions::default()), Place::Disk);
        assert_eq!(place(("'<f4'", "False", u64::MAX), ReadOptions::default()), Place::Disk);
        assert_eq!(place(("'<f4'", "True", 3), ReadOptions::default()), Place::Memory, "Fortran order");
        assert_eq!(place(("'<f8'", "False", 3), ReadOptions::default()), Place::Memory, "another type");
        assert_eq!(place(("'>f4'", "False", 3), ReadOptions::default()), Place::Memory, "another order of bytes");
        assert_eq!(place(plain, ReadOptions { window: Some(4), ..ReadOptions::default() }), Place::Memory);
        assert_eq!(place(plain, ReadOptions { clip_outliers: true, ..ReadOptions::default() }), Place::Memory);
        let path = dir.path().join("0.npz");
        for (method, expected) in
            [(zip::CompressionMethod::Stored, Place::Disk), (zip::CompressionMethod::Deflated, Place::Memory)]
        {
            let mut archive = zip::ZipWriter::new(fs::File::create(&path).unwrap());
            let options = zip::write::SimpleFileOptions::default().compression_method(method);
            archive.start_file("x.npy", options).unwrap();
            let header = super::super::npy::header("<f4", &[1 << 50, 8]);
            std::io::Write::write_all(&mut archive, &header).unwrap();
            archive.finish().unwrap();
            let options = ReadOptions { place: Some(Place::Auto), ..ReadOptions::default() };
            assert_eq!(place_of_all(std::slice::from_ref(&path), None, &options).unwrap(), expected);
        }
        let small = dir.path().join("s.npy");
        save(&small, &[4], &counted(8, 0)).unwrap();
        let options = ReadOptions { place: Some(Place::Auto), ..ReadOptions::default() };
        assert_eq!(place_of_all(&[small], None, &options).unwrap(), Place::Memory);
    }

    #[test]
    fn recordings_are_cut_one_by_one() {
        let dir = tempfile::tempdir().unwrap();
        save(&dir.path().join("a1.npy"), &[1], &counted(10, 0)).unwrap();
        save(&dir.path().join("a2.npy"), &[1], &counted(9, 100)).unwrap();
        let options = ReadOptions { window: Some(4), ..ReadOptions::default() };
        let data = load(&dir, "a?.npy", &options).unwrap();
        assert_eq!((data.kind(), data.len()), (Kind::Signals, 4));
        assert_eq!((data.sample(1)[0], data.sample(2)[0]), (4.0, 100.0));
        let text = data.describe().to_string();
        assert!(text.contains("a1.npy: a recording of 10 time steps") && text.contains("a2.npy: a rec"), "{text}");
        // Commands that read one recording as a whole read several like the others.
        let whole = Dataset::load_whole(&at(&dir, "a?.npy"), 0, &options).unwrap();
        assert_eq!((&whole.values, whole.recording()), (&data.values, None));
        let text = whole.describe().to_string();
        assert!(text.contains("not put together again (otherwise: name one recording)"), "{text}");
    }

    #[test]
    fn tables_have_the_categories_of_all_files() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        write("t1.csv", "x,c,n\n1,b,5\n2,b,6\n3,d,7\n4,d,8\n");
        write("t2.csv", "x,c,n\n5,a,1\n6,a,\n7,b,3\n8,b,9\n");
        // Only one category, and another order of the columns.
        write("t3.csv", "c,x,n\ne,5,1\ne,6,2\n");
        let options = ReadOptions { missing: Some(Missing::Drop), ..ReadOptions::default() };
        let data = load(&dir, "t*.csv", &options).unwrap();
        assert_eq!((data.len(), &data.shape[..]), (9, &[6][..]));
        assert_eq!(data.columns.names, ["x", "c=a", "c=b", "c=d", "c=e", "n"]);
        assert_eq!(data.sample(4), [5.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
        assert_eq!(data.sample(7), [5.0, 0.0, 0.0, 0.0, 1.0, 1.0]);
        // Labels in the same tables are no values, and those of rows that are left out are left out, too.
        let (table, labels) = (at(&dir, "t*.csv"), at(&dir, "t*.csv:c"));
        let options = options.for_labels(&table, &labels);
        let data = Dataset::load_with(&table, 0, &options).unwrap();
        let data = data.with_labels(Labels::load(&labels).unwrap()).unwrap();
        assert_eq!((&data.shape[..], data.columns.names.join(" ")), (&[2][..], "x n".into()));
        assert_eq!(data.conditions().labels.as_ref().unwrap().of, [1, 1, 2, 2, 0, 1, 1, 3, 3]);
        write("t4.csv", "x,n\n5,1\n6,2\n");
        let drop = ReadOptions { missing: Some(Missing::Drop), ..ReadOptions::default() };
        let message = load(&dir, "t*.csv", &drop).unwrap_err().to_string();
        assert!(message.contains("t4.csv: ") && message.contains("t1.csv"), "{message}");
    }

    #[test]
    fn values_are_in_the_precision_of_all_files() {
        let dir = tempfile::tempdir().unwrap();
        let table = |first: f64| (0..40).map(|i| format!("{},{i}\n", first + f64::from(i))).collect::<String>();
        fs::write(dir.path().join("1.csv"), format!("t,v\n{}", table(1.7e9))).unwrap();
        fs::write(dir.path().join("2.csv"), format!("t,v\n{}", table(1.7e9 + 40.0))).unwrap();
        let data = load(&dir, "?.csv", &ReadOptions::default()).unwrap();
        assert_eq!(data.columns.offset.len(), 2, "one offset for all files");
        let time = |i: usize| f64::from(data.sample(i)[0]) + data.columns.offset[0];
        assert_eq!((time(0), time(41)), (1.7e9, 1.7e9 + 41.0));
    }

    #[test]
    fn pictures_are_named_by_a_pattern() {
        let dir = tempfile::tempdir().unwrap();
        for i in [2, 10] {
            image::GrayImage::from_pixel(2, 3, image::Luma([i])).save(dir.path().join(format!("{i}.png"))).unwrap();
        }
        let data = load(&dir, "*.png", &ReadOptions::default()).unwrap();
        assert_eq!((data.kind(), &data.shape[..], data.len()), (Kind::Images, &[1, 3, 2][..], 2));
        assert!(data.sample(0)[0] < data.sample(1)[0]);
    }
}
