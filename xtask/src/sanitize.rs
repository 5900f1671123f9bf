//! Memory errors: tests under AddressSanitizer, and core's under valgrind.

use crate::cmd::{Cmd, has_nightly, on_path};
use crate::context::{Context, Ran};
use crate::test::{TEST_FEATURES, reduced};
use anyhow::Result;

/// Runs core's tests but for units, real models included, and the host's units under
/// AddressSanitizer (nightly).
///
/// # Errors
/// When a test fails or the sanitizer finds something.
pub(crate) fn asan(cx: &Context) -> Result<Ran> {
    if !has_nightly() {
        return Ok(cx.not_run("tests under AddressSanitizer: no nightly toolchain; `rustup toolchain install nightly`"));
    }
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    // Those of code with raw memory are Miri's, and none reaches a kernel of more than scalars; core
    // would be compiled once more for them.
    cx.not_run("under AddressSanitizer: tests of core's units");
    // What they start is core, and maps of files, which the sanitizer does not watch: a read behind
    // one faults without it.
    cx.not_run(
        "under AddressSanitizer: tests of the program bantam, which start it thousands of times",
    );
    for tests in [&["bantam-core", "--test", "*"][..], &["bantam", "--lib"]] {
        Cmd::cargo()
            .args(["+nightly", "test", "--no-fail-fast", "--package"])
            // Doctests are built by rustdoc, which takes its flags from a variable of its own; they
            // run the same code as the tests.
            .args(tests)
            .args(["--features", TEST_FEATURES, "--target", &target])
            .env("RUSTFLAGS", "-Zsanitizer=address")
            // Shorter hostile texts: instrumented code takes ten times as long.
            .env("BANTAM_QUICK", "1")
            .env("ASAN_OPTIONS", "detect_stack_use_after_return=1:strict_string_checks=1")
            .env("CARGO_TARGET_DIR", cx.target_dir().join("asan"))
            .dir(cx.root())
            .run()?;
    }
    Ok(Ran::Yes)
}

/// Core's tests under valgrind: those of the code that has something to do with raw memory. Units of
/// that code are Miri's.
const UNDER_VALGRIND: [&str; 8] = [
    "engine",
    "families",
    "gguf_golden",
    "gguf_reject",
    "logits_golden",
    "model_reject",
    "parity",
    "quant_golden",
];

/// Runs core's tests under valgrind, which also sees reads of memory that was never written.
///
/// # Errors
/// When a test fails or valgrind finds something.
pub(crate) fn valgrind(cx: &Context) -> Result<Ran> {
    if !on_path("valgrind") {
        return Ok(cx.not_run("core's tests under valgrind: it is missing; `cargo xtask setup`"));
    }
    // The test program's own threads leave blocks "possibly lost" that say nothing about core.
    let runner = "valgrind --quiet --error-exitcode=99 --leak-check=full \
                  --show-leak-kinds=definite --errors-for-leak-kinds=definite";
    let variable =
        format!("CARGO_TARGET_{}_UNKNOWN_LINUX_GNU_RUNNER", std::env::consts::ARCH.to_uppercase());
    let cmd = Cmd::cargo()
        // The whole workspace, as it is built for the other tests.
        .args(["test", "--workspace", "--features", TEST_FEATURES, "--no-fail-fast"])
        .args(UNDER_VALGRIND.map(|test| ["--test", test]).concat())
        .args(["--", "--skip", "parity", "--skip", "matmul_rows"])
        .env(variable, runner)
        .dir(cx.root());
    cx.not_run("under valgrind: core's tests with real models, which would take too long");
    cx.not_run(format!(
        "under valgrind: core's tests beside {}, those of units and tokenizers among them",
        UNDER_VALGRIND.join(", ")
    ));
    // Valgrind 3.19 computes the fused -(1·1) + 1 as -0, where IEEE-754 and every CPU have +0.
    cx.not_run("under valgrind: equal bits of matrix products, as it rounds vfnmadd differently");
    reduced(cx, cmd).run()?;
    Ok(Ran::Yes)
}
