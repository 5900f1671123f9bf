use super::*;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use crate::gguf::Gguf;
use crate::rng::Rng;
use crate::tokenizer::Tokenizer;
use proptest::prelude::*;

const HOME: &str = "\
turn_on device room?
turn_off device room?
set_brightness room? value=int:0:100
set_temperature room? value=dec:-30:300 unit?=celsius|fahrenheit
set_timer value=int:1:1000 unit=seconds|second|minutes
set_alarm time=time
play_media query? room?
play
none
";

/// What [`Schema`] promises of an answer, written the other way round: from the whole text, which is
/// cut at quotes and commas, and checked piece by piece.
fn is_answer(schema: &str, answer: &str) -> bool {
    let object = || answer.strip_prefix("{\"intent\":\"")?.strip_suffix('}');
    let Some((name, mut rest)) = object().and_then(|object| object.split_once('"')) else {
        return false;
    };
    let Some(line) = schema.lines().find(|line| line.split(' ').next() == Some(name)) else {
        return false;
    };
    for slot in line.split(' ').skip(1) {
        let (name, kind) = slot.split_once('=').unwrap_or((slot, ""));
        let (name, optional) = match name.strip_suffix('?') {
            Some(name) => (name, true),
            None => (name, false),
        };
        let Some(value) = rest.strip_prefix(&format!(",\"{name}\":")) else {
            if optional {
                continue;
            }
            return false;
        };
        let number = kind.strip_prefix("int:").or(kind.strip_prefix("dec:"));
        let end = match number {
            Some(_) => value.find(',').unwrap_or(value.len()),
            None => 1 + value[1..].find('"').expect("a closing quote") + 1,
        };
        let (value, after) = value.split_at(end);
        let good = match (number, kind) {
            (Some(bounds), _) => is_number(bounds, kind.starts_with("int"), value),
            (None, "") => is_words(unquoted(value)),
            (None, "time") => is_time(unquoted(value)),
            (None, _) => kind.split('|').any(|choice| choice == unquoted(value)),
        };
        if !good {
            return false;
        }
        rest = after;
    }
    rest.is_empty()
}

fn unquoted(text: &str) -> &str {
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).expect("two quotes")
}

fn is_words(text: &str) -> bool {
    let plain = |c: char| !c.is_control() && c != '"' && c != '\\';
    (1..=MAX_WORDS).contains(&text.len()) && text.chars().all(plain)
}

fn is_time(text: &str) -> bool {
    (0..24).any(|h| (0..60).any(|m| text == format!("{h:02}:{m:02}")))
}

/// The number, counted in tenths, must be spelled as it would be printed.
fn is_number(bounds: &str, whole: bool, text: &str) -> bool {
    let tenths = |text: &str| (text.parse::<f64>().expect("a number") * 10.0).round() as i64;
    let (min, max) = bounds.split_once(':').expect("two bounds");
    let value = tenths(text);
    spelled(value) == text
        && (tenths(min)..=tenths(max)).contains(&value)
        && (!whole || value % 10 == 0)
}

fn spelled(tenths: i64) -> String {
    let sign = if tenths < 0 { "-" } else { "" };
    let (whole, tenth) = (tenths.abs() / 10, tenths.abs() % 10);
    if tenth == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{tenth}") }
}

/// The bytes that may follow a state.
fn following(schema: &Schema<'_>, state: State) -> Vec<u8> {
    (0..=255).filter(|&byte| schema.step(state, byte).is_some()).collect()
}

/// An answer that takes turns as `rng` has them. Panics at a dead end.
fn walk(schema: &Schema<'_>, rng: &mut Rng) -> String {
    let (mut state, mut answer) = (schema.start(), Vec::new());
    while !state.is_whole() {
        let bytes = following(schema, state);
        assert!(!bytes.is_empty(), "a dead end behind {}", String::from_utf8_lossy(&answer));
        let byte = bytes[rng.next_u64() as usize % bytes.len()];
        answer.push(byte);
        state = schema.step(state, byte).unwrap();
    }
    assert_eq!(following(schema, state), [0u8; 0]);
    assert!(answer.len() <= schema.max_bytes(), "{}", answer.len());
    String::from_utf8(answer).expect("UTF-8")
}

fn says(schema: &str, answer: &str) -> bool {
    let schema = Schema::parse(schema).unwrap();
    schema.allows(schema.start(), answer.bytes()).is_some_and(|state| state.is_whole())
}

#[test]
fn answers_are_taken_and_others_refused() {
    for answer in [
        r#"{"intent":"none"}"#,
        r#"{"intent":"play"}"#,
        r#"{"intent":"play_media"}"#,
        r#"{"intent":"play_media","room":"attic"}"#,
        r#"{"intent":"play_media","query":"jazz","room":"living room"}"#,
        r#"{"intent":"turn_on","device":"größte 🐓 lamp"}"#,
        r#"{"intent":"set_brightness","value":100}"#,
        r#"{"intent":"set_temperature","value":-0.5}"#,
        r#"{"intent":"set_temperature","room":"oven","value":300,"unit":"celsius"}"#,
        r#"{"intent":"set_timer","value":7,"unit":"second"}"#,
        r#"{"intent":"set_timer","value":7,"unit":"seconds"}"#,
        r#"{"intent":"set_alarm","time":"23:59"}"#,
    ] {
        assert!(says(HOME, answer), "{answer}");
        assert!(is_answer(HOME, answer), "{answer}");
    }
    for answer in [
        "",
        "{}",
        r#"{"intent":"none"} "#,
        r#"{ "intent":"none"}"#,
        r#"{"intent":"non"}"#,
        r#"{"intent":"pla"}"#,
        r#"{"intent":"nonesuch"}"#,
        r#"{"intent":"turn_on"}"#,
        r#"{"intent":"turn_on","device":""}"#,
        r#"{"intent":"turn_on","room":"attic"}"#,
        r#"{"intent":"turn_on","room":"attic","device":"lamp"}"#,
        r#"{"intent":"turn_on","device":"a\"b"}"#,
        r#"{"intent":"set_brightness","value":101}"#,
        r#"{"intent":"set_brightness","value":07}"#,
        r#"{"intent":"set_brightness","value":-0}"#,
        r#"{"intent":"set_brightness","value":4.5}"#,
        r#"{"intent":"set_brightness","value":}"#,
        r#"{"intent":"set_temperature","value":21.0}"#,
        r#"{"intent":"set_temperature","value":21.}"#,
        r#"{"intent":"set_temperature","value":300.1}"#,
        r#"{"intent":"set_temperature","value":-30.1}"#,
        r#"{"intent":"set_temperature","value":20,"unit":"kelvin"}"#,
        r#"{"intent":"set_timer","value":0,"unit":"seconds"}"#,
        r#"{"intent":"set_alarm","time":"24:00"}"#,
        r#"{"intent":"set_alarm","time":"12:60"}"#,
        r#"{"intent":"set_alarm","time":"7:00"}"#,
    ] {
        assert!(!says(HOME, answer), "{answer}");
    }
}

/// Every character on its own, and every sequence of two bytes that is none.
#[test]
fn free_strings_are_plain_utf_8() {
    let schema = Schema::parse("say words").unwrap();
    let start = schema.allows(schema.start(), *br#"{"intent":"say","words":""#).unwrap();
    for c in '\0'..=char::MAX {
        let mut text = [0; 4];
        let text = c.encode_utf8(&mut text);
        let taken = schema.allows(start, text.bytes()).is_some_and(|s| s != start);
        // A quote ends the string, which must not be empty.
        assert_eq!(taken, is_words(text), "{c:?}");
    }
    for a in 0x80..=0xff_u8 {
        for b in 0..=255 {
            let could_be = [&[][..], &[0x80], &[0x80, 0x80]].iter().any(|rest| {
                let bytes: Vec<u8> = [a, b].iter().chain(*rest).copied().collect();
                core::str::from_utf8(&bytes).is_ok_and(|s| s.chars().count() <= 2)
            });
            if schema.allows(start, [a, b]).is_some() {
                assert!(could_be, "{a:#x} {b:#x}");
            }
        }
    }
}

#[test]
fn free_strings_end_in_time() {
    let schema = Schema::parse("say words").unwrap();
    let start = schema.allows(schema.start(), *br#"{"intent":"say","words":""#).unwrap();
    let full = schema.allows(start, "x".repeat(MAX_WORDS).bytes()).unwrap();
    assert_eq!(following(&schema, full), b"\"");
    // Two bytes of room: no character of three is begun.
    let nearly = schema.allows(start, "x".repeat(MAX_WORDS - 2).bytes()).unwrap();
    let lead = |byte| schema.step(nearly, byte).is_some();
    assert!(lead(0xc3) && !lead(0xe2) && !lead(0xf0));
    // The longest answer takes what was promised, to the byte.
    let longest = format!(r#"{{"intent":"say","words":"{}"}}"#, "x".repeat(MAX_WORDS));
    assert_eq!(schema.max_bytes(), longest.len());
}

#[test]
fn faults_are_named_with_their_place() {
    use SchemaErrorKind::*;
    let long = "x".repeat(MAX_NAME + 1);
    let choices: Vec<String> = (0..=MAX_CHOICES).map(|i| i.to_string()).collect();
    let slots: Vec<String> = (0..=MAX_SLOTS).map(|i| format!("s{i}")).collect();
    let intents: Vec<String> = (0..=MAX_INTENTS).map(|i| format!("i{i}")).collect();
    for (text, line, column, kind) in [
        ("", 1, 1, NoIntent),
        ("\n\n", 1, 1, NoIntent),
        (" none", 1, 1, Name),
        ("none\r\n", 1, 5, Name),
        ("a\nb-c d", 2, 2, Name),
        (&long, 1, 1, Name),
        ("a  b", 1, 3, Name),
        ("a b ", 1, 5, Name),
        ("a b\n\nc d\na", 4, 1, Repeated),
        ("a b c? b=time", 1, 8, Repeated),
        ("a intent", 1, 3, Repeated),
        ("a b!", 1, 4, Kind),
        ("a b??", 1, 5, Kind),
        ("a b=float:0:1", 1, 4, Kind),
        ("a b=", 1, 5, Choice),
        ("a b=x||y", 1, 7, Choice),
        ("a b=x|é", 1, 7, Choice),
        ("a b=x|\"", 1, 7, Choice),
        ("a b=x|y|x", 1, 9, Repeated),
        ("a b=int:", 1, 5, Bound),
        ("a b=int:1", 1, 5, Bound),
        ("a b=int:1:2:3", 1, 5, Bound),
        ("a b=int:0:1.5", 1, 5, Bound),
        ("a b?=dec:0:1.55", 1, 6, Bound),
        ("a b=dec:.5:1", 1, 5, Bound),
        ("a b=int:0:1000000001", 1, 5, Bound),
        ("a b=int:--1:1", 1, 5, Bound),
        ("a b=int:2:1", 1, 5, NoNumber),
        (&format!("a b={}", choices.join("|")), 1, 5 + 10 * 2 + 54 * 3, TooManyChoices),
        (&format!("a {}", slots.join(" ")), 1, 3 + 10 * 3 + 6 * 4, TooManySlots),
        (&intents.join("\n"), 257, 1, TooManyIntents),
    ] {
        assert_eq!(Schema::parse(text).unwrap_err(), SchemaError { line, column, kind }, "{text}");
    }
    let text = "a\n".repeat(MAX_TEXT / 2) + "b";
    let error = Schema::parse(&text).unwrap_err();
    assert_eq!(error.kind, TextTooLong { bytes: MAX_TEXT + 1 });
    assert!(error.to_string().starts_with("schema, line 8193, column 1: the text has 16385 bytes"));
}

/// All numbers of small ranges, and nothing else, as far as four characters go.
#[test]
fn ranges_hold_their_numbers_and_no_others() {
    let alphabet = b"-.0123456789";
    let mut texts = Vec::from([String::new()]);
    let mut from = 0;
    for _ in 0..4 {
        let to = texts.len();
        for i in from..to {
            for &byte in alphabet {
                texts.push(texts[i].clone() + core::str::from_utf8(&[byte]).unwrap());
            }
        }
        from = to;
    }
    for (min, max) in [(0, 0), (0, 100), (-30, -7), (-3, 12), (7, 7), (95, 103), (-105, 99)] {
        for whole in [true, false] {
            let kind = if whole { "int" } else { "dec" };
            let text = format!("n v={kind}:{min}:{max}");
            let schema = Schema::parse(&text).unwrap();
            let start = schema.allows(schema.start(), *br#"{"intent":"n","v":"#).unwrap();
            let step = if whole { 10 } else { 1 };
            let mut numbers: Vec<String> =
                (min * 10..=max * 10).step_by(step).map(spelled).filter(|n| n.len() <= 4).collect();
            let ends = |state| schema.step(state, b'}').is_some();
            let mut found: Vec<String> = texts
                .iter()
                .filter(|text| schema.allows(start, text.bytes()).is_some_and(ends))
                .cloned()
                .collect();
            numbers.sort();
            found.sort();
            assert_eq!(found, numbers, "{text}");
        }
    }
}

/// A vocabulary of all bytes and a few merges, control tokens among it.
fn with_tokenizer(check: impl FnOnce(&Tokenizer<'_, '_>)) {
    let file = include_bytes!("../../../fixtures/models/llama.gguf");
    let gguf = Gguf::parse(file).unwrap();
    let mut memory = std::vec![0; Tokenizer::plan(&gguf).unwrap().bytes];
    check(&Tokenizer::new_in(&gguf, &mut memory).unwrap());
}

/// The greatest logit among all that are allowed, found by trying each of them.
fn choose_by_trying(
    schema: &Schema<'_>,
    state: State,
    tokenizer: &Tokenizer<'_, '_>,
    logits: &[f32],
) -> Option<(u32, State)> {
    let number = |x: f32| if x.is_nan() { f32::NEG_INFINITY } else { x };
    (0..logits.len() as u32)
        .filter_map(|token| Some((token, schema.allows(state, tokenizer.bytes(token))?)))
        .reduce(|best, next| {
            let logit = |token: u32| number(logits[token as usize]);
            if logit(next.0) > logit(best.0) { next } else { best }
        })
}

#[test]
fn tokens_without_text_are_never_chosen() {
    with_tokenizer(|tokenizer| {
        let schema = Schema::parse(HOME).unwrap();
        assert_eq!(schema.unsayable(tokenizer), None);
        let mut logits = std::vec![0.0; tokenizer.n_vocab() + 5];
        for token in tokenizer.ends() {
            logits[*token as usize] = 100.0;
        }
        logits[tokenizer.n_vocab() + 2] = 200.0;
        let (token, state) = schema.choose(schema.start(), tokenizer, &logits).unwrap();
        assert_eq!(tokenizer.bytes(token).next(), Some(b'{'));
        assert_eq!(schema.choose(state, tokenizer, &logits[..3]), None, "no quote among these");
        let whole = schema.allows(schema.start(), *br#"{"intent":"none"}"#).unwrap();
        assert_eq!(schema.choose(whole, tokenizer, &logits), None);
    });
}

/// Schemas of any shape within small bounds.
fn any_schema() -> impl Strategy<Value = String> {
    let number = (-1200i32..1200, 0i32..1300, any::<bool>()).prop_map(|(min, size, whole)| {
        let (min, max) = (i64::from(min), i64::from(min + size));
        if whole {
            format!("=int:{min}:{max}")
        } else {
            format!("=dec:{}:{}", spelled(min), spelled(max))
        }
    });
    let kind = prop_oneof![
        Just(String::new()),
        Just("=time".into()),
        number,
        proptest::collection::btree_set("[a-c]{1,4}", 1..5)
            .prop_map(|s| format!("={}", s.into_iter().collect::<Vec<_>>().join("|"))),
    ];
    let slots = proptest::collection::btree_map("[a-b]{1,3}", (any::<bool>(), kind), 0..5);
    proptest::collection::btree_map("[a-b_]{1,4}", slots, 1..8).prop_map(|intents| {
        let mut text = String::new();
        for (name, slots) in intents {
            text += &name;
            for (name, (optional, kind)) in slots {
                text += &format!(" {name}{}{kind}", if optional { "?" } else { "" });
            }
            text.push('\n');
        }
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_walk_through_any_schema_is_an_answer(text in any_schema(), seed: u64) {
        let schema = Schema::parse(&text).unwrap();
        let mut rng = Rng::new(seed);
        for _ in 0..4 {
            let answer = walk(&schema, &mut rng);
            prop_assert!(is_answer(&text, &answer), "{} {}", text, answer);
        }
    }

    /// Whatever the logits: ties, infinities and NaN among them.
    #[test]
    fn any_logits_give_an_answer(text in any_schema(), seed: u64, coarse: bool) {
        with_tokenizer(|tokenizer| {
            let schema = Schema::parse(&text).unwrap();
            let mut rng = Rng::new(seed);
            let (mut state, mut answer, mut n_tokens) = (schema.start(), Vec::new(), 0);
            while !state.is_whole() {
                let logits: Vec<f32> = (0..tokenizer.n_vocab())
                    .map(|_| match rng.next_u64() {
                        bits if coarse => (bits % 4) as f32,
                        bits => f32::from_bits(bits as u32),
                    })
                    .collect();
                let chosen = schema.choose(state, tokenizer, &logits);
                assert_eq!(chosen, choose_by_trying(&schema, state, tokenizer, &logits));
                let (token, next) = chosen.expect("no dead end");
                answer.extend(tokenizer.bytes(token));
                (state, n_tokens) = (next, n_tokens + 1);
            }
            assert!(n_tokens <= schema.max_bytes());
            let answer = String::from_utf8(answer).expect("UTF-8");
            assert!(is_answer(&text, &answer), "{text} {answer}");
        });
    }

    #[test]
    fn any_text_is_a_schema_or_an_error(text in "[ab=:?|0-9.\n -]{0,60}|\\PC{0,60}", seed: u64) {
        match Schema::parse(&text) {
            Ok(schema) => {
                let answer = walk(&schema, &mut Rng::new(seed));
                prop_assert!(is_answer(&text, &answer), "{} {}", text, answer);
            }
            Err(error) => prop_assert!(!error.to_string().contains('\n')),
        }
    }
}
