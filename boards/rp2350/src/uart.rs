//! UART0 on the pins GP0 and GP1.

use bantam_firmware::hardware::{Inbox, Line, Uart};
use cortex_m::peripheral::NVIC;
use rp235x_hal::Sio;
use rp235x_hal::fugit::HertzU32;
use rp235x_hal::gpio::bank0::{Gpio0, Gpio1};
use rp235x_hal::gpio::{FunctionUart, Pin, Pins, PullNone, PullUp};
use rp235x_hal::pac::{IO_BANK0, Interrupt, PADS_BANK0, RESETS, SIO, UART0, interrupt};
use rp235x_hal::uart::{DataBits, Reader, StopBits, UartConfig, UartPeripheral};

const BAUDS: HertzU32 = HertzU32::Hz(115_200);

type Ends = (Pin<Gpio0, FunctionUart, PullNone>, Pin<Gpio1, FunctionUart, PullUp>);

static INBOX: Inbox<Reader<UART0, Ends>> = Inbox::new();

/// Returns the line, 115200 bauds, 8N1.
///
/// # Panics
/// When `rp235x-hal` refuses the rate.
pub(crate) fn line(
    uart: UART0,
    io: IO_BANK0,
    pads: PADS_BANK0,
    sio: SIO,
    resets: &mut RESETS,
    clock: HertzU32,
) -> impl Line + use<> {
    let pins = Pins::new(io, pads, Sio::new(sio).gpio_bank0, resets);
    // Nothing plugged in is a line at rest.
    let ends: Ends = (pins.gpio0.reconfigure(), pins.gpio1.reconfigure());
    let config = UartConfig::new(BAUDS, DataBits::Eight, None, StopBits::One);
    let Ok(uart) = UartPeripheral::new(uart, ends, resets).enable(config, clock) else {
        panic!("the UART cannot be set up")
    };
    let (mut reader, writer) = uart.split();
    reader.enable_rx_interrupt();
    INBOX.install(reader);
    // SAFETY: its handler is below, and what it shares is behind a lock.
    unsafe { NVIC::unmask(Interrupt::UART0_IRQ) };
    Uart::new(&INBOX, move |bytes: &[u8]| {
        writer.write_raw(bytes).map_or(0, |rest| bytes.len() - rest.len())
    })
}

#[interrupt]
fn UART0_IRQ() {
    INBOX.fill(|uart| {
        let mut byte = [0];
        loop {
            match uart.read_raw(&mut byte) {
                Ok(_) => return Some(byte[0]),
                Err(nb::Error::WouldBlock) => return None,
                // A byte that came damaged is left out; one before which others were lost is not.
                Err(nb::Error::Other(error)) if !error.discarded.is_empty() => {
                    return error.discarded.first().copied();
                }
                Err(nb::Error::Other(_)) => {}
            }
        }
    });
}
