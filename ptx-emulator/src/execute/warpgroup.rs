//! Warpgroups: four warps that do some instructions together. Their products are asynchronous: performed when waited for
//! and not before; until then their registers and what they read are in use.

use super::block::Block;
use super::clocks::Observer;
use super::warp::Warp;
use crate::error::{Fault, Finding, FindingKind};
use crate::instructions::lanes::LANES;
use crate::instructions::numbers::Format;
use crate::instructions::product::{INNER, Matrix, PIECE, Product, ROWS, place};
use crate::memory::shadow::{Access, Clash, Deed};
use crate::program::Step;
use std::collections::VecDeque;
use std::sync::Arc;

/// Warps of a group.
pub(crate) const WARPS: usize = 4;

/// `wgmma.mma_async` as written.
pub(crate) struct Multiply {
    /// Registers of the sums.
    pub sums: Arc<[usize]>,
    /// Registers of the descriptors.
    pub descriptors: [usize; 2],
    pub transposed: [bool; 2],
    pub signs: [f32; 2],
    /// Predicate that says whether the old sums are added, and whether it is negated.
    pub adds: (usize, bool),
    pub columns: usize,
    pub format: Format,
}

/// What the four warps do together.
pub(crate) enum GroupStep {
    /// `wgmma.fence`
    Fence,
    /// `wgmma.mma_async`
    Multiply(Multiply),
    /// `wgmma.commit_group`
    Commit,
    /// `wgmma.wait_group`: so many groups may be under way afterwards.
    Wait(usize),
    /// `setmaxnreg`: registers of a thread.
    Registers(u32),
}

/// What a register has to do with products.
#[derive(Clone, Copy)]
pub(crate) struct Sum {
    /// Products under way that write it.
    under_way: u32,
    /// Columns of the last product since the last fence; 0 for none.
    columns: usize,
    /// Whether anything else read or wrote it since the last fence.
    touched: bool,
}

impl Sum {
    /// At a block's start: no fence yet.
    pub const NEW: Self = Self { under_way: 0, columns: 0, touched: true };
}

/// A product under way.
struct Issued {
    product: Product,
    sums: Arc<[usize]>,
    instruction: usize,
}

/// What a group has under way.
#[derive(Default)]
pub(crate) struct Group {
    open: Vec<Issued>,
    /// With the clock of their agent.
    committed: VecDeque<(u32, Vec<Issued>)>,
    /// Registers of a thread, once it said how many.
    registers: Option<u32>,
}

impl Warp {
    /// Another instruction than a product names registers of sums.
    pub fn touch_sums(&mut self, registers: &[usize], block: &Block<'_>) -> Result<(), Box<Fault>> {
        for &register in registers {
            let sum = &mut self.sums[register];
            if sum.under_way > 0 {
                let group = &block.groups[self.index / WARPS];
                let all = group.committed.iter().flat_map(|(_, issued)| issued).chain(&group.open);
                let line =
                    all.filter(|i| i.sums.contains(&register)).map(|i| block.line(i.instruction)).next_back();
                let message = format!(
                    "a register of sums is used while the wgmma at PTX line {} is under way: no wait_group is between",
                    line.unwrap_or_default()
                );
                return Err(Fault::of(FindingKind::InFlight, 0, message));
            }
            sum.touched = true;
        }
        Ok(())
    }
}

type Outcome<T> = Result<T, (usize, Box<Fault>)>;

impl Block<'_> {
    /// Lets every group go on whose warps have all come; whether any did.
    pub fn run_groups(&mut self, warps: &mut [Warp]) -> Result<bool, Box<Finding>> {
        let mut moved = false;
        for (number, group) in warps.chunks_mut(WARPS).enumerate() {
            let ready = group.len() == WARPS && group.iter().all(|w| w.grouped == u32::MAX);
            if !ready {
                continue;
            }
            let pc = group[0].pcs[0];
            for warp in group.iter() {
                if let Some(lane) = (0..LANES).find(|&lane| warp.pcs[lane] != pc) {
                    let (here, there) = (self.line(pc), self.line(warp.pcs[lane]));
                    let message = format!(
                        "warps of one warpgroup are at different instructions, PTX lines {here} and {there}"
                    );
                    let fault = Fault::of(FindingKind::MissingLanes, lane as u32, message);
                    return Err(self.finding(warp.index, warp.pcs[lane], *fault));
                }
            }
            self.instruction = pc;
            self.group_step(number, group, pc)
                .map_err(|(warp, fault)| self.finding(number * WARPS + warp, pc, *fault))?;
            for warp in group {
                warp.grouped = 0;
                warp.pcs = [pc + 1; LANES];
            }
            self.progress += 1;
            moved = true;
        }
        Ok(moved)
    }

    fn group_step(&mut self, number: usize, warps: &mut [Warp], pc: usize) -> Outcome<()> {
        let program = self.program;
        let Some(Step::Warpgroup(step)) = program.instructions.get(pc).map(|i| &i.step) else {
            return Ok(());
        };
        match step {
            GroupStep::Fence => {
                for sum in warps.iter_mut().flat_map(|warp| &mut warp.sums) {
                    (sum.columns, sum.touched) = (0, false);
                }
                Ok(())
            }
            GroupStep::Multiply(multiply) => self.issue_product(number, warps, multiply),
            GroupStep::Commit => {
                let clock = self.clocks.tick_agent(number);
                let group = &mut self.groups[number];
                let open = std::mem::take(&mut group.open);
                group.committed.push_back((clock, open));
                Ok(())
            }
            GroupStep::Wait(left) => {
                while self.groups[number].committed.len() > *left {
                    let Some((clock, issued)) = self.groups[number].committed.pop_front() else { break };
                    self.perform_products(warps, &issued);
                    for warp in warps.iter() {
                        self.clocks.acquire_agent(warp.index, number, clock);
                    }
                }
                Ok(())
            }
            GroupStep::Registers(count) => {
                self.groups[number].registers = Some(*count);
                let threads = (WARPS * LANES) as u32;
                let total: u32 = self.groups.iter().filter_map(|g| g.registers).map(|n| n * threads).sum();
                if total > REGISTERS {
                    let message =
                        format!("{total} registers for the block's warpgroups, there are {REGISTERS}");
                    return Err((0, Fault::of(FindingKind::Deadlock, 0, message)));
                }
                Ok(())
            }
        }
    }

    fn issue_product(&mut self, number: usize, warps: &mut [Warp], multiply: &Multiply) -> Outcome<()> {
        let uniform = |values: &dyn Fn(&Warp, usize) -> u64, what: &str| -> Outcome<u64> {
            let first = values(&warps[0], 0);
            for (index, warp) in warps.iter().enumerate() {
                if let Some(lane) = (0..LANES).find(|&lane| values(warp, lane) != first) {
                    let message = format!("{what} differs between threads of the warpgroup");
                    return Err((index, Fault::of(FindingKind::Operand, lane as u32, message)));
                }
            }
            Ok(first)
        };
        let mut matrices = [None; 2];
        for (i, name) in ["descriptor of A", "descriptor of B"].into_iter().enumerate() {
            let register = multiply.descriptors[i];
            let descriptor = uniform(&|warp, lane| warp.registers.wides[register][lane], name)?;
            let matrix = Matrix::decode(descriptor, multiply.transposed[i]);
            let fault = |message| (0, Fault::of(FindingKind::Operand, 0, format!("{name}: {message}")));
            matrices[i] = Some(matrix.map_err(fault)?);
        }
        let [Some(left), Some(right)] = matrices else { return Ok(()) };
        let (predicate, negated) = multiply.adds;
        let adds =
            uniform(&|warp, lane| u64::from(warp.registers.predicates[predicate] >> lane & 1), "scale-d")?;
        for (index, warp) in warps.iter_mut().enumerate() {
            for &register in multiply.sums.iter() {
                let sum = &mut warp.sums[register];
                let fault = |kind, message: &str| Err((index, Fault::of(kind, 0, message)));
                if sum.touched {
                    return fault(
                        FindingKind::MissingFence,
                        "no wgmma.fence is between another use of the sums and this product",
                    );
                }
                if sum.columns != 0 && sum.columns != multiply.columns {
                    return fault(
                        FindingKind::MissingFence,
                        "no wgmma.fence is between products of different shapes with the same sums",
                    );
                }
                sum.columns = multiply.columns;
                sum.under_way += 1;
            }
        }
        for (matrix, rows) in [(&left, ROWS), (&right, multiply.columns)] {
            self.read_operand(number, matrix, rows).map_err(|fault| (0, fault))?;
        }
        let Multiply { columns, format, signs, .. } = *multiply;
        let product = Product { left, right, columns, format, signs, adds: (adds == 1) != negated };
        let issued = Issued { product, sums: multiply.sums.clone(), instruction: self.instruction };
        self.groups[number].open.push(issued);
        Ok(())
    }

    /// Checks the places of an operand and notes that they are read from now until the product is waited for.
    fn read_operand(&mut self, number: usize, matrix: &Matrix, rows: usize) -> Result<(), Box<Fault>> {
        let row = self.clocks.common(number * WARPS..(number + 1) * WARPS);
        let me = Access::of_agent(self.number, number, self.clocks.agent(number), self.instruction as u32);
        let observer = Observer {
            launch: self.shared_launch(),
            block: self.number,
            warp: (32 + number) as u32,
            row: &row,
            together: 0,
            acquired: &[],
        };
        let races = self.options.races && !self.clocks.exhausted;
        let mut banks = [0u32; 8];
        for (index, address) in matrix.pieces(rows).enumerate() {
            let fault = |kind, message: String| Err(Fault::at(kind, 0, address, message));
            if self.shared.layout.find(address, PIECE).is_none() {
                let place = self.shared.layout.describe(address);
                return fault(
                    FindingKind::OutOfBounds,
                    format!("out of bounds: an operand's 16 bytes {place}"),
                );
            }
            if self.mbarriers.overlap(address, PIECE) {
                return fault(FindingKind::Barrier, "an operand lies over an mbarrier object".into());
            }
            let range = (address as usize, PIECE);
            if self.options.uninitialised && !self.shared.written.all(range.0, range.1) {
                let message = "an operand has bytes that nobody has written (or whose copy has not arrived)";
                return fault(FindingKind::Uninitialised, message.into());
            }
            if races {
                let clocks = &self.clocks;
                let fenced = |access| clocks.fenced(access, &row, false);
                let shadow = &mut self.shared.shadow;
                match shadow.touch_asynchronously(range, Deed::Read, me, &observer, fenced) {
                    None => {}
                    Some(Clash::Race(other)) => {
                        let other = self.describe_access(other);
                        let message =
                            format!("race: an operand was accessed by {other}, and no barrier is between");
                        return fault(FindingKind::Race, message);
                    }
                    Some(Clash::Unfenced(other)) => {
                        let other = self.describe_access(other);
                        let message =
                            format!("an operand was written by {other}, without fence.proxy.async after it");
                        return fault(FindingKind::MissingFence, message);
                    }
                }
            }
            if self.options.traffic {
                banks[address as usize / PIECE % 8] += 1;
                if index % 8 == 7 {
                    self.counters.shared.wavefronts += u64::from(banks.into_iter().max().unwrap_or(1));
                    self.counters.shared.ideal += 1;
                    banks = [0; 8];
                }
            }
        }
        self.counters.shared.requests += u64::from(self.options.traffic);
        Ok(())
    }

    /// Multiplies in the order of issue; sums are fetched once for neighbours with the same ones.
    fn perform_products(&mut self, warps: &mut [Warp], issued: &[Issued]) {
        for run in issued.chunk_by(|a, b| a.sums == b.sums) {
            let (registers, n) = (&run[0].sums, run[0].product.columns);
            let mut sums = vec![0f32; ROWS * n];
            for row in 0..ROWS {
                for column in 0..n {
                    let (warp, register, lane) = place(row, column);
                    let bits = warps[warp].registers.words[registers[register]][lane];
                    sums[row * n + column] = f32::from_bits(bits);
                }
            }
            for issued in run {
                issued.product.add(&self.shared.bytes, &mut sums);
            }
            for row in 0..ROWS {
                for column in 0..n {
                    let (warp, register, lane) = place(row, column);
                    let bits = sums[row * n + column].to_bits();
                    warps[warp].registers.words[registers[register]][lane] = bits;
                }
            }
            for warp in warps.iter_mut() {
                registers.iter().for_each(|&register| warp.sums[register].under_way -= run.len() as u32);
            }
        }
    }

    /// A product that nobody waited for: warp and instruction.
    pub fn unfinished_product(&self) -> Option<(usize, usize)> {
        self.groups.iter().enumerate().find_map(|(number, group)| {
            let mut all = group.committed.iter().flat_map(|(_, issued)| issued).chain(&group.open);
            all.next().map(|issued| (number * WARPS, issued.instruction))
        })
    }
}

/// Registers of a multiprocessor.
const REGISTERS: u32 = 65536;

/// Floating-point operations of one warp's share of a product.
pub(crate) fn flops(columns: usize) -> u32 {
    (2 * ROWS / WARPS * columns * INNER) as u32
}
