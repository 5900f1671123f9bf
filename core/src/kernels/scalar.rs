//! The generic kernels as they stand: the definition that every other set is held to.

use super::Table;
use super::dots::OneByOne;
use super::isa::{Isa, kernel_table};
use super::lanes::Registers;
use crate::math::LANES;
use crate::quant::{GgmlType, QuantError, quantize_by};

struct Scalar;

impl Isa for Scalar {
    type Lanes = Registers<f32, LANES>;
    type Dots = OneByOne;
    const ACCUMULATORS: usize = 1;
}

pub(super) static TABLE: Table = kernel_table!("scalar", Scalar, || true);

pub(in crate::kernels) unsafe fn quantize_weights(
    ty: GgmlType,
    x: &[f32],
    importance: Option<&[f32]>,
    out: &mut [u8],
) -> Result<(), QuantError> {
    quantize_by::<Registers<f32, LANES>>(ty, x, importance, out)
}
