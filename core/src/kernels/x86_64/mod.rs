//! Sets for x86-64.

mod avx2;
mod avx512;
mod dots;
mod registers;

pub(super) use avx2::TABLE as AVX2;
pub(super) use avx512::TABLE as AVX512_VNNI;
