//! Graphs: work recorded once and queued as a whole from then on, which spares the host a launch for every kernel.
//!
//! A graph holds the addresses of what was recorded, and nothing else of it: what the host decided then, read then or
//! wrote then is fixed or lost. Hence, while one is recorded ([`CudaCard::record`]):
//!
//! * The pool gives blocks for the graph alone: those it has free, so that a graph of what ran before takes no more
//!   memory, then new ones. What is freed meanwhile stays the graph's too and serves again only within the recording,
//!   where "later on the same stream" holds as ever. All of it is reserved until the graph is dropped; a tensor made
//!   in the recording that lives on keeps its block, and gives it back to the graph.
//! * Uploads, downloads and waits are errors: constants are brought before, and what an operation wants to know of a
//!   result is handed to [`CudaCard::check`], which asks after every launch.
//! * Threads that want the same card wait: their work would be recorded.
//!
//! Nothing runs meanwhile. What the work reads or writes without having made it (parameters, gradients, inputs) must be
//! at the same addresses whenever the graph is launched; whoever launches it sees to that.
//!
//! When the card has no more memory, what graphs reserve is given up: [`Graph::launch`] then queues nothing and says
//! so.

use super::{CudaCard, Last, address, lock};
use crate::{Error, Result};
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;
use genesis_tensor::{Card, Tensor};
use std::sync::{Arc, MutexGuard};
use std::thread::ThreadId;

/// What is wrong with a result that has come to main memory.
type Judge = Box<dyn Fn(&Tensor) -> Result<()> + Send>;

/// A result, and who looks at it.
pub(super) struct Check {
    value: Tensor,
    judge: Judge,
}

/// A recording under way.
pub(super) struct Recording {
    thread: ThreadId,
    kernels: u64,
    checks: Vec<Check>,
}

impl Recording {
    pub fn kernel(&mut self) {
        self.kernels += 1;
    }
}

/// Recorded work.
pub struct Graph {
    card: Arc<CudaCard>,
    /// Its number in the pool.
    number: u64,
    executable: sys::CUgraphExec,
    kernels: u64,
    checks: Vec<Check>,
}

// SAFETY: the handle is the driver's, which any thread may use once the context is current there.
unsafe impl Send for Graph {}

impl CudaCard {
    /// Whether graphs are wanted: not with `GENESIS_CUDA_GRAPHS=0`, nor where every kernel is waited for.
    pub fn uses_graphs(&self) -> bool {
        self.graphs && !self.synchronous
    }

    /// Records what `work` queues, which does not run; what it made, whose content comes with the first launch.
    ///
    /// # Errors
    /// `work`'s own; what cannot be recorded; memory; a card that failed. Everything is then as before.
    pub fn record<T, E: From<Error>>(
        self: &Arc<Self>,
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<(Graph, T), E> {
        let mut recorder = Recorder::start(self)?;
        let made = work()?;
        Ok((recorder.finish(self)?, made))
    }

    /// Looks at a result: now, or, while a graph is recorded, whenever [`Graph::check`] is called.
    ///
    /// # Errors
    /// `judge`'s; a card that failed.
    pub fn check(&self, value: Tensor, judge: impl Fn(&Tensor) -> Result<()> + Send + 'static) -> Result<()> {
        let mut recording = self.turn();
        if let Some(recording) = &mut *recording {
            recording.checks.push(Check { value, judge: Box::new(judge) });
            return Ok(());
        }
        drop(recording);
        judge(&value.to_host()?)
    }

    /// Overwrites a tensor that a graph reads, and with it all that share its block.
    ///
    /// # Errors
    /// When the two are not of one size or not on the card; a card that failed.
    pub fn renew(&self, to: &Tensor, from: &Tensor) -> Result<()> {
        if to.size_in_bytes() != from.size_in_bytes() {
            return Err(Error::shape("renew", to.shape(), from.shape()));
        }
        Ok(self.copy(address(from)?, address(to)?, to.size_in_bytes())?)
    }

    /// A copy in a block of its own.
    ///
    /// # Errors
    /// As [`CudaCard::renew`]; memory.
    pub fn copy_of(self: &Arc<Self>, tensor: &Tensor) -> Result<Tensor> {
        let copy = self.unspecified(tensor.shape(), tensor.dtype())?;
        self.renew(&copy, tensor)?;
        Ok(copy)
    }

    /// Waits while another thread records. While the guard lives none begins to, so that a call of the driver that is
    /// not to be recorded, or is, ends as what it began; it must be dropped before anything else here wants one.
    pub(super) fn turn(&self) -> MutexGuard<'_, Option<Recording>> {
        let own = std::thread::current().id();
        let mut recording = lock(&self.recording);
        while recording.as_ref().is_some_and(|recording| recording.thread != own) {
            let waited = self.recorded.wait(recording);
            recording = waited.unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        recording
    }

    /// True if this thread records; waits while another one does.
    pub(super) fn is_recording(&self) -> bool {
        self.turn().is_some()
    }

    /// [`CudaCard::turn`] for what cannot be recorded: an error while this thread records.
    pub(super) fn unrecorded_turn(
        &self,
        what: &str,
    ) -> genesis_tensor::Result<MutexGuard<'_, Option<Recording>>> {
        let turn = self.turn();
        match turn.is_some() {
            true => Err(genesis_tensor::Error::Device(format!("{what} while a graph is recorded"))),
            false => Ok(turn),
        }
    }
}

/// Ends a recording, however it ends.
struct Recorder<'a> {
    card: &'a CudaCard,
    number: u64,
    open: bool,
}

impl<'a> Recorder<'a> {
    fn start(card: &'a CudaCard) -> Result<Self> {
        card.enter()?;
        let mut turn = card.unrecorded_turn("recording a graph")?;
        *turn = Some(Recording { thread: std::thread::current().id(), kernels: 0, checks: Vec::new() });
        drop(turn);
        let number = lock(&card.pool).reserve();
        let mut recorder = Self { card, number, open: true };
        // Relaxed: memory may still be asked of the driver, and kernels loaded.
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
        // SAFETY: the stream lives as long as the card and captures nothing: recordings are one at a time.
        let begun = unsafe { result::stream::begin_capture(card.stream, mode) };
        if let Err(error) = begun {
            recorder.close();
            lock(&card.pool).give_up(number);
            return Err(card.failed("recording a graph", error).into());
        }
        Ok(recorder)
    }

    /// What was recorded, ready to be launched.
    fn finish(&mut self, card: &Arc<CudaCard>) -> Result<Graph> {
        let fail = |error| -> Error { card.failed("a recorded graph", error).into() };
        let (graph, recording) = self.end();
        let executable = graph.and_then(|graph| {
            // No flags.
            let flags = sys::CUgraphInstantiate_flags_enum(0);
            // SAFETY: the graph comes from the capture that just ended.
            let executable = unsafe { result::graph::instantiate(graph, flags) };
            // SAFETY: as above; what was instantiated does not need it.
            let _ = unsafe { result::graph::destroy(graph) };
            executable
        });
        let executable = executable.map_err(|error| {
            lock(&card.pool).give_up(self.number);
            fail(error)
        })?;
        let (kernels, checks) = recording.map(|found| (found.kernels, found.checks)).unwrap_or_default();
        Ok(Graph { card: card.clone(), number: self.number, executable, kernels, checks })
    }

    /// Ends the capture: the graph of it, and what was noted.
    fn end(&mut self) -> (Result<sys::CUgraph, DriverError>, Option<Recording>) {
        // SAFETY: the capture began in `start` on this stream.
        let graph = unsafe { result::stream::end_capture(self.card.stream) };
        (graph, self.close())
    }

    fn close(&mut self) -> Option<Recording> {
        self.open = false;
        lock(&self.card.pool).end_recording();
        let recording = lock(&self.card.recording).take();
        self.card.recorded.notify_all();
        recording
    }
}

impl Drop for Recorder<'_> {
    fn drop(&mut self) {
        if self.open {
            if let (Ok(graph), _) = self.end() {
                // SAFETY: the graph comes from the capture that just ended, and nothing was made of it.
                let _ = unsafe { result::graph::destroy(graph) };
            }
            lock(&self.card.pool).give_up(self.number);
        }
    }
}

impl Graph {
    /// Queues all that was recorded; false, with nothing queued, if its memory had to be given up: then it is of no use
    /// any more.
    ///
    /// # Errors
    /// A card that failed; while another graph is recorded.
    pub fn launch(&self) -> Result<bool> {
        let card = &self.card;
        card.enter()?;
        let _turn = card.unrecorded_turn("launching a graph")?;
        // Held until the launch is queued: memory that is given up meanwhile is freed after a wait for it.
        let pool = lock(&card.pool);
        if !pool.reserves(self.number) {
            return Ok(false);
        }
        // SAFETY: what it reads and writes is reserved, or the caller's, who keeps it where it was; whoever used the
        // reserved blocks before came earlier on this stream.
        let launched = unsafe { result::graph::launch(self.executable, card.stream) };
        drop(pool);
        lock(&card.loaded).last = Last::Graph(self.kernels);
        launched.map_err(|error| card.failed("launching a graph", error))?;
        Ok(true)
    }

    /// Looks at the results of the last launch that operations wanted looked at. Waits for it.
    ///
    /// # Errors
    /// What they found; a card that failed.
    pub fn check(&self) -> Result<()> {
        self.checks.iter().try_for_each(|Check { value, judge }| judge(&value.to_host()?))
    }

    /// Kernels recorded.
    pub fn kernels(&self) -> u64 {
        self.kernels
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        // A card that fails here has told so or will at the next wait; the memory is then of no use to anybody.
        let _ = self.card.enter();
        if !self.card.is_recording() {
            // SAFETY: the stream lives as long as the card.
            let _ = unsafe { result::stream::synchronize(self.card.stream) };
        }
        // SAFETY: made by `instantiate`, launched no more; at rest after the wait, and without one the driver's to end.
        let _ = unsafe { result::graph::exec_destroy(self.executable) };
        lock(&self.card.pool).give_up(self.number);
    }
}
