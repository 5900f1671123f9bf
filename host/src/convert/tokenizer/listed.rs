//! Tokens as tokenizer.json lists them: a vocabulary, and what was added to it.

use serde_json::{Map, Value as Json};

use super::super::config::Config;
use super::super::json::{Document, shown};
use super::{Token, TokenType, added, padding};
use crate::error::{Error, OneLine};

/// The vocabulary and its model, both objects.
pub(super) struct Listed<'d> {
    document: &'d Document,
    model: &'d Map<String, Json>,
    pub(super) vocab: &'d Map<String, Json>,
}

impl<'d> Listed<'d> {
    /// Finds the vocabulary of tokenizer.json.
    ///
    /// # Errors
    /// [`Error::Model`] if it is not BPE, or pieces are spelled otherwise inside of words.
    pub(super) fn new(document: &'d Document) -> Result<Self, Error> {
        let object = |value: Option<&'d Json>, name: &str| {
            value.and_then(Json::as_object).ok_or_else(|| document.wrong(name, "an object"))
        };
        let model = object(document.get("model"), "model")?;
        let vocab = object(model.get("vocab"), "model.vocab")?;
        let listed = Self { document, model, vocab };
        if listed.get("type").is_some_and(|ty| ty != "BPE") {
            return Err(document.refuse("a tokenizer that is not BPE, which is not supported"));
        }
        for key in ["continuing_subword_prefix", "end_of_word_suffix"] {
            if let Some(value) = listed.get(key).filter(|value| **value != "") {
                let what = format!("{key} is {}, which is not supported", shown(value));
                return Err(document.refuse(what));
            }
        }
        Ok(listed)
    }

    /// A setting of the model that is not null.
    pub(super) fn get(&self, key: &str) -> Option<&'d Json> {
        self.model.get(key).filter(|value| !value.is_null())
    }

    /// Returns a token for each row of the embeddings: those of the vocabulary, of the types that
    /// `type_of` says, then those that were added here or in tokenizer_config.json.
    ///
    /// # Errors
    /// [`Error::Model`] if a token has no row.
    pub(super) fn tokens(
        &self,
        tokenizer_config: Option<&Document>,
        config: &Config,
        [score, added_score, padding_score]: [f32; 3],
        type_of: impl Fn(&str) -> TokenType,
    ) -> Result<Vec<Token>, Error> {
        let n_vocab = config.n_vocab;
        let mut tokens: Vec<_> = (0..n_vocab).map(|id| padding(id, padding_score)).collect();
        let mut put = |text: &str, id: &Json, token: Token| {
            let index = id.as_u64().and_then(|id| usize::try_from(id).ok());
            match index.and_then(|index| tokens.get_mut(index)) {
                Some(place) => {
                    *place = token;
                    Ok(())
                }
                None => Err(self.document.refuse(format!(
                    "token {} has number {}, but config.json's vocab_size is {n_vocab}",
                    OneLine(text),
                    shown(id)
                ))),
            }
        };
        for (text, id) in self.vocab {
            put(text, id, Token { text: text.clone().into(), ty: type_of(text), score })?;
        }
        let configured = tokenizer_config.and_then(|config| config.get("added_tokens_decoder"));
        let configured = configured.and_then(Json::as_object).into_iter().flatten();
        let configured = configured.map(|(id, token)| (Json::from(id.parse::<u64>().ok()), token));
        let here = self.document.get("added_tokens").and_then(Json::as_array);
        let here = here.into_iter().flatten();
        let here = here.map(|token| (token.get("id").cloned().unwrap_or_default(), token));
        for (id, token) in configured.chain(here) {
            let Some(text) = token.get("content").and_then(Json::as_str) else {
                return Err(self.document.refuse("an added token has no content"));
            };
            let (stored, ty) = added(text, token.get("special") == Some(&Json::Bool(true)));
            put(text, &id, Token { text: stored, ty, score: added_score })?;
        }
        Ok(tokens)
    }

    /// Returns the merges, best first.
    ///
    /// # Errors
    /// [`Error::Model`] if there are none, or one is not made of two pieces.
    pub(super) fn merges(&self) -> Result<Vec<(&'d str, &'d str)>, Error> {
        let merges = self.get("merges").and_then(Json::as_array).filter(|all| !all.is_empty());
        let merges =
            merges.ok_or_else(|| self.document.wrong("model.merges", "a list of merges"))?;
        let merge = |merge: &'d Json| match merge {
            Json::String(text) => text.split_once(' '),
            Json::Array(pair) => match &pair[..] {
                [a, b] => Some((a.as_str()?, b.as_str()?)),
                _ => None,
            },
            _ => None,
        };
        let broken = |v| self.document.refuse(format!("{} is no merge of two pieces", shown(v)));
        merges.iter().map(|value| merge(value).ok_or_else(|| broken(value))).collect()
    }
}
