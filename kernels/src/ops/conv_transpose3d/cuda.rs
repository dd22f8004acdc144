//! The transposed convolution on CUDA cards.
//!
//! Kernel 2, stride 2 without padding is one product on tensor cores whose columns are the eight taps' outputs;
//! its input gradient is a convolution of stride 2, its weight gradient one with the activations swapped, whatever
//! kernel and stride. The rest runs directly.

use super::ConvTranspose3d;
use crate::Result;
use crate::cuda::convolution::{Columns, Product};
use crate::cuda::direct::Direct;
use crate::cuda::packing::{Order, Unpacked};
use crate::cuda::weight_gradient::WeightGradient;
use crate::cuda::{Address, Format, Gather, Launch, NULL, Operand, Workspace, channels};
use genesis_tensor::Shape;

/// A transposed convolution of an input of a certain shape.
#[derive(Clone, Debug)]
pub struct Plan {
    format: Format,
    /// Of the convolution whose transpose this is: it reads y and its rows are x's voxels.
    gather: Gather,
    channels: usize,
    outputs: usize,
}

impl Plan {
    /// Checks the shapes, those of [`ConvTranspose3d`]'s inputs.
    ///
    /// # Errors
    /// When they do not fit the operation.
    pub fn new(op: &ConvTranspose3d, shapes: &[Shape], format: Format) -> Result<Self> {
        let (geometry, channels, outputs) = op.geometry(shapes)?;
        Ok(Self { format, gather: Gather::of(&geometry), channels, outputs })
    }

    fn taps(&self) -> usize {
        self.gather.taps()
    }

    fn unpacked(&self, address: Address, transposed: bool) -> Unpacked {
        let order = Order { transposed, mirrored: false };
        Unpacked::whole(address, [self.channels, self.outputs, self.taps()], order)
    }

    /// True for kernel 2, stride 2, doubled extents.
    fn doubles(&self) -> bool {
        let Gather { image, result, kernel, stride, low, dilation, .. } = self.gather;
        kernel == [2; 3]
            && stride == [2; 3]
            && low == [0; 3]
            && dilation == [1; 3]
            && image == result.map(|extent| 2 * extent)
    }

    /// y from x, the weight `[C, O, kD, kH, kW]` and the bias `[O]`, f32 both, or [`NULL`].
    ///
    /// # Errors
    /// For f16 in a shape that tensor cores do not take, and numbers beyond 32 bits.
    pub fn forward(
        &self,
        x: Address,
        weight: Address,
        bias: Address,
        y: Address,
        workspace: &mut Workspace,
    ) -> Result<Vec<Launch>> {
        let inputs = [Operand::dense(x, self.channels), Operand::default()];
        let output = Operand::dense(y, self.outputs);
        // Rows are x's voxels, which read themselves.
        let points = Gather { image: self.gather.result, kernel: [1; 3], stride: [1; 3], ..self.gather };
        let product = Product {
            format: self.format,
            gather: points,
            inputs,
            weight: NULL,
            columns: 8 * self.outputs,
            order: Columns::Taps(self.outputs),
            bias,
            output,
        };
        if self.doubles() && product.fits() {
            return product.launches_packing(self.unpacked(weight, true), NULL, workspace);
        }
        let direct = Direct {
            format: self.format,
            gather: self.gather.turned(),
            transposed: true,
            inputs,
            weight: self.unpacked(weight, false),
            bias,
            output,
        };
        direct.launches(workspace)
    }

    /// dx.
    ///
    /// # Errors
    /// As [`Plan::forward`].
    pub fn input_gradient(
        &self,
        dy: Address,
        weight: Address,
        dx: Address,
        workspace: &mut Workspace,
    ) -> Result<Vec<Launch>> {
        let inputs = [Operand::dense(dy, self.outputs), Operand::default()];
        let output = Operand::dense(dx, self.channels);
        let product = Product {
            format: self.format,
            gather: self.gather,
            inputs,
            weight: NULL,
            columns: self.channels,
            order: Columns::Outputs,
            bias: NULL,
            output,
        };
        if product.fits() {
            return product.launches_packing(self.unpacked(weight, false), NULL, workspace);
        }
        let direct = Direct {
            format: self.format,
            gather: self.gather,
            transposed: false,
            inputs,
            weight: self.unpacked(weight, true),
            bias: NULL,
            output,
        };
        direct.launches(workspace)
    }

    /// The weight's gradient `[C, O, kD, kH, kW]`, f32.
    ///
    /// # Errors
    /// As [`Plan::forward`].
    pub fn weight_gradient(
        &self,
        x: Address,
        dy: Address,
        dw: Address,
        workspace: &mut Workspace,
    ) -> Result<Vec<Launch>> {
        let inputs = [Operand::dense(dy, self.outputs), Operand::default()];
        let gradient = Operand::dense(x, self.channels);
        WeightGradient { format: self.format, gather: self.gather, inputs, gradient, output: dw }
            .launches(workspace)
    }

    /// The bias's gradient, `[O]`, f32.
    ///
    /// # Errors
    /// For f16, and numbers beyond 32 bits.
    pub fn bias_gradient(&self, dy: Address, db: Address, workspace: &mut Workspace) -> Result<Vec<Launch>> {
        let rows = self.gather.turned().rows();
        channels::sums(self.format, rows, Operand::dense(dy, self.outputs), db, workspace)
    }
}
