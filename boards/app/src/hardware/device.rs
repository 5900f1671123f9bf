//! A real board, put together of its watchdog, its cycle counter and its line to a host.

use super::Cycles;
use crate::{Board, Port};

/// A line to a host. Nothing here waits.
pub trait Line {
    /// Does what has come due.
    fn poll(&mut self);

    /// Takes in bytes that have come; returns how many.
    fn receive(&mut self, buffer: &mut [u8]) -> usize;

    /// Hands over as many bytes as there is room for, and returns how many; `None` if nobody
    /// listens at the other end.
    fn send(&mut self, bytes: &[u8]) -> Option<usize>;
}

/// A board with a watchdog, which `feed` feeds, and a line to a host.
pub struct Device<F, L> {
    name: &'static str,
    cycles: Cycles,
    patience: u64,
    feed: F,
    line: L,
}

impl<F: FnMut(), L: Line> Device<F, L> {
    /// Returns the board. A host that takes no byte for half a second is one that does not listen.
    pub fn new(name: &'static str, clock_hz: u32, cycles: Cycles, feed: F, line: L) -> Self {
        Device { name, cycles, patience: u64::from(clock_hz) / 2, feed, line }
    }
}

impl<F: FnMut(), L: Line> Board for Device<F, L> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn instructions(&mut self) -> u64 {
        self.cycles.read()
    }

    fn feed_watchdog(&mut self) {
        (self.feed)();
        self.line.poll();
        // Often enough for a counter that goes round.
        self.cycles.read();
    }

    /// Waits for the watchdog; what has been sent still leaves the board.
    fn stop(&mut self, status: u8) -> ! {
        defmt::error!("stopped with status {=u8}; the watchdog resets the board", status);
        loop {
            self.line.poll();
        }
    }
}

impl<F: FnMut(), L: Line> Port for Device<F, L> {
    fn receive(&mut self, buffer: &mut [u8]) -> usize {
        self.line.receive(buffer)
    }

    fn send(&mut self, bytes: &[u8]) {
        let (mut rest, mut last) = (bytes, self.cycles.read());
        while !rest.is_empty() {
            self.feed_watchdog();
            let now = self.cycles.read();
            match self.line.send(rest) {
                Some(0) if now - last < self.patience => {}
                None | Some(0) => return,
                Some(n) => (rest, last) = (rest.get(n..).unwrap_or_default(), now),
            }
        }
    }
}
