use crate::Token;

use super::error::Stop;

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

    #[cfg_attr(target_pointer_width = "64", inline)]
    pub(super) fn push(&mut self, token: Token) -> Result<(), Stop> {
        *self.tokens.get_mut(self.len).ok_or(Stop::OutputFull)? = token;
        self.len += 1;
        Ok(())
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }
}
