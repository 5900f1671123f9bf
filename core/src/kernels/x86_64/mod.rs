//! Sets for x86-64.

mod avx2;

pub(super) use avx2::TABLE as AVX2;
