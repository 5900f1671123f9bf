//! What every job knows: where the workspace is, and what has not been run.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

/// Whether a job that did not fail did its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ran {
    /// It did, and what it checked is right.
    Yes,
    /// It could not; the reason has been said with [`Context::not_run`].
    No,
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
        self.not_run.borrow_mut().push(text);
        Ran::No
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
