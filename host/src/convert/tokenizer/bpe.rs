//! Byte-level BPE from tokenizer.json.

use serde_json::Value as Json;

use super::super::config::Config;
use super::super::json::{Document, shown};
use super::{Token, TokenType, added, padding, pre};
use crate::error::{Error, OneLine};

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
    let Some(model) = document.get("model").and_then(Json::as_object) else {
        return Err(document.wrong("model", "an object"));
    };
    let get = |key: &str| model.get(key).filter(|value| !value.is_null());
    if get("type").is_some_and(|ty| ty != "BPE") {
        return Err(document.refuse("a tokenizer that is not BPE, which is not supported"));
    }
    if get("byte_fallback") == Some(&Json::Bool(true)) {
        return Err(document.refuse(
            "a SentencePiece tokenizer without its scores; add the tokenizer.model of the same \
             model to the folder",
        ));
    }
    for key in ["continuing_subword_prefix", "end_of_word_suffix"] {
        if let Some(value) = get(key).filter(|value| **value != "") {
            return Err(
                document.refuse(format!("{key} is {}, which is not supported", shown(value)))
            );
        }
    }
    let pre = pre::name(document.root()).map_err(|what| document.refuse(what))?;
    let Some(vocab) = get("vocab").and_then(Json::as_object) else {
        return Err(document.wrong("model.vocab", "an object"));
    };

    let mut tokens: Vec<Token> = (0..config.n_vocab).map(|id| padding(id, 0.0)).collect();
    let place = |text: &str, id: &Json| {
        let index = id.as_u64().and_then(|id| usize::try_from(id).ok());
        index.filter(|&index| index < config.n_vocab).ok_or_else(|| {
            document.refuse(format!(
                "token {} has number {}, but config.json's vocab_size is {}",
                OneLine(text),
                shown(id),
                config.n_vocab
            ))
        })
    };
    for (text, id) in vocab {
        let token = Token { text: text.clone().into(), ty: TokenType::Normal, score: 0.0 };
        put(&mut tokens, place(text, id)?, token);
    }
    let listed = document.get("added_tokens").and_then(Json::as_array);
    let configured = tokenizer_config.and_then(|config| config.get("added_tokens_decoder"));
    let configured = configured.and_then(Json::as_object);
    let configured = configured.into_iter().flatten();
    let configured = configured.map(|(id, token)| (Json::from(id.parse::<u64>().ok()), token));
    let listed = listed.into_iter().flatten();
    let listed = listed.map(|token| (token.get("id").cloned().unwrap_or_default(), token));
    for (id, token) in configured.chain(listed) {
        let Some(text) = token.get("content").and_then(Json::as_str) else {
            return Err(document.refuse("an added token has no content"));
        };
        let special = token.get("special") == Some(&Json::Bool(true));
        let (stored, ty) = added(text, special);
        put(&mut tokens, place(text, &id)?, Token { text: stored, ty, score: 0.0 });
    }
    Ok(Bpe { pre, tokens, merges: merges(document, get("merges"))? })
}

fn put(tokens: &mut [Token], index: usize, token: Token) {
    if let Some(place) = tokens.get_mut(index) {
        *place = token;
    }
}

/// Merges as GGUF files have them: two pieces with a space between.
fn merges(document: &Document, merges: Option<&Json>) -> Result<Vec<String>, Error> {
    let Some(merges) = merges.and_then(Json::as_array).filter(|merges| !merges.is_empty()) else {
        return Err(document.wrong("model.merges", "a list of merges"));
    };
    // A space inside a piece, spelled as bytes are.
    let piece = |piece: &Json| piece.as_str().map(|piece| piece.replace(' ', "Ġ"));
    let merge = |merge: &Json| match merge {
        Json::String(text) => Some(text.clone()),
        Json::Array(pair) => match &pair[..] {
            [a, b] => Some(format!("{} {}", piece(a)?, piece(b)?)),
            _ => None,
        },
        _ => None,
    };
    let broken = |value| document.refuse(format!("{} is no merge of two pieces", shown(value)));
    merges.iter().map(|value| merge(value).ok_or_else(|| broken(value))).collect()
}
