//! A serial line, as a board has it.

use crate::Board;

/// A board with a serial line to a host.
pub trait Port: Board {
    /// Takes what has come over the line, as much of it as `buffer` holds, and returns how many
    /// bytes that is: 0 when nothing has come. It does not wait.
    ///
    /// It is asked after each step of the engine. What comes in between is the board's to keep; what
    /// it loses is found by the line's checksum, and asked for again.
    fn receive(&mut self, buffer: &mut [u8]) -> usize;

    /// Sends all of these bytes, and feeds the watchdog while it waits for room.
    fn send(&mut self, bytes: &[u8]);
}
