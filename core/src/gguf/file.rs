//! The file as a whole: header, metadata, tensor table and data ranges, checked once.

use core::fmt;
use core::iter::FusedIterator;

use crate::quant::{self, GgmlType};
use crate::tensor::{TensorError, TensorView};

use super::error::{Counted, Name, ParseError, ParseErrorKind, Subject};
use super::reader::{LENGTH_BYTES, Reader};
use super::value::Value;
use super::{
    DEFAULT_ALIGNMENT, MAX_ALIGNMENT, MAX_KEY_BYTES, MAX_METADATA, MAX_NAME_BYTES, MAX_TENSORS,
    keys,
};

/// The fewest bytes of a metadata entry: an empty key, a type and a value of one byte.
const MIN_METADATA_BYTES: u64 = LENGTH_BYTES + 4 + 1;
/// The fewest bytes of a tensor's entry: an empty name, one dimension, type and offset.
const MIN_TENSOR_BYTES: u64 = LENGTH_BYTES + 4 + 8 + 4 + 8;

/// Where the header holds the number of tensors, after magic and version.
const TENSOR_COUNT_AT: u64 = 8;
/// Where the header holds the number of metadata entries.
const METADATA_COUNT_AT: u64 = 16;

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
    data_offset: u64,
    metadata: [u32; MAX_METADATA],
}

impl<'m> Gguf<'m> {
    /// Returns the file in `bytes`, once everything in it has been checked.
    ///
    /// # Errors
    /// When the bytes are no file that the [module](super) accepts; the error says what is
    /// wrong and at which byte.
    pub fn parse(bytes: &'m [u8]) -> Result<Self, ParseError> {
        let mut r = Reader::new(bytes, 0);
        let version = read_version(&mut r)?;
        let n_tensors = read_count(&mut r, MAX_TENSORS, ParseErrorKind::TooManyTensors)?;
        let n_metadata = read_count(&mut r, MAX_METADATA, ParseErrorKind::TooManyMetadata)?;
        let mut gguf = Self {
            bytes,
            version,
            alignment: DEFAULT_ALIGNMENT,
            n_metadata: 0,
            n_tensors,
            tensor_table: 0,
            data_offset: 0,
            metadata: [0; MAX_METADATA],
        };
        r.check_count(Counted::Metadata, n_metadata as u64, MIN_METADATA_BYTES)
            .map_err(|kind| ParseError::new(kind, METADATA_COUNT_AT))?;
        for index in 0..n_metadata {
            gguf.parse_metadata(&mut r, index)?;
        }
        gguf.parse_alignment()?;
        gguf.refuse_split()?;
        gguf.parse_tensors(&mut r)?;
        Ok(gguf)
    }

    /// Reads one entry and puts it into the table.
    fn parse_metadata(&mut self, r: &mut Reader<'m>, index: usize) -> Result<(), ParseError> {
        let start = *r;
        let number = index as u32;
        let unnamed = Subject::Metadata(number, Name::NONE);
        let key = read_key(r).map_err(|err| err.about(unnamed))?;
        let subject = Subject::Metadata(number, Name::new(key));
        let about = |err: ParseError| err.about(subject);
        // By bytes: checking the earlier keys' UTF-8 again would be wasted.
        if let Some(earlier) = self.position(|other| other == key.as_bytes()) {
            let kind = ParseErrorKind::DuplicateKey { earlier: earlier as u32 };
            return Err(about(start.error(kind)));
        }
        Value::parse(r).map_err(about)?;
        let too_large = |_| about(start.error(ParseErrorKind::HeaderTooLarge));
        let offset = u32::try_from(start.offset()).map_err(too_large)?;
        self.tensor_table = u32::try_from(r.offset()).map_err(too_large)?;
        if let Some(slot) = self.metadata.get_mut(index) {
            *slot = offset;
            self.n_metadata = index + 1;
        }
        Ok(())
    }

    fn parse_alignment(&mut self) -> Result<(), ParseError> {
        let Some((index, value)) = self.find(keys::GENERAL_ALIGNMENT) else { return Ok(()) };
        let Value::U32(alignment) = value else {
            return Err(self.wrong_type(index, "u32", value));
        };
        if !alignment.is_power_of_two() || alignment > MAX_ALIGNMENT {
            let kind = ParseErrorKind::InvalidAlignment(alignment);
            return Err(self.metadata_error(index, kind));
        }
        self.alignment = alignment;
        Ok(())
    }

    fn refuse_split(&self) -> Result<(), ParseError> {
        let Some((index, value)) = self.find(keys::SPLIT_COUNT) else { return Ok(()) };
        let Some(count) = value.as_u32() else {
            return Err(self.wrong_type(index, "an unsigned integer", value));
        };
        if count > 1 {
            let part = self.get(keys::SPLIT_NO).and_then(|value| value.as_u32());
            return Err(self.metadata_error(index, ParseErrorKind::Split { part, count }));
        }
        Ok(())
    }

    /// Checks the tensor table, finds where the data starts, then checks the data ranges.
    fn parse_tensors(&mut self, r: &mut Reader<'m>) -> Result<(), ParseError> {
        let table = *r;
        table
            .check_count(Counted::Tensors, self.n_tensors as u64, MIN_TENSOR_BYTES)
            .map_err(|kind| ParseError::new(kind, TENSOR_COUNT_AT))?;
        self.tensor_table = u32::try_from(table.offset())
            .map_err(|_| table.error(ParseErrorKind::HeaderTooLarge))?;
        let mut previous_end = 0;
        for index in 0..self.n_tensors {
            let start = *r;
            let entry = Entry::parse(r, index as u32, self.alignment)?;
            let about = |kind| start.error(kind).about(entry.subject(index as u32));
            if let Some(earlier) =
                names(table, index).position(|name| name == entry.name.as_bytes())
            {
                return Err(about(ParseErrorKind::DuplicateTensor { earlier: earlier as u32 }));
            }
            if entry.start < previous_end {
                let kind = ParseErrorKind::OverlappingTensor { start: entry.start, previous_end };
                return Err(about(kind));
            }
            // An end past all numbers is past the file too, as the next loop will say.
            previous_end = entry.start.saturating_add(entry.bytes);
        }
        let end = r.offset();
        let file = end + r.left();
        // Both are lengths in memory or less, so neither can wrap. A file without tensors, such
        // as a bare vocabulary, need not be padded.
        let aligned = end.checked_next_multiple_of(self.alignment.into());
        self.data_offset = aligned.unwrap_or(file).min(file);
        let mut r = table;
        for index in 0..self.n_tensors {
            let start = r;
            let entry = Entry::parse(&mut r, index as u32, self.alignment)?;
            if entry.range(self.data_offset, self.bytes).is_none() {
                let end = self.data_offset.saturating_add(entry.start).saturating_add(entry.bytes);
                let kind = ParseErrorKind::TensorOutOfFile { end, file };
                return Err(start.error(kind).about(entry.subject(index as u32)));
            }
        }
        Ok(())
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
        self.data_offset
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
        self.find(key).map(|(_, value)| value)
    }

    /// Returns the value of the key `{arch}.{suffix}`, such as `llama.block_count`.
    pub fn get_arch(&self, arch: &str, suffix: &str) -> Option<Value<'m>> {
        let index = self.position(|key| {
            let rest = key.strip_prefix(arch.as_bytes()).and_then(|rest| rest.strip_prefix(b"."));
            rest == Some(suffix.as_bytes())
        })?;
        self.value(index)
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
    pub fn tensors(&self) -> Tensors<'m> {
        Tensors {
            table: self.table(),
            left: self.n_tensors,
            alignment: self.alignment,
            data_offset: self.data_offset,
            bytes: self.bytes,
        }
    }

    /// Returns the tensor of this name. Costs a comparison per tensor.
    pub fn tensor(&self, name: &str) -> Option<TensorInfo<'m>> {
        let index = names(self.table(), self.n_tensors).position(|n| n == name.as_bytes())?;
        self.tensors().nth(index)
    }

    fn table(&self) -> Reader<'m> {
        let start = u64::from(self.tensor_table);
        Reader::new(self.slice(start, self.data_offset), start)
    }

    /// Returns a range of the file that `parse` has proven to lie in it.
    fn slice(&self, start: u64, end: u64) -> &'m [u8] {
        slice(self.bytes, start, end).unwrap_or_default()
    }

    /// Returns the key of entry `index`, and a reader of its type and value.
    fn entry(&self, index: usize) -> Option<(&'m [u8], Reader<'m>)> {
        let table = self.metadata.get(..self.n_metadata)?;
        let start = u64::from(*table.get(index)?);
        // An entry ends where the next one starts; this is what saves walking its value.
        let end = u64::from(*table.get(index + 1).unwrap_or(&self.tensor_table));
        let mut r = Reader::new(self.slice(start, end), start);
        Some((r.string().ok()?, r))
    }

    fn position(&self, mut is_it: impl FnMut(&[u8]) -> bool) -> Option<usize> {
        (0..self.n_metadata).position(|index| self.entry(index).is_some_and(|(key, _)| is_it(key)))
    }

    fn value(&self, index: usize) -> Option<Value<'m>> {
        Value::reread(self.entry(index)?.1).ok()
    }

    fn find(&self, key: &str) -> Option<(usize, Value<'m>)> {
        let index = self.position(|other| other == key.as_bytes())?;
        Some((index, self.value(index)?))
    }

    fn wrong_type(&self, index: usize, expected: &'static str, found: Value<'m>) -> ParseError {
        let found = found.value_type();
        self.metadata_error(index, ParseErrorKind::WrongValueType { expected, found })
    }

    /// Returns an error about the value of metadata entry `index`.
    fn metadata_error(&self, index: usize, kind: ParseErrorKind) -> ParseError {
        let (key, r) = self.entry(index).unwrap_or((&[], Reader::new(&[], 0)));
        let name = Name::new(core::str::from_utf8(key).unwrap_or_default());
        // The type's four bytes stand before the value.
        ParseError::new(kind, r.offset() + 4).about(Subject::Metadata(index as u32, name))
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

fn slice(bytes: &[u8], start: u64, end: u64) -> Option<&[u8]> {
    bytes.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
}

fn read_version(r: &mut Reader<'_>) -> Result<u32, ParseError> {
    if r.left() == 0 {
        return Err(r.error(ParseErrorKind::Empty));
    }
    let at = *r;
    let magic = r.magic()?;
    if &magic != b"GGUF" {
        return Err(at.error(ParseErrorKind::NotGguf { magic }));
    }
    let at = *r;
    let version = r.u32()?;
    match version {
        2 | 3 => Ok(version),
        1 => Err(at.error(ParseErrorKind::Version1)),
        // Real versions are small, so a number with its low half empty is one with its bytes
        // reversed.
        _ if version != 0 && version & 0xffff == 0 => {
            Err(at.error(ParseErrorKind::BigEndian { version: version.swap_bytes() }))
        }
        _ => Err(at.error(ParseErrorKind::UnknownVersion(version))),
    }
}

fn read_count(
    r: &mut Reader<'_>,
    max: usize,
    too_many: fn(u64) -> ParseErrorKind,
) -> Result<usize, ParseError> {
    let at = *r;
    let count = r.u64()?;
    match usize::try_from(count) {
        Ok(small) if small <= max => Ok(small),
        _ => Err(at.error(too_many(count))),
    }
}

fn read_key<'m>(r: &mut Reader<'m>) -> Result<&'m str, ParseError> {
    let mut at = *r;
    match at.u64()? {
        0 => Err(r.error(ParseErrorKind::EmptyKey)),
        len if len > MAX_KEY_BYTES as u64 => Err(r.error(ParseErrorKind::KeyTooLong(len))),
        _ => r.text(),
    }
}

/// Returns the names of the first `n` entries of a tensor table, without their checks.
///
/// Stops early at an entry that cannot be read, which after a successful parse is none.
fn names(mut table: Reader<'_>, n: usize) -> impl Iterator<Item = &[u8]> {
    (0..n).map_while(move |_| {
        let name = table.string().ok()?;
        let n_dims = table.u32().ok()?;
        table.take(u64::from(n_dims).checked_mul(8)? + 4 + 8).ok()?;
        Some(name)
    })
}

/// A tensor's entry in the table, checked by itself: everything but its place in the file.
struct Entry<'m> {
    name: &'m str,
    ty: GgmlType,
    n_dims: u32,
    dims: [u64; 4],
    n_cols: usize,
    n_rows: usize,
    bytes: u64,
    /// Offset of the data from the first byte of all data.
    start: u64,
}

impl<'m> Entry<'m> {
    fn subject(&self, number: u32) -> Subject {
        Subject::Tensor(number, Name::new(self.name))
    }

    fn parse(r: &mut Reader<'m>, number: u32, alignment: u32) -> Result<Self, ParseError> {
        let unnamed = Subject::Tensor(number, Name::NONE);
        let name = Self::read_name(r).map_err(|err| err.about(unnamed))?;
        Self::parse_rest(r, name, alignment.into())
            .map_err(|err| err.about(Subject::Tensor(number, Name::new(name))))
    }

    fn read_name(r: &mut Reader<'m>) -> Result<&'m str, ParseError> {
        let mut at = *r;
        match at.u64()? {
            0 => Err(r.error(ParseErrorKind::EmptyName)),
            len if len > MAX_NAME_BYTES as u64 => Err(r.error(ParseErrorKind::NameTooLong(len))),
            _ => r.text(),
        }
    }

    fn parse_rest(r: &mut Reader<'m>, name: &'m str, alignment: u64) -> Result<Self, ParseError> {
        let at = *r;
        let n_dims = r.u32()?;
        if !(1..=4).contains(&n_dims) {
            return Err(at.error(ParseErrorKind::InvalidDimensionCount(n_dims)));
        }
        let at_dims = *r;
        let mut dims = [1; 4];
        for (axis, dim) in (0..n_dims).zip(&mut dims) {
            let at = *r;
            *dim = r.u64()?;
            if *dim == 0 {
                return Err(at.error(ParseErrorKind::ZeroDimension { axis }));
            }
        }
        let at_type = *r;
        let id = r.u32()?;
        let ty = GgmlType::from_id(id).ok_or_else(|| {
            at_type.error(match quant::upstream_name(id) {
                Some(_) => ParseErrorKind::UnsupportedType(id),
                None => ParseErrorKind::UnknownType(id),
            })
        })?;
        let overflow = at_dims.error(ParseErrorKind::ShapeOverflow { dims });
        let [n_cols, rest @ ..] = dims;
        let n_rows = rest.iter().try_fold(1_u64, |n, &dim| n.checked_mul(dim)).ok_or(overflow)?;
        let cols = usize::try_from(n_cols).map_err(|_| overflow)?;
        let n_rows = usize::try_from(n_rows).map_err(|_| overflow)?;
        let (_, bytes) = TensorView::layout(ty, cols, n_rows).map_err(|err| match err {
            TensorError::PartialBlock { .. } => {
                at_dims.error(ParseErrorKind::PartialBlock { ty, n_cols })
            }
            _ => overflow,
        })?;
        let at_start = *r;
        let start = r.u64()?;
        if !start.is_multiple_of(alignment) {
            return Err(at_start.error(ParseErrorKind::MisalignedTensor { start, alignment }));
        }
        Ok(Self { name, ty, n_dims, dims, n_cols: cols, n_rows, bytes: bytes as u64, start })
    }

    /// Returns where the data lies in the file, and the data, if it is all there.
    fn range(&self, data_offset: u64, bytes: &'m [u8]) -> Option<(u64, &'m [u8])> {
        let start = data_offset.checked_add(self.start)?;
        let end = start.checked_add(self.bytes)?;
        Some((start, slice(bytes, start, end)?))
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
    data_offset: u64,
    bytes: &'m [u8],
}

impl<'m> Iterator for Tensors<'m> {
    type Item = TensorInfo<'m>;

    fn next(&mut self) -> Option<TensorInfo<'m>> {
        self.left = self.left.checked_sub(1)?;
        // The same code as `parse` ran on the same bytes, so that it cannot fail now.
        let entry = Entry::parse(&mut self.table, 0, self.alignment).ok()?;
        let (offset, data) = entry.range(self.data_offset, self.bytes)?;
        let view = TensorView::new(entry.ty, entry.n_cols, entry.n_rows, data).ok()?;
        let Entry { name, ty, n_dims, dims, .. } = entry;
        Some(TensorInfo { name, ty, n_dims, dims, offset, view })
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
        let (key, value) = self.gguf.entry(self.next)?;
        let (key, value) = (core::str::from_utf8(key).ok()?, Value::reread(value).ok()?);
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
