//! One token times rows of the plainest formats, which leave least work to hide waste behind.
//!
//! Four rows to a register of results, up to sixteen rows at once, so that what belongs to the
//! token is read once for them. A row is read in the order of memory, by instructions that deal
//! its bytes to lanes and step its pointer at the same time; nothing else computes addresses.

use core::arch::aarch64::*;

use super::decode_k::{self, Q4K, Q6K};
use super::decode_q4_0::{Q4_0, Q4_0By2, Q4_0By4};
use super::decode_q8_0::{self, Q8_0};
use crate::kernels::args::{ActGroup, MatmulRows};
use crate::kernels::lanes::Register;
use crate::quant::GgmlType;

/// How some groups of a format with one scale for 32 weights are multiplied, of rows that are read
/// by fours.
pub(super) trait Streamed {
    /// Groups that are multiplied at once.
    const GROUPS: usize;
    /// Groups after which the sums must be begun anew.
    const RUN: usize;
    /// The groups' activations, as the weights need them.
    type Acts: Copy;
    /// Integer sums of four rows, carried from group to group.
    type Sums: Copy;
    /// No products at all.
    fn new() -> Self::Sums;
    /// # Safety
    /// `GROUPS` groups and their activations must be readable.
    unsafe fn acts(x: *const i8, groups: *const ActGroup) -> Self::Acts;
    /// `acc` with the products of the groups' blocks of four rows, whose pointers move on.
    ///
    /// # Safety
    /// The blocks must be readable at each.
    unsafe fn blocks(
        rows: &mut [*const u8; 4],
        acts: Self::Acts,
        sums: &mut Self::Sums,
        acc: float32x4_t,
    ) -> float32x4_t;
}

/// Multiplies one token with the rows that fill registers, and returns how many rows those were;
/// `None` for formats that are not streamed.
///
/// # Safety
/// The CPU must have the dot product instructions; nobody else may access the outputs that `m`
/// names.
#[inline(always)]
pub(super) unsafe fn one_token(ty: GgmlType, m: &MatmulRows<'_>) -> Option<usize> {
    // SAFETY: passed on to the caller.
    unsafe {
        match ty {
            GgmlType::Q4_0 => {
                let row = rows::<Q4_0By4, Q4_0By2, Q4_0, 4>(m, 0);
                Some(rows::<Q4_0By4, Q4_0By2, Q4_0, 1>(m, row))
            }
            GgmlType::Q8_0 => {
                let row = decode_q8_0::sixteen_rows(m);
                let row = rows::<Q8_0, Q8_0, Q8_0, 4>(m, row);
                Some(rows::<Q8_0, Q8_0, Q8_0, 1>(m, row))
            }
            GgmlType::Q4_K => Some(decode_k::rows::<Q4K>(m)),
            GgmlType::Q6_K => Some(decode_k::rows::<Q6K>(m)),
            _ => None,
        }
    }
}

/// Multiplies the rows from `row` on by `4·V`; returns the first that is left. Groups go through
/// `F`, those that are too few for it through `G`, and what is left then through `H`.
///
/// # Safety
/// As [`one_token`].
#[inline(always)]
unsafe fn rows<F, G, H, const V: usize>(m: &MatmulRows<'_>, mut row: usize) -> usize
where
    F: Streamed,
    G: Streamed<Sums = F::Sums>,
    H: Streamed<Sums = F::Sums>,
{
    if m.n_places() == 0 {
        return row;
    }
    let (out, _) = m.places();
    let (qs, groups) = m.q8_row(0);
    let stride = m.row_bytes();
    let mut ptrs = [[m.rows().as_ptr().wrapping_add(row * stride); 4]; V];
    for (i, ptr) in ptrs.as_flattened_mut().iter_mut().enumerate() {
        *ptr = ptr.wrapping_add(i * stride);
    }
    while row + 4 * V <= m.n_rows() {
        let mut acc = [float32x4_t::splat(0.0); V];
        let mut x = qs.as_ptr();
        for run in groups.chunks(F::RUN) {
            let mut sums = [F::new(); V];
            let mut pairs = run.chunks_exact(2 * F::GROUPS);
            // SAFETY: there are 32 activations for each group, and a block in each row.
            unsafe {
                for pair in &mut pairs {
                    // What is written twice needs no copies of sums.
                    groups_times::<F, V>(&mut ptrs, &mut sums, &mut acc, &mut x, pair.as_ptr());
                    let second = pair.as_ptr().add(F::GROUPS);
                    groups_times::<F, V>(&mut ptrs, &mut sums, &mut acc, &mut x, second);
                }
                let mut rest = pairs.remainder().chunks_exact(F::GROUPS);
                for some in &mut rest {
                    groups_times::<F, V>(&mut ptrs, &mut sums, &mut acc, &mut x, some.as_ptr());
                }
                let mut rest = rest.remainder().chunks_exact(G::GROUPS);
                for some in &mut rest {
                    groups_times::<G, V>(&mut ptrs, &mut sums, &mut acc, &mut x, some.as_ptr());
                }
                for group in rest.remainder() {
                    groups_times::<H, V>(&mut ptrs, &mut sums, &mut acc, &mut x, group);
                }
            }
        }
        for ptr in ptrs.as_flattened_mut() {
            *ptr = ptr.wrapping_add((4 * V - 1) * stride);
        }
        for (v, &acc) in acc.iter().enumerate() {
            // SAFETY: the token has a place for every row's result, which nobody else accesses.
            unsafe { Register::store(Register::canonical(acc), out.add(row + 4 * v)) };
        }
        row += 4 * V;
    }
    row
}

/// Multiplies some groups with `4·V` rows; all pointers move on.
///
/// # Safety
/// `F::GROUPS` groups and their activations must be readable, and as many blocks at each pointer.
#[inline(always)]
unsafe fn groups_times<F: Streamed, const V: usize>(
    rows: &mut [[*const u8; 4]; V],
    sums: &mut [F::Sums; V],
    acc: &mut [float32x4_t; V],
    x: &mut *const i8,
    groups: *const ActGroup,
) {
    // SAFETY: passed on to the caller.
    unsafe {
        let acts = F::acts(*x, groups);
        *x = x.add(ActGroup::LEN * F::GROUPS);
        for ((rows, sums), acc) in rows.iter_mut().zip(sums).zip(acc) {
            *acc = F::blocks(rows, acts, sums, *acc);
        }
    }
}

/// Four words of each row at pointers `a` to `d`, word `j` to the row's lane of register `j` of
/// four; then the pointers move by `$step`.
macro_rules! load_words_then {
    ($v0:literal, $v3:literal, $step:literal) => {
        concat!(
            "ld4r {{v",
            $v0,
            ".4s-v",
            $v3,
            ".4s}}, [{a}], ",
            $step,
            "\n",
            "ld4 {{v",
            $v0,
            ".s-v",
            $v3,
            ".s}}[1], [{b}], ",
            $step,
            "\n",
            "ld4 {{v",
            $v0,
            ".s-v",
            $v3,
            ".s}}[2], [{c}], ",
            $step,
            "\n",
            "ld4 {{v",
            $v0,
            ".s-v",
            $v3,
            ".s}}[3], [{d}], ",
            $step,
        )
    };
}
pub(super) use load_words_then;

/// As `load_words_then`, to the words that follow.
macro_rules! load_words {
    ($v0:literal, $v3:literal) => {
        $crate::kernels::aarch64::decode::load_words_then!($v0, $v3, "#16")
    };
}
pub(super) use load_words;
