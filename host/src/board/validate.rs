//! What no board can be: figures that are impossible by themselves or beside others.

use super::figure::Figure;
use super::profile::{Cluster, Memory, Mode, Os, Processor, Profile};

/// Returns what is impossible in a profile, and under which key, or `Ok` if nothing is.
pub(super) fn validate(profile: &Profile) -> Result<(), String> {
    let name = &profile.name;
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || !name.chars().all(is_plain) {
        return Err(format!("name: \"{name}\" is no name; use small letters, digits and -"));
    }
    memory(&profile.memory, profile.os)?;
    for (i, cluster) in profile.clusters.iter().enumerate() {
        self::cluster(cluster).map_err(|what| format!("cluster {}: {what}", i + 1))?;
    }
    if profile.processors.is_empty() {
        return Err("processor: there is none; add a [[processor]] named \"cpu\"".into());
    }
    for (i, processor) in profile.processors.iter().enumerate() {
        let name = &processor.name;
        if profile.processors.iter().take(i).any(|other| other.name == *name) {
            return Err(format!("processor: two are named \"{name}\"; rename one"));
        }
        self::processor(processor, &profile.clusters)
            .map_err(|what| format!("processor \"{name}\": {what}"))?;
    }
    for (i, mode) in profile.modes.iter().enumerate() {
        let name = &mode.name;
        if profile.modes.iter().take(i).any(|other| other.name == *name) {
            return Err(format!("mode: two are named \"{name}\"; rename one"));
        }
        self::mode(mode, profile).map_err(|what| format!("mode \"{name}\": {what}"))?;
    }
    Ok(())
}

fn memory(memory: &Memory, os: Os) -> Result<(), String> {
    if let Some(totals) = memory.total.value() {
        let Some(least) = totals.first() else {
            return Err("memory.total: no size is given; give one or more".into());
        };
        if least.0 == 0 || totals.windows(2).any(|pair| matches!(pair, [a, b] if a >= b)) {
            return Err("memory.total: sizes are to be above 0 and ascending; sort them".into());
        }
        if let Some(reserved) = memory.reserved.value()
            && reserved >= least
        {
            return Err(format!(
                "memory.reserved: {reserved} leave nothing of the smallest total, {least}; correct \
                 one of them"
            ));
        }
    }
    match (&memory.flash, &memory.flash_reserved) {
        (None, None) if os != Os::None => {}
        (Some(flash), Some(reserved)) if os == Os::None => {
            if let (Some(flash), Some(reserved)) = (flash.value(), reserved.value())
                && reserved >= flash
            {
                return Err(format!(
                    "memory.flash_reserved: {reserved} leave nothing of memory.flash, {flash}; \
                     correct one of them"
                ));
            }
        }
        _ => {
            return Err("memory.flash and memory.flash_reserved: both belong to boards with os = \
                 \"none\", and to no other; add or remove them"
                .into());
        }
    }
    in_range("memory.theoretical_gbps", &memory.theoretical_gbps, 1e-6, 1e5)?;
    in_range("memory.measured_gbps", &memory.measured_gbps, 1e-6, 1e5)?;
    measured_at_most(&memory.measured_gbps, &memory.theoretical_gbps)
}

/// Nothing reads faster than the memory's clock and width allow.
fn measured_at_most(measured: &Figure<f64>, theoretical: &Figure<f64>) -> Result<(), String> {
    match (measured.value(), theoretical.value()) {
        (Some(measured), Some(theoretical)) if measured > theoretical => Err(format!(
            "measured_gbps: {measured} is more than theoretical_gbps, {theoretical}; correct one \
             of them"
        )),
        _ => Ok(()),
    }
}

fn cluster(cluster: &Cluster) -> Result<(), String> {
    if !(1..=1024).contains(&cluster.cores) {
        return Err(format!("cores: {} is not from 1 to 1024; correct it", cluster.cores));
    }
    in_range("mhz", &cluster.mhz, 1.0, 1e4)?;
    in_range("int8_macs_per_cycle", &cluster.int8_macs_per_cycle, 1e-3, 1e4)?;
    match &cluster.instructions_per_cycle {
        Some(most) => in_range("instructions_per_cycle", most, 1.0, 64.0),
        None => Ok(()),
    }
}

fn processor(processor: &Processor, clusters: &[Cluster]) -> Result<(), String> {
    if processor.peak_gmacs.is_none() && !clusters.iter().any(|cluster| cluster.used) {
        return Err("peak_gmacs: missing, and there is no cluster in use that it could follow \
             from; add \"unknown\", a figure, or a [[cluster]]"
            .into());
    }
    share("reach", &processor.reach)?;
    share("prompt_reach", &processor.prompt_reach)?;
    if let Some(peak) = &processor.peak_gmacs {
        in_range("peak_gmacs", peak, 1e-6, 1e9)?;
    }
    match processor.instructions_per_mac.as_ref().and_then(Figure::value) {
        Some([few, many]) if !(*few >= 1e-3 && few <= many && *many <= 1e3) => {
            return Err(format!(
                "instructions_per_mac: [{few}, {many}] are not two numbers from 0.001 to 1000, the \
                 smaller first; correct them"
            ));
        }
        _ => {}
    }
    match &processor.us_per_layer {
        Some(cost) => in_range("us_per_layer", cost, 0.0, 1e6),
        None => Ok(()),
    }
}

fn mode(mode: &Mode, profile: &Profile) -> Result<(), String> {
    in_range("watts", &mode.watts, 1e-3, 1e5)?;
    let theoretical = mode.theoretical_gbps.as_ref().unwrap_or(&profile.memory.theoretical_gbps);
    in_range("theoretical_gbps", theoretical, 1e-6, 1e5)?;
    if let Some(measured) = &mode.measured_gbps {
        in_range("measured_gbps", measured, 1e-6, 1e5)?;
    }
    measured_at_most(mode.measured_gbps.as_ref().unwrap_or(&Figure::Unknown), theoretical)?;
    if let Some(mhz) = mode.mhz.as_ref().and_then(Figure::value) {
        let n_clusters = profile.clusters.len();
        if mhz.len() != n_clusters {
            return Err(format!(
                "mhz: {} clocks for {n_clusters} clusters; give one for each, in their order",
                mhz.len()
            ));
        }
        if let Some(bad) = mhz.iter().find(|mhz| !(1.0..=1e4).contains(*mhz)) {
            return Err(format!("mhz: {bad} is not from 1 to 10000; correct it"));
        }
    }
    match &mode.peak_gmacs {
        Some(peak) => in_range("peak_gmacs", peak, 1e-6, 1e9),
        None => Ok(()),
    }
}

/// A share is from above nothing to all, and its low end is not above its high one.
fn share(key: &str, figure: &Figure<[f64; 2]>) -> Result<(), String> {
    match figure.value() {
        Some([low, high]) if !(*low > 0.0 && low <= high && *high <= 1.0) => Err(format!(
            "{key}: [{low}, {high}] is no share; give two numbers above 0 and up to 1, the \
             smaller first"
        )),
        _ => Ok(()),
    }
}

fn in_range(key: &str, figure: &Figure<f64>, least: f64, most: f64) -> Result<(), String> {
    match figure.value() {
        // Also refuses what is no number.
        Some(value) if !(least..=most).contains(value) => {
            Err(format!("{key}: {value} is not from {least} to {most}; correct it"))
        }
        _ => Ok(()),
    }
}
