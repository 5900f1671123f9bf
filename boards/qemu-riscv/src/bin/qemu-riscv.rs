//! The firmware of the emulated RISC-V CPU.

#![no_std]
#![no_main]

use bantam_firmware::{Board, Stack, run, status};
use riscv::register::{mcause, mepc, minstret};
use riscv_rt::{TrapFrame, entry};

struct QemuRiscv;

impl Board for QemuRiscv {
    fn name(&self) -> &'static str {
        "qemu-riscv"
    }

    fn instructions(&mut self) -> u64 {
        minstret::read64()
    }

    fn stop(&mut self, status: u8) -> ! {
        semihosting::process::exit(status.into())
    }
}

unsafe extern "C" {
    static mut _stack_end: u32;
    static mut _stack_start: u32;
}

#[entry]
fn main() -> ! {
    // SAFETY: the linker places the only stack between the two.
    let stack = unsafe { Stack::new(&raw mut _stack_end, &raw mut _stack_start) };
    run(&mut QemuRiscv, &stack)
}

/// Reports an exception and ends the emulation.
#[unsafe(export_name = "ExceptionHandler")]
fn exception(_: &TrapFrame) -> ! {
    let (cause, at) = (mcause::read().code(), mepc::read());
    defmt::error!("error {=u8}: exception {=usize} at {=usize:#x}", status::EXCEPTION, cause, at);
    semihosting::process::exit(status::EXCEPTION.into())
}
