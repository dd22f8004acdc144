//! The classifier against numbers recorded from PyTorch by `oracle/record_classifier.py`: logits with running and with
//! batch statistics, loss, every gradient, running statistics, for one output and for three.

use super::recorded::{assert_gradients_and_statistics, filled, hash};
use genesis_autograd::{Tape, Var};
use genesis_kernels::Context;
use genesis_kernels::ops::loss::Loss;
use genesis_model::{Classifier3d, ClassifierConfig, Statistics};
use genesis_tensor::Tensor;
use serde_json::Value;

fn assert_logits(given: &Tensor, wanted: &Value, what: &str) {
    let wanted = wanted.as_array().unwrap();
    assert_eq!(given.as_slice().len(), wanted.len());
    for (given, wanted) in given.as_slice().iter().zip(wanted) {
        let difference = (f64::from(*given) - wanted.as_f64().unwrap()).abs();
        assert!(difference < 1e-5, "{what}: {given} instead of {wanted}");
    }
}

#[test]
fn logits_loss_gradients_and_statistics_are_pytorchs() {
    let record: Value = serde_json::from_str(include_str!("../../fixtures/classifier.json")).unwrap();
    let number = |name: &str| record[name].as_u64().unwrap() as usize;
    let size: Vec<usize> =
        record["size"].as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as usize).collect();
    let shape = [number("batch"), size[0], size[1], size[2], 1];
    let x: Vec<f32> = hash(1000, shape.iter().product()).into_iter().map(|value| value as f32).collect();
    let x = Tensor::from_slice(shape, &x).unwrap();
    let cx = Context::new(2);
    for (name, loss) in [("1", Loss::BceWithLogits), ("3", Loss::CrossEntropy)] {
        let wanted = &record["classes"][name];
        let classes: usize = name.parse().unwrap();
        let config = ClassifierConfig { width: number("width"), classes, ..ClassifierConfig::default() };
        let mut network = Classifier3d::new(config).unwrap();
        let state = filled(&network);
        assert!(network.load(&state).unwrap().is_empty());
        for (statistics, key) in [(Statistics::Running, "running"), (Statistics::Batch, "batch")] {
            let logits =
                network.forward(&cx, &mut Tape::inference(), Var::constant(x.clone()), statistics).unwrap();
            assert_logits(logits.tensor(), &wanted[key], &format!("{name} output(s), {key} statistics"));
        }
        let labels: Vec<f32> =
            wanted["labels"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect();
        let labels = match classes {
            1 => Tensor::from_slice([labels.len(), 1], &labels).unwrap(),
            _ => Tensor::from_slice([labels.len()], &labels).unwrap(),
        };
        let mut gradients = network.zero_gradients().unwrap();
        gradients.clear(&cx).unwrap();
        let mut tape = Tape::training();
        let input = Var::constant(x.clone());
        let logits = network.forward(&cx, &mut tape, input, Statistics::BatchAndUpdate).unwrap();
        let value = tape.apply(&cx, loss, &[&logits, &Var::constant(labels)]).unwrap();
        let given = f64::from(value.tensor().as_slice()[0]);
        let expected = wanted["loss"].as_f64().unwrap();
        assert!((given - expected).abs() < 1e-5 * expected, "{name}: loss {given}, PyTorch {expected}");
        drop(logits);
        tape.backward(&cx, value, Tensor::full([1], 1.0).unwrap(), &mut gradients).unwrap();
        assert_gradients_and_statistics(&network, &gradients, wanted, &format!("{name} output(s)"));
    }
}
