//! Memory of a graphics card: what a tensor needs from the device layer, which is a floor above.

use crate::{Error, Result};
use std::fmt;
use std::sync::Arc;

/// A card with memory of its own. Everything asked of it happens in the order asked; only
/// [`Card::download`] waits.
pub trait Card: Send + Sync {
    /// Its number: N of `cuda:N`.
    fn number(&self) -> usize;

    /// The address of at least `bytes` bytes, aligned to 256. Their content is unspecified.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`]; [`Error::Device`].
    fn allocate(&self, bytes: usize) -> Result<u64>;

    /// Takes back what [`Card::allocate`] gave for this many bytes.
    fn free(&self, address: u64, bytes: usize);

    /// Copies from main memory, which may change as soon as this returns.
    ///
    /// # Errors
    /// [`Error::Device`].
    fn upload(&self, from: &[u8], to: u64) -> Result<()>;

    /// Copies to main memory, after all that was asked before.
    ///
    /// # Errors
    /// [`Error::Device`]: also for work asked before that failed since.
    fn download(&self, from: u64, to: &mut [u8]) -> Result<()>;

    /// Copies within the card; the ranges do not overlap.
    ///
    /// # Errors
    /// [`Error::Device`].
    fn copy(&self, from: u64, to: u64, bytes: usize) -> Result<()>;
}

/// An owned block of a card's memory, given back when dropped.
pub(crate) struct CardBlock {
    pub card: Arc<dyn Card>,
    pub address: u64,
    pub bytes: usize,
}

impl CardBlock {
    pub fn new(card: &Arc<dyn Card>, bytes: usize) -> Result<Self> {
        if bytes > isize::MAX as usize / 2 {
            return Err(Error::OutOfMemory { bytes });
        }
        let bytes = bytes.max(1);
        Ok(Self { card: card.clone(), address: card.allocate(bytes)?, bytes })
    }
}

impl Drop for CardBlock {
    fn drop(&mut self) {
        self.card.free(self.address, self.bytes);
    }
}

impl fmt::Debug for dyn Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cuda:{}", self.number())
    }
}
