//! The walk through an answer, byte by byte.
//!
//! Names that begin alike are told apart as late as their bytes are: a state holds the first one
//! that begins with the bytes so far, and any other that does comes after it in the text.

use super::MAX_WORDS;
use super::number::Digits;
use super::parse::{HEAD, Kind, Schema, Slot};

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
                    true => Some(Place::Intent { line: self.lines(0).next()?.at, n: 0 }),
                    false => Some(Place::Head(n + 1)),
                }
            }
            Place::Intent { line, n } => {
                let first = self.lines(line).next()?;
                let found = self.lines(line).find(|i| goes_on(i.name, first.name, n, byte))?;
                Some(match byte {
                    b'"' => Place::Behind { next: found.slots },
                    _ => Place::Intent { line: found.at, n: n + 1 },
                })
            }
            Place::Behind { next } => self.behind(next, byte),
            Place::Comma { slot } => (byte == b'"').then_some(Place::Name { slot, n: 0 }),
            Place::Name { slot, n } => {
                let first = self.slot(slot)?;
                let found = self.may_follow(slot).find(|s| goes_on(s.name, first.name, n, byte))?;
                Some(match byte {
                    b'"' => Place::Colon { slot: found.at },
                    _ => Place::Name { slot: found.at, n: n + 1 },
                })
            }
            Place::Colon { slot } => (byte == b':').then_some(Place::Value { slot }),
            Place::Value { slot } => match self.slot(slot)?.kind {
                Kind::Number(_) => self.place(Place::Number { slot, digits: Digits::NONE }, byte),
                _ if byte != b'"' => None,
                Kind::Words => Some(Place::Words { slot, words: Words::NONE }),
                Kind::Choice(at) => Some(Place::Choice { slot, at, n: 0 }),
                Kind::Time => Some(Place::Time { slot, n: 0, late: false }),
            },
            Place::Words { slot, words } => match byte {
                b'"' if words.may_end() => Some(Place::Behind { next: self.slot(slot)?.next }),
                _ => Some(Place::Words { slot, words: words.step(byte)? }),
            },
            Place::Choice { slot, at, n } => {
                let (_, first) = self.choices(at).next()?;
                let (at, _) = self.choices(at).find(|(_, s)| goes_on(s, first, n, byte))?;
                Some(match byte {
                    b'"' => Place::Behind { next: self.slot(slot)?.next },
                    _ => Place::Choice { slot, at, n: n + 1 },
                })
            }
            Place::Number { slot, digits } => {
                let Slot { kind: Kind::Number(range), next, .. } = self.slot(slot)? else {
                    return None;
                };
                match byte {
                    // A number ends where something else begins.
                    b',' | b'}' if range.is_whole(digits) => self.behind(next, byte),
                    _ => Some(Place::Number { slot, digits: range.step(digits, byte)? }),
                }
            }
            Place::Time { slot, n, late } => {
                let allowed = match n {
                    0 => b'0'..=b'2',
                    1 if late => b'0'..=b'3',
                    2 => b':'..=b':',
                    3 => b'0'..=b'5',
                    1 | 4 => b'0'..=b'9',
                    _ => b'"'..=b'"',
                };
                if !allowed.contains(&byte) {
                    return None;
                }
                Some(match byte {
                    b'"' => Place::Behind { next: self.slot(slot)?.next },
                    _ => Place::Time { slot, n: n + 1, late: late || n == 0 && byte == b'2' },
                })
            }
            Place::End => None,
        }
    }

    /// Behind a value, when `next` is the slot that comes next in the text.
    fn behind(&self, next: Option<u16>, byte: u8) -> Option<Place> {
        match (byte, next) {
            (b',', Some(slot)) => Some(Place::Comma { slot }),
            (b'}', None) => Some(Place::End),
            (b'}', Some(slot)) => self.slots(slot).all(|s| s.optional).then_some(Place::End),
            _ => None,
        }
    }

    fn slot(&self, at: u16) -> Option<Slot<'_>> {
        self.slots(at).next()
    }

    /// Returns the slots from `at` to the first one that must not be left out.
    fn may_follow(&self, at: u16) -> impl Iterator<Item = Slot<'_>> {
        let mut must = false;
        self.slots(at).take_while(move |slot| !core::mem::replace(&mut must, !slot.optional))
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
