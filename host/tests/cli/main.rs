//! The `bantam` command, as a user meets it.

mod bad_input;
mod chat;
mod commands;
mod common;
mod convert;
mod perplexity;
mod imatrix;
mod quantize;
