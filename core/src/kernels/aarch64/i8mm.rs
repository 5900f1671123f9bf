//! NEON with the matrix multiplication of bytes: Neoverse V1 and N2, Cortex-A710 and X2, Apple M2,
//! and what followed them.

use super::bytes::Smmla;
use super::dots;
use super::neon::{ACCUMULATORS, Floats, QUERIES};
use super::rows::Rows;
use crate::kernels::Table;
use crate::kernels::args::MatmulRows;
use crate::kernels::isa::{Isa, Outlined, kernel_table};
use crate::kernels::rows::matmul_rows;
#[cfg(not(target_os = "none"))]
use crate::quant::search::SearchApart;

struct I8mm;

#[cfg(feature = "std")]
fn is_available() -> bool {
    std::arch::is_aarch64_feature_detected!("i8mm")
        && std::arch::is_aarch64_feature_detected!("dotprod")
}

#[cfg(not(feature = "std"))]
fn is_available() -> bool {
    IN_TARGET
}

/// Whether the target has its features.
#[cfg(not(feature = "std"))]
pub(super) const IN_TARGET: bool = cfg!(all(target_feature = "i8mm", target_feature = "dotprod"));

pub(in crate::kernels) static TABLE: Table = kernel_table!("aarch64/i8mm", I8mm, is_available);

impl Isa for I8mm {
    type Lanes = Floats;
    type Dots = dots::Sdot;
    #[cfg(not(target_os = "none"))]
    type Search = SearchApart<Floats>;
    const ACCUMULATORS: usize = ACCUMULATORS;
    const QUERIES: usize = QUERIES;

    #[inline(always)]
    unsafe fn matmul_rows<O: Outlined>(m: &MatmulRows<'_>) {
        // SAFETY: called only from this set's functions, on CPUs that have the instructions;
        // exclusive outputs are passed on to the caller.
        unsafe { matmul_rows::<Self, O, _>(Rows::<Smmla>::new(), m) }
    }
}
