//! Reads from the models what the firmware's static memory depends on.
//!
//! Only numbers pass: [`MemoryPlan`](bantam_core::model::MemoryPlan) makes bytes of them on the
//! board, where a pointer is as long as the board has it.

use bantam_core::gguf::{Gguf, keys};
use bantam_core::model::{Model, ModelShape};
use bantam_core::schema::Schema;
use bantam_core::tokenizer::Tokenizer;
use std::error::Error;
use std::path::{Path, PathBuf};

const MODELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/intent");

/// Longest sentence in bytes, its line feed included.
const MAX_SENTENCE: usize = 96;

/// What one model needs.
#[derive(PartialEq)]
struct Needs {
    shape: ModelShape,
    n_macs: usize,
    max_prompt: usize,
    max_answer: usize,
    index_bytes: usize,
    encode_bytes: usize,
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let needs = ["Q8_0", "Q4_0"].map(|format| {
        let path = Path::new(MODELS).join(format!("bantam-intent.{format}.gguf"));
        println!("cargo::rerun-if-changed={}", path.display());
        needs(&path).map_err(|error| format!("{}: {error}", path.display()))
    });
    let [first, second] = needs;
    let Needs { shape, n_macs, max_prompt, max_answer, index_bytes, encode_bytes } = first?;
    let first = Needs { shape, n_macs, max_prompt, max_answer, index_bytes, encode_bytes };
    if first != second? {
        return Err("the models have different shapes, but share their memory".into());
    }
    let source = format!(
        "/// Shape of the models.\n\
         pub const SHAPE: bantam_core::model::ModelShape = bantam_core::model::{shape:?};\n\
         /// Multiply-accumulates of a token with the weights.\n\
         pub const N_MACS: usize = {n_macs};\n\
         /// Longest sentence in bytes, its line feed included.\n\
         pub const MAX_SENTENCE: usize = {MAX_SENTENCE};\n\
         /// Most tokens of a sentence.\n\
         pub const MAX_PROMPT: usize = {max_prompt};\n\
         /// Longest answer, in bytes and in tokens.\n\
         pub const MAX_ANSWER: usize = {max_answer};\n\
         /// Bytes of the tokenizer's index.\n\
         pub const INDEX_BYTES: usize = {index_bytes};\n\
         /// Bytes that encoding a sentence takes.\n\
         pub const ENCODE_BYTES: usize = {encode_bytes};\n"
    );
    let out = PathBuf::from(std::env::var("OUT_DIR")?).join("model.rs");
    std::fs::write(out, source)?;
    Ok(())
}

fn needs(path: &Path) -> Result<Needs, Box<dyn Error>> {
    let file = std::fs::read(path)?;
    let gguf = Gguf::parse(&file)?;
    let model = Model::new(&gguf)?;
    let schema = gguf.get(keys::BANTAM_SCHEMA).and_then(|value| value.as_str());
    let schema = Schema::parse(schema.ok_or("it has no schema")?)?;
    let mut index = vec![0; Tokenizer::plan(&gguf)?.bytes];
    let tokenizer = Tokenizer::new_in(&gguf, &mut index)?;
    // Every matrix once; the table of embeddings is the head too.
    let matrices = gguf.tensors().filter(|tensor| tensor.view.n_rows() > 1);
    Ok(Needs {
        shape: model.config().shape(),
        n_macs: matrices.map(|tensor| tensor.view.n_rows() * tensor.view.n_cols()).sum(),
        max_prompt: tokenizer.max_tokens(MAX_SENTENCE),
        max_answer: schema.max_bytes(),
        index_bytes: Tokenizer::plan(&gguf)?.bytes,
        encode_bytes: tokenizer.encode_scratch(MAX_SENTENCE),
    })
}
