//! Writing `.npy` files, row by row: a table of logits is larger than memory before long.

use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::new_file::NewFile;

/// A two-dimensional array of little-endian floats that is being written; see [`NewFile`].
pub struct NpyWriter {
    file: NewFile,
    path: PathBuf,
    n_rows: usize,
    n_cols: usize,
    written: usize,
}

/// The format's fixed beginning: magic and version 1.0.
const MAGIC: &[u8; 8] = b"\x93NUMPY\x01\x00";

/// The bytes before the data: padded so that the data begin at a multiple of 64.
fn header(n_rows: usize, n_cols: usize) -> Vec<u8> {
    let mut text =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({n_rows}, {n_cols}), }}");
    let fixed = MAGIC.len() + 2;
    let padded = (fixed + text.len() + 1).next_multiple_of(64) - fixed;
    text.extend(std::iter::repeat_n(' ', padded - 1 - text.len()));
    text.push('\n');
    let mut header = MAGIC.to_vec();
    // Two numbers of at most 20 digits: the length is far below 65,536.
    header.extend((padded as u16).to_le_bytes());
    header.extend(text.into_bytes());
    header
}

impl NpyWriter {
    /// Starts `path` as an array of `n_rows` × `n_cols` floats.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn create(path: &Path, n_rows: usize, n_cols: usize) -> Result<Self, Error> {
        let header = header(n_rows, n_cols);
        let bytes = n_rows.saturating_mul(n_cols).saturating_mul(4).saturating_add(header.len());
        let mut file = NewFile::create(path, Some(bytes as u64))?;
        file.write(&header)?;
        Ok(Self { file, path: path.into(), n_rows, n_cols, written: 0 })
    }

    /// Appends one or several whole rows.
    ///
    /// # Errors
    /// [`Error::Write`]; [`Error::Engine`] if the values are no whole rows or too many.
    pub fn rows(&mut self, values: &[f32]) -> Result<(), Error> {
        let n_rows = values.len().checked_div(self.n_cols).unwrap_or(0);
        if n_rows * self.n_cols != values.len() || self.written + n_rows > self.n_rows {
            return Err(self.misfit(values.len()));
        }
        let mut bytes = [0; 4096];
        for chunk in values.chunks(bytes.len() / 4) {
            for (bytes, value) in bytes.chunks_exact_mut(4).zip(chunk) {
                bytes.copy_from_slice(&value.to_le_bytes());
            }
            let used = bytes.get(..chunk.len() * 4).unwrap_or_default();
            self.file.write(used)?;
        }
        self.written += n_rows;
        Ok(())
    }

    /// Whether all rows have been written.
    pub fn is_whole(&self) -> bool {
        self.written == self.n_rows
    }

    fn misfit(&self, n_values: usize) -> Error {
        Error::Engine(format!(
            "{}: {n_values} values after row {} of an array of {} × {}",
            crate::error::Shown(&self.path),
            self.written,
            self.n_rows,
            self.n_cols,
        ))
    }

    /// Completes the file and gives it its name.
    ///
    /// # Errors
    /// [`Error::Write`]; [`Error::Engine`] if rows are missing.
    pub fn finish(self) -> Result<(), Error> {
        if self.written != self.n_rows {
            return Err(self.misfit(0));
        }
        self.file.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn bytes_are_those_of_numpy() {
        // numpy.save of numpy.arange(6, dtype="<f4").reshape(2, 3)
        let mut expected = b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', 'fortran_order': False, \
            'shape': (2, 3), }"
            .to_vec();
        expected.resize(127, b' ');
        expected.push(b'\n');
        for value in 0..6 {
            expected.extend((value as f32).to_le_bytes());
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        let mut writer = NpyWriter::create(&path, 2, 3).unwrap();
        writer.rows(&[0.0, 1.0, 2.0]).unwrap();
        writer.rows(&[3.0, 4.0, 5.0]).unwrap();
        assert!(writer.rows(&[0.0; 3]).is_err());
        writer.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), expected);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_unfinished_file_does_not_appear() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        let mut writer = NpyWriter::create(&path, 2, 3).unwrap();
        assert!(writer.rows(&[0.0; 4]).is_err());
        writer.rows(&[0.0; 3]).unwrap();
        assert!(writer.finish().is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
