//! The file as a whole: header, metadata, tensor table and data ranges, checked once.

use core::fmt;
use core::iter::FusedIterator;
use core::ops::Range;

use crate::quant::{self, GgmlType};
use crate::tensor::{Layout, TensorError, TensorView};

use super::error::{Counted, Name, ParseError, ParseErrorKind, Subject};
use super::reader::{LENGTH_BYTES, Reader, split_string};
use super::value::Value;
use super::{
    DEFAULT_ALIGNMENT, MAX_ALIGNMENT, MAX_KEY_BYTES, MAX_METADATA, MAX_NAME_BYTES, MAX_TENSORS,
    keys,
};

/// The fewest bytes of a metadata entry: an empty key, a type and a value of one byte.
const MIN_METADATA_BYTES: usize = LENGTH_BYTES + 4 + 1;
/// The fewest bytes of a tensor's entry: an empty name, one dimension, type and offset.
const MIN_TENSOR_BYTES: usize = LENGTH_BYTES + 4 + 8 + 4 + 8;

/// Where the header holds the number of tensors, after magic and version.
const TENSOR_COUNT_AT: usize = 8;
/// Where the header holds the number of metadata entries.
const METADATA_COUNT_AT: usize = 16;

/// A well-formed GGUF file, lent.
///
/// Holds a table of where each metadata entry starts, about 1 KiB, and nothing else of its
/// own: lookups are by a walk over the entries, never over their values.
#[derive(Clone)]
pub struct Gguf<'m> {
    bytes: &'m [u8],
    version: u32,
    alignment: u32,
    n_metadata: usize,
    n_tensors: usize,
    /// Where the tensor table starts, which is where the metadata ends.
    tensor_table: u32,
    data_offset: usize,
    metadata: [u32; MAX_METADATA],
}

/// Where a check stopped.
enum Part {
    Header,
    Metadata(usize),
    Tensor(usize),
    Data,
}

impl<'m> Gguf<'m> {
    /// Returns the file in `bytes`, once everything in it has been checked.
    ///
    /// # Errors
    /// When the bytes are no file that the [module](super) accepts; the error says what is
    /// wrong and at which byte.
    pub fn parse(bytes: &'m [u8]) -> Result<Self, ParseError> {
        let mut gguf = Self::unchecked(bytes);
        let mut r = Reader::new(bytes, bytes.len());
        match gguf.check(&mut r) {
            Ok(()) => Ok(gguf),
            Err(part) => Err(gguf.explain(&r, part)),
        }
    }

    /// As [`Self::parse`], for who does not ask why: firmware is smaller without the answers.
    pub fn well_formed(bytes: &'m [u8]) -> Option<Self> {
        let mut gguf = Self::unchecked(bytes);
        gguf.check(&mut Reader::new(bytes, bytes.len())).is_ok().then_some(gguf)
    }

    const fn unchecked(bytes: &'m [u8]) -> Self {
        Self {
            bytes,
            version: 0,
            alignment: DEFAULT_ALIGNMENT,
            n_metadata: 0,
            n_tensors: 0,
            tensor_table: 0,
            data_offset: 0,
            metadata: [0; MAX_METADATA],
        }
    }

    /// Checks everything, until something is wrong: in the part returned, what `r` says.
    #[inline(never)]
    fn check(&mut self, r: &mut Reader<'m>) -> Result<(), Part> {
        self.version = read_version(r);
        let n_tensors = read_count(r, MAX_TENSORS, ParseErrorKind::TooManyTensors);
        let n = read_count(r, MAX_METADATA, ParseErrorKind::TooManyMetadata);
        let n_metadata = r.count(METADATA_COUNT_AT, Counted::Metadata, n, MIN_METADATA_BYTES);
        if r.failed() {
            return Err(Part::Header);
        }
        self.tensor_table = r.offset() as u32;
        for index in 0..n_metadata {
            self.check_entry(r, index);
            if r.failed() {
                return Err(Part::Metadata(index));
            }
        }
        if let Some(index) = self.position("", keys::GENERAL_ALIGNMENT) {
            self.check_alignment(r, index);
            if r.failed() {
                return Err(Part::Metadata(index));
            }
        }
        if let Some(index) = self.position("", keys::SPLIT_COUNT) {
            self.refuse_split(r, index);
            if r.failed() {
                return Err(Part::Metadata(index));
            }
        }
        self.check_tensors(r, n_tensors)
    }

    /// Reads one entry and puts it into the table.
    fn check_entry(&mut self, r: &mut Reader<'m>, index: usize) {
        let start = r.offset();
        let key = read_key(r);
        if let Some(earlier) = self.position("", key) {
            r.fail_at(start, ParseErrorKind::DuplicateKey { earlier: earlier as u32 });
        }
        Value::parse(r);
        match (self.metadata.get_mut(index), u32::try_from(start), u32::try_from(r.offset())) {
            (Some(slot), Ok(start), Ok(end)) if !r.failed() => {
                *slot = start;
                self.n_metadata = index + 1;
                self.tensor_table = end;
            }
            // What failed before stays the failure.
            _ => r.fail_at(start, ParseErrorKind::HeaderTooLarge),
        }
    }

    fn check_alignment(&mut self, r: &mut Reader<'m>, index: usize) {
        let Some((at, value)) = self.value_at(index) else { return };
        match value {
            Value::U32(alignment) if alignment.is_power_of_two() && alignment <= MAX_ALIGNMENT => {
                self.alignment = alignment;
            }
            Value::U32(alignment) => r.fail_at(at, ParseErrorKind::InvalidAlignment(alignment)),
            _ => {
                let found = value.value_type();
                r.fail_at(at, ParseErrorKind::WrongValueType { expected: "u32", found });
            }
        }
    }

    fn refuse_split(&self, r: &mut Reader<'m>, index: usize) {
        let Some((at, value)) = self.value_at(index) else { return };
        match value.as_u32() {
            Some(0 | 1) => {}
            Some(count) => {
                let part = self.get(keys::SPLIT_NO).and_then(|value| value.as_u32());
                r.fail_at(at, ParseErrorKind::Split { part, count });
            }
            None => {
                let (expected, found) = ("an unsigned integer", value.value_type());
                r.fail_at(at, ParseErrorKind::WrongValueType { expected, found });
            }
        }
    }

    /// Checks the tensor table, finds where the data starts, then checks the data ranges.
    fn check_tensors(&mut self, r: &mut Reader<'m>, n: u64) -> Result<(), Part> {
        let table = r.clone();
        self.n_tensors = r.count(TENSOR_COUNT_AT, Counted::Tensors, n, MIN_TENSOR_BYTES);
        if r.failed() {
            return Err(Part::Header);
        }
        let mut previous_end = 0;
        for index in 0..self.n_tensors {
            let start = r.offset();
            let entry = Entry::read(r, self.alignment);
            let mut earlier = names(table.clone(), index);
            if let Some(earlier) = earlier.position(|name| name == entry.name.as_bytes()) {
                r.fail_at(start, ParseErrorKind::DuplicateTensor { earlier: earlier as u32 });
            }
            if entry.start < previous_end {
                let kind = ParseErrorKind::OverlappingTensor { start: entry.start, previous_end };
                r.fail_at(start, kind);
            }
            if r.failed() {
                return Err(Part::Tensor(index));
            }
            previous_end = entry.end();
        }
        // A file without tensors, such as a bare vocabulary, need not be padded. Lengths in memory
        // leave room for the largest alignment below all numbers.
        let mask = self.alignment as usize - 1;
        self.data_offset = (r.offset().saturating_add(mask) & !mask).min(self.bytes.len());
        // One tensor lies behind the other: if the last one is in the file, all are.
        match previous_end > (self.bytes.len() - self.data_offset) as u64 {
            true => Err(Part::Data),
            false => Ok(()),
        }
    }

    /// Returns the error that `check` stopped at.
    #[cold]
    #[inline(never)]
    fn explain(&self, r: &Reader<'m>, part: Part) -> ParseError {
        let (offset, kind) = r.failure().unwrap_or((0, ParseErrorKind::Empty));
        let error = |offset: usize, kind, subject| ParseError {
            kind: match kind {
                ParseErrorKind::UnknownType(id) if quant::upstream_name(id).is_some() => {
                    ParseErrorKind::UnsupportedType(id)
                }
                kind => kind,
            },
            offset: offset as u64,
            subject,
        };
        let from = |start: u32| {
            let bytes = self.bytes.get(start as usize..).unwrap_or_default();
            Reader::new(bytes, self.bytes.len())
        };
        let mut table = from(self.tensor_table);
        match part {
            Part::Header => error(offset, kind, Subject::Header),
            Part::Metadata(index) => {
                // An entry that failed is not in the table: it starts where those before end.
                let starts = self.metadata.get(..self.n_metadata).unwrap_or_default();
                let start = starts.get(index).unwrap_or(&self.tensor_table);
                let name = Name::new(read_key(&mut from(*start)));
                error(offset, kind, Subject::Metadata(index as u32, name))
            }
            Part::Tensor(index) => {
                for _ in 0..index {
                    skip_entry(&mut table);
                }
                let name = Name::new(read_name(&mut table));
                error(offset, kind, Subject::Tensor(index as u32, name))
            }
            Part::Data => {
                let file = self.bytes.len() as u64;
                let mut index = 0;
                loop {
                    let start = table.offset();
                    let entry = Entry::read(&mut table, self.alignment);
                    let end = entry.end().saturating_add(self.data_offset as u64);
                    if end > file || table.failed() {
                        let kind = ParseErrorKind::TensorOutOfFile { end, file };
                        return error(start, kind, Subject::Tensor(index, Name::new(entry.name)));
                    }
                    index += 1;
                }
            }
        }
    }

    /// Returns the version of the file format: 2 or 3.
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// Returns the alignment of every tensor's data from the start of all data, in bytes.
    pub const fn alignment(&self) -> u64 {
        self.alignment as u64
    }

    /// Returns the whole file.
    pub const fn bytes(&self) -> &'m [u8] {
        self.bytes
    }

    /// Returns where tensor data starts, in bytes from the start of the file.
    pub const fn data_offset(&self) -> u64 {
        self.data_offset as u64
    }

    /// Returns everything before the tensor data: header, metadata, tensor table, padding.
    pub fn header_bytes(&self) -> &'m [u8] {
        self.slice(0, self.data_offset)
    }

    /// Returns the number of metadata entries.
    pub const fn n_metadata(&self) -> usize {
        self.n_metadata
    }

    /// Returns the metadata in file order.
    pub fn metadata(&self) -> Metadata<'_, 'm> {
        Metadata { gguf: self, next: 0 }
    }

    /// Returns the value of a key, such as `general.architecture`.
    ///
    /// Costs a comparison per entry; arrays are not walked.
    pub fn get(&self, key: &str) -> Option<Value<'m>> {
        self.get_arch("", key)
    }

    /// Returns the value of the key `{arch}.{suffix}`, such as `llama.block_count`.
    pub fn get_arch(&self, arch: &str, suffix: &str) -> Option<Value<'m>> {
        let (_, value) = self.value_at(self.position(arch, suffix)?)?;
        Some(value)
    }

    /// Returns the model family's name, which prefixes its keys.
    pub fn architecture(&self) -> Option<&'m str> {
        self.get(keys::GENERAL_ARCHITECTURE)?.as_str()
    }

    /// Returns the number of tensors.
    pub const fn n_tensors(&self) -> usize {
        self.n_tensors
    }

    /// Returns the tensors in file order, which is the order of their data.
    #[inline(never)]
    pub fn tensors(&self) -> Tensors<'m> {
        Tensors {
            table: self.table(),
            left: self.n_tensors,
            alignment: self.alignment,
            data: self.slice(self.data_offset, self.bytes.len()),
            data_offset: self.data_offset,
        }
    }

    /// Returns the tensor of this name. Costs a comparison per tensor.
    pub fn tensor(&self, name: &str) -> Option<TensorInfo<'m>> {
        self.tensors().find(|tensor| tensor.name == name)
    }

    fn table(&self) -> Reader<'m> {
        Reader::new(self.slice(self.tensor_table as usize, self.data_offset), self.data_offset)
    }

    /// Returns a range of the file that `parse` has proven to lie in it.
    fn slice(&self, start: usize, end: usize) -> &'m [u8] {
        self.bytes.get(start..end).unwrap_or_default()
    }

    /// Returns the key of entry `index`, and a range of the file: its type and value.
    fn entry(&self, index: usize) -> Option<(&'m [u8], Range<usize>)> {
        let table = self.metadata.get(..self.n_metadata)?;
        let start = *table.get(index)? as usize;
        // An entry ends where the next one starts; this is what saves walking its value.
        let end = *table.get(index + 1).unwrap_or(&self.tensor_table) as usize;
        let (key, value) = split_string(self.slice(start, end))?;
        Some((key, end - value.len()..end))
    }

    /// Returns the key of entry `index`; every key is UTF-8, and none is empty.
    #[inline(never)]
    pub(crate) fn key(&self, index: usize) -> &'m str {
        let key = self.entry(index).map_or(&[][..], |(key, _)| key);
        core::str::from_utf8(key).unwrap_or_default()
    }

    /// Returns the number of the entry with the key `{arch}.{suffix}`, or `suffix` without `arch`.
    #[inline(never)]
    fn position(&self, arch: &str, suffix: &str) -> Option<usize> {
        (0..self.n_metadata).find(|&index| {
            let key = self.entry(index).map_or(&[][..], |(key, _)| key);
            let rest = match arch {
                "" => Some(key),
                arch => key.strip_prefix(arch.as_bytes()).and_then(|rest| rest.strip_prefix(b".")),
            };
            rest == Some(suffix.as_bytes())
        })
    }

    /// Returns the value of entry `index`, and where it lies in the file.
    #[inline(never)]
    fn value_at(&self, index: usize) -> Option<(usize, Value<'m>)> {
        let (_, Range { start, end }) = self.entry(index)?;
        // The type's four bytes stand before the value.
        Some((start + 4, Value::reread(Reader::new(self.slice(start, end), end))?))
    }
}

impl fmt::Debug for Gguf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gguf")
            .field("version", &self.version)
            .field("bytes", &self.bytes.len())
            .field("alignment", &self.alignment)
            .field("data_offset", &self.data_offset)
            .field("n_metadata", &self.n_metadata)
            .field("n_tensors", &self.n_tensors)
            .finish()
    }
}

fn read_version(r: &mut Reader<'_>) -> u32 {
    if r.rest().is_empty() {
        r.fail(ParseErrorKind::Empty);
    }
    let magic = r.u32().to_le_bytes();
    if &magic != b"GGUF" {
        r.fail(ParseErrorKind::NotGguf { magic });
    }
    let version = r.u32();
    match version {
        2 | 3 => {}
        1 => r.fail(ParseErrorKind::Version1),
        // Real versions are small, so a number with its low half empty is one with its bytes
        // reversed.
        _ if version != 0 && version & 0xffff == 0 => {
            r.fail(ParseErrorKind::BigEndian { version: version.swap_bytes() });
        }
        _ => r.fail(ParseErrorKind::UnknownVersion(version)),
    }
    version
}

fn read_count(r: &mut Reader<'_>, max: usize, too_many: fn(u64) -> ParseErrorKind) -> u64 {
    let count = r.u64();
    if count > max as u64 {
        r.fail(too_many(count));
    }
    count
}

fn read_key<'m>(r: &mut Reader<'m>) -> &'m str {
    read_text(r, MAX_KEY_BYTES, ParseErrorKind::EmptyKey, ParseErrorKind::KeyTooLong)
}

fn read_name<'m>(r: &mut Reader<'m>) -> &'m str {
    read_text(r, MAX_NAME_BYTES, ParseErrorKind::EmptyName, ParseErrorKind::NameTooLong)
}

#[inline(never)]
fn read_text<'m>(
    r: &mut Reader<'m>,
    max: usize,
    empty: ParseErrorKind,
    too_long: fn(u64) -> ParseErrorKind,
) -> &'m str {
    let len = r.u64();
    if len == 0 {
        r.fail(empty);
    }
    if len > max as u64 {
        r.fail(too_long(len));
    }
    r.text(len)
}

/// Returns the names of the first `n` entries of a tensor table, without their checks.
///
/// Stops early at an entry that cannot be read, which after a successful parse is none.
fn names(mut table: Reader<'_>, n: usize) -> impl Iterator<Item = &[u8]> {
    (0..n).map(move |_| skip_entry(&mut table))
}

/// Steps over a tensor's entry without its checks, and returns its name.
fn skip_entry<'m>(table: &mut Reader<'m>) -> &'m [u8] {
    let name = table.string();
    let n_dims = table.u32();
    table.take(u64::from(n_dims) * 8 + 4 + 8);
    name
}

/// A tensor's entry in the table, checked by itself: everything but its place in the file.
struct Entry<'m> {
    name: &'m str,
    n_dims: u32,
    dims: [u64; 4],
    layout: Layout,
    /// Offset of the data from the first byte of all data.
    start: u64,
}

impl<'m> Entry<'m> {
    #[inline(never)]
    fn read(r: &mut Reader<'m>, alignment: u32) -> Self {
        let name = read_name(r);
        let n_dims = r.u32();
        if !(1..=4).contains(&n_dims) {
            r.fail(ParseErrorKind::InvalidDimensionCount(n_dims));
        }
        let at_dims = r.offset();
        let mut dims = [1; 4];
        for (axis, dim) in (0..n_dims).zip(&mut dims) {
            *dim = r.u64();
            if *dim == 0 {
                r.fail(ParseErrorKind::ZeroDimension { axis });
            }
        }
        let id = r.u32();
        let ty = GgmlType::from_id(id).unwrap_or_else(|| {
            r.fail(ParseErrorKind::UnknownType(id));
            GgmlType::F32
        });
        let layout = Layout::of_dims(ty, dims).unwrap_or_else(|err| {
            r.fail_at(
                at_dims,
                match err {
                    TensorError::PartialBlock { ty, n_cols } => {
                        ParseErrorKind::PartialBlock { ty, n_cols: n_cols as u64 }
                    }
                    _ => ParseErrorKind::ShapeOverflow { dims },
                },
            );
            Layout::EMPTY
        });
        let start = r.u64();
        if start & u64::from(alignment - 1) != 0 {
            r.fail(ParseErrorKind::MisalignedTensor { start, alignment: alignment.into() });
        }
        Self { name, n_dims, dims, layout, start }
    }

    /// Returns where the data ends, from the first byte of all data. An end past all numbers is
    /// past every file too.
    const fn end(&self) -> u64 {
        self.start.saturating_add(self.layout.bytes() as u64)
    }
}

/// A tensor of a file: its name, type and shape, and its data.
#[derive(Clone, Copy, Debug)]
pub struct TensorInfo<'m> {
    /// The name, such as `blk.0.attn_q.weight`.
    pub name: &'m str,
    /// The storage format.
    pub ty: GgmlType,
    /// How many of `dims` the file gives, 1 to 4.
    pub n_dims: u32,
    /// Elements along each dimension, the contiguous one first; unused ones are 1.
    pub dims: [u64; 4],
    /// Start of the data, in bytes from the start of the file.
    pub offset: u64,
    /// The data as `dims[1] * dims[2] * dims[3]` rows of `dims[0]` elements.
    pub view: TensorView<'m>,
}

/// The tensors of a file, in file order.
#[derive(Clone)]
pub struct Tensors<'m> {
    table: Reader<'m>,
    left: usize,
    alignment: u32,
    /// All data.
    data: &'m [u8],
    data_offset: usize,
}

impl<'m> Iterator for Tensors<'m> {
    type Item = TensorInfo<'m>;

    #[inline(never)]
    fn next(&mut self) -> Option<TensorInfo<'m>> {
        self.left = self.left.checked_sub(1)?;
        // The same code as `parse` ran on the same bytes, so that it cannot fail now.
        let Entry { name, n_dims, dims, layout, start } =
            Entry::read(&mut self.table, self.alignment);
        let data = self.data.get(usize::try_from(start).ok()?..)?.get(..layout.bytes())?;
        let view = layout.view(data).ok()?;
        let offset = self.data_offset as u64 + start;
        Some(TensorInfo { name, ty: view.ty(), n_dims, dims, offset, view })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Tensors<'_> {}
impl FusedIterator for Tensors<'_> {}

/// The metadata of a file, in file order.
#[derive(Clone)]
pub struct Metadata<'g, 'm> {
    gguf: &'g Gguf<'m>,
    next: usize,
}

impl<'m> Iterator for Metadata<'_, 'm> {
    type Item = (&'m str, Value<'m>);

    fn next(&mut self) -> Option<(&'m str, Value<'m>)> {
        let (_, value) = self.gguf.value_at(self.next)?;
        let key = self.gguf.key(self.next);
        self.next += 1;
        Some((key, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.gguf.n_metadata - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Metadata<'_, '_> {}
impl FusedIterator for Metadata<'_, '_> {}
