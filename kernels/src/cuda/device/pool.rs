//! Which blocks of a card's memory are free: a training step asks for the same sizes every time, so after the first
//! ones the driver, which would wait for the whole card, is not asked again.

use genesis_tensor::Card;
use std::collections::{BTreeMap, HashMap};

/// Sizes are multiples of this.
const GRAIN: usize = 512;
/// Large sizes are multiples of this, so that nearly equal ones share blocks.
const LARGE_GRAIN: usize = 64 << 10;

/// What a card's memory is used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// Bytes in use by tensors and kernels.
    pub live: usize,
    /// The highest `live` so far.
    pub peak: usize,
    /// Bytes taken from the driver.
    pub held: usize,
    /// How often memory was taken from the driver.
    pub driver_allocations: usize,
}

/// Free blocks by size, blocks in use by address.
#[derive(Default)]
pub(super) struct Pool {
    free: BTreeMap<usize, Vec<u64>>,
    used: HashMap<u64, usize>,
    pub memory: MemoryUse,
}

/// The size that is asked of the driver for `bytes`.
pub(super) fn rounded(bytes: usize) -> usize {
    bytes.max(1).next_multiple_of(if bytes < LARGE_GRAIN { GRAIN } else { LARGE_GRAIN })
}

impl Pool {
    /// A free block of at least `bytes`, and no more than a quarter larger.
    pub fn take(&mut self, bytes: usize) -> Option<u64> {
        let wanted = rounded(bytes);
        let (&size, _) = self.free.range(wanted..=wanted + wanted / 4).next()?;
        let blocks = self.free.get_mut(&size)?;
        let address = blocks.pop()?;
        if blocks.is_empty() {
            self.free.remove(&size);
        }
        self.enter(address, size);
        Some(address)
    }

    /// Notes a block of [`rounded`] size that the driver gave.
    pub fn grown(&mut self, address: u64, bytes: usize) {
        let size = rounded(bytes);
        self.memory.held += size;
        self.memory.driver_allocations += 1;
        self.enter(address, size);
    }

    fn enter(&mut self, address: u64, size: usize) {
        self.used.insert(address, size);
        self.memory.live += size;
        self.memory.peak = self.memory.peak.max(self.memory.live);
    }

    /// Takes a block back.
    pub fn give(&mut self, address: u64) {
        if let Some(size) = self.used.remove(&address) {
            self.memory.live -= size;
            self.free.entry(size).or_default().push(address);
        }
    }

    /// Forgets all free blocks, for the driver to take them back.
    pub fn drain(&mut self) -> Vec<u64> {
        let mut all = Vec::new();
        for (size, blocks) in std::mem::take(&mut self.free) {
            self.memory.held -= size * blocks.len();
            all.extend(blocks);
        }
        all
    }
}

/// Scratch memory of one operation, given back at the end.
pub(super) struct Scratch<'a> {
    card: &'a dyn Card,
    bytes: usize,
    pub address: u64,
}

impl<'a> Scratch<'a> {
    pub fn new(card: &'a dyn Card, bytes: usize) -> genesis_tensor::Result<Self> {
        Ok(Self { card, bytes, address: card.allocate(bytes)? })
    }
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        self.card.free(self.address, self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_serve_again_for_sizes_that_are_near() {
        let mut pool = Pool::default();
        assert_eq!(pool.take(1000), None);
        pool.grown(0x1000, 1000);
        pool.grown(0x9000, 1 << 20);
        assert_eq!((pool.memory.live, pool.memory.held), (1024 + (1 << 20), 1024 + (1 << 20)));
        pool.give(0x1000);
        pool.give(0x9000);
        assert_eq!(pool.take(400), None, "a block of twice the size");
        assert_eq!(pool.take(513), Some(0x1000));
        assert_eq!(pool.take((1 << 20) - 5), Some(0x9000));
        assert_eq!(pool.take(1 << 20), None);
        pool.give(0x9000);
        assert_eq!(pool.drain(), [0x9000]);
        let memory = MemoryUse { live: 1024, peak: 1024 + (1 << 20), held: 1024, driver_allocations: 2 };
        assert_eq!(pool.memory, memory);
    }
}
