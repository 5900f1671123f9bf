//! The firmware of the emulated 64-bit Arm CPU.

#![no_std]
#![no_main]

use aarch64_rt::{
    ExceptionHandlers, InitialPagetable, entry, exception_handlers, initial_pagetable,
};
use bantam_firmware::{Board, Stack, run};
use core::arch::asm;

/// A valid block of a GiB that has been accessed; the memory type is that of an index.
const BLOCK: usize = 1 | 1 << 10;
/// The type that aarch64-rt gives index 1: cached memory, shared by all cores.
const CACHED: usize = 1 << 2 | 3 << 8;

initial_pagetable!({
    let mut table = [0; 512];
    // Devices in the first GiB, memory in the second.
    table[0] = BLOCK;
    table[1] = 0x4000_0000 | BLOCK | CACHED;
    InitialPagetable(table)
});

exception_handlers!(Handlers);

struct Handlers;

// What is not handled here panics.
impl ExceptionHandlers for Handlers {}

struct SingleCore;
critical_section::set_impl!(SingleCore);

// SAFETY: one core runs, and interrupts are never unmasked: nothing can come in between.
unsafe impl critical_section::Impl for SingleCore {
    unsafe fn acquire() -> critical_section::RawRestoreState {}
    unsafe fn release(_: critical_section::RawRestoreState) {}
}

struct QemuAarch64;

impl Board for QemuAarch64 {
    fn name(&self) -> &'static str {
        "qemu-aarch64"
    }

    /// The timer's ticks are of some nanoseconds, each of which is an instruction.
    fn instructions(&mut self) -> u64 {
        let (ticks, hz): (u64, u64);
        // SAFETY: these only read system registers that every level may read.
        unsafe {
            asm!("isb", "mrs {}, cntvct_el0", "mrs {}, cntfrq_el0", out(reg) ticks, out(reg) hz);
        }
        ticks * (1_000_000_000 / hz.max(1))
    }

    fn stop(&mut self, status: u8) -> ! {
        semihosting::process::exit(status.into())
    }
}

unsafe extern "C" {
    static mut boot_stack_begin: u32;
    static mut boot_stack_end: u32;
}

entry!(main);
fn main(_: u64, _: u64, _: u64, _: u64) -> ! {
    // SAFETY: the linker places the only stack between the two.
    let stack = unsafe { Stack::new(&raw mut boot_stack_begin, &raw mut boot_stack_end) };
    run(&mut QemuAarch64, &stack)
}
