//! Run folders that are only read, also before their first checkpoint and while another process trains in them.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::{Begin, CONFIG, METRICS, RunFolder};
use crate::error::Result;
use crate::train::metrics::Record;
use crate::train::tables::{leaves, to_table};
use crate::train::{Config, Facts};

/// What a run does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activity {
    /// A process trains in the folder.
    Training,
    /// All steps are completed, or the run has stopped early.
    Finished,
    /// It was interrupted.
    Stopped,
    /// It has weights that were not trained in its folder.
    Imported,
}

/// The start of `metrics.csv`, and complete rows of it.
#[derive(Debug, PartialEq)]
pub(crate) struct Rows {
    pub header: String,
    /// The place of the first row in the file, and that after the last one, in bytes.
    pub from: u64,
    pub next: u64,
    pub text: String,
}

/// A folder with the settings of a run.
#[derive(Debug)]
pub(crate) struct RunView(RunFolder);

impl RunView {
    /// The run in a folder; `None` if there is no `config.toml`, or if it is a symbolic link.
    pub fn at(path: &Path) -> Option<Self> {
        let is_file = path.join(CONFIG).symlink_metadata().is_ok_and(|file| file.is_file());
        is_file.then(|| Self(RunFolder::at(path, Begin::Existing)))
    }

    /// The file of the metrics.
    pub fn metrics(&self) -> PathBuf {
        self.0.file(METRICS)
    }

    pub fn folder(&self) -> &RunFolder {
        &self.0
    }

    /// The settings, and the facts about the data; `None` for a file of settings that is not of a run.
    ///
    /// # Errors
    /// When `config.toml` cannot be read.
    pub fn settings(&self) -> Result<Option<(Config, Facts)>> {
        let (config, facts) = Config::read_run(&self.0.file(CONFIG))?;
        Ok(facts.map(|facts| (config, facts)))
    }

    pub fn activity(&self, config: &Config, step: u32) -> Activity {
        match self.0.is_busy() {
            true => Activity::Training,
            // A training writes its metrics before its first checkpoint.
            false if self.0.has_checkpoint() && !self.metrics().exists() => Activity::Imported,
            false if step >= config.steps => Activity::Finished,
            // The evaluations are counted in the whole file.
            false if config.early_stop > 0 && self.is_at_early_stop(config, step) => Activity::Finished,
            false => Activity::Stopped,
        }
    }

    fn is_at_early_stop(&self, config: &Config, step: u32) -> bool {
        Record::after(&self.0.metrics(), config, step).is_at_early_stop(config)
    }

    /// The rows of `metrics.csv` from a place in the file on; all rows if there is no row at this place, because the file was
    /// written again. `None` before the first rows.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn rows(&self, from: u64) -> io::Result<Option<Rows>> {
        let Some((mut file, length, header)) = self.open_metrics()? else { return Ok(None) };
        let first = header.len() as u64 + 1;
        let from = if from > first && from <= length && follows_a_row(&mut file, from)? { from } else { first };
        let text = text_from(&mut file, from)?;
        Ok(Some(Rows { header, from, next: from + text.len() as u64, text }))
    }

    /// The last rows of `metrics.csv`, as [`RunView::rows`].
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn last_rows(&self) -> io::Result<Option<Rows>> {
        /// Enough for several evaluations.
        const LAST: u64 = 1 << 15;
        let Some((mut file, length, header)) = self.open_metrics()? else { return Ok(None) };
        let first = header.len() as u64 + 1;
        let from = length.saturating_sub(LAST).max(first);
        let text = text_from(&mut file, from)?;
        let whole = if from == first { 0 } else { text.find('\n').map_or(text.len(), |end| end + 1) };
        Ok(Some(Rows { header, from: from + whole as u64, next: from + text.len() as u64, text: text[whole..].into() }))
    }

    /// The file, its length, and its header. A symbolic link is not followed.
    fn open_metrics(&self) -> io::Result<Option<(File, u64, String)>> {
        let path = self.metrics();
        if !path.symlink_metadata().is_ok_and(|file| file.is_file()) {
            return Ok(None);
        }
        let mut file = File::open(path)?;
        let mut start = vec![0; 1 << 12];
        let n = file.read(&mut start)?;
        start.truncate(n);
        let Some(end) = start.iter().position(|&byte| byte == b'\n') else { return Ok(None) };
        Ok(Some((file.try_clone()?, file.metadata()?.len(), String::from_utf8_lossy(&start[..end]).into_owned())))
    }
}

fn follows_a_row(file: &mut File, place: u64) -> io::Result<bool> {
    let mut before = [0];
    file.seek(SeekFrom::Start(place - 1))?;
    Ok(file.read(&mut before)? == 1 && before[0] == b'\n')
}

/// The text of a file from a place on, up to its last line break.
fn text_from(file: &mut File, place: u64) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(place))?;
    file.read_to_end(&mut bytes)?;
    let end = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
    bytes.truncate(end);
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

impl Config {
    /// The settings by their full names, such as `model.width`, as in TOML.
    pub(crate) fn named_values(&self) -> Vec<(String, String)> {
        leaves(&to_table(self)).into_iter().map(|(name, value)| (name, value.to_string())).collect()
    }
}

/// The folders of runs below `root`, at most `depth` levels down, with their paths relative to it; `root` itself, with the
/// name of the folder, if it is one. Symbolic links and hidden folders are left out, and so is what is in a run.
pub(crate) fn find_runs(root: &Path, depth: usize) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    if RunView::at(root).is_some() {
        let name = root.file_name().map_or("run".into(), |name| name.to_string_lossy().into_owned());
        found.push((name, root.to_path_buf()));
    } else {
        collect(root, "", depth, &mut found);
    }
    found.sort();
    found
}

fn collect(folder: &Path, prefix: &str, depth: usize, found: &mut Vec<(String, PathBuf)>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        // The type of a link is not that of its target.
        if name.starts_with('.') || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let (path, name) = (entry.path(), format!("{prefix}{name}"));
        match RunView::at(&path) {
            Some(_) => found.push((name, path)),
            None if depth > 1 => collect(&path, &format!("{name}/"), depth - 1, found),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(metrics: &str) -> (tempfile::TempDir, RunView) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(CONFIG), Config::default().to_toml()).unwrap();
        fs::write(dir.path().join(METRICS), metrics).unwrap();
        let view = RunView::at(dir.path()).unwrap();
        (dir, view)
    }

    #[test]
    fn rows_are_read_from_where_the_last_ones_ended() {
        let (dir, view) = view("step,loss\n10,1\n20,0.5\n30,0.");
        let rows = view.rows(0).unwrap().unwrap();
        assert_eq!((rows.header.as_str(), rows.text.as_str(), rows.from), ("step,loss", "10,1\n20,0.5\n", 10));
        assert_eq!(view.rows(rows.next).unwrap().unwrap().text, "", "an incomplete row is not read");
        fs::write(dir.path().join(METRICS), "step,loss\n10,1\n20,0.5\n30,0.25\n").unwrap();
        assert_eq!(view.rows(rows.next).unwrap().unwrap().text, "30,0.25\n");
        // Another file: everything is read again.
        for place in [rows.next + 1, 1 << 40, 3] {
            assert_eq!(view.rows(place).unwrap().unwrap().from, 10, "{place}");
        }
        fs::remove_file(dir.path().join(METRICS)).unwrap();
        assert_eq!(view.rows(0).unwrap(), None);
        assert_eq!(view.settings().unwrap(), None, "no facts");
    }

    #[test]
    fn the_last_rows_of_a_long_file_are_whole() {
        let text: String = (0..20_000).map(|i| format!("{},0.5\n", 10 * i)).collect();
        let (_dir, view) = view(&format!("step,loss\n{text}"));
        let rows = view.last_rows().unwrap().unwrap();
        assert!(rows.text.len() < 1 << 15 && text.ends_with(&format!("\n{}", rows.text)));
        assert_eq!(rows.next, 10 + text.len() as u64);
    }

    #[test]
    fn runs_are_found_in_folders_of_runs() {
        let dir = tempfile::tempdir().unwrap();
        let run = |name: &str| {
            fs::create_dir_all(dir.path().join(name)).unwrap();
            fs::write(dir.path().join(name).join(CONFIG), "").unwrap();
        };
        ["b", "a", "sweep/lr=0.1", "sweep/lr=0.2", ".hidden", "a/inside", "1/2/3/4"].into_iter().for_each(run);
        let names = |path: &Path| find_runs(path, 3).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names(dir.path()), ["a", "b", "sweep/lr=0.1", "sweep/lr=0.2"]);
        assert_eq!(names(&dir.path().join("b")), ["b"]);
        #[cfg(unix)]
        {
            let outside = tempfile::tempdir().unwrap();
            fs::write(outside.path().join(CONFIG), "").unwrap();
            std::os::unix::fs::symlink(outside.path(), dir.path().join("link")).unwrap();
            assert_eq!(names(dir.path()).len(), 4, "no symbolic links");
        }
    }
}
