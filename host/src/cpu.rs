//! What the machine is: how many threads serve best, and its name for records.

use std::fs;
use std::path::Path;
use std::thread;

/// Returns how many threads to use unless told otherwise: one for each physical core that this
/// process may run on, of a core's full kind.
///
/// - The affinity mask and the CPU quota of the control group count
///   ([`thread::available_parallelism`]).
/// - Hardware threads that share a core count once: they share its multipliers too.
/// - On machines with unequal cores (`cpu_capacity` on Arm, otherwise the highest clock) those
///   with less than half of the best one's figure are left out: with work claimed piece by piece
///   the others gain more than they lose, but a core this slow holds up the end of every step.
pub fn default_threads() -> usize {
    let quota = thread::available_parallelism().map_or(1, usize::from);
    let cores = fs::read_to_string("/proc/self/status").ok().and_then(|status| {
        let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
        good_cores(Path::new("/sys/devices/system/cpu"), &parse_cpu_list(allowed.trim())?)
    });
    cores.map_or(quota, |cores| cores.min(quota)).max(1)
}

/// How many of the `allowed` CPUs are first of their core and of the fast kind, or `None` if the
/// system does not say.
fn good_cores(sys: &Path, allowed: &[usize]) -> Option<usize> {
    let mut cores: Vec<(Vec<usize>, u64)> = Vec::new();
    for &cpu in allowed {
        let folder = sys.join(format!("cpu{cpu}"));
        let number = |name: &str| -> Option<u64> {
            let text = fs::read_to_string(folder.join(name)).ok()?;
            text.trim().parse().ok()
        };
        let speed =
            number("cpu_capacity").or_else(|| number("cpufreq/cpuinfo_max_freq")).unwrap_or(0);
        let siblings = fs::read_to_string(folder.join("topology/thread_siblings_list")).ok();
        let siblings = siblings.and_then(|list| parse_cpu_list(list.trim()));
        let siblings = siblings.unwrap_or_else(|| vec![cpu]);
        if !cores.iter().any(|(known, _)| known.contains(&cpu)) {
            cores.push((siblings, speed));
        }
    }
    let best = cores.iter().map(|&(_, speed)| speed).max()?;
    Some(cores.iter().filter(|&&(_, speed)| speed >= best.div_ceil(2)).count())
}

/// Parses the kernel's way of writing sets: `0-3,8,10-11`.
pub(crate) fn parse_cpu_list(text: &str) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse::<usize>().ok()?, last.parse::<usize>().ok()?);
        // No machine has so many; a longer list is not what we think it is.
        if last.checked_sub(first)? > 1 << 16 {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

/// Returns the processor's name as the system gives it, or the architecture's.
pub fn name() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        info.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == name).then(|| value.trim().to_owned())
        })
    };
    // Arm kernels name the board in the device tree and the core only by numbers.
    let device_tree = || {
        let text = fs::read_to_string("/proc/device-tree/model").ok()?;
        Some(text.trim_end_matches('\0').to_owned())
    };
    field("model name")
        .or_else(device_tree)
        .or_else(|| field("Model"))
        .or_else(|| field("uarch"))
        .unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists() {
        assert_eq!(parse_cpu_list("0-3,8"), Some(vec![0, 1, 2, 3, 8]));
        assert_eq!(parse_cpu_list("5"), Some(vec![5]));
        for bad in ["", "a", "3-1", "0-99999999999", "1,,2"] {
            assert_eq!(parse_cpu_list(bad), None, "{bad}");
        }
    }

    /// Writes a `/sys/devices/system/cpu` with one `(siblings, capacity)` for each CPU.
    fn fake(cpus: &[(&str, Option<u64>)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (cpu, (siblings, capacity)) in cpus.iter().enumerate() {
            let folder = folder.path().join(format!("cpu{cpu}"));
            fs::create_dir_all(folder.join("topology")).unwrap();
            fs::write(folder.join("topology/thread_siblings_list"), siblings).unwrap();
            if let Some(capacity) = capacity {
                fs::write(folder.join("cpu_capacity"), format!("{capacity}\n")).unwrap();
            }
        }
        folder
    }

    #[test]
    fn counts_cores_once_and_leaves_out_slow_ones() {
        // Two cores of two threads each.
        let smt = fake(&[("0,2", None), ("1,3", None), ("0,2", None), ("1,3", None)]);
        assert_eq!(good_cores(smt.path(), &[0, 1, 2, 3]), Some(2));
        assert_eq!(good_cores(smt.path(), &[1, 3]), Some(1));
        // One large, two middle, two small: a phone.
        let phone = fake(&[
            ("0", Some(250)),
            ("1", Some(250)),
            ("2", Some(780)),
            ("3", Some(780)),
            ("4", Some(1024)),
        ]);
        assert_eq!(good_cores(phone.path(), &[0, 1, 2, 3, 4]), Some(3));
        // Only small ones allowed: then they are the good ones.
        assert_eq!(good_cores(phone.path(), &[0, 1]), Some(2));
        assert_eq!(good_cores(phone.path(), &[]), None);
    }

    #[test]
    fn some_default() {
        let threads = default_threads();
        assert!(threads >= 1);
        assert!(threads <= thread::available_parallelism().unwrap().get());
        assert!(!name().is_empty());
    }
}
