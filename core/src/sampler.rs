//! Module sampler.
