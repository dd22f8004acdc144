//! Buffers that tasks borrow: one for each that may run at the same time, taken from the pool once.

use crate::Result;
use genesis_tensor::{DType, Tensor};
use std::sync::Mutex;

/// Buffers for tasks that run at the same time.
pub(super) struct Scratch(Mutex<Vec<Tensor>>);

impl Scratch {
    /// `count` buffers of `words` 32-bit words.
    pub fn new(count: usize, words: usize) -> Result<Self> {
        let buffers = (0..count).map(|_| Tensor::unspecified([words], DType::F32));
        Ok(Self(Mutex::new(buffers.collect::<std::result::Result<_, _>>()?)))
    }

    /// Runs `work` with a buffer of its own.
    pub fn with(&self, work: impl FnOnce(*mut f32)) {
        let taken = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).pop();
        let mut buffer = taken.expect("no more tasks run at once than there are threads");
        work(buffer.as_mut_slice().expect("the buffer is f32 and unshared").as_mut_ptr());
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(buffer);
    }
}
