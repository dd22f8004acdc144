//! The update of a network's parameters: gradients, clipping, schedule, optimiser and its state.

use super::config::{OptimizerConfig, ScheduleConfig};
use crate::{Error, Result};
use genesis_autograd::{Gradients, Parameters};
use genesis_kernels::Context;
use genesis_kernels::ops::optimizer::{Moments, Optimizer, Schedule, clip_gradients, gradient_norm};
use genesis_tensor::Tensor;

/// An optimiser with everything it remembers between steps.
pub struct Updater {
    /// The optimiser's flat state buffers (momentum, moments), as long as the parameters.
    pub state: Vec<Tensor>,
    /// Steps done.
    pub step: u64,
    /// The gradients of the step under way.
    pub gradients: Gradients,
    optimizer: Optimizer,
    schedule: Schedule,
    base_rate: f32,
    clip_norm: f64,
}

impl Updater {
    /// An updater at step 0 for parameters of this layout.
    ///
    /// # Errors
    /// An unknown optimiser or a setting out of range; memory.
    pub fn new(parameters: &Parameters, config: &OptimizerConfig, schedule: Schedule) -> Result<Self> {
        let optimizer = optimizer(config)?;
        let gradients = parameters.zero_gradients()?;
        let length = parameters.flat().shape();
        let state = (0..optimizer.state_count()).map(|_| Tensor::zeros(length)).collect::<Result<_, _>>()?;
        Ok(Self {
            state,
            step: 0,
            gradients,
            optimizer,
            schedule,
            base_rate: config.learning_rate as f32,
            clip_norm: config.clip_norm,
        })
    }

    /// The learning rate of the next step.
    pub fn learning_rate(&self) -> f32 {
        self.schedule.rate(self.base_rate, self.step)
    }

    /// Names of the optimiser's state buffers, as in PyTorch's optimisers.
    pub fn state_names(&self) -> &'static [&'static str] {
        match self.optimizer {
            Optimizer::Sgd { .. } => &["momentum_buffer"],
            Optimizer::Adam(_) | Optimizer::AdamW(_) => &["exp_avg", "exp_avg_sq"],
        }
    }

    /// The norm of the gradients that have arrived, which are then limited as configured. Where it is not finite,
    /// [`Updater::update`] must not follow.
    ///
    /// # Errors
    /// Memory; a card that failed.
    pub fn clip(&mut self, cx: &Context) -> Result<f64> {
        Ok(match self.clip_norm > 0.0 {
            true => clip_gradients(cx, self.gradients.flat_mut(), self.clip_norm)?,
            false => gradient_norm(cx, self.gradients.flat())?,
        })
    }

    /// Counts a step that changed nothing; returns the rate it would have had.
    pub fn skip(&mut self) -> f32 {
        let rate = self.learning_rate();
        self.step += 1;
        rate
    }

    /// One step by the gradients that have arrived, at each parameter's multiple of the learning rate;
    /// returns the rate.
    ///
    /// # Errors
    /// Parameters of another layout.
    pub fn update(&mut self, cx: &Context, parameters: &mut Parameters) -> Result<f32> {
        let rate = self.learning_rate();
        self.step += 1;
        let groups = parameters.groups();
        let (gradients, state) = (self.gradients.flat(), &mut self.state);
        let values = parameters.flat_mut();
        self.optimizer.update_groups(cx, self.step, rate, values, gradients, state, &groups)?;
        Ok(rate)
    }
}

fn optimizer(config: &OptimizerConfig) -> Result<Optimizer> {
    let weight_decay = config.weight_decay as f32;
    let moments = Moments { weight_decay, ..Moments::default() };
    let optimizer = match config.name.as_str() {
        "sgd" => Optimizer::Sgd {
            momentum: config.momentum as f32,
            dampening: 0.0,
            weight_decay,
            nesterov: config.nesterov,
        },
        "adam" => Optimizer::Adam(moments),
        "adamw" => Optimizer::AdamW(moments),
        other => return Err(Error::Usage(format!("unknown optimizer '{other}'"))),
    };
    optimizer.validate().map_err(|error| Error::Usage(error.to_string()))?;
    Ok(optimizer)
}

/// A schedule in steps, for a run of at most `epochs` epochs and, unless 0, `steps` steps.
pub fn schedule(config: &ScheduleConfig, epochs: u64, steps: u64, steps_per_epoch: u64) -> Schedule {
    let ScheduleConfig { name, every_epochs, factor, warm_up_steps } = config;
    let whole = epochs.saturating_mul(steps_per_epoch);
    let length = if steps > 0 { steps.min(whole) } else { whole };
    let rest = length.saturating_sub(*warm_up_steps);
    let then = match name.as_str() {
        "step" => {
            Schedule::Step { every: every_epochs.saturating_mul(steps_per_epoch), factor: *factor as f32 }
        }
        "cosine" => Schedule::Cosine { length: rest, floor: 0.0 },
        "poly" => Schedule::Polynomial { length: rest, power: 0.9 },
        _ => Schedule::Constant,
    };
    match warm_up_steps {
        0 => then,
        &length => Schedule::WarmUp { length, then: Box::new(then) },
    }
}
