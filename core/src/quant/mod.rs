//! Weight formats: how each stores numbers, and the exact float each stands for.
//!
//! One file per format holds its block layout, its dequantizer and, where the format is
//! plain enough, its quantizer. Layouts are those of GGUF files; dequantized floats equal,
//! bit for bit, those of the `gguf` Python package.

pub mod block;

/// A tensor's storage format, numbered as in GGUF files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(non_camel_case_types)]
#[repr(u32)]
pub enum GgmlType {
    /// IEEE single precision.
    F32 = 0,
    /// IEEE half precision.
    F16 = 1,
    /// 4 bits, symmetric, blocks of 32.
    Q4_0 = 2,
    /// 4 bits with a minimum, blocks of 32.
    Q4_1 = 3,
    /// 5 bits, symmetric, blocks of 32.
    Q5_0 = 6,
    /// 5 bits with a minimum, blocks of 32.
    Q5_1 = 7,
    /// 8 bits, symmetric, blocks of 32.
    Q8_0 = 8,
    /// 2 bits, super-blocks of 256.
    Q2_K = 10,
    /// 3 bits, super-blocks of 256.
    Q3_K = 11,
    /// 4 bits, super-blocks of 256.
    Q4_K = 12,
    /// 5 bits, super-blocks of 256.
    Q5_K = 13,
    /// 6 bits, super-blocks of 256.
    Q6_K = 14,
    /// 4 bits through a non-linear table, blocks of 32.
    IQ4_NL = 20,
    /// 4 bits through a non-linear table, super-blocks of 256.
    IQ4_XS = 23,
    /// The upper half of an IEEE single.
    BF16 = 30,
    /// Microscaling float: 4-bit floats under a shared power of two, blocks of 32.
    MXFP4 = 39,
}

/// What a weight format is multiplied with: the form that activations take first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// Plain floats.
    F32,
    /// 8-bit integers with one scale per 32.
    Q8x32,
    /// 8-bit integers with one scale per 256.
    Q8x256,
}

/// Why a row could not be converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QuantError {
    /// A row's length is no multiple of the format's block: elements given, elements per block.
    PartialBlock(usize, usize),
    /// The byte slice does not have the length that the elements need: needed, given.
    Length(usize, usize),
    /// This format can be read but not written here.
    NoQuantizer(GgmlType),
}
