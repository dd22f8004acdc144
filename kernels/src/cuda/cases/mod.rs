//! Checks of kernels in plain buffers, for the formats and kernels that no tensor reaches: f16 and tf32 on tensor cores,
//! casts, the ceilings' loops; and every kernel of the convolutions that take any shape. The tests run them on an emulated card, `genesis selftest --device` on a driver's.

mod convolution;
mod loops;

pub use convolution::{Convolution, Operator, directly, on_hopper, on_tensor_cores};
pub use loops::{LOOPS, Loop};

use super::{Address, CudaCard, Format, Launch, Target, Workspace};
use crate::case::Outcome;
use crate::{Array, Result};
use genesis_tensor::{Card, Shape};
use half::{bf16, f16};
use std::sync::Arc;

/// Launches for as much workspace as is dealt out.
pub type Build<'a> = &'a dyn Fn(&mut Workspace) -> Result<Vec<Launch>>;

/// A card with buffers.
pub trait Machine {
    /// Memory with nothing useful in it.
    ///
    /// # Errors
    /// Memory.
    fn room(&mut self, bytes: usize) -> Result<Address>;

    /// Memory that holds `bytes`.
    ///
    /// # Errors
    /// Memory; a card that failed.
    fn upload(&mut self, bytes: &[u8]) -> Result<Address>;

    /// Copies from the card.
    ///
    /// # Errors
    /// A card that failed, also earlier.
    fn download(&mut self, from: Address, to: &mut [u8]) -> Result<()>;

    /// Runs launches with as much workspace as they ask for.
    ///
    /// # Errors
    /// Those of `build`; a kernel that failed.
    fn run_with(&mut self, build: Build<'_>) -> Result<()>;
}

/// Buffers of a driver's card, given back when dropped.
pub struct Buffers {
    card: Arc<CudaCard>,
    target: Target,
    blocks: Vec<(Address, usize)>,
}

impl Buffers {
    /// None yet, for kernels of `target`.
    pub fn new(card: &Arc<CudaCard>, target: Target) -> Self {
        Self { card: card.clone(), target, blocks: Vec::new() }
    }
}

impl Machine for Buffers {
    fn room(&mut self, bytes: usize) -> Result<Address> {
        // NaN in every format: what a kernel leaves unwritten must not pass.
        self.upload(&vec![0xff; bytes.max(1)])
    }

    fn upload(&mut self, bytes: &[u8]) -> Result<Address> {
        let address = self.card.allocate(bytes.len())?;
        self.blocks.push((address, bytes.len()));
        Card::upload(&*self.card, bytes, address)?;
        Ok(address)
    }

    fn download(&mut self, from: Address, to: &mut [u8]) -> Result<()> {
        Ok(Card::download(&*self.card, from, to)?)
    }

    fn run_with(&mut self, build: Build<'_>) -> Result<()> {
        self.card.run_with_on(self.target, build)
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        for &(address, bytes) in &self.blocks {
            self.card.free(address, bytes);
        }
    }
}

/// A result of a check.
#[derive(Clone, Debug)]
pub struct Part {
    /// Which: `y`, `dx 0`, `dw`, ...
    pub name: String,
    /// What the card computed.
    pub found: Array,
    /// What the f64 reference says.
    pub wanted: Array,
    /// The relative error allowed.
    pub tolerance: f64,
}

impl Part {
    /// The relative error, infinite where something is NaN that should not be.
    pub fn error(&self) -> f64 {
        let error = self.found.relative_error(&self.wanted);
        if error.is_nan() { f64::INFINITY } else { error }
    }

    /// Whether the error is allowed.
    pub fn passed(&self) -> bool {
        self.error() <= self.tolerance
    }
}

/// The part nearest to failing, or the one that fails worst.
pub fn outcome(parts: &[Part]) -> Outcome {
    let share =
        |part: &Part| if part.passed() { 0.0 } else { 1.0 } + part.error() / part.tolerance.max(1e-300);
    match parts.iter().max_by(|a, b| share(a).total_cmp(&share(b))) {
        Some(part) => Outcome { error: part.error(), tolerance: part.tolerance, detail: part.name.clone() },
        None => Outcome { error: f64::INFINITY, tolerance: 0.0, detail: "nothing was compared".into() },
    }
}

/// Relative error allowed: f32 and bf16 as on the CPU; tf32 and f16 have 10 bits of fraction.
pub fn tolerance(format: Format) -> f64 {
    match format {
        Format::F32 => 1e-5,
        Format::Tf32 | Format::F16 => 1e-3,
        Format::Bf16 => 1e-2,
    }
}

/// Numbers as `format` stores them.
pub fn encode(values: &[f64], format: Format) -> Vec<u8> {
    let narrow = values.iter().map(|&value| value as f32);
    match format {
        Format::F32 | Format::Tf32 => narrow.flat_map(f32::to_le_bytes).collect(),
        Format::Bf16 => narrow.flat_map(|value| bf16::from_f32(value).to_le_bytes()).collect(),
        Format::F16 => narrow.flat_map(|value| f16::from_f32(value).to_le_bytes()).collect(),
    }
}

/// The numbers that `format` stores as `bytes`.
pub fn decode(bytes: &[u8], format: Format) -> Vec<f64> {
    let pairs = || bytes.chunks_exact(2).map(|b| [b[0], b[1]]);
    match format {
        Format::F32 | Format::Tf32 => {
            bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]).into()).collect()
        }
        Format::Bf16 => pairs().map(|b| bf16::from_le_bytes(b).to_f64()).collect(),
        Format::F16 => pairs().map(|b| f16::from_le_bytes(b).to_f64()).collect(),
    }
}

/// Uploads numbers; the address, and what they have become.
///
/// # Errors
/// As [`Machine::upload`].
pub fn upload(machine: &mut dyn Machine, array: &Array, format: Format) -> Result<(Address, Array)> {
    let bytes = encode(&array.values, format);
    Ok((machine.upload(&bytes)?, Array { shape: array.shape, values: decode(&bytes, format) }))
}

/// What lies at `from`.
///
/// # Errors
/// As [`Machine::download`].
pub fn download(
    machine: &mut dyn Machine,
    from: Address,
    shape: impl Into<Shape>,
    format: Format,
) -> Result<Array> {
    let shape = shape.into();
    let mut bytes = vec![0; shape.elements() * format.size()];
    machine.download(from, &mut bytes)?;
    Ok(Array { shape, values: decode(&bytes, format) })
}

/// Values that look random, in (-1, 1), the same for the same seed.
pub fn noise(shape: impl Into<Shape>, seed: u64) -> Array {
    let shape = shape.into();
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    Array { shape, values: (0..shape.elements()).map(|_| next()).collect() }
}
