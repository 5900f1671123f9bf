//! Threads are lent by the caller. Core splits an operation into numbered tasks whose results do
//! not depend on who runs them or in which order.

#![allow(unsafe_code)] // tasks write disjoint parts of one output

use core::marker::PhantomData;

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
    /// Tells workers that wait what the next tasks will read, in the order of their numbers, so
    /// that they may [`prefetch`] their share of it. Parts beyond the fourth may be ignored.
    fn expect(&self, _parts: &[&[u8]]) {}
}

/// Asks for the cache line at an address to be brought near; nothing is read, and any address will
/// do. Does nothing on CPUs for which it is not written.
#[inline(always)]
pub fn prefetch(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 CPU has the instruction, and no address makes it fault.
    unsafe {
        use core::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T1>(address.cast());
    }
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    // SAFETY: a hint, which reads nothing and takes any address.
    unsafe {
        core::arch::asm!(
            "prfm pldl2keep, [{address}]",
            address = in(reg) address,
            options(readonly, nostack, preserves_flags),
        );
    }
    #[cfg(not(any(target_arch = "x86_64", all(target_arch = "aarch64", not(miri)))))]
    let _ = address;
}

/// Runs every task on the calling thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct Serial;

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

/// One slice that several tasks fill, each a part of its own.
///
/// The value holds the only borrow of the slice, so whoever has it decides who writes what; the
/// parts are handed out by the unsafe [`Shared::part`], whose callers tie them to task numbers.
#[derive(Debug)]
pub struct Shared<'a, T> {
    start: *mut T,
    len: usize,
    borrow: PhantomData<&'a mut [T]>,
}

// SAFETY: a `Shared` gives out `&mut [T]` parts that its users keep disjoint, which is sending
// `&mut T` to other threads: sound when T is Send.
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    /// Takes over `slice` until this value is dropped.
    pub fn new(slice: &'a mut [T]) -> Self {
        Shared { start: slice.as_mut_ptr(), len: slice.len(), borrow: PhantomData }
    }

    /// Elements.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Where the slice begins.
    pub(crate) const fn as_ptr(&self) -> *mut T {
        self.start
    }

    /// `len` elements from `start`, or an empty slice if they do not lie inside.
    ///
    /// # Safety
    /// No element may be in two parts that are alive at the same time.
    #[allow(clippy::mut_from_ref)] // disjointness is the caller's promise
    pub unsafe fn part(&self, start: usize, len: usize) -> &mut [T] {
        match start.checked_add(len) {
            // SAFETY: inside the borrowed slice by this check, disjoint by the caller's promise.
            Some(end) if end <= self.len => unsafe {
                core::slice::from_raw_parts_mut(self.start.add(start), len)
            },
            _ => &mut [],
        }
    }
}

/// Most workers that work is cut for.
const MAX_WORKERS: usize = 1 << 12;

/// How many workers to cut work for: one at least, whatever an implementation says.
#[inline]
pub(crate) fn n_workers(parallel: &dyn Parallel) -> usize {
    parallel.workers().clamp(1, MAX_WORKERS)
}

/// Calls `f(task, part)` for `slice` cut into parts of `len` elements (the last may be shorter).
///
/// The safe form for the common case: one task, one contiguous part.
pub fn for_each_part<T: Send>(
    parallel: &dyn Parallel,
    slice: &mut [T],
    len: usize,
    f: &(dyn Fn(usize, usize, &mut [T]) + Sync),
) {
    let total = slice.len();
    let len = len.max(1);
    if total <= len {
        if total > 0 {
            f(0, 0, slice);
        }
        return;
    }
    let shared = Shared::new(slice);
    parallel.run(total.div_ceil(len), &|worker, task| {
        let start = task * len;
        // SAFETY: `Parallel` runs each task number once, and tasks own `len` elements each.
        let part = unsafe { shared.part(start, len.min(total - start)) };
        f(worker, task, part);
    });
}

/// What is called for each row of three slices, with its number.
type EachRow3<'f, A, B, C> = &'f (dyn Fn(usize, &mut [A], &mut [B], &mut [C]) + Sync);

/// Calls `f(row, a, b, c)` for three slices cut into as many rows, of `lens` elements each.
///
/// Rows without a counterpart in all three are left out.
pub fn for_each_row3<A: Send, B: Send, C: Send>(
    parallel: &dyn Parallel,
    (a, b, c): (&mut [A], &mut [B], &mut [C]),
    lens: [usize; 3],
    f: EachRow3<'_, A, B, C>,
) {
    let [len_a, len_b, len_c] = [lens[0].max(1), lens[1].max(1), lens[2].max(1)];
    let n = (a.len() / len_a).min(b.len() / len_b).min(c.len() / len_c);
    let (a, b, c) = (Shared::new(a), Shared::new(b), Shared::new(c));
    let task = |_: usize, row: usize| {
        // SAFETY: `Parallel` runs each task number once, and tasks own a row of each.
        let (a, b, c) = unsafe {
            (a.part(row * len_a, len_a), b.part(row * len_b, len_b), c.part(row * len_c, len_c))
        };
        f(row, a, b, c);
    };
    if n == 1 { task(0, 0) } else { parallel.run(n, &task) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_the_slice_once() {
        let mut values = [0u32; 10];
        for_each_part(&Serial, &mut values, 4, &|_, task, part| {
            for v in part {
                *v += 1 + task as u32;
            }
        });
        assert_eq!(values, [1, 1, 1, 1, 2, 2, 2, 2, 3, 3]);
    }

    #[test]
    fn a_part_outside_is_empty() {
        let mut values = [0u8; 4];
        let shared = Shared::new(&mut values);
        // SAFETY: none of these parts is kept while another is used.
        unsafe {
            assert!(shared.part(2, 3).is_empty());
            assert!(shared.part(usize::MAX, 2).is_empty());
            assert_eq!(shared.part(1, 3).len(), 3);
        }
    }
}
