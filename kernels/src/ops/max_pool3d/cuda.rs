//! Maximum pooling on CUDA cards: the launches of `max_pool3d.cu`.

use super::MaxPool3d;
use crate::Result;
use crate::cuda::elementwise::grid;
use crate::cuda::{Address, Divisor, Format, Gather, Geometry, Launch, int};
use crate::op::Operation;
use bytemuck::{Pod, Zeroable};
use genesis_tensor::Shape;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct PoolArguments {
    input: Address,
    output: Address,
    positions: Address,
    geometry: Geometry,
    windows: [i32; 3],
    image: [Divisor; 3],
    vectors: Divisor,
    channels: i32,
    threads: u32,
    reserved: i32,
}

/// Pooling of an input of a certain shape.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    gather: Gather,
    channels: usize,
    /// Channels of a thread.
    count: usize,
    suffix: &'static str,
    position_bytes: usize,
}

impl Plan {
    /// Checks the shape of x.
    ///
    /// # Errors
    /// When it does not fit the operation; for f16.
    pub fn new(op: &MaxPool3d, x: Shape, format: Format) -> Result<Self> {
        let y = op.infer(&[x])?;
        let gather = Gather {
            batch: x[0],
            image: [x[1], x[2], x[3]],
            result: [y[1], y[2], y[3]],
            kernel: op.kernel,
            stride: op.stride,
            low: [0; 3],
            dilation: [1; 3],
        };
        let (wide, half) = (x[4].is_multiple_of(format.wide()), format.stored()? == "bf16");
        let (count, suffix) = match (op.has_small_windows(), wide, half) {
            (true, true, false) => (4, "f32"),
            (true, true, true) => (8, "bf16"),
            (true, false, false) => (1, "f32_odd"),
            (true, false, true) => (1, "bf16_odd"),
            (false, _, false) => (1, "f32_large"),
            (false, _, true) => (1, "bf16_large"),
        };
        let position_bytes = if op.has_small_windows() { 1 } else { 4 };
        Ok(Self { gather, channels: x[4], count, suffix, position_bytes })
    }

    /// Bytes of the winners' positions.
    pub fn positions_bytes(&self) -> usize {
        self.gather.rows() * self.channels * self.position_bytes
    }

    fn arguments(
        &self,
        input: Address,
        output: Address,
        positions: Address,
        rows: usize,
    ) -> Result<PoolArguments> {
        let divisor = |axis: usize| Divisor::new(self.gather.image[axis]);
        let extent = |axis: usize| int(self.gather.result[axis]);
        let vectors = self.channels / self.count;
        Ok(PoolArguments {
            input,
            output,
            positions,
            geometry: self.gather.pack()?,
            windows: [extent(0)?, extent(1)?, extent(2)?],
            image: [divisor(0)?, divisor(1)?, divisor(2)?],
            vectors: Divisor::new(vectors)?,
            channels: int(self.channels)?,
            threads: int(rows * vectors)? as u32,
            reserved: 0,
        })
    }

    /// y, and the positions: u8, or u32 where a window holds more than 256 voxels.
    ///
    /// # Errors
    /// For numbers beyond 32 bits.
    pub fn forward(&self, x: Address, y: Address, positions: Address) -> Result<Launch> {
        let arguments = self.arguments(x, y, positions, self.gather.rows())?;
        Launch::new(&format!("max_pool3d_{}", self.suffix), grid(arguments.threads as usize, 1), &arguments)
    }

    /// dx, every element of it.
    ///
    /// # Errors
    /// For numbers beyond 32 bits.
    pub fn backward(&self, dy: Address, positions: Address, dx: Address) -> Result<Launch> {
        let arguments = self.arguments(dy, dx, positions, self.gather.turned().rows())?;
        let name = format!("max_pool3d_gradient_{}", self.suffix);
        Launch::new(&name, grid(arguments.threads as usize, 1), &arguments)
    }
}
