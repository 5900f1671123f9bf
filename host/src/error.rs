//! What can go wrong, in words for the person at the terminal, and the exit code of each kind.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use bantam_core::gguf::ParseError;

/// Everything the host library and the command can fail with. `Display` is one line: what is
/// wrong, where, and what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The command line asks for something that makes no sense.
    #[error("{0}")]
    Usage(String),
    /// A file named by the user cannot be opened or read; the text says what to do.
    #[error("{}: {what}", Shown(.path))]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it and what to do next.
        what: String,
    },
    /// The model file is no GGUF file.
    #[error("{}: not a GGUF model: {what}", Shown(.path))]
    NotAModel {
        /// The file.
        path: PathBuf,
        /// What it looks like instead.
        what: &'static str,
    },
    /// The file's structure is broken.
    #[error("{}: {source}", Shown(.path))]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is broken and at which byte.
        source: Box<ParseError>,
    },
    /// The file is whole, but not a model that can be run, or its chat template is broken.
    #[error("{}: {what}", Shown(.path))]
    Model {
        /// The file.
        path: PathBuf,
        /// Which part and why.
        what: String,
    },
    /// The model file changed while it was in use, so nothing computed from it can be trusted.
    #[error("{}: the file changed while it was in use; the output cannot be trusted, run again", Shown(.path))]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The prompt and what is to follow do not fit into the context.
    #[error("{0}")]
    ContextFull(String),
    /// Working memory could not be had.
    #[error("{what}")]
    Memory {
        /// How much was needed, how much there is, and what to do next.
        what: String,
    },
    /// Threads could not be started.
    #[error("cannot start {0} threads: {1}; try a smaller --threads")]
    Threads(usize, io::Error),
    /// The engine refused; this should have been caught before.
    #[error("{0}")]
    Engine(String),
    /// A board at a serial line gives no answer, or a reason for none.
    #[error("{}: {what}", Shown(.port))]
    Board {
        /// The serial port.
        port: PathBuf,
        /// What is wrong and what to do next.
        what: String,
    },
    /// Output cannot be written.
    #[error("{to}: cannot write: {source}")]
    Write {
        /// Where to.
        to: String,
        /// Why not.
        source: io::Error,
    },
    /// Whoever read the output has closed it. Ends the program without a word.
    #[error("the reader of the output has gone")]
    BrokenPipe,
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

/// Exit codes, as documented by `bantam --help`.
pub mod exit {
    /// All went well (also when whoever read the output stopped reading).
    pub const OK: u8 = 0;
    /// A failure while running.
    pub const FAILURE: u8 = 1;
    /// The command line is wrong.
    pub const USAGE: u8 = 2;
    /// The model file is malformed, not supported, or changed while in use.
    pub const MODEL: u8 = 3;
    /// A file cannot be opened or read.
    pub const FILE: u8 = 4;
    /// The prompt does not fit into the context.
    pub const CONTEXT_FULL: u8 = 5;
    /// A board at a serial line gives no answer, or refuses to.
    pub const BOARD: u8 = 6;
    /// Ctrl-C.
    pub const INTERRUPTED: u8 = 130;
}

impl Error {
    /// The exit code a command that fails with this error ends with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::BrokenPipe => exit::OK,
            Self::Usage(_) => exit::USAGE,
            Self::NotAModel { .. }
            | Self::Parse { .. }
            | Self::Model { .. }
            | Self::Changed { .. } => exit::MODEL,
            Self::File { .. } => exit::FILE,
            Self::ContextFull(_) => exit::CONTEXT_FULL,
            Self::Board { .. } => exit::BOARD,
            Self::Interrupted => exit::INTERRUPTED,
            _ => exit::FAILURE,
        }
    }

    /// Returns the error for a failed write to `to`: a closed pipe is told apart.
    pub fn write(to: impl Into<String>, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::BrokenPipe => Self::BrokenPipe,
            _ => Self::Write { to: to.into(), source },
        }
    }

    /// Returns the error for a failed write to standard output.
    pub fn stdout(source: io::Error) -> Self {
        Self::write("standard output", source)
    }

    /// Returns the error for a file that could not be opened or read.
    pub fn file(path: &Path, source: &io::Error) -> Self {
        let what = match source.kind() {
            io::ErrorKind::NotFound => "no such file; check the path".into(),
            io::ErrorKind::PermissionDenied => {
                "permission denied; make the file readable for this user (chmod u+r)".into()
            }
            _ => format!("cannot be read: {}", Reason(source)),
        };
        Self::File { path: path.into(), what }
    }
}

/// A system error without the number that Rust adds.
pub(crate) struct Reason<'a>(pub(crate) &'a io::Error);

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        let text = text.split(" (os error").next().unwrap_or_default();
        f.write_str(&text.to_lowercase())
    }
}

/// A path on one line: control characters are escaped.
pub struct Shown<'a>(pub &'a Path);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        OneLine(&self.0.to_string_lossy()).fmt(f)
    }
}

/// Text from a file or a path, on one line: control characters (an escape sequence would command
/// the terminal) and bidirectional overrides are escaped.
pub struct OneLine<'a>(pub &'a str);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            let reorders = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            if c.is_control() || reorders || c == '\u{2028}' || c == '\u{2029}' {
                write!(f, "{}", c.escape_default())?;
            } else {
                fmt::Write::write_char(f, c)?;
            }
        }
        Ok(())
    }
}
