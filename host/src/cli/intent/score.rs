//! `bantam intent --test`: how many answers are right.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::IntentArgs;
use crate::cli::progress::Progress;
use crate::error::{Error, OneLine, Shown};
use crate::intent::Commander;
use crate::interrupt;
use crate::model_file::ModelFile;

/// A line of a test.
#[derive(Deserialize)]
struct Case {
    text: String,
    /// The answer, as the object itself or as its text.
    json: Value,
}

#[derive(Serialize)]
struct Report {
    model: String,
    #[serde(flatten)]
    all: Tally,
    seconds: f64,
    sentences_per_second: f64,
    intents: BTreeMap<String, Tally>,
    wrong: Vec<Wrong>,
}

/// Right answers among some.
#[derive(Default, Serialize)]
struct Tally {
    cases: usize,
    right: usize,
    accuracy: f64,
}

#[derive(Serialize)]
struct Wrong {
    line: usize,
    text: String,
    expected: String,
    answer: Option<String>,
}

impl Tally {
    fn count(&mut self, right: bool) {
        self.cases += 1;
        self.right += usize::from(right);
        self.accuracy = self.right as f64 / self.cases as f64;
    }
}

pub(super) fn score(
    args: &IntentArgs,
    path: &Path,
    file: &ModelFile,
    mut commander: Commander<'_, '_, '_, '_, '_>,
) -> Result<(), Error> {
    let cases = read(path)?;
    if let Some((line, ..)) = cases.iter().find(|(_, _, expected)| !commander.is_answer(expected)) {
        let what =
            format!("line {line}: no model could give this answer, which is none of its schema");
        return Err(Error::File { path: path.into(), what });
    }
    let mut report = Report {
        model: file.path().to_string_lossy().into_owned(),
        all: Tally::default(),
        seconds: 0.0,
        sentences_per_second: 0.0,
        intents: BTreeMap::new(),
        wrong: Vec::new(),
    };
    let mut progress = Progress::sentences("Testing");
    let start = Instant::now();
    for (i, (line, text, expected)) in cases.iter().enumerate() {
        interrupt::check()?;
        let answer = match commander.answer(text) {
            Ok(answer) => Some(answer),
            // As wrong as any other.
            Err(Error::ContextFull(_)) => None,
            Err(error) => return Err(error),
        };
        let right = answer.as_ref() == Some(expected);
        report.all.count(right);
        report.intents.entry(intent_of(expected)).or_default().count(right);
        if !right {
            let (text, expected) = (text.clone(), expected.clone());
            report.wrong.push(Wrong { line: *line, text, expected, answer });
        }
        progress.set(i as u64 + 1, cases.len() as u64);
    }
    drop(progress);
    report.seconds = start.elapsed().as_secs_f64();
    report.sentences_per_second = cases.len() as f64 / report.seconds;
    file.check_unchanged()?;
    let mut out = BufWriter::new(io::stdout().lock());
    let written = if args.json {
        crate::cli::write_json(&mut out, &report)
    } else {
        print(&mut out, &report, args.verbose)
    };
    written.and_then(|()| out.flush()).map_err(Error::stdout)
}

/// Returns the cases of a file: their line, sentence, and answer as text.
fn read(path: &Path) -> Result<Vec<(usize, String, String)>, Error> {
    let text = crate::cli::read_text(path)?;
    let error = |what: String| Error::File { path: path.into(), what };
    let mut cases = Vec::new();
    for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let case: Case = serde_json::from_str(line).map_err(|source| {
            error(format!(
                "line {}: not {{\"text\":SENTENCE,\"json\":ANSWER}}: {}",
                i + 1,
                OneLine(&source.to_string())
            ))
        })?;
        let expected = match case.json {
            Value::String(text) => text,
            object => object.to_string(),
        };
        cases.push((i + 1, case.text, expected));
    }
    match cases.is_empty() {
        true => Err(error("there is no sentence in it; give lines {\"text\":…,\"json\":…}".into())),
        false => Ok(cases),
    }
}

fn intent_of(answer: &str) -> String {
    let answer: Option<Value> = serde_json::from_str(answer).ok();
    let intent = answer.as_ref().and_then(|answer| answer.get("intent")?.as_str());
    intent.unwrap_or("(no intent)").to_owned()
}

fn print(out: &mut impl Write, report: &Report, verbose: bool) -> io::Result<()> {
    if verbose {
        for wrong in &report.wrong {
            writeln!(out, "line {}: {}", wrong.line, OneLine(&wrong.text))?;
            writeln!(out, "  expected {}", OneLine(&wrong.expected))?;
            writeln!(out, "  answer   {}", OneLine(wrong.answer.as_deref().unwrap_or("null")))?;
        }
    }
    let row = |out: &mut dyn Write, name: &str, tally: &Tally| {
        let percent = tally.accuracy * 100.0;
        writeln!(out, "{name:24}  {percent:6.2} %  {:>6} of {}", tally.right, tally.cases)
    };
    for (intent, tally) in &report.intents {
        row(out, &OneLine(intent).to_string(), tally)?;
    }
    row(out, "all", &report.all)?;
    writeln!(
        out,
        "{}: {:.1} sentences/s",
        Shown(report.model.as_ref()),
        report.sentences_per_second
    )
}
