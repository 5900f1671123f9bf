//! USART3 on the pins PD8 and PD9, which the Nucleo's ST-Link makes a serial port of its host.

use bantam_firmware::hardware::{Inbox, Line, Uart};
use cortex_m::peripheral::NVIC;
use stm32h7xx_hal::gpio::gpiod::Parts;
use stm32h7xx_hal::pac::{Interrupt, USART3, interrupt};
use stm32h7xx_hal::prelude::*;
use stm32h7xx_hal::rcc::{CoreClocks, rec};
use stm32h7xx_hal::serial::Rx;

static INBOX: Inbox<Rx<USART3>> = Inbox::new();

/// Returns the line, 115200 bauds, 8N1.
///
/// # Panics
/// When `stm32h7xx-hal` refuses the rate.
pub(crate) fn line(
    uart: USART3,
    pins: Parts,
    rec: rec::Usart3,
    clocks: &CoreClocks,
) -> impl Line + use<> {
    let ends = (pins.pd8.into_alternate(), pins.pd9.into_alternate());
    let Ok(uart) = uart.serial(ends, 115_200.bps(), rec, clocks) else {
        panic!("the UART cannot be set up")
    };
    let (mut writer, mut reader) = uart.split();
    reader.listen();
    INBOX.install(reader);
    // SAFETY: its handler is below, and what it shares is behind a lock.
    unsafe { NVIC::unmask(Interrupt::USART3) };
    Uart::new(&INBOX, move |bytes: &[u8]| {
        bytes.iter().take_while(|byte| writer.write(**byte).is_ok()).count()
    })
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
