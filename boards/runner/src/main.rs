//! Runs a board's firmware under QEMU and prints its log, decoded, and the status it ends with.
//!
//! ```text
//! runner target/thumbv7em-none-eabihf/release/qemu-m7
//! ```
//!
//! The program's file name begins with the board's. The exit code is the firmware's status; 2 if
//! it could not be run, and 124 if it did not end in time.

use anyhow::{Context as _, Result, bail};
use defmt_decoder::{DecodeError, Table};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Emulated boards: name, program, and what tells it the machine.
const BOARDS: &[(&str, &str, &[&str])] = &[
    ("qemu-m4", "qemu-system-arm", &["-M", "mps2-an386"]),
    ("qemu-m7", "qemu-system-arm", &["-M", "mps2-an500"]),
    ("qemu-m33", "qemu-system-arm", &["-M", "mps2-an505"]),
    (
        "qemu-aarch64",
        "qemu-system-aarch64",
        &["-M", "virt", "-cpu", "cortex-a76", "-m", "64M", "-nic", "none"],
    ),
    ("qemu-riscv", "qemu-system-riscv32", &["-M", "virt", "-bios", "none", "-m", "64M"]),
];

/// An instruction takes a nanosecond of emulated time, so that timers count instructions.
const EMULATION: &[&str] = &[
    "-icount",
    "shift=0",
    "-semihosting-config",
    "enable=on,target=native",
    "-display",
    "none",
    "-serial",
    "none",
    "-monitor",
    "none",
    "-kernel",
];

/// Longest that firmware may run; each program's own work is a tenth of it.
const PATIENCE: Duration = Duration::from_secs(180);

const NOT_RUN: u8 = 2;
const TIMED_OUT: u8 = 124;

fn main() -> ExitCode {
    let result = match &std::env::args().skip(1).collect::<Vec<_>>()[..] {
        [program] => run(Path::new(program)),
        _ => Err(anyhow::anyhow!("usage: runner PROGRAM")),
    };
    match result {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(NOT_RUN)
        }
    }
}

fn run(program: &Path) -> Result<u8> {
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let board = BOARDS.iter().find(|(board, ..)| {
        name.strip_prefix(board).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    });
    let Some((_, emulator, machine)) = board else {
        let known: Vec<_> = BOARDS.iter().map(|(board, ..)| *board).collect();
        bail!("{name}: named after no board; there are {}", known.join(", "));
    };
    let elf = std::fs::read(program).with_context(|| program.display().to_string())?;
    let table = Table::parse(&elf)?.with_context(|| format!("{name} has no log table"))?;

    let child = Command::new(emulator)
        .args(*machine)
        .args(EMULATION)
        .arg(program)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {emulator}"))?;
    let mut emulation = Emulation::watch(child);
    let printed = print_log(&table, &mut emulation);
    let status = emulation.end();
    printed?;
    match status? {
        None => {
            println!("no end after {} s", PATIENCE.as_secs());
            Ok(TIMED_OUT)
        }
        Some(status) => {
            println!("exit status {status}");
            Ok(u8::try_from(status).unwrap_or(NOT_RUN))
        }
    }
}

/// Prints frames until the emulation ends.
fn print_log(table: &Table, emulation: &mut Emulation) -> Result<()> {
    let mut stdout = emulation.stdout.take().context("no output")?;
    let mut decoder = table.new_stream_decoder();
    let mut chunk = [0; 4096];
    let mut out = std::io::stdout().lock();
    loop {
        let n = stdout.read(&mut chunk)?;
        if n == 0 {
            return Ok(());
        }
        decoder.received(chunk.get(..n).unwrap_or_default());
        loop {
            match decoder.decode() {
                Ok(frame) => {
                    let level = frame.level().map_or("", |level| level.as_str());
                    writeln!(out, "{level:<5} {}", frame.display_message())?;
                }
                Err(DecodeError::UnexpectedEof) => break,
                Err(DecodeError::Malformed) => writeln!(out, "(a damaged frame)")?,
            }
        }
        out.flush()?;
    }
}

/// A child that is ended when it takes too long.
struct Emulation {
    child: Arc<Mutex<Child>>,
    stdout: Option<std::process::ChildStdout>,
    started: Instant,
}

impl Emulation {
    fn watch(mut child: Child) -> Self {
        let stdout = child.stdout.take();
        let child = Arc::new(Mutex::new(child));
        let watched = Arc::downgrade(&child);
        std::thread::spawn(move || {
            std::thread::sleep(PATIENCE);
            if let Some(child) = watched.upgrade() {
                // It may have ended by itself.
                let _ = child.lock().unwrap_or_else(PoisonError::into_inner).kill();
            }
        });
        Emulation { child, stdout, started: Instant::now() }
    }

    /// Returns the exit status, or `None` if the time ran out.
    fn end(&self) -> Result<Option<i32>> {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        let status = child.wait()?;
        match status.code() {
            Some(code) => Ok(Some(code)),
            None if self.started.elapsed() >= PATIENCE => Ok(None),
            None => bail!("the emulator ended by {status}"),
        }
    }
}
