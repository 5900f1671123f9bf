//! A Raspberry Pi Pico 2: its clocks, its watchdog, and its line to a host.

#![no_std]

mod image;
mod uart;

use bantam_firmware::Port;
use bantam_firmware::hardware::{Cdc, Cycles, Device};
use rp235x_hal::clocks::{ClocksManager, init_clocks_and_plls};
use rp235x_hal::fugit::MicrosDurationU32;
use rp235x_hal::pac::{self, IO_BANK0, PADS_BANK0, RESETS, SIO, UART0, USB, USB_DPRAM};
use rp235x_hal::usb::UsbBus;
use rp235x_hal::{Clock as _, Watchdog};
use static_cell::StaticCell;
use usb_device::bus::UsbBusAllocator;

const NAME: &str = "rp2350";
/// The board's crystal.
const CRYSTAL_HZ: u32 = 12_000_000;
/// Longest time between two feeds. What lies between them, a step of the engine, opening the model or
/// encoding a sentence, takes some 40 milliseconds at most: 1.2 million instructions, or 0.6 MB of
/// flash at the 25 MB/s that the boot ROM's settings allow. With flash read by single bits it would
/// be several times as long. The rest is for a probe that reads the log of what went wrong.
const WATCHDOG: MicrosDurationU32 = MicrosDurationU32::secs(2);

/// The chip with its clocks and its watchdog running, and what lines are made of.
struct Chip {
    watchdog: Watchdog,
    clocks: ClocksManager,
    cycles: Cycles,
    resets: RESETS,
    io: IO_BANK0,
    pads: PADS_BANK0,
    sio: SIO,
    uart: UART0,
    usb: USB,
    usb_memory: USB_DPRAM,
}

impl Chip {
    fn take() -> Self {
        let (Some(core), Some(pac)) = (cortex_m::Peripherals::take(), pac::Peripherals::take())
        else {
            panic!("the board was taken before")
        };
        let (mut dcb, mut dwt, mut resets) = (core.DCB, core.DWT, pac.RESETS);
        let mut watchdog = Watchdog::new(pac.WATCHDOG);
        // A crystal that does not start ends in a reset too. Until it runs, another oscillator
        // counts, whose microseconds are rough.
        watchdog.enable_tick_generation((CRYSTAL_HZ / 1_000_000) as u16);
        watchdog.start(WATCHDOG);
        // 150 MHz for the processor, 48 for USB.
        let clocks = init_clocks_and_plls(
            CRYSTAL_HZ,
            pac.XOSC,
            pac.CLOCKS,
            pac.PLL_SYS,
            pac.PLL_USB,
            &mut resets,
            &mut watchdog,
        );
        let Ok(clocks) = clocks else { panic!("the clocks do not start") };
        Chip {
            watchdog,
            clocks,
            cycles: Cycles::start(&mut dcb, &mut dwt),
            resets,
            io: pac.IO_BANK0,
            pads: pac.PADS_BANK0,
            sio: pac.SIO,
            uart: pac.UART0,
            usb: pac.USB,
            usb_memory: pac.USB_DPRAM,
        }
    }
}

/// Returns the board with its USB socket as its line.
///
/// # Panics
/// When it was taken before, or its clocks do not start.
pub fn with_usb() -> impl Port {
    static BUS: StaticCell<UsbBusAllocator<UsbBus>> = StaticCell::new();
    let Chip { watchdog, clocks, cycles, mut resets, usb, usb_memory, .. } = Chip::take();
    let clock_hz = clocks.system_clock.freq().to_Hz();
    // The pin that would tell that a cable is plugged in is not asked: without one nobody runs this.
    let bus = UsbBus::new(usb, usb_memory, clocks.usb_clock, true, &mut resets);
    let Ok(line) = Cdc::new(BUS.init(UsbBusAllocator::new(bus)), "Bantam on a Pico 2") else {
        panic!("USB cannot be set up")
    };
    Device::new(NAME, clock_hz, cycles, move || watchdog.feed(), line)
}

/// Returns the board with UART0 as its line: GP0 sends, GP1 receives, 115200 bauds, 8N1.
///
/// # Panics
/// As [`with_usb`].
pub fn with_uart() -> impl Port {
    let Chip { watchdog, clocks, cycles, mut resets, io, pads, sio, uart, .. } = Chip::take();
    let clock_hz = clocks.system_clock.freq().to_Hz();
    let clock = clocks.peripheral_clock.freq();
    let line = uart::line(uart, io, pads, sio, &mut resets, clock);
    Device::new(NAME, clock_hz, cycles, move || watchdog.feed(), line)
}
