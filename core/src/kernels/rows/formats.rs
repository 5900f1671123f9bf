//! How each format's blocks become groups of 32 weights in registers, a lane for each row.
//!
//! Layouts are those of the formats' files in [`crate::quant`]; what is written here once serves
//! every instruction set.

use super::simd::{At, Kind, Levels, RowSimd};
use crate::quant::block::{Block, Block32, Block256};
use crate::quant::{
    GgmlType, iq4_nl, iq4_xs, mxfp4, q2_k, q3_k, q4_0, q4_1, q4_k, q5_0, q5_1, q5_k, q6_k, q8_0,
};

/// 32 weights of each row: `w = d·q + m`, with a scale for all or for each run of 16.
pub(in crate::kernels) struct Group<S: RowSimd> {
    pub q: [S::Piece; 2],
    pub d: [S::Floats; 2],
    pub m: [S::Floats; 2],
}

impl<S: RowSimd> Group<S> {
    #[inline(always)]
    fn new(q: [S::Piece; 2], d: S::Floats, m: S::Floats) -> Self {
        Group { q, d: [d; 2], m: [m; 2] }
    }
}

/// Takes the groups of a block, in order.
pub(in crate::kernels) trait Sink<S: RowSimd> {
    /// # Safety
    /// What the sink holds must have a place for group `g`.
    unsafe fn take(&mut self, g: usize, group: &Group<S>);
}

/// A format of quantized weights.
pub(in crate::kernels) trait Format {
    const TYPE: GgmlType;
    /// Bytes of a block.
    const BYTES: usize;
    /// Groups of 32 in a block.
    const GROUPS: usize;
    /// How its integers are multiplied.
    type Kind: Kind;
    /// What they are too large by, unless they are signed.
    const EXCESS: i32;

    /// Gives the block at `at` to `sink`, whose groups are counted from `g` on.
    ///
    /// # Safety
    /// `BYTES` bytes must be readable in each row, and the sink must have places for the groups.
    unsafe fn unpack<S: RowSimd>(s: S, at: At, g: usize, sink: &mut impl Sink<S>);
}

/// Writes the constants of a format with blocks of 32, from their type, the largest level and the
/// excess.
macro_rules! block32 {
    ($block:ty, $max:literal, $excess:literal) => {
        const TYPE: GgmlType = <$block as Block>::TYPE;
        const BYTES: usize = size_of::<$block>();
        const GROUPS: usize = 1;
        type Kind = Levels<1, { <$block as Block32>::HAS_MIN }, $max>;
        const EXCESS: i32 = $excess;
    };
}

/// As `block32`, for super-blocks.
macro_rules! block256 {
    ($block:ty, $max:literal, $excess:literal) => {
        const TYPE: GgmlType = <$block as Block>::TYPE;
        const BYTES: usize = size_of::<$block>();
        const GROUPS: usize = 8;
        type Kind =
            Levels<{ 32 / <$block as Block256>::GROUP }, { <$block as Block256>::HAS_MIN }, $max>;
        const EXCESS: i32 = $excess;
    };
}

/// Sixteen bytes of nibbles: the low ones are the first weights.
///
/// # Safety
/// Sixteen bytes must be readable in each row.
#[inline(always)]
unsafe fn nibbles<S: RowSimd>(s: S, at: At) -> [S::Piece; 2] {
    // SAFETY: the caller's promise.
    let both = unsafe { s.load16(at) };
    [s.bits(both, 0, 15), s.bits(both, 4, 15)]
}

/// # Safety
/// Two bytes must be readable in each row.
#[inline(always)]
unsafe fn half<S: RowSimd>(s: S, at: At) -> S::Floats {
    // SAFETY: the caller's promise.
    s.floats_from_half(unsafe { s.load2(at) })
}

/// Two half floats that lie side by side.
///
/// # Safety
/// Four bytes must be readable in each row.
#[inline(always)]
unsafe fn two_halves<S: RowSimd>(s: S, at: At) -> [S::Floats; 2] {
    // SAFETY: the caller's promise.
    let words = unsafe { s.load4(at) };
    [s.floats_from_half(words), s.floats_from_half(s.field(words, 16, 0xFFFF))]
}

/// What `f` says of each row's block.
///
/// # Safety
/// A block must be readable in each row.
#[inline(always)]
unsafe fn each_block<S: RowSimd, B: Block>(s: S, at: At, f: impl Fn(&B) -> f32) -> S::Floats {
    let mut values = [0.0f32; 16];
    for (i, value) in values.iter_mut().take(S::ROWS).enumerate() {
        // SAFETY: the block is readable, by the caller's promise; `Block` has alignment 1 and
        // takes any bytes.
        *value = f(unsafe { &*at.ptr.add(i * at.stride).cast::<B>() });
    }
    // SAFETY: no set has more than sixteen rows.
    unsafe { s.load(values.as_ptr()) }
}

pub(in crate::kernels) struct Q4_0;

impl Format for Q4_0 {
    block32!(q4_0::BlockQ4_0, 15, 8);
    #[inline(always)]
    unsafe fn unpack<S: RowSimd>(s: S, at: At, g: usize, sink: &mut impl Sink<S>) {
        // SAFETY: the fields of the block; the sink has a place, by the caller's promise.
        unsafe {
            sink.take(g, &Group::new(nibbles(s, at.add(2)), half(s, at), s.splat(0.0)));
        }
    }
}

pub(in crate::kernels) struct Q4_1;

impl Format for Q4_1 {
    block32!(q4_1::BlockQ4_1, 15, 0);
    #[inline(always)]
    unsafe fn unpack<S: RowSimd>(s: S, at: At, g: usize, sink: &mut impl Sink<S>) {
        // SAFETY: the fields of the block; the sink has a place, by the caller's promise.
        unsafe {
            let [d, m] = two_halves(s, at);
            sink.take(g, &Group::new(nibbles(s, at.add(4)), d, m));
        }
    }
}

pub(in crate::kernels) struct Q5_0;

impl Format for Q5_0 {
    block32!(q5_0::BlockQ5_0, 31, 16);
    #[inline(always)]
    unsafe fn unpack<S: RowSimd>(s: S, at: At, g: usize, sink: &mut impl Sink<S>) {
        // SAFETY: the fields of the block; the sink has a place, by the caller's promise.
        unsafe {
            let [low, high] = nibbles(s, at.add(6));
            let fifth = s.fifth_bits(s.load4(at.add(2)));
            let q = [s.or(low, fifth[0]), s.or(high, fifth[1])];
            sink.take(g, &Group::new(q, half(s, at), s.splat(0.0)));
        }
    }
}

pub(in crate::kernels) struct Q5_1;

impl Format for Q5_1 {
    block32!(q5_1::BlockQ5_1, 31, 0);
    #[inline(always)]
    unsafe fn unpack<S: RowSimd>(s: S, at: At, g: usize, sink: &mut impl Sink<S>) {
        // SAFETY: the fields of the block; the sink has a place, by the caller's promise.
        unsafe {
            let [low, high] = nibbles(s, at.add(8));
            let fifth = s.fifth_bits(s.load4(at.add(4)));
            let q = [s.or(low, fifth[0]), s.or(high, fifth[1])];
            let [d, m] = two_halves(s, at);
            sink.take(g, &Group::new(q, d, m));
        }
    }
}

pub(in crate::kernels) struct Q8_0;

impl Format for Q8_0 {
    block32!(q8_0::BlockQ8_0, 128, 0);
    #[inline(always)]
    unsafe fn unpack<S: RowSimd>(s: S, at: At, g: usize, sink: &mut impl Sink<S>) {
        // SAFETY: the fields of the block; the sink has a place, by the caller's promise.
        unsafe {
            let q = [s.load16(at.add(2)), s.load16(at.add(18))];
            let q = [s.admit_signed(q[0]), s.admit_signed(q[1])];
            sink.take(g, &Group::new(q, half(s, at), s.splat(0.0)));
        }
    }
}

/// Sixteen bytes of nibbles, as the signed bytes that they number.
///
/// # Safety
/// Sixteen bytes must be readable in each row.
#[inline(always)]
unsafe fn table_nibbles<S: RowSimd>(s: S, at: At, table: &[i8; 16]) -> [S::Piece; 2] {
    // SAFETY: the caller's promise.
    let [low, high] = unsafe { nibbles(s, at) };
    let (low, high) = (s.lookup(low, table), s.lookup(high, table));
    [s.admit_signed(low), s.admit_signed(high)]
}

pub(in crate::kernels) struct IQ4NL;

impl Format for IQ4NL {
    block32!(iq4_nl::BlockIQ4NL, 128, 0);
    #[inline(always)]
    unsafe fn unpack<S: RowSimd>(s: S, at: At, g: usize, sink: &mut impl Sink<S>) {
        // SAFETY: the fields of the block; the sink has a place, by the caller's promise.
        unsafe {
            let q = table_nibbles(s, at.add(2), &iq4_nl::TABLE);
            sink.take(g, &Group::new(q, half(s, at), s.splat(0.0)));
        }
    }
}

pub(in crate::kernels) struct MXFP4;

impl Format for MXFP4 {
    block32!(mxfp4::BlockMXFP4, 128, 0);
    #[inline(always)]
    unsafe fn unpack<S: RowSimd>(s: S, at: At, g: usize, sink: &mut impl Sink<S>) {
        // SAFETY: the fields of the block; the sink has a place, by the caller's promise.
        unsafe {
            let q = table_nibbles(s, at.add(1), &mxfp4::TABLE);
            let d = each_block(s, at, |block: &mxfp4::BlockMXFP4| block.scale());
            sink.take(g, &Group::new(q, d, s.splat(0.0)));
        }
    }
}

/// Scales and minimums of `Q4_K` and `Q5_K`, group by group, from the sixteen bytes that such a
/// block begins with.
///
/// # Safety
/// Sixteen bytes must be readable in each row.
#[inline(always)]
unsafe fn six_bit_scales<S: RowSimd>(s: S, at: At) -> [(S::Floats, S::Floats); 8] {
    // SAFETY: the caller's promise.
    let [halves, s_low, m_low, high] = s.words(unsafe { s.load16(at) });
    let d = s.floats_from_half(halves);
    let dmin = s.neg(s.floats_from_half(s.field(halves, 16, 0xFFFF)));
    let mut out = [(d, dmin); 8];
    for k in 0..4 {
        let byte = 8 * k as u32;
        let scale = s.field(s_low, byte, 63);
        let min = s.field(m_low, byte, 63);
        out[k] = (s.mul(d, s.floats_from(scale)), s.mul(dmin, s.floats_from(min)));
        let scale = s.join(s.field(high, byte, 15), s.field(s_low, byte + 6, 3), 4);
        let min = s.join(s.field(high, byte + 4, 15), s.field(m_low, byte + 6, 3), 4);
        out[k + 4] = (s.mul(d, s.floats_from(scale)), s.mul(dmin, s.floats_from(min)));
    }
    out
}

pub(in crate::kernels) struct Q4K;

impl Format for Q4K {
    block256!(q4_k::BlockQ4K, 15, 0);
    #[inline(always)]
    unsafe fn unpack<S: RowSimd>(s: S, at: At, g: usize, sink: &mut impl Sink<S>) {
        // SAFETY: the fields of the block; the sink has places, by the caller's promise.
        unsafe {
            let scales = six_bit_scales(s, at);
            for c in 0..4 {
                let a = nibbles(s, at.add(16 + 32 * c));
                let b = nibbles(s, at.add(32 + 32 * c));
                for half in 0..2 {
                    let (d, m) = scales[2 * c + half];
                    sink.take(g + 2 * c + half, &Group::new([a[half], b[half]], d, m));
                }
            }
        }
    }
}

pub(in crate::kernels) struct Q5K;

impl Format for Q5K {
    block256!(q5_k::BlockQ5K, 31, 0);
    #[inline(always)]
    unsafe fn unpack<S: RowSimd>(s: S, at: At, g: usize, sink: &mut impl Sink<S>) {
        // SAFETY: the fields of the block; the sink has places, by the caller's promise.
        unsafe {
            let scales = six_bit_scales(s, at);
            let high = [s.load16(at.add(16)), s.load16(at.add(32))];
            for c in 0..4 {
                let a = nibbles(s, at.add(48 + 32 * c));
                let b = nibbles(s, at.add(64 + 32 * c));
                for half in 0..2 {
                    let plane = 2 * c + half;
                    let q = [
                        s.or(a[half], fifth_bit(s, high[0], plane)),
                        s.or(b[half], fifth_bit(s, high[1], plane)),
                    ];
                    let (d, m) = scales[plane];
                    sink.take(g + plane, &Group::new(q, d, m));
                }
            }
        }
    }
}

/// Bit `plane` of every byte, as 16 or 0.
#[inline(always)]
fn fifth_bit<S: RowSimd>(s: S, p: S::Piece, plane: usize) -> S::Piece {
    match plane {
        0..4 => s.bits_up(p, 4 - plane as u32, 16),
        _ => s.bits(p, plane as u32 - 4, 16),
    }
}

pub(in crate::kernels) struct Q6K;

impl Format for Q6K {
    block256!(q6_k::BlockQ6K, 63, 32);
    #[inline(always)]
    unsafe fn unpack<S: RowSimd>(s: S, at: At, g: usize, sink: &mut impl Sink<S>) {
        // SAFETY: the fields of the block; the sink has places, by the caller's promise.
        unsafe {
            let d = half(s, at.add(208));
            let scales = s.words(s.load16(at.add(192)));
            for h in 0..2 {
                let ql = at.add(64 * h);
                let low: [_; 2] = [nibbles(s, ql), nibbles(s, ql.add(16))];
                let low_next = [nibbles(s, ql.add(32)), nibbles(s, ql.add(48))];
                let high = [s.load16(at.add(128 + 32 * h)), s.load16(at.add(144 + 32 * h))];
                for plane in 0..4 {
                    let low = if plane % 2 == 0 { &low } else { &low_next };
                    let q = [
                        s.or(low[0][plane / 2], upper_two(s, high[0], plane)),
                        s.or(low[1][plane / 2], upper_two(s, high[1], plane)),
                    ];
                    // Runs 2·group and 2·group + 1 are bytes of one word.
                    let group = 4 * h + plane;
                    let (word, byte) = (scales[group / 2], 2 * (group as u32 % 2));
                    let d = [
                        s.mul(d, s.floats_from(s.signed_byte(word, byte))),
                        s.mul(d, s.floats_from(s.signed_byte(word, byte + 1))),
                    ];
                    sink.take(g + group, &Group { q, d, m: [s.splat(0.0); 2] });
                }
            }
        }
    }
}

/// Bits `2·plane..` of every byte, two of them, as the upper ones of six.
#[inline(always)]
fn upper_two<S: RowSimd>(s: S, p: S::Piece, plane: usize) -> S::Piece {
    match plane {
        0 => s.bits_up(p, 4, 48),
        1 => s.bits_up(p, 2, 48),
        2 => s.bits(p, 0, 48),
        _ => s.bits(p, 2, 48),
    }
}

/// A run's `d·s` and `−dmin·m`, from each row's block: for formats too rare for code of their own.
///
/// # Safety
/// A block must be readable in each row.
#[inline(always)]
unsafe fn run_scales<S: RowSimd, B: Block256>(at: At, out: &mut [[[f32; 16]; 16]; 2]) {
    let [ds, ms] = out;
    for row in 0..S::ROWS {
        // SAFETY: the block is readable, by the caller's promise; `Block` has alignment 1 and
        // takes any bytes.
        let block = unsafe { &*at.ptr.add(row * at.stride).cast::<B>() };
        let (mut scales, mut mins) = ([0; 16], [0; 16]);
        block.unpack_scales(&mut scales, &mut mins);
        let (d, dmin) = (block.scale(), block.min_scale());
        for run in 0..16 {
            ds[run][row] = d * f32::from(scales[run]);
            ms[run][row] = -(dmin * f32::from(mins[run]));
        }
    }
}

/// The group of two runs from `run` on.
#[inline(always)]
fn group_of_runs<S: RowSimd>(
    s: S,
    q: [S::Piece; 2],
    [d, m]: &[[[f32; 16]; 16]; 2],
    run: usize,
) -> Group<S> {
    // SAFETY: no set has more than sixteen rows.
    unsafe {
        Group {
            q,
            d: [s.load(d[run].as_ptr()), s.load(d[run + 1].as_ptr())],
            m: [s.load(m[run].as_ptr()), s.load(m[run + 1].as_ptr())],
        }
    }
}

pub(in crate::kernels) struct Q2K;

impl Format for Q2K {
    block256!(q2_k::BlockQ2K, 15, 0);
    #[inline(always)]
    unsafe fn unpack<S: RowSimd>(s: S, at: At, g: usize, sink: &mut impl Sink<S>) {
        let mut scales = [[[0.0; 16]; 16]; 2];
        // SAFETY: the fields of the block; the sink has places, by the caller's promise.
        unsafe {
            run_scales::<S, q2_k::BlockQ2K>(at, &mut scales);
            for h in 0..2 {
                let levels = [s.load16(at.add(16 + 32 * h)), s.load16(at.add(32 + 32 * h))];
                for plane in 0..4 {
                    let shift = 2 * plane as u32;
                    let q = [s.bits(levels[0], shift, 3), s.bits(levels[1], shift, 3)];
                    let group = 4 * h + plane;
                    sink.take(g + group, &group_of_runs(s, q, &scales, 2 * group));
                }
            }
        }
    }
}

pub(in crate::kernels) struct Q3K;

impl Format for Q3K {
    block256!(q3_k::BlockQ3K, 15, 4);
    #[inline(always)]
    unsafe fn unpack<S: RowSimd>(s: S, at: At, g: usize, sink: &mut impl Sink<S>) {
        let mut scales = [[[0.0; 16]; 16]; 2];
        // SAFETY: the fields of the block; the sink has places, by the caller's promise.
        unsafe {
            run_scales::<S, q3_k::BlockQ3K>(at, &mut scales);
            let third = [s.load16(at), s.load16(at.add(16))];
            for h in 0..2 {
                let levels = [s.load16(at.add(32 + 32 * h)), s.load16(at.add(48 + 32 * h))];
                for plane in 0..4 {
                    let shift = 2 * plane as u32;
                    let group = 4 * h + plane;
                    let q = [
                        s.or(s.bits(levels[0], shift, 3), third_bit(s, third[0], group)),
                        s.or(s.bits(levels[1], shift, 3), third_bit(s, third[1], group)),
                    ];
                    sink.take(g + group, &group_of_runs(s, q, &scales, 2 * group));
                }
            }
        }
    }
}

/// Bit `plane` of every byte, as 4 or 0.
#[inline(always)]
fn third_bit<S: RowSimd>(s: S, p: S::Piece, plane: usize) -> S::Piece {
    match plane {
        0..2 => s.bits_up(p, 2 - plane as u32, 4),
        _ => s.bits(p, plane as u32 - 2, 4),
    }
}

pub(in crate::kernels) struct IQ4XS;

impl Format for IQ4XS {
    block256!(iq4_xs::BlockIQ4XS, 128, 0);
    #[inline(always)]
    unsafe fn unpack<S: RowSimd>(s: S, at: At, g: usize, sink: &mut impl Sink<S>) {
        let mut scales = [[[0.0; 16]; 16]; 2];
        // SAFETY: the fields of the block; the sink has places, by the caller's promise.
        unsafe {
            run_scales::<S, iq4_xs::BlockIQ4XS>(at, &mut scales);
            for k in 0..8 {
                let q = table_nibbles(s, at.add(8 + 16 * k), &iq4_nl::TABLE);
                sink.take(g + k, &group_of_runs(s, q, &scales, 2 * k));
            }
        }
    }
}
