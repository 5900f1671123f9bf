//! `cargo xtask ci`: everything that CI runs, with times and a summary.
//!
//! Each job is a subcommand and runs as a process of its own. Jobs that do not share a folder of
//! cargo's run two at a time; what such a job writes is shown when it has ended, and is in
//! `target/ci/` meanwhile.

use crate::cmd::{Cmd, in_pairs};
use crate::context::{Context, Ran, Report};
use anyhow::{Context as _, Result, bail};
use std::collections::VecDeque;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Options of `cargo xtask ci`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Leave a job out (once per job)
    #[arg(long, value_name = "JOB")]
    except: Vec<String>,
    /// Start nothing more when a job has failed
    #[arg(long)]
    fail_fast: bool,
}

/// What may run while a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Runs {
    /// Nothing: who reads the output waits for it, or it measures time.
    Alone,
    /// Jobs that are [`Runs::Apart`]: it builds in the workspace's own target folder, which cargo
    /// lets one at a time do.
    InTurn,
    /// Any: it builds in a folder of its own, or hardly anything in the workspace's.
    Apart,
}

/// A subcommand with its arguments.
type Job = (&'static [&'static str], Runs);

/// The jobs. Those that run alone come first, the cheap ones before the others; of the rest those
/// that take long, so that no CPU is left without work at the end.
const JOBS: &[Job] = &[
    (&["fmt"], Runs::Alone),
    (&["layers"], Runs::Alone),
    (&["clippy"], Runs::Alone),
    (&["test"], Runs::Alone),
    (&["firmware"], Runs::Apart),
    (&["boards"], Runs::InTurn),
    (&["board-ssh"], Runs::InTurn),
    (&["identity", "--reduced"], Runs::InTurn),
    (&["asan"], Runs::Apart),
    (&["qemu"], Runs::InTurn),
    (&["valgrind"], Runs::InTurn),
    (&["fuzz"], Runs::Apart),
    (&["size"], Runs::Apart),
    (&["no-std"], Runs::InTurn),
    (&["cross"], Runs::InTurn),
    (&["miri"], Runs::Apart),
    (&["docs"], Runs::InTurn),
];

/// Jobs that need tools too, but are no part of CI.
const OTHERS: &[&str] = &["mca"];

/// Checks that every name is that of a job.
///
/// # Errors
/// Names the first that is not, and those that are.
pub(crate) fn known(names: &[String]) -> Result<()> {
    let jobs = || JOBS.iter().map(|(words, _)| words[0]).chain(OTHERS.iter().copied());
    match names.iter().find(|name| !jobs().any(|job| job == *name)) {
        None => Ok(()),
        Some(unknown) => {
            bail!(
                "no job is called {unknown:?}; there are {}",
                jobs().collect::<Vec<_>>().join(", ")
            )
        }
    }
}

/// How a job went.
struct Outcome {
    name: &'static str,
    seconds: f64,
    /// What it said of itself; `None` if it failed.
    report: Option<Report>,
}

impl Outcome {
    fn in_words(&self) -> &'static str {
        match &self.report {
            None => "FAILED",
            Some(Report { ran: Ran::No, .. }) => "NOT RUN",
            Some(report) if report.not_run.is_empty() => "passed",
            Some(_) => "passed, but for what is listed below",
        }
    }
}

/// Runs every job, and says at the end how each one went.
///
/// # Errors
/// When a job failed. One whose tool is missing does not fail, and is listed as not run.
pub(crate) fn run(cx: &Context, options: &Options) -> Result<()> {
    known(&options.except)?;
    let dir = cx.target_dir().join("ci");
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let runner = Runner { program: std::env::current_exe()?, dir };
    let start = Instant::now();
    let is_wanted = |job: &&Job| !options.except.iter().any(|except| except == job.0[0]);
    let mut queue =
        Queue { left: JOBS.iter().filter(is_wanted).copied().collect(), is_taken: false };
    let mut outcomes = Vec::new();
    while let Some(job) = queue.next_alone() {
        let outcome = runner.alone(job)?;
        if options.fail_fast && outcome.report.is_none() {
            queue.left.clear();
        }
        outcomes.push(outcome);
    }
    outcomes.extend(runner.side_by_side(queue, options.fail_fast)?);

    eprintln!("\n==== summary");
    for (words, _) in JOBS {
        match outcomes.iter().find(|outcome| outcome.name == words[0]) {
            Some(it) => eprintln!("{:<10} {:>7.1} s  {}", it.name, it.seconds, it.in_words()),
            None => eprintln!("{:<10} {:>7.1} s  left out or not begun", words[0], 0.0),
        }
    }
    eprintln!("{:<10} {:>7.1} s", "all", start.elapsed().as_secs_f64());
    let failed: Vec<_> =
        outcomes.iter().filter(|outcome| outcome.report.is_none()).map(|o| o.name).collect();
    for item in outcomes.into_iter().filter_map(|outcome| outcome.report).flat_map(|r| r.not_run) {
        cx.note_not_run(item);
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

/// Jobs that are still to be run.
struct Queue {
    left: VecDeque<Job>,
    /// Whether a job builds in the workspace's own target folder.
    is_taken: bool,
}

impl Queue {
    fn next_alone(&mut self) -> Option<Job> {
        self.left.front().filter(|(_, runs)| *runs == Runs::Alone)?;
        self.left.pop_front()
    }

    /// The next one that does not have to wait for a folder, or else the next.
    fn next(&mut self) -> Option<Job> {
        let is_free = |(_, runs): &Job| !self.is_taken || *runs == Runs::Apart;
        let at = self.left.iter().position(is_free).unwrap_or(0);
        let job = self.left.remove(at)?;
        self.is_taken |= job.1 == Runs::InTurn;
        Some(job)
    }

    fn give_back(&mut self, job: Job) {
        self.is_taken &= job.1 != Runs::InTurn;
    }
}

/// Runs jobs, and keeps what they write.
struct Runner {
    program: PathBuf,
    dir: PathBuf,
}

impl Runner {
    fn alone(&self, job: Job) -> Result<Outcome> {
        eprintln!("\n==== {}", job.0[0]);
        self.outcome(job, Cmd::run)
    }

    /// Runs the jobs of a queue, two at a time.
    fn side_by_side(&self, queue: Queue, fail_fast: bool) -> Result<Vec<Outcome>> {
        let shared = Mutex::new((queue, Vec::new()));
        let lock = || shared.lock().unwrap_or_else(PoisonError::into_inner);
        in_pairs(|| {
            loop {
                let Some(job) = lock().0.next() else { return Ok(()) };
                let (log, outcome) = self.logged(job)?;
                // While it is locked no other log runs into this one.
                let (queue, outcomes) = &mut *lock();
                queue.give_back(job);
                if fail_fast && outcome.report.is_none() {
                    queue.left.clear();
                }
                let Outcome { name, seconds, .. } = outcome;
                eprintln!("\n==== {name}, {seconds:.1} s\n{}", read(&log)?.trim_end());
                outcomes.push(outcome);
            }
        })?;
        Ok(shared.into_inner().unwrap_or_else(PoisonError::into_inner).1)
    }

    /// Runs a job whose output goes to a file.
    fn logged(&self, job: Job) -> Result<(PathBuf, Outcome)> {
        let name = job.0[0];
        let log = self.dir.join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        eprintln!("==== {name} has begun; its output is in {}", log.display());
        Ok((log, self.outcome(job, |cmd| cmd.run_into(&file))?))
    }

    fn outcome(&self, (words, _): Job, run: impl FnOnce(&Cmd) -> Result<()>) -> Result<Outcome> {
        let name = words[0];
        let report = self.dir.join(format!("{name}.json"));
        let cmd = Cmd::new(&self.program).args(words).arg("--report").arg(&report);
        let began = Instant::now();
        // A job says itself why it failed.
        let passed = run(&cmd).is_ok();
        let seconds = began.elapsed().as_secs_f64();
        let report = passed.then(|| Report::take(&report)).transpose()?;
        Ok(Outcome { name, seconds, report })
    }
}

fn read(log: &Path) -> Result<String> {
    let bytes = fs::read(log).with_context(|| format!("cannot read {}", log.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_in_one_folder_do_not_meet_while_there_are_others() {
        let mut queue = Queue {
            left: [
                (&["fmt"] as &'static [&'static str], Runs::Alone),
                (&["a"], Runs::InTurn),
                (&["b"], Runs::InTurn),
                (&["c"], Runs::Apart),
            ]
            .into(),
            is_taken: false,
        };
        assert_eq!(queue.next_alone().unwrap().0, ["fmt"]);
        assert_eq!(queue.next_alone(), None);
        let a = queue.next().unwrap();
        assert_eq!(a.0, ["a"]);
        assert_eq!(queue.next().unwrap().0, ["c"]);
        queue.give_back(a);
        assert_eq!(queue.next().unwrap().0, ["b"]);
        assert_eq!(queue.next(), None);
    }

    #[test]
    fn every_job_comes_once_and_those_alone_come_first() {
        let names: std::collections::BTreeSet<_> = JOBS.iter().map(|(words, _)| words[0]).collect();
        assert_eq!(names.len(), JOBS.len());
        assert!(JOBS.is_sorted_by_key(|(_, runs)| *runs != Runs::Alone));
    }
}
