//! Runs a board's firmware under QEMU and prints its log, decoded, and the status it ends with.
//!
//! ```text
//! runner target/thumbv7em-none-eabihf/release/qemu-m7
//! runner target/thumbv7em-none-eabihf/release/qemu-m7-serial qemu-m7/qemu-m7-serial.in
//! runner --pty target/thumbv7em-none-eabihf/release/qemu-m7-serial
//! ```
//!
//! The program's file name begins with the board's. With a script, the runner is the other end of
//! the board's serial line, and prints what was said there before the log. With `--pty`, the line
//! is a pseudo-terminal, whose name QEMU says, and the firmware runs until it is ended.
//!
//! The exit code is the firmware's status; 2 if it could not be run, and 124 if it did not end in
//! time.

mod script;

use anyhow::{Context as _, Result, bail};
use defmt_decoder::{DecodeError, Table};
use script::Script;
use std::io::{BufRead as _, BufReader, Read, Write};
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
    "-monitor",
    "none",
];

/// Longest that firmware may run; each program's own work is a tenth of it.
const PATIENCE: Duration = Duration::from_secs(180);

const NOT_RUN: u8 = 2;
const TIMED_OUT: u8 = 124;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let result = match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--pty", program] => run(Path::new(program), Serial::Pty),
        [program] => run(Path::new(program), Serial::None),
        [program, script] => run(Path::new(program), Serial::Script(Path::new(script))),
        _ => Err(anyhow::anyhow!("usage: runner PROGRAM [SCRIPT], or runner --pty PROGRAM")),
    };
    match result {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(NOT_RUN)
        }
    }
}

/// What is at the other end of the board's serial line.
#[derive(Clone, Copy)]
enum Serial<'a> {
    None,
    Script(&'a Path),
    Pty,
}

fn run(program: &Path, serial: Serial<'_>) -> Result<u8> {
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

    let script = match serial {
        Serial::Script(path) => Some(Script::start(path)?),
        Serial::None | Serial::Pty => None,
    };
    let line = match (&script, serial) {
        (Some(script), _) => script.serial(),
        (None, Serial::Pty) => "pty".into(),
        (None, _) => "none".into(),
    };
    let child = Command::new(emulator)
        .args(*machine)
        .args(EMULATION)
        .args(["-serial", &line, "-kernel"])
        .arg(program)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {emulator}"))?;
    let mut emulation = Emulation::new(child);
    if line != "pty" {
        emulation.watch();
    }
    let mut stdout = BufReader::new(emulation.stdout.take().context("no output")?);
    if line == "pty" {
        let mut name = String::new();
        // QEMU's own words, before the log.
        stdout.read_line(&mut name)?;
        print!("{name}");
    }
    let (printed, said) = match script {
        None => (print_log(&table, stdout, &mut std::io::stdout().lock()), Ok(String::new())),
        Some(script) => {
            // Two things that happen at once are told one after the other.
            let mut log = Vec::new();
            let printed = print_log(&table, stdout, &mut log);
            let said = script.end().map(|said| said + &String::from_utf8_lossy(&log));
            (printed, said)
        }
    };
    let status = emulation.end();
    print!("{}", said?);
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
fn print_log(table: &Table, mut stdout: impl Read, out: &mut impl Write) -> Result<()> {
    let mut decoder = table.new_stream_decoder();
    let mut chunk = [0; 4096];
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

/// QEMU at work.
struct Emulation {
    child: Arc<Mutex<Child>>,
    stdout: Option<std::process::ChildStdout>,
    started: Instant,
}

impl Emulation {
    fn new(mut child: Child) -> Self {
        let stdout = child.stdout.take();
        Emulation { child: Arc::new(Mutex::new(child)), stdout, started: Instant::now() }
    }

    /// Ends it when it takes too long.
    fn watch(&self) {
        let watched = Arc::downgrade(&self.child);
        std::thread::spawn(move || {
            std::thread::sleep(PATIENCE);
            if let Some(child) = watched.upgrade() {
                // It may have ended by itself.
                let _ = child.lock().unwrap_or_else(PoisonError::into_inner).kill();
            }
        });
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
