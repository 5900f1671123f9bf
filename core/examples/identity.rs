//! Hashes the logits of fixed runs, for every way of running them that this CPU knows.
//!
//! One arithmetic means that all lines about one run end in the same hash, here and on any other
//! machine. `cargo xtask identity` compares them; `cargo xtask count` counts the instructions of
//! a single one.
//!
//! ```text
//! cargo run --release -p bantam-core --features std --example identity -- \
//!     square MODEL.gguf:96:8:f16
//! ```
//!
//! A run is a model, a number of prompt tokens, a number of tokens decoded after them and the form
//! of the cache. What precedes the runs says which ways are taken: `cross` every kernel set, number of threads, batch
//! size and cache history with every other; `square` each of them with each kernel set; `each` one
//! for each kernel set; `KERNELS/THREADS/BATCH` that one, `best` being a name too. Only the last
//! of this one's logits are hashed, so that who counts its instructions counts the model's.

use bantam_core::Token;
use bantam_core::cache::CacheType;
use bantam_core::engine::{Engine, EngineError, EngineOptions};
use bantam_core::gguf::Gguf;
use bantam_core::kernels::KernelSet;
use bantam_core::model::{Model, PlanOptions};
use bantam_core::par::Parallel;
use std::error::Error;
use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex, PoisonError};

const THREADS: [usize; 4] = [1, 2, 3, 8];
const BATCHES: [usize; 4] = [1, 7, 32, 512];
const HISTORIES: [History; 3] = [History::Cold, History::Restored, History::Shared];

const USAGE: &str =
    "usage: identity cross|square|each|KERNELS/THREADS/BATCH MODEL:PROMPT:DECODE:CACHE…";

/// What the cache has been through when the prompt's last token is taken in.
#[derive(Clone, Copy, Debug)]
enum History {
    /// Nothing but the prompt.
    Cold,
    /// Half of the prompt saved, another one run, and the half restored.
    Restored,
    /// The first half left over from a prompt that went on differently.
    Shared,
}

/// One way of running.
#[derive(Clone, Copy)]
struct Way {
    kernels: KernelSet,
    threads: usize,
    batch: usize,
    history: History,
    /// Hash the logits behind the last token only.
    last_only: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some((which, runs)) = args.split_first() else {
        return Err(USAGE.into());
    };
    let ways = ways(which)?;
    for run in runs {
        let parts: Vec<&str> = run.rsplitn(4, ':').collect();
        let &[cache, decode, prompt, path] = &parts[..] else {
            return Err(format!("not MODEL:PROMPT:DECODE:CACHE: {run}").into());
        };
        let cache = match cache {
            "f16" => CacheType::F16,
            "f32" => CacheType::F32,
            "q8_0" => CacheType::Q8_0,
            other => return Err(format!("no form of the cache is called {other}").into()),
        };
        let file = std::fs::read(path).map_err(|error| format!("{path}: {error}"))?;
        let gguf = Gguf::parse(&file)?;
        let model = Model::new(&gguf)?;
        let n_vocab = model.config().n_vocab;
        let mut lcg = Lcg(1);
        let prompt: Vec<Token> = (0..prompt.parse()?).map(|_| lcg.below(n_vocab)).collect();
        let decode: Vec<Token> = (0..decode.parse()?).map(|_| lcg.below(n_vocab)).collect();
        let other: Vec<Token> = (0..20).map(|_| lcg.below(n_vocab)).collect();
        let tokens = Tokens { prompt, decode, other, cache };
        for way in &ways {
            let hash = hash(&model, &tokens, *way)?;
            let Way { kernels, threads, batch, history, .. } = way;
            let kernels = kernels.name();
            println!("{run}\t{kernels}\t{threads}\t{batch}\t{history:?}\t{hash:016x}");
            std::io::stdout().flush()?;
        }
    }
    Ok(())
}

fn ways(which: &str) -> Result<Vec<Way>, Box<dyn Error>> {
    let sets = || KernelSet::available().enumerate();
    let mut ways = Vec::new();
    let last_only = false;
    match which {
        "cross" => {
            for (_, kernels) in sets() {
                for threads in THREADS {
                    for batch in BATCHES {
                        let way = |history| Way { kernels, threads, batch, history, last_only };
                        ways.extend(HISTORIES.map(way));
                    }
                }
            }
        }
        // Each set starts elsewhere, so that over all of them more pairs meet.
        "square" => {
            for (i, kernels) in sets() {
                for (j, batch) in BATCHES.into_iter().enumerate() {
                    let threads = THREADS[(i + j) % THREADS.len()];
                    let history = HISTORIES[(i + j) % HISTORIES.len()];
                    ways.push(Way { kernels, threads, batch, history, last_only });
                }
            }
        }
        "each" => {
            let history = History::Cold;
            let way = |kernels| Way { kernels, threads: 2, batch: 512, history, last_only };
            ways.extend(sets().map(|(_, kernels)| way(kernels)));
        }
        one => {
            // The names of sets have slashes too.
            let mut parts = one.rsplitn(3, '/');
            let (Some(batch), Some(threads), Some(name)) =
                (parts.next(), parts.next(), parts.next())
            else {
                return Err(format!("not KERNELS/THREADS/BATCH: {one}").into());
            };
            let kernels = match name {
                "best" => KernelSet::best(),
                name => KernelSet::by_name(name)
                    .ok_or_else(|| format!("this CPU has no kernel set {name}"))?,
            };
            let (threads, batch) = (threads.parse()?, batch.parse()?);
            ways.push(Way { kernels, threads, batch, history: History::Cold, last_only: true });
        }
    }
    Ok(ways)
}

/// What a run is made of.
struct Tokens {
    prompt: Vec<Token>,
    decode: Vec<Token>,
    /// For the histories that have another prompt in them.
    other: Vec<Token>,
    cache: CacheType,
}

/// FNV-1a over the bits of the logits behind the prompt and behind every decoded token.
fn hash(model: &Model<'_>, tokens: &Tokens, way: Way) -> Result<u64, Box<dyn Error>> {
    let n_ctx = tokens.prompt.len() + tokens.decode.len() + tokens.other.len();
    let options =
        PlanOptions { n_batch: way.batch, cache: tokens.cache, ..PlanOptions::new(n_ctx) };
    let plan = model.plan(&options)?;
    // Anything may have been in the memory before; all ones is a NaN in every width.
    let mut memory = vec![0xFF; plan.bytes() + 64];
    let pool = Pool::new(way.threads);
    std::thread::scope(|scope| {
        let _stop = pool.start(scope);
        let options = EngineOptions { kernels: way.kernels, parallel: &pool };
        let mut engine = Engine::new(model, &plan, &mut memory, options)?;
        let rest = take_half(&mut engine, tokens, way.history)?;
        let mut hash = Fnv::new();
        engine.prefill(rest)?;
        for &token in &tokens.decode {
            if !way.last_only {
                hash.add(engine.logits());
            }
            engine.decode(token)?;
        }
        hash.add(engine.logits());
        Ok(hash.0)
    })
}

/// Takes in what the history asks for, and returns the part of the prompt that is left.
fn take_half<'t>(
    engine: &mut Engine<'_, '_>,
    tokens: &'t Tokens,
    history: History,
) -> Result<&'t [Token], EngineError> {
    let (half, rest) = tokens.prompt.split_at(tokens.prompt.len() / 2);
    if half.is_empty() {
        return Ok(rest);
    }
    match history {
        History::Cold => return Ok(&tokens.prompt),
        History::Restored => {
            engine.prefill(half)?;
            let mut state = vec![0; engine.state_bytes()];
            engine.save(&mut state)?;
            engine.truncate(0)?;
            engine.prefill(&tokens.other)?;
            engine.restore(&state)?;
        }
        History::Shared => {
            engine.prefill(half)?;
            engine.prefill(&tokens.other)?;
            engine.truncate(half.len())?;
        }
    }
    Ok(rest)
}

/// Fowler, Noll and Vo's hash.
struct Fnv(u64);

impl Fnv {
    fn new() -> Self {
        Fnv(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, values: &[f32]) {
        for byte in values.iter().flat_map(|value| value.to_bits().to_le_bytes()) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// Varied tokens, the same ones everywhere.
struct Lcg(u32);

impl Lcg {
    fn below(&mut self, n_vocab: usize) -> Token {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((u64::from(self.0) * n_vocab as u64) >> 32) as Token
    }
}

/// Threads that wait for each other before and after every operation.
struct Pool {
    threads: usize,
    begin: Barrier,
    end: Barrier,
    next: AtomicUsize,
    /// The operation at hand; none tells the threads to end.
    job: Mutex<Option<Job>>,
}

#[derive(Clone, Copy)]
struct Job {
    n_tasks: usize,
    task: *const (dyn Fn(usize, usize) + Sync),
}

// SAFETY: what the pointer leads to is Sync, and `Pool::run` returns, which ends its life, only
// after every thread has passed the second barrier.
unsafe impl Send for Job {}

impl Pool {
    fn new(threads: usize) -> Self {
        Pool {
            threads,
            begin: Barrier::new(threads),
            end: Barrier::new(threads),
            next: AtomicUsize::new(0),
            job: Mutex::new(None),
        }
    }

    /// Starts all threads but the caller's; they end when the returned value is dropped.
    fn start<'s, 'p: 's>(&'p self, scope: &'s std::thread::Scope<'s, 'p>) -> Stop<'p> {
        for worker in 1..self.threads {
            scope.spawn(move || {
                loop {
                    self.begin.wait();
                    let Some(job) = self.job() else { return };
                    self.work(job, worker);
                    self.end.wait();
                }
            });
        }
        Stop(self)
    }

    fn job(&self) -> Option<Job> {
        *self.job.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, job: Option<Job>) {
        *self.job.lock().unwrap_or_else(PoisonError::into_inner) = job;
    }

    fn work(&self, job: Job, worker: usize) {
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            if index >= job.n_tasks {
                return;
            }
            // A thread that unwinds would leave the others waiting for ever.
            let abort = AbortOnUnwind;
            // SAFETY: `run` has not returned, as it waits for this thread; so the task lives.
            let task = unsafe { &*job.task };
            task(worker, index);
            std::mem::forget(abort);
        }
    }
}

// SAFETY: the counter hands out each index once, every thread has a number of its own, and the
// second barrier holds `run` back until the last task has ended.
unsafe impl Parallel for Pool {
    fn workers(&self) -> usize {
        self.threads
    }

    fn run(&self, n_tasks: usize, task: &(dyn Fn(usize, usize) + Sync)) {
        // SAFETY: only the lifetime is changed; the pointer is used only until `run` returns.
        let task = unsafe {
            std::mem::transmute::<
                *const (dyn Fn(usize, usize) + Sync + '_),
                *const (dyn Fn(usize, usize) + Sync + 'static),
            >(task)
        };
        let job = Job { n_tasks, task };
        self.next.store(0, Ordering::Relaxed);
        self.set(Some(job));
        self.begin.wait();
        self.work(job, 0);
        self.end.wait();
    }
}

struct AbortOnUnwind;

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        std::process::abort();
    }
}

/// Ends the threads of a pool.
struct Stop<'p>(&'p Pool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.set(None);
        self.0.begin.wait();
    }
}
