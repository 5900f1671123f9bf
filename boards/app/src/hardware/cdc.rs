//! A line over USB: the board is a modem to its host (CDC-ACM).

use super::Line;
use usb_device::UsbError;
use usb_device::bus::{UsbBus, UsbBusAllocator};
use usb_device::device::{
    StringDescriptors, UsbDevice, UsbDeviceBuilder, UsbDeviceState, UsbVidPid,
};
use usb_device::prelude::BuilderError;
use usbd_serial::{SerialPort, USB_CLASS_CDC};

/// Numbers that all may use for such a device; a product has its own.
const SHARED_ID: UsbVidPid = UsbVidPid(0x16C0, 0x27DD);

/// A serial port over USB.
///
/// Polls come after each step of the engine, and all the time while a board waits for a sentence.
/// That is often enough. Bytes that there is no room for are refused by the hardware and come
/// again, so none is lost. A host that is told of a new device wants its first answers within 50
/// milliseconds, but no sentence can have come from it then: the board is waiting for one. Later
/// requests have seconds, and the longest step takes 1.2 million instructions: on an RP2350 some
/// 40 milliseconds, most of them for the flash.
pub struct Cdc<B: UsbBus + 'static> {
    device: UsbDevice<'static, B>,
    serial: SerialPort<'static, B>,
}

impl<B: UsbBus> Cdc<B> {
    /// Returns the port of a board.
    ///
    /// # Errors
    /// When `usb-device` refuses how it is described.
    pub fn new(
        bus: &'static UsbBusAllocator<B>,
        board: &'static str,
    ) -> Result<Self, BuilderError> {
        let serial = SerialPort::new(bus);
        let strings = StringDescriptors::default().manufacturer("Bantam").product(board);
        let device = UsbDeviceBuilder::new(bus, SHARED_ID)
            .strings(&[strings])?
            .device_class(USB_CLASS_CDC)
            .build();
        Ok(Cdc { device, serial })
    }
}

impl<B: UsbBus> Line for Cdc<B> {
    fn poll(&mut self) {
        self.device.poll(&mut [&mut self.serial]);
    }

    fn receive(&mut self, buffer: &mut [u8]) -> usize {
        self.serial.read(buffer).unwrap_or(0)
    }

    fn send(&mut self, bytes: &[u8]) -> Option<usize> {
        // Who has opened the port says so by this wire of a modem's.
        if self.device.state() != UsbDeviceState::Configured || !self.serial.dtr() {
            return None;
        }
        match self.serial.write(bytes) {
            Ok(n) => Some(n),
            Err(UsbError::WouldBlock) => Some(0),
            Err(_) => None,
        }
    }
}
