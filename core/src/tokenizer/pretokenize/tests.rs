use super::*;
use std::vec::Vec;

fn words(family: Family, text: &str) -> Vec<&str> {
    Words::new(family, text).collect()
}

#[test]
fn gpt2() {
    assert_eq!(
        words(Family::Gpt2, "I've  12 cats, it's\n\n  Élan!!\t"),
        ["I", "'ve", " ", " 12", " cats", ",", " it", "'s", "\n\n ", " Élan", "!!", "\t"]
    );
    assert_eq!(words(Family::Gpt2, "a   "), ["a", "   "]);
    assert_eq!(words(Family::Gpt2, "'S '"), ["'", "S", " '"]);
}

#[test]
fn smollm_splits_digits_first() {
    assert_eq!(words(Family::Smollm, "a  123 4x"), ["a", "  ", "1", "2", "3", " ", "4", "x"]);
}

#[test]
fn llama_and_qwen() {
    assert_eq!(
        words(Family::LlamaBpe, "HE'LL pay $12345!\n\n  \n x"),
        ["HE", "'LL", " pay", " $", "123", "45", "!\n\n", "  \n", " x"]
    );
    assert_eq!(words(Family::Qwen2, "\tab 123"), ["\tab", " ", "1", "2", "3"]);
    assert_eq!(words(Family::Qwen2, " \u{3000}字 "), [" ", "\u{3000}字", " "]);
}

#[test]
fn default_splits_four_times() {
    assert_eq!(
        words(Family::Default, "it's 12345, a+b"),
        ["it", "'", "s", " ", "123", "45", ",", " a", "+", "b"]
    );
    assert_eq!(words(Family::Default, "١٢٣4567"), ["١٢٣", "456", "7"]);
}

#[test]
fn words_join_to_the_text() {
    let text = " 'tis\u{85}a\u{301}b 😀\u{200d}x१२३\r\n \t..\u{10ffff}'RE'";
    for family in [Family::Gpt2, Family::Smollm, Family::LlamaBpe, Family::Qwen2, Family::Default] {
        assert_eq!(words(family, text).concat(), text, "{family:?}");
        assert!(words(family, text).iter().all(|w| !w.is_empty()));
    }
}

#[test]
fn unknown_names_are_unknown() {
    assert!(Pre::from_name("gpt-5").is_none());
    assert!(Pre::from_name("llama-bpe").is_some_and(|pre| pre.ignore_merges && pre.add_bos));
}
