//! `bantam fit`: whether a model fits on a board, and how fast it can be expected to be there.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use bantam_core::model::MAX_CTX;
use clap::{ArgGroup, Args};
use serde_json::{Value as Json, json};

use crate::board::fit::{Fit, InMemory, OnProcessor, Subject, assess};
use crate::board::guide::{self, Judged};
use crate::board::measured::{self, Checked, Kind, Summary, Use};
use crate::board::predict::{Limit, Speed};
use crate::board::shape::{SHAPES, Shape};
use crate::board::{self, Figure, Os, Profile, Size};
use crate::error::{Error, OneLine};
use crate::memory::Bytes;
use crate::model_file::ModelFile;
use crate::quantize::Preset;

/// Tell whether a model fits on a board, and how fast to expect it there
///
/// Memory is the exact plan if the model is a file, and an estimate by a well-known model's shape
/// if only its size is given. Speeds follow from the board's memory bandwidth and int8 peak, and
/// from what engines were seen to reach of them there; --check shows how far off that is for
/// published measurements. Without a model, a table of common ones.
#[derive(Args, Debug)]
#[command(
    group = ArgGroup::new("what").args(["board", "board_file", "list", "guide", "check"]).required(true),
    after_help = "\
Examples:
  bantam fit --list
  bantam fit --board pi5
  bantam fit --board pi5 --params 1.5B --type Q4_0
  bantam fit --board jetson-orin-nano --mode super --model model.gguf --ctx 8192
  bantam fit --board-file mine.toml --params 3B --json
  bantam fit --guide
  bantam fit --check

The JSON holds `board` and `models`, a list with the bytes of `weights`, `kv` and `scratch`, what
is `needed`, `memory` (for each size that the board is sold with, whether it fits and the largest
context), and `speeds` for each processor: `generation` and `prompt` in tokens per second from `low`
to `high`, and `limit` (bandwidth, compute, layers or memory). Where `low` is null, `high` is what
cannot be exceeded, and nothing is known of what is reached.")]
pub(super) struct FitArgs {
    /// The board; --list shows them
    #[arg(long, value_name = "NAME")]
    board: Option<String>,
    /// A board's profile of your own; boards/profiles/README.md says what is in one
    #[arg(long, value_name = "FILE")]
    board_file: Option<PathBuf>,
    /// The board's power mode [default: the one that it comes with]
    #[arg(long, value_name = "NAME", conflicts_with_all = ["list", "guide", "check"])]
    mode: Option<String>,
    /// The model, a GGUF file
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["params", "list", "guide", "check"])]
    model: Option<PathBuf>,
    /// The model's size in parameters, such as 1.5B or 360M
    #[arg(long, value_name = "N", value_parser = parameters, conflicts_with_all = ["list", "guide", "check"])]
    params: Option<f64>,
    /// The format of its weights, as `quantize` takes it [default: Q4_K_M]
    #[arg(long = "type", value_name = "TYPE", value_parser = preset, requires = "params")]
    ty: Option<Preset>,
    /// Tokens of context [default: what the model was trained for, at most 4096, and 128 on
    /// boards without an operating system]
    #[arg(short = 'c', long, value_name = "N", value_parser = super::count(1, MAX_CTX),
        conflicts_with_all = ["list", "guide", "check"])]
    ctx: Option<usize>,
    /// List the boards
    #[arg(long)]
    list: bool,
    /// Show what a widely copied table of speeds claims, beside what bandwidth allows
    #[arg(long)]
    guide: bool,
    /// Show predictions beside published measurements
    #[arg(long)]
    check: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Formats in the table of common models.
const TABLE: [Preset; 4] = [Preset::Q4_0, Preset::Q4_K_M, Preset::Q8_0, Preset::F16];

/// Parameters of the smallest and the largest model that anybody asks for.
const PARAMS: std::ops::RangeInclusive<f64> = 1e5..=2e12;

fn parameters(text: &str) -> Result<f64, String> {
    let (digits, factor) = match text.as_bytes().last() {
        Some(b'K' | b'k') => (&text[..text.len() - 1], 1e3),
        Some(b'M' | b'm') => (&text[..text.len() - 1], 1e6),
        Some(b'B' | b'b' | b'G' | b'g') => (&text[..text.len() - 1], 1e9),
        _ => (text, 1.0),
    };
    let n_params = digits.parse::<f64>().map(|number| number * factor);
    n_params
        .ok()
        .filter(|n_params| PARAMS.contains(n_params))
        .ok_or_else(|| "not a number of parameters from 100K to 2000B, such as 360M or 1.5B".into())
}

fn preset(text: &str) -> Result<Preset, String> {
    Preset::from_name(text).ok_or_else(|| {
        let names: Vec<_> = Preset::ALL.iter().map(|preset| preset.name()).collect();
        format!("no such format; there are: {}", names.join(", "))
    })
}

pub(super) fn fit(args: &FitArgs) -> Result<(), Error> {
    if args.list {
        return show(args.json, list_json, |out| print_list(out));
    }
    if args.guide {
        let judged = guide::judge()?;
        return show(args.json, || json!(judged), |out| print_guide(out, &judged));
    }
    if args.check {
        let rows = measured::check()?;
        return show(args.json, || check_json(&rows), |out| print_check(out, &rows));
    }
    let board = match (&args.board_file, &args.board) {
        (Some(path), _) => board::read(path)?,
        (None, name) => board::find(name.as_deref().unwrap_or_default())?,
    };
    let mode = args.mode.as_deref().or(board.modes.first().map(|mode| mode.name.as_str()));
    let profile = match mode {
        Some(mode) => board::in_mode(&board, mode)?,
        None => board.clone(),
    };
    let subjects = match (&args.model, args.params) {
        (Some(path), _) => vec![Subject::of_file(&ModelFile::open(path)?)?],
        (None, Some(n_params)) => {
            let preset = args.ty.unwrap_or(Preset::Q4_K_M);
            vec![Subject::typical(Shape::near(n_params), preset)]
        }
        (None, None) => common(&profile)?,
    };
    let most = if profile.os == Os::None { 128 } else { 4096 };
    let fits = subjects
        .iter()
        .map(|subject| {
            let n_ctx = args.ctx.unwrap_or(subject.n_ctx_train().min(most));
            assess(&profile, subject, n_ctx)
        })
        .collect::<Result<Vec<_>, _>>()?;
    show(
        args.json,
        || json!({"board": board_json(&profile, mode), "models": fits}),
        |out| {
            print_board(out, &profile, mode)?;
            match fits.as_slice() {
                [fit] => print_fit(out, fit),
                fits => print_table(out, fits),
            }
        },
    )
}

/// Models for a table: those that somebody could try there.
fn common(profile: &Profile) -> Result<Vec<Subject>, Error> {
    let is_firmware = profile.os == Os::None;
    let is_small = |shape: &Shape| shape.n_params() < 100_000_000;
    let shapes = SHAPES.iter().filter(|shape| is_small(shape) == is_firmware);
    let typical = shapes.flat_map(|&shape| TABLE.map(|preset| Subject::typical(shape, preset)));
    let bundled = if is_firmware { bundled()? } else { None };
    Ok(bundled.into_iter().chain(typical).collect())
}

/// The model that is part of the program, if one is.
fn bundled() -> Result<Option<Subject>, Error> {
    #[cfg(feature = "bundled")]
    return Subject::of_file(&ModelFile::bundled()).map(Some);
    #[cfg(not(feature = "bundled"))]
    Ok(None)
}

/// Writes a report in one piece, as JSON or for people.
fn show(
    as_json: bool,
    json: impl FnOnce() -> Json,
    print: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), Error> {
    let mut out = BufWriter::new(io::stdout().lock());
    let written = if as_json { super::write_json(&mut out, &json()) } else { print(&mut out) };
    written.and_then(|()| out.flush()).map_err(Error::stdout)
}

fn print_list(out: &mut dyn Write) -> io::Result<()> {
    for board in board::built_in() {
        let modes: Vec<_> = board.modes.iter().map(|mode| mode.name.as_str()).collect();
        let modes =
            if modes.len() > 1 { format!(" ({})", modes.join(", ")) } else { String::new() };
        writeln!(out, "{:18}{}{modes}", board.name, board.title)?;
    }
    Ok(())
}

fn list_json() -> Json {
    board::built_in().map(|board| board_json(&board, None)).collect()
}

fn board_json(board: &Profile, mode: Option<&str>) -> Json {
    let memory = &board.memory;
    let peaks: Vec<_> = board
        .processors
        .iter()
        .map(|processor| {
            json!({
                "name": processor.name,
                "runs_bantam": processor.runs_bantam,
                "int8_peak_gmacs": board.peak_gmacs(processor),
            })
        })
        .collect();
    let cores: Vec<_> = board
        .clusters
        .iter()
        .map(|cluster| {
            json!({
                "core": cluster.core,
                "cores": cluster.cores,
                "mhz": cluster.mhz.value(),
                "features": cluster.features,
                "used": cluster.used,
            })
        })
        .collect();
    json!({
        "name": board.name,
        "title": board.title,
        "os": board.os,
        "target": board.target,
        "mode": mode,
        "modes": board.modes.iter().map(|mode| &mode.name).collect::<Vec<_>>(),
        "memory_bytes": memory.total.value().map(|sizes| sizes.iter().map(|size| size.0).collect::<Vec<_>>()),
        "reserved_bytes": memory.reserved.value().map(|size| size.0),
        "flash_bytes": memory.flash.as_ref().and_then(Figure::value).map(|size| size.0),
        "theoretical_gbps": memory.theoretical_gbps.value(),
        "measured_gbps": memory.measured_gbps.value(),
        "clusters": cores,
        "processors": peaks,
    })
}

fn print_board(out: &mut dyn Write, board: &Profile, mode: Option<&str>) -> io::Result<()> {
    let mode = mode.filter(|_| board.modes.len() > 1);
    let mode = mode.map_or_else(String::new, |mode| format!(", mode {mode}"));
    writeln!(out, "{} ({}{mode})", OneLine(&board.title), board.name)?;
    for cluster in &board.clusters {
        let clock = cluster.mhz.value().map_or("unknown clock".into(), |mhz| format!("{mhz} MHz"));
        let idle = if cluster.used { "" } else { ", left out: too slow beside the others" };
        writeln!(
            out,
            "  cores      {} × {}, {clock}{idle}",
            cluster.cores,
            OneLine(&cluster.core)
        )?;
    }
    let memory = &board.memory;
    let sizes = memory.total.value().map_or("unknown".into(), |sizes| {
        sizes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    });
    let kept = memory.reserved.value().map_or("unknown".into(), ToString::to_string);
    writeln!(out, "  memory     {sizes}, of which the system keeps {kept}")?;
    if let Some(flash) = memory.flash.as_ref().and_then(Figure::value) {
        writeln!(out, "  flash      {flash}")?;
    }
    let gbps = |figure: &Figure<f64>| {
        figure.value().map_or("unknown".into(), |gbps| format!("{gbps} GB/s"))
    };
    writeln!(
        out,
        "  bandwidth  {} in theory, {} measured",
        gbps(&memory.theoretical_gbps),
        gbps(&memory.measured_gbps)
    )?;
    for processor in &board.processors {
        let peak = board.peak_gmacs(processor);
        let peak = peak.map_or("unknown".into(), |peak| format!("{peak:.0} GMAC/s"));
        writeln!(out, "  int8 peak  {peak} ({})", OneLine(&processor.name))?;
    }
    Ok(())
}

fn print_fit(out: &mut dyn Write, fit: &Fit) -> io::Result<()> {
    let how = if fit.is_estimate { "estimated by this model's shape" } else { "exact" };
    writeln!(
        out,
        "\n{} {}, context of {} tokens; memory is {how}",
        OneLine(&fit.model),
        fit.r#type,
        fit.n_ctx
    )?;
    let mut row =
        |name: &str, bytes: u64| writeln!(out, "  {name:28}{:>12}", Bytes(bytes).to_string());
    row("weights", fit.weights_bytes)?;
    row("context (keys and values)", fit.kv_bytes)?;
    row("scratch, tables, tokenizer", fit.scratch_bytes)?;
    row(
        if fit.fits_in_flash.is_some() { "needed besides flash" } else { "needed" },
        fit.needed_bytes,
    )?;
    writeln!(out)?;
    if let Some(fits) = fit.fits_in_flash {
        writeln!(
            out,
            "  flash: {}",
            if fits { "the weights fit" } else { "the weights do not fit" }
        )?;
    }
    for memory in &fit.memory {
        writeln!(out, "  {} of memory: {}", Size(memory.total_bytes), fits_words(memory))?;
    }
    if fit.memory.is_empty() {
        writeln!(out, "  memory: unknown")?;
    }
    writeln!(out)?;
    for speeds in &fit.speeds {
        let who = if speeds.runs_bantam { "" } else { ", where Bantam does not run" };
        writeln!(out, "  {}{who}", OneLine(&speeds.processor))?;
        if fit.fits == Some(false) {
            writeln!(out, "    bound by memory: it does not fit")?;
            continue;
        }
        writeln!(out, "    generation  {}", long(speeds.generation))?;
        writeln!(out, "    prompt      {}", long(speeds.prompt))?;
        let by_reach = |speed: Speed| speed.limit != Limit::Instructions;
        if let Some(source) = &speeds.reach_source
            && speeds.generation.is_none_or(by_reach)
        {
            writeln!(out, "    reach by    {}", OneLine(source))?;
        }
    }
    Ok(())
}

fn fits_words(memory: &InMemory) -> String {
    let fits = if memory.fits { "fits" } else { "does not fit" };
    match memory.largest_ctx {
        Some(n_ctx) => format!("{fits}; largest context {n_ctx} tokens"),
        // The weights are too many for the flash.
        None if memory.fits => fits.into(),
        None => format!("{fits}; no context fits"),
    }
}

/// A speed in a sentence.
fn long(speed: Option<Speed>) -> String {
    match speed {
        None => "unknown".into(),
        Some(Speed { low: Some(low), high, limit }) => {
            let whose = match limit {
                Limit::Instructions => {
                    " of one core, whose caches hold the model; what more cores add is unknown"
                }
                _ => "",
            };
            format!("{} to {} tokens/s, bound by {}{whose}", Three(low), Three(high), limit.name())
        }
        Some(Speed { low: None, high, limit }) => format!(
            "at most {} tokens/s, bound by {}; what engines reach there is unknown",
            Three(high),
            limit.name()
        ),
    }
}

/// A speed in a table.
fn short(speed: Option<Speed>) -> String {
    match speed {
        None => "-".into(),
        Some(Speed { low: Some(low), high, .. }) => format!("{}-{}", Three(low), Three(high)),
        Some(Speed { low: None, high, .. }) => format!("≤ {}", Three(high)),
    }
}

/// The processor for a table: one with a known reach, else the first.
fn best(fit: &Fit) -> Option<&OnProcessor> {
    let is_known = |on: &&OnProcessor| on.generation.is_some_and(|speed| speed.low.is_some());
    fit.speeds.iter().find(is_known).or(fit.speeds.first())
}

fn print_table(out: &mut dyn Write, fits: &[Fit]) -> io::Result<()> {
    let processor = fits.first().and_then(best).map_or("", |on| on.processor.as_str());
    writeln!(
        out,
        "\nTokens per second, expected of the {}; memory of models that are not here is estimated\n",
        OneLine(processor)
    )?;
    let width = fits.iter().map(|fit| fit.model.chars().count()).max().unwrap_or(0) + 2;
    writeln!(
        out,
        "{:width$}{:8}{:>11}{:>7}{:>12}  {:20}{:>12}{:>14}  bound by",
        "model", "type", "weights", "ctx", "needed", "fits in", "prompt", "generation"
    )?;
    for fit in fits {
        let fitting: Vec<_> = fit.memory.iter().filter(|memory| memory.fits).collect();
        let least = fitting.first().map_or("no".into(), |memory| {
            let more = if fitting.len() > 1 { " and more" } else { "" };
            format!("{}{more}", Size(memory.total_bytes))
        });
        let fits_in = match (fit.fits_in_flash, fit.fits) {
            (Some(false), _) => "no: flash".into(),
            (_, None) => "unknown".into(),
            _ => least,
        };
        let on = best(fit);
        writeln!(
            out,
            "{:width$}{:8}{:>11}{:>7}{:>12}  {fits_in:20}{:>12}{:>14}  {}",
            fit.model,
            fit.r#type,
            Bytes(fit.weights_bytes).to_string(),
            fit.n_ctx,
            Bytes(fit.needed_bytes).to_string(),
            short(on.and_then(|on| on.prompt)),
            short(on.and_then(|on| on.generation)),
            on.and_then(|on| on.limit).map_or("unknown", |limit| limit.name()),
        )?;
    }
    Ok(())
}

fn print_guide(out: &mut dyn Write, judged: &[Judged]) -> io::Result<()> {
    writeln!(
        out,
        "Tokens per second: claimed by a widely copied table, at most by bandwidth, expected\n"
    )?;
    writeln!(
        out,
        "{:26}{:15}{:9}{:>9}{:>9}{:>13}  verdict",
        "board", "model", "type", "claimed", "at most", "expected"
    )?;
    for row in judged {
        let mode = row.mode.as_ref().map_or_else(String::new, |mode| format!(" {mode}"));
        let assumed = if row.type_is_assumed { "*" } else { "" };
        writeln!(
            out,
            "{:26}{:15}{:9}{:>9}{:>9}{:>13}  {}",
            format!("{}{mode}", row.board),
            row.model,
            format!("{}{assumed}", row.r#type),
            format!("{}-{}", row.claimed[0], row.claimed[1]),
            row.ceiling.map_or("unknown".into(), |speed| Three(speed).to_string()),
            row.expected.map_or("unknown".into(), |speed| short(Some(speed))),
            row.verdict.words(),
        )?;
    }
    writeln!(out, "\n* assumed: the table gives no format")
}

fn check_json(rows: &[Checked]) -> Json {
    json!({
        "rows": rows,
        "generation": measured::summary(measured::counted(rows, Kind::Generation)),
        "generation_that_only_checks": measured::summary(measured::checking(rows, Kind::Generation)),
        "prompt": measured::summary(measured::counted(rows, Kind::Prompt)),
        "prompt_that_only_checks": measured::summary(measured::checking(rows, Kind::Prompt)),
    })
}

fn print_check(out: &mut dyn Write, rows: &[Checked]) -> io::Result<()> {
    for (kind, title) in [(Kind::Generation, "Generation"), (Kind::Prompt, "Prompts")] {
        writeln!(
            out,
            "{title}, tokens per second\n\n{:24}{:26}{:>10}{:>11}{:>9}  {:8}  source",
            "board", "model", "measured", "predicted", "error", "row"
        )?;
        for row in measured::counted(rows, kind) {
            print_row(out, row, &row.row.source)?;
        }
        writeln!(out)?;
        let mut sum_up = |which: &str, summary: Option<Summary>| match summary {
            None => Ok(()),
            Some(Summary { n_rows, median_error, largest_error }) => writeln!(
                out,
                "{n_rows} rows{which}: median error {:.0} %, largest {:.0} %",
                100.0 * median_error,
                100.0 * largest_error
            ),
        };
        sum_up("", measured::summary(measured::counted(rows, kind)))?;
        sum_up(" that only check", measured::summary(measured::checking(rows, kind)))?;
        writeln!(out)?;
    }
    writeln!(out, "Left out, and why\n")?;
    for row in rows.iter().filter(|row| row.row.r#use == Use::LeftOut) {
        print_row(out, row, row.row.why.as_deref().unwrap_or_default())?;
    }
    Ok(())
}

fn print_row(out: &mut dyn Write, row: &Checked, last: &str) -> io::Result<()> {
    let Checked { row, predicted, error } = row;
    let mode = row.mode.as_ref().map_or_else(String::new, |mode| format!(" {mode}"));
    writeln!(
        out,
        "{:24}{:26}{:>10}{:>11}{:>9}  {:8}  {last}",
        format!("{}{mode}", row.board),
        row.model,
        row.tokens_per_second,
        predicted.map_or("unknown".into(), |speed| Three(speed).to_string()),
        error.map_or(String::new(), |error| format!("{:+.0} %", 100.0 * error)),
        row.r#use.name(),
    )
}

/// A number with three digits that count.
struct Three(f64);

impl std::fmt::Display for Three {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            n if n >= 99.95 => write!(f, "{n:.0}"),
            n if n >= 9.995 => write!(f, "{n:.1}"),
            n => write!(f, "{n:.2}"),
        }
    }
}
