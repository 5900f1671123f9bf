//! Module arena.
