//! The text of a schema, checked once and then read where it lies.

use super::number::{BadRange, Range};
use super::{
    MAX_CHOICES, MAX_INTENTS, MAX_NAME, MAX_SLOTS, MAX_TEXT, MAX_WORDS, SchemaError,
    SchemaErrorKind,
};

/// What every answer begins with, up to the intent's name.
pub(super) const HEAD: &[u8] = b"{\"intent\":\"";

/// Which answers there are; see the [module](super) for the text it is read from.
#[derive(Clone, Copy, Debug)]
pub struct Schema<'s> {
    text: &'s [u8],
    max_bytes: usize,
}

/// A line of the text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Intent<'s> {
    pub(super) name: &'s [u8],
    /// Where it begins in the text.
    pub(super) at: u16,
    /// Where its first slot begins.
    pub(super) slots: Option<u16>,
}

/// A slot of an intent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot<'s> {
    pub(super) name: &'s [u8],
    /// Where it begins in the text.
    pub(super) at: u16,
    pub(super) optional: bool,
    pub(super) kind: Kind,
    /// Where the next one begins.
    pub(super) next: Option<u16>,
}

/// What a slot takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Words,
    /// One of some strings, the first of which begins here.
    Choice(u16),
    Number(Range),
    Time,
}

/// What is wrong, and at which byte.
type Fault = (usize, SchemaErrorKind);

impl<'s> Schema<'s> {
    /// Returns the schema of a text: an intent a line, empty lines apart.
    ///
    /// # Errors
    /// [`SchemaError`] with the place of the first fault.
    pub fn parse(text: &'s str) -> Result<Self, SchemaError> {
        check(text.as_bytes()).map_err(|(at, kind)| {
            let before = text.get(..at).unwrap_or(text);
            let start = before.bytes().rposition(|byte| byte == b'\n').map_or(0, |end| end + 1);
            let line = before.get(start..).unwrap_or_default();
            SchemaError {
                line: before.bytes().filter(|&byte| byte == b'\n').count() as u32 + 1,
                column: line.chars().count() as u32 + 1,
                kind,
            }
        })
    }

    /// Returns the number of bytes that no answer exceeds, and so the number of tokens that none
    /// takes more of.
    pub const fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// Returns the intents of the lines that begin at `at` or after it.
    pub(super) fn lines(&self, at: u16) -> impl Iterator<Item = Intent<'s>> + use<'s> {
        lines(self.text, at).filter_map(Result::ok)
    }

    /// Returns the slot that begins at `at`, and those that follow it in its line.
    pub(super) fn slots(&self, at: u16) -> impl Iterator<Item = Slot<'s>> + use<'s> {
        slots(self.text, Some(at)).filter_map(Result::ok)
    }

    /// Returns the strings to choose from that begin at `at` or after it, and where each begins.
    pub(super) fn choices(&self, at: u16) -> impl Iterator<Item = (u16, &'s [u8])> + use<'s> {
        choices(self.text, at)
    }
}

/// Checks the whole text.
fn check(text: &[u8]) -> Result<Schema<'_>, Fault> {
    if text.len() > MAX_TEXT {
        return Err((MAX_TEXT, SchemaErrorKind::TextTooLong { bytes: text.len() }));
    }
    let (mut n, mut max_bytes) = (0, 0);
    for intent in lines(text, 0) {
        let intent = intent?;
        if n == MAX_INTENTS {
            return Err((intent.at.into(), SchemaErrorKind::TooManyIntents));
        }
        let mut before = lines(text, 0).take(n).filter_map(Result::ok);
        if before.any(|other| other.name == intent.name) {
            return Err((intent.at.into(), SchemaErrorKind::Repeated));
        }
        // Braces, quotes, colons and commas are counted with what they stand beside.
        let mut bytes = HEAD.len() + intent.name.len() + 2;
        for (i, slot) in slots(text, intent.slots).enumerate() {
            let slot = slot?;
            if i == MAX_SLOTS {
                return Err((slot.at.into(), SchemaErrorKind::TooManySlots));
            }
            let mut before = slots(text, intent.slots).take(i).filter_map(Result::ok);
            if slot.name == b"intent" || before.any(|other| other.name == slot.name) {
                return Err((slot.at.into(), SchemaErrorKind::Repeated));
            }
            bytes += slot.name.len() + 4 + max_value(text, slot.kind)?;
        }
        max_bytes = max_bytes.max(bytes);
        n += 1;
    }
    match n {
        0 => Err((0, SchemaErrorKind::NoIntent)),
        _ => Ok(Schema { text, max_bytes }),
    }
}

/// Checks what a slot takes, and returns the bytes that no such value exceeds.
fn max_value(text: &[u8], kind: Kind) -> Result<usize, Fault> {
    let list = match kind {
        Kind::Words => return Ok(MAX_WORDS + 2),
        Kind::Time => return Ok(7),
        Kind::Number(range) => return Ok(range.max_bytes()),
        Kind::Choice(list) => list,
    };
    let mut longest = 0;
    for (i, (at, choice)) in choices(text, list).enumerate() {
        if i == MAX_CHOICES {
            return Err((at.into(), SchemaErrorKind::TooManyChoices));
        }
        let plain = |b: &u8| b.is_ascii_graphic() && !b"\"\\:".contains(b);
        if !(1..=MAX_NAME).contains(&choice.len()) || !choice.iter().all(plain) {
            return Err((at.into(), SchemaErrorKind::Choice));
        }
        if choices(text, list).take(i).any(|(_, other)| other == choice) {
            return Err((at.into(), SchemaErrorKind::Repeated));
        }
        longest = longest.max(choice.len());
    }
    Ok(longest + 2)
}

/// The lines of `text` from the one that begins at `at`.
fn lines(text: &[u8], at: u16) -> impl Iterator<Item = Result<Intent<'_>, Fault>> {
    let mut start = usize::from(at);
    core::iter::from_fn(move || {
        let mut rest = text.get(start..)?;
        while let Some(after) = rest.strip_prefix(b"\n") {
            rest = after;
            start += 1;
        }
        if rest.is_empty() {
            return None;
        }
        let begins = start;
        let line = rest.split(|&b| b == b'\n').next()?;
        start += line.len() + 1;
        let word = line.split(|&b| b == b' ').next()?;
        Some(match name_length(word) == word.len() {
            true if !word.is_empty() => Ok(Intent {
                name: word,
                at: begins as u16,
                slots: (word.len() < line.len()).then_some((begins + word.len() + 1) as u16),
            }),
            _ => Err((begins + name_length(word), SchemaErrorKind::Name)),
        })
    })
}

/// The slots of a line from the one that begins at `at`.
fn slots(text: &[u8], at: Option<u16>) -> impl Iterator<Item = Result<Slot<'_>, Fault>> {
    let mut next = at;
    core::iter::from_fn(move || {
        let at = next.take()?;
        let slot = slot(text, at);
        next = slot.ok().and_then(|slot| slot.next);
        Some(slot)
    })
}

fn slot(text: &[u8], at: u16) -> Result<Slot<'_>, Fault> {
    let start = usize::from(at);
    let rest = text.get(start..).unwrap_or_default();
    let word = rest.split(|&b| b == b' ' || b == b'\n').next().unwrap_or_default();
    let (name, kind) = word.split_at_checked(name_length(word)).unwrap_or_default();
    if name.is_empty() {
        return Err((start, SchemaErrorKind::Name));
    }
    let (optional, kind) = match kind.strip_prefix(b"?") {
        Some(kind) => (true, kind),
        None => (false, kind),
    };
    let kind_at = start + word.len() - kind.len();
    let bad_range = |bad| match bad {
        BadRange::Bound => (kind_at + 1, SchemaErrorKind::Bound),
        BadRange::Empty => (kind_at + 1, SchemaErrorKind::NoNumber),
    };
    let kind = match kind {
        [] => Kind::Words,
        b"=time" => Kind::Time,
        [b'=', b'i', b'n', b't', b':', bounds @ ..] => {
            Kind::Number(Range::parse(bounds, true).map_err(bad_range)?)
        }
        [b'=', b'd', b'e', b'c', b':', bounds @ ..] => {
            Kind::Number(Range::parse(bounds, false).map_err(bad_range)?)
        }
        [b'=', list @ ..] if !list.contains(&b':') => Kind::Choice((kind_at + 1) as u16),
        _ => return Err((kind_at, SchemaErrorKind::Kind)),
    };
    let end = start + word.len();
    let more = text.get(end) == Some(&b' ');
    Ok(Slot { name, at, optional, kind, next: more.then_some((end + 1) as u16) })
}

/// The strings of a list from the one that begins at `at`.
fn choices(text: &[u8], at: u16) -> impl Iterator<Item = (u16, &[u8])> {
    let rest = text.get(usize::from(at)..).unwrap_or_default();
    let list = rest.split(|&b| b == b' ' || b == b'\n').next().unwrap_or_default();
    let mut next = at;
    list.split(|&b| b == b'|').map(move |choice| {
        let at = next;
        next = next.saturating_add(choice.len() as u16 + 1);
        (at, choice)
    })
}

/// Returns how many of the first bytes make a name; 0 where there is none or it is too long.
fn name_length(word: &[u8]) -> usize {
    let is_name = |b: &&u8| b.is_ascii_alphanumeric() || **b == b'_';
    match word.iter().take_while(is_name).count() {
        n if n <= MAX_NAME => n,
        _ => 0,
    }
}
