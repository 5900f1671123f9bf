//! Module rng.
