//! Threads that make batches ahead of the training step.
//!
//! What is made for step `s` must be a pure function of `s`, so any thread may make it; batches are
//! handed out in order of their steps. At most one more than there are threads wait.

use crate::{Error, Result};
use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;

/// Makes the batch of a step; each thread has its own, with its own working memory.
pub type Maker<B> = Box<dyn FnMut(u64) -> Result<B> + Send>;

struct State<B> {
    next_to_make: u64,
    next_to_take: u64,
    ready: BTreeMap<u64, Result<B>>,
    stop: bool,
}

struct Shared<B> {
    end: u64,
    depth: u64,
    state: Mutex<State<B>>,
    made: Condvar,
    taken: Condvar,
}

/// Makes batches on its own threads; dropping it stops them.
pub struct Prefetch<B: Send + 'static> {
    shared: Arc<Shared<B>>,
    workers: Vec<JoinHandle<()>>,
}

impl<B: Send + 'static> Prefetch<B> {
    /// Starts a thread for each maker, for the steps of a range.
    ///
    /// # Errors
    /// No thread to be had.
    pub fn start(makers: Vec<Maker<B>>, steps: Range<u64>) -> Result<Self> {
        let first = steps.start;
        let state = State { next_to_make: first, next_to_take: first, ready: BTreeMap::new(), stop: false };
        let shared = Arc::new(Shared {
            end: steps.end,
            depth: makers.len() as u64 + 1,
            state: Mutex::new(state),
            made: Condvar::new(),
            taken: Condvar::new(),
        });
        let mut prefetch = Self { shared, workers: Vec::new() };
        for (index, maker) in makers.into_iter().enumerate() {
            let shared = Arc::clone(&prefetch.shared);
            let worker = std::thread::Builder::new().name(format!("loader-{index}"));
            let worker = worker.spawn(move || shared.work(maker));
            prefetch.workers.push(worker.map_err(Error::io("start a thread for", "the loader"))?);
        }
        Ok(prefetch)
    }

    /// The next batch in order, or `None` after the last.
    ///
    /// # Errors
    /// What went wrong making it.
    pub fn next_batch(&mut self) -> Result<Option<B>> {
        let mut state = self.shared.lock();
        if state.next_to_take >= self.shared.end {
            return Ok(None);
        }
        loop {
            let step = state.next_to_take;
            if let Some(batch) = state.ready.remove(&step) {
                state.next_to_take += 1;
                self.shared.taken.notify_all();
                return batch.map(Some);
            }
            state = self.shared.made.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
    }

    /// The next batch in order if it is made already.
    pub fn ready_batch(&mut self) -> Option<Result<B>> {
        let mut state = self.shared.lock();
        let step = state.next_to_take;
        let batch = state.ready.remove(&step)?;
        state.next_to_take += 1;
        self.shared.taken.notify_all();
        Some(batch)
    }
}

impl<B: Send + 'static> Drop for Prefetch<B> {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.taken.notify_all();
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

impl<B> Shared<B> {
    fn lock(&self) -> MutexGuard<'_, State<B>> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn work(&self, mut make: Maker<B>) {
        loop {
            let mut state = self.lock();
            let step = loop {
                if state.stop || state.next_to_make >= self.end {
                    return;
                }
                if state.next_to_make < state.next_to_take + self.depth {
                    break state.next_to_make;
                }
                state = self.taken.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
            };
            state.next_to_make += 1;
            drop(state);
            // A panic here must reach the trainer as an error, not leave it waiting.
            let made = catch_unwind(AssertUnwindSafe(|| make(step)));
            let made =
                made.unwrap_or_else(|_| Err(Error::Work(format!("loader thread failed at step {step}"))));
            self.lock().ready.insert(step, made);
            self.made.notify_all();
        }
    }
}
