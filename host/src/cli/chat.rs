//! `bantam run` without a prompt, on a terminal: a chat.

use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustyline::error::ReadlineError;
use rustyline::{Config, DefaultEditor};

use super::answer::{Screen, Session};
use super::say;
use crate::chat::{Conversation, Role};
use crate::error::{Error, Reason, Shown};
use crate::generate::Finish;
use crate::interrupt;

const HELP: &str = "\
  /help           this text
  /reset          forget the conversation
  /retry          answer the last message again
  /system [TEXT]  show what the model is told first, or replace it and start over
  /stats          speed of the last answer, and how full the context is
  /save FILE      write the conversation to a file
  /exit           leave (so does Ctrl-D)
A line that ends with \\ goes on in the next one. Ctrl-C stops an answer. The arrow keys bring
back earlier lines.";

/// A line that is for the program and not for the model.
enum Command<'l> {
    Help,
    Reset,
    Retry,
    System(&'l str),
    Stats,
    Save(&'l str),
    Exit,
    Unknown(&'l str),
}

impl<'l> Command<'l> {
    fn parse(line: &'l str) -> Option<Self> {
        let line = line.strip_prefix('/')?;
        let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        Some(match name {
            "help" | "?" => Self::Help,
            "reset" | "clear" => Self::Reset,
            "retry" => Self::Retry,
            "system" => Self::System(rest),
            "stats" => Self::Stats,
            "save" => Self::Save(rest),
            "exit" | "quit" | "bye" => Self::Exit,
            _ => Self::Unknown(name),
        })
    }
}

struct Chat<'c, 's, 'm, 'b, 't, 'u> {
    session: &'c mut Session<'s, 'm, 'b, 't, 'u>,
    conversation: Conversation,
    screen: Screen,
}

/// Talks until the person leaves.
pub(super) fn chat(
    session: &mut Session<'_, '_, '_, '_, '_>,
    system: Option<&str>,
) -> Result<(), Error> {
    let broken = |error: ReadlineError| Error::Write {
        to: "the terminal".into(),
        source: io::Error::other(error),
    };
    let config = Config::builder().auto_add_history(true).build();
    let mut editor = DefaultEditor::with_config(config).map_err(broken)?;
    let history = history_file();
    if let Some(history) = &history {
        // The first time there is none.
        let _ = editor.load_history(history);
    }
    greet(session);
    let mut chat =
        Chat { session, conversation: Conversation::new(system), screen: Screen::stdout() };
    let outcome = loop {
        match read(&mut editor) {
            Ok(line) => match chat.take(line.trim_end()) {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(error) => break Err(error),
            },
            Err(ReadlineError::Interrupted) => say("(Ctrl-D or /exit leaves)"),
            Err(ReadlineError::Eof) => break Ok(()),
            Err(error) => break Err(broken(error)),
        }
    };
    if let Some(history) = &history {
        // A chat must not fail because the history cannot be kept.
        let _ = history.parent().map(fs::create_dir_all);
        let _ = editor.save_history(history);
    }
    outcome
}

fn greet(session: &Session<'_, '_, '_, '_, '_>) {
    let name = session.file.path().file_stem().unwrap_or_default();
    let n_ctx = session.generator.n_ctx();
    say(format_args!("{}, context of {n_ctx} tokens. /help for help.", Shown(Path::new(name))));
    if session.template.is_none() {
        say("This model has no chat template: each line is continued as plain text.");
    }
    if session.generator.schema().is_some() {
        say("This model does not chat: it answers each line with a device command, as JSON. For \
             models that do, see `bantam run --help`.");
    }
}

/// Lines that were typed before are kept with the user's other state.
fn history_file() -> Option<PathBuf> {
    let absolute = |path: PathBuf| path.is_absolute().then_some(path);
    let state = env::var_os("XDG_STATE_HOME")
        .and_then(|path| absolute(path.into()))
        .or_else(|| Some(absolute(env::var_os("HOME")?.into())?.join(".local/state")))?;
    Some(state.join("bantam/history"))
}

/// Reads a message: one line, or several of which all but the last end with a backslash.
fn read(editor: &mut DefaultEditor) -> Result<String, ReadlineError> {
    let mut message = editor.readline("> ")?;
    while message.ends_with('\\') {
        message.pop();
        message.push('\n');
        message.push_str(&editor.readline(". ")?);
    }
    Ok(message)
}

impl Chat<'_, '_, '_, '_, '_, '_> {
    /// Does what a line asks for; returns whether the chat goes on.
    fn take(&mut self, line: &str) -> Result<bool, Error> {
        match Command::parse(line) {
            None if line.trim().is_empty() => {}
            None => self.message(line)?,
            Some(Command::Help) => say(HELP),
            Some(Command::Reset) => {
                self.conversation.reset();
                say("The conversation is forgotten.");
            }
            Some(Command::Retry) => self.retry()?,
            Some(Command::System(text)) => self.system(text),
            Some(Command::Stats) => self.stats(),
            Some(Command::Save(path)) => self.save(path),
            Some(Command::Exit) => return Ok(false),
            Some(Command::Unknown(name)) => {
                let name = crate::error::OneLine(name);
                say(format_args!("There is no command /{name}; /help lists them."));
            }
        }
        Ok(true)
    }

    /// Puts a message to the model and shows its answer.
    fn message(&mut self, text: &str) -> Result<(), Error> {
        interrupt::clear();
        if self.session.generator.schema().is_some() {
            // Each command stands alone.
            self.conversation.reset();
        }
        self.conversation.push(Role::User, text);
        let tokens = match &self.session.template {
            Some(template) => self.session.conversation_tokens(template, &self.conversation),
            None => self.session.plain_tokens(text),
        };
        let answer = tokens.and_then(|tokens| self.session.answer(&tokens, &mut self.screen));
        self.screen.end_line()?;
        match answer {
            Ok(answer) => {
                self.conversation.push(Role::Assistant, answer.text);
                match answer.finish {
                    Finish::ContextFull => {
                        say("(The context is full, so the answer was cut. /reset starts over; a \
                         larger --ctx holds more.)")
                    }
                    Finish::Interrupted => say("(stopped)"),
                    Finish::Limit => say("(-n reached)"),
                    Finish::End => {}
                }
            }
            // The message is taken back: what is in the context stays as it was.
            Err(Error::Interrupted) => {
                self.conversation.pop();
                say("(stopped)");
            }
            Err(Error::ContextFull(_)) => {
                self.conversation.pop();
                say(format_args!(
                    "(The conversation with this message does not fit into the context of {} \
                     tokens any more. /reset starts over; a larger --ctx holds more.)",
                    self.session.generator.n_ctx()
                ));
            }
            // A template that refuses, say: the chat can go on.
            Err(error @ Error::Model { .. }) => {
                self.conversation.pop();
                say(format_args!("({error})"));
            }
            Err(error) => return Err(error),
        }
        interrupt::clear();
        Ok(())
    }

    fn retry(&mut self) -> Result<(), Error> {
        let answered =
            self.conversation.messages().last().is_some_and(|last| last.role == Role::Assistant);
        if !answered {
            say("There is no answer to try again.");
            return Ok(());
        }
        self.conversation.pop();
        match self.conversation.pop() {
            Some(question) => self.message(&question.content),
            None => Ok(()),
        }
    }

    fn system(&mut self, text: &str) {
        if self.session.template.is_none() {
            say("This model has no chat template, so there is no system message.");
        } else if text.is_empty() {
            match self.conversation.system() {
                Some(system) => say(crate::error::OneLine(system)),
                None => say("The model is told nothing but what its template says."),
            }
        } else {
            self.conversation = Conversation::new(Some(text));
            say("Noted; the conversation starts over.");
        }
    }

    fn stats(&self) {
        let generator = &self.session.generator;
        if generator.stats().generated > 0 {
            say(self.session.footer());
        }
        say(format_args!(
            "The context holds {} of {} tokens.",
            generator.n_held(),
            generator.n_ctx()
        ));
    }

    fn save(&self, path: &str) {
        if path.is_empty() {
            say("Name a file: /save FILE");
            return;
        }
        let path = Path::new(path);
        let write = || {
            // Not over something that is there: a slip must not cost a file.
            let mut file = fs::File::create_new(path)?;
            for message in self.conversation.messages() {
                writeln!(file, "{}: {}\n", message.role.name(), message.content)?;
            }
            file.sync_all()
        };
        match write() {
            Ok(()) => say(format_args!("Saved to {}.", Shown(path))),
            Err(error) => {
                say(format_args!("{}: cannot be written: {}", Shown(path), Reason(&error)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_messages() {
        assert!(Command::parse("hello /help").is_none());
        assert!(matches!(Command::parse("/help"), Some(Command::Help)));
        assert!(matches!(
            Command::parse("/system  Be  brief "),
            Some(Command::System("Be  brief"))
        ));
        assert!(matches!(Command::parse("/system"), Some(Command::System(""))));
        assert!(matches!(Command::parse("/frobnicate x"), Some(Command::Unknown("frobnicate"))));
        assert!(matches!(Command::parse("/"), Some(Command::Unknown(""))));
    }

    #[test]
    fn help_names_every_command() {
        for name in ["help", "reset", "retry", "system", "stats", "save", "exit"] {
            assert!(HELP.contains(&format!("/{name}")), "{name}");
            assert!(!matches!(Command::parse(&format!("/{name}")), Some(Command::Unknown(_))));
        }
    }
}
