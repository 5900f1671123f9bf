//! Byte-level BPE from tokenizer.json.

use super::super::config::Config;
use super::super::json::Document;
use super::listed::Listed;
use super::{Token, TokenType, pre};
use crate::error::Error;

/// What tokenizer.json holds.
pub(super) struct Bpe {
    pub(super) pre: &'static str,
    pub(super) tokens: Vec<Token>,
    pub(super) merges: Vec<String>,
}

/// Reads tokenizer.json, and the tokens that tokenizer_config.json adds to it.
///
/// # Errors
/// [`Error::Model`] if it is of another kind, broken, or does not fit the model.
pub(super) fn read(
    document: &Document,
    tokenizer_config: Option<&Document>,
    config: &Config,
) -> Result<Bpe, Error> {
    let listed = Listed::new(document)?;
    let pre = pre::name(document.root()).map_err(|what| document.refuse(what))?;
    let tokens = listed.tokens(tokenizer_config, config, [0.0; 3], |_| TokenType::Normal)?;
    // Two pieces with a space between; one inside a piece is spelled as bytes are.
    let spelled = |piece: &str| piece.replace(' ', "Ġ");
    let merges = listed.merges()?;
    let merges = merges.iter().map(|(a, b)| format!("{} {}", spelled(a), spelled(b))).collect();
    Ok(Bpe { pre, tokens, merges })
}
