//! JSON files of a model's folder: read whole, of bounded size, with errors that name the key.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::refusal;
use crate::error::{Error, OneLine};

/// The largest file that is read; the largest tokenizers so far take some 35 MB.
const MAX_BYTES: u64 = 256 << 20;

/// A file whose text is a JSON object.
#[derive(Debug)]
pub(super) struct Document {
    path: PathBuf,
    root: Value,
}

impl Document {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be read or is too large, [`Error::Model`] if it is no object.
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let bytes = read_bounded(path, MAX_BYTES)?;
        let root: Value = serde_json::from_slice(&bytes)
            .map_err(|error| refusal(path, format!("not valid JSON: {error}")))?;
        if !root.is_object() {
            return Err(refusal(path, "not a JSON object"));
        }
        Ok(Self { path: path.into(), root })
    }

    /// Reads what `P` wants of a file, if it is there, and keeps nothing else of it.
    ///
    /// # Errors
    /// As [`Document::read`].
    pub(super) fn read_part<P: DeserializeOwned + Serialize>(
        path: &Path,
    ) -> Result<Option<Self>, Error> {
        if !path.is_file() {
            return Ok(None);
        }
        let bytes = read_bounded(path, MAX_BYTES)?;
        let part = serde_json::from_slice::<P>(&bytes).and_then(serde_json::to_value);
        let root = part.map_err(|error| refusal(path, format!("not valid JSON: {error}")))?;
        Ok(Some(Self { path: path.into(), root }))
    }

    /// Reads a file if it is there.
    ///
    /// # Errors
    /// As [`Document::read`].
    pub(super) fn read_optional(path: &Path) -> Result<Option<Self>, Error> {
        path.is_file().then(|| Self::read(path)).transpose()
    }

    /// The object that the file is.
    pub(super) const fn root(&self) -> &Value {
        &self.root
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The object, to be changed before it is read.
    pub(super) fn root_mut(&mut self) -> &mut Value {
        &mut self.root
    }

    /// The error for a value of the wrong kind.
    pub(super) fn wrong(&self, key: &str, expected: &str) -> Error {
        refusal(&self.path, format!("{key} is not {expected}"))
    }

    /// The error for something that is not supported.
    pub(super) fn refuse(&self, what: impl Into<String>) -> Error {
        refusal(&self.path, what)
    }

    /// A value, if the key is there and not null.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.root.get(key).filter(|value| !value.is_null())
    }

    /// A whole number in `1..=max`, if it is there.
    pub(super) fn count(&self, key: &str, max: usize) -> Result<Option<usize>, Error> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let count = value.as_u64().and_then(|count| usize::try_from(count).ok());
        match count.filter(|count| (1..=max).contains(count)) {
            Some(count) => Ok(Some(count)),
            None => Err(self.wrong(key, &format!("a whole number from 1 to {max}"))),
        }
    }

    /// A positive number, if it is there.
    pub(super) fn positive(&self, key: &str) -> Result<Option<f64>, Error> {
        self.positive_in(&self.root, key)
    }

    /// The same of an object inside.
    pub(super) fn positive_in(&self, object: &Value, key: &str) -> Result<Option<f64>, Error> {
        let Some(value) = object.get(key).filter(|value| !value.is_null()) else { return Ok(None) };
        // Judged as the single float that is written.
        match value.as_f64().filter(|&x| x as f32 > 0.0 && (x as f32).is_finite()) {
            Some(value) => Ok(Some(value)),
            None => Err(self.wrong(key, "a positive number")),
        }
    }

    /// A boolean, if it is there.
    pub(super) fn boolean(&self, key: &str) -> Result<Option<bool>, Error> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| self.wrong(key, "true or false"))
    }
}

/// A value for an error message: short, and on one line.
pub(super) fn shown(value: &Value) -> String {
    const SHOWN: usize = 160;
    let text = value.to_string();
    let short: String = text.chars().take(SHOWN).collect();
    let dots = if short.len() < text.len() { "…" } else { "" };
    format!("{}{dots}", OneLine(&short))
}

/// Returns a file's bytes, or an error if there are more than `max`.
pub(super) fn read_bounded(path: &Path, max: u64) -> Result<Vec<u8>, Error> {
    let fail = |source: io::Error| Error::file(path, &source);
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(fail)?;
    file.take(max + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > max {
        return Err(Error::File {
            path: path.into(),
            what: format!("larger than {} MiB, which no such file is", max >> 20),
        });
    }
    Ok(bytes)
}
