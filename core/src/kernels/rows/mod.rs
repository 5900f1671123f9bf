//! Quantized weight rows times activations, with a row in every lane (numerics, section 4).
//!
//! A lane's float operations are those of the scalar kernel in their order, and integer sums are
//! exact in any order, so lanes change no bit.
//!
//! One token: blocks go from memory through registers into products, so that each byte of weights
//! is read once. Several: a tile of some rows × 512 columns is unpacked into the stack, which the
//! first-level cache holds, and serves every token, a few at a time.

mod formats;
mod simd;
pub(super) mod tile;

pub(super) use formats::{Format, Group, Q8_0, Sink};
pub(super) use simd::{At, Kind, RowSimd, compiled_under};
pub(super) use tile::{Span, TileRows, tiles};

use core::marker::PhantomData;

use super::args::{ActGroup, MatmulRows};
use super::generic::floats;
use super::isa::{Isa, Outlined};
use super::scalar;
use crate::quant::GgmlType;
use formats::{IQ4NL, IQ4XS, MXFP4, Q2K, Q3K, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K};

/// Multiplies the rows of `m`. The few that fill no register are left to the scalar set.
///
/// # Safety
/// Nobody else may access the outputs that `m` names.
#[inline(always)]
pub(super) unsafe fn matmul_rows<I: Isa, O: Outlined, S: RowSimd>(s: S, m: &MatmulRows<'_>) {
    // SAFETY: passed on to the caller, in every arm.
    unsafe {
        match m.ty() {
            GgmlType::F32 | GgmlType::F16 | GgmlType::BF16 => floats::matmul_rows::<I, O>(m),
            GgmlType::Q4_0 => rows_of::<S, Q4_0>(s, m),
            GgmlType::Q4_1 => rows_of::<S, Q4_1>(s, m),
            GgmlType::Q5_0 => rows_of::<S, Q5_0>(s, m),
            GgmlType::Q5_1 => rows_of::<S, Q5_1>(s, m),
            GgmlType::Q8_0 => rows_of::<S, Q8_0>(s, m),
            GgmlType::Q2_K => rows_of::<S, Q2K>(s, m),
            GgmlType::Q3_K => rows_of::<S, Q3K>(s, m),
            GgmlType::Q4_K => rows_of::<S, Q4K>(s, m),
            GgmlType::Q5_K => rows_of::<S, Q5K>(s, m),
            GgmlType::Q6_K => rows_of::<S, Q6K>(s, m),
            GgmlType::IQ4_NL => rows_of::<S, IQ4NL>(s, m),
            GgmlType::IQ4_XS => rows_of::<S, IQ4XS>(s, m),
            GgmlType::MXFP4 => rows_of::<S, MXFP4>(s, m),
        }
    }
}

/// # Safety
/// Nobody else may access the outputs that `m` names.
#[inline(always)]
unsafe fn rows_of<S: RowSimd, F: Format>(s: S, m: &MatmulRows<'_>) {
    if const { !F::TYPE.is_built_in() } {
        return;
    }
    let done = match m.n_tokens() {
        // SAFETY: passed on to the caller.
        1 => unsafe { s.one_token::<F>(m) },
        // SAFETY: passed on to the caller.
        _ => unsafe { s.many_tokens::<F>(m) },
    };
    if let Some(rest) = m.rows_from(done) {
        // SAFETY: passed on to the caller.
        unsafe { (scalar::TABLE.matmul_rows)(&rest) };
    }
}

/// Bytes that a cache brings near at once.
const LINE: usize = 64;
/// How far ahead of their use bytes are asked for, at least: what a core reads while memory
/// answers. More would not stay in the first-level cache.
const AHEAD: usize = 16 << 10;
/// How far ahead in each row bytes are asked for once more.
const NEAR: usize = 5 * LINE;
/// Bytes of rows side by side that do not stay in a first-level cache beside as many that are asked
/// for ahead.
pub(super) const NEAR_ROWS: usize = 24 << 10;

/// One token's products with a block of rows.
struct OneToken<S: RowSimd, F> {
    s: S,
    acc: S::Floats,
    qs: *const i8,
    groups: *const ActGroup,
    /// The next bytes to ask for.
    ahead: *const u8,
    /// Where each row's next bytes are asked for once more.
    near: At,
    format: PhantomData<F>,
}

impl<S: RowSimd, F: Format> OneToken<S, F> {
    /// Asks for as many bytes as a group takes.
    #[inline(always)]
    fn ask_ahead(&mut self) {
        let bytes = S::ROWS * F::BYTES / F::GROUPS;
        let mut line = 0;
        while line < bytes {
            self.s.prefetch(self.ahead.wrapping_add(line));
            line += LINE;
        }
        self.ahead = self.ahead.wrapping_add(bytes);
    }

    /// Asks for what each row has a little further on, where that is a line with every group and
    /// rows are so long that a first-level cache has lost what was asked for ahead.
    #[inline(always)]
    fn ask_near(&mut self) {
        let bytes = const { F::BYTES / F::GROUPS };
        if bytes >= LINE / 2 && self.near.stride * S::ROWS > NEAR_ROWS {
            for row in 0..S::ROWS {
                self.s.prefetch_near(self.near.ptr.wrapping_add(row * self.near.stride));
            }
            self.near.ptr = self.near.ptr.wrapping_add(bytes);
        }
    }
}

impl<S: RowSimd, F: Format> Sink<S> for OneToken<S, F> {
    #[inline(always)]
    unsafe fn take(&mut self, g: usize, group: &Group<S>) {
        let s = self.s;
        self.ask_ahead();
        self.ask_near();
        // SAFETY: the token has group `g`, by the caller's promise.
        unsafe {
            let qs = self.qs.add(ActGroup::LEN * g);
            let act = &*self.groups.add(g);
            for run in 0..F::Kind::RUNS {
                let wanted = wanted::<F::Kind>(run);
                let sum = match F::Kind::HAS_MIN {
                    true => s.ints(0),
                    false => s.begin(act.sums, wanted, excess::<S, F>()),
                };
                let sum = match F::Kind::RUNS {
                    1 => s.dot::<F::Kind, 2>(sum, group.q, qs),
                    _ => s.dot::<F::Kind, 1>(sum, [group.q[run]], qs.add(16 * run)),
                };
                let d = s.mul(group.d[run], s.splat(act.d));
                self.acc = s.fma(d, s.floats_from(sum), self.acc);
                if F::Kind::HAS_MIN {
                    let dsum = s.splat(dsum::<F::Kind>(act, run));
                    self.acc = s.fma(group.m[run], dsum, self.acc);
                }
            }
        }
    }
}

/// What a format's weights are too large by once they are unpacked. Formats with minimums have
/// levels from 0 on.
const fn excess<S: RowSimd, F: Format>() -> i32 {
    if F::Kind::SIGNED { S::SIGNED_EXCESS } else { F::EXCESS }
}

/// Which of a group's two runs of sixteen share a scale with run `run`.
const fn wanted<K: Kind>(run: usize) -> [bool; 2] {
    if K::RUNS == 1 { [true; 2] } else { [run == 0, run == 1] }
}

/// What the minimum of a run is multiplied with.
#[inline(always)]
pub(super) fn dsum<K: Kind>(act: &ActGroup, run: usize) -> f32 {
    match K::RUNS {
        1 => act.dsum,
        _ => act.d * f32::from(act.sums[run]),
    }
}

/// Multiplies one token with the rows that fill registers; returns how many rows those were.
///
/// # Safety
/// Nobody else may access the outputs that `m` names.
#[inline(always)]
pub(super) unsafe fn one_token<S: RowSimd, F: Format>(s: S, m: &MatmulRows<'_>) -> usize {
    // SAFETY: passed on to the caller.
    if let Some(done) = unsafe { s.fast_token(F::TYPE, m) } {
        return done;
    }
    let (qs, groups) = m.q8_row(0);
    let n_blocks = groups.len() / F::GROUPS;
    let stride = m.row_bytes();
    let mut row = 0;
    while row + S::ROWS <= m.n_rows() {
        // SAFETY: the row exists.
        let at = At { ptr: unsafe { m.rows().as_ptr().add(row * stride) }, stride };
        // While these rows are read, bytes behind them are asked for in the order of memory. That
        // is what fetches at full speed: sixteen rows read side by side are too many streams for
        // most CPUs to see by themselves. A group asks for few lines, since a core waits when it
        // has asked for too many at once.
        let mut sink = OneToken {
            s,
            acc: s.splat(0.0),
            qs: qs.as_ptr(),
            groups: groups.as_ptr(),
            ahead: at.ptr.wrapping_add(AHEAD.max(S::ROWS * stride)),
            near: At { ptr: at.ptr.wrapping_add(NEAR), stride },
            format: PhantomData::<F>,
        };
        for b in 0..n_blocks {
            // SAFETY: rows have `n_blocks` blocks, the token as many times `GROUPS` groups.
            unsafe { F::unpack(s, at.add(b * F::BYTES), b * F::GROUPS, &mut sink) };
        }
        // SAFETY: no other part is alive; the slice has a place for every row.
        unsafe {
            if let Some(out) = m.out_row(0).get_mut(row..row + S::ROWS) {
                s.store(out.as_mut_ptr(), s.canonical(sink.acc));
            }
        }
        row += S::ROWS;
    }
    row
}
