//! Sentences line by line, each as soon as it is there.

use std::io::{self, BufRead, Read, Write};
use std::path::Path;

use crate::error::{Error, Reason};
use crate::interrupt;

/// A longer line is no sentence.
pub(super) const MAX_LINE: u64 = 1 << 18;

/// Calls `each` with every line of what is called `path`; with `None` for one that is too long.
pub(super) fn each(
    mut input: impl BufRead,
    path: &Path,
    mut each: impl FnMut(Option<&str>) -> Result<(), Error>,
) -> Result<(), Error> {
    let fail = |source: io::Error| Error::File {
        path: path.into(),
        what: format!("cannot be read: {}", Reason(&source)),
    };
    let mut line = Vec::new();
    loop {
        line.clear();
        let n = input.by_ref().take(MAX_LINE).read_until(b'\n', &mut line).map_err(fail)?;
        interrupt::check()?;
        if n == 0 {
            return Ok(());
        }
        let whole = line.ends_with(b"\n") || (n as u64) < MAX_LINE;
        if !whole {
            skip_line(&mut input).map_err(fail)?;
        }
        let text = String::from_utf8_lossy(&line);
        each(whole.then_some(&text))?;
    }
}

/// A line on standard output that whoever waits for it gets at once.
pub(super) fn print(line: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(Error::stdout)
}

/// Reads to the end of a line and keeps nothing of it.
fn skip_line(input: &mut impl BufRead) -> io::Result<()> {
    loop {
        let available = match input.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            available => available?,
        };
        let end = available.iter().position(|&b| b == b'\n');
        let n = end.map_or(available.len(), |end| end + 1);
        let done = end.is_some() || n == 0;
        input.consume(n);
        if done {
            return Ok(());
        }
    }
}
