//! Boards: what is known of them, and what a model can be expected to do there.

mod figure;
pub mod fit;
pub mod guide;
pub mod measured;
pub mod predict;
mod profile;
pub mod shape;
#[cfg(test)]
mod tests;
mod validate;

use std::fs;
use std::io::Read;
use std::path::Path;

pub use figure::{Figure, Size};
pub use profile::{Cluster, Feature, Memory, Mode, Os, Processor, Profile};

use crate::error::{Error, OneLine};

/// Profiles that are part of the program: file names and texts.
const BUILT_IN: [(&str, &str); 14] = [
    ("pi5.toml", include_str!("../../../boards/profiles/pi5.toml")),
    ("pi4.toml", include_str!("../../../boards/profiles/pi4.toml")),
    ("jetson-orin-nano.toml", include_str!("../../../boards/profiles/jetson-orin-nano.toml")),
    ("pixel9.toml", include_str!("../../../boards/profiles/pixel9.toml")),
    ("iphone15pro.toml", include_str!("../../../boards/profiles/iphone15pro.toml")),
    ("macbook-m3pro.toml", include_str!("../../../boards/profiles/macbook-m3pro.toml")),
    ("a100.toml", include_str!("../../../boards/profiles/a100.toml")),
    ("qemu-m7.toml", include_str!("../../../boards/profiles/qemu-m7.toml")),
    ("qemu-m4.toml", include_str!("../../../boards/profiles/qemu-m4.toml")),
    ("qemu-m33.toml", include_str!("../../../boards/profiles/qemu-m33.toml")),
    ("qemu-aarch64.toml", include_str!("../../../boards/profiles/qemu-aarch64.toml")),
    ("qemu-riscv.toml", include_str!("../../../boards/profiles/qemu-riscv.toml")),
    ("rp2350.toml", include_str!("../../../boards/profiles/rp2350.toml")),
    ("stm32h7.toml", include_str!("../../../boards/profiles/stm32h7.toml")),
];

/// No profile is longer; what is, is another file.
const MAX_BYTES: u64 = 1 << 20;

/// Returns the profiles that are part of the program, in the order in which they are listed.
pub fn built_in() -> impl Iterator<Item = Profile> {
    // A test reads all of them, so none is left out here.
    BUILT_IN.iter().filter_map(|(_, text)| parse(text).ok())
}

/// Returns the profile of the board of this name.
///
/// # Errors
/// [`Error::Usage`] with the names there are, if there is none such.
pub fn find(name: &str) -> Result<Profile, Error> {
    built_in().find(|profile| profile.name == name).ok_or_else(|| {
        let names: Vec<_> = built_in().map(|profile| profile.name).collect();
        Error::Usage(format!(
            "--board {}: no such board; there are: {}; --board-file reads a profile of your own",
            OneLine(name),
            names.join(", ")
        ))
    })
}

/// Returns the board in the power mode of this name.
///
/// # Errors
/// [`Error::Usage`] with the modes there are, if there is none such.
pub fn in_mode(profile: &Profile, name: &str) -> Result<Profile, Error> {
    profile.in_mode(name).ok_or_else(|| {
        let names: Vec<_> = profile.modes.iter().map(|mode| mode.name.as_str()).collect();
        let there_are = match names.as_slice() {
            [] => "it has no modes; leave --mode out".to_owned(),
            names => format!("there are: {}", names.join(", ")),
        };
        Error::Usage(format!(
            "--mode {}: {} has no such power mode; {there_are}",
            OneLine(name),
            profile.name
        ))
    })
}

/// Returns the profile that a file holds.
///
/// # Errors
/// [`Error::File`] if it cannot be read, or is no profile: which line or key, and why.
pub fn read(path: &Path) -> Result<Profile, Error> {
    let fail = |source: std::io::Error| Error::file(path, &source);
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(fail)?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(fail)?;
    let profile = if bytes.len() as u64 > MAX_BYTES {
        Err("longer than any profile of a board; check the path".into())
    } else {
        match std::str::from_utf8(&bytes) {
            Ok(text) => parse(text),
            Err(_) => Err("not text, so no profile of a board; check the path".into()),
        }
    };
    profile.map_err(|what| Error::File { path: path.into(), what })
}

/// Returns the profile that a text is, or what is wrong with it, and where.
fn parse(text: &str) -> Result<Profile, String> {
    let profile: Profile = from_toml(text)
        .map_err(|what| format!("{what}; boards/profiles/README.md describes profiles"))?;
    validate::validate(&profile)?;
    Ok(profile)
}

/// Returns what a TOML text is, or which line is wrong, and why.
fn from_toml<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let what = error.message().replace('\n', ", ");
        format!("line {line}: {}", OneLine(&what))
    })
}
