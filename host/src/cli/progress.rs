//! Progress bars: on standard error, only on a terminal, and only for what takes a while.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Work that is over before this shows no bar.
const PATIENCE: Duration = Duration::from_millis(400);

/// A bar that appears once its work has taken a while, and leaves nothing behind.
pub(super) struct Progress {
    what: &'static str,
    template: &'static str,
    start: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// A bar that counts bytes.
    pub(super) fn bytes(what: &'static str) -> Self {
        Self::new(what, "{msg} {bar:30} {binary_bytes}/{binary_total_bytes} {eta}")
    }

    /// A bar that counts tokens.
    pub(super) fn tokens(what: &'static str) -> Self {
        Self::new(what, "{msg} {bar:30} {pos}/{len} tokens {eta}")
    }

    /// A bar that counts sentences.
    pub(super) fn sentences(what: &'static str) -> Self {
        Self::new(what, "{msg} {bar:30} {pos}/{len} sentences {eta}")
    }

    /// A bar that counts steps.
    pub(super) fn steps(what: &'static str) -> Self {
        Self::new(what, "{msg} {bar:30} {pos}/{len}")
    }

    fn new(what: &'static str, template: &'static str) -> Self {
        Self { what, template, start: Instant::now(), bar: None }
    }

    /// Says something else beside the bar.
    pub(super) fn say(&mut self, what: impl FnOnce() -> String) {
        if let Some(bar) = &self.bar {
            bar.set_message(what());
        }
    }

    /// Says how much is done, and of how much.
    pub(super) fn set(&mut self, done: u64, total: u64) {
        if self.bar.is_none() && self.start.elapsed() >= PATIENCE && io::stderr().is_terminal() {
            let target = ProgressDrawTarget::stderr();
            let bar = ProgressBar::with_draw_target(Some(total), target);
            if let Ok(style) = ProgressStyle::with_template(self.template) {
                bar.set_style(style);
            }
            self.bar = Some(bar.with_message(self.what).with_elapsed(self.start.elapsed()));
        }
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
