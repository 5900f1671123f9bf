//! Core for CPUs that are not here: which compiler can do it, building, and running under QEMU.

use crate::cmd::{Cmd, on_path};
use crate::context::{Context, Ran};
use crate::test::{TEST_FEATURES, reduced};
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};

/// Targets that core must build for without features.
pub(crate) const TARGETS: &[&str] = &[
    "thumbv7em-none-eabihf",
    "thumbv7em-none-eabi",
    "thumbv8m.main-none-eabihf",
    "thumbv7m-none-eabi",
    "thumbv6m-none-eabi",
    "riscv32imac-unknown-none-elf",
    "riscv32imafc-unknown-none-elf",
    "aarch64-unknown-none",
    AARCH64_LINUX,
    ARMV7_LINUX,
];

pub(crate) const AARCH64_LINUX: &str = "aarch64-unknown-linux-gnu";
pub(crate) const ARMV7_LINUX: &str = "armv7-unknown-linux-gnueabihf";

/// An architecture whose programs run under QEMU here.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arch {
    pub(crate) target: &'static str,
    /// What rustup's and Debian's compilers are told of its CPUs.
    rustflags: &'static str,
    /// Debian's name of its C compiler, which links, and of the folder where its C library is.
    triple: &'static str,
    qemu: &'static str,
    /// CPUs to emulate, for QEMU.
    pub(crate) cpus: &'static [&'static str],
    /// Which of core's tests run there, as cargo is told.
    tests: &'static [&'static str],
    /// Names of those that do not, being another job's or too slow.
    skipped: &'static [&'static str],
}

pub(crate) const AARCH64: Arch = Arch {
    target: AARCH64_LINUX,
    rustflags: "",
    triple: "aarch64-linux-gnu",
    qemu: "qemu-aarch64",
    // Without the dot product, with it, and with everything that QEMU knows.
    cpus: &["cortex-a72", "cortex-a76", "max"],
    // Units do not reach a kernel of more than scalars, and would have core compiled once more.
    tests: &[
        "--test",
        "engine",
        "--test",
        "families",
        "--test",
        "logits_golden",
        "--test",
        "parity",
        "--test",
        "quant_golden",
    ],
    // It is what `cargo xtask identity` does, on three CPUs.
    skipped: &["batches_workers_and_kernels_leave_no_trace"],
};

/// A CPU with the FPU instructions of a Cortex-M4 or M7 stands in for these: the second flag has
/// the code for them compiled. Core's units have addresses of 32 bits there.
pub(crate) const ARMV7: Arch = Arch {
    target: ARMV7_LINUX,
    rustflags: "-Ctarget-cpu=cortex-a7 --cfg=bantam_arm_fpv4",
    triple: "arm-linux-gnueabihf",
    qemu: "qemu-arm",
    cpus: &["cortex-a7"],
    tests: &["--lib", "--test", "parity"],
    skipped: &[],
};

impl Arch {
    /// The architecture of a CPU: 64 bits if nothing else is known.
    pub(crate) fn of(cpu: &str) -> &'static Self {
        if ARMV7.cpus.contains(&cpu) { &ARMV7 } else { &AARCH64 }
    }

    /// The one of this target.
    fn of_target(target: &str) -> Option<&'static Self> {
        [&AARCH64, &ARMV7].into_iter().find(|arch| arch.target == target)
    }

    /// The C compiler that links its programs.
    pub(crate) fn linker(&self) -> String {
        format!("{}-gcc", self.triple)
    }

    /// QEMU's program for it that is here.
    pub(crate) fn qemu(&self) -> Option<String> {
        [self.qemu.to_owned(), format!("{}-static", self.qemu)].into_iter().find(|n| on_path(n))
    }

    /// The environment variable that has cargo do `what` for its target.
    fn variable(&self, what: &str) -> String {
        variable(self.target, what)
    }

    /// Whether this machine is of it.
    fn is_here(&self) -> bool {
        self.target.starts_with(std::env::consts::ARCH)
    }
}

/// The environment variable that has cargo do `what` for a target.
fn variable(target: &str, what: &str) -> String {
    format!("CARGO_TARGET_{}_{what}", target.to_uppercase().replace(['-', '.'], "_"))
}

/// Debian's compiler, from the package `rustc-web`.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// A compiler that has what one target needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compiler {
    /// The default toolchain, with the target's standard library from rustup.
    Default,
    /// Debian's, with the target's standard library as a package.
    Debian,
    /// Debian's, building the target's standard library, or `core` of it, from the package
    /// `rust-web-src`.
    DebianBuildStd,
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
        } else if (target.contains("-none") || target == ARMV7_LINUX)
            && debian_sources().is_some_and(|dir| dir.is_dir())
        {
            Some(Compiler::DebianBuildStd)
        } else {
            None
        }
    }

    /// In words, for the line that says which one was taken.
    fn name(self) -> &'static str {
        match self {
            Compiler::Default => "the default toolchain's own library",
            Compiler::Debian => "Debian's rustc and its library for the target",
            Compiler::DebianBuildStd => "Debian's rustc, building the library from rust-web-src",
        }
    }

    /// Where it builds.
    pub(crate) fn target_dir(self, cx: &Context) -> PathBuf {
        match self {
            Compiler::Default => cx.target_dir(),
            Compiler::Debian | Compiler::DebianBuildStd => cx.target_dir().join("debian"),
        }
    }

    /// What it calls itself.
    pub(crate) fn version(self) -> Result<String> {
        let rustc = if self == Compiler::Default { "rustc" } else { DEBIAN_RUSTC };
        Ok(Cmd::new(rustc).arg("--version").capture()?.stdout.trim().to_owned())
    }

    /// `cargo SUBCOMMAND` for firmware on `target`, in the workspace of the boards.
    pub(crate) fn cargo_in_boards(self, cx: &Context, subcommand: &str, target: &str) -> Cmd {
        eprintln!("{target}: {}", self.name());
        let cmd = Cmd::cargo()
            .args([subcommand, "--locked", "--release", "--target", target])
            .dir(cx.root().join("boards"))
            .env("CARGO_TARGET_DIR", self.boards_dir(cx));
        match self {
            Compiler::Default => return cmd,
            Compiler::Debian => cmd,
            Compiler::DebianBuildStd => {
                cmd.env("RUSTC_BOOTSTRAP", "1").arg("-Zbuild-std=core,alloc")
            }
        }
        .env("RUSTC", DEBIAN_RUSTC)
        .env(variable(target, "LINKER"), "ld.lld")
    }

    /// Where it builds firmware.
    pub(crate) fn boards_dir(self, cx: &Context) -> PathBuf {
        self.target_dir(cx).join("boards")
    }

    /// `cargo SUBCOMMAND` on core for some targets with this compiler, in a target folder of its own.
    fn cargo(self, cx: &Context, subcommand: &str, targets: &[&str]) -> Cmd {
        self.cargo_in(cx, cx.root(), subcommand, targets).args(["--package", "bantam-core"])
    }

    /// The same for the package in a folder.
    pub(crate) fn cargo_in(
        self,
        cx: &Context,
        dir: &Path,
        subcommand: &str,
        targets: &[&str],
    ) -> Cmd {
        eprintln!("{}: {}", targets.join(", "), self.name());
        let mut cmd = Cmd::cargo().arg(subcommand).dir(dir);
        if self != Compiler::Default {
            // Another compiler's output would push out the default one's, and be pushed out.
            cmd = cmd.env("RUSTC", DEBIAN_RUSTC).env("CARGO_TARGET_DIR", self.target_dir(cx));
        }
        if self == Compiler::DebianBuildStd {
            let bare = targets.iter().all(|target| target.contains("-none"));
            let parts = if bare { "core" } else { "std,panic_unwind,test" };
            cmd = cmd.env("RUSTC_BOOTSTRAP", "1").arg(format!("-Zbuild-std={parts}"));
        }
        for target in targets {
            cmd = cmd.args(["--target", target]);
            if let Some(arch) = Arch::of_target(target).filter(|arch| !arch.is_here()) {
                cmd = cmd.env(arch.variable("LINKER"), arch.linker());
                if !arch.rustflags.is_empty() {
                    cmd = cmd.env(arch.variable("RUSTFLAGS"), arch.rustflags);
                }
            }
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
    // Those of one compiler together: core is a single crate, which keeps one CPU busy. A standard
    // library that is built along is not the same for all.
    let mut groups: Vec<(Compiler, Vec<&str>)> = Vec::new();
    for &target in TARGETS {
        let Some(compiler) = Compiler::find(target) else {
            cx.not_run(format!(
                "core for {target}: no compiler for it; `cargo xtask setup` gets one"
            ));
            continue;
        };
        let takes_more = |known| known == compiler && compiler != Compiler::DebianBuildStd;
        match groups.iter_mut().find(|(known, _)| takes_more(*known)) {
            Some((_, targets)) => targets.push(target),
            None => groups.push((compiler, vec![target])),
        }
    }
    for (compiler, targets) in &groups {
        // Firmware shows what becomes of it with more.
        let build = compiler.cargo(cx, "build", targets).arg("--release");
        build.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1").run()?;
    }
    Ok(if groups.is_empty() { Ran::No } else { Ran::Yes })
}

/// What it takes to build core for Linux on some Arm CPU and to run it here.
pub(crate) struct EmulatedArm {
    arch: &'static Arch,
    compiler: Compiler,
    qemu: String,
}

impl EmulatedArm {
    /// Finds a compiler, a linker and QEMU; if one is missing, says that `what` was not run.
    pub(crate) fn find(cx: &Context, arch: &'static Arch, what: &str) -> Option<Self> {
        let target = arch.target;
        let missing = match (Compiler::find(target), arch.qemu()) {
            (Some(compiler), Some(qemu)) if arch.is_here() || on_path(&arch.linker()) => {
                return Some(EmulatedArm { arch, compiler, qemu });
            }
            (None, _) => format!("there is no compiler for {target}"),
            (_, None) => format!("{} is missing", arch.qemu),
            _ => format!("{}, which links it, is missing", arch.linker()),
        };
        cx.not_run(format!("{what} on {target}: {missing}; `cargo xtask setup`"));
        None
    }

    /// `cargo SUBCOMMAND` on core for the emulated CPU.
    pub(crate) fn cargo(&self, cx: &Context, subcommand: &str) -> Cmd {
        self.compiler.cargo(cx, subcommand, &[self.arch.target])
    }

    /// What the compiler calls itself.
    pub(crate) fn compiler(&self) -> Result<String> {
        self.compiler.version()
    }

    /// Where that cargo puts what it builds with `--release`.
    pub(crate) fn release_dir(&self, cx: &Context) -> PathBuf {
        self.compiler.target_dir(cx).join(self.arch.target).join("release")
    }

    /// The words that run a program on an emulated CPU of this name.
    pub(crate) fn emulator(&self, cpu: &str) -> Vec<String> {
        let root = format!("/usr/{}", self.arch.triple);
        // Where Debian's own libc of that architecture is installed too, the loader from -L would
        // take that library, of another build than itself, and the first thread would hang: so
        // name the one it goes with.
        let library = format!("LD_LIBRARY_PATH={root}/lib");
        [&self.qemu, "-cpu", cpu, "-L", &root, "-E", &library].map(str::to_owned).to_vec()
    }
}

/// Builds the plugin that has QEMU count instructions, and says where it is.
///
/// # Errors
/// When it does not build.
pub(crate) fn counting_plugin(cx: &Context) -> Result<PathBuf> {
    Cmd::cargo().args(["build", "--package", "qemu-count"]).dir(cx.root()).run()?;
    Ok(cx.target_dir().join("debug/libqemu_count.so"))
}

/// Options of `cargo xtask qemu`.
#[derive(clap::Args)]
pub(crate) struct QemuOptions {
    /// CPU to emulate (cortex-a72: no dot product; cortex-a76: dot product; max: `i8mm` too;
    /// cortex-a7: 32 bits, DSP instructions) [default: max, then cortex-a7]
    #[arg(long)]
    cpu: Option<String>,
    /// Names of tests to run, and options for the test program
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// Runs core's tests on emulated Arm CPUs.
///
/// # Errors
/// When a test fails.
pub(crate) fn qemu(cx: &Context, options: &QemuOptions) -> Result<Ran> {
    let cpus = match &options.cpu {
        Some(cpu) if cpu.contains(char::is_whitespace) => {
            bail!("a CPU's name has no spaces: {cpu:?}")
        }
        Some(cpu) => vec![&**cpu],
        // Every set of 64-bit Arm, then that of 32 bits.
        None => vec!["max", "cortex-a7"],
    };
    let mut ran = Ran::No;
    for cpu in cpus {
        let arch = Arch::of(cpu);
        let Some(arm) = EmulatedArm::find(cx, arch, "core's tests") else { continue };
        let cmd = arm
            .cargo(cx, "test")
            .args(arch.tests)
            .args(["--no-fail-fast", "--features", TEST_FEATURES])
            .env(arch.variable("RUNNER"), arm.emulator(cpu).join(" "));
        cx.not_run(format!(
            "on an emulated {cpu}: core's tests with real models, which would take too long"
        ));
        // Who names a test gets it.
        let skipped = if options.rest.is_empty() { arch.skipped } else { &[] };
        cx.not_run(format!(
            "on an emulated {cpu}: core's tests beside {}{}; `cargo xtask identity` runs the engine \
             there",
            arch.tests.join(" "),
            skipped.iter().map(|test| format!(" without {test}")).collect::<String>()
        ));
        let skip = skipped.iter().flat_map(|test| ["--skip", test]);
        reduced(cx, cmd).arg("--").args(skip).args(&options.rest).run()?;
        ran = Ran::Yes;
    }
    Ok(ran)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_and_targets_have_their_architecture() {
        assert_eq!((Arch::of("cortex-a7"), Arch::of("cortex-a76")), (&ARMV7, &AARCH64));
        assert_eq!(Arch::of_target("thumbv7em-none-eabihf"), None);
        let linker = Arch::of_target(ARMV7_LINUX).map(|arch| arch.variable("LINKER"));
        assert_eq!(linker.as_deref(), Some("CARGO_TARGET_ARMV7_UNKNOWN_LINUX_GNUEABIHF_LINKER"));
    }
}
