//! Any bytes, written so that they are safe in a line.

use core::fmt;

/// Any bytes, as a field of a line.
///
/// Printable ASCII stands for itself, but for `%`, `*`, `<`, `>` and `|`; everything else is `%` and
/// two hexadecimal digits. So each text has one spelling, and what is read is what was written.
#[derive(Clone, Copy)]
pub struct Text<'a> {
    bytes: &'a [u8],
    is_escaped: bool,
}

impl<'a> Text<'a> {
    /// Returns a text of these bytes.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Text { bytes, is_escaped: false }
    }

    /// Returns the text that a field spells.
    pub(crate) fn read(field: &'a [u8]) -> Option<Self> {
        let text = Text { bytes: field, is_escaped: true };
        // Written again, it would be the same.
        let mut written = field.iter().copied();
        for byte in text.bytes() {
            for expected in escape(byte) {
                if written.next() != Some(expected) {
                    return None;
                }
            }
        }
        written.next().is_none().then_some(text)
    }

    /// Returns its bytes.
    pub const fn bytes(self) -> Bytes<'a> {
        Bytes { text: self }
    }

    /// Returns the bytes of its spelling.
    pub(crate) fn escaped(self) -> impl Iterator<Item = u8> {
        self.bytes().flat_map(escape)
    }
}

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes().eq(other.bytes())
    }
}

impl Eq for Text<'_> {}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        self.bytes().try_for_each(|byte| write!(f, "{}", byte.escape_ascii()))?;
        f.write_str("\"")
    }
}

/// The bytes of a [`Text`].
#[derive(Clone, Debug)]
pub struct Bytes<'a> {
    text: Text<'a>,
}

impl Iterator for Bytes<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let (byte, rest) = match self.text.bytes {
            [b'%', high, low, rest @ ..] if self.text.is_escaped => {
                (hex_digit(*high)? << 4 | hex_digit(*low)?, rest)
            }
            [byte, rest @ ..] => (*byte, rest),
            [] => return None,
        };
        self.text.bytes = rest;
        Some(byte)
    }
}

/// Returns how a byte is spelled.
fn escape(byte: u8) -> impl Iterator<Item = u8> {
    let [high, low] = hex(byte);
    let is_safe = matches!(byte, b' '..=b'~') && !b"%*<>|".contains(&byte);
    let (spelling, n) = if is_safe { ([byte, 0, 0], 1) } else { ([b'%', high, low], 3) };
    spelling.into_iter().take(n)
}

/// Returns the two digits of a byte.
pub(crate) fn hex(byte: u8) -> [u8; 2] {
    [byte >> 4, byte & 15].map(|digit| if digit < 10 { b'0' + digit } else { b'a' + digit - 10 })
}

/// Returns the value of a digit, which is in lower case.
pub(crate) fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}
