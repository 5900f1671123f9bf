//! What this machine can do at most: 8-bit products per second, and bytes read per second.
//!
//! Both are measured in the sitting that they are compared with, since neither is a constant: a
//! clock goes up and down, and a rented machine shares its memory with strangers.
//!
//! `cargo xtask bench` compiles this file too, so it names nothing else of this crate.

use std::fmt;
use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// A machine that computes wrongly, or a measurement that cannot be made.
#[derive(Debug)]
pub(crate) struct Fault(String);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Fault {}

/// The instruction whose rate is the peak: of those that a kernel set may use, the one that
/// multiplies most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Instruction {
    /// AVX-512 VNNI: 64 products added into 16 sums.
    #[cfg(target_arch = "x86_64")]
    VpdpbusdZmm,
    /// AVX2: 32 products added in pairs, then added to 16-bit sums.
    #[cfg(target_arch = "x86_64")]
    VpmaddubswYmm,
    /// Arm i8mm: two rows times two columns of eight.
    #[cfg(target_arch = "aarch64")]
    Smmla,
    /// Arm dotprod: 16 products added into four sums.
    #[cfg(target_arch = "aarch64")]
    Sdot,
    /// Arm NEON: eight products added to 16-bit sums.
    #[cfg(target_arch = "aarch64")]
    Smlal,
}

impl Instruction {
    /// The instruction for the kernel set of this name; for the scalar set, whose limit it is not,
    /// the best that this CPU has. `None` where no probe is written.
    pub(crate) fn for_kernels(kernels: &str) -> Option<Self> {
        let all = Self::available();
        let limit = match kernels {
            #[cfg(target_arch = "x86_64")]
            "x86_64/avx2" => Some(Instruction::VpmaddubswYmm),
            #[cfg(target_arch = "aarch64")]
            "aarch64/i8mm" => Some(Instruction::Smmla),
            #[cfg(target_arch = "aarch64")]
            "aarch64/dotprod" => Some(Instruction::Sdot),
            #[cfg(target_arch = "aarch64")]
            "aarch64/neon" => Some(Instruction::Smlal),
            _ => None,
        };
        match limit {
            Some(limit) => all.into_iter().find(|&instruction| instruction == limit),
            None => all.first().copied(),
        }
    }

    /// Those that this CPU has, the widest first.
    fn available() -> Vec<Self> {
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512vnni") && is_x86_feature_detected!("avx512bw") {
                all.push(Instruction::VpdpbusdZmm);
            }
            if is_x86_feature_detected!("avx2") {
                all.push(Instruction::VpmaddubswYmm);
            }
        }
        #[cfg(target_arch = "aarch64")]
        {
            use std::arch::is_aarch64_feature_detected;
            if is_aarch64_feature_detected!("i8mm") {
                all.push(Instruction::Smmla);
            }
            if is_aarch64_feature_detected!("dotprod") {
                all.push(Instruction::Sdot);
            }
            all.push(Instruction::Smlal);
        }
        all
    }

    /// Its name in tables and records.
    pub(crate) fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Instruction::VpdpbusdZmm => "vpdpbusd zmm",
            #[cfg(target_arch = "x86_64")]
            Instruction::VpmaddubswYmm => "vpmaddubsw ymm",
            #[cfg(target_arch = "aarch64")]
            Instruction::Smmla => "smmla",
            #[cfg(target_arch = "aarch64")]
            Instruction::Sdot => "sdot",
            #[cfg(target_arch = "aarch64")]
            Instruction::Smlal => "smlal",
        }
    }

    /// Multiply-accumulates of one, the products it adds to one sum, and the bits of that sum.
    fn work(self) -> (u64, u64, u32) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Instruction::VpdpbusdZmm => (64, 4, 32),
            #[cfg(target_arch = "x86_64")]
            Instruction::VpmaddubswYmm => (32, 2, 16),
            #[cfg(target_arch = "aarch64")]
            Instruction::Smmla => (32, 8, 32),
            #[cfg(target_arch = "aarch64")]
            Instruction::Sdot => (16, 4, 32),
            #[cfg(target_arch = "aarch64")]
            Instruction::Smlal => (8, 1, 16),
        }
    }

    /// Runs `n` rounds of twelve independent chains on ones; returns one of the sums.
    fn chains(self, n: u64) -> u32 {
        // SAFETY: a value exists only where `available` has found the CPU feature.
        unsafe {
            match self {
                #[cfg(target_arch = "x86_64")]
                Instruction::VpdpbusdZmm => chains::vpdpbusd_zmm(n),
                #[cfg(target_arch = "x86_64")]
                Instruction::VpmaddubswYmm => chains::vpmaddubsw_ymm(n),
                #[cfg(target_arch = "aarch64")]
                Instruction::Smmla => chains::smmla(n),
                #[cfg(target_arch = "aarch64")]
                Instruction::Sdot => chains::sdot(n),
                #[cfg(target_arch = "aarch64")]
                Instruction::Smlal => chains::smlal(n),
            }
        }
    }
}

/// Chains in each round: more than the pipes times the latency of any CPU at hand.
const CHAINS: u64 = 12;

#[cfg(target_arch = "x86_64")]
mod chains {
    use std::arch::asm;

    /// # Safety
    /// The CPU has AVX-512 BW and VNNI; `n` is not 0.
    #[target_feature(enable = "avx512bw,avx512vnni")]
    pub(super) unsafe fn vpdpbusd_zmm(n: u64) -> u32 {
        let sum: u32;
        // SAFETY: registers only, all of them named; the loop ends as `n` counts down.
        unsafe {
            asm!(
                "vpbroadcastb zmm16, {one:e}",
                "vpxord zmm0, zmm0, zmm0", "vpxord zmm1, zmm1, zmm1",
                "vpxord zmm2, zmm2, zmm2", "vpxord zmm3, zmm3, zmm3",
                "vpxord zmm4, zmm4, zmm4", "vpxord zmm5, zmm5, zmm5",
                "vpxord zmm6, zmm6, zmm6", "vpxord zmm7, zmm7, zmm7",
                "vpxord zmm8, zmm8, zmm8", "vpxord zmm9, zmm9, zmm9",
                "vpxord zmm10, zmm10, zmm10", "vpxord zmm11, zmm11, zmm11",
                "2:",
                "vpdpbusd zmm0, zmm16, zmm16", "vpdpbusd zmm1, zmm16, zmm16",
                "vpdpbusd zmm2, zmm16, zmm16", "vpdpbusd zmm3, zmm16, zmm16",
                "vpdpbusd zmm4, zmm16, zmm16", "vpdpbusd zmm5, zmm16, zmm16",
                "vpdpbusd zmm6, zmm16, zmm16", "vpdpbusd zmm7, zmm16, zmm16",
                "vpdpbusd zmm8, zmm16, zmm16", "vpdpbusd zmm9, zmm16, zmm16",
                "vpdpbusd zmm10, zmm16, zmm16", "vpdpbusd zmm11, zmm16, zmm16",
                "dec {n}",
                "jnz 2b",
                "vmovd {sum:e}, xmm11",
                one = in(reg) 1u32, n = inout(reg) n => _, sum = out(reg) sum,
                out("zmm0") _, out("zmm1") _, out("zmm2") _, out("zmm3") _,
                out("zmm4") _, out("zmm5") _, out("zmm6") _, out("zmm7") _,
                out("zmm8") _, out("zmm9") _, out("zmm10") _, out("zmm11") _, out("zmm16") _,
                options(nomem, nostack),
            );
        }
        sum
    }

    /// # Safety
    /// The CPU has AVX2; `n` is not 0.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn vpmaddubsw_ymm(n: u64) -> u32 {
        let sum: u32;
        // SAFETY: registers only, all of them named; the loop ends as `n` counts down.
        unsafe {
            asm!(
                "vmovd xmm12, {one:e}",
                "vpbroadcastb ymm12, xmm12",
                "vpxor xmm0, xmm0, xmm0", "vpxor xmm1, xmm1, xmm1", "vpxor xmm2, xmm2, xmm2",
                "vpxor xmm3, xmm3, xmm3", "vpxor xmm4, xmm4, xmm4", "vpxor xmm5, xmm5, xmm5",
                "vpxor xmm6, xmm6, xmm6", "vpxor xmm7, xmm7, xmm7", "vpxor xmm8, xmm8, xmm8",
                "vpxor xmm9, xmm9, xmm9", "vpxor xmm10, xmm10, xmm10",
                "vpxor xmm11, xmm11, xmm11",
                "2:",
                "vpmaddubsw ymm13, ymm12, ymm12", "vpaddw ymm0, ymm0, ymm13",
                "vpmaddubsw ymm14, ymm12, ymm12", "vpaddw ymm1, ymm1, ymm14",
                "vpmaddubsw ymm15, ymm12, ymm12", "vpaddw ymm2, ymm2, ymm15",
                "vpmaddubsw ymm13, ymm12, ymm12", "vpaddw ymm3, ymm3, ymm13",
                "vpmaddubsw ymm14, ymm12, ymm12", "vpaddw ymm4, ymm4, ymm14",
                "vpmaddubsw ymm15, ymm12, ymm12", "vpaddw ymm5, ymm5, ymm15",
                "vpmaddubsw ymm13, ymm12, ymm12", "vpaddw ymm6, ymm6, ymm13",
                "vpmaddubsw ymm14, ymm12, ymm12", "vpaddw ymm7, ymm7, ymm14",
                "vpmaddubsw ymm15, ymm12, ymm12", "vpaddw ymm8, ymm8, ymm15",
                "vpmaddubsw ymm13, ymm12, ymm12", "vpaddw ymm9, ymm9, ymm13",
                "vpmaddubsw ymm14, ymm12, ymm12", "vpaddw ymm10, ymm10, ymm14",
                "vpmaddubsw ymm15, ymm12, ymm12", "vpaddw ymm11, ymm11, ymm15",
                "dec {n}",
                "jnz 2b",
                "vmovd {sum:e}, xmm11",
                one = in(reg) 1u32, n = inout(reg) n => _, sum = out(reg) sum,
                out("ymm0") _, out("ymm1") _, out("ymm2") _, out("ymm3") _,
                out("ymm4") _, out("ymm5") _, out("ymm6") _, out("ymm7") _,
                out("ymm8") _, out("ymm9") _, out("ymm10") _, out("ymm11") _,
                out("ymm12") _, out("ymm13") _, out("ymm14") _, out("ymm15") _,
                options(nomem, nostack),
            );
        }
        sum
    }
}

#[cfg(target_arch = "aarch64")]
mod chains {
    use std::arch::asm;

    /// A function of twelve chains of one instruction, whose operands are written `{acc}, a, b`.
    macro_rules! twelve {
        ($name:ident, $feature:literal, $op:literal, $acc:literal, $arg:literal) => {
            /// # Safety
            #[doc = concat!("The CPU has ", $feature, "; `n` is not 0.")]
            #[target_feature(enable = $feature)]
            pub(super) unsafe fn $name(n: u64) -> u32 {
                let sum: u32;
                // SAFETY: registers only, all of them named; the loop ends as `n` counts down.
                unsafe {
                    asm!(
                        "movi v16.16b, #1",
                        "movi v0.16b, #0", "movi v1.16b, #0", "movi v2.16b, #0",
                        "movi v3.16b, #0", "movi v4.16b, #0", "movi v5.16b, #0",
                        "movi v6.16b, #0", "movi v7.16b, #0", "movi v8.16b, #0",
                        "movi v9.16b, #0", "movi v10.16b, #0", "movi v11.16b, #0",
                        "2:",
                        concat!($op, " v0", $acc, ", v16", $arg, ", v16", $arg),
                        concat!($op, " v1", $acc, ", v16", $arg, ", v16", $arg),
                        concat!($op, " v2", $acc, ", v16", $arg, ", v16", $arg),
                        concat!($op, " v3", $acc, ", v16", $arg, ", v16", $arg),
                        concat!($op, " v4", $acc, ", v16", $arg, ", v16", $arg),
                        concat!($op, " v5", $acc, ", v16", $arg, ", v16", $arg),
                        concat!($op, " v6", $acc, ", v16", $arg, ", v16", $arg),
                        concat!($op, " v7", $acc, ", v16", $arg, ", v16", $arg),
                        concat!($op, " v8", $acc, ", v16", $arg, ", v16", $arg),
                        concat!($op, " v9", $acc, ", v16", $arg, ", v16", $arg),
                        concat!($op, " v10", $acc, ", v16", $arg, ", v16", $arg),
                        concat!($op, " v11", $acc, ", v16", $arg, ", v16", $arg),
                        "subs {n}, {n}, #1",
                        "b.ne 2b",
                        "umov {sum:w}, v11.s[0]",
                        n = inout(reg) n => _, sum = out(reg) sum,
                        out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _,
                        out("v5") _, out("v6") _, out("v7") _, out("v8") _, out("v9") _,
                        out("v10") _, out("v11") _, out("v16") _,
                        options(nomem, nostack),
                    );
                }
                sum
            }
        };
    }
    twelve!(smmla, "i8mm", "smmla", ".4s", ".16b");
    twelve!(sdot, "dotprod", "sdot", ".4s", ".16b");
    twelve!(smlal, "neon", "smlal", ".8h", ".8b");
}

/// Multiply-accumulates per second of `threads` threads that do nothing else for so long.
///
/// # Errors
/// When the sums come out wrong, which no speed would excuse.
pub(crate) fn int8_peak(
    instruction: Instruction,
    threads: usize,
    time: Duration,
) -> Result<f64, Fault> {
    const ROUNDS: u64 = 100_000;
    let (macs, per_sum, bits) = instruction.work();
    let expected = (ROUNDS * per_sum) & ((1 << bits) - 1);
    let rates = on_threads(threads, |_| {
        let start = Instant::now();
        let mut n = 0;
        loop {
            let sum = u64::from(instruction.chains(black_box(ROUNDS)));
            if sum & ((1 << bits) - 1) != expected {
                return Err(Fault(format!(
                    "{}: ones add up to {sum}, not {expected}; this CPU is broken",
                    instruction.name()
                )));
            }
            n += ROUNDS;
            if start.elapsed() >= time {
                return Ok((n * CHAINS * macs) as f64 / start.elapsed().as_secs_f64());
            }
        }
    });
    rates.into_iter().sum()
}

/// Memory to read from, several times larger than the last cache.
pub(crate) struct Memory(Vec<u64>);

impl Memory {
    /// Bytes of it: eight times the last cache, 256 MiB at least and 1 GiB at most.
    pub(crate) fn bytes() -> usize {
        (8 * last_cache()).clamp(256 << 20, 1 << 30)
    }

    /// Takes and fills it.
    pub(crate) fn new() -> Self {
        Memory((0..Self::bytes() / 8).map(|i| i as u64).collect())
    }

    /// Bytes per second that `threads` threads read for so long, each from a part of its own.
    ///
    /// # Errors
    /// When what is read does not add up to what was written.
    pub(crate) fn read_bandwidth(&self, threads: usize, time: Duration) -> Result<f64, Fault> {
        let part = self.0.len() / threads.max(1) / UNIT * UNIT;
        if part == 0 {
            return Err(Fault(format!("{threads} threads are too many to measure")));
        }
        let rates = on_threads(threads, |thread| {
            let first = thread * part;
            let mine = &self.0[first..first + part];
            // The numbers first..first + part, added up.
            let (n, first) = (part as u64, first as u64);
            let expected = (n * first).wrapping_add(n * (n - 1) / 2);
            let start = Instant::now();
            let mut bytes = 0;
            loop {
                if sum(black_box(mine)) != expected {
                    return Err(Fault(
                        "memory does not hold what was written; it is broken".into(),
                    ));
                }
                bytes += size_of_val(mine);
                if start.elapsed() >= time {
                    return Ok(bytes as f64 / start.elapsed().as_secs_f64());
                }
            }
        });
        rates.into_iter().sum()
    }
}

/// Numbers of a stream that are read at once: four cache lines.
const UNIT: usize = 32;

/// The sum of all numbers, with the widest loads that this CPU has.
fn sum(numbers: &[u64]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f")]
        fn avx512(numbers: &[u64]) -> u64 {
            sum_with(numbers)
        }
        #[target_feature(enable = "avx2")]
        fn avx2(numbers: &[u64]) -> u64 {
            sum_with(numbers)
        }
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: AVX-512 F was detected on the line above.
            return unsafe { avx512(numbers) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: AVX2 was detected on the line above.
            return unsafe { avx2(numbers) };
        }
    }
    sum_with(numbers)
}

/// Four streams at once, which is where a core reads fastest: one waits too often at the ends of
/// pages, and more outrun its prefetchers.
#[inline(always)]
fn sum_with(numbers: &[u64]) -> u64 {
    let (units, rest) = numbers.as_chunks::<UNIT>();
    let quarter = units.len() / 4;
    let (first, others) = units.split_at(quarter);
    let (second, others) = others.split_at(quarter);
    let (third, others) = others.split_at(quarter);
    let (fourth, left) = others.split_at(quarter);
    let mut sums = [[0u64; UNIT]; 4];
    for (((a, b), c), d) in first.iter().zip(second).zip(third).zip(fourth) {
        for (sums, unit) in sums.iter_mut().zip([a, b, c, d]) {
            for (sum, number) in sums.iter_mut().zip(unit) {
                *sum = sum.wrapping_add(*number);
            }
        }
    }
    let all = sums.as_flattened().iter().chain(left.as_flattened()).chain(rest);
    all.fold(0, |sum, number| sum.wrapping_add(*number))
}

/// Bytes of the largest cache that the first CPU has; 32 MiB if the system does not say.
fn last_cache() -> usize {
    (0..8)
        .filter_map(|i| {
            let path = format!("/sys/devices/system/cpu/cpu0/cache/index{i}/size");
            let text = std::fs::read_to_string(path).ok()?;
            text.trim().strip_suffix('K')?.parse::<usize>().ok()
        })
        .max()
        .map_or(32 << 20, |kib| kib << 10)
}

/// What `work` returns on each of so many threads, which begin together.
fn on_threads<T: Send>(threads: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let begin = Barrier::new(threads);
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads)
            .map(|thread| {
                let (begin, work) = (&begin, &work);
                scope.spawn(move || {
                    begin.wait();
                    work(thread)
                })
            })
            .collect();
        handles
            .into_iter()
            .map(|handle| handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_probe_adds_up() {
        for instruction in Instruction::available() {
            let (_, per_sum, bits) = instruction.work();
            let sum = u64::from(instruction.chains(1000));
            assert_eq!(sum & ((1 << bits) - 1), 1000 * per_sum, "{instruction:?}");
        }
        let numbers: Vec<u64> = (0..1000).collect();
        assert_eq!(sum(&numbers), 499_500);
        assert_eq!(sum_with(&numbers), 499_500);
    }

    #[test]
    fn the_peak_is_that_of_the_kernel_set() {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            let avx2 = Instruction::for_kernels("x86_64/avx2");
            assert_eq!(avx2, Some(Instruction::VpmaddubswYmm));
        }
        let best = Instruction::available().first().copied();
        assert_eq!(Instruction::for_kernels("scalar"), best);
    }
}
