//! `cargo xtask size`: what core takes of a microcontroller's flash, and proof that what firmware
//! calls of it cannot panic.
//!
//! The static library for C is linked as a whole, from every function of its header on and with
//! sections that nobody refers to left out. Its panic handler calls a function of the firmware,
//! and there is no firmware: what links has no way to a panic. What is linked is measured.

use crate::bench::record;
use crate::cmd::{Cmd, in_pairs, on_path};
use crate::context::{Context, Ran};
use crate::targets::Compiler;
use anyhow::{Context as _, Result, bail, ensure};
use object::{Object as _, ObjectSection as _, SectionFlags, SectionKind, elf};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Options of `cargo xtask size`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Keep the sizes in boards/capi/size.json
    #[arg(long)]
    keep: bool,
}

/// Where sizes are kept.
const RECORD: &str = "boards/capi/size.json";
/// Targets, with features: for the bundled model, for it without its schema, or for everything.
const BUILDS: &[(&str, &str)] = &[
    (BUDGET.0, "bundled"),
    (BUDGET.0, "tokens"),
    (BUDGET.0, "full"),
    ("thumbv8m.main-none-eabihf", "full"),
    ("thumbv6m-none-eabi", "full"),
    ("riscv32imac-unknown-none-elf", "full"),
    ("aarch64-unknown-none", "full"),
];
/// The target whose flash has a budget for the bundled model, and this budget in bytes.
const BUDGET: (&str, usize) = ("thumbv7em-none-eabihf", 64 << 10);

/// What the bundled model may take of a 32-bit board's RAM beside its keys and values, in bytes.
const RAM_BUDGET: usize = 32 << 10;
/// The board on which instructions for 100 multiplications and additions have a budget, and it.
const INSTRUCTIONS_BUDGET: (&str, usize) = ("qemu-m7", 160);

/// All sizes, and what they were measured with.
#[derive(Debug, Serialize, Deserialize)]
struct Sizes {
    commit: String,
    rows: Vec<Row>,
    #[serde(default)]
    firmware: Vec<Firmware>,
}

/// What firmware says that it takes: of a board's RAM, in bytes, and of its time.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Firmware {
    board: String,
    /// The model's memory beside keys and values: scratch, tables, and the tokenizer's.
    beyond_kv: usize,
    /// The most of the stack that was used, and the bound that the firmware holds itself to.
    stack: usize,
    stack_bound: usize,
    /// Instructions for 100 multiply-accumulates of a token, of the model that takes more.
    instructions: usize,
}

/// What a build takes, in bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Row {
    target: String,
    features: String,
    /// How it was optimised: `s` is for size.
    opt_level: String,
    compiler: String,
    code: usize,
    constants: usize,
    /// Memory beside what is lent.
    ram: usize,
}

impl Row {
    const fn flash(&self) -> usize {
        self.code + self.constants
    }

    /// Whether it is what has a budget.
    fn is_budgeted(&self) -> bool {
        (&*self.target, &*self.features, &*self.opt_level) == (BUDGET.0, "bundled", "s")
    }

    fn is_like(&self, other: &Self) -> bool {
        (&self.target, &self.features, &self.opt_level)
            == (&other.target, &other.features, &other.opt_level)
    }
}

/// Builds, links and measures the library for every bare target.
///
/// # Errors
/// When a build fails, when something that can panic was linked, and when core or firmware takes more
/// than it may.
pub(crate) fn run(cx: &Context, options: &Options) -> Result<Ran> {
    let kept = fs::read(cx.root().join(RECORD)).ok();
    let kept = kept.map(|bytes| serde_json::from_slice::<Sizes>(&bytes)).transpose();
    let kept = kept.with_context(|| format!("in {RECORD}"))?.map_or(vec![], |sizes| sizes.rows);
    let Some(linker) = linker()? else {
        return Ok(cx.not_run("size: neither rust-lld nor ld.lld is there"));
    };
    let mut builds = Vec::new();
    for &(target, features) in BUILDS {
        let Some(compiler) = Compiler::find(target) else {
            cx.not_run(format!("size for {target}: no compiler for it; `cargo xtask setup`"));
            continue;
        };
        let levels: &[&str] = if features == "bundled" { &["s", "3"] } else { &["s"] };
        builds.extend(levels.iter().map(|level| Build::new(cx, compiler, target, features, level)));
    }
    // The one for 64 bits takes longest, so it comes first.
    run_in_pairs(builds.iter().rev().map(|build| &build.cargo).collect())?;
    let header = fs::read_to_string(cx.root().join("boards/capi/bantam.h"))?;
    let rows = builds.iter().map(|build| build.measured(&linker, &header));
    let rows = rows.collect::<Result<Vec<_>>>()?;
    let firmware = firmware(&cx.root().join("boards"))?;
    let sizes = Sizes { commit: record::commit(cx), rows, firmware };
    if options.json {
        println!("{:#}", serde_json::to_value(&sizes)?);
    } else {
        print(&sizes.rows, &kept);
        print_firmware(&sizes.firmware);
    }
    for firmware in &sizes.firmware {
        firmware.check()?;
    }
    let over = |row: &&Row| row.is_budgeted() && row.flash() > BUDGET.1;
    if let Some(row) = sizes.rows.iter().find(over) {
        bail!("{}: {} bytes of flash, more than {}", row.target, row.flash(), BUDGET.1);
    }
    if options.keep {
        let path = cx.root().join(RECORD);
        let text = format!("{:#}\n", serde_json::to_value(&sizes)?);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(if sizes.rows.is_empty() { Ran::No } else { Ran::Yes })
}

/// The compiler's own linker, or Debian's.
fn linker() -> Result<Option<PathBuf>> {
    let of_rustc = |what: &str| -> Result<String> {
        Ok(Cmd::new("rustc").args(["--print", what]).capture()?.stdout.trim().to_owned())
    };
    let host = of_rustc("host-tuple")?;
    let own = Path::new(&of_rustc("sysroot")?).join("lib/rustlib").join(host).join("bin/rust-lld");
    Ok(match own.is_file() {
        true => Some(own),
        false => on_path("ld.lld").then(|| "ld.lld".into()),
    })
}

/// One of the builds that are measured.
struct Build {
    compiler: Compiler,
    target: &'static str,
    features: &'static str,
    opt_level: &'static str,
    /// Makes the library, in a folder that no other build has.
    cargo: Cmd,
    dir: PathBuf,
}

impl Build {
    fn new(
        cx: &Context,
        compiler: Compiler,
        target: &'static str,
        features: &'static str,
        opt_level: &'static str,
    ) -> Self {
        let dir = cx.target_dir().join("size").join(format!("{target}-{features}-{opt_level}"));
        let cargo = compiler
            .cargo_in(cx, &cx.root().join("boards"), "rustc", &[target])
            .args(["--quiet", "--release", "--package", "bantam-c", "--crate-type", "staticlib"])
            .args(["--no-default-features", "--features", &format!("{features},panic-handler")])
            .env("CARGO_TARGET_DIR", &dir)
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", opt_level);
        Build { compiler, target, features, opt_level, cargo, dir }
    }

    /// Links the library, which has been made, and measures it.
    fn measured(&self, linker: &Path, header: &str) -> Result<Row> {
        let Build { target, features, opt_level, .. } = *self;
        let library = self.dir.join(target).join("release/libbantam_c.a");
        let program = self.dir.join("linked.elf");
        let mut link = Cmd::new(linker);
        if linker.ends_with("rust-lld") {
            link = link.args(["-flavor", "gnu"]);
        }
        link = link.args(["--gc-sections", "-e", "bantam_open"]);
        for function in functions(header) {
            link = link.args(["-u", function]);
        }
        let linked = link.arg(&library).arg("-o").arg(&program).capture()?;
        if !linked.ok {
            let panics = linked.stderr.contains("bantam_panicked");
            let why = if panics { "code that can panic was linked:\n" } else { "" };
            bail!("{target}, {features}, opt-level {opt_level}: {why}{}", linked.stderr.trim());
        }
        let bytes = fs::read(&program).with_context(|| format!("no {}", program.display()))?;
        let [code, constants, ram] = measure(&bytes)?;
        Ok(Row {
            target: target.into(),
            features: features.into(),
            opt_level: opt_level.into(),
            compiler: self.compiler.version()?,
            code,
            constants,
            ram,
        })
    }
}

/// Runs commands, two at a time.
fn run_in_pairs(cmds: Vec<&Cmd>) -> Result<()> {
    let left = Mutex::new(cmds.into_iter());
    in_pairs(|| {
        loop {
            // Of its own, so that the lock is free while the command runs.
            let next = left.lock().unwrap_or_else(PoisonError::into_inner).next();
            match next {
                Some(cmd) => cmd.run()?,
                None => return Ok(()),
            }
        }
    })
}

/// The functions that a header declares.
fn functions(header: &str) -> Vec<&str> {
    let name = |at: usize| {
        let rest = &header[at..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')?;
        rest[end..].starts_with('(').then_some(&rest[..end])
    };
    let mut all: Vec<_> = header.match_indices("bantam_").filter_map(|(at, _)| name(at)).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Bytes of code, of constants, and of memory, of a linked program.
pub(crate) fn measure(program: &[u8]) -> Result<[usize; 3]> {
    let file = object::File::parse(program)?;
    let mut sizes = [0; 3];
    for section in file.sections() {
        let SectionFlags::Elf { sh_flags } = section.flags() else { continue };
        let (has, size) = (|flag: u32| sh_flags & u64::from(flag) != 0, section.size() as usize);
        if !has(elf::SHF_ALLOC) {
            continue;
        }
        if has(elf::SHF_EXECINSTR) {
            sizes[0] += size;
        } else if section.kind() != SectionKind::UninitializedData {
            sizes[1] += size;
        }
        // Initial values lie in flash too.
        if has(elf::SHF_WRITE) {
            sizes[2] += size;
        }
    }
    ensure!(sizes[0] > 0, "the linked program has no code");
    Ok(sizes)
}

/// What the logs of the boards' own programs say of memory; `cargo xtask firmware` holds the
/// programs to them.
fn firmware(boards: &Path) -> Result<Vec<Firmware>> {
    let mut all = Vec::new();
    for board in fs::read_dir(boards).with_context(|| format!("no {}", boards.display()))? {
        let name = board?.file_name().to_string_lossy().into_owned();
        let Ok(log) = fs::read_to_string(boards.join(&name).join(format!("{name}.out"))) else {
            continue;
        };
        // One whose work is done in C says nothing of memory.
        all.extend(Firmware::of_log(&name, &log));
    }
    ensure!(!all.is_empty(), "no log of firmware says what memory it takes");
    all.sort_by(|a, b| a.board.cmp(&b.board));
    Ok(all)
}

impl Firmware {
    /// Reads a log.
    fn of_log(board: &str, log: &str) -> Option<Self> {
        let number_before = |text: &str| {
            let (before, _) = log.split_once(text)?;
            before.rsplit(|c: char| !c.is_ascii_digit()).next()?.parse::<usize>().ok()
        };
        let model = number_before(" in RAM: ")?;
        Some(Firmware {
            board: board.to_owned(),
            beyond_kv: model.checked_sub(number_before(" keys and values")?)?,
            stack: number_before(" bytes of stack used")?,
            stack_bound: number_before(" at most")?,
            instructions: log
                .split(" for 100 multiply-accumulates")
                .filter_map(|before| before.rsplit(' ').next()?.parse().ok())
                .max()?,
        })
    }

    fn check(&self) -> Result<()> {
        let Firmware { board, beyond_kv, stack, stack_bound, instructions } = self;
        ensure!(
            *beyond_kv <= RAM_BUDGET,
            "{board}: {beyond_kv} bytes of RAM beside keys and values, more than {RAM_BUDGET}"
        );
        ensure!(stack <= stack_bound, "{board}: {stack} bytes of stack, more than {stack_bound}");
        let (budgeted, most) = INSTRUCTIONS_BUDGET;
        // The log leaves parts of one out.
        ensure!(
            board != budgeted || *instructions < most,
            "{board}: {instructions} instructions for 100 multiply-accumulates, more than {most}"
        );
        Ok(())
    }
}

fn print_firmware(all: &[Firmware]) {
    println!(
        "\nFirmware with the bundled model, as its logs in boards/ have it: bytes of RAM, and \
         instructions\nfor 100 multiply-accumulates of a token ({} may take {}).\n\
         {:<14} {:>14} {:>8} {:>8} {:>8} {:>13}",
        INSTRUCTIONS_BUDGET.0,
        INSTRUCTIONS_BUDGET.1,
        "board",
        "beside KV",
        "at most",
        "stack",
        "at most",
        "instructions"
    );
    for Firmware { board, beyond_kv, stack, stack_bound, instructions } in all {
        println!(
            "{board:<14} {beyond_kv:>14} {RAM_BUDGET:>8} {stack:>8} {stack_bound:>8} \
             {instructions:>13}"
        );
    }
}

fn print(rows: &[Row], kept: &[Row]) {
    println!("Core as a static library, linked whole; nothing in it can panic.");
    println!(
        "{:<29} {:<8} {:>3} {:>8} {:>9} {:>9} {:>5}  compared with what is kept",
        "target", "features", "opt", "code", "constants", "flash KiB", "ram"
    );
    for row in rows {
        let kib = row.flash() as f64 / 1024.0;
        let mut note = match kept.iter().find(|kept| kept.is_like(row)) {
            Some(kept) if kept.flash() == row.flash() => "the same".to_owned(),
            Some(kept) => format!("{:+} bytes", row.flash() as i64 - kept.flash() as i64),
            None => "nothing kept".to_owned(),
        };
        if row.is_budgeted() {
            let fits = if row.flash() <= BUDGET.1 { "within" } else { "OVER" };
            note += &format!("; {fits} the budget of {} KiB", BUDGET.1 >> 10);
        }
        println!(
            "{:<29} {:<8} {:>3} {:>8} {:>9} {kib:>9.1} {:>5}  {note}",
            row.target, row.features, row.opt_level, row.code, row.constants, row.ram
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_found_in_a_header() {
        let header = "typedef enum bantam_status bantam_status;\n/* `bantam_open` opens. */\n\
            bantam_status bantam_open(const uint8_t *file);\nbool bantam_step(bantam_context *c);";
        assert_eq!(functions(header), ["bantam_open", "bantam_step"]);
    }
    const LOG: &str = "info  m: 900 bytes in flash; 496128 in RAM: 468160 keys and values, 11200 scratch\n\
        info  about 2000 instructions a token of an answer, 157 for 100 multiply-accumulates\n\
        info  about 2010 instructions a token of an answer, 159 for 100 multiply-accumulates\n\
        info  about 12532 bytes of stack used, of 16384 at most\nexit status 0\n";

    #[test]
    fn what_a_log_says_is_held_to_its_bounds() {
        let said = Firmware::of_log("qemu-m7", LOG).unwrap();
        assert_eq!((said.beyond_kv, said.stack, said.stack_bound), (27_968, 12_532, 16_384));
        assert_eq!(said.instructions, 159);
        said.check().unwrap();
        for (was, is, says) in [
            ("496128 in RAM", "500929 in RAM", "32769 bytes of RAM"),
            ("12532 bytes", "16385 bytes", "16385 bytes of stack"),
            ("157 for", "160 for", "160 instructions"),
        ] {
            let error =
                Firmware::of_log("qemu-m7", &LOG.replace(was, is)).unwrap().check().unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
        }
        assert_eq!(Firmware::of_log("m7", "info  about 12532 bytes of stack used"), None);
    }

    #[test]
    fn every_board_but_the_one_in_c_says_what_it_takes() {
        let all = firmware(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../boards")).unwrap();
        let names: Vec<_> = all.iter().map(|said| said.board.as_str()).collect();
        assert_eq!(names, ["qemu-aarch64", "qemu-m33", "qemu-m4", "qemu-m7", "qemu-riscv"]);
    }
}
