//! `cargo xtask accuracy`: what each quantization costs in size, accuracy and speed.
//!
//! Every model is taken through a ladder of formats with the `bantam` program, as a user would, and
//! compared with its F16 form; the bundled model is asked the sentences of its tests. What has been
//! measured of models is kept under the build folder by the contents of program, model and text, so
//! that a run that was broken off goes on where it was.

mod intent;
mod plot;
mod table;

use crate::bench::record;
use crate::cmd::Cmd;
use crate::context::Context;
use crate::models::{self, List};
use crate::wheel::Hashing;
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;
use table::{Row, Setting};

/// Options of `cargo xtask accuracy`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Where to write table.md, table.csv, intent.csv and plot.svg
    #[arg(short, long, value_name = "DIR", default_value = "fixtures/accuracy")]
    out: PathBuf,
    /// The text to measure on [default: one that is fetched, see fixtures/accuracy/text.toml]
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// Models to measure, GGUF files [default: those that `cargo xtask models` fetches]
    #[arg(short, long = "model", value_name = "FILE", num_args = 1..)]
    models: Vec<PathBuf>,
    /// Windows of 512 tokens to score
    #[arg(short, long, value_name = "N", default_value_t = 8,
        value_parser = clap::value_parser!(u32).range(1..))]
    windows: u32,
}

/// What a model is compared in, the baseline first.
const LADDER: [&str; 6] = ["F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0"];

/// Measures every model and writes the table and the plot.
///
/// # Errors
/// When a program fails or a file cannot be read or written.
pub(crate) fn run(cx: &Context, options: &Options) -> Result<()> {
    let start = Instant::now();
    let models = match options.models.as_slice() {
        [] => List::read(cx)?.models.iter().map(|m| cx.models_dir().join(&m.file)).collect(),
        models => models.to_vec(),
    };
    for path in models.iter().chain(&options.text) {
        let hint = "`cargo xtask models` fetches the models";
        ensure!(path.is_file(), "there is no file {} ({hint})", path.display());
    }
    let work = cx.target_dir().join("accuracy");
    fs::create_dir_all(&work).with_context(|| format!("cannot make {}", work.display()))?;
    let (text, text_name) = match &options.text {
        Some(text) => (text.clone(), name_of(text)),
        None => fetched_text(cx, &work)?,
    };
    Cmd::cargo().args(["build", "--release", "--package", "bantam"]).dir(cx.root()).run()?;
    let program = cx.target_dir().join("release/bantam");
    let (mut rows, mut cpu, mut requantized) = (Vec::new(), String::new(), Vec::new());
    for model in &models {
        let key = key(&[&program, model, &text], options.windows)?;
        let dir = work.join(format!("{}-{key}", stem_of(model)));
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let ladder = Ladder { program: &program, model, text: &text, dir, options };
        for (i, format) in LADDER.iter().enumerate() {
            eprintln!("{}: {format} ({} of {})", stem_of(model), i + 1, LADDER.len());
            let (row, on) = ladder.climb(format)?;
            rows.push(row);
            cpu = on;
        }
        if ladder.is_requantized()? {
            requantized.push(name_of(model));
        }
    }
    let intents = intent::rows(cx, &program, &work)?;
    let setting = Setting {
        text: text_name,
        windows: options.windows,
        cpu,
        commit: record::commit(cx),
        requantized,
    };
    let out = cx.root().join(&options.out);
    fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    let write = |name: &str, content: String| {
        let path = out.join(name);
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))
    };
    write("table.csv", table::csv(&rows))?;
    write("intent.csv", intent::csv(&intents))?;
    let tables = [table::markdown(&rows, &setting), intent::markdown(&intents)];
    write("table.md", tables.join("\n"))?;
    write("plot.svg", plot::svg(&rows)?)?;
    println!("{} has the table and the plot, after {:.0?}", out.display(), start.elapsed());
    Ok(())
}

/// One model and where its forms and figures lie.
struct Ladder<'a> {
    program: &'a Path,
    model: &'a Path,
    text: &'a Path,
    dir: PathBuf,
    options: &'a Options,
}

impl Ladder<'_> {
    fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Makes and measures one form, or takes what an earlier run measured; returns the CPU besides.
    fn climb(&self, format: &str) -> Result<(Row, String)> {
        let file = self.file(&format!("{format}.gguf"));
        let f16 = self.file("F16.gguf");
        let source = if format == "F16" { self.model } else { &f16 };
        let quantize = Cmd::new(self.program).arg("quantize").arg(source).arg(&file).args([
            "--type",
            format,
            "--allow-requantize",
            "--json",
        ]);
        let made = self.once(&format!("{format}.made.json"), &quantize)?;
        let perplexity = Cmd::new(self.program)
            .args(["perplexity", "--json", "--model"])
            .arg(&file)
            .arg("--file")
            .arg(self.text)
            .args(["--chunks", &self.options.windows.to_string()])
            .arg(if format == "F16" { "--save-base" } else { "--kl-base" })
            .arg(self.file("base"));
        let scored = self.once(&format!("{format}.perplexity.json"), &perplexity)?;
        let bench = Cmd::new(self.program)
            .args(["bench", "--json", "--prompt", "128", "--generate", "32", "--model"])
            .arg(&file);
        let speed = self.once(&format!("{format}.bench.json"), &bench)?;
        let f16_bytes = fs::metadata(&f16).context("there is no F16 form")?.len();
        let row = Row::new(&stem_of(self.model), format, f16_bytes, &made, &scored, &speed);
        let cpu = speed["cpu"].as_str().unwrap_or_default().to_owned();
        Ok((row.with_context(|| format!("in {}", self.dir.display()))?, cpu))
    }

    /// Whether the F16 form is made of a file that was quantized before.
    fn is_requantized(&self) -> Result<bool> {
        let path = self.file("F16.made.json");
        let made: Value = serde_json::from_slice(&fs::read(path)?)?;
        Ok(made["original_bits_per_weight"].as_f64().is_some_and(|bits| bits < 16.0))
    }

    /// Runs a command that prints JSON, unless an earlier run has kept its answer.
    fn once(&self, name: &str, cmd: &Cmd) -> Result<Value> {
        let path = self.file(name);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(_) => {
                eprintln!("  $ {}", cmd.line());
                let text = output(cmd)?;
                let partial = self.file("partial");
                fs::write(&partial, &text)
                    .and_then(|()| fs::rename(&partial, &path))
                    .with_context(|| format!("cannot write {}", path.display()))?;
                text
            }
        };
        serde_json::from_str(&text).with_context(|| format!("{} is no JSON", path.display()))
    }
}

/// What a command prints.
pub(crate) fn output(cmd: &Cmd) -> Result<String> {
    let out = cmd.capture()?;
    if !out.ok {
        bail!("{}: {}", cmd.line(), out.stderr.trim());
    }
    Ok(out.stdout)
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A model's name without its format: the file's up to the last but one dot.
pub(crate) fn stem_of(model: &Path) -> String {
    let name = name_of(model);
    let name = name.trim_end_matches(".gguf");
    name.rsplit_once('.').map_or(name, |(stem, _)| stem).to_owned()
}

/// Names what a measurement depends on: the contents of files, and the number of windows.
fn key(files: &[&Path], windows: u32) -> Result<String> {
    let mut hashing = Hashing::new(io::sink());
    for path in files {
        let fail = || format!("cannot read {}", path.display());
        let mut file = File::open(path).with_context(fail)?;
        io::copy(&mut file, &mut hashing).with_context(fail)?;
    }
    io::copy(&mut windows.to_le_bytes().as_slice(), &mut hashing)?;
    Ok(hashing.finish().1.chars().take(12).collect())
}

/// The text of fixtures/accuracy/text.toml, and what to call it.
pub(crate) fn fetched_text(cx: &Context, work: &Path) -> Result<(PathBuf, String)> {
    let list = List::read_from(&cx.root().join("fixtures/accuracy/text.toml"))?;
    let source = list.models.first().context("fixtures/accuracy/text.toml names no text")?;
    models::fetch(source, work)?;
    let table = fs::read_to_string(work.join(&source.file)).context("the text is no UTF-8")?;
    let text = work.join("text.txt");
    fs::write(&text, column(&table)?)
        .with_context(|| format!("cannot write {}", text.display()))?;
    Ok((text, source.what.clone()))
}

/// The column `Content` of a table: names of columns, two lines about them, then lines of cells.
fn column(table: &str) -> Result<String> {
    let mut lines = table.lines();
    let names = lines.next().unwrap_or_default();
    let place = names.split('\t').position(|name| name == "Content");
    let place = place.context("the text's table has no column Content")?;
    let cells = lines.skip(2).filter_map(|line| line.split('\t').nth(place));
    Ok(cells.flat_map(|cell| [cell, "\n"]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_columns() {
        assert_eq!(stem_of(Path::new("a/gemma-3.270m.Q4_K_M.gguf")), "gemma-3.270m");
        assert_eq!(stem_of(Path::new("plain.gguf")), "plain");
        let table = "Title\tContent\ts\nd\ts\n\nOne\tonce\nTwo\ttwice\tx\n";
        assert_eq!(column(table).unwrap(), "once\ntwice\n".to_owned());
        assert!(column("a\tb\n").is_err());
    }
}
