//! Workspace chores: models, tests, and every check that CI runs, one subcommand each.
//!
//! Nothing here is part of the product. Each job prints the commands it runs, and a check whose
//! tool is missing says `not run` and is listed at the end; it never counts as passed.

mod accuracy;
mod bench;
mod board;
mod check;
mod ci;
mod cmd;
mod context;
mod count;
mod fetch;
mod firmware;
mod fuzz;
mod identity;
mod layers;
mod loc;
mod mca;
mod miri;
mod models;
mod quant_error;
mod sanitize;
mod setup;
mod size;
mod source;
mod synthetic;
mod targets;
mod test;
mod wheel;

use clap::{Parser, Subcommand};
use context::{Context, Ran};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Chores of the Bantam workspace", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    job: Job,
    /// Where to write how the job went, for `cargo xtask ci`
    #[arg(long, hide = true, global = true, value_name = "FILE")]
    report: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Job {
    /// Get the tools that the checks need (says what it will do first)
    Setup(setup::Options),
    /// Fetch the real models that tests and figures use, or make a synthetic one, into models/
    Models(models::Options),
    /// Run the workspace's tests, doctests included
    Test(test::Options),
    /// Measure Bantam beside another program, and this machine's limits
    Bench(bench::Options),
    /// Measure what quantization costs: size, accuracy and speed in a table and a plot
    Accuracy(accuracy::Options),
    /// Compare the errors of quantized weights with llama-quantize's, tensor by tensor
    QuantError(quant_error::Options),
    /// Count the instructions of a token on an emulated Arm CPU
    Count(count::Options),
    /// Estimate the cycles of inner loops on an Arm core
    Mca(mca::Options),
    /// Run everything that CI runs, with times and a summary
    Ci(ci::Options),
    /// Check that every file is formatted
    Fmt(check::FmtOptions),
    /// Check who imports whom in core, where unsafe stands, how long files are
    Layers,
    /// Lint everything, warnings being errors
    Clippy,
    /// Build the documentation, warnings being errors
    Docs,
    /// Run core's tests without its `std` feature
    NoStd,
    /// Build core without features for microcontrollers and other CPUs
    Cross,
    /// Measure core's code for microcontrollers, and prove that it cannot panic
    Size(size::Options),
    /// Run core's tests of arithmetic and formats on emulated Arm CPUs
    Qemu(targets::QemuOptions),
    /// Build the firmware, run it on emulated boards, and compare what it logs
    Firmware(firmware::Options),
    /// Run the bundled model on emulated boards with a system
    Boards,
    /// Check that boards are measured over ssh as they should be, with one that this machine plays
    BoardSsh,
    /// Check that logits are the same bits however and wherever they are computed
    Identity(identity::Options),
    /// Run core's tests but for units, and the host's units, under AddressSanitizer (nightly)
    Asan,
    /// Run core's tests of what touches raw memory under valgrind
    Valgrind,
    /// Run the fuzz targets, each for a while (nightly, cargo-fuzz)
    Fuzz(fuzz::Options),
    /// Run core's scalar code under Miri (nightly's component)
    Miri(miri::Options),
    /// Count lines of Rust per crate
    Loc,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // The folder above this package; compiled in, so that it does not depend on where one stands.
    let root =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().map(PathBuf::from).unwrap_or_default();
    let cx = Context::new(root);
    let did = |()| Ran::Yes;
    let result = match cli.job {
        Job::Setup(options) => setup::run(&cx, &options).map(did),
        Job::Models(options) => models::run(&cx, &options).map(did),
        Job::Bench(options) => bench::run(&cx, &options).map(did),
        Job::Accuracy(options) => accuracy::run(&cx, &options).map(did),
        Job::QuantError(options) => quant_error::run(&cx, &options).map(did),
        Job::Count(options) => count::run(&cx, &options).map(did),
        Job::Mca(options) => mca::run(&cx, &options).map(did),
        Job::Ci(options) => ci::run(&cx, &options).map(did),
        Job::Loc => loc::run(&cx).map(did),
        Job::Test(options) => test::run(&cx, &options),
        Job::Fmt(options) => check::fmt(&cx, &options),
        Job::Layers => layers::run(&cx),
        Job::Clippy => check::clippy(&cx),
        Job::Docs => check::docs(&cx),
        Job::NoStd => check::no_std(&cx),
        Job::Cross => targets::cross(&cx),
        Job::Size(options) => size::run(&cx, &options),
        Job::Qemu(options) => targets::qemu(&cx, &options),
        Job::Firmware(options) => firmware::run(&cx, &options),
        Job::Boards => board::check(&cx),
        Job::BoardSsh => board::check_ssh(&cx),
        Job::Identity(options) => identity::run(&cx, &options),
        Job::Asan => sanitize::asan(&cx),
        Job::Valgrind => sanitize::valgrind(&cx),
        Job::Fuzz(options) => fuzz::run(&cx, &options),
        Job::Miri(options) => miri::run(&cx, &options),
    };
    let result = result.and_then(|ran| match &cli.report {
        Some(path) => cx.report(path, ran),
        None => Ok(()),
    });
    cx.list_not_run();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("error: {err:#}");
            ExitCode::FAILURE
        }
    }
}
