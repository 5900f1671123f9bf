//! Attention over a cache of half floats on a microcontroller's FPU.
//!
//! Two heads of a token see the same positions. They go through them together: each key and value is
//! loaded and converted once for both, and eight sums of each lie in registers. A head that is left
//! over has sixteen.

use core::arch::asm;
use core::ops::Range;

use super::dsp::Dsp;
use super::float::half;
use super::floats::divide_by_sum;
use crate::kernels::args::{Attend, AttentionShape};
use crate::kernels::generic::attention::{CHUNK, weigh_each};
use crate::math::{LANES, fma};

/// # Safety
/// Nobody else may access the outputs of the queries that `a` names.
pub(super) unsafe fn attend(a: &Attend<'_>, keys: &[u16], values: &[u16]) {
    let (group, head_dim) = (a.shape.group(), a.shape.head_dim);
    let mut query = a.queries.start;
    while query < a.queries.end {
        // Heads of a token lie side by side.
        let n = 2.min(a.queries.end - query).min(group - query % group);
        let place = a.place(query);
        let q = a.q.get(place..place + n * head_dim).unwrap_or_default();
        // SAFETY: `a` names `n` queries from here. They have this place, and nobody else it.
        let out = unsafe { a.out.part(place, q.len()) };
        attend_by_two(&a.shape, keys, values, a.positions(query), q, out);
        query += n;
    }
}

/// One or two heads over the positions that they see.
fn attend_by_two(
    shape: &AttentionShape,
    keys: &[u16],
    values: &[u16],
    positions: Range<usize>,
    q: &[f32],
    out: &mut [f32],
) -> Option<()> {
    let head_dim = shape.head_dim;
    out.fill(0.0);
    let (a_q, b_q) = q.split_at_checked(head_dim)?;
    let (a_out, b_out) = out.split_at_mut_checked(head_dim)?;
    // As many sums as one step makes for each, and scores of the second head, if there is one.
    let (step, b_len) = if b_q.is_empty() { (LANES, 0) } else { (LANES / 2, CHUNK) };
    let (mut a_max, mut b_max) = (f32::NEG_INFINITY, f32::NEG_INFINITY);
    let (mut a_total, mut b_total) = ([0.0; LANES], [0.0; LANES]);
    let mut start = positions.start / CHUNK * CHUNK;
    while start < positions.end {
        let lanes = positions.start.max(start) - start..positions.end.min(start + CHUNK) - start;
        // Scores, then weights.
        let (mut a_e, mut b_e) = ([0.0; CHUNK], [0.0; CHUNK]);
        let b_e = b_e.get_mut(..b_len)?;
        let mut first = lanes.start / LANES * LANES;
        while first < lanes.end {
            let keys = keys.get((start + first) * head_dim..)?.get(..LANES * head_dim)?;
            let here = first..(first + LANES).min(lanes.end.next_multiple_of(step));
            let sums = [a_e.get_mut(here.clone())?, b_e.get_mut(here).unwrap_or_default()];
            add_products([a_q, b_q], keys, LANES, sums);
            first += LANES;
        }
        let a_e = a_e.get_mut(lanes.clone())?;
        let b_e = b_e.get_mut(lanes.clone()).unwrap_or_default();
        weigh_each::<Dsp>(shape, lanes.start, a_e, &mut a_max, &mut a_total, a_out);
        weigh_each::<Dsp>(shape, lanes.start, b_e, &mut b_max, &mut b_total, b_out);
        let values = values.get((start + lanes.start) * head_dim..)?;
        add_products([a_e, b_e], values, head_dim, [a_out, b_out]);
        start += CHUNK;
    }
    divide_by_sum(a_out, &a_total);
    divide_by_sum(b_out, &b_total);
    Some(())
}

/// `sums[j] = factors[i]·from[i·stride + j] + sums[j]` for `i` increasing, of one head or of two.
fn add_products(
    [a, b]: [&[f32]; 2],
    from: &[u16],
    stride: usize,
    [a_sums, b_sums]: [&mut [f32]; 2],
) {
    let alone = b_sums.is_empty();
    let n = if alone { a.len() } else { a.len().min(b.len()) };
    // What is not in whole words, as head sizes that are odd have it, goes one by one.
    let words = stride.is_multiple_of(2) && from.as_ptr().cast::<u32>().is_aligned();
    let mut done = 0;
    if words && n > 0 && (n - 1) * stride + a_sums.len() <= from.len() {
        let from = from.as_ptr();
        if alone {
            for sums in a_sums.as_chunks_mut().0 {
                // SAFETY: `n` factors are there; from here on, so are the elements that the last
                // of them is multiplied with, the first of which begin a word each.
                unsafe { add_to_one(n, a.as_ptr(), from.add(done), stride, sums) };
                done += LANES;
            }
        } else {
            let sums = a_sums.as_chunks_mut().0.iter_mut().zip(b_sums.as_chunks_mut().0);
            for (a_sums, b_sums) in sums {
                let factors = [a.as_ptr(), b.as_ptr()];
                // SAFETY: as above, of two heads.
                unsafe { add_to_two(n, factors, from.add(done), stride, [a_sums, b_sums]) };
                done += LANES / 2;
            }
        }
    }
    add_rest(done, a, from, stride, a_sums);
    add_rest(done, b, from, stride, b_sums);
}

/// [`add_products`] to the sums from `first` on, one by one.
#[inline(never)]
fn add_rest(first: usize, factors: &[f32], from: &[u16], stride: usize, sums: &mut [f32]) {
    for (j, sum) in sums.iter_mut().enumerate().skip(first) {
        let from = from.get(j..).unwrap_or_default().iter().step_by(stride.max(1));
        for (&factor, x) in factors.iter().zip(from) {
            *sum = fma(factor, half(x.to_le_bytes()), *sum);
        }
    }
}

/// Converts two halves and adds their products to a sum each.
macro_rules! two_of_one {
    ($word:literal, $sum:literal, $other:literal) => {
        concat!(
            concat!("vcvtb.f32.f16 s8, ", $word, "\n"),
            concat!("vcvtt.f32.f16 s9, ", $word, "\n"),
            concat!("vfma.f32 ", $sum, ", s8, s10\n"),
            concat!("vfma.f32 ", $other, ", s9, s10\n"),
        )
    };
}

/// [`add_products`] to sixteen sums of one head.
///
/// # Safety
/// `n` is not 0, and as many factors can be read. So can the sixteen halves from `i · stride` on,
/// for each `i` below `n`, which begin at a word.
unsafe fn add_to_one(
    n: usize,
    factors: *const f32,
    from: *const u16,
    stride: usize,
    sums: &mut [f32; LANES],
) {
    // SAFETY: the FPU has the instructions. They read what the caller says, and read and write the
    // sums.
    unsafe {
        asm!(
            "vldmia {sums}, {{s16-s31}}",
            "2:",
            "vldmia {from}, {{s0-s7}}",
            "vldmia {factors}!, {{s10}}",
            "add {from}, {from}, {stride}",
            "subs {n}, {n}, #1",
            two_of_one!("s0", "s16", "s17"),
            two_of_one!("s1", "s18", "s19"),
            two_of_one!("s2", "s20", "s21"),
            two_of_one!("s3", "s22", "s23"),
            two_of_one!("s4", "s24", "s25"),
            two_of_one!("s5", "s26", "s27"),
            two_of_one!("s6", "s28", "s29"),
            two_of_one!("s7", "s30", "s31"),
            "bne 2b",
            "vstmia {sums}, {{s16-s31}}",
            sums = in(reg) sums.as_mut_ptr(),
            from = inout(reg) from => _,
            factors = inout(reg) factors => _,
            stride = in(reg) stride * size_of::<u16>(),
            n = inout(reg) n => _,
            out("s0") _, out("s1") _, out("s2") _, out("s3") _, out("s4") _, out("s5") _,
            out("s6") _, out("s7") _, out("s8") _, out("s9") _, out("s10") _, out("s16") _,
            out("s17") _, out("s18") _, out("s19") _, out("s20") _, out("s21") _, out("s22") _,
            out("s23") _, out("s24") _, out("s25") _, out("s26") _, out("s27") _, out("s28") _,
            out("s29") _, out("s30") _, out("s31") _,
            options(nostack),
        );
    }
}

/// Converts two halves and adds their products to a sum of each head.
macro_rules! two_of_two {
    ($word:literal, $a:literal, $a_other:literal, $b:literal, $b_other:literal) => {
        concat!(
            concat!("vcvtb.f32.f16 s4, ", $word, "\n"),
            concat!("vcvtt.f32.f16 s5, ", $word, "\n"),
            concat!("vfma.f32 ", $a, ", s4, s6\n"),
            concat!("vfma.f32 ", $b, ", s4, s7\n"),
            concat!("vfma.f32 ", $a_other, ", s5, s6\n"),
            concat!("vfma.f32 ", $b_other, ", s5, s7\n"),
        )
    };
}

/// [`add_products`] to eight sums of each of two heads.
///
/// # Safety
/// As of [`add_to_one`], of two heads' factors and of eight halves.
unsafe fn add_to_two(
    n: usize,
    [a_factors, b_factors]: [*const f32; 2],
    from: *const u16,
    stride: usize,
    [a, b]: [&mut [f32; LANES / 2]; 2],
) {
    // SAFETY: the FPU has the instructions. They read what the caller says, and read and write the
    // sums.
    unsafe {
        asm!(
            "vldmia {a}, {{s16-s23}}",
            "vldmia {b}, {{s24-s31}}",
            "2:",
            "vldmia {from}, {{s0-s3}}",
            "vldmia {a_factors}!, {{s6}}",
            "vldmia {b_factors}!, {{s7}}",
            "add {from}, {from}, {stride}",
            "subs {n}, {n}, #1",
            two_of_two!("s0", "s16", "s17", "s24", "s25"),
            two_of_two!("s1", "s18", "s19", "s26", "s27"),
            two_of_two!("s2", "s20", "s21", "s28", "s29"),
            two_of_two!("s3", "s22", "s23", "s30", "s31"),
            "bne 2b",
            "vstmia {a}, {{s16-s23}}",
            "vstmia {b}, {{s24-s31}}",
            a = in(reg) a.as_mut_ptr(),
            b = in(reg) b.as_mut_ptr(),
            from = inout(reg) from => _,
            a_factors = inout(reg) a_factors => _,
            b_factors = inout(reg) b_factors => _,
            stride = in(reg) stride * size_of::<u16>(),
            n = inout(reg) n => _,
            out("s0") _, out("s1") _, out("s2") _, out("s3") _, out("s4") _, out("s5") _,
            out("s6") _, out("s7") _, out("s16") _, out("s17") _, out("s18") _, out("s19") _,
            out("s20") _, out("s21") _, out("s22") _, out("s23") _, out("s24") _, out("s25") _,
            out("s26") _, out("s27") _, out("s28") _, out("s29") _, out("s30") _, out("s31") _,
            options(nostack),
        );
    }
}
