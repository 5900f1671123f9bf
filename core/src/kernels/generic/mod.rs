//! The kernels' definitions, written once over arrays and compiled once per set.

pub(super) mod attention;
pub(super) mod float;
pub(super) mod floats;
pub(super) mod matmul;
pub(super) mod quantize;
pub(super) mod store;
