//! `bantam logits`: the numbers behind the text, for comparison with other implementations.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::path::{Path, PathBuf};

use bantam_core::Token;
use bantam_core::engine::{Engine, Stage};
use bantam_core::model::Model;
use clap::Args;

use super::progress::Progress;
use crate::error::{Error, Shown};
use crate::generate::engine_error;
use crate::interrupt;
use crate::load;
use crate::model_file::ModelFile;
use crate::npy::NpyWriter;

/// Write the logits of every position as a NumPy array
///
/// The file is a float32 array, tokens × vocabulary: row i holds the logits of the token that
/// follows token i.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  bantam logits -m model.gguf --prompt 'The sky is' --out sky.npy
  bantam logits -m model.gguf --tokens 1,504,4 --out a.npy --kernels scalar --cache f32
  bantam logits -m model.gguf --prompt-file text.txt --out a.npy --dump-stages stages/

With --dump-stages, each intermediate tensor is written to DIR/NNN-NAME.npy (float32, tokens ×
columns), numbered in the order of computation; a layer's are named lL.NAME.")]
pub(super) struct LogitsArgs {
    #[command(flatten)]
    model: super::ModelArg,
    #[command(flatten)]
    input: InputArgs,
    /// Where to write the logits
    #[arg(short, long, value_name = "FILE.npy")]
    out: PathBuf,
    /// Also write every intermediate tensor into this folder
    #[arg(long, value_name = "DIR")]
    dump_stages: Option<PathBuf>,
    #[command(flatten)]
    threads: super::ThreadsArg,
    #[command(flatten)]
    engine: super::EngineArgs,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct InputArgs {
    /// The text, read as `run --raw` reads it
    #[arg(short, long, value_name = "TEXT")]
    prompt: Option<String>,
    /// Read the text from a file (`-` is standard input)
    #[arg(short = 'f', long, value_name = "FILE")]
    prompt_file: Option<PathBuf>,
    /// The tokens themselves, exactly as given
    #[arg(long, value_name = "ID,ID,...", value_delimiter = ',')]
    tokens: Option<Vec<Token>>,
}

/// Positions whose logits are computed together: at most 16 MiB for the largest vocabularies.
const LOGITS_BATCH: usize = 16;

pub(super) fn logits(args: &LogitsArgs) -> Result<(), Error> {
    interrupt::watch();
    let file = args.model.open()?;
    let mut options = args.engine.options(args.threads.threads)?;
    let gguf = file.gguf()?;
    let model = Model::new(&gguf).map_err(|error| file.model_error(error))?;
    let text = match (&args.input.prompt, &args.input.prompt_file) {
        (Some(text), _) => Some(text.clone()),
        (None, Some(path)) => Some(super::read_text(path)?),
        (None, None) => None,
    };
    let tokens = match (text, &args.input.tokens) {
        (Some(text), _) => load::with_tokenizer(&file, &gguf, |tokenizer| {
            load::encode(&file, tokenizer, &text, true, true)
        })?,
        (None, tokens) => tokens.clone().unwrap_or_default(),
    };
    check(&model, &tokens)?;
    // Exactly what is needed, unless something else was asked for.
    let n_ctx = *options.ctx.get_or_insert(tokens.len());
    if tokens.len() > n_ctx {
        return Err(Error::ContextFull(format!(
            "{} tokens do not fit into --ctx {n_ctx}; pass --ctx {} or leave it out",
            tokens.len(),
            tokens.len(),
        )));
    }
    // A row of logits takes a pass over the output head; several together take one.
    options.n_logits = LOGITS_BATCH.min(n_ctx);
    super::warn_about_context(&model, &options);
    super::page_in(&file, &gguf)?;
    load::with_engine(&file, &model, &options, |engine| write(args, &file, engine, &tokens))
}

fn check(model: &Model<'_>, tokens: &[Token]) -> Result<(), Error> {
    if tokens.is_empty() {
        return Err(Error::Usage("there are no tokens to work on; give a longer --prompt".into()));
    }
    let n_vocab = model.config().n_vocab;
    match tokens.iter().find(|&&token| token as usize >= n_vocab) {
        Some(token) => Err(Error::Usage(format!(
            "--tokens: {token} is not in the vocabulary, which ends with {}",
            n_vocab - 1
        ))),
        None => Ok(()),
    }
}

fn write(
    args: &LogitsArgs,
    file: &ModelFile,
    engine: &mut Engine<'_, '_>,
    tokens: &[Token],
) -> Result<(), Error> {
    let mut rows = NpyWriter::create(&args.out, tokens.len(), engine.config().n_vocab)?;
    let mut outcome = Ok(());
    if let Some(folder) = &args.dump_stages {
        let mut stages = Stages::create(folder, tokens.len())?;
        let mut staged = Ok(());
        let result = engine.prefill_observed(
            tokens,
            &mut |_, logits| {
                if outcome.is_ok() {
                    outcome = rows.rows(logits);
                }
            },
            &mut |stage, values| {
                if staged.is_ok() {
                    staged = stages.write(stage, values);
                }
            },
        );
        result.map_err(engine_error)?;
        staged?;
        outcome?;
    } else {
        // In batches, so that Ctrl-C is heard and progress is shown.
        let mut progress = Progress::tokens("Computing logits");
        for (i, batch) in tokens.chunks(args.engine.batch).enumerate() {
            let first = i * args.engine.batch;
            let result = engine.prefill_each(batch, &mut |index, logits| {
                if outcome.is_ok() {
                    outcome = interrupt::check().and_then(|()| rows.rows(logits));
                }
                progress.set((first + index + 1) as u64, tokens.len() as u64);
            });
            result.map_err(engine_error)?;
            outcome?;
            outcome = Ok(());
        }
    }
    file.check_unchanged()?;
    rows.finish()
}

/// A folder that fills with numbered arrays. A stage may come in pieces, batch by batch.
struct Stages<'f> {
    folder: &'f Path,
    n_tokens: usize,
    /// Arrays that were begun, by stage; `None` once they are whole.
    arrays: BTreeMap<(Option<usize>, &'static str), Option<NpyWriter>>,
}

impl<'f> Stages<'f> {
    fn create(folder: &'f Path, n_tokens: usize) -> Result<Self, Error> {
        let fail = |source| Error::write(Shown(folder).to_string(), source);
        fs::create_dir_all(folder).map_err(fail)?;
        // Arrays of an earlier run would be taken for this one's.
        if fs::read_dir(folder).map_err(fail)?.next().is_some() {
            return Err(Error::Usage(format!(
                "--dump-stages {}: the folder is not empty; name a new one",
                Shown(folder)
            )));
        }
        Ok(Self { folder, n_tokens, arrays: BTreeMap::new() })
    }

    fn write(&mut self, stage: Stage, values: &[f32]) -> Result<(), Error> {
        let count = self.arrays.len();
        let array = match self.arrays.entry((stage.layer, stage.name)) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let layer = stage.layer.map(|layer| format!("l{layer}.")).unwrap_or_default();
                let path = self.folder.join(format!("{count:03}-{layer}{}.npy", stage.name));
                entry.insert(Some(NpyWriter::create(&path, self.n_tokens, stage.n_cols)?))
            }
        };
        if let Some(writer) = array {
            writer.rows(values)?;
            if writer.is_whole() {
                return array.take().map_or(Ok(()), NpyWriter::finish);
            }
        }
        Ok(())
    }
}
