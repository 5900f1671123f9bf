//! Weights that no training made: a model of NaN, infinities and scales that overflow gives the
//! same bits on every set, number of threads and batch size, and ends like any other.

#[allow(unreachable_pub)]
mod support;

use bantam_core::cache::CacheType;
use bantam_core::engine::{Engine, EngineOptions};
use bantam_core::gguf::Gguf;
use bantam_core::kernels::KernelSet;
use bantam_core::model::{Model, PlanOptions};
use bantam_core::par::{Parallel, Serial};
use bantam_core::rng::Rng;
use bantam_core::sampler::{Candidate, Sampler, SamplerOptions};
use support::{File, MIX, Memory, N_VOCAB, Threads, prompt, tiny};

/// What is wrong with a model.
#[derive(Clone, Copy, Debug)]
enum Harm {
    /// Blocks here and there are random bytes, scales included.
    RandomBlocks,
    /// Every scale is the same half float.
    Scales(u16),
    /// One weight of a norm.
    Norm(f32),
    /// One layer's values are multiplied with more than floats can hold.
    OneLayer(u16),
}

const HARMS: [Harm; 9] = [
    Harm::RandomBlocks,
    Harm::Scales(0x7BFF),
    Harm::Scales(0x0001),
    Harm::Scales(0x7C00),
    Harm::Norm(f32::NAN),
    Harm::Norm(f32::INFINITY),
    Harm::Norm(3e38),
    Harm::OneLayer(0xFC00),
    Harm::OneLayer(0x7C01),
];

impl Harm {
    fn to(self, file: &mut File) {
        let mut rng = Rng::new(7);
        for tensor in &mut file.tensors {
            let size = tensor.ty.block_bytes();
            let is_matrix = tensor.dims.len() > 1;
            for block in tensor.bytes.chunks_mut(size).filter(|_| is_matrix) {
                match self {
                    Harm::RandomBlocks if rng.next_u64().is_multiple_of(64) => {
                        block.fill_with(|| rng.next_u64() as u8);
                    }
                    // All formats of the mixture begin with their scale, floats with themselves.
                    Harm::Scales(half) if size > 4 => {
                        block[..2].copy_from_slice(&half.to_le_bytes());
                    }
                    Harm::OneLayer(half) if size > 4 && tensor.name.contains("blk.1.") => {
                        block[..2].copy_from_slice(&half.to_le_bytes());
                    }
                    _ => {}
                }
            }
        }
        if let Harm::Norm(weight) = self {
            let norm = file.tensor("blk.1.ffn_norm.weight");
            norm.bytes[20..24].copy_from_slice(&weight.to_le_bytes());
        }
    }
}

/// The logits behind every token, taken in one by one or in batches.
fn logits(
    bytes: &[u8],
    tokens: &[u32],
    cache: CacheType,
    n_batch: usize,
    run: EngineOptions<'_>,
) -> Vec<Vec<u32>> {
    let gguf = Gguf::parse(bytes).unwrap();
    let model = Model::new(&gguf).unwrap();
    let options = PlanOptions { n_batch, cache, n_logits: 3, ..PlanOptions::new(64) };
    let plan = model.plan(&options).unwrap();
    let mut memory = Memory::new(plan.bytes());
    let mut engine = Engine::new(&model, &plan, memory.slice(), run).unwrap();
    let mut all = Vec::new();
    let bits = |logits: &[f32]| logits.iter().map(|x| x.to_bits()).collect();
    if n_batch == 1 {
        all.extend(tokens.iter().map(|&token| bits(engine.decode(token).unwrap())));
    } else {
        engine.prefill_each(tokens, &mut |_, logits| all.push(bits(logits))).unwrap();
    }
    all
}

#[test]
fn harmed_models_have_the_same_logits_everywhere() {
    let tokens = prompt(12, 3);
    let mut n_not_finite = 0;
    for (i, harm) in HARMS.into_iter().enumerate() {
        for (j, family) in ["llama", "gemma3"].into_iter().enumerate() {
            let mut file = tiny(family, &MIX);
            harm.to(&mut file);
            let bytes = file.write();
            let cache = [CacheType::F16, CacheType::Q8_0][(i + j) % 2];
            let scalar = EngineOptions { kernels: KernelSet::scalar(), parallel: &Serial };
            let want = logits(&bytes, &tokens, cache, 1, scalar);
            for kernels in KernelSet::available() {
                for (parallel, n_batch) in [
                    (&Serial as &dyn Parallel, 1),
                    (&Serial, 7),
                    (&Serial, 64),
                    (&Threads(2), 64),
                    (&Threads(3), 7),
                ] {
                    let run = EngineOptions { kernels, parallel };
                    let got = logits(&bytes, &tokens, cache, n_batch, run);
                    let workers = parallel.workers();
                    assert!(
                        got == want,
                        "{family} {harm:?} {cache:?} {kernels:?}, {workers} workers, batches of \
                         {n_batch}"
                    );
                }
            }
            let floats = want.iter().flatten().map(|&bits| f32::from_bits(bits));
            for logit in floats {
                n_not_finite += usize::from(!logit.is_finite());
                let canonical = f32::NAN.to_bits() == logit.to_bits();
                assert!(canonical || !logit.is_nan(), "{family} {harm:?}: {logit:?}");
            }
            sample(&want);
        }
    }
    assert!(n_not_finite > 0, "nothing was harmed");
}

/// Whatever the logits, there is a next token.
fn sample(logits: &[Vec<u32>]) {
    for temperature in [0.0, 0.8] {
        let options = SamplerOptions { temperature, repeat_penalty: 1.1, ..Default::default() };
        let mut sampler = Sampler::new(options);
        let mut candidates = [Candidate::default(); 40];
        for logits in logits {
            let logits: Vec<f32> = logits.iter().map(|&bits| f32::from_bits(bits)).collect();
            let token = sampler.sample(&logits, &[1, 2], &mut candidates);
            assert!((token as usize) < N_VOCAB, "{token}");
        }
    }
}
