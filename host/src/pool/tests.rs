use super::*;

use std::sync::atomic::{AtomicU32, AtomicUsize};

/// Runs `n_tasks` tasks and checks the whole contract of `Parallel`: each index once, workers in
/// range, and no two tasks under one worker number at the same time.
fn check(pool: &Pool, n_tasks: usize) {
    let calls: Vec<AtomicU32> = (0..n_tasks).map(|_| AtomicU32::new(0)).collect();
    let busy: Vec<AtomicBool> = (0..pool.workers()).map(|_| AtomicBool::new(false)).collect();
    pool.run(n_tasks, &|worker, index| {
        assert!(!busy[worker].swap(true, Ordering::SeqCst));
        calls[index].fetch_add(1, Ordering::SeqCst);
        busy[worker].store(false, Ordering::SeqCst);
    });
    assert!(calls.iter().all(|calls| calls.load(Ordering::SeqCst) == 1));
}

#[test]
fn runs_each_task_once() {
    for workers in [0, 1, 2, 3, 8] {
        let pool = Pool::new(workers).unwrap();
        assert_eq!(pool.workers(), workers.max(1));
        for n_tasks in [0, 1, 2, 3, 7, 64, 1000] {
            check(&pool, n_tasks);
        }
    }
}

#[test]
fn many_tiny_jobs() {
    for workers in [2, 4] {
        let pool = Pool::new(workers).unwrap();
        let total = AtomicUsize::new(0);
        let mut expected = 0;
        for round in 0..20_000 {
            let n_tasks = round % 9;
            expected += n_tasks * (n_tasks + 1) / 2;
            // Borrows that end with this round: a helper that came late would write into them.
            let seen: Vec<AtomicUsize> = (0..n_tasks).map(|_| AtomicUsize::new(0)).collect();
            pool.run(n_tasks, &|_, index| {
                seen[index].fetch_add(index + 1, Ordering::Relaxed);
            });
            total.fetch_add(seen.into_iter().map(AtomicUsize::into_inner).sum(), Ordering::Relaxed);
        }
        assert_eq!(total.into_inner(), expected);
    }
}

#[test]
fn wakes_parked_helpers() {
    let pool = Pool::new(3).unwrap();
    for _ in 0..20 {
        thread::sleep(SPIN * 20);
        check(&pool, 50);
    }
}

#[test]
fn waits_for_a_slow_helper() {
    // The caller runs out of tasks and parks while a helper is still inside one.
    let pool = Pool::new(2).unwrap();
    for _ in 0..20 {
        let ended = AtomicUsize::new(0);
        pool.run(2, &|worker, _| {
            thread::sleep(Duration::from_millis(if worker == 0 { 1 } else { 6 }));
            ended.fetch_add(1, Ordering::SeqCst);
        });
        assert_eq!(ended.into_inner(), 2);
    }
}

#[test]
fn helpers_take_part() {
    let pool = Pool::new(2).unwrap();
    let by_helper = AtomicUsize::new(0);
    // On a busy machine a helper may be scheduled late, never for ever.
    for _ in 0..1000 {
        pool.run(8, &|worker, _| {
            thread::sleep(Duration::from_micros(200));
            by_helper.fetch_add(worker, Ordering::Relaxed);
        });
        if by_helper.load(Ordering::Relaxed) > 0 {
            return;
        }
    }
    panic!("no task was ever run by a helper");
}

#[test]
fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
    let pool = Pool::new(4).unwrap();
    for culprit in [0, 1, 17, 99] {
        let caught = catch_unwind(AssertUnwindSafe(|| {
            pool.run(100, &|_, index| {
                if index == culprit {
                    resume_unwind(Box::new(index));
                }
            });
        }));
        assert_eq!(caught.unwrap_err().downcast_ref::<usize>(), Some(&culprit));
        check(&pool, 100);
    }
}

#[test]
fn a_job_inside_a_task_runs_under_its_number() {
    let pool = Pool::new(3).unwrap();
    let total = AtomicUsize::new(0);
    pool.run(20, &|outer, _| {
        pool.run(5, &|inner, _| {
            assert_eq!(outer, inner);
            total.fetch_add(1, Ordering::Relaxed);
        });
    });
    assert_eq!(total.into_inner(), 100);
}

#[test]
fn two_callers_take_turns() {
    let pool = Pool::new(3).unwrap();
    let busy: Vec<AtomicBool> = (0..3).map(|_| AtomicBool::new(false)).collect();
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..500 {
                    pool.run(6, &|worker, _| {
                        assert!(!busy[worker].swap(true, Ordering::SeqCst));
                        busy[worker].store(false, Ordering::SeqCst);
                    });
                }
            });
        }
    });
}

#[test]
fn what_is_expected_is_shared_by_order() {
    let ranges = |lens, worker, n| share(lens, worker, n).map(|range| (range.start, range.end));
    assert_eq!(ranges([100, 60, 40, 0], 0, 2), [(0, 100), (0, 0), (0, 0), (0, 0)]);
    assert_eq!(ranges([100, 60, 40, 0], 1, 2), [(100, 100), (0, 60), (0, 40), (0, 0)]);
    assert_eq!(ranges([100, 60, 40, 0], 1, 4), [(50, 100), (0, 0), (0, 0), (0, 0)]);
    assert_eq!(ranges([0; 4], 3, 4), [(0, 0); 4]);
    // No more than a cache is to hold, however much is to come, and no overflow.
    let large = share([usize::MAX; 4], 1, 2);
    assert!(large.iter().map(Range::len).sum::<usize>() <= EXPECT_BYTES);
}

#[test]
fn hints_disturb_no_job() {
    let pool = Pool::new(3).unwrap();
    let memory = vec![1; 3 * EXPECT_BYTES];
    for round in 0..2_000 {
        // Memory that is gone by the time of the job is as good a hint as any.
        let gone = vec![0; 64 * (round % 5)];
        match round % 4 {
            0 => pool.expect(&[]),
            1 => pool.expect(&[&memory, &[], &gone]),
            _ => pool.expect(&[&gone[..]; 6]),
        }
        drop(gone);
        check(&pool, round % 11);
    }
}
