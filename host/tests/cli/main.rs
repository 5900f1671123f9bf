//! The `bantam` command, as a user meets it.

mod bad_input;
mod boards;
mod chat;
mod commands;
mod common;
mod convert;
mod imatrix;
mod intent;
mod perplexity;
mod quantize;
mod serial;
