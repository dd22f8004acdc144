//! Which blocks of a card's memory are free: a training step asks for the same sizes every time, so after the first
//! ones the driver, which would wait for the whole card, is not asked again. What a graph has recorded is reserved to it.

use genesis_tensor::Card;
use std::collections::{BTreeMap, HashMap};

/// Sizes are multiples of this.
const GRAIN: usize = 512;
/// Large sizes are multiples of this, so that nearly equal ones share blocks.
const LARGE_GRAIN: usize = 64 << 10;

/// What a card's memory is used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// Bytes in use by tensors and kernels, or reserved to graphs.
    pub live: usize,
    /// The highest `live` so far.
    pub peak: usize,
    /// Bytes taken from the driver.
    pub held: usize,
    /// How often memory was taken from the driver.
    pub driver_allocations: usize,
}

/// Free blocks by size.
type Free = BTreeMap<usize, Vec<u64>>;

/// A block in use.
struct Block {
    size: usize,
    /// The graph that recorded it.
    graph: Option<u64>,
}

/// Free blocks by size, blocks in use by address.
#[derive(Default)]
pub(super) struct Pool {
    free: Free,
    used: HashMap<u64, Block>,
    /// The free blocks of each graph: in use as far as others are concerned.
    reserves: HashMap<u64, Free>,
    /// The graph that is being recorded.
    recording: Option<u64>,
    /// Graphs so far.
    graphs: u64,
    pub memory: MemoryUse,
}

/// The size of the smallest block of at least `wanted` bytes that is no more than a quarter larger.
fn fit(free: &Free, wanted: usize) -> Option<usize> {
    free.range(wanted..=wanted + wanted / 4).next().map(|(&size, _)| size)
}

/// Takes a block of this size.
fn pop(free: &mut Free, size: usize) -> Option<u64> {
    let blocks = free.get_mut(&size)?;
    let address = blocks.pop();
    if blocks.is_empty() {
        free.remove(&size);
    }
    address
}

/// The size that is asked of the driver for `bytes`.
pub(super) fn rounded(bytes: usize) -> usize {
    bytes.max(1).next_multiple_of(if bytes < LARGE_GRAIN { GRAIN } else { LARGE_GRAIN })
}

impl Pool {
    /// A free block of at least `bytes`, and no more than a quarter larger.
    pub fn take(&mut self, bytes: usize) -> Option<u64> {
        let wanted = rounded(bytes);
        let free = fit(&self.free, wanted);
        if let Some(reserve) = self.recording.and_then(|graph| self.reserves.get_mut(&graph))
            // The sizes are those that would be taken if all were in one place: a recording takes what a run took.
            && let Some(size) = fit(reserve, wanted).filter(|&size| free.is_none_or(|free| size <= free))
        {
            let address = pop(reserve, size)?;
            self.used.insert(address, Block { size, graph: self.recording });
            return Some(address);
        }
        let size = free?;
        let address = pop(&mut self.free, size)?;
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
        self.used.insert(address, Block { size, graph: self.recording });
        self.memory.live += size;
        self.memory.peak = self.memory.peak.max(self.memory.live);
    }

    /// Takes a block back: to the graph that recorded it, or that records now and may have used it.
    pub fn give(&mut self, address: u64) {
        let Some(Block { size, graph }) = self.used.remove(&address) else { return };
        let owner = graph.filter(|graph| self.reserves.contains_key(graph)).or(self.recording);
        match owner.and_then(|graph| self.reserves.get_mut(&graph)) {
            Some(reserve) => reserve.entry(size).or_default().push(address),
            None => {
                self.memory.live -= size;
                self.free.entry(size).or_default().push(address);
            }
        }
    }

    /// Begins to reserve what is taken and given back to a new graph; its number.
    pub fn reserve(&mut self) -> u64 {
        self.graphs += 1;
        self.reserves.insert(self.graphs, Free::new());
        self.recording = Some(self.graphs);
        self.graphs
    }

    /// The graph is recorded: what is taken from now on is not for it.
    pub fn end_recording(&mut self) {
        self.recording = None;
    }

    /// True if a graph still has its memory.
    pub fn reserves(&self, graph: u64) -> bool {
        self.reserves.contains_key(&graph)
    }

    /// Frees what is reserved to a graph.
    pub fn give_up(&mut self, graph: u64) {
        for (size, blocks) in self.reserves.remove(&graph).unwrap_or_default() {
            self.memory.live -= size * blocks.len();
            self.free.entry(size).or_default().extend(blocks);
        }
    }

    /// Frees what is reserved to any graph; false if nothing was.
    pub fn give_up_all(&mut self) -> bool {
        let graphs: Vec<u64> = self.reserves.keys().copied().collect();
        graphs.iter().for_each(|&graph| self.give_up(graph));
        !graphs.is_empty()
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

    #[test]
    fn what_a_graph_has_recorded_serves_nobody_else_until_it_is_given_up() {
        let mut pool = Pool::default();
        for address in [0x1000, 0x2000, 0x3000] {
            pool.grown(address, 512);
        }
        pool.give(0x1000);
        let graph = pool.reserve();
        assert_eq!(pool.take(512), Some(0x1000), "free blocks first");
        // Freed within the recording, also what was there before: it serves again within, and nowhere else.
        pool.give(0x1000);
        pool.give(0x2000);
        assert_eq!((pool.take(512), pool.take(512), pool.take(512)), (Some(0x2000), Some(0x1000), None));
        pool.give(0x1000);
        pool.end_recording();
        assert_eq!(pool.take(512), None);
        assert_eq!(pool.drain(), [0u64; 0]);
        assert_eq!(pool.memory.live, 3 * 512, "what is reserved counts as in use");
        // What lived on comes back to the graph, what was never its does not.
        pool.give(0x2000);
        assert_eq!(pool.take(512), None);
        pool.give(0x3000);
        assert_eq!((pool.take(512), pool.take(512)), (Some(0x3000), None));
        pool.give(0x3000);
        assert!(pool.reserves(graph) && pool.give_up_all() && !pool.reserves(graph) && !pool.give_up_all());
        assert_eq!(pool.memory.live, 0);
        let mut all = pool.drain();
        all.sort_unstable();
        assert_eq!(all, [0x1000, 0x2000, 0x3000]);
    }
}
