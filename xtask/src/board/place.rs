//! Where a program runs: here, on an emulated CPU, or on a board over ssh.

use crate::cmd::{Cmd, on_path};
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// A place with `bantam` in it.
pub(super) enum Place {
    Here(PathBuf),
    /// The emulator with its options, and the program.
    Emulated(Vec<String>, PathBuf),
    Ssh(Ssh),
}

/// A board that one can log in to.
pub(super) struct Ssh {
    host: String,
    /// Options of ssh and scp alike.
    options: Vec<OsString>,
}

/// The folder for our files in the home of the user who logs in.
pub(super) const FOLDER: &str = ".cache/bantam-bench";

impl Ssh {
    /// Logs in to a board, and sees that it is one.
    ///
    /// # Errors
    /// When nobody can log in without a password, or the CPU is not of the target's architecture.
    pub(super) fn log_in(host: &str, config: Option<&Path>, target: &str) -> Result<Self> {
        for tool in ["ssh", "scp"] {
            ensure!(on_path(tool), "{tool} is missing; install OpenSSH's client");
        }
        ensure!(!host.starts_with('-') && !host.contains(char::is_whitespace), "no host: {host:?}");
        let mut options =
            ["-o", "BatchMode=yes", "-o", "ConnectTimeout=10"].map(OsString::from).to_vec();
        let mut typed = Cmd::new("ssh");
        if let Some(config) = config {
            options.extend(["-F".into(), config.into()]);
            typed = typed.arg("-F").arg(config);
        }
        let board = Ssh { host: host.to_owned(), options };
        let machine = board.shell("uname -m").with_context(|| {
            let typed = typed.arg(host).line();
            format!("cannot log in to {host}; `{typed}` must work without a password")
        })?;
        let machine = machine.trim();
        ensure!(
            !machine.is_empty() && target.starts_with(machine),
            "{host} is {machine}, and this is built for {target}; is it the board?"
        );
        Ok(board)
    }

    fn command(&self, line: &str) -> Cmd {
        Cmd::new("ssh").args(&self.options).args([&self.host, line])
    }

    fn shell(&self, line: &str) -> Result<String> {
        let out = self.command(line).capture()?;
        let said: Vec<_> =
            out.stderr.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        ensure!(out.ok, "{}", said.join("; "));
        Ok(out.stdout)
    }

    /// Brings a file into [`FOLDER`], unless it is there, and returns what it is called.
    fn take(&self, file: &Path) -> Result<String> {
        let host = &self.host;
        let name = file.file_name().with_context(|| format!("{} is no file", file.display()))?;
        let name = name.to_string_lossy();
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-+".contains(c);
        ensure!(name.chars().all(plain), "{name:?} would have to be quoted on {host}: rename it");
        let there = format!("{FOLDER}/{name}");
        let sum = Cmd::new("sha256sum").arg(file).capture()?.stdout;
        let sum = sum.split_whitespace().next().unwrap_or_default();
        let known = self.shell(&format!("sha256sum {there} 2>/dev/null || true"))?;
        if sum.is_empty() || !known.starts_with(sum) {
            eprintln!("copying {name} to {host}");
            let cmd = Cmd::new("scp").arg("-q").args(&self.options);
            cmd.arg(file).arg(format!("{host}:{there}")).run()?;
        }
        Ok(there)
    }
}

impl Place {
    pub(super) const fn here(program: PathBuf) -> Self {
        Self::Here(program)
    }

    pub(super) fn emulated(emulator: Vec<String>, program: &Path) -> Self {
        Self::Emulated(emulator, program.to_owned())
    }

    /// Copies the program to a board.
    ///
    /// # Errors
    /// When that fails.
    pub(super) fn by_ssh(board: Ssh, program: &Path) -> Result<Self> {
        board.shell(&format!("mkdir -p {FOLDER}"))?;
        board.take(program)?;
        board.shell(&format!("chmod +x {FOLDER}/bantam"))?;
        Ok(Self::Ssh(board))
    }

    /// Brings a file there, and returns what it is called.
    pub(super) fn take(&self, file: &Path) -> Result<String> {
        match self {
            Self::Ssh(board) => board.take(file),
            _ => Ok(file.to_string_lossy().into_owned()),
        }
    }

    /// Runs `bantam`, and reads what it prints as JSON.
    pub(super) fn json(&self, args: &[String]) -> Result<Value> {
        let cmd = match self {
            Self::Here(program) => Cmd::new(program).args(args),
            Self::Emulated(emulator, program) => {
                let (emulator, rest) = emulator.split_first().context("no emulator")?;
                Cmd::new(emulator).args(rest).arg(program).args(args)
            }
            Self::Ssh(board) => board.command(&format!("{FOLDER}/bantam {}", args.join(" "))),
        };
        let out = cmd.capture()?;
        if !out.ok {
            bail!("{}: {}", cmd.line(), out.stderr.trim());
        }
        serde_json::from_str(&out.stdout).with_context(|| format!("{}: no JSON", cmd.line()))
    }

    /// What `bantam doctor` says of the board; nothing of an emulated one.
    pub(super) fn health(&self) -> Option<Value> {
        match self {
            Self::Ssh(_) => self.json(&["doctor", "--json"].map(str::to_owned)).ok(),
            _ => None,
        }
    }
}
