//! Where and with what an operation runs.

use crate::cpu::Isa;
use crate::cuda::{CudaCard, Format};
use crate::{Error, Result};
use genesis_tensor::parallel::ThreadPool;
use genesis_tensor::{DType, Device, Tensor, memory};
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
    /// Products of f32 are computed in tf32.
    tf32: bool,
}

impl Context {
    /// A context with `threads` compute threads and the best instruction set of this machine.
    pub fn new(threads: usize) -> Self {
        Self::with_isa(threads, Isa::detect())
    }

    /// A context restricted to an instruction set, for tests and comparisons.
    pub fn with_isa(threads: usize, isa: Isa) -> Self {
        Self { pool: ThreadPool::new(threads), isa, card: None, tf32: false }
    }

    /// What this context computes with, for another one.
    pub fn hardware(&self) -> Hardware {
        Hardware { isa: self.isa, card: self.card.clone() }
    }

    /// Whether products of f32 activations (convolutions, linear layers) run on a card's tensor cores, which round
    /// their factors to tf32: 8 bits of exponent, 10 of fraction. Storage, sums and all other operations stay f32, and
    /// so do products of shapes that tensor cores do not take.
    ///
    /// # Errors
    /// tf32 without a card.
    pub fn set_tf32(&mut self, on: bool) -> Result<()> {
        if on && self.card.is_none() {
            return Err(Error::operation("cuda", "tf32 exists on CUDA cards only"));
        }
        self.tf32 = on;
        Ok(())
    }

    /// True if products of f32 are computed in tf32.
    pub fn tf32(&self) -> bool {
        self.tf32
    }

    /// How a card stores activations of this type, and multiplies them.
    pub fn products(&self, dtype: DType) -> Format {
        match dtype {
            DType::F32 if self.tf32 => Format::Tf32,
            _ => dtype.into(),
        }
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
