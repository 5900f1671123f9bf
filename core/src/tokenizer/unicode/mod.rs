//! The few character classes that pre-tokenizers ask about.
//!
//! The tables are those of one pinned Unicode version, because a tokenizer's ids depend on it;
//! `generate.py` beside this file says which and why, and writes `tables.rs`. Text is mostly
//! ASCII, which has a table of its own and never reaches them.

mod tables;

pub use tables::UNICODE_VERSION;

use tables::{GROUPS, OFFSET_BITS, RUNS};

/// What a pre-tokenizer sees of a character: one bit, or several for a set of such classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Class(u8);

impl Class {
    /// The empty set.
    pub(super) const NONE: Class = Class(0);
    /// Anything else: marks, symbols, controls, unassigned code points.
    pub(super) const OTHER: Class = Class(1);
    /// `\p{L}`.
    pub(super) const LETTER: Class = Class(1 << 1);
    /// `\p{N}`.
    pub(super) const NUMBER: Class = Class(1 << 2);
    /// `\p{P}`.
    pub(super) const PUNCTUATION: Class = Class(1 << 3);
    /// ``[$+<=>^|~]``: told apart from [`Class::OTHER`], as [`Class::PUNCTUATION`] is, by the
    /// `default` pre-tokenizer alone.
    pub(super) const SYMBOL: Class = Class(1 << 4);
    /// `[\r\n]`.
    pub(super) const LINE_END: Class = Class(1 << 5);
    /// The White_Space property without [`Class::LINE_END`].
    pub(super) const BLANK: Class = Class(1 << 6);

    /// `\s`.
    pub(super) const SPACE: Class = Class::BLANK.or(Class::LINE_END);
    /// `[^\s\p{L}\p{N}]`.
    pub(super) const MARK: Class = Class::SPACE.or(Class::LETTER).or(Class::NUMBER).not();

    pub(super) const fn or(self, other: Class) -> Class {
        Class(self.0 | other.0)
    }

    pub(super) const fn not(self) -> Class {
        Class(!self.0)
    }

    pub(super) const fn any(self, of: Class) -> bool {
        self.0 & of.0 != 0
    }
}

/// Returns the class of the character of `text` that starts at byte `at`, and its bytes; `None` at
/// the end of the text.
#[cfg_attr(target_pointer_width = "64", inline)]
pub(super) fn class_at(text: &str, at: usize) -> Option<(Class, usize)> {
    let byte = *text.as_bytes().get(at)?;
    match ASCII.get(usize::from(byte)) {
        Some(&class) => Some((class, 1)),
        None => {
            let rest = text.get(at..)?;
            let mut chars = rest.chars();
            let class = wide_class(chars.next()?);
            Some((class, rest.len() - chars.as_str().len()))
        }
    }
}

static ASCII: [Class; 128] = {
    let mut classes = [Class::OTHER; 128];
    let mut byte = 0;
    while byte < 128 {
        classes[byte] = ascii_class(byte as u8);
        byte += 1;
    }
    classes
};

const fn ascii_class(byte: u8) -> Class {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' => Class::LETTER,
        b'0'..=b'9' => Class::NUMBER,
        b'\r' | b'\n' => Class::LINE_END,
        b' ' | 0x09..=0x0d => Class::BLANK,
        b'$' | b'+' | b'<' | b'=' | b'>' | b'^' | b'|' | b'~' => Class::SYMBOL,
        b'`' => Class::OTHER,
        b'!'..=b'~' => Class::PUNCTUATION,
        _ => Class::OTHER,
    }
}

/// The class of a character beyond ASCII.
fn wide_class(c: char) -> Class {
    match category(c as u32) {
        Class::OTHER if is_wide_space(c) => Class::BLANK,
        class => class,
    }
}

/// The class that the tables give a code point.
fn category(code: u32) -> Class {
    let offset = |group: u32| (group & ((1 << OFFSET_BITS) - 1)) as usize;
    let after = GROUPS.partition_point(|&group| group >> OFFSET_BITS <= code);
    let group = after.checked_sub(1).and_then(|at| GROUPS.get(at)).copied().unwrap_or_default();
    let end = GROUPS.get(after).map_or(RUNS.len(), |&group| offset(group));
    let mut left = code - (group >> OFFSET_BITS);
    let mut class = 0;
    // The last run of a group has all that is left.
    for &run in RUNS.get(offset(group)..end).unwrap_or_default() {
        class = run & 3;
        let more = u32::from(run >> 2);
        if left <= more {
            break;
        }
        left -= more + 1;
    }
    Class(1 << class)
}

/// The White_Space property beyond ASCII; all of it is in no category that the tables tell.
const fn is_wide_space(c: char) -> bool {
    matches!(
        c,
        '\u{85}' | '\u{a0}' | '\u{1680}' | '\u{2000}'
            ..='\u{200a}' | '\u{2028}' | '\u{2029}' | '\u{202f}' | '\u{205f}' | '\u{3000}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(c: char) -> Class {
        let mut bytes = [0; 4];
        let text = c.encode_utf8(&mut bytes);
        let (class, bytes) = class_at(text, 0).unwrap();
        assert_eq!(bytes, text.len());
        class
    }

    #[test]
    fn ascii_agrees_with_the_tables() {
        for c in (0u8..128).map(char::from) {
            let expected = match c {
                '\n' | '\r' => Class::LINE_END,
                '\t' | '\u{b}' | '\u{c}' | ' ' => Class::BLANK,
                '$' | '+' | '<' | '=' | '>' | '^' | '|' | '~' => Class::SYMBOL,
                _ => category(c.into()),
            };
            assert_eq!(class(c), expected, "{c:?}");
            assert!(!expected.any(Class::SYMBOL) || category(c.into()) == Class::OTHER);
        }
    }

    #[test]
    fn white_space_is_that_of_the_standard_library() {
        for c in (0..=0x10_ffff).filter_map(char::from_u32) {
            assert_eq!(class(c).any(Class::SPACE), c.is_whitespace(), "{c:?}");
        }
    }

    #[test]
    fn groups_and_runs_are_in_order() {
        assert_eq!(GROUPS[0], 0);
        let mask = (1 << OFFSET_BITS) - 1;
        for pair in GROUPS.windows(2) {
            let (code, offset) = (pair[0] >> OFFSET_BITS, (pair[0] & mask) as usize);
            let (next_code, next_offset) = (pair[1] >> OFFSET_BITS, (pair[1] & mask) as usize);
            let runs = &RUNS[offset..next_offset];
            let length: u32 = runs.iter().map(|&run| u32::from(run >> 2) + 1).sum();
            assert!(code + length <= next_code, "U+{code:04x}");
            assert!(code + length == next_code || runs[runs.len() - 1] >> 2 == 63, "U+{code:04x}");
        }
        assert!(RUNS.windows(2).all(|runs| runs[0] & 3 != runs[1] & 3));
    }

    #[test]
    fn known_characters() {
        for (c, expected) in [
            ('é', Class::LETTER),
            ('字', Class::LETTER),
            ('\u{9fff}', Class::LETTER),
            ('\u{a48d}', Class::OTHER),
            ('٣', Class::NUMBER),
            ('Ⅷ', Class::NUMBER),
            ('\u{301}', Class::OTHER),
            ('😀', Class::OTHER),
            ('。', Class::PUNCTUATION),
            ('\u{3000}', Class::BLANK),
            ('\u{10ffff}', Class::OTHER),
        ] {
            assert_eq!(class(c), expected, "{c:?}");
        }
    }
}
