//! Module half.
