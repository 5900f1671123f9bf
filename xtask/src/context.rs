//! What every job knows: where the workspace is, and what has not been run.

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};

/// Whether a job that did not fail did its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ran {
    /// It did, and what it checked is right.
    Yes,
    /// It could not; the reason has been said with [`Context::not_run`].
    No,
}

/// What a job that did not fail tells the one that started it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) ran: Ran,
    /// Checks that could not be made, and why.
    pub(crate) not_run: Vec<String>,
}

impl Report {
    /// Reads what [`Context::report`] wrote, which is taken away.
    ///
    /// # Errors
    /// When it is not there.
    pub(crate) fn take(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).with_context(|| format!("no {}", path.display()))?;
        fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))?;
        serde_json::from_slice(&bytes).with_context(|| format!("in {}", path.display()))
    }
}

/// The workspace's paths, and the list of checks that could not be made.
pub(crate) struct Context {
    root: PathBuf,
    not_run: RefCell<Vec<String>>,
}

impl Context {
    /// The context of the workspace at `root`.
    pub(crate) fn new(root: PathBuf) -> Self {
        Context { root, not_run: RefCell::new(Vec::new()) }
    }

    /// The workspace's root folder.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where cargo builds, as the user's environment has it.
    pub(crate) fn target_dir(&self) -> PathBuf {
        match std::env::var_os("CARGO_TARGET_DIR") {
            Some(dir) => self.root.join(dir),
            None => self.root.join("target"),
        }
    }

    /// The folder of the real models: `BANTAM_MODELS`, or `models` in the workspace.
    pub(crate) fn models_dir(&self) -> PathBuf {
        match std::env::var_os("BANTAM_MODELS") {
            Some(dir) => self.root.join(dir),
            None => self.root.join("models"),
        }
    }

    /// Says loudly that a check was not made, and remembers it for the end.
    pub(crate) fn not_run(&self, what_and_why: impl Into<String>) -> Ran {
        let text = what_and_why.into();
        eprintln!("not run: {text}");
        self.note_not_run(text);
        Ran::No
    }

    /// Remembers for the end what a job has said.
    pub(crate) fn note_not_run(&self, text: String) {
        self.not_run.borrow_mut().push(text);
    }

    /// Writes down how a job went.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn report(&self, path: &Path, ran: Ran) -> Result<()> {
        let report = Report { ran, not_run: self.not_run.borrow().clone() };
        fs::write(path, serde_json::to_vec(&report)?)
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// How many checks were not made until now.
    pub(crate) fn n_not_run(&self) -> usize {
        self.not_run.borrow().len()
    }

    /// Lists at the end, once more, what was not run.
    pub(crate) fn list_not_run(&self) {
        let list = self.not_run.borrow();
        if !list.is_empty() {
            eprintln!("\nNOT RUN ({}), so not known to pass:", list.len());
            for item in list.iter() {
                eprintln!("  - {item}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_back_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("job.json");
        let cx = Context::new(PathBuf::new());
        cx.note_not_run("a check: its tool is missing".into());
        cx.report(&path, Ran::Yes).unwrap();
        let not_run = vec!["a check: its tool is missing".to_owned()];
        assert_eq!(Report::take(&path).unwrap(), Report { ran: Ran::Yes, not_run });
        assert!(Report::take(&path).is_err());
    }
}
