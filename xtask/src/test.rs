//! `cargo xtask test`: the workspace's tests, the command that the README gives.

use crate::cmd::Cmd;
use crate::context::{Context, Ran};
use crate::models;
use anyhow::{Result, bail};

/// Features that tests need beyond the defaults; every test command names the same ones, so
/// that they share one build.
pub(crate) const TEST_FEATURES: &str = "bantam-core/std,bantam-core/_internal";

/// Options of `cargo xtask test`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Fewer random cases and smaller sizes, for a quick answer
    #[arg(long)]
    quick: bool,
    /// Names of tests to run, and options for the test runner
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// Runs all tests: with cargo-nextest where it is installed, and doctests after it.
///
/// # Errors
/// When a test fails, or models are missing although `BANTAM_REQUIRE_MODELS` is set.
pub(crate) fn run(cx: &Context, options: &Options) -> Result<Ran> {
    note_missing_models(cx)?;
    let envs = if options.quick { quick_env() } else { &[] };
    let common = ["--workspace", "--no-fail-fast", "--features", TEST_FEATURES];
    if Cmd::cargo().args(["nextest", "--version"]).succeeds() {
        let cmd = Cmd::cargo().args(["nextest", "run"]).args(common).args(&options.rest);
        with_env(cmd, envs).dir(cx.root()).run()?;
        if options.rest.is_empty() {
            let cmd = Cmd::cargo().args(["test", "--doc"]).args(common);
            with_env(cmd, envs).dir(cx.root()).run()?;
        }
    } else {
        let cmd = Cmd::cargo().arg("test").args(common).args(&options.rest);
        with_env(cmd, envs).dir(cx.root()).run()?;
    }
    Ok(Ran::Yes)
}

/// The environment that asks tests for less: proptest reads the first, our own tests the second.
fn quick_env() -> &'static [(&'static str, &'static str)] {
    &[("PROPTEST_CASES", "16"), ("BANTAM_QUICK", "1")]
}

/// A test command for a slow, emulated or instrumented CPU: quick, and without real models.
pub(crate) fn reduced(cx: &Context, cmd: Cmd) -> Cmd {
    let nowhere = cx.target_dir().join("no-models");
    with_env(cmd, quick_env()).env("BANTAM_MODELS", nowhere).env("BANTAM_REQUIRE_MODELS", "0")
}

fn with_env(cmd: Cmd, envs: &[(&str, &str)]) -> Cmd {
    envs.iter().fold(cmd, |cmd, (key, value)| cmd.env(key, value))
}

/// Names the models that are not there; their tests do nothing then, which must be seen.
fn note_missing_models(cx: &Context) -> Result<()> {
    let dir = cx.models_dir();
    let list = models::List::read(cx)?;
    let missing: Vec<&str> = list
        .models
        .iter()
        .map(|m| m.file.as_str())
        .filter(|file| !dir.join(file).is_file())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if std::env::var_os("BANTAM_REQUIRE_MODELS").is_some_and(|v| v == "1") {
        bail!("{} missing in {}: run `cargo xtask models`", missing.join(" and "), dir.display());
    }
    for file in missing {
        cx.not_run(format!("tests that need {file}: it is missing; run `cargo xtask models`"));
    }
    Ok(())
}
