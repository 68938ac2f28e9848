//! The file of a checkpoint: a safetensors file with the settings of the run in its metadata.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::Path;

use flate2::Crc;
use safetensors::tensor::{Dtype, Metadata, SafeTensors, TensorInfo};
use serde::{Deserialize, Serialize};

use super::{Checkpoint, TensorData};
use crate::data::ReadOptions;
use crate::error::{Error, Result};
use crate::graph::HISTORY;
use crate::io::write_atomically;
use crate::train::{Config, Losses};

/// The version of the file format.
const FORMAT: u32 = 1;

/// Why a checkpoint cannot be used.
#[derive(Debug)]
pub(in crate::train) struct Unusable {
    pub error: Error,
    /// Whether the file is intact, but of another version of langevin. It must not be replaced then.
    pub other_version: bool,
}

impl From<Error> for Unusable {
    fn from(error: Error) -> Self {
        Self { error, other_version: false }
    }
}

impl Unusable {
    fn of_version(text: String) -> Self {
        Self { error: Error::Input(text), other_version: true }
    }
}

/// The metadata of the file. They have a single key, so that equal checkpoints are equal byte for byte.
#[derive(Serialize, Deserialize)]
struct Header {
    format: u32,
    step: u32,
    seed: u64,
    config: String,
    /// The bits of each pending loss: the total, then the terms.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pending: Vec<Vec<u64>>,
    checksum: u32,
}

impl Checkpoint {
    /// Writes the file atomically: after a failure, the old file is unchanged.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        write_atomically(path, |file| self.write(file))
    }

    /// The content of the file of [`Checkpoint::save`].
    pub(in crate::train) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write(&mut bytes).expect("memory can be written");
        bytes
    }

    /// Reads what [`Checkpoint::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`Error::Input`] when it is damaged.
    pub(in crate::train) fn of_bytes(bytes: &[u8]) -> Result<Self> {
        Self::parse(bytes).map_err(|unusable| unusable.error)
    }

    /// Writes the same bytes as `safetensors::serialize`, without a copy in memory: the length of the header, the header
    /// padded with spaces to a multiple of 8 bytes, and the values of the tensors in the order of their names.
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut tensors: Vec<&TensorData> = self.tensors.iter().collect();
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        let mut end = 0;
        let mut info = |t: &TensorData| {
            let start = end;
            end += size_of_val(&t.values[..]);
            (t.name.clone(), TensorInfo { dtype: Dtype::F32, shape: t.shape.clone(), data_offsets: (start, end) })
        };
        let infos = tensors.iter().map(|t| info(t)).collect();
        let metadata = HashMap::from([("langevin".to_string(), self.header())]);
        let metadata = Metadata::new(Some(metadata), infos).expect("shapes and values agree");
        let mut header = serde_json::to_vec(&metadata)?;
        header.resize(header.len().next_multiple_of(8), b' ');
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(&header)?;
        tensors.iter().try_for_each(|t| out.write_all(bytemuck::cast_slice(&t.values)))
    }

    /// Everything except the tensors, as JSON.
    fn header(&self) -> String {
        // The place of the data does not change the state; `config.toml` keeps it.
        let read = ReadOptions { place: None, ..self.config.read.clone() };
        let config = Config { read, ..self.config.clone() }.to_run_toml(&self.facts);
        let bits = |l: &Losses| std::iter::once(&l.total).chain(&l.terms).map(|v| v.to_bits()).collect();
        let pending: Vec<Vec<u64>> = self.pending.iter().map(bits).collect();
        let checksum = checksum(self.step, &config, &pending, &self.tensors);
        let header = Header { format: FORMAT, step: self.step, seed: self.config.seed, config, pending, checksum };
        serde_json::to_string(&header).expect("a header is JSON")
    }

    /// Reads a checkpoint.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read, [`Error::Input`] when it is damaged, truncated or not a checkpoint.
    pub fn load(path: &Path) -> Result<Self> {
        Self::try_load(path).map_err(|unusable| unusable.error)
    }

    /// [`Checkpoint::load`] with the kind of the failure.
    pub(in crate::train) fn try_load(path: &Path) -> std::result::Result<Self, Unusable> {
        let bytes = std::fs::read(path).map_err(|e| Error::io("cannot read", path, e))?;
        Self::parse(&bytes).map_err(|Unusable { error, other_version }| Unusable {
            error: Error::input(format!("{}: {error}", path.display())),
            other_version,
        })
    }

    fn parse(bytes: &[u8]) -> std::result::Result<Self, Unusable> {
        let damaged =
            |e: &dyn std::fmt::Display| Error::input(format!("not a safetensors file, or damaged or truncated ({e})"));
        let file = SafeTensors::deserialize(bytes).map_err(|e| damaged(&e))?;
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|e| damaged(&e))?;
        let header = metadata.metadata().as_ref().and_then(|m| m.get("langevin"));
        let header = header.ok_or_else(|| {
            Error::input(
                "the settings of the run are missing: another program wrote this safetensors file, or saved it again \
                 without its metadata",
            )
        })?;
        let header: serde_json::Value = serde_json::from_str(header).map_err(|e| damaged(&e))?;
        match header["format"].as_u64() {
            Some(format) if format > u64::from(FORMAT) => {
                return Err(Unusable::of_version(format!(
                    "written by a newer version of langevin, in format {format}; this version reads format {FORMAT}: \
                     update langevin to use it"
                )));
            }
            Some(format) if format < u64::from(FORMAT) => {
                let text = format!("format {format} of an older version of langevin, which this version cannot read");
                return Err(Unusable::of_version(text));
            }
            _ => {}
        }
        let header: Header = serde_json::from_value(header).map_err(|e| damaged(&e))?;
        let mut tensors = Vec::new();
        for (name, view) in file.iter() {
            if view.dtype() != Dtype::F32 {
                return Err(Error::input(format!(
                    "{name} has type {:?}, but langevin writes type F32: the file was changed after langevin wrote it",
                    view.dtype()
                ))
                .into());
            }
            let values = bytemuck::pod_collect_to_vec(view.data());
            tensors.push(TensorData { name: name.to_string(), shape: view.shape().to_vec(), values });
        }
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        if checksum(header.step, &header.config, &header.pending, &tensors) != header.checksum {
            return Err(Error::input(
                "the checksum does not match: the weights were changed after langevin wrote the file, or it is damaged",
            )
            .into());
        }
        let losses = |bits: &Vec<u64>| {
            let mut values = bits.iter().map(|&v| f64::from_bits(v));
            values.next().map(|total| Losses { total, terms: values.collect() })
        };
        let pending = header.pending.iter().filter_map(losses).collect();
        // The checksum matches, so that these are the settings that were written.
        let (config, facts) = Config::parse_run(&header.config).map_err(|e| {
            Unusable::of_version(format!(
                "its settings are those of another version of langevin ({e}); update langevin"
            ))
        })?;
        let facts = facts.ok_or_else(|| Error::input("the checkpoint has no facts about its data"))?;
        let checkpoint = Self { config, facts, step: header.step, tensors, pending };
        checkpoint.check()?;
        Ok(checkpoint)
    }

    /// Checks what the checksum does not protect from: another program may write any numbers with a correct checksum.
    ///
    /// # Errors
    /// [`Error::Input`] with the number that langevin does not write.
    fn check(&self) -> Result<()> {
        let refuse = |text: String| Err(Error::input(format!("{text}: langevin did not write this checkpoint")));
        self.facts.check().or_else(refuse)?;
        self.config.check_stored().or_else(|e| refuse(e.to_string()))?;
        let (pending, step, terms) = (self.pending.len(), self.step, self.config.loss.terms().len());
        if pending > HISTORY || pending > step as usize {
            return refuse(format!("{pending} losses since the last row of metrics.csv, after {step} steps"));
        }
        match self.pending.iter().find(|losses| losses.terms.len() != terms) {
            Some(losses) => refuse(format!("{} loss terms, but the loss has {terms}", losses.terms.len())),
            None => Ok(()),
        }
    }
}

/// The CRC-32 of the whole state, with the tensors in the order of their names.
fn checksum(step: u32, config: &str, pending: &[Vec<u64>], tensors: &[TensorData]) -> u32 {
    let mut crc = Crc::new();
    crc.update(&step.to_le_bytes());
    crc.update(config.as_bytes());
    pending.iter().for_each(|bits| crc.update(format!("{bits:?}").as_bytes()));
    let mut tensors: Vec<_> = tensors.iter().collect();
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    for t in tensors {
        crc.update(format!("{} {:?}", t.name, t.shape).as_bytes());
        crc.update(bytemuck::cast_slice(&t.values));
    }
    crc.sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Kind;
    use crate::train::Facts;
    use safetensors::tensor::TensorView;

    fn bytes(checkpoint: &Checkpoint) -> Vec<u8> {
        checkpoint.to_bytes()
    }

    fn checkpoint() -> Checkpoint {
        let tensor = |name: &str, len| TensorData { name: name.into(), shape: vec![len], values: vec![0.5; len] };
        let pending = vec![Losses { total: 0.1, terms: vec![1.0 / 3.0] }];
        let facts = Facts::example(Kind::Signals, &[8]);
        Checkpoint {
            config: Config::default(),
            facts,
            step: 7,
            tensors: vec![tensor("a", 3), tensor("ema.a", 3)],
            pending,
        }
    }

    #[test]
    fn a_checkpoint_reads_back() {
        let file = bytes(&checkpoint());
        assert_eq!(Checkpoint::parse(&file).unwrap(), checkpoint());
        assert_eq!(file, bytes(&checkpoint()));
        // A schedule that does not end in noise, which new runs cannot have.
        let old = Checkpoint { config: Config { diffusion_steps: 100, ..Config::default() }, ..checkpoint() };
        assert!(old.config.check().is_err());
        assert_eq!(Checkpoint::parse(&bytes(&old)).unwrap(), old);
    }

    /// For every order of the tensors, with and without padding of the header.
    #[test]
    fn a_file_equals_that_of_the_safetensors_crate() {
        for len in 0..9 {
            let mut checkpoint = checkpoint();
            for name in ["b".repeat(len + 1), "B".to_string()] {
                checkpoint.tensors.push(TensorData { name, shape: vec![len, 2], values: vec![1.5; 2 * len] });
            }
            let metadata = HashMap::from([("langevin".to_string(), checkpoint.header())]);
            assert_eq!(bytes(&checkpoint), serialized(&checkpoint, Some(metadata)));
        }
    }

    /// A file whose header is changed, with the checksum of the changed settings.
    fn with_header(change: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
        let checkpoint = checkpoint();
        let mut header: serde_json::Value = serde_json::from_str(&checkpoint.header()).unwrap();
        change(&mut header);
        let bits = |l: &Losses| std::iter::once(&l.total).chain(&l.terms).map(|v| v.to_bits()).collect();
        let pending: Vec<Vec<u64>> = checkpoint.pending.iter().map(bits).collect();
        let config = header["config"].as_str().unwrap().to_string();
        header["checksum"] = checksum(checkpoint.step, &config, &pending, &checkpoint.tensors).into();
        serialized(&checkpoint, Some(HashMap::from([("langevin".to_string(), header.to_string())])))
    }

    fn serialized(checkpoint: &Checkpoint, metadata: Option<HashMap<String, String>>) -> Vec<u8> {
        let views = checkpoint.tensors.iter().map(|t| {
            let bytes = bytemuck::cast_slice(&t.values);
            (t.name.as_str(), TensorView::new(Dtype::F32, t.shape.clone(), bytes).unwrap())
        });
        safetensors::serialize(views, metadata).unwrap()
    }

    #[test]
    fn files_of_other_versions_and_programs_are_not_called_damaged() {
        let unusable = |bytes: &[u8]| {
            let Unusable { error, other_version } = Checkpoint::parse(bytes).unwrap_err();
            (error.to_string(), other_version)
        };
        let (text, other) = unusable(&with_header(|header| {
            header["format"] = 2.into();
            header.as_object_mut().unwrap().remove("step");
        }));
        assert!(other && text.contains("newer version of langevin, in format 2") && text.contains("update"), "{text}");
        let (text, other) = unusable(&with_header(|header| {
            let config = header["config"].as_str().unwrap();
            header["config"] = format!("unheard_of = 1\n{config}").into();
        }));
        assert!(other && text.contains("another version of langevin") && text.contains("unheard_of"), "{text}");
        let (text, other) = unusable(&serialized(&checkpoint(), None));
        assert!(!other && text.contains("the settings of the run are missing"), "{text}");
        let mut changed = checkpoint();
        changed.tensors[0].values[0] = 0.25;
        let metadata = HashMap::from([("langevin".to_string(), checkpoint().header())]);
        let (text, other) = unusable(&serialized(&changed, Some(metadata)));
        assert!(!other && text.contains("changed after langevin wrote the file"), "{text}");
    }

    /// Files of another program, whose checksum is correct.
    #[test]
    fn numbers_that_langevin_does_not_write_are_refused() {
        let refused = |change: &dyn Fn(&mut Checkpoint), words: &str| {
            let mut changed = checkpoint();
            change(&mut changed);
            let message = Checkpoint::parse(&bytes(&changed)).unwrap_err().error.to_string();
            assert!(message.contains(words) && message.contains("langevin did not write"), "{message}");
        };
        let losses = |terms| Losses { total: 1.0, terms: vec![1.0; terms] };
        refused(&|c| c.facts.samples = i64::MAX as usize, "9223372036854775807 samples of shape [8]");
        refused(&|c| c.facts.samples = 0, "0 samples");
        refused(&|c| c.facts.shape = vec![1 << 40, 1 << 40], "shape [1099511627776, 1099511627776]");
        refused(&|c| c.facts.shape = vec![0], "shape [0]");
        refused(&|c| c.facts.normalisation.scale = vec![], "a normalisation");
        refused(&|c| c.facts.normalisation.scale = vec![0.0], "a normalisation");
        refused(&|c| c.facts.range = vec![[0.0, 1.0]; 3], "a range");
        refused(&|c| c.pending = vec![losses(1); 8], "8 losses since the last row of metrics.csv, after 7 steps");
        refused(&|c| (c.step, c.pending) = (1 << 20, vec![losses(1); HISTORY + 1]), "losses since the last row");
        refused(&|c| c.pending = vec![losses(2)], "2 loss terms, but the loss has 1");
        refused(&|c| c.config.validation_every = 0, "validation_every");
    }

    #[test]
    fn every_damage_is_detected() {
        let good = bytes(&checkpoint());
        for at in 0..good.len() {
            assert!(Checkpoint::parse(&good[..at]).is_err(), "cut at {at}");
            for bit in 0..8 {
                let mut damaged = good.clone();
                damaged[at] ^= 1 << bit;
                // Some bytes have no effect: spaces, and the seed, which is also in the settings.
                if let Ok(read) = Checkpoint::parse(&damaged) {
                    assert_eq!(read, checkpoint(), "bit {bit} of byte {at}");
                }
            }
        }
    }
}
