//! A board's profile: what is known of its processors, memory and power modes.
//! `boards/profiles/README.md` describes the file.

use serde::{Deserialize, Serialize};

use super::figure::{Figure, Size};

/// What is known of a board.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// What it is called on the command line.
    pub name: String,
    /// What it is called by people.
    pub title: String,
    /// What runs on it.
    pub os: Os,
    /// The compiler's target.
    pub target: Option<String>,
    /// The CPU that QEMU plays it with.
    pub qemu_cpu: Option<String>,
    /// The machine that QEMU plays it with, where it is a whole one.
    pub qemu_machine: Option<String>,
    /// How the names that device trees give such boards begin.
    #[serde(default)]
    pub device_tree: Vec<String>,
    /// Its memory.
    pub memory: Memory,
    /// Its CPU cores, the fastest first.
    #[serde(default, rename = "cluster")]
    pub clusters: Vec<Cluster>,
    /// What can run a model on it, the CPU first.
    #[serde(rename = "processor")]
    pub processors: Vec<Processor>,
    /// Its power modes, the one that it comes with first.
    #[serde(default, rename = "mode")]
    pub modes: Vec<Mode>,
}

/// What runs on a board.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "they are names")]
pub enum Os {
    Linux,
    Android,
    Ios,
    Macos,
    /// Firmware: weights are in flash, and working memory is static.
    None,
}

/// A board's memory.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// Sizes that it is sold with, ascending.
    pub total: Figure<Vec<Size>>,
    /// What the system and everything else keep of it.
    pub reserved: Figure<Size>,
    /// Firmware: flash that weights are read from, sizes ascending.
    pub flash: Option<Figure<Size>>,
    /// Firmware: what the program keeps of the flash.
    pub flash_reserved: Option<Figure<Size>>,
    /// What the clock and width of the memory that holds the weights allow, in 10⁹ bytes a second.
    pub theoretical_gbps: Figure<f64>,
    /// What a program was seen to read, in 10⁹ bytes a second.
    pub measured_gbps: Figure<f64>,
    /// What the caches hold that one of the fastest cores reads through.
    pub caches: Option<Figure<Size>>,
}

/// Cores of one kind.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// How many.
    pub cores: u32,
    /// What the maker calls one.
    pub core: String,
    /// Instructions that kernels use.
    pub features: Vec<Feature>,
    /// Clock, in MHz.
    pub mhz: Figure<f64>,
    /// Multiplications with addition of 8-bit integers that a core does in a cycle at most.
    pub int8_macs_per_cycle: Figure<f64>,
    /// Instructions that a core decodes in a cycle at most.
    pub instructions_per_cycle: Option<Figure<f64>>,
    /// Whether models are run on it: a much slower core holds up the others.
    #[serde(default = "yes")]
    pub used: bool,
}

fn yes() -> bool {
    true
}

/// Instructions that kernels use, as the compiler or the architecture's manual calls them.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "they are names")]
pub enum Feature {
    Neon,
    Fp16,
    Dotprod,
    I8mm,
    Sve2,
    Avx2,
    Avx512vnni,
    Dsp,
    Fpu,
    M,
    A,
    F,
    D,
    C,
}

/// What can run a model.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Processor {
    /// `cpu`, or what else it is called.
    pub name: String,
    /// Whether Bantam runs there.
    pub runs_bantam: bool,
    /// What engines reach of the theoretical bandwidth when they generate: from, to.
    pub reach: Figure<[f64; 2]>,
    /// What engines reach of the int8 peak when they read a prompt: from, to.
    pub prompt_reach: Figure<[f64; 2]>,
    /// An accelerator's int8 peak, in 10⁹ multiplications with addition a second; a CPU's follows
    /// from its clusters.
    pub peak_gmacs: Option<Figure<f64>>,
    /// What each layer of a token costs besides what is read, in microseconds.
    pub us_per_layer: Option<Figure<f64>>,
    /// Bantam's instructions of a generated token of a small model, of all kinds, for each of its
    /// multiplications with addition: from, to.
    pub instructions_per_mac: Option<Figure<[f64; 2]>>,
}

/// A power mode, and what is different in it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mode {
    /// What it is called.
    pub name: String,
    /// Power, in watts.
    pub watts: Figure<f64>,
    /// Replaces the memory's, if given.
    pub theoretical_gbps: Option<Figure<f64>>,
    /// Replaces the memory's, if given.
    pub measured_gbps: Option<Figure<f64>>,
    /// Replaces the clusters', in their order, if given.
    pub mhz: Option<Figure<Vec<f64>>>,
    /// Replaces the accelerator's, if given.
    pub peak_gmacs: Option<Figure<f64>>,
}

impl Profile {
    /// Returns the profile of the board in the power mode of this name, or `None` if it has none
    /// such.
    pub fn in_mode(&self, name: &str) -> Option<Self> {
        let mode = self.modes.iter().find(|mode| mode.name == name)?;
        let mut profile = self.clone();
        if let Some(bandwidth) = &mode.theoretical_gbps {
            profile.memory.theoretical_gbps = bandwidth.clone();
        }
        if let Some(bandwidth) = &mode.measured_gbps {
            profile.memory.measured_gbps = bandwidth.clone();
        }
        match &mode.mhz {
            None => {}
            Some(Figure::Unknown) => {
                profile.clusters.iter_mut().for_each(|cluster| cluster.mhz = Figure::Unknown);
            }
            Some(Figure::Known { value, source }) => {
                for (cluster, &value) in profile.clusters.iter_mut().zip(value) {
                    cluster.mhz = Figure::Known { value, source: source.clone() };
                }
            }
        }
        if let Some(peak) = &mode.peak_gmacs {
            let accelerators = profile.processors.iter_mut().filter(|p| p.peak_gmacs.is_some());
            accelerators.for_each(|accelerator| accelerator.peak_gmacs = Some(peak.clone()));
        }
        Some(profile)
    }

    /// Returns the peak of a processor in 10⁹ multiplications with addition of 8-bit integers a
    /// second, if what it follows from is known.
    pub fn peak_gmacs(&self, processor: &Processor) -> Option<f64> {
        if let Some(peak) = &processor.peak_gmacs {
            return peak.value().copied();
        }
        let used = self.clusters.iter().filter(|cluster| cluster.used);
        used.map(|cluster| {
            let per_second = cluster.mhz.value()? * cluster.int8_macs_per_cycle.value()?;
            Some(f64::from(cluster.cores) * per_second / 1e3)
        })
        .sum::<Option<f64>>()
        .filter(|&peak| peak > 0.0)
    }

    /// Returns how much of each size of memory models can have, or nothing if that is unknown.
    pub fn usable(&self) -> Vec<(Size, Size)> {
        let (Some(totals), Some(reserved)) =
            (self.memory.total.value(), self.memory.reserved.value())
        else {
            return Vec::new();
        };
        let usable = |&total: &Size| (total, Size(total.0.saturating_sub(reserved.0)));
        totals.iter().map(usable).collect()
    }
}
