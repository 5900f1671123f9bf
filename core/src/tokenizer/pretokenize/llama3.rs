use super::scan::{char_at, class_at, contraction, run_end, spaces};
use crate::tokenizer::unicode::Class;

const fn is_line_end(c: char) -> bool {
    matches!(c, '\r' | '\n')
}

/// Returns the bytes of the first word of `text`, by Llama 3's expression with up to
/// `max_digits` number characters to a word.
#[inline]
pub(super) fn word(text: &str, max_digits: usize) -> usize {
    if let Some(len) = contraction(text, true) {
        return len;
    }
    let Some((first, kind)) = char_at(text, 0) else { return 0 };
    let second = first.len_utf8();

    if kind == Class::Letter
        || kind != Class::Number
            && !is_line_end(first)
            && class_at(text, second) == Some(Class::Letter)
    {
        return run_end(text, second, |_, class| class == Class::Letter);
    }
    if kind == Class::Number {
        let digits = text.char_indices().take(max_digits);
        let numbers = digits.take_while(|&(at, _)| class_at(text, at) == Some(Class::Number));
        return numbers.last().map_or(second, |(at, c)| at + c.len_utf8());
    }

    let start = usize::from(first == ' ');
    let mark = if start == 1 { class_at(text, 1) } else { Some(kind) };
    if mark.is_some_and(Class::is_mark) {
        let end = run_end(text, start, |_, class| class.is_mark());
        return run_end(text, end, |c, _| is_line_end(c));
    }

    // White space up to the last line end of its run, if it has one.
    let run = run_end(text, 0, |_, class| class == Class::Space);
    match text.get(..run).and_then(|run| run.rfind(is_line_end)) {
        Some(last) => last + 1,
        None => spaces(text),
    }
}
