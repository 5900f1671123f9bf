//! Running other programs, visibly: every command line is printed before it starts.

use anyhow::{Context as _, Result, bail};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

/// Variables that `cargo run` sets for this program and that a nested cargo must not inherit:
/// they name this package and this compiler's libraries, and would confuse another toolchain's.
const NOT_INHERITED: &[&str] =
    &["CARGO", "CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH", "LD_LIBRARY_PATH"];

/// A program with its arguments and environment, printed before it runs.
#[derive(Debug)]
pub(crate) struct Cmd {
    program: OsString,
    args: Vec<OsString>,
    envs: Vec<(OsString, OsString)>,
    dir: Option<PathBuf>,
}

/// What a finished program wrote.
pub(crate) struct Captured {
    /// Whether its exit status was 0.
    pub(crate) ok: bool,
    /// Its exit status, unless a signal ended it.
    pub(crate) code: Option<i32>,
    /// Its standard output, invalid UTF-8 replaced.
    pub(crate) stdout: String,
    /// Its standard error, invalid UTF-8 replaced.
    pub(crate) stderr: String,
}

impl Cmd {
    /// A command that runs `program`, found on the path.
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        Cmd { program: program.as_ref().to_owned(), args: Vec::new(), envs: Vec::new(), dir: None }
    }

    /// `cargo` as the user would call it; `+nightly` as first argument takes that toolchain's.
    pub(crate) fn cargo() -> Self {
        Cmd::new("cargo")
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    pub(crate) fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    pub(crate) fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.envs.push((key.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    pub(crate) fn dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.dir = Some(dir.as_ref().to_owned());
        self
    }

    /// The command as one could type it.
    pub(crate) fn line(&self) -> String {
        let mut words: Vec<String> = self
            .envs
            .iter()
            .map(|(k, v)| format!("{}={}", k.to_string_lossy(), quoted(v)))
            .collect();
        words.push(quoted(&self.program));
        words.extend(self.args.iter().map(quoted));
        let line = words.join(" ");
        match &self.dir {
            Some(dir) if !std::env::current_dir().is_ok_and(|here| here == *dir) => {
                format!("(cd {} && {line})", dir.display())
            }
            _ => line,
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        for (key, _) in std::env::vars_os() {
            let name = key.to_string_lossy();
            if name.starts_with("CARGO_PKG_") || NOT_INHERITED.contains(&&*name) {
                command.env_remove(&key);
            }
        }
        command.args(&self.args).envs(self.envs.iter().map(|(k, v)| (k, v)));
        command.stdin(Stdio::null());
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        command
    }

    fn say(&self) {
        eprintln!("$ {}", self.line());
    }

    /// Runs it with this program's own output streams.
    ///
    /// # Errors
    /// When it cannot be started or its exit status is not 0.
    pub(crate) fn run(&self) -> Result<()> {
        self.say();
        self.succeed(self.command().status())
    }

    /// Runs it with both output streams going to a file, without printing its line.
    ///
    /// # Errors
    /// As [`Cmd::run`].
    pub(crate) fn run_into(&self, file: &File) -> Result<()> {
        let mut command = self.command();
        self.succeed(command.stdout(file.try_clone()?).stderr(file.try_clone()?).status())
    }

    fn succeed(&self, status: std::io::Result<ExitStatus>) -> Result<()> {
        let status = status.with_context(|| format!("cannot start {}", quoted(&self.program)))?;
        if !status.success() {
            bail!("{status}: {}", self.line());
        }
        Ok(())
    }

    /// Runs it and returns what it wrote, without showing it; a failure is not an error.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn capture(&self) -> Result<Captured> {
        let out = self
            .command()
            .output()
            .with_context(|| format!("cannot start {}", quoted(&self.program)))?;
        Ok(Captured {
            ok: out.status.success(),
            code: out.status.code(),
            stdout: String::from_utf8_lossy(&out.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&out.stderr).into_owned(),
        })
    }

    /// Starts it with captured output, printing its line first; the caller waits for it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn spawn_captured(&self) -> Result<std::process::Child> {
        self.say();
        self.spawn_quietly()
    }

    /// As [`Cmd::spawn_captured`], for lines too long to be worth printing.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn spawn_quietly(&self) -> Result<std::process::Child> {
        self.command()
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", quoted(&self.program)))
    }

    /// Whether it starts and exits with 0, its output dropped: the way to probe for a tool.
    pub(crate) fn succeeds(&self) -> bool {
        self.capture().is_ok_and(|out| out.ok)
    }
}

/// Has two threads do the same work: compilers of one crate, linkers and emulators keep one CPU busy
/// each, and cargo more, so that a third would gain nothing.
///
/// # Errors
/// The first thread's, or the other's; one that fails does not stop the other.
pub(crate) fn in_pairs(work: impl Fn() -> Result<()> + Sync) -> Result<()> {
    std::thread::scope(|scope| {
        let other = scope.spawn(&work);
        let own = work();
        other.join().unwrap_or_else(|e| std::panic::resume_unwind(e)).and(own)
    })
}

/// Whether a program of this name is on the path.
pub(crate) fn on_path(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(name).is_file())
}

/// Whether rustup has a nightly toolchain; asked of rustup, so that none is installed by asking.
pub(crate) fn has_nightly() -> bool {
    let list = Cmd::new("rustup").args(["toolchain", "list"]).capture();
    list.is_ok_and(|out| out.ok && out.stdout.lines().any(|line| line.starts_with("nightly")))
}

/// `word` as a shell would need it written.
pub(crate) fn quoted(word: impl AsRef<OsStr>) -> String {
    let word = word.as_ref().to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_can_be_typed() {
        let cmd = Cmd::new("env").arg("-u").arg("it's").arg("").env("A", "b c").dir("/tmp");
        assert_eq!(cmd.line(), r"(cd /tmp && A='b c' env -u 'it'\''s' '')");
    }

    #[test]
    fn one_of_a_pair_that_fails_is_told_of() {
        let turns = std::sync::atomic::AtomicUsize::new(0);
        let first = || turns.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
        let work = || if first() { bail!("first") } else { Ok(()) };
        assert_eq!(in_pairs(work).unwrap_err().to_string(), "first");
        assert_eq!(turns.load(std::sync::atomic::Ordering::Relaxed), 2);
        in_pairs(|| Ok(())).unwrap();
    }

    #[test]
    fn failure_names_the_command() {
        let err = Cmd::new("false").run().unwrap_err().to_string();
        assert!(err.contains("exit status: 1") && err.ends_with("false"), "{err}");
        assert!(Cmd::new("no-such-program-here").run().is_err());
        assert!(!Cmd::new("no-such-program-here").succeeds());
        assert!(Cmd::new("true").succeeds());
    }
}
