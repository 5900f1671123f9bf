//! Checks that only read: format, lints, documentation, and core's tests without its features.

use crate::cmd::Cmd;
use crate::context::{Context, Ran};
use crate::test::TEST_FEATURES;
use anyhow::Result;

/// Options of `cargo xtask fmt`.
#[derive(clap::Args)]
pub(crate) struct FmtOptions {
    /// Rewrite the files instead of only checking them
    #[arg(long)]
    fix: bool,
}

/// Checks that every crate is formatted, the fuzzers and the firmware included.
///
/// # Errors
/// When one is not.
pub(crate) fn fmt(cx: &Context, options: &FmtOptions) -> Result<Ran> {
    for manifest in
        ["Cargo.toml", "core/fuzz/Cargo.toml", "boards/Cargo.toml", "boards/rp2350/Cargo.toml"]
    {
        if cx.root().join(manifest).is_file() {
            let cmd =
                Cmd::cargo().args(["fmt", "--all", "--manifest-path", manifest]).dir(cx.root());
            if options.fix { cmd } else { cmd.args(["--", "--check"]) }.run()?;
        }
    }
    Ok(Ran::Yes)
}

/// Runs clippy over everything, over core as a board builds it, and over a host without a model.
///
/// # Errors
/// On any warning.
pub(crate) fn clippy(cx: &Context) -> Result<Ran> {
    let clippy = || Cmd::cargo().arg("clippy").dir(cx.root());
    clippy()
        .args(["--workspace", "--all-targets", "--features", TEST_FEATURES, "--", "-D", "warnings"])
        .run()?;
    clippy().args(["--package", "bantam-core", "--", "-D", "warnings"]).run()?;
    let bare = ["--package", "bantam", "--no-default-features", "--all-targets"];
    clippy().args(bare).args(["--", "-D", "warnings"]).run()?;
    Ok(Ran::Yes)
}

/// Builds the documentation, with every warning an error.
///
/// # Errors
/// On a broken link, or any other warning.
pub(crate) fn docs(cx: &Context) -> Result<Ran> {
    Cmd::cargo()
        .args(["doc", "--workspace", "--no-deps", "--features", "bantam-core/std"])
        .env("RUSTDOCFLAGS", "-D warnings")
        .dir(cx.root())
        .run()?;
    Ok(Ran::Yes)
}

/// Runs core's tests of whole models, of kernels and of quantizers without the feature `std`: kernels
/// are then chosen by target features, and square root and fused multiply-add are core's own. No
/// other test gets to see a difference.
///
/// # Errors
/// When a test fails.
pub(crate) fn no_std(cx: &Context) -> Result<Ran> {
    Cmd::cargo()
        .args(["test", "--package", "bantam-core", "--features", "bantam-core/_internal"])
        .args(
            ["engine", "families", "logits_golden", "parity", "quant_golden"]
                .map(|test| ["--test", test])
                .concat(),
        )
        .arg("--no-fail-fast")
        .dir(cx.root())
        .run()?;
    Ok(Ran::Yes)
}
