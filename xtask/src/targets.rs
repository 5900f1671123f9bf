//! Core for CPUs that are not here: which compiler can do it, building, and running under QEMU.

use crate::cmd::{Cmd, on_path};
use crate::context::{Context, Ran};
use crate::test::{TEST_FEATURES, reduced};
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};

/// Targets that core must build for without features.
pub(crate) const TARGETS: &[&str] = &[
    "thumbv7em-none-eabihf",
    "thumbv6m-none-eabi",
    "riscv32imac-unknown-none-elf",
    "aarch64-unknown-none",
    AARCH64_LINUX,
];

/// The target whose tests run under QEMU.
pub(crate) const AARCH64_LINUX: &str = "aarch64-unknown-linux-gnu";

/// Debian's compiler, from the package `rustc-web`.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// A compiler that has what one target needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compiler {
    /// The default toolchain, with the target's standard library from rustup.
    Default,
    /// Debian's, with the target's standard library as a package.
    Debian,
    /// Debian's, building `core` from the package `rust-web-src`.
    DebianBuildCore,
}

impl Compiler {
    /// The compiler for `target`; `None` when there is none. `BANTAM_CROSS` set to `rustup` or
    /// `debian` allows only that one.
    pub(crate) fn find(target: &str) -> Option<Self> {
        let only = std::env::var("BANTAM_CROSS").unwrap_or_default();
        if only != "debian" && has_library("rustc", target) {
            return Some(Compiler::Default);
        }
        if only == "rustup" || !Path::new(DEBIAN_RUSTC).exists() {
            None
        } else if has_library(DEBIAN_RUSTC, target) {
            Some(Compiler::Debian)
        } else if target.contains("-none") && debian_sources().is_some_and(|dir| dir.is_dir()) {
            Some(Compiler::DebianBuildCore)
        } else {
            None
        }
    }

    /// In words, for the line that says which one was taken.
    fn name(self) -> &'static str {
        match self {
            Compiler::Default => "the default toolchain's own library",
            Compiler::Debian => "Debian's rustc and its library for the target",
            Compiler::DebianBuildCore => "Debian's rustc, building core from rust-web-src",
        }
    }

    /// Where it builds.
    fn target_dir(self, cx: &Context) -> PathBuf {
        match self {
            Compiler::Default => cx.target_dir(),
            Compiler::Debian | Compiler::DebianBuildCore => cx.target_dir().join("debian"),
        }
    }

    /// `cargo SUBCOMMAND` for `target` with this compiler, in a target folder of its own.
    fn cargo(self, cx: &Context, subcommand: &str, target: &str) -> Cmd {
        println!("{target}: {}", self.name());
        let mut cmd = Cmd::cargo()
            .args([subcommand, "--package", "bantam-core", "--target", target])
            .dir(cx.root());
        if self != Compiler::Default {
            // Another compiler's output would push out the default one's, and be pushed out.
            cmd = cmd.env("RUSTC", DEBIAN_RUSTC).env("CARGO_TARGET_DIR", self.target_dir(cx));
        }
        if self == Compiler::DebianBuildCore {
            cmd = cmd.env("RUSTC_BOOTSTRAP", "1").arg("-Zbuild-std=core");
        }
        if target == AARCH64_LINUX && !cfg!(target_arch = "aarch64") {
            cmd = cmd.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "aarch64-linux-gnu-gcc");
        }
        cmd
    }
}

fn has_library(rustc: &str, target: &str) -> bool {
    let out = Cmd::new(rustc).args(["--print", "target-libdir", "--target", target]).capture();
    let Some(dir) = out.ok().filter(|out| out.ok).map(|out| PathBuf::from(out.stdout.trim()))
    else {
        return false;
    };
    let is_core = |name: &str| name.starts_with("libcore-") && name.ends_with(".rlib");
    std::fs::read_dir(dir)
        .is_ok_and(|dir| dir.flatten().any(|file| is_core(&file.file_name().to_string_lossy())))
}

fn debian_sources() -> Option<PathBuf> {
    let out =
        Cmd::new(DEBIAN_RUSTC).args(["--print", "sysroot"]).capture().ok().filter(|out| out.ok)?;
    Some(Path::new(out.stdout.trim()).join("lib/rustlib/src/rust/library/core"))
}

/// Builds core without features for every target that a compiler here can do.
///
/// # Errors
/// When a build fails.
pub(crate) fn cross(cx: &Context) -> Result<Ran> {
    let mut ran = Ran::No;
    for target in TARGETS {
        match Compiler::find(target) {
            Some(compiler) => {
                compiler.cargo(cx, "build", target).arg("--release").run()?;
                ran = Ran::Yes;
            }
            None => {
                cx.not_run(format!(
                    "core for {target}: no compiler for it; `cargo xtask setup` gets one"
                ));
            }
        }
    }
    Ok(ran)
}

/// What it takes to build core for aarch64 Linux and to run it here.
pub(crate) struct EmulatedArm {
    compiler: Compiler,
    qemu: &'static str,
}

impl EmulatedArm {
    /// Finds a compiler, a linker and QEMU; if one is missing, says that `what` was not run.
    pub(crate) fn find(cx: &Context, what: &str) -> Option<Self> {
        let qemu = ["qemu-aarch64", "qemu-aarch64-static"].into_iter().find(|name| on_path(name));
        let (compiler, qemu) = match (Compiler::find(AARCH64_LINUX), qemu) {
            (Some(compiler), Some(qemu)) if on_path("aarch64-linux-gnu-gcc") => (compiler, qemu),
            (None, _) => {
                cx.not_run(format!("{what}: no compiler for {AARCH64_LINUX}; `cargo xtask setup`"));
                return None;
            }
            (_, None) => {
                cx.not_run(format!("{what}: qemu-aarch64 is missing; `cargo xtask setup`"));
                return None;
            }
            _ => {
                cx.not_run(format!("{what}: aarch64-linux-gnu-gcc, which links it, is missing"));
                return None;
            }
        };
        Some(EmulatedArm { compiler, qemu })
    }

    /// `cargo SUBCOMMAND` on core for the emulated CPU.
    pub(crate) fn cargo(&self, cx: &Context, subcommand: &str) -> Cmd {
        self.compiler.cargo(cx, subcommand, AARCH64_LINUX)
    }

    /// What the compiler calls itself.
    pub(crate) fn compiler(&self) -> Result<String> {
        let rustc = if self.compiler == Compiler::Default { "rustc" } else { DEBIAN_RUSTC };
        Ok(Cmd::new(rustc).arg("--version").capture()?.stdout.trim().to_owned())
    }

    /// Where that cargo puts what it builds with `--release`.
    pub(crate) fn release_dir(&self, cx: &Context) -> PathBuf {
        self.compiler.target_dir(cx).join(AARCH64_LINUX).join("release")
    }

    /// The words that run a program on an emulated CPU of this name.
    pub(crate) fn emulator<'a>(&self, cpu: &'a str) -> [&'a str; 7] {
        // Where Debian's own arm64 libc is installed too, the loader from -L would take that
        // library, of another build than itself, and the first thread would hang: so name the one
        // it goes with.
        let library = "LD_LIBRARY_PATH=/usr/aarch64-linux-gnu/lib";
        [self.qemu, "-cpu", cpu, "-L", "/usr/aarch64-linux-gnu", "-E", library]
    }
}

/// Options of `cargo xtask qemu`.
#[derive(clap::Args)]
pub(crate) struct QemuOptions {
    /// CPU to emulate (cortex-a72: no dot product; cortex-a76: dot product; max: everything)
    #[arg(long, default_value = "cortex-a76")]
    cpu: String,
    /// Names of tests to run, and options for the test program
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

impl Default for QemuOptions {
    fn default() -> Self {
        QemuOptions { cpu: "cortex-a76".into(), rest: Vec::new() }
    }
}

/// Runs core's tests on an emulated aarch64 CPU.
///
/// # Errors
/// When a test fails.
pub(crate) fn qemu(cx: &Context, options: &QemuOptions) -> Result<Ran> {
    if options.cpu.contains(char::is_whitespace) {
        bail!("a CPU's name has no spaces: {:?}", options.cpu);
    }
    let Some(arm) = EmulatedArm::find(cx, "core's tests on aarch64") else {
        return Ok(Ran::No);
    };
    let cmd = arm
        .cargo(cx, "test")
        .args(["--lib", "--tests", "--no-fail-fast", "--features", TEST_FEATURES])
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", arm.emulator(&options.cpu).join(" "));
    cx.not_run(format!(
        "on an emulated {}: core's tests with real models, which would take too long",
        options.cpu
    ));
    reduced(cx, cmd).arg("--").args(&options.rest).run()?;
    Ok(Ran::Yes)
}
