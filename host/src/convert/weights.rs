//! The weights of a folder: one or several safetensors files, and what is in them.
//!
//! Headers are read and checked when a folder is opened; data are read in pieces when they are
//! wanted, so that no more than a piece is in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Metadata};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use safetensors::tensor::Metadata as Header;

use super::json::{Document, shown};
use super::{refusal, some_of};
use crate::error::{Error, OneLine};

/// The largest header that the format allows.
const MAX_HEADER: u64 = 100_000_000;

/// How the one file is called, and the table of several.
const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// A file of tensors.
#[derive(Debug)]
struct Part {
    path: PathBuf,
    file: File,
    /// Length and time of the last change when it was opened.
    stamp: (u64, i64, i64),
}

fn stamp(metadata: &Metadata) -> (u64, i64, i64) {
    (metadata.len(), metadata.mtime(), metadata.mtime_nsec())
}

/// A tensor as a file has it.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) name: String,
    pub(super) dtype: Dtype,
    /// The contiguous dimension last.
    pub(super) shape: Vec<usize>,
    part: usize,
    offset: u64,
}

/// All tensors of a folder: part by part, in each by name.
#[derive(Debug)]
pub(super) struct Weights {
    parts: Vec<Part>,
    pub(super) sources: Vec<Source>,
}

impl Weights {
    /// Opens the files of a folder and reads their headers.
    ///
    /// # Errors
    /// [`Error::File`] if a file is missing or cannot be read, [`Error::Model`] if one is broken or
    /// the index says something else than the files.
    pub(super) fn open(folder: &Path) -> Result<Self, Error> {
        let index = Document::read_optional(&folder.join(INDEX))?;
        let listed = index.as_ref().map(weight_map).transpose()?;
        let names = match &listed {
            Some(listed) => listed.values().copied().map(str::to_owned).collect(),
            None => part_names(folder)?,
        };
        let mut weights = Self { parts: Vec::new(), sources: Vec::new() };
        for name in names {
            weights.add(folder.join(&name), index.is_some())?;
        }
        if let (Some(index), Some(listed)) = (&index, &listed) {
            weights.compare(index, listed)?;
        }
        Ok(weights)
    }

    /// Reads the header of one more part.
    fn add(&mut self, path: PathBuf, from_index: bool) -> Result<(), Error> {
        if from_index && !path.is_file() {
            let what = format!("no such file, though {INDEX} names it; get the whole model");
            return Err(Error::File { path, what });
        }
        let fail = |source| Error::file(&path, &source);
        let file = File::open(&path).map_err(fail)?;
        let stamp = stamp(&file.metadata().map_err(fail)?);
        let bytes = stamp.0;
        let mut length = [0; 8];
        if bytes < 8 {
            return Err(refusal(&path, "too short to be a safetensors file; download it again"));
        }
        file.read_exact_at(&mut length, 0).map_err(fail)?;
        let length = u64::from_le_bytes(length);
        if length > MAX_HEADER || length > bytes - 8 {
            return Err(refusal(
                &path,
                format!(
                    "no safetensors file, or cut short: its header should take {length} bytes, of \
                     {} that are there",
                    bytes - 8
                ),
            ));
        }
        let mut text = vec![0; length as usize];
        file.read_exact_at(&mut text, 8).map_err(fail)?;
        let header: Header = serde_json::from_slice(&text).map_err(|error| {
            let what = error.to_string();
            refusal(&path, format!("its header is broken: {}", OneLine(&what)))
        })?;
        let data = bytes - 8 - length;
        if header.data_len() as u64 != data {
            return Err(refusal(
                &path,
                format!(
                    "its header tells of {} bytes of tensors, but {data} are there; download it \
                     again",
                    header.data_len()
                ),
            ));
        }
        let part = self.parts.len();
        let tensors: BTreeMap<_, _> = header.tensors().into_iter().collect();
        self.sources.extend(tensors.into_iter().map(|(name, info)| Source {
            name,
            dtype: info.dtype,
            shape: info.shape.clone(),
            part,
            offset: 8 + length + info.data_offsets.0 as u64,
        }));
        self.parts.push(Part { path, file, stamp });
        Ok(())
    }

    /// The index and the files must tell of the same tensors.
    fn compare(&self, index: &Document, listed: &BTreeMap<&str, &str>) -> Result<(), Error> {
        let found: BTreeSet<&str> = self.sources.iter().map(|source| &*source.name).collect();
        let missing: Vec<_> = listed.keys().copied().filter(|name| !found.contains(name)).collect();
        if !missing.is_empty() {
            return Err(
                index.refuse(format!("names tensors that no file has: {}", some_of(missing)))
            );
        }
        let extra: Vec<_> =
            found.iter().copied().filter(|name| !listed.contains_key(name)).collect();
        if !extra.is_empty() {
            return Err(
                index.refuse(format!("does not name tensors of the files: {}", some_of(extra)))
            );
        }
        Ok(())
    }

    /// The file that a tensor is in.
    pub(super) fn path(&self, source: &Source) -> &Path {
        self.parts.get(source.part).map_or(Path::new(""), |part| &part.path)
    }

    /// Says whether the files are still those that were opened.
    ///
    /// # Errors
    /// [`Error::Changed`].
    pub(super) fn check_unchanged(&self) -> Result<(), Error> {
        let changed = |part: &&Part| {
            part.file.metadata().map_or(true, |metadata| stamp(&metadata) != part.stamp)
        };
        match self.parts.iter().find(changed) {
            Some(part) => Err(Error::Changed { path: part.path.clone() }),
            None => Ok(()),
        }
    }

    /// Reads bytes of a tensor, from `start` on.
    pub(super) fn read(&self, source: &Source, start: u64, out: &mut [u8]) -> Result<(), Error> {
        let Some(part) = self.parts.get(source.part) else { return Ok(()) };
        let read = part.file.read_exact_at(out, source.offset + start);
        read.map_err(|error| Error::file(&part.path, &error))
    }
}

/// The index: tensor to file.
fn weight_map(index: &Document) -> Result<BTreeMap<&str, &str>, Error> {
    let map = index.get("weight_map").and_then(|map| map.as_object());
    let map = map.ok_or_else(|| index.wrong("weight_map", "an object"))?;
    map.iter()
        .map(|(tensor, file)| match file.as_str() {
            // Files beside the index, and nothing else.
            Some(name) if Path::new(name).file_name() == Some(name.as_ref()) => {
                Ok((&**tensor, name))
            }
            _ => Err(index.refuse(format!("{} is not the name of a file beside it", shown(file)))),
        })
        .collect()
}

/// The files of a folder without an index, in order.
fn part_names(folder: &Path) -> Result<BTreeSet<String>, Error> {
    let entries = fs::read_dir(folder).map_err(|source| Error::file(folder, &source))?;
    let names: BTreeSet<String> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.path().is_file())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with("model") && name.ends_with(".safetensors"))
        .collect();
    if names.is_empty() {
        let pickled = folder.join("pytorch_model.bin").exists();
        let what = if pickled {
            "no such file; pytorch_model.bin is not read, so save the model as safetensors first"
        } else {
            "no such file; get the model's weights"
        };
        return Err(Error::File { path: folder.join(SINGLE), what: what.into() });
    }
    Ok(names)
}

impl Source {
    /// Bytes of an element; only types of whole bytes are ever read.
    pub(super) fn width(&self) -> usize {
        self.dtype.bitsize() / 8
    }

    /// Bytes of all of it. The header was found to have room for them.
    pub(super) fn bytes(&self) -> u64 {
        self.shape.iter().product::<usize>() as u64 * self.width() as u64
    }
}
