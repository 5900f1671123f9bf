//! Writing GGUF files: metadata, a table of tensors, then the tensors' data as a stream.
//!
//! The layout is that of version 3, as [`bantam_core::gguf`] tells it. What is known before the
//! data (names, shapes, types) is given first; data are then written in the order of the table, in
//! pieces of any size, so that a model larger than memory can be written.

use std::path::Path;

use bantam_core::gguf::{
    DEFAULT_ALIGNMENT, MAX_KEY_BYTES, MAX_METADATA, MAX_NAME_BYTES, MAX_TENSORS, Value, ValueType,
    keys,
};
use bantam_core::quant::GgmlType;

use crate::error::{Error, OneLine, Shown};
use crate::new_file::NewFile;

/// Keys and values, in order, each key once.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    /// A key, and its value's type and bytes as the file has them.
    entries: Vec<(String, Vec<u8>)>,
    alignment: Option<u32>,
}

impl Metadata {
    /// Sets a key to a value: one of a file, which may be an array, or any other that is none.
    /// A key that is there keeps its place.
    pub fn set(&mut self, key: &str, value: Value<'_>) {
        if key == keys::GENERAL_ALIGNMENT {
            self.alignment = value.as_u32();
        }
        let mut bytes = Vec::new();
        put_u32(&mut bytes, value.value_type() as u32);
        put_value(&mut bytes, &value);
        self.put(key, bytes);
    }

    /// Sets a key to an array.
    pub fn set_array<E: Element>(&mut self, key: &str, elements: impl IntoIterator<Item = E>) {
        let mut bytes = Vec::new();
        put_u32(&mut bytes, ValueType::Array as u32);
        put_u32(&mut bytes, E::TYPE as u32);
        let length = bytes.len();
        put_u64(&mut bytes, 0);
        let mut n = 0u64;
        for element in elements {
            put_value(&mut bytes, &element.value());
            n += 1;
        }
        if let Some(place) = bytes.get_mut(length..length + 8) {
            place.copy_from_slice(&n.to_le_bytes());
        }
        self.put(key, bytes);
    }

    /// Takes a key out, if it is there.
    pub fn remove(&mut self, key: &str) {
        if key == keys::GENERAL_ALIGNMENT {
            self.alignment = None;
        }
        self.entries.retain(|(present, _)| present != key);
    }

    /// Returns whether a key is there.
    pub fn contains(&self, key: &str) -> bool {
        self.entries.iter().any(|(present, _)| present == key)
    }

    fn put(&mut self, key: &str, bytes: Vec<u8>) {
        match self.entries.iter_mut().find(|(present, _)| present == key) {
            Some((_, value)) => *value = bytes,
            None => self.entries.push((key.into(), bytes)),
        }
    }
}

/// What an array may be made of.
pub trait Element {
    /// The type of each element.
    const TYPE: ValueType;
    /// The element as a value of that type.
    fn value(&self) -> Value<'_>;
}

macro_rules! elements {
    ($($ty:ty => $variant:ident),*) => {$(
        impl Element for $ty {
            const TYPE: ValueType = ValueType::$variant;
            fn value(&self) -> Value<'_> {
                Value::$variant(*self)
            }
        }
    )*};
}

elements! { u32 => U32, i32 => I32, f32 => F32, bool => Bool, u64 => U64 }

impl Element for &str {
    const TYPE: ValueType = ValueType::Str;
    fn value(&self) -> Value<'_> {
        Value::Str(self)
    }
}

impl Element for &[u8] {
    const TYPE: ValueType = ValueType::Str;
    fn value(&self) -> Value<'_> {
        Value::Bytes(self)
    }
}

/// A tensor that is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// The name, such as `blk.0.attn_q.weight`.
    pub name: String,
    /// Elements along each dimension, the contiguous one first; one to four.
    pub dims: Vec<u64>,
    /// The storage format.
    pub ty: GgmlType,
}

impl TensorSpec {
    /// Returns the number of elements, or `None` if it does not fit.
    pub fn n_elements(&self) -> Option<u64> {
        self.dims.iter().try_fold(1u64, |n, &dim| n.checked_mul(dim))
    }

    /// Returns the bytes that the data take, or `None` if rows are not made of whole blocks or the
    /// number does not fit.
    pub fn bytes(&self) -> Option<u64> {
        let n_cols = usize::try_from(*self.dims.first()?).ok()?;
        let n_rows = self.dims.get(1..)?.iter().try_fold(1u64, |n, &dim| n.checked_mul(dim))?;
        n_rows.checked_mul(self.ty.row_bytes(n_cols)? as u64)
    }
}

/// A GGUF file that is being written.
#[derive(Debug)]
pub struct GgufWriter {
    file: NewFile,
    path: String,
    alignment: u64,
    /// Bytes of the tensors whose data have not begun, the next one last.
    waiting: Vec<u64>,
    /// Bytes that the current tensor lacks, and those of padding that follow it.
    left: u64,
    padding: u64,
}

impl GgufWriter {
    /// Begins the file that is to be `path`.
    ///
    /// # Errors
    /// [`Error::Write`] if it cannot be made or does not fit on the disk, or if there is a tensor
    /// or key that no such file can hold.
    pub fn create(path: &Path, metadata: &Metadata, tensors: &[TensorSpec]) -> Result<Self, Error> {
        let shown = Shown(path).to_string();
        let alignment = u64::from(metadata.alignment.unwrap_or(DEFAULT_ALIGNMENT).max(1));
        let (header, mut waiting) = header(metadata, tensors, alignment)
            .map_err(|what| Error::write(shown.clone(), std::io::Error::other(what)))?;
        let data = waiting.iter().map(|bytes| bytes.next_multiple_of(alignment)).sum::<u64>();
        let mut file = NewFile::create(path, Some(header.len() as u64 + data))?;
        file.write(&header)?;
        waiting.reverse();
        Ok(Self { file, path: shown, alignment, waiting, left: 0, padding: 0 })
    }

    /// Appends data: of the tensor that lacks some, then of the next in the table.
    ///
    /// # Errors
    /// [`Error::Write`], also for more data than the table has tensors for.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            if self.left == 0 {
                self.left = self.waiting.pop().ok_or_else(|| self.misfit("more"))?;
                self.padding = self.left.next_multiple_of(self.alignment) - self.left;
            }
            let n = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
            let (now, later) = bytes.split_at(n);
            self.file.write(now)?;
            self.left -= n as u64;
            bytes = later;
            if self.left == 0 {
                self.file.write(&vec![0; self.padding as usize])?;
            }
        }
        Ok(())
    }

    /// Puts the file on the disk under its name.
    ///
    /// # Errors
    /// [`Error::Write`], also if data are missing.
    pub fn finish(self) -> Result<(), Error> {
        self.finish_checked(|_| Ok(()))
    }

    /// As [`GgufWriter::finish`], if `check` finds nothing wrong with the whole file, which it gets
    /// under another name.
    ///
    /// # Errors
    /// As [`GgufWriter::finish`], and whatever `check` returns; there is then no new file.
    pub fn finish_checked(
        self,
        check: impl FnOnce(&Path) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if self.left > 0 || self.waiting.iter().any(|&bytes| bytes > 0) {
            return Err(self.misfit("less"));
        }
        self.file.finish_checked(check)
    }

    fn misfit(&self, which: &str) -> Error {
        let what = format!("{which} data than its tensors have; this is a fault of the program");
        Error::write(self.path.clone(), std::io::Error::other(what))
    }
}

/// Everything before the data, and the bytes of each tensor; or what is wrong.
fn header(
    metadata: &Metadata,
    tensors: &[TensorSpec],
    alignment: u64,
) -> Result<(Vec<u8>, Vec<u64>), String> {
    if metadata.entries.len() > MAX_METADATA || tensors.len() > MAX_TENSORS {
        return Err(format!(
            "{} metadata entries and {} tensors are more than a file may have, {MAX_METADATA} and \
             {MAX_TENSORS}",
            metadata.entries.len(),
            tensors.len()
        ));
    }
    let mut out = b"GGUF".to_vec();
    put_u32(&mut out, 3);
    put_u64(&mut out, tensors.len() as u64);
    put_u64(&mut out, metadata.entries.len() as u64);
    for (key, value) in &metadata.entries {
        if key.len() > MAX_KEY_BYTES {
            return Err(format!("the key {} is too long", OneLine(key)));
        }
        put_string(&mut out, key.as_bytes());
        out.extend(value);
    }
    let (mut offset, mut lengths) = (0u64, Vec::with_capacity(tensors.len()));
    for tensor in tensors {
        let name = OneLine(&tensor.name);
        if tensor.name.len() > MAX_NAME_BYTES || !(1..=4).contains(&tensor.dims.len()) {
            return Err(format!(
                "the tensor {name} has {} dimensions and a name of {} bytes; 1 to 4 and \
                 {MAX_NAME_BYTES} are possible",
                tensor.dims.len(),
                tensor.name.len()
            ));
        }
        let bytes = tensor.bytes().ok_or_else(|| {
            format!("the rows of tensor {name} are not made of whole blocks of {}", tensor.ty)
        })?;
        put_string(&mut out, tensor.name.as_bytes());
        put_u32(&mut out, tensor.dims.len() as u32);
        for &dim in &tensor.dims {
            put_u64(&mut out, dim);
        }
        put_u32(&mut out, tensor.ty.id());
        put_u64(&mut out, offset);
        lengths.push(bytes);
        offset = bytes
            .checked_next_multiple_of(alignment)
            .and_then(|bytes| offset.checked_add(bytes))
            .ok_or_else(|| format!("the tensor {name} ends past what offsets can say"))?;
    }
    out.resize(out.len().next_multiple_of(alignment as usize), 0);
    Ok((out, lengths))
}

fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend(value.to_le_bytes());
}

fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend(value.to_le_bytes());
}

fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u64(out, bytes.len() as u64);
    out.extend(bytes);
}

/// A value's bytes, without its type.
fn put_value(out: &mut Vec<u8>, value: &Value<'_>) {
    match *value {
        Value::U8(v) => out.push(v),
        Value::I8(v) => out.extend(v.to_le_bytes()),
        Value::U16(v) => out.extend(v.to_le_bytes()),
        Value::I16(v) => out.extend(v.to_le_bytes()),
        Value::U32(v) => put_u32(out, v),
        Value::I32(v) => out.extend(v.to_le_bytes()),
        Value::F32(v) => out.extend(v.to_le_bytes()),
        Value::Bool(v) => out.push(v.into()),
        Value::Str(v) => put_string(out, v.as_bytes()),
        Value::Bytes(v) => put_string(out, v),
        Value::U64(v) => put_u64(out, v),
        Value::I64(v) => out.extend(v.to_le_bytes()),
        Value::F64(v) => out.extend(v.to_le_bytes()),
        Value::Array(array) => {
            put_u32(out, array.ty() as u32);
            put_u64(out, array.len() as u64);
            out.extend(array.bytes());
        }
        // Values are marked so that kinds can be added; a file has none but these.
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bantam_core::gguf::Gguf;
    use std::fs;

    fn spec(name: &str, dims: &[u64], ty: GgmlType) -> TensorSpec {
        TensorSpec { name: name.into(), dims: dims.into(), ty }
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("out.gguf");
        let mut metadata = Metadata::default();
        metadata.set("general.architecture", Value::Str("llama"));
        metadata.set("a.f64", Value::F64(0.5));
        metadata.set_array("a.words", ["one", "", "three"]);
        metadata.set_array("a.bytes", [b"\xff\x00".as_slice()]);
        metadata.set_array("a.floats", [1.0f32, -0.0]);
        metadata.set("a.gone", Value::Bool(true));
        metadata.remove("a.gone");
        metadata.set("a.f64", Value::U8(7));
        let specs = [
            spec("odd", &[3], GgmlType::F32),
            spec("blocks", &[32, 2, 1, 1], GgmlType::Q4_0),
            spec("last", &[5, 2], GgmlType::F16),
        ];
        let data: Vec<Vec<u8>> =
            vec![(0..12).collect(), (0..36).rev().collect(), (100..120).collect()];
        let mut writer = GgufWriter::create(&path, &metadata, &specs).expect("writable");
        // In pieces that begin and end anywhere.
        let all: Vec<u8> = data.concat();
        for piece in all.chunks(7) {
            writer.write(piece).expect("writable");
        }
        writer.finish().expect("whole");

        let bytes = fs::read(&path).expect("there");
        let gguf = Gguf::parse(&bytes).expect("well-formed");
        let keys: Vec<_> = gguf.metadata().map(|(key, _)| key).collect();
        assert_eq!(keys, ["general.architecture", "a.f64", "a.words", "a.bytes", "a.floats"]);
        assert_eq!(gguf.get("a.f64"), Some(Value::U8(7)));
        let array = |key| gguf.get(key).and_then(|value| value.as_array()).expect("an array");
        let words: Vec<_> = array("a.words").iter().collect();
        assert_eq!(words, [Value::Str("one"), Value::Str(""), Value::Str("three")]);
        let bytes: Vec<_> = array("a.bytes").iter().collect();
        assert_eq!(bytes, [Value::Bytes(b"\xff\x00")]);
        assert_eq!(array("a.floats").f32s().expect("floats").collect::<Vec<_>>(), [1.0, -0.0]);
        for ((tensor, spec), data) in gguf.tensors().zip(&specs).zip(&data) {
            assert_eq!((tensor.name, tensor.ty), (spec.name.as_str(), spec.ty));
            assert_eq!(tensor.dims[..tensor.n_dims as usize], spec.dims);
            assert_eq!(tensor.view.bytes(), data);
        }
    }

    #[test]
    fn metadata_of_a_file_is_copied_bit_for_bit() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("copy.gguf");
        let original = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/models/gemma3.gguf");
        let original = fs::read(original).expect("a fixture");
        let gguf = Gguf::parse(&original).expect("well-formed");
        let mut metadata = Metadata::default();
        for (key, value) in gguf.metadata() {
            metadata.set(key, value);
        }
        let specs: Vec<_> =
            gguf.tensors().map(|t| spec(t.name, &t.dims[..t.n_dims as usize], t.ty)).collect();
        let mut writer = GgufWriter::create(&path, &metadata, &specs).expect("writable");
        for tensor in gguf.tensors() {
            writer.write(tensor.view.bytes()).expect("writable");
        }
        writer.finish().expect("whole");
        assert_eq!(fs::read(&path).expect("there"), original);
    }

    #[test]
    fn a_file_that_lacks_data_or_has_too_much_does_not_appear() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("out.gguf");
        let specs = [spec("one", &[2], GgmlType::F32)];
        let mut writer = GgufWriter::create(&path, &Metadata::default(), &specs).expect("writable");
        writer.write(&[0; 7]).expect("room");
        assert!(writer.finish().is_err());
        let mut writer = GgufWriter::create(&path, &Metadata::default(), &specs).expect("writable");
        assert!(writer.write(&[0; 9]).is_err());
        drop(writer);
        assert!(!path.exists());
        let ragged = [spec("ragged", &[33], GgmlType::Q8_0)];
        let error = GgufWriter::create(&path, &Metadata::default(), &ragged).expect_err("ragged");
        assert!(error.to_string().contains("ragged"), "{error}");
    }
}
