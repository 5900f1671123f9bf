//! `cargo xtask miri`: undefined behaviour, alignment and byte order, in an interpreter.

use crate::cmd::{Cmd, has_nightly};
use crate::context::{Context, Ran};
use crate::test::reduced;
use anyhow::Result;

/// Parts of core that touch memory in ways a compiler cannot check, and that Miri can run in
/// reasonable time. Arithmetic is left to the other jobs, and SIMD to AddressSanitizer.
const PARTS: &[&str] = &["arena::", "par::", "quant::", "tensor::", "gguf::"];

/// Options of `cargo xtask miri`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Interpret another target, such as the big-endian s390x-unknown-linux-gnu
    #[arg(long)]
    target: Option<String>,
}

/// Runs core's scalar code, formats, parser and arena under Miri, with reduced sizes.
///
/// # Errors
/// When a test fails or Miri finds undefined behaviour.
pub(crate) fn run(cx: &Context, options: &Options) -> Result<Ran> {
    if !has_nightly() || !Cmd::cargo().args(["+nightly", "miri", "--version"]).succeeds() {
        return Ok(cx.not_run("core under Miri: nightly's component is missing; `rustup +nightly component add miri rust-src`"));
    }
    let mut cmd = Cmd::cargo()
        .args([
            "+nightly",
            "miri",
            "test",
            "--package",
            "bantam-core",
            "--lib",
            "--features",
            "bantam-core/_internal",
        ])
        .env(
            "MIRIFLAGS",
            "-Zmiri-disable-isolation -Zmiri-strict-provenance -Zmiri-symbolic-alignment-check",
        )
        .env("CARGO_TARGET_DIR", cx.target_dir().join("miri"))
        .dir(cx.root());
    if let Some(target) = &options.target {
        cmd = cmd.args(["--target", target]);
    }
    reduced(cx, cmd).env("PROPTEST_CASES", "2").arg("--").args(PARTS).run()?;
    Ok(Ran::Yes)
}
