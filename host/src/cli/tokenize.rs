//! `bantam tokenize`.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use bantam_core::Token;
use bantam_core::tokenizer::Tokenizer;
use clap::Args;
use serde::Serialize;

use crate::error::Error;
use crate::load;

/// Show how a model's tokenizer splits a text
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  bantam tokenize -m model.gguf 'Hello, world'
  bantam tokenize -m model.gguf --file prompt.txt --ids
  echo -n 'Hello' | bantam tokenize -m model.gguf --json
  bantam tokenize -m model.gguf --parse-special '<|im_start|>user'

Text that is no UTF-8 is read with U+FFFD in place of what is wrong.")]
pub(super) struct TokenizeArgs {
    #[command(flatten)]
    model: super::ModelArg,
    /// The text [default: standard input]
    text: Option<String>,
    /// Read the text from a file (`-` is standard input)
    #[arg(short, long, value_name = "FILE", conflicts_with = "text")]
    file: Option<PathBuf>,
    /// Print the numbers only, on one line
    #[arg(long, conflicts_with = "json")]
    ids: bool,
    /// Print JSON: `count`, and `tokens` with `id`, `text` and `special`
    #[arg(long)]
    json: bool,
    /// Leave out the tokens that the model wants at the beginning and end of a text
    #[arg(long)]
    no_bos: bool,
    /// Read the names of special tokens, such as <|im_start|>, as these tokens
    #[arg(long)]
    parse_special: bool,
}

#[derive(Serialize)]
struct JsonToken {
    id: Token,
    text: String,
    special: bool,
}

#[derive(Serialize)]
struct JsonTokens {
    count: usize,
    tokens: Vec<JsonToken>,
}

pub(super) fn tokenize(args: &TokenizeArgs) -> Result<(), Error> {
    let file = args.model.open()?;
    let text = match (&args.text, &args.file) {
        (Some(text), _) => text.clone(),
        (None, path) => super::read_text(path.as_deref().unwrap_or("-".as_ref()))?,
    };
    let gguf = file.gguf()?;
    load::with_tokenizer(&file, &gguf, |tokenizer| {
        let tokens = load::encode(&file, tokenizer, &text, !args.no_bos, args.parse_special)?;
        file.check_unchanged()?;
        print(args, tokenizer, &tokens)
    })
}

fn print(
    args: &TokenizeArgs,
    tokenizer: &Tokenizer<'_, '_>,
    tokens: &[Token],
) -> Result<(), Error> {
    let mut out = BufWriter::new(io::stdout().lock());
    let piece = |token| load::piece(tokenizer, token);
    let written = if args.json {
        let tokens: Vec<JsonToken> = tokens
            .iter()
            .map(|&id| JsonToken { id, text: piece(id), special: tokenizer.is_special(id) })
            .collect();
        let json = JsonTokens { count: tokens.len(), tokens };
        serde_json::to_writer(&mut out, &json).map_err(io::Error::from).and_then(|()| writeln!(out))
    } else if args.ids {
        let ids: Vec<String> = tokens.iter().map(ToString::to_string).collect();
        writeln!(out, "{}", ids.join(" "))
    } else {
        tokens.iter().try_for_each(|&id| writeln!(out, "{id:>7}  {:?}", piece(id)))
    };
    written.and_then(|()| out.flush()).map_err(Error::stdout)
}
