//! A block: its warps take turns, barriers hold them until all have come.

use super::clocks::{Clocks, Publications};
use super::mbarrier::Mbarriers;
use super::warp::{Warp, lanes, thread_index};
use super::warpgroup::Group;
use crate::counters::Counters;
use crate::error::{Fault, Finding, FindingKind};
use crate::instructions::lanes::LANES;
use crate::launch::Options;
use crate::memory::Memory;
use crate::memory::arrays::Layout;
use crate::memory::shadow::{Shadow, Written};
use crate::program::{BarrierKind, Program, Step};

/// Rounds of all warps in which nobody did anything but wait in vain, until waiting is given up. More than a few: a
/// thread may ask several mbarriers in turn.
const IDLE_ROUNDS: u32 = 64;

/// Shared memory of a block.
pub(crate) struct Shared {
    pub bytes: Vec<u8>,
    pub written: Written,
    pub shadow: Shadow,
    pub layout: Layout,
}

/// What all warps of a block see.
pub(crate) struct Block<'a> {
    pub program: &'a Program,
    pub memory: &'a mut Memory,
    pub counters: &'a mut Counters,
    pub publications: &'a mut Publications,
    pub shared: &'a mut Shared,
    pub options: &'a Options,
    pub parameters: &'a [u8],
    pub launch: u64,
    /// Number of the block in the grid.
    pub number: u32,
    pub index: [u32; 3],
    pub size: [u32; 3],
    pub clocks: Clocks,
    /// Whether a fence came before what follows.
    pub fenced: bool,
    /// Blocks whose writes are known here.
    pub acquired: Vec<u32>,
    /// Warps that arrived at a barrier without waiting.
    pub arrivals: [Vec<usize>; 16],
    pub mbarriers: Mbarriers,
    /// Warpgroups.
    pub groups: Vec<Group>,
    /// Grows with whatever may let a waiting thread go on.
    pub progress: u64,
    /// Number of the instruction that runs.
    pub instruction: usize,
    /// Instructions executed so far.
    pub executed: u64,
}

impl Block<'_> {
    /// Notes `bar.arrive`.
    pub fn arrive(&mut self, id: u32, warp: usize) {
        self.arrivals[id as usize % 16].push(warp);
    }

    /// Runs all warps to their end.
    pub fn run(&mut self, warps: &mut [Warp]) -> Result<(), Box<Finding>> {
        let mut idle_rounds = 0;
        loop {
            let before = self.progress;
            for warp in warps.iter_mut() {
                if warp.alive != 0 {
                    let result = warp.run(self);
                    result.map_err(|(pc, fault)| self.finding(warp.index, pc, *fault))?;
                }
            }
            if self.executed > self.options.most_instructions {
                let fault = Fault::of(FindingKind::TooLong, 0, "the block does not come to an end");
                return Err(self.finding(0, self.instruction, *fault));
            }
            if self.run_groups(warps)? {
                idle_rounds = 0;
                continue;
            }
            // Whoever can run has waited in vain all the time, and nothing happened that could change this.
            let idle = self.progress == before && warps.iter().all(|w| w.runnable() == 0 || w.spins);
            if warps.iter().any(|w| w.runnable() != 0) && !idle {
                idle_rounds = 0;
                continue;
            }
            if warps.iter().all(|w| w.alive == 0) {
                return self.finished();
            }
            let mut released = false;
            for id in 0..16 {
                released |= self.release(warps, id)?;
            }
            if released {
                idle_rounds = 0;
                continue;
            }
            if warps.iter().all(|w| w.runnable() == 0) {
                return Err(self.deadlock(warps));
            }
            idle_rounds += 1;
            if idle_rounds > IDLE_ROUNDS {
                return Err(self.vain_waits(warps));
            }
        }
    }

    /// At a block's end nothing may be under way.
    fn finished(&self) -> Result<(), Box<Finding>> {
        let copy = self.mbarriers.copies().next().map(|copy| {
            let (warp, lane) = copy.beginner();
            (warp, lane, copy.instruction, "bulk copy")
        });
        let product = || self.unfinished_product().map(|(warp, pc)| (warp, 0, pc, "wgmma"));
        let Some((warp, lane, pc, what)) = copy.or_else(product) else { return Ok(()) };
        let message = format!("the block ends while this {what} is under way: nobody waits for it");
        Err(self.finding(warp, pc, *Fault::of(FindingKind::InFlight, lane as u32, message)))
    }

    /// Waits that nothing can end.
    fn vain_waits(&self, warps: &[Warp]) -> Box<Finding> {
        let found = warps.iter().filter(|w| w.alive != 0).find_map(|warp| Some((warp, warp.wait?)));
        let (warp, pc, lane) = found.map_or((0, 0, 0), |(w, wait)| (w.index, wait.instruction, wait.lane));
        let others = [
            ("a barrier", (|w| w.waiting) as fn(&Warp) -> u32),
            ("its warpgroup", |w| w.grouped),
            ("other lanes", |w| w.parked),
        ];
        let others = others.iter().flat_map(|&(what, lanes)| {
            warps.iter().filter(move |w| lanes(w) != 0).map(move |w| {
                let line = self.line(w.pcs[first(lanes(w))]);
                format!("; warp {} at PTX line {line} for {what}", w.index)
            })
        });
        let others: String = others.collect();
        let message = format!("all wait for what never comes: {}{others}", self.waits(warps));
        self.finding(warp, pc, *Fault::of(FindingKind::Deadlock, lane as u32, message))
    }

    /// A finding of what a warp did.
    pub fn finding(&self, warp: usize, pc: usize, fault: Fault) -> Box<Finding> {
        let thread = (warp * LANES) as u32 + fault.lane;
        Box::new(Finding {
            kind: fault.kind,
            kernel: self.program.name.clone(),
            line: self.line(pc),
            block: self.index,
            thread: thread_index(thread, self.size),
            address: fault.address,
            message: fault.message,
        })
    }

    /// PTX line of an instruction.
    pub fn line(&self, pc: usize) -> usize {
        self.program.instructions.get(pc).map_or(0, |i| i.line)
    }

    /// Lets go the threads at barrier `id` if all have come.
    fn release(&mut self, warps: &mut [Warp], id: u32) -> Result<bool, Box<Finding>> {
        let program = self.program;
        let (mut inside, mut expected, mut complete) = (Vec::new(), None, true);
        for warp in warps.iter() {
            let mut mask = 0;
            for lane in lanes(warp.waiting) {
                let Some(Step::Barrier { id: register, count, aligned, .. }) =
                    program.instructions.get(warp.pcs[lane]).map(|i| &i.step)
                else {
                    continue;
                };
                if warp.registers.words[*register][lane] != id {
                    continue;
                }
                if let Some(count) = count {
                    expected = Some(warp.registers.words[*count][lane] as usize);
                }
                if *aligned
                    && warp.parked == 0
                    && (warp.waiting != warp.alive || warp.pcs[lane] != warp.pcs[first(warp.waiting)])
                {
                    let message = "a part of the warp waits at this barrier, another elsewhere";
                    let fault = Fault::of(FindingKind::Deadlock, lane as u32, message);
                    return Err(self.finding(warp.index, warp.pcs[lane], *fault));
                }
                mask |= 1 << lane;
            }
            complete &= mask == warp.alive;
            if mask != 0 {
                inside.push((warp.index, mask));
            }
        }
        if inside.is_empty() {
            return Ok(false);
        }
        let arrived = std::mem::take(&mut self.arrivals[id as usize]);
        let ready = match expected {
            None => complete,
            Some(threads) => (inside.len() + arrived.len()) * LANES >= threads,
        };
        if !ready {
            self.arrivals[id as usize] = arrived;
            return Ok(false);
        }
        let waiting: Vec<usize> = inside.iter().map(|&(warp, _)| warp).collect();
        self.clocks.barrier(&waiting, &arrived);
        self.counters.barriers += 1;
        reduce(program, warps, &inside);
        for &(warp, mask) in &inside {
            warps[warp].waiting &= !mask;
            for lane in lanes(mask) {
                warps[warp].pcs[lane] += 1;
            }
        }
        Ok(true)
    }

    fn deadlock(&self, warps: &[Warp]) -> Box<Finding> {
        for warp in warps {
            if warp.parked != 0 {
                let lane = first(warp.parked);
                let away = warp.alive & !warp.parked;
                let message = format!("waits for lanes that never come (elsewhere: mask {away:#010x})");
                let fault = Fault::of(FindingKind::MissingLanes, lane as u32, message);
                return self.finding(warp.index, warp.pcs[lane], *fault);
            }
        }
        for warp in warps {
            if warp.grouped != 0 {
                let lane = first(warp.grouped);
                let message = "waits for threads of its warpgroup that never come (it has four whole warps)";
                let fault = Fault::of(FindingKind::MissingLanes, lane as u32, message);
                return self.finding(warp.index, warp.pcs[lane], *fault);
            }
        }
        let warp = warps.iter().find(|w| w.waiting != 0);
        let (index, lane) = warp.map_or((0, 0), |w| (w.index, first(w.waiting)));
        let pc = warp.map_or(0, |w| w.pcs[lane]);
        let message = "the barrier waits for threads that never come";
        self.finding(index, pc, *Fault::of(FindingKind::Deadlock, lane as u32, message))
    }
}

fn first(mask: u32) -> usize {
    mask.trailing_zeros() as usize % LANES
}

/// `bar.red`: the same result for every thread of the barrier.
fn reduce(program: &Program, warps: &mut [Warp], inside: &[(usize, u32)]) {
    let kind = |warp: &Warp, mask| match program.instructions.get(warp.pcs[first(mask)]).map(|i| &i.step) {
        Some(Step::Barrier { kind, .. }) => *kind,
        _ => BarrierKind::Sync,
    };
    let (mut count, mut total) = (0, 0);
    for &(warp, mask) in inside {
        let (BarrierKind::Popc { predicate, negated, .. }
        | BarrierKind::And { predicate, negated, .. }
        | BarrierKind::Or { predicate, negated, .. }) = kind(&warps[warp], mask)
        else {
            continue;
        };
        let value = warps[warp].registers.predicates[predicate];
        count += (mask & if negated { !value } else { value }).count_ones();
        total += mask.count_ones();
    }
    for &(warp, mask) in inside {
        let kind = kind(&warps[warp], mask);
        let registers = &mut warps[warp].registers;
        let all = |yes: bool| if yes { u32::MAX } else { 0 };
        match kind {
            BarrierKind::Popc { destination, .. } => registers.store(destination, mask, &[count; LANES]),
            BarrierKind::And { destination, .. } => {
                registers.store_predicate(destination, mask, all(count == total));
            }
            BarrierKind::Or { destination, .. } => {
                registers.store_predicate(destination, mask, all(count > 0))
            }
            BarrierKind::Sync | BarrierKind::Arrive => {}
        }
    }
}
