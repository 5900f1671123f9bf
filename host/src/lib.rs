//! Host side of Bantam.
