//! What can go wrong: text that is not understood, and findings while a kernel runs.

use std::fmt;

/// PTX that cannot be read, with the line it stands in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// Line in the PTX text, from 1.
    pub line: usize,
    /// The cause, in one line.
    pub message: String,
}

impl ParseError {
    pub(crate) fn new(line: usize, message: impl Into<String>) -> Self {
        Self { line, message: message.into() }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PTX line {}: {}", self.line, self.message)
    }
}

impl std::error::Error for ParseError {}

/// The class of a finding; the driver turns it into an error code of CUDA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FindingKind {
    /// An access outside every live allocation, or beyond an array's end.
    OutOfBounds,
    /// An address that is no multiple of the access's size.
    Misaligned,
    /// A read of bytes that nobody has written.
    Uninitialised,
    /// Two accesses of one place, one of them a write, that nothing orders.
    Race,
    /// Threads wait for others that never arrive.
    Deadlock,
    /// A warp-wide instruction without the lanes that its mask names.
    MissingLanes,
    /// A store to constant memory or to a parameter.
    ReadOnly,
    /// An operand that the instruction does not allow: a descriptor, a tensor map, a number of registers.
    Operand,
    /// An mbarrier object that is none, or is used against its rules.
    Barrier,
    /// What the asynchronous proxy reads or overwrites, without a proxy fence behind the write of the generic proxy.
    MissingFence,
    /// Registers or memory that an asynchronous operation still uses.
    InFlight,
    /// The kernel's own `trap`.
    Trap,
    /// More instructions than the launch may execute.
    TooLong,
}

/// A defect of a kernel, found while it ran, with the place where it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was found.
    pub kind: FindingKind,
    /// Name of the kernel.
    pub kernel: String,
    /// Line of the PTX text, from 1.
    pub line: usize,
    /// Block index (x, y, z).
    pub block: [u32; 3],
    /// Thread index in its block (x, y, z).
    pub thread: [u32; 3],
    /// The address, where there is one.
    pub address: Option<u64>,
    /// The cause in words.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ([bx, by, bz], [tx, ty, tz]) = (self.block, self.thread);
        write!(f, "kernel {}, PTX line {}, block ({bx}, {by}, {bz}), ", self.kernel, self.line)?;
        write!(f, "thread ({tx}, {ty}, {tz})")?;
        if let Some(address) = self.address {
            write!(f, ", address {address:#x}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Why a launch did not finish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LaunchError {
    /// The launch asks for what the card does not have, or the arguments do not fit.
    Invalid(String),
    /// The kernel did something wrong.
    Finding(Box<Finding>),
}

impl fmt::Display for LaunchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(message) => f.write_str(message),
            Self::Finding(finding) => finding.fmt(f),
        }
    }
}

impl std::error::Error for LaunchError {}

/// A finding before the executor adds kernel, line, block and thread.
#[derive(Debug)]
pub(crate) struct Fault {
    pub kind: FindingKind,
    pub lane: u32,
    pub address: Option<u64>,
    pub message: String,
}

impl Fault {
    pub fn at(kind: FindingKind, lane: u32, address: u64, message: impl Into<String>) -> Box<Self> {
        Box::new(Self { kind, lane, address: Some(address), message: message.into() })
    }

    pub fn of(kind: FindingKind, lane: u32, message: impl Into<String>) -> Box<Self> {
        Box::new(Self { kind, lane, address: None, message: message.into() })
    }
}
