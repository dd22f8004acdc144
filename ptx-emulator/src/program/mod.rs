//! A kernel ready to run: labels resolved, registers numbered, each instruction a closure over 32 lanes.
//!
//! `builder` looks names up, `link` puts a kernel and the functions it calls into one list of instructions,
//! `modifiers` takes opcodes apart.

pub(crate) mod builder;
mod link;
pub(crate) mod modifiers;
pub(crate) mod names;

use crate::capability::Target;
use crate::error::Fault;
use crate::execute::warpgroup::GroupStep;
use crate::execute::{Block, Warp};
use crate::instructions::lanes::Compute;
use crate::memory::arrays::Layout;
pub(crate) use link::link;

/// What an instruction that reaches beyond registers does; gets the active lanes.
pub(crate) type Access = Box<dyn Fn(&mut Warp, &mut Block<'_>, u32) -> Result<(), Box<Fault>> + Send + Sync>;

/// What a barrier does besides waiting.
#[derive(Debug, Clone, Copy)]
pub(crate) enum BarrierKind {
    Sync,
    Arrive,
    /// `bar.red`: counts, ands or ors a predicate over the block.
    Popc {
        destination: usize,
        predicate: usize,
        negated: bool,
    },
    And {
        destination: usize,
        predicate: usize,
        negated: bool,
    },
    Or {
        destination: usize,
        predicate: usize,
        negated: bool,
    },
}

/// What an instruction does.
pub(crate) enum Step {
    /// Registers only.
    Compute(Compute),
    /// Memory, clocks.
    Access(Access),
    /// Waits until all lanes of the mask in a register have come (all live lanes without one).
    Collective {
        members: Option<usize>,
        action: Access,
    },
    /// Waits for all lanes of four warps.
    Warpgroup(GroupStep),
    Branch(usize),
    /// `brx.idx`
    Indexed {
        index: usize,
        targets: Vec<usize>,
    },
    Call(usize),
    Return,
    Exit,
    Trap,
    Barrier {
        id: usize,
        count: Option<usize>,
        kind: BarrierKind,
        aligned: bool,
    },
}

/// Classes that the report counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Integer arithmetic and logic.
    Integer,
    /// 32-bit (and tf32) floating point.
    Float,
    /// 64-bit floating point.
    Double,
    /// 16-bit floating point.
    Half,
    /// Approximate functions: exponential, logarithm, reciprocal, roots.
    Special,
    /// Conversions between types.
    Convert,
    /// Comparisons, selections, moves.
    Move,
    /// Loads and stores of device memory, constants and locals.
    Memory,
    /// Loads and stores of shared memory, `ldmatrix`.
    Shared,
    /// Atomics and reductions.
    Atomic,
    /// Shuffles, votes.
    Warp,
    /// `mma`, `wgmma.mma_async`
    Matrix,
    /// `cp.async`, `cp.async.bulk`
    Copy,
    /// Branches, calls, barriers.
    Control,
}

/// One instruction.
pub(crate) struct Instruction {
    /// Predicate register, and whether it is negated.
    pub guard: Option<(usize, bool)>,
    pub step: Step,
    pub line: usize,
    pub class: Class,
    /// Floating-point operations of one lane (of the warp for `mma` and `wgmma`).
    pub flops: u32,
    /// Registers of at most 32 bits among its operands that are sums of some `wgmma`.
    pub sums: Box<[usize]>,
}

/// A value that registers hold from the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Special {
    Tid(usize),
    Ntid(usize),
    Ctaid(usize),
    Nctaid(usize),
    Lane,
    WarpId,
    WarpCount,
    /// Lanes equal to, below, ... mine.
    MaskEq,
    MaskLe,
    MaskLt,
    MaskGe,
    MaskGt,
    DynamicShared,
    TotalShared,
    Multiprocessors,
    /// A constant.
    Word(u32),
}

/// A kernel.
pub(crate) struct Program {
    pub name: String,
    pub target: Target,
    pub instructions: Vec<Instruction>,
    /// How many registers of each bank.
    pub words: usize,
    pub wides: usize,
    pub predicates: usize,
    pub specials: Vec<(Special, usize)>,
    pub wide_constants: Vec<(u64, usize)>,
    /// (offset, bytes) of each parameter.
    pub parameters: Vec<(usize, usize)>,
    pub parameter_bytes: usize,
    /// Static shared arrays.
    pub shared: Layout,
    /// Name and address of the dynamic array.
    pub dynamic: Option<(String, usize)>,
    pub local: Layout,
    pub max_threads: usize,
    /// Whether it has any `wgmma`.
    pub multiplies: bool,
}
