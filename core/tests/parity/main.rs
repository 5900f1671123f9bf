//! Every kernel of every set that this CPU runs, bit for bit against the numerics text.
//!
//! Shapes run over all lengths around the vector and tile sizes; slices start at odd places;
//! inputs hold zeros, subnormals, the largest floats, infinities and NaN; outputs are filled with
//! a NaN that no kernel writes, and must keep it wherever nothing was to be written.

mod definition;

use bantam_core::cache::CacheType;
use bantam_core::half::{f16_to_f32, f32_to_f16};
use bantam_core::kernels::{
    ActGroup, Acts, AttentionShape, CacheRef, KernelSet, Product, RopePairs,
};
use bantam_core::par::Serial;
use bantam_core::quant::{Activation, GgmlType};
use bantam_core::rng::Rng;
use bantam_core::tensor::TensorView;
use definition::{Attention, Row};
use proptest::prelude::*;

/// What outputs hold before a kernel runs.
const UNTOUCHED: f32 = f32::from_bits(0xFFF5_5555);

/// Random inputs of a kind: how often a value is an odd one.
struct Source {
    rng: Rng,
    odd: u64,
}

impl Source {
    /// Of four sources one has tame values only, one odd ones throughout.
    fn new(seed: u64) -> Self {
        let odd = [0, 1, 16, 128][seed as usize % 4];
        Source { rng: Rng::new(seed), odd }
    }

    fn below(&mut self, n: u64) -> u64 {
        self.rng.next_u64() % n
    }

    fn is_odd(&mut self) -> bool {
        self.below(128) < self.odd
    }

    fn float(&mut self) -> f32 {
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

    fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.float()).collect()
    }

    /// Weight blocks: random bytes, or all the same; f16 fields of moderate size, or any.
    fn blocks(&mut self, ty: GgmlType, n: usize) -> Vec<u8> {
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
                if !self.is_odd() {
                    block[at..at + 2].copy_from_slice(&half.to_le_bytes());
                }
            }
            if ty == GgmlType::MXFP4 && !self.is_odd() {
                block[0] = 120 + self.below(10) as u8;
            }
        }
        out
    }
}

/// The same values, starting `offset` elements into an allocation.
fn shifted<T: Copy + Default>(values: &[T], offset: usize) -> Vec<T> {
    let mut out = vec![T::default(); offset];
    out.extend_from_slice(values);
    out
}

#[track_caller]
fn assert_bits(got: &[f32], want: &[f32], what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!(
            got.to_bits() == want.to_bits(),
            "{what} [{i}]: got {got:e} ({:#010x}), expected {want:e} ({:#010x})",
            got.to_bits(),
            want.to_bits(),
        );
    }
}

#[track_caller]
fn assert_groups(got: &[ActGroup], want: &[ActGroup], what: &str) {
    let floats =
        |groups: &[ActGroup]| groups.iter().flat_map(|g| [g.d, g.dsum]).collect::<Vec<_>>();
    let sums = |groups: &[ActGroup]| groups.iter().map(|g| g.sums).collect::<Vec<_>>();
    assert_bits(&floats(got), &floats(want), what);
    assert_eq!(sums(got), sums(want), "{what}");
}

/// Runs `call` on a copy of `x` that lies `offset` into an allocation, for every set.
fn each_in_place(
    x: &[f32],
    offset: usize,
    want: &[f32],
    what: &str,
    call: impl Fn(KernelSet, &mut [f32]),
) {
    for set in KernelSet::available() {
        let mut got = shifted(x, offset);
        call(set, &mut got[offset..]);
        assert_bits(&got[offset..], want, &format!("{} {what}", set.name()));
    }
}

fn bytes_of(x: &[f32]) -> Vec<u8> {
    x.iter().flat_map(|x| x.to_le_bytes()).collect()
}

#[test]
fn the_sets_compared_here() {
    for set in KernelSet::available() {
        eprintln!("parity runs {}", set.name());
    }
    // Where the standard library detects CPUs, this test must not compare scalar with itself.
    #[cfg(all(target_arch = "x86_64", feature = "std"))]
    if std::is_x86_feature_detected!("avx2")
        && std::is_x86_feature_detected!("fma")
        && std::is_x86_feature_detected!("f16c")
    {
        assert!(KernelSet::by_name("x86_64/avx2").is_some());
    }
}

proptest! {
    #[test]
    fn quantized_activations(seed: u64, n in 0usize..1100, offset in 0usize..4, exponent in -140i32..120) {
        let mut source = Source::new(seed);
        let mut x = source.floats(n + offset);
        x.iter_mut().for_each(|x| *x *= 2f32.powi(exponent / 2) * 2f32.powi(exponent - exponent / 2));
        let x = &x[offset..];
        let (want_q, want_groups) = definition::quantize(x);
        let untouched = ActGroup { d: UNTOUCHED, dsum: UNTOUCHED, sums: [7777; 2] };
        for set in KernelSet::available() {
            let mut q = vec![77i8; n + offset];
            let mut groups = vec![untouched; n / 32 + 1];
            set.quantize(x, &mut q[offset..], &mut groups);
            let (q, rest) = q[offset..].split_at(want_q.len());
            prop_assert_eq!(q, &want_q, "{}", set.name());
            prop_assert!(rest.iter().all(|&q| q == 77));
            assert_groups(&groups[..want_groups.len()], &want_groups, set.name());
            assert_groups(&groups[want_groups.len()..], &[untouched], set.name());
        }
    }

    /// All formats, rows and tokens on both sides of every tile size: lanes may be either.
    #[test]
    fn matrix_products(
        seed: u64,
        rows in prop::sample::select(vec![1usize, 2, 7, 8, 15, 16, 17, 35]),
        tokens in prop::sample::select(vec![1usize, 2, 3, 7, 8, 9, 17]),
        blocks in 1usize..4,
        tail in 0usize..40,
        offset in 0usize..4,
    ) {
        let mut source = Source::new(seed);
        for ty in GgmlType::ALL {
            let cols = match ty.block_elems() {
                1 => blocks * 16 + tail,
                elems => blocks * elems,
            };
            let bytes = source.blocks(ty, rows * cols / ty.block_elems());
            let bytes = shifted(&bytes, offset);
            let bytes = &bytes[offset..];
            let weights = TensorView::new(ty, cols, rows, bytes).unwrap();
            let x: Vec<Row> = (0..tokens).map(|_| {
                let mut row = definition::activations(ty, source.floats(cols));
                // Scales that no sane activations have.
                for (group, q) in row.groups.iter_mut().zip(row.q.chunks(32)) {
                    if source.is_odd() {
                        *group = definition::group(source.float(), q);
                    }
                }
                row
            }).collect();

            let stride = rows + offset;
            let mut want = vec![UNTOUCHED; tokens * stride];
            for (t, x) in x.iter().enumerate() {
                for r in 0..rows {
                    want[t * stride + r] = definition::dot(ty, weights.row(r).unwrap(), x);
                }
            }

            let floats = shifted(&x.iter().flat_map(|x| x.floats.clone()).collect::<Vec<_>>(), offset);
            let q = shifted(&x.iter().flat_map(|x| x.q.clone()).collect::<Vec<_>>(), offset);
            let groups: Vec<ActGroup> = x.iter().flat_map(|x| x.groups.clone()).collect();
            let acts = match ty.activation() {
                Activation::F32 => Acts::floats(&floats[offset..], tokens, cols),
                Activation::Q8 => Acts::quantized(&q[offset..], &groups, tokens, cols),
            }.unwrap();
            for set in KernelSet::available() {
                let mut got = vec![UNTOUCHED; tokens * stride];
                set.matmul(&Serial, acts, &mut [Product::with_stride(weights, &mut got, stride)]);
                assert_bits(&got, &want, &format!("{} {ty} {rows} × {cols}, {tokens} tokens", set.name()));
            }
        }
    }

    #[test]
    fn norms(seed: u64, n in 1usize..80, offset in 0usize..4) {
        let mut source = Source::new(seed);
        let (x, w) = (source.floats(n), source.floats(n));
        let bytes = shifted(&bytes_of(&w), offset);
        let want = definition::rms_norm(&x, &w, 1e-5);
        each_in_place(&x, offset, &want, "rms_norm_in_place", |set, x| set.rms_norm_in_place(x, &bytes[offset..], 1e-5));
        let input = shifted(&x, offset);
        each_in_place(&vec![UNTOUCHED; n], 0, &want, "rms_norm", |set, out| set.rms_norm(&input[offset..], &bytes[offset..], 1e-5, out));
    }

    #[test]
    fn rotations(seed: u64, half in 1usize..40, rest in 0usize..9, offset in 0usize..4) {
        let mut source = Source::new(seed);
        let (x, cos, sin) = (source.floats(2 * half + rest), source.floats(half), source.floats(half));
        for pairs in [RopePairs::Norm, RopePairs::NeoX] {
            let want = definition::rope(pairs, &x, &cos, &sin);
            each_in_place(&x, offset, &want, "rope", |set, x| set.rope(pairs, x, &cos, &sin));
        }
    }

    #[test]
    fn elementwise(seed: u64, n in 0usize..80, offset in 0usize..4) {
        let mut source = Source::new(seed);
        let (x, y, factor) = (source.floats(n), source.floats(n), source.float());
        let cap = 1.0 + source.rng.next_f32() * 50.0;
        let bytes = shifted(&bytes_of(&y), offset);
        let by_factor = vec![factor; n];

        let want = definition::map(definition::silu_mul, &x, &y);
        each_in_place(&x, offset, &want, "silu_mul", |set, x| set.silu_mul(x, &y));
        let want = definition::map(definition::gelu_mul, &x, &y);
        each_in_place(&x, offset, &want, "gelu_mul", |set, x| set.gelu_mul(x, &y));
        let want = definition::map(|x, y| x + y, &x, &y);
        each_in_place(&x, offset, &want, "add", |set, x| set.add(x, &y));
        each_in_place(&x, offset, &want, "add_bias", |set, x| set.add_bias(x, &bytes[offset..]));
        let want = definition::map(|x, y| x * y, &x, &by_factor);
        each_in_place(&x, offset, &want, "scale", |set, x| set.scale(x, factor));
        let want = definition::map(|x, _| definition::soft_cap(x, cap), &x, &y);
        each_in_place(&x, offset, &want, "soft_cap", |set, x| set.soft_cap(x, cap));
    }

    #[test]
    fn cache_rows(seed: u64, n in 0usize..80, offset in 0usize..4, exponent in -140i32..120) {
        let mut source = Source::new(seed);
        let mut x = source.floats(n);
        x.iter_mut().for_each(|x| *x *= 2f32.powi(exponent / 2) * 2f32.powi(exponent - exponent / 2));
        let want = definition::store_f16(&x);
        let (want_q, want_d) = definition::store_q8_0(&x);
        for set in KernelSet::available() {
            let mut got = vec![0x7DAA; n + offset];
            set.store_f16(&x, &mut got[offset..]);
            prop_assert_eq!(&got[offset..], &want, "{}", set.name());
            let (mut q, mut d) = (vec![77; n + offset + 1], vec![0x7DAA; want_d.len() + 1]);
            set.store_q8_0(&x, &mut q[offset..], &mut d);
            prop_assert_eq!(&q[offset..offset + n], &want_q, "{}", set.name());
            prop_assert_eq!(&d[..want_d.len()], &want_d, "{}", set.name());
            prop_assert_eq!((q[offset + n], d[want_d.len()]), (77, 0x7DAA), "{}", set.name());
        }
    }

    /// Some tokens' queries, of one to seven heads, over windows that begin and end anywhere.
    #[test]
    fn attention(
        seed: u64,
        head_dim in 1usize..100,
        group in 1usize..8,
        tokens in prop::sample::select(vec![1usize, 1, 2, 3, 7]),
        first_pos in 0usize..200,
        window in prop::option::of(1usize..150),
        offset in 0usize..4,
        capped: bool,
    ) {
        let mut source = Source::new(seed);
        let n_kv = 2;
        let (n_head, end) = (group * n_kv, first_pos + tokens);
        // From scores where one position takes all to scores where every position counts.
        let sharpness = [1.0, 0.1, 0.01][source.below(3) as usize];
        let n = tokens * n_head * head_dim;
        let q: Vec<f32> = source.floats(n).iter().map(|q| q * sharpness).collect();
        let shape = AttentionShape {
            n_head,
            n_head_kv: n_kv,
            head_dim,
            window,
            scale: 0.125,
            soft_cap: capped.then_some(20.0),
        };
        let rows = |source: &mut Source| -> Vec<Vec<f32>> { (0..end).map(|_| source.floats(head_dim)).collect() };
        let heads: Vec<_> = (0..n_kv).map(|_| (rows(&mut source), rows(&mut source))).collect();
        let shifted_q = shifted(&q, offset);
        for ty in [CacheType::F32, CacheType::F16, CacheType::Q8_0] {
            let stored: Vec<_> = heads.iter().map(|(k, v)| [Stored::new(ty, k, true, offset), Stored::new(ty, v, false, offset)]).collect();
            let mut want = vec![UNTOUCHED; n];
            for (i, (q, want)) in q.chunks(head_dim).zip(want.chunks_mut(head_dim)).enumerate() {
                let (token, head) = (i / n_head, i % n_head);
                let [k, v] = &stored[head / group];
                let end = first_pos + token + 1;
                let first = window.map_or(0, |window| end.saturating_sub(window));
                let (scale, soft_cap) = (shape.scale, shape.soft_cap);
                want.copy_from_slice(&definition::attend(&Attention { q, k: &k.rows, v: &v.rows, first, end, scale, soft_cap }));
            }
            let cache = |head: usize| [stored[head][0].as_ref(), stored[head][1].as_ref()];
            for set in KernelSet::available() {
                let mut out = vec![UNTOUCHED; n + offset];
                set.attention(&Serial, shape, first_pos, &shifted_q[offset..], &cache, &mut out[offset..]);
                assert_bits(&out[offset..], &want, &format!("{} attention {ty:?}", set.name()));
            }
        }
    }
}

/// One head's keys or values as a cache holds them, in memory that holds NaN everywhere else.
struct Stored {
    ty: CacheType,
    offset: usize,
    /// The rows as the numerics text says that they are read back.
    rows: Vec<Vec<f32>>,
    floats: Vec<f32>,
    halves: Vec<u16>,
    integers: Vec<i8>,
}

impl Stored {
    fn new(ty: CacheType, rows: &[Vec<f32>], interleaved: bool, offset: usize) -> Self {
        let width = rows[0].len();
        let groups = width.div_ceil(32);
        let n = rows.len().next_multiple_of(16);
        let place = |width: usize, t: usize, i: usize| {
            offset + if interleaved { (t / 16 * width + i) * 16 + t % 16 } else { t * width + i }
        };
        let mut out = Stored {
            ty,
            offset,
            rows: Vec::new(),
            floats: vec![f32::NAN; n * width + offset],
            halves: vec![0x7DAA; n * width + offset],
            integers: vec![-128; n * width + offset],
        };
        for (t, row) in rows.iter().enumerate() {
            let (q, d) = definition::store_q8_0(row);
            if ty == CacheType::Q8_0 {
                d.iter().enumerate().for_each(|(i, &d)| out.halves[place(groups, t, i)] = d);
            }
            let half = definition::store_f16(row);
            let read_back = (0..width).map(|i| {
                let at = place(width, t, i);
                match ty {
                    CacheType::F32 => out.floats[at] = row[i],
                    CacheType::F16 => out.halves[at] = half[i],
                    CacheType::Q8_0 => out.integers[at] = q[i],
                }
                match ty {
                    CacheType::F32 => row[i],
                    CacheType::F16 => f16_to_f32(half[i]),
                    CacheType::Q8_0 => f32::from(q[i]) * f16_to_f32(d[i / 32]),
                }
            });
            out.rows.push(read_back.collect());
        }
        out
    }

    fn as_ref(&self) -> CacheRef<'_> {
        match self.ty {
            CacheType::F32 => CacheRef::F32(&self.floats[self.offset..]),
            CacheType::F16 => CacheRef::F16(&self.halves[self.offset..]),
            CacheType::Q8_0 => {
                CacheRef::Q8_0 { qs: &self.integers[self.offset..], d: &self.halves[self.offset..] }
            }
        }
    }
}
