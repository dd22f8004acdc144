//! Threads that share a piece of work.

use crate::Result;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Runs `work` on the calling thread and on others, `threads` in all, and returns when each has come to its end. Where
/// the system has no more threads, fewer do it: slower, never wrong.
pub(crate) fn on_threads(threads: usize, work: impl Fn() + Sync) {
    std::thread::scope(|scope| {
        for _ in 1..threads {
            if std::thread::Builder::new().spawn_scoped(scope, &work).is_err() {
                break;
            }
        }
        work();
    });
}

/// `work(0)`, …, `work(count - 1)`, several at a time on so many threads, and what came of each in that order.
pub(crate) fn in_order<T: Send>(count: usize, threads: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    until(count, threads, |_| false, work)
}

/// As [`in_order`], for work that may fail: after a failure no more is begun.
///
/// # Errors
/// The first in order, whichever came first in time.
pub(crate) fn try_in_order<T: Send>(
    count: usize,
    threads: usize,
    work: impl Fn(usize) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    until(count, threads, Result::is_err, work).into_iter().collect()
}

/// What came of all that was begun, in order: numbers are given out one by one, up to a result that says `enough`, so
/// that each below a number begun was begun too.
fn until<T: Send>(
    count: usize,
    threads: usize,
    enough: impl Fn(&T) -> bool + Sync,
    work: impl Fn(usize) -> T + Sync,
) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(count));
    on_threads(threads.min(count), || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return;
            }
            let result = work(index);
            if enough(&result) {
                next.store(count, Ordering::Relaxed);
            }
            done.lock().unwrap_or_else(PoisonError::into_inner).push((index, result));
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;
    use std::sync::Barrier;

    #[test]
    fn results_are_in_order_however_long_each_takes() {
        let both = Barrier::new(2);
        let last = AtomicUsize::new(usize::MAX);
        let squares = in_order(50, 2, |index| {
            // The two that begin first run at once, and the first of them ends last.
            if index < 2 {
                both.wait();
            }
            while index == 0 && last.load(Ordering::Relaxed) != 49 {
                std::thread::yield_now();
            }
            last.store(index, Ordering::Relaxed);
            index * index
        });
        assert_eq!(squares, (0..50).map(|index| index * index).collect::<Vec<_>>());
        assert_eq!(last.into_inner(), 0);
        assert!(in_order(0, 4, |index| index).is_empty());
    }

    #[test]
    fn the_first_failure_in_order_is_told_and_nothing_is_begun_after_it() {
        let both = Barrier::new(2);
        let begun = AtomicUsize::new(0);
        let failed = try_in_order(1000, 2, |index| -> Result<()> {
            begun.fetch_add(1, Ordering::Relaxed);
            both.wait();
            Err(Error::Work(format!("number {index}")))
        });
        assert_eq!(failed.unwrap_err().to_string(), "number 0");
        assert_eq!(begun.into_inner(), 2);
        assert_eq!(try_in_order(3, 8, Ok).unwrap(), [0, 1, 2]);
    }
}
