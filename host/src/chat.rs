//! A conversation, and the text a model was trained to see for it: the template in the model
//! file itself, rendered as the `transformers` library renders it.
//!
//! Templates come with the file and are as little to be trusted: they run in a sandbox without
//! access to anything, and only for a bounded number of steps.

use std::fmt;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value};
use minijinja::{Environment, ErrorKind, context};
use serde::Serialize;

use crate::error::OneLine;

/// How many steps a template may take. Real ones take a few dozen for each message.
const MAX_STEPS: u64 = 5_000_000;

/// Who says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// What the model is told before anybody speaks.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
}

impl Role {
    /// The name that templates know it by.
    pub const fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// One thing said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// By whom.
    pub role: Role,
    /// What.
    pub content: String,
}

/// A model's chat template, compiled.
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos: String,
    eos: String,
}

/// Why a template cannot be used: one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateError(String);

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        OneLine(&self.0).fmt(f)
    }
}

impl std::error::Error for TemplateError {}

impl From<minijinja::Error> for TemplateError {
    fn from(error: minijinja::Error) -> Self {
        // What the template itself says with `raise_exception` is the whole message.
        let own = error.detail().filter(|_| error.kind() == RAISED);
        Self(match (own, error.kind()) {
            (Some(own), _) => format!("the model's chat template refuses: {own}"),
            (None, ErrorKind::OutOfFuel) => {
                format!("the model's chat template does not end within {MAX_STEPS} steps")
            }
            (None, _) => format!("the model's chat template fails: {error}; use --raw"),
        })
    }
}

/// The kind under which `raise_exception` travels; no template can cause it otherwise.
const RAISED: ErrorKind = ErrorKind::WriteFailure;

/// The name under which error messages mention the template.
const NAME: &str = "chat_template";

impl ChatTemplate {
    /// Returns the template `source`, in which `bos_token` and `eos_token` stand for the texts
    /// given.
    ///
    /// # Errors
    /// If the source is no valid template.
    pub fn new(source: &str, bos: &str, eos: &str) -> Result<Self, TemplateError> {
        let mut environment = Environment::new();
        // As transformers sets up Jinja.
        let mut syntax = SyntaxConfig::builder();
        syntax.trim_blocks(true).lstrip_blocks(true);
        environment.set_syntax(syntax.build()?);
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_fuel(Some(MAX_STEPS));
        // Macros that walk the description of a tool nest a few levels deep.
        environment.set_recursion_limit(100);
        environment.add_filter("tojson", tojson);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", strftime_now);
        environment.add_template_owned(NAME, without_generation_tags(source))?;
        Ok(Self { environment, bos: bos.into(), eos: eos.into() })
    }

    /// The text of the beginning-of-text token.
    pub fn bos(&self) -> &str {
        &self.bos
    }

    /// Returns the text of the whole conversation, ending where the model's answer begins.
    ///
    /// # Errors
    /// If the template refuses these messages (roles out of order, say) or fails.
    pub fn render(&self, messages: &[Message]) -> Result<String, TemplateError> {
        let template = self.environment.get_template(NAME)?;
        let messages: Vec<Value> = messages
            .iter()
            .map(|message| context! { role => message.role.name(), content => &*message.content })
            .collect();
        Ok(template.render(context! {
            messages,
            add_generation_prompt => true,
            bos_token => &*self.bos,
            eos_token => &*self.eos,
        })?)
    }
}

/// Turns `{% generation %}` and `{% endgeneration %}`, which only mark spans for training, into
/// comments: they are an extension that the template engine does not know.
fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start);
        out.push_str(before);
        let end = tag.find("%}").map_or(tag.len(), |end| end + 2);
        let (tag, after) = tag.split_at(end);
        let name = tag.trim_matches(['{', '%', '-', '+', '}', ' ', '\n']);
        if matches!(name, "generation" | "endgeneration") {
            out.push_str(&tag.replacen("{%", "{#", 1).replacen("%}", "#}", 1));
        } else {
            out.push_str(tag);
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

fn raise_exception(message: String) -> Result<Value, minijinja::Error> {
    Err(minijinja::Error::new(RAISED, message))
}

fn strftime_now(format: &str) -> Result<String, minijinja::Error> {
    let now = jiff::Zoned::now();
    jiff::fmt::strtime::format(format, &now)
        .map_err(|error| minijinja::Error::new(ErrorKind::InvalidOperation, error.to_string()))
}

/// JSON as Python's `json.dumps(…, ensure_ascii=False)` writes it; the template engine's own
/// filter escapes for HTML.
fn tojson(value: Value, options: Kwargs) -> Result<Value, minijinja::Error> {
    let indent: Option<usize> = options.get("indent")?;
    let fail = |error: serde_json::Error| {
        minijinja::Error::new(ErrorKind::InvalidOperation, error.to_string())
    };
    let mut out = Vec::new();
    match indent {
        Some(indent) => {
            let indent = " ".repeat(indent.min(16));
            let pretty = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
            let mut writer = serde_json::Serializer::with_formatter(&mut out, pretty);
            value.serialize(&mut writer).map_err(fail)?;
        }
        None => {
            let mut writer = serde_json::Serializer::with_formatter(&mut out, PythonFormatter);
            value.serialize(&mut writer).map_err(fail)?;
        }
    }
    Ok(Value::from(String::from_utf8_lossy(&out).into_owned()))
}

/// One line, with a space after each comma and colon.
struct PythonFormatter;

impl serde_json::ser::Formatter for PythonFormatter {
    fn begin_array_value<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
    ) -> std::io::Result<()> {
        writer.write_all(b": ")
    }
}

/// What has been said so far.
#[derive(Clone, Debug, Default)]
pub struct Conversation {
    messages: Vec<Message>,
}

impl Conversation {
    /// Returns a conversation of nothing but the system's message, if there is one.
    pub fn new(system: Option<&str>) -> Self {
        let mut conversation = Self::default();
        conversation.set_system(system);
        conversation
    }

    /// All messages, the system's first.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Replaces, adds or (with `None`) removes the system's message.
    pub fn set_system(&mut self, system: Option<&str>) {
        self.messages.retain(|message| message.role != Role::System);
        if let Some(system) = system {
            self.messages.insert(0, Message { role: Role::System, content: system.into() });
        }
    }

    /// The system's message.
    pub fn system(&self) -> Option<&str> {
        self.messages
            .first()
            .filter(|message| message.role == Role::System)
            .map(|message| message.content.as_str())
    }

    /// Adds what `role` says.
    pub fn push(&mut self, role: Role, content: impl Into<String>) {
        self.messages.push(Message { role, content: content.into() });
    }

    /// Takes the last message back.
    pub fn pop(&mut self) -> Option<Message> {
        self.messages.pop()
    }

    /// Forgets all but the system's message.
    pub fn reset(&mut self) {
        self.messages.retain(|message| message.role == Role::System);
    }
}

#[cfg(test)]
mod tests;
