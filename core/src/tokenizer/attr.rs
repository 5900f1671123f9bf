//! What kind of token a token is.

/// Attributes of a token, as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attr(pub(super) u8);

impl Attr {
    pub(super) const UNDEFINED: Attr = Attr(0);
    pub(super) const NORMAL: Attr = Attr(1);
    pub(super) const UNKNOWN: Attr = Attr(1 << 1);
    pub(super) const CONTROL: Attr = Attr(1 << 2);
    pub(super) const USER: Attr = Attr(1 << 3);
    pub(super) const UNUSED: Attr = Attr(1 << 4);
    pub(super) const BYTE: Attr = Attr(1 << 5);
    /// Tokens that are found in text as they are written, before anything is split.
    pub(super) const SPECIAL: Attr = Attr::CONTROL.or(Attr::USER).or(Attr::UNKNOWN);
    /// Of those, the ones found only if the caller asks, and hidden when text is written.
    pub(super) const HIDDEN: Attr = Attr::CONTROL.or(Attr::UNKNOWN);

    /// Returns the attribute for a value of `tokenizer.ggml.token_type`.
    pub(super) const fn from_type(ty: i32) -> Self {
        match ty {
            1 => Attr::NORMAL,
            2 => Attr::UNKNOWN,
            3 => Attr::CONTROL,
            4 => Attr::USER,
            5 => Attr::UNUSED,
            6 => Attr::BYTE,
            _ => Attr::UNDEFINED,
        }
    }

    pub(super) const fn or(self, other: Attr) -> Attr {
        Attr(self.0 | other.0)
    }

    pub(super) const fn any(self, of: Attr) -> bool {
        self.0 & of.0 != 0
    }
}
