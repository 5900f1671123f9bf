//! What an instruction set offers to products of quantized weights and activations.

use core::ops::Range;

use super::formats::Format;
use super::tile::{Span, TileRows};
use crate::kernels::args::MatmulRows;
use crate::kernels::lanes::Register;
use crate::quant::GgmlType;

/// How a format's integers are multiplied: what kernels are compiled for once, whatever formats
/// share it.
pub(in crate::kernels) trait Kind: Copy {
    /// Scales in a group: 1, or 2 for runs of 16.
    const RUNS: usize;
    /// Whether there are minimums.
    const HAS_MIN: bool;
    /// The largest magnitude of a weight, one of 15, 31, 63 or 128.
    const MAX: u8;
    /// Whether weights are signed bytes.
    const SIGNED: bool = Self::MAX == 128;
}

/// The kind with these constants.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct Levels<const RUNS: usize, const HAS_MIN: bool, const MAX: u8>;

impl<const RUNS: usize, const HAS_MIN: bool, const MAX: u8> Kind for Levels<RUNS, HAS_MIN, MAX> {
    const RUNS: usize = RUNS;
    const HAS_MIN: bool = HAS_MIN;
    const MAX: u8 = MAX;
}

/// A weight row's place: the same bytes of several rows.
///
/// Made where rows are cut; whoever makes one promises that the bytes that its user reads (a
/// format's block) exist in [`RowSimd::ROWS`] rows from `ptr` on.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct At {
    pub ptr: *const u8,
    /// Bytes from a row to the next.
    pub stride: usize,
}

impl At {
    /// The place `offset` bytes further in every row.
    ///
    /// # Safety
    /// It must lie in the rows, or at their end.
    #[inline(always)]
    pub(in crate::kernels) unsafe fn add(self, offset: usize) -> At {
        // SAFETY: the caller's promise.
        At { ptr: unsafe { self.ptr.add(offset) }, ..self }
    }
}

/// Registers in which every lane is a weight row, and what is done with them.
///
/// A value of such a type proves that the CPU has the instruction set, so everything that reads no
/// memory is safe. All methods are inlined into functions compiled with the set's features; they use
/// no closures, which would be compiled without them.
///
/// Sums of products are integers and exact, so an implementation may order them as it likes.
/// Float operations are IEEE ones, lane by lane.
pub(in crate::kernels) trait RowSimd: Copy {
    /// Rows side by side.
    const ROWS: usize = Self::Floats::WIDTH;
    /// What signed bytes are made larger by before they are multiplied.
    const SIGNED_EXCESS: i32;
    /// Whether tiles hold weights as they are, with no excess, for sets that multiply signed bytes.
    const SIGNED_TILES: bool = false;
    /// Four bytes of each row, row by row.
    type Vector: Copy;
    /// Sixteen bytes of each row, in whatever order suits the set.
    type Piece: Copy;
    /// An integer of 32 bits for each row.
    type Ints: Copy;
    /// A float for each row.
    type Floats: Register;
    /// An unfinished integer sum for each row.
    type Partial: Copy;

    /// # Safety
    /// Sixteen bytes must be readable in each row.
    unsafe fn load16(self, at: At) -> Self::Piece;

    /// # Safety
    /// Four bytes must be readable in each row.
    unsafe fn load4(self, at: At) -> Self::Ints;

    /// Two bytes, extended by zeros.
    ///
    /// # Safety
    /// Two bytes must be readable in each row.
    unsafe fn load2(self, at: At) -> Self::Ints;

    /// Asks for the memory at `ptr`, to be used once and soon; any address will do.
    fn prefetch(self, ptr: *const u8);
    /// Asks for the memory at `ptr`, which is in some cache, to be brought into the first.
    #[inline(always)]
    fn prefetch_near(self, _ptr: *const u8) {}

    /// `(p >> shift) & mask`, byte by byte; the mask leaves none of a neighbour's bits.
    fn bits(self, p: Self::Piece, shift: u32, mask: u8) -> Self::Piece;
    /// `(p << shift) & mask`, byte by byte; the mask leaves none of a neighbour's bits.
    fn bits_up(self, p: Self::Piece, shift: u32, mask: u8) -> Self::Piece;
    fn or(self, a: Self::Piece, b: Self::Piece) -> Self::Piece;
    /// The bytes of `table` that the bytes of `p`, all below sixteen, number.
    fn lookup(self, p: Self::Piece, table: &[i8; 16]) -> Self::Piece;
    /// For bit `i` of each row's word, 16 or 0 as its byte `i`.
    fn fifth_bits(self, words: Self::Ints) -> [Self::Piece; 2];
    /// Signed bytes as they are multiplied here, larger by [`RowSimd::SIGNED_EXCESS`].
    fn admit_signed(self, p: Self::Piece) -> Self::Piece;
    /// The four words of each row's sixteen bytes.
    fn words(self, p: Self::Piece) -> [Self::Ints; 4];
    /// The bytes in order, four of each row to a register.
    fn interleave(self, p: Self::Piece) -> [Self::Vector; 4];
    /// A group's vectors as tiles hold them, less `excess` where [`RowSimd::SIGNED_TILES`].
    #[inline(always)]
    fn settle(self, w: [Self::Vector; 8], _excess: i32) -> [Self::Vector; 8] {
        w
    }

    fn zeros(self) -> Self::Vector;
    fn ints(self, x: i32) -> Self::Ints;
    /// `(w >> shift) & mask`
    fn field(self, w: Self::Ints, shift: u32, mask: u32) -> Self::Ints;
    /// `a | b << shift`
    fn join(self, a: Self::Ints, b: Self::Ints, shift: u32) -> Self::Ints;
    /// Byte `k` of each word, its sign extended.
    fn signed_byte(self, w: Self::Ints, k: u32) -> Self::Ints;

    fn floats_from(self, x: Self::Ints) -> Self::Floats;
    /// The half float in the lower 16 bits of each word; the upper ones do not matter.
    fn floats_from_half(self, x: Self::Ints) -> Self::Floats;
    /// What sums begin with: minus `excess` (what weights are too large by) times the sum of a
    /// group's activations. `pair` are the sums of the group's two runs; those not wanted are left
    /// out.
    #[inline(always)]
    fn begin(self, pair: [i16; 2], wanted: [bool; 2], excess: i32) -> Self::Ints {
        let first = i32::from(wanted[0]) * i32::from(pair[0]);
        let second = i32::from(wanted[1]) * i32::from(pair[1]);
        // Not with vectors: their multipliers are what products wait for.
        self.ints(-excess * (first + second))
    }
    /// Steps that a partial sum can take before it must be flushed.
    fn steps<K: Kind>() -> usize;
    /// An empty partial sum, which may take the sum in.
    fn start(self, sum: Self::Ints) -> Self::Partial;
    /// Adds the products of four weights of each row with four activations.
    ///
    /// # Safety
    /// Four activations must be readable at `x`.
    unsafe fn step<K: Kind>(
        self,
        sum: Self::Partial,
        w: Self::Vector,
        x: *const i8,
    ) -> Self::Partial;
    /// The sum with the partial one, which was started with it, added.
    fn flush(self, sum: Self::Ints, partial: Self::Partial) -> Self::Ints;

    /// Adds the products of `16·P` weights of each row with as many activations.
    ///
    /// # Safety
    /// The activations must be readable at `x`.
    #[inline(always)]
    unsafe fn dot<K: Kind, const P: usize>(
        self,
        sum: Self::Ints,
        w: [Self::Piece; P],
        x: *const i8,
    ) -> Self::Ints {
        // SAFETY: passed on to the caller.
        unsafe { self.dot_in_steps::<K, P>(sum, w, x) }
    }

    /// [`RowSimd::dot`] step by step.
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    unsafe fn dot_in_steps<K: Kind, const P: usize>(
        self,
        mut sum: Self::Ints,
        w: [Self::Piece; P],
        x: *const i8,
    ) -> Self::Ints {
        let steps = Self::steps::<K>().min(4 * P);
        let mut partial = self.start(sum);
        for (p, &w) in w.iter().enumerate() {
            for (k, &w) in self.interleave(w).iter().enumerate() {
                let k = 4 * p + k;
                // SAFETY: four activations for each step, by the caller's promise.
                partial = unsafe { self.step::<K>(partial, w, x.add(4 * k)) };
                if (k + 1) % steps == 0 {
                    sum = self.flush(sum, partial);
                    partial = self.start(sum);
                }
            }
        }
        sum
    }

    /// Adds the products of a group of each of `N` tokens with `H` registers of rows, or of the
    /// group's run `run` where each has a scale of its own.
    ///
    /// # Safety
    /// A group's activations must be readable at each of `x`.
    #[inline(always)]
    unsafe fn dot_tile<K: Kind, const H: usize, const N: usize>(
        self,
        sums: [[Self::Ints; H]; N],
        tile: [&[Self::Vector; 8]; H],
        run: usize,
        x: [*const i8; N],
    ) -> [[Self::Ints; H]; N] {
        // SAFETY: passed on to the caller.
        unsafe { self.tile_in_steps::<K, H, N>(sums, tile, run, x) }
    }

    /// [`RowSimd::dot_tile`] step by step.
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    unsafe fn tile_in_steps<K: Kind, const H: usize, const N: usize>(
        self,
        mut sums: [[Self::Ints; H]; N],
        tile: [&[Self::Vector; 8]; H],
        run: usize,
        x: [*const i8; N],
    ) -> [[Self::Ints; H]; N] {
        let ks = if K::RUNS == 1 { 0..8 } else { 4 * run..4 * run + 4 };
        let steps = Self::steps::<K>().min(ks.len());
        let mut partial = [[self.start(self.ints(0)); H]; N];
        for i in 0..N {
            for h in 0..H {
                partial[i][h] = self.start(sums[i][h]);
            }
        }
        for k in ks {
            for i in 0..N {
                for h in 0..H {
                    // SAFETY: the group's activations are the caller's promise.
                    partial[i][h] =
                        unsafe { self.step::<K>(partial[i][h], tile[h][k], x[i].add(4 * k)) };
                }
            }
            if (k + 1) % steps == 0 {
                for i in 0..N {
                    for h in 0..H {
                        sums[i][h] = self.flush(sums[i][h], partial[i][h]);
                        partial[i][h] = self.start(sums[i][h]);
                    }
                }
            }
        }
        sums
    }

    // Floats are the register's own.

    #[inline(always)]
    fn splat(self, x: f32) -> Self::Floats {
        Register::splat(x)
    }

    #[inline(always)]
    fn mul(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
        Register::mul(a, b)
    }

    #[inline(always)]
    fn neg(self, a: Self::Floats) -> Self::Floats {
        Register::neg(a)
    }

    #[inline(always)]
    fn fma(self, a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats {
        Register::fma(a, b, c)
    }

    /// Any NaN made the canonical one.
    #[inline(always)]
    fn canonical(self, a: Self::Floats) -> Self::Floats {
        Register::canonical(a)
    }

    /// # Safety
    /// One float per row must be readable.
    #[inline(always)]
    unsafe fn load(self, ptr: *const f32) -> Self::Floats {
        // SAFETY: passed on to the caller.
        unsafe { Register::load(ptr) }
    }

    /// # Safety
    /// One float per row must be writable.
    #[inline(always)]
    unsafe fn store(self, ptr: *mut f32, x: Self::Floats) {
        // SAFETY: passed on to the caller.
        unsafe { Register::store(x, ptr) }
    }

    /// [`super::one_token`] for formats that the set has a faster way for.
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    unsafe fn fast_token(self, _ty: GgmlType, _m: &MatmulRows<'_>) -> Option<usize> {
        None
    }

    // What follows is compiled with the set's features, one function for each type argument; the
    // code is the generic one of this module's siblings.

    /// [`super::one_token`].
    ///
    /// # Safety
    /// As there.
    unsafe fn one_token<F: Format>(self, m: &MatmulRows<'_>) -> usize;
    /// [`super::tile::fill`].
    ///
    /// # Safety
    /// As there.
    unsafe fn fill<F: Format>(self, at: At, n_blocks: usize, tile: &mut TileRows<Self>);
    /// [`super::tile::tokens`].
    ///
    /// # Safety
    /// As there.
    unsafe fn tokens<K: Kind, const H: usize, const N: usize>(
        self,
        tile: &[TileRows<Self>; H],
        span: &Span,
        tokens: Range<usize>,
    ) -> usize;
    /// Multiplies all rows that fill registers with several tokens, by [`super::tile::tiles`];
    /// returns how many rows those were.
    ///
    /// # Safety
    /// As there.
    unsafe fn many_tokens<F: Format>(self, m: &MatmulRows<'_>) -> usize;
}

/// Writes the functions of a [`RowSimd`] that are compiled under the given attributes.
macro_rules! compiled_under {
    ($(#[$attr:meta])*) => {
        #[inline(always)]
        unsafe fn one_token<F: Format>(self, m: &MatmulRows<'_>) -> usize {
            $(#[$attr])*
            #[inline(never)]
            unsafe fn with_features<S: RowSimd, F: Format>(s: S, m: &MatmulRows<'_>) -> usize {
                // SAFETY: passed on to the caller.
                unsafe { $crate::kernels::rows::one_token::<S, F>(s, m) }
            }
            // SAFETY: passed on to the caller; `self` proves the features.
            unsafe { with_features::<Self, F>(self, m) }
        }

        #[inline(always)]
        unsafe fn fill<F: Format>(self, at: At, n_blocks: usize, tile: &mut TileRows<Self>) {
            $(#[$attr])*
            #[inline(never)]
            unsafe fn with_features<S: RowSimd, F: Format>(
                s: S,
                at: At,
                n_blocks: usize,
                tile: &mut TileRows<S>,
            ) {
                // SAFETY: passed on to the caller.
                unsafe { $crate::kernels::rows::tile::fill::<S, F>(s, at, n_blocks, tile) }
            }
            // SAFETY: passed on to the caller; `self` proves the features.
            unsafe { with_features::<Self, F>(self, at, n_blocks, tile) }
        }

        #[inline(always)]
        unsafe fn tokens<K: Kind, const H: usize, const N: usize>(
            self,
            tile: &[TileRows<Self>; H],
            span: &Span,
            tokens: core::ops::Range<usize>,
        ) -> usize {
            $(#[$attr])*
            #[inline(never)]
            unsafe fn with_features<S: RowSimd, K: Kind, const H: usize, const N: usize>(
                s: S,
                tile: &[TileRows<S>; H],
                span: &Span,
                tokens: core::ops::Range<usize>,
            ) -> usize {
                // SAFETY: passed on to the caller.
                unsafe { $crate::kernels::rows::tile::tokens::<S, K, H, N>(s, tile, span, tokens) }
            }
            // SAFETY: passed on to the caller; `self` proves the features.
            unsafe { with_features::<Self, K, H, N>(self, tile, span, tokens) }
        }
    };
}
pub(in crate::kernels) use compiled_under;
