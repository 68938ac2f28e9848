//! Samples to files, written as a whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use npyz::WriterBuilder;
use tempfile::NamedTempFile;

use super::{Kind, extension};
use crate::plot::{self, Scale};
use crate::{Error, Result};

/// The formats [`save`] writes.
const EXTENSIONS: [&str; 4] = [".npy", ".csv", ".png", ".svg"];

/// Writes samples of `shape` by the extension of `path`: `.npy` holds `[n, ...shape]` float32 in C order, `.csv` one
/// sample a row (images flattened), `.png` a contact sheet or drawing, `.svg` a drawing. Gives how many of the samples,
/// the first ones, the file holds or shows.
///
/// *Errors*: [`Error::Setting`] for an unknown extension, [`Error::Input`] when the values are no whole samples,
/// [`Error::Io`] when the file cannot be written; what stood at `path` before is then still there.
pub fn save(path: &Path, shape: &[usize], values: &[f32]) -> Result<usize> {
    save_scaled(path, shape, values, || Scale::of(Kind::of(shape), shape, values))
}

/// [`save`], with the scale that pictures have: of the data that the samples should look like.
pub fn save_scaled(path: &Path, shape: &[usize], values: &[f32], scale: impl FnOnce() -> Scale) -> Result<usize> {
    let len = shape.iter().product::<usize>();
    if len == 0 || !values.len().is_multiple_of(len) {
        return Err(Error::input(format!(
            "{}: {} values are no whole number of samples of shape {shape:?}",
            path.display(),
            values.len()
        )));
    }
    let all = |()| values.len() / len;
    match extension(path).as_str() {
        "npy" => write_atomically(path, |file| write_npy(file, shape, values)).map(all),
        "csv" => write_atomically(path, |file| write_csv(file, len, values)).map(all),
        "png" => plot::sheet(path, Kind::of(shape), shape, values, &scale()),
        "svg" => plot::drawing(path, Kind::of(shape), shape, values, &scale()),
        _ => Err(unknown_extension(path)),
    }
}

/// Says before long work starts whether [`save`] could write `path`: a known extension, a folder that exists and can be
/// written to.
pub fn check_output(path: &Path) -> Result<()> {
    if !EXTENSIONS.contains(&format!(".{}", extension(path)).as_str()) {
        return Err(unknown_extension(path));
    }
    check_place(path)?;
    temporary(path).map(drop)
}

/// Writes a file beside `path`, flushes it to the disk and moves it to `path`: readers see the old content or the new,
/// never a part.
///
/// *Errors*: [`Error::Setting`] when the folder is missing or `path` is one, [`Error::Io`] when the system refuses.
pub fn write_atomically(path: &Path, write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>) -> Result<()> {
    check_place(path)?;
    let file = temporary(path)?;
    let failed = |cause| Error::io("cannot write", path, cause);
    let mut buffer = BufWriter::new(file.as_file());
    write(&mut buffer).and_then(|()| buffer.flush()).map_err(failed)?;
    drop(buffer);
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|cause| failed(cause.error))?;
    Ok(())
}

/// Refuses an output that would replace the data `spec`, which are read: the same file, or a picture in their folder.
///
/// *Errors*: [`Error::Setting`] with both names.
pub fn check_apart(path: &Path, spec: &str) -> Result<()> {
    let (Some(source), Ok(place)) = (super::source(spec), fs::canonicalize(folder(path))) else {
        return Ok(());
    };
    let Ok(source) = fs::canonicalize(source) else { return Ok(()) };
    let place = path.file_name().map(|name| place.join(name)).unwrap_or(place);
    let same = fs::canonicalize(path).is_ok_and(|path| path == source) || place == source;
    let among = source.is_dir() && place.parent() == Some(&source) && extension(path) == "png";
    match (same, among) {
        (true, _) => Err(Error::setting(format!(
            "{}: would replace the data that are read from {spec}; choose another --out",
            path.display()
        ))),
        (_, true) => Err(Error::setting(format!(
            "{}: would be one more picture of the data in the folder {spec}; choose another folder for --out",
            path.display()
        ))),
        _ => Ok(()),
    }
}

fn check_place(path: &Path) -> Result<()> {
    let name = path.display();
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => return Err(Error::setting(format!("{name}: is a folder; name a file in it"))),
        Ok(found) if found.permissions().readonly() => {
            return Err(Error::setting(format!("{name}: exists and is read-only; choose another name")));
        }
        _ => {}
    }
    let folder = folder(path);
    if !folder.is_dir() {
        return Err(Error::setting(format!("{name}: there is no folder {}; create it first", folder.display())));
    }
    Ok(())
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A file that vanishes unless it is moved to its place, with the permissions any new file gets.
fn temporary(path: &Path) -> Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder(path)).map_err(|cause| Error::io("cannot write", path, cause))
}

fn unknown_extension(path: &Path) -> Error {
    Error::setting(format!(
        "{}: what to write is told by the extension, and this is none of: {}",
        path.display(),
        EXTENSIONS.join(", ")
    ))
}

fn write_npy(file: &mut BufWriter<&File>, shape: &[usize], values: &[f32]) -> io::Result<()> {
    let n = values.len() / shape.iter().product::<usize>();
    let dims: Vec<u64> = [n].iter().chain(shape).map(|&dim| dim as u64).collect();
    let mut writer = npyz::WriteOptions::new().default_dtype().shape(&dims).writer(file).begin_nd()?;
    writer.extend(values)?;
    writer.finish()
}

/// A header of column names, then one sample a row in the shortest form that reads back to the same bits.
fn write_csv(file: &mut BufWriter<&File>, len: usize, values: &[f32]) -> io::Result<()> {
    let header: Vec<String> = match len {
        2 => vec!["x".into(), "y".into()],
        _ => (0..len).map(|i| format!("x{i}")).collect(),
    };
    writeln!(file, "{}", header.join(","))?;
    for sample in values.chunks_exact(len) {
        for (i, value) in sample.iter().enumerate() {
            write!(file, "{}{value:?}", if i > 0 { "," } else { "" })?;
        }
        writeln!(file)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_checked_before_the_work() {
        let dir = tempfile::tempdir().unwrap();
        let message = |name: &str| check_output(&dir.path().join(name)).unwrap_err().to_string();
        assert!(message("a.bin").contains(".npy, .csv, .png, .svg"));
        assert!(message("a").contains("none of"));
        assert!(message("missing/a.npy").contains("there is no folder"));
        fs::create_dir(dir.path().join("folder.npy")).unwrap();
        assert!(message("folder.npy").contains("is a folder"));
        fs::write(dir.path().join("kept.npy"), "x").unwrap();
        let mut permissions = fs::metadata(dir.path().join("kept.npy")).unwrap().permissions();
        permissions.set_readonly(true);
        fs::set_permissions(dir.path().join("kept.npy"), permissions).unwrap();
        assert!(message("kept.npy").contains("read-only"));
        check_output(&dir.path().join("a.CSV")).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn data_that_are_read_are_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let place = |name: &str| dir.path().join(name);
        let spec = |name: &str| place(name).to_str().unwrap().to_string();
        fs::write(place("a.npy"), "x").unwrap();
        fs::write(place("t.csv"), "x").unwrap();
        fs::create_dir_all(place("pictures/more")).unwrap();
        for (out, data) in [
            ("a.npy", "a.npy"),
            ("pictures/../a.npy", "a.npy[3:5]"),
            ("t.csv", "t.csv:dino"),
            ("pictures/new.png", "pictures"),
        ] {
            let message = check_apart(&place(out), &spec(data)).unwrap_err().to_string();
            assert!(message.contains(data) && message.contains("--out"), "{message}");
        }
        for (out, data) in [("b.npy", "a.npy"), ("pictures/a.npy", "pictures"), ("new.png", "pictures"), ("a.npy", "b")]
        {
            check_apart(&place(out), &spec(data)).unwrap();
        }
        check_apart(&place("moons.npy"), "moons").unwrap();
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(place("a.npy"), place("link.npy")).unwrap();
            assert!(check_apart(&place("link.npy"), &spec("a.npy")).is_err());
            assert!(check_apart(&place("a.npy"), &spec("link.npy")).is_err());
        }
    }

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npy");
        fs::write(&path, "old").unwrap();
        let full = |_: &mut BufWriter<&File>| Err(io::Error::from(io::ErrorKind::StorageFull));
        let message = write_atomically(&path, full).unwrap_err().to_string();
        assert!(message.contains("cannot write") && message.contains("a.npy"), "{message}");
        assert_eq!((fs::read(&path).unwrap(), fs::read_dir(dir.path()).unwrap().count()), (b"old".to_vec(), 1));
    }

    #[test]
    fn pictures_are_written() {
        let dir = tempfile::tempdir().unwrap();
        let values: Vec<f32> = (0..96).map(|i| (i as f32 * 0.7).sin()).collect();
        for shape in [vec![2], vec![12], vec![1, 4, 4], vec![3, 4, 4]] {
            save(&dir.path().join("a.png"), &shape, &values).unwrap();
            image::open(dir.path().join("a.png")).unwrap();
            save(&dir.path().join("a.svg"), &shape, &values).unwrap();
            assert!(fs::read_to_string(dir.path().join("a.svg")).unwrap().ends_with("</svg>\n"));
        }
        assert!(save(&dir.path().join("a.npy"), &[5], &values).is_err());
        assert!(save(&dir.path().join("a.txt"), &[2], &values).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn written_files_can_be_read_by_others() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        save(&dir.path().join("a.csv"), &[2], &[1.0, 2.0]).unwrap();
        fs::write(dir.path().join("plain"), "x").unwrap();
        let mode = |name| fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode("a.csv"), mode("plain"));
    }
}
