//! What is timed: every operation of `OPS` on the layers that the network, or a task built on it, has
//! for it. The convolutions come from `kernels/shapes/genesis.txt`; the rest follows from them.

use super::scale::Scale;
use super::timed::{OptimizerPass, Role, Timed, Workload};
use crate::Result;
use genesis_kernels::op::Operation;
use genesis_kernels::ops::activation::Activation;
use genesis_kernels::ops::batch_norm::{BatchNorm, Fused, Statistics};
use genesis_kernels::ops::concat::Concat;
use genesis_kernels::ops::conv3d::shapes::{GENESIS, Kind, Layer, parse};
use genesis_kernels::ops::global_average_pool::GlobalAveragePool;
use genesis_kernels::ops::linear::Linear;
use genesis_kernels::ops::loss::Loss;
use genesis_kernels::ops::max_pool3d::MaxPool3d;
use genesis_kernels::ops::optimizer::{Moments, Optimizer};
use genesis_model::{UNet3d, UNetConfig};
use genesis_tensor::Shape;

/// The scale of `kernels/shapes/genesis.txt`.
const WRITTEN: Scale = Scale { batch: 1, extents: [64, 64, 32], width: 32 };

/// Features of the classifier's hidden layer in the original's target tasks.
const HIDDEN: usize = 1024;

/// Everything that is timed at this scale, in the order of `OPS`.
///
/// # Errors
/// None in practice: the shapes file is part of the program, and its scale divides.
pub fn all(scale: &Scale) -> Result<Vec<Box<dyn Timed>>> {
    let layers: Vec<Layer> = parse(GENESIS)?.into_iter().map(|layer| scaled(layer, scale)).collect();
    let mut list: Vec<Box<dyn Timed>> = Vec::new();
    activations(&mut list, &layers, scale.batch);
    batch_norms(&mut list, &layers, scale.batch);
    for layer in &layers {
        if let (Kind::Conv(_), [_, _]) = (layer.operation, &layer.channels[..]) {
            let inputs = activations_of(layer, scale.batch);
            push(&mut list, &layer.name, Concat, inputs, false);
        }
    }
    convolutions(&mut list, &layers, scale.batch);
    let deepest = result(deepest(&layers), scale.batch);
    push(&mut list, "deepest", GlobalAveragePool, vec![(deepest, Role::Activation)], false);
    let features = deepest.channels();
    for (name, inputs, outputs) in [("classifier.0", features, HIDDEN), ("classifier.1", HIDDEN, 1)] {
        let inputs = vec![
            (Shape::from([scale.batch, inputs]), Role::Activation),
            (Shape::from([outputs, inputs]), Role::Parameter),
            (Shape::from([outputs]), Role::Parameter),
        ];
        push(&mut list, name, Linear, inputs, true);
    }
    let [d, h, w] = scale.extents;
    let cube = Shape::from([scale.batch, d, h, w, 1]);
    let losses = [
        ("sigmoid + MSE", Loss::SigmoidMse),
        ("MSE", Loss::Mse),
        ("Dice", Loss::Dice { smooth: 1.0 }),
        ("BCE of logits", Loss::BceWithLogits),
    ];
    for (name, loss) in losses {
        push(&mut list, name, loss, vec![(cube, Role::Activation), (cube, Role::Constant)], false);
    }
    for layer in layers.iter().filter(|layer| layer.name.starts_with("down_") && is_last(layer)) {
        if layer.name != self::deepest(&layers).name {
            let name = layer.name.split('.').next().unwrap_or_default();
            let x = result(layer, scale.batch);
            push(&mut list, &format!("{name}.pool"), MaxPool3d::HALVE, vec![(x, Role::Activation)], false);
        }
    }
    let network = UNet3d::new(UNetConfig { width: scale.width, ..UNetConfig::default() })?;
    let parameters = network.parameters().flat().elements();
    let optimizers = [
        ("SGD", Optimizer::sgd(0.0)),
        ("SGD, momentum", Optimizer::sgd(0.9)),
        ("Adam", Optimizer::Adam(Moments::default())),
    ];
    for (name, optimizer) in optimizers {
        list.push(Box::new(OptimizerPass { layer: name.into(), optimizer, parameters }));
    }
    Ok(list)
}

/// A layer of the file at another scale: extents and channels keep their ratios; the one channel of the
/// network's input and output stays one.
fn scaled(layer: Layer, scale: &Scale) -> Layer {
    let channels = |count: usize| if count == 1 { 1 } else { count * scale.width / WRITTEN.width };
    let mut extents = layer.extents;
    for axis in 0..3 {
        extents[axis] = extents[axis] * scale.extents[axis] / WRITTEN.extents[axis];
    }
    Layer {
        channels: layer.channels.iter().map(|&count| channels(count)).collect(),
        outputs: channels(layer.outputs),
        extents,
        ..layer
    }
}

fn push<O: Operation>(
    list: &mut Vec<Box<dyn Timed>>,
    layer: &str,
    operation: O,
    inputs: Vec<(Shape, Role)>,
    products: bool,
) {
    list.push(Box::new(Workload { layer: layer.to_string(), operation, inputs, products }));
}

fn activations_of(layer: &Layer, batch: usize) -> Vec<(Shape, Role)> {
    layer.inputs(batch)[..layer.channels.len()].iter().map(|&shape| (shape, Role::Activation)).collect()
}

/// The output of a convolution that keeps the extents.
fn result(layer: &Layer, batch: usize) -> Shape {
    let [d, h, w] = layer.extents;
    Shape::from([batch, d, h, w, layer.outputs])
}

fn is_last(layer: &Layer) -> bool {
    layer.name.ends_with(".ops.1")
}

fn deepest(layers: &[Layer]) -> &Layer {
    let voxels = |layer: &&Layer| layer.extents.iter().product::<usize>();
    // The last of equals: the encoder's end.
    layers.iter().filter(|layer| is_last(layer)).rev().min_by_key(voxels).unwrap_or(&layers[0])
}

fn convolutions(list: &mut Vec<Box<dyn Timed>>, layers: &[Layer], batch: usize) {
    let arguments = |layer: &Layer| -> Vec<(Shape, Role)> {
        let count = layer.channels.len();
        // The network's input needs no gradient.
        let role = if layer.channels == [1] { Role::Data } else { Role::Activation };
        let inputs = layer.inputs(batch).into_iter().enumerate();
        inputs.map(|(i, shape)| (shape, if i < count { role } else { Role::Parameter })).collect()
    };
    for layer in layers {
        if let Kind::Conv(conv) = layer.operation {
            push(list, &layer.name, conv, arguments(layer), true);
        }
    }
    for layer in layers {
        if let Kind::Transposed(conv) = layer.operation {
            push(list, &layer.name, conv, arguments(layer), true);
        }
    }
}

/// On the largest activation of the network.
fn activations(list: &mut Vec<Box<dyn Timed>>, layers: &[Layer], batch: usize) {
    let largest = layers.iter().filter(|layer| is_last(layer)).max_by_key(|l| result(l, batch).elements());
    let x = largest.map_or(Shape::from([batch, 1]), |layer| result(layer, batch));
    let activations = [
        ("ReLU", Activation::Relu),
        ("PReLU", Activation::Prelu),
        ("ELU", Activation::Elu),
        ("sigmoid", Activation::Sigmoid),
    ];
    for (name, activation) in activations {
        let mut inputs = vec![(x, Role::Activation)];
        if activation == Activation::Prelu {
            inputs.push((Shape::from([x.channels()]), Role::Parameter));
        }
        push(list, name, activation, inputs, false);
    }
}

/// Once for every shape in the network, and with running statistics on the largest.
fn batch_norms(list: &mut Vec<Box<dyn Timed>>, layers: &[Layer], batch: usize) {
    let relu = |statistics| BatchNorm { epsilon: 1e-5, statistics, activation: Fused::Relu };
    let mut seen: Vec<Shape> = Vec::new();
    for layer in layers.iter().filter(|layer| layer.name.contains(".ops.")) {
        let x = result(layer, batch);
        if seen.contains(&x) {
            continue;
        }
        seen.push(x);
        let channels = Shape::from([x.channels()]);
        let inputs = vec![(x, Role::Activation), (channels, Role::Parameter), (channels, Role::Parameter)];
        push(list, &layer.name, relu(Statistics::Batch), inputs, false);
    }
    if let Some(&x) = seen.iter().max_by_key(|shape| shape.elements()) {
        let channels = Shape::from([x.channels()]);
        let mut inputs = vec![(x, Role::Activation)];
        inputs.extend([(channels, Role::Parameter); 2]);
        inputs.extend([(channels, Role::Constant); 2]);
        push(list, "running statistics", relu(Statistics::Running), inputs, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use genesis_kernels::OPS;

    #[test]
    fn every_operation_has_something_to_time() {
        let list = all(&Scale::new([1, 16, 16, 8], 2).unwrap()).unwrap();
        for entry in OPS {
            assert!(list.iter().any(|timed| timed.operation() == entry.name), "{} is not timed", entry.name);
        }
        let order: Vec<usize> = list
            .iter()
            .map(|timed| OPS.iter().position(|entry| entry.name == timed.operation()).unwrap())
            .collect();
        assert!(order.is_sorted(), "in the order of OPS");
    }

    #[test]
    fn layers_keep_their_ratios_at_another_scale() {
        let layers = parse(GENESIS).unwrap();
        let scale = Scale::new([1, 32, 64, 64], 8).unwrap();
        let layer = layers.iter().find(|layer| layer.name == "up_tr256.ops.0").unwrap();
        let small = scaled(layer.clone(), &scale);
        assert_eq!((small.channels, small.outputs, small.extents), (vec![128, 64], 64, [8, 16, 16]));
        let first = scaled(layers[0].clone(), &scale);
        assert_eq!((first.channels, first.outputs), (vec![1], 8));
    }

    /// The parameters of the file's convolutions are the network's.
    #[test]
    fn the_shapes_file_is_the_network() {
        let network = UNet3d::new(UNetConfig::default()).unwrap();
        for layer in parse(GENESIS).unwrap() {
            let shapes = layer.inputs(1);
            let module = format!("{}.", layer.name);
            let place = network.parameters().places().iter().find(|place| {
                place.name.starts_with(&module) && place.name.ends_with("conv1.weight")
                    || place.name == format!("{module}weight")
            });
            let place = place.unwrap_or_else(|| panic!("{} is not in the network", layer.name));
            assert_eq!(place.shape, shapes[layer.channels.len()], "{}", layer.name);
        }
    }
}
