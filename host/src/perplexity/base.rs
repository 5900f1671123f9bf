//! Files of a base's predictions, laid out as those of `llama-perplexity`, so that either program
//! reads the other's.
//!
//! All numbers are little-endian: the magic, then tokens in a window, tokens in the vocabulary, and
//! windows, each of 32 bits; the tokens of all windows, 32 bits each; then for every scored position
//! a [`Stored`] row.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use bantam_core::Token;
use bantam_core::model::MAX_CTX;

use super::Windows;
use super::distribution::{Distribution, Stored, Summer};
use crate::error::Error;
use crate::new_file::NewFile;

const MAGIC: &[u8; 8] = b"_logits_";
/// Bytes before the tokens.
const HEADER: u64 = 20;

/// The size of a whole file, if there can be such a file.
fn file_bytes(n_ctx: usize, n_vocab: usize, n_windows: usize) -> Option<u64> {
    let rows = (Windows::scored_of(n_ctx) as u64).checked_mul(Stored::bytes(n_vocab) as u64)?;
    let window = rows.checked_add(4 * n_ctx as u64)?;
    window.checked_mul(n_windows as u64)?.checked_add(HEADER)
}

/// A base file that is being written; see [`NewFile`].
pub struct BaseWriter {
    file: NewFile,
    row: Vec<u8>,
}

impl BaseWriter {
    /// Begins a file for these windows and a model with so many tokens.
    ///
    /// # Errors
    /// [`Error::Write`], also if there is not enough room on the disk.
    pub fn create(path: &Path, windows: &Windows, n_vocab: usize) -> Result<Self, Error> {
        let bytes = file_bytes(windows.n_ctx(), n_vocab, windows.len()).unwrap_or(u64::MAX);
        let mut file = NewFile::create(path, Some(bytes))?;
        file.write(MAGIC)?;
        // None of them is over 2^31, nor is a token.
        for count in [windows.n_ctx(), n_vocab, windows.len()] {
            file.write(&(count as u32).to_le_bytes())?;
        }
        for token in windows.tokens() {
            file.write(&token.to_le_bytes())?;
        }
        Ok(Self { file, row: vec![0; Stored::bytes(n_vocab)] })
    }

    /// Appends the next position.
    pub(super) fn write(
        &mut self,
        summer: &Summer<'_>,
        logits: &[f32],
        of: &Distribution,
    ) -> Result<(), Error> {
        summer.store(logits, of, &mut self.row);
        self.file.write(&self.row)
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn finish(self) -> Result<(), Error> {
        self.file.finish()
    }
}

/// A base file that is being read.
#[derive(Debug)]
pub struct BaseReader {
    file: BufReader<File>,
    path: PathBuf,
    n_ctx: usize,
    n_vocab: usize,
    tokens: Vec<Token>,
    row: Vec<u8>,
}

impl BaseReader {
    /// Opens a file and checks that it is whole.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be read, is something else, or is cut off.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let fail = |source| Error::file(path, &source);
        let wrong = |what: String| Error::File { path: path.into(), what };
        let file = File::open(path).map_err(fail)?;
        let found = file.metadata().map_err(fail)?;
        if !found.is_file() {
            return Err(wrong("it is no regular file; give one that --save-base wrote".into()));
        }
        let mut file = BufReader::new(file);
        let mut header = Vec::new();
        file.by_ref().take(HEADER).read_to_end(&mut header).map_err(fail)?;
        if !header.starts_with(MAGIC) {
            return Err(wrong("not a file of predictions; give one that --save-base wrote".into()));
        }
        let mut counts = header.as_chunks::<4>().0.iter().skip(2);
        let mut count = || counts.next().map_or(0, |&bytes| u32::from_le_bytes(bytes) as usize);
        let (n_ctx, n_vocab, n_windows) = (count(), count(), count());
        let possible = (Windows::LEAST_CTX..=MAX_CTX).contains(&n_ctx) && n_vocab > 0;
        let bytes = file_bytes(n_ctx, n_vocab, n_windows).filter(|_| possible && n_windows > 0);
        let Some(bytes) = bytes else {
            return Err(wrong(format!(
                "its header makes no sense ({n_windows} windows of {n_ctx} tokens, {n_vocab} in \
                 the vocabulary); write it anew with --save-base"
            )));
        };
        if found.len() != bytes {
            return Err(wrong(format!(
                "it has {} bytes and should have {bytes} for {n_windows} windows of {n_ctx} \
                 tokens; it is cut off or damaged, write it anew with --save-base",
                found.len()
            )));
        }
        let mut tokens = vec![0; n_ctx * n_windows];
        let mut bytes = [0; 4];
        for token in &mut tokens {
            file.read_exact(&mut bytes).map_err(fail)?;
            *token = Token::from_le_bytes(bytes);
        }
        if let Some(token) = tokens.iter().find(|&&token| token as usize >= n_vocab) {
            return Err(wrong(format!(
                "it holds token {token}, but its vocabulary ends with {}; write it anew with \
                 --save-base",
                n_vocab - 1
            )));
        }
        let row = vec![0; Stored::bytes(n_vocab)];
        Ok(Self { file, path: path.into(), n_ctx, n_vocab, tokens, row })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Tokens in a window.
    pub const fn n_ctx(&self) -> usize {
        self.n_ctx
    }

    /// Tokens in the vocabulary.
    pub const fn n_vocab(&self) -> usize {
        self.n_vocab
    }

    /// The tokens of all windows.
    pub fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// Reads the next position.
    pub(super) fn next(&mut self) -> Result<Stored<'_>, Error> {
        let Self { file, path, row, n_vocab, .. } = self;
        file.read_exact(row).map_err(|source| Error::file(path, &source))?;
        Stored::read(row, *n_vocab).ok_or_else(|| Error::File {
            path: path.clone(),
            what: "a scale in it is no number; write it anew with --save-base".into(),
        })
    }
}
