//! What this machine is and how it does, and what would make it do better.

mod advice;
#[allow(unsafe_code)] // Instructions whose rate is measured.
// On other CPUs there are none.
#[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), allow(unused))]
mod probe;
mod system;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use bantam_core::kernels::KernelSet;
use serde::Serialize;

pub use system::{Cores, Governor, Memory, System, Temperature};

use crate::board::{self, Profile};
use crate::error::Error;
use crate::interrupt;
use crate::memory::SystemMemory;

/// How long each limit is measured.
const PROBE_TIME: Duration = Duration::from_secs(1);

/// Everything that `bantam doctor` says.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What the system says.
    pub system: System,
    /// The kernel set that is used unless another is asked for.
    pub kernels: &'static str,
    /// Those that this CPU runs.
    pub kernels_available: Vec<&'static str>,
    /// Threads: those that were measured with.
    pub threads: usize,
    /// What was measured.
    pub limits: Limits,
    /// The board's profile, if one matches.
    pub profile: Option<Match>,
    /// What to do about it; empty if nothing was found.
    pub advice: Vec<String>,
}

/// What the machine can do at most, by measurement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Limits {
    /// 10⁹ bytes a second that all threads read together; `None` if it was not measured.
    pub read_gbps: Option<f64>,
    /// 10⁹ multiplications with addition of 8-bit integers a second; likewise.
    pub int8_peak_gmacs: Option<f64>,
    /// The instruction that this was measured with.
    pub int8_instruction: Option<&'static str>,
}

/// A profile that is this machine's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Match {
    /// The profile's name.
    pub name: String,
    /// By what it was found.
    pub by: MatchedBy,
}

/// By what a profile was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MatchedBy {
    /// The name that the device tree has for the board.
    DeviceTree,
    /// Its cores: kinds and numbers.
    Cores,
}

/// Returns the report on the machine whose `/proc` and `/sys` are below `root`, with limits that
/// were measured, or not, with so many threads.
pub fn report(root: &Path, threads: usize, limits: Limits) -> Report {
    let system = System::read(root);
    let found = find_profile(&system);
    let kernels = KernelSet::best().name();
    let advice = advice::advice(&system, kernels, &limits, found.as_ref());
    Report {
        kernels,
        kernels_available: KernelSet::available().map(KernelSet::name).collect(),
        threads,
        limits,
        profile: found.map(|(profile, by)| Match { name: profile.name, by }),
        advice,
        system,
    }
}

/// Measures what this machine can do at most with so many threads; `progress` is told how many
/// of how many steps are done.
///
/// # Errors
/// [`Error::Engine`] if the machine computes wrongly; [`Error::Interrupted`].
pub fn measure(threads: usize, mut progress: impl FnMut(u64, u64)) -> Result<Limits, Error> {
    const STEPS: u64 = 3;
    let fault = |fault: probe::Fault| Error::Engine(fault.to_string());
    let mut limits = Limits::default();
    progress(0, STEPS);
    if let Some(instruction) = probe::Instruction::for_kernels(KernelSet::best().name()) {
        let peak = probe::int8_peak(instruction, threads, PROBE_TIME).map_err(fault)?;
        limits.int8_peak_gmacs = Some(peak / 1e9);
        limits.int8_instruction = Some(instruction.name());
    }
    interrupt::check()?;
    progress(1, STEPS);
    // Not where it would push something else out.
    let bytes = probe::Memory::bytes() as u64;
    if SystemMemory::read().is_none_or(|memory| memory.available / 2 >= bytes) {
        let memory = probe::Memory::new();
        interrupt::check()?;
        progress(2, STEPS);
        let read = memory.read_bandwidth(threads, PROBE_TIME).map_err(fault)?;
        limits.read_gbps = Some(read / 1e9);
    }
    interrupt::check()?;
    progress(STEPS, STEPS);
    Ok(limits)
}

/// The profile of this machine: by its name, or by its cores if those are one board's only.
fn find_profile(system: &System) -> Option<(Profile, MatchedBy)> {
    if let Some(name) = &system.board {
        let is_named = |profile: &Profile| {
            profile.device_tree.iter().any(|beginning| name.starts_with(beginning.as_str()))
        };
        if let Some(profile) = board::built_in().find(is_named) {
            return Some((profile, MatchedBy::DeviceTree));
        }
    }
    let cores = system::by_name(&system.cores)?;
    let has_these = |profile: &Profile| {
        let mut its: BTreeMap<&str, usize> = BTreeMap::new();
        for cluster in &profile.clusters {
            *its.entry(cluster.core.as_str()).or_default() += cluster.cores as usize;
        }
        its == cores && profile.os != board::Os::None
    };
    board::built_in().find(has_these).map(|profile| (profile, MatchedBy::Cores))
}
