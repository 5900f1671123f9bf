//! The serial line of Arm's MPS2 boards: a CMSDK UART.

use crate::stack::Stack;
use crate::{Board, Mps2, Port, status};

/// Ends the emulation, with status 0. No line of the protocol has it, and no real board minds it.
const END_OF_TRANSMISSION: u8 = 4;

/// An emulated board with its first UART, which QEMU connects to what `-serial` says.
pub struct Mps2Serial {
    board: Mps2,
    uart: Uart,
}

impl Mps2Serial {
    /// Returns the board and its stack, once.
    pub fn take(name: &'static str, clock_hz: u32) -> Option<(Self, Stack)> {
        let (board, stack) = Mps2::take(name, clock_hz)?;
        Some((Mps2Serial { board, uart: Uart::new(clock_hz) }, stack))
    }
}

impl Board for Mps2Serial {
    fn name(&self) -> &'static str {
        self.board.name()
    }

    fn instructions(&mut self) -> u64 {
        self.board.instructions()
    }

    fn stop(&mut self, status: u8) -> ! {
        self.board.stop(status)
    }
}

impl Port for Mps2Serial {
    fn receive(&mut self, buffer: &mut [u8]) -> usize {
        let mut n = 0;
        for place in buffer {
            let Some(byte) = self.uart.take_byte() else { break };
            if byte == END_OF_TRANSMISSION {
                self.stop(status::OK);
            }
            *place = byte;
            n += 1;
        }
        n
    }

    fn send(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            while !self.uart.give_byte(byte) {
                self.feed_watchdog();
            }
        }
    }
}

/// UART 0 of the machines with an M4 or M7.
const UART0: *mut u32 = core::ptr::without_provenance_mut(0x4000_4000);

/// Its registers, as offsets in words.
#[derive(Clone, Copy)]
enum Register {
    Data = 0,
    State = 1,
    Control = 2,
    BaudDivider = 4,
}

const STATE_SENDS: u32 = 1 << 0;
const STATE_CAME: u32 = 1 << 1;
const CONTROL_SEND: u32 = 1 << 0;
const CONTROL_RECEIVE: u32 = 1 << 1;
const BAUD: u32 = 115_200;

/// The UART, which has one owner: [`Mps2Serial`], of which there is one.
struct Uart(());

impl Uart {
    fn new(clock_hz: u32) -> Self {
        let mut uart = Uart(());
        uart.write(Register::BaudDivider, clock_hz / BAUD);
        uart.write(Register::Control, CONTROL_SEND | CONTROL_RECEIVE);
        uart
    }

    /// Returns the byte that has come.
    fn take_byte(&mut self) -> Option<u8> {
        let came = self.read(Register::State) & STATE_CAME != 0;
        came.then(|| self.read(Register::Data).to_le_bytes()[0])
    }

    /// Sends a byte, if there is room for it.
    fn give_byte(&mut self, byte: u8) -> bool {
        let is_free = self.read(Register::State) & STATE_SENDS == 0;
        if is_free {
            self.write(Register::Data, byte.into());
        }
        is_free
    }

    fn read(&mut self, register: Register) -> u32 {
        // SAFETY: the machine has the register there, and reads of it touch no memory.
        unsafe { UART0.wrapping_add(register as usize).read_volatile() }
    }

    fn write(&mut self, register: Register, value: u32) {
        // SAFETY: the machine has the register there, and it starts nothing that touches memory.
        unsafe { UART0.wrapping_add(register as usize).write_volatile(value) }
    }
}
