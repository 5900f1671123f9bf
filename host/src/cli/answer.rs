//! What one answer and a chat have in common: text out to the screen, and what it took.

use std::fmt;
use std::io::{self, IsTerminal, Stdout, Write};

use bantam_core::Token;
use bantam_core::gguf::{Gguf, keys};
use bantam_core::tokenizer::Tokenizer;

use super::progress::Progress;
use crate::chat::{ChatTemplate, Conversation};
use crate::error::Error;
use crate::generate::{Finish, Generator, Stats};
use crate::load::{self, LoadOptions};
use crate::memory::{Bytes, peak_rss};
use crate::model_file::ModelFile;

/// Tokens of a plain completion unless told otherwise: few base models ever end by themselves.
const PLAIN_LIMIT: usize = 256;

/// A model that is ready to answer.
pub(super) struct Session<'s, 'm, 'b, 't, 'u> {
    pub(super) file: &'s ModelFile,
    pub(super) generator: Generator<'s, 'm, 'b, 't, 'u>,
    /// How to put a conversation; without one, text is continued as it is.
    pub(super) template: Option<ChatTemplate>,
    /// Tokens of an answer at most.
    pub(super) limit: Option<usize>,
    /// The sampler's seed, where it matters.
    pub(super) seed: Option<u64>,
    pub(super) options: &'s LoadOptions,
}

/// What came of a prompt.
pub(super) struct Answer {
    pub(super) text: String,
    pub(super) finish: Finish,
}

impl Session<'_, '_, '_, '_, '_> {
    /// Returns the tokens that put `conversation` to the model.
    pub(super) fn conversation_tokens(
        &self,
        template: &ChatTemplate,
        conversation: &Conversation,
    ) -> Result<Vec<Token>, Error> {
        let text = template
            .render(conversation.messages())
            .map_err(|error| self.file.model_error(error))?;
        // Most templates write the beginning-of-text token themselves; it must not come twice.
        let begins = !template.bos().is_empty() && text.starts_with(template.bos());
        load::encode_open(self.file, self.generator.tokenizer(), &text, !begins)
    }

    /// Returns the tokens of text that is to be continued.
    pub(super) fn plain_tokens(&self, text: &str) -> Result<Vec<Token>, Error> {
        load::encode_open(self.file, self.generator.tokenizer(), text, true)
    }

    /// Puts `tokens` to the model and writes its answer to `screen` as it comes.
    pub(super) fn answer(
        &mut self,
        tokens: &[Token],
        screen: &mut Screen,
    ) -> Result<Answer, Error> {
        let mut progress = Progress::tokens("Reading the prompt");
        self.generator.prompt(tokens, |done, total| progress.set(done as u64, total as u64))?;
        drop(progress);
        let plain_limit = if self.template.is_some() { usize::MAX } else { PLAIN_LIMIT };
        let mut text = String::new();
        let finish = self.generator.answer(self.limit.unwrap_or(plain_limit), |piece| {
            text.push_str(piece);
            screen.write(piece)
        })?;
        self.file.check_unchanged()?;
        Ok(Answer { text, finish })
    }

    /// What the last answer took, on one line.
    pub(super) fn footer(&self) -> Footer<'_> {
        Footer { stats: self.generator.stats(), options: self.options, seed: self.seed }
    }
}

/// Returns the model's chat template, or `None` if it has none.
pub(super) fn template(
    file: &ModelFile,
    gguf: &Gguf<'_>,
    tokenizer: &Tokenizer<'_, '_>,
) -> Result<Option<ChatTemplate>, Error> {
    let Some(source) = gguf.get(keys::TOKENIZER_CHAT_TEMPLATE).and_then(|value| value.as_str())
    else {
        return Ok(None);
    };
    let name = |token: Option<Token>| {
        token.map(|token| String::from_utf8_lossy(tokenizer.piece(token)).into_owned())
    };
    let (bos, eos) = (name(tokenizer.bos()), name(tokenizer.eos()));
    ChatTemplate::new(source, &bos.unwrap_or_default(), &eos.unwrap_or_default())
        .map(Some)
        .map_err(|error| file.model_error(error))
}

/// Where answers go. Each piece is shown at once. On a terminal, control characters that a model
/// may have been made to say are shown as symbols: they could command the terminal.
pub(super) struct Screen {
    out: Stdout,
    is_terminal: bool,
    at_line_start: bool,
}

impl Screen {
    pub(super) fn stdout() -> Self {
        let out = io::stdout();
        let is_terminal = out.is_terminal();
        Self { out, is_terminal, at_line_start: true }
    }

    pub(super) fn write(&mut self, text: &str) -> Result<(), Error> {
        let Some(last) = text.chars().last() else {
            return Ok(());
        };
        self.at_line_start = last == '\n';
        let harmless = |c: char| !c.is_control() || c == '\n' || c == '\t';
        let written = if self.is_terminal && !text.chars().all(harmless) {
            let text: String =
                text.chars().map(|c| if harmless(c) { c } else { symbol(c) }).collect();
            self.out.write_all(text.as_bytes())
        } else {
            self.out.write_all(text.as_bytes())
        };
        written.and_then(|()| self.out.flush()).map_err(Error::stdout)
    }

    /// Ends the line if one was begun.
    pub(super) fn end_line(&mut self) -> Result<(), Error> {
        if self.at_line_start { Ok(()) } else { self.write("\n") }
    }
}

/// The picture of a control character.
fn symbol(c: char) -> char {
    match u32::from(c) {
        code @ 0..=0x1f => char::from_u32(0x2400 + code).unwrap_or(char::REPLACEMENT_CHARACTER),
        0x7f => '\u{2421}',
        _ => char::REPLACEMENT_CHARACTER,
    }
}

/// One line about speed and set-up.
pub(super) struct Footer<'a> {
    stats: &'a Stats,
    options: &'a LoadOptions,
    seed: Option<u64>,
}

impl fmt::Display for Footer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stats = self.stats;
        write!(f, "[prompt: {} tokens", stats.prompt)?;
        if stats.prefilled < stats.prompt {
            write!(f, ", {} of them new", stats.prefilled)?;
        }
        if let Some(speed) = stats.prefill_speed() {
            write!(f, ", {speed:.1}/s")?;
        }
        write!(f, "; answer: {} tokens", stats.generated)?;
        if let Some(speed) = stats.decode_speed() {
            write!(f, ", {speed:.1}/s")?;
        }
        if stats.generated > 0 {
            write!(f, ", the first after {:.2} s", stats.prefill_time.as_secs_f64())?;
        }
        let threads = self.options.threads;
        let s = if threads == 1 { "" } else { "s" };
        write!(f, "; {threads} thread{s}, {}", self.options.kernels.name())?;
        if let Some(seed) = self.seed {
            write!(f, ", seed {seed}")?;
        }
        if let Some(peak) = peak_rss() {
            write!(f, ", peak {}", Bytes(peak))?;
        }
        f.write_str("]")
    }
}
