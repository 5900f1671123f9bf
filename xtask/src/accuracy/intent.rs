//! What quantization costs the bundled model: how many of its answers are right to the letter.

use super::output;
use crate::cmd::Cmd;
use crate::context::Context;
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// The formats compared, the baseline first. Those that lie beside it are taken from there, the
/// others are made of it.
const LADDER: [&str; 6] = ["F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0"];
/// The tests: sentences that were generated, and sentences that were written by hand.
const TESTS: [&str; 2] = ["test", "hand"];

/// The model in one format.
#[derive(Debug)]
pub(super) struct Row {
    format: String,
    bytes: u64,
    scores: [Score; TESTS.len()],
}

/// Right answers among the cases of a test.
#[derive(Clone, Copy, Debug)]
struct Score {
    right: u64,
    cases: u64,
}

impl Score {
    fn percent(self) -> f64 {
        100.0 * self.right as f64 / self.cases as f64
    }
}

/// Asks every form of the model every sentence. Forms that have to be made go to `work`.
///
/// # Errors
/// When the program fails or says what it should not.
pub(super) fn rows(cx: &Context, program: &Path, work: &Path) -> Result<Vec<Row>> {
    let folder = cx.root().join("fixtures/intent");
    let stored = |format: &str| folder.join(format!("bantam-intent.{format}.gguf"));
    let mut rows = Vec::new();
    for (i, format) in LADDER.iter().enumerate() {
        eprintln!("bantam-intent: {format} ({} of {})", i + 1, LADDER.len());
        let mut file = stored(format);
        if !file.is_file() {
            file = work.join(format!("bantam-intent.{format}.gguf"));
            output(
                &Cmd::new(program)
                    .arg("quantize")
                    .arg(stored("F16"))
                    .arg(&file)
                    .args(["--type", format]),
            )?;
        }
        let bytes = fs::metadata(&file).with_context(|| format!("no {}", file.display()))?.len();
        let score = |test: &str| score(program, &file, &folder.join(format!("{test}.jsonl")));
        let [generated, by_hand] = TESTS.map(score);
        rows.push(Row { format: (*format).to_owned(), bytes, scores: [generated?, by_hand?] });
    }
    Ok(rows)
}

fn score(program: &Path, model: &Path, test: &Path) -> Result<Score> {
    let cmd = Cmd::new(program).args(["intent", "--json", "-m"]).arg(model).arg("--test").arg(test);
    let said: Value =
        serde_json::from_str(&output(&cmd)?).with_context(|| format!("{}: no JSON", cmd.line()))?;
    let number = |key: &str| {
        said[key].as_u64().with_context(|| format!("{}: {key} is missing", test.display()))
    };
    Ok(Score { right: number("right")?, cases: number("cases")? })
}

pub(super) fn csv(rows: &[Row]) -> String {
    let mut out = "format,bytes,test_right,test_cases,hand_right,hand_cases\n".to_owned();
    for Row { format, bytes, scores: [test, hand] } in rows {
        let _ = writeln!(
            out,
            "{format},{bytes},{},{},{},{}",
            test.right, test.cases, hand.right, hand.cases
        );
    }
    out
}

/// The table: the share of answers that are right, and how far it is from the baseline's.
pub(super) fn markdown(rows: &[Row]) -> String {
    let mut out = String::from(
        "| Bundled model | MB | Generated sentences | Lost | Hand-written sentences | Lost |\n\
         |---|--:|--:|--:|--:|--:|\n",
    );
    let Some(baseline) = rows.first() else { return out };
    for row in rows {
        let _ = write!(out, "| {} | {:.2} |", row.format, row.bytes as f64 / 1e6);
        for (score, before) in row.scores.iter().zip(&baseline.scores) {
            // No minus before what rounds to 0.
            let lost = (10.0 * (before.percent() - score.percent())).round() / 10.0 + 0.0;
            let _ = write!(
                out,
                " {:.1} % ({} of {}) | {lost:.1} |",
                score.percent(),
                score.right,
                score.cases
            );
        }
        out.push('\n');
    }
    out.push_str("\nAnswers count that are right to the letter; what is lost is in points.\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_is_told_against_the_baseline() {
        let row = |format: &str, right| Row {
            format: format.into(),
            bytes: 1_234_567,
            scores: [Score { right, cases: 200 }, Score { right: right / 2, cases: 100 }],
        };
        let rows = [row("F16", 196), row("Q4_0", 190)];
        let text = markdown(&rows);
        assert!(
            text.contains("| F16 | 1.23 | 98.0 % (196 of 200) | 0.0 | 98.0 % (98 of 100) | 0.0 |")
        );
        assert!(
            text.contains("| Q4_0 | 1.23 | 95.0 % (190 of 200) | 3.0 | 95.0 % (95 of 100) | 3.0 |")
        );
        assert!(csv(&rows).ends_with("Q4_0,1234567,190,200,95,100\n"));
    }
}
