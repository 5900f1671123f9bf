use super::scan::{contraction, run_end, spaces};
use crate::tokenizer::unicode::{Class, class_at};

/// What may stand before the letters of a word: `[^\r\n\p{L}\p{N}]`.
const BEFORE_LETTERS: Class = Class::LINE_END.or(Class::LETTER).or(Class::NUMBER).not();

/// Returns the bytes of the first word of `text`, by Llama 3's expression with up to
/// `max_digits` number characters to a word.
pub(super) fn word(text: &str, max_digits: usize) -> usize {
    if let Some(bytes) = contraction(text, true) {
        return bytes;
    }
    let Some((kind, second)) = class_at(text, 0) else { return 0 };
    if kind.any(Class::LETTER)
        || kind.any(BEFORE_LETTERS)
            && class_at(text, second).is_some_and(|(class, _)| class.any(Class::LETTER))
    {
        return run_end(text, second, Class::LETTER);
    }
    if kind.any(Class::NUMBER) {
        let mut end = second;
        for _ in 1..max_digits {
            match class_at(text, end) {
                Some((Class::NUMBER, bytes)) => end += bytes,
                _ => break,
            }
        }
        return end;
    }
    let start = usize::from(text.starts_with(' '));
    if let Some((mark, bytes)) = class_at(text, start)
        && mark.any(Class::MARK)
    {
        let end = run_end(text, start + bytes, Class::MARK);
        return run_end(text, end, Class::LINE_END);
    }
    spaces(text, Class::NONE, true)
}
