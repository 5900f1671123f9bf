//! Matrices of the plainest formats in one piece of assembly, for a microcontroller's FPU.
//!
//! Two rows are multiplied at once, and of each two blocks at once: they begin at a word, though
//! the second one by itself may not, so that weights are loaded by two words and scales come with
//! them. Accumulators stay in the FPU, and sums and scales reach it by one move each, which the
//! compiler does not do by itself (see `float`).

use core::arch::asm;
use core::mem::offset_of;

use super::dsp::{sxtb16, sxtb16_ror8};
use super::rows::Order;
use crate::kernels::args::{ActGroup, MatmulRows};
use crate::quant::GgmlType;

/// Code for a format of 32 weights in a block.
pub(super) struct Pairs {
    /// How it takes activations: [`Order::Plain`] or [`Order::Halves`].
    pub(super) order: Order,
    /// What its weights are too large by when they are multiplied.
    pub(super) excess: i32,
    /// Bytes of a block.
    pub(super) block_bytes: usize,
    /// # Safety
    /// As [`Rows`] says.
    pub(super) code: unsafe fn(&mut Rows),
}

const Q8_0: Pairs = Pairs { order: Order::Plain, excess: 0, block_bytes: 34, code: q8_0 };
const Q4_0: Pairs = Pairs { order: Order::Halves, excess: 8, block_bytes: 18, code: q4_0 };
const Q4_1: Pairs = Pairs { order: Order::Halves, excess: 0, block_bytes: 20, code: q4_1 };

/// The code for a format, if there is any and this build has the format.
pub(super) const fn of(ty: GgmlType) -> Option<&'static Pairs> {
    match ty {
        GgmlType::Q8_0 if cfg!(feature = "q8_0") => Some(&Q8_0),
        GgmlType::Q4_0 if cfg!(feature = "q4_0") => Some(&Q4_0),
        GgmlType::Q4_1 if cfg!(feature = "q4_1") => Some(&Q4_1),
        _ => None,
    }
}

/// Groups of activations that are widened together.
const GROUPS: usize = 8;
/// Words of as many blocks of any format here.
const WORDS: usize = GROUPS * 34 / 4;

/// 64 activations.
#[derive(Clone, Copy)]
#[repr(C)] // assembly reads it from the first field to the last
struct TwoGroups {
    /// As in [`ActGroup`].
    d: [f32; 2],
    /// As in [`ActGroup`].
    dsum: [f32; 2],
    /// What the sums of products of each row begin with, for weights that are too large by some.
    start: [[i32; 2]; 2],
    /// The activations as 16-bit integers, as [`super::rows`] has them, but for the first block as
    /// if its weights began at its third byte and ended with its first two.
    pairs: [[u32; 16]; 2],
}

const NO_GROUPS: TwoGroups =
    TwoGroups { d: [0.0; 2], dsum: [0.0; 2], start: [[0; 2]; 2], pairs: [[0; 16]; 2] };

/// What the code is called with: some columns of an even number of rows, which are one pair of rows
/// at least and two groups at least.
///
/// `out` must be writable up to `out_end`, and each pair of rows, two blocks for each of the `x`,
/// readable and at a word.
#[repr(C)] // assembly reads it
pub(super) struct Rows {
    /// Where the results of the next pair go.
    out: *mut f32,
    /// Bytes from where a row's columns end to where those of the next but one begin.
    advance: usize,
    x: *const TwoGroups,
    out_end: *const f32,
    /// 0 if sums begin with 0, and anything else if they go on with what is in `out`.
    goes_on: u32,
    /// The first pair.
    a: *const u8,
    b: *const u8,
    x_end: *const TwoGroups,
}

/// # Safety
/// Nobody else may access the outputs that `m` names.
#[inline(never)]
pub(super) unsafe fn rows(m: &MatmulRows<'_>, format: &Pairs) {
    let mut x = [NO_GROUPS; GROUPS / 2];
    let row_bytes = m.row_bytes();
    for t in 0..m.n_tokens() {
        // SAFETY: this part is dropped before the next is made; nobody else has one.
        let out = unsafe { m.out_row(t) };
        let (qs, groups) = m.q8_row(t);
        let (mut start, mut at) = (0, m.rows().as_ptr());
        for (qs, groups) in qs.as_chunks().0.chunks(GROUPS).zip(groups.chunks(GROUPS)) {
            widen(qs, groups, format, &mut x);
            let bytes = groups.len() * format.block_bytes;
            let columns = Columns {
                x: x.get(..groups.len().div_ceil(2)).unwrap_or(&[]),
                goes_on: start > 0,
                bytes,
                row_bytes,
            };
            let in_words = (at as usize | row_bytes | bytes).is_multiple_of(4);
            // Columns of an odd number of blocks have no partner for the last.
            if in_words && groups.len().is_multiple_of(2) {
                // SAFETY: as many rows as `out` has follow each other by `row_bytes`, each with
                // these columns from `at` on, which is at a word, as `row_bytes` is.
                unsafe { columns.multiply(at, out, format) };
            } else {
                // SAFETY: as above, but for the words.
                unsafe { columns.multiply_copied(at, out, format) };
            }
            start += groups.len();
            at = at.wrapping_add(bytes);
        }
        if start == 0 {
            out.fill(0.0);
        }
    }
}

/// Some columns of a matrix, and the activations that they are multiplied with.
struct Columns<'x> {
    x: &'x [TwoGroups],
    goes_on: bool,
    /// Bytes of a row in these columns.
    bytes: usize,
    /// Bytes from a row to the next.
    row_bytes: usize,
}

impl Columns<'_> {
    /// # Safety
    /// As many rows as `out` has must follow each other by `row_bytes`, each with these columns
    /// readable from `at` on, and `at` and `row_bytes` must be multiples of a word.
    unsafe fn multiply(&self, at: *const u8, out: &mut [f32], format: &Pairs) {
        let (pairs, last) = out.as_chunks_mut::<2>();
        if !pairs.is_empty() {
            let next = at.wrapping_add(self.row_bytes);
            // SAFETY: the rows of these pairs are there, by the caller's promise.
            unsafe { self.run([at, next], pairs.as_flattened_mut(), format) };
        }
        // A row that is left alone is its own partner.
        if let [last] = last {
            let at = at.wrapping_add(pairs.len() * 2 * self.row_bytes);
            let mut pair = [*last; 2];
            // SAFETY: as above.
            unsafe { self.run([at; 2], &mut pair, format) };
            *last = pair[0];
        }
    }

    /// As [`Columns::multiply`] for rows at any address and with any number of blocks: pair by pair
    /// from a copy, with a block of nothing at the end.
    ///
    /// # Safety
    /// As there, but for the words.
    #[inline(never)]
    unsafe fn multiply_copied(&self, mut at: *const u8, out: &mut [f32], format: &Pairs) {
        let mut copies = [[0u32; WORDS]; 2];
        for pair in out.chunks_mut(2) {
            for (i, copy) in copies.iter_mut().enumerate().take(pair.len()) {
                let from = at.wrapping_add(i * self.row_bytes);
                // SAFETY: the row has so many bytes in these columns, by the caller's promise, and
                // a copy has room for eight blocks, which are no fewer.
                unsafe { from.copy_to_nonoverlapping(copy.as_mut_ptr().cast(), self.bytes) };
            }
            let mut sums = [0.0; 2];
            sums.split_at_mut(pair.len()).0.copy_from_slice(pair);
            let [a, b] = &copies;
            // SAFETY: both copies are at a word, and what `x` has beyond the columns meets zeros.
            unsafe { self.run([a.as_ptr().cast(), b.as_ptr().cast()], &mut sums, format) };
            pair.copy_from_slice(sums.split_at(pair.len()).0);
            at = at.wrapping_add(2 * self.row_bytes);
        }
    }

    /// # Safety
    /// As [`Rows`] says, for pairs of rows from `a` and `b` on.
    #[inline(never)]
    unsafe fn run(&self, [a, b]: [*const u8; 2], out: &mut [f32], format: &Pairs) {
        let (x, out) = (self.x.as_ptr_range(), out.as_mut_ptr_range());
        let mut rows = Rows {
            out: out.start,
            advance: (2 * self.row_bytes).wrapping_sub(self.bytes),
            x: x.start,
            out_end: out.end,
            goes_on: self.goes_on.into(),
            a,
            b,
            x_end: x.end,
        };
        // SAFETY: passed on to the caller.
        unsafe { (format.code)(&mut rows) }
    }
}

/// Widens eight groups at most; what an odd one lacks for its partner is 0.
fn widen(qs: &[[i8; 32]], acts: &[ActGroup], format: &Pairs, x: &mut [TwoGroups]) {
    // Whether the first block's weights begin in the middle of a word.
    let shifted = !format.block_bytes.is_multiple_of(4);
    // Words of a row that follow each other in memory, less one: all, or those of either nibble.
    let turn = if format.order == Order::Plain { 7 } else { 3 };
    for (two, (qs, acts)) in x.iter_mut().zip(qs.chunks(2).zip(acts.chunks(2))) {
        if acts.len() < 2 {
            *two = NO_GROUPS;
        }
        let TwoGroups { d, dsum, start, pairs } = two;
        let places = d.iter_mut().zip(dsum).zip(start.iter_mut().zip(pairs));
        let groups = qs.iter().zip(acts).zip([shifted, false]);
        for (((d, dsum), (start, pairs)), ((qs, act), shifted)) in places.zip(groups) {
            let sum = i32::from(act.sums[0]) + i32::from(act.sums[1]);
            (*d, *dsum, *start) = (act.d, act.dsum, [-format.excess * sum; 2]);
            let word = |k: usize| word(qs, k);
            for k in 0..8 {
                let word = match shifted {
                    true => word(k) >> 16 | word(k & !turn | (k + 1) & turn) << 16,
                    false => word(k),
                };
                let (_, place) = format.order.place(0, k);
                if let Some([even, odd]) = pairs.get_mut(place..place + 2) {
                    (*even, *odd) = (sxtb16(word), sxtb16_ror8(word));
                }
            }
        }
    }
}

/// Word `k` of some integers; 0 beyond them.
fn word(qs: &[i8; 32], k: usize) -> u32 {
    let word = qs.as_chunks::<4>().0.get(k);
    word.map_or(0, |bytes| u32::from_le_bytes(bytes.map(|q| q as u8)))
}

/// Adds four bytes' products, to nothing if it says `smuad`.
macro_rules! bytes {
    ("smuad", $w:literal, $even:literal, $odd:literal, $sum:literal) => {
        concat!(
            concat!("sxtb16 r6, ", $w, "\n"),
            concat!("smuad ", $sum, ", r6, ", $even, "\n"),
            concat!("sxtb16 r6, ", $w, ", ror #8\n"),
            concat!("smlad ", $sum, ", r6, ", $odd, ", ", $sum, "\n"),
        )
    };
    ("smlad", $w:literal, $even:literal, $odd:literal, $sum:literal) => {
        concat!(
            concat!("sxtb16 r6, ", $w, "\n"),
            concat!("smlad ", $sum, ", r6, ", $even, ", ", $sum, "\n"),
            concat!("sxtb16 r6, ", $w, ", ror #8\n"),
            concat!("smlad ", $sum, ", r6, ", $odd, ", ", $sum, "\n"),
        )
    };
}

/// Adds eight bytes' products in each of two rows. Without an argument, the rows' second words are
/// put together with what is in r12 and r14, and what else is in them is left in s12 and s13.
macro_rules! bytes_step {
    ($first:tt) => {
        concat!(
            "ldmia r9!, {{r0-r3}}\n",
            "ldrd r4, r5, [r10], #8\n",
            bytes!($first, "r4", "r0", "r1", "r7"),
            bytes!("smlad", "r5", "r2", "r3", "r7"),
            "ldrd r4, r5, [r11], #8\n",
            bytes!($first, "r4", "r0", "r1", "r8"),
            bytes!("smlad", "r5", "r2", "r3", "r8"),
        )
    };
    () => {
        concat!(
            "ldmia r9!, {{r0-r3}}\n",
            "ldrd r4, r5, [r10], #8\n",
            "pkhbt r12, r5, r12\n",
            bytes!("smlad", "r4", "r0", "r1", "r7"),
            bytes!("smlad", "r12", "r2", "r3", "r7"),
            "ldmia r11!, {{r4, r12}}\n",
            "pkhbt lr, r12, lr\n",
            bytes!("smlad", "r4", "r0", "r1", "r8"),
            bytes!("smlad", "lr", "r2", "r3", "r8"),
            "vmov s12, s13, r5, r12\n",
        )
    };
}

/// Adds eight nibbles' products.
macro_rules! nibbles {
    ($w:literal, $sum:literal) => {
        concat!(
            concat!("and r6, r12, ", $w, "\n"),
            concat!("smlad ", $sum, ", r6, r0, ", $sum, "\n"),
            concat!("and r6, r12, ", $w, ", lsr #8\n"),
            concat!("smlad ", $sum, ", r6, r1, ", $sum, "\n"),
            concat!("and r6, r12, ", $w, ", lsr #4\n"),
            concat!("smlad ", $sum, ", r6, r2, ", $sum, "\n"),
            concat!("and r6, r12, ", $w, ", lsr #12\n"),
            concat!("smlad ", $sum, ", r6, r3, ", $sum, "\n"),
        )
    };
}

/// Adds sixteen nibbles' products in each of two rows, `$a` and `$b` being what is done to their
/// words before.
///
/// The second word of a row waits while both rows' first are multiplied, so that activations are
/// loaded once.
macro_rules! nibbles_step {
    ($($a:literal, $b:literal)?) => {
        concat!(
            "ldmia r9!, {{r0-r3}}\n",
            "ldrd r4, r5, [r10], #8\n",
            $($a,)?
            nibbles!("r4", "r7"),
            "ldmia r11!, {{r4, lr}}\n",
            $($b,)?
            nibbles!("r4", "r8"),
            "ldmia r9!, {{r0-r3}}\n",
            nibbles!("r5", "r7"),
            nibbles!("lr", "r8"),
        )
    };
}

/// Adds a block's scaled sums to the accumulators: `$half` of the words in `$a` and `$b` has the
/// scales, `$d` is that of the activations.
macro_rules! add_scaled {
    ($half:literal, [$a:literal, $b:literal], $d:literal) => {
        concat!(
            "vmov s14, s15, r7, r8\n",
            concat!("vcvt", $half, ".f32.f16 ", $a, ", ", $a, "\n"),
            concat!("vcvt", $half, ".f32.f16 ", $b, ", ", $b, "\n"),
            "vcvt.f32.s32 s14, s14\n",
            "vcvt.f32.s32 s15, s15\n",
            concat!("vmul.f32 ", $a, ", ", $a, ", ", $d, "\n"),
            concat!("vmul.f32 ", $b, ", ", $b, ", ", $d, "\n"),
            concat!("vfma.f32 s10, ", $a, ", s14\n"),
            concat!("vfma.f32 s11, ", $b, ", s15\n"),
        )
    };
}

/// As [`add_scaled`] for words whose other half is a minimum, `$dsum` being that of the activations.
macro_rules! add_scaled_and_min {
    ([$a:literal, $b:literal], $d:literal, $dsum:literal) => {
        concat!(
            concat!("vcvtt.f32.f16 s12, ", $a, "\n"),
            concat!("vcvtt.f32.f16 s13, ", $b, "\n"),
            add_scaled!("b", [$a, $b], $d),
            concat!("vfma.f32 s10, s12, ", $dsum, "\n"),
            concat!("vfma.f32 s11, s13, ", $dsum, "\n"),
        )
    };
}

/// Writes the code for a format: what is done once, and what is done with two blocks of each row.
///
/// r0 to r3 are activations, r4 and r5 weights, r6 what is made of them, r7 and r8 the sums, r9 where
/// activations are, r10 and r11 where the rows are. r12 and r14 are the format's. s2 and s3 are the
/// blocks' `d` of the activations, s4 and s5 `dsum`, s6 to s9 what the sums begin with, s10 and s11
/// the accumulators.
macro_rules! code {
    ($(#[$doc:meta])* $name:ident: [$($once:expr),*], [$($text:expr),* $(,)?]) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// As [`Rows`] says.
        unsafe fn $name(rows: &mut Rows) {
            // SAFETY: the target has the instructions. They read two groups after the other up to
            // `x_end`, of each row two blocks for each of them, and read and write two results at a
            // time up to `out_end`, all of which `Rows` promises; r6, r7 and r11, which the
            // compiler does not give away in either state, and the stack are left as they were.
            unsafe {
                asm!(
                    // Where `Rows` and the end of `x` are stays on the stack.
                    "ldr r1, [r0, #{x_end}]",
                    "push {{r0, r1, r6, r7, r11}}",
                    "ldrd r10, r11, [r0, #{a}]",
                    "ldmia r0, {{r1-r5}}",
                    $($once,)*
                    "1:",
                    "mov r9, r3",
                    "vmov s10, s11, r5, r5",
                    "cmp r5, #0",
                    "it ne",
                    "vldmiane r1, {{s10, s11}}",
                    "2:",
                    $($text,)*
                    "ldr r0, [sp, #4]",
                    "cmp r9, r0",
                    "bne 2b",
                    "ldr r0, [sp]",
                    "ldmia r0, {{r1-r5}}",
                    "vcmp.f32 s10, s11",
                    "vmrs APSR_nzcv, fpscr",
                    "bvs 4f",
                    "3:",
                    "vstmia r1!, {{s10, s11}}",
                    "str r1, [r0]",
                    "add r10, r2",
                    "add r11, r2",
                    "cmp r1, r4",
                    "bne 1b",
                    "pop {{r0, r1, r6, r7, r11}}",
                    "b 5f",
                    // One accumulator or both are no number.
                    "4:",
                    "movw r6, #0",
                    "movt r6, #0x7FC0",
                    "vcmp.f32 s10, s10",
                    "vmrs APSR_nzcv, fpscr",
                    "it vs",
                    "vmovvs s10, r6",
                    "vcmp.f32 s11, s11",
                    "vmrs APSR_nzcv, fpscr",
                    "it vs",
                    "vmovvs s11, r6",
                    "b 3b",
                    "5:",
                    x_end = const offset_of!(Rows, x_end),
                    a = const offset_of!(Rows, a),
                    inout("r0") &raw mut *rows => _,
                    out("r1") _, out("r2") _, out("r3") _, out("r4") _, out("r5") _, out("r8") _,
                    out("r9") _, out("r10") _, out("r12") _, out("r14") _,
                    out("s0") _, out("s1") _, out("s2") _, out("s3") _, out("s4") _, out("s5") _,
                    out("s6") _, out("s7") _, out("s8") _, out("s9") _, out("s10") _, out("s11") _,
                    out("s12") _, out("s13") _, out("s14") _, out("s15") _,
                );
            }
        }
    };
}

code! {
    /// Of two blocks of 34 bytes the first two weights and the last two of the first one lie in
    /// words of which scales take the other halves. r12 and r14 are the first words.
    q8_0: [], [
        "ldr r12, [r10], #4",
        "ldr lr, [r11], #4",
        "vldmia r9!, {{s2-s9}}",
        "vmov s0, s1, r12, lr",
        bytes_step!("smuad"),
        bytes_step!("smlad"),
        bytes_step!("smlad"),
        bytes_step!(),
        add_scaled!("b", ["s0", "s1"], "s2"),
        bytes_step!("smuad"),
        bytes_step!("smlad"),
        bytes_step!("smlad"),
        bytes_step!("smlad"),
        add_scaled!("t", ["s12", "s13"], "s3"),
    ]
}

code! {
    /// Of two blocks of 18 bytes; as [`q8_0`], but the first words wait in the FPU.
    q4_0: ["movw r12, #0xF", "movt r12, #0xF"], [
        "ldr r4, [r10], #4",
        "ldr r5, [r11], #4",
        "vldmia r9!, {{s2-s9}}",
        "vmov s0, s1, r4, r5",
        "vmov r7, r8, s6, s7",
        nibbles_step!(),
        nibbles_step!(
            "vmov s12, r5\nvmov r6, s0\npkhbt r5, r5, r6\n",
            "vmov s13, lr\nvmov r6, s1\npkhbt lr, lr, r6\n"),
        add_scaled!("b", ["s0", "s1"], "s2"),
        "vmov r7, r8, s8, s9",
        nibbles_step!(),
        nibbles_step!(),
        add_scaled!("t", ["s12", "s13"], "s3"),
    ]
}

code! {
    /// Blocks of 20 bytes, which have whole words.
    q4_1: ["movw r12, #0xF", "movt r12, #0xF"], [
        "ldr r4, [r10], #4",
        "ldr r5, [r11], #4",
        "vldmia r9!, {{s2-s9}}",
        "vmov s0, s1, r4, r5",
        "vmov r7, r8, s6, s7",
        nibbles_step!(),
        nibbles_step!(),
        add_scaled_and_min!(["s0", "s1"], "s2", "s4"),
        "ldr r4, [r10], #4",
        "ldr r5, [r11], #4",
        "vmov s0, s1, r4, r5",
        "vmov r7, r8, s8, s9",
        nibbles_step!(),
        nibbles_step!(),
        add_scaled_and_min!(["s0", "s1"], "s3", "s5"),
    ]
}
