//! NEON with the dot product instructions: Cortex-A55 and A75, and most cores since.

use super::bytes::Sdot;
use super::dots;
use super::neon::{ACCUMULATORS, Floats, QUERIES};
use super::rows::Rows;
use crate::kernels::Table;
use crate::kernels::args::MatmulRows;
use crate::kernels::isa::{Isa, Outlined, kernel_table};
use crate::kernels::rows::matmul_rows;
#[cfg(not(target_os = "none"))]
use crate::quant::search::SearchApart;

struct Dotprod;

#[cfg(feature = "std")]
fn is_available() -> bool {
    std::arch::is_aarch64_feature_detected!("dotprod")
}

#[cfg(not(feature = "std"))]
fn is_available() -> bool {
    IN_TARGET
}

/// Whether the target has its features.
#[cfg(not(feature = "std"))]
pub(super) const IN_TARGET: bool = cfg!(target_feature = "dotprod");

pub(in crate::kernels) static TABLE: Table =
    kernel_table!("aarch64/dotprod", Dotprod, is_available);

impl Isa for Dotprod {
    type Lanes = Floats;
    type Dots = dots::Sdot;
    #[cfg(not(target_os = "none"))]
    type Search = SearchApart<Floats>;
    const ACCUMULATORS: usize = ACCUMULATORS;
    const QUERIES: usize = QUERIES;

    #[inline(always)]
    unsafe fn matmul_rows<O: Outlined>(m: &MatmulRows<'_>) {
        // SAFETY: called only from this set's functions, on CPUs that have the instruction;
        // exclusive outputs are passed on to the caller.
        unsafe { matmul_rows::<Self, O, _>(Rows::<Sdot>::new(), m) }
    }
}
