//! Numbers of a range, digit by digit, decided by what the digits so far can still become.

use super::MAX_NUMBER;

/// Numbers from `min` to `max`, both counted in tenths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    min: i64,
    max: i64,
    unit: Unit,
}

/// What numbers are counted in, and how many tenths that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Tenth = 1,
    Whole = 10,
}

/// Why bounds make no range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadRange {
    /// One is no number, or too large.
    Bound,
    /// They are the wrong way round.
    Empty,
}

/// How far a number has been written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Digits {
    negative: bool,
    whole: u32,
    part: Part,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Nothing,
    Sign,
    Whole,
    Point,
    Tenth,
}

impl Digits {
    pub(super) const NONE: Digits = Digits { negative: false, whole: 0, part: Part::Nothing };
}

impl Range {
    /// Returns the range of `MIN:MAX`.
    #[inline(never)]
    pub(super) fn parse(bounds: &[u8], unit: Unit) -> Result<Self, BadRange> {
        let colon = bounds.iter().position(|&b| b == b':').ok_or(BadRange::Bound)?;
        let (min, max) = bounds.split_at_checked(colon).ok_or(BadRange::Bound)?;
        let min = tenths(min, unit).ok_or(BadRange::Bound)?;
        let max = tenths(max.get(1..).unwrap_or_default(), unit).ok_or(BadRange::Bound)?;
        match min > max {
            true => Err(BadRange::Empty),
            false => Ok(Range { min, max, unit }),
        }
    }

    /// Returns a length that no number of the range exceeds, in bytes.
    pub(super) fn max_bytes(self) -> usize {
        let largest = self.min.unsigned_abs().max(self.max.unsigned_abs());
        let (mut digits, mut beyond) = (1, 100);
        while largest >= beyond {
            (digits, beyond) = (digits + 1, beyond * 10);
        }
        usize::from(self.min < 0) + digits + if self.unit == Unit::Tenth { 2 } else { 0 }
    }

    /// Takes one more byte of a number; `None` if no number of the range goes on so.
    #[inline(never)]
    pub(super) fn step(self, digits: Digits, byte: u8) -> Option<Digits> {
        let Digits { part, whole, .. } = digits;
        let negative = digits.negative || (part == Part::Nothing && byte == b'-');
        let (low, high) = self.magnitudes(negative)?;
        let digit = u32::from(byte.wrapping_sub(b'0'));
        let (whole, part) = match (part, byte) {
            (Part::Nothing, b'-') => return Some(Digits { negative, whole: 0, part: Part::Sign }),
            (Part::Nothing | Part::Sign, b'0'..=b'9') => (digit, Part::Whole),
            (Part::Whole, b'0'..=b'9') if whole > 0 => {
                (whole.checked_mul(10)?.checked_add(digit)?, Part::Whole)
            }
            (Part::Whole, b'.') if self.unit == Unit::Tenth => (whole, Part::Point),
            (Part::Point, b'1'..=b'9') => (whole, Part::Tenth),
            _ => return None,
        };
        let tenths = u64::from(whole) * 10;
        let goes_on = match part {
            Part::Point => tenths < high && tenths + 9 >= low,
            Part::Tenth => (low..=high).contains(&(tenths + u64::from(digit))),
            _ => may_begin(tenths, low, high),
        };
        goes_on.then_some(Digits { negative, whole, part })
    }

    /// Returns whether the digits are a number of the range.
    pub(super) fn is_whole(self, digits: Digits) -> bool {
        match digits.part {
            Part::Whole => {
                let tenths = u64::from(digits.whole) * 10;
                self.magnitudes(digits.negative)
                    .is_some_and(|(low, high)| (low..=high).contains(&tenths))
            }
            Part::Tenth => true,
            Part::Nothing | Part::Sign | Part::Point => false,
        }
    }

    /// Returns the least and the greatest magnitude of the negative numbers, or of the others.
    #[inline(never)]
    fn magnitudes(self, negative: bool) -> Option<(u64, u64)> {
        let (low, high) = match negative {
            // Zero has no sign.
            true => (self.max.checked_neg()?.max(self.unit as i64), self.min.checked_neg()?),
            false => (self.min.max(0), self.max),
        };
        (low <= high).then_some((low.unsigned_abs(), high.unsigned_abs()))
    }
}

/// Returns whether a number from `low` to `high` begins with the digits of a whole number, which
/// is so many tenths.
///
/// With k digits more they are the numbers from `first` · 10^k on, 10^k of them. Bounds of whole
/// numbers are whole, and so is a number between.
fn may_begin(mut first: u64, low: u64, high: u64) -> bool {
    let mut last = first + 9;
    while first <= high {
        if last >= low {
            return true;
        }
        if first == 0 {
            return false;
        }
        (first, last) = (first * 10, last * 10 + 9);
    }
    false
}

/// Reads a bound, in tenths.
#[inline(never)]
fn tenths(text: &[u8], unit: Unit) -> Option<i64> {
    let (negative, text) = match text {
        [b'-', text @ ..] => (true, text),
        text => (false, text),
    };
    let (digits, tenth) = match text {
        [digits @ .., b'.', tenth] if unit == Unit::Tenth => (digits, *tenth),
        digits => (digits, b'0'),
    };
    if !(1..=10).contains(&digits.len()) {
        return None;
    }
    let mut value = 0;
    for &digit in digits.iter().chain([&tenth]) {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value * 10 + i64::from(digit - b'0');
    }
    (value <= i64::from(MAX_NUMBER) * 10).then_some(if negative { -value } else { value })
}
