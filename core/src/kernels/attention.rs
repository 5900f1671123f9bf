//! Attention of a whole batch, split over workers by heads and queries.

use core::num::NonZeroUsize;

use super::{Attend, AttentionShape, CacheRef, KernelSet};
use crate::par::{Parallel, Serial, Shared, n_workers};

/// Tasks per worker, so that a slower core takes fewer.
const TASKS_PER_WORKER: usize = 8;
/// Tasks of a long prompt take a multiple of these queries, which every set's tile divides or is.
const QUERIES: usize = 12;
/// Products of a query and a key element below which the workers are not woken.
const MIN_PRODUCTS: usize = 1 << 15;

impl KernelSet {
    /// Writes to `out` the attention results of the tokens whose queries `q` are given (tokens ×
    /// heads × `head_dim`, both), the first standing at `first_pos`.
    ///
    /// `cache` gives the keys and values of a head, up to the last token's at least.
    pub fn attention<'c>(
        self,
        parallel: &dyn Parallel,
        shape: AttentionShape,
        first_pos: usize,
        q: &[f32],
        cache: &(dyn Fn(usize) -> [CacheRef<'c>; 2] + Sync),
        out: &mut [f32],
    ) {
        let n_tokens = q.len().min(out.len()) / shape.stride().max(1);
        let (n_queries, n_head_kv) = (n_tokens * shape.group(), shape.n_head_kv);
        if n_queries == 0 {
            return;
        }
        let n_positions = first_pos + n_tokens;
        let seen = shape.window.map_or(n_positions, |window| window.min(n_positions));
        let products = n_queries * n_head_kv * seen * shape.head_dim;
        let parallel = if products < MIN_PRODUCTS { &Serial } else { parallel };
        let workers = n_workers(parallel);

        // Several tasks per head if there are queries enough; if there are not, workers that would
        // be left without a head share one, each taking some of its queries.
        let total = n_queries * n_head_kv;
        let per_task = match workers {
            1 => n_queries,
            _ => total.div_ceil((workers * TASKS_PER_WORKER).max(1)).next_multiple_of(QUERIES),
        };
        let left_over = if per_task < n_queries { 0 } else { n_head_kv % workers };
        let whole = Split::new(n_queries, per_task, n_head_kv - left_over);
        let sharers = if left_over > 0 { workers.div_ceil(left_over) } else { 1 };
        let shared = Split::new(n_queries, n_queries.div_ceil(sharers.max(1)), left_over);

        let out = Shared::new(out);
        let n_tasks = whole.n_tasks() + shared.n_tasks();
        // Workers begin with neighbouring tasks, so whole heads and shares of one take turns.
        let wholes_before = |task: usize| (task * whole.n_tasks()).div_ceil(n_tasks.max(1));
        let run = |_: usize, task: usize| {
            let n = wholes_before(task);
            let (head_kv, queries) = if wholes_before(task + 1) > n {
                whole.task(n)
            } else {
                let (head, queries) = shared.task(task - n);
                (whole.n_heads + head, queries)
            };
            let [keys, values] = cache(head_kv);
            let window = shape.window.unwrap_or(usize::MAX);
            let out = &out;
            let attend =
                Attend { shape, head_kv, q, out, queries, keys, values, first_pos, window };
            // SAFETY: `Parallel` runs each task number once; tasks have queries of their own, and
            // with them outputs that no other task writes or reads meanwhile.
            unsafe { self.attend(&attend) };
        };
        if n_tasks == 1 { run(0, 0) } else { parallel.run(n_tasks, &run) }
    }
}

/// Some heads' queries in tasks of `per_task`.
struct Split {
    n_queries: usize,
    per_task: NonZeroUsize,
    n_heads: usize,
}

impl Split {
    fn new(n_queries: usize, per_task: usize, n_heads: usize) -> Self {
        Split {
            n_queries,
            per_task: NonZeroUsize::new(per_task).unwrap_or(NonZeroUsize::MIN),
            n_heads,
        }
    }

    const fn n_tasks(&self) -> usize {
        self.n_parts() * self.n_heads
    }

    const fn n_parts(&self) -> usize {
        self.n_queries.div_ceil(self.per_task.get())
    }

    /// Head and queries of a task; later queries, which see more, come first.
    fn task(&self, task: usize) -> (usize, core::ops::Range<usize>) {
        let (n_heads, per_task) = (self.n_heads.max(1), self.per_task.get());
        let (head, part) = (task % n_heads, task / n_heads);
        let first = (self.n_parts() - 1 - part) * per_task;
        (head, first..(first + per_task).min(self.n_queries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_query_of_every_head_is_in_one_task() {
        for (n_queries, per_task, n_heads) in [(1, 1, 1), (3, 2, 1), (24, 12, 3), (25, 12, 2)] {
            let split = Split::new(n_queries, per_task, n_heads);
            let mut seen = [0; 75];
            for task in 0..split.n_tasks() {
                let (head, queries) = split.task(task);
                assert!(!queries.is_empty());
                for query in queries {
                    seen[head * n_queries + query] += 1;
                }
            }
            assert!(seen[..n_queries * n_heads].iter().all(|&n| n == 1));
        }
        assert_eq!(Split::new(5, 2, 0).n_tasks(), 0);
    }
}
