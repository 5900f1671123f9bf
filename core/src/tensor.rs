//! A tensor where it lies: borrowed bytes whose length is proven to match type and shape.
//!
//! [`TensorView::new`] is the only way to make one, so code that holds a view may split it
//! into rows without checking anything again.

use core::fmt;
use core::ops::Range;

use crate::quant::GgmlType;

/// Rows of weights lent from a file or from memory, in one storage format.
///
/// A tensor of `n_rows` × `n_cols` holds its rows one after the other; each row is a whole
/// number of blocks. Tensors of more than two dimensions appear here with every dimension
/// but the first folded into `n_rows`.
#[derive(Clone, Copy)]
pub struct TensorView<'m> {
    bytes: &'m [u8],
    layout: Layout,
}

/// A type and shape that a tensor can have.
#[derive(Clone, Copy)]
pub(crate) struct Layout {
    n_cols: usize,
    n_rows: usize,
    row_bytes: usize,
    ty: GgmlType,
}

impl Layout {
    /// No elements.
    pub(crate) const EMPTY: Self = Layout { n_cols: 0, n_rows: 0, row_bytes: 0, ty: GgmlType::F32 };

    /// Returns the layout of `n_rows` rows of `n_cols` elements of type `ty`.
    fn new(ty: GgmlType, n_cols: usize, n_rows: usize) -> Result<Self, TensorError> {
        let overflow = TensorError::Overflow { n_cols, n_rows };
        let block = ty.block_elems();
        if !n_cols.is_multiple_of(block) {
            return Err(TensorError::PartialBlock { ty, n_cols });
        }
        let row_bytes = ty.row_bytes(n_cols).ok_or(overflow)?;
        // The element count must fit too: callers multiply the two dimensions freely.
        match (n_cols.checked_mul(n_rows), row_bytes.checked_mul(n_rows)) {
            (Some(_), Some(_)) => Ok(Layout { n_cols, n_rows, row_bytes, ty }),
            _ => Err(overflow),
        }
    }

    /// Returns the layout of up to four dimensions, all but the first folded into rows.
    pub(crate) fn of_dims(ty: GgmlType, dims: [u64; 4]) -> Result<Self, TensorError> {
        let (mut n_cols, mut n_rows) = (Some(1), Some(1_usize));
        for (i, dim) in dims.into_iter().enumerate() {
            let n = if i == 0 { &mut n_cols } else { &mut n_rows };
            *n = n.and_then(|n: usize| n.checked_mul(usize::try_from(dim).ok()?));
        }
        match (n_cols, n_rows) {
            (Some(n_cols), Some(n_rows)) => Self::new(ty, n_cols, n_rows),
            _ => Err(TensorError::Overflow { n_cols: usize::MAX, n_rows: usize::MAX }),
        }
    }

    /// Returns the bytes of the whole tensor.
    pub(crate) const fn bytes(&self) -> usize {
        self.row_bytes * self.n_rows
    }

    /// Returns a tensor of this layout in `bytes`.
    pub(crate) const fn view(self, bytes: &[u8]) -> Result<TensorView<'_>, TensorError> {
        match self.bytes() == bytes.len() {
            true => Ok(TensorView { bytes, layout: self }),
            false => Err(TensorError::Length { needed: self.bytes(), given: bytes.len() }),
        }
    }
}

impl<'m> TensorView<'m> {
    /// No elements.
    pub(crate) const EMPTY: Self = TensorView { bytes: &[], layout: Layout::EMPTY };

    /// Returns a view of `bytes` as `n_rows` rows of `n_cols` elements of type `ty`.
    ///
    /// # Errors
    /// When a row is no whole number of blocks, when the shape overflows `usize`, or when
    /// `bytes` has another length than the shape needs.
    pub fn new(
        ty: GgmlType,
        n_cols: usize,
        n_rows: usize,
        bytes: &'m [u8],
    ) -> Result<Self, TensorError> {
        Layout::new(ty, n_cols, n_rows)?.view(bytes)
    }

    /// Returns the storage format.
    pub const fn ty(&self) -> GgmlType {
        self.layout.ty
    }

    /// Returns the number of elements in a row.
    pub const fn n_cols(&self) -> usize {
        self.layout.n_cols
    }

    /// Returns the number of rows.
    pub const fn n_rows(&self) -> usize {
        self.layout.n_rows
    }

    /// Returns the bytes that one row takes.
    pub const fn row_bytes(&self) -> usize {
        self.layout.row_bytes
    }

    /// Returns all rows; the length is `n_rows * row_bytes`.
    pub const fn bytes(&self) -> &'m [u8] {
        self.bytes
    }

    /// Returns row `i`, or `None` past the last.
    pub fn row(&self, i: usize) -> Option<&'m [u8]> {
        self.rows(i..i.checked_add(1)?)
    }

    /// Returns the rows of `range` as one slice, or `None` when it reaches past the last.
    pub fn rows(&self, range: Range<usize>) -> Option<&'m [u8]> {
        // A tensor without columns has no bytes, so the slice alone would not bound the rows.
        if range.end > self.n_rows() {
            return None;
        }
        let start = range.start.checked_mul(self.row_bytes())?;
        let end = range.end.checked_mul(self.row_bytes())?;
        self.bytes.get(start..end)
    }
}

impl fmt::Debug for TensorView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TensorView({} x {} {})", self.n_rows(), self.n_cols(), self.ty().name())
    }
}

/// Why bytes cannot be a tensor of the given type and shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TensorError {
    /// A row is no whole number of the format's blocks.
    PartialBlock {
        /// The storage format.
        ty: GgmlType,
        /// Elements in a row.
        n_cols: usize,
    },
    /// The number of elements or bytes overflows `usize`.
    Overflow {
        /// Elements in a row.
        n_cols: usize,
        /// Rows.
        n_rows: usize,
    },
    /// The byte slice is longer or shorter than the shape.
    Length {
        /// Bytes that type and shape need.
        needed: usize,
        /// Bytes given.
        given: usize,
    },
}

impl fmt::Display for TensorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::PartialBlock { ty, n_cols } => write!(
                f,
                "a row of {n_cols} elements is no whole number of {} blocks of {}",
                ty.name(),
                ty.block_elems()
            ),
            Self::Overflow { n_cols, n_rows } => {
                write!(f, "a tensor of {n_rows} x {n_cols} elements is too large for this machine")
            }
            Self::Length { needed, given } => {
                write!(f, "the tensor's shape needs {needed} bytes, but {given} are given")
            }
        }
    }
}

impl core::error::Error for TensorError {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn rows_are_cut_where_blocks_end() {
        let bytes: [u8; 3 * 2 * 18] = core::array::from_fn(|i| i as u8);
        let view = TensorView::new(GgmlType::Q4_0, 64, 3, &bytes).unwrap();
        assert_eq!((view.n_cols(), view.n_rows(), view.row_bytes()), (64, 3, 36));
        assert_eq!(view.row(1), Some(&bytes[36..72]));
        assert_eq!(view.rows(1..3), Some(&bytes[36..108]));
        assert_eq!(view.rows(3..3), Some(&bytes[108..]));
        assert_eq!(view.row(3), None);
        assert_eq!(view.rows(2..4), None);
        assert_eq!(view.row(usize::MAX), None);
        assert_eq!(view.rows(core::ops::Range { start: 2, end: 1 }), None);
    }

    #[test]
    fn shape_and_length_must_agree() {
        let bytes = [0_u8; 36];
        let err = |n_cols, n_rows, bytes| {
            TensorView::new(GgmlType::Q4_0, n_cols, n_rows, bytes).unwrap_err()
        };
        assert_eq!(err(64, 2, &bytes), TensorError::Length { needed: 72, given: 36 });
        assert_eq!(err(32, 1, &bytes), TensorError::Length { needed: 18, given: 36 });
        assert_eq!(
            err(48, 1, &bytes),
            TensorError::PartialBlock { ty: GgmlType::Q4_0, n_cols: 48 }
        );
        let half = 1 << (usize::BITS / 2);
        assert_eq!(err(half, half, &bytes), TensorError::Overflow { n_cols: half, n_rows: half });
        assert_eq!(
            err(48, 1, &bytes).to_string(),
            "a row of 48 elements is no whole number of Q4_0 blocks of 32"
        );
    }

    #[test]
    fn an_empty_tensor_has_no_rows_to_give() {
        let view = TensorView::new(GgmlType::F32, 0, 2, &[]).unwrap();
        assert_eq!(view.row(1), Some(&[][..]));
        assert_eq!(view.row(2), None);
    }
}
