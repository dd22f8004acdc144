//! A launch, and the numbers that describe one.

use super::table::{KERNELS, Kernel};
use super::tensor_map::TensorMap;
use crate::{Error, Result};
use bytemuck::Pod;
use genesis_tensor::DType;

/// An address in device memory; [`NULL`] where there is nothing.
pub type Address = u64;

/// No memory.
pub const NULL: Address = 0;

/// One kernel launch.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The kernel, with its threads.
    pub kernel: &'static Kernel,
    /// Blocks.
    pub grid: [u32; 3],
    /// Dynamic shared memory, bytes. Above 48 KB together with the static one, the driver wants to be told.
    pub shared_bytes: u32,
    /// The kernel's one parameter, or the second where there are maps.
    pub arguments: Vec<u8>,
    /// The first parameter, if there are any: what the driver makes of them, 128 bytes each.
    pub maps: Vec<TensorMap>,
}

impl Launch {
    /// A launch of the kernel `name`, with its shared memory from the table.
    ///
    /// # Errors
    /// When there is no such kernel, or the grid is empty or beyond CUDA's limits.
    pub fn new(name: &str, grid: [usize; 3], arguments: &impl Pod) -> Result<Self> {
        let kernel = KERNELS.iter().find(|kernel| kernel.name == name);
        let kernel = kernel.ok_or_else(|| Error::operation("cuda", format!("there is no kernel {name}")))?;
        let limits = [i32::MAX as usize, 65_535, 65_535];
        if grid.iter().zip(limits).any(|(&blocks, limit)| blocks == 0 || blocks > limit) {
            return Err(Error::operation("cuda", format!("{name} on a grid of {grid:?} blocks")));
        }
        let arguments = bytemuck::bytes_of(arguments).to_vec();
        let (grid, shared_bytes) = (grid.map(|n| n as u32), kernel.shared_bytes);
        Ok(Self { kernel, grid, shared_bytes, arguments, maps: Vec::new() })
    }

    /// The same launch, with maps.
    pub(super) fn with_maps(self, maps: impl Into<Vec<TensorMap>>) -> Self {
        Self { maps: maps.into(), ..self }
    }
}

/// Storage and arithmetic of activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// f32, computed in f32.
    F32,
    /// f32, products on tensor cores with 10 bits of fraction, sums in f32.
    Tf32,
    /// bf16, products on tensor cores where shapes allow, sums in f32.
    Bf16,
    /// f16, products on tensor cores, sums in f32; nothing else has kernels for it.
    F16,
}

impl Format {
    /// Bytes of an element.
    pub fn size(self) -> usize {
        match self {
            Self::F32 | Self::Tf32 => 4,
            Self::Bf16 | Self::F16 => 2,
        }
    }

    /// Elements in 16 bytes.
    pub fn wide(self) -> usize {
        16 / self.size()
    }

    /// The name in kernels on tensor cores; `None` for f32.
    pub(crate) fn on_tensor_cores(self) -> Option<&'static str> {
        match self {
            Self::F32 => None,
            Self::Tf32 => Some("tf32"),
            Self::Bf16 => Some("bf16"),
            Self::F16 => Some("f16"),
        }
    }

    /// The name in all other kernels, by what is stored.
    ///
    /// # Errors
    /// For f16.
    pub(crate) fn stored(self) -> Result<&'static str> {
        match self {
            Self::F32 | Self::Tf32 => Ok("f32"),
            Self::Bf16 => Ok("bf16"),
            Self::F16 => Err(Error::operation("cuda", "this kernel does not exist for f16")),
        }
    }
}

impl From<DType> for Format {
    fn from(dtype: DType) -> Self {
        match dtype {
            DType::F32 => Self::F32,
            DType::Bf16 => Self::Bf16,
        }
    }
}

/// Activations `[voxels, pitch]`, of whose rows the first `channels` count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Operand {
    /// Of the first element.
    pub address: Address,
    /// Channels.
    pub channels: usize,
    /// Elements from a voxel to the next.
    pub pitch: usize,
}

impl Operand {
    /// Channels that lie side by side.
    pub fn dense(address: Address, channels: usize) -> Self {
        Self { address, channels, pitch: channels }
    }
}

/// Which kernels a card runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// Those for compute capability 8.0, which every later card runs too.
    #[default]
    Sm80,
    /// Where they exist those for compute capability 9.0 alone, else the former.
    Sm90a,
}

/// What a card offers a launch: its kernels, and scratch memory, dealt out from one block. With base 0 nothing is real,
/// and [`Workspace::bytes`] tells what the same calls will need.
#[derive(Clone, Copy, Debug, Default)]
pub struct Workspace {
    base: Address,
    used: u64,
    target: Target,
}

impl Workspace {
    /// A block at `base`, aligned to 256 bytes as every allocation of the driver is.
    pub fn new(base: Address) -> Self {
        Self { base, ..Self::default() }
    }

    /// The same on a card that runs the kernels of `target`.
    pub fn on(self, target: Target) -> Self {
        Self { target, ..self }
    }

    /// Which kernels may be launched.
    pub fn target(&self) -> Target {
        self.target
    }

    /// The next `bytes`.
    pub fn take(&mut self, bytes: usize) -> Address {
        let address = self.base + self.used;
        self.used += (bytes as u64).next_multiple_of(256);
        address
    }

    /// Bytes dealt out so far.
    pub fn bytes(&self) -> u64 {
        self.used
    }
}

/// A number that kernels take as a signed one of 32 bits.
///
/// # Errors
/// When it does not fit.
pub(crate) fn int(value: usize) -> Result<i32> {
    i32::try_from(value).map_err(|_| Error::operation("cuda", format!("{value} is beyond 32-bit indices")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_out_of_range_and_unknown_kernels_are_errors() {
        assert!(Launch::new("fill_f32", [1, 1, 1], &0u64).is_ok());
        assert!(Launch::new("fill_f32", [0, 1, 1], &0u64).is_err());
        assert!(Launch::new("fill_f32", [1, 65_536, 1], &0u64).is_err());
        assert!(Launch::new("fill_f64", [1, 1, 1], &0u64).is_err());
    }

    #[test]
    fn a_workspace_deals_out_whole_lines() {
        let mut workspace = Workspace::new(4096);
        assert_eq!([workspace.take(1), workspace.take(257), workspace.take(4)], [4096, 4352, 4864]);
        assert_eq!(workspace.bytes(), 1024);
    }
}
