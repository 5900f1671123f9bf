//! Tells the program which commit and which compiler made it, for `--version` and for benchmark
//! records.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // The log of HEAD grows with every commit and checkout. Outside a repository there is none.
    if let Some(log) = output("git", &["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={log}");
    }
    let commit = output("git", &["rev-parse", "--short=12", "HEAD"]);
    println!("cargo::rustc-env=BANTAM_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let compiler = output(&rustc, &["--version"]);
    println!("cargo::rustc-env=BANTAM_COMPILER={}", compiler.as_deref().unwrap_or("unknown"));
    let target = std::env::var("TARGET").unwrap_or_default();
    println!("cargo::rustc-env=BANTAM_TARGET={target}");
}

/// What a program prints, on one line, if it succeeds.
fn output(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned()).filter(|text| !text.is_empty())
}
