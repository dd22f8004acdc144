//! A fixed pool of worker threads and the one way to use it: run `f(0), …, f(tasks - 1)`.
//!
//! The number of tasks is chosen by the kernel from shapes alone, never from the number of threads,
//! and every task writes its own part of the output; so results have the same bits for any number
//! of threads. Tasks are handed out by a shared counter, which balances uneven ones.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;

/// A raw pointer to the caller's closure, valid while `run` waits.
#[derive(Clone, Copy)]
struct Work(*const (dyn Fn(usize) + Sync));

// SAFETY: the closure is `Sync`, and `run` keeps it alive until every worker has let go of it.
unsafe impl Send for Work {}

struct Job {
    work: Option<Work>,
    tasks: usize,
    generation: u64,
    /// Workers still inside the present job.
    active: usize,
    stop: bool,
}

struct Shared {
    job: Mutex<Job>,
    start: Condvar,
    done: Condvar,
    next: AtomicUsize,
    panicked: AtomicBool,
    /// `generation` and `active` of the job again, to look at without the lock.
    published: AtomicU64,
    running: AtomicUsize,
}

/// Looks before a thread goes to sleep, some ten microseconds: jobs often follow one another at once, and
/// waking a thread takes longer than many a job.
const LOOKS: usize = if cfg!(miri) { 8 } else { 4_000 };

fn look(until: impl Fn() -> bool) {
    for _ in 0..LOOKS {
        if until() {
            return;
        }
        std::hint::spin_loop();
    }
}

/// A fixed set of compute threads; the calling thread is one of them.
pub struct ThreadPool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// Held during `run`, so that two callers take turns.
    turn: Mutex<()>,
    /// How many threads a rehearsal stands for.
    rehearsed: Option<usize>,
}

thread_local! {
    static INSIDE: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Shared {
    fn take_tasks(&self, work: &(dyn Fn(usize) + Sync), tasks: usize) {
        INSIDE.set(true);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            loop {
                let task = self.next.fetch_add(1, Ordering::Relaxed);
                if task >= tasks {
                    break;
                }
                work(task);
            }
        }));
        INSIDE.set(false);
        if outcome.is_err() {
            self.panicked.store(true, Ordering::Relaxed);
        }
    }

    fn worker(&self) {
        let mut seen = 0;
        loop {
            look(|| self.published.load(Ordering::Acquire) != seen);
            let (work, tasks) = {
                let mut job = lock(&self.job);
                while job.generation == seen && !job.stop {
                    job = self.start.wait(job).unwrap_or_else(|poisoned| poisoned.into_inner());
                }
                if job.stop {
                    return;
                }
                seen = job.generation;
                (job.work, job.tasks)
            };
            if let Some(work) = work {
                // SAFETY: `run` does not return, and so the closure lives, before `active` is 0.
                self.take_tasks(unsafe { &*work.0 }, tasks);
            }
            let mut job = lock(&self.job);
            job.active -= 1;
            self.running.store(job.active, Ordering::Release);
            if job.active == 0 {
                self.done.notify_one();
            }
        }
    }
}

impl ThreadPool {
    /// A pool of `threads` compute threads (at least one), the caller's included.
    pub fn new(threads: usize) -> Self {
        let shared = Arc::new(Shared {
            job: Mutex::new(Job { work: None, tasks: 0, generation: 0, active: 0, stop: false }),
            start: Condvar::new(),
            done: Condvar::new(),
            next: AtomicUsize::new(0),
            panicked: AtomicBool::new(false),
            published: AtomicU64::new(0),
            running: AtomicUsize::new(0),
        });
        let workers = (1..threads)
            .map_while(|index| {
                let shared = Arc::clone(&shared);
                // Fewer threads than asked for is slower, never wrong.
                std::thread::Builder::new()
                    .name(format!("compute-{index}"))
                    .spawn(move || shared.worker())
                    .ok()
            })
            .collect();
        Self { shared, workers, turn: Mutex::new(()), rehearsed: None }
    }

    /// A pool that stands for one of `threads` threads and does nothing: every operation takes the memory it would
    /// take and leaves in it whatever was there. What a computation needs is known after a rehearsal of it.
    pub fn rehearsal(threads: usize) -> Self {
        let mut pool = Self::new(1);
        pool.rehearsed = Some(threads.max(1));
        pool
    }

    /// Number of compute threads, the caller's included.
    pub fn threads(&self) -> usize {
        self.rehearsed.unwrap_or(self.workers.len() + 1)
    }

    /// Runs `work(task)` for every task in `0..tasks` and returns when all are done. A call from
    /// inside a task runs on the spot.
    ///
    /// # Panics
    /// If a task panicked.
    pub fn run(&self, tasks: usize, work: impl Fn(usize) + Sync) {
        if self.rehearsed.is_some() {
            return;
        }
        if tasks <= 1 || self.workers.is_empty() || INSIDE.get() {
            (0..tasks).for_each(work);
            return;
        }
        let _turn = lock(&self.turn);
        let work: &(dyn Fn(usize) + Sync) = &work;
        // SAFETY: only the lifetime changes; the pointer is dropped before this function returns.
        let erased = Work(unsafe {
            std::mem::transmute::<*const (dyn Fn(usize) + Sync), *const (dyn Fn(usize) + Sync + 'static)>(
                work,
            )
        });
        self.shared.next.store(0, Ordering::Relaxed);
        {
            let mut job = lock(&self.shared.job);
            job.work = Some(erased);
            job.tasks = tasks;
            job.generation += 1;
            job.active = self.workers.len();
            self.shared.running.store(job.active, Ordering::Release);
            self.shared.published.store(job.generation, Ordering::Release);
        }
        self.shared.start.notify_all();
        self.shared.take_tasks(work, tasks);
        look(|| self.shared.running.load(Ordering::Acquire) == 0);
        let mut job = lock(&self.shared.job);
        while job.active > 0 {
            job = self.shared.done.wait(job).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        job.work = None;
        drop(job);
        if self.shared.panicked.swap(false, Ordering::Relaxed) {
            resume_unwind(Box::new("a compute task panicked"));
        }
    }

    /// Splits `output` into pieces of `length` elements (the last may be shorter) and runs
    /// `work(index, piece)` on each.
    pub fn run_pieces<T: Send>(
        &self,
        output: &mut [T],
        length: usize,
        work: impl Fn(usize, &mut [T]) + Sync,
    ) {
        let total = output.len();
        let length = length.max(1);
        let start = SendPointer(output.as_mut_ptr());
        self.run(total.div_ceil(length), |index| {
            let offset = index * length;
            let count = length.min(total - offset);
            // SAFETY: pieces of different indices do not overlap and lie inside `output`, which is
            // borrowed exclusively for the duration of `run`.
            let piece = unsafe { std::slice::from_raw_parts_mut(start.get().add(offset), count) };
            work(index, piece);
        });
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        lock(&self.shared.job).stop = true;
        self.shared.start.notify_all();
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

/// A pointer that may cross threads; whoever dereferences it argues why that is sound.
#[derive(Debug)]
pub struct SendPointer<T>(pub *mut T);

impl<T> Clone for SendPointer<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for SendPointer<T> {}

// SAFETY: sending an address is harmless; each dereference carries its own argument.
unsafe impl<T: Send> Send for SendPointer<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for SendPointer<T> {}

impl<T> SendPointer<T> {
    /// The address. A method, so that closures capture the wrapper and not the raw pointer.
    pub fn get(self) -> *mut T {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once_for_any_number_of_threads() {
        for threads in [1, 2, 5] {
            let pool = ThreadPool::new(threads);
            for round in 0..if cfg!(miri) { 12 } else { 200 } {
                let counts: Vec<AtomicUsize> = (0..round).map(|_| AtomicUsize::new(0)).collect();
                pool.run(round, |task| {
                    counts[task].fetch_add(1, Ordering::Relaxed);
                });
                assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1));
            }
        }
    }

    #[test]
    fn a_rehearsal_has_its_threads_and_does_nothing() {
        let pool = ThreadPool::rehearsal(6);
        assert_eq!(pool.threads(), 6);
        pool.run(1, |_| panic!("not to be run"));
        pool.run_pieces(&mut [1, 2, 3], 1, |_, _| panic!("not to be run"));
    }

    #[test]
    fn pieces_cover_the_output_and_nesting_works() {
        let pool = ThreadPool::new(3);
        let mut out = vec![0usize; 103];
        pool.run_pieces(&mut out, 10, |index, piece| {
            pool.run(2, |_| ());
            for (i, value) in piece.iter_mut().enumerate() {
                *value = index * 10 + i;
            }
        });
        assert!(out.iter().enumerate().all(|(i, &value)| i == value));
    }

    #[test]
    fn a_panic_in_a_task_reaches_the_caller_and_the_pool_goes_on() {
        let pool = ThreadPool::new(2);
        let outcome = catch_unwind(AssertUnwindSafe(|| pool.run(8, |task| assert!(task != 5))));
        assert!(outcome.is_err());
        pool.run(8, |_| ());
    }
}
