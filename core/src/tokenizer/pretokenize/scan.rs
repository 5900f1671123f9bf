use crate::tokenizer::unicode::{Class, class_at};

/// Returns where the run of characters of a set ends, from byte `at` on.
pub(super) fn run_end(text: &str, mut at: usize, set: Class) -> usize {
    while let Some((class, bytes)) = class_at(text, at)
        && class.any(set)
    {
        at += bytes;
    }
    at
}

/// Returns the bytes of an English contraction at the start of `text`, letters in lower case
/// or, if `any_case`, in either.
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
/// With `lines`, it is all up to the last line end of the run, if the run has one. Else the last
/// character of the run is left to the word that follows, unless it is the only one or nothing
/// follows, or what is of `end`: `\s+(?!\S)|\s+`.
pub(super) fn spaces(text: &str, end: Class, lines: bool) -> usize {
    let (mut line, mut last, mut at) = (0, 0, 0);
    while let Some((class, bytes)) = class_at(text, at) {
        if !class.any(Class::SPACE) {
            let whole = last == 0 || class.any(end);
            at = if whole { at } else { last };
            break;
        }
        last = at;
        at += bytes;
        if class.any(Class::LINE_END) {
            line = at;
        }
    }
    if lines && line > 0 { line } else { at }
}
