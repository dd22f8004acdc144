//! Where and with what an operation runs.

use crate::Result;
use crate::cpu::Isa;
use crate::cuda::CudaCard;
use genesis_tensor::parallel::ThreadPool;
use genesis_tensor::{Device, Tensor, memory};
use std::sync::Arc;
use std::time::Instant;

/// What a program computes with, apart from its number of threads.
#[derive(Clone)]
pub struct Hardware {
    /// The instruction set kernels may use.
    pub isa: Isa,
    /// The card that computes; none for the CPU.
    pub card: Option<Arc<CudaCard>>,
}

impl Hardware {
    /// The CPU with the best instruction set of this machine.
    pub fn cpu() -> Self {
        Self { isa: Isa::detect(), card: None }
    }

    /// A context with `threads` compute threads.
    pub fn context(&self, threads: usize) -> Context {
        Context { card: self.card.clone(), ..Context::with_isa(threads, self.isa) }
    }
}

impl std::fmt::Display for Hardware {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.card {
            None => write!(f, "{}", self.isa),
            Some(card) => write!(f, "cuda:{} ({})", card.found().number, card.found().name),
        }
    }
}

/// Threads, instruction set and, where there is one, the card of a computation. One per program, or per test.
///
/// With a card every operation runs there and wants its tensors there: [`Context::place`] brings them.
pub struct Context {
    /// The compute threads.
    pub pool: ThreadPool,
    /// The instruction set kernels may use.
    pub isa: Isa,
    /// The card that computes; none for the CPU.
    pub card: Option<Arc<CudaCard>>,
}

impl Context {
    /// A context with `threads` compute threads and the best instruction set of this machine.
    pub fn new(threads: usize) -> Self {
        Self::with_isa(threads, Isa::detect())
    }

    /// A context restricted to an instruction set, for tests and comparisons.
    pub fn with_isa(threads: usize, isa: Isa) -> Self {
        Self { pool: ThreadPool::new(threads), isa, card: None }
    }

    /// What this context computes with, for another one.
    pub fn hardware(&self) -> Hardware {
        Hardware { isa: self.isa, card: self.card.clone() }
    }

    /// Where operations run.
    pub fn device(&self) -> Device {
        self.card.as_ref().map_or(Device::Cpu, |card| Device::Cuda(card.found().number))
    }

    /// A tensor where operations want it; a clone if it is there.
    ///
    /// # Errors
    /// Memory; a card that failed.
    pub fn place(&self, tensor: &Tensor) -> Result<Tensor> {
        match &self.card {
            Some(card) => card.place(tensor),
            None => Ok(tensor.to_host()?),
        }
    }

    /// The most memory that tensors had at one time, in bytes, where operations run.
    pub fn peak_memory_bytes(&self) -> usize {
        self.card.as_ref().map_or_else(|| memory::statistics().peak, |card| card.memory().peak)
    }

    /// What `work` makes, and the seconds it takes until all of it is done: by the card's clock, if there is one.
    ///
    /// # Errors
    /// `work`'s; a card that failed.
    pub fn time<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<(T, f64)> {
        match &self.card {
            Some(card) => card.time(work),
            None => {
                let start = Instant::now();
                let made = work()?;
                Ok((made, start.elapsed().as_secs_f64()))
            }
        }
    }

    /// Waits until all that was asked for is done; operations on the CPU are when they return.
    ///
    /// # Errors
    /// What failed meanwhile on the card.
    pub fn synchronize(&self) -> Result<()> {
        self.card.as_ref().map_or(Ok(()), |card| card.synchronize())
    }
}
