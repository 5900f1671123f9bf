//! Reading Rust source just well enough: which bytes are code, which comment, which test.
//!
//! A real parser would be a heavy dependency for three questions (paths, the word `unsafe`,
//! line counts), all of which need only comments, literals and braces told apart.

use std::ops::Range;
use std::path::{Path, PathBuf};

/// A source file with its comments and literals blanked out.
pub(crate) struct Source {
    /// The text with every comment, string and character literal replaced by spaces, byte for
    /// byte and line for line.
    pub(crate) code: String,
    /// Per line, whether it holds (part of) a comment.
    comment: Vec<bool>,
    /// Per line, whether it holds code or part of a literal.
    coded: Vec<bool>,
    /// Byte ranges of items under `#[cfg(test)]`.
    tests: Vec<Range<usize>>,
}

/// Lines of a file by kind. A line with code and a comment is a line of code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lines {
    pub(crate) code: usize,
    pub(crate) tests: usize,
    pub(crate) comments: usize,
    pub(crate) blank: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Code,
    LineComment,
    BlockComment { depth: u32 },
    Text,
    RawText { hashes: usize },
}

impl Source {
    /// Reads `text`.
    pub(crate) fn new(text: &str) -> Self {
        let bytes = text.as_bytes();
        let n_lines = text.lines().count();
        let mut source = Source {
            code: String::new(),
            comment: vec![false; n_lines],
            coded: vec![false; n_lines],
            tests: vec![],
        };
        let mut code = Vec::with_capacity(bytes.len());
        let mut state = State::Code;
        let (mut i, mut line) = (0, 0);
        while let Some(&byte) = bytes.get(i) {
            let (next, n, keep) = step(state, bytes, i);
            let in_comment =
                |s: State| matches!(s, State::LineComment | State::BlockComment { .. });
            for &b in &bytes[i..(i + n).min(bytes.len())] {
                if b == b'\n' {
                    line += 1;
                } else if !b.is_ascii_whitespace() {
                    let kind = if in_comment(state) || in_comment(next) {
                        &mut source.comment
                    } else {
                        &mut source.coded
                    };
                    if let Some(flag) = kind.get_mut(line) {
                        *flag = true;
                    }
                }
                code.push(if keep || b == b'\n' { b } else { b' ' });
            }
            debug_assert!(n > 0, "no progress at byte {i} ({byte})");
            i += n;
            state = next;
        }
        source.code = String::from_utf8_lossy(&code).into_owned();
        source.tests = test_items(&source.code);
        source
    }

    /// Whether the byte at `pos` belongs to an item under `#[cfg(test)]`.
    pub(crate) fn is_test(&self, pos: usize) -> bool {
        self.tests.iter().any(|range| range.contains(&pos))
    }

    /// The number, from 1, of the line with the byte at `pos`.
    pub(crate) fn line_of(&self, pos: usize) -> usize {
        1 + self.code.bytes().take(pos).filter(|&b| b == b'\n').count()
    }

    /// Positions of the identifier `word` outside comments and literals.
    pub(crate) fn find_word<'s>(&'s self, word: &'s str) -> impl Iterator<Item = usize> + 's {
        self.code.match_indices(word).map(|(pos, _)| pos).filter(move |&pos| {
            let before = self.code[..pos].chars().next_back();
            let after = self.code[pos + word.len()..].chars().next();
            !before.is_some_and(is_word) && !after.is_some_and(is_word)
        })
    }

    /// Its lines by kind; all code is `tests` when the whole file is.
    pub(crate) fn lines(&self, all_tests: bool) -> Lines {
        let mut lines = Lines::default();
        let mut pos = 0;
        for (i, text) in self.code.split('\n').enumerate() {
            if let (Some(&coded), Some(&comment)) = (self.coded.get(i), self.comment.get(i)) {
                let indent = text.len() - text.trim_start().len();
                match (coded, comment) {
                    (true, _) if all_tests || self.is_test(pos + indent) => lines.tests += 1,
                    (true, _) => lines.code += 1,
                    (false, true) => lines.comments += 1,
                    (false, false) => lines.blank += 1,
                }
            }
            pos += text.len() + 1;
        }
        lines
    }
}

/// Whether `c` can be part of an identifier.
pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// What the bytes at `i` are: the state after them, how many, and whether they are code.
fn step(state: State, bytes: &[u8], i: usize) -> (State, usize, bool) {
    let rest = &bytes[i..];
    match state {
        State::Code => {
            if rest.starts_with(b"//") {
                return (State::LineComment, 2, false);
            }
            if rest.starts_with(b"/*") {
                return (State::BlockComment { depth: 1 }, 2, false);
            }
            let after_word =
                i > 0 && (bytes[i - 1].is_ascii_alphanumeric() || bytes[i - 1] == b'_');
            if !after_word {
                let prefix = [&b"br"[..], b"cr", b"r"].into_iter().find(|p| rest.starts_with(p));
                if let Some(prefix) = prefix {
                    let hashes = rest[prefix.len()..].iter().take_while(|&&b| b == b'#').count();
                    if rest.get(prefix.len() + hashes) == Some(&b'"') {
                        return (State::RawText { hashes }, prefix.len() + hashes + 1, false);
                    }
                }
            }
            match rest[0] {
                b'"' => (State::Text, 1, false),
                b'\'' => match char_literal(rest) {
                    Some(n) => (State::Code, n, false),
                    None => (State::Code, 1, true),
                },
                _ => (State::Code, 1, true),
            }
        }
        State::LineComment if rest[0] == b'\n' => (State::Code, 1, true),
        State::LineComment => (State::LineComment, 1, false),
        State::BlockComment { depth } if rest.starts_with(b"*/") => (
            if depth > 1 { State::BlockComment { depth: depth - 1 } } else { State::Code },
            2,
            false,
        ),
        State::BlockComment { depth } if rest.starts_with(b"/*") => {
            (State::BlockComment { depth: depth + 1 }, 2, false)
        }
        State::BlockComment { .. } => (state, 1, false),
        State::Text => match rest[0] {
            b'\\' => (State::Text, 2, false),
            b'"' => (State::Code, 1, false),
            _ => (State::Text, 1, false),
        },
        State::RawText { hashes } => {
            let closes =
                rest[0] == b'"' && rest[1..].iter().take_while(|&&b| b == b'#').count() >= hashes;
            if closes { (State::Code, 1 + hashes, false) } else { (state, 1, false) }
        }
    }
}

/// The length of the character literal at the start of `rest`, or `None` for a lifetime.
fn char_literal(rest: &[u8]) -> Option<usize> {
    if rest.get(1) == Some(&b'\\') {
        // The escaped byte itself may be a quote.
        let close = rest.iter().skip(3).position(|&b| b == b'\'')?;
        return Some(close + 4);
    }
    // One character, of up to four bytes, and a quote.
    let text = std::str::from_utf8(&rest[1..rest.len().min(6)]);
    let text = text.or_else(|e| std::str::from_utf8(&rest[1..1 + e.valid_up_to()])).ok()?;
    let c = text.chars().next()?;
    (rest.get(1 + c.len_utf8()) == Some(&b'\'')).then_some(2 + c.len_utf8())
}

/// Byte ranges of the items behind `#[cfg(test)]` in blanked code.
fn test_items(code: &str) -> Vec<Range<usize>> {
    let mut items: Vec<Range<usize>> = Vec::new();
    for (start, attr) in code.match_indices("#[cfg(test)]") {
        if items.last().is_some_and(|item| item.contains(&start)) {
            continue;
        }
        let mut depth = 0u32;
        let mut end = code.len();
        for (i, byte) in code.bytes().enumerate().skip(start + attr.len()) {
            match byte {
                b'{' => depth += 1,
                b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 && (byte == b'}' || byte == b';') {
                end = i + 1;
                break;
            }
        }
        items.push(start..end);
    }
    items
}

/// All `.rs` files under `dir`, sorted; folders named `target` and hidden ones are left out.
///
/// # Errors
/// When a folder cannot be read.
pub(crate) fn rust_files(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(&dir)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "target" && !name.starts_with('.') {
                    todo.push(path);
                }
            } else if name.ends_with(".rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Whether a file holds only tests, by its name or folder.
pub(crate) fn is_test_file(path: &Path) -> bool {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let in_tests = path
        .components()
        .any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "benches")));
    in_tests || name == "tests" || name.ends_with("_tests")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked() {
        let text = "let a = \"// no { \\\" }\"; // crate::x\n/* a /* b */ c */ let b = 'x'; let c = '\\''; f::<'a>();\n";
        let source = Source::new(text);
        assert_eq!(source.code.len(), text.len());
        assert!(
            !source.code.contains("no")
                && !source.code.contains("crate")
                && !source.code.contains('x')
        );
        assert!(
            source.code.contains("let b =")
                && source.code.contains("let c =")
                && source.code.contains("<'a>")
        );
        let raw = Source::new("let r = br#\"a\" unsafe \"#; unsafe_code; r; bar\"x\"; unsafe");
        assert_eq!(raw.find_word("unsafe").count(), 1);
        let wide = Source::new("let q = 'ß'; let d = '\"'; unsafe {}");
        assert_eq!(wide.find_word("unsafe").count(), 1);
    }

    #[test]
    fn test_items_end_where_they_end() {
        let text = "use a;\n#[cfg(test)]\nuse b::{c};\nfn x() {}\n#[cfg(test)]\nmod tests {\n  fn y() { {} }\n}\nfn z() {}\n";
        let source = Source::new(text);
        let test = |what: &str| source.is_test(text.find(what).unwrap());
        assert!(test("b::{c}") && test("fn y"));
        assert!(!test("use a") && !test("fn x") && !test("fn z"));
    }

    #[test]
    fn lines_by_kind() {
        let text = "//! doc\n\nfn a() {} // why\n/*\n\nmore */\nlet s = \"\nhttp://x\n\";\n#[cfg(test)]\nmod t {\n// c\n}\n";
        let lines = Source::new(text).lines(false);
        assert_eq!(lines, Lines { code: 4, tests: 3, comments: 4, blank: 2 });
        assert_eq!(Source::new(text).lines(true).tests, 7);
    }
}
