//! A Nucleo-H743ZI2: its clocks, its caches, its watchdog, and its line to a host.

#![no_std]

mod uart;

use bantam_firmware::Port;
use bantam_firmware::hardware::{Cdc, Cycles, Device};
use static_cell::{ConstStaticCell, StaticCell};
use stm32h7xx_hal::independent_watchdog::IndependentWatchdog;
use stm32h7xx_hal::pac::{
    self, GPIOA, GPIOD, OTG2_HS_DEVICE, OTG2_HS_GLOBAL, OTG2_HS_PWRCLK, USART3,
};
use stm32h7xx_hal::prelude::*;
use stm32h7xx_hal::rcc::Ccdr;
use stm32h7xx_hal::rcc::rec::UsbClkSel;
use stm32h7xx_hal::usb_hs::{USB2, UsbBus};
use usb_device::bus::UsbBusAllocator;

const NAME: &str = "stm32h7";
/// Longest time between two feeds, in milliseconds. What lies between them, a step of the engine,
/// opening the model or encoding a sentence, takes some ten at most: 1.6 million instructions. The
/// rest is for a probe that reads the log of what went wrong.
const WATCHDOG_MS: u32 = 2000;
/// Words of the USB peripheral's memory.
const ENDPOINT_WORDS: usize = 1024;

/// The chip with its clocks and its watchdog running, and what lines are made of.
struct Chip {
    watchdog: IndependentWatchdog,
    clocks: Ccdr,
    cycles: Cycles,
    gpioa: GPIOA,
    gpiod: GPIOD,
    uart: USART3,
    usb: (OTG2_HS_GLOBAL, OTG2_HS_DEVICE, OTG2_HS_PWRCLK),
}

impl Chip {
    fn take() -> Self {
        let (Some(mut core), Some(pac)) = (cortex_m::Peripherals::take(), pac::Peripherals::take())
        else {
            panic!("the board was taken before")
        };
        // A clock that does not start ends in a reset too: the watchdog has one of its own. It
        // stands still while a probe has halted the processor.
        pac.DBGMCU.apb4fz1.modify(|_, w| w.dbg_iwdg1().set_bit());
        let mut watchdog = IndependentWatchdog::new(pac.IWDG);
        watchdog.start(WATCHDOG_MS.millis());

        let power = pac.PWR.constrain().freeze();
        // 400 MHz, which every revision of the chip can do; 480 are for revision V by itself. They
        // are made of the ST-Link's 8, and so are the 48 of USB, which have to be as exact.
        let clocks = pac
            .RCC
            .constrain()
            .use_hse(8.MHz())
            .bypass_hse()
            .sys_ck(400.MHz())
            .pll3_q_ck(48.MHz())
            .freeze(power, &pac.SYSCFG);
        core.SCB.enable_icache();
        core.SCB.enable_dcache(&mut core.CPUID);
        Chip {
            watchdog,
            clocks,
            cycles: Cycles::start(&mut core.DCB, &mut core.DWT),
            gpioa: pac.GPIOA,
            gpiod: pac.GPIOD,
            uart: pac.USART3,
            usb: (pac.OTG2_HS_GLOBAL, pac.OTG2_HS_DEVICE, pac.OTG2_HS_PWRCLK),
        }
    }
}

/// Returns the board with the ST-Link's serial port as its line: USART3 on PD8 and PD9, 115200
/// bauds, 8N1.
///
/// # Panics
/// When it was taken before, or its watchdog cannot be started.
pub fn with_uart() -> impl Port {
    let Chip { mut watchdog, clocks, cycles, gpiod, uart, .. } = Chip::take();
    let clock_hz = clocks.clocks.c_ck().to_Hz();
    let pins = gpiod.split(clocks.peripheral.GPIOD);
    let line = uart::line(uart, pins, clocks.peripheral.USART3, &clocks.clocks);
    Device::new(NAME, clock_hz, cycles, move || watchdog.feed(), line)
}

/// Returns the board with its USB socket (PA11 and PA12) as its line.
///
/// # Panics
/// As [`with_uart`].
pub fn with_usb() -> impl Port {
    static BUS: StaticCell<UsbBusAllocator<UsbBus<USB2>>> = StaticCell::new();
    static ENDPOINTS: ConstStaticCell<[u32; ENDPOINT_WORDS]> =
        ConstStaticCell::new([0; ENDPOINT_WORDS]);
    let Chip { mut watchdog, mut clocks, cycles, gpioa, usb, .. } = Chip::take();
    let clock_hz = clocks.clocks.c_ck().to_Hz();
    clocks.peripheral.kernel_usb_clk_mux(UsbClkSel::Pll3Q);
    let pins = gpioa.split(clocks.peripheral.GPIOA);
    let usb = USB2::new(
        usb.0,
        usb.1,
        usb.2,
        pins.pa11.into_alternate(),
        pins.pa12.into_alternate(),
        clocks.peripheral.USB2OTG,
        &clocks.clocks,
    );
    let bus = BUS.init(UsbBus::new(usb, ENDPOINTS.take()));
    let Ok(line) = Cdc::new(bus, "Bantam on an STM32H743") else { panic!("USB cannot be set up") };
    Device::new(NAME, clock_hz, cycles, move || watchdog.feed(), line)
}
