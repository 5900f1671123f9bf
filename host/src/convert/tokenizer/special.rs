//! Special tokens, whether texts get them, and how messages become a prompt.

use std::path::Path;

use bantam_core::gguf::{Value, keys};
use serde_json::Value as Json;

use super::super::config::Config;
use super::super::json::{Document, read_bounded};
use super::super::refusal;
use super::{Files, Token};
use crate::error::{Error, OneLine};
use crate::gguf_writer::Metadata;

/// Roles, in the order in which they are written: what files call them, and the keys of the token
/// and of whether texts get it.
const ROLES: [(&str, &str, Option<&str>); 6] = [
    ("bos", keys::TOKENIZER_BOS_TOKEN_ID, Some(keys::TOKENIZER_ADD_BOS_TOKEN)),
    ("eos", keys::TOKENIZER_EOS_TOKEN_ID, Some(keys::TOKENIZER_ADD_EOS_TOKEN)),
    ("unk", keys::TOKENIZER_UNKNOWN_TOKEN_ID, None),
    ("sep", keys::TOKENIZER_SEPARATOR_TOKEN_ID, Some(keys::TOKENIZER_ADD_SEP_TOKEN)),
    ("pad", keys::TOKENIZER_PADDING_TOKEN_ID, None),
    ("mask", keys::TOKENIZER_MASK_TOKEN_ID, None),
];

/// The largest chat template that is read.
const MAX_TEMPLATE: u64 = 1 << 20;

/// What is special about a vocabulary.
#[derive(Debug, Default)]
pub(super) struct Special {
    /// Keys and tokens.
    ids: Vec<(&'static str, u32)>,
    /// Keys and whether texts get the token.
    adds: Vec<(&'static str, bool)>,
    template: Option<String>,
    /// Templates for other uses, by name.
    templates: Vec<(String, String)>,
}

impl Special {
    /// Reads what the files of a folder say.
    ///
    /// # Errors
    /// [`Error::Model`] if they are broken or contradict themselves.
    pub(super) fn read(
        folder: &Path,
        files: &Files,
        config: &Config,
        tokens: &[Token],
    ) -> Result<Self, Error> {
        let mut special = Self::default();
        if let Some(tokenizer) = &files.tokenizer {
            special.read_post_processor(tokenizer, files)?;
        }
        // Those that have a text first, then those that have but a number.
        for (role, key, _) in ROLES {
            let Some(text) = token_text(files, role) else { continue };
            if let Some(id) = tokens.iter().position(|token| token.text == text.as_bytes()) {
                special.ids.push((key, id as u32));
            }
        }
        for (role, key, _) in ROLES {
            let id = config.token_id(&format!("{role}_token_id"));
            let id = id.filter(|&id| (id as usize) < tokens.len());
            if let Some(id) = id
                && !special.ids.iter().any(|(present, _)| *present == key)
            {
                special.ids.push((key, id));
            }
        }
        if let Some(config) = &files.config {
            for (role, _, add) in ROLES {
                let said = config.get(&format!("add_{role}_token")).and_then(Json::as_bool);
                if let (Some(key), Some(said)) = (add, said) {
                    special.add(key, said, false);
                }
            }
        }
        special.read_templates(folder, files)?;
        Ok(special)
    }

    /// Writes the keys.
    pub(super) fn describe(&self, metadata: &mut Metadata) {
        for &(key, id) in &self.ids {
            metadata.set(key, Value::U32(id));
        }
        for &(key, add) in &self.adds {
            metadata.set(key, Value::Bool(add));
        }
        for (name, template) in &self.templates {
            let key = format!("{}.{name}", keys::TOKENIZER_CHAT_TEMPLATE);
            metadata.set(&key, Value::Str(template));
        }
        if !self.templates.is_empty() {
            let names = self.templates.iter().map(|(name, _)| name.as_str());
            metadata.set_array("tokenizer.chat_templates", names);
        }
        if let Some(template) = &self.template {
            metadata.set(keys::TOKENIZER_CHAT_TEMPLATE, Value::Str(template));
        }
    }

    /// Notes whether texts get a token; what was noted first stands unless it is to be replaced.
    fn add(&mut self, key: &'static str, add: bool, replace: bool) {
        match self.adds.iter_mut().find(|(present, _)| *present == key) {
            Some(present) if replace => present.1 = add,
            Some(_) => {}
            None => self.adds.push((key, add)),
        }
    }

    /// tokenizer.json puts special tokens around texts by a template, if by anything.
    fn read_post_processor(&mut self, tokenizer: &Document, files: &Files) -> Result<(), Error> {
        let Some(post) = tokenizer.get("post_processor") else { return Ok(()) };
        let steps = post.get("processors").and_then(Json::as_array);
        for step in steps.map_or(std::slice::from_ref(post), Vec::as_slice) {
            match step.get("type").and_then(Json::as_str) {
                Some("ByteLevel") => {
                    self.add(keys::TOKENIZER_ADD_BOS_TOKEN, false, false);
                    self.add(keys::TOKENIZER_ADD_EOS_TOKEN, false, false);
                }
                Some("TemplateProcessing") => self.read_template(tokenizer, step, files)?,
                other => {
                    let other = other.unwrap_or("of no type");
                    return Err(tokenizer.refuse(format!(
                        "a post_processor {}, which is not known",
                        OneLine(other)
                    )));
                }
            }
        }
        Ok(())
    }

    /// A template for one text: tokens that come before and behind it.
    fn read_template(
        &mut self,
        tokenizer: &Document,
        step: &Json,
        files: &Files,
    ) -> Result<(), Error> {
        let list =
            |key: &str| step.get(key).and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
        let single = list("single");
        let (first, last) = match single.len() {
            0 | 1 => (None, None),
            _ => (special(single.first()), special(single.last())),
        };
        for (found, role, key) in [
            (first, "bos", keys::TOKENIZER_ADD_BOS_TOKEN),
            (last, "eos", keys::TOKENIZER_ADD_EOS_TOKEN),
        ] {
            let Some(found) = found else { continue };
            if token_text(files, role).is_some_and(|text| text != found) {
                return Err(tokenizer.refuse(format!(
                    "texts get the token {}, but tokenizer_config.json's {role}_token is another",
                    OneLine(found)
                )));
            }
            self.add(key, true, true);
        }
        // Of a template for two texts: what stands between them, the tokens above left out.
        let mut pair = list("pair");
        if let [item, rest @ ..] = pair
            && first.is_some()
            && special(Some(item)) == first
        {
            pair = rest;
        }
        if let [rest @ .., item] = pair
            && last.is_some()
            && special(Some(item)) == last
        {
            pair = rest;
        }
        if let [_, between @ .., _] = pair
            && !between.is_empty()
        {
            let known = [token_text(files, "sep"), token_text(files, "eos")];
            let separates =
                |item: &Json| special(Some(item)).is_some_and(|token| known.contains(&Some(token)));
            let first_separates = between.first().is_some_and(separates) && last.is_none();
            let second_separates = between.len() == 2 && between.get(1).is_some_and(separates);
            let add = first_separates || second_separates;
            self.add(keys::TOKENIZER_ADD_SEP_TOKEN, add, true);
        }
        Ok(())
    }

    /// The chat template: of tokenizer_config.json, or a file of its own.
    fn read_templates(&mut self, folder: &Path, files: &Files) -> Result<(), Error> {
        let Some(config) = &files.config else { return Ok(()) };
        let jinja = folder.join("chat_template.jinja");
        let json = folder.join("chat_template.json");
        let beside = if jinja.is_file() {
            let text = String::from_utf8(read_bounded(&jinja, MAX_TEMPLATE)?);
            Some(Json::String(text.map_err(|_| refusal(&jinja, "not UTF-8 text"))?))
        } else {
            Document::read_optional(&json)?.and_then(|d| d.get("chat_template").cloned())
        };
        match config.root().get("chat_template").or(beside.as_ref()) {
            None | Some(Json::Null) => {}
            Some(Json::String(template)) => self.template = Some(template.clone()),
            Some(Json::Array(templates)) => {
                for template in templates {
                    let text = |key: &str| template.get(key).and_then(Json::as_str);
                    let (Some(name), Some(template)) = (text("name"), text("template")) else {
                        return Err(config.wrong("chat_template", "a list of names and templates"));
                    };
                    match name {
                        "default" => self.template = Some(template.into()),
                        _ => self.templates.push((plain(name), template.into())),
                    }
                }
            }
            Some(_) => return Err(config.wrong("chat_template", "a string or a list")),
        }
        Ok(())
    }
}

/// The text of a special token in a template.
fn special(item: Option<&Json>) -> Option<&str> {
    item?.pointer("/SpecialToken/id")?.as_str()
}

/// A name of which a key can be made.
fn plain(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

/// The text of the token in a role.
fn token_text<'f>(files: &'f Files, role: &str) -> Option<&'f str> {
    let text = |document: &'f Option<Document>| {
        let entry = document.as_ref()?.get(&format!("{role}_token"))?;
        entry.as_str().or_else(|| entry.get("content")?.as_str())
    };
    text(&files.config).or_else(|| text(&files.special_map))
}
