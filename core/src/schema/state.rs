//! The walk through an answer, byte by byte.
//!
//! Names that begin alike are told apart as late as their bytes are: a state holds the first one
//! that begins with the bytes so far, and any other that does comes after it in the text.

use super::MAX_WORDS;
use super::number::{Digits, Range};
use super::parse::{HEAD, Item, Kind, Read, Schema, choice, first_slot, intent, kind, slot};

/// How far an answer has got. It belongs to the schema that it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State(Place);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// So many bytes into [`HEAD`].
    Head(u8),
    /// So many bytes into an intent's name.
    Intent { line: u16, n: u8 },
    /// Behind the intent's name or a value; the slot at `next` may be the next.
    Behind { next: Option<u16> },
    /// Behind a comma.
    Comma { slot: u16 },
    /// So many bytes into a slot's name.
    Name { slot: u16, n: u8 },
    /// Behind the quote that closes a slot's name.
    Colon { slot: u16 },
    /// Where a slot's value begins.
    Value { slot: u16 },
    /// In a free string.
    Words { slot: u16, words: Words },
    /// So many bytes into one of some strings.
    Choice { slot: u16, at: u16, n: u8 },
    /// In a number.
    Number { slot: u16, digits: Digits },
    /// So many bytes into a time; `late` if its hour begins with 2.
    Time { slot: u16, n: u8, late: bool },
    /// Behind the closing brace.
    End,
}

impl State {
    /// Returns whether the answer is whole. Nothing can follow but the end of the generation.
    pub const fn is_whole(&self) -> bool {
        matches!(self.0, Place::End)
    }
}

impl Schema<'_> {
    /// Returns the state before an answer.
    pub const fn start(&self) -> State {
        State(Place::Head(0))
    }

    /// Returns the state behind some more bytes of an answer, or `None` if no answer goes on so, or
    /// if there are no bytes.
    pub fn allows(&self, state: State, bytes: impl IntoIterator<Item = u8>) -> Option<State> {
        let mut bytes = bytes.into_iter();
        let first = self.step(state, bytes.next()?)?;
        bytes.try_fold(first, |state, byte| self.step(state, byte))
    }

    /// Returns the state behind one more byte.
    pub(super) fn step(&self, state: State, byte: u8) -> Option<State> {
        self.place(state.0, byte).map(State)
    }

    fn place(&self, place: Place, byte: u8) -> Option<Place> {
        match place {
            Place::Head(n) => {
                if HEAD.get(usize::from(n)) != Some(&byte) {
                    return None;
                }
                match usize::from(n) + 1 == HEAD.len() {
                    true => Some(Place::Intent { line: 0, n: 0 }),
                    false => Some(Place::Head(n + 1)),
                }
            }
            Place::Intent { line, n } => {
                let found = self.find(intent, line, n, byte)?;
                Some(match byte {
                    b'"' => Place::Behind { next: first_slot(self.text(), &found) },
                    _ => Place::Intent { line: found.at, n: n + 1 },
                })
            }
            Place::Behind { next } => self.behind(next, byte),
            Place::Comma { slot } => (byte == b'"').then_some(Place::Name { slot, n: 0 }),
            Place::Name { slot: at, n } => {
                let found = self.find(slot, at, n, byte)?;
                Some(match byte {
                    b'"' => Place::Colon { slot: found.at },
                    _ => Place::Name { slot: found.at, n: n + 1 },
                })
            }
            Place::Colon { slot } => (byte == b':').then_some(Place::Value { slot }),
            Place::Value { slot: at } => match kind(self.text(), &slot(self.text(), at)?)? {
                Kind::Number(..) => {
                    self.place(Place::Number { slot: at, digits: Digits::NONE }, byte)
                }
                _ if byte != b'"' => None,
                Kind::Words => Some(Place::Words { slot: at, words: Words::NONE }),
                Kind::Choice(first) => Some(Place::Choice { slot: at, at: first, n: 0 }),
                Kind::Time => Some(Place::Time { slot: at, n: 0, late: false }),
            },
            Place::Words { slot, words } => match byte {
                b'"' if words.may_end() => self.behind_value(slot),
                _ => Some(Place::Words { slot, words: words.step(byte)? }),
            },
            Place::Choice { slot, at, n } => {
                let found = self.find(choice, at, n, byte)?;
                match byte {
                    b'"' => self.behind_value(slot),
                    _ => Some(Place::Choice { slot, at: found.at, n: n + 1 }),
                }
            }
            Place::Number { slot: at, digits } => {
                let slot = slot(self.text(), at)?;
                let Kind::Number(bounds, unit) = kind(self.text(), &slot)? else { return None };
                let range = Range::parse(bounds, unit).ok()?;
                match byte {
                    // A number ends where something else begins.
                    b',' | b'}' if range.is_whole(digits) => self.behind(slot.next, byte),
                    _ => Some(Place::Number { slot: at, digits: range.step(digits, byte)? }),
                }
            }
            Place::Time { slot, n, late } => {
                let (first, last) = match n {
                    0 => (b'0', b'2'),
                    1 if late => (b'0', b'3'),
                    2 => (b':', b':'),
                    3 => (b'0', b'5'),
                    1 | 4 => (b'0', b'9'),
                    _ => (b'"', b'"'),
                };
                match byte {
                    _ if !(first..=last).contains(&byte) => None,
                    b'"' => self.behind_value(slot),
                    _ => Some(Place::Time { slot, n: n + 1, late: late || n == 0 && byte == b'2' }),
                }
            }
            Place::End => None,
        }
    }

    /// Behind the quote that closes a slot's value.
    fn behind_value(&self, at: u16) -> Option<Place> {
        Some(Place::Behind { next: slot(self.text(), at)?.next })
    }

    /// Behind a value, when `next` is the slot that comes next in the text.
    fn behind(&self, mut next: Option<u16>, byte: u8) -> Option<Place> {
        match byte {
            b',' => return Some(Place::Comma { slot: next? }),
            b'}' => {}
            _ => return None,
        }
        while let Some(at) = next {
            let slot = slot(self.text(), at)?;
            next = slot.optional.then_some(slot.next)?;
        }
        Some(Place::End)
    }

    /// Returns the first item, of those that may stand in the place of the one at `at`, that goes on
    /// with `byte` behind the first `n` bytes of that one's name.
    #[inline(never)]
    fn find(&self, read: Read, at: u16, n: u8, byte: u8) -> Option<Item<'_>> {
        let first = read(self.text(), at)?;
        let mut item = first;
        while !goes_on(item.name, first.name, n, byte) {
            item = read(self.text(), item.next.filter(|_| item.optional)?)?;
        }
        Some(item)
    }
}

/// Returns whether `name` begins with the first `n` bytes of `first` and then `byte`, or ends there
/// if that is a quote.
fn goes_on(name: &[u8], first: &[u8], n: u8, byte: u8) -> bool {
    let n = usize::from(n);
    let alike = || name.get(..n).is_some_and(|begin| first.starts_with(begin));
    let next = name.get(n);
    (if byte == b'"' { name.len() == n } else { next == Some(&byte) }) && alike()
}

/// How far a free string has got: its bytes, and how its last character must go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Words {
    len: u8,
    /// Bytes that the character still takes, and the range of the next one.
    due: u8,
    low: u8,
    high: u8,
}

impl Words {
    const NONE: Words = Words { len: 0, due: 0, low: 0x80, high: 0xbf };

    const fn may_end(self) -> bool {
        self.len > 0 && self.due == 0
    }

    /// Takes one more byte of UTF-8, if the character that it begins is plain and has room.
    fn step(self, byte: u8) -> Option<Words> {
        let (due, low, high) = match (self.due, byte) {
            (0, b'"' | b'\\') => return None,
            (0, b' '..=b'~') => (0, 0x80, 0xbf),
            // The first of these would be the control characters from U+0080 on.
            (0, 0xc2) => (1, 0xa0, 0xbf),
            (0, 0xc3..=0xdf) => (1, 0x80, 0xbf),
            // Short characters written long, surrogates, and what is beyond Unicode.
            (0, 0xe0) => (2, 0xa0, 0xbf),
            (0, 0xed) => (2, 0x80, 0x9f),
            (0, 0xe1..=0xef) => (2, 0x80, 0xbf),
            (0, 0xf0) => (3, 0x90, 0xbf),
            (0, 0xf4) => (3, 0x80, 0x8f),
            (0, 0xf1..=0xf3) => (3, 0x80, 0xbf),
            (1.., _) if (self.low..=self.high).contains(&byte) => (self.due - 1, 0x80, 0xbf),
            _ => return None,
        };
        let len = self.len + 1;
        (usize::from(len) + usize::from(due) <= MAX_WORDS).then_some(Words { len, due, low, high })
    }
}
