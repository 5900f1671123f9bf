//! Threads behind core's [`Parallel`] trait.
//!
//! One forward pass hands out hundreds of small jobs, so what a job costs to hand out matters as
//! much as how it is split. Helpers spin for a moment after each job and park after that; a job
//! is published by one store, joined by one compare-exchange, and left by one subtraction.
//! Each worker begins with a run of neighbouring tasks, since those mostly read neighbouring
//! memory, and takes them in order; one that has no more takes half of another's rest. So a core
//! that is slower, or busy with somebody else's work, simply does fewer.
//!
//! A helper that wakes too late finds the job closed and never joins it: the caller waits only
//! for helpers that have really begun, not for every thread to be scheduled.

use std::any::Any;
use std::cell::Cell;
use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use bantam_core::par::{Parallel, prefetch};

/// How long an idle thread looks for work before it parks. The gaps between the jobs of one
/// token are microseconds; the gap between two tokens (sampling, printing) mostly fits as well.
const SPIN: Duration = Duration::from_micros(100);
/// The same when there are more workers than CPUs: spinning would only take a CPU from the
/// worker that is waited for.
const SPIN_OVERSUBSCRIBED: Duration = Duration::from_micros(2);

/// Bytes that a waiting helper fetches of what it is to expect: a share of its own cache.
const EXPECT_BYTES: usize = 256 << 10;
/// Parts that it may come in, as core says.
const MOST_PARTS: usize = 4;
/// Bytes that it asks for between two looks for work.
const EXPECT_STEP: usize = 512;
/// What a cache brings near at once.
const LINE: usize = 64;

/// The job may still be joined.
const OPEN: u64 = 1 << 31;
/// How many helpers are inside the job.
const ACTIVE: u64 = OPEN - 1;
/// One step of the job number in the upper half.
const EPOCH: u64 = 1 << 32;

/// Something to do: lives on the caller's stack for as long as `run` lasts.
struct Job<'a> {
    task: &'a (dyn Fn(usize, usize) + Sync),
    /// The tasks that each worker has yet to begin.
    queues: &'a [Padded<Queue>],
    /// What the first task that panicked panicked with.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl Job<'_> {
    /// Claims and runs tasks until none is left. A panic is kept for the caller of `run`, and
    /// the tasks that nobody has begun are dropped.
    fn work(&self, worker: usize) {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            while let Some(index) = self.claim(worker) {
                (self.task)(worker, index as usize);
            }
        }));
        if let Err(payload) = outcome {
            for queue in self.queues {
                queue.0.clear();
            }
            lock(&self.panic).get_or_insert(payload);
        }
    }

    /// The next task for `worker`: of its own, or else of the others in turn.
    fn claim(&self, worker: usize) -> Option<u32> {
        let own = &self.queues.get(worker)?.0;
        own.first().or_else(|| {
            let (before, after) = self.queues.split_at(worker);
            let mut taken = after.iter().chain(before).find_map(|other| other.0.half())?;
            // Nobody adds to an empty queue but its owner.
            let index = taken.next()?;
            own.fill(taken);
            Some(index)
        })
    }
}

/// Tasks from one index up to another, both in one word: the first in the upper half.
///
/// An index is in one queue at a time and never comes back once claimed, so an exchange that
/// finds a word as it was finds its tasks unclaimed.
struct Queue(AtomicU64);

impl Queue {
    fn fill(&self, tasks: Range<u32>) {
        self.0.store(u64::from(tasks.start) << 32 | u64::from(tasks.end), Ordering::Relaxed);
    }

    fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Claims the first task.
    fn first(&self) -> Option<u32> {
        self.take(|tasks| (tasks.start, tasks.start + 1..tasks.end))
    }

    /// Claims the second half, which is all if there is one.
    fn half(&self) -> Option<Range<u32>> {
        self.take(|tasks| {
            let middle = tasks.start + (tasks.end - tasks.start) / 2;
            (middle..tasks.end, tasks.start..middle)
        })
    }

    /// Returns what `split` claims of the tasks, if there are any, and leaves the rest.
    fn take<T>(&self, split: impl Fn(Range<u32>) -> (T, Range<u32>)) -> Option<T> {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            let tasks = (word >> 32) as u32..word as u32;
            if tasks.is_empty() {
                return None;
            }
            let (claimed, rest) = split(tasks);
            let left = u64::from(rest.start) << 32 | u64::from(rest.end);
            // Only indices pass through here; what tasks read and write is ordered by the job's
            // state, when it is joined and left.
            match self.0.compare_exchange_weak(word, left, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(claimed),
                Err(now) => word = now,
            }
        }
    }
}

/// Keeps what two threads write apart by a cache line (two, for adjacent-line prefetch).
#[repr(align(128))]
struct Padded<T>(T);

/// What the next job will read: a hint, of which no part is ever read through here, so that it
/// may be torn or out of date.
#[derive(Default)]
struct Expected {
    /// Changes with every hint.
    number: AtomicUsize,
    parts: [(AtomicPtr<u8>, AtomicUsize); MOST_PARTS],
}

impl Expected {
    fn set(&self, parts: &[&[u8]]) {
        for (i, (start, len)) in self.parts.iter().enumerate() {
            let part = parts.get(i).copied().unwrap_or_default();
            start.store(part.as_ptr().cast_mut(), Ordering::Relaxed);
            len.store(part.len(), Ordering::Relaxed);
        }
        self.number.fetch_add(1, Ordering::Release);
    }

    /// Fetches the beginning of the share of one worker of `n`, unless `done` comes true.
    fn fetch(&self, worker: usize, n: usize, done: impl Fn() -> bool) {
        let mut lens = [0; MOST_PARTS];
        for (len, part) in lens.iter_mut().zip(&self.parts) {
            *len = part.1.load(Ordering::Relaxed);
        }
        for (range, (start, _)) in share(lens, worker, n).into_iter().zip(&self.parts) {
            let start = start.load(Ordering::Relaxed).cast_const();
            for first in range.clone().step_by(EXPECT_STEP) {
                if done() {
                    return;
                }
                for byte in (first..range.end.min(first + EXPECT_STEP)).step_by(LINE) {
                    prefetch(start.wrapping_add(byte));
                }
            }
        }
    }
}

/// Which bytes of each part, all parts being tasks in order, worker `worker` of `n` reads first.
fn share(lens: [usize; MOST_PARTS], worker: usize, n: usize) -> [Range<usize>; MOST_PARTS] {
    let total = lens.iter().fold(0usize, |total, &len| total.saturating_add(len));
    let mut skip = total / n.max(1) * worker;
    let mut wanted = EXPECT_BYTES.min(total / n.max(1));
    lens.map(|len| {
        let start = skip.min(len);
        let end = start + wanted.min(len - start);
        (skip, wanted) = (skip - start, wanted - (end - start));
        start..end
    })
}

struct Shared {
    /// Job number, `OPEN`, and helpers inside, in one word so that joining checks all three.
    state: Padded<AtomicU64>,
    /// The job of the current number. Valid while `OPEN` or while anyone is inside.
    job: AtomicPtr<Job<'static>>,
    /// The current job's tasks, by worker.
    queues: Box<[Padded<Queue>]>,
    expected: Padded<Expected>,
    /// One flag per helper: set while it sleeps, or is about to.
    parked: Box<[Padded<AtomicBool>]>,
    /// Set while the caller sleeps until the last helper leaves.
    caller_parked: AtomicBool,
    caller: Mutex<Option<Thread>>,
    shutdown: AtomicBool,
    spin: Duration,
}

/// A fixed set of threads that runs numbered tasks; the thread that calls [`Parallel::run`] is
/// worker 0 and works as well, so a pool of `n` workers starts `n - 1` threads.
pub struct Pool {
    shared: Arc<Shared>,
    helpers: Vec<JoinHandle<()>>,
    /// Held by whoever runs a job: two callers take turns.
    turn: Mutex<()>,
}

thread_local! {
    /// The pool whose task this thread is inside, by the address of its shared part, and the
    /// worker number it has there.
    static INSIDE: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A poisoned lock here only says that some task panicked; the data is still whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns true once `done` holds, or false when `limit` has passed first.
fn spin_until(limit: Duration, done: impl Fn() -> bool) -> bool {
    let mut start = None;
    loop {
        for _ in 0..64 {
            if done() {
                return true;
            }
            std::hint::spin_loop();
        }
        // The clock is read only when the wait is not a matter of nanoseconds.
        if start.get_or_insert_with(Instant::now).elapsed() >= limit {
            return false;
        }
    }
}

impl Pool {
    /// Returns a pool of `workers` workers (0 is taken as 1).
    ///
    /// # Errors
    /// What the system says when it will not start another thread.
    pub fn new(workers: usize) -> io::Result<Self> {
        let n_helpers = workers.max(1) - 1;
        let cpus = thread::available_parallelism().map_or(1, usize::from);
        let shared = Arc::new(Shared {
            state: Padded(AtomicU64::new(0)),
            job: AtomicPtr::new(std::ptr::null_mut()),
            queues: (0..=n_helpers).map(|_| Padded(Queue(AtomicU64::new(0)))).collect(),
            expected: Padded(Expected::default()),
            parked: (0..n_helpers).map(|_| Padded(AtomicBool::new(false))).collect(),
            caller_parked: AtomicBool::new(false),
            caller: Mutex::new(None),
            shutdown: AtomicBool::new(false),
            spin: if workers > cpus { SPIN_OVERSUBSCRIBED } else { SPIN },
        });
        // Built first, so that a failure half-way joins the threads that did start.
        let mut pool =
            Self { shared, helpers: Vec::with_capacity(n_helpers), turn: Mutex::new(()) };
        for helper in 0..n_helpers {
            let shared = Arc::clone(&pool.shared);
            let handle = thread::Builder::new()
                .name(format!("bantam-{}", helper + 1))
                .spawn(move || shared.help(helper))?;
            pool.helpers.push(handle);
        }
        Ok(pool)
    }

    fn id(&self) -> usize {
        Arc::as_ptr(&self.shared).addr()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.shutdown.store(true, Ordering::SeqCst);
        self.shared.state.0.fetch_add(EPOCH, Ordering::SeqCst);
        for helper in self.helpers.drain(..) {
            helper.thread().unpark();
            // A helper catches what its tasks throw, so there is nothing to learn from this.
            let _ = helper.join();
        }
    }
}

impl Shared {
    /// What helper number `helper` does for all its life.
    fn help(&self, helper: usize) {
        let worker = helper + 1;
        INSIDE.set((std::ptr::from_ref(self).addr(), worker));
        let (mut seen, mut fetched) = (0, 0);
        loop {
            let mut state = self.wait_for_job(helper, seen, &mut fetched);
            if self.shutdown.load(Ordering::Relaxed) {
                return;
            }
            while state & OPEN != 0 {
                match self.state.0.compare_exchange_weak(
                    state,
                    state + 1,
                    Ordering::SeqCst,
                    Ordering::SeqCst,
                ) {
                    Ok(_) => {
                        // SAFETY: the exchange found the job open and counted this helper in;
                        // `run` keeps its job alive until that count is back to zero, and the
                        // pointer was stored before the state that was read.
                        let job = unsafe { &*self.job.load(Ordering::Relaxed) };
                        job.work(worker);
                        self.leave();
                        break;
                    }
                    Err(now) => state = now,
                }
            }
            seen = state / EPOCH;
        }
    }

    /// Returns the state once its job number is not `seen`. Until then fetches what is expected,
    /// unless that is hint number `fetched`, which was done before.
    fn wait_for_job(&self, helper: usize, seen: u64, fetched: &mut usize) -> u64 {
        let news = || self.state.0.load(Ordering::SeqCst) / EPOCH != seen;
        let hint = || self.expected.0.number.load(Ordering::Acquire);
        while !news() {
            let number = hint();
            if number != *fetched {
                *fetched = number;
                let n_workers = self.parked.len() + 1;
                self.expected.0.fetch(helper + 1, n_workers, || news() || hint() != number);
            }
            if spin_until(self.spin, || news() || hint() != number) {
                continue;
            }
            let Some(parked) = self.parked.get(helper) else {
                continue;
            };
            // Set, then look again: the caller publishes, then looks at the flag. In the single
            // order of sequentially consistent operations one of the two sees the other.
            parked.0.store(true, Ordering::SeqCst);
            while !news() && parked.0.load(Ordering::SeqCst) {
                thread::park();
            }
            parked.0.store(false, Ordering::SeqCst);
        }
        self.state.0.load(Ordering::SeqCst)
    }

    /// Counts a helper out, and wakes the caller if it sleeps until the last one has left.
    fn leave(&self) {
        let before = self.state.0.fetch_sub(1, Ordering::SeqCst);
        if before & (ACTIVE | OPEN) == 1
            && self.caller_parked.swap(false, Ordering::SeqCst)
            && let Some(caller) = lock(&self.caller).take()
        {
            caller.unpark();
        }
    }

    /// Closes the job and returns when no helper is inside any more.
    fn close(&self) {
        self.state.0.fetch_and(!OPEN, Ordering::SeqCst);
        let empty = || self.state.0.load(Ordering::SeqCst) & ACTIVE == 0;
        if spin_until(self.spin, empty) {
            return;
        }
        *lock(&self.caller) = Some(thread::current());
        self.caller_parked.store(true, Ordering::SeqCst);
        while !empty() {
            // `park` may return for no reason, and returns at once if the wake came first.
            thread::park();
        }
        self.caller_parked.store(false, Ordering::SeqCst);
    }
}

// SAFETY: every index below `n_tasks` is put into one queue, leaves it by one exchange, which may
// put it into another, and at last one that claims it; its task is called by the claimer. Worker 0 is the one thread that holds `turn`, worker
// `i + 1` is the one thread of helper `i`, and a call made from inside a task runs on that
// task's own thread under that task's own number. `run` returns (or unwinds) only after `close`
// has seen that no helper is inside.
unsafe impl Parallel for Pool {
    fn workers(&self) -> usize {
        self.helpers.len() + 1
    }

    fn expect(&self, parts: &[&[u8]]) {
        self.shared.expected.0.set(parts);
    }

    fn run(&self, n_tasks: usize, task: &(dyn Fn(usize, usize) + Sync)) {
        let outer = INSIDE.get();
        if outer.0 == self.id() {
            for index in 0..n_tasks {
                task(outer.1, index);
            }
            return;
        }
        let Ok(n_tasks) = u32::try_from(n_tasks) else {
            // More than a queue counts, so one part after another.
            const PART: usize = u32::MAX as usize;
            for first in (0..n_tasks).step_by(PART) {
                self.run(PART.min(n_tasks - first), &|worker, index| task(worker, first + index));
            }
            return;
        };
        let turn = lock(&self.turn);
        INSIDE.set((self.id(), 0));
        let shared = &*self.shared;
        let job = Job { task, queues: &shared.queues, panic: Mutex::new(None) };
        let n_helpers = self.helpers.len().min(n_tasks.saturating_sub(1) as usize);
        // Nobody is inside a job now, so the queues are this thread's.
        let mut rest = n_tasks;
        for (others, queue) in (0..=n_helpers as u32).rev().zip(&shared.queues) {
            let first = n_tasks - rest;
            rest -= rest / (others + 1);
            queue.0.fill(first..n_tasks - rest);
        }
        if n_helpers == 0 {
            job.work(0);
        } else {
            shared.job.store((&raw const job).cast_mut().cast(), Ordering::Relaxed);
            // Nobody is inside and the job before is closed, so only this thread writes here.
            let state = shared.state.0.load(Ordering::Relaxed);
            shared.state.0.store((state & !OPEN).wrapping_add(EPOCH) | OPEN, Ordering::SeqCst);
            for (parked, helper) in shared.parked.iter().zip(&self.helpers).take(n_helpers) {
                if parked.0.load(Ordering::SeqCst) && parked.0.swap(false, Ordering::SeqCst) {
                    helper.thread().unpark();
                }
            }
            job.work(0);
            shared.close();
        }
        INSIDE.set(outer);
        drop(turn);
        let payload = job.panic.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(payload) = payload {
            resume_unwind(payload);
        }
    }
}

#[cfg(test)]
mod tests;
