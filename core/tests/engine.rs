//! One arithmetic, seen from outside: nothing but tokens and weights can change a logit.

#[allow(unreachable_pub)]
mod support;

use bantam_core::cache::CacheType;
use bantam_core::engine::{Engine, EngineError, EngineOptions, Stage, Step};
use bantam_core::gguf::Gguf;
use bantam_core::kernels::KernelSet;
use bantam_core::model::{MemoryPlan, Model, ModelError, ModelShape, PlanOptions};
use bantam_core::par::{Parallel, Serial};
use support::{MIX, Memory, N_VOCAB, Threads, prompt, tiny};

const FAMILIES: [&str; 4] = ["llama", "qwen2", "qwen3", "gemma3"];
const CACHES: [CacheType; 3] = [CacheType::F16, CacheType::F32, CacheType::Q8_0];

/// Runs tasks backwards on one thread.
struct Backwards;

// SAFETY: each index once, one at a time, as worker 0.
unsafe impl Parallel for Backwards {
    fn workers(&self) -> usize {
        3
    }
    fn run(&self, n_tasks: usize, task: &(dyn Fn(usize, usize) + Sync)) {
        for index in (0..n_tasks).rev() {
            task(0, index);
        }
    }
}

/// Calls `f` with an engine for the model in `bytes`.
fn with_engine<R>(
    bytes: &[u8],
    options: PlanOptions,
    run: EngineOptions<'_>,
    f: impl FnOnce(&mut Engine<'_, '_>) -> R,
) -> R {
    let gguf = Gguf::parse(bytes).unwrap();
    let model = Model::new(&gguf).unwrap();
    let plan = model.plan(&options).unwrap();
    let mut memory = Memory::new(plan.bytes());
    let mut engine = Engine::new(&model, &plan, memory.slice(), run).unwrap();
    f(&mut engine)
}

fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|x| x.to_bits()).collect()
}

/// The logits behind every token of a prompt, one token at a time on the scalar set.
fn reference(bytes: &[u8], tokens: &[u32], cache: CacheType) -> Vec<Vec<u32>> {
    let options = PlanOptions { n_batch: 1, cache, ..PlanOptions::new(tokens.len()) };
    let run = EngineOptions { kernels: KernelSet::scalar(), parallel: &Serial };
    with_engine(bytes, options, run, |engine| {
        tokens.iter().map(|&t| bits(engine.decode(t).unwrap())).collect()
    })
}

#[test]
fn batches_workers_and_kernels_leave_no_trace() {
    let tokens = prompt(45, 1);
    for family in FAMILIES {
        let bytes = tiny(family, &MIX).write();
        for cache in CACHES {
            let want = reference(&bytes, &tokens, cache);
            assert_ne!(want[0], want[1], "{family}: logits do not depend on the token");
            assert!(want.iter().flatten().all(|&b| f32::from_bits(b).is_finite()));
            for kernels in KernelSet::available() {
                for (parallel, n_batch, n_logits) in [
                    (&Serial as &dyn Parallel, 512, 1),
                    (&Serial, 7, 4),
                    (&Backwards, 32, 32),
                    (&Threads(2), 25, 2),
                    (&Threads(5), 45, 45),
                ] {
                    let options = PlanOptions { n_batch, n_logits, cache, ..PlanOptions::new(200) };
                    let run = EngineOptions { kernels, parallel };
                    with_engine(&bytes, options, run, |engine| {
                        let mut n = 0;
                        engine
                            .prefill_each(&tokens, &mut |i, logits| {
                                assert_eq!(i, n);
                                assert_eq!(bits(logits), want[i], "{family} {kernels:?} {i}");
                                n += 1;
                            })
                            .unwrap();
                        assert_eq!((n, engine.pos()), (tokens.len(), tokens.len()));
                        assert_eq!(engine.tokens(), tokens);
                    });
                    with_engine(&bytes, options, run, |engine| {
                        let last = bits(engine.prefill(&tokens).unwrap());
                        assert_eq!(last, want[tokens.len() - 1], "{family} {kernels:?}");
                    });
                }
            }
        }
    }
}

#[test]
fn cache_history_leaves_no_trace() {
    let (tokens, other) = (prompt(90, 2), prompt(60, 3));
    for family in FAMILIES {
        let bytes = tiny(family, &MIX).write();
        for cache in CACHES {
            let want = reference(&bytes, &tokens, cache).pop().unwrap();
            let options = PlanOptions { n_batch: 16, cache, ..PlanOptions::new(128) };
            with_engine(&bytes, options, EngineOptions::default(), |engine| {
                // Another conversation was here before.
                engine.prefill(&other).unwrap();
                engine.truncate(0).unwrap();
                engine.prefill(&tokens).unwrap();
                assert_eq!(bits(engine.logits()), want, "{family}: after another prompt");

                // A shared prefix, then something else, then back.
                engine.truncate(40).unwrap();
                engine.prefill(&other).unwrap();
                engine.truncate(40).unwrap();
                assert_eq!(bits(engine.prefill(&tokens[40..]).unwrap()), want, "{family}: prefix");

                // Saved, forgotten, restored.
                engine.truncate(77).unwrap();
                let mut state = vec![0; engine.state_bytes()];
                assert_eq!(engine.save(&mut state), Ok(state.len()));
                engine.truncate(0).unwrap();
                engine.prefill(&other).unwrap();
                engine.restore(&state).unwrap();
                assert_eq!((engine.pos(), engine.tokens()), (77, &tokens[..77]));
                assert_eq!(
                    bits(engine.prefill(&tokens[77..]).unwrap()),
                    want,
                    "{family}: restored"
                );

                // And in a context of another length, which the saved bytes must not show.
                let other_ctx = PlanOptions { n_batch: 7, cache, ..PlanOptions::new(91) };
                with_engine(&bytes, other_ctx, EngineOptions::default(), |engine| {
                    engine.restore(&state).unwrap();
                    let mut again = vec![0; engine.state_bytes()];
                    engine.save(&mut again).unwrap();
                    assert_eq!(again, state, "{family}: saved again");
                    assert_eq!(
                        bits(engine.prefill(&tokens[77..]).unwrap()),
                        want,
                        "{family}: moved"
                    );
                });
            });
        }
    }
}

#[test]
fn what_the_memory_held_leaves_no_trace() {
    let tokens = prompt(70, 5);
    for family in FAMILIES {
        let bytes = tiny(family, &MIX).write();
        for cache in CACHES {
            let want = reference(&bytes, &tokens, cache).pop().unwrap();
            let gguf = Gguf::parse(&bytes).unwrap();
            let model = Model::new(&gguf).unwrap();
            let options = PlanOptions { n_batch: 16, cache, ..PlanOptions::new(100) };
            let plan = model.plan(&options).unwrap();
            for kernels in KernelSet::available() {
                // All ones is a NaN in both widths.
                let mut memory = Memory::new(plan.bytes());
                memory.slice().fill(0xFF);
                let run = EngineOptions { kernels, parallel: &Serial };
                let mut engine = Engine::new(&model, &plan, memory.slice(), run).unwrap();
                let logits = engine.prefill(&tokens).unwrap();
                assert_eq!(bits(logits), want, "{family} {kernels:?}");
            }
        }
    }
}

#[test]
fn steps_are_the_same_as_a_whole() {
    let tokens = prompt(50, 4);
    let bytes = tiny("gemma3", &MIX).write();
    let want = reference(&bytes, &tokens, CacheType::F16).pop().unwrap();
    let options = PlanOptions { n_batch: 20, ..PlanOptions::new(64) };
    with_engine(&bytes, options, EngineOptions::default(), |engine| {
        assert_eq!(engine.step(), Step::Done, "nothing is pending");
        engine.start(&tokens).unwrap();
        assert_eq!(engine.start(&tokens), Err(EngineError::Busy));
        let mut steps = 1;
        while engine.step() == Step::Working {
            steps += 1;
        }
        // Three batches of an embedding and three layers, then norm and head.
        assert_eq!(steps, 3 * (1 + support::N_LAYER) + 2);
        assert_eq!(bits(engine.logits()), want);

        // Dropped in the middle, taken up again from the last whole batch.
        engine.truncate(0).unwrap();
        engine.start(&tokens).unwrap();
        for _ in 0..6 {
            assert_eq!(engine.step(), Step::Working);
        }
        assert_eq!(engine.pos(), 20);
        let mut state = vec![0; engine.state_bytes()];
        assert_eq!(engine.save(&mut state), Err(EngineError::Busy));
        engine.truncate(20).unwrap();
        assert_eq!(bits(engine.prefill(&tokens[20..]).unwrap()), want);
    });
}

#[test]
fn observers_see_every_stage_and_change_nothing() {
    let tokens = prompt(10, 5);
    let bytes = tiny("qwen3", &MIX).write();
    let want = reference(&bytes, &tokens, CacheType::F16);
    let options = PlanOptions { n_batch: 6, ..PlanOptions::new(16) };
    with_engine(&bytes, options, EngineOptions::default(), |engine| {
        let mut names = Vec::new();
        let mut sink = |i: usize, logits: &[f32]| assert_eq!(bits(logits), want[i]);
        engine
            .prefill_observed(&tokens, &mut sink, &mut |stage, values| {
                assert_eq!(values.len(), stage.n_rows * stage.n_cols);
                names.push((stage.name, stage.layer, stage.first_pos, stage.n_rows));
            })
            .unwrap();
        assert_eq!(names[0], ("embd", None, 0, 6));
        let per_batch = |n: usize| 1 + support::N_LAYER * 13 + 2 * n;
        assert_eq!(names.len(), per_batch(6) + per_batch(4));
        assert_eq!(names[per_batch(6)], ("embd", None, 6, 4));
        assert_eq!(names.last(), Some(&("logits", None, 9, 1)));
        assert!(names.contains(&("ffn_out", Some(2), 6, 4)));
    });
}

#[test]
fn a_step_that_is_observed_is_the_same_step() {
    let tokens = prompt(10, 5);
    let bytes = tiny("qwen3", &MIX).write();
    let options = PlanOptions { n_batch: 6, ..PlanOptions::new(16) };
    let want = with_engine(&bytes, options, EngineOptions::default(), |engine| {
        bits(engine.prefill(&tokens).unwrap())
    });
    with_engine(&bytes, options, EngineOptions::default(), |engine| {
        let mut rows = Vec::new();
        engine.start(&tokens).unwrap();
        let mut observe = |stage: Stage, _: &[f32]| {
            if stage.name == "ffn_act" || stage.name == "logits" {
                rows.push((stage.name, stage.layer, stage.first_pos, stage.n_rows));
            }
        };
        while engine.step_observed(&mut observe) == Step::Working {}
        assert_eq!(bits(engine.logits()), want);
        // Every row of the last layer, too, but no logits beside the last row's of a batch.
        let last = Some(support::N_LAYER - 1);
        assert!(rows.contains(&("ffn_act", last, 0, 6)) && rows.contains(&("ffn_act", last, 6, 4)));
        let logits: Vec<_> = rows.iter().filter(|row| row.0 == "logits").collect();
        assert_eq!(logits, [&("logits", None, 5, 1), &("logits", None, 9, 1)]);
    });
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let bytes = tiny("llama", &MIX).write();
    let tokens = prompt(10, 6);
    with_engine(&bytes, PlanOptions::new(12), EngineOptions::default(), |engine| {
        let want = bits(engine.prefill(&tokens).unwrap());
        assert_eq!(engine.prefill(&prompt(3, 7)), Err(EngineError::ContextFull(10, 3, 12)));
        assert_eq!(engine.prefill(&[]), Err(EngineError::NoTokens));
        let bad = [1, N_VOCAB as u32];
        assert_eq!(engine.prefill(&bad), Err(EngineError::Token(1, N_VOCAB as u32, N_VOCAB)));
        assert_eq!(engine.truncate(11), Err(EngineError::Ahead(11, 10)));
        assert_eq!((engine.pos(), bits(engine.logits())), (10, want));
        engine.prefill(&prompt(2, 8)).unwrap();
        assert_eq!(engine.decode(0), Err(EngineError::ContextFull(12, 1, 12)));
    });
}

#[test]
fn damaged_or_foreign_state_is_refused() {
    let bytes = tiny("llama", &MIX).write();
    let mut changed = tiny("llama", &MIX);
    changed.tensor("blk.1.ffn_down.weight").bytes[3] ^= 1;
    let (changed, tokens) = (changed.write(), prompt(9, 9));
    let save = |bytes: &[u8], cache| {
        let options = PlanOptions { cache, ..PlanOptions::new(16) };
        with_engine(bytes, options, EngineOptions::default(), |engine| {
            engine.prefill(&tokens).unwrap();
            let mut state = vec![0; engine.state_bytes()];
            assert_eq!(
                engine.save(&mut state[1..]),
                Err(EngineError::StateSize(engine.state_bytes(), engine.state_bytes() - 1))
            );
            engine.save(&mut state).unwrap();
            state
        })
    };
    let state = save(&bytes, CacheType::F16);
    let refuse = |n_ctx, state: &[u8]| {
        with_engine(&bytes, PlanOptions::new(n_ctx), EngineOptions::default(), |engine| {
            engine.prefill(&tokens[..2]).unwrap();
            let error = engine.restore(state).unwrap_err();
            assert_eq!(engine.tokens(), &tokens[..2]);
            error
        })
    };
    assert_eq!(refuse(8, &state), EngineError::ContextFull(0, 9, 8));
    assert!(matches!(refuse(16, &save(&changed, CacheType::F16)), EngineError::StateModel(..)));
    assert!(matches!(refuse(16, &save(&bytes, CacheType::F32)), EngineError::StateCache(..)));
    assert!(matches!(refuse(16, &save(&bytes, CacheType::Q8_0)), EngineError::StateCache(..)));
    for len in 0..state.len() {
        let error = refuse(16, &state[..len]);
        assert!(matches!(error, EngineError::NotState | EngineError::StateSize(..)), "{len}");
    }
    for byte in (24..state.len()).step_by(11) {
        let mut flipped = state.clone();
        flipped[byte] ^= 0x10;
        assert_eq!(refuse(16, &flipped), EngineError::StateDamaged, "byte {byte}");
    }
}

#[test]
fn plans_are_exact() {
    let bytes = tiny("gemma3", &MIX).write();
    let gguf = Gguf::parse(&bytes).unwrap();
    let model = Model::new(&gguf).unwrap();
    for (n_ctx, n_batch, cache) in
        [(1, 1, CacheType::F16), (33, 512, CacheType::F32), (100, 9, CacheType::Q8_0)]
    {
        let plan = model.plan(&PlanOptions { n_batch, cache, ..PlanOptions::new(n_ctx) }).unwrap();
        let mut memory = Memory::new(plan.bytes());
        Engine::new(&model, &plan, memory.slice(), EngineOptions::default()).unwrap();
        let slice = memory.slice();
        let short = &mut slice[..plan.bytes() - 64];
        let error = Engine::new(&model, &plan, short, EngineOptions::default()).err();
        assert!(matches!(error, Some(EngineError::Memory(e)) if e.needed <= plan.bytes()));
    }
    let plan = |n_ctx, n_batch| model.plan(&PlanOptions { n_batch, ..PlanOptions::new(n_ctx) });
    assert_eq!(plan(0, 1), Err(ModelError::Context(0)));
    assert_eq!(plan(usize::MAX, 1), Err(ModelError::Context(usize::MAX)));
    assert_eq!(plan(1, 0), Err(ModelError::ZeroOption("n_batch")));
    // Shapes written down by hand may be anything.
    let shape = model.config().shape();
    for vast in [
        ModelShape { n_layer: usize::MAX, ..shape },
        ModelShape { n_head: usize::MAX / 2, ..shape },
        ModelShape { n_ff: usize::MAX, ..shape },
        ModelShape { n_vocab: usize::MAX, ..shape },
        ModelShape { rope_bases: usize::MAX, ..shape },
    ] {
        let vast = MemoryPlan::of_shape(&vast, &PlanOptions::new(8));
        assert_eq!(vast, Err(ModelError::Context(8)));
    }
    let other = tiny("llama", &MIX).write();
    let other =
        Model::new(&Gguf::parse(&other).unwrap()).unwrap().plan(&PlanOptions::new(8)).unwrap();
    let error = Engine::new(&model, &other, &mut [], EngineOptions::default()).err();
    assert_eq!(error, Some(EngineError::PlanMismatch));
}

/// The same numbers on every target that runs this test, with or without hardware `fma`.
///
/// The value says nothing about being right, which other tests look after; it was printed by the
/// first machine, and every other one is held to it.
#[test]
fn every_target_computes_the_same_bits() {
    let mut hash = 0u64;
    for family in FAMILIES {
        let bytes = tiny(family, &MIX).write();
        for logit in reference(&bytes, &prompt(40, 10), CacheType::F16).concat() {
            hash = (hash ^ u64::from(logit)).wrapping_mul(0x0000_0100_0000_01B3).rotate_left(7);
        }
    }
    assert_eq!(hash, 0xA532_26E4_2BAF_6A2A, "{hash:#018x}");
}
