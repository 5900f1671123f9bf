//! Module kernels.
