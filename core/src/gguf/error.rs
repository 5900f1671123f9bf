//! What can be wrong with a file, where, and what to do about it.

use core::fmt;

use crate::quant::{self, GgmlType};

use super::value::ValueType;
use super::{MAX_ALIGNMENT, MAX_KEY_BYTES, MAX_METADATA, MAX_NAME_BYTES, MAX_TENSORS};

/// Why a file was refused: what is wrong, at which byte, in which entry.
///
/// Its `Display` is one line for the person who has the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParseError {
    /// What is wrong.
    pub kind: ParseErrorKind,
    /// The byte in the file where the wrong field starts.
    pub offset: u64,
    /// The part of the file that was being read.
    pub subject: Subject,
}

/// What is wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseErrorKind {
    /// There are no bytes at all.
    Empty,
    /// The file does not start with `GGUF`.
    NotGguf {
        /// The first four bytes.
        magic: [u8; 4],
    },
    /// The file was written for big-endian machines.
    BigEndian {
        /// The version, read in the file's own byte order.
        version: u32,
    },
    /// Version 1, whose counts were 32 bits wide.
    Version1,
    /// A version other than 1, 2 and 3.
    UnknownVersion(u32),
    /// The file ends inside a field.
    Truncated {
        /// Bytes that the field needs.
        needed: u64,
        /// Bytes that are left.
        left: u64,
    },
    /// More metadata entries than [`MAX_METADATA`].
    TooManyMetadata(u64),
    /// More tensors than [`MAX_TENSORS`].
    TooManyTensors(u64),
    /// A count of things that cannot all be in the rest of the file.
    CountTooLarge {
        /// What is counted.
        what: Counted,
        /// How many are declared.
        count: u64,
        /// Bytes that each takes at least.
        entry_bytes: u64,
        /// Bytes that are left.
        left: u64,
    },
    /// Metadata and tensor table reach past 4 GiB.
    HeaderTooLarge,
    /// A metadata key of no characters.
    EmptyKey,
    /// A metadata key longer than [`MAX_KEY_BYTES`].
    KeyTooLong(u64),
    /// A metadata key that an earlier entry has.
    DuplicateKey {
        /// Number of the earlier entry, from zero.
        earlier: u32,
    },
    /// A key, a name or a string value that is not UTF-8.
    InvalidUtf8,
    /// A metadata value type that the format does not define.
    UnknownValueType(u32),
    /// An array whose elements are arrays.
    NestedArray,
    /// A boolean that is neither 0 nor 1.
    InvalidBool(u8),
    /// A key that the format itself gives a meaning, with a value of the wrong type.
    WrongValueType {
        /// The type that the key must have.
        expected: &'static str,
        /// The type in the file.
        found: ValueType,
    },
    /// An alignment of zero, not a power of two, or over [`MAX_ALIGNMENT`].
    InvalidAlignment(u32),
    /// One part of a model that was split over several files.
    Split {
        /// This part's number, from zero, when the file tells.
        part: Option<u32>,
        /// Number of parts.
        count: u32,
    },
    /// A tensor name of no characters.
    EmptyName,
    /// A tensor name longer than [`MAX_NAME_BYTES`].
    NameTooLong(u64),
    /// A tensor name that an earlier tensor has.
    DuplicateTensor {
        /// Number of the earlier tensor, from zero.
        earlier: u32,
    },
    /// A number of dimensions other than 1 to 4.
    InvalidDimensionCount(u32),
    /// A dimension of zero.
    ZeroDimension {
        /// The dimension, from zero.
        axis: u32,
    },
    /// More elements or bytes than this machine can address.
    ShapeOverflow {
        /// The dimensions, unused ones 1.
        dims: [u64; 4],
    },
    /// A storage format that GGML has, or had, and this library does not.
    UnsupportedType(u32),
    /// A storage format that GGML had not numbered when this library was written.
    UnknownType(u32),
    /// Rows that are no whole number of blocks.
    PartialBlock {
        /// The storage format.
        ty: GgmlType,
        /// Elements in a row.
        n_cols: u64,
    },
    /// Tensor data that does not start on the file's alignment.
    MisalignedTensor {
        /// Start, from the first byte of tensor data.
        start: u64,
        /// The file's alignment.
        alignment: u64,
    },
    /// Tensor data that starts before the previous tensor's ends.
    OverlappingTensor {
        /// Start, from the first byte of tensor data.
        start: u64,
        /// End of the previous tensor, from the first byte of tensor data.
        previous_end: u64,
    },
    /// Tensor data that reaches past the end of the file.
    TensorOutOfFile {
        /// The byte of the file after the tensor's last.
        end: u64,
        /// Length of the file.
        file: u64,
    },
}

/// What a count in a file counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Counted {
    /// Metadata entries of the file.
    Metadata,
    /// Tensors of the file.
    Tensors,
    /// Elements of an array.
    Elements,
}

/// The part of a file that an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Subject {
    /// The fixed fields at the start.
    Header,
    /// A metadata entry: its number from zero and, once it has been read, its key.
    Metadata(u32, Name),
    /// A tensor: its number from zero and, once it has been read, its name.
    Tensor(u32, Name),
}

/// The start of a key or tensor name, copied out of the file so that errors can outlive it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Name {
    bytes: [u8; Self::CAPACITY],
    len: u8,
    cut: bool,
}

impl Name {
    /// Long enough for every tensor name that the format allows.
    const CAPACITY: usize = MAX_NAME_BYTES;
    const EMPTY: Self = Self { bytes: [0; Self::CAPACITY], len: 0, cut: false };

    /// Returns as much of `text` as fits, cut between characters.
    pub fn new(text: &str) -> Self {
        let mut end = text.len().min(Self::CAPACITY);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let mut name = Self { cut: end < text.len(), ..Self::EMPTY };
        for (to, from) in name.bytes.iter_mut().zip(text.as_bytes().iter().take(end)) {
            *to = *from;
            name.len += 1;
        }
        name
    }

    /// Returns the kept part of the name.
    pub fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..usize::from(self.len)).unwrap_or_default();
        core::str::from_utf8(bytes).unwrap_or_default()
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Name {
    /// Control characters are escaped: a file must not write to anyone's terminal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.as_str().escape_debug(), if self.cut { "..." } else { "" })
    }
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Metadata => "metadata entries",
            Self::Tensors => "tensors",
            Self::Elements => "elements",
        })
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, index, name) = match self {
            Self::Header => return f.write_str("the file header"),
            Self::Metadata(index, key) => ("metadata", index, key),
            Self::Tensor(index, name) => ("tensor", index, name),
        };
        if name.len == 0 {
            // Counted from one, as people count.
            write!(f, "{what} entry {}", u64::from(*index) + 1)
        } else {
            write!(f, "{what} {name}")
        }
    }
}

impl core::error::Error for ParseError {}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use ParseErrorKind as K;
        match self.kind {
            // These concern the file as a whole; a byte offset would only distract.
            K::Empty => return f.write_str("the file is empty"),
            K::NotGguf { magic } => return not_gguf(f, magic),
            K::BigEndian { version } => {
                return write!(
                    f,
                    "a big-endian GGUF file (version {version}); only little-endian files are \
                     supported: convert it with `gguf-convert-endian` of the gguf Python package"
                );
            }
            K::Version1 => {
                return f.write_str(
                    "GGUF version 1 is not supported (2 and 3 are); convert the model again with \
                     a current converter",
                );
            }
            K::UnknownVersion(version) => {
                return write!(
                    f,
                    "GGUF version {version} is not supported (2 and 3 are); the file is damaged, \
                     or newer than this program"
                );
            }
            K::Split { part, count } => {
                match part {
                    Some(part) => write!(f, "the file is part {} of {count}", u64::from(part) + 1)?,
                    None => write!(f, "the file is one of {count} parts")?,
                }
                return f.write_str(
                    " of a split model; join them with `llama-gguf-split --merge` first",
                );
            }
            _ => {}
        }
        write!(f, "{}", self.subject)?;
        match self.kind {
            K::Truncated { needed, left } => write!(
                f,
                " needs {} here, but {} left in the file; it is incomplete or damaged",
                Count(needed, "byte"),
                Left(left)
            )?,
            K::TooManyMetadata(count) => write!(
                f,
                " declares {count} metadata entries, at most {MAX_METADATA} are supported"
            )?,
            K::TooManyTensors(count) => {
                write!(f, " declares {count} tensors, at most {MAX_TENSORS} are supported")?;
            }
            K::CountTooLarge { what, count, entry_bytes, left } => write!(
                f,
                " declares {count} {what} of at least {} each, but {} left in the file",
                Count(entry_bytes, "byte"),
                Left(left)
            )?,
            K::HeaderTooLarge => {
                f.write_str(" lies past 4 GiB of metadata, which is not supported")?
            }
            K::EmptyKey => f.write_str(" has an empty key")?,
            K::KeyTooLong(len) => {
                write!(f, " has a key of {len} bytes, at most {MAX_KEY_BYTES} are allowed")?;
            }
            K::DuplicateKey { earlier } => {
                write!(f, " occurs twice, first as entry {}", u64::from(earlier) + 1)?;
            }
            K::InvalidUtf8 => f.write_str(match self.subject {
                Subject::Metadata(_, Name { len: 0, .. }) => " has a key that is not UTF-8",
                Subject::Tensor(..) => " has a name that is not UTF-8",
                _ => " is text that is not UTF-8",
            })?,
            K::UnknownValueType(id) => {
                write!(f, " has value type {id}, which GGUF does not define")?;
            }
            K::NestedArray => f.write_str(" is an array of arrays, which is not supported")?,
            K::InvalidBool(byte) => write!(f, " has a boolean of {byte}, it must be 0 or 1")?,
            K::WrongValueType { expected, found } => {
                write!(f, " must be {expected}, it is {}", found.name())?;
            }
            K::InvalidAlignment(alignment) => {
                write!(f, " is {alignment}, it must be a power of two of at most {MAX_ALIGNMENT}")?
            }
            K::EmptyName => f.write_str(" has an empty name")?,
            K::NameTooLong(len) => {
                write!(f, " has a name of {len} bytes, at most {MAX_NAME_BYTES} are allowed")?;
            }
            K::DuplicateTensor { earlier } => {
                write!(f, " occurs twice, first as entry {}", u64::from(earlier) + 1)?;
            }
            K::InvalidDimensionCount(n) => write!(f, " has {n} dimensions, it must be 1 to 4")?,
            K::ZeroDimension { axis } => {
                write!(f, " has zero elements along dimension {}", u64::from(axis) + 1)?;
            }
            K::ShapeOverflow { dims: [a, b, c, d] } => {
                write!(f, " has shape {a} x {b} x {c} x {d}, more than this machine can address")?
            }
            K::UnsupportedType(id) => write!(
                f,
                " has type {}, which is not supported",
                quant::upstream_name(id).unwrap_or("without a name")
            )?,
            K::UnknownType(id) => write!(
                f,
                " has type number {id}, which is unknown; the file is damaged, or newer than this \
                 program"
            )?,
            K::PartialBlock { ty, n_cols } => write!(
                f,
                " has rows of {n_cols} elements, no multiple of {}'s block of {}",
                ty.name(),
                ty.block_elems()
            )?,
            K::MisalignedTensor { start, alignment } => write!(
                f,
                " starts {start} bytes into the tensor data, no multiple of the alignment of \
                 {alignment}"
            )?,
            K::OverlappingTensor { start, previous_end } => write!(
                f,
                " starts {start} bytes into the tensor data, before the previous tensor's end at \
                 {previous_end}"
            )?,
            K::TensorOutOfFile { end, file } => write!(
                f,
                " ends at byte {end}, but the file has {file} bytes; the download may be \
                 incomplete"
            )?,
            // Written above.
            K::Empty
            | K::NotGguf { .. }
            | K::BigEndian { .. }
            | K::Version1
            | K::UnknownVersion(_)
            | K::Split { .. } => {}
        }
        match self.kind {
            // The data's place is in the message; this is where the file claims it.
            K::MisalignedTensor { .. }
            | K::OverlappingTensor { .. }
            | K::TensorOutOfFile { .. } => {
                write!(f, " (entry at byte {})", self.offset)
            }
            _ => write!(f, " (at byte {})", self.offset),
        }
    }
}

/// A number of things, in the singular or plural.
struct Count(u64, &'static str);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.0, self.1, if self.0 == 1 { "" } else { "s" })
    }
}

/// How many bytes are left, with its verb.
struct Left(u64);

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("none are"),
            1 => f.write_str("only 1 is"),
            n => write!(f, "only {n} are"),
        }
    }
}

/// Says what a file that is not GGUF probably is, judged by its first bytes.
fn not_gguf(f: &mut fmt::Formatter<'_>, magic: [u8; 4]) -> fmt::Result {
    let hint = match &magic {
        b"FUGG" => "a GGUF file with its bytes reversed",
        // Magic numbers written as little-endian integers, so the letters are reversed.
        b"lmgg" | b"fmgg" | b"tjgg" | b"algg" => {
            "a GGML file from before GGUF; convert the model again with a current converter"
        }
        b"PK\x03\x04" => "a zip or PyTorch file; convert the model to GGUF first",
        b"vers" => "probably a Git LFS pointer in place of the model; run `git lfs pull`",
        b"<!DO" | b"<!do" | b"<htm" | b"<HTM" | b"<?xm" => {
            "probably a web page saved in place of the model; download it again"
        }
        [0x1f, 0x8b, ..] => "a gzip file; unpack it first",
        _ => "it must start with \"GGUF\"",
    };
    write!(f, "not a GGUF file: it starts with \"{}\": {hint}", magic.escape_ascii())
}
