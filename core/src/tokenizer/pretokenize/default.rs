use super::scan::run_end;
use crate::tokenizer::unicode::{Class, class_at};

/// `[\p{P}\$\+<=>\^~\|]`.
const PUNCTUATION: Class = Class::PUNCTUATION.or(Class::SYMBOL);

/// Returns the bytes of a run of punctuation, or of everything before the first.
pub(super) fn punctuation_or_others(text: &str) -> usize {
    let Some((kind, bytes)) = class_at(text, 0) else { return 0 };
    run_end(text, bytes, if kind.any(PUNCTUATION) { PUNCTUATION } else { PUNCTUATION.not() })
}

/// Splits a word before its first number character; a word has nothing after its numbers.
pub(super) fn split_number(word: &str) -> (&str, &str) {
    let start = run_end(word, 0, Class::NUMBER.not());
    word.split_at_checked(start).unwrap_or((word, ""))
}

/// Returns the bytes of three ASCII digits, or of everything before the first such three.
pub(super) fn digits(text: &str) -> usize {
    let three = |w: &[u8]| w.iter().all(u8::is_ascii_digit);
    match text.as_bytes().windows(3).position(three) {
        Some(0) => 3,
        Some(at) => at,
        None => text.len(),
    }
}
