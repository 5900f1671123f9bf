//! `bantam serial`: sentences to a board's firmware, over a serial line.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use super::{lines, say};
use crate::error::{Error, OneLine};
use crate::interrupt;
use crate::serial::{Answered, Board, Session};

/// Ask the model in a board's flash, over a serial line
///
/// The board's firmware must be one that serves (boards/README.md); what is said on the line is in
/// boards/PROTOCOL.md. An answer's tokens go to standard output as soon as the board says them, one
/// answer a line. A sentence that the board refuses, one that is too long say, gets the line
/// `null`; an error says which one it was and why, and the exit code is 6.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  bantam serial /dev/ttyACM0 'dim the kitchen lights to forty percent'
  bantam serial /dev/ttyUSB0 --baud 921600 'lights on' 'wake me at half past six'
  some-recognizer | bantam serial /dev/ttyACM0
  bantam serial /dev/ttyACM0 --json < sentences.txt > answers.jsonl
  bantam serial /dev/ttyACM0 < /dev/null            who is there

Damaged lines are asked for again. A board that is asked twice gives the same answer twice, in the
same bits.")]
pub(super) struct SerialArgs {
    /// The serial port, such as /dev/ttyACM0
    port: PathBuf,
    /// Sentences [default: the lines of standard input]
    #[arg(value_name = "SENTENCE")]
    sentences: Vec<String>,
    /// Speed of the line; ports on USB have none of their own and ignore it
    #[arg(long, value_name = "N", default_value = "115200", value_parser = super::count(50, 20_000_000))]
    baud: usize,
    /// Longest to wait for the board, and for each token
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = super::number(0.1, 3600.0))]
    timeout: f32,
    /// Print a line of JSON for each sentence: answer, tokens, hash of the logits, time
    #[arg(long)]
    json: bool,
}

/// What came of a sentence.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    board: Who<'a>,
    sentence: &'a str,
    answer: Option<String>,
    #[serde(flatten)]
    took: Option<Took>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Refusal>,
}

#[derive(Serialize)]
struct Who<'a> {
    board: &'a str,
    kernels: &'a str,
    model: &'a str,
}

#[derive(Serialize)]
struct Took {
    tokens: u16,
    /// Hash of the logits.
    logits: String,
    instructions: u64,
    seconds: f64,
}

#[derive(Serialize)]
struct Refusal {
    status: u8,
    text: String,
}

pub(super) fn serial(args: &SerialArgs) -> Result<(), Error> {
    interrupt::watch();
    let baud = u32::try_from(args.baud).unwrap_or(u32::MAX);
    let timeout = Duration::from_secs_f32(args.timeout);
    let session = Session::open(&args.port, baud, timeout)?;
    let board = session.board();
    let Board { name, kernels, model, .. } = &board;
    say(format_args!("board: {name}, kernels {kernels}, model {model}"));
    let mut answers = Answers { args, session, board, n_sentences: 0, n_refused: 0 };
    match &*args.sentences {
        [] => lines::each(io::stdin().lock(), "standard input".as_ref(), |line| {
            answers.one("line", line)
        })?,
        sentences => {
            sentences.iter().try_for_each(|sentence| answers.one("sentence", Some(sentence)))?;
        }
    }
    match answers.n_refused {
        0 => Ok(()),
        n => Err(Error::Board {
            port: args.port.clone(),
            what: format!("{n} of {} sentences got no answer", answers.n_sentences),
        }),
    }
}

/// Statuses that say something of a sentence, and nothing of the next one.
const ONLY_THIS: [u8; 2] = [13, 15];

struct Answers<'a> {
    args: &'a SerialArgs,
    session: Session,
    board: Board,
    n_sentences: usize,
    n_refused: usize,
}

impl Answers<'_> {
    /// Has a sentence answered; `None` is one that is too long even to look at.
    fn one(&mut self, kind: &str, sentence: Option<&str>) -> Result<(), Error> {
        self.n_sentences += 1;
        let sentence = sentence.unwrap_or_default().trim_end_matches(['\r', '\n']);
        let start = Instant::now();
        let mut streamed = Streamed::default();
        let answered = self.session.ask(sentence, |bytes| match self.args.json {
            true => Ok(()),
            false => streamed.push(bytes),
        });
        let seconds = start.elapsed().as_secs_f64();
        if answered.is_err() {
            streamed.end_line();
        }
        match answered? {
            Answered::Whole(answer) if self.args.json => {
                let took = Took {
                    tokens: answer.n_tokens,
                    logits: format!("{:016x}", answer.hash),
                    instructions: answer.instructions,
                    seconds,
                };
                self.report(sentence, Some(answer.text), Some(took), None)
            }
            Answered::Whole(_) => streamed.finish(),
            Answered::Refused { status, text } => {
                streamed.end_line();
                let what = format!("error {status}: {}", OneLine(&text));
                let refusal = Refusal { status, text };
                match self.args.json {
                    true => self.report(sentence, None, None, Some(refusal))?,
                    false => lines::print("null")?,
                }
                if !ONLY_THIS.contains(&status) || self.args.sentences.len() == 1 {
                    return Err(Error::Board { port: self.args.port.clone(), what });
                }
                say(format_args!("error: {kind} {}: {what}", self.n_sentences));
                self.n_refused += 1;
                Ok(())
            }
        }
    }

    fn report(
        &self,
        sentence: &str,
        answer: Option<String>,
        took: Option<Took>,
        error: Option<Refusal>,
    ) -> Result<(), Error> {
        let Board { name, kernels, model, .. } = &self.board;
        let board = Who { board: name, kernels, model };
        let report = Report { board, sentence, answer, took, error };
        let line = serde_json::to_string(&report).map_err(io::Error::from);
        lines::print(&line.map_err(Error::stdout)?)
    }
}

/// An answer on its way to standard output.
#[derive(Default)]
struct Streamed {
    /// The first bytes of a character.
    waiting: Vec<u8>,
    has_begun: bool,
}

impl Streamed {
    /// Writes what is whole by now.
    fn push(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.waiting.extend(bytes);
        let n = match str::from_utf8(&self.waiting) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            // No character begins so.
            _ => self.waiting.len(),
        };
        let whole: Vec<u8> = self.waiting.drain(..n).collect();
        self.has_begun = true;
        let mut out = io::stdout().lock();
        write!(out, "{}", OneLine(&String::from_utf8_lossy(&whole)))
            .and_then(|()| out.flush())
            .map_err(Error::stdout)
    }

    /// Writes the rest and ends the line.
    fn finish(&mut self) -> Result<(), Error> {
        let rest = std::mem::take(&mut self.waiting);
        lines::print(&String::from_utf8_lossy(&rest))
    }

    /// Ends a line that has begun, so that nothing else stands on it.
    fn end_line(&mut self) {
        if std::mem::take(&mut self.has_begun) {
            // What follows says what is wrong.
            let _ = lines::print("");
        }
    }
}
