//! SentencePiece's tokenizer.model, a protocol buffer.

use std::path::Path;

use prost::Message;
use serde_json::Value as Json;

use super::super::config::Config;
use super::super::json::{Document, read_bounded, shown};
use super::super::refusal;
use super::{Files, Token, TokenType, added, padding};
use crate::error::Error;

/// The largest file that is read; the largest so far takes 5 MB.
const MAX_BYTES: u64 = 64 << 20;

/// What a token without a score of its own gets.
pub(super) const ADDED_SCORE: f32 = -1000.0;
pub(super) const PADDING_SCORE: f32 = -10_000.0;

/// The fields that matter, numbered as in `sentencepiece_model.proto`.
#[derive(Clone, PartialEq, Message)]
struct ModelProto {
    #[prost(message, repeated, tag = "1")]
    pieces: Vec<Piece>,
    #[prost(message, optional, tag = "2")]
    trainer: Option<Trainer>,
    #[prost(message, optional, tag = "3")]
    normalizer: Option<Normalizer>,
}

#[derive(Clone, PartialEq, Message)]
struct Piece {
    #[prost(string, optional, tag = "1")]
    piece: Option<String>,
    #[prost(float, optional, tag = "2")]
    score: Option<f32>,
    #[prost(int32, optional, tag = "3")]
    ty: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct Trainer {
    /// 1, unigram, is the default; 2 is BPE.
    #[prost(int32, optional, tag = "3")]
    model_type: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct Normalizer {
    /// True is the default.
    #[prost(bool, optional, tag = "3")]
    add_dummy_prefix: Option<bool>,
}

const BPE: i32 = 2;

/// Reads tokenizer.model, and the tokens that the files beside it add or change. Also returns
/// whether a space is put before a text.
///
/// # Errors
/// [`Error::File`] if it cannot be read, [`Error::Model`] if it is broken or of another kind.
pub(super) fn read(
    path: &Path,
    folder: &Path,
    files: &Files,
    config: &Config,
) -> Result<(Vec<Token>, bool), Error> {
    let bytes = read_bounded(path, MAX_BYTES)?;
    let proto = ModelProto::decode(&bytes[..])
        .map_err(|error| refusal(path, format!("no SentencePiece model: {error}")))?;
    if proto.pieces.is_empty() {
        return Err(refusal(path, "no SentencePiece model: it has no pieces"));
    }
    if proto.trainer.and_then(|trainer| trainer.model_type) != Some(BPE) {
        return Err(refusal(path, "a SentencePiece model that is not BPE, which is not supported"));
    }
    let mut tokens: Vec<Token> = (0..config.n_vocab).map(|id| padding(id, PADDING_SCORE)).collect();
    for (token, piece) in tokens.iter_mut().zip(proto.pieces) {
        *token = Token {
            text: piece.piece.unwrap_or_default().into_bytes(),
            ty: match piece.ty {
                Some(2) => TokenType::Unknown,
                Some(3) => TokenType::Control,
                Some(5) => TokenType::Unused,
                Some(6) => TokenType::Byte,
                // Also what the model's authors defined; other files say what of it is special.
                _ => TokenType::Normal,
            },
            score: piece.score.unwrap_or(0.0),
        };
    }
    add_tokens(folder, files, &mut tokens)?;
    Ok((tokens, proto.normalizer.and_then(|n| n.add_dummy_prefix).unwrap_or(true)))
}

/// Enters what added_tokens.json and tokenizer_config.json say. Numbers beyond the embeddings
/// cannot be used and are left out.
fn add_tokens(folder: &Path, files: &Files, tokens: &mut [Token]) -> Result<(), Error> {
    if let Some(document) = Document::read_optional(&folder.join("added_tokens.json"))? {
        for (text, id) in document.root().as_object().into_iter().flatten() {
            let id = id.as_u64().ok_or_else(|| document.wrong(text, "the number of a token"))?;
            if let Some(token) = tokens.get_mut(usize::try_from(id).unwrap_or(usize::MAX)) {
                let text = text.clone().into_bytes();
                *token = Token { text, ty: TokenType::UserDefined, score: ADDED_SCORE };
            }
        }
    }
    let Some(document) = &files.config else { return Ok(()) };
    let decoder = document.get("added_tokens_decoder").and_then(Json::as_object);
    for (id, value) in decoder.into_iter().flatten() {
        let text = value.get("content").and_then(Json::as_str);
        let (Ok(id), Some(text)) = (id.parse::<usize>(), text) else {
            let what = format!("added_tokens_decoder has {}, which is no token", shown(value));
            return Err(document.refuse(what));
        };
        if let Some(token) = tokens.get_mut(id) {
            let (text, ty) = added(text, value.get("special") == Some(&Json::Bool(true)));
            *token = Token { text, ty, score: ADDED_SCORE };
        }
    }
    Ok(())
}
