//! Batch normalisation on CUDA cards: the launches of `batch_norm.cu`.

use super::{BatchNorm, Fused, Statistics};
use crate::cuda::channels::{Channels, Pass, finish};
use crate::cuda::{Address, Format, Launch, NULL, Operand, Workspace};
use crate::op::Operation;
use crate::{Error, Result};
use bytemuck::{Pod, Zeroable};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct MomentsArguments {
    input: Address,
    moments: Address,
    base: Address,
    shape: Channels,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct FinishArguments {
    moments: Address,
    base: Address,
    mean: Address,
    remainder: Address,
    variance: Address,
    inverse: Address,
    running_mean: Address,
    running_variance: Address,
    pieces: i32,
    piece: i32,
    rows: i32,
    channels: i32,
    epsilon: f32,
    momentum: f32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct ApplyArguments {
    input: Address,
    gradient: Address,
    output: Address,
    sums: Address,
    mean: Address,
    remainder: Address,
    inverse: Address,
    gamma: Address,
    beta: Address,
    total: Address,
    shape: Channels,
    activation: i32,
    share: f32,
}

/// Tables `[C]` of f32 that forward writes and backward reads.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tables {
    /// The mean used.
    pub mean: Address,
    /// What rounding took from it.
    pub remainder: Address,
    /// The biased variance used.
    pub variance: Address,
    /// 1/√(σ² + ε).
    pub inverse: Address,
    /// γ, an input.
    pub gamma: Address,
    /// β, an input.
    pub beta: Address,
}

/// Running statistics, `[C]` of f32 each.
#[derive(Clone, Copy, Debug, Default)]
pub struct Running {
    /// Mean, or [`NULL`] where none are kept.
    pub mean: Address,
    /// Unbiased variance.
    pub variance: Address,
    /// What of the batch's goes into them: 0.1 in PyTorch.
    pub momentum: f32,
}

/// Moments of pieces of x that were found before, `[pieces, 2, C]` of f32: by a convolution's epilogue, whose plan
/// says how many, or `[1, 2, C]` as [`Statistics::Sums`] has them.
#[derive(Clone, Copy, Debug)]
pub struct Moments {
    /// Where they are.
    pub address: Address,
    /// Pieces.
    pub pieces: usize,
    /// Rows of each but the last.
    pub piece: usize,
}

/// Batch normalisation of `rows` rows of channels.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    op: BatchNorm,
    format: Format,
    rows: usize,
    channels: usize,
    pass: Pass,
}

impl Plan {
    /// The plan for x `[rows, channels]`.
    ///
    /// # Errors
    /// For f16, and numbers beyond 32 bits.
    pub fn new(op: BatchNorm, format: Format, rows: usize, channels: usize) -> Result<Self> {
        let pass = Pass::new(format, rows, Operand::dense(NULL, channels))?;
        Ok(Self { op, format, rows, channels, pass })
    }

    /// Fills the tables: by the moments given, else by x, or by the running statistics where the operation says so;
    /// updates the running statistics of a batch.
    ///
    /// # Errors
    /// When [`Statistics::Sums`] has no moments, or [`Statistics::Running`] no running statistics.
    pub fn statistics(
        &self,
        x: Address,
        moments: Option<Moments>,
        tables: Tables,
        running: Running,
        workspace: &mut Workspace,
    ) -> Result<Vec<Launch>> {
        let (mut launches, mut base) = (Vec::new(), NULL);
        let found = match (self.op.statistics, moments) {
            (Statistics::Running, _) if running.mean == NULL || running.variance == NULL => {
                return Err(Error::operation(BatchNorm::NAME, "running statistics are wanted and missing"));
            }
            (Statistics::Running, _) => Moments { address: NULL, pieces: 0, piece: 0 },
            (_, Some(moments)) => moments,
            (Statistics::Sums, None) => {
                return Err(Error::operation(BatchNorm::NAME, "moments are wanted and missing"));
            }
            (Statistics::Batch, None) => {
                let address = workspace.take(self.pass.pieces() * 2 * self.channels * 4);
                base = workspace.take(self.channels * 4);
                let arguments = MomentsArguments { input: x, moments: address, base, shape: self.pass.shape };
                let name = format!("batch_norm_moments_{}", self.pass.suffix);
                launches.push(Launch::new(&name, self.pass.grid, &arguments)?);
                Moments { address, pieces: self.pass.pieces(), piece: self.pass.piece }
            }
        };
        let arguments = FinishArguments {
            moments: found.address,
            base,
            mean: tables.mean,
            remainder: tables.remainder,
            variance: tables.variance,
            inverse: tables.inverse,
            running_mean: running.mean,
            running_variance: running.variance,
            pieces: crate::cuda::int(found.pieces)?,
            piece: crate::cuda::int(found.piece)?,
            rows: crate::cuda::int(self.rows)?,
            channels: crate::cuda::int(self.channels)?,
            epsilon: self.op.epsilon,
            momentum: running.momentum,
        };
        launches.push(Launch::new("batch_norm_finish", [self.channels.div_ceil(32), 1, 1], &arguments)?);
        Ok(launches)
    }

    fn arguments(&self, x: Address, tables: Tables) -> ApplyArguments {
        ApplyArguments {
            input: x,
            gradient: NULL,
            output: NULL,
            sums: NULL,
            mean: tables.mean,
            remainder: tables.remainder,
            inverse: tables.inverse,
            gamma: tables.gamma,
            beta: tables.beta,
            total: NULL,
            shape: self.pass.shape,
            activation: match self.op.activation {
                Fused::None => 0,
                Fused::Relu => 1,
                Fused::Elu => 2,
            },
            share: match self.op.statistics {
                Statistics::Running => 0.0,
                Statistics::Batch | Statistics::Sums => 1.0 / self.rows as f32,
            },
        }
    }

    fn launch(&self, name: &str, arguments: &ApplyArguments) -> Result<Launch> {
        Launch::new(&format!("batch_norm_{name}_{}", self.pass.suffix), self.pass.grid, arguments)
    }

    /// y, by the tables.
    ///
    /// # Errors
    /// When a grid is beyond CUDA's limits.
    pub fn forward(&self, x: Address, tables: Tables, y: Address) -> Result<Launch> {
        self.launch("apply", &ApplyArguments { output: y, ..self.arguments(x, tables) })
    }

    /// dβ and dγ into `total`, `[2, C]` of f32, then dx, which may be the memory of dy; [`NULL`] where it is not
    /// wanted.
    ///
    /// # Errors
    /// When a grid is beyond CUDA's limits.
    pub fn backward(
        &self,
        x: Address,
        tables: Tables,
        dy: Address,
        total: Address,
        dx: Address,
        workspace: &mut Workspace,
    ) -> Result<Vec<Launch>> {
        let sums = workspace.take(self.pass.pieces() * 2 * self.channels * 4);
        let arguments = ApplyArguments { gradient: dy, output: dx, sums, total, ..self.arguments(x, tables) };
        let mut launches = vec![
            self.launch("gradient_sums", &arguments)?,
            finish(Format::F32, sums, [1, self.pass.pieces(), 2 * self.channels], 1.0, total)?,
        ];
        if dx != NULL {
            launches.push(self.launch("input_gradient", &arguments)?);
        }
        Ok(launches)
    }

    /// Storage of x and y.
    pub fn format(&self) -> Format {
        self.format
    }
}
