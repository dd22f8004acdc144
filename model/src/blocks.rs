//! The building blocks: convolution + batch norm + activation, up-convolution, last layers.

use crate::unet::{Nonlinearity, Statistics};
use crate::{Error, Result};
use genesis_autograd::{ParameterId, Parameters, Tape, Var};
use genesis_kernels::Context;
use genesis_kernels::ops::activation::Activation;
use genesis_kernels::ops::batch_norm::{self, BatchNorm, Fused};
use genesis_kernels::ops::conv_transpose3d::ConvTranspose3d;
use genesis_kernels::ops::conv3d::Conv3d;
use genesis_kernels::ops::linear::Linear;
use genesis_tensor::Shape;

/// The batch's share in running statistics: PyTorch's default.
const MOMENTUM: f32 = 0.1;

/// What every layer of a network draws on while its parts are declared.
#[derive(Default)]
pub(crate) struct Declaration {
    pub parameters: Vec<(String, Shape)>,
    /// Running means and variances.
    pub buffers: Vec<(String, Shape)>,
    /// The state dict's order: every name with what it is.
    pub order: Vec<(String, Kind)>,
}

/// What a name of the state dict stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Parameter(ParameterId),
    Buffer(ParameterId),
    /// The count of updates of the batch norm with this number.
    Updates(usize),
}

impl Declaration {
    fn parameter(&mut self, name: String, shape: impl Into<Shape>) -> ParameterId {
        let id = ParameterId(self.parameters.len());
        self.order.push((name.clone(), Kind::Parameter(id)));
        self.parameters.push((name, shape.into()));
        id
    }

    fn buffer(&mut self, name: String, channels: usize) -> ParameterId {
        let id = ParameterId(self.buffers.len());
        self.order.push((name.clone(), Kind::Buffer(id)));
        self.buffers.push((name, [channels].into()));
        id
    }
}

/// The values a pass reads and, in training, the statistics it updates.
pub(crate) struct Pass<'a> {
    pub cx: &'a Context,
    pub tape: &'a mut Tape,
    pub parameters: &'a Parameters,
    pub buffers: &'a mut Parameters,
    pub updates: &'a mut [u64],
    pub statistics: Statistics,
}

impl Pass<'_> {
    fn parameter(&mut self, id: ParameterId) -> Result<Var> {
        let value = self.parameters.view(id)?;
        Ok(if self.parameters.is_frozen(id) {
            Var::frozen(id, value)
        } else {
            self.tape.parameter(id, value)
        })
    }
}

/// Runs a part of the network; with `checkpoint` it keeps its inputs alone and runs again in the
/// backward pass, where it leaves running statistics as they are.
pub(crate) fn part(
    pass: &mut Pass,
    checkpoint: bool,
    inputs: Vec<Var>,
    run: impl Fn(&mut Pass, Vec<Var>) -> Result<Var> + Send + 'static,
) -> Result<Var> {
    if !(checkpoint && pass.tape.is_recording()) {
        return run(pass, inputs);
    }
    let Pass { cx, tape, parameters, buffers, updates, statistics } = pass;
    let (cx, parameters, statistics) = (*cx, *parameters, *statistics);
    let kept = inputs.clone();
    let output = tape
        .unrecorded(|tape| run(&mut Pass { cx, tape, parameters, buffers, updates, statistics }, inputs))?;
    let again = if statistics == Statistics::Running { statistics } else { Statistics::Batch };
    // A copy of the buffers would make the next update of the running statistics copy them too.
    let reads_buffers = statistics == Statistics::Running || parameters.has_frozen();
    let buffers = if reads_buffers { buffers.clone() } else { Parameters::new(&[])? };
    let parameters = parameters.clone();
    let rerun = move |cx: &Context, tape: &mut Tape, inputs: Vec<Var>| {
        let (parameters, buffers) = (&parameters, &mut buffers.clone());
        let mut pass = Pass { cx, tape, parameters, buffers, updates: &mut [], statistics: again };
        run(&mut pass, inputs).map_err(|error| genesis_autograd::Error::Tape(error.to_string()))
    };
    Ok(tape.segment(&kept.iter().collect::<Vec<_>>(), output, Box::new(rerun))?)
}

/// `conv 3×3×3 pad 1 + bias → batch norm → activation`.
#[derive(Clone, Debug)]
pub(crate) struct ConvBlock {
    weight: ParameterId,
    bias: ParameterId,
    gamma: ParameterId,
    beta: ParameterId,
    slope: Option<ParameterId>,
    running_mean: ParameterId,
    running_var: ParameterId,
    number: usize,
    nonlinearity: Nonlinearity,
}

impl ConvBlock {
    pub fn declare(
        all: &mut Declaration,
        prefix: &str,
        inputs: usize,
        outputs: usize,
        nonlinearity: Nonlinearity,
    ) -> Self {
        let number = all.order.iter().filter(|(_, kind)| matches!(kind, Kind::Updates(_))).count();
        let block = Self {
            weight: all.parameter(format!("{prefix}.conv1.weight"), [outputs, inputs, 3, 3, 3]),
            bias: all.parameter(format!("{prefix}.conv1.bias"), [outputs]),
            gamma: all.parameter(format!("{prefix}.bn1.weight"), [outputs]),
            beta: all.parameter(format!("{prefix}.bn1.bias"), [outputs]),
            running_mean: all.buffer(format!("{prefix}.bn1.running_mean"), outputs),
            running_var: all.buffer(format!("{prefix}.bn1.running_var"), outputs),
            slope: None,
            number,
            nonlinearity,
        };
        all.order.push((format!("{prefix}.bn1.num_batches_tracked"), Kind::Updates(number)));
        let slope = (nonlinearity == Nonlinearity::Prelu)
            .then(|| all.parameter(format!("{prefix}.activation.weight"), [outputs]));
        Self { slope, ..block }
    }

    /// One input, or two that are read as if concatenated along channels. They come by value, so that
    /// their memory is free once the convolution has read them.
    pub fn forward(&self, pass: &mut Pass, inputs: Vec<Var>) -> Result<Var> {
        let weight = pass.parameter(self.weight)?;
        let bias = pass.parameter(self.bias)?;
        let conv = Conv3d { inputs: inputs.len(), ..Conv3d::same(3) };
        let arguments: Vec<&Var> = inputs.iter().chain([&weight, &bias]).collect();
        let x = pass.tape.apply(pass.cx, conv, &arguments)?;
        drop((inputs, weight, bias));
        let y = self.normalise(pass, &x)?;
        drop(x);
        match self.slope {
            None => Ok(y),
            Some(slope) => {
                let slope = pass.parameter(slope)?;
                Ok(pass.tape.apply(pass.cx, Activation::Prelu, &[&y, &slope])?)
            }
        }
    }

    /// True if every parameter is frozen. Such a block is a fixed function: it normalises by its running
    /// statistics in every pass and leaves them as they are.
    pub fn is_frozen(&self, parameters: &Parameters) -> bool {
        let ids = [self.weight, self.bias, self.gamma, self.beta].into_iter().chain(self.slope);
        ids.into_iter().all(|id| parameters.is_frozen(id))
    }

    fn normalise(&self, pass: &mut Pass, x: &Var) -> Result<Var> {
        let activation = match self.nonlinearity {
            Nonlinearity::Relu => Fused::Relu,
            Nonlinearity::Elu => Fused::Elu,
            Nonlinearity::Prelu => Fused::None,
        };
        let gamma = pass.parameter(self.gamma)?;
        let beta = pass.parameter(self.beta)?;
        let epsilon = 1e-5;
        if pass.statistics == Statistics::Running || self.is_frozen(pass.parameters) {
            let mean = Var::constant(pass.buffers.view(self.running_mean)?);
            let variance = Var::constant(pass.buffers.view(self.running_var)?);
            let operation = BatchNorm { epsilon, statistics: batch_norm::Statistics::Running, activation };
            return Ok(pass.tape.apply(pass.cx, operation, &[x, &gamma, &beta, &mean, &variance])?);
        }
        let operation = BatchNorm { epsilon, statistics: batch_norm::Statistics::Batch, activation };
        let mut batch = None;
        let y = pass.tape.apply_and(pass.cx, operation, &[x, &gamma, &beta], |saved| {
            batch = Some((saved.mean.clone(), saved.variance.clone(), saved.count));
            Ok(())
        })?;
        if pass.statistics == Statistics::BatchAndUpdate
            && let Some((mean, variance, count)) = batch
        {
            // PyTorch: momentum 0.1, and the running variance is the unbiased one.
            let unbiased = count as f32 / (count as f32 - 1.0);
            pass.buffers.follow(pass.cx, self.running_mean, &mean, MOMENTUM, 1.0)?;
            pass.buffers.follow(pass.cx, self.running_var, &variance, MOMENTUM, unbiased)?;
            let updates = pass.updates.get_mut(self.number);
            *updates.ok_or_else(|| Error::invalid("a batch norm without a counter"))? += 1;
        }
        Ok(y)
    }
}

/// `transposed conv 2×2×2 stride 2 + bias`, same number of channels.
#[derive(Clone, Debug)]
pub(crate) struct UpBlock {
    weight: ParameterId,
    bias: ParameterId,
}

impl UpBlock {
    pub fn declare(all: &mut Declaration, prefix: &str, channels: usize) -> Self {
        Self {
            weight: all.parameter(format!("{prefix}.up_conv.weight"), [channels, channels, 2, 2, 2]),
            bias: all.parameter(format!("{prefix}.up_conv.bias"), [channels]),
        }
    }

    pub fn forward(&self, pass: &mut Pass, x: Var) -> Result<Var> {
        let weight = pass.parameter(self.weight)?;
        let bias = pass.parameter(self.bias)?;
        Ok(pass.tape.apply(pass.cx, ConvTranspose3d::double(), &[&x, &weight, &bias])?)
    }
}

/// `conv 1×1×1 + bias`: the last layer.
#[derive(Clone, Debug)]
pub(crate) struct OutputBlock {
    weight: ParameterId,
    bias: ParameterId,
}

impl OutputBlock {
    pub fn declare(all: &mut Declaration, prefix: &str, inputs: usize, outputs: usize) -> Self {
        Self {
            weight: all.parameter(format!("{prefix}.final_conv.weight"), [outputs, inputs, 1, 1, 1]),
            bias: all.parameter(format!("{prefix}.final_conv.bias"), [outputs]),
        }
    }

    pub fn forward(&self, pass: &mut Pass, x: &Var) -> Result<Var> {
        let weight = pass.parameter(self.weight)?;
        let bias = pass.parameter(self.bias)?;
        Ok(pass.tape.apply(pass.cx, Conv3d::same(1), &[x, &weight, &bias])?)
    }
}

/// A fully connected layer with bias.
#[derive(Clone, Debug)]
pub(crate) struct DenseBlock {
    weight: ParameterId,
    bias: ParameterId,
}

impl DenseBlock {
    pub fn declare(all: &mut Declaration, prefix: &str, inputs: usize, outputs: usize) -> Self {
        Self {
            weight: all.parameter(format!("{prefix}.weight"), [outputs, inputs]),
            bias: all.parameter(format!("{prefix}.bias"), [outputs]),
        }
    }

    pub fn forward(&self, pass: &mut Pass, x: &Var) -> Result<Var> {
        let weight = pass.parameter(self.weight)?;
        let bias = pass.parameter(self.bias)?;
        Ok(pass.tape.apply(pass.cx, Linear, &[x, &weight, &bias])?)
    }
}
