//! A line over a UART.

use super::{Inbox, Line};

/// A line over a UART. An interrupt takes what comes in; `send` writes as many bytes as the UART
/// has room for, and returns how many.
pub struct Uart<R: 'static, S> {
    inbox: &'static Inbox<R>,
    send: S,
}

impl<R, S: FnMut(&[u8]) -> usize> Uart<R, S> {
    /// Returns the line of the UART whose receiving half is in `inbox`.
    pub const fn new(inbox: &'static Inbox<R>, send: S) -> Self {
        Uart { inbox, send }
    }
}

impl<R, S: FnMut(&[u8]) -> usize> Line for Uart<R, S> {
    fn poll(&mut self) {}

    fn receive(&mut self, buffer: &mut [u8]) -> usize {
        self.inbox.take(buffer)
    }

    fn send(&mut self, bytes: &[u8]) -> Option<usize> {
        // It always finds someone: a UART does not know whether anybody listens.
        Some((self.send)(bytes))
    }
}
