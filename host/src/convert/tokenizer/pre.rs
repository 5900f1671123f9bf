//! Which pre-tokenizer a tokenizer.json has, by its structure.
//!
//! A name in `tokenizer.ggml.pre` stands for a regular expression and settings. tokenizer.json
//! spells them out, so the name is found by comparing.

use serde_json::Value as Json;

use super::super::json::shown;

/// Letters with one other character before them, and what is common to the two below.
const CONTRACTIONS_AND_LETTERS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|";
const OTHERS: &str = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Returns the name of the pre-tokenizer, or what is not known about it.
pub(super) fn name(tokenizer: &Json) -> Result<&'static str, String> {
    let unknown = |what: &str, value: &Json| {
        Err(format!(
            "{what} {} is not known (known: those of gpt-2, smollm, llama-bpe, qwen2)",
            shown(value)
        ))
    };
    let part = |key: &str| tokenizer.get(key).unwrap_or(&Json::Null);
    let ignore_merges = tokenizer.pointer("/model/ignore_merges") == Some(&Json::Bool(true));
    let pre_tokenizer = part("pre_tokenizer");
    let steps: Vec<&Json> = match pre_tokenizer.get("pretokenizers").and_then(Json::as_array) {
        Some(steps) => steps.iter().collect(),
        None => vec![pre_tokenizer],
    };
    let name = match steps[..] {
        [bytes] if is_byte_level(bytes, true) => "gpt-2",
        [digits, bytes] if is_digits(digits) && is_byte_level(bytes, true) => "smollm",
        [split, bytes] if is_byte_level(bytes, false) => match split_regex(split) {
            Some(regex) if is_between(regex, r"\p{N}{1,3}") && ignore_merges => "llama-bpe",
            Some(regex) if is_between(regex, r"\p{N}{1,3}") => "smaug-bpe",
            Some(regex) if is_between(regex, r"\p{N}") => "qwen2",
            _ => return unknown("pre_tokenizer", pre_tokenizer),
        },
        _ => return unknown("pre_tokenizer", pre_tokenizer),
    };
    // Taking words that are tokens whole goes with one of the names only.
    if ignore_merges && name != "llama-bpe" {
        return Err(
            "model.ignore_merges is true, which is not known with this pre_tokenizer".into()
        );
    }
    // Composing characters changes few texts, and llama.cpp leaves it out too.
    let normalizer = part("normalizer");
    let composes = name == "qwen2" && normalizer.get("type") == Some(&"NFC".into());
    if !composes && !normalizer.is_null() {
        return unknown("normalizer", normalizer);
    }
    Ok(name)
}

/// Whether a step turns bytes into their stand-ins, with or without splitting as GPT-2 does.
fn is_byte_level(step: &Json, splits: bool) -> bool {
    let flag = |key: &str, default: bool| match step.get(key) {
        None => default,
        Some(value) => value == &Json::Bool(true),
    };
    step.get("type") == Some(&"ByteLevel".into())
        && !flag("add_prefix_space", true)
        && flag("use_regex", true) == splits
}

/// Whether a step takes each digit alone.
fn is_digits(step: &Json) -> bool {
    step.get("type") == Some(&"Digits".into())
        && step.get("individual_digits") == Some(&Json::Bool(true))
}

/// The expression of a step that splits by matches.
fn split_regex(step: &Json) -> Option<&str> {
    let isolates = step.get("type") == Some(&"Split".into())
        && step.get("behavior") == Some(&"Isolated".into())
        && step.get("invert") != Some(&Json::Bool(true));
    step.pointer("/pattern/Regex").filter(|_| isolates)?.as_str()
}

/// Whether an expression is the known one with `numbers` in its place.
fn is_between(regex: &str, numbers: &str) -> bool {
    let rest = regex.strip_prefix(CONTRACTIONS_AND_LETTERS);
    rest.and_then(|rest| rest.strip_suffix(OTHERS)) == Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn split(regex: &str) -> Json {
        json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false})
    }

    fn bytes(splits: bool) -> Json {
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": splits})
    }

    fn tokenizer(steps: &[Json], ignore_merges: bool) -> Json {
        let sequence = json!({"type": "Sequence", "pretokenizers": steps});
        json!({"pre_tokenizer": sequence, "model": {"ignore_merges": ignore_merges}})
    }

    #[test]
    fn known_pre_tokenizers_have_names() {
        // As the tokenizer.json of GPT-2, SmolLM, Llama 3 and Qwen 2 have them.
        let gpt2 = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true});
        assert_eq!(name(&json!({"pre_tokenizer": gpt2, "normalizer": null})), Ok("gpt-2"));
        let digits = json!({"type": "Digits", "individual_digits": true});
        assert_eq!(name(&tokenizer(&[digits, bytes(true)], false)), Ok("smollm"));
        let llama3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
        assert_eq!(name(&tokenizer(&[split(llama3), bytes(false)], true)), Ok("llama-bpe"));
        assert_eq!(name(&tokenizer(&[split(llama3), bytes(false)], false)), Ok("smaug-bpe"));
        let qwen2 = llama3.replace("{1,3}", "");
        let mut qwen2 = tokenizer(&[split(&qwen2), bytes(false)], false);
        assert_eq!(name(&qwen2), Ok("qwen2"));
        qwen2["normalizer"] = json!({"type": "NFC"});
        assert_eq!(name(&qwen2), Ok("qwen2"));
    }

    #[test]
    fn others_are_refused_by_what_they_are() {
        let metaspace = json!({"pre_tokenizer": {"type": "Metaspace"}});
        assert!(name(&metaspace).unwrap_err().contains("Metaspace"));
        let other = tokenizer(&[split(r"\p{L}+"), bytes(false)], false);
        assert!(name(&other).unwrap_err().contains(r"\\p{L}+"));
        // Splitting twice, and not at all.
        assert!(name(&tokenizer(&[split("a"), bytes(true)], false)).is_err());
        assert!(name(&tokenizer(&[bytes(false)], false)).is_err());
        assert!(name(&tokenizer(&[bytes(true)], true)).unwrap_err().contains("ignore_merges"));
        let mut lower = tokenizer(&[bytes(true)], false);
        lower["normalizer"] = json!({"type": "Lowercase"});
        assert!(name(&lower).unwrap_err().contains("Lowercase"));
        let prefixed = json!({"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": true}});
        assert!(name(&prefixed).is_err());
    }
}
