//! What the recording scripts and these tests share: weights by a formula, and three numbers a tensor.

use genesis_autograd::{Gradients, ParameterId};
use genesis_model::checkpoint::{NamedTensor, StateDict};
use genesis_model::{Network, Statistics};
use serde_json::Value;

/// `h(k, i)` of the recording script.
pub fn hash(k: usize, count: usize) -> Vec<f64> {
    let value =
        |i: usize| (i as f64 * 0.618_033_988_749_894_9 + (k + 1) as f64 * 0.754_877_666_246_692_7) % 1.0;
    (1..=count).map(value).collect()
}

/// The weights of `fill` of the recording script.
pub fn filled(network: &impl Network) -> StateDict {
    let template = network.state(Statistics::Running).unwrap();
    let mut state = StateDict::default();
    for (k, tensor) in template.tensors.iter().enumerate() {
        if tensor.name.ends_with("num_batches_tracked") {
            state.tensors.push(NamedTensor::from_i64(&tensor.name, 3));
            continue;
        }
        let per_output: usize = tensor.shape.iter().skip(1).product();
        let value = |u: f64| {
            let value = if tensor.shape.len() == 5 {
                (2.0 * u - 1.0) * 1.7 / (per_output as f64).sqrt()
            } else if tensor.name.ends_with("bn1.weight") || tensor.name.ends_with("running_var") {
                0.75 + 0.5 * u
            } else if tensor.name.ends_with("activation.weight") {
                0.1 + 0.2 * u
            } else {
                0.2 * u - 0.1
            };
            value as f32
        };
        let values: Vec<f32> = hash(k, tensor.elements()).into_iter().map(value).collect();
        state.tensors.push(NamedTensor::from_f32(&tensor.name, &tensor.shape, &values).unwrap());
    }
    state
}

/// The three recorded numbers of a tensor.
pub fn projections(k: usize, values: &[f32]) -> [f64; 3] {
    let dot = |hash: Vec<f64>| values.iter().zip(hash).map(|(&v, u)| f64::from(v) * (u - 0.5)).sum();
    let norm = values.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt();
    [norm, dot(hash(2000 + k, values.len())), dot(hash(3000 + k, values.len()))]
}

/// Compares every gradient, to 1e-4 of its norm, and the running statistics, to 1e-5, with the recorded numbers.
pub fn assert_gradients_and_statistics(
    network: &impl Network,
    gradients: &Gradients,
    wanted: &Value,
    name: &str,
) {
    let places = network.parameters().places().to_vec();
    assert_eq!(places.len(), wanted["gradients"].as_object().unwrap().len());
    let recorded_norm = |name: &str| wanted["gradients"][name][0].as_f64().unwrap();
    for (k, place) in places.iter().enumerate() {
        let gradient = gradients.of(ParameterId(k)).unwrap();
        let given = projections(k, gradient.as_slice());
        // The gradient of a bias before batch norm is 0 but for rounding: measure it against the
        // weight's beside it.
        let scale = match place.name.strip_suffix("conv1.bias") {
            Some(prefix) => recorded_norm(&format!("{prefix}conv1.weight")),
            None => recorded_norm(&place.name),
        };
        for (given, wanted) in given.iter().zip(wanted["gradients"][&place.name].as_array().unwrap()) {
            let error = (given - wanted.as_f64().unwrap()).abs() / scale;
            assert!(error < 1e-4, "{name}: gradient of {} is off by {error:.2e}", place.name);
        }
    }
    let state = network.state(Statistics::Running).unwrap();
    for (k, tensor) in state.tensors.iter().enumerate().filter(|(_, t)| t.name.contains("running")) {
        let given = projections(k, &tensor.to_f32());
        let wanted = wanted["buffers"][&tensor.name].as_array().unwrap();
        for (given, wanted) in given.iter().zip(wanted) {
            let (error, norm) = ((given - wanted.as_f64().unwrap()).abs(), wanted.as_f64().unwrap().abs());
            assert!(error < 1e-5 * norm.max(1.0), "{name}: {} is off by {error:.2e}", tensor.name);
        }
    }
}
