//! Nothing is allocated once an engine exists: an allocator that counts says so.

#[allow(unreachable_pub)]
mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bantam_core::engine::{Engine, EngineOptions, Step};
use bantam_core::gguf::Gguf;
use bantam_core::model::{Model, PlanOptions};
use bantam_core::sampler::{Candidate, Sampler, SamplerOptions};
use bantam_core::schema::Schema;
use bantam_core::tokenizer::{Detokenizer, EncodeOptions, Tokenizer};
use support::{MIX, Memory, N_VOCAB, prompt, tiny};

struct Counting;

std::thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system's allocator; counting touches no memory of its own
// but a thread-local number that needs no initialization.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|n| n.set(n.get() + 1));
        // SAFETY: the caller's obligations are those of this method.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's obligations are those of this method.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// How many allocations `f` makes on this thread.
fn allocations(f: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.with(Cell::get);
    f();
    ALLOCATIONS.with(Cell::get) - before
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(vec![1u8; 10]))), 1);
}

#[test]
fn an_engine_at_work_allocates_nothing() {
    for family in ["llama", "qwen2", "qwen3", "gemma3"] {
        let bytes = tiny(family, &MIX).write();
        let tokens = prompt(40, 1);
        // Even finding and checking the model takes nothing but stack.
        let mut plan = None;
        let parsing = allocations(|| {
            let gguf = Gguf::parse(&bytes).unwrap();
            plan = Some(Model::new(&gguf).unwrap().plan(&PlanOptions::new(64)).unwrap());
        });
        assert_eq!(parsing, 0, "{family}: parsing");

        let plan = plan.unwrap();
        let mut memory = Memory::new(plan.bytes());
        let mut state = vec![0; 1 << 20];
        let mut scratch = vec![Candidate::default(); N_VOCAB];
        let working = allocations(|| {
            let gguf = Gguf::parse(&bytes).unwrap();
            let model = Model::new(&gguf).unwrap();
            let run = EngineOptions::default();
            let mut engine = Engine::new(&model, &plan, memory.slice(), run).unwrap();
            let mut sampler = Sampler::new(SamplerOptions { seed: 3, ..Default::default() });
            engine.prefill(&tokens).unwrap();
            for _ in 0..8 {
                let token = sampler.sample(engine.logits(), engine.tokens(), &mut scratch);
                engine.decode(token).unwrap();
            }
            let n = engine.save(&mut state).unwrap();
            engine.truncate(5).unwrap();
            engine.prefill_each(&tokens[..9], &mut |_, _| ()).unwrap();
            engine.restore(&state[..n]).unwrap();
            engine.start(&tokens[..3]).unwrap();
            while engine.step() == Step::Working {}
            // Errors are values too.
            assert!(engine.prefill(&tokens).is_err());
        });
        assert_eq!(working, 0, "{family}: working");
    }
}

#[test]
fn a_tokenizer_at_work_allocates_nothing() {
    for name in ["vocabulary_qwen2", "vocabulary_llama_bpe", "tiny_gemma3"] {
        let path = format!("{}/../fixtures/gguf/valid/{name}.gguf", env!("CARGO_MANIFEST_DIR"));
        let bytes = std::fs::read(path).unwrap();
        let gguf = Gguf::parse(&bytes).unwrap();
        let plan = Tokenizer::plan(&gguf).unwrap();
        let mut memory = Memory::new(plan.bytes);
        let text = "A few words, 1234 digits and ünïcödé 🐓 in one line.";
        let mut scratch = vec![0; 1 << 16];
        let mut tokens = vec![0; 1 << 10];
        let mut written = 0;
        let working = allocations(|| {
            let tokenizer = Tokenizer::new_in(&gguf, memory.slice()).unwrap();
            let options = EncodeOptions { add_special: false, parse_special: false };
            let n = tokenizer.encode(text, options, &mut scratch, &mut tokens).unwrap();
            let mut out = Detokenizer::new(&tokenizer);
            for &token in &tokens[..n] {
                out.push(&tokenizer, token, false, |piece| written += piece.len());
            }
            out.finish(|piece| written += piece.len());
        });
        assert_eq!(working, 0, "{name}");
        assert!(written > 0, "{name}");
    }
}

#[test]
fn answers_of_a_schema_allocate_nothing() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/models/llama.gguf");
    let bytes = std::fs::read(path).unwrap();
    let gguf = Gguf::parse(&bytes).unwrap();
    let plan = Tokenizer::plan(&gguf).unwrap();
    let mut memory = Memory::new(plan.bytes);
    let tokenizer = Tokenizer::new_in(&gguf, memory.slice()).unwrap();
    let logits: Vec<f32> = prompt(tokenizer.n_vocab(), 7).into_iter().map(|x| x as f32).collect();
    let mut n_tokens = 0;
    let working = allocations(|| {
        let schema = Schema::parse("set room? value=dec:-1:1 unit=a|b at=time\nnone").unwrap();
        assert_eq!(schema.unsayable(&tokenizer), None);
        let mut state = schema.start();
        while !state.is_whole() {
            (_, state) = schema.choose(state, &tokenizer, &logits).unwrap();
            n_tokens += 1;
        }
        assert!(Schema::parse("none none?=int:0").is_err());
    });
    assert_eq!(working, 0);
    assert!(n_tokens > 3, "{n_tokens}");
}
