//! Weight rows times activations (numerics, section 4).
//!
//! A block of weights is unpacked once for a few tokens at a time; every token keeps its own
//! accumulator, so neither the tile nor the batch can be seen in a result.

use crate::kernels::args::{Acts, MatmulRows};
use crate::kernels::isa::Isa;
use crate::math::{LANES, canonical, fma, fold_lanes};
use crate::quant::block::{Block32, Block256, FloatBlock, blocks, widen16};

/// Tokens that share one unpacking of a block.
const TILE: usize = 4;

/// # Safety
/// Nobody else may access the outputs that `m` names.
#[inline(always)]
pub(in crate::kernels) unsafe fn matmul_rows<I: Isa>(m: &MatmulRows<'_>) {
    use crate::quant::*;
    // SAFETY: passed on to the caller, in every arm.
    unsafe {
        match m.ty {
            GgmlType::F32 => each::<Floats<float::BlockF32>, I>(m),
            GgmlType::F16 => each::<Floats<float::BlockF16>, I>(m),
            GgmlType::BF16 => each::<Floats<float::BlockBF16>, I>(m),
            GgmlType::Q4_0 => each::<Small<q4_0::BlockQ4_0>, I>(m),
            GgmlType::Q4_1 => each::<Small<q4_1::BlockQ4_1>, I>(m),
            GgmlType::Q5_0 => each::<Small<q5_0::BlockQ5_0>, I>(m),
            GgmlType::Q5_1 => each::<Small<q5_1::BlockQ5_1>, I>(m),
            GgmlType::Q8_0 => each::<Small<q8_0::BlockQ8_0>, I>(m),
            GgmlType::IQ4_NL => each::<Small<iq4_nl::BlockIQ4NL>, I>(m),
            GgmlType::MXFP4 => each::<Small<mxfp4::BlockMXFP4>, I>(m),
            GgmlType::Q2_K => each::<Super<q2_k::BlockQ2K>, I>(m),
            GgmlType::Q3_K => each::<Super<q3_k::BlockQ3K>, I>(m),
            GgmlType::Q4_K => each::<Super<q4_k::BlockQ4K>, I>(m),
            GgmlType::Q5_K => each::<Super<q5_k::BlockQ5K>, I>(m),
            GgmlType::Q6_K => each::<Super<q6_k::BlockQ6K>, I>(m),
            GgmlType::IQ4_XS => each::<Super<iq4_xs::BlockIQ4XS>, I>(m),
        }
    }
}

/// The dot products of one row with `N` tokens from `t` on.
trait Dot {
    fn dot<I: Isa, const N: usize>(row: &[u8], acts: &Acts<'_>, t: usize) -> [f32; N];
}

/// # Safety
/// Nobody else may access the outputs that `m` names.
#[inline(always)]
unsafe fn each<D: Dot, I: Isa>(m: &MatmulRows<'_>) {
    let tokens = m.acts.n_rows();
    for (r, row) in m.rows.chunks_exact(m.row_bytes.max(1)).enumerate() {
        let mut t = 0;
        while t + TILE <= tokens {
            // SAFETY: passed on to the caller.
            unsafe { put(m, r, t, D::dot::<I, TILE>(row, &m.acts, t)) };
            t += TILE;
        }
        while t < tokens {
            // SAFETY: passed on to the caller.
            unsafe { put(m, r, t, D::dot::<I, 1>(row, &m.acts, t)) };
            t += 1;
        }
    }
}

/// # Safety
/// Nobody else may access the outputs that `m` names.
#[inline(always)]
unsafe fn put<const N: usize>(m: &MatmulRows<'_>, r: usize, t: usize, values: [f32; N]) {
    for (i, value) in values.into_iter().enumerate() {
        // SAFETY: this part is dropped before the next is made; nobody else has one.
        if let Some(out) = unsafe { m.out_row(t + i) }.get_mut(r) {
            *out = canonical(value);
        }
    }
}

/// Blocks of 32 with one scale and perhaps a minimum.
struct Small<B>(core::marker::PhantomData<B>);

impl<B: Block32> Dot for Small<B> {
    #[inline(always)]
    fn dot<I: Isa, const N: usize>(row: &[u8], acts: &Acts<'_>, t: usize) -> [f32; N] {
        let mut acc = [0.0f32; N];
        let x: [_; N] = core::array::from_fn(|i| {
            let (qs, d, sums) = acts.q8_row(t + i);
            (qs.as_chunks::<32>().0, d, sums.as_chunks::<2>().0)
        });
        let mut w = [0i8; 32];
        for (b, block) in blocks::<B>(row).unwrap_or(&[]).iter().enumerate() {
            block.unpack(&mut w);
            let (dw, mw) = (block.scale(), block.min());
            for (acc, (qs, d, sums)) in acc.iter_mut().zip(&x) {
                let (Some(qs), Some(&dx), Some(sums)) = (qs.get(b), d.get(b), sums.get(b)) else {
                    break;
                };
                *acc = fma(dw * dx, I::dot_32(&w, qs) as f32, *acc);
                if B::HAS_MIN {
                    let sum = i32::from(sums[0]) + i32::from(sums[1]);
                    *acc = fma(mw * dx, sum as f32, *acc);
                }
            }
        }
        acc
    }
}

/// Super-blocks of 256 with integer sub-scales and perhaps minimums.
struct Super<B>(core::marker::PhantomData<B>);

impl<B: Block256> Dot for Super<B> {
    #[inline(always)]
    fn dot<I: Isa, const N: usize>(row: &[u8], acts: &Acts<'_>, t: usize) -> [f32; N] {
        let mut acc = [0.0f32; N];
        let x: [_; N] = core::array::from_fn(|i| {
            let (qs, d, sums) = acts.q8_row(t + i);
            (qs.as_chunks::<256>().0, d, sums.as_chunks::<16>().0)
        });
        let (mut q, mut s, mut m) = ([0i8; 256], [0i8; 16], [0u8; 16]);
        let mut w = [0i16; 256];
        for (b, block) in blocks::<B>(row).unwrap_or(&[]).iter().enumerate() {
            block.unpack(&mut q, &mut s, &mut m);
            // Sub-scales go into the weights here: |s·q| ≤ 128·32 fits, and sums stay exact.
            let runs = w.as_chunks_mut::<16>().0.iter_mut().zip(q.as_chunks::<16>().0);
            for ((w, q), &s) in runs.zip(&s) {
                for (w, &q) in w.iter_mut().zip(q) {
                    *w = i16::from(q) * i16::from(s);
                }
            }
            let (dw, mw) = (block.scale(), block.min_scale());
            for (acc, (qs, d, sums)) in acc.iter_mut().zip(&x) {
                let (Some(qs), Some(&dx), Some(sums)) = (qs.get(b), d.get(b), sums.get(b)) else {
                    break;
                };
                *acc = fma(dw * dx, I::dot_256(&w, qs) as f32, *acc);
                if B::HAS_MIN {
                    let sum: i32 =
                        sums.iter().zip(&m).map(|(&s, &m)| i32::from(s) * i32::from(m)).sum();
                    *acc = fma(-(mw * dx), sum as f32, *acc);
                }
            }
        }
        acc
    }
}

/// Weights that are floats, in lane sums of sixteen.
struct Floats<B>(core::marker::PhantomData<B>);

impl<B: FloatBlock> Dot for Floats<B> {
    #[inline(always)]
    fn dot<I: Isa, const N: usize>(row: &[u8], acts: &Acts<'_>, t: usize) -> [f32; N] {
        let mut lanes = [[0.0f32; LANES]; N];
        let x: [_; N] = core::array::from_fn(|i| acts.float_row(t + i));
        let (chunks, rest) = blocks::<B>(row).unwrap_or(&[]).as_chunks::<LANES>();
        for (c, chunk) in chunks.iter().enumerate() {
            let w = widen16(chunk);
            for (lanes, x) in lanes.iter_mut().zip(&x) {
                let Some(x) = x.as_chunks::<LANES>().0.get(c) else { break };
                for ((lane, &w), &x) in lanes.iter_mut().zip(&w).zip(x) {
                    *lane = fma(w, x, *lane);
                }
            }
        }
        for (lanes, x) in lanes.iter_mut().zip(&x) {
            let tail = x.as_chunks::<LANES>().1;
            for ((lane, &w), &x) in lanes.iter_mut().zip(rest).zip(tail) {
                *lane = fma(w.get(), x, *lane);
            }
        }
        // A loop rather than `map`, which is not inlined into a function with more CPU features.
        let mut sums = [0.0; N];
        for (sum, lanes) in sums.iter_mut().zip(lanes) {
            *sum = fold_lanes(lanes);
        }
        sums
    }
}
