//! AVX-512 with VNNI: Intel from Ice Lake on, AMD from Zen 4 on.
//!
//! A lane is a weight row. Sixteen rows are interleaved, four weights of each to a 32-bit lane, so
//! that one `vpdpbusd` multiplies them with four activations that are broadcast, and a lane's
//! integer sum is a row's. Weights go in unsigned, with an offset that the accumulators begin with
//! (minus offset times the activations' sum), which keeps the sum exact.
//!
//! One token: blocks are interleaved in registers and used at once, so each byte of weights is
//! loaded once. Several: a tile of 32 rows × 512 columns is interleaved into the stack, which the
//! first-level cache holds, and serves six tokens at a time.

use core::arch::x86_64::*;

use super::avx2::{self, Avx2};
use crate::kernels::Table;
use crate::kernels::args::MatmulRows;
use crate::kernels::isa::{Isa, kernel_table};
use crate::kernels::lanes::Registers;
use crate::math::CANONICAL_NAN;
use crate::quant::GgmlType;

pub(super) struct Avx512;

#[cfg(feature = "std")]
fn is_available() -> bool {
    std::is_x86_feature_detected!("avx512f")
        && std::is_x86_feature_detected!("avx512bw")
        && std::is_x86_feature_detected!("avx512vl")
        && std::is_x86_feature_detected!("avx512dq")
        && std::is_x86_feature_detected!("avx512vnni")
        && std::is_x86_feature_detected!("avx2")
        && std::is_x86_feature_detected!("fma")
        && std::is_x86_feature_detected!("f16c")
}

#[cfg(not(feature = "std"))]
fn is_available() -> bool {
    cfg!(all(
        target_feature = "avx512f",
        target_feature = "avx512bw",
        target_feature = "avx512vl",
        target_feature = "avx512dq",
        target_feature = "avx512vnni",
        target_feature = "avx2",
        target_feature = "fma",
        target_feature = "f16c"
    ))
}

pub(in crate::kernels) static TABLE: Table = kernel_table!(
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
    "x86_64/avx512vnni",
    Avx512,
    is_available
);

impl Isa for Avx512 {
    type Lanes = Registers<__m512, 1>;
    const ACCUMULATORS: usize = 24;

    #[inline(always)]
    fn dot_32(w: &[i8; 32], x: &[i8; 32]) -> i32 {
        Avx2::dot_32(w, x)
    }

    #[inline(always)]
    fn dot_256(w: &[i16; 256], x: &[i8; 256]) -> i32 {
        Avx2::dot_256(w, x)
    }

    #[inline(always)]
    unsafe fn matmul_rows(m: &MatmulRows<'_>) {
        // SAFETY: called only from this set's functions, which have its features; exclusive
        // outputs are passed on to the caller.
        unsafe {
            match m.ty {
                GgmlType::Q4_0 => rows_of::<Q4_0>(m),
                GgmlType::Q4_1 => rows_of::<Q4_1>(m),
                GgmlType::Q5_0 => rows_of::<Q5_0>(m),
                GgmlType::Q5_1 => rows_of::<Q5_1>(m),
                GgmlType::Q8_0 => rows_of::<Q8_0>(m),
                // A CPU with this set has that one's features too.
                _ => (avx2::TABLE.matmul_rows)(m),
            }
        }
    }
}

/// Rows in a register.
const LANES: usize = 16;
/// Registers of rows in a tile.
const HALVES: usize = 2;
/// Rows in a tile.
const ROWS: usize = LANES * HALVES;
/// Blocks of 32 columns in a tile.
const BLOCKS: usize = 16;
/// Tokens that one pass over a tile serves.
const TOKENS: usize = 6;

/// Block `b` of sixteen rows, interleaved.
#[derive(Clone, Copy)]
struct Block16 {
    /// Register `k` has weights `4k..4k + 4` of each row, unsigned.
    w: [__m512i; 8],
    d: __m512,
    m: __m512,
}

/// How a format's blocks of 32 are interleaved.
trait Interleave {
    /// Bytes of a block.
    const BYTES: usize;
    /// What the unsigned weights are too large by.
    const OFFSET: i32;
    const HAS_MIN: bool;

    /// Block at `p` of sixteen rows that lie `stride` bytes apart.
    ///
    /// # Safety
    /// The CPU must have this set's features, and `BYTES` bytes must be readable at
    /// `p + i * stride` for every `i` below sixteen.
    unsafe fn load(p: *const u8, stride: usize) -> Block16;
}

/// Sixteen half floats that lie `stride` bytes apart.
///
/// # Safety
/// As [`Interleave::load`], for two bytes.
#[inline(always)]
unsafe fn halves(p: *const u8, stride: usize) -> __m512 {
    let mut bits = [0u16; LANES];
    for (i, bits) in bits.iter_mut().enumerate() {
        // SAFETY: two bytes are readable in each row, by the caller's promise.
        *bits = u16::from_le_bytes(unsafe { p.add(i * stride).cast::<[u8; 2]>().read() });
    }
    // SAFETY: an array of 32 bytes; the CPU has AVX-512.
    unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(bits.as_ptr().cast())) }
}

/// Sixteen 32-bit words that lie `stride` bytes apart.
///
/// # Safety
/// As [`Interleave::load`], for four bytes.
#[inline(always)]
unsafe fn words(p: *const u8, stride: usize) -> __m512i {
    let mut bits = [0u32; LANES];
    for (i, bits) in bits.iter_mut().enumerate() {
        // SAFETY: four bytes are readable in each row, by the caller's promise.
        *bits = u32::from_le_bytes(unsafe { p.add(i * stride).cast::<[u8; 4]>().read() });
    }
    // SAFETY: an array of 64 bytes; the CPU has AVX-512.
    unsafe { _mm512_loadu_si512(bits.as_ptr().cast()) }
}

/// Sixteen bytes of each of sixteen rows, transposed: register `j` has bytes `4j..4j + 4` of
/// each row.
///
/// # Safety
/// As [`Interleave::load`], for sixteen bytes.
#[inline(always)]
unsafe fn transpose(p: *const u8, stride: usize) -> [__m512i; 4] {
    // SAFETY: sixteen bytes are readable in each row and the CPU has AVX-512, by the caller's
    // promise.
    unsafe {
        let row = |i: usize| _mm_loadu_si128(p.add(i * stride).cast());
        // Rows i, i + 4, i + 8, i + 12, one to a 128-bit lane.
        let four = |i: usize| {
            let v = _mm512_castsi128_si512(row(i));
            let v = _mm512_inserti32x4(v, row(i + 4), 1);
            let v = _mm512_inserti32x4(v, row(i + 8), 2);
            _mm512_inserti32x4(v, row(i + 12), 3)
        };
        let (a, b, c, d) = (four(0), four(1), four(2), four(3));
        let (ab_lo, ab_hi) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        let (cd_lo, cd_hi) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
        [
            _mm512_unpacklo_epi64(ab_lo, cd_lo),
            _mm512_unpackhi_epi64(ab_lo, cd_lo),
            _mm512_unpacklo_epi64(ab_hi, cd_hi),
            _mm512_unpackhi_epi64(ab_hi, cd_hi),
        ]
    }
}

/// The sixteen bytes of nibbles of each of sixteen rows: low ones first.
///
/// # Safety
/// As [`Interleave::load`], for sixteen bytes.
#[inline(always)]
unsafe fn nibbles(p: *const u8, stride: usize) -> [__m512i; 8] {
    // SAFETY: passed on to the caller.
    unsafe {
        let mask = _mm512_set1_epi8(15);
        let [a, b, c, d] = transpose(p, stride);
        let low = |v| _mm512_and_si512(v, mask);
        let high = |v| _mm512_and_si512(_mm512_srli_epi16(v, 4), mask);
        [low(a), low(b), low(c), low(d), high(a), high(b), high(c), high(d)]
    }
}

/// Adds the fifth bits: bit `i` of a row's word belongs to its weight `i`.
///
/// # Safety
/// The CPU must have this set's features.
#[inline(always)]
unsafe fn add_fifth_bits(w: [__m512i; 8], bits: __m512i) -> [__m512i; 8] {
    // SAFETY: the CPU has the features, by the caller's promise.
    unsafe {
        let sixteen = _mm512_set1_epi8(16);
        let mut out = w;
        for (k, out) in out.iter_mut().enumerate() {
            // Four copies of the byte that holds the four bits, one bit looked at in each.
            let byte = (k / 2) as i32 * 0x0101_0101;
            let copies = _mm512_add_epi32(
                _mm512_set1_epi32(byte),
                _mm512_set4_epi32(0x0C0C_0C0C, 0x0808_0808, 0x0404_0404, 0),
            );
            let copies = _mm512_shuffle_epi8(bits, copies);
            let look = if k % 2 == 0 { 0x0804_0201 } else { 0x8040_2010_u32 as i32 };
            let set = _mm512_test_epi8_mask(copies, _mm512_set1_epi32(look));
            *out = _mm512_mask_add_epi8(*out, set, *out, sixteen);
        }
        out
    }
}

struct Q4_0;
struct Q4_1;
struct Q5_0;
struct Q5_1;
struct Q8_0;

impl Interleave for Q4_0 {
    const BYTES: usize = 18;
    const OFFSET: i32 = 8;
    const HAS_MIN: bool = false;
    #[inline(always)]
    unsafe fn load(p: *const u8, stride: usize) -> Block16 {
        // SAFETY: the offsets of the block's fields; promises are passed on to the caller.
        unsafe {
            Block16 { w: nibbles(p.add(2), stride), d: halves(p, stride), m: _mm512_setzero_ps() }
        }
    }
}

impl Interleave for Q4_1 {
    const BYTES: usize = 20;
    const OFFSET: i32 = 0;
    const HAS_MIN: bool = true;
    #[inline(always)]
    unsafe fn load(p: *const u8, stride: usize) -> Block16 {
        // SAFETY: the offsets of the block's fields; promises are passed on to the caller.
        unsafe {
            let (d, m) = halves_in_words(words(p, stride));
            Block16 { w: nibbles(p.add(4), stride), d, m }
        }
    }
}

impl Interleave for Q5_0 {
    const BYTES: usize = 22;
    const OFFSET: i32 = 16;
    const HAS_MIN: bool = false;
    #[inline(always)]
    unsafe fn load(p: *const u8, stride: usize) -> Block16 {
        // SAFETY: the offsets of the block's fields; promises are passed on to the caller.
        unsafe {
            let w = add_fifth_bits(nibbles(p.add(6), stride), words(p.add(2), stride));
            Block16 { w, d: halves(p, stride), m: _mm512_setzero_ps() }
        }
    }
}

impl Interleave for Q5_1 {
    const BYTES: usize = 24;
    const OFFSET: i32 = 0;
    const HAS_MIN: bool = true;
    #[inline(always)]
    unsafe fn load(p: *const u8, stride: usize) -> Block16 {
        // SAFETY: the offsets of the block's fields; promises are passed on to the caller.
        unsafe {
            let w = add_fifth_bits(nibbles(p.add(8), stride), words(p.add(4), stride));
            let (d, m) = halves_in_words(words(p, stride));
            Block16 { w, d, m }
        }
    }
}

impl Interleave for Q8_0 {
    const BYTES: usize = 34;
    const OFFSET: i32 = 128;
    const HAS_MIN: bool = false;
    #[inline(always)]
    unsafe fn load(p: *const u8, stride: usize) -> Block16 {
        // SAFETY: the offsets of the block's fields; promises are passed on to the caller.
        unsafe {
            // Adding 128 to a signed byte flips its top bit.
            let flip = _mm512_set1_epi8(-128);
            let [a, b, c, d] = transpose(p.add(2), stride);
            let [e, f, g, h] = transpose(p.add(18), stride);
            let mut w = [a, b, c, d, e, f, g, h];
            for w in &mut w {
                *w = _mm512_xor_si512(*w, flip);
            }
            Block16 { w, d: halves(p, stride), m: _mm512_setzero_ps() }
        }
    }
}

/// The low and the high half floats of sixteen words.
///
/// # Safety
/// The CPU must have this set's features.
#[inline(always)]
unsafe fn halves_in_words(words: __m512i) -> (__m512, __m512) {
    // SAFETY: the CPU has the features, by the caller's promise.
    unsafe {
        let low = _mm512_cvtepi32_epi16(words);
        let high = _mm512_cvtepi32_epi16(_mm512_srli_epi32(words, 16));
        (_mm512_cvtph_ps(low), _mm512_cvtph_ps(high))
    }
}

/// One token's activations from some block on.
#[derive(Clone, Copy)]
struct Token {
    qs: *const i8,
    d: *const f32,
    sums: *const i16,
}

impl Token {
    /// Block `b`'s scale, and the sum of its values.
    ///
    /// # Safety
    /// The block must be one of the token's.
    #[inline(always)]
    unsafe fn scale_and_sum(self, b: usize) -> (f32, i32) {
        // SAFETY: one scale and two sums per block, by the caller's promise.
        unsafe {
            let sum =
                i32::from(self.sums.add(2 * b).read()) + i32::from(self.sums.add(2 * b + 1).read());
            (self.d.add(b).read(), sum)
        }
    }

    /// Values `4k..4k + 4` of block `b`, in every lane.
    ///
    /// # Safety
    /// The block must be one of the token's, and the CPU must have this set's features.
    #[inline(always)]
    unsafe fn broadcast(self, b: usize, k: usize) -> __m512i {
        // SAFETY: four of the block's 32 values, by the caller's promise.
        unsafe { _mm512_set1_epi32(self.qs.add(32 * b + 4 * k).cast::<i32>().read_unaligned()) }
    }
}

/// One block's part of the dot products of sixteen rows and a token (numerics, section 4).
///
/// # Safety
/// The CPU must have this set's features.
#[inline(always)]
unsafe fn accumulate<F: Interleave>(
    acc: __m512,
    isum: __m512i,
    d: __m512,
    m: __m512,
    dx: f32,
    sum: i32,
) -> __m512 {
    // SAFETY: the CPU has the features, by the caller's promise.
    unsafe {
        let dx = _mm512_set1_ps(dx);
        let acc = _mm512_fmadd_ps(_mm512_mul_ps(d, dx), _mm512_cvtepi32_ps(isum), acc);
        if F::HAS_MIN {
            _mm512_fmadd_ps(_mm512_mul_ps(m, dx), _mm512_set1_ps(sum as f32), acc)
        } else {
            acc
        }
    }
}

/// `v` with the canonical NaN for every NaN.
///
/// # Safety
/// The CPU must have this set's features.
#[inline(always)]
unsafe fn canonical(v: __m512) -> __m512 {
    // SAFETY: the CPU has the features, by the caller's promise.
    unsafe {
        let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(v, v);
        _mm512_mask_mov_ps(v, nan, _mm512_set1_ps(CANONICAL_NAN))
    }
}

/// # Safety
/// The CPU must have this set's features, and nobody else may access the outputs that `m` names.
#[inline(always)]
unsafe fn rows_of<F: Interleave>(m: &MatmulRows<'_>) {
    let n_blocks = m.acts.n_cols() / 32;
    let n_rows = m.n_rows();
    let mut row = 0;
    // SAFETY: rows below `n_rows` have `n_blocks` blocks of `F::BYTES` bytes each, since
    // `MatmulRows` takes them from a `TensorView` of this format; outputs are passed on.
    unsafe {
        if m.acts.n_rows() == 1 {
            while row + LANES <= n_rows {
                one_token::<F>(m, row, n_blocks);
                row += LANES;
            }
        } else {
            while row + ROWS <= n_rows {
                many_tokens::<F, HALVES>(m, row, n_blocks);
                row += ROWS;
            }
            while row + LANES <= n_rows {
                many_tokens::<F, 1>(m, row, n_blocks);
                row += LANES;
            }
        }
        if let Some(rest) = m.rows_from(row) {
            (avx2::TABLE.matmul_rows)(&rest);
        }
    }
}

/// # Safety
/// As [`rows_of`]; rows `row..row + 16` must exist.
#[inline(always)]
unsafe fn one_token<F: Interleave>(m: &MatmulRows<'_>, row: usize, n_blocks: usize) {
    let token = token(m, 0);
    let base = m.rows.as_ptr();
    // SAFETY: the sixteen rows have `n_blocks` blocks, and so has the token.
    unsafe {
        let base = base.add(row * m.row_bytes);
        let mut acc = _mm512_setzero_ps();
        for b in 0..n_blocks {
            let block = F::load(base.add(b * F::BYTES), m.row_bytes);
            let (dx, sum) = token.scale_and_sum(b);
            // Two chains, so that the products need not wait for each other.
            let mut even = _mm512_set1_epi32(-F::OFFSET * sum);
            let mut odd = _mm512_setzero_si512();
            for k in (0..8).step_by(2) {
                even = _mm512_dpbusd_epi32(even, block.w[k], token.broadcast(b, k));
                odd = _mm512_dpbusd_epi32(odd, block.w[k + 1], token.broadcast(b, k + 1));
            }
            let isum = _mm512_add_epi32(even, odd);
            acc = accumulate::<F>(acc, isum, block.d, block.m, dx, sum);
        }
        if let Some(out) = m.out_row(0).get_mut(row..row + LANES) {
            _mm512_storeu_ps(out.as_mut_ptr(), canonical(acc));
        }
    }
}

/// The activations of a token.
#[inline(always)]
fn token(m: &MatmulRows<'_>, t: usize) -> Token {
    let (qs, d, sums) = m.acts.q8_row(t);
    Token { qs: qs.as_ptr(), d: d.as_ptr(), sums: sums.as_ptr() }
}

/// Blocks of a tile, for `H` registers of rows.
struct Tile<const H: usize>([[Block16; H]; BLOCKS]);

/// # Safety
/// As [`rows_of`]; rows `row..row + 16 * H` must exist.
#[inline(always)]
unsafe fn many_tokens<F: Interleave, const H: usize>(
    m: &MatmulRows<'_>,
    row: usize,
    n_blocks: usize,
) {
    let n_tokens = m.acts.n_rows();
    // SAFETY: all-zero bytes are integers and floats.
    let mut tile: Tile<H> = unsafe { core::mem::zeroed() };
    let mut first = 0;
    while first < n_blocks {
        let n = BLOCKS.min(n_blocks - first);
        for (b, blocks) in tile.0.iter_mut().take(n).enumerate() {
            for (h, block) in blocks.iter_mut().enumerate() {
                // SAFETY: sixteen rows from `row + 16h` on, and block `first + b` of each.
                *block = unsafe {
                    let base = m.rows.as_ptr().add((row + LANES * h) * m.row_bytes);
                    F::load(base.add((first + b) * F::BYTES), m.row_bytes)
                };
            }
        }
        let span = Span { row, first, n, begins: first == 0, ends: first + n == n_blocks };
        let mut t = 0;
        // SAFETY: tokens below `n_tokens`, and blocks that both they and the tile have.
        unsafe {
            while t + TOKENS <= n_tokens {
                some_tokens::<F, H, TOKENS>(m, &tile, span, t);
                t += TOKENS;
            }
            while t + 2 <= n_tokens {
                some_tokens::<F, H, 2>(m, &tile, span, t);
                t += 2;
            }
            if t < n_tokens {
                some_tokens::<F, H, 1>(m, &tile, span, t);
            }
        }
        first += n;
    }
}

/// Which part of the dot products a tile holds.
#[derive(Clone, Copy)]
struct Span {
    row: usize,
    /// Blocks `first..first + n` of every row.
    first: usize,
    n: usize,
    /// Whether accumulators begin here, and whether they end here; in between they wait in the
    /// output.
    begins: bool,
    ends: bool,
}

/// # Safety
/// As [`rows_of`]; the span's rows and blocks must exist, and so must tokens `t..t + N`.
#[inline(always)]
unsafe fn some_tokens<F: Interleave, const H: usize, const N: usize>(
    m: &MatmulRows<'_>,
    tile: &Tile<H>,
    span: Span,
    t: usize,
) {
    // SAFETY: tokens `t..t + N` have the span's blocks, outputs have its rows.
    unsafe {
        let tokens: [Token; N] = core::array::from_fn(|i| {
            let all = token(m, t + i);
            Token {
                qs: all.qs.add(32 * span.first),
                d: all.d.add(span.first),
                sums: all.sums.add(2 * span.first),
            }
        });
        let mut acc = [[_mm512_setzero_ps(); H]; N];
        if !span.begins {
            for (i, acc) in acc.iter_mut().enumerate() {
                if let Some(out) = m.out_row(t + i).get(span.row..span.row + LANES * H) {
                    for (h, acc) in acc.iter_mut().enumerate() {
                        *acc = _mm512_loadu_ps(out.as_ptr().add(LANES * h));
                    }
                }
            }
        }
        for (b, blocks) in tile.0.iter().take(span.n).enumerate() {
            let mut isum = [[_mm512_setzero_si512(); H]; N];
            let mut scales = [(0.0, 0); N];
            for i in 0..N {
                scales[i] = tokens[i].scale_and_sum(b);
                isum[i] = [_mm512_set1_epi32(-F::OFFSET * scales[i].1); H];
            }
            for k in 0..8 {
                for i in 0..N {
                    let x = tokens[i].broadcast(b, k);
                    for h in 0..H {
                        isum[i][h] = _mm512_dpbusd_epi32(isum[i][h], blocks[h].w[k], x);
                    }
                }
            }
            for i in 0..N {
                let (dx, sum) = scales[i];
                for h in 0..H {
                    acc[i][h] =
                        accumulate::<F>(acc[i][h], isum[i][h], blocks[h].d, blocks[h].m, dx, sum);
                }
            }
        }
        for (i, acc) in acc.iter().enumerate() {
            if let Some(out) = m.out_row(t + i).get_mut(span.row..span.row + LANES * H) {
                for (h, &acc) in acc.iter().enumerate() {
                    let acc = if span.ends { canonical(acc) } else { acc };
                    _mm512_storeu_ps(out.as_mut_ptr().add(LANES * h), acc);
                }
            }
        }
    }
}
