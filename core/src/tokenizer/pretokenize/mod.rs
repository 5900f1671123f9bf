//! Splits text into words, within which byte-level BPE merges.
//!
//! A pre-tokenizer is published as a regular expression; the ones here are those expressions
//! written out as one pass over the text, after llama.cpp's reading of them where readings
//! differ. Names and settings are those of `tokenizer.ggml.pre`.

mod default;
mod gpt2;
mod llama3;
mod scan;

use super::known::names;

/// How words are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "pretokenizers"), allow(dead_code))] // names of the others mean nothing
pub(super) enum Family {
    /// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
    Gpt2,
    /// Each `\p{N}` alone, [`Family::Gpt2`] in what lies between.
    Smollm,
    /// Letters with one other character before them, numbers by three, line ends with what
    /// precedes them: `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|
    /// ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
    LlamaBpe,
    /// [`Family::LlamaBpe`] with each number alone.
    Qwen2,
    /// What llama.cpp does for files that name none: punctuation apart, [`Family::Gpt2`] in
    /// what lies between, numbers without their space and by three ASCII digits.
    Default,
}

/// What the name of a pre-tokenizer decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pre {
    pub(super) family: Family,
    /// A word that is a token is that token, whatever its merges give.
    pub(super) ignore_merges: bool,
    /// A beginning-of-text token is added unless the file says otherwise.
    pub(super) add_bos: bool,
    /// Detokenized text is meant to lose the spaces before punctuation.
    pub(super) clean_spaces: bool,
}

#[cfg_attr(not(feature = "pretokenizers"), allow(dead_code))] // as the families of `PRES`
impl Pre {
    const fn new(family: Family) -> Self {
        Self { family, ignore_merges: false, add_bos: false, clean_spaces: true }
    }

    const fn keep_spaces(self) -> Self {
        Self { clean_spaces: false, ..self }
    }

    /// Returns the settings for a value of `tokenizer.ggml.pre`, as llama.cpp has them.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        let name = if name.is_empty() { "default" } else { name };
        let mut found = PRES.iter().filter(|(list, _)| names(list).any(|n| n == name.as_bytes()));
        found.next().map(|&(_, pre)| pre)
    }
}

/// Names, between spaces, and what they mean. Of the families, those that this build has.
static PRES: &[(&str, Pre)] = &[
    #[cfg(feature = "pre_default")]
    ("default", Pre::new(Family::Default)),
    #[cfg(feature = "pre_gpt2")]
    ("gpt-2 phi-2 gigachat a.x-4.0 mellum exaone4 mpt olmo jais", Pre::new(Family::Gpt2)),
    #[cfg(feature = "pre_gpt2")]
    ("trillion granite-docling", Pre::new(Family::Gpt2).keep_spaces()),
    #[cfg(feature = "pre_smollm")]
    ("smollm command-r", Pre::new(Family::Smollm).keep_spaces()),
    #[cfg(feature = "pre_smollm")]
    ("starcoder refact codeshell exaone minerva-7b mellum2", Pre::new(Family::Smollm)),
    #[cfg(feature = "pre_llama_bpe")]
    (
        "llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2",
        Pre { ignore_merges: true, add_bos: true, ..Pre::new(Family::LlamaBpe) },
    ),
    #[cfg(feature = "pre_llama_bpe")]
    ("dbrx smaug-bpe", Pre::new(Family::LlamaBpe)),
    #[cfg(feature = "pre_qwen2")]
    (
        "qwen2 deepseek-r1-qwen kormo f2llmv2 hunyuan solar-open",
        Pre::new(Family::Qwen2).keep_spaces(),
    ),
    #[cfg(feature = "pre_qwen2")]
    ("stablelm2 megrez", Pre::new(Family::Qwen2)),
];

/// The words of a text, in order; joined they are the text.
#[derive(Debug, Clone)]
pub(super) struct Words<'t> {
    family: Family,
    /// Not split yet.
    rest: &'t str,
    /// The stretch of text before `rest` that words must end in; [`Family::Default`] only, as what
    /// follows.
    range: &'t str,
    /// Digits before `range`, still to be split by three.
    digits: &'t str,
}

impl<'t> Words<'t> {
    pub(super) const fn new(family: Family, text: &'t str) -> Self {
        Self { family, rest: text, range: "", digits: "" }
    }
}

impl<'t> Iterator for Words<'t> {
    type Item = &'t str;

    #[cfg_attr(target_pointer_width = "64", inline)]
    fn next(&mut self) -> Option<&'t str> {
        match self.family {
            Family::Gpt2 if cfg!(feature = "pre_gpt2") => {
                take(&mut self.rest, |text| gpt2::word(text, false))
            }
            Family::LlamaBpe if cfg!(feature = "pre_llama_bpe") => {
                take(&mut self.rest, |text| llama3::word(text, 3))
            }
            Family::Qwen2 if cfg!(feature = "pre_qwen2") => {
                take(&mut self.rest, |text| llama3::word(text, 1))
            }
            Family::Smollm if cfg!(feature = "pre_smollm") => {
                take(&mut self.rest, |text| gpt2::word(text, true))
            }
            Family::Default if cfg!(feature = "pre_default") => {
                if self.digits.is_empty() {
                    if self.range.is_empty() {
                        self.range = take(&mut self.rest, default::punctuation_or_others)?;
                    }
                    let word = take(&mut self.range, |text| gpt2::word(text, false))?;
                    let (before, digits) = default::split_number(word);
                    self.digits = digits;
                    if !before.is_empty() {
                        return Some(before);
                    }
                }
                take(&mut self.digits, default::digits)
            }
            // No tokenizer is made with a family that this build has no code for.
            _ => None,
        }
    }
}

/// Takes off the front of `text` as many bytes as `find` says, which is at least one character.
#[cfg_attr(target_pointer_width = "64", inline)]
fn take<'t>(text: &mut &'t str, find: impl Fn(&str) -> usize) -> Option<&'t str> {
    let (word, rest) = text.split_at_checked(find(text))?;
    *text = rest;
    Some(word).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests;
