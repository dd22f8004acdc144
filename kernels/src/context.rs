//! Where and with what an operation runs.

use crate::cpu::Isa;
use genesis_tensor::parallel::ThreadPool;

/// Threads and instruction set of a computation. One per program, or per test.
pub struct Context {
    /// The compute threads.
    pub pool: ThreadPool,
    /// The instruction set kernels may use.
    pub isa: Isa,
}

impl Context {
    /// A context with `threads` compute threads and the best instruction set of this machine.
    pub fn new(threads: usize) -> Self {
        Self { pool: ThreadPool::new(threads), isa: Isa::detect() }
    }

    /// A context restricted to an instruction set, for tests and comparisons.
    pub fn with_isa(threads: usize, isa: Isa) -> Self {
        Self { pool: ThreadPool::new(threads), isa }
    }
}
