//! Module tensor.
