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
/// The hardware moves bytes and refuses those that there is no room for, so that none is lost for
/// want of a poll. Only when the board is plugged in does a host wait for an answer, at least 50
/// milliseconds; a step of the engine takes less.
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
