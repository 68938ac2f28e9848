//! Ranges of samples: `DATA[from:to]`.

use std::path::Path;

use super::Dataset;
use super::address::without_secrets;
use super::source::{Request, read};
use crate::text::count;
use crate::{Error, Result};

/// `DATA[from:to]`: samples `from` to `to` - 1, counted from 0.
pub(super) fn read_range(range: SampleRange, seed: u64, request: &mut Request) -> Result<Dataset> {
    let mut inner = Request { choose: &mut *request.choose, range: Some(&range), ..*request };
    let all = read(range.data, seed, &mut inner)?;
    if inner.range.is_none() {
        return Ok(all);
    }
    let (from, to) = range.within(all.len())?;
    let part = all.with_values(range.name(), all.samples(from..to)?)?;
    let mut origin = all.origin.clone();
    origin.keep(all.len(), (from..to).collect());
    Ok(Dataset { origin, ..part })
}

/// A parsed `DATA[from:to]`.
pub(super) struct SampleRange<'a> {
    spec: &'a str,
    pub data: &'a str,
    from: usize,
    to: Option<usize>,
}

impl<'a> SampleRange<'a> {
    /// The name of these samples.
    pub fn name(&self) -> String {
        without_secrets(self.spec)
    }

    /// The range in `DATA[from:to]`; `None` for another name, or that of a file.
    pub fn at_end_of(spec: &'a str) -> Option<Result<Self>> {
        (spec.ends_with(']') && !Path::new(spec).exists()).then(|| Self::of(spec))
    }

    pub fn of(spec: &'a str) -> Result<Self> {
        let wrong = || {
            let shown = without_secrets(spec);
            Error::input(format!(
                "{shown:?}: a range of samples is written as DATA[FROM:TO], such as {0}[0:100] or {0}[100:]",
                { shown.split('[').next().unwrap_or_default() }
            ))
        };
        let (data, range) = spec.trim_end_matches(']').rsplit_once('[').ok_or_else(wrong)?;
        let (from, to) = range.split_once(':').ok_or_else(wrong)?;
        let place = |text: &str| (!text.is_empty()).then(|| text.parse().map_err(|_| wrong())).transpose();
        Ok(Self { spec, data, from: place(from)?.unwrap_or(0), to: place(to)? })
    }

    /// The limits of the range in a data set of `n` samples.
    pub fn within(&self, n: usize) -> Result<(usize, usize)> {
        let (Self { from, to: given, .. }, to) = (self, self.to.unwrap_or(n));
        let (spec, data) = (self.name(), without_secrets(self.data));
        let there_are = || format!("{data} has {}, counted from 0", count(n, "sample"));
        match given {
            _ if *from < to && to <= n => Ok((*from, to)),
            Some(to) if from >= to => Err(Error::input(format!(
                "{spec}: the range is empty, because TO is excluded; use a TO above {from}, such as {data}[{from}:{}]",
                from + 1
            ))),
            Some(to) if *from < n => Err(Error::input(format!(
                "{spec}: {}, so TO must be at most {n}, not {to}; {data}[{from}:] selects all samples from {from} on",
                there_are()
            ))),
            _ => Err(Error::input(format!("{spec}: {}, so FROM must be at most {}, not {from}", there_are(), n - 1))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Missing, ReadOptions};
    use super::*;
    use std::fs;

    /// Labels of the same range stay those of the samples.
    #[test]
    fn a_range_is_that_of_the_file_also_where_samples_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.csv");
        fs::write(&path, "a,b\n1,2\n,4\n5,6\n7,8\n9,\n11,12\n").unwrap();
        let read = |missing| {
            let options = ReadOptions { missing: Some(missing), ..ReadOptions::default() };
            Dataset::load_with(&format!("{}[1:5]", path.display()), 0, &options).unwrap()
        };
        let kept = read(Missing::Drop);
        assert_eq!((&kept.values[..], kept.origin.kept.unwrap().rows), (&[5.0, 6.0, 7.0, 8.0][..], vec![2, 3]));
        assert_eq!(read(Missing::Mean).values[..2], [7.0, 4.0], "the mean of 5, 7 and 9");
        // A range of several files, and of windows.
        fs::write(dir.path().join("b.csv"), "a,b\n,14\n15,16\n").unwrap();
        let options = ReadOptions { missing: Some(Missing::Drop), ..ReadOptions::default() };
        let kept = Dataset::load_with(&format!("{}/?.csv[3:8]", dir.path().display()), 0, &options).unwrap();
        assert_eq!((&kept.values[..], kept.len()), (&[7.0, 8.0, 11.0, 12.0, 15.0, 16.0][..], 3));
        let windows = ReadOptions { window: Some(1), ..options };
        let kept = Dataset::load_with(&format!("{}[1:4]", path.display()), 0, &windows).unwrap();
        assert_eq!(kept.values, [5.0, 6.0, 7.0, 8.0]);
    }

    #[test]
    fn a_range_selects_samples() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.csv");
        fs::write(&path, "1,2,3\n4,5,6\n7,8,9\n").unwrap();
        let load = |range: &str| Dataset::load(&format!("{}{range}", path.display()), 0);
        assert_eq!(load("[1:2]").unwrap().values, [4.0, 5.0, 6.0]);
        assert_eq!((load("[:2]").unwrap().len(), load("[2:]").unwrap().len(), load("[:]").unwrap().len()), (2, 1, 3));
        assert_eq!(Dataset::load("moons[3:9]", 0).unwrap().values, Dataset::load("moons", 0).unwrap().values[6..18]);
        for (range, words) in [
            ("[2:2]", "the range is empty"),
            ("[2:1]", "use a TO above 2, such as"),
            ("[0:4]", "has 3 samples, counted from 0, so TO must be at most 3, not 4"),
            ("[3:]", "FROM must be at most 2, not 3"),
            ("[7:9]", "FROM must be at most 2, not 7"),
            ("[1]", "[FROM:TO]"),
            ("[a:2]", "[FROM:TO]"),
        ] {
            let message = load(range).unwrap_err().to_string();
            assert!(message.contains(words), "{range}: {message}");
        }
    }
}
