//! Attention of one query head (numerics, section 8).

use crate::kernels::args::{Attend, CacheRef};
use crate::kernels::isa::Isa;
use crate::math::{LANES, canonical, exp, fma, fold_lanes, tanh};

/// Positions per chunk; chunks begin at its multiples.
const CHUNK: usize = 64;

/// A cache element type as the loops read it.
trait Element: Copy {
    fn load<I: Isa>(row: &[Self; LANES]) -> [f32; LANES];
    fn load_one(self) -> f32;
}

impl Element for u16 {
    #[inline(always)]
    fn load<I: Isa>(row: &[u16; LANES]) -> [f32; LANES] {
        I::load_f16(row)
    }
    #[inline(always)]
    fn load_one(self) -> f32 {
        crate::half::f16_to_f32(self)
    }
}

impl Element for f32 {
    #[inline(always)]
    fn load<I: Isa>(row: &[f32; LANES]) -> [f32; LANES] {
        *row
    }
    #[inline(always)]
    fn load_one(self) -> f32 {
        self
    }
}

#[inline(always)]
pub(in crate::kernels) fn attend<I: Isa>(a: &mut Attend<'_>) {
    match (a.keys, a.values) {
        (CacheRef::F16(keys), CacheRef::F16(values)) => walk::<I, u16>(a, keys, values),
        (CacheRef::F32(keys), CacheRef::F32(values)) => walk::<I, f32>(a, keys, values),
        // A cache has one type; there is nothing to attend to in two.
        _ => a.out.fill(0.0),
    }
}

#[inline(always)]
fn walk<I: Isa, E: Element>(a: &mut Attend<'_>, keys: &[E], values: &[E]) {
    let head_dim = a.q.len().max(1);
    let out = &mut *a.out;
    out.fill(0.0);
    let (mut max, mut total) = (f32::NEG_INFINITY, 0.0f32);
    let mut start = a.first / CHUNK * CHUNK;
    while start < a.end {
        let (first, end) = (start.max(a.first), (start + CHUNK).min(a.end));
        let range = first * head_dim..end * head_dim;
        let (Some(keys), Some(values)) = (keys.get(range.clone()), values.get(range)) else {
            return;
        };

        let mut scores = [0.0f32; CHUNK];
        let lane0 = first - start;
        let mut chunk_max = f32::NEG_INFINITY;
        let Some(live) = scores.get_mut(lane0..end - start) else { return };
        for (score, key) in live.iter_mut().zip(keys.chunks_exact(head_dim)) {
            let mut s = dot::<I, E>(a.q, key) * a.scale;
            if let Some(cap) = a.soft_cap {
                s = cap * tanh(s / cap);
            }
            *score = s;
            chunk_max = if s > chunk_max { s } else { chunk_max };
        }
        if chunk_max > max {
            let factor = exp(max - chunk_max);
            total *= factor;
            for o in &mut *out {
                *o *= factor;
            }
            max = chunk_max;
        }
        for score in &mut *live {
            *score = exp(*score - max);
        }
        for (&e, value) in live.iter().zip(values.chunks_exact(head_dim)) {
            accumulate::<I, E>(out, e, value);
        }
        // Positions outside first..end must not count: their lanes' terms are left out.
        let mut lanes = [0.0f32; LANES];
        for (i, &e) in live.iter().enumerate() {
            let lane = &mut lanes[(lane0 + i) % LANES];
            *lane += e;
        }
        total += fold_lanes(lanes);
        start += CHUNK;
    }
    for o in out {
        *o = canonical(*o / total);
    }
}

/// Lane sum of `q[i]·k[i]`.
#[inline(always)]
fn dot<I: Isa, E: Element>(q: &[f32], k: &[E]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let ((q_chunks, q_rest), (k_chunks, k_rest)) = (q.as_chunks::<LANES>(), k.as_chunks::<LANES>());
    for (q, k) in q_chunks.iter().zip(k_chunks) {
        let k = E::load::<I>(k);
        for ((lane, &q), k) in lanes.iter_mut().zip(q).zip(k) {
            *lane = fma(q, k, *lane);
        }
    }
    for ((lane, &q), &k) in lanes.iter_mut().zip(q_rest).zip(k_rest) {
        *lane = fma(q, k.load_one(), *lane);
    }
    fold_lanes(lanes)
}

/// `out = out + e·value`.
#[inline(always)]
fn accumulate<I: Isa, E: Element>(out: &mut [f32], e: f32, value: &[E]) {
    let (out_chunks, out_rest) = out.as_chunks_mut::<LANES>();
    let (chunks, rest) = value.as_chunks::<LANES>();
    for (out, v) in out_chunks.iter_mut().zip(chunks) {
        let v = E::load::<I>(v);
        for (o, v) in out.iter_mut().zip(v) {
            *o = fma(e, v, *o);
        }
    }
    for (o, &v) in out_rest.iter_mut().zip(rest) {
        *o = fma(e, v.load_one(), *o);
    }
}
