//! Whether anyone else was using the machine while something was measured.

use std::fs;

/// The processors' time until now, in clock ticks.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ticks {
    /// All of it, idle or not.
    total: u64,
    /// What anyone used, the host of a virtual machine included.
    busy: u64,
    /// What this program and the ones it has waited for used.
    own: u64,
}

impl Ticks {
    /// As Linux tells it; `None` elsewhere.
    pub(super) fn now() -> Option<Self> {
        let all = fs::read_to_string("/proc/stat").ok()?;
        let own = fs::read_to_string("/proc/self/stat").ok()?;
        Self::parse(&all, &own)
    }

    fn parse(all: &str, own: &str) -> Option<Self> {
        // user nice system idle iowait irq softirq steal; the guests' are in user's already.
        let cpu = all.lines().next()?.strip_prefix("cpu ")?;
        let cpu: Vec<u64> = cpu.split_whitespace().take(8).flat_map(str::parse).collect();
        let idle = cpu.get(3)? + cpu.get(4)?;
        let total = cpu.iter().sum();
        // A name in parentheses may hold anything; what follows begins with the third field.
        let fields = own.rsplit_once(')')?.1.split_whitespace();
        // utime stime cutime cstime
        let own = fields.skip(11).take(4).flat_map(str::parse::<u64>).sum();
        Some(Ticks { total, busy: total - idle, own })
    }

    /// The share of all processors that others used since `earlier`.
    pub(super) fn others_since(self, earlier: Self) -> f64 {
        let busy = self.busy.saturating_sub(earlier.busy);
        let others = busy.saturating_sub(self.own.saturating_sub(earlier.own));
        others as f64 / self.total.saturating_sub(earlier.total).max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_what_is_left() {
        let ticks = |user: u64, idle: u64, own: u64| {
            let all = format!("cpu  {user} 0 10 {idle} 5 1 1 3 7 0\ncpu0 1 2 3\n");
            let own = format!("12 (a) b) S 1 1 1 0 -1 0 0 0 0 0 {own} 2 30 4 20 0 1 0\n");
            Ticks::parse(&all, &own).unwrap()
        };
        let (before, after) = (ticks(100, 1000, 50), ticks(200, 1100, 90));
        assert_eq!((before.total, before.busy, before.own), (1120, 115, 86));
        assert_eq!(after.others_since(before), 60.0 / 200.0);
        assert_eq!(before.others_since(before), 0.0);
        assert!(Ticks::parse("", "").is_none());
    }
}
