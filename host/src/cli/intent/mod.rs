//! `bantam intent`: sentences to device commands.

mod score;

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bantam_core::model::Model;
use bantam_core::sampler::SamplerOptions;
use clap::Args;

use super::{lines, say};
use crate::error::{Error, OneLine};
use crate::generate::{Generator, Stats};
use crate::intent::{self, Commander, Frame};
use crate::interrupt;
use crate::load::{self, LoadOptions};
use crate::memory::{Bytes, peak_rss};
use crate::model_file::ModelFile;

/// Turn sentences into device commands
///
/// For each sentence one line of JSON goes to standard output, at once, so that another program
/// can ask and wait for the answer: {"intent":"NAME","SLOT":VALUE,...}. What is no command is
/// {"intent":"none"}. The answer always has the form that the model's schema asks for.
///
/// A sentence that is too long gets the line `null`; an error says which one it was, and the exit
/// code is 5.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  bantam intent 'dim the kitchen lights to forty percent'
  bantam intent 'lights on' 'wake me at half past six'
  bantam intent --file sentences.txt > commands.jsonl
  some-recognizer | bantam intent
  bantam intent --test cases.jsonl --verbose

A test is a file of lines {\"text\":SENTENCE,\"json\":ANSWER}. What is counted are answers that are the
same to the letter. The same sentence gives the same answer on every machine.")]
pub(super) struct IntentArgs {
    #[command(flatten)]
    model: super::ModelArg,
    /// Sentences [default: the lines of standard input]
    #[arg(value_name = "TEXT", conflicts_with_all = ["file", "test"])]
    texts: Vec<String>,
    /// Read sentences from a file, one a line (`-` is standard input)
    #[arg(short, long, value_name = "FILE", conflicts_with = "test")]
    file: Option<PathBuf>,
    /// Count the right answers to the sentences of a file
    #[arg(long, value_name = "FILE.jsonl")]
    test: Option<PathBuf>,
    /// With --test: print JSON
    #[arg(long, requires = "test")]
    json: bool,
    /// With --test: print the wrong answers
    #[arg(short, long, requires = "test", conflicts_with = "json")]
    verbose: bool,
    /// Print time and speed of each answer to standard error
    #[arg(long, conflicts_with = "test")]
    stats: bool,
    /// Do not hold answers to the schema, for comparison
    #[arg(long)]
    unconstrained: bool,
    /// Threads; results do not depend on it. The matrices of models that give commands are so small
    /// that threads wait for each other more than they help
    #[arg(short, long, value_name = "N", default_value = "1", help_heading = "Engine",
        value_parser = super::count(1, 1024))]
    threads: usize,
    #[command(flatten)]
    engine: super::EngineArgs,
}

pub(super) fn intent(args: &IntentArgs) -> Result<(), Error> {
    interrupt::watch();
    let given = !args.texts.is_empty() || args.file.is_some() || args.test.is_some();
    if !given && io::stdin().is_terminal() {
        return Err(Error::Usage(
            "no sentence given; pass one, such as 'turn on the lights', or --file FILE".into(),
        ));
    }
    let file = args.model.open()?;
    let mut options = args.engine.options(Some(args.threads))?;
    let gguf = file.gguf()?;
    let model = Model::new(&gguf).map_err(|error| file.model_error(error))?;
    load::with_tokenizer(&file, &gguf, |tokenizer| {
        let schema = intent::schema(&file, &gguf, tokenizer)?;
        let template = super::answer::template(&file, &gguf, tokenizer)?;
        let frame = Frame::new(&file, tokenizer, template)?;
        super::warn_about_context(&model, &options);
        options.ctx.get_or_insert_with(|| intent::default_ctx(&model, &schema));
        super::page_in(&file, &gguf)?;
        load::with_engine(&file, &model, &options, |engine| {
            let greedy = SamplerOptions { temperature: 0.0, top_k: 1, ..Default::default() };
            let generator = Generator::new(engine, tokenizer, greedy);
            let commander = Commander::new(&file, generator, frame, schema, !args.unconstrained);
            match &args.test {
                Some(path) => score::score(args, path, &file, commander),
                None => Answers::new(args, &file, &options, commander).all(),
            }
        })
    })
}

/// Answers on their way out, in the order of their sentences.
struct Answers<'a, 'g, 'm, 'b, 't, 'u> {
    args: &'a IntentArgs,
    file: &'g ModelFile,
    options: &'a LoadOptions,
    commander: Commander<'g, 'm, 'b, 't, 'u>,
    n_sentences: usize,
    n_tokens: usize,
    time: Duration,
    n_refused: usize,
}

impl<'a, 'g, 'm, 'b, 't, 'u> Answers<'a, 'g, 'm, 'b, 't, 'u> {
    fn new(
        args: &'a IntentArgs,
        file: &'g ModelFile,
        options: &'a LoadOptions,
        commander: Commander<'g, 'm, 'b, 't, 'u>,
    ) -> Self {
        Self {
            args,
            file,
            options,
            commander,
            n_sentences: 0,
            n_tokens: 0,
            time: Duration::ZERO,
            n_refused: 0,
        }
    }

    /// Answers everything that there is.
    fn all(mut self) -> Result<(), Error> {
        match (&*self.args.texts, self.args.file.as_deref()) {
            ([], Some(path)) if path.as_os_str() != "-" => {
                let file = File::open(path).map_err(|error| Error::file(path, &error))?;
                self.lines(BufReader::new(file), path)?;
            }
            ([], _) => self.lines(io::stdin().lock(), "standard input".as_ref())?,
            (texts, _) => {
                for text in texts {
                    self.one("sentence", Some(text))?;
                }
            }
        }
        if self.args.stats {
            self.say_stats();
        }
        match self.n_refused {
            0 => Ok(()),
            n => Err(Error::ContextFull(format!(
                "{n} of {} sentences did not fit; null stands in their place",
                self.n_sentences
            ))),
        }
    }

    /// Answers line by line, each as soon as it is there.
    fn lines(&mut self, input: impl BufRead, path: &Path) -> Result<(), Error> {
        lines::each(input, path, |line| self.one("line", line))
    }

    /// Answers a sentence; `None` is one that is too long even to look at.
    fn one(&mut self, kind: &str, sentence: Option<&str>) -> Result<(), Error> {
        self.n_sentences += 1;
        let start = Instant::now();
        let answer = match sentence {
            Some(sentence) => self.commander.answer(sentence),
            None => Err(Error::ContextFull(format!("longer than {} KiB", lines::MAX_LINE >> 10))),
        };
        let time = start.elapsed();
        self.file.check_unchanged()?;
        let answer = match answer {
            Ok(answer) if self.args.unconstrained => OneLine(&answer).to_string(),
            Ok(answer) => answer,
            Err(error @ Error::ContextFull(_)) => {
                // The only sentence's error is the command's.
                if let [_] = *self.args.texts {
                    lines::print("null")?;
                    return Err(error);
                }
                say(format_args!("error: {kind} {}: {error}", self.n_sentences));
                self.n_refused += 1;
                return lines::print("null");
            }
            Err(error) => return Err(error),
        };
        lines::print(&answer)?;
        if self.args.stats {
            let Stats { prompt, prefilled, generated, .. } = *self.commander.generator().stats();
            // What the context held already costs nothing.
            let n_tokens = prefilled + generated;
            say(format_args!(
                "[{kind} {}: {prompt} tokens in, {generated} out, {:.2} ms, {:.0} tokens/s]",
                self.n_sentences,
                time.as_secs_f64() * 1e3,
                n_tokens as f64 / time.as_secs_f64(),
            ));
            self.n_tokens += n_tokens;
            self.time += time;
        }
        Ok(())
    }

    fn say_stats(&self) {
        if self.time.is_zero() {
            return;
        }
        let seconds = self.time.as_secs_f64();
        let (threads, kernels) = (self.options.threads, self.options.kernels.name());
        let s = if threads == 1 { "" } else { "s" };
        let peak = peak_rss().map(|peak| format!(", peak {}", Bytes(peak))).unwrap_or_default();
        say(format_args!(
            "[{} sentences, {:.1}/s, {:.0} tokens/s; {threads} thread{s}, {kernels}{peak}]",
            self.n_sentences,
            self.n_sentences as f64 / seconds,
            self.n_tokens as f64 / seconds,
        ));
    }
}
