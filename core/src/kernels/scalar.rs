//! The generic kernels as they stand: the definition that every other set is held to.

use super::Table;
use super::dots::OneByOne;
use super::isa::{Isa, kernel_table};
use super::lanes::Registers;
use crate::math::LANES;
#[cfg(not(target_os = "none"))]
use crate::quant::{GgmlType, QuantError, quantize_plain};

struct Scalar;

impl Isa for Scalar {
    type Lanes = Registers<f32, LANES>;
    type Dots = OneByOne;
    const ACCUMULATORS: usize = 1;

    /// The function that there is without a set.
    #[cfg(not(target_os = "none"))]
    fn quantize_weights(
        ty: GgmlType,
        x: &[f32],
        importance: Option<&[f32]>,
        out: &mut [u8],
    ) -> Result<(), QuantError> {
        quantize_plain(ty, x, importance, out)
    }
}

pub(super) static TABLE: Table = kernel_table!("scalar", Scalar, || true);
