//! The few character classes that pre-tokenizers ask about.
//!
//! The tables are those of one pinned Unicode version, because a tokenizer's ids depend on it;
//! `generate.py` beside this file says which and why, and writes `tables.rs`. They are runs
//! searched by halving: 7 KiB of flash, and text is mostly ASCII, which never reaches them.

mod tables;

pub use tables::UNICODE_VERSION;

/// What a pre-tokenizer sees of a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Anything else: marks, symbols, controls, unassigned code points.
    Other,
    /// `\p{L}`.
    Letter,
    /// `\p{N}`.
    Number,
    /// `\p{P}`; told apart from [`Class::Other`] by the `default` pre-tokenizer alone.
    Punctuation,
    /// `\s`: the White_Space property.
    Space,
}

impl Class {
    /// True for what `[^\s\p{L}\p{N}]` matches.
    pub(super) const fn is_mark(self) -> bool {
        matches!(self, Class::Other | Class::Punctuation)
    }
}

/// Returns the class of `c`.
#[inline]
pub(super) fn class(c: char) -> Class {
    if c.is_ascii() { ascii_class(c as u8) } else { wide_class(c) }
}

#[inline]
fn ascii_class(b: u8) -> Class {
    match b {
        b'a'..=b'z' | b'A'..=b'Z' => Class::Letter,
        b'0'..=b'9' => Class::Number,
        b' ' | 0x09..=0x0d => Class::Space,
        b'$' | b'+' | b'<' | b'=' | b'>' | b'^' | b'`' | b'|' | b'~' => Class::Other,
        b'!'..=b'~' => Class::Punctuation,
        _ => Class::Other,
    }
}

fn wide_class(c: char) -> Class {
    if is_wide_space(c) {
        return Class::Space;
    }
    // Runs are `start << 2 | class`: the last one that starts at or before `c` holds it.
    let after = tables::RUNS.partition_point(|&run| run >> 2 <= c as u32);
    match after.checked_sub(1).and_then(|at| tables::RUNS.get(at)).map(|run| run & 3) {
        Some(1) => Class::Letter,
        Some(2) => Class::Number,
        Some(3) => Class::Punctuation,
        _ => Class::Other,
    }
}

/// The White_Space property beyond ASCII.
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

    #[test]
    fn ascii_agrees_with_the_tables() {
        for c in (0u8..128).map(char::from) {
            let expected =
                if c.is_ascii_whitespace() || c == '\u{b}' { Class::Space } else { wide_class(c) };
            assert_eq!(class(c), expected, "{c:?}");
        }
    }

    #[test]
    fn runs_are_sorted_and_start_at_zero() {
        assert_eq!(tables::RUNS[0] >> 2, 0);
        assert!(tables::RUNS.windows(2).all(|w| w[0] >> 2 < w[1] >> 2 && w[0] & 3 != w[1] & 3));
    }

    #[test]
    fn known_characters() {
        for (c, expected) in [
            ('é', Class::Letter),
            ('字', Class::Letter),
            ('٣', Class::Number),
            ('Ⅷ', Class::Number),
            ('\u{301}', Class::Other),
            ('😀', Class::Other),
            ('。', Class::Punctuation),
            ('\u{3000}', Class::Space),
            ('\u{10ffff}', Class::Other),
        ] {
            assert_eq!(class(c), expected, "{c:?}");
        }
    }
}
