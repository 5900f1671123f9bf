//! Module tokenizer.
