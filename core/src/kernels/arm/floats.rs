//! Kernels over plain floats on a microcontroller's FPU, a few elements a step.
//!
//! The compiler does not let assembly have operands in the registers of such an FPU, so whole loops
//! are written out. What they write has the canonical NaN in place of any other because the FPU sees
//! to it: in its mode of default NaNs, on from the first instruction of a block to the last.

use core::arch::asm;
use core::slice;

use super::float::half;
use crate::kernels::args::{MatmulRows, RopePairs};
use crate::math::{LANES, canonical, fma, sqrt};
use crate::quant::GgmlType;
use crate::quant::block::{Block, FloatBlock, blocks};
use crate::quant::float::{BlockBF16, BlockF16, BlockF32};

/// Lets every NaN that comes out of an operation be the default one, which is the canonical one.
macro_rules! default_nans {
    () => {
        "vmrs {mode}, fpscr
        orr r0, {mode}, #0x2000000
        vmsr fpscr, r0"
    };
}

/// `x = x + y`.
pub(super) fn add(x: &mut [f32], y: &[f32]) {
    let n = x.len().min(y.len());
    // SAFETY: the FPU has the instructions. They read `n` floats of both slices, eights and then the
    // rest, write those of `x`, and put the FPU's mode back.
    unsafe {
        asm!(
            default_nans!(),
            "cmp {eights}, #0",
            "beq 3f",
            "2:",
            "vldmia {x}, {{s0-s7}}",
            "vldmia {y}!, {{s8-s15}}",
            "subs {eights}, {eights}, #1",
            "vadd.f32 s0, s0, s8",
            "vadd.f32 s1, s1, s9",
            "vadd.f32 s2, s2, s10",
            "vadd.f32 s3, s3, s11",
            "vadd.f32 s4, s4, s12",
            "vadd.f32 s5, s5, s13",
            "vadd.f32 s6, s6, s14",
            "vadd.f32 s7, s7, s15",
            "vstmia {x}!, {{s0-s7}}",
            "bne 2b",
            "3:",
            "cmp {rest}, #0",
            "beq 5f",
            "4:",
            "vldmia {x}, {{s0}}",
            "vldmia {y}!, {{s8}}",
            "subs {rest}, {rest}, #1",
            "vadd.f32 s0, s0, s8",
            "vstmia {x}!, {{s0}}",
            "bne 4b",
            "5:",
            "vmsr fpscr, {mode}",
            x = inout(reg) x.as_mut_ptr() => _,
            y = inout(reg) y.as_ptr() => _,
            eights = inout(reg) n / 8 => _,
            rest = inout(reg) n % 8 => _,
            mode = out(reg) _,
            out("r0") _,
            out("s0") _, out("s1") _, out("s2") _, out("s3") _, out("s4") _, out("s5") _,
            out("s6") _, out("s7") _, out("s8") _, out("s9") _, out("s10") _, out("s11") _,
            out("s12") _, out("s13") _, out("s14") _, out("s15") _,
            options(nostack),
        );
    }
}

/// As [`float::rms_norm`](crate::kernels::generic::float::rms_norm).
pub(super) fn rms_norm(x: &[f32], w: &[u8], eps: f32, out: &mut [f32]) {
    let w = w.as_chunks().0;
    let n = x.len().min(w.len()).min(out.len());
    // SAFETY: as many floats can be read and written, and the output is another slice.
    unsafe { scale_weighted(n, x.as_ptr(), rms_scale(x, eps), w.as_ptr(), out.as_mut_ptr()) };
}

/// As [`float::rms_norm_in_place`](crate::kernels::generic::float::rms_norm_in_place).
pub(super) fn rms_norm_in_place(x: &mut [f32], w: &[u8], eps: f32) {
    let w = w.as_chunks().0;
    let (n, scale, x) = (x.len().min(w.len()), rms_scale(x, eps), x.as_mut_ptr());
    // SAFETY: as many floats can be read and written, through one pointer.
    unsafe { scale_weighted(n, x, scale, w.as_ptr(), x) };
}

/// `1 / √(mean of squares + eps)`.
fn rms_scale(x: &[f32], eps: f32) -> f32 {
    // SAFETY: a slice's bytes can be read as such.
    let bytes = unsafe { slice::from_raw_parts(x.as_ptr().cast(), size_of_val(x)) };
    1.0 / sqrt(dot::<BlockF32>(bytes, x) / x.len() as f32 + eps)
}

/// `out = (x · scale) · w` of `n` elements.
///
/// # Safety
/// `x` and `w` must be readable for `n` elements and `out` writable, which may be `x` but not a part
/// of it that begins elsewhere.
unsafe fn scale_weighted(n: usize, x: *const f32, scale: f32, w: *const [u8; 4], out: *mut f32) {
    // SAFETY: the FPU has the instructions. They read `n` elements of `x` and of `w`, for which LDR
    // takes any address, fours and then the rest, write those of `out`, and put the FPU's mode back.
    unsafe {
        asm!(
            default_nans!(),
            "vmov s8, {scale}",
            "cmp {fours}, #0",
            "beq 3f",
            "2:",
            "vldmia {x}!, {{s0-s3}}",
            "ldr r0, [{w}], #4",
            "ldr r1, [{w}], #4",
            "ldr r2, [{w}], #4",
            "ldr r3, [{w}], #4",
            "vmov s4, s5, r0, r1",
            "vmov s6, s7, r2, r3",
            "subs {fours}, {fours}, #1",
            "vmul.f32 s0, s0, s8",
            "vmul.f32 s1, s1, s8",
            "vmul.f32 s2, s2, s8",
            "vmul.f32 s3, s3, s8",
            "vmul.f32 s0, s0, s4",
            "vmul.f32 s1, s1, s5",
            "vmul.f32 s2, s2, s6",
            "vmul.f32 s3, s3, s7",
            "vstmia {out}!, {{s0-s3}}",
            "bne 2b",
            "3:",
            "cmp {rest}, #0",
            "beq 5f",
            "4:",
            "vldmia {x}!, {{s0}}",
            "ldr r0, [{w}], #4",
            "vmov s4, r0",
            "subs {rest}, {rest}, #1",
            "vmul.f32 s0, s0, s8",
            "vmul.f32 s0, s0, s4",
            "vstmia {out}!, {{s0}}",
            "bne 4b",
            "5:",
            "vmsr fpscr, {mode}",
            x = inout(reg) x => _,
            w = inout(reg) w => _,
            out = inout(reg) out => _,
            scale = in(reg) scale.to_bits(),
            fours = inout(reg) n / 4 => _,
            rest = inout(reg) n % 4 => _,
            mode = out(reg) _,
            out("r0") _, out("r1") _, out("r2") _, out("r3") _,
            out("s0") _, out("s1") _, out("s2") _, out("s3") _, out("s4") _, out("s5") _,
            out("s6") _, out("s7") _, out("s8") _,
            options(nostack),
        );
    }
}

/// As [`float::rope`](crate::kernels::generic::float::rope).
pub(super) fn rope(pairs: RopePairs, head: &mut [f32], cos: &[f32], sin: &[f32]) {
    let n = cos.len().min(sin.len());
    // How far it is from a pair's first element to its second, and to the next pair.
    let (n, second, next) = match pairs {
        RopePairs::Norm => (n.min(head.len() / 2), 1, 2),
        RopePairs::NeoX => (n.min(head.len().saturating_sub(cos.len())), cos.len(), 1),
    };
    if n == 0 {
        return;
    }
    let a = head.as_mut_ptr();
    // SAFETY: the FPU has the instructions. They read `n` cosines and sines, read and write as many
    // pairs, whose last element is in `head` by the choice of `n`, and put the FPU's mode back.
    unsafe {
        asm!(
            default_nans!(),
            "2:",
            "vldr s0, [{a}]",
            "vldr s1, [{b}]",
            "vldmia {cos}!, {{s2}}",
            "vldmia {sin}!, {{s3}}",
            "subs {n}, {n}, #1",
            "vmul.f32 s4, s1, s3",
            "vmul.f32 s5, s1, s2",
            "vfnms.f32 s4, s0, s2",
            "vfma.f32 s5, s0, s3",
            "vstr s4, [{a}]",
            "vstr s5, [{b}]",
            "add {a}, {a}, {next}",
            "add {b}, {b}, {next}",
            "bne 2b",
            "vmsr fpscr, {mode}",
            a = inout(reg) a => _,
            b = inout(reg) a.add(second) => _,
            cos = inout(reg) cos.as_ptr() => _,
            sin = inout(reg) sin.as_ptr() => _,
            next = in(reg) next * size_of::<f32>(),
            n = inout(reg) n => _,
            mode = out(reg) _,
            out("r0") _,
            out("s0") _, out("s1") _, out("s2") _, out("s3") _, out("s4") _, out("s5") _,
            options(nostack),
        );
    }
}

/// As [`store::store_f16`](crate::kernels::generic::store::store_f16).
pub(super) fn store_f16(x: &[f32], out: &mut [u16]) {
    let n = x.len().min(out.len());
    // SAFETY: the target has the instructions. They read `n` floats, fours and then the rest, write
    // as many halves, for which STR takes any address, and put the FPU's mode back.
    unsafe {
        asm!(
            default_nans!(),
            "cmp {fours}, #0",
            "beq 3f",
            "2:",
            "vldmia {x}!, {{s0-s3}}",
            "vmov r0, r1, s0, s1",
            "vmov r2, r3, s2, s3",
            "vcvtb.f16.f32 s0, s0",
            "vcvtt.f16.f32 s0, s1",
            "vcvtb.f16.f32 s1, s2",
            "vcvtt.f16.f32 s1, s3",
            // The default NaN has no sign; other signs are there already.
            "pkhtb r0, r1, r0, asr #16",
            "pkhtb r1, r3, r2, asr #16",
            "vmov r2, r3, s0, s1",
            "and r0, r0, {signs}",
            "and r1, r1, {signs}",
            "orr r0, r0, r2",
            "orr r1, r1, r3",
            "str r0, [{out}], #4",
            "str r1, [{out}], #4",
            "subs {fours}, {fours}, #1",
            "bne 2b",
            "3:",
            "cmp {rest}, #0",
            "beq 5f",
            "4:",
            "vldmia {x}!, {{s0}}",
            "vmov r0, s0",
            "vcvtb.f16.f32 s0, s0",
            "and r0, r0, {signs}",
            "vmov r1, s0",
            "orr r0, r1, r0, lsr #16",
            "strh r0, [{out}], #2",
            "subs {rest}, {rest}, #1",
            "bne 4b",
            "5:",
            "vmsr fpscr, {mode}",
            x = inout(reg) x.as_ptr() => _,
            out = inout(reg) out.as_mut_ptr() => _,
            fours = inout(reg) n / 4 => _,
            rest = inout(reg) n % 4 => _,
            signs = in(reg) 0x8000_8000u32,
            mode = out(reg) _,
            out("r0") _, out("r1") _, out("r2") _, out("r3") _,
            out("s0") _, out("s1") _, out("s2") _, out("s3") _,
            options(nostack),
        );
    }
}

/// `x = x / the sum of the lanes`, which are folded as
/// [`fold_lanes`](crate::math::fold_lanes) does it.
#[inline(never)]
pub(super) fn divide_by_sum(x: &mut [f32], lanes: &[f32; LANES]) {
    let divisor = fold(lanes);
    if x.is_empty() {
        return;
    }
    // SAFETY: the FPU has the instructions. They read and write the floats, and put the FPU's mode
    // back.
    unsafe {
        asm!(
            default_nans!(),
            "vmov s1, {divisor}",
            "2:",
            "vldmia {x}, {{s0}}",
            "subs {n}, {n}, #1",
            "vdiv.f32 s0, s0, s1",
            "vstmia {x}!, {{s0}}",
            "bne 2b",
            "vmsr fpscr, {mode}",
            x = inout(reg) x.as_mut_ptr() => _,
            divisor = in(reg) divisor.to_bits(),
            n = inout(reg) x.len() => _,
            mode = out(reg) _,
            out("r0") _,
            out("s0") _, out("s1") _,
            options(nostack),
        );
    }
}

/// As [`floats::matmul_rows`](crate::kernels::generic::floats::matmul_rows).
///
/// # Safety
/// Nobody else may access the outputs that `m` names.
pub(super) unsafe fn matmul_rows(m: &MatmulRows<'_>) {
    let dot: fn(&[u8], &[f32]) -> f32 = match m.ty() {
        GgmlType::F32 => dot::<BlockF32>,
        GgmlType::F16 if BlockF16::TYPE.is_built_in() => dot::<BlockF16>,
        GgmlType::BF16 if BlockBF16::TYPE.is_built_in() => dot::<BlockBF16>,
        _ => return,
    };
    for (r, row) in m.rows().chunks_exact(m.row_bytes().max(1)).enumerate() {
        for t in 0..m.n_tokens() {
            // SAFETY: this part is dropped before the next is made; nobody else has one.
            if let Some(out) = unsafe { m.out_row(t) }.get_mut(r) {
                *out = canonical(dot(row, m.float_row(t)));
            }
        }
    }
}

/// The lane sum of a row's products.
fn dot<B: Steps>(row: &[u8], x: &[f32]) -> f32 {
    let weights = blocks::<B>(row).unwrap_or_default();
    let n = weights.len().min(x.len());
    let mut lanes = [0.0; LANES];
    let mut done = 0;
    // Files keep weights in whole words, if they lie as they should.
    if n >= LANES && row.as_ptr().cast::<u32>().is_aligned() {
        // SAFETY: both have as many sixteens, and the first weights begin a word.
        unsafe { B::add_products(n / LANES, weights.as_ptr(), x.as_ptr(), &mut lanes) };
        done = n / LANES * LANES;
    }
    for (i, (w, &x)) in weights.iter().zip(x).enumerate().skip(done) {
        let lane = &mut lanes[i % LANES];
        *lane = fma(w.widen(), x, *lane);
    }
    fold(&lanes)
}

/// As [`fold_lanes`](crate::math::fold_lanes).
#[inline(never)]
fn fold(lanes: &[f32; LANES]) -> f32 {
    let sum: u32;
    // SAFETY: the FPU has the instructions. They read the lanes, and change nothing but the
    // registers named.
    unsafe {
        asm!(
            "vldmia {lanes}, {{s0-s15}}",
            "vadd.f32 s0, s0, s8",
            "vadd.f32 s1, s1, s9",
            "vadd.f32 s2, s2, s10",
            "vadd.f32 s3, s3, s11",
            "vadd.f32 s4, s4, s12",
            "vadd.f32 s5, s5, s13",
            "vadd.f32 s6, s6, s14",
            "vadd.f32 s7, s7, s15",
            "vadd.f32 s0, s0, s4",
            "vadd.f32 s1, s1, s5",
            "vadd.f32 s2, s2, s6",
            "vadd.f32 s3, s3, s7",
            "vadd.f32 s0, s0, s2",
            "vadd.f32 s1, s1, s3",
            "vadd.f32 s0, s0, s1",
            "vmov {sum}, s0",
            lanes = in(reg) lanes.as_ptr(),
            sum = lateout(reg) sum,
            out("s0") _, out("s1") _, out("s2") _, out("s3") _, out("s4") _, out("s5") _,
            out("s6") _, out("s7") _, out("s8") _, out("s9") _, out("s10") _, out("s11") _,
            out("s12") _, out("s13") _, out("s14") _, out("s15") _,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    f32::from_bits(sum)
}

/// Weights that are floats.
trait Steps: FloatBlock {
    /// As [`FloatBlock::get`], in few instructions.
    fn widen(self) -> f32;

    /// Adds the products of `16 · steps` columns to their lanes.
    ///
    /// # Safety
    /// `steps` is not 0. As many weights and floats can be read, and the first weight begins a word.
    unsafe fn add_products(
        steps: usize,
        weights: *const Self,
        x: *const f32,
        lanes: &mut [f32; LANES],
    );
}

macro_rules! steps {
    ($($block:ident($w:ident) => $widen:expr, $($load:literal),+;)+) => {$(
        impl Steps for $block {
            #[inline(always)]
            fn widen(self) -> f32 {
                let $w = self;
                $widen
            }

            #[inline(always)]
            unsafe fn add_products(
                steps: usize,
                weights: *const Self,
                x: *const f32,
                lanes: &mut [f32; LANES],
            ) {
                // SAFETY: the FPU has the instructions. They read what the caller says, and read
                // and write the lanes.
                unsafe {
                    asm!(
                        "vldmia {lanes}, {{s16-s31}}",
                        "2:",
                        $($load,)+
                        "vldmia {x}!, {{s8-s15}}",
                        "vfma.f32 s16, s0, s8",
                        "vfma.f32 s17, s1, s9",
                        "vfma.f32 s18, s2, s10",
                        "vfma.f32 s19, s3, s11",
                        "vfma.f32 s20, s4, s12",
                        "vfma.f32 s21, s5, s13",
                        "vfma.f32 s22, s6, s14",
                        "vfma.f32 s23, s7, s15",
                        $($load,)+
                        "vldmia {x}!, {{s8-s15}}",
                        "vfma.f32 s24, s0, s8",
                        "vfma.f32 s25, s1, s9",
                        "vfma.f32 s26, s2, s10",
                        "vfma.f32 s27, s3, s11",
                        "vfma.f32 s28, s4, s12",
                        "vfma.f32 s29, s5, s13",
                        "vfma.f32 s30, s6, s14",
                        "vfma.f32 s31, s7, s15",
                        "subs {steps}, {steps}, #1",
                        "bne 2b",
                        "vstmia {lanes}, {{s16-s31}}",
                        w = inout(reg) weights => _,
                        x = inout(reg) x => _,
                        steps = inout(reg) steps => _,
                        lanes = in(reg) lanes.as_mut_ptr(),
                        out("r0") _, out("r1") _,
                        out("s0") _, out("s1") _, out("s2") _, out("s3") _, out("s4") _,
                        out("s5") _, out("s6") _, out("s7") _, out("s8") _, out("s9") _,
                        out("s10") _, out("s11") _, out("s12") _, out("s13") _, out("s14") _,
                        out("s15") _, out("s16") _, out("s17") _, out("s18") _, out("s19") _,
                        out("s20") _, out("s21") _, out("s22") _, out("s23") _, out("s24") _,
                        out("s25") _, out("s26") _, out("s27") _, out("s28") _, out("s29") _,
                        out("s30") _, out("s31") _,
                        options(nostack),
                    );
                }
            }
        }
    )+};
}

// How a weight is converted, and how eight come into as many registers.
steps! {
    BlockF32(w) => w.get(),
        "vldmia {w}!, {{s0-s7}}";
    BlockF16(w) => half(w.0),
        "vldmia {w}!, {{s0-s3}}",
        "vcvtt.f32.f16 s7, s3",
        "vcvtb.f32.f16 s6, s3",
        "vcvtt.f32.f16 s5, s2",
        "vcvtb.f32.f16 s4, s2",
        "vcvtt.f32.f16 s3, s1",
        "vcvtb.f32.f16 s2, s1",
        "vcvtt.f32.f16 s1, s0",
        "vcvtb.f32.f16 s0, s0";
    BlockBF16(w) => w.get(),
        "ldr r1, [{w}], #4",
        "lsl r0, r1, #16",
        "bfc r1, #0, #16",
        "vmov s0, s1, r0, r1",
        "ldr r1, [{w}], #4",
        "lsl r0, r1, #16",
        "bfc r1, #0, #16",
        "vmov s2, s3, r0, r1",
        "ldr r1, [{w}], #4",
        "lsl r0, r1, #16",
        "bfc r1, #0, #16",
        "vmov s4, s5, r0, r1",
        "ldr r1, [{w}], #4",
        "lsl r0, r1, #16",
        "bfc r1, #0, #16",
        "vmov s6, s7, r0, r1";
}
