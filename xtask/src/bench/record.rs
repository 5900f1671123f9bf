//! Records of measurements: one CSV file per target and day, to which rows are appended.

use crate::cmd::Cmd;
use crate::context::Context;
use anyhow::{Context as _, Result};
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;

/// Where records lie in the workspace.
const FOLDER: &str = "core/benches/record";

/// Appends rows to the record of `target` and today, and returns its path.
///
/// A file that begins with another header is left alone; its rows mean something else.
///
/// # Errors
/// When the file cannot be written, or has another header.
pub(crate) fn append(
    cx: &Context,
    target: &str,
    suffix: &str,
    header: &[&str],
    rows: &[Vec<String>],
) -> Result<PathBuf> {
    let dir = cx.root().join(FOLDER).join(target);
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let path = dir.join(format!("{}{suffix}.csv", now().0));
    let header = line(header);
    let text = match fs::read_to_string(&path) {
        Ok(text) if text.lines().next() == Some(header.trim_end()) => String::new(),
        Ok(text) if !text.is_empty() => {
            anyhow::bail!("{} has other columns; move it away", path.display())
        }
        _ => header,
    };
    let text = rows.iter().fold(text, |text, row| text + &line(row));
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// The commit that is checked out, with `-dirty` behind it if anything but records has changed.
pub(crate) fn commit(cx: &Context) -> String {
    let git = |args: &[&str]| {
        let out = Cmd::new("git").args(args).dir(cx.root()).capture().ok()?;
        out.ok.then(|| out.stdout.trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else { return "unknown".into() };
    let changed = git(&["status", "--porcelain", "--", ".", &format!(":(exclude){FOLDER}")]);
    match changed.as_deref() {
        Some("") => commit,
        _ => commit + "-dirty",
    }
}

/// Now in UTC: the date, and the time of day.
pub(crate) fn now() -> (String, String) {
    let now = jiff::Timestamp::now();
    (now.strftime("%Y-%m-%d").to_string(), now.strftime("%H:%M").to_string())
}

/// One line of CSV, quoted where it must be.
fn line(cells: &[impl AsRef<str>]) -> String {
    let cells: Vec<String> = cells
        .iter()
        .map(|cell| {
            let cell = cell.as_ref();
            if cell.contains([',', '"', '\n']) {
                format!("\"{}\"", cell.replace('"', "\"\""))
            } else {
                cell.to_owned()
            }
        })
        .collect();
    cells.join(",") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_where_they_must_be() {
        assert_eq!(line(&["a", "1.5", "b c"]), "a,1.5,b c\n");
        assert_eq!(line(&["a,b", "say \"x\""]), "\"a,b\",\"say \"\"x\"\"\"\n");
    }

    #[test]
    fn rows_are_appended_under_one_header() {
        let dir = tempfile::tempdir().unwrap();
        let cx = Context::new(dir.path().to_owned());
        let row = |cell: &str| vec![vec!["1".to_owned(), cell.to_owned()]];
        let path = append(&cx, "t", "", &["a", "b"], &row("x")).unwrap();
        append(&cx, "t", "", &["a", "b"], &row("y")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "a,b\n1,x\n1,y\n");
        assert!(append(&cx, "t", "", &["other"], &row("z")).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "a,b\n1,x\n1,y\n");
    }
}
