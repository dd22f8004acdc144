//! Exact counts of what a launch did. They are counts of the PTX: a card's own instructions differ, and sectors are
//! requests before any cache.

use crate::program::{Class, Instruction};
use std::fmt;

const CLASSES: [Class; 14] = [
    Class::Integer,
    Class::Float,
    Class::Double,
    Class::Half,
    Class::Special,
    Class::Convert,
    Class::Move,
    Class::Memory,
    Class::Shared,
    Class::Atomic,
    Class::Warp,
    Class::Matrix,
    Class::Copy,
    Class::Control,
];

/// Requests of warps to device memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Warp instructions.
    pub requests: u64,
    /// 32-byte sectors touched.
    pub sectors: u64,
    /// Different bytes used within them.
    pub bytes: u64,
}

impl Traffic {
    /// Sectors per request; 4 for 32 lanes with neighbouring 4-byte values.
    pub fn sectors_per_request(&self) -> f64 {
        self.sectors as f64 / self.requests.max(1) as f64
    }

    /// Share of the sectors' bytes that was used, 0 to 1.
    pub fn efficiency(&self) -> f64 {
        self.bytes as f64 / (self.sectors.max(1) * 32) as f64
    }
}

/// Requests of warps to shared memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Banks {
    /// Warp instructions.
    pub requests: u64,
    /// Passes that 32 banks of 4 bytes need.
    pub wavefronts: u64,
    /// Passes that would do without conflicts.
    pub ideal: u64,
}

/// What a launch did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    classes: [u64; 14],
    /// Warp instructions with at least one active lane, and those lanes.
    pub active_lanes: u64,
    /// Floating-point operations outside `mma` and `wgmma` (a fused multiply-add is two).
    pub flops: u64,
    /// Floating-point operations of `mma` and `wgmma`.
    pub matrix_flops: u64,
    /// Loads from device memory (`cp.async` and bulk copies included; such a copy is one request).
    pub loads: Traffic,
    /// Stores to device memory.
    pub stores: Traffic,
    /// Accesses to shared memory.
    pub shared: Banks,
    /// Barriers of blocks that were passed.
    pub barriers: u64,
    /// Branches that parted a warp.
    pub divergences: u64,
    /// Blocks whose barriers were too many to check races to the end.
    pub unchecked_blocks: u64,
}

impl Counters {
    pub(crate) fn count(&mut self, instruction: &Instruction, active: u32) {
        let lanes = u64::from(active.count_ones());
        self.classes[instruction.class as usize] += 1;
        self.active_lanes += lanes;
        if instruction.class == Class::Matrix {
            self.matrix_flops += u64::from(instruction.flops) * u64::from(active != 0);
        } else {
            self.flops += lanes * u64::from(instruction.flops);
        }
    }

    /// Warp instructions of a class.
    pub fn instructions(&self, class: Class) -> u64 {
        self.classes[class as usize]
    }

    /// Warp instructions in all.
    pub fn all_instructions(&self) -> u64 {
        self.classes.iter().sum()
    }

    /// Notes a request to device memory: addresses of the active lanes, bytes of each.
    pub(crate) fn global(&mut self, addresses: impl Iterator<Item = u64>, bytes: usize, store: bool) {
        let mut sectors: [(u64, u32); 64] = [(u64::MAX, 0); 64];
        let mut used = 0;
        for address in addresses {
            let (sector, low) = (address / 32, address % 32);
            let mask = ((1u64 << bytes) - 1) << low;
            let found = sectors[..used].iter().rposition(|s| s.0 == sector);
            let index = found.unwrap_or(used);
            if index == used {
                used += 1;
                sectors[index] = (sector, 0);
            }
            sectors[index].1 |= mask as u32;
        }
        let traffic = if store { &mut self.stores } else { &mut self.loads };
        traffic.requests += 1;
        traffic.sectors += used as u64;
        traffic.bytes += sectors[..used].iter().map(|s| u64::from(s.1.count_ones())).sum::<u64>();
    }

    /// Notes a bulk copy: stretches of device memory (address, bytes), and bytes written to shared memory.
    pub(crate) fn bulk(&mut self, stretches: impl Iterator<Item = (u64, usize)>, written: usize) {
        self.loads.requests += 1;
        // Neighbours share a sector where they meet.
        let mut last = u64::MAX;
        for (address, bytes) in stretches {
            let (first, end) = (address / 32, (address + bytes as u64 - 1) / 32);
            self.loads.sectors += end - first + u64::from(first != last);
            self.loads.bytes += bytes as u64;
            last = end;
        }
        let passes = written.div_ceil(128) as u64;
        self.shared.requests += 1;
        self.shared.wavefronts += passes;
        self.shared.ideal += passes;
    }

    /// Notes a request to shared memory. Wide accesses are served 128 bytes at a time: 8-byte ones by half warps,
    /// 16-byte ones by quarters.
    pub(crate) fn banks(&mut self, addresses: &[u64], bytes: usize) {
        let lanes_at_once = (128 / bytes.max(4)).min(32);
        self.shared.requests += 1;
        for group in addresses.chunks(lanes_at_once) {
            let words =
                group.iter().flat_map(|&a| (0..bytes.max(4) as u64).step_by(4).map(move |i| (a + i) / 4));
            self.shared.wavefronts += wavefronts(words);
            self.shared.ideal += 1;
        }
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} warp instructions (", self.all_instructions())?;
        let shown = CLASSES.iter().filter(|&&class| self.instructions(class) > 0);
        let parts: Vec<String> =
            shown.map(|&class| format!("{class:?} {}", self.instructions(class)).to_lowercase()).collect();
        write!(f, "{}), {} flops, {} in mma; ", parts.join(", "), self.flops, self.matrix_flops)?;
        for (name, t) in [("loads", self.loads), ("stores", self.stores)] {
            if t.requests > 0 {
                let (sectors, share) = (t.sectors_per_request(), 100.0 * t.efficiency());
                write!(f, "{name} {} ({sectors:.1} sectors each, {share:.0}% of bytes used); ", t.requests)?;
            }
        }
        if self.shared.requests > 0 {
            let ratio = self.shared.wavefronts as f64 / self.shared.ideal.max(1) as f64;
            write!(f, "shared {} ({ratio:.2} x the ideal wavefronts); ", self.shared.requests)?;
        }
        write!(f, "{} barriers, {} divergent branches", self.barriers, self.divergences)
    }
}

/// Passes that the banks need for these words: the most different words that one bank holds.
fn wavefronts(words: impl Iterator<Item = u64> + Clone) -> u64 {
    // Nearly always no bank is asked for two words.
    let mut first = [u64::MAX; 32];
    let mut conflict = false;
    for word in words.clone() {
        let known = &mut first[(word % 32) as usize];
        conflict |= *known != u64::MAX && *known != word;
        *known = word;
    }
    if !conflict {
        return 1;
    }
    let mut different: Vec<u64> = words.collect();
    different.sort_unstable();
    different.dedup();
    let mut per_bank = [0u64; 32];
    different.iter().for_each(|word| per_bank[(word % 32) as usize] += 1);
    per_bank.into_iter().max().unwrap_or(1)
}
