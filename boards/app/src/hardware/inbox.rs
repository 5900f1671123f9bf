//! What has come over a UART while the engine was at work.

use core::cell::RefCell;
use critical_section::Mutex;
use heapless::Deque;

/// Bytes that find room: more than two of the longest sentences.
const ROOM: usize = 256;

/// The receiving half of a UART, and the bytes that its interrupt has taken from it.
///
/// A step of the engine can take longer than a UART's own FIFO lasts, and nothing tells a host on
/// three wires to wait; so an interrupt empties the FIFO.
pub struct Inbox<R>(Mutex<RefCell<Inner<R>>>);

struct Inner<R> {
    uart: Option<R>,
    bytes: Deque<u8, ROOM>,
}

impl<R> Inbox<R> {
    /// Returns one without a UART.
    #[expect(clippy::new_without_default, reason = "a static needs a constant function")]
    pub const fn new() -> Self {
        Inbox(Mutex::new(RefCell::new(Inner { uart: None, bytes: Deque::new() })))
    }

    /// Gives it the UART.
    pub fn install(&self, uart: R) {
        critical_section::with(|cs| self.0.borrow_ref_mut(cs).uart = Some(uart));
    }

    /// Takes what `read` gives, until it gives nothing more: the work of the UART's interrupt. What
    /// finds no room is lost.
    pub fn fill(&self, mut read: impl FnMut(&mut R) -> Option<u8>) {
        critical_section::with(|cs| {
            let inner = &mut *self.0.borrow_ref_mut(cs);
            while let Some(byte) = inner.uart.as_mut().and_then(&mut read) {
                let _ = inner.bytes.push_back(byte);
            }
        });
    }

    /// Moves bytes into a buffer; returns how many.
    pub fn take(&self, buffer: &mut [u8]) -> usize {
        critical_section::with(|cs| {
            let bytes = &mut self.0.borrow_ref_mut(cs).bytes;
            let mut n = 0;
            for place in buffer {
                let Some(byte) = bytes.pop_front() else { break };
                *place = byte;
                n += 1;
            }
            n
        })
    }
}
