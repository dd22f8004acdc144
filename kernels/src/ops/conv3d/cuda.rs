//! The convolution on CUDA cards: which kernels, in which order.
//!
//! On tensor cores where channels come in 16 bytes and the kernel is at most 10 wide, directly otherwise, and in
//! f32 always directly. The input gradient of stride 1 is a convolution by mirrored taps; of other strides, direct.

use super::Conv3d;
use crate::cuda::convolution::{Columns, Product};
use crate::cuda::direct::Direct;
use crate::cuda::packing::{Order, Unpacked};
use crate::cuda::weight_gradient::WeightGradient;
use crate::cuda::{Address, Format, Gather, Launch, NULL, Operand, Workspace, channels};
use crate::op::Operation;
use crate::{Error, Result};
use genesis_tensor::Shape;

/// A convolution of inputs of certain shapes.
#[derive(Clone, Debug)]
pub struct Plan {
    format: Format,
    gather: Gather,
    channels: Vec<usize>,
    outputs: usize,
}

impl Plan {
    /// Checks the shapes, those of [`Conv3d`]'s inputs.
    ///
    /// # Errors
    /// When they do not fit the operation.
    pub fn new(op: &Conv3d, shapes: &[Shape], format: Format) -> Result<Self> {
        let (geometry, channels, outputs) = op.geometry(shapes)?;
        Ok(Self { format, gather: Gather::of(&geometry), channels, outputs })
    }

    fn taps(&self) -> usize {
        self.gather.taps()
    }

    fn all(&self) -> usize {
        self.channels.iter().sum()
    }

    fn operands(&self, addresses: &[Address]) -> Result<[Operand; 2]> {
        if addresses.len() != self.channels.len() {
            let cause = format!("{} inputs, {} given", self.channels.len(), addresses.len());
            return Err(Error::operation(Conv3d::NAME, cause));
        }
        let mut operands = [Operand::default(); 2];
        for (operand, (&address, &channels)) in operands.iter_mut().zip(addresses.iter().zip(&self.channels))
        {
            *operand = Operand::dense(address, channels);
        }
        Ok(operands)
    }

    fn extents(&self) -> [usize; 3] {
        [self.outputs, self.all(), self.taps()]
    }

    fn product(&self, inputs: [Operand; 2], bias: Address, output: Address) -> Product {
        Product {
            format: self.format,
            gather: self.gather,
            inputs,
            weight: NULL,
            columns: self.outputs,
            order: Columns::Outputs,
            bias,
            output: Operand::dense(output, self.outputs),
        }
    }

    /// Pieces, and rows of each, of the moments that [`Plan::forward`] can write; `None` where batch
    /// normalisation must find its own.
    pub fn moment_pieces(&self) -> Option<[usize; 2]> {
        let addresses: Vec<Address> = self.channels.iter().map(|_| NULL).collect();
        let product = self.product(self.operands(&addresses).ok()?, NULL, NULL);
        if product.fits() { product.moment_pieces() } else { None }
    }

    /// y from the activations, the weight `[O, ΣC, kD, kH, kW]` and the bias `[O]`, f32 both, or [`NULL`];
    /// and its moments `[pieces, 2, O]`, or [`NULL`].
    ///
    /// # Errors
    /// For moments where there are none, f16 in a shape that tensor cores do not take, and numbers beyond 32 bits.
    pub fn forward(
        &self,
        inputs: &[Address],
        weight: Address,
        bias: Address,
        y: Address,
        moments: Address,
        workspace: &mut Workspace,
    ) -> Result<Vec<Launch>> {
        let inputs = self.operands(inputs)?;
        let product = self.product(inputs, bias, y);
        if product.fits() {
            let order = Order { transposed: false, mirrored: false };
            let weight = Unpacked::whole(weight, self.extents(), order);
            return product.launches_packing(weight, moments, workspace);
        }
        if moments != NULL {
            return Err(Error::operation(Conv3d::NAME, "moments come from tensor cores alone"));
        }
        let order = Order { transposed: true, mirrored: false };
        let direct = Direct {
            format: self.format,
            gather: self.gather,
            transposed: false,
            inputs,
            weight: Unpacked::whole(weight, self.extents(), order),
            bias,
            output: Operand::dense(y, self.outputs),
        };
        direct.launches(workspace)
    }

    /// The gradient of input number `input`.
    ///
    /// # Errors
    /// As [`Plan::forward`]; for an input that does not exist.
    pub fn input_gradient(
        &self,
        input: usize,
        dy: Address,
        weight: Address,
        dx: Address,
        workspace: &mut Workspace,
    ) -> Result<Vec<Launch>> {
        let Some(&channels) = self.channels.get(input) else {
            return Err(Error::operation(Conv3d::NAME, format!("no input {input}")));
        };
        let first: usize = self.channels[..input].iter().sum();
        let inputs = [Operand::dense(dy, self.outputs), Operand::default()];
        let product = Product {
            format: self.format,
            gather: self.gather.mirrored(),
            inputs,
            weight: NULL,
            columns: channels,
            order: Columns::Outputs,
            bias: NULL,
            output: Operand::dense(dx, channels),
        };
        if product.fits() && self.gather.stride == [1; 3] {
            let order = Order { transposed: true, mirrored: true };
            let weight =
                Unpacked { address: weight, extents: self.extents(), order, part: [first, channels] };
            return product.launches_packing(weight, NULL, workspace);
        }
        let order = Order { transposed: false, mirrored: false };
        let direct = Direct {
            format: self.format,
            gather: self.gather.turned(),
            transposed: true,
            inputs,
            weight: Unpacked { address: weight, extents: self.extents(), order, part: [first, channels] },
            bias: NULL,
            output: Operand::dense(dx, channels),
        };
        direct.launches(workspace)
    }

    /// The weight's gradient, f32 in PyTorch's layout.
    ///
    /// # Errors
    /// As [`Plan::forward`].
    pub fn weight_gradient(
        &self,
        inputs: &[Address],
        dy: Address,
        dw: Address,
        workspace: &mut Workspace,
    ) -> Result<Vec<Launch>> {
        let inputs = self.operands(inputs)?;
        let gradient = Operand::dense(dy, self.outputs);
        WeightGradient { format: self.format, gather: self.gather, inputs, gradient, output: dw }
            .launches(workspace)
    }

    /// The bias's gradient, `[O]`, f32.
    ///
    /// # Errors
    /// For f16, and numbers beyond 32 bits.
    pub fn bias_gradient(&self, dy: Address, db: Address, workspace: &mut Workspace) -> Result<Vec<Launch>> {
        channels::sums(self.format, self.gather.rows(), Operand::dense(dy, self.outputs), db, workspace)
    }
}
