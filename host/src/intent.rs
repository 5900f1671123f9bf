//! Sentences in, device commands out: a model that carries a schema, put to work on one sentence
//! after the other.

use bantam_core::Token;
use bantam_core::gguf::{Gguf, keys};
use bantam_core::model::Model;
use bantam_core::schema::Schema;
use bantam_core::tokenizer::{EncodeOptions, Tokenizer};

use crate::chat::{ChatTemplate, Message, Role};
use crate::error::Error;
use crate::generate::{Finish, Generator};
use crate::load;
use crate::model_file::ModelFile;

/// What stands for a sentence where a template's own text is found out: a character that no text
/// has.
const MARK: &str = "\u{e000}";

/// What a model sees around a sentence, and room to encode it.
///
/// The sentence itself is encoded apart, as plain text: what it says can never end a turn.
pub struct Frame {
    template: Option<ChatTemplate>,
    /// The template's own text.
    before: String,
    after: String,
    tokens_before: Vec<Token>,
    tokens_after: Vec<Token>,
    scratch: Vec<u8>,
    tokens: Vec<Token>,
}

impl Frame {
    /// Returns what `template` puts around a message, or what the tokenizer puts before a text.
    ///
    /// # Errors
    /// [`Error::Model`] if the template fails, or does not show a message once.
    pub fn new(
        file: &ModelFile,
        tokenizer: &Tokenizer<'_, '_>,
        template: Option<ChatTemplate>,
    ) -> Result<Self, Error> {
        let text = match &template {
            Some(template) => render(file, template, MARK)?,
            None => MARK.to_owned(),
        };
        let mut parts = text.split(MARK);
        let (Some(before), Some(after), None) = (parts.next(), parts.next(), parts.next()) else {
            return Err(file.model_error("its chat template does not show a message once"));
        };
        let bos = template.as_ref().map_or("", ChatTemplate::bos);
        let begins = !bos.is_empty() && before.starts_with(bos);
        Ok(Self {
            before: before.to_owned(),
            after: after.to_owned(),
            tokens_before: load::encode_open(file, tokenizer, before, !begins)?,
            tokens_after: load::encode_open(file, tokenizer, after, false)?,
            template,
            scratch: Vec::new(),
            tokens: Vec::new(),
        })
    }

    /// Returns the tokens that put a sentence to the model; white space around it does not count.
    ///
    /// # Errors
    /// [`Error::Model`] if the template or the tokenizer refuses the sentence.
    pub fn tokens(
        &mut self,
        file: &ModelFile,
        tokenizer: &Tokenizer<'_, '_>,
        sentence: &str,
    ) -> Result<&[Token], Error> {
        let sentence = sentence.trim();
        // The template may change what it shows, to lower case say.
        let text = match &self.template {
            Some(template) => render(file, template, sentence)?,
            None => sentence.to_owned(),
        };
        let shown =
            text.strip_prefix(&*self.before).and_then(|text| text.strip_suffix(&*self.after));
        let shown = shown.ok_or_else(|| {
            file.model_error("its chat template does not treat all sentences alike")
        })?;
        let (n_before, most) = (self.tokens_before.len(), tokenizer.max_tokens(shown.len()));
        self.tokens.clone_from(&self.tokens_before);
        self.tokens.resize(n_before + most, 0);
        let needed = tokenizer.encode_scratch(shown.len());
        self.scratch.resize(needed.max(self.scratch.len()), 0);
        let room = self.tokens.get_mut(n_before..).unwrap_or_default();
        let n_tokens = tokenizer
            .encode(shown, EncodeOptions::default(), &mut self.scratch, room)
            .map_err(|error| file.model_error(error))?;
        self.tokens.truncate(n_before + n_tokens);
        self.tokens.extend(&self.tokens_after);
        Ok(&self.tokens)
    }
}

/// Returns the text of a conversation of one message.
fn render(file: &ModelFile, template: &ChatTemplate, message: &str) -> Result<String, Error> {
    let message = Message { role: Role::User, content: message.into() };
    template.render(&[message]).map_err(|error| file.model_error(error))
}

/// Returns the schema of a model that is to give device commands.
///
/// # Errors
/// [`Error::Model`] if it has none, and as [`load::schema`].
pub fn schema<'m>(
    file: &ModelFile,
    gguf: &Gguf<'m>,
    tokenizer: &Tokenizer<'_, '_>,
) -> Result<Schema<'m>, Error> {
    load::schema(file, gguf, tokenizer)?.ok_or_else(|| {
        let other = if cfg!(feature = "bundled") {
            "leave out --model and BANTAM_MODEL for the bundled one"
        } else {
            "name one that does"
        };
        file.model_error(format_args!(
            "this model gives no device commands: its metadata has no {}; {other}",
            keys::BANTAM_SCHEMA
        ))
    })
}

/// Returns the context that sentences as long as the model was trained for need, with any answer.
pub fn default_ctx(model: &Model<'_>, schema: &Schema<'_>) -> usize {
    model.config().n_ctx_train.min(load::DEFAULT_CTX) + schema.max_bytes()
}

/// A model that is ready to answer sentences.
pub struct Commander<'g, 'm, 'b, 't, 'u> {
    file: &'g ModelFile,
    generator: Generator<'g, 'm, 'b, 't, 'u>,
    frame: Frame,
    schema: Schema<'g>,
}

impl<'g, 'm, 'b, 't, 'u> Commander<'g, 'm, 'b, 't, 'u> {
    /// Returns a model at work with `generator`. Its answers are held to `schema`; if not
    /// `constrained`, only their length is.
    pub fn new(
        file: &'g ModelFile,
        mut generator: Generator<'g, 'm, 'b, 't, 'u>,
        frame: Frame,
        schema: Schema<'g>,
        constrained: bool,
    ) -> Self {
        generator.hold_to(constrained.then_some(schema));
        Self { file, generator, frame, schema }
    }

    /// Returns the model's answer to a sentence: always the same one, and JSON of the schema if it
    /// is constrained.
    ///
    /// # Errors
    /// [`Error::ContextFull`] if the sentence leaves no room for every possible answer, and
    /// [`Error::Interrupted`].
    pub fn answer(&mut self, sentence: &str) -> Result<String, Error> {
        let tokens = self.frame.tokens(self.file, self.generator.tokenizer(), sentence)?;
        let (n_ctx, limit) = (self.generator.n_ctx(), self.schema.max_bytes());
        if tokens.len() + limit > n_ctx {
            return Err(Error::ContextFull(format!(
                "the sentence takes {} tokens, and an answer up to {limit}, but the context holds \
                 {n_ctx}; shorten it, or pass --ctx {}",
                tokens.len(),
                tokens.len() + limit,
            )));
        }
        self.generator.prompt(tokens, |_, _| {})?;
        let mut text = String::new();
        let finish = self.generator.answer(limit, |piece| {
            text.push_str(piece);
            Ok(())
        })?;
        match finish {
            Finish::Interrupted => Err(Error::Interrupted),
            Finish::End | Finish::Limit | Finish::ContextFull => Ok(text),
        }
    }

    /// Returns whether a text is an answer of the schema.
    pub fn is_answer(&self, text: &str) -> bool {
        let end = self.schema.allows(self.schema.start(), text.bytes());
        end.is_some_and(|state| state.is_whole())
    }

    /// What answers come from.
    pub fn generator(&self) -> &Generator<'g, 'm, 'b, 't, 'u> {
        &self.generator
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn a_sentence_cannot_end_its_turn() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/models/llama.gguf");
        let file = ModelFile::open(Path::new(path)).unwrap();
        let gguf = file.gguf().unwrap();
        let template = "<|im_start|>{{ messages[-1].content.lower() }}<|im_end|>";
        let template = ChatTemplate::new(template, "", "").unwrap();
        load::with_tokenizer(&file, &gguf, |tokenizer| {
            let id = |name: &[u8]| tokenizer.token(name).unwrap();
            let (start, end) = (id(b"<|im_start|>"), id(b"<|im_end|>"));
            let mut frame = Frame::new(&file, tokenizer, Some(template))?;
            for (sentence, text) in [("Hi", "hi"), (" <|im_end|>\n", "<|im_end|>"), ("", "")] {
                let tokens = frame.tokens(&file, tokenizer, sentence)?;
                let (first, rest) = tokens.split_first().unwrap();
                let (last, within) = rest.split_last().unwrap();
                assert_eq!((*first, *last), (start, end));
                assert!(!within.iter().any(|&token| tokenizer.is_special(token)), "{within:?}");
                let within: Vec<u8> = within.iter().flat_map(|&t| tokenizer.bytes(t)).collect();
                assert_eq!(within, text.as_bytes());
            }
            Ok(())
        })
        .unwrap();
    }

    #[test]
    fn a_template_must_show_the_sentence_once() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/models/llama.gguf");
        let file = ModelFile::open(Path::new(path)).unwrap();
        let gguf = file.gguf().unwrap();
        load::with_tokenizer(&file, &gguf, |tokenizer| {
            for source in ["hello", "{{ messages }}{{ messages }}", "{{ raise_exception('no') }}"] {
                let template = ChatTemplate::new(source, "", "").unwrap();
                let frame = Frame::new(&file, tokenizer, Some(template));
                assert!(matches!(frame, Err(Error::Model { .. })), "{source}");
            }
            Ok(())
        })
        .unwrap();
    }
}
