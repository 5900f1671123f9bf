//! `bantam doctor`: what this machine is and how it does, and what would make it do better.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use clap::Args;

use super::progress::Progress;
use crate::doctor::{self, Limits, MatchedBy, Report, System};
use crate::error::{Error, OneLine};
use crate::memory::Bytes;

/// Look at this machine: what it is, what slows it down, and what to do about it
///
/// Takes about three seconds, in which all threads read memory and multiply as fast as they can;
/// other programs at work make the figures smaller. What the system does not say is unknown.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  bantam doctor
  bantam doctor --json | jq .advice
  bantam doctor --no-measure                        look only, in no time")]
pub(super) struct DoctorArgs {
    #[command(flatten)]
    threads: super::ThreadsArg,
    /// Do not measure bandwidth and int8 peak
    #[arg(long)]
    no_measure: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Read proc and sys of this folder
    #[arg(long, value_name = "DIR", default_value = "/", hide = true)]
    root: PathBuf,
}

pub(super) fn doctor(args: &DoctorArgs) -> Result<(), Error> {
    let threads = args.threads.threads.unwrap_or_else(crate::cpu::default_threads);
    let limits = if args.no_measure {
        Limits::default()
    } else {
        crate::interrupt::watch();
        let mut progress = Progress::steps("Measuring");
        doctor::measure(threads, |done, total| progress.set(done, total))?
    };
    let report = doctor::report(&args.root, threads, limits);
    let mut out = BufWriter::new(io::stdout().lock());
    let written =
        if args.json { super::write_json(&mut out, &report) } else { print(&mut out, &report) };
    written.and_then(|()| out.flush()).map_err(Error::stdout)
}

const UNKNOWN: &str = "unknown";

fn print(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    let system = &report.system;
    let name = |name: &Option<String>| OneLine(name.as_deref().unwrap_or(UNKNOWN)).to_string();
    let mut row = |what: &str, text: &dyn std::fmt::Display| writeln!(out, "{what:13}{text}");
    row("board", &name(&system.board))?;
    row("cpu", &name(&system.cpu))?;
    for line in cores(system) {
        row("cores", &line)?;
    }
    let others: Vec<_> =
        report.kernels_available.iter().filter(|&&set| set != report.kernels).copied().collect();
    let others = if others.is_empty() { "no other".into() } else { others.join(", ") };
    row("kernels", &format_args!("{} (also: {others})", report.kernels))?;
    row("threads", &report.threads)?;
    let Limits { read_gbps, int8_peak_gmacs, int8_instruction } = report.limits;
    let measured = |figure: Option<f64>, unit: &str| {
        figure.map_or("not measured".into(), |figure| format!("{figure:.1} {unit}"))
    };
    row("memory reads", &measured(read_gbps, "GB/s"))?;
    let with = int8_instruction.map_or_else(String::new, |name| format!(" ({name})"));
    row("int8 peak", &format_args!("{}{with}", measured(int8_peak_gmacs, "GMAC/s")))?;
    row("memory", &memory(system))?;
    row("temperature", &temperature(system))?;
    let throttling = match (system.throttling.as_slice(), system.throttling_is_known) {
        ([], false) => UNKNOWN.into(),
        ([], true) => "none".into(),
        (lines, _) => lines.join("; "),
    };
    row("throttling", &throttling)?;
    row("governor", &governors(system))?;
    let profile = match &report.profile {
        None => "none matches".into(),
        Some(found) => {
            let by = match found.by {
                MatchedBy::DeviceTree => "the board's name",
                MatchedBy::Cores => "its cores",
            };
            format!("{} (by {by})", found.name)
        }
    };
    row("profile", &profile)?;
    if report.advice.is_empty() {
        return writeln!(out, "\nNothing was found that would make this machine faster.");
    }
    writeln!(out, "\nAdvice:")?;
    report.advice.iter().try_for_each(|line| writeln!(out, "- {}", OneLine(line)))
}

/// A line for each kind of core.
fn cores(system: &System) -> Vec<String> {
    if system.cores.is_empty() {
        return vec![UNKNOWN.into()];
    }
    let mhz = |clock: Option<f64>| clock.map_or(UNKNOWN.into(), |mhz| format!("{mhz:.0} MHz"));
    let line = |kind: &doctor::Cores| {
        let name = kind.core.as_ref().map_or(" CPUs".into(), |core| format!(" × {core}"));
        format!("{}{name}, at most {}, now {}", kind.cpus, mhz(kind.max_mhz), mhz(kind.mhz))
    };
    system.cores.iter().map(line).collect()
}

fn memory(system: &System) -> String {
    let memory = &system.memory;
    let bytes = |bytes: Option<u64>| bytes.map_or(UNKNOWN.into(), |n| Bytes(n).to_string());
    let waiting = memory.waiting_percent.map_or(UNKNOWN.into(), |percent| format!("{percent} %"));
    format!(
        "{}, of which {} can be had; {} swapped out; waited for in the last minute: {waiting}",
        bytes(memory.total),
        bytes(memory.available),
        bytes(memory.swapped)
    )
}

fn temperature(system: &System) -> String {
    let Some(hottest) = system.hottest() else { return UNKNOWN.into() };
    let limit = hottest.limit.map_or("unknown".into(), |limit| format!("{limit:.0} °C"));
    format!("{:.1} °C ({}; limit {limit})", hottest.celsius, OneLine(&hottest.sensor))
}

fn governors(system: &System) -> String {
    if system.governors.is_empty() {
        return UNKNOWN.into();
    }
    let one = |set: &doctor::Governor| match &set.driver {
        Some(driver) => format!("{} ({})", OneLine(&set.governor), OneLine(driver)),
        None => OneLine(&set.governor).to_string(),
    };
    system.governors.iter().map(one).collect::<Vec<_>>().join(", ")
}
