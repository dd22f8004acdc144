//! A warp: 32 lanes with a program counter each. The lanes at the lowest counter run; where branches part them, they
//! meet again by themselves, since nobody runs past a lane that is behind.

use super::block::Block;
use super::mbarrier::Waiting;
use super::warpgroup::Sum;
use crate::error::{Fault, FindingKind};
use crate::instructions::async_copy::Copies;
use crate::instructions::lanes::{LANES, Registers};
use crate::launch::Grid;
use crate::memory::shadow::Written;
use crate::program::{Access, BarrierKind, Program, Special, Step};

/// State of a warp.
pub(crate) struct Warp {
    /// Number within its block.
    pub index: usize,
    pub registers: Registers,
    /// Lanes that have a thread.
    lanes: u32,
    pub pcs: [usize; LANES],
    /// Lanes that have not exited.
    pub alive: u32,
    /// Lanes at a barrier of the block.
    pub waiting: u32,
    /// Lanes at a warp-wide instruction for which others are missing.
    pub parked: u32,
    /// Lanes at an instruction of their warpgroup.
    pub grouped: u32,
    /// Lanes that waited for an mbarrier in vain; they run again at the warp's next turn.
    pub vain: u32,
    /// Whether its last turn ended because of them.
    pub spins: bool,
    /// The last wait in vain, until one succeeds.
    pub wait: Option<Waiting>,
    /// What each register has to do with products; empty in kernels without any.
    pub sums: Vec<Sum>,
    /// Return addresses.
    calls: Vec<Vec<usize>>,
    /// Local memory, lane after lane.
    pub local: Vec<u8>,
    pub local_written: Written,
    pub copies: Copies,
}

/// Instructions after which another warp gets its turn, so that spinning warps do not starve the one they wait for.
const TURN: u64 = 1 << 16;

impl Warp {
    /// A warp of a launch, ready for [`Warp::start`]: registers have what is the same in all blocks.
    pub fn new(program: &Program, index: usize, grid: Grid, multiprocessors: u32) -> Self {
        let mut registers = Registers {
            words: vec![[0; LANES]; program.words],
            wides: vec![[0; LANES]; program.wides],
            predicates: vec![0; program.predicates],
        };
        let Grid { blocks, threads: size, shared } = grid;
        let threads = size.iter().product::<u32>();
        for &(special, register) in &program.specials {
            for lane in 0..LANES {
                let thread = (index * LANES + lane) as u32;
                let below = (1u32 << lane) - 1;
                registers.words[register][lane] = match special {
                    Special::Tid(axis) => thread_index(thread, size)[axis],
                    Special::Ntid(axis) => size[axis],
                    // Each block's own.
                    Special::Ctaid(_) => 0,
                    Special::Nctaid(axis) => blocks[axis],
                    Special::Lane => lane as u32,
                    Special::WarpId => index as u32,
                    Special::WarpCount => threads.div_ceil(LANES as u32),
                    Special::MaskEq => 1 << lane,
                    Special::MaskLt => below,
                    Special::MaskLe => below | 1 << lane,
                    Special::MaskGe => !below,
                    Special::MaskGt => !(below | 1 << lane),
                    Special::DynamicShared => shared as u32,
                    Special::TotalShared => shared as u32 + program.shared.natural as u32,
                    Special::Multiprocessors => multiprocessors,
                    Special::Word(value) => value,
                };
            }
        }
        for &(value, register) in &program.wide_constants {
            registers.wides[register] = [value; LANES];
        }
        let count = (threads as usize - index * LANES).min(LANES);
        Self {
            index,
            registers,
            lanes: if count == LANES { u32::MAX } else { (1 << count) - 1 },
            pcs: [0; LANES],
            alive: 0,
            waiting: 0,
            parked: 0,
            grouped: 0,
            vain: 0,
            spins: false,
            wait: None,
            sums: vec![Sum::NEW; if program.multiplies { program.words } else { 0 }],
            calls: vec![Vec::new(); LANES],
            local: vec![0; program.local.end * LANES],
            local_written: Written::new(program.local.end * LANES),
            copies: Copies::default(),
        }
    }

    /// Sets everything for a new block.
    pub fn start(&mut self, program: &Program, block: [u32; 3]) {
        self.pcs = [0; LANES];
        self.alive = self.lanes;
        (self.waiting, self.parked, self.grouped, self.vain) = (0, 0, 0, 0);
        (self.spins, self.wait) = (false, None);
        self.sums.fill(Sum::NEW);
        self.calls.iter_mut().for_each(Vec::clear);
        self.local_written.clear();
        self.copies.clear();
        for &(special, register) in &program.specials {
            if let Special::Ctaid(axis) = special {
                self.registers.words[register] = [block[axis]; LANES];
            }
        }
    }

    /// Lanes that can run now.
    pub fn runnable(&self) -> u32 {
        self.alive & !self.waiting & !self.parked & !self.grouped
    }

    fn set_pc(&mut self, mask: u32, pc: usize) {
        for lane in lanes(mask) {
            self.pcs[lane] = pc;
        }
    }

    /// The lanes of `among` at the lowest counter, that counter, and the lowest one of the rest.
    fn lowest(&self, among: u32) -> (u32, usize, usize) {
        let (mut pc, mut mask, mut next) = (usize::MAX, 0, usize::MAX);
        for lane in lanes(among) {
            let own = self.pcs[lane];
            if own < pc {
                (next, pc, mask) = (pc, own, 1 << lane);
            } else if own == pc {
                mask |= 1 << lane;
            } else {
                next = next.min(own);
            }
        }
        (mask, pc, next)
    }

    /// Runs until every lane has exited, waits, or its turn is over.
    pub fn run(&mut self, block: &mut Block<'_>) -> Result<(), (usize, Box<Fault>)> {
        let program = block.program;
        let end = block.executed + TURN;
        (self.vain, self.spins) = (0, false);
        'meet: loop {
            let runnable = self.runnable() & !self.vain;
            if runnable == 0 {
                if self.try_parked(block)? {
                    continue;
                }
                self.spins = self.vain != 0;
                return Ok(());
            }
            if block.executed > end {
                return Ok(());
            }
            let (mask, mut pc, next) = self.lowest(runnable);
            loop {
                if pc >= next || block.executed > end {
                    self.set_pc(mask, pc);
                    continue 'meet;
                }
                let Some(instruction) = program.instructions.get(pc) else {
                    self.alive &= !mask;
                    continue 'meet;
                };
                let active = match instruction.guard {
                    None => mask,
                    Some((p, negated)) => {
                        let p = self.registers.predicates[p];
                        mask & if negated { !p } else { p }
                    }
                };
                block.executed += 1;
                block.instruction = pc;
                block.counters.count(instruction, active);
                if active == 0 {
                    pc += 1;
                    continue;
                }
                if !instruction.sums.is_empty() {
                    self.touch_sums(&instruction.sums, block).map_err(|fault| (pc, fault))?;
                }
                match &instruction.step {
                    Step::Compute(compute) => compute(&mut self.registers, active),
                    Step::Access(access) => {
                        access(self, block, active).map_err(|fault| (pc, fault))?;
                        if self.vain & mask != 0 {
                            self.set_pc(mask, pc + 1);
                            continue 'meet;
                        }
                    }
                    Step::Warpgroup(_) => {
                        self.set_pc(mask & !active, pc + 1);
                        self.set_pc(active, pc);
                        self.grouped |= active;
                        continue 'meet;
                    }
                    Step::Branch(target) => {
                        if active == mask {
                            pc = *target;
                        } else {
                            block.counters.divergences += 1;
                            self.set_pc(mask & !active, pc + 1);
                            self.set_pc(active, *target);
                            continue 'meet;
                        }
                        if *target < pc && block.executed > end {
                            self.set_pc(mask, pc);
                            continue 'meet;
                        }
                        continue;
                    }
                    Step::Collective { members, action } => {
                        self.set_pc(mask & !active, pc + 1);
                        self.set_pc(active, pc);
                        if !self.collective(block, (pc, active), *members, action)? {
                            self.parked |= active;
                        }
                        continue 'meet;
                    }
                    Step::Indexed { index, targets } => {
                        self.set_pc(mask & !active, pc + 1);
                        for lane in lanes(active) {
                            let choice = self.registers.words[*index][lane] as usize;
                            let Some(&target) = targets.get(choice) else {
                                let message = format!("branch index {choice} of {}", targets.len());
                                return Err((pc, Fault::of(FindingKind::OutOfBounds, lane as u32, message)));
                            };
                            self.pcs[lane] = target;
                        }
                        continue 'meet;
                    }
                    Step::Call(target) => {
                        for lane in lanes(active) {
                            self.calls[lane].push(pc + 1);
                        }
                        self.set_pc(mask & !active, pc + 1);
                        self.set_pc(active, *target);
                        continue 'meet;
                    }
                    Step::Return => {
                        self.set_pc(mask & !active, pc + 1);
                        for lane in lanes(active) {
                            match self.calls[lane].pop() {
                                Some(back) => self.pcs[lane] = back,
                                None => self.alive &= !(1 << lane),
                            }
                        }
                        continue 'meet;
                    }
                    Step::Exit => {
                        self.set_pc(mask & !active, pc + 1);
                        self.alive &= !active;
                        continue 'meet;
                    }
                    Step::Trap => {
                        let lane = active.trailing_zeros();
                        return Err((pc, Fault::of(FindingKind::Trap, lane, "the kernel trapped")));
                    }
                    Step::Barrier { id, kind: BarrierKind::Arrive, .. } => {
                        let lane = active.trailing_zeros() as usize;
                        block.arrive(self.registers.words[*id][lane], self.index);
                    }
                    Step::Barrier { .. } => {
                        self.set_pc(mask & !active, pc + 1);
                        self.set_pc(active, pc);
                        self.waiting |= active;
                        continue 'meet;
                    }
                }
                pc += 1;
            }
        }
    }

    /// Runs a warp-wide instruction if all its lanes are here.
    fn collective(
        &mut self,
        block: &mut Block<'_>,
        (pc, arrived): (usize, u32),
        members: Option<usize>,
        action: &Access,
    ) -> Result<bool, (usize, Box<Fault>)> {
        let here = lanes(arrived | self.parked).filter(|&lane| self.pcs[lane] == pc);
        let here = here.fold(0u32, |all, lane| all | 1 << lane);
        let Some(register) = members else {
            if here != self.alive {
                return Ok(false);
            }
            self.parked &= !here;
            action(self, block, here).map_err(|fault| (pc, fault))?;
            self.set_pc(here, pc + 1);
            return Ok(true);
        };
        let masks = self.registers.words[register];
        let mut ran = 0;
        for lane in lanes(here) {
            let mask = masks[lane];
            if mask >> lane & 1 == 0 {
                let message = format!("the lane is not in its own mask {mask:#010x}");
                return Err((pc, Fault::of(FindingKind::MissingLanes, lane as u32, message)));
            }
            let group = lanes(here & mask).filter(|&l| masks[l] == mask).fold(0u32, |all, l| all | 1 << l);
            if ran >> lane & 1 == 1 || group != mask & self.alive {
                continue;
            }
            self.parked &= !group;
            action(self, block, group).map_err(|fault| (pc, fault))?;
            self.set_pc(group, pc + 1);
            ran |= group;
        }
        self.parked |= here & !ran;
        Ok(true)
    }

    /// Whether an exit since then lets parked lanes go on.
    fn try_parked(&mut self, block: &mut Block<'_>) -> Result<bool, (usize, Box<Fault>)> {
        let program = block.program;
        let mut left = self.parked;
        while left != 0 {
            let (mask, pc, _) = self.lowest(left);
            left &= !mask;
            if let Some(Step::Collective { members, action }) = program.instructions.get(pc).map(|i| &i.step)
            {
                let before = self.parked;
                self.parked &= !mask;
                if !self.collective(block, (pc, mask), *members, action)? {
                    self.parked = before;
                }
            }
            if self.runnable() & !self.vain != 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The set bits of a mask, ascending.
pub(crate) fn lanes(mask: u32) -> impl Iterator<Item = usize> + Clone {
    let mut rest = mask;
    std::iter::from_fn(move || {
        let lane = (rest != 0).then(|| rest.trailing_zeros() as usize);
        rest &= rest.wrapping_sub(1);
        lane
    })
}

/// Index of the `thread`-th thread of a block.
pub(crate) fn thread_index(thread: u32, size: [u32; 3]) -> [u32; 3] {
    [thread % size[0], thread / size[0] % size[1], thread / size[0] / size[1]]
}
