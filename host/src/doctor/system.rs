//! What a Linux system says of its machine in `/proc` and `/sys`.
//!
//! Everything is read below a root folder, so that tests can play any machine. What is not there,
//! or is not understood, is missing from the report; nothing here fails.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::cpu::parse_cpu_list;
use crate::memory::kib_field;

/// A machine, as its system describes it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct System {
    /// The CPU's name, if the system has one for it.
    pub cpu: Option<String>,
    /// The board's name, by the device tree or the firmware.
    pub board: Option<String>,
    /// Cores of each kind, by clock, the fastest first.
    pub cores: Vec<Cores>,
    /// CPUs that are there and switched off.
    pub offline: Vec<usize>,
    /// Who sets the clock: driver and governor.
    pub governors: Vec<Governor>,
    /// Temperatures, the hottest first.
    pub temperatures: Vec<Temperature>,
    /// What slows the machine down or has done so, in words.
    pub throttling: Vec<String>,
    /// Whether anything was there that would say so.
    pub throttling_is_known: bool,
    /// Memory.
    pub memory: Memory,
}

/// Cores of one kind.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct Cores {
    /// The core's name, where Arm's number for it is known.
    pub core: Option<String>,
    /// How many CPUs there are of it; hardware threads count.
    pub cpus: usize,
    /// The highest clock, in MHz.
    pub max_mhz: Option<f64>,
    /// The clock right now, the mean of all of them.
    pub mhz: Option<f64>,
}

/// Who sets the clock of some cores.
#[derive(Clone, Debug, Serialize, PartialEq, Eq, PartialOrd, Ord)]
pub struct Governor {
    /// The rule, such as `ondemand`.
    pub governor: String,
    /// Who carries it out, such as `cpufreq-dt`.
    pub driver: Option<String>,
}

/// A sensor.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct Temperature {
    /// What is measured, as the system calls it.
    pub sensor: String,
    /// Degrees.
    pub celsius: f64,
    /// From where on the system slows down.
    pub limit: Option<f64>,
}

/// Memory, in bytes, and how hard it is to get.
#[derive(Clone, Copy, Debug, Default, Serialize, PartialEq)]
pub struct Memory {
    /// All of it.
    pub total: Option<u64>,
    /// What can be had without swapping.
    pub available: Option<u64>,
    /// What has been swapped out.
    pub swapped: Option<u64>,
    /// Percent of the last minute in which some process waited for memory.
    pub waiting_percent: Option<f64>,
}

impl System {
    /// Returns what the system below `root` says.
    pub fn read(root: &Path) -> Self {
        let cpus = root.join("sys/devices/system/cpu");
        let info = text(&root.join("proc/cpuinfo")).unwrap_or_default();
        let (throttling, throttling_is_known) = throttling(root);
        System {
            cpu: field(&info, "model name").or_else(|| field(&info, "uarch")),
            board: board(root, &info),
            cores: cores(&cpus, &info),
            offline: offline(&cpus),
            governors: governors(&cpus),
            temperatures: temperatures(root),
            throttling,
            throttling_is_known,
            memory: memory(root),
        }
    }

    /// Returns the hottest sensor.
    pub fn hottest(&self) -> Option<&Temperature> {
        self.temperatures.first()
    }
}

/// A small file's text without spaces around it, or `None` if there is none.
fn text(path: &Path) -> Option<String> {
    let bytes = fs::read(path).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    (!text.is_empty()).then(|| text.to_owned())
}

fn number(path: &Path) -> Option<f64> {
    text(path)?.parse().ok().filter(|number: &f64| number.is_finite())
}

/// The entries of a folder whose names begin so, in order.
fn entries(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let Ok(folder) = fs::read_dir(folder) else { return Vec::new() };
    let paths = folder.flatten().map(|entry| entry.path());
    let name = |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let mut paths: Vec<_> =
        paths.filter(|path| name(path).is_some_and(|name| name.starts_with(prefix))).collect();
    paths.sort();
    paths
}

/// The first value of a key in `/proc/cpuinfo`.
fn field(info: &str, name: &str) -> Option<String> {
    fields(info, name).next().map(str::to_owned)
}

fn fields<'t>(info: &'t str, name: &'t str) -> impl Iterator<Item = &'t str> {
    let pairs = info.lines().filter_map(|line| line.split_once(':'));
    pairs.filter(move |(key, _)| key.trim() == name).map(|(_, value)| value.trim())
}

fn board(root: &Path, info: &str) -> Option<String> {
    let firmware = root.join("sys/devices/virtual/dmi/id");
    text(&root.join("proc/device-tree/model"))
        .or_else(|| field(info, "Model"))
        .or_else(|| text(&firmware.join("product_name")))
}

/// Arm's numbers for its cores, as `/proc/cpuinfo` gives them.
const ARM_PARTS: [(u32, &str); 20] = [
    (0xd03, "Cortex-A53"),
    (0xd04, "Cortex-A35"),
    (0xd05, "Cortex-A55"),
    (0xd07, "Cortex-A57"),
    (0xd08, "Cortex-A72"),
    (0xd09, "Cortex-A73"),
    (0xd0a, "Cortex-A75"),
    (0xd0b, "Cortex-A76"),
    (0xd0c, "Neoverse-N1"),
    (0xd0d, "Cortex-A77"),
    (0xd40, "Neoverse-V1"),
    (0xd41, "Cortex-A78"),
    (0xd42, "Cortex-A78AE"),
    (0xd44, "Cortex-X1"),
    (0xd46, "Cortex-A510"),
    (0xd47, "Cortex-A710"),
    (0xd49, "Neoverse-N2"),
    (0xd80, "Cortex-A520"),
    (0xd81, "Cortex-A720"),
    (0xd82, "Cortex-X4"),
];

/// The name of each CPU's core, in order, where it is one of Arm's.
fn parts(info: &str) -> Vec<Option<&'static str>> {
    let hex = |text: &str| u32::from_str_radix(text.strip_prefix("0x")?, 16).ok();
    let implementers = fields(info, "CPU implementer");
    let numbers = fields(info, "CPU part");
    implementers
        .zip(numbers)
        .map(|(implementer, part)| {
            let part = hex(part).filter(|_| hex(implementer) == Some(0x41))?;
            ARM_PARTS.iter().find(|(number, _)| *number == part).map(|&(_, name)| name)
        })
        .collect()
}

fn cores(cpus: &Path, info: &str) -> Vec<Cores> {
    let parts = parts(info);
    let n_cpus = fields(info, "processor").filter(|id| id.parse::<usize>().is_ok()).count();
    let mut kinds: Vec<(Cores, Vec<f64>)> = Vec::new();
    for cpu in 0..n_cpus {
        let core = parts.get(cpu).copied().flatten().map(str::to_owned);
        let clock = |file: &str| {
            let khz = number(&cpus.join(format!("cpu{cpu}/cpufreq/{file}")));
            khz.map(|khz| khz / 1e3)
        };
        let max_mhz = clock("cpuinfo_max_freq");
        let mhz = clock("scaling_cur_freq");
        let mhz = mhz.or_else(|| fields(info, "cpu MHz").nth(cpu)?.parse().ok());
        let known = kinds.iter_mut().find(|(kind, _)| kind.core == core && kind.max_mhz == max_mhz);
        match known {
            Some((kind, clocks)) => {
                kind.cpus += 1;
                clocks.extend(mhz);
            }
            None => {
                let kind = Cores { core, cpus: 1, max_mhz, mhz: None };
                kinds.push((kind, mhz.into_iter().collect()));
            }
        }
    }
    let mut kinds: Vec<_> = kinds
        .into_iter()
        .map(|(kind, clocks)| {
            let mean = clocks.iter().sum::<f64>() / clocks.len() as f64;
            Cores { mhz: (!clocks.is_empty()).then_some(mean), ..kind }
        })
        .collect();
    kinds.sort_by(|a, b| b.max_mhz.unwrap_or(0.0).total_cmp(&a.max_mhz.unwrap_or(0.0)));
    kinds
}

/// CPUs that are there, but not online. What the kernel calls offline may not be there at all.
fn offline(cpus: &Path) -> Vec<usize> {
    let list = |file: &str| parse_cpu_list(&text(&cpus.join(file))?);
    let (Some(present), Some(online)) = (list("present"), list("online")) else {
        return Vec::new();
    };
    present.into_iter().filter(|cpu| !online.contains(cpu)).collect()
}

/// The different governors of all cores.
fn governors(cpus: &Path) -> Vec<Governor> {
    let mut policies = entries(&cpus.join("cpufreq"), "policy");
    policies.extend(entries(cpus, "cpu").into_iter().map(|cpu| cpu.join("cpufreq")));
    let mut governors: Vec<_> = policies
        .iter()
        .filter_map(|policy| {
            let governor = text(&policy.join("scaling_governor"))?;
            Some(Governor { governor, driver: text(&policy.join("scaling_driver")) })
        })
        .collect();
    governors.sort();
    governors.dedup();
    governors
}

fn temperatures(root: &Path) -> Vec<Temperature> {
    let degrees = |path: &Path| number(path).map(|millis| millis / 1e3);
    let mut all = Vec::new();
    for zone in entries(&root.join("sys/class/thermal"), "thermal_zone") {
        let Some(celsius) = degrees(&zone.join("temp")) else { continue };
        let trips = (0..16).filter_map(|i| {
            let kind = text(&zone.join(format!("trip_point_{i}_type")))?;
            let slows = matches!(kind.as_str(), "passive" | "hot" | "critical");
            degrees(&zone.join(format!("trip_point_{i}_temp"))).filter(|&t| slows && t > 0.0)
        });
        let limit = trips.min_by(f64::total_cmp);
        let sensor = text(&zone.join("type")).unwrap_or_else(|| "thermal zone".into());
        all.push(Temperature { sensor, celsius, limit });
    }
    for chip in entries(&root.join("sys/class/hwmon"), "hwmon") {
        let name = text(&chip.join("name")).unwrap_or_else(|| "sensor".into());
        for i in 1..=32 {
            let file = |what: &str| chip.join(format!("temp{i}_{what}"));
            let Some(celsius) = degrees(&file("input")) else { continue };
            let limit = degrees(&file("max")).or_else(|| degrees(&file("crit")));
            let label = text(&file("label")).map_or_else(String::new, |label| format!(" {label}"));
            all.push(Temperature { sensor: format!("{name}{label}"), celsius, limit });
        }
    }
    // Sensors that are not wired say something that nothing survives.
    all.retain(|sensor| (-50.0..=150.0).contains(&sensor.celsius));
    all.sort_by(|a, b| b.celsius.total_cmp(&a.celsius));
    all
}

/// What a Raspberry Pi's firmware says by each bit of `get_throttled`.
const PI_BITS: [(u32, &str); 8] = [
    (0, "the supply's voltage is too low now"),
    (1, "the clock is capped now"),
    (2, "throttled now"),
    (3, "slowed down by temperature now"),
    (16, "the supply's voltage was too low since the start"),
    (17, "the clock was capped since the start"),
    (18, "throttled since the start"),
    (19, "slowed down by temperature since the start"),
];

/// What slows the machine down, and whether anything would say so.
fn throttling(root: &Path) -> (Vec<String>, bool) {
    let mut all = Vec::new();
    let bits = text(&root.join("sys/devices/platform/soc/soc:firmware/get_throttled"));
    let bits = bits.or_else(|| vcgencmd(root));
    let bits = bits.and_then(|bits| u32::from_str_radix(bits.trim_start_matches("0x"), 16).ok());
    if let Some(bits) = bits {
        let set = PI_BITS.iter().filter(|(bit, _)| bits >> bit & 1 == 1);
        all.extend(set.map(|&(_, what)| what.to_owned()));
    }
    let mut is_known = bits.is_some();
    for device in entries(&root.join("sys/class/thermal"), "cooling_device") {
        let kind = text(&device.join("type")).unwrap_or_default();
        let slows = kind.contains("cpu") || kind.contains("Processor");
        let Some(state) = number(&device.join("cur_state")).filter(|_| slows) else { continue };
        is_known = true;
        let what = "slowed down by temperature now";
        if state > 0.0 && !all.iter().any(|known| known == what) {
            all.push(what.into());
        }
    }
    let counts: Vec<f64> = entries(&root.join("sys/devices/system/cpu"), "cpu")
        .iter()
        .filter_map(|cpu| number(&cpu.join("thermal_throttle/core_throttle_count")))
        .collect();
    is_known |= !counts.is_empty();
    let count: f64 = counts.iter().sum();
    if count > 0.0 {
        all.push(format!("slowed down by temperature {count} times since the start"));
    }
    (all, is_known)
}

/// What a Raspberry Pi's own tool says, where the kernel has no file for it.
fn vcgencmd(root: &Path) -> Option<String> {
    // It asks this machine, whatever the folder.
    if root != Path::new("/") || !root.join("dev/vcio").exists() {
        return None;
    }
    let output = std::process::Command::new("vcgencmd").arg("get_throttled").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().strip_prefix("throttled=")?.to_owned())
}

fn memory(root: &Path) -> Memory {
    let info = text(&root.join("proc/meminfo")).unwrap_or_default();
    let swap = kib_field(&info, "SwapTotal:").zip(kib_field(&info, "SwapFree:"));
    let pressure = text(&root.join("proc/pressure/memory")).unwrap_or_default();
    let some = pressure.lines().find_map(|line| line.strip_prefix("some "));
    let minute = some.and_then(|line| {
        line.split_whitespace().find_map(|word| word.strip_prefix("avg60="))?.parse().ok()
    });
    Memory {
        total: kib_field(&info, "MemTotal:"),
        available: kib_field(&info, "MemAvailable:"),
        swapped: swap.map(|(total, free)| total.saturating_sub(free)),
        waiting_percent: minute,
    }
}

/// Returns how many CPUs of each named core there are, by name.
pub(super) fn by_name(cores: &[Cores]) -> Option<BTreeMap<&str, usize>> {
    let mut all = BTreeMap::new();
    for kind in cores {
        *all.entry(kind.core.as_deref()?).or_default() += kind.cpus;
    }
    Some(all).filter(|all| !all.is_empty())
}
