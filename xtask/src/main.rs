//! Workspace chores: models, tests, and every check that CI runs, one subcommand each.
//!
//! Nothing here is part of the product. Each job prints the commands it runs, and a check whose
//! tool is missing says `not run` and is listed at the end; it never counts as passed.

mod cmd;
mod context;
mod fetch;
mod models;
mod test;
mod wheel;

use clap::{Parser, Subcommand};
use context::Context;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Chores of the Bantam workspace", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    job: Job,
}

#[derive(Subcommand)]
enum Job {
    /// Fetch the real models that tests and figures use, into models/
    Models(models::Options),
    /// Run the workspace's tests, doctests included
    Test(test::Options),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // The folder above this package; compiled in, so that it does not depend on where one stands.
    let root =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().map(PathBuf::from).unwrap_or_default();
    let cx = Context::new(root);
    let result = match cli.job {
        Job::Models(options) => models::run(&cx, &options),
        Job::Test(options) => test::run(&cx, &options),
    };
    cx.list_not_run();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("error: {err:#}");
            ExitCode::FAILURE
        }
    }
}
