//! What the larger kernels are given: shapes checked once, when the value is made.

use core::ops::Range;

use crate::par::Shared;
use crate::quant::{Activation, GgmlType};
use crate::tensor::TensorView;

/// What is kept beside 32 quantized activations (numerics, section 3).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct ActGroup {
    /// Scale `d`.
    pub d: f32,
    /// `d` times the sum of the group's integers: what a weight's minimum is multiplied with.
    pub dsum: f32,
    /// Sums of the group's two runs of 16 integers.
    pub sums: [i16; 2],
}

impl ActGroup {
    /// Values in a group.
    pub const LEN: usize = 32;

    /// The group with this scale and these sums.
    #[inline(always)]
    pub fn new(d: f32, sums: [i16; 2]) -> Self {
        let sum = i32::from(sums[0]) + i32::from(sums[1]);
        ActGroup { d, dsum: d * sum as f32, sums }
    }
}

/// Activations of `n_rows` tokens, in one of the forms that weights are multiplied with.
#[derive(Clone, Copy, Debug)]
pub struct Acts<'a> {
    kind: Activation,
    n_rows: usize,
    n_cols: usize,
    floats: &'a [f32],
    qs: &'a [i8],
    groups: &'a [ActGroup],
}

impl<'a> Acts<'a> {
    /// Plain floats, `n_rows` × `n_cols`, or `None` if `x` is shorter than that.
    pub fn floats(x: &'a [f32], n_rows: usize, n_cols: usize) -> Option<Self> {
        let floats = x.get(..n_rows.checked_mul(n_cols)?)?;
        Some(Acts { kind: Activation::F32, n_rows, n_cols, floats, qs: &[], groups: &[] })
    }

    /// Quantized rows: `qs` is `n_rows` × `n_cols`, `groups` has one entry per 32 of them, row
    /// after row. `None` if either is too short or a group is partial.
    pub fn quantized(
        qs: &'a [i8],
        groups: &'a [ActGroup],
        n_rows: usize,
        n_cols: usize,
    ) -> Option<Self> {
        if !n_cols.is_multiple_of(ActGroup::LEN) {
            return None;
        }
        let n = n_rows.checked_mul(n_cols)?;
        let (qs, groups) = (qs.get(..n)?, groups.get(..n / ActGroup::LEN)?);
        Some(Acts { kind: Activation::Q8, n_rows, n_cols, floats: &[], qs, groups })
    }

    /// The form that the activations are in.
    pub const fn kind(&self) -> Activation {
        self.kind
    }

    /// Tokens.
    pub const fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Values per token.
    pub const fn n_cols(&self) -> usize {
        self.n_cols
    }

    #[inline(always)]
    pub(super) fn float_row(&self, t: usize) -> &'a [f32] {
        let start = t * self.n_cols;
        self.floats.get(start..start + self.n_cols).unwrap_or(&[])
    }

    /// Token `t`'s integers and groups.
    #[inline(always)]
    pub(super) fn q8_row(&self, t: usize) -> (&'a [i8], &'a [ActGroup]) {
        let (n, groups) = (self.n_cols, self.n_cols / ActGroup::LEN);
        (
            self.qs.get(t * n..(t + 1) * n).unwrap_or(&[]),
            self.groups.get(t * groups..(t + 1) * groups).unwrap_or(&[]),
        )
    }
}

/// Some rows of a weight matrix times all tokens' activations.
///
/// The result of weight row `first_row + r` and token `t` goes to
/// `out[t * out_stride + out_offset + first_row + r]`.
#[derive(Debug)]
pub struct MatmulRows<'a> {
    pub(super) ty: GgmlType,
    pub(super) row_bytes: usize,
    pub(super) rows: &'a [u8],
    pub(super) acts: Acts<'a>,
    out: &'a Shared<'a, f32>,
    out_stride: usize,
    out_start: usize,
    n_rows: usize,
}

// Sets that take rows one by one need less.
#[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), allow(dead_code))]
impl<'a> MatmulRows<'a> {
    /// Rows `first_row..first_row + n_rows` of `weights`; `None` if they are not all there, if
    /// the activations have another length than the rows, or another form than they need.
    pub fn new(
        weights: &TensorView<'a>,
        first_row: usize,
        n_rows: usize,
        acts: Acts<'a>,
        out: &'a Shared<'a, f32>,
        out_stride: usize,
        out_offset: usize,
    ) -> Option<Self> {
        let fits = acts.n_cols == weights.n_cols() && acts.kind == weights.ty().activation();
        let rows = weights.rows(first_row..first_row.checked_add(n_rows)?)?;
        fits.then_some(MatmulRows {
            ty: weights.ty(),
            row_bytes: weights.row_bytes(),
            rows,
            acts,
            out,
            out_stride,
            out_start: out_offset + first_row,
            n_rows,
        })
    }

    /// Their format.
    pub(super) const fn ty(&self) -> GgmlType {
        self.ty
    }

    /// Weight rows.
    pub(super) const fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Values in a row.
    pub(super) const fn n_cols(&self) -> usize {
        self.acts.n_cols()
    }

    /// Tokens.
    pub(super) const fn n_tokens(&self) -> usize {
        self.acts.n_rows()
    }

    /// The rows' bytes, `n_rows` × `row_bytes`, and each row whole blocks for `n_cols` weights.
    pub(super) const fn rows(&self) -> &'a [u8] {
        self.rows
    }

    /// Bytes from a row to the next.
    pub(super) const fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    /// Token `t`'s floats.
    #[inline(always)]
    pub(super) fn float_row(&self, t: usize) -> &'a [f32] {
        self.acts.float_row(t)
    }

    /// Token `t`'s integers and groups.
    #[inline(always)]
    pub(super) fn q8_row(&self, t: usize) -> (&'a [i8], &'a [ActGroup]) {
        self.acts.q8_row(t)
    }

    /// All tokens' integers and groups, `n_tokens` × `n_cols` and one for 32 of them.
    #[inline(always)]
    pub(super) const fn q8(&self) -> (&'a [i8], &'a [ActGroup]) {
        (self.acts.qs, self.acts.groups)
    }

    /// The rows from `row` on, or `None` if there are none.
    pub(super) fn rows_from(&self, row: usize) -> Option<MatmulRows<'a>> {
        let n_rows = self.n_rows.checked_sub(row).filter(|&n| n > 0)?;
        let rows = self.rows.get(row * self.row_bytes..)?;
        Some(MatmulRows { rows, n_rows, out_start: self.out_start + row, ..*self })
    }

    /// How many tokens, from the first on, have a place for the results of all rows.
    pub(super) fn n_places(&self) -> usize {
        let end = self.out_start.checked_add(self.n_rows);
        let Some(room) = end.and_then(|end| self.out.len().checked_sub(end)) else {
            return 0;
        };
        let n = self.n_tokens();
        room.checked_div(self.out_stride).map_or(n, |others| n.min(others + 1))
    }

    /// Where the result of row 0 and token 0 goes, and how many elements it is from there to the
    /// next token's. The first `n_places` tokens' results all lie in the output.
    pub(super) fn places(&self) -> (*mut f32, usize) {
        (self.out.as_ptr().wrapping_add(self.out_start), self.out_stride)
    }

    /// Where the results of token `t` go, one per row.
    ///
    /// # Safety
    /// No part given out for the same rows and token may be alive.
    #[inline(always)]
    #[allow(clippy::mut_from_ref)] // as `Shared::part`
    pub(super) unsafe fn out_row(&self, t: usize) -> &mut [f32] {
        // SAFETY: passed on to the caller.
        unsafe { self.out.part(t * self.out_stride + self.out_start, self.n_rows) }
    }
}

/// Which elements of a head form RoPE's pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopePairs {
    /// `(x[2i], x[2i + 1])`: llama files, whose converter permutes rows for it.
    Norm,
    /// `(x[i], x[i + rope_dim / 2])`: most other families.
    NeoX,
}

/// Keys or values of one head.
///
/// Values are rows: element `i` of position `t` is at `t · head_dim + i`. Keys are interleaved by
/// sixteen positions, so that these are side by side: `(t / 16 · head_dim + i) · 16 + t mod 16`.
/// Keys of integers are so by words of four elements, the last of which may have bytes of any value
/// in place of elements: byte `i mod 4` of word `(t / 16 · ⌈head_dim / 4⌉ + i / 4) · 16 + t mod 16`.
/// Scales, one per 32 elements (and one for the rest) in place of each `i`, lie as keys of floats
/// do for keys and values.
#[derive(Clone, Copy, Debug)]
pub enum CacheRef<'a> {
    /// Half floats.
    F16(&'a [u16]),
    /// Single floats.
    F32(&'a [f32]),
    /// Integers times a half float's scale.
    Q8_0 {
        /// The integers.
        qs: &'a [i8],
        /// The scales.
        d: &'a [u16],
    },
}

impl CacheRef<'_> {
    /// Positions whose keys are side by side.
    pub const LANES: usize = 16;
    /// Elements of a key or value that share a scale.
    pub const GROUP: usize = 32;
    /// Elements of a key that are side by side in integers.
    pub const WORD: usize = 4;
}

/// Shapes and constants of one layer's attention.
#[derive(Clone, Copy, Debug)]
pub struct AttentionShape {
    /// Query heads.
    pub n_head: usize,
    /// Key and value heads.
    pub n_head_kv: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Positions seen, the query's own included; `None` for all.
    pub window: Option<usize>,
    /// Factor of scores.
    pub scale: f32,
    /// Soft cap of scores.
    pub soft_cap: Option<f32>,
}

impl AttentionShape {
    /// Query heads that share a key and value head.
    #[inline(always)]
    pub const fn group(&self) -> usize {
        match self.n_head.checked_div(self.n_head_kv) {
            None | Some(0) => 1,
            Some(group) => group,
        }
    }

    /// Values of a token's queries.
    #[inline(always)]
    pub const fn stride(&self) -> usize {
        self.n_head * self.head_dim
    }
}

/// Attention of several tokens' queries over one head's keys and values.
///
/// Query `n` is head `n mod group` of the heads that share the keys, of token `n / group`.
#[derive(Debug)]
pub struct Attend<'a> {
    /// The layer's.
    pub shape: AttentionShape,
    /// The head of the keys and values.
    pub head_kv: usize,
    /// All queries: tokens × heads × `head_dim`.
    pub q: &'a [f32],
    /// Where the results go, of the same shape.
    pub out: &'a Shared<'a, f32>,
    /// The queries to work on.
    pub queries: Range<usize>,
    /// Keys up to the last token's at least, in whole blocks of sixteen positions.
    pub keys: CacheRef<'a>,
    /// Values up to the last token's at least.
    pub values: CacheRef<'a>,
    /// Where the first token stands.
    pub first_pos: usize,
    /// Positions that a query sees: the shape's window, or any number that no context reaches. (A
    /// plain number, since compilers look into an absent option's bytes, which valgrind objects to.)
    pub window: usize,
}

impl Attend<'_> {
    /// The positions that a query attends to.
    #[inline(always)]
    pub(super) fn positions(&self, query: usize) -> Range<usize> {
        let end = self.first_pos + query / self.shape.group() + 1;
        end.saturating_sub(self.window)..end
    }

    /// Where a query and its result begin.
    #[inline(always)]
    pub(super) fn place(&self, query: usize) -> usize {
        let group = self.shape.group();
        let head = self.head_kv * group + query % group;
        query / group * self.shape.stride() + head * self.shape.head_dim
    }
}
