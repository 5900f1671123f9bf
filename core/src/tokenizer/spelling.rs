//! How a vocabulary spells text, and the keys its index is searched by.
//!
//! Encoding looks up what the text's own bytes say, so the index is built over *keys*, the
//! bytes a stored text stands for, and encoding never spells anything out:
//! - byte-level BPE stores one printable character per byte (GPT-2's table); the key is the
//!   bytes themselves;
//! - SentencePiece stores `▁` (U+2581) for a space; the key has the space.
//!
//! A stored text that spells no key (a special token with other characters, or with a real
//! space) is entered under its own bytes, apart from the keys. It can be looked up, and no
//! text ever merges into it.

use super::hash::{Hash, Hasher, hash_bytes};

/// UTF-8 of U+2581, which SentencePiece writes for a space.
pub(super) const SPACE_MARK: &[u8] = "▁".as_bytes();

/// Keeps texts hashed as themselves apart from keys.
const VERBATIM: u32 = 1 << 31;

/// Which of the two ways a vocabulary spells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    ByteLevel,
    SpaceMark,
}

impl Spelling {
    /// Returns the spelling itself, which is a constant where a build has code for one only.
    #[cfg_attr(target_pointer_width = "64", inline)]
    const fn built_in(self) -> Self {
        match (cfg!(feature = "bpe"), cfg!(feature = "spm")) {
            (true, false) => Self::ByteLevel,
            (false, true) => Self::SpaceMark,
            _ => self,
        }
    }

    /// True if it is SentencePiece's.
    #[cfg_attr(target_pointer_width = "64", inline)]
    pub(super) const fn marks_spaces(self) -> bool {
        matches!(self.built_in(), Self::SpaceMark)
    }

    /// Splits the first byte of the key from what is left of a stored text; `None` at its end
    /// and where it spells no key.
    #[cfg_attr(target_pointer_width = "64", inline)]
    pub(super) fn split(self, stored: &[u8]) -> Option<(u8, &[u8])> {
        if !self.marks_spaces() {
            return split_byte_level(stored);
        }
        match stored.split_first()? {
            (b' ', _) => None,
            (&lead, rest) => match stored.strip_prefix(SPACE_MARK) {
                Some(rest) => Some((b' ', rest)),
                None => Some((lead, rest)),
            },
        }
    }

    /// Returns the hash under which a stored text is indexed.
    pub(super) fn hash_stored(self, stored: &[u8], seed: u32) -> Hash {
        if self.marks_spaces()
            && let Some(hash) = hash_word(stored, seed)
        {
            return hash;
        }
        let mut hasher = Hasher::new(seed);
        match self.feed(&mut hasher, stored) {
            [] => hasher.finish(),
            _ => hash_bytes(stored, seed ^ VERBATIM),
        }
    }

    /// Feeds the key that a stored text begins with, and returns what is left of the text.
    fn feed<'t>(self, hasher: &mut Hasher, mut stored: &'t [u8]) -> &'t [u8] {
        while let Some((byte, after)) = self.split(stored) {
            hasher.push(byte);
            stored = after;
        }
        stored
    }

    /// Takes what spells `key` off the front of a stored text; `None` if it begins otherwise.
    #[cfg_attr(target_pointer_width = "64", inline)]
    fn strip<'t>(self, mut stored: &'t [u8], key: &[u8]) -> Option<&'t [u8]> {
        for &expected in key {
            let (byte, after) = self.split(stored)?;
            if byte != expected {
                return None;
            }
            stored = after;
        }
        Some(stored)
    }

    /// True if a stored text spells `key`.
    #[cfg_attr(target_pointer_width = "64", inline)]
    pub(super) fn spells(self, stored: &[u8], key: &[u8]) -> bool {
        self.strip(stored, key).is_some_and(<[u8]>::is_empty)
    }
}

/// Returns the hash of a short text with no mark or space but a mark in front, which most texts
/// of a vocabulary are: eight bytes at a time instead of one.
#[cfg_attr(target_pointer_width = "64", inline)]
fn hash_word(stored: &[u8], seed: u32) -> Option<Hash> {
    let (marked, word) = match stored.strip_prefix(SPACE_MARK) {
        Some(word) => (true, word),
        None => (false, stored),
    };
    if word.iter().any(|&b| b == b' ' || b == 0xe2) {
        return None;
    }
    if !marked {
        return Some(hash_bytes(word, seed));
    }
    let mut key = [b' '; 64];
    key.get_mut(1..=word.len())?.copy_from_slice(word);
    key.get(..=word.len()).map(|key| hash_bytes(key, seed))
}

/// GPT-2's table read backwards: printable Latin-1 stands for itself, and the other 68 bytes
/// for U+0100 onwards, in order. All are one or two bytes of UTF-8.
#[cfg_attr(target_pointer_width = "64", inline)]
fn split_byte_level(stored: &[u8]) -> Option<(u8, &[u8])> {
    let (&lead, rest) = stored.split_first()?;
    if lead.is_ascii() {
        return lead.is_ascii_graphic().then_some((lead, rest));
    }
    let (&next, rest) = rest.split_first()?;
    if !(0xc2..=0xc5).contains(&lead) || next & 0xc0 != 0x80 {
        return None;
    }
    let code = u32::from(lead & 0x1f) << 6 | u32::from(next & 0x3f);
    let byte = match code {
        0xa1..=0xac | 0xae..=0xff => code,
        0x100..=0x120 => code - 0x100,
        0x121 => 0x7f,
        0x122..=0x142 => code - 0x122 + 0x80,
        0x143 => 0xad,
        _ => return None,
    };
    Some((byte as u8, rest))
}

/// A merge rule `left right` of a byte-level vocabulary, as stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Merge<'m>(pub(super) &'m [u8]);

impl Merge<'_> {
    /// Returns the hash of the rule's pair, as [`pair_hash`] gives it; `None` for a rule that
    /// no text can use.
    pub(super) fn hash(self, seed: u32) -> Option<Hash> {
        let mut hasher = Hasher::new(seed);
        let rest = Spelling::ByteLevel.feed(&mut hasher, self.0);
        let left = u32::try_from(hasher.len()).ok().filter(|&left| left > 0)?;
        let rest = Spelling::ByteLevel.feed(&mut hasher, rest.strip_prefix(b" ")?);
        (rest.is_empty() && hasher.len() > left as usize).then(|| hasher.finish().with(left))
    }

    /// True if the rule joins `pair[..left]` and `pair[left..]`.
    #[cfg_attr(target_pointer_width = "64", inline)]
    pub(super) fn joins(self, pair: &[u8], left: usize) -> bool {
        let Some((left, right)) = pair.split_at_checked(left) else { return false };
        let rest = Spelling::ByteLevel.strip(self.0, left);
        rest.and_then(|rest| rest.strip_prefix(b" "))
            .is_some_and(|rest| Spelling::ByteLevel.spells(rest, right))
    }
}

/// Returns the hash of `pair` split after its first `left` bytes.
#[cfg_attr(target_pointer_width = "64", inline)]
pub(super) fn pair_hash(pair: &[u8], left: usize, seed: u32) -> Hash {
    hash_bytes(pair, seed).with(left as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;
    use std::vec::Vec;

    /// GPT-2's table as its authors wrote it.
    fn char_of(byte: u8) -> char {
        let printable = |b: u8| matches!(b, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
        if printable(byte) {
            return char::from(byte);
        }
        let before = (0..byte).filter(|&b| !printable(b)).count() as u32;
        char::from_u32(256 + before).unwrap()
    }

    #[test]
    fn every_byte_is_spelled_and_read_back() {
        let all: Vec<u8> = (0..=255).collect();
        let stored: String = all.iter().map(|&b| char_of(b)).collect();
        assert!(Spelling::ByteLevel.spells(stored.as_bytes(), &all));
        let hash = Spelling::ByteLevel.hash_stored(stored.as_bytes(), 5);
        assert_eq!(hash, hash_bytes(&all, 5));
    }

    #[test]
    fn marked_words_hash_as_their_keys() {
        let long = "x".repeat(70);
        for word in ["", "a", "▁", "élan", "€", "a▁b", &long] {
            for mark in ["", "▁"] {
                let (stored, key) = (std::format!("{mark}{word}"), std::format!("{mark}{word}"));
                let key = key.replace('▁', " ");
                let hash = Spelling::SpaceMark.hash_stored(stored.as_bytes(), 3);
                assert_eq!(hash, hash_bytes(key.as_bytes(), 3), "{stored:?}");
                assert!(Spelling::SpaceMark.spells(stored.as_bytes(), key.as_bytes()));
            }
        }
    }

    #[test]
    fn what_spells_no_key_is_apart() {
        for (spelling, stored) in [
            (Spelling::ByteLevel, "a b"),
            (Spelling::ByteLevel, "字"),
            (Spelling::SpaceMark, "a b"),
        ] {
            assert!(!spelling.spells(stored.as_bytes(), stored.as_bytes()));
            assert_ne!(
                spelling.hash_stored(stored.as_bytes(), 0),
                hash_bytes(stored.as_bytes(), 0)
            );
        }
        assert!(Spelling::SpaceMark.spells("▁▁é".as_bytes(), "  é".as_bytes()));
        assert!(!Spelling::SpaceMark.spells("▁".as_bytes(), "▁".as_bytes()));
    }

    #[test]
    fn merges_join_at_their_split_only() {
        let merge = Merge("Ġa bc".as_bytes());
        assert!(merge.joins(b" abc", 2));
        assert!(!merge.joins(b" abc", 3));
        assert!(!merge.joins(b" ab", 2));
        assert_eq!(merge.hash(4), Some(pair_hash(b" abc", 2, 4)));
        for unusable in ["", "a", " a", "a ", "a b c", "a 字", "  "] {
            assert_eq!(Merge(unusable.as_bytes()).hash(0), None, "{unusable:?}");
        }
    }
}
