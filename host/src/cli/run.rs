//! `bantam run`: an answer, a completion, or a chat.

use std::hash::{BuildHasher, RandomState};
use std::io::{self, IsTerminal};
use std::path::PathBuf;

use bantam_core::model::Model;
use bantam_core::sampler::SamplerOptions;
use clap::Args;

use super::answer::{Screen, Session};
use super::say;
use crate::chat::{Conversation, Role};
use crate::error::Error;
use crate::generate::{Finish, Generator};
use crate::{intent, interrupt, load};

/// Answer a prompt, continue a text, or chat
///
/// With a prompt (--prompt, --file or piped standard input) the answer goes to standard output.
/// Without one, on a terminal, it is a chat: /help tells the rest.
///
/// A model with a chat template gets the prompt as a message and answers it; --raw, or a model
/// without a template, continues the prompt as plain text. A model of device commands, such as the
/// bundled one, answers each message by itself and in JSON, as `bantam intent` does.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  bantam run -m model.gguf                                     chat
  bantam run -m model.gguf -p 'Name three rivers.'             one answer
  bantam run -m model.gguf -p 'Name three rivers.' --system 'Answer in French.'
  bantam run -m model.gguf --raw -p 'Once upon a time' -n 64   plain completion
  bantam run -m model.gguf --temp 0 -f prompt.txt              always the most likely token
  git diff | bantam run -m model.gguf --system 'Summarize this change.'

The same model, prompt, options and --seed give the same text on every machine, with any number
of threads.")]
pub(super) struct RunArgs {
    #[command(flatten)]
    model: super::ModelArg,
    /// The prompt
    #[arg(short, long, value_name = "TEXT", conflicts_with = "file")]
    prompt: Option<String>,
    /// Read the prompt from a file (`-` is standard input)
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Continue the prompt as plain text, without the chat template
    #[arg(long)]
    raw: bool,
    /// Print the prompt before its continuation
    #[arg(long)]
    echo: bool,
    /// What to tell the model before the conversation
    #[arg(long, value_name = "TEXT", conflicts_with = "raw")]
    system: Option<String>,
    /// Tokens of an answer at most [default: until the model ends it; 256 for plain text]
    #[arg(short = 'n', long = "tokens", value_name = "N", value_parser = super::count(1, usize::MAX))]
    limit: Option<usize>,
    /// Print speed and memory to standard error, also when that is no terminal
    #[arg(short, long)]
    verbose: bool,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    threads: super::ThreadsArg,
    #[command(flatten)]
    engine: super::EngineArgs,
}

/// How tokens are chosen.
#[derive(Args, Debug)]
#[command(next_help_heading = "Choice of tokens")]
struct SamplingArgs {
    /// Temperature; 0 always takes the most likely token
    #[arg(long, value_name = "T", default_value = "0.8", value_parser = super::number(0.0, 100.0))]
    temp: f32,
    /// Keep the K most likely tokens; 0 keeps all
    #[arg(long, value_name = "K", default_value = "40")]
    top_k: usize,
    /// Keep the most likely tokens that together reach this probability
    #[arg(long, value_name = "P", default_value = "0.95", value_parser = super::number(0.0, 1.0))]
    top_p: f32,
    /// Keep tokens with at least this share of the most likely one's probability
    #[arg(long, value_name = "P", default_value = "0.05", value_parser = super::number(0.0, 1.0))]
    min_p: f32,
    /// Make tokens that came up lately less likely; 1 does not
    #[arg(long, value_name = "X", default_value = "1.0", value_parser = super::number(0.01, 100.0))]
    repeat_penalty: f32,
    /// How many of the last tokens count as lately
    #[arg(long, value_name = "N", default_value = "64")]
    repeat_last_n: usize,
    /// Seed of the choice [default: another one each time]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

impl SamplingArgs {
    fn options(&self) -> SamplerOptions {
        SamplerOptions {
            temperature: self.temp,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repeat_penalty: self.repeat_penalty,
            repeat_last_n: self.repeat_last_n,
            // The standard library's hasher is keyed by the system's entropy.
            seed: self.seed.unwrap_or_else(|| RandomState::new().hash_one(0)),
        }
    }
}

pub(super) fn run(args: &RunArgs) -> Result<(), Error> {
    interrupt::watch();
    let file = args.model.open()?;
    let mut options = args.engine.options(args.threads.threads)?;
    let prompt = prompt(args)?;
    let gguf = file.gguf()?;
    let model = Model::new(&gguf).map_err(|error| file.model_error(error))?;
    load::with_tokenizer(&file, &gguf, |tokenizer| {
        let template =
            if args.raw { None } else { super::answer::template(&file, &gguf, tokenizer)? };
        let schema = if args.raw { None } else { load::schema(&file, &gguf, tokenizer)? };
        super::warn_about_context(&model, &options);
        if let Some(schema) = &schema {
            options.ctx.get_or_insert_with(|| intent::default_ctx(&model, schema));
        }
        super::page_in(&file, &gguf)?;
        load::with_engine(&file, &model, &options, |engine| {
            let sampling = args.sampling.options();
            let mut generator = Generator::new(engine, tokenizer, sampling);
            generator.hold_to(schema);
            let drawn = schema.is_none() && sampling.temperature > 0.0;
            let mut session = Session {
                file: &file,
                generator,
                template,
                limit: args.limit,
                seed: drawn.then_some(sampling.seed),
                options: &options,
            };
            match &prompt {
                Some(prompt) => one_answer(args, &mut session, prompt),
                None => super::chat::chat(&mut session, args.system.as_deref()),
            }
        })
    })
}

/// The prompt, or `None` for a chat.
fn prompt(args: &RunArgs) -> Result<Option<String>, Error> {
    let prompt = match (&args.prompt, &args.file) {
        (Some(prompt), _) => prompt.clone(),
        (None, Some(path)) => super::read_text(path)?,
        (None, None) if io::stdin().is_terminal() => return Ok(None),
        (None, None) => super::read_text("-".as_ref())?,
    };
    if prompt.is_empty() {
        return Err(Error::Usage(
            "the prompt is empty; pass --prompt TEXT, --file FILE, or text on standard input"
                .into(),
        ));
    }
    Ok(Some(prompt))
}

fn one_answer(
    args: &RunArgs,
    session: &mut Session<'_, '_, '_, '_, '_>,
    prompt: &str,
) -> Result<(), Error> {
    let tokens = match &session.template {
        Some(template) => {
            let mut conversation = Conversation::new(args.system.as_deref());
            // The line feed that ends a file or what `echo` prints is not part of a message.
            conversation.push(Role::User, prompt.trim_end_matches(['\r', '\n']));
            session.conversation_tokens(template, &conversation)?
        }
        None if args.system.is_some() => {
            return Err(Error::Usage(
                "--system needs a model with a chat template, and this one has none; put it into \
                 the prompt"
                    .into(),
            ));
        }
        None => session.plain_tokens(prompt)?,
    };
    let mut screen = Screen::stdout();
    if args.echo {
        screen.write(prompt)?;
    }
    let answered = session.answer(&tokens, &mut screen);
    screen.end_line()?;
    let finish = answered?.finish;
    if args.verbose || io::stderr().is_terminal() {
        say(session.footer());
    }
    match finish {
        Finish::Interrupted => Err(Error::Interrupted),
        Finish::ContextFull => {
            let n_ctx = session.generator.n_ctx();
            say(format_args!(
                "warning: the answer was cut: the context of {n_ctx} tokens is full; pass a \
                 larger --ctx"
            ));
            Ok(())
        }
        Finish::End | Finish::Limit => Ok(()),
    }
}
