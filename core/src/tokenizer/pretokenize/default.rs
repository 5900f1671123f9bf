use super::scan::{char_at, run_end};
use crate::tokenizer::unicode::Class;

/// True for `[\p{P}\$\+<=>\^~\|]`.
fn is_punctuation(c: char, class: Class) -> bool {
    class == Class::Punctuation || matches!(c, '$' | '+' | '<' | '=' | '>' | '^' | '~' | '|')
}

/// Returns the bytes of a run of punctuation, or of everything before the first.
pub(super) fn punctuation_or_others(text: &str) -> usize {
    let punctuation = char_at(text, 0).is_some_and(|(c, class)| is_punctuation(c, class));
    run_end(text, 0, |c, class| is_punctuation(c, class) == punctuation)
}

/// Splits a word before its first number character; a word has nothing after its numbers.
pub(super) fn split_number(word: &str) -> (&str, &str) {
    let start = run_end(word, 0, |_, class| class != Class::Number);
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
