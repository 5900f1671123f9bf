//! Quantized weight rows times activations, by pairs of 16-bit integers (numerics, section 4).
//!
//! A token's activations are widened once for all rows, 256 of them at a time, so that little
//! stack is needed; a row's accumulator waits in its output until the next 256. Rows go by twos,
//! which halves the loads of activations. Weights are widened in registers: two instructions make
//! pairs of four bytes, four make pairs of eight nibbles.

use super::dsp::{bytes_of_two, nibbles_apart, nibbles_of_two, smlad, sxtb16, sxtb16_ror8};
use super::float::{add_half, add_min, add_scaled, add_super, half, take_min};
use crate::kernels::args::{ActGroup, MatmulRows};
use crate::kernels::generic::floats;
use crate::kernels::isa::{Isa, Outlined};
use crate::math::canonical;
use crate::quant::block::{Block, Block32, Block256};
use crate::quant::{
    GgmlType, iq4_nl, iq4_xs, mxfp4, q2_k, q3_k, q4_0, q4_1, q4_k, q5_0, q5_1, q5_k, q6_k, q8_0,
};

/// Groups of activations that are widened together: a super-block's.
const GROUPS: usize = 8;

/// 32 activations.
#[derive(Clone, Copy, Default)]
#[repr(C)] // assembly reads the second field past the first
pub(super) struct Group {
    /// What the sum of a block's products begins with, for weights that are too large by some.
    start: i32,
    /// The activations as 16-bit integers. Of each four the first and third are a pair, and so are
    /// the second and fourth: that is how bytes are widened.
    pub(super) pairs: [u32; 16],
}

/// Where the pairs of four activations stand among those of a super-block.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// As the activations.
    Plain,
    /// What a word's lower nibbles are multiplied with, then what its upper ones are: of each group
    /// the four at place `k` and those at `k + 4`.
    Halves,
    /// The same, where the upper nibbles belong to the next group.
    Groups,
}

impl Order {
    /// For word `k` of group `g`: the group, and the first of the two places in it.
    #[inline(always)]
    pub(super) const fn place(self, g: usize, k: usize) -> (usize, usize) {
        match self {
            Order::Plain => (g, 2 * k),
            Order::Halves => (g, 4 * (k % 4) + 2 * (k / 4)),
            Order::Groups => (g - g % 2 + k / 4, 4 * (k % 4) + 2 * (g % 2)),
        }
    }
}

/// Whether a format has code in [`super::pairs`], which is then used.
const fn by_pairs(ty: GgmlType) -> bool {
    cfg!(bantam_arm_fpv4) && matches!(ty, GgmlType::Q4_0 | GgmlType::Q4_1 | GgmlType::Q8_0)
}

/// # Safety
/// Nobody else may access the outputs that `m` names.
pub(super) unsafe fn matmul_rows<I: Isa, O: Outlined>(m: &MatmulRows<'_>) {
    #[cfg(bantam_arm_fpv4)]
    if let Some(pairs) = super::pairs::of(m.ty()) {
        // SAFETY: passed on to the caller.
        return unsafe { super::pairs::rows(m, pairs) };
    }
    // SAFETY: passed on to the caller, in every arm.
    unsafe {
        match m.ty() {
            GgmlType::F32 | GgmlType::F16 | GgmlType::BF16 => floats::matmul_rows::<I, O>(m),
            GgmlType::Q4_0 => rows_of::<q4_0::BlockQ4_0>(m),
            GgmlType::Q4_1 => rows_of::<q4_1::BlockQ4_1>(m),
            GgmlType::Q5_0 => rows_of::<q5_0::BlockQ5_0>(m),
            GgmlType::Q5_1 => rows_of::<q5_1::BlockQ5_1>(m),
            GgmlType::Q8_0 => rows_of::<q8_0::BlockQ8_0>(m),
            GgmlType::IQ4_NL => rows_of::<iq4_nl::BlockIQ4NL>(m),
            GgmlType::MXFP4 => rows_of::<mxfp4::BlockMXFP4>(m),
            GgmlType::Q2_K => rows_of::<q2_k::BlockQ2K>(m),
            GgmlType::Q3_K => rows_of::<q3_k::BlockQ3K>(m),
            GgmlType::Q4_K => rows_of::<q4_k::BlockQ4K>(m),
            GgmlType::Q5_K => rows_of::<q5_k::BlockQ5K>(m),
            GgmlType::Q6_K => rows_of::<q6_k::BlockQ6K>(m),
            GgmlType::IQ4_XS => rows_of::<iq4_xs::BlockIQ4XS>(m),
        }
    }
}

/// A format whose blocks are multiplied here.
trait Dot: Block {
    /// How it takes activations.
    const ORDER: Order;
    /// What its weights are too large by when they are multiplied.
    const EXCESS: i32 = 0;

    /// Adds to two rows' accumulators the products of their blocks with the block's groups.
    fn dot(w: [&Self; 2], x: &[Group], acts: &[ActGroup], acc: &mut [f32; 2]);
}

/// # Safety
/// Nobody else may access the outputs that `m` names.
#[inline(never)]
unsafe fn rows_of<B: Dot>(m: &MatmulRows<'_>) {
    if const { !B::TYPE.is_built_in() || by_pairs(B::TYPE) } {
        return;
    }
    let mut x = [Group::default(); GROUPS];
    for t in 0..m.n_tokens() {
        // SAFETY: this part is dropped before the next is made; nobody else has one.
        let out = unsafe { m.out_row(t) };
        out.fill(0.0);
        let (qs, groups) = m.q8_row(t);
        let mut at = m.rows().as_ptr();
        for (qs, groups) in qs.as_chunks().0.chunks(GROUPS).zip(groups.chunks(GROUPS)) {
            widen(qs, groups, (B::ORDER, B::EXCESS), &mut x);
            let x = x.get(..groups.len()).unwrap_or(&[]);
            let (pairs, last) = out.as_chunks_mut::<2>();
            let mut row = at;
            for pair in pairs {
                let next = row.wrapping_add(m.row_bytes());
                // SAFETY: both rows have blocks for all groups, and `at` is as many blocks into
                // its row as groups have gone before.
                unsafe { run::<B>([row.cast(), next.cast()], x, groups, pair) };
                row = next.wrapping_add(m.row_bytes());
            }
            // A row that is left alone is its own partner.
            if let [last] = last {
                let mut pair = [*last; 2];
                // SAFETY: as above.
                unsafe { run::<B>([row.cast(); 2], x, groups, &mut pair) };
                *last = pair[0];
            }
            at = at.wrapping_add(groups.len() * ActGroup::LEN / B::ELEMS * size_of::<B>());
        }
        for out in out {
            *out = canonical(*out);
        }
    }
}

/// Eight groups at most.
#[inline(always)]
fn widen(
    qs: &[[i8; 32]],
    acts: &[ActGroup],
    (order, excess): (Order, i32),
    x: &mut [Group; GROUPS],
) {
    for (g, (qs, act)) in qs.iter().zip(acts).enumerate() {
        if let Some(x) = x.get_mut(g) {
            let sum = i32::from(act.sums[0]) + i32::from(act.sums[1]);
            x.start = -excess * sum;
        }
        for (k, &q) in qs.as_chunks::<4>().0.iter().enumerate() {
            let word = u32::from_le_bytes(q.map(|q| q as u8));
            let (group, place) = order.place(g, k);
            let places = x.get_mut(group).and_then(|x| x.pairs.get_mut(place..place + 2));
            if let Some([even, odd]) = places {
                (*even, *odd) = (sxtb16(word), sxtb16_ror8(word));
            }
        }
    }
}

/// Some blocks of two rows.
///
/// # Safety
/// Blocks for as many groups as there are must be readable in each row.
#[inline(always)]
unsafe fn run<B: Dot>(mut at: [*const B; 2], x: &[Group], acts: &[ActGroup], acc: &mut [f32; 2]) {
    let groups = B::ELEMS / ActGroup::LEN;
    let mut sums = *acc;
    let mut rest = (x, acts);
    while let (Some((x, after)), Some((acts, acts_after))) =
        (rest.0.split_at_checked(groups), rest.1.split_at_checked(groups))
    {
        rest = (after, acts_after);
        // SAFETY: the block is readable, by the caller's promise; `Block` has alignment 1 and
        // takes any bytes.
        B::dot(at.map(|block| unsafe { &*block }), x, acts, &mut sums);
        at = at.map(|block| block.wrapping_add(1));
    }
    *acc = sums;
}

/// Word `i` of some bytes; 0 beyond them.
#[inline(always)]
fn word(bytes: &[u8], i: usize) -> u32 {
    bytes.as_chunks::<4>().0.get(i).map_or(0, |&bytes| u32::from_le_bytes(bytes))
}

/// The lower nibble of each byte.
const LOW: u32 = 0x0F0F_0F0F;

/// 32 weights of five bits, a byte each.
#[inline(always)]
fn five_bits(qs: &[u8; 16], qh: [u8; 4]) -> [u32; 8] {
    let (mut out, qh) = ([0; 8], u32::from_le_bytes(qh));
    for k in 0..4 {
        let w = word(qs, k);
        out[k] = w & LOW | spread(qh >> (4 * k));
        out[k + 4] = w >> 4 & LOW | spread(qh >> (4 * k + 16));
    }
    out
}

/// The lowest four bits as the fifth bits of four bytes.
#[inline(always)]
fn spread(bits: u32) -> u32 {
    // Copies moved by 4, 11, 18 and 25 bits, which do not overlap.
    (bits & 15).wrapping_mul(0x0204_0810) & 0x1010_1010
}

/// Implements [`Dot`] for formats of 32 weights: the type, its order, its excess, how sums are added,
/// and the sums of a block.
macro_rules! small {
    ($(
        $ty:ty, $order:ident, $excess:literal, $add:ident,
        |$b:ident, $x:ident, $sum:ident| $sums:expr;
    )*) => {$(
        impl Dot for $ty {
            const ORDER: Order = Order::$order;
            const EXCESS: i32 = $excess;

            #[inline(always)]
            fn dot($b: [&Self; 2], x: &[Group], acts: &[ActGroup], acc: &mut [f32; 2]) {
                let ([Group { pairs: $x, start: $sum, .. }], [act]) = (x, acts) else { return };
                let $sum = *$sum;
                let sums: [i32; 2] = $sums;
                for ((acc, b), sum) in acc.iter_mut().zip($b).zip(sums) {
                    *acc = $add!(*acc, b, act, sum);
                }
            }
        }
    )*};
}

/// Instructions for a group's float steps, by what a block stores.
macro_rules! scaled {
    ($acc:expr, $b:expr, $act:expr, $sum:expr) => {
        add_half($acc, $b.d, $act.d, $sum)
    };
}
macro_rules! scaled_min {
    ($acc:expr, $b:expr, $act:expr, $sum:expr) => {
        add_min(add_half($acc, $b.d, $act.d, $sum), $b.m, $act.dsum)
    };
}
macro_rules! power_of_two {
    ($acc:expr, $b:expr, $act:expr, $sum:expr) => {
        add_scaled($acc, $b.scale(), $act.d, $sum)
    };
}

small! {
    q4_0::BlockQ4_0, Halves, 8, scaled,
    |b, x, sum| nibbles_of_two(b.map(|b| &b.qs), x, sum);

    q4_1::BlockQ4_1, Halves, 0, scaled_min,
    |b, x, sum| nibbles_of_two(b.map(|b| &b.qs), x, sum);

    q8_0::BlockQ8_0, Plain, 0, scaled,
    |b, x, sum| bytes_of_two(b.map(|b| &b.qs), x, sum);

    q5_0::BlockQ5_0, Plain, 16, scaled,
    |b, x, sum| bytes_of_two(b.map(|b| five_bits(&b.qs, b.qh)).each_ref(), x, sum);

    q5_1::BlockQ5_1, Plain, 0, scaled_min,
    |b, x, sum| bytes_of_two(b.map(|b| five_bits(&b.qs, b.qh)).each_ref(), x, sum);

    iq4_nl::BlockIQ4NL, Plain, 0, scaled,
    |b, x, sum| bytes_of_two(unpacked(b).each_ref(), x, sum);

    mxfp4::BlockMXFP4, Plain, 0, power_of_two,
    |b, x, sum| bytes_of_two(unpacked(b).each_ref(), x, sum);
}

/// The integers of each row's block, for formats too rare for code of their own.
#[inline(always)]
fn unpacked<B: Block32>(b: [&B; 2]) -> [[i8; 32]; 2] {
    b.map(|b| {
        let mut q = [0; 32];
        b.unpack(&mut q);
        q
    })
}

/// Scales and minimums of the groups of a `Q4_K` or `Q5_K` block, by twos.
#[inline(always)]
fn six_bit_scales(packed: &[u8; 12]) -> [[[u8; 2]; 4]; 2] {
    let [s, m, high] = [word(packed, 0), word(packed, 1), word(packed, 2)];
    let upper = |low: u32, high: u32| high & LOW | low >> 2 & 0x3030_3030;
    let bytes = |low: u32, high: u32| {
        let ([a, b, c, d], [e, f, g, h]) = ((low & 0x3F3F_3F3F).to_le_bytes(), high.to_le_bytes());
        [[a, b], [c, d], [e, f], [g, h]]
    };
    [bytes(s, upper(s, high)), bytes(m, upper(m, high >> 4))]
}

/// Implements [`Dot`] for super-blocks, by a function.
macro_rules! large {
    ($($ty:ty, $order:ident, $dot:ident;)*) => {$(
        impl Dot for $ty {
            const ORDER: Order = Order::$order;

            #[inline(always)]
            fn dot(w: [&Self; 2], x: &[Group], acts: &[ActGroup], acc: &mut [f32; 2]) {
                $dot(w, x, acts, acc);
            }
        }
    )*};
}
large! {
    q4_k::BlockQ4K, Groups, q4_k;
    q5_k::BlockQ5K, Plain, q5_k;
    q6_k::BlockQ6K, Plain, q6_k;
    q2_k::BlockQ2K, Plain, rare;
    q3_k::BlockQ3K, Plain, rare;
    iq4_xs::BlockIQ4XS, Plain, rare;
}

/// The accumulator after 64 weights of `Q4_K` or `Q5_K`, from their scales and minimums and sums.
#[inline(always)]
fn two_groups(
    acc: f32,
    [d, dmin]: [f32; 2],
    [s, m]: [[u8; 2]; 2],
    acts: &[ActGroup; 2],
    sums: [i32; 2],
) -> f32 {
    let acc = add_super(acc, d, i32::from(s[0]), acts[0].d, sums[0]);
    let acc = take_min(acc, dmin, u32::from(m[0]), acts[0].dsum);
    let acc = add_super(acc, d, i32::from(s[1]), acts[1].d, sums[1]);
    take_min(acc, dmin, u32::from(m[1]), acts[1].dsum)
}

#[inline(always)]
fn q4_k(b: [&q4_k::BlockQ4K; 2], x: &[Group], acts: &[ActGroup], acc: &mut [f32; 2]) {
    for (b, acc) in b.into_iter().zip(acc) {
        *acc = q4_k_row(b, x, acts, *acc);
    }
}

// A function of its own, as are those below, lest its code be there twice.
#[inline(never)]
fn q4_k_row(b: &q4_k::BlockQ4K, x: &[Group], acts: &[ActGroup], mut acc: f32) -> f32 {
    let (d, [s, m]) = ([half(b.d), half(b.dmin)], six_bit_scales(&b.scales));
    let groups = x.as_chunks().0.iter().zip(acts.as_chunks().0);
    let weights = b.qs.as_chunks().0.iter().zip(s.into_iter().zip(m));
    for ((qs, (s, m)), (x, acts)) in weights.zip(groups) {
        acc = two_groups(acc, d, [s, m], acts, nibbles_apart(qs, x));
    }
    acc
}

#[inline(never)]
fn q5_k(b: [&q5_k::BlockQ5K; 2], x: &[Group], acts: &[ActGroup], acc: &mut [f32; 2]) {
    let d = b.map(|b| [half(b.d), half(b.dmin)]);
    let [[s, m], [t, n]] = b.map(|b| six_bit_scales(&b.scales));
    let groups = x.as_chunks::<2>().0.iter().zip(acts.as_chunks().0);
    let scales = s.into_iter().zip(m).zip(t.into_iter().zip(n));
    for (c, (([low, high], acts), ((s, m), (t, n)))) in groups.zip(scales).enumerate() {
        let [x, y] = b.map(|b| five_bit_planes(b, c));
        let lower = bytes_of_two([&x[0], &y[0]], &low.pairs, 0);
        let upper = bytes_of_two([&x[1], &y[1]], &high.pairs, 0);
        acc[0] = two_groups(acc[0], d[0], [s, m], acts, [lower[0], upper[0]]);
        acc[1] = two_groups(acc[1], d[1], [t, n], acts, [lower[1], upper[1]]);
    }
}

/// 64 weights of `Q5_K`, the `c`-th of a block, a byte each.
#[inline(always)]
fn five_bit_planes(b: &q5_k::BlockQ5K, c: usize) -> [[u32; 8]; 2] {
    let mut out = [[0; 8]; 2];
    let [low, high] = &mut out;
    for k in 0..8 {
        let (w, fifth) = (word(&b.qs, 8 * c + k), word(&b.qh, k) >> (2 * c));
        low[k] = w & LOW | (fifth & 0x0101_0101) << 4;
        high[k] = w >> 4 & LOW | (fifth >> 1 & 0x0101_0101) << 4;
    }
    out
}

#[inline(always)]
fn q6_k(b: [&q6_k::BlockQ6K; 2], x: &[Group], acts: &[ActGroup], acc: &mut [f32; 2]) {
    for (b, acc) in b.into_iter().zip(acc) {
        *acc = q6_k_row(b, x, acts, *acc);
    }
}

#[inline(never)]
fn q6_k_row(b: &q6_k::BlockQ6K, x: &[Group], acts: &[ActGroup], mut acc: f32) -> f32 {
    let d = half(b.d);
    let halves = b.ql.as_chunks::<64>().0.iter().zip(b.qh.as_chunks::<32>().0);
    let acts = x.as_chunks::<4>().0.iter().zip(acts.as_chunks::<4>().0);
    let scales = b.scales.as_chunks::<8>().0;
    for (((ql, qh), (x, acts)), scales) in halves.zip(acts).zip(scales) {
        let sums = six_bits(ql, qh, x);
        for (plane, (act, s)) in acts.iter().zip(scales.as_chunks::<2>().0).enumerate() {
            for run in 0..2 {
                let sum = sums[run][plane] - 32 * i32::from(act.sums[run]);
                acc = add_super(acc, d, i32::from(s[run]), act.d, sum);
            }
        }
    }
    acc
}

/// The sums of two runs in each of four groups of `Q6_K`, whose weights count from 0.
#[inline(always)]
fn six_bits(ql: &[u8; 64], qh: &[u8; 32], x: &[Group; 4]) -> [[i32; 4]; 2] {
    const HIGH: u32 = 0x3030_3030;
    let mut sums = [[0; 4]; 2];
    for (run, sums) in sums.iter_mut().enumerate() {
        for k in 4 * run..4 * run + 4 {
            let (a, b, h) = (word(ql, k), word(ql, k + 8), word(qh, k));
            sums[0] = four(a & LOW | h << 4 & HIGH, &x[0].pairs, k, sums[0]);
            sums[1] = four(b & LOW | h << 2 & HIGH, &x[1].pairs, k, sums[1]);
            sums[2] = four(a >> 4 & LOW | h & HIGH, &x[2].pairs, k, sums[2]);
            sums[3] = four(b >> 4 & LOW | h >> 2 & HIGH, &x[3].pairs, k, sums[3]);
        }
    }
    sums
}

/// `sum` and four products, of signed bytes with the pairs at place `k` of a plain order.
#[inline(always)]
fn four(w: u32, x: &[u32], k: usize, sum: i32) -> i32 {
    match x.as_chunks::<2>().0.get(k) {
        Some(&[even, odd]) => smlad(sxtb16_ror8(w), odd, smlad(sxtb16(w), even, sum)),
        None => sum,
    }
}

/// For super-blocks too rare for code of their own.
#[inline(always)]
fn rare<B: Block256>(b: [&B; 2], x: &[Group], acts: &[ActGroup], acc: &mut [f32; 2]) {
    for (b, acc) in b.into_iter().zip(acc) {
        *acc = rare_row(b, x, acts, *acc);
    }
}

#[inline(never)]
fn rare_row<B: Block256>(b: &B, x: &[Group], acts: &[ActGroup], mut acc: f32) -> f32 {
    let (mut q, mut s, mut m) = ([0; 256], [0; 16], [0; 16]);
    b.unpack(&mut q);
    b.unpack_scales(&mut s, &mut m);
    let (d, dmin) = (b.scale(), b.min_scale());
    let scales = s.as_chunks::<2>().0.iter().zip(m.as_chunks::<2>().0);
    for (((q, x), act), (s, m)) in q.as_chunks::<32>().0.iter().zip(x).zip(acts).zip(scales) {
        let mut sums = [0; 2];
        let runs = q.as_chunks::<16>().0.iter().zip(x.pairs.as_chunks::<8>().0);
        for (sum, (q, x)) in sums.iter_mut().zip(runs) {
            let words = q.as_chunks::<4>().0.iter().map(|q| u32::from_le_bytes(q.map(|q| q as u8)));
            for (w, &[even, odd]) in words.zip(x.as_chunks().0) {
                *sum = smlad(sxtb16_ror8(w), odd, smlad(sxtb16(w), even, *sum));
            }
        }
        if B::GROUP == 32 {
            acc = add_super(acc, d, i32::from(s[0]), act.d, sums[0] + sums[1]);
            if B::HAS_MIN {
                acc = take_min(acc, dmin, u32::from(m[0]), act.dsum);
            }
            continue;
        }
        for run in 0..2 {
            acc = add_super(acc, d, i32::from(s[run]), act.d, sums[run]);
            if B::HAS_MIN {
                let dsum = act.d * f32::from(act.sums[run]);
                acc = take_min(acc, dmin, u32::from(m[run]), dsum);
            }
        }
    }
    acc
}
