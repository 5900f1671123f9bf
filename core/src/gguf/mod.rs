//! Module gguf.
