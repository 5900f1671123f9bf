//! Sets for x86-64.

mod avx2;
mod avx512;
mod dots;
mod registers;

#[cfg(not(feature = "std"))]
use super::{Table, scalar};

pub(super) use avx2::TABLE as AVX2;
pub(super) use avx512::TABLE as AVX512_VNNI;

/// The last set whose features the target has.
#[cfg(not(feature = "std"))]
pub(super) static COMPILED_FOR: &Table = if avx512::IN_TARGET {
    &AVX512_VNNI
} else if avx2::IN_TARGET {
    &AVX2
} else {
    &scalar::TABLE
};
