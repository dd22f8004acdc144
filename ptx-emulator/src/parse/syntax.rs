//! What a PTX text says, before anything is looked up: the parser's result.

use super::types::Type;
use std::collections::HashMap;

/// State spaces in which variables live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Space {
    /// Device memory.
    Global,
    /// A block's memory.
    Shared,
    /// A thread's memory.
    Local,
    /// Read-only memory of the module.
    Const,
    /// Parameters of kernels and functions.
    Param,
    /// Any of the others, told apart by the address.
    Generic,
}

/// A variable's first value.
#[derive(Debug, Clone, PartialEq)]
pub enum Initialiser {
    /// None given: zero for module variables.
    None,
    /// Element values, as the bits of the element type.
    Values(Vec<u64>),
    /// Addresses of other variables, with an offset.
    Addresses(Vec<(String, u64)>),
}

/// A variable or a parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct Variable {
    pub name: String,
    pub scope: usize,
    pub space: Space,
    /// Bytes; a power of two.
    pub align: usize,
    pub ty: Type,
    /// Bytes in all; 0 for the unsized array of dynamic shared memory.
    pub size: usize,
    pub initialiser: Initialiser,
}

/// An operand as written.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    /// A register, variable, label or function.
    Name(String),
    /// `!p`
    Not(String),
    /// An integer.
    Integer(i128),
    /// `0f3F800000`
    Single(u32),
    /// `0d3FF0000000000000`
    Double(u64),
    /// `[base+offset]`; no base for a plain number. `[base, {x, y}]` has coordinates.
    Address { base: Option<String>, offset: i64, coordinates: Option<Vec<Operand>> },
    /// `{a, b}` or `(a, b)`
    List(Vec<Operand>),
    /// `p|q`
    Pair(Box<Operand>, Box<Operand>),
}

/// An instruction as written.
#[derive(Debug, Clone)]
pub struct Statement {
    pub line: usize,
    pub scope: usize,
    /// Predicate, and whether it is negated.
    pub guard: Option<(String, bool)>,
    pub opcode: String,
    pub operands: Vec<Operand>,
}

/// A kernel or a function.
#[derive(Debug, Clone, Default)]
pub struct Function {
    pub name: String,
    pub line: usize,
    pub entry: bool,
    pub returns: Vec<Variable>,
    pub parameters: Vec<Variable>,
    /// Parent of each scope; scope 0 is the body.
    pub scopes: Vec<usize>,
    /// Registers by scope and name; a range `%r<n>` by its prefix with its count.
    pub registers: HashMap<(usize, String), (Type, Option<usize>)>,
    pub variables: Vec<Variable>,
    /// Index of the statement behind each label.
    pub labels: HashMap<(usize, String), usize>,
    /// Tables of labels for `brx.idx`.
    pub tables: HashMap<(usize, String), Vec<String>>,
    pub statements: Vec<Statement>,
    /// Most threads a block may have (`.maxntid`, `.reqntid`).
    pub max_threads: Option<usize>,
}

/// A whole PTX text.
#[derive(Debug, Clone, Default)]
pub struct Syntax {
    pub version: (u32, u32),
    pub target: String,
    pub variables: Vec<Variable>,
    pub functions: Vec<Function>,
}
