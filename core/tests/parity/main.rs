//! Every kernel of every set that this CPU runs, bit for bit against the scalar set, and that one
//! against the numerics text.
//!
//! Shapes run over all lengths around the vector and tile sizes; slices start anywhere in a cache
//! line; inputs hold zeros, subnormals, the largest floats, infinities and NaN; outputs are filled
//! with a NaN that no kernel writes, and must keep it wherever nothing was to be written.

mod definition;
mod source;
mod stored;

use bantam_core::cache::CacheType;
use bantam_core::half::f16_to_f32;
use bantam_core::kernels::{ActGroup, Acts, AttentionShape, KernelSet, Product, RopePairs};
use bantam_core::par::Serial;
use bantam_core::quant::{Activation, GgmlType, quantize_row, quantize_row_weighted};
use bantam_core::tensor::TensorView;
use definition::{Attention, Row};
use proptest::prelude::*;
use source::{Source, bytes_of, scaled, shifted};
use stored::Stored;

/// What outputs hold before a kernel runs.
const UNTOUCHED: f32 = f32::from_bits(0xFFF5_5555);
/// The same for half floats and for 8-bit integers (which no kernel makes).
const UNTOUCHED_HALF: u16 = 0x7DAA;
const UNTOUCHED_BYTE: i8 = -128;
/// Values behind the last that a kernel may write.
const BEHIND: usize = 3;
/// Where slices start: anywhere in a cache line, by their own size.
const OFFSETS: std::ops::Range<usize> = 0..17;
/// Lengths that rows are tried with.
const LENGTHS: std::ops::Range<usize> = 0..68;

/// Formats that weights can be written in, except floats.
const WRITTEN: [GgmlType; 8] = [
    GgmlType::Q4_0,
    GgmlType::Q4_1,
    GgmlType::Q5_0,
    GgmlType::Q5_1,
    GgmlType::Q8_0,
    GgmlType::Q4_K,
    GgmlType::Q5_K,
    GgmlType::Q6_K,
];

/// All that a kernel wrote, and what lies around it, as bits.
type Bits = Vec<u32>;

/// Something for a kernel to do: the same inputs for every set.
struct Case {
    what: String,
    /// What the numerics text says of the result.
    want: Bits,
    run: Box<dyn Fn(KernelSet) -> Bits>,
}

impl Case {
    fn new(what: impl ToString, want: Bits, run: impl Fn(KernelSet) -> Bits + 'static) -> Self {
        Case { what: what.to_string(), want, run: Box::new(run) }
    }

    /// A kernel that changes `x`, which lies `offset` into an allocation.
    fn in_place(
        what: impl ToString,
        want: &[f32],
        x: &[f32],
        offset: usize,
        call: impl Fn(KernelSet, &mut [f32]) + 'static,
    ) -> Self {
        let input = guarded(x, offset);
        let n = x.len();
        Case::new(what, bits(&guarded(want, offset)), move |set| {
            let mut x = input.clone();
            call(set, &mut x[offset..offset + n]);
            bits(&x)
        })
    }

    fn check(&self, kernel: &str) {
        let scalar = (self.run)(KernelSet::scalar());
        let name = |set: KernelSet| format!("{} {kernel} {}", set.name(), self.what);
        let scalar_name = name(KernelSet::scalar());
        assert_same(&scalar, &self.want, &scalar_name, "the numerics text");
        for set in KernelSet::available().filter(|set| set.name() != KernelSet::scalar().name()) {
            assert_same(&(self.run)(set), &scalar, &name(set), "the scalar set");
        }
    }
}

fn bits(x: &[f32]) -> Bits {
    x.iter().map(|x| x.to_bits()).collect()
}

fn integers<T: Copy + Into<i32>>(x: &[T]) -> Bits {
    x.iter().map(|&x| x.into() as u32).collect()
}

/// `x` with values around it that nobody may touch.
fn guarded(x: &[f32], offset: usize) -> Vec<f32> {
    [&vec![UNTOUCHED; offset][..], x, &[UNTOUCHED; BEHIND]].concat()
}

fn guarded_halves(x: &[u16]) -> Bits {
    integers(&[x, &[UNTOUCHED_HALF; BEHIND]].concat())
}

fn guarded_bytes(x: &[i8]) -> Bits {
    integers(&[x, &[UNTOUCHED_BYTE; BEHIND]].concat())
}

fn group_bits(groups: &[ActGroup]) -> Bits {
    let one = |g: &ActGroup| {
        [g.d.to_bits(), g.dsum.to_bits(), i32::from(g.sums[0]) as u32, i32::from(g.sums[1]) as u32]
    };
    groups.iter().flat_map(one).collect()
}

#[track_caller]
fn assert_same(got: &[u32], want: &[u32], name: &str, of: &str) {
    assert_eq!(got.len(), want.len(), "{name}");
    if let Some(i) = (0..got.len()).find(|&i| got[i] != want[i]) {
        let float = f32::from_bits;
        panic!(
            "{name}, output {i}: {:#010x} ({:e}), but {:#010x} ({:e}) by {of}",
            got[i],
            float(got[i]),
            want[i],
            float(want[i]),
        );
    }
}

/// A case for every length around the sizes of registers; `case` is told where slices start.
fn each_length(
    source: &mut Source,
    mut case: impl FnMut(&mut Source, usize, usize) -> Case,
) -> Vec<Case> {
    let offset = |source: &mut Source| source.below(OFFSETS.end as u64) as usize;
    LENGTHS
        .map(|n| {
            let offset = offset(source);
            case(source, n, offset)
        })
        .collect()
}

/// Weights of a shape, rows × columns, with the activations of some tokens.
fn product(
    source: &mut Source,
    ty: GgmlType,
    [rows, cols]: [usize; 2],
    tokens: usize,
    offset: usize,
) -> Case {
    let bytes = source.blocks(ty, rows * cols / ty.block_elems());
    let x: Vec<Row> = (0..tokens)
        .map(|_| {
            let mut row = definition::activations(ty, source.floats(cols));
            // Scales that no sane activations have.
            for (group, q) in row.groups.iter_mut().zip(row.q.chunks(32)) {
                if source.is_odd() {
                    *group = definition::group(source.float(), q);
                }
            }
            row
        })
        .collect();

    let stride = rows + offset;
    let mut want = vec![UNTOUCHED; tokens * stride];
    for (t, x) in x.iter().enumerate() {
        for (r, row) in bytes.chunks(bytes.len() / rows).enumerate() {
            want[t * stride + r] = definition::dot(ty, row, x);
        }
    }
    let bytes = shifted(&bytes, offset);
    let floats = shifted(&x.iter().flat_map(|x| x.floats.clone()).collect::<Vec<_>>(), offset);
    let q = shifted(&x.iter().flat_map(|x| x.q.clone()).collect::<Vec<_>>(), offset);
    let groups: Vec<ActGroup> = x.iter().flat_map(|x| x.groups.clone()).collect();
    Case::new(format!("{ty} {rows} × {cols}, {tokens} tokens"), bits(&want), move |set| {
        let acts = match ty.activation() {
            Activation::F32 => Acts::floats(&floats[offset..], tokens, cols),
            Activation::Q8 => Acts::quantized(&q[offset..], &groups, tokens, cols),
        };
        let weights = TensorView::new(ty, cols, rows, &bytes[offset..]).unwrap();
        let mut out = vec![UNTOUCHED; tokens * stride];
        let products = &mut [Product::with_stride(weights, &mut out, stride)];
        set.matmul(&Serial, acts.unwrap(), products);
        bits(&out)
    })
}

/// A test for each kernel, by its name: random inputs make cases, and each case runs on every set.
macro_rules! parity {
    ($(
        $(#[$doc:meta])*
        $kernel:ident($source:ident $(, $input:ident in $values:expr)* $(,)?) $cases:block
    )+) => {
        proptest! {$(
            $(#[$doc])*
            #[test]
            fn $kernel(seed: u64 $(, $input in $values)*) {
                let mut $source = Source::new(seed);
                for case in $cases {
                    Case::check(&case, stringify!($kernel));
                }
            }
        )+}
    };
}

parity! {
    quantize(source, n in 0usize..1100, offset in OFFSETS, exponent in -140i32..120) {
        let mut x = source.floats(n);
        scaled(&mut x, exponent);
        let (q, groups) = definition::quantize(&x);
        let n_groups = groups.len();
        let left = vec![UNTOUCHED_BYTE; n - q.len()];
        let untouched = ActGroup { d: UNTOUCHED, dsum: UNTOUCHED, sums: [7777; 2] };
        let want = [guarded_bytes(&[q, left].concat()), group_bits(&[groups, vec![untouched]].concat())];
        let x = shifted(&x, offset);
        [Case::new(n, want.concat(), move |set| {
            let mut q = vec![UNTOUCHED_BYTE; offset + n + BEHIND];
            let mut groups = vec![untouched; n_groups + 1];
            set.quantize(&x[offset..], &mut q[offset..offset + n], &mut groups);
            [integers(&q[offset..]), group_bits(&groups)].concat()
        })]
    }

    /// All formats, rows and tokens on both sides of every tile size: lanes may be either.
    matmul_rows(
        source,
        rows in prop::sample::select(vec![1usize, 2, 7, 8, 15, 16, 17, 35]),
        tokens in prop::sample::select(vec![1usize, 2, 3, 7, 8, 9, 17]),
        // Some kernels take several blocks at once, and others long rows otherwise.
        blocks in prop::sample::select(vec![1usize, 1, 2, 2, 3, 3, 4, 5, 9, 50]),
        tail in 0usize..40,
        offset in OFFSETS,
    ) {
        GgmlType::ALL.map(|ty| {
            let cols = match ty.block_elems() {
                1 => blocks * 16 + tail,
                256 => blocks.min(4) * 256,
                elems => blocks * elems,
            };
            product(&mut source, ty, [rows, cols], tokens, offset)
        })
    }

    /// Every number of tokens and of rows that a tile of floats can have, and some that it cannot.
    matmul_float_rows(
        source,
        rows in 1usize..14,
        // Long rows go by fewer at a time.
        cols in prop_oneof![9 => 1usize..100, 1 => 20_000usize..20_020],
        offset in OFFSETS,
    ) {
        let tokens = if cols < 100 { 1..=17 } else { 7..=7 };
        let formats = [GgmlType::F32, GgmlType::F16, GgmlType::BF16];
        let all: Vec<_> = tokens.flat_map(|n| formats.map(|ty| (ty, n))).collect();
        all.into_iter().map(|(ty, n)| product(&mut source, ty, [rows, cols], n, offset)).collect::<Vec<_>>()
    }

    rms_norm(source) {
        each_length(&mut source, |source, n, offset| {
            let (x, w) = (source.floats(n), source.floats(n));
            let want = definition::rms_norm(&x, &w, 1e-5);
            let (x, w) = (shifted(&x, offset), shifted(&bytes_of(&w), offset));
            Case::in_place(n, &want, &vec![UNTOUCHED; n], offset, move |set, out| {
                set.rms_norm(&x[offset..], &w[offset..], 1e-5, out);
            })
        })
    }

    rms_norm_in_place(source) {
        each_length(&mut source, |source, n, offset| {
            let (x, w) = (source.floats(n), source.floats(n));
            let want = definition::rms_norm(&x, &w, 1e-5);
            let w = shifted(&bytes_of(&w), offset);
            Case::in_place(n, &want, &x, offset, move |set, x| {
                set.rms_norm_in_place(x, &w[offset..], 1e-5);
            })
        })
    }

    rope(source, half in 1usize..50, rest in 0usize..9, offset in OFFSETS) {
        let (x, cos, sin) = (source.floats(2 * half + rest), source.floats(half), source.floats(half));
        [RopePairs::Norm, RopePairs::NeoX].map(|pairs| {
            let want = definition::rope(pairs, &x, &cos, &sin);
            let (cos, sin) = (cos.clone(), sin.clone());
            Case::in_place(format!("{pairs:?} {half}"), &want, &x, offset, move |set, x| {
                set.rope(pairs, x, &cos, &sin);
            })
        })
    }

    /// Some tokens' queries, of one to seven heads, over windows that begin and end anywhere.
    attend(
        source,
        head_dim in prop_oneof![
            4 => 1usize..100,
            1 => prop::sample::select(vec![33, 80, 96, 128, 256, 259, 300]),
        ],
        group in 1usize..8,
        tokens in prop::sample::select(vec![1usize, 1, 2, 3, 7]),
        first_pos in 0usize..200,
        window in prop::option::of(1usize..150),
        offset in OFFSETS,
        capped in any::<bool>(),
    ) {
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
        [CacheType::F32, CacheType::F16, CacheType::Q8_0].map(|ty| {
            let stored: Vec<_> = heads.iter().map(|(k, v)| [Stored::new(ty, k, true, offset, &mut source), Stored::new(ty, v, false, offset, &mut source)]).collect();
            let mut want = vec![UNTOUCHED; n];
            for (i, (q, want)) in q.chunks(head_dim).zip(want.chunks_mut(head_dim)).enumerate() {
                let (token, head) = (i / n_head, i % n_head);
                let [k, v] = &stored[head / group];
                let end = first_pos + token + 1;
                let first = window.map_or(0, |window| end.saturating_sub(window));
                let (scale, soft_cap) = (shape.scale, shape.soft_cap);
                want.copy_from_slice(&definition::attend(&Attention { q, k: &k.rows, v: &v.rows, first, end, scale, soft_cap }));
            }
            let q = shifted(&q, offset);
            Case::in_place(format!("{ty:?}"), &want, &vec![UNTOUCHED; n], offset, move |set, out| {
                let cache = |head: usize| [stored[head][0].as_ref(), stored[head][1].as_ref()];
                set.attention(&Serial, shape, first_pos, &q[offset..], &cache, out);
            })
        })
    }

    silu_mul(source) {
        each_length(&mut source, |source, n, offset| {
            let (x, y) = (source.floats(n), source.floats(n));
            let want = definition::map(definition::silu_mul, &x, &y);
            Case::in_place(n, &want, &x, offset, move |set, x| set.silu_mul(x, &y))
        })
    }

    gelu_mul(source) {
        each_length(&mut source, |source, n, offset| {
            let (x, y) = (source.floats(n), source.floats(n));
            let want = definition::map(definition::gelu_mul, &x, &y);
            Case::in_place(n, &want, &x, offset, move |set, x| set.gelu_mul(x, &y))
        })
    }

    add(source) {
        each_length(&mut source, |source, n, offset| {
            let (x, y) = (source.floats(n), source.floats(n));
            let want = definition::map(|x, y| x + y, &x, &y);
            Case::in_place(n, &want, &x, offset, move |set, x| set.add(x, &y))
        })
    }

    add_bias(source) {
        each_length(&mut source, |source, n, offset| {
            let (x, y) = (source.floats(n), source.floats(n));
            let want = definition::map(|x, y| x + y, &x, &y);
            let bias = shifted(&bytes_of(&y), offset);
            Case::in_place(n, &want, &x, offset, move |set, x| set.add_bias(x, &bias[offset..]))
        })
    }

    scale(source) {
        each_length(&mut source, |source, n, offset| {
            let (x, factor) = (source.floats(n), source.float());
            let want = definition::map(|x, factor| x * factor, &x, &vec![factor; n]);
            Case::in_place(n, &want, &x, offset, move |set, x| set.scale(x, factor))
        })
    }

    soft_cap(source, cap in 1f32..50.0) {
        each_length(&mut source, |source, n, offset| {
            let x = source.floats(n);
            let want = definition::map(definition::soft_cap, &x, &vec![cap; n]);
            Case::in_place(n, &want, &x, offset, move |set, x| set.soft_cap(x, cap))
        })
    }

    quantize_weights(source, exponent in -140i32..120, offset in OFFSETS, weighted in any::<bool>()) {
        // More than the sixteen blocks of 32 that go side by side.
        WRITTEN.map(|ty| {
            let n = 256 * (1 + source.below(3)) as usize;
            let mut x = source.floats(n);
            scaled(&mut x, exponent);
            let importance = weighted.then(|| source.floats(n));
            let n_bytes = ty.row_bytes(n).unwrap();
            let mut want = vec![0xA5; n_bytes + BEHIND];
            let row = &mut want[..n_bytes];
            match &importance {
                Some(importance) => quantize_row_weighted(ty, &x, importance, row).unwrap(),
                None => quantize_row(ty, &x, row).unwrap(),
            }
            let x = shifted(&x, offset);
            Case::new(format!("{ty} of {n}"), integers(&want), move |set| {
                let mut out = vec![0xA5; n_bytes + BEHIND];
                let row = &mut out[..n_bytes];
                set.quantize_weights(ty, &x[offset..], importance.as_deref(), row).unwrap();
                integers(&out)
            })
        })
    }

    store_f16(source, exponent in -140i32..120) {
        each_length(&mut source, |source, n, offset| {
            let mut x = source.floats(n);
            scaled(&mut x, exponent);
            let want = guarded_halves(&definition::store_f16(&x));
            let x = shifted(&x, offset);
            Case::new(n, want, move |set| {
                let mut out = vec![UNTOUCHED_HALF; offset + n + BEHIND];
                set.store_f16(&x[offset..], &mut out[offset..offset + n]);
                integers(&out[offset..])
            })
        })
    }

    store_q8_0(source, exponent in -140i32..120) {
        each_length(&mut source, |source, n, offset| {
            let mut x = source.floats(n);
            scaled(&mut x, exponent);
            let (q, d) = definition::store_q8_0(&x);
            let n_groups = d.len();
            let want = [guarded_bytes(&q), guarded_halves(&d)].concat();
            let x = shifted(&x, offset);
            Case::new(n, want, move |set| {
                let mut q = vec![UNTOUCHED_BYTE; offset + n + BEHIND];
                let mut d = vec![UNTOUCHED_HALF; n_groups + BEHIND];
                set.store_q8_0(&x[offset..], &mut q[offset..offset + n], &mut d[..n_groups]);
                [integers(&q[offset..]), integers(&d)].concat()
            })
        })
    }
}

/// Every half float, the middle between it and the next, where rounding turns, and the floats on
/// either side of that; and NaN of either sign, signaling too, whatever their payload.
#[test]
fn store_f16_at_every_turn() {
    let mut x = Vec::new();
    for half in 0..0x7C00u16 {
        let low = f16_to_f32(half);
        let high = if half == 0x7BFF { 65536.0 } else { f16_to_f32(half + 1) };
        let middle = low + (high - low) / 2.0;
        x.extend([low, middle.next_down(), middle, middle.next_up()]);
    }
    x.extend([0x7F80_0000, 0x7F80_0001, 0x7FA0_0000, 0x7FC0_0000, 0x7FFF_FFFF].map(f32::from_bits));
    let x: Vec<f32> = x.iter().flat_map(|&x| [x, -x]).collect();
    let want = definition::store_f16(&x);
    Case::new("all halves", integers(&want), move |set| {
        let mut out = vec![UNTOUCHED_HALF; x.len()];
        set.store_f16(&x, &mut out);
        integers(&out)
    })
    .check("store_f16");
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
