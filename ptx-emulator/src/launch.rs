//! A launch: limits of the card, parameters, and all blocks one after the other. One host thread runs them all: races
//! between blocks are found only where every access is seen in one order.

use crate::capability::Capability;
use crate::counters::Counters;
use crate::error::LaunchError;
use crate::execute::block::Shared;
use crate::execute::clocks::{Clocks, Publications};
use crate::execute::warpgroup::WARPS;
use crate::execute::{Block, Warp};
use crate::instructions::lanes::LANES;
use crate::memory::Memory;
use crate::memory::shadow::{Shadow, Written};
use crate::program::Program;

/// Shared memory of a block that needs no permission, in bytes.
pub const SHARED_DEFAULT: usize = 48 << 10;
/// Shared memory of a block with permission in bytes, compute capability 8.0; see [`Capability::shared_most`].
pub const SHARED_MOST: usize = 163 << 10;

/// The card, and what is checked while a kernel runs.
#[derive(Debug, Clone)]
pub struct Options {
    /// Compute capability of the card.
    pub capability: Capability,
    /// Races within and between blocks.
    pub races: bool,
    /// Reads of bytes that nobody has written.
    pub uninitialised: bool,
    /// Sectors and bank conflicts.
    pub traffic: bool,
    /// Warp instructions that one block may execute.
    pub most_instructions: u64,
    /// Dynamic shared memory that the kernel was given permission for, in bytes.
    pub most_dynamic_shared: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            capability: Capability::Ampere,
            races: true,
            uninitialised: true,
            traffic: true,
            most_instructions: 2_000_000_000,
            most_dynamic_shared: SHARED_DEFAULT,
        }
    }
}

impl Options {
    /// Nothing but bounds and alignment: several times faster.
    pub fn unchecked() -> Self {
        Self { races: false, uninitialised: false, traffic: false, ..Self::default() }
    }
}

/// Shape of a launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Blocks (x, y, z).
    pub blocks: [u32; 3],
    /// Threads of a block (x, y, z).
    pub threads: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub shared: usize,
}

impl Grid {
    /// A grid along x without dynamic shared memory.
    pub fn line(blocks: u32, threads: u32) -> Self {
        Self { blocks: [blocks, 1, 1], threads: [threads, 1, 1], shared: 0 }
    }
}

fn check(program: &Program, grid: Grid, options: &Options) -> Result<(), LaunchError> {
    let invalid = |message: String| Err(LaunchError::Invalid(format!("kernel {}: {message}", program.name)));
    if !program.target.runs_on(options.capability) {
        let ((major, minor), target) = (options.capability.numbers(), program.target);
        return invalid(format!("PTX for {target} does not run on compute capability {major}.{minor}"));
    }
    let threads: u64 = grid.threads.iter().map(|&n| u64::from(n)).product();
    if threads == 0 || threads > 1024 || grid.threads[2] > 64 {
        return invalid(format!(
            "{:?} threads in a block, 1 to 1024 are possible (64 along z)",
            grid.threads
        ));
    }
    if threads > program.max_threads as u64 {
        return invalid(format!("{threads} threads in a block, compiled for {}", program.max_threads));
    }
    let [x, y, z] = grid.blocks;
    if x == 0 || y == 0 || z == 0 || x > i32::MAX as u32 || y > 65535 || z > 65535 {
        return invalid(format!(
            "a grid of {:?} blocks, 1 to [2147483647, 65535, 65535] are possible",
            grid.blocks
        ));
    }
    let fixed = program.shared.natural;
    if grid.shared > 0 && grid.shared > options.most_dynamic_shared.max(SHARED_DEFAULT.saturating_sub(fixed))
    {
        return invalid(format!(
            "{} bytes of dynamic shared memory, {} are permitted",
            grid.shared, options.most_dynamic_shared
        ));
    }
    let permitted = options.most_dynamic_shared > SHARED_DEFAULT;
    let most = if permitted { options.capability.shared_most() } else { SHARED_DEFAULT };
    if fixed + grid.shared > most {
        return invalid(format!("{} bytes of shared memory, {most} are possible", fixed + grid.shared));
    }
    Ok(())
}

/// Runs a kernel with its parameters already laid out.
pub(crate) fn launch(
    program: &Program,
    grid: Grid,
    memory: &mut Memory,
    parameters: &[u8],
    options: &Options,
) -> Result<Counters, LaunchError> {
    check(program, grid, options)?;
    memory.launches += 1;
    let launch = memory.launches;
    let mut layout = program.shared.clone();
    if let Some((name, start)) = &program.dynamic {
        layout.arrays.push(crate::memory::arrays::Array {
            name: name.clone(),
            start: *start,
            size: grid.shared,
        });
        layout.end = layout.end.max(start + grid.shared);
    }
    let mut shared = Shared {
        bytes: vec![0xff; layout.end],
        written: Written::new(layout.end),
        shadow: Shadow::default(),
        layout,
    };
    let threads = grid.threads.iter().product::<u32>() as usize;
    let multiprocessors = options.capability.multiprocessors();
    let warps = 0..threads.div_ceil(LANES);
    let mut warps: Vec<Warp> = warps.map(|w| Warp::new(program, w, grid, multiprocessors)).collect();
    let mut counters = Counters::default();
    let mut publications = Publications::default();
    let [nx, ny, nz] = grid.blocks;
    let mut number = 0;
    for z in 0..nz {
        for y in 0..ny {
            for x in 0..nx {
                if number > 0 {
                    shared.bytes.fill(0xff);
                    shared.written.clear();
                }
                for warp in &mut warps {
                    warp.start(program, [x, y, z]);
                }
                let mut block = Block {
                    program,
                    memory,
                    counters: &mut counters,
                    publications: &mut publications,
                    shared: &mut shared,
                    options,
                    parameters,
                    launch,
                    number,
                    index: [x, y, z],
                    size: grid.threads,
                    clocks: Clocks::new(warps.len()),
                    fenced: false,
                    acquired: Vec::new(),
                    arrivals: Default::default(),
                    mbarriers: Default::default(),
                    groups: (0..warps.len().div_ceil(WARPS)).map(|_| Default::default()).collect(),
                    progress: 0,
                    instruction: 0,
                    executed: 0,
                };
                block.run(&mut warps).map_err(LaunchError::Finding)?;
                let exhausted = block.clocks.exhausted;
                counters.unchecked_blocks += u64::from(exhausted);
                number = number.wrapping_add(1);
            }
        }
    }
    Ok(counters)
}
