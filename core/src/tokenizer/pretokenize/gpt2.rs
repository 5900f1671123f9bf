use super::scan::{contraction, kind_at, run_end, spaces};
use crate::tokenizer::unicode::{Class, class_at};

/// Returns the bytes of the first word of `text`, by GPT-2's expression.
pub(super) fn word(text: &str) -> usize {
    if let Some(bytes) = contraction(text, false) {
        return bytes;
    }
    // A space goes with what follows it.
    let start = usize::from(text.starts_with(' '));
    let kind = kind_at(text, start);
    for set in [Class::LETTER, Class::NUMBER, Class::MARK] {
        if kind.any(set) {
            return run_end(text, start, set);
        }
    }
    spaces(text, false)
}

/// Returns the bytes of one number character, or of everything before the first one.
pub(super) fn digit_or_others(text: &str) -> usize {
    match class_at(text, 0) {
        Some((Class::NUMBER, bytes)) => bytes,
        _ => run_end(text, 0, Class::NUMBER.not()),
    }
}
