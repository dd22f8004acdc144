//! What is ordered before what. Each warp has a clock that ticks at every barrier, and knows the clocks of the others
//! up to the last barrier it shared with them: vector clocks, exact for named barriers too.

use crate::memory::shadow::{Access, LAST_CLOCK};
use std::collections::HashMap;

/// Clocks of the warps of one block.
pub struct Clocks {
    /// `[warp][warp]`: what the first knows of the second.
    rows: Vec<Vec<u32>>,
    /// A clock grew too large to be recorded.
    pub exhausted: bool,
}

impl Clocks {
    /// At a block's start.
    pub fn new(warps: usize) -> Self {
        let row = |w: usize| (0..warps).map(|other| u32::from(other == w)).collect();
        Self { rows: (0..warps).map(row).collect(), exhausted: false }
    }

    /// The clock of a warp.
    pub fn clock(&self, warp: usize) -> u32 {
        self.rows[warp][warp]
    }

    /// What a warp knows of all.
    pub fn row(&self, warp: usize) -> &[u32] {
        &self.rows[warp]
    }

    fn tick(&mut self, warp: usize) {
        if self.rows[warp][warp] < LAST_CLOCK {
            self.rows[warp][warp] += 1;
        } else {
            self.exhausted = true;
        }
    }

    /// A warp synchronised with itself.
    pub fn warp_barrier(&mut self, warp: usize) {
        self.tick(warp);
    }

    /// `waiting` warps wait for themselves and for `arrived`, which do not wait.
    pub fn barrier(&mut self, waiting: &[usize], arrived: &[usize]) {
        let mut joined = vec![0; self.rows.len()];
        for &warp in waiting.iter().chain(arrived) {
            for (all, own) in joined.iter_mut().zip(&self.rows[warp]) {
                *all = (*all).max(*own);
            }
        }
        for &warp in waiting {
            self.rows[warp].copy_from_slice(&joined);
        }
        for &warp in waiting.iter().chain(arrived) {
            self.tick(warp);
        }
    }
}

/// Order between blocks: a block that fences and then does an atomic operation publishes what it wrote; one that does
/// an atomic operation on the same place later has acquired it.
#[derive(Default)]
pub struct Publications {
    /// Blocks whose writes an atomic at this address published.
    published: HashMap<u64, Vec<u32>>,
}

impl Publications {
    /// An atomic operation of `block` at `address`; `fenced` if the block fenced before it.
    pub fn atomic(&mut self, address: u64, block: u32, fenced: bool, acquired: &mut Vec<u32>) {
        if let Some(blocks) = self.published.get(&address) {
            acquired.extend(blocks.iter().filter(|&&b| b != block));
            acquired.sort_unstable();
            acquired.dedup();
        }
        if fenced {
            let blocks = self.published.entry(address).or_default();
            if !blocks.contains(&block) {
                blocks.push(block);
            }
        }
    }
}

/// A thread's view of what is ordered before its next access.
pub struct Observer<'a> {
    /// Number of the launch.
    pub launch: u64,
    /// Its block.
    pub block: u32,
    /// Its warp within the block.
    pub warp: u32,
    /// What its warp knows.
    pub row: &'a [u32],
    /// Blocks whose writes it has acquired, sorted.
    pub acquired: &'a [u32],
}

impl Observer<'_> {
    /// Whether an access of another thread is ordered before this one.
    pub fn ordered(&self, other: Access) -> bool {
        if other.block() != self.block & 0xf_ffff {
            return self.acquired.binary_search(&other.block()).is_ok();
        }
        let warp = other.thread() / 32;
        let known = self.row[warp as usize];
        // Lanes of one warp are ordered by the tick of a warp barrier only.
        if warp == self.warp { other.clock() < known } else { other.clock() <= known }
    }
}
