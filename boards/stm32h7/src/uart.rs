//! USART3 on the pins PD8 and PD9, which the Nucleo's ST-Link makes a serial port of its host.

use bantam_firmware::hardware::{self, Inbox};
use cortex_m::peripheral::NVIC;
use stm32h7xx_hal::gpio::gpiod::Parts;
use stm32h7xx_hal::pac::{Interrupt, USART3, interrupt};
use stm32h7xx_hal::prelude::*;
use stm32h7xx_hal::rcc::{CoreClocks, rec};
use stm32h7xx_hal::serial::{Rx, Tx};

static INBOX: Inbox<Rx<USART3>> = Inbox::new();

/// The sending half; the other is its interrupt's.
pub(crate) struct Line(Tx<USART3>);

impl Line {
    pub(crate) fn new(uart: USART3, pins: Parts, rec: rec::Usart3, clocks: &CoreClocks) -> Self {
        let ends = (pins.pd8.into_alternate(), pins.pd9.into_alternate());
        let Ok(uart) = uart.serial(ends, 115_200.bps(), rec, clocks) else {
            panic!("the UART cannot be set up")
        };
        let (writer, mut reader) = uart.split();
        reader.listen();
        INBOX.install(reader);
        // SAFETY: its handler is below, and what it shares is behind a lock.
        unsafe { NVIC::unmask(Interrupt::USART3) };
        Line(writer)
    }
}

impl hardware::Line for Line {
    fn poll(&mut self) {}

    fn receive(&mut self, buffer: &mut [u8]) -> usize {
        INBOX.take(buffer)
    }

    fn send(&mut self, bytes: &[u8]) -> Option<usize> {
        // It always finds someone: a UART does not know whether anybody listens.
        Some(bytes.iter().take_while(|byte| self.0.write(**byte).is_ok()).count())
    }
}

#[interrupt]
fn USART3() {
    INBOX.fill(|uart| {
        loop {
            match uart.read() {
                Ok(byte) => return Some(byte),
                Err(nb::Error::WouldBlock) => return None,
                // Asking has cleared the error. What was damaged comes next, as a byte like others.
                Err(nb::Error::Other(_)) => {}
            }
        }
    });
}
