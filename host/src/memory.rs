//! Working memory: one block of the planned size, taken once and lent to the core.

use std::fs;
use std::path::Path;

use memmap2::MmapMut;

use crate::error::Error;

/// The alignment that a memory plan asks for, in bytes. Pages are far coarser.
pub const ALIGNMENT: usize = 64;

/// Zeroed memory of a fixed size, aligned to a page. Pages that are never touched cost nothing,
/// so a long context is only paid for as it fills.
pub struct Memory {
    map: Option<MmapMut>,
}

impl Memory {
    /// Returns `bytes` bytes of zeroed memory; error messages say what for, and what helps.
    ///
    /// # Errors
    /// [`Error::Memory`] if less than that can be had, or the system refuses.
    pub fn new(bytes: usize, purpose: &str, hint: &str) -> Result<Self, Error> {
        if bytes == 0 {
            return Ok(Self { map: None });
        }
        let error = |have: &str| Error::Memory {
            what: format!("{purpose} needs {} of memory and {have}; {hint}", Bytes(bytes as u64)),
        };
        // The system would promise more than it has, and end some process when it is used.
        if let Some(system) = SystemMemory::read()
            && bytes as u64 > system.available
        {
            return Err(error(&format!("{} can be had", Bytes(system.available))));
        }
        let map = MmapMut::map_anon(bytes).map_err(|_| error("the system refuses"))?;
        Ok(Self { map: Some(map) })
    }

    /// The whole block.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.map.as_deref_mut().unwrap_or_default()
    }
}

/// What the machine has, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct SystemMemory {
    /// What can be had without swapping, and within the limits of this process's control group.
    pub available: u64,
}

impl SystemMemory {
    /// Returns what `/proc/meminfo` and the control group say, or `None` where there is neither.
    pub fn read() -> Option<Self> {
        let text = fs::read_to_string("/proc/meminfo").ok()?;
        let available = kib_field(&text, "MemAvailable:")?;
        Some(Self { available: available.min(group_limit().unwrap_or(u64::MAX)) })
    }
}

/// The smallest limit of the control groups that this process is in, if any has one.
fn group_limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let root = Path::new("/sys/fs/cgroup");
    let group = root.join(group);
    let limits =
        group.ancestors().take_while(|group| group.starts_with(root)).filter_map(|group| {
            // "max" is no limit, and no number.
            fs::read_to_string(group.join("memory.max")).ok()?.trim().parse().ok()
        });
    limits.min()
}

/// Returns the most memory this process has held at once so far, in bytes.
pub fn peak_rss() -> Option<u64> {
    kib_field(&fs::read_to_string("/proc/self/status").ok()?, "VmHWM:")
}

/// Returns the value of a line such as `VmHWM:   1234 kB`, in bytes.
pub(crate) fn kib_field(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = rest.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// A number of bytes for people: `98.4 MB` would be ambiguous, so `93.8 MiB`.
pub struct Bytes(pub u64);

impl std::fmt::Display for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut value = self.0 as f64;
        if self.0 < 1024 {
            return f.pad(&format!("{} B", self.0));
        }
        let mut unit = "";
        for next in ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] {
            value /= 1024.0;
            unit = next;
            // 1023.95 would print as 1024.0 of the smaller unit.
            if value < 1023.95 {
                break;
            }
        }
        f.pad(&format!("{value:.1} {unit}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_aligned_zeroed_and_of_the_size_asked_for() {
        for bytes in [0, 1, 63, 4097, 1 << 20] {
            let mut memory = Memory::new(bytes, "the test", "hint").unwrap();
            let slice = memory.bytes_mut();
            assert_eq!(slice.len(), bytes);
            assert!(slice.iter().all(|&byte| byte == 0));
            assert!(bytes == 0 || slice.as_ptr().addr().is_multiple_of(ALIGNMENT));
        }
    }

    #[test]
    fn too_much_is_a_clear_error() {
        let error = Memory::new(usize::MAX / 2, "the test", "take less").err().unwrap();
        let text = error.to_string();
        assert!(text.contains("the test needs 8.0 EiB"), "{text}");
        assert!(text.ends_with("; take less"), "{text}");
    }

    #[test]
    fn bytes_for_people() {
        let shown = |bytes| Bytes(bytes).to_string();
        assert_eq!(shown(0), "0 B");
        assert_eq!(shown(1023), "1023 B");
        assert_eq!(shown(1024), "1.0 KiB");
        assert_eq!(shown((1 << 20) - 1), "1.0 MiB");
        assert_eq!(shown(98_362_432), "93.8 MiB");
    }

    #[test]
    fn peak_rss_is_plausible() {
        let peak = peak_rss().unwrap();
        assert!(peak > 100 << 10 && peak < 64 << 30, "{peak}");
    }
}
