//! Event files of TensorBoard: a scalar for each column of `metrics.csv`, and the previews as images.
//!
//! A file is a sequence of records: the length of the data (u64), a masked CRC-32C of it, the data, a masked CRC-32C of the
//! data, in little-endian order (TensorFlow, `record_writer.h`). The data of each record is a protocol buffer `Event`
//! (`event.proto`, `summary.proto`).

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::Error;
use crate::train::EVENTS;
use crc::{CRC_32_ISCSI, Crc, Table};

/// An event file of a run.
pub struct TensorBoard {
    path: PathBuf,
    file: BufWriter<File>,
}

impl TensorBoard {
    /// Creates the event file of a run that continues after `step`: TensorBoard hides what earlier files have after it.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be created.
    pub fn create(run: &Path, step: u32) -> crate::Result<Self> {
        let folder = run.join(EVENTS);
        fs::create_dir_all(&folder).map_err(|e| Error::io("cannot create the folder", &folder, e))?;
        let (seconds, process) = (now().floor(), std::process::id());
        let path = folder.join(format!("events.out.tfevents.{seconds:010}.langevin.{process}.{step}"));
        let file = File::create(&path).map_err(|e| Error::io("cannot create", &path, e))?;
        let mut board = Self { path, file: BufWriter::new(file) };
        board.write(&event(0, &text(3, "brain.Event:2")))?;
        if step > 0 {
            // A session starts (SessionLog.START): what has this step or a later one is hidden.
            board.write(&event(step + 1, &message(7, &integer(1, 1))))?;
        }
        Ok(board)
    }

    /// Adds the values of a row of `metrics.csv`, each with the name of its column.
    ///
    /// # Errors
    /// [`Error::Io`] when they cannot be written.
    pub fn row(&mut self, header: &str, row: &str) -> crate::Result<()> {
        let mut cells = row.split(',');
        let Some(step) = cells.next().and_then(|step| step.parse().ok()) else { return Ok(()) };
        let cells = header.split(',').skip(1).zip(cells);
        let mut values = Vec::new();
        for (name, cell) in cells {
            if let Ok(scalar) = cell.parse() {
                values.extend(value(name, &float(2, scalar)));
            }
        }
        self.write(&event(step, &message(5, &values)))
    }

    /// Adds a PNG file as an image.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read or written.
    pub fn image(&mut self, step: u32, name: &str, png: &Path) -> crate::Result<()> {
        let bytes = fs::read(png).map_err(|e| Error::io("cannot read", png, e))?;
        let (width, height) =
            image::image_dimensions(png).map_err(|e| Error::input(format!("{}: {e}", png.display())))?;
        // Three channels: RGB.
        let parts = [integer(1, height.into()), integer(2, width.into()), integer(3, 3), message(4, &bytes)];
        self.write(&event(step, &message(5, &value(name, &message(4, &parts.concat())))))
    }

    /// Writes a record, and all records to the file, so that TensorBoard shows them.
    fn write(&mut self, event: &[u8]) -> crate::Result<()> {
        let written = self.file.write_all(&record(event)).and_then(|()| self.file.flush());
        written.map_err(|e| Error::io("cannot write", &self.path, e))
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// The checksum of records: a CRC-32C that is rotated and shifted, since a CRC of data with a CRC in it is weak.
fn masked_crc(data: &[u8]) -> u32 {
    const CASTAGNOLI: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISCSI);
    CASTAGNOLI.checksum(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let (of_length, of_data) = (masked_crc(&length).to_le_bytes(), masked_crc(data).to_le_bytes());
    [&length[..], &of_length, data, &of_data].concat()
}

/// `Event`: the time, the step, and one more field.
fn event(step: u32, what: &[u8]) -> Vec<u8> {
    [&[(1 << 3) | 1][..], &now().to_le_bytes(), &integer(2, step.into()), what].concat()
}

/// A field of `Summary`: a `Value` with a tag.
fn value(tag: &str, what: &[u8]) -> Vec<u8> {
    message(1, &[&text(1, tag), what].concat())
}

/// A field of a protocol buffer: an integer.
fn integer(field: u8, value: u64) -> Vec<u8> {
    [&[field << 3][..], &varint(value)].concat()
}

fn float(field: u8, value: f32) -> Vec<u8> {
    [&[(field << 3) | 5][..], &value.to_le_bytes()].concat()
}

fn text(field: u8, text: &str) -> Vec<u8> {
    message(field, text.as_bytes())
}

/// A field with a length: a message, text or bytes.
fn message(field: u8, data: &[u8]) -> Vec<u8> {
    [&[(field << 3) | 2][..], &varint(data.len() as u64), data].concat()
}

/// Seven bits a byte, the lowest first; the top bit says that more follow.
fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3720, B.4: the CRC-32C of 32 zeros is 8a9136aa, of 32 bytes of ones 62a8ab43; here they are masked.
    #[test]
    fn records_have_the_checksum_of_castagnoli() {
        assert_eq!(masked_crc(&[0; 32]), 0x0fd7_fffa);
        assert_eq!(masked_crc(&[0xff; 32]), 0xf909_b029);
        let record = record(b"abc");
        assert_eq!((record.len(), record[0], &record[12..15]), (19, 3, &b"abc"[..]));
        assert_eq!(record[8..12], masked_crc(&record[..8]).to_le_bytes());
        assert_eq!(record[15..], masked_crc(b"abc").to_le_bytes());
    }

    #[test]
    fn fields_are_those_of_protocol_buffers() {
        assert_eq!(varint(300), [0xac, 0x02]);
        assert_eq!(integer(2, 1), [0x10, 1]);
        assert_eq!(float(2, 1.0), [0x15, 0, 0, 0x80, 0x3f]);
        assert_eq!(text(1, "ab"), [0x0a, 2, b'a', b'b']);
    }

    #[test]
    fn rows_become_events() {
        let dir = tempfile::tempdir().unwrap();
        let mut board = TensorBoard::create(dir.path(), 7).unwrap();
        board.row("step,loss,validation", "10,5e-1,").unwrap();
        let bytes = fs::read(&board.path).unwrap();
        let mut rest = &bytes[..];
        let mut events = Vec::new();
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            assert_eq!(rest[12 + length..16 + length], masked_crc(&rest[12..12 + length]).to_le_bytes());
            events.push(&rest[12..12 + length]);
            rest = &rest[16 + length..];
        }
        assert!(events[0].ends_with(b"brain.Event:2"));
        // Nine bytes for the time, then the step.
        assert_eq!(events[1][9..], [0x10, 8, 0x3a, 2, 0x08, 1]);
        let loss = [&[0x10, 10, 0x2a, 13, 0x0a, 11, 0x0a, 4][..], b"loss", &[0x15, 0, 0, 0, 0x3f]].concat();
        assert_eq!(events[2][9..], loss, "a validation that is not known is left out");
    }
}
