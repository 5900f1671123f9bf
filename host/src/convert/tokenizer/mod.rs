//! The tokenizer of a folder: SentencePiece's tokenizer.model, or else tokenizer.json, which holds
//! byte-level BPE or SentencePiece's BPE without its scores.

mod bpe;
mod listed;
mod pre;
mod special;
mod spm;
mod spm_json;

use std::path::Path;

use bantam_core::gguf::{Value, keys};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::config::{Config, Family};
use super::json::Document;
use crate::error::Error;
use crate::gguf_writer::Metadata;
use special::Special;

/// Types of tokens, numbered as in GGUF files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
enum TokenType {
    Normal = 1,
    Unknown = 2,
    Control = 3,
    UserDefined = 4,
    Unused = 5,
    Byte = 6,
}

/// A token: its text, which may be a piece of a character, and what it is.
#[derive(Clone, Debug)]
struct Token {
    text: Vec<u8>,
    ty: TokenType,
    score: f32,
}

/// The files that several parts read.
struct Files {
    tokenizer: Option<Document>,
    config: Option<Document>,
    special_map: Option<Document>,
}

/// What is wanted of tokenizer.json beside a tokenizer.model: the rest would take 300 MB for Gemma.
#[derive(Deserialize, Serialize)]
struct Around {
    #[serde(default)]
    post_processor: Json,
}

/// A vocabulary with what belongs to it.
#[derive(Debug)]
pub(super) struct Vocabulary {
    /// `tokenizer.ggml.model`.
    pub(super) model: &'static str,
    /// `tokenizer.ggml.pre`.
    pub(super) pre: &'static str,
    tokens: Vec<Token>,
    merges: Vec<String>,
    /// Whether SentencePiece puts a space before a text, where something is said about it.
    space_prefix: Option<bool>,
    special: Special,
}

impl Vocabulary {
    /// Reads the tokenizer of a folder.
    ///
    /// # Errors
    /// [`Error::File`] if there is none, [`Error::Model`] if it is broken or of an unknown kind.
    pub(super) fn read(folder: &Path, config: &Config) -> Result<Self, Error> {
        let pieces = folder.join("tokenizer.model");
        let tokenizer = folder.join("tokenizer.json");
        let files = Files {
            tokenizer: match pieces.is_file() {
                true => Document::read_part::<Around>(&tokenizer)?,
                false => Document::read_optional(&tokenizer)?,
            },
            config: Document::read_optional(&folder.join("tokenizer_config.json"))?,
            special_map: Document::read_optional(&folder.join("special_tokens_map.json"))?,
        };
        let mut vocabulary = if pieces.is_file() {
            // Readers take a space before the text for granted.
            let (tokens, adds_space) = spm::read(&pieces, folder, &files, config)?;
            Self::new("llama", "default", tokens, Vec::new(), (!adds_space).then_some(false))
        } else if let Some(tokenizer) = files.tokenizer.as_ref().filter(|t| spm_json::is_kind(t)) {
            let (tokens, adds_space) = spm_json::read(tokenizer, files.config.as_ref(), config)?;
            Self::new("llama", "default", tokens, Vec::new(), (!adds_space).then_some(false))
        } else if let Some(tokenizer) = &files.tokenizer {
            let bpe = bpe::read(tokenizer, files.config.as_ref(), config)?;
            Self::new("gpt2", bpe.pre, bpe.tokens, bpe.merges, None)
        } else {
            return Err(Error::File {
                path: tokenizer,
                what: "no such file, nor a tokenizer.model; get the model's tokenizer".into(),
            });
        };
        vocabulary.special = Special::read(folder, &files, config, &vocabulary.tokens)?;
        match config.family {
            Family::Gemma3 => vocabulary.space_prefix = Some(false),
            Family::Llama | Family::Mistral => {
                let said = files.config.as_ref().map(|config| config.boolean("add_prefix_space"));
                if let Some(said) = said.transpose()?.flatten() {
                    vocabulary.space_prefix = Some(said);
                }
            }
            Family::Qwen2 | Family::Qwen3 => {}
        }
        Ok(vocabulary)
    }

    fn new(
        model: &'static str,
        pre: &'static str,
        tokens: Vec<Token>,
        merges: Vec<String>,
        space_prefix: Option<bool>,
    ) -> Self {
        Self { model, pre, tokens, merges, space_prefix, special: Special::default() }
    }

    /// Writes the tokenizer's keys.
    pub(super) fn describe(&self, config: &Config, metadata: &mut Metadata) {
        let gemma = config.family == Family::Gemma3;
        let space_prefix = |metadata: &mut Metadata| {
            if let Some(add) = self.space_prefix {
                metadata.set(keys::TOKENIZER_ADD_SPACE_PREFIX, Value::Bool(add));
            }
        };
        if !gemma {
            space_prefix(metadata);
        }
        metadata.set(keys::TOKENIZER_MODEL, Value::Str(self.model));
        metadata.set(keys::TOKENIZER_PRE, Value::Str(self.pre));
        metadata.set_array(keys::TOKENIZER_TOKENS, self.tokens.iter().map(|token| &token.text[..]));
        if self.model == "llama" {
            metadata.set_array(keys::TOKENIZER_SCORES, self.tokens.iter().map(|token| token.score));
        }
        metadata.set_array(keys::TOKENIZER_TOKEN_TYPE, self.tokens.iter().map(|t| t.ty as i32));
        if !self.merges.is_empty() {
            metadata.set_array(keys::TOKENIZER_MERGES, self.merges.iter().map(String::as_str));
        }
        self.special.describe(metadata);
        if gemma {
            space_prefix(metadata);
        }
    }
}

/// SentencePiece's mark for a space.
const SPACE_MARK: char = '▁';

/// Whether a token that was added looks like one that is not part of texts, though nothing says so.
fn looks_special(text: &str) -> bool {
    matches!(text, "<pad>" | "<mask>" | "<2mass>" | "[@BOS@]")
        || (text.starts_with("<|") && text.ends_with("|>"))
        || (text.starts_with("<｜") && text.ends_with("｜>"))
        || (text.starts_with("<unused") && text.ends_with('>'))
}

/// What becomes of a token that was added to a vocabulary: its text, and its type.
fn added(text: &str, special: bool) -> (Vec<u8>, TokenType) {
    if special || looks_special(text) {
        return (text.as_bytes().into(), TokenType::Control);
    }
    (text.replace(SPACE_MARK, " ").into_bytes(), TokenType::UserDefined)
}

/// A token that only fills a place.
fn padding(number: usize, score: f32) -> Token {
    Token { text: format!("[PAD{number}]").into_bytes(), ty: TokenType::Unused, score }
}
