use super::scan::{contraction, run_end, spaces};
use crate::tokenizer::unicode::{Class, class_at};

/// Returns the bytes of the first word of `text`, by GPT-2's expression.
///
/// With `digits_apart`, every number character is a word, and what lies between is split as if the
/// text ended before the next one.
pub(super) fn word(text: &str, digits_apart: bool) -> usize {
    if let Some(bytes) = contraction(text, false) {
        return bytes;
    }
    // A space goes with what follows it.
    let start = usize::from(text.starts_with(' '));
    if let Some((kind, bytes)) = class_at(text, start) {
        if digits_apart && kind.any(Class::NUMBER) {
            return if start == 0 { bytes } else { start };
        }
        for set in [Class::LETTER, Class::NUMBER, Class::MARK] {
            if kind.any(set) {
                return run_end(text, start + bytes, set);
            }
        }
    }
    let end = if digits_apart { Class::NUMBER } else { Class::NONE };
    spaces(text, end, false)
}
