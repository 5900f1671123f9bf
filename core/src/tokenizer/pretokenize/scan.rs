use crate::tokenizer::unicode::{Class, class};

/// Returns the character that starts at byte `at`, with its class.
#[inline]
pub(super) fn char_at(text: &str, at: usize) -> Option<(char, Class)> {
    let c = text.get(at..)?.chars().next()?;
    Some((c, class(c)))
}

/// Returns the class of the character that starts at byte `at`.
#[inline]
pub(super) fn class_at(text: &str, at: usize) -> Option<Class> {
    char_at(text, at).map(|(_, class)| class)
}

/// Returns where the run of characters that satisfy `belongs` ends, from byte `at` on.
#[inline]
pub(super) fn run_end(text: &str, at: usize, belongs: impl Fn(char, Class) -> bool) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    rest.char_indices()
        .find(|&(_, c)| !belongs(c, class(c)))
        .map_or(text.len(), |(end, _)| at + end)
}

/// Returns the bytes of an English contraction at the start of `text`, letters in lower case
/// or, if `any_case`, in either.
#[inline]
pub(super) fn contraction(text: &str, any_case: bool) -> Option<usize> {
    let rest = text.as_bytes().strip_prefix(b"'")?;
    let letter = |at: usize| -> Option<u8> {
        let byte = *rest.get(at)?;
        Some(if any_case { byte.to_ascii_lowercase() } else { byte })
    };
    match letter(0)? {
        b's' | b't' | b'm' | b'd' => Some(2),
        b'r' | b'v' if letter(1) == Some(b'e') => Some(3),
        b'l' if letter(1) == Some(b'l') => Some(3),
        _ => None,
    }
}

/// Returns the bytes of a word of white space at the start of `text`; 0 if there is none.
///
/// The last space of a run is left to the word that follows, unless it is the only one or
/// nothing follows: `\s+(?!\S)|\s+`.
#[inline]
pub(super) fn spaces(text: &str) -> usize {
    let end = run_end(text, 0, |_, class| class == Class::Space);
    let last = match text.get(..end).and_then(|run| run.chars().next_back()) {
        Some(last) => last.len_utf8(),
        None => return 0,
    };
    if end < text.len() && end > last { end - last } else { end }
}
