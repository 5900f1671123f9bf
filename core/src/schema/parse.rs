//! The text of a schema, checked once and then read where it lies.

use super::number::{BadRange, Range, Unit};
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

/// An intent, a slot or a string to choose from: one of a row of such in the text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item<'s> {
    pub(super) name: &'s [u8],
    /// Where it begins in the text.
    pub(super) at: u16,
    /// Where the next one begins.
    pub(super) next: Option<u16>,
    /// Whether the next one may stand in its place.
    pub(super) optional: bool,
}

/// How the item of some kind is read that begins at a place, if one does.
pub(super) type Read = for<'s> fn(&'s [u8], u16) -> Option<Item<'s>>;

/// What a slot takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind<'s> {
    Words,
    /// One of some strings, the first of which begins here.
    Choice(u16),
    /// Whole numbers, or those with a decimal, between bounds.
    Number(&'s [u8], Unit),
    Time,
}

/// What is wrong, and at which byte.
type Fault = (usize, SchemaErrorKind);

impl<'s> Schema<'s> {
    /// Returns the schema of a text: an intent a line, empty lines apart.
    ///
    /// # Errors
    /// [`SchemaError`] with the place of the first fault.
    // Inlined, so that finding the place takes no flash where nobody asks for it.
    #[inline]
    pub fn parse(text: &'s str) -> Result<Self, SchemaError> {
        match check(text.as_bytes()) {
            Ok(max_bytes) => Ok(Schema { text: text.as_bytes(), max_bytes }),
            Err((at, kind)) => Err(SchemaError::at(text, at, kind)),
        }
    }

    /// Returns the number of bytes that no answer exceeds, and so the number of tokens that none
    /// takes more of.
    pub const fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    pub(super) const fn text(&self) -> &'s [u8] {
        self.text
    }
}

/// Checks the whole text, and returns the number of bytes that no answer exceeds.
#[inline(never)]
fn check(text: &[u8]) -> Result<usize, Fault> {
    if text.len() > MAX_TEXT {
        return Err((MAX_TEXT, SchemaErrorKind::TextTooLong { bytes: text.len() }));
    }
    let (mut next, mut n, mut max_bytes) = (Some(0), 0, 0);
    while let Some(intent) = next.and_then(|at| intent(text, at)) {
        let at = usize::from(intent.at);
        let valid = name_length(intent.name);
        if valid > MAX_NAME {
            return Err((at, SchemaErrorKind::Name));
        }
        if valid == 0 || valid < intent.name.len() {
            return Err((at + valid, SchemaErrorKind::Name));
        }
        if n == MAX_INTENTS {
            return Err((at, SchemaErrorKind::TooManyIntents));
        }
        if is_repeated(text, self::intent, 0, &intent) {
            return Err((at, SchemaErrorKind::Repeated));
        }
        // Braces, quotes, colons and commas are counted with what they stand beside.
        let slots = check_slots(text, first_slot(text, &intent))?;
        max_bytes = max_bytes.max(HEAD.len() + intent.name.len() + 2 + slots);
        next = intent.next;
        n += 1;
    }
    match n {
        0 => Err((0, SchemaErrorKind::NoIntent)),
        _ => Ok(max_bytes),
    }
}

/// Checks the slots of an intent, and returns the bytes that they never exceed.
fn check_slots(text: &[u8], first: Option<u16>) -> Result<usize, Fault> {
    let (mut next, mut n, mut bytes) = (first, 0, 0);
    while let (Some(first), Some(slot)) = (first, next.and_then(|at| slot(text, at))) {
        let at = usize::from(slot.at);
        if !(1..=MAX_NAME).contains(&slot.name.len()) {
            return Err((at, SchemaErrorKind::Name));
        }
        let kind_at = at + slot.name.len() + usize::from(slot.optional);
        let kind = kind(text, &slot).ok_or((kind_at, SchemaErrorKind::Kind))?;
        let value = match kind {
            Kind::Words => MAX_WORDS + 2,
            Kind::Time => 7,
            Kind::Number(bounds, unit) => match Range::parse(bounds, unit) {
                Ok(range) => range.max_bytes(),
                Err(BadRange::Bound) => return Err((kind_at + 1, SchemaErrorKind::Bound)),
                Err(BadRange::Empty) => return Err((kind_at + 1, SchemaErrorKind::NoNumber)),
            },
            Kind::Choice(_) => 0,
        };
        if n == MAX_SLOTS {
            return Err((at, SchemaErrorKind::TooManySlots));
        }
        if slot.name == b"intent" || is_repeated(text, self::slot, first, &slot) {
            return Err((at, SchemaErrorKind::Repeated));
        }
        bytes += slot.name.len() + 4 + value;
        if let Kind::Choice(list) = kind {
            bytes += check_choices(text, list)?;
        }
        next = slot.next;
        n += 1;
    }
    Ok(bytes)
}

/// Checks the strings of a list, and returns the bytes that none exceeds with its quotes.
fn check_choices(text: &[u8], list: u16) -> Result<usize, Fault> {
    let (mut next, mut n, mut longest) = (Some(list), 0, 0);
    while let Some(choice) = next.and_then(|at| choice(text, at)) {
        let at = usize::from(choice.at);
        if n == MAX_CHOICES {
            return Err((at, SchemaErrorKind::TooManyChoices));
        }
        let plain = |b: &u8| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\' | b':');
        if !(1..=MAX_NAME).contains(&choice.name.len()) || !choice.name.iter().all(plain) {
            return Err((at, SchemaErrorKind::Choice));
        }
        if is_repeated(text, self::choice, list, &choice) {
            return Err((at, SchemaErrorKind::Repeated));
        }
        longest = longest.max(choice.name.len());
        next = choice.next;
        n += 1;
    }
    Ok(longest + 2)
}

/// Returns whether an item has the name of an earlier one of its row, which begins at `first`.
#[inline(never)]
fn is_repeated(text: &[u8], read: Read, first: u16, item: &Item<'_>) -> bool {
    let mut next = Some(first);
    while let Some(other) = next.and_then(|at| read(text, at)) {
        if other.at >= item.at {
            break;
        }
        if other.name == item.name {
            return true;
        }
        next = other.next;
    }
    false
}

/// The first line at or after `at` that is not empty; its name is all up to a space.
#[inline(never)]
pub(super) fn intent(text: &[u8], at: u16) -> Option<Item<'_>> {
    let lines = text.get(usize::from(at)..)?;
    let empty = lines.iter().position(|&b| b != b'\n')?;
    let at = usize::from(at) + empty;
    let next = at + until(text, at, b"\n").len() + 1;
    let name = until(text, at, b" \n");
    Some(Item { name, at: at as u16, next: Some(next as u16), optional: true })
}

/// Where the slots of an intent begin.
pub(super) fn first_slot(text: &[u8], intent: &Item<'_>) -> Option<u16> {
    let end = usize::from(intent.at) + intent.name.len();
    (text.get(end) == Some(&b' ')).then_some((end + 1) as u16)
}

/// The slot that begins at `at`.
#[inline(never)]
pub(super) fn slot(text: &[u8], at: u16) -> Option<Item<'_>> {
    let start = usize::from(at);
    let word = until(text, start, b" \n");
    let (name, kind) = word.split_at_checked(name_length(word))?;
    let end = start + word.len();
    let next = (text.get(end) == Some(&b' ')).then_some((end + 1) as u16);
    Some(Item { name, at, next, optional: kind.first() == Some(&b'?') })
}

/// What a slot takes, if that is known.
#[inline(never)]
pub(super) fn kind<'s>(text: &'s [u8], slot: &Item<'_>) -> Option<Kind<'s>> {
    let at = usize::from(slot.at) + slot.name.len() + usize::from(slot.optional);
    match until(text, at, b" \n") {
        [] => Some(Kind::Words),
        b"=time" => Some(Kind::Time),
        [b'=', b'i', b'n', b't', b':', bounds @ ..] => Some(Kind::Number(bounds, Unit::Whole)),
        [b'=', b'd', b'e', b'c', b':', bounds @ ..] => Some(Kind::Number(bounds, Unit::Tenth)),
        [b'=', list @ ..] if until(list, 0, b":").len() == list.len() => {
            Some(Kind::Choice((at + 1) as u16))
        }
        _ => None,
    }
}

/// The string that begins at `at`, of some to choose from.
#[inline(never)]
pub(super) fn choice(text: &[u8], at: u16) -> Option<Item<'_>> {
    let name = until(text, at.into(), b"| \n");
    let end = usize::from(at) + name.len();
    let next = (text.get(end) == Some(&b'|')).then_some((end + 1) as u16);
    Some(Item { name, at, next, optional: true })
}

/// Returns the text from `at` to the first of some bytes, or to its end.
#[inline(never)]
fn until<'s>(text: &'s [u8], at: usize, ends: &[u8]) -> &'s [u8] {
    let rest = text.get(at..).unwrap_or_default();
    let is_end = |byte: &u8| ends.iter().any(|end| end == byte);
    let len = rest.iter().position(is_end).unwrap_or(rest.len());
    rest.get(..len).unwrap_or_default()
}

/// Returns how many of the first bytes are those of names.
fn name_length(word: &[u8]) -> usize {
    word.iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count()
}
