//! Activations on CUDA cards: the launches of `activation.cu`.

use super::Activation;
use crate::Result;
use crate::cuda::channels::{Channels, Pass, finish};
use crate::cuda::elementwise::grid;
use crate::cuda::{Address, Divisor, Format, Launch, NULL, Operand, Workspace};
use bytemuck::{Pod, Zeroable};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct ActivationArguments {
    input: Address,
    gradient: Address,
    output: Address,
    slopes: Address,
    elements: u64,
    slope_count: Divisor,
    kind: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct SlopeArguments {
    input: Address,
    gradient: Address,
    sums: Address,
    shape: Channels,
}

/// PReLU's slopes: where they are, f32, and how many; none for the others.
#[derive(Clone, Copy, Debug)]
pub struct Slopes {
    /// `[count]`.
    pub address: Address,
    /// 1, or the channels.
    pub count: usize,
}

impl Slopes {
    /// For all but PReLU.
    pub const NONE: Self = Self { address: NULL, count: 1 };
}

fn launch(
    name: &str,
    op: Activation,
    format: Format,
    elements: usize,
    addresses: [Address; 3],
    slopes: Slopes,
) -> Result<Launch> {
    let (wide, format) = (format.wide(), format.stored()?);
    let (count, odd) = if elements.is_multiple_of(wide) { (wide, "") } else { (1, "_odd") };
    let arguments = ActivationArguments {
        input: addresses[0],
        gradient: addresses[1],
        output: addresses[2],
        slopes: slopes.address,
        elements: elements as u64,
        slope_count: Divisor::new(slopes.count)?,
        kind: match op {
            Activation::Relu => 0,
            Activation::Prelu => 1,
            Activation::Elu => 2,
            Activation::Sigmoid => 3,
        },
    };
    Launch::new(&format!("{name}_{format}{odd}"), grid(elements, count), &arguments)
}

/// y from x.
///
/// # Errors
/// For f16; when there are no elements.
pub fn forward(
    op: Activation,
    format: Format,
    elements: usize,
    x: Address,
    slopes: Slopes,
    y: Address,
) -> Result<Launch> {
    launch("activation", op, format, elements, [x, NULL, y], slopes)
}

/// dx from dy and what was kept: y, for PReLU x. dx may be the memory of dy.
///
/// # Errors
/// For f16; when there are no elements.
pub fn backward(
    op: Activation,
    format: Format,
    elements: usize,
    kept: Address,
    slopes: Slopes,
    dy: Address,
    dx: Address,
) -> Result<Launch> {
    launch("activation_gradient", op, format, elements, [kept, dy, dx], slopes)
}

/// The gradient of PReLU's slopes, `[count]`, f32.
///
/// # Errors
/// For f16, and numbers beyond 32 bits.
pub fn slope_gradient(
    format: Format,
    elements: usize,
    count: usize,
    x: Address,
    dy: Address,
    gradient: Address,
    workspace: &mut Workspace,
) -> Result<Vec<Launch>> {
    let pass = Pass::new(format, elements / count.max(1), Operand::dense(x, count))?;
    let sums = workspace.take(pass.pieces() * count * 4);
    let arguments = SlopeArguments { input: x, gradient: dy, sums, shape: pass.shape };
    Ok(vec![
        Launch::new(&format!("activation_slope_sums_{}", pass.suffix), pass.grid, &arguments)?,
        finish(Format::F32, sums, [1, pass.pieces(), count], 1.0, gradient)?,
    ])
}
