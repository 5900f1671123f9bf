//! Machines made of files, and what is said of them.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::*;

/// A root folder with these files, paths beside texts.
fn machine(files: &[(&str, &str)]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

/// `/proc/cpuinfo` of an Arm machine with these cores.
fn arm(parts: &[&str]) -> String {
    let cpu = |(i, part): (usize, &&str)| {
        format!("processor\t: {i}\nCPU implementer\t: 0x41\nCPU part\t: {part}\n\n")
    };
    parts.iter().enumerate().map(cpu).collect()
}

const MEMINFO: &str = "MemTotal:  8000000 kB\nMemFree: 1 kB\nMemAvailable:  4000000 kB\n\
                       SwapTotal: 1000 kB\nSwapFree: 600 kB\n";

fn pi5(more: &[(&str, &str)]) -> TempDir {
    let info = arm(&["0xd0b"; 4]);
    let cpu = "sys/devices/system/cpu";
    let governor = format!("{cpu}/cpufreq/policy0/scaling_governor");
    let driver = format!("{cpu}/cpufreq/policy0/scaling_driver");
    let max = format!("{cpu}/cpu0/cpufreq/cpuinfo_max_freq");
    let now = format!("{cpu}/cpu0/cpufreq/scaling_cur_freq");
    let mut files = vec![
        ("proc/cpuinfo", info.as_str()),
        ("proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0\0"),
        ("proc/meminfo", MEMINFO),
        ("proc/pressure/memory", "some avg10=0.00 avg60=0.12 avg300=0.00 total=1\nfull avg10=0\n"),
        (governor.as_str(), "performance\n"),
        (driver.as_str(), "cpufreq-dt\n"),
        (max.as_str(), "2400000\n"),
        (now.as_str(), "1500000\n"),
        ("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n"),
        ("sys/class/thermal/thermal_zone0/temp", "51200\n"),
        ("sys/class/thermal/thermal_zone0/trip_point_0_type", "critical\n"),
        ("sys/class/thermal/thermal_zone0/trip_point_0_temp", "110000\n"),
        ("sys/class/thermal/thermal_zone0/trip_point_1_type", "active\n"),
        ("sys/class/thermal/thermal_zone0/trip_point_1_temp", "50000\n"),
        ("sys/class/hwmon/hwmon0/name", "rp1_adc\n"),
        ("sys/class/hwmon/hwmon0/temp1_input", "44000\n"),
        ("sys/devices/platform/soc/soc:firmware/get_throttled", "0\n"),
    ];
    files.retain(|(path, _)| !more.iter().any(|(other, _)| path == other));
    files.extend(more);
    machine(&files)
}

fn advice_for(root: &Path, limits: Limits) -> Vec<String> {
    report(root, 4, limits).advice
}

#[track_caller]
fn assert_advises(root: &TempDir, what: &str) {
    let advice = advice_for(root.path(), Limits::default());
    assert!(advice.iter().any(|line| line.contains(what)), "no {what:?} in {advice:#?}");
}

#[test]
fn a_pi_is_known_and_has_nothing_to_improve() {
    let root = pi5(&[]);
    let report = report(root.path(), 4, Limits::default());
    let system = &report.system;
    assert_eq!(system.board.as_deref(), Some("Raspberry Pi 5 Model B Rev 1.0"));
    let [first, rest] = system.cores.as_slice() else { panic!("{:?}", system.cores) };
    assert_eq!(first.core.as_deref(), Some("Cortex-A76"));
    assert_eq!((first.cpus, first.max_mhz, first.mhz), (1, Some(2400.0), Some(1500.0)));
    assert_eq!((rest.cpus, rest.max_mhz), (3, None));
    let hottest = system.hottest().unwrap();
    assert_eq!(hottest.sensor, "cpu-thermal");
    assert_eq!((hottest.celsius, hottest.limit), (51.2, Some(110.0)));
    assert_eq!(system.temperatures.len(), 2);
    assert!(system.throttling.is_empty() && system.throttling_is_known);
    let memory = Memory {
        total: Some(8_000_000 << 10),
        available: Some(4_000_000 << 10),
        swapped: Some(400 << 10),
        waiting_percent: Some(0.12),
    };
    assert_eq!(system.memory, memory);
    let found = Match { name: "pi5".into(), by: MatchedBy::DeviceTree };
    assert_eq!(report.profile, Some(found));
    // Only where to go on from here, and the kernel set where this CPU has no better one.
    let advice = report.advice.iter().filter(|line| !line.contains("scalar"));
    assert_eq!(advice.count(), 1, "{:?}", report.advice);
}

#[test]
fn whatever_slows_a_machine_down_is_named() {
    let throttled = "sys/devices/platform/soc/soc:firmware/get_throttled";
    let root = pi5(&[(throttled, "50005\n")]);
    let system = System::read(root.path());
    let says = system.throttling.iter().map(String::as_str).collect::<Vec<_>>();
    let expected = [
        "the supply's voltage is too low now",
        "throttled now",
        "the supply's voltage was too low since the start",
        "throttled since the start",
    ];
    assert_eq!(says, expected);
    assert_advises(&root, "maker's supply");
    assert_advises(&root, "cool it better");

    let governor = "sys/devices/system/cpu/cpufreq/policy0/scaling_governor";
    assert_advises(&pi5(&[(governor, "powersave\n")]), "keeps the clock at its lowest");
    assert_advises(&pi5(&[(governor, "ondemand\n")]), "only under load");
    let driver = "sys/devices/system/cpu/cpufreq/policy0/scaling_driver";
    let pstate = pi5(&[(governor, "powersave\n"), (driver, "intel_pstate\n")]);
    assert_advises(&pstate, "only under load");

    let temp = "sys/class/thermal/thermal_zone0/temp";
    assert_advises(&pi5(&[(temp, "106000\n")]), "cpu-thermal is at 106 °C");
    let meminfo = "MemTotal: 8000000 kB\nMemAvailable: 700000 kB\n";
    assert_advises(&pi5(&[("proc/meminfo", meminfo)]), "of memory can be had");
    let pressure = "some avg10=9.00 avg60=7.50 avg300=1.00 total=1\n";
    assert_advises(&pi5(&[("proc/pressure/memory", pressure)]), "waited for memory 7.5 %");
    let cpus =
        [("sys/devices/system/cpu/present", "0-5\n"), ("sys/devices/system/cpu/online", "0-3\n")];
    assert_advises(&pi5(&cpus), "switched off: CPU 4, 5");

    let cooling = [
        ("sys/class/thermal/cooling_device0/type", "cpufreq-cpu0\n"),
        ("sys/class/thermal/cooling_device0/cur_state", "2\n"),
        ("sys/class/thermal/cooling_device1/type", "pwm-fan\n"),
        ("sys/class/thermal/cooling_device1/cur_state", "4\n"),
    ];
    assert_eq!(System::read(pi5(&cooling).path()).throttling, ["slowed down by temperature now"]);
    let counts = [
        ("sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count", "3\n"),
        ("sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count", "4\n"),
    ];
    let says = System::read(machine(&counts).path()).throttling;
    assert_eq!(says, ["slowed down by temperature 7 times since the start"]);
}

#[test]
fn measurements_are_held_against_the_profile() {
    let root = pi5(&[]);
    let with = |read, peak| {
        let limits =
            Limits { read_gbps: Some(read), int8_peak_gmacs: Some(peak), ..Limits::default() };
        advice_for(root.path(), limits).concat()
    };
    let good = with(11.0, 290.0);
    assert!(!good.contains("GB/s") && !good.contains("GMAC/s"), "{good}");
    let slow = with(5.1, 150.0);
    assert!(slow.contains("memory reads at 5.1 GB/s, where pi5 was seen to reach 12.4"), "{slow}");
    assert!(slow.contains("150 of 307 GMAC/s that pi5 has at 2400 MHz"), "{slow}");
}

#[test]
fn a_profile_is_found_by_cores_where_the_name_says_nothing() {
    let root = machine(&[("proc/cpuinfo", &arm(&["0xd42"; 6]))]);
    let report = report(root.path(), 6, Limits::default());
    let found = report.profile.unwrap();
    assert_eq!((found.name.as_str(), found.by), ("jetson-orin-nano", MatchedBy::Cores));
    assert!(report.advice.concat().contains("nvpmodel"), "{:?}", report.advice);
    // A board with the same large cores and others besides is another board.
    let mixed = arm(&["0xd05", "0xd05", "0xd05", "0xd05", "0xd0b", "0xd0b", "0xd0b", "0xd0b"]);
    let root = machine(&[("proc/cpuinfo", &mixed)]);
    let report = super::report(root.path(), 8, Limits::default());
    assert_eq!(report.profile, None);
    assert_eq!(report.system.cores.len(), 2);
}

/// Nothing there, or nothing that makes sense, is unknown and no failure.
#[test]
fn empty_and_broken_machines_are_unknown() {
    let broken = pi5(&[
        ("proc/cpuinfo", "processor: x\nCPU part: 0xzz\nCPU implementer\n:::\n\u{1}"),
        ("proc/device-tree/model", "\0\0"),
        ("proc/meminfo", "MemTotal: lots kB\nMemAvailable: 99999999999999999999 kB\n"),
        ("proc/pressure/memory", "some avg60=soon\n"),
        ("sys/class/thermal/thermal_zone0/temp", "-274000\n"),
        ("sys/class/hwmon/hwmon0/temp1_input", "inf\n"),
        ("sys/devices/platform/soc/soc:firmware/get_throttled", "maybe\n"),
        ("sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq", "fast\n"),
        ("sys/devices/system/cpu/cpufreq/policy0/scaling_governor", "\n"),
    ]);
    for root in [machine(&[]), broken] {
        let report = report(root.path(), 1, Limits::default());
        let system = report.system;
        assert_eq!((system.cpu, system.board), (None, None));
        assert!(system.cores.is_empty() && system.governors.is_empty());
        assert!(system.temperatures.is_empty(), "{:?}", system.temperatures);
        assert!(system.throttling.is_empty() && !system.throttling_is_known);
        assert_eq!(system.memory, Memory::default());
        assert_eq!(report.profile, None);
    }
}
