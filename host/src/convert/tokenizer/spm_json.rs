//! SentencePiece's BPE as tokenizer.json has it: with merges in place of scores.
//!
//! GGUF files keep scores, by which SentencePiece merges the best pair first. Merges are listed in
//! that order, so a piece's place among them is a score.

use std::collections::HashMap;

use serde_json::{Value as Json, json};

use super::super::config::Config;
use super::super::json::{Document, shown};
use super::listed::Listed;
use super::spm::{ADDED_SCORE, PADDING_SCORE};
use super::{SPACE_MARK, Token, TokenType};
use crate::error::Error;

/// Whether tokenizer.json is of this kind.
pub(super) fn is_kind(document: &Document) -> bool {
    document.root().pointer("/model/byte_fallback") == Some(&Json::Bool(true))
}

/// Reads tokenizer.json, and the tokens that tokenizer_config.json adds to it. Also returns whether
/// a space is put before a text.
///
/// # Errors
/// [`Error::Model`] if it is broken, prepares texts in an unknown way, or does not fit the model.
pub(super) fn read(
    document: &Document,
    tokenizer_config: Option<&Document>,
    config: &Config,
) -> Result<(Vec<Token>, bool), Error> {
    let listed = Listed::new(document)?;
    let adds_space = adds_space(document)?;
    let unknown = listed.get("unk_token").and_then(Json::as_str);
    let type_of = |text: &str| match text {
        _ if is_byte(text) => TokenType::Byte,
        _ if Some(text) == unknown => TokenType::Unknown,
        _ => TokenType::Normal,
    };
    let scores = [0.0, ADDED_SCORE, PADDING_SCORE];
    let mut tokens = listed.tokens(tokenizer_config, config, scores, type_of)?;
    let mut ranks = HashMap::new();
    for (rank, (a, b)) in listed.merges()?.into_iter().enumerate() {
        ranks.entry(format!("{a}{b}").into_bytes()).or_insert(rank);
    }
    // Single characters are never merged to, so their score is of no account.
    for token in tokens.iter_mut().filter(|token| token.ty == TokenType::Normal) {
        if let Some(rank) = ranks.get(&token.text) {
            token.score = -(*rank as f32);
        }
    }
    Ok((tokens, adds_space))
}

/// Whether a token stands for a byte: `<0x0A>`.
fn is_byte(text: &str) -> bool {
    let digits = text.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    digits.is_some_and(|digits| digits.len() == 2 && u8::from_str_radix(digits, 16).is_ok())
}

/// Whether a space is put before a text, of the ways in which that is said.
fn adds_space(document: &Document) -> Result<bool, Error> {
    let mark = SPACE_MARK.to_string();
    let steps = |key: &str, list: &str| match document.get(key) {
        None => Vec::new(),
        Some(step) => match step.get(list).and_then(Json::as_array) {
            Some(steps) => steps.iter().collect(),
            None => vec![step],
        },
    };
    let unknown = |what: &str, step: &Json| {
        Err(document.refuse(format!("{what} {} is not known with byte_fallback", shown(step))))
    };
    let (mut prepends, mut doubles) = (false, false);
    for step in steps("normalizer", "normalizers") {
        let replace = |pattern: Json, content: &str| {
            *step == json!({"type": "Replace", "pattern": pattern, "content": content})
        };
        if *step == json!({"type": "Prepend", "prepend": mark}) {
            prepends = true;
        } else if replace(json!({"Regex": format!("\\A{mark}")}), &mark.repeat(2)) {
            // Says that a space goes before a text that begins with one, too.
            doubles = true;
        } else if !replace(json!({"String": " "}), &mark) {
            return unknown("normalizer", step);
        }
    }
    for step in steps("pre_tokenizer", "pretokenizers") {
        let text = |key: &str| step.get(key).and_then(Json::as_str);
        match text("type") {
            Some("Metaspace") if text("replacement") == Some(&mark) => match text("prepend_scheme")
            {
                Some("never") => {}
                Some("first" | "always") => prepends = true,
                None if step.get("add_prefix_space") == Some(&Json::Bool(true)) => prepends = true,
                _ => return unknown("pre_tokenizer", step),
            },
            // There are no spaces left to split at.
            Some("Split") if step.get("pattern") == Some(&json!({"String": " "})) => {}
            _ => return unknown("pre_tokenizer", step),
        }
    }
    match doubles && !prepends {
        true => {
            Err(document.refuse("a normalizer that adds a space to some texts, which is not known"))
        }
        false => Ok(prepends),
    }
}
