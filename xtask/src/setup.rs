//! `cargo xtask setup`: gets the tools that the checks need. It says what it will do, then does it.

use crate::board;
use crate::ci;
use crate::cmd::{Cmd, has_nightly, on_path};
use crate::context::Context;
use crate::firmware;
use crate::mca;
use crate::targets::{AARCH64, AARCH64_LINUX, ARMV7, ARMV7_LINUX, Compiler, TARGETS};
use anyhow::Result;
use std::path::Path;

/// Options of `cargo xtask setup`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Jobs whose tools to get; those of every job of `ci` when none is named
    jobs: Vec<String>,
    /// Only say what is missing and what would be done
    #[arg(long)]
    dry_run: bool,
}

/// A tool, the jobs that need it, whether it is there, and the ways to get it, the preferred one
/// first.
struct Tool {
    name: String,
    jobs: &'static [&'static str],
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
    fn new(
        name: &str,
        jobs: &'static [&'static str],
        present: impl Fn() -> bool + 'static,
        ways: impl Into<Vec<Way>>,
    ) -> Self {
        Tool { name: name.to_owned(), jobs, present: Box::new(present), ways: ways.into() }
    }

    fn missing(&self) -> bool {
        !(self.present)()
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
            Way::Cargo(name) => format!("cargo install {name} --locked --debug"),
        }
    }
}

/// Everything that a job of `cargo xtask ci` may need beyond the default toolchain.
fn tools() -> Vec<Tool> {
    let has = |cmd: Cmd| move || cmd.succeeds();
    let mut tools = vec![
        Tool::new(
            "pip, which fetches the models",
            &["test", "no-std", "identity", "asan"],
            || {
                ["python3", "python"]
                    .iter()
                    .any(|p| Cmd::new(p).args(["-m", "pip", "--version"]).succeeds())
            },
            [Way::Debian(&["python3-pip"])],
        ),
        Tool::new(
            "rustfmt",
            &["fmt"],
            has(Cmd::cargo().args(["fmt", "--version"])),
            [Way::rustup("component add rustfmt")],
        ),
        Tool::new(
            "clippy",
            &["clippy", "firmware"],
            has(Cmd::cargo().args(["clippy", "--version"])),
            [Way::rustup("component add clippy")],
        ),
    ];
    for target in TARGETS {
        let (jobs, packages): (&[_], &[_]) = match *target {
            AARCH64_LINUX => (
                &["cross", "qemu", "identity", "boards", "board-ssh"],
                &["rustc-web", "libstd-rust-web-dev:arm64"],
            ),
            ARMV7_LINUX => (&["cross", "qemu", "identity"], &["rustc-web", "rust-web-src"]),
            _ => (&["cross", "firmware"], &["rustc-web", "rust-web-src", "lld"]),
        };
        tools.push(Tool::new(
            &format!("a compiler for {target}"),
            jobs,
            || Compiler::find(target).is_some(),
            [Way::rustup(&format!("target add {target}")), Way::Debian(packages)],
        ));
    }
    if !cfg!(target_arch = "aarch64") {
        tools.push(Tool::new(
            "a linker for aarch64",
            &["qemu", "identity", "boards", "board-ssh"],
            || on_path("aarch64-linux-gnu-gcc"),
            [Way::Debian(&["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"])],
        ));
    }
    tools.extend([
        Tool::new(
            "a linker for 32-bit Arm",
            &["qemu", "identity", "firmware"],
            || on_path(&ARMV7.linker()),
            [Way::Debian(&["gcc-arm-linux-gnueabihf", "libc6-dev-armhf-cross"])],
        ),
        Tool::new(
            "qemu-aarch64 and qemu-arm",
            &["qemu", "identity", "boards", "board-ssh"],
            || AARCH64.qemu().is_some() && ARMV7.qemu().is_some(),
            [Way::Debian(&["qemu-user"])],
        ),
        Tool::new(
            "llvm-mca and llvm-objdump",
            &["mca"],
            || mca::version().is_some(),
            [Way::Debian(&["llvm-19"]), Way::Debian(&["llvm"])],
        ),
        Tool::new(
            "QEMU's emulators of whole boards",
            &["firmware"],
            firmware::has_emulators,
            [Way::Debian(&["qemu-system-arm", "qemu-system-misc"])],
        ),
        Tool::new(
            "OpenSSH's client and server (which Debian also starts as a service, on port 22)",
            &["board-ssh"],
            board::has_openssh,
            [Way::Debian(&["openssh-server", "openssh-client"])],
        ),
        Tool::new("valgrind", &["valgrind"], || on_path("valgrind"), [Way::Debian(&["valgrind"])]),
        Tool::new(
            "a nightly toolchain",
            &["asan", "fuzz", "miri"],
            has_nightly,
            [Way::rustup("toolchain install nightly --profile minimal")],
        ),
        Tool::new(
            "Miri",
            &["miri"],
            || has_nightly() && Cmd::cargo().args(["+nightly", "miri", "--version"]).succeeds(),
            [Way::rustup("component add --toolchain nightly miri rust-src")],
        ),
        // cargo-fuzz builds libFuzzer, which is C++.
        Tool::new("a C++ compiler", &["fuzz"], || on_path("c++"), [Way::Debian(&["g++"])]),
        Tool::new(
            "cargo-fuzz",
            &["fuzz"],
            has(Cmd::cargo().args(["fuzz", "--version"])),
            [Way::Cargo("cargo-fuzz")],
        ),
    ]);
    tools
}

/// Gets what is missing, says so before and after.
///
/// # Errors
/// When a job's name is unknown. A tool that cannot be had is listed, and the job that needs it
/// says `not run`.
pub(crate) fn run(cx: &Context, options: &Options) -> Result<()> {
    ci::known(&options.jobs)?;
    let wanted = |tool: &Tool| {
        options.jobs.is_empty()
            || tool.jobs.iter().any(|job| options.jobs.iter().any(|name| name == job))
    };
    let mut missing: Vec<Tool> =
        tools().into_iter().filter(|tool| wanted(tool) && tool.missing()).collect();
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
    missing.retain(Tool::missing);
    debian(&missing);
    missing.retain(Tool::missing);
    for tool in &missing {
        for way in &tool.ways {
            if let Way::Cargo(name) = way {
                // What such a tool starts takes time; it itself is compiled in half with this.
                let cmd = Cmd::cargo().args(["install", name, "--locked", "--debug"]);
                attempt(&cmd.dir(cx.root()));
            }
        }
    }
    missing.retain(Tool::missing);

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
    let sudo = !is_root && Cmd::new("sudo").args(["--non-interactive", "true"]).succeeds();
    if !is_root && !sudo {
        println!("setup: neither root nor sudo; as root: apt-get install {}", all.join(" "));
        return;
    }
    let as_root =
        |program: &str| if sudo { Cmd::new("sudo").arg(program) } else { Cmd::new(program) };
    let install = |packages: &[&str]| {
        let cmd =
            as_root("apt-get").args(["install", "--yes", "--no-install-recommends"]).args(packages);
        attempt(&cmd.env("DEBIAN_FRONTEND", "noninteractive"))
    };
    if all.iter().any(|package| package.ends_with(":arm64")) {
        attempt(&as_root("dpkg").args(["--add-architecture", "arm64"]));
    }
    attempt(&as_root("apt-get").args(["update", "--quiet"]));
    if !install(&all) {
        for packages in sets {
            install(packages);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_name_real_jobs_and_have_a_way() {
        for tool in tools() {
            let jobs: Vec<String> = tool.jobs.iter().map(|job| (*job).to_owned()).collect();
            assert!(!jobs.is_empty() && !tool.ways.is_empty(), "{}", tool.name);
            ci::known(&jobs).unwrap();
        }
        assert!(
            ci::known(&["nosuch".to_owned()]).unwrap_err().to_string().contains("there are fmt")
        );
    }
}
