//! Inputs for kernels: random ones, and those that few would think of.

use bantam_core::half::f32_to_f16;
use bantam_core::quant::GgmlType;
use bantam_core::rng::Rng;

/// Random inputs of a kind: how often a value is an odd one.
pub(crate) struct Source {
    pub(crate) rng: Rng,
    odd: u64,
}

impl Source {
    /// Of four sources one has tame values only, one odd ones throughout.
    pub(crate) fn new(seed: u64) -> Self {
        let odd = [0, 1, 16, 128][seed as usize % 4];
        Source { rng: Rng::new(seed), odd }
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.rng.next_u64() % n
    }

    pub(crate) fn is_odd(&mut self) -> bool {
        self.below(128) < self.odd
    }

    pub(crate) fn float(&mut self) -> f32 {
        const ODD: [f32; 14] = [
            0.0,
            -0.0,
            f32::from_bits(1),
            f32::from_bits(0x807F_FFFF),
            f32::MIN_POSITIVE,
            f32::MAX,
            f32::MIN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
            f32::from_bits(0xFFC0_1234),
            127.5,
            -1e30,
            1e-30,
        ];
        if self.is_odd() {
            return ODD[self.below(ODD.len() as u64) as usize];
        }
        let x = (self.rng.next_f32() - 0.5) * 8.0;
        match self.below(16) {
            0 => x * 1e-3,
            1 => x * 1e2,
            _ => x,
        }
    }

    pub(crate) fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.float()).collect()
    }

    /// Bits of a half float that no sane weight has as its scale: zeros, subnormals, the largest,
    /// infinities, and NaN, quiet and signalling.
    pub(crate) fn odd_half(&mut self) -> u16 {
        const ODD: [u16; 12] =
            [0, 0x8000, 1, 0x83FF, 0x0400, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7E00, 0x7C01, 0xFFFF];
        ODD[self.below(ODD.len() as u64) as usize]
    }

    /// Weight blocks: random bytes, or all the same; scales of moderate size, or odd ones.
    pub(crate) fn blocks(&mut self, ty: GgmlType, n: usize) -> Vec<u8> {
        let halves: &[usize] = match ty {
            GgmlType::Q4_0 | GgmlType::Q5_0 | GgmlType::Q8_0 => &[0],
            GgmlType::IQ4_NL | GgmlType::IQ4_XS => &[0],
            GgmlType::Q4_1 | GgmlType::Q5_1 | GgmlType::Q4_K | GgmlType::Q5_K => &[0, 2],
            GgmlType::Q2_K => &[80, 82],
            GgmlType::Q3_K => &[108],
            GgmlType::Q6_K => &[208],
            GgmlType::MXFP4 => &[],
            GgmlType::F32 => return self.floats(n).iter().flat_map(|x| x.to_le_bytes()).collect(),
            GgmlType::F16 | GgmlType::BF16 => {
                return (0..n)
                    .flat_map(|_| {
                        let x = self.float();
                        let half = f32_to_f16(x);
                        if ty == GgmlType::F16 { half } else { (x.to_bits() >> 16) as u16 }
                            .to_le_bytes()
                    })
                    .collect();
            }
        };
        let mut out = vec![0; n * ty.block_bytes()];
        for block in out.chunks_mut(ty.block_bytes()) {
            match self.below(8) {
                // −128 in Q8_0 and in the sub-scales of Q6_K; all bits; none.
                0 => block.fill([0x80, 0xFF, 0][self.below(3) as usize]),
                _ => block.fill_with(|| self.rng.next_u64() as u8),
            }
            for &at in halves {
                let half = f32_to_f16(self.float() * 0.01);
                let half = if self.is_odd() { self.odd_half() } else { half };
                block[at..at + 2].copy_from_slice(&half.to_le_bytes());
            }
            if ty == GgmlType::MXFP4 {
                let near_one = 120 + self.below(10) as u8;
                block[0] = if self.is_odd() {
                    [0, 1, 2, 253, 254, 255][self.below(6) as usize]
                } else {
                    near_one
                };
            }
        }
        out
    }
}

/// The same values, starting `offset` elements into an allocation.
pub(crate) fn shifted<T: Copy + Default>(values: &[T], offset: usize) -> Vec<T> {
    let mut out = vec![T::default(); offset];
    out.extend_from_slice(values);
    out
}

/// Little-endian, as a model file has them.
pub(crate) fn bytes_of(x: &[f32]) -> Vec<u8> {
    x.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// Times two to the `exponent`, which may be that of a subnormal.
pub(crate) fn scaled(x: &mut [f32], exponent: i32) {
    let half = exponent / 2;
    x.iter_mut().for_each(|x| *x *= 2f32.powi(half) * 2f32.powi(exponent - half));
}
