//! What the networks have in common: values under names, and a forward pass.

use crate::blocks::{Declaration, Kind, Pass};
use crate::checkpoint::StateDict;
use crate::{Initialiser, Levels, Nonlinearity, Result, Statistics};
use genesis_autograd::{Gradients, Parameters, Tape, Var};
use genesis_kernels::Context;
use genesis_tensor::Tensor;

/// Parameters, running statistics and counters of a network, under PyTorch's names.
#[derive(Clone, Debug)]
pub struct Tensors {
    pub(crate) parameters: Parameters,
    /// Running means and variances.
    pub(crate) buffers: Parameters,
    /// Each batch norm's count of updates.
    pub(crate) updates: Vec<u64>,
    /// The state dict's order.
    pub(crate) order: Vec<(String, Kind)>,
}

/// A network's running means and variances with their counts of updates, as they were at some moment.
#[derive(Clone, Debug)]
pub struct RunningStatistics {
    buffers: Parameters,
    updates: Vec<u64>,
}

impl RunningStatistics {
    /// All means and variances, in one buffer.
    pub fn values(&self) -> &Tensor {
        self.buffers.flat()
    }

    /// The same counts with other means and variances, in the same layout.
    pub fn with_values(mut self, values: Tensor) -> Self {
        *self.buffers.flat_mut() = values;
        self
    }

    /// The same values, with the counts further by what they grew from `before` to `after`.
    pub fn counted(mut self, before: &Self, after: &Self) -> Self {
        for ((count, before), after) in self.updates.iter_mut().zip(&before.updates).zip(&after.updates) {
            *count += after - before;
        }
        self
    }
}

impl Tensors {
    /// Zero weights and fresh statistics.
    pub(crate) fn new(all: Declaration) -> Result<Self> {
        let parameters = Parameters::new(&all.parameters)?;
        let mut buffers = Parameters::new(&all.buffers)?;
        let mut updates = 0;
        for (name, kind) in &all.order {
            match kind {
                Kind::Buffer(id) if name.ends_with("running_var") => buffers.values_mut(*id)?.fill(1.0),
                Kind::Updates(_) => updates += 1,
                _ => {}
            }
        }
        Ok(Self { parameters, buffers, updates: vec![0; updates], order: all.order })
    }

    /// A pass of the network, with its values where `cx` computes.
    pub(crate) fn pass<'a>(
        &'a mut self,
        cx: &'a Context,
        tape: &'a mut Tape,
        statistics: Statistics,
    ) -> Result<Pass<'a>> {
        let Self { parameters, buffers, updates, .. } = self;
        parameters.place(cx)?;
        buffers.place(cx)?;
        Ok(Pass { cx, tape, parameters, buffers, updates, statistics })
    }

    /// Brings everything to main memory, to be written there. The next pass takes it back to where it computes.
    pub(crate) fn fetch(&mut self) -> Result<()> {
        self.parameters.fetch()?;
        Ok(self.buffers.fetch()?)
    }

    /// Extents and values of one tensor; `None` for a counter.
    pub(crate) fn values_mut(&mut self, kind: Kind) -> Result<Option<(Vec<usize>, &mut [f32])>> {
        let (parameters, id) = match kind {
            Kind::Parameter(id) => (&mut self.parameters, id),
            Kind::Buffer(id) => (&mut self.buffers, id),
            Kind::Updates(_) => return Ok(None),
        };
        let shape = parameters.view(id)?.shape().dims().to_vec();
        Ok(Some((shape, parameters.values_mut(id)?)))
    }
}

/// A [`crate::UNet3d`] or a [`crate::Classifier3d`], for code that works with both.
pub trait Network {
    /// What it is, in words.
    const KIND: &'static str;

    /// The network's values.
    fn tensors(&self) -> &Tensors;

    /// The network's values, to change.
    fn tensors_mut(&mut self) -> &mut Tensors;

    /// Channels of the input.
    fn channels(&self) -> usize;

    /// Classes: channels of the U-Net's output, columns of the classifier's.
    fn classes(&self) -> usize;

    /// The activation.
    fn activation(&self) -> Nonlinearity;

    /// See [`crate::UNet3d::set_checkpoints`].
    fn set_checkpoints(&mut self, levels: Levels);

    /// From `[N, D, H, W, channels]` to logits: `[N, D, H, W, classes]` or `[N, classes]`.
    ///
    /// # Errors
    /// Extents that do not divide by 8; another number of channels; memory.
    fn forward(&mut self, cx: &Context, tape: &mut Tape, input: Var, statistics: Statistics) -> Result<Var>;

    /// See [`crate::UNet3d::state`].
    ///
    /// # Errors
    /// Memory.
    fn state(&self, statistics: Statistics) -> Result<StateDict>;

    /// The trainable values.
    fn parameters(&self) -> &Parameters {
        &self.tensors().parameters
    }

    /// The trainable values, to update.
    fn parameters_mut(&mut self) -> &mut Parameters {
        &mut self.tensors_mut().parameters
    }

    /// The running statistics of this moment. The next pass that changes them copies them first.
    fn running(&self) -> RunningStatistics {
        let Tensors { buffers, updates, .. } = self.tensors();
        RunningStatistics { buffers: buffers.clone(), updates: updates.clone() }
    }

    /// Takes the running statistics back to what [`Network::running`] gave.
    fn set_running(&mut self, running: RunningStatistics) {
        let RunningStatistics { buffers, updates } = running;
        let tensors = self.tensors_mut();
        tensors.buffers = buffers;
        tensors.updates = updates;
    }

    /// A gradient buffer for this network, all zeros.
    ///
    /// # Errors
    /// Memory.
    fn zero_gradients(&self) -> Result<Gradients> {
        Ok(self.parameters().zero_gradients()?)
    }

    /// See [`crate::UNet3d::initialise`].
    ///
    /// # Errors
    /// Memory.
    fn initialise(&mut self, how: Initialiser, seed: u64) -> Result<()> {
        self.tensors_mut().initialise(how, seed)
    }

    /// See [`crate::UNet3d::load`].
    ///
    /// # Errors
    /// Missing names, another shape, a value that is not finite.
    fn load(&mut self, state: &StateDict) -> Result<Vec<String>> {
        self.tensors_mut().load(state)
    }
}

/// The methods of [`Network`] that need not know the network, so that its users need not name the trait.
macro_rules! network_methods {
    () => {
        /// The levels that, on a tape that records, keep their inputs alone and run again in the backward
        /// pass: less memory, a third more time for each, gradients and running statistics the same to the
        /// bit. None at first.
        pub fn set_checkpoints(&mut self, levels: Levels) {
            self.checkpoints = levels;
        }

        /// The trainable values.
        pub fn parameters(&self) -> &genesis_autograd::Parameters {
            &self.tensors.parameters
        }

        /// The trainable values, to update. [`genesis_autograd::Parameters::set_factor`] freezes some of
        /// them or slows them down.
        pub fn parameters_mut(&mut self) -> &mut genesis_autograd::Parameters {
            &mut self.tensors.parameters
        }

        /// A gradient buffer for this network, all zeros.
        ///
        /// # Errors
        /// Memory.
        pub fn zero_gradients(&self) -> Result<genesis_autograd::Gradients> {
            Ok(self.tensors.parameters.zero_gradients()?)
        }

        /// Draws every parameter. One stream per parameter, so that a head of another size does not
        /// change the values of the rest: a U-Net and a classifier of one seed have the same encoder.
        ///
        /// # Errors
        /// Memory.
        pub fn initialise(&mut self, how: crate::Initialiser, seed: u64) -> Result<()> {
            self.tensors.initialise(how, seed)
        }

        /// Takes every tensor of the network from a state dict. Counters may be missing; names the
        /// network does not have are returned.
        ///
        /// # Errors
        /// Missing names (all counted, the first few named), another shape, a value that is not finite.
        pub fn load(&mut self, state: &crate::checkpoint::StateDict) -> Result<Vec<String>> {
            self.tensors.load(state)
        }
    };
}
pub(crate) use network_methods;
