//! Weight formats: how each stores numbers, and the exact float each stands for.
//!
//! One file per format holds its block layout, how it is unpacked and, where the format is
//! plain enough, its quantizer. Layouts are those of GGUF files; dequantized floats equal,
//! bit for bit, those of the `gguf` Python package; quantized bytes equal those of GGML's reference
//! quantizers, which `llama-quantize` writes.
//!
//! A reader of whole rows needs [`dequantize_row`] and [`quantize_row`]. Kernels are generic over
//! the traits of [`block`] instead.

pub mod block;
pub mod float;
pub mod iq4_nl;
pub mod iq4_xs;
pub mod mxfp4;
mod packing;
pub mod q2_k;
pub mod q3_k;
pub mod q4_0;
pub mod q4_1;
pub mod q4_k;
pub mod q5_0;
pub mod q5_1;
pub mod q5_k;
pub mod q6_k;
pub mod q8_0;
pub(crate) mod search;

use block::{
    Block, Block32, Block256, FloatBlock, Form32, Form256, Pack32, Pack256, Parts256, Quantize,
    blocks, blocks_mut,
};
use core::fmt;
use float::{BlockBF16, BlockF16, BlockF32};
use iq4_nl::BlockIQ4NL;
use iq4_xs::BlockIQ4XS;
use mxfp4::BlockMXFP4;
use q2_k::BlockQ2K;
use q3_k::BlockQ3K;
use q4_0::BlockQ4_0;
use q4_1::BlockQ4_1;
use q4_k::BlockQ4K;
use q5_0::BlockQ5_0;
use q5_1::BlockQ5_1;
use q5_k::BlockQ5K;
use q6_k::BlockQ6K;
use q8_0::BlockQ8_0;
use search::{PlainSearch, PutBlock, Searches};

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
    Q8,
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
    /// This build has no code for the format: [`GgmlType::is_built_in`].
    LeftOut(GgmlType),
    /// There is not one weight of importance for each element: needed, given.
    Importance(usize, usize),
}

impl GgmlType {
    /// Every format that can be read, in the order of their numbers.
    pub const ALL: [Self; 16] = [
        Self::F32,
        Self::F16,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q2_K,
        Self::Q3_K,
        Self::Q4_K,
        Self::Q5_K,
        Self::Q6_K,
        Self::IQ4_NL,
        Self::IQ4_XS,
        Self::BF16,
        Self::MXFP4,
    ];

    /// The format with this number in GGUF files, or `None` for one that cannot be read here;
    /// [`upstream_name`] may know it.
    pub fn from_id(id: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|ty| ty.id() == id)
    }

    /// The format's number in GGUF files.
    pub const fn id(self) -> u32 {
        self as u32
    }

    /// The format with this name, in capital or small letters.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|ty| ty.name().eq_ignore_ascii_case(name))
    }

    /// The format's name as upstream writes it, such as `Q4_K`.
    pub const fn name(self) -> &'static str {
        self.facts().0
    }

    /// Weights in a block.
    pub const fn block_elems(self) -> usize {
        self.facts().1
    }

    /// Bytes of a block.
    pub const fn block_bytes(self) -> usize {
        self.facts().2
    }

    /// The form that activations take before they are multiplied with weights of this format.
    pub const fn activation(self) -> Activation {
        self.facts().3
    }

    /// Whether [`quantize_row`] writes it.
    pub const fn is_writable(self) -> bool {
        use GgmlType::{IQ4_NL, IQ4_XS, MXFP4, Q2_K, Q3_K};
        !matches!(self, Q2_K | Q3_K | IQ4_NL | IQ4_XS | MXFP4)
    }

    /// Whether this build has code for its weights: whether the cargo feature with its name, in
    /// lower case, is on. `F32` is always there.
    pub const fn is_built_in(self) -> bool {
        match self {
            Self::F32 => true,
            Self::F16 => cfg!(feature = "f16"),
            Self::BF16 => cfg!(feature = "bf16"),
            Self::Q4_0 => cfg!(feature = "q4_0"),
            Self::Q4_1 => cfg!(feature = "q4_1"),
            Self::Q5_0 => cfg!(feature = "q5_0"),
            Self::Q5_1 => cfg!(feature = "q5_1"),
            Self::Q8_0 => cfg!(feature = "q8_0"),
            Self::Q2_K => cfg!(feature = "q2_k"),
            Self::Q3_K => cfg!(feature = "q3_k"),
            Self::Q4_K => cfg!(feature = "q4_k"),
            Self::Q5_K => cfg!(feature = "q5_k"),
            Self::Q6_K => cfg!(feature = "q6_k"),
            Self::IQ4_NL => cfg!(feature = "iq4_nl"),
            Self::IQ4_XS => cfg!(feature = "iq4_xs"),
            Self::MXFP4 => cfg!(feature = "mxfp4"),
        }
    }

    /// Bytes of a row of `n` weights, or `None` if its last block is not whole or the number does
    /// not fit.
    pub fn row_bytes(self, n: usize) -> Option<usize> {
        if !n.is_multiple_of(self.block_elems()) {
            return None;
        }
        n.checked_div(self.block_elems())?.checked_mul(self.block_bytes())
    }

    /// Name, elements and bytes per block, activations.
    const fn facts(self) -> (&'static str, usize, usize, Activation) {
        use Activation::{F32, Q8};
        match self {
            Self::F32 => ("F32", 1, 4, F32),
            Self::F16 => ("F16", 1, 2, F32),
            Self::BF16 => ("BF16", 1, 2, F32),
            Self::Q4_0 => ("Q4_0", 32, 18, Q8),
            Self::Q4_1 => ("Q4_1", 32, 20, Q8),
            Self::Q5_0 => ("Q5_0", 32, 22, Q8),
            Self::Q5_1 => ("Q5_1", 32, 24, Q8),
            Self::Q8_0 => ("Q8_0", 32, 34, Q8),
            Self::IQ4_NL => ("IQ4_NL", 32, 18, Q8),
            Self::MXFP4 => ("MXFP4", 32, 17, Q8),
            Self::Q2_K => ("Q2_K", 256, 84, Q8),
            Self::Q3_K => ("Q3_K", 256, 110, Q8),
            Self::Q4_K => ("Q4_K", 256, 144, Q8),
            Self::Q5_K => ("Q5_K", 256, 176, Q8),
            Self::Q6_K => ("Q6_K", 256, 210, Q8),
            Self::IQ4_XS => ("IQ4_XS", 256, 136, Q8),
        }
    }
}

impl fmt::Display for GgmlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The name of a type as GGML numbers them, whether it can be read here or not and whether GGML
/// still has it or not; `None` for numbers that it has not given out. For messages.
pub fn upstream_name(id: u32) -> Option<&'static str> {
    Some(match id {
        0 => "F32",
        1 => "F16",
        2 => "Q4_0",
        3 => "Q4_1",
        4 => "Q4_2",
        5 => "Q4_3",
        6 => "Q5_0",
        7 => "Q5_1",
        8 => "Q8_0",
        9 => "Q8_1",
        10 => "Q2_K",
        11 => "Q3_K",
        12 => "Q4_K",
        13 => "Q5_K",
        14 => "Q6_K",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        20 => "IQ4_NL",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        30 => "BF16",
        31 => "Q4_0_4_4",
        32 => "Q4_0_4_8",
        33 => "Q4_0_8_8",
        34 => "TQ1_0",
        35 => "TQ2_0",
        36 => "IQ4_NL_4_4",
        37 => "IQ4_NL_4_8",
        38 => "IQ4_NL_8_8",
        39 => "MXFP4",
        40 => "NVFP4",
        41 => "Q1_0",
        42 => "Q2_0",
        _ => return None,
    })
}

impl fmt::Display for QuantError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::PartialBlock(n, block) => {
                write!(f, "a row of {n} elements is not made of whole blocks of {block}")
            }
            Self::Length(needed, given) => {
                write!(f, "the row takes {needed} bytes, but {given} were given")
            }
            Self::NoQuantizer(ty) => write!(f, "{ty} can be read, but not written"),
            Self::LeftOut(ty) => write!(f, "this build of the core has no code for {ty}"),
            Self::Importance(needed, given) => {
                write!(
                    f,
                    "the row has {needed} elements, but {given} weights of importance were given"
                )
            }
        }
    }
}

impl core::error::Error for QuantError {}

/// Writes the weights of a row as floats: as many as `out` has, from exactly the bytes that they
/// take.
///
/// # Errors
/// [`QuantError::LeftOut`] for a format that this build has no code for; [`QuantError::PartialBlock`]
/// or [`QuantError::Length`] if the lengths do not fit the format and each other. `out` is then
/// untouched.
pub fn dequantize_row(ty: GgmlType, bytes: &[u8], out: &mut [f32]) -> Result<(), QuantError> {
    check_lengths(ty, out.len(), bytes.len())?;
    match ty {
        GgmlType::F32 => read1::<BlockF32>(bytes, out),
        GgmlType::F16 => read1::<BlockF16>(bytes, out),
        GgmlType::BF16 => read1::<BlockBF16>(bytes, out),
        GgmlType::Q4_0 => read32::<BlockQ4_0>(bytes, out),
        GgmlType::Q4_1 => read32::<BlockQ4_1>(bytes, out),
        GgmlType::Q5_0 => read32::<BlockQ5_0>(bytes, out),
        GgmlType::Q5_1 => read32::<BlockQ5_1>(bytes, out),
        GgmlType::Q8_0 => read32::<BlockQ8_0>(bytes, out),
        GgmlType::IQ4_NL => read32::<BlockIQ4NL>(bytes, out),
        GgmlType::MXFP4 => read32::<BlockMXFP4>(bytes, out),
        GgmlType::Q2_K => read256::<BlockQ2K>(bytes, out),
        GgmlType::Q3_K => read256::<BlockQ3K>(bytes, out),
        GgmlType::Q4_K => read256::<BlockQ4K>(bytes, out),
        GgmlType::Q5_K => read256::<BlockQ5K>(bytes, out),
        GgmlType::Q6_K => read256::<BlockQ6K>(bytes, out),
        GgmlType::IQ4_XS => read256::<BlockIQ4XS>(bytes, out),
    }
    Ok(())
}

/// Writes a row of floats in a format, as exactly the bytes that it takes: `F32`, `F16`, `BF16`,
/// `Q4_0`, `Q4_1`, `Q5_0`, `Q5_1`, `Q8_0`, `Q4_K`, `Q5_K` or `Q6_K`.
///
/// Every input has a defined result, but no format of integers can hold a NaN or an infinity. In
/// blocks of 32 they make zeros or something that is no number; super-blocks take a NaN for 0 and
/// an infinity for the largest float.
///
/// # Errors
/// [`QuantError::NoQuantizer`] for other formats, [`QuantError::LeftOut`] for those that this build
/// has no code for; [`QuantError::PartialBlock`] or [`QuantError::Length`] if the lengths do not fit
/// the format and each other. `out` is then untouched.
pub fn quantize_row(ty: GgmlType, x: &[f32], out: &mut [u8]) -> Result<(), QuantError> {
    quantize_plain(ty, x, None, out)
}

/// As [`quantize_row`], but makes errors small where they matter: `importance` says for each
/// element how much its squared error counts, such as the mean of the squared activations that
/// its column is multiplied with.
///
/// What is negative or no number counts as 0. `F32`, `F16`, `BF16` and `Q8_0` come out as without.
///
/// # Errors
/// As [`quantize_row`], and [`QuantError::Importance`] if there is not one for each element.
pub fn quantize_row_weighted(
    ty: GgmlType,
    x: &[f32],
    importance: &[f32],
    out: &mut [u8],
) -> Result<(), QuantError> {
    quantize_plain(ty, x, Some(importance), out)
}

/// Either of the above, for any CPU.
pub(crate) fn quantize_plain(
    ty: GgmlType,
    x: &[f32],
    importance: Option<&[f32]>,
    out: &mut [u8],
) -> Result<(), QuantError> {
    quantize_with(ty, x, importance, out, PlainSearch::weighted_blocks, PlainSearch::super_block)
}

/// Either of the above with the searches of a kernel set.
#[inline(always)]
pub(crate) fn quantize_with(
    ty: GgmlType,
    x: &[f32],
    importance: Option<&[f32]>,
    out: &mut [u8],
    weighted_blocks: impl Fn(&Form32, &[f32], &[f32], &mut PutBlock<'_>),
    super_block: impl Fn(&Form256, &[f32; 256], Option<&[f32; 256]>) -> Parts256,
) -> Result<(), QuantError> {
    if !ty.is_writable() {
        return Err(QuantError::NoQuantizer(ty));
    }
    check_lengths(ty, x.len(), out.len())?;
    if let Some(importance) = importance
        && importance.len() != x.len()
    {
        return Err(QuantError::Importance(x.len(), importance.len()));
    }
    match (ty, importance) {
        (GgmlType::F32, _) => write1::<BlockF32>(x, out),
        (GgmlType::F16, _) => write1::<BlockF16>(x, out),
        (GgmlType::BF16, _) => write1::<BlockBF16>(x, out),
        (GgmlType::Q8_0, _) => write32::<BlockQ8_0>(x, out),
        (GgmlType::Q4_0, None) => write32::<BlockQ4_0>(x, out),
        (GgmlType::Q4_1, None) => write32::<BlockQ4_1>(x, out),
        (GgmlType::Q5_0, None) => write32::<BlockQ5_0>(x, out),
        (GgmlType::Q5_1, None) => write32::<BlockQ5_1>(x, out),
        (_, Some(importance)) if ty.block_elems() == 32 => {
            write_weighted32(ty, x, importance, out, weighted_blocks);
        }
        _ => write256(ty, x, importance, out, super_block),
    }
    Ok(())
}

fn check_lengths(ty: GgmlType, elements: usize, bytes: usize) -> Result<(), QuantError> {
    if !ty.is_built_in() {
        return Err(QuantError::LeftOut(ty));
    }
    if !elements.is_multiple_of(ty.block_elems()) {
        return Err(QuantError::PartialBlock(elements, ty.block_elems()));
    }
    match ty.row_bytes(elements) {
        Some(needed) if needed == bytes => Ok(()),
        needed => Err(QuantError::Length(needed.unwrap_or(usize::MAX), bytes)),
    }
}

// The lengths are right where these are called; a block that is not whole would be skipped. Formats
// that are not built in do not come here, which compilers cannot see by themselves.

fn read1<B: FloatBlock>(bytes: &[u8], out: &mut [f32]) {
    if const { !B::TYPE.is_built_in() } {
        return;
    }
    for (out, block) in out.iter_mut().zip(blocks::<B>(bytes).unwrap_or_default()) {
        *out = block.get();
    }
}

fn read32<B: Block32>(bytes: &[u8], out: &mut [f32]) {
    if const { !B::TYPE.is_built_in() } {
        return;
    }
    for (out, block) in out.as_chunks_mut().0.iter_mut().zip(blocks::<B>(bytes).unwrap_or_default())
    {
        block.dequantize(out);
    }
}

fn read256<B: Block256>(bytes: &[u8], out: &mut [f32]) {
    if const { !B::TYPE.is_built_in() } {
        return;
    }
    for (out, block) in out.as_chunks_mut().0.iter_mut().zip(blocks::<B>(bytes).unwrap_or_default())
    {
        block.dequantize(out);
    }
}

fn write1<B: FloatBlock>(x: &[f32], out: &mut [u8]) {
    if const { !B::TYPE.is_built_in() } {
        return;
    }
    for (block, &x) in blocks_mut::<B>(out).unwrap_or_default().iter_mut().zip(x) {
        *block = B::put(x);
    }
}

fn write32<B: Quantize>(x: &[f32], out: &mut [u8]) {
    if const { !B::TYPE.is_built_in() } {
        return;
    }
    for (block, x) in blocks_mut::<B>(out).unwrap_or_default().iter_mut().zip(x.as_chunks().0) {
        *block = B::quantize(x);
    }
}

#[inline(always)]
fn write_weighted32(
    ty: GgmlType,
    x: &[f32],
    importance: &[f32],
    out: &mut [u8],
    weighted_blocks: impl Fn(&Form32, &[f32], &[f32], &mut PutBlock<'_>),
) {
    let form = match ty {
        GgmlType::Q4_0 => &BlockQ4_0::FORM,
        GgmlType::Q4_1 => &BlockQ4_1::FORM,
        GgmlType::Q5_0 => &BlockQ5_0::FORM,
        GgmlType::Q5_1 => &BlockQ5_1::FORM,
        _ => return,
    };
    weighted_blocks(form, x, importance, &mut |index, d, m, q| match ty {
        GgmlType::Q4_0 => put(out, index, BlockQ4_0::pack(d, m, q)),
        GgmlType::Q4_1 => put(out, index, BlockQ4_1::pack(d, m, q)),
        GgmlType::Q5_0 => put(out, index, BlockQ5_0::pack(d, m, q)),
        _ => put(out, index, BlockQ5_1::pack(d, m, q)),
    });
}

#[inline(always)]
fn write256(
    ty: GgmlType,
    x: &[f32],
    importance: Option<&[f32]>,
    out: &mut [u8],
    super_block: impl Fn(&Form256, &[f32; 256], Option<&[f32; 256]>) -> Parts256,
) {
    let form = match ty {
        GgmlType::Q4_K => &BlockQ4K::FORM,
        GgmlType::Q5_K => &BlockQ5K::FORM,
        GgmlType::Q6_K => &BlockQ6K::FORM,
        _ => return,
    };
    let mut importance = importance.map(|importance| importance.as_chunks().0.iter());
    for (index, x) in x.as_chunks().0.iter().enumerate() {
        let importance = importance.as_mut().and_then(Iterator::next);
        let parts = super_block(form, x, importance);
        match ty {
            GgmlType::Q4_K => put(out, index, BlockQ4K::pack(&parts)),
            GgmlType::Q5_K => put(out, index, BlockQ5K::pack(&parts)),
            _ => put(out, index, BlockQ6K::pack(&parts)),
        }
    }
}

/// Writes a block where it belongs in its row.
fn put<B: Block>(row: &mut [u8], index: usize, block: B) {
    if let Some(to) = blocks_mut(row).and_then(|blocks| blocks.get_mut(index)) {
        *to = block;
    }
}

#[cfg(test)]
mod tests;
