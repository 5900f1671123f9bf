//! Records of measurements: one CSV file per target and day, to which rows are appended.

use crate::cmd::Cmd;
use crate::context::Context;
use anyhow::{Context as _, Result, bail};
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;

/// Where records lie in the workspace.
const FOLDER: &str = "core/benches/record";

/// One measurement of one program.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row {
    pub(crate) commit: String,
    pub(crate) compiler: String,
    pub(crate) cpu: String,
    pub(crate) model: String,
    pub(crate) program: String,
    /// The program's own version or commit.
    pub(crate) version: String,
    /// The kernel set; empty for other programs, whose affair it is.
    pub(crate) kernels: String,
    pub(crate) threads: usize,
    pub(crate) test: String,
    /// Of median, minimum and maximum.
    pub(crate) unit: &'static str,
    pub(crate) rounds: u16,
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// To the other program's median.
    pub(crate) ratio: Option<f64>,
    pub(crate) int8_instruction: &'static str,
    pub(crate) int8_peak_gmacs: Option<f64>,
    pub(crate) read_bandwidth_gb: Option<f64>,
    /// The share reached of the one of the two that limits this test.
    pub(crate) of_limit: Option<f64>,
    pub(crate) used_by_others: Option<f64>,
    pub(crate) logits_checksum: String,
}

impl Row {
    /// Columns and their cells.
    fn cells(&self) -> [(&'static str, String); 22] {
        let number = |x: Option<f64>, digits| x.map_or(String::new(), |x| format!("{x:.digits$}"));
        [
            ("time", now().1),
            ("commit", self.commit.clone()),
            ("compiler", self.compiler.clone()),
            ("cpu", self.cpu.clone()),
            ("model", self.model.clone()),
            ("program", self.program.clone()),
            ("version", self.version.clone()),
            ("kernels", self.kernels.clone()),
            ("threads", self.threads.to_string()),
            ("test", self.test.clone()),
            ("unit", self.unit.to_owned()),
            ("rounds", self.rounds.to_string()),
            ("median", number(Some(self.median), 2)),
            ("min", number(Some(self.min), 2)),
            ("max", number(Some(self.max), 2)),
            ("ratio", number(self.ratio, 3)),
            ("int8_instruction", self.int8_instruction.to_owned()),
            ("int8_peak_gmacs", number(self.int8_peak_gmacs, 1)),
            ("read_bandwidth_gb", number(self.read_bandwidth_gb, 1)),
            ("of_limit", number(self.of_limit, 3)),
            ("used_by_others", number(self.used_by_others, 3)),
            ("logits_checksum", self.logits_checksum.clone()),
        ]
    }
}

/// Appends rows to the record of `target` and today, and returns its path.
///
/// # Errors
/// When the file cannot be written, or has other columns.
pub(crate) fn append(cx: &Context, target: &str, rows: &[Row]) -> Result<PathBuf> {
    let dir = cx.root().join(FOLDER).join(target);
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let path = dir.join(format!("{}.csv", now().0));
    let header = line(&Row::default().cells().map(|(column, _)| column));
    let mut text = match fs::read_to_string(&path) {
        Ok(text) if text.lines().next() == Some(header.trim_end()) => String::new(),
        Ok(text) if !text.is_empty() => bail!("{} has other columns; move it away", path.display()),
        _ => header,
    };
    for row in rows {
        text += &line(&row.cells().map(|(_, cell)| cell));
    }
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
        let row = |ratio| Row { threads: 2, unit: "u", median: 1.5, ratio, ..Row::default() };
        let path = append(&cx, "t", &[row(Some(1.25)), row(None)]).unwrap();
        append(&cx, "t", &[row(Some(0.5))]).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
        assert_eq!(rows.len(), 4);
        assert!(rows.iter().all(|row| row.len() == rows[0].len()), "{text}");
        let column = |name: &str| rows[0].iter().position(|cell| *cell == name).unwrap();
        let cells = |name: &str| rows[1..].iter().map(|r| r[column(name)]).collect::<Vec<_>>();
        assert_eq!(cells("ratio"), ["1.250", "", "0.500"]);
        assert_eq!(cells("median"), ["1.50"; 3]);
        assert_eq!(cells("unit"), ["u"; 3]);

        fs::write(&path, "other\n1\n").unwrap();
        assert!(append(&cx, "t", &[row(None)]).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "other\n1\n");
    }
}
