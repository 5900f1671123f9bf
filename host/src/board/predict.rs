//! How fast a model can be expected to be on a board.
//!
//! A generated token reads every weight once, so its time is
//! `bytes / (reach · bandwidth) + layers · cost of a layer`, and never less than its
//! multiplications take at the int8 peak. A token of a prompt shares that reading with its batch
//! and is bound by `multiplications / (reach · peak)`. Reaches are what engines were seen to
//! reach on that processor; where none was seen, only the bound is given.
//!
//! A model that the caches hold is not read from memory for each token. Its tokens are so short
//! that all their instructions count, which emulation tells, and how many of them a core does in a
//! cycle: from about one, as LLVM's models of cores estimate these loops, to what it decodes at
//! most. That is for one core. Others share the work, but wait for each other some dozens of times
//! in a token, for as long as no profile knows.

use serde::Serialize;

use super::profile::{Processor, Profile};

/// Tokens of a prompt that are worked on together.
pub const PROMPT_BATCH: f64 = 512.0;

/// What a token costs on any board.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Work {
    /// Bytes read for a generated token, of weights, keys and values.
    pub read_bytes: f64,
    /// Multiplications with addition of a token of a prompt.
    pub prompt_macs: f64,
    /// Those of a generated token: the output head's too.
    pub generation_macs: f64,
    /// Layers.
    pub n_layer: usize,
    /// Whether weights are floats, which the int8 peak says nothing about.
    pub is_float: bool,
}

/// Tokens a second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Speed {
    /// The slow end of what to expect; missing where no engine was seen to reach anything.
    pub low: Option<f64>,
    /// The fast end of what to expect; where `low` is missing, what cannot be exceeded.
    pub high: f64,
    /// What the fast end is bound by.
    pub limit: Limit,
}

/// What binds a speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Limit {
    /// Bytes a second.
    Bandwidth,
    /// Multiplications a second.
    Compute,
    /// What each layer costs besides.
    Layers,
    /// Instructions of one core: the caches hold the model.
    Instructions,
    /// It does not fit.
    Memory,
}

impl Limit {
    /// Returns its name, as in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Limit::Bandwidth => "bandwidth",
            Limit::Compute => "compute",
            Limit::Layers => "layers",
            Limit::Instructions => "instructions",
            Limit::Memory => "memory",
        }
    }
}

impl Speed {
    /// Returns the middle of what to expect, or `None` if there is only a bound.
    pub fn middle(&self) -> Option<f64> {
        self.low.map(|low| (low + self.high) / 2.0)
    }
}

/// Returns the speed of generation, or `None` if the bandwidth is unknown.
pub fn generation(profile: &Profile, processor: &Processor, work: &Work) -> Option<Speed> {
    from_caches(profile, processor, work).or_else(|| from_memory(profile, processor, work))
}

/// The speed of one core, of a model that its caches hold and whose instructions are known.
fn from_caches(profile: &Profile, processor: &Processor, work: &Work) -> Option<Speed> {
    let caches = profile.memory.caches.as_ref()?.value()?;
    if work.is_float || work.read_bytes > caches.0 as f64 {
        return None;
    }
    let &[few, many] = processor.instructions_per_mac.as_ref()?.value()?;
    let core = profile.clusters.iter().find(|cluster| cluster.used)?;
    let hz = core.mhz.value()? * 1e6;
    let most_per_cycle = *core.instructions_per_cycle.as_ref()?.value()?;
    let at = |per_cycle: f64, per_mac: f64| hz * per_cycle / (per_mac * work.generation_macs);
    let (low, high) = (at(1.0, many), at(most_per_cycle, few));
    Some(Speed { low: Some(low), high, limit: Limit::Instructions })
}

fn from_memory(profile: &Profile, processor: &Processor, work: &Work) -> Option<Speed> {
    let bandwidth = profile.memory.theoretical_gbps.value()? * 1e9;
    let peak = profile.peak_gmacs(processor).filter(|_| !work.is_float);
    let compute = peak.map_or(0.0, |peak| work.prompt_macs / (peak * 1e9));
    let layers = us_per_layer(processor) * 1e-6 * work.n_layer as f64;
    let at = |reach: f64| {
        let reading = work.read_bytes / (reach * bandwidth);
        let limit = match reading.max(compute) {
            bound if layers > bound => Limit::Layers,
            _ if compute > reading => Limit::Compute,
            _ => Limit::Bandwidth,
        };
        (1.0 / (reading.max(compute) + layers), limit)
    };
    Some(over(processor.reach.value(), at))
}

/// Returns the speed of reading a prompt, or `None` if the peak is unknown or says nothing about
/// such weights.
pub fn prompt(profile: &Profile, processor: &Processor, work: &Work) -> Option<Speed> {
    let peak = profile.peak_gmacs(processor).filter(|_| !work.is_float)? * 1e9;
    let bandwidth = profile.memory.theoretical_gbps.value().map(|gbps| gbps * 1e9);
    let reading = bandwidth.map_or(0.0, |bandwidth| work.read_bytes / bandwidth / PROMPT_BATCH);
    let at = |reach: f64| {
        let compute = work.prompt_macs / (reach * peak);
        let limit = if reading > compute { Limit::Bandwidth } else { Limit::Compute };
        (1.0 / compute.max(reading), limit)
    };
    Some(over(processor.prompt_reach.value(), at))
}

/// Returns what nothing can exceed: every byte at the theoretical bandwidth, and nothing else to
/// do.
pub fn ceiling(profile: &Profile, work: &Work) -> Option<f64> {
    Some(profile.memory.theoretical_gbps.value()? * 1e9 / work.read_bytes)
}

fn us_per_layer(processor: &Processor) -> f64 {
    processor.us_per_layer.as_ref().and_then(|cost| cost.value()).copied().unwrap_or(0.0)
}

/// The speeds at both ends of a range of reaches, or the bound where there is none.
fn over(reach: Option<&[f64; 2]>, at: impl Fn(f64) -> (f64, Limit)) -> Speed {
    match reach {
        Some(&[low, high]) => {
            let (high, limit) = at(high);
            Speed { low: Some(at(low).0), high, limit }
        }
        None => {
            let (high, limit) = at(1.0);
            Speed { low: None, high, limit }
        }
    }
}
