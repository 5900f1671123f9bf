//! Figures of a profile: a value with its source, or unknown.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserialize, Deserializer, MapAccess, Unexpected, Visitor};

/// A figure and where it is from, or that it is unknown.
#[derive(Clone, Debug, PartialEq)]
pub enum Figure<T> {
    /// In the file: `{ value = …, source = "…" }`.
    Known {
        /// The figure.
        value: T,
        /// Where it is from.
        source: String,
    },
    /// In the file: `"unknown"`.
    Unknown,
}

impl<T> Figure<T> {
    /// Returns the figure, if it is known.
    pub const fn value(&self) -> Option<&T> {
        match self {
            Figure::Known { value, .. } => Some(value),
            Figure::Unknown => None,
        }
    }

    /// Returns where the figure is from, if it is known.
    pub fn source(&self) -> Option<&str> {
        match self {
            Figure::Known { source, .. } => Some(source),
            Figure::Unknown => None,
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Figure<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FigureVisitor(PhantomData))
    }
}

struct FigureVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for FigureVisitor<T> {
    type Value = Figure<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{ value = …, source = \"…\" } or \"unknown\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Figure<T>, E> {
        match text {
            "unknown" => Ok(Figure::Unknown),
            _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Figure<T>, A::Error> {
        let (mut value, mut source) = (None, None);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "value" => value = Some(map.next_value()?),
                "source" => source = Some(map.next_value::<String>()?),
                _ => return Err(de::Error::unknown_field(&key, &["value", "source"])),
            }
        }
        let value = value.ok_or_else(|| de::Error::missing_field("value"))?;
        let source = source.ok_or_else(|| de::Error::missing_field("source"))?;
        if source.trim().is_empty() {
            return Err(de::Error::custom("a figure needs a source; say where it is from"));
        }
        Ok(Figure::Known { value, source })
    }
}

/// A number of bytes, written as `"520 KiB"` or `"8 GiB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Size {
    /// Returns the size that a text says, or `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let (number, unit) = text.trim().split_once(' ')?;
        let shift = match unit {
            "B" => 0,
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            _ => return None,
        };
        number.parse::<u64>().ok()?.checked_mul(1 << shift).map(Size)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
        let whole = units.iter().find(|(shift, _)| self.0.is_multiple_of(1 << shift));
        match whole {
            Some((shift, unit)) if self.0 > 0 => f.pad(&format!("{} {unit}", self.0 >> shift)),
            _ => f.pad(&format!("{} B", self.0)),
        }
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Size::parse(&text).ok_or_else(|| {
            de::Error::invalid_value(
                Unexpected::Str(&text),
                &"a whole number of B, KiB, MiB or GiB, such as \"8 GiB\"",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(Size::parse("520 KiB"), Some(Size(532_480)));
        assert_eq!(Size::parse("8 GiB"), Some(Size(8 << 30)));
        for text in ["8 GiB", "400 MiB", "520 KiB", "1025 B", "0 B"] {
            assert_eq!(Size::parse(text).unwrap().to_string(), text);
        }
        for bad in ["", "8", "8GiB", "-1 GiB", "1.5 GiB", "8 GB", "99999999999999999999 B"] {
            assert_eq!(Size::parse(bad), None, "{bad}");
        }
        assert_eq!(Size::parse(&format!("{} GiB", u64::MAX)), None);
    }
}
