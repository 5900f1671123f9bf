//! `cargo xtask loc`: lines of Rust per crate.

use crate::context::Context;
use crate::source::{self, Lines, Source};
use anyhow::{Context as _, Result};
use std::fs;

/// Prints lines of code, tests, comments and blanks per crate.
///
/// # Errors
/// When a source file cannot be read.
pub(crate) fn run(cx: &Context) -> Result<()> {
    println!(
        "{:<8} {:>6} {:>8} {:>8} {:>9} {:>8}",
        "crate", "files", "code", "tests", "comments", "blank"
    );
    let (mut n_files, mut sum) = (0, Lines::default());
    for dir in ["core", "host", "boards", "xtask"] {
        let path = cx.root().join(dir);
        if !path.is_dir() {
            continue;
        }
        let files = source::rust_files(&path)?;
        let mut total = Lines::default();
        for path in &files {
            let text = fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let inner = path.strip_prefix(cx.root()).unwrap_or(path);
            add(&mut total, Source::new(&text).lines(source::is_test_file(inner)));
        }
        row(dir, files.len(), total);
        n_files += files.len();
        add(&mut sum, total);
    }
    row("sum", n_files, sum);
    Ok(())
}

fn add(to: &mut Lines, more: Lines) {
    to.code += more.code;
    to.tests += more.tests;
    to.comments += more.comments;
    to.blank += more.blank;
}

fn row(name: &str, files: usize, lines: Lines) {
    let Lines { code, tests, comments, blank } = lines;
    println!("{name:<8} {files:>6} {code:>8} {tests:>8} {comments:>9} {blank:>8}");
}
