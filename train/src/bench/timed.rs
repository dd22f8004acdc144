//! Timing one operation in each of its directions.

use crate::{Precision, Result};
use genesis_kernels::Context;
use genesis_kernels::op::{Direction, Operation, Work};
use genesis_kernels::ops::optimizer::{Optimizer, OptimizerStep};
use genesis_tensor::random::{Purpose, Stream};
use genesis_tensor::{DType, Shape, Tensor};

/// Times of one direction.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Which one.
    pub direction: Direction,
    /// The shapes of the activations and the output.
    pub shapes: String,
    /// The algorithm chosen, if the operation says so.
    pub path: Option<&'static str>,
    /// Every time, in the order they were taken.
    pub seconds: Vec<f64>,
    /// Arithmetic and traffic.
    pub work: Work,
    /// The number format whose arithmetic ceiling applies.
    pub products: Precision,
}

/// Something to time, with the operation's type hidden.
pub trait Timed {
    /// The operation's name in `OPS`.
    fn operation(&self) -> &'static str;
    /// The layer it is taken from.
    fn layer(&self) -> &str;
    /// Times every direction `runs` times after one to warm up, in `precision`, which `cx` was told of.
    ///
    /// # Errors
    /// The operation's own; memory.
    fn time(&self, cx: &Context, precision: Precision, runs: usize) -> Result<Vec<Measured>>;
}

/// What an input of an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// In the run's number format; its gradient is wanted.
    Activation,
    /// In the run's number format, without a gradient: the network's input.
    Data,
    /// f32; its gradient is wanted.
    Parameter,
    /// f32, without a gradient: targets, statistics.
    Constant,
}

impl Role {
    fn is_activation(self) -> bool {
        matches!(self, Self::Activation | Self::Data)
    }
}

/// An operation on one layer.
pub struct Workload<O: Operation> {
    /// The layer's name.
    pub layer: String,
    /// The operation.
    pub operation: O,
    /// Its inputs.
    pub inputs: Vec<(Shape, Role)>,
    /// A sum of products over its parameters: gradients of activations and of parameters are timed
    /// apart, and bf16 has another arithmetic ceiling than f32.
    pub products: bool,
}

impl<O: Operation> Workload<O> {
    fn activations(&self) -> impl Iterator<Item = Shape> {
        self.inputs.iter().filter(|(_, role)| role.is_activation()).map(|(shape, _)| *shape)
    }

    /// Arithmetic and traffic of one direction, with activations of `dtype`.
    fn work(&self, direction: Direction, output: Shape, dtype: DType) -> Work {
        let shapes: Vec<Shape> = self.inputs.iter().map(|(shape, _)| *shape).collect();
        let cost = self.operation.cost(&shapes);
        if self.products {
            // Each direction reads two of (activations, parameters, output) and writes the third.
            let activations: usize = self.activations().chain([output]).map(|shape| shape.elements()).sum();
            let parameters = self.inputs.iter().filter(|(_, role)| *role == Role::Parameter);
            let parameters: usize = parameters.map(|(shape, _)| shape.elements()).sum();
            let bytes = activations * dtype.bytes() + parameters * DType::F32.bytes();
            let flops =
                if direction == Direction::Backward { cost.backward.flops } else { cost.forward.flops };
            return Work { flops, bytes: bytes as u64 };
        }
        let work = if direction == Direction::Forward { cost.forward } else { cost.backward };
        // Costs count four bytes a value; nearly all of them are activations.
        Work { bytes: work.bytes * dtype.bytes() as u64 / 4, ..work }
    }

    /// The backward passes to time, each with the gradients it computes.
    fn backward(&self) -> Vec<(Direction, Vec<bool>)> {
        let need = |wanted: &[Role]| self.inputs.iter().map(|(_, role)| wanted.contains(role)).collect();
        if self.products {
            let mut directions = vec![
                (Direction::InputGradient, need(&[Role::Activation])),
                (Direction::WeightGradient, need(&[Role::Parameter])),
            ];
            directions.retain(|(_, need): &(Direction, Vec<bool>)| need.contains(&true));
            directions
        } else {
            vec![(Direction::Backward, need(&[Role::Activation, Role::Parameter]))]
        }
    }
}

impl<O: Operation> Timed for Workload<O> {
    fn operation(&self) -> &'static str {
        O::NAME
    }

    fn layer(&self) -> &str {
        &self.layer
    }

    fn time(&self, cx: &Context, precision: Precision, runs: usize) -> Result<Vec<Measured>> {
        let dtype = precision.format();
        let mut stream = Stream::new(0, 0, 0, Purpose::Other);
        let shapes: Vec<Shape> = self.inputs.iter().map(|(shape, _)| *shape).collect();
        let output = self.operation.infer(&shapes)?;
        let mut inputs = Vec::new();
        for &(shape, role) in &self.inputs {
            let drawn = draw(shape, if role.is_activation() { dtype } else { DType::F32 }, &mut stream)?;
            inputs.push(cx.place(&drawn)?);
        }
        let inputs: Vec<&Tensor> = inputs.iter().collect();
        let mut forward = Vec::new();
        let mut measured = Vec::new();
        // Most gradients' format is that of the activations, a loss's is f32; the forward pass tells.
        let mut dy: Option<Tensor> = None;
        for (direction, need) in self.backward() {
            let mut backward = Vec::new();
            for run in 0..=runs {
                let ((y, saved), seconds) = cx.time(|| self.operation.forward(cx, &inputs))?;
                let dy = match &dy {
                    Some(dy) => cx.place(&own_block(dy)?)?,
                    None => cx.place(dy.insert(draw(output, y.dtype(), &mut stream)?))?,
                };
                drop(y);
                if run > 0 {
                    forward.push(seconds);
                }
                let (_, seconds) = cx.time(|| self.operation.backward(cx, saved, dy, &need))?;
                if run > 0 {
                    backward.push(seconds);
                }
            }
            measured.push((direction, backward));
        }
        measured.insert(0, (Direction::Forward, forward));
        let activations = self.activations().map(extents);
        let shapes = format!("{} -> {}", activations.collect::<Vec<_>>().join(" + "), extents(output));
        Ok(measured
            .into_iter()
            .map(|(direction, seconds)| Measured {
                direction,
                shapes: shapes.clone(),
                path: self.operation.path(cx, &inputs, direction),
                seconds,
                work: self.work(direction, output, dtype),
                products: if self.products { precision } else { Precision::F32 },
            })
            .collect())
    }
}

/// An optimiser's pass over the network's flat buffers.
pub struct OptimizerPass {
    /// Which optimiser, for the table.
    pub layer: String,
    /// The optimiser.
    pub optimizer: Optimizer,
    /// Trainable values.
    pub parameters: usize,
}

impl Timed for OptimizerPass {
    fn operation(&self) -> &'static str {
        OptimizerStep::NAME
    }

    fn layer(&self) -> &str {
        &self.layer
    }

    fn time(&self, cx: &Context, _: Precision, runs: usize) -> Result<Vec<Measured>> {
        let shape = Shape::from([self.parameters]);
        let mut stream = Stream::new(0, 0, 0, Purpose::Other);
        let mut parameters = cx.place(&draw(shape, DType::F32, &mut stream)?)?;
        let gradients = cx.place(&draw(shape, DType::F32, &mut stream)?)?;
        let mut state = Vec::new();
        for _ in 0..self.optimizer.state_count() {
            state.push(cx.place(&Tensor::zeros(shape)?)?);
        }
        let mut seconds = Vec::new();
        for run in 0..=runs {
            let step = run as u64 + 1;
            let update = || self.optimizer.update(cx, step, 1e-3, &mut parameters, &gradients, &mut state);
            let ((), elapsed) = cx.time(update)?;
            if run > 0 {
                seconds.push(elapsed);
            }
        }
        let operation = OptimizerStep { optimizer: self.optimizer, step: 1, rate: 1e-3 };
        Ok(vec![Measured {
            direction: Direction::Forward,
            shapes: extents(shape),
            path: None,
            seconds,
            work: operation.cost(&vec![shape; 2 + state.len()]).forward,
            products: Precision::F32,
        }])
    }
}

/// Values in [0, 1): probabilities and variances for whoever wants them.
fn draw(shape: Shape, dtype: DType, stream: &mut Stream) -> Result<Tensor> {
    let mut tensor = Tensor::zeros(shape)?;
    stream.fill_uniform(tensor.as_mut_slice()?);
    Ok(if dtype == DType::F32 { tensor } else { tensor.cast(dtype)? })
}

/// A copy in a block of its own, as a gradient arrives on a tape, so that backward may write over it.
fn own_block(tensor: &Tensor) -> Result<Tensor> {
    if tensor.dtype() == DType::F32 {
        return Ok(Tensor::from_slice(tensor.shape(), tensor.as_slice())?);
    }
    let mut copy = Tensor::unspecified(tensor.shape(), tensor.dtype())?;
    copy.as_bf16_mut()?.copy_from_slice(tensor.as_bf16());
    Ok(copy)
}

/// `2x64x64x32x64`.
fn extents(shape: Shape) -> String {
    shape.dims().iter().map(usize::to_string).collect::<Vec<_>>().join("x")
}
