//! What is ordered before what. Each warp has a clock that ticks at every barrier, and knows the clocks of the others
//! up to the last barrier it shared with them: vector clocks, exact for named barriers too. An arrival at an mbarrier
//! tells what its warp knows, a successful wait learns it; asynchronous copies and products have clocks of their own.

use crate::memory::shadow::{Access, LAST_CLOCK};
use std::collections::HashMap;

/// What is known of each clock: those of 32 warps, then those of 32 agents, which copy and multiply asynchronously.
pub type Known = [u32; 64];

/// Agents that multiply for the eight warpgroups come first, those that copy for mbarriers afterwards.
pub const COPIERS: usize = 8;
/// How many agents there are.
pub const AGENTS: usize = 32;

/// Joins what others know.
pub fn join(all: &mut Known, other: &Known) {
    for (own, other) in all.iter_mut().zip(other) {
        *own = (*own).max(*other);
    }
}

/// A fence: the clock of its warp, and the lanes that executed it.
type Fence = (u32, u32);

/// Clocks of one block.
pub struct Clocks {
    /// What each warp knows.
    rows: Vec<Known>,
    /// Each warp's clock behind the last barrier of all its lanes.
    together: Vec<u32>,
    /// Clocks of the agents.
    agents: [u32; AGENTS],
    /// `fence.proxy.async` of each warp.
    proxy: Vec<Vec<Fence>>,
    /// `fence.mbarrier_init` of each warp.
    made: Vec<Vec<Fence>>,
    /// A clock grew too large to be recorded.
    pub exhausted: bool,
}

impl Clocks {
    /// At a block's start.
    pub fn new(warps: usize) -> Self {
        let row = |w: usize| std::array::from_fn(|other| u32::from(other == w));
        Self {
            rows: (0..warps).map(row).collect(),
            together: vec![1; warps],
            agents: [1; AGENTS],
            proxy: vec![Vec::new(); warps],
            made: vec![Vec::new(); warps],
            exhausted: false,
        }
    }

    /// The clock of a warp.
    pub fn clock(&self, warp: usize) -> u32 {
        self.rows[warp][warp]
    }

    /// What a warp knows of all.
    pub fn row(&self, warp: usize) -> &Known {
        &self.rows[warp]
    }

    /// Where a warp of block number `block` stands in a launch, when it has acquired the writes of other blocks.
    pub fn observer<'a>(&'a self, launch: u64, block: u32, warp: usize, acquired: &'a [u32]) -> Observer<'a> {
        let (row, together) = (self.row(warp), self.together(warp));
        Observer { launch, block, warp: warp as u32, row, together, acquired }
    }

    /// The clock of a warp behind the last barrier of all its lanes.
    pub fn together(&self, warp: usize) -> u32 {
        self.together[warp]
    }

    /// What every one of these warps knows.
    pub fn common(&self, warps: std::ops::Range<usize>) -> Known {
        let mut all = [u32::MAX; 64];
        for warp in warps {
            for (own, other) in all.iter_mut().zip(&self.rows[warp]) {
                *own = (*own).min(*other);
            }
        }
        all
    }

    /// The clock of an agent.
    pub fn agent(&self, agent: usize) -> u32 {
        self.agents[agent]
    }

    /// What an agent does from now on is later than what it did; gives the clock of the latter.
    pub fn tick_agent(&mut self, agent: usize) -> u32 {
        let clock = self.agents[agent];
        if clock < LAST_CLOCK {
            self.agents[agent] += 1;
        } else {
            self.exhausted = true;
        }
        clock
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
        self.together[warp] = self.clock(warp);
    }

    /// `waiting` warps wait for themselves and for `arrived`, which do not wait.
    pub fn barrier(&mut self, waiting: &[usize], arrived: &[usize]) {
        let mut joined = [0; 64];
        for &warp in waiting.iter().chain(arrived) {
            join(&mut joined, &self.rows[warp]);
        }
        for &warp in waiting {
            self.rows[warp] = joined;
        }
        for &warp in waiting.iter().chain(arrived) {
            self.warp_barrier(warp);
        }
    }

    /// A warp tells through an mbarrier what it did so far.
    pub fn release(&mut self, warp: usize, into: &mut Known) {
        join(into, &self.rows[warp]);
        self.tick(warp);
    }

    /// A warp learns what was told.
    pub fn acquire(&mut self, warp: usize, told: &Known) {
        join(&mut self.rows[warp], told);
    }

    /// A warp learns what an agent did.
    pub fn acquire_agent(&mut self, warp: usize, agent: usize, clock: u32) {
        let own = &mut self.rows[warp][32 + agent];
        *own = (*own).max(clock);
    }

    /// Lanes of a warp executed `fence.proxy.async`, or `fence.mbarrier_init`.
    pub fn fence(&mut self, warp: usize, lanes: u32, proxy: bool) {
        let fence = (self.clock(warp), lanes);
        if proxy {
            self.proxy[warp].push(fence)
        } else {
            self.made[warp].push(fence)
        }
        self.tick(warp);
    }

    /// Whether the thread of an access executed a proxy fence after it, and whoever knows `row` knows of that. For the
    /// making of an mbarrier `fence.mbarrier_init` will do as well.
    pub fn fenced(&self, access: Access, row: &Known, making: bool) -> bool {
        let (warp, lane) = ((access.thread() / 32) as usize, access.thread() % 32);
        let Some(fences) = self.proxy.get(warp) else { return true };
        let behind = |fences: &[Fence]| {
            let first = fences.partition_point(|&(clock, _)| clock < access.clock());
            let mut later = fences[first..].iter().take_while(|&&(clock, _)| clock <= row[warp]);
            later.any(|&(_, lanes)| lanes >> lane & 1 == 1)
        };
        behind(fences) || making && behind(&self.made[warp])
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
    pub row: &'a Known,
    /// Clock of its warp behind the last barrier of all its lanes.
    pub together: u32,
    /// Blocks whose writes it has acquired, sorted.
    pub acquired: &'a [u32],
}

impl Observer<'_> {
    /// Whether an access of another thread is ordered before this one.
    #[inline]
    pub fn ordered(&self, other: Access) -> bool {
        if other.block() != self.block & 0xf_ffff {
            return self.acquired.binary_search(&other.block()).is_ok();
        }
        let warp = other.thread() / 32;
        // Lanes of one warp are ordered by a barrier of the warp only.
        if warp == self.warp {
            other.clock() < self.together
        } else {
            other.clock() <= self.row[warp as usize & 63]
        }
    }
}
