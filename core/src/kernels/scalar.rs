//! The generic kernels as they stand: the definition that every other set is held to.

use super::Table;
use super::dots::OneByOne;
use super::isa::{Isa, kernel_table};
use super::lanes::Registers;
use crate::math::LANES;
#[cfg(not(target_os = "none"))]
use crate::quant::search::PlainSearch;

struct Scalar;

impl Isa for Scalar {
    type Lanes = Registers<f32, LANES>;
    type Dots = OneByOne;
    #[cfg(not(target_os = "none"))]
    type Search = PlainSearch;
    const ACCUMULATORS: usize = 1;
}

pub(super) static TABLE: Table = kernel_table!("scalar", Scalar, || true);
