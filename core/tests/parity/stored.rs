//! Keys and values as caches of every type hold them.

use bantam_core::cache::CacheType;
use bantam_core::half::f16_to_f32;
use bantam_core::kernels::CacheRef;

use crate::source::Source;

/// A key or value as it is read.
pub(crate) struct CachedRow {
    pub(crate) values: Vec<f32>,
    /// What each 32 values are multiplied with, in caches of integers.
    pub(crate) scales: Option<Vec<f32>>,
}

/// One head's keys or values as a cache holds them, in memory that holds NaN everywhere else.
pub(crate) struct Stored {
    ty: CacheType,
    offset: usize,
    pub(crate) rows: Vec<CachedRow>,
    floats: Vec<f32>,
    halves: Vec<u16>,
    integers: Vec<i8>,
}

impl Stored {
    /// Rows as a cache stores them, or as a restored state may have them besides.
    pub(crate) fn new(
        ty: CacheType,
        rows: &[Vec<f32>],
        interleaved: bool,
        offset: usize,
        source: &mut Source,
    ) -> Self {
        let width = rows[0].len();
        let groups = width.div_ceil(32);
        let n = rows.len().next_multiple_of(16);
        let lane = |width: usize, t: usize, i: usize| offset + (t / 16 * width + i) * 16 + t % 16;
        let word = |t: usize, i: usize| {
            offset + ((t / 16 * width.div_ceil(4) + i / 4) * 16 + t % 16) * 4 + i % 4
        };
        let place = |t: usize, i: usize| match (interleaved, ty) {
            (false, _) => offset + t * width + i,
            (true, CacheType::Q8_0) => word(t, i),
            (true, _) => lane(width, t, i),
        };
        let mut out = Stored {
            ty,
            offset,
            rows: Vec::new(),
            floats: vec![f32::NAN; n * width + offset],
            halves: vec![0x7DAA; n * width + offset],
            integers: vec![-128; n * width.next_multiple_of(4) + offset],
        };
        for (t, row) in rows.iter().enumerate() {
            let (mut q, mut d) = crate::definition::store_q8_0(row);
            q.iter_mut().filter(|_| source.below(64) == 0).for_each(|q| *q = -128);
            d.iter_mut().for_each(|d| *d = if source.is_odd() { source.odd_half() } else { *d });
            if ty == CacheType::Q8_0 {
                d.iter().enumerate().for_each(|(i, &d)| out.halves[lane(groups, t, i)] = d);
            }
            let half = crate::definition::store_f16(row);
            let values = (0..width).map(|i| {
                let at = place(t, i);
                match ty {
                    CacheType::F32 => out.floats[at] = row[i],
                    CacheType::F16 => out.halves[at] = half[i],
                    CacheType::Q8_0 => out.integers[at] = q[i],
                }
                match ty {
                    CacheType::F32 => row[i],
                    CacheType::F16 => f16_to_f32(half[i]),
                    CacheType::Q8_0 => f32::from(q[i]),
                }
            });
            let values = values.collect();
            let scales = d.iter().map(|&d| f16_to_f32(d)).collect();
            out.rows.push(CachedRow { values, scales: (ty == CacheType::Q8_0).then_some(scales) });
        }
        out
    }

    pub(crate) fn as_ref(&self) -> CacheRef<'_> {
        match self.ty {
            CacheType::F32 => CacheRef::F32(&self.floats[self.offset..]),
            CacheType::F16 => CacheRef::F16(&self.halves[self.offset..]),
            CacheType::Q8_0 => {
                CacheRef::Q8_0 { qs: &self.integers[self.offset..], d: &self.halves[self.offset..] }
            }
        }
    }
}
