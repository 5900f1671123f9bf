//! Module math.
