//! `cargo xtask mca`: what the inner loops of matrix products cost in cycles of an Arm core.
//!
//! The example `multiply` is run under QEMU, which tells how often each block of code ran. The loop
//! around the busiest one is cut out of the program as it is, and LLVM's model of the core says how
//! many cycles an iteration takes when everything is in the first-level cache. Its instructions were
//! counted, so that what an iteration is for need not be known.

use crate::bench::record::{self, Row};
use crate::cmd::{Cmd, on_path};
use crate::context::Context;
use crate::targets::{AARCH64, EmulatedArm, counting_plugin};
use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Options of `cargo xtask mca`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// CPU to emulate: it decides which kernels run
    #[arg(long, default_value = "cortex-a76")]
    cpu: String,
    /// Models of cores to ask LLVM about (its `cortex-a76` has the units of a Cortex-A57; its
    /// `neoverse-n1` is the same core with larger caches)
    #[arg(long, value_name = "CPU", num_args = 1.., default_values = ["cortex-a76", "neoverse-n1"])]
    models: Vec<String>,
    /// Print the loops
    #[arg(long)]
    show: bool,
    /// Keep no record
    #[arg(long)]
    no_record: bool,
}

/// Versions of LLVM, the preferred one first.
const VERSIONS: &[&str] = &["-22", "-21", "-20", "-19", "-18", "-17", "-16", ""];

/// Formats, and the bytes and weights of a block.
const FORMATS: &[(&str, f64, f64)] = &[
    ("Q4_0", 18.0, 32.0),
    ("Q8_0", 34.0, 32.0),
    ("Q4_1", 20.0, 32.0),
    ("Q4_K", 144.0, 256.0),
    ("Q6_K", 210.0, 256.0),
];
/// Of the matrix that is multiplied.
const ROWS: u32 = 256;
const COLS: u32 = 1024;
/// How often it is: far more often than it takes to make it.
const TIMES: u32 = 400;
/// Tokens of a prompt; decoding has one.
const TOKENS: [u32; 2] = [1, 16];

/// Bytes that a core gets from memory in a cycle: 17.1 GB/s, for four cores at 2.4 GHz.
const BYTES_PER_CYCLE: f64 = 17.1 / (4.0 * 2.4);

/// The version of LLVM's tools that is here, as their names end.
pub(crate) fn version() -> Option<&'static str> {
    let both = |version: &&str| {
        ["llvm-mca", "llvm-objdump"].iter().all(|t| on_path(&format!("{t}{version}")))
    };
    VERSIONS.iter().copied().find(|version| both(version))
}

/// A loop of the program, and how it ran.
#[derive(Debug)]
struct Loop {
    /// Its first address in the file, and that of the branch back.
    first: u64,
    last: u64,
    /// Instructions that were executed in it.
    executed: u64,
    /// Their part of all instructions that were executed.
    share: f64,
}

/// Finds the loops, asks for their cycles, prints and records them.
///
/// # Errors
/// When a program fails, or no loop is found.
pub(crate) fn run(cx: &Context, options: &Options) -> Result<()> {
    let what = "cycles of inner loops";
    let Some(version) = version() else {
        cx.not_run(format!("{what}: no llvm-mca and llvm-objdump; `cargo xtask setup mca`"));
        return Ok(());
    };
    let Some(arm) = EmulatedArm::find(cx, &AARCH64, what) else { return Ok(()) };
    if AARCH64.qemu().is_some_and(|qemu| qemu.ends_with("-static")) {
        cx.not_run(format!("{what}: QEMU's -static programs load no plugins; get qemu-user"));
        return Ok(());
    }
    arm.cargo(cx, "build")
        .args(["--release", "--features", "bantam-core/std", "--example", "multiply"])
        .run()?;
    let program = arm.release_dir(cx).join("examples/multiply");
    let plugin = counting_plugin(cx)?;
    let out = cx.target_dir().join("qemu_blocks");
    let code = Program::new(&program, version)?;
    let (commit, compiler) = (record::commit(cx), arm.compiler()?);

    println!(
        "\n{}, {ROWS} x {COLS}; cycles per weight, or per multiplication and addition with \
         {} tokens;\nbudget: a weight's bytes over the {BYTES_PER_CYCLE:.2} that a core gets from \
         memory in a cycle",
        options.cpu, TOKENS[1]
    );
    let names: String = options.models.iter().map(|m| format!("  {m:>11}")).collect();
    println!(
        "{:16}{names}  {:>6}  {:>12}  {:>13}",
        "loop", "budget", "instructions", "of the program"
    );
    let mut rows = Vec::new();
    for tokens in TOKENS {
        for &(format, bytes, weights) in FORMATS {
            let numbers = [ROWS, COLS, TIMES, tokens].map(|n| n.to_string());
            let words = arm.emulator(&options.cpu);
            let (qemu, rest) = words.split_first().context("no emulator")?;
            let cmd = Cmd::new(qemu)
                .args(rest)
                .arg("-plugin")
                .arg(format!("{},blocks={}", plugin.display(), out.display()))
                .arg(&program)
                .args(["best", format])
                .args(numbers);
            let captured = cmd.capture()?;
            ensure!(captured.ok, "{}: {}", cmd.line(), captured.stderr.trim_end());
            let kernels = captured.stdout.trim().to_owned();
            let hot = code.hottest(&fs::read_to_string(&out)?)?;
            let assembly = code.assembly(&hot);
            if options.show {
                println!("\n{assembly}");
            }
            let products = f64::from(ROWS) * f64::from(COLS) * f64::from(TIMES) * f64::from(tokens);
            let n = hot.executed as f64 / products;
            let iterations = n / (assembly.lines().count() - 1) as f64;
            let mut shown = String::new();
            let (test, unit) = match tokens {
                1 => (format!("decode {format}"), "cycles/weight"),
                _ => (format!("prefill {format}"), "cycles/MAC"),
            };
            for model in &options.models {
                let cycles = cycles(cx, version, model, &assembly)? * iterations;
                shown += &format!("  {cycles:>11.3}");
                rows.push(Row {
                    commit: commit.clone(),
                    compiler: compiler.clone(),
                    cpu: format!("{model} (llvm-mca{version})"),
                    model: format!("{ROWS} x {COLS}"),
                    program: "bantam".into(),
                    version: commit.clone(),
                    kernels: kernels.clone(),
                    threads: 1,
                    test: test.clone(),
                    unit,
                    rounds: 1,
                    median: cycles,
                    min: cycles,
                    max: cycles,
                    ..Row::default()
                });
            }
            let budget = match tokens {
                1 => format!("{:.3}", bytes / weights / BYTES_PER_CYCLE),
                _ => String::new(),
            };
            println!("{test:16}{shown}  {budget:>6}  {n:>12.3}  {:>13.0}%", hot.share * 100.0);
        }
    }
    let _ = fs::remove_file(&out);
    if !options.no_record {
        let path = record::append(cx, AARCH64.target, &rows)?;
        eprintln!("recorded in {}", path.display());
    }
    Ok(())
}

/// A block of code: its address in the file, its instructions, and how often it ran.
type Block = (u64, u64, u64);

/// Reads what the plugin wrote of a program whose code begins at `code` in its file.
fn parse_blocks(text: &str, code: u64) -> Option<Vec<Block>> {
    let mut lines = text.lines();
    let bias = u64::from_str_radix(lines.next()?, 16).ok()?.checked_sub(code)?;
    lines
        .map(|line| {
            let mut cells = line.split(' ');
            let address = u64::from_str_radix(cells.next()?, 16).ok()?;
            Some((
                // Libraries lie elsewhere, before the program too.
                address.wrapping_sub(bias),
                cells.next()?.parse().ok()?,
                cells.next()?.parse().ok()?,
            ))
        })
        .collect()
}

/// A program's instructions, with their addresses.
struct Program {
    /// Where its code begins.
    code: u64,
    instructions: Vec<(u64, String)>,
    /// Branches back: their targets and addresses.
    loops: Vec<(u64, u64)>,
}

impl Program {
    fn new(path: &Path, version: &str) -> Result<Self> {
        /// Further back than any loop that is worth the name.
        const REACH: u64 = 16 << 10;
        let code = code_address(&fs::read(path)?).context("not a program of 64 bits")?;
        let cmd = Cmd::new(format!("llvm-objdump{version}"))
            .args(["--disassemble", "--no-show-raw-insn", "--mattr=+dotprod,+i8mm"])
            .arg(path);
        let out = cmd.capture()?;
        ensure!(out.ok, "{}: {}", cmd.line(), out.stderr.trim_end());
        let instructions: Vec<_> = out.stdout.lines().filter_map(instruction).collect();
        let back = |(at, text): &(u64, String)| {
            let target = branch_target(text)?;
            (target <= *at && at - target < REACH).then_some((target, *at))
        };
        let loops = instructions.iter().filter_map(back).collect();
        Ok(Program { code, instructions, loops })
    }

    /// The loop in which most instructions were executed, those in loops within it left out.
    fn hottest(&self, text: &str) -> Result<Loop> {
        let blocks = parse_blocks(text, self.code).context("the plugin wrote something else")?;
        let mut executed: BTreeMap<(u64, u64), u64> = BTreeMap::new();
        for &(address, n, runs) in &blocks {
            let around = |&&(first, last): &&(u64, u64)| first <= address && address <= last;
            let smallest =
                self.loops.iter().filter(around).min_by_key(|(first, last)| last - first);
            if let Some(&smallest) = smallest {
                *executed.entry(smallest).or_default() += n * runs;
            }
        }
        let hottest = executed.iter().max_by_key(|(_, executed)| **executed);
        let (&(first, last), _) = hottest.context("no loop ran")?;
        // A block may begin before the loop, and one may end in it.
        let inside = |&(address, n, runs): &Block| {
            let (from, to) = (address.max(first), (address.saturating_add(4 * n)).min(last + 4));
            to.saturating_sub(from) / 4 * runs
        };
        let executed: u64 = blocks.iter().map(inside).sum();
        let all: u64 = blocks.iter().map(|(_, n, runs)| n * runs).sum();
        Ok(Loop { first, last, executed, share: executed as f64 / all as f64 })
    }

    /// A loop as an assembler takes it. Where branches out of it go does not matter.
    fn assembly(&self, hot: &Loop) -> String {
        let inside = |address: &u64| (hot.first..=hot.last).contains(address);
        let mut out = String::from("again:\n");
        for (_, text) in self.instructions.iter().filter(|(address, _)| inside(address)) {
            let text = match text.rsplit_once("0x") {
                Some((rest, _)) if branch_target(text).is_some() => format!("{rest}again"),
                _ => text.clone(),
            };
            out += &(text + "\n");
        }
        out
    }
}

/// Where the code of an ELF file of 64 bits begins, in its own addresses.
fn code_address(file: &[u8]) -> Option<u64> {
    const LOAD: u32 = 1;
    const EXECUTABLE: u32 = 1;
    let u64_at = |at: usize| Some(u64::from_le_bytes(*file.get(at..)?.first_chunk()?));
    let u32_at = |at: usize| Some(u32::from_le_bytes(*file.get(at..)?.first_chunk()?));
    let u16_at = |at: usize| Some(u16::from_le_bytes(*file.get(at..)?.first_chunk()?));
    let (table, size, n) = (u64_at(32)? as usize, usize::from(u16_at(54)?), u16_at(56)?);
    (0..usize::from(n)).map(|i| table + i * size).find_map(|at| {
        let is_code = u32_at(at)? == LOAD && u32_at(at + 4)? & EXECUTABLE != 0;
        is_code.then(|| u64_at(at + 16)).flatten()
    })
}

/// The instruction on a line such as `  1b95c:  add x0, x0, #1`.
fn instruction(line: &str) -> Option<(u64, String)> {
    let (address, text) = line.split_once(':')?;
    let address = u64::from_str_radix(address.trim(), 16).ok()?;
    let text = text.split(['<', ';']).next()?.split("//").next()?.trim();
    (!text.is_empty()).then(|| (address, text.to_owned()))
}

/// Where a branch goes, if the instruction is one.
fn branch_target(text: &str) -> Option<u64> {
    let mut words = text.split([' ', '\t', ',']).filter(|word| !word.is_empty());
    let name = words.next()?;
    let branches =
        name == "b" || name.starts_with("b.") || ["cbz", "cbnz", "tbz", "tbnz"].contains(&name);
    let target = words.next_back()?.strip_prefix("0x")?;
    branches.then(|| u64::from_str_radix(target, 16).ok()).flatten()
}

/// Cycles of an iteration on a model of a core.
fn cycles(cx: &Context, version: &str, model: &str, assembly: &str) -> Result<f64> {
    let file = cx.target_dir().join("mca.s");
    fs::write(&file, assembly)?;
    let cmd = Cmd::new(format!("llvm-mca{version}"))
        .args(["-mtriple=aarch64-linux-gnu", "-mattr=+dotprod,+i8mm", "-iterations=100"])
        .arg(format!("-mcpu={model}"))
        .arg(&file);
    let out = cmd.capture()?;
    ensure!(out.ok, "{}: {}", cmd.line(), out.stderr.trim_end());
    let _ = fs::remove_file(&file);
    total_cycles(&out.stdout).map(|cycles| cycles / 100.0).context("llvm-mca says no cycles")
}

fn total_cycles(report: &str) -> Option<f64> {
    let line = report.lines().find_map(|line| line.strip_prefix("Total Cycles:"))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_tools_are_read() {
        let line = "   1bd10:      \tb.ne\t0x1bb14 <tokens+0x1b8>";
        let (address, text) = instruction(line).unwrap();
        assert_eq!((address, branch_target(&text)), (0x1bd10, Some(0x1bb14)));
        assert_eq!(branch_target("cbnz\tx8, 0x20"), Some(0x20));
        assert_eq!(branch_target("add\tx8, x8, #0x20"), None);
        assert_eq!(instruction("0000000000001000 <main>:"), None);
        assert_eq!(total_cycles("Iterations:  100\nTotal Cycles:      3703\n"), Some(3703.0));
    }

    #[test]
    fn blocks_are_moved_to_their_place_in_the_file() {
        let blocks = parse_blocks("5500001000\n5500001010 4 7\n5500002000 1 2\n", 0x1000);
        assert_eq!(blocks, Some(vec![(0x1010, 4, 7), (0x2000, 1, 2)]));
        assert_eq!(parse_blocks("", 0), None);
    }
}
