use super::scan::{char_at, class_at, contraction, run_end, spaces};
use crate::tokenizer::unicode::Class;

/// Returns the bytes of the first word of `text`, by GPT-2's expression.
#[inline]
pub(super) fn word(text: &str) -> usize {
    if let Some(len) = contraction(text, false) {
        return len;
    }
    let Some((first, first_class)) = char_at(text, 0) else { return 0 };
    // A space goes with what follows it.
    let start = usize::from(first == ' ');
    let kind = if start == 1 { class_at(text, 1) } else { Some(first_class) };
    match kind {
        Some(kind @ (Class::Letter | Class::Number)) => {
            run_end(text, start, |_, class| class == kind)
        }
        Some(kind) if kind.is_mark() => run_end(text, start, |_, class| class.is_mark()),
        _ => spaces(text),
    }
}

/// Returns the bytes of one number character, or of everything before the first one.
#[inline]
pub(super) fn digit_or_others(text: &str) -> usize {
    match char_at(text, 0) {
        Some((first, Class::Number)) => first.len_utf8(),
        _ => run_end(text, 0, |_, class| class != Class::Number),
    }
}
