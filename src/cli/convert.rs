//! `langevin convert`

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use crate::data::{self, ArrayOfSamples, Dataset, ElementType, Missing, Place, check_apart};
use crate::inference::Completion;
use crate::io::{check_path, extension, quoted};
use crate::text::{count, readable};
use crate::train::Config;
use crate::{Error, Result};
use clap::Args;
use serde_json::json;

use super::condition::ConditionFiles;
use super::interrupt::stop_flag;
use super::progress::{Meter, show_reading};
use super::reading::{ReadArgs, shown};
use super::{Common, local};

/// The size of a part if none is stated.
const PART_SIZE: u64 = 1_000_000_000;

/// Convert data to arrays that train without other options
///
/// The samples are what train reads with the same options: windows of recordings, scaled pictures, chosen columns. OUT is a
/// .npy file, or a folder (a name that ends in /) of parts part-00000.npy, part-00001.npy, ... The classes of --labels are
/// written beside it as NAME-labels.npy, or NAME-labels.csv if they have names, the vectors of --condition as
/// NAME-conditions.npy, and known values of --given as NAME-given.npy. The last line is the command that trains on them.
/// Programs with the feature parquet also write tables and signals as .parquet.
#[derive(Args)]
pub struct ConvertArgs {
    /// The data to read, as for train
    #[arg(value_name = "IN")]
    data: String,
    /// The .npy file, or the folder of parts, to write
    #[arg(value_name = "OUT", value_parser = local())]
    out: PathBuf,
    /// Element type: float32, float64, float16, or uint8 for whole numbers from 0 to 255 and images [default: float32, or
    /// float64 for large numbers that differ little]
    #[arg(long, value_name = "TYPE")]
    dtype: Option<ElementType>,
    /// The largest size of a part, such as 500MB or 1GiB [default: 1GB]
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    shard_size: Option<u64>,
    /// Replace files that exist
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    read: ReadArgs,
    #[command(flatten)]
    conditions: ConditionFiles,
    #[command(flatten)]
    pub common: Common,
}

/// Parses a size such as 1GB, 500 MB or 2GiB.
fn bytes(text: &str) -> std::result::Result<u64, &'static str> {
    const WRONG: &str = "use a size such as 500MB, 1GB or 2GiB";
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..digits].parse().map_err(|_| WRONG)?;
    let power = |letter: &str| "kmgt".find(letter).map(|at| at as i32 + 1);
    let unit = match text[digits..].trim().to_lowercase().as_str() {
        "" | "b" => 1.0,
        unit => {
            match unit.strip_suffix("ib").map(|letter| (1024f64, letter)).or(Some((1000.0, unit.trim_end_matches('b'))))
            {
                Some((base, letter)) if letter.len() == 1 => base.powi(power(letter).ok_or(WRONG)?),
                _ => return Err(WRONG),
            }
        }
    };
    Some((number * unit) as u64).filter(|&size| size > 0).ok_or(WRONG)
}

/// The form of what is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    File,
    /// A folder of parts.
    Parts,
    #[cfg(feature = "parquet")]
    Parquet,
}

/// What is written.
struct Outputs<'a> {
    out: &'a Path,
    form: Form,
    /// The start of the names of the files beside it.
    base: PathBuf,
}

impl<'a> Outputs<'a> {
    fn of(args: &'a ConvertArgs) -> Result<Self> {
        let out = &args.out;
        let name = out.display().to_string();
        let refused = |text: &str| Err(Error::setting(format!("{name}: {text}")));
        let parts = name.ends_with(['/', std::path::MAIN_SEPARATOR]) || out.is_dir();
        let form = match extension(out).as_str() {
            _ if parts => Form::Parts,
            "npy" | "parquet" if args.shard_size.is_some() => {
                return refused("--shard-size writes a folder of parts; name one that ends in /");
            }
            "npy" => Form::File,
            #[cfg(feature = "parquet")]
            "parquet" => Form::Parquet,
            #[cfg(not(feature = "parquet"))]
            "parquet" => {
                return refused("install langevin with --features parquet, which writes it, or write a .npy file");
            }
            _ => return refused("convert writes a .npy file, or a folder of .npy files if the name ends in /"),
        };
        match parts {
            true if out.is_file() => return refused("is a file; name another folder"),
            true => {}
            false => check_path(out)?,
        }
        // A folder is replaced by its parts.
        check_apart("OUT", out, &args.data)?;
        let inside = if parts { data::inside(&args.data, out)? } else { None };
        if let Some(file) = inside {
            return refused(&format!("contains {}, which is read; choose another OUT", file.display()));
        }
        let stem = if parts { out.file_name() } else { out.file_stem() };
        let Some(stem) = stem else { return refused("name a folder for the parts, such as parts/") };
        Ok(Self { out, form, base: out.with_file_name(stem) })
    }

    /// Whether the names of columns are written.
    fn has_names(&self) -> bool {
        !matches!(self.form, Form::File | Form::Parts)
    }

    /// A file beside the samples.
    fn beside(&self, what: &str) -> PathBuf {
        let name = self.base.file_name().unwrap_or_default().to_string_lossy();
        self.base.with_file_name(format!("{name}-{what}"))
    }

    /// The files beside the samples.
    fn of_conditions(&self) -> [PathBuf; 4] {
        ["labels.npy", "labels.csv", "conditions.npy", "given.npy"].map(|what| self.beside(what))
    }

    /// Refuses to replace a file that is read, or to add samples to a folder of arrays that is.
    fn check_apart(&self, config: &Config) -> Result<()> {
        for file in [self.out.to_path_buf()].iter().chain(&self.of_conditions()) {
            config.inputs().try_for_each(|input| check_apart("OUT", file, input))?;
        }
        let folder = |path: &Path| path.canonicalize().ok();
        let read = data::sources(&config.data)?;
        let of = |source: &PathBuf| if source.is_dir() { folder(source) } else { source.parent().and_then(folder) };
        let several = read.len() > 1 || read.iter().any(|source| source.is_dir());
        let written = folder(crate::io::folder(self.out));
        if self.form == Form::File && several && written.is_some() && read.iter().any(|source| of(source) == written) {
            let text = format!(
                "{}: would add samples to {}, which is read; choose another OUT",
                self.out.display(),
                data::without_secrets(&config.data)
            );
            return Err(Error::setting(text));
        }
        Ok(())
    }

    /// Refuses to replace what exists, before something long is computed.
    fn check_absent(&self) -> Result<()> {
        let of_conditions = self.of_conditions();
        let held = |path: &Path| match self.form == Form::Parts && path == self.out {
            true => std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some()),
            false => path.exists(),
        };
        match [self.out].into_iter().chain(of_conditions.iter().map(PathBuf::as_path)).find(|path| held(path)) {
            None => Ok(()),
            Some(path) => Err(Error::setting(format!("{}: exists; --force replaces it", path.display()))),
        }
    }
}

pub fn run(args: &ConvertArgs) -> anyhow::Result<ExitCode> {
    if let Some(name) = &args.common.device {
        // No device is used, but a wrong name is a mistake.
        crate::Device::named(name)?;
    }
    let outputs = Outputs::of(args)?;
    if !args.force {
        outputs.check_absent()?;
    }
    show_reading(args.common.json);
    let config = config(args)?;
    outputs.check_apart(&config)?;
    let data = config.load()?;
    let description = data.describe();
    if !args.common.json {
        say!("{}", shown(&description));
    }
    let array = ArrayOfSamples::new(&data, args.dtype)?;
    let files = write(args, &outputs, &array, data.len())?;
    let beside = Beside::save(&outputs, &data)?;
    let command = beside.command(&outputs, &data, config.read.missing == Some(Missing::Keep));
    if args.common.json {
        let Beside { labels, vectors, given } = &beside;
        say!(
            "{}",
            json!({"out": args.out, "files": files, "shape": array.shape(), "dtype": array.element(), "bytes": array.bytes(),
                   "loss": array.loss(), "labels": labels, "conditions": vectors, "given": given, "train": command,
                   "data": description})
        );
        return Ok(ExitCode::SUCCESS);
    }
    for note in notes(&data, &array, outputs.has_names()) {
        say!("  {note}");
    }
    print_written(&outputs, &array, files, &beside);
    say!("train on it with: {command}");
    Ok(ExitCode::SUCCESS)
}

/// The settings of a training on the data that are read.
fn config(args: &ConvertArgs) -> Result<Config> {
    let mut config = Config { data: args.data.clone(), read: args.read.options(), ..Config::default() };
    config.seed = args.common.seed.unwrap_or(config.seed);
    args.conditions.apply_to(&mut config.condition);
    args.conditions.check(&config.condition)?;
    // What does not fit in memory is converted part by part.
    config.read.place = Some(Place::Auto);
    Ok(config)
}

/// Writes the samples, of which there are `n`, and shows the progress. Returns the number of files.
fn write(args: &ConvertArgs, outputs: &Outputs, array: &ArrayOfSamples, n: usize) -> anyhow::Result<usize> {
    let stopped = stop_flag()?;
    let mut meter = Meter::new("writing samples", args.common.json);
    let mut written = |done: usize| match stopped.load(Ordering::Relaxed) {
        true => Err(Error::Interrupted(format!("stopped; {} is not written", args.out.display()))),
        false => {
            meter.show(Completion { done: done as u64, total: n as u64 });
            Ok(())
        }
    };
    Ok(match outputs.form {
        Form::Parts => array.save_parts(outputs.out, args.shard_size.unwrap_or(PART_SIZE), &mut written)?,
        Form::File => array.save(outputs.out, &mut written).map(|()| 1)?,
        #[cfg(feature = "parquet")]
        Form::Parquet => array.save_parquet(outputs.out, &mut written).map(|()| 1)?,
    })
}

/// Prints what was written.
fn print_written(outputs: &Outputs, array: &ArrayOfSamples, files: usize, beside: &Beside) {
    let parts = if outputs.form == Form::Parts { format!(" in {}", count(files, "part")) } else { String::new() };
    let size = readable(array.bytes());
    say!("{} array of shape {:?}, {size}{parts}: {}", array.element(), array.shape(), outputs.out.display());
    let [labels, vectors, given] =
        [("classes", &beside.labels), ("condition vectors", &beside.vectors), ("known values", &beside.given)];
    for (what, path) in [labels, vectors, given] {
        if let Some(path) = path {
            say!("{what}: {}", path.display());
        }
    }
}

/// What is not kept.
fn notes(data: &Dataset, array: &ArrayOfSamples, named: bool) -> Vec<String> {
    let columns = &data.columns;
    let names = match (columns.names.is_empty() || named, columns.categories.is_empty()) {
        (true, true) => None,
        (true, false) => Some("a column of categories is a column of 0 or 1 for each category".to_string()),
        (false, true) => Some("an array has no names of columns".to_string()),
        (false, false) => Some("an array has no names of columns, and a value 0 or 1 for each category".to_string()),
    };
    let rate = data.sample_rate().map(|rate| format!("an array has no sample rate, which is {rate} Hz"));
    let wide = (array.element() == ElementType::Float64)
        .then(|| "float64, because the values of a column differ little for their size".to_string());
    let scaled = data.conditions().given_size.as_ref().map(|size| format!("known values are scaled from {size:?}"));
    [names, rate, wide, scaled, array.loss()].into_iter().flatten().collect()
}

/// The files of the conditions.
struct Beside {
    labels: Option<PathBuf>,
    vectors: Option<PathBuf>,
    given: Option<PathBuf>,
}

impl Beside {
    fn save(outputs: &Outputs, data: &Dataset) -> Result<Self> {
        let conditions = data.conditions();
        let array = |name: &str, values: &Option<Box<Dataset>>| {
            let path = outputs.beside(name);
            let save = |values: &Dataset| ArrayOfSamples::new(values, None)?.save(&path, &mut |_| Ok(()));
            values.as_deref().map(save).transpose().map(|saved| saved.map(|()| path.clone()))
        };
        let labels = conditions.labels.as_ref().map(|labels| labels.save(&outputs.beside("labels"))).transpose()?;
        let (vectors, given) = (array("conditions.npy", &conditions.vectors)?, array("given.npy", &conditions.given)?);
        let beside = Self { labels, vectors, given };
        beside.warn_of_former(outputs);
        Ok(beside)
    }

    /// Files of conditions from an earlier conversion can belong to other samples.
    fn warn_of_former(&self, outputs: &Outputs) {
        let written = [&self.labels, &self.vectors, &self.given];
        let is_former = |path: &PathBuf| path.exists() && !written.into_iter().flatten().any(|new| new == path);
        for path in outputs.of_conditions().into_iter().filter(is_former) {
            log::warn!(
                "{}: was there before, and may belong to other samples than those of OUT; delete it",
                path.display()
            );
        }
    }

    /// The command that trains on what is written.
    fn command(&self, outputs: &Outputs, data: &Dataset, gaps: bool) -> String {
        let word = |path: &Path| quoted(&path.to_string_lossy());
        let mut command = format!("langevin train {} --kind {}", word(outputs.out), data.kind());
        for (option, path) in [("labels", &self.labels), ("condition", &self.vectors), ("given", &self.given)] {
            if let Some(path) = path {
                command += &format!(" --{option} {}", word(path));
            }
        }
        if gaps && data.has_gaps() {
            command += " --task complete";
        }
        let name = outputs.base.file_name().unwrap_or_default();
        command + &format!(" --out {}", word(&Path::new("runs").join(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, size) in [
            ("1GB", 1_000_000_000),
            ("2GiB", 2 << 30),
            ("1.5 MB", 1_500_000),
            ("64k", 64_000),
            ("100", 100),
            ("100b", 100),
        ] {
            assert_eq!(bytes(text), Ok(size), "{text}");
        }
        for text in ["", "GB", "0", "1XB", "-1", "1.2.3MB"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }
}
