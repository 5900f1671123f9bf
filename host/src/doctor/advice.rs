//! What would make a machine do better, by what is known of it.

use super::{Limits, MatchedBy, System};
use crate::board::{Figure, Profile};
use crate::memory::Bytes;

/// A machine that reaches less than this share of what its kind was seen to reach has a reason.
const FAR_BELOW: f64 = 0.7;

/// Degrees below the limit from where on it is worth saying something.
const NEAR_LIMIT: f64 = 5.0;

/// The limit where the system does not name one.
const USUAL_LIMIT: f64 = 85.0;

/// Drivers whose `powersave` sets the clock by load, as others' `schedutil` does.
const DRIVERS_WITH_THEIR_OWN_RULES: [&str; 3] = ["intel_pstate", "amd-pstate", "amd-pstate-epp"];

/// Returns what to do, the most important first.
pub(super) fn advice(
    system: &System,
    kernels: &str,
    limits: &Limits,
    found: Option<&(Profile, MatchedBy)>,
) -> Vec<String> {
    let mut advice = Vec::new();
    throttling(system, &mut advice);
    memory(system, &mut advice);
    governors(system, &mut advice);
    if !system.offline.is_empty() {
        let cpus: Vec<_> = system.offline.iter().map(ToString::to_string).collect();
        advice.push(format!(
            "switched off: CPU {}; if that is not meant, write 1 to \
             /sys/devices/system/cpu/cpuN/online, or choose another power mode",
            cpus.join(", ")
        ));
    }
    if kernels == "scalar" {
        advice.push(
            "no kernel set but `scalar` runs on this CPU, which is many times slower than others"
                .into(),
        );
    }
    if let Some((profile, by)) = found {
        limits_beside(profile, limits, &mut advice);
        if *by == MatchedBy::Cores {
            advice.push(format!(
                "the cores are those of {}, the board's name is not: memory may differ",
                profile.name
            ));
        }
        advice.push(format!(
            "`bantam fit --board {}` shows which models fit, and how fast to expect them",
            profile.name
        ));
    }
    advice
}

fn throttling(system: &System, advice: &mut Vec<String>) {
    let says = |what: &str| system.throttling.iter().any(|line| line.contains(what));
    if says("voltage") {
        advice.push(
            "the supply's voltage drops: use the maker's supply and a short cable, or speed will \
             come and go"
                .into(),
        );
    }
    if says("temperature") || says("throttled") || says("capped") {
        advice.push(
            "the machine has been slowed down: cool it better (heat sink, fan, free air), and \
             measure when it has cooled"
                .into(),
        );
    }
    if let Some(hottest) = system.hottest() {
        let limit = hottest.limit.unwrap_or(USUAL_LIMIT);
        if hottest.celsius >= limit - NEAR_LIMIT {
            advice.push(format!(
                "{} is at {:.0} °C, and is slowed down from about {limit:.0} on: cool it better",
                hottest.sensor, hottest.celsius
            ));
        }
    }
}

fn memory(system: &System, advice: &mut Vec<String>) {
    let memory = &system.memory;
    if let Some(percent) = memory.waiting_percent.filter(|&percent| percent >= 1.0) {
        advice.push(format!(
            "processes waited for memory {percent} % of the last minute: end some, or take a \
             smaller model, --ctx or --cache q8_0"
        ));
    }
    if let (Some(total), Some(available)) = (memory.total, memory.available)
        && available < total / 10
    {
        advice.push(format!(
            "only {} of {} of memory can be had: a model that does not fit is read from the disk \
             for every token",
            Bytes(available),
            Bytes(total)
        ));
    }
}

fn governors(system: &System, advice: &mut Vec<String>) {
    const SET: &str = "echo performance | sudo tee \
                       /sys/devices/system/cpu/cpufreq/policy*/scaling_governor";
    for set in &system.governors {
        let has_own_rules = set
            .driver
            .as_deref()
            .is_some_and(|driver| DRIVERS_WITH_THEIR_OWN_RULES.contains(&driver));
        match set.governor.as_str() {
            "powersave" if !has_own_rules => advice
                .push(format!("the governor `powersave` keeps the clock at its lowest: `{SET}`")),
            "powersave" | "ondemand" | "conservative" | "schedutil" => advice.push(format!(
                "the governor `{}` raises the clock only under load: for steady figures `{SET}`",
                set.governor
            )),
            _ => {}
        }
    }
}

/// What was measured beside what this kind of board was seen to do.
fn limits_beside(profile: &Profile, limits: &Limits, advice: &mut Vec<String>) {
    let seen = profile.memory.measured_gbps.value();
    if let (Some(read), Some(&seen)) = (limits.read_gbps, seen)
        && read < FAR_BELOW * seen
    {
        advice.push(format!(
            "memory reads at {read:.1} GB/s, where {} was seen to reach {seen}: look for other \
             programs at work, the power mode, and the clock",
            profile.name
        ));
    }
    let cpu = profile.processors.iter().find(|processor| processor.name == "cpu");
    let expected = cpu.and_then(|cpu| profile.peak_gmacs(cpu));
    if let (Some(peak), Some(expected)) = (limits.int8_peak_gmacs, expected)
        && peak < FAR_BELOW * expected
    {
        let clock = profile.clusters.first().map(|cluster| &cluster.mhz).and_then(Figure::value);
        let clock = clock.map_or_else(String::new, |mhz| format!(" at {mhz} MHz"));
        advice.push(format!(
            "{peak:.0} of {expected:.0} GMAC/s that {} has{clock}: its clock is lower now, fewer \
             cores may be used, or other programs are at work",
            profile.name
        ));
    }
    if profile.modes.len() > 1 {
        let names: Vec<_> = profile.modes.iter().map(|mode| mode.name.as_str()).collect();
        advice.push(format!(
            "{} has power modes ({}); `sudo nvpmodel -q` says which one is on",
            profile.title,
            names.join(", ")
        ));
    }
}
