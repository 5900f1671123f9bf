//! Blocks: what every format has in common, and the one checked cast from bytes to them.
//!
//! A row of a tensor is a sequence of blocks with nothing between them. Every block type here is
//! a `repr(C)` struct of byte arrays, so it has alignment 1, no padding and no invalid bit
//! pattern, and a mapped file can be read as blocks where it lies, whatever its alignment. Numbers
//! wider than a byte are put together from little-endian bytes by each format's file.
//!
//! Three families cover all formats, one trait each. A family knows how its integers and scales
//! make floats; a format only says how they are packed:
//!
//! | Trait | Elements | Weight |
//! |---|---|---|
//! | [`FloatBlock`] | 1 | itself |
//! | [`Block32`] | 32 | `d·q + m` |
//! | [`Block256`] | 256, in runs of 16 | `(d·s)·q − dmin·m` |
// The cast below is the only way from file bytes to typed blocks.
#![allow(unsafe_code)]

use super::GgmlType;
use super::float::{BlockBF16, BlockF16, BlockF32};
use super::iq4_nl::BlockIQ4NL;
use super::iq4_xs::BlockIQ4XS;
use super::mxfp4::BlockMXFP4;
use super::q2_k::BlockQ2K;
use super::q3_k::BlockQ3K;
use super::q4_0::BlockQ4_0;
use super::q4_1::BlockQ4_1;
use super::q4_k::BlockQ4K;
use super::q5_0::BlockQ5_0;
use super::q5_1::BlockQ5_1;
use super::q5_k::BlockQ5K;
use super::q6_k::BlockQ6K;
use super::q8_0::BlockQ8_0;
use core::slice;

/// The smallest unit of a format that stands alone.
///
/// # Safety
/// The type has alignment 1, a size other than zero, no padding, and every bit pattern of its
/// bytes is a value of it.
pub unsafe trait Block: Copy + Send + Sync + 'static {
    /// The format whose block this is.
    const TYPE: GgmlType;
    /// Weights in a block.
    const ELEMS: usize;
}

/// The blocks that `bytes` consists of, or `None` if the last one is not whole.
#[inline]
pub fn blocks<B: Block>(bytes: &[u8]) -> Option<&[B]> {
    if !bytes.len().is_multiple_of(size_of::<B>()) {
        return None;
    }
    let n = bytes.len() / size_of::<B>();
    // SAFETY: `n` blocks are exactly the bytes borrowed, `Block` promises alignment 1 and that
    // any bytes are valid blocks.
    Some(unsafe { slice::from_raw_parts(bytes.as_ptr().cast(), n) })
}

/// The blocks that `bytes` consists of, to be written, or `None` if the last one is not whole.
#[inline]
pub fn blocks_mut<B: Block>(bytes: &mut [u8]) -> Option<&mut [B]> {
    if !bytes.len().is_multiple_of(size_of::<B>()) {
        return None;
    }
    let n = bytes.len() / size_of::<B>();
    // SAFETY: as in `blocks`; the borrow is exclusive, and as a block has no padding, whatever is
    // written through it leaves every byte initialized.
    Some(unsafe { slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), n) })
}

/// A plain float format: every element is a block of its own.
pub trait FloatBlock: Block {
    /// The element's value, exactly.
    fn get(self) -> f32;
    /// The element nearest to `x`, ties to even.
    fn put(x: f32) -> Self;
}

/// The values of sixteen elements: one step of a lane sum (section 1.6 of the numerics).
#[inline(always)]
pub fn widen16<B: FloatBlock>(elements: &[B; 16]) -> [f32; 16] {
    let mut out = [0.0; 16];
    for (o, e) in out.iter_mut().zip(elements) {
        *o = e.get();
    }
    out
}

/// A block of 32 weights under one scale: `w[i] = d·q[i]`, or `d·q[i] + m` in formats with a
/// minimum.
///
/// The methods are what dot products are made of (section 4 of the numerics). They are inlined
/// into kernels and have no branches, so that they take on the vector instructions of the kernel
/// they stand in.
pub trait Block32: Block {
    /// Whether the format stores a minimum.
    const HAS_MIN: bool;

    /// The scale `d`.
    fn scale(&self) -> f32;

    /// The minimum `m`; 0 in formats that have none.
    #[inline(always)]
    fn min(&self) -> f32 {
        0.0
    }

    /// Writes the integers `q`, in the order of the weights.
    fn unpack(&self, q: &mut [i8; 32]);

    /// Writes the weights: one multiplication each, and one addition if there is a minimum.
    #[inline]
    fn dequantize(&self, out: &mut [f32; 32]) {
        let mut q = [0; 32];
        self.unpack(&mut q);
        let (d, m) = (self.scale(), self.min());
        for (w, q) in out.iter_mut().zip(q) {
            *w = d * f32::from(q);
            if Self::HAS_MIN {
                *w += m;
            }
        }
    }
}

/// A super-block of 256 weights with sub-scales: in run `j` of 16,
/// `w = (d·s[j])·q`, or `(d·s[j])·q − dmin·m[j]` in formats with minimums.
///
/// As with [`Block32`], the methods are meant for kernels' inner loops.
pub trait Block256: Block {
    /// Whether the format stores minimums.
    const HAS_MIN: bool;

    /// Weights that share a sub-scale: 16 or 32.
    const GROUP: usize;

    /// The scale of the sub-scales, `d`.
    fn scale(&self) -> f32;

    /// The scale of the minimums, `dmin`; 0 in formats that have none.
    #[inline(always)]
    fn min_scale(&self) -> f32 {
        0.0
    }

    /// Writes the integers `q` in the order of the weights.
    fn unpack(&self, q: &mut [i8; 256]);

    /// Writes for each run of 16 its sub-scale `s` and its minimum `m`, which is 0 in formats that
    /// have none. Formats whose sub-scales serve 32 weights write each twice.
    fn unpack_scales(&self, s: &mut [i8; 16], m: &mut [u8; 16]);

    /// Writes the weights: `d·s` and `dmin·m` are rounded once per run, then one multiplication
    /// per weight, and one subtraction if there are minimums.
    #[inline]
    fn dequantize(&self, out: &mut [f32; 256]) {
        let (mut q, mut s, mut m) = ([0; 256], [0; 16], [0; 16]);
        self.unpack(&mut q);
        self.unpack_scales(&mut s, &mut m);
        let (d, dmin) = (self.scale(), self.min_scale());
        let runs = out.as_chunks_mut::<16>().0.iter_mut().zip(q.as_chunks::<16>().0);
        for ((out, q), (s, m)) in runs.zip(s.into_iter().zip(m)) {
            let (ds, dm) = (d * f32::from(s), dmin * f32::from(m));
            for (w, &q) in out.iter_mut().zip(q) {
                *w = ds * f32::from(q);
                if Self::HAS_MIN {
                    *w -= dm;
                }
            }
        }
    }
}

/// What a super-block is made of, as [`Block256`] takes it apart.
#[derive(Clone, Copy, Debug)]
pub struct Parts256 {
    /// The scale of the sub-scales, the bits of an `f16`.
    pub d: u16,
    /// The scale of the minimums likewise.
    pub dmin: u16,
    /// The sub-scale of each run of 16.
    pub s: [i8; 16],
    /// The minimum of each run of 16.
    pub m: [u8; 16],
    /// The integers in the order of the weights.
    pub q: [i8; 256],
}

/// What the search for a super-block's parts has to know of its format. One search serves all
/// formats, which differ in little: every set's copy of it is large.
#[derive(Clone, Copy, Debug)]
pub struct Form256 {
    /// Weights that share a sub-scale, as [`Block256::GROUP`].
    pub group: usize,
    /// As [`Block256::HAS_MIN`].
    pub has_min: bool,
    /// The lowest and the highest integer.
    pub levels: [f32; 2],
    /// The lowest and the highest sub-scale. Minimums are from 0 to the same.
    pub scales: [f32; 2],
    /// How much more the errors of larger weights count where importance is given: by
    /// `√(this · mean square + w²)`, or not at all if 0.
    pub size_counts: f32,
}

/// A super-block that can be put together here.
pub trait Pack256: Block256 {
    /// The format, for the search.
    const FORM: Form256;

    /// The block of these parts, all of which must be as the format can hold them; of sub-scales
    /// that serve 32 weights the first of two counts.
    fn pack(parts: &Parts256) -> Self;
}

/// The same of a block of 32.
#[derive(Clone, Copy, Debug)]
pub struct Form32 {
    /// As [`Block32::HAS_MIN`].
    pub has_min: bool,
    /// The lowest and the highest integer.
    pub levels: [f32; 2],
}

/// A block of 32 weights that can be put together here.
pub trait Pack32: Block32 {
    /// The format, for the search.
    const FORM: Form32;

    /// The block of these parts: the bits of the scale and of the minimum, which counts where the
    /// format has one, and integers within the levels.
    fn pack(d: u16, m: u16, q: &[i8; 32]) -> Self;
}

/// A block of 32 weights that can be made here.
pub trait Quantize: Block32 {
    /// The block that stands for `x`, byte for byte as GGML's reference quantizer makes it.
    fn quantize(x: &[f32; 32]) -> Self;
}

/// Implements [`Block`], holding each type against its row of [`GgmlType`]: were a field wider
/// than a byte there would be an alignment above 1, and padding would be a size too large.
macro_rules! block {
    ($($block:ty => $ty:ident * $elems:literal),* $(,)?) => {$(
        const _: () = assert!(
            align_of::<$block>() == 1
                && size_of::<$block>() == GgmlType::$ty.block_bytes()
                && GgmlType::$ty.block_elems() == $elems
        );
        // SAFETY: a struct of byte arrays, of alignment 1 and of the size that the format has, as
        // asserted above.
        unsafe impl Block for $block {
            const TYPE: GgmlType = GgmlType::$ty;
            const ELEMS: usize = $elems;
        }
    )*};
}

block! {
    BlockF32 => F32 * 1,
    BlockF16 => F16 * 1,
    BlockBF16 => BF16 * 1,
    BlockQ4_0 => Q4_0 * 32,
    BlockQ4_1 => Q4_1 * 32,
    BlockQ5_0 => Q5_0 * 32,
    BlockQ5_1 => Q5_1 * 32,
    BlockQ8_0 => Q8_0 * 32,
    BlockQ2K => Q2_K * 256,
    BlockQ3K => Q3_K * 256,
    BlockQ4K => Q4_K * 256,
    BlockQ5K => Q5_K * 256,
    BlockQ6K => Q6_K * 256,
    BlockIQ4NL => IQ4_NL * 32,
    BlockIQ4XS => IQ4_XS * 256,
    BlockMXFP4 => MXFP4 * 32,
}
