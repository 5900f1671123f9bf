//! `cargo xtask firmware`: the firmware of `boards/`, built, run under QEMU, and compared with what
//! it logged before.
//!
//! A program is `boards/BOARD/src/bin/PROGRAM.rs`, and `boards/BOARD/PROGRAM.out` is its log, with
//! the status that it ends with; `boards/BOARD/PROGRAM.in`, where there is one, is what it is told
//! over its serial line. In lines with the word `about` numbers may differ by some: they count
//! instructions or bytes of the stack, which are another compiler's matter too. Programs of boards
//! that QEMU does not have are built, linked and measured.

mod real;

use crate::cmd::{Cmd, on_path};
use crate::context::{Context, Ran};
use crate::targets::Compiler;
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};

/// Options of `cargo xtask firmware`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Boards to take (once per board) [default: all]
    #[arg(long = "board", value_name = "NAME")]
    boards: Vec<String>,
    /// Keep what the host and the boards say now, to be compared with from now on
    #[arg(long)]
    bless: bool,
}

/// A board that is emulated.
struct Board {
    name: &'static str,
    target: &'static str,
    emulator: &'static str,
    /// What compiles the C in it.
    c_compiler: Option<&'static str>,
}

impl Board {
    const fn new(name: &'static str, target: &'static str, emulator: &'static str) -> Self {
        Board { name, target, emulator, c_compiler: None }
    }
}

const BOARDS: [Board; 6] = [
    Board::new("qemu-m4", CORTEX_M4, ARM),
    Board::new("qemu-m7", CORTEX_M4, ARM),
    Board { c_compiler: Some(ARM_CC), ..Board::new("qemu-m7-c", CORTEX_M4, ARM) },
    Board::new("qemu-m33", "thumbv8m.main-none-eabihf", ARM),
    Board::new("qemu-aarch64", "aarch64-unknown-none", "qemu-system-aarch64"),
    Board::new("qemu-riscv", "riscv32imafc-unknown-none-elf", "qemu-system-riscv32"),
];

/// The target of Cortex-M7 too.
const CORTEX_M4: &str = "thumbv7em-none-eabihf";
const ARM: &str = "qemu-system-arm";
/// It is for Linux, but compiles for a Cortex-M where no C library is asked for.
const ARM_CC: &str = "arm-linux-gnueabihf-gcc";

/// Part of a number by which it may differ in a line that says `about`.
const ABOUT: f64 = 0.1;

/// Whether every board's emulator is there.
pub(crate) fn has_emulators() -> bool {
    BOARDS.iter().all(|board| on_path(board.emulator))
}

/// Runs every program of the boards asked for.
///
/// # Errors
/// When a board's name is unknown, a program does not build, or what it logs, or the host says of
/// the sentences, is not what was committed.
pub(crate) fn run(cx: &Context, options: &Options) -> Result<Ran> {
    let known = BOARDS.iter().map(|board| board.name);
    let known: Vec<_> = known.chain(real::BOARDS.iter().map(|board| board.name)).collect();
    if let Some(unknown) = options.boards.iter().find(|name| !known.contains(&&***name)) {
        bail!("no board is called {unknown:?}; there are {}", known.join(", "));
    }
    let wanted = |name| options.boards.is_empty() || options.boards.iter().any(|b| b == name);
    let mut ran = Ran::No;
    for board in real::BOARDS.iter().filter(|board| wanted(board.name)) {
        if real::build(cx, board)? == Ran::Yes {
            ran = Ran::Yes;
        }
    }
    let boards: Vec<_> = BOARDS.iter().filter(|board| wanted(board.name)).collect();
    if boards.is_empty() {
        return Ok(ran);
    }
    ask_host(cx, options.bless)?;
    let runner = build_runner(cx)?;
    test_on_host(cx, options.bless)?;
    let mut failed = Vec::new();
    for board in boards {
        let Some(compiler) = Compiler::find(board.target) else {
            cx.not_run(format!(
                "{}: no compiler for {}; `cargo xtask setup firmware`",
                board.name, board.target
            ));
            continue;
        };
        if let Some(missing) = board.c_compiler.filter(|program| !on_path(program)) {
            cx.not_run(format!(
                "{}: {missing} is missing; `cargo xtask setup firmware`",
                board.name
            ));
            continue;
        }
        let cargo = |subcommand| {
            compiler.cargo_in_boards(cx, subcommand, board.target).args(["--package", board.name])
        };
        if compiler == Compiler::Default {
            cargo("clippy").args(["--quiet", "--", "-D", "warnings"]).run()?;
        }
        cargo("build").run()?;
        if !on_path(board.emulator) {
            cx.not_run(format!(
                "{}: it builds, but {} is missing; `cargo xtask setup firmware`",
                board.name, board.emulator
            ));
            continue;
        }
        let built = compiler.boards_dir(cx).join(board.target).join("release");
        for program in programs(&cx.root().join("boards").join(board.name))? {
            let dir = cx.root().join("boards").join(board.name);
            let script = Some(dir.join(format!("{program}.in"))).filter(|path| path.is_file());
            let log = Cmd::new(&runner).arg(built.join(&program)).args(script).dir(cx.root());
            eprintln!("$ {}", log.line());
            let log = log.capture()?;
            if log.stdout.is_empty() {
                bail!("{program}: {}", log.stderr.trim());
            }
            let path = dir.join(format!("{program}.out"));
            let same = compare(&path, &log.stdout, like, options.bless)?;
            let how = match (options.bless, same) {
                (true, _) => "kept",
                (false, true) => "as committed",
                (false, false) => "DIFFERS",
            };
            println!("{program}: {how}");
            if !same {
                failed.push(program);
            }
        }
        ran = Ran::Yes;
    }
    if !failed.is_empty() {
        bail!("not what was committed (--bless keeps it): {}", failed.join(", "));
    }
    Ok(ran)
}

/// Runs the programs of one board, for `cargo xtask bench --board`, or builds them where QEMU has
/// no such board.
///
/// # Errors
/// As [`run`].
pub(crate) fn bench(cx: &Context, board: &str) -> Result<()> {
    run(cx, &Options { boards: vec![board.to_owned()], bless: false })?;
    if real::BOARDS.iter().any(|known| known.name == board) {
        return Ok(());
    }
    for program in programs(&cx.root().join("boards").join(board))? {
        let path = cx.root().join("boards").join(board).join(format!("{program}.out"));
        println!("\n{program}, emulated:\n{}", std::fs::read_to_string(path)?.trim_end());
    }
    Ok(())
}

/// Compares what the host makes of the boards' sentences with what the boards are held to.
fn ask_host(cx: &Context, bless: bool) -> Result<()> {
    let cmd = Cmd::cargo()
        .args(["run", "--quiet", "--release", "--package", "bantam-core", "--features", "std"])
        .args(["--example", "commands", "--", "boards/app/sentences.txt"])
        .args(["Q8_0", "Q4_0"].map(|ty| format!("fixtures/intent/bantam-intent.{ty}.gguf")))
        .dir(cx.root());
    eprintln!("$ {}", cmd.line());
    let said = cmd.capture()?;
    if !said.ok {
        bail!("{}", said.stderr.trim());
    }
    let path = cx.root().join("boards/app/expected.tsv");
    if !compare(&path, &said.stdout, |a, b| a == b, bless)? {
        bail!("this host does not say what is in {}", path.display());
    }
    Ok(())
}

/// Builds the program that emulates and decodes; returns where it is.
fn build_runner(cx: &Context) -> Result<PathBuf> {
    let dir = cx.target_dir().join("boards");
    Cmd::cargo()
        .args(["build", "--quiet", "--locked", "--package", "runner"])
        .dir(cx.root().join("boards"))
        .env("CARGO_TARGET_DIR", &dir)
        .run()?;
    Ok(dir.join("debug/runner"))
}

/// Runs what tests of the boards' workspace need no board: those of the serial protocol, and the one
/// that compares the header for C with what cbindgen makes of the sources.
fn test_on_host(cx: &Context, bless: bool) -> Result<()> {
    let cmd = Cmd::cargo()
        .args(["test", "--quiet", "--locked"])
        .args(["--package", "bantam-c", "--package", "bantam-protocol"])
        .dir(cx.root().join("boards"))
        .env("CARGO_TARGET_DIR", cx.target_dir().join("boards"));
    if bless { cmd.env("BANTAM_BLESS", "1") } else { cmd }.run()
}

/// Returns the names of a board's programs, in order.
fn programs(board: &Path) -> Result<Vec<String>> {
    let dir = board.join("src/bin");
    let mut names = Vec::new();
    for file in std::fs::read_dir(&dir).with_context(|| dir.display().to_string())? {
        let path = file?.path();
        if let (Some("rs"), Some(stem)) =
            (path.extension().and_then(|e| e.to_str()), path.file_stem())
        {
            names.push(stem.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Compares a text with a file, line by line, and shows where they differ; or keeps it there.
fn compare(path: &Path, now: &str, same: fn(&str, &str) -> bool, bless: bool) -> Result<bool> {
    if bless {
        std::fs::write(path, now).with_context(|| path.display().to_string())?;
        return Ok(true);
    }
    let before = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let (before, now): (Vec<_>, Vec<_>) = (before.lines().collect(), now.lines().collect());
    let mut all = true;
    for i in 0..before.len().max(now.len()) {
        let (was, is) = (before.get(i).unwrap_or(&""), now.get(i).unwrap_or(&""));
        if !same(was, is) {
            println!("{}:{}\n- {was}\n+ {is}", path.display(), i + 1);
            all = false;
        }
    }
    Ok(all)
}

/// Whether two lines of a log say the same: exactly, or in numbers that are `about` right.
fn like(was: &str, is: &str) -> bool {
    if !was.split(' ').any(|word| word == "about") {
        return was == is;
    }
    let (was, is): (Vec<_>, Vec<_>) = (was.split(' ').collect(), is.split(' ').collect());
    was.len() == is.len()
        && was.iter().zip(is).all(|(was, is)| match (was.parse::<f64>(), is.parse::<f64>()) {
            (Ok(was), Ok(is)) => (was - is).abs() <= ABOUT * was,
            _ => *was == is,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_about_right_may_differ() {
        assert!(like("info  about 1000 instructions", "info  about 1099 instructions"));
        assert!(!like("info  about 1000 instructions", "info  about 1101 instructions"));
        assert!(!like("info  about 1000 instructions", "info  about many instructions"));
        assert!(!like("info  about 1000 bytes", "info  about 1000 bytes more"));
        assert!(like("info  1000 bytes", "info  1000 bytes"));
        assert!(!like("info  1000 bytes", "info  1001 bytes"));
    }

    #[test]
    fn every_board_has_a_program_of_its_name_and_those_emulated_a_log_of_each() {
        let boards = Path::new(env!("CARGO_MANIFEST_DIR")).join("../boards");
        for board in BOARDS {
            let dir = boards.join(board.name);
            let programs = programs(&dir).unwrap();
            assert!(programs.iter().any(|program| program == board.name), "{}", board.name);
            for program in programs {
                assert!(dir.join(format!("{program}.out")).is_file(), "{program}");
            }
        }
        for board in real::BOARDS {
            let programs = programs(&boards.join(board.name)).unwrap();
            assert!(programs.iter().any(|program| program == board.name), "{}", board.name);
        }
    }
}
