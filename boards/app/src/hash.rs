//! A hash of what was computed.

/// Fowler, Noll and Vo's hash 1a of 64 bits.
pub(crate) struct Fnv(u64);

impl Fnv {
    pub(crate) const fn new() -> Self {
        Fnv(0xcbf2_9ce4_8422_2325)
    }

    pub(crate) fn add_bytes(&mut self, bytes: impl IntoIterator<Item = u8>) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// Adds the bits of some floats.
    pub(crate) fn add(&mut self, values: &[f32]) {
        self.add_bytes(values.iter().flat_map(|value| value.to_bits().to_le_bytes()));
    }

    pub(crate) const fn get(&self) -> u64 {
        self.0
    }
}
