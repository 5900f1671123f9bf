//! `cargo xtask setup`: gets the tools that the checks need. It says what it will do, then does it.

use crate::cmd::{Cmd, has_nightly, on_path};
use crate::context::Context;
use crate::targets::{AARCH64_LINUX, Compiler, TARGETS};
use anyhow::Result;
use std::path::Path;

/// Options of `cargo xtask setup`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only say what is missing and what would be done
    #[arg(long)]
    dry_run: bool,
}

/// A tool, whether it is there, and the ways to get it, the preferred one first.
struct Tool {
    name: String,
    present: Box<dyn Fn() -> bool>,
    ways: Vec<Way>,
}

/// One way to get a tool.
#[derive(Clone)]
enum Way {
    /// `rustup ARGS`.
    Rustup(Vec<String>),
    /// Debian packages; those with `:arm64` need that architecture added first.
    Debian(&'static [&'static str]),
    /// `cargo install NAME`.
    Cargo(&'static str),
}

impl Tool {
    fn new(name: &str, present: impl Fn() -> bool + 'static, ways: Vec<Way>) -> Self {
        Tool { name: name.to_owned(), present: Box::new(present), ways }
    }

    fn program(name: &'static str, packages: &'static [&'static str]) -> Self {
        Tool::new(name, move || on_path(name), vec![Way::Debian(packages)])
    }
}

impl Way {
    fn rustup(words: &str) -> Self {
        Way::Rustup(words.split(' ').map(str::to_owned).collect())
    }

    fn possible(&self) -> bool {
        match self {
            Way::Rustup(_) => on_path("rustup"),
            Way::Debian(_) => Path::new("/etc/debian_version").exists() && on_path("apt-get"),
            Way::Cargo(_) => true,
        }
    }

    fn in_words(&self) -> String {
        match self {
            Way::Rustup(args) => format!("rustup {}", args.join(" ")),
            Way::Debian(packages) => format!("apt-get install {}", packages.join(" ")),
            Way::Cargo(name) => format!("cargo install {name} --locked"),
        }
    }
}

/// Everything that a job of `cargo xtask ci` may need beyond the default toolchain.
fn tools() -> Vec<Tool> {
    let mut tools = vec![
        Tool::new(
            "pip, which fetches the models",
            || {
                ["python3", "python"]
                    .iter()
                    .any(|p| Cmd::new(p).args(["-m", "pip", "--version"]).succeeds())
            },
            vec![Way::Debian(&["python3-pip"])],
        ),
        Tool::new(
            "rustfmt",
            || Cmd::cargo().args(["fmt", "--version"]).succeeds(),
            vec![Way::rustup("component add rustfmt")],
        ),
        Tool::new(
            "clippy",
            || Cmd::cargo().args(["clippy", "--version"]).succeeds(),
            vec![Way::rustup("component add clippy")],
        ),
    ];
    for target in TARGETS {
        let packages: &[&str] = if *target == AARCH64_LINUX {
            &["rustc-web", "libstd-rust-web-dev:arm64"]
        } else {
            &["rustc-web", "rust-web-src", "lld"]
        };
        let rustup = Way::rustup(&format!("target add {target}"));
        let present = || Compiler::find(target).is_some();
        tools.push(Tool::new(
            &format!("a compiler for {target}"),
            present,
            vec![rustup, Way::Debian(packages)],
        ));
    }
    if !cfg!(target_arch = "aarch64") {
        tools.push(Tool::program(
            "aarch64-linux-gnu-gcc",
            &["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"],
        ));
    }
    tools.push(Tool::new(
        "qemu-aarch64",
        || on_path("qemu-aarch64") || on_path("qemu-aarch64-static"),
        vec![Way::Debian(&["qemu-user"])],
    ));
    tools.push(Tool::program("valgrind", &["valgrind"]));
    // cargo-fuzz builds libFuzzer, which is C++.
    tools.push(Tool::program("c++", &["g++"]));
    tools.push(Tool::new(
        "a nightly toolchain",
        has_nightly,
        vec![Way::rustup("toolchain install nightly --profile minimal")],
    ));
    tools.push(Tool::new(
        "Miri",
        || has_nightly() && Cmd::cargo().args(["+nightly", "miri", "--version"]).succeeds(),
        vec![Way::rustup("component add --toolchain nightly miri rust-src")],
    ));
    tools.push(Tool::new(
        "cargo-fuzz",
        || Cmd::cargo().args(["fuzz", "--version"]).succeeds(),
        vec![Way::Cargo("cargo-fuzz")],
    ));
    tools
}

/// Gets what is missing, says so before and after.
///
/// # Errors
/// When the workspace's own state is unreadable; a tool that cannot be had is listed instead, and
/// the job that needs it says `not run`.
pub(crate) fn run(cx: &Context, options: &Options) -> Result<()> {
    let mut missing: Vec<Tool> = tools().into_iter().filter(|tool| !(tool.present)()).collect();
    if missing.is_empty() {
        println!("setup: every tool is there");
        return Ok(());
    }
    println!("setup: missing, and how each can be had here:");
    for tool in &missing {
        let ways: Vec<_> =
            tool.ways.iter().filter(|way| way.possible()).map(Way::in_words).collect();
        let ways =
            if ways.is_empty() { "no way known here".to_owned() } else { ways.join(", else ") };
        println!("  {}: {ways}", tool.name);
    }
    if options.dry_run {
        return Ok(());
    }

    for tool in &missing {
        for way in tool.ways.iter().filter(|way| way.possible()) {
            if let Way::Rustup(args) = way {
                attempt(&Cmd::new("rustup").args(args));
            }
        }
    }
    missing.retain(|tool| !(tool.present)());
    debian(&missing);
    missing.retain(|tool| !(tool.present)());
    for tool in &missing {
        for way in &tool.ways {
            if let Way::Cargo(name) = way {
                attempt(&Cmd::cargo().args(["install", name, "--locked"]).dir(cx.root()));
            }
        }
    }
    missing.retain(|tool| !(tool.present)());

    for tool in &missing {
        cx.not_run(format!("what needs {}: setup could not get it", tool.name));
    }
    println!("setup: done, {} still missing", missing.len());
    Ok(())
}

/// Runs a command whose failure only means that another way, or none, is left.
fn attempt(cmd: &Cmd) -> bool {
    match cmd.run() {
        Ok(()) => true,
        Err(err) => {
            eprintln!("warning: {err:#}");
            false
        }
    }
}

/// Installs Debian packages for these tools: all at once, and one tool at a time if that fails,
/// so that one package unknown to this release does not cost the others.
fn debian(missing: &[Tool]) {
    let mut sets: Vec<&[&str]> = Vec::new();
    for way in missing.iter().flat_map(|tool| &tool.ways).filter(|way| way.possible()) {
        if let Way::Debian(packages) = way {
            sets.push(packages);
        }
    }
    let mut all: Vec<&str> = sets.concat();
    all.sort_unstable();
    all.dedup();
    if all.is_empty() {
        return;
    }
    let is_root = Cmd::new("id").arg("-u").capture().is_ok_and(|out| out.stdout.trim() == "0");
    if !is_root {
        println!("setup: not root, so as root: apt-get install {}", all.join(" "));
        return;
    }
    let install = |packages: &[&str]| {
        let cmd = Cmd::new("apt-get")
            .args(["install", "--yes", "--no-install-recommends"])
            .args(packages);
        attempt(&cmd.env("DEBIAN_FRONTEND", "noninteractive"))
    };
    if all.iter().any(|package| package.ends_with(":arm64")) {
        attempt(&Cmd::new("dpkg").args(["--add-architecture", "arm64"]));
    }
    attempt(&Cmd::new("apt-get").args(["update", "--quiet"]));
    if !install(&all) {
        for packages in sets {
            install(packages);
        }
    }
}
