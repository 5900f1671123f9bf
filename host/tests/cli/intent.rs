//! `bantam intent`, with models of random weights, whose answers have their schema's form all the
//! same, and with the bundled model, whose answers are to be right.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Map, Value};

use crate::common::{bantam, fixtures, root, run, with_strings};

pub(crate) const SCHEMA: &str = "\
turn_on device room?
set_brightness room? value=int:0:100
set_temperature room? value=dec:-30:300 unit?=celsius|fahrenheit
set_alarm time=time
none
";

const TEMPLATE: &str = "<|im_start|>{{ messages[-1].content }}<|im_end|>";

pub(crate) fn random_model() -> PathBuf {
    root().join("fixtures/models/llama.gguf")
}

/// A model of random weights that carries a schema.
fn with_schema(model: &Path, schema: &str, folder: &tempfile::TempDir) -> PathBuf {
    let name = model.file_name().expect("a name");
    let path = folder.path().join(name);
    let entries = [("bantam.schema", schema), ("tokenizer.chat_template", TEMPLATE)];
    fs::write(&path, with_strings(model, &entries)).unwrap();
    path
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path that is text")
}

/// Checks an answer against [`SCHEMA`], by what it says as JSON and how JSON would be written.
#[track_caller]
fn check_answer(line: &str) {
    let Ok(Value::Object(mut answer)) = serde_json::from_str(line) else {
        panic!("no JSON object: {line}");
    };
    assert_eq!(serde_json::to_string(&answer).unwrap(), line, "not compact");
    let Some(Value::String(intent)) = answer.shift_remove("intent") else {
        panic!("no intent: {line}");
    };
    let words = |answer: &mut Map<String, Value>, slot: &str| match answer.shift_remove(slot) {
        Some(Value::String(words)) => (1..=64).contains(&words.len()),
        Some(_) => false,
        None => slot == "room",
    };
    let number = |answer: &mut Map<String, Value>| answer.shift_remove("value")?.as_f64();
    let good = match &*intent {
        "turn_on" => words(&mut answer, "device") && words(&mut answer, "room"),
        "set_brightness" => {
            let good = words(&mut answer, "room");
            let value = number(&mut answer);
            good && value.is_some_and(|v| (0.0..=100.0).contains(&v) && v.fract() == 0.0)
        }
        "set_temperature" => {
            let good = words(&mut answer, "room");
            let value = number(&mut answer);
            let unit = answer.shift_remove("unit");
            good && value.is_some_and(|v| (-30.0..=300.0).contains(&v))
                && unit.is_none_or(|unit| unit == "celsius" || unit == "fahrenheit")
        }
        "set_alarm" => answer.shift_remove("time").is_some_and(|time| {
            let (h, m) = time.as_str().and_then(|time| time.split_once(':')).expect("a time");
            h.parse::<u8>().is_ok_and(|h| h < 24) && m.parse::<u8>().is_ok_and(|m| m < 60)
        }),
        "none" => true,
        _ => false,
    };
    assert!(good && answer.is_empty(), "{line}");
}

const SENTENCES: [&str; 6] =
    ["lights on", "DIM the lights", "", "wake me at seven", "<|im_end|> ünïcödé 🐓", "no"];

#[test]
fn whatever_a_model_says_is_an_answer() {
    let folder = tempfile::tempdir().unwrap();
    for model in fixtures("models") {
        let model = with_schema(&model, SCHEMA, &folder);
        let mut args = vec!["intent", "-m", text(&model)];
        args.extend(SENTENCES);
        let answers = run(&args).ok();
        assert_eq!(answers.lines().count(), SENTENCES.len(), "{answers}");
        answers.lines().for_each(check_answer);
    }
}

#[test]
fn answers_come_line_by_line_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let model = with_schema(&random_model(), SCHEMA, &folder);
    let mut args = vec!["intent", "-m", text(&model)];
    args.extend(SENTENCES);
    let expected = run(&args).ok();

    let file = folder.path().join("sentences");
    fs::write(&file, SENTENCES.join("\r\n")).unwrap();
    assert_eq!(run(&["intent", "-m", text(&model), "--file", text(&file)]).ok(), expected);

    // Another program asks and waits for each answer.
    let mut child = bantam()
        .args(["intent", "-m", text(&model)])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut to = child.stdin.take().unwrap();
    let mut from = BufReader::new(child.stdout.take().unwrap());
    for (sentence, expected) in SENTENCES.iter().zip(expected.lines()) {
        writeln!(to, "{sentence}").unwrap();
        let mut answer = String::new();
        from.read_line(&mut answer).unwrap();
        assert_eq!(answer.trim_end(), expected);
    }
    drop(to);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_sentence_that_is_too_long_keeps_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let model = with_schema(&random_model(), SCHEMA, &folder);
    let file = folder.path().join("sentences");
    let (long, longer) = ("x".repeat(3000), "y".repeat(1 << 20));
    fs::write(&file, format!("a\n{long}\nb\n{longer}\nc")).unwrap();
    let ran = run(&["intent", "-m", text(&model), "-f", text(&file)]);
    assert_eq!(ran.code, 5);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines.len(), 5, "{}", ran.stdout);
    for (i, line) in lines.iter().enumerate() {
        if i % 2 == 1 { assert_eq!(*line, "null") } else { check_answer(line) }
    }
    let said: Vec<&str> = ran.stderr.lines().collect();
    assert!(said[0].starts_with("error: line 2: the sentence takes 3"), "{}", ran.stderr);
    assert!(said[1].starts_with("error: line 4: longer than 256 KiB"), "{}", ran.stderr);
    assert_eq!(said[2], "error: 2 of 5 sentences did not fit; null stands in their place");

    let ran = run(&["intent", "-m", text(&model), &long]);
    assert_eq!(ran.stdout, "null\n");
    assert!(ran.failed(5).contains("pass --ctx "), "{}", ran.stderr);
    // And with that, it fits.
    let ctx = ran.stderr.trim_end().rsplit(' ').next().unwrap();
    let ran = run(&["intent", "-m", text(&model), "--ctx", ctx, &long]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    check_answer(ran.stdout.trim_end());
}

#[test]
fn what_is_no_schema_is_said_so() {
    let folder = tempfile::tempdir().unwrap();
    let tiny = random_model();
    let failed = |model: &Path| run(&["intent", "-m", text(model), "a"]).failed(3).to_owned();
    assert!(failed(&tiny).contains("bantam.schema"), "{}", failed(&tiny));
    let broken = with_schema(&tiny, "none\nset value=int:1", &folder);
    let said = failed(&broken);
    assert!(said.contains("bantam.schema: schema, line 2, column 11: a bound is"), "{said}");
    // A chat says so too, rather than that it chats without one.
    assert!(run(&["run", "-m", text(&broken), "-p", "a"]).failed(3).contains("line 2, column 11"));
}

#[test]
fn tests_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let model = with_schema(&random_model(), SCHEMA, &folder);
    let answer = run(&["intent", "-m", text(&model), "a"]).ok();
    let answer = answer.trim_end();
    assert_ne!(answer, "{\"intent\":\"none\"}");
    let file = folder.path().join("test.jsonl");
    let as_text = serde_json::to_string(answer).unwrap();
    fs::write(
        &file,
        format!(
            "{{\"text\":\"a\",\"json\":{answer}}}\n\n{{\"text\":\"a\",\"json\":{as_text}}}\n\
             {{\"text\":\"a\",\"json\":{{\"intent\":\"none\"}}}}\n"
        ),
    )
    .unwrap();
    let json = run(&["intent", "-m", text(&model), "--test", text(&file), "--json"]).ok();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["cases"], &json["right"]), (&3.into(), &2.into()));
    assert_eq!(json["intents"]["none"]["right"], 0);
    assert_eq!(json["wrong"][0]["line"], 4);
    assert_eq!(json["wrong"][0]["answer"], answer);
    let shown = run(&["intent", "-m", text(&model), "--test", text(&file), "-v"]).ok();
    assert!(shown.contains("66.67 %       2 of 3"), "{shown}");
    assert!(
        shown.contains(&format!(
            "line 4: a\n  expected {{\"intent\":\"none\"}}\n  answer   {answer}"
        ))
    );

    for (line, said) in [
        ("{\"text\":\"a\"}\n", "line 1: not {\"text\""),
        ("\n{\"text\":\"a\",\"json\":{\"intent\":\"x\"}}", "line 2: no model could give this"),
        ("\n", "no sentence in it"),
    ] {
        fs::write(&file, line).unwrap();
        let ran = run(&["intent", "-m", text(&model), "--test", text(&file)]);
        assert!(ran.failed(4).contains(said), "{}", ran.stderr);
    }
}

/// A model that answers commands answers a prompt with one, and a chat message by itself.
#[test]
fn run_gives_a_command() {
    let folder = tempfile::tempdir().unwrap();
    let model = with_schema(&random_model(), SCHEMA, &folder);
    let expected = run(&["intent", "-m", text(&model), "lights on"]).ok();
    assert_eq!(run(&["run", "-m", text(&model), "-p", "lights on"]).ok(), expected);
    let raw = run(&["run", "-m", text(&model), "--raw", "-p", "lights on", "-n", "4"]).ok();
    assert!(!raw.starts_with("{\"intent\""), "{raw}");
}

/// What is said of the bundled model, beside what the command would say anyway.
#[cfg(feature = "bundled")]
mod bundled {
    use super::*;
    use bantam_core::kernels::KernelSet;

    const SAID: &str = "model: bantam-intent (bundled)\n";

    #[track_caller]
    fn bundled(args: &[&str]) -> String {
        let ran = run(args);
        assert_eq!((ran.code, &*ran.stderr), (0, SAID));
        ran.stdout
    }

    #[test]
    fn it_is_there_for_every_command() {
        let answer = bundled(&["intent", "dim the kitchen lights to forty percent"]);
        assert_eq!(bundled(&["run", "-p", "dim the kitchen lights to forty percent"]), answer);
        assert!(bundled(&["inspect"]).starts_with("bantam-intent (bundled): GGUF v3, llama"));
        assert!(!bundled(&["tokenize", "--ids", "lights"]).trim().is_empty());
        let json = bundled(&["bench", "-p", "8", "-n", "4", "-r", "1", "--json"]);
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["model"], "bantam-intent (bundled)");
    }

    #[test]
    fn its_small_forms_are_made_of_its_large_one() {
        let stored = |format| root().join(format!("fixtures/intent/bantam-intent.{format}.gguf"));
        let folder = tempfile::tempdir().unwrap();
        for format in ["Q8_0", "Q4_0"] {
            let (large, made) = (stored("F16"), folder.path().join(format));
            run(&["quantize", "--pure", "--type", format, text(&large), text(&made)]).ok();
            assert!(fs::read(&made).unwrap() == fs::read(stored(format)).unwrap(), "{format}");
        }
    }

    #[test]
    fn its_answers_depend_on_nothing_but_the_sentence() {
        let sentences = [
            "dim the kitchen lights to forty percent",
            "Wake me at half past six, please.",
            "could you turn on the desk lamp in the study",
            "set the oven to 180 degrees",
            "what is the capital of france",
        ];
        let mut expected = None;
        for kernels in KernelSet::available() {
            for threads in ["1", "2"] {
                let mut args = vec!["intent", "--kernels", kernels.name(), "-t", threads];
                args.extend(sentences);
                let answers = bundled(&args);
                assert_eq!(answers.lines().count(), sentences.len());
                assert_eq!(expected.get_or_insert_with(|| answers.clone()), &answers);
                // One by one, in an empty context.
                let (last, _) = sentences.split_last().unwrap();
                args.truncate(5);
                args.push(last);
                assert_eq!(
                    Some(&*bundled(&args)),
                    answers.lines().last().map(|l| format!("{l}\n")).as_deref()
                );
            }
        }
    }

    /// The share of right answers to the cases of a committed file; of the first ones only, where
    /// `BANTAM_QUICK` says that the program is slow.
    fn accuracy(name: &str) -> f64 {
        let n = if std::env::var_os("BANTAM_QUICK").is_some() { 300 } else { usize::MAX };
        let path = root().join("fixtures/intent").join(name);
        let cases = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        let cases: Vec<&str> = cases.lines().take(n).collect();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(name);
        fs::write(&file, cases.join("\n")).unwrap();
        let json = bundled(&["intent", "--test", text(&file), "--json"]);
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["cases"], cases.len());
        // Said only if the test fails.
        println!("{name}: {:#}", json["wrong"]);
        json["accuracy"].as_f64().unwrap()
    }

    #[test]
    fn it_understands_sentences_that_were_written_by_hand() {
        let accuracy = accuracy("hand.jsonl");
        assert!(accuracy >= 0.85, "{accuracy}");
    }

    #[test]
    fn it_understands_sentences_that_were_made() {
        let accuracy = accuracy("test.jsonl");
        assert!(accuracy >= 0.97, "{accuracy}");
    }
}
