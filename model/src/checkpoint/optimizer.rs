//! Optimiser state beside the weights.
//!
//! PyTorch numbers the parameters and keeps `{"state": {0: {"momentum_buffer": …}, …},
//! "param_groups": [{"lr": …, "params": [0, …]}]}`; a native file keeps each tensor as
//! `optimizer.SLOT.PARAMETER` and the groups as JSON in its metadata. Both become this.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::{NamedTensor, StateDict, StoredType};
use crate::{Error, Result};

/// Start of the names of optimiser tensors in a native file:
/// `optimizer.momentum_buffer.down_tr64.ops.0.conv1.weight`.
pub const OPTIMIZER_PREFIX: &str = "optimizer.";

/// Metadata key under which a native file keeps the groups, as JSON.
const GROUPS_KEY: &str = "optimizer.groups";

/// Name of the slot that holds the number of steps a parameter has taken.
const STEP: &str = "step";

/// What an optimiser remembers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OptimizerState {
    /// One entry for each parameter that has state, in the model's order.
    pub parameters: Vec<ParameterState>,
    /// Groups of parameters with their settings (learning rate, momentum, …).
    pub groups: Vec<ParameterGroup>,
}

/// What an optimiser remembers of one parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct ParameterState {
    /// The parameter's name; its index in decimal when a `.pt` file does not tell which is meant
    /// (the optimiser numbers other parameters than the state dict holds).
    pub parameter: String,
    /// Steps taken, where counted (Adam).
    pub step: Option<u64>,
    /// Its tensors by PyTorch's names: `momentum_buffer` (SGD), `exp_avg`, `exp_avg_sq` (Adam).
    pub slots: Vec<NamedTensor>,
}

/// Parameters that share settings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ParameterGroup {
    /// PyTorch's names of the settings: `lr`, `momentum`, `weight_decay`, `betas`, …
    pub settings: BTreeMap<String, serde_json::Value>,
    /// The parameters, named as in [`ParameterState::parameter`].
    pub parameters: Vec<String>,
}

impl OptimizerState {
    /// The slot tensor called `slot` of `parameter`.
    pub fn get(&self, parameter: &str, slot: &str) -> Option<&NamedTensor> {
        let state = self.parameters.iter().find(|state| state.parameter == parameter)?;
        state.slots.iter().find(|tensor| tensor.name == slot)
    }

    /// Adds this state to `state` as a native file keeps it.
    ///
    /// # Errors
    /// A setting JSON cannot express, or more steps than an int64 holds.
    pub fn append_to(self, state: &mut StateDict) -> Result<()> {
        for ParameterState { parameter, step, slots } in self.parameters {
            if let Some(step) = step {
                let step = i64::try_from(step).map_err(|error| Error::tensor(&parameter, error))?;
                let name = format!("{OPTIMIZER_PREFIX}{STEP}.{parameter}");
                state.tensors.push(NamedTensor::from_i64(name, step));
            }
            for tensor in slots {
                let name = format!("{OPTIMIZER_PREFIX}{}.{parameter}", tensor.name);
                state.tensors.push(NamedTensor { name, ..tensor });
            }
        }
        if !self.groups.is_empty() {
            let groups = serde_json::to_string(&self.groups)
                .map_err(|error| Error::Invalid(format!("optimiser settings: {error}")))?;
            state.metadata.insert(GROUPS_KEY.to_string(), groups);
        }
        Ok(())
    }

    /// Takes optimiser state out of the content of a native file; `None` when it has none.
    ///
    /// # Errors
    /// A tensor without slot and parameter in its name, or groups that are not JSON; in words.
    pub(super) fn take_from(state: &mut StateDict) -> Result<Option<Self>, String> {
        let mut optimizer = Self::default();
        let mut places = HashMap::new();
        for mut tensor in state.split_off_prefix(OPTIMIZER_PREFIX) {
            let rest = &tensor.name[OPTIMIZER_PREFIX.len()..];
            let (slot, parameter) = rest
                .split_once('.')
                .ok_or_else(|| format!("tensor {} should be named optimizer.SLOT.PARAMETER", tensor.name))?;
            let (slot, parameter) = (slot.to_string(), parameter.to_string());
            let place = *places.entry(parameter.clone()).or_insert_with(|| {
                optimizer.parameters.push(ParameterState { parameter, step: None, slots: Vec::new() });
                optimizer.parameters.len() - 1
            });
            let entry = &mut optimizer.parameters[place];
            if slot == STEP {
                entry.step = Some(step_of(&tensor)?);
            } else {
                tensor.name = slot;
                entry.slots.push(tensor);
            }
        }
        if let Some(groups) = state.metadata.remove(GROUPS_KEY) {
            optimizer.groups =
                serde_json::from_str(&groups).map_err(|error| format!("metadata {GROUPS_KEY}: {error}"))?;
        }
        Ok((optimizer != Self::default()).then_some(optimizer))
    }

    /// Replaces indices by the names of the parameters in `state`, when the optimiser's
    /// `count` parameters are as many as the state dict's and every slot has its parameter's
    /// shape; otherwise leaves the indices.
    pub(super) fn name_parameters(&mut self, state: &StateDict, count: usize) {
        let trainable: Vec<&NamedTensor> = state.tensors.iter().filter(|t| !t.is_buffer()).collect();
        let of = |index: &str| index.parse::<usize>().ok().and_then(|index| trainable.get(index));
        let fits = trainable.len() == count
            && self.parameters.iter().all(|entry| {
                let shape = of(&entry.parameter).map(|parameter| &parameter.shape);
                entry.slots.iter().all(|slot| Some(&slot.shape) == shape)
            });
        if fits {
            let names = self.parameters.iter_mut().map(|entry| &mut entry.parameter);
            let grouped = self.groups.iter_mut().flat_map(|group| &mut group.parameters);
            for index in names.chain(grouped) {
                if let Some(parameter) = of(index) {
                    *index = parameter.name.clone();
                }
            }
        }
    }
}

/// The number of steps in a scalar tensor: int64 here, float32 in PyTorch.
///
/// # Errors
/// A tensor of another shape, or no whole number; in words.
pub(super) fn step_of(tensor: &NamedTensor) -> Result<u64, String> {
    let step = match (tensor.dtype, tensor.to_i64()) {
        (_, Some(step)) => u64::try_from(step).ok(),
        (StoredType::F32 | StoredType::F64, None) if tensor.elements() == 1 => {
            let step = tensor.to_f32().first().copied().unwrap_or(-1.0);
            (step >= 0.0 && step.fract() == 0.0 && step.is_finite()).then_some(step as u64)
        }
        _ => None,
    };
    step.ok_or_else(|| format!("tensor {} is no number of steps", tensor.name))
}
