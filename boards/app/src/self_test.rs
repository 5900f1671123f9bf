//! Every kernel of every set on this processor against the scalar set, bit for bit, on small
//! random inputs.
//!
//! Core's own tests do this with far more inputs; what they cannot see is this processor, or what
//! this build has made of the code.

use crate::Failure;
use crate::hash::Fnv;
use bantam_core::kernels::{
    ActGroup, Acts, AttentionShape, CacheRef, KernelSet, Product, RopePairs,
};
use bantam_core::par::Serial;
use bantam_core::quant::{Activation, GgmlType, dequantize_row};
use bantam_core::rng::Rng;
use bantam_core::tensor::TensorView;
use defmt::{error, info};

/// Columns of weights: two super-blocks.
const COLS: usize = 512;
/// Rows of weights: kernels take them by ones, twos and fours.
const ROWS: usize = 7;
/// Tokens that are multiplied together.
const TOKENS: usize = 3;
/// Bytes of a row of the widest format.
const ROW_BYTES: usize = 4 * COLS;
/// A length that fills no register.
const N: usize = 83;
/// Width of a head, and positions in a cache.
const HEAD: usize = 32;
const POSITIONS: usize = 21;

/// Runs one kernel of a set on inputs made from `rng`; adds its outputs to `out`.
type Run = fn(KernelSet, &mut Rng, &mut Fnv);

const KERNELS: [(&str, Run); 13] = [
    ("quantize", |set, rng, out| {
        let (mut qs, mut groups) = ([0; COLS], [ActGroup::default(); COLS / ActGroup::LEN]);
        set.quantize(&floats::<COLS>(rng), &mut qs, &mut groups);
        out.add_bytes(qs.map(|q| q as u8));
        groups.iter().for_each(|group| out.add(&[group.d, group.dsum]));
    }),
    ("rms_norm", |set, rng, out| {
        let mut y = [0.0; N];
        set.rms_norm(
            &floats::<N>(rng),
            float_bytes(&floats::<N>(rng)).as_flattened(),
            1e-5,
            &mut y,
        );
        out.add(&y);
    }),
    ("rms_norm_in_place", |set, rng, out| {
        let mut x = floats::<N>(rng);
        set.rms_norm_in_place(&mut x, float_bytes(&floats::<N>(rng)).as_flattened(), 1e-5);
        out.add(&x);
    }),
    ("rope", |set, rng, out| {
        for pairs in [RopePairs::Norm, RopePairs::NeoX] {
            let mut head = floats::<HEAD>(rng);
            set.rope(pairs, &mut head, &floats::<{ HEAD / 2 }>(rng), &floats::<{ HEAD / 2 }>(rng));
            out.add(&head);
        }
    }),
    ("attend", attend),
    ("silu_mul", |set, rng, out| {
        let mut x = floats::<N>(rng);
        set.silu_mul(&mut x, &floats::<N>(rng));
        out.add(&x);
    }),
    ("gelu_mul", |set, rng, out| {
        let mut x = floats::<N>(rng);
        set.gelu_mul(&mut x, &floats::<N>(rng));
        out.add(&x);
    }),
    ("add", |set, rng, out| {
        let mut x = floats::<N>(rng);
        set.add(&mut x, &floats::<N>(rng));
        out.add(&x);
    }),
    ("add_bias", |set, rng, out| {
        let mut x = floats::<N>(rng);
        set.add_bias(&mut x, float_bytes(&floats::<N>(rng)).as_flattened());
        out.add(&x);
    }),
    ("scale", |set, rng, out| {
        let mut x = floats::<N>(rng);
        set.scale(&mut x, float(rng));
        out.add(&x);
    }),
    ("soft_cap", |set, rng, out| {
        let mut x = floats::<N>(rng);
        set.soft_cap(&mut x, 30.0);
        out.add(&x);
    }),
    ("store_f16", |set, rng, out| {
        let mut halves = [0; N];
        set.store_f16(&floats::<N>(rng), &mut halves);
        out.add_bytes(halves.iter().flat_map(|half| half.to_le_bytes()));
    }),
    ("store_q8_0", |set, rng, out| {
        let (mut qs, mut d) = ([0; N], [0; N.div_ceil(32)]);
        set.store_q8_0(&floats::<N>(rng), &mut qs, &mut d);
        out.add_bytes(qs.map(|q| q as u8));
        out.add_bytes(d.iter().flat_map(|half| half.to_le_bytes()));
    }),
];

/// Compares every set of this processor with the scalar one.
///
/// # Errors
/// [`Failure::SelfTest`] when one gives other bits.
pub(crate) fn self_test() -> Result<(), Failure> {
    let mut all = Fnv::new();
    for (seed, (name, run)) in (0..).zip(KERNELS) {
        compare(name, &mut all, |set, out| run(set, &mut Rng::new(seed), out))?;
    }
    for (seed, ty) in (100..).zip(GgmlType::ALL) {
        compare(ty.name(), &mut all, |set, out| multiply(ty, set, &mut Rng::new(seed), out))?;
    }
    for set in KernelSet::available() {
        info!(
            "self-test: {=str}, {=usize} kernels and {=usize} formats, {=u64:016x}",
            set.name(),
            KERNELS.len(),
            GgmlType::ALL.len(),
            all.get(),
        );
    }
    Ok(())
}

/// Runs something on every set, and adds to `all` what the scalar one gives.
fn compare(name: &str, all: &mut Fnv, run: impl Fn(KernelSet, &mut Fnv)) -> Result<(), Failure> {
    let result = |set| {
        let mut out = Fnv::new();
        run(set, &mut out);
        out.get()
    };
    let expected = result(KernelSet::scalar());
    all.add_bytes(expected.to_le_bytes());
    for set in KernelSet::available() {
        let got = result(set);
        if got != expected {
            let set = set.name();
            error!("{=str} of {=str}: {=u64:016x}, not {=u64:016x}", name, set, got, expected);
            return Err(Failure::SelfTest);
        }
    }
    Ok(())
}

/// Multiplies a random matrix with random activations.
fn multiply(ty: GgmlType, set: KernelSet, rng: &mut Rng, out: &mut Fnv) {
    let mut bytes = [0; ROWS * ROW_BYTES];
    let n_bytes = ty.row_bytes(COLS).unwrap_or(0) * ROWS;
    let Some(bytes) = bytes.get_mut(..n_bytes) else { return };
    for block in bytes.chunks_exact_mut(ty.block_bytes()) {
        random_block(ty, rng, block);
    }
    let (x, mut y) = (floats::<{ TOKENS * COLS }>(rng), [0.0; TOKENS * ROWS]);
    let (mut qs, mut groups) =
        ([0; TOKENS * COLS], [ActGroup::default(); TOKENS * COLS / ActGroup::LEN]);
    let acts = match ty.activation() {
        Activation::F32 => Acts::floats(&x, TOKENS, COLS),
        Activation::Q8 => {
            KernelSet::scalar().quantize(&x, &mut qs, &mut groups);
            Acts::quantized(&qs, &groups, TOKENS, COLS)
        }
    };
    if let (Ok(weights), Some(acts)) = (TensorView::new(ty, COLS, ROWS, bytes), acts) {
        set.matmul(&Serial, acts, &mut [Product::new(weights, &mut y)]);
    }
    out.add(&y);
}

/// Fills a block with bytes that mean weights of a common size.
fn random_block(ty: GgmlType, rng: &mut Rng, block: &mut [u8]) {
    let mut weights = [f32::NAN; 256];
    let Some(weights) = weights.get_mut(..ty.block_elems()) else { return };
    loop {
        block.fill_with(|| rng.next_u64() as u8);
        let read = dequantize_row(ty, block, weights);
        if read.is_ok() && weights.iter().all(|w| w.abs() < 1e3) {
            return;
        }
    }
}

/// Attention over caches of each type.
fn attend(set: KernelSet, rng: &mut Rng, out: &mut Fnv) {
    /// Positions of keys, in whole blocks.
    const ROOM: usize = POSITIONS.next_multiple_of(CacheRef::LANES) * HEAD;
    let shape = AttentionShape {
        n_head: 2,
        n_head_kv: 1,
        head_dim: HEAD,
        window: None,
        scale: 0.2,
        soft_cap: None,
    };
    let q = floats::<{ 2 * HEAD }>(rng);
    let f = [floats::<ROOM>(rng), floats::<ROOM>(rng)];
    let halves = f.map(|f| {
        let mut halves = [0; ROOM];
        KernelSet::scalar().store_f16(&f, &mut halves);
        halves
    });
    let integers = f.map(|f| f.map(|f| (f * 127.0) as i8));
    let caches = [
        [CacheRef::F32(&f[0]), CacheRef::F32(&f[1])],
        [CacheRef::F16(&halves[0]), CacheRef::F16(&halves[1])],
        [
            CacheRef::Q8_0 { qs: &integers[0], d: &halves[0] },
            CacheRef::Q8_0 { qs: &integers[1], d: &halves[1] },
        ],
    ];
    for cache in caches {
        let mut y = [0.0; 2 * HEAD];
        set.attention(&Serial, shape, POSITIONS - 1, &q, &|_| cache, &mut y);
        out.add(&y);
    }
}

/// A float between −1 and 1.
fn float(rng: &mut Rng) -> f32 {
    2.0 * rng.next_f32() - 1.0
}

fn floats<const N: usize>(rng: &mut Rng) -> [f32; N] {
    core::array::from_fn(|_| float(rng))
}

fn float_bytes<const N: usize>(x: &[f32; N]) -> [[u8; 4]; N] {
    x.map(f32::to_le_bytes)
}
