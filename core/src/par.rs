//! Threads are lent by the caller. Core splits an operation into numbered tasks whose results do
//! not depend on who runs them or in which order.

/// Something that runs numbered tasks, perhaps on several threads.
///
/// # Safety
/// `run` must call `task(worker, index)` exactly once for every `index` in `0..n_tasks`, with
/// `worker < self.workers()`, and must not return before all calls have returned. Two calls that
/// overlap in time must carry different `worker` numbers. Core's shared outputs rely on this.
pub unsafe trait Parallel: Sync {
    /// How many workers may run at once, the caller's own thread included; at least 1.
    fn workers(&self) -> usize;
    /// Runs every task and returns when the last has ended.
    fn run(&self, n_tasks: usize, task: &(dyn Fn(usize, usize) + Sync));
}

/// Runs every task on the calling thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct Serial;

#[allow(unsafe_code)]
// SAFETY: the loop calls each index once, on one thread, as worker 0 of 1.
unsafe impl Parallel for Serial {
    fn workers(&self) -> usize {
        1
    }
    fn run(&self, n_tasks: usize, task: &(dyn Fn(usize, usize) + Sync)) {
        for index in 0..n_tasks {
            task(0, index);
        }
    }
}
