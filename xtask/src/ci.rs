//! `cargo xtask ci`: everything that CI runs, in its order, with times and a summary.

use crate::context::{Context, Ran};
use crate::{board, check, firmware, fuzz, identity, layers, miri, sanitize, size, targets, test};
use anyhow::{Result, bail};
use std::time::Instant;

/// Options of `cargo xtask ci`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Leave a job out (once per job)
    #[arg(long, value_name = "JOB")]
    except: Vec<String>,
    /// Stop at the first job that fails
    #[arg(long)]
    fail_fast: bool,
}

type Run = fn(&Context) -> Result<Ran>;

/// The jobs, cheap ones first. Each is a subcommand of its own.
const JOBS: &[(&str, Run)] = &[
    ("fmt", |cx| check::fmt(cx, &Default::default())),
    ("layers", layers::run),
    ("clippy", check::clippy),
    ("test", |cx| test::run(cx, &Default::default())),
    ("no-std", check::no_std),
    ("docs", check::docs),
    ("cross", targets::cross),
    ("size", |cx| size::run(cx, &Default::default())),
    ("qemu", |cx| targets::qemu(cx, &Default::default())),
    ("identity", |cx| identity::run(cx, &identity::Options::reduced())),
    ("firmware", |cx| firmware::run(cx, &Default::default())),
    ("boards", board::check),
    ("board-ssh", board::check_ssh),
    ("valgrind", sanitize::valgrind),
    ("asan", sanitize::asan),
    ("fuzz", |cx| fuzz::run(cx, &Default::default())),
    ("miri", |cx| miri::run(cx, &Default::default())),
];

/// Jobs that need tools too, but are no part of CI.
const OTHERS: &[&str] = &["mca"];

/// Checks that every name is that of a job.
///
/// # Errors
/// Names the first that is not, and those that are.
pub(crate) fn known(names: &[String]) -> Result<()> {
    let is_known = |name: &str| OTHERS.contains(&name) || JOBS.iter().any(|(job, _)| *job == name);
    match names.iter().find(|name| !is_known(name)) {
        None => Ok(()),
        Some(unknown) => {
            let jobs: Vec<_> =
                JOBS.iter().map(|(name, _)| *name).chain(OTHERS.iter().copied()).collect();
            bail!("no job is called {unknown:?}; there are {}", jobs.join(", "))
        }
    }
}

/// Runs every job, and says at the end how each one went.
///
/// # Errors
/// When a job failed. One whose tool is missing does not fail, and is listed as not run.
pub(crate) fn run(cx: &Context, options: &Options) -> Result<()> {
    known(&options.except)?;
    let mut rows = Vec::new();
    let mut failed = Vec::new();
    let start = Instant::now();
    for (name, job) in JOBS {
        if options.except.iter().any(|except| except == name) {
            rows.push((*name, 0.0, "left out".to_owned()));
            continue;
        }
        eprintln!("\n==== {name}");
        let (before, began) = (cx.n_not_run(), Instant::now());
        let result = job(cx);
        let not_run = cx.n_not_run() - before;
        let how = match &result {
            Err(_) => "FAILED".to_owned(),
            Ok(Ran::No) => "NOT RUN".to_owned(),
            Ok(Ran::Yes) if not_run > 0 => "passed, but for what is listed below".to_owned(),
            Ok(Ran::Yes) => "passed".to_owned(),
        };
        rows.push((*name, began.elapsed().as_secs_f64(), how));
        if let Err(err) = result {
            eprintln!("error: {name}: {err:#}");
            failed.push(*name);
            if options.fail_fast {
                break;
            }
        }
    }
    eprintln!("\n==== summary");
    for (name, seconds, how) in &rows {
        eprintln!("{name:<10} {seconds:>7.1} s  {how}");
    }
    eprintln!("{:<10} {:>7.1} s", "all", start.elapsed().as_secs_f64());
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}
