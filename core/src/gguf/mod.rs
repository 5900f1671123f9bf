//! GGUF files, read where they lie: metadata, and tensors described by name, type and shape.
//!
//! A file is, in order: the magic `GGUF`; a 32-bit version; 64-bit counts of tensors and of
//! metadata entries; the metadata entries (key, type, value); the tensor table (name,
//! dimensions, type, offset); padding to the file's alignment; the tensors' data. Versions 2
//! and 3 differ only in that 3 allows big-endian files, which are refused here by name.
//!
//! [`Gguf::parse`] takes any bytes whatever. When it succeeds,
//! - every key, tensor name and string value is UTF-8, and keys and names are unique;
//! - every array lies in the file, and its elements have the declared type;
//! - every tensor has a supported type, 1 to 4 dimensions above zero, rows of whole blocks,
//!   and data that is aligned, inside the file, and past the end of the tensor before it;
//! - the file is no part of a split model.
//!
//! So nothing that reads from a [`Gguf`] can fail on account of the file's form. Whether the
//! contents are a model is for `model` and `tokenizer` to say. The work is bounded by the
//! length of the metadata and tensor table, plus, for names, by [`MAX_METADATA`] and
//! [`MAX_TENSORS`] squared; there is no recursion and no allocation.
//!
//! ```
//! use bantam_core::gguf::Gguf;
//!
//! // The smallest file: magic, version 3, no tensors, no metadata.
//! let file = b"GGUF\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
//! let gguf = Gguf::parse(file)?;
//! assert_eq!((gguf.version(), gguf.n_tensors()), (3, 0));
//!
//! let error = Gguf::parse(&file[..20]).unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     "the file header needs 8 bytes here, but only 4 are left in the file; it is incomplete \
//!      or damaged (at byte 16)"
//! );
//! # Ok::<(), bantam_core::gguf::ParseError>(())
//! ```

mod error;
mod file;
pub mod keys;
mod reader;
mod value;

#[cfg(test)]
mod tests;

pub use error::{Counted, Name, ParseError, ParseErrorKind, Subject};
pub use file::{Gguf, Metadata, TensorInfo, Tensors};
pub use value::{Array, Elements, StrIter, Value, ValueType};

/// The most metadata entries a file may have; models have 20 to 60.
pub const MAX_METADATA: usize = 256;
/// The most tensors a file may have; the largest models have about 2,000.
pub const MAX_TENSORS: usize = 4096;
/// The longest metadata key, in bytes; the format's own limit.
pub const MAX_KEY_BYTES: usize = 65_535;
/// The longest tensor name, in bytes; the format's own limit.
pub const MAX_NAME_BYTES: usize = 64;
/// The largest alignment of tensor data, in bytes: the largest page of a supported machine.
pub const MAX_ALIGNMENT: u32 = 65_536;
/// The alignment of tensor data in a file that names none, in bytes.
pub const DEFAULT_ALIGNMENT: u32 = 32;
