use crate::Token;

use super::TokenizerError;

/// The tokens written so far, in the caller's slice.
#[derive(Debug)]
pub(super) struct Output<'o> {
    tokens: &'o mut [Token],
    len: usize,
}

impl<'o> Output<'o> {
    pub(super) const fn new(tokens: &'o mut [Token]) -> Self {
        Self { tokens, len: 0 }
    }

    #[inline]
    pub(super) fn push(&mut self, token: Token) -> Result<(), TokenizerError> {
        let needed_at_least = self.len + 1;
        let full = TokenizerError::OutputFull { needed_at_least };
        *self.tokens.get_mut(self.len).ok_or(full)? = token;
        self.len = needed_at_least;
        Ok(())
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }
}
