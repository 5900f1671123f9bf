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

    /// By number of the type.
    const OF_TYPES: [Attr; 7] = [
        Attr::UNDEFINED,
        Attr::NORMAL,
        Attr::UNKNOWN,
        Attr::CONTROL,
        Attr::USER,
        Attr::UNUSED,
        Attr::BYTE,
    ];

    /// Returns the attribute for a value of `tokenizer.ggml.token_type`.
    pub(super) fn from_type(ty: i32) -> Self {
        match usize::try_from(ty).ok().and_then(|ty| Attr::OF_TYPES.get(ty)) {
            Some(&attr) => attr,
            None => Attr::UNDEFINED,
        }
    }

    pub(super) const fn or(self, other: Attr) -> Attr {
        Attr(self.0 | other.0)
    }

    pub(super) const fn any(self, of: Attr) -> bool {
        self.0 & of.0 != 0
    }
}
