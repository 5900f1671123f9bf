//! Firmware of boards that are not here: built, linked and measured, but not run.

use super::programs;
use crate::context::{Context, Ran};
use crate::size;
use crate::targets::Compiler;
use anyhow::{Context as _, Result, bail, ensure};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _};

/// A board that exists, but cannot be emulated. Its folder has cargo's settings for it.
pub(super) struct RealBoard {
    pub(super) name: &'static str,
    target: &'static str,
    /// Whether a boot ROM looks for the blocks of an RP2350's image.
    has_blocks: bool,
}

pub(super) const BOARDS: [RealBoard; 2] = [
    RealBoard { name: "rp2350", target: "thumbv8m.main-none-eabihf", has_blocks: true },
    RealBoard { name: "stm32h7", target: super::CORTEX_M4, has_blocks: false },
];

/// Builds a board's programs, and says what each takes of its memory; whether they run is not
/// known.
///
/// # Errors
/// When one does not build, or the linker finds no room for it.
pub(super) fn build(cx: &Context, board: &RealBoard) -> Result<Ran> {
    let Some(compiler) = Compiler::find(board.target) else {
        return Ok(cx.not_run(format!(
            "{}: no compiler for {}; `cargo xtask setup firmware`",
            board.name, board.target
        )));
    };
    let dir = cx.root().join("boards").join(board.name);
    let cargo = |subcommand| compiler.cargo_in_boards(cx, subcommand, board.target).dir(&dir);
    if compiler == Compiler::Default {
        cargo("clippy").args(["--quiet", "--", "-D", "warnings"]).run()?;
    }
    cargo("build").run()?;
    let built = compiler.boards_dir(cx).join(board.target).join("release");
    for program in programs(&dir)? {
        let path = built.join(&program);
        let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
        println!("{program}: {}", used(&bytes).with_context(|| path.display().to_string())?);
        if board.has_blocks {
            check_blocks(&bytes).with_context(|| path.display().to_string())?;
        }
    }
    cx.not_run(format!("{}: it builds and links, but there is no such board here", board.name));
    Ok(Ran::Yes)
}

/// What a linked program takes of the board's flash and RAM, in words.
fn used(program: &[u8]) -> Result<String> {
    let [code, constants, variables] = size::measure(program)?;
    let file = object::File::parse(program)?;
    // The board's memory.x defines these.
    let address = |name: &str| -> Result<usize> {
        let symbol = file.symbol_by_name(name).with_context(|| format!("no symbol {name}"))?;
        Ok(symbol.address().try_into()?)
    };
    let (flash, ram) = (address("_flash_bytes")?, address("_ram_bytes")?);
    let stack = address("_stack_start")?.checked_sub(address("_stack_end")?);
    let stack = stack.context("the stack ends before it begins")?;
    let (flash_used, ram_used) = (code + constants, variables + stack);
    ensure!(flash_used <= flash && ram_used <= ram, "it takes more than there is");
    Ok(format!(
        "{flash_used} of {flash} bytes of flash, {code} of them code; {ram_used} of {ram} bytes of \
         RAM, {stack} of them for the stack"
    ))
}

/// How far into an image the boot ROM looks for its first block.
const FIRST_BLOCK_WITHIN: u64 = 4096;

/// Checks that an RP2350's boot ROM finds the first block of an image, and that each of the two
/// leads to the other.
fn check_blocks(program: &[u8]) -> Result<()> {
    let file = object::File::parse(program)?;
    let section =
        |name: &str| file.section_by_name(name).with_context(|| format!("no section {name}"));
    let (image, start, end) =
        (section(".vector_table")?, section(".start_block")?, section(".end_block")?);
    ensure!(
        start.address() + start.size() <= image.address() + FIRST_BLOCK_WITHIN,
        "the boot ROM does not look as far as {:#x} for a block",
        start.address()
    );
    for (from, to) in [(&start, &end), (&end, &start)] {
        // The way to the next block, and the mark that a block ends with.
        let data = from.data()?;
        let [.., a, b, c, d, 0x79, 0x35, 0x12, 0xAB] = *data else {
            bail!("no block at {:#x}", from.address())
        };
        let next = from.address().wrapping_add_signed(i32::from_le_bytes([a, b, c, d]).into());
        ensure!(
            next == to.address(),
            "the block at {:#x} leads to {next:#x}, where none is",
            from.address()
        );
    }
    Ok(())
}
