//! Tests of the tape with real operations, and with one that watches what it is given.

use super::*;
use crate::Parameters;
use genesis_kernels::Array;
use genesis_kernels::op::Cost;
use genesis_kernels::ops::activation::Activation;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// y = relu(a) is used twice; dL/da must be the sum of both paths.
#[test]
fn gradients_of_a_value_used_twice_add_up() {
    let cx = Context::new(1);
    let parameters = Parameters::new(&[("a".into(), Shape::new(&[3]))]).unwrap();
    let mut gradients = parameters.zero_gradients().unwrap();
    let mut tape = Tape::training();
    let a = tape.parameter(ParameterId(0), Tensor::from_slice([3], &[-1.0, 0.5, 2.0]).unwrap());
    let y = tape.apply(&cx, Activation::Relu, &[&a]).unwrap();
    let twice = tape.apply(&cx, Activation::Relu, &[&y]).unwrap();
    let slope = Var::constant(Tensor::full([1], 0.25).unwrap());
    let z = tape.apply(&cx, Activation::Prelu, &[&twice, &slope]).unwrap();
    drop((y, twice));
    tape.backward(&cx, z, Tensor::from_slice([3], &[1.0, 2.0, 3.0]).unwrap(), &mut gradients).unwrap();
    assert_eq!(gradients.of(ParameterId(0)).unwrap().as_slice(), [0.0, 2.0, 3.0]);

    let mut tape = Tape::training();
    let a = tape.parameter(ParameterId(0), Tensor::from_slice([3], &[-1.0, 0.5, 2.0]).unwrap());
    let again = tape.parameter(ParameterId(0), a.tensor().clone());
    let y = tape.apply(&cx, Activation::Relu, &[&a]).unwrap();
    let slope = tape.apply(&cx, Activation::Relu, &[&again]).unwrap();
    assert_eq!(slope.shape(), y.shape());
    tape.backward(&cx, y, Tensor::full([3], 1.0).unwrap(), &mut gradients).unwrap();
    assert_eq!(gradients.of(ParameterId(0)).unwrap().as_slice(), [0.0, 3.0, 4.0]);
}

#[test]
fn inference_records_nothing() {
    let cx = Context::new(1);
    let mut tape = Tape::inference();
    let a = tape.parameter(ParameterId(0), Tensor::full([4], 2.0).unwrap());
    let y = tape.apply(&cx, Activation::Sigmoid, &[&a]).unwrap();
    assert!(y.node.is_none() && tape.entries.is_empty());
}

#[test]
fn a_profile_names_what_ran_in_both_directions() {
    let cx = Context::new(1);
    let parameters = Parameters::new(&[("a".into(), Shape::new(&[4]))]).unwrap();
    let mut gradients = parameters.zero_gradients().unwrap();
    let mut tape = Tape::training().with_profile();
    let a = tape.parameter(ParameterId(0), Tensor::full([4], 2.0).unwrap());
    let y = tape.apply(&cx, Activation::Sigmoid, &[&a]).unwrap();
    tape.backward(&cx, y, Tensor::full([4], 1.0).unwrap(), &mut gradients).unwrap();
    let profile = tape.take_profile();
    assert_eq!(
        profile.iter().map(|e| (e.name, e.backward)).collect::<Vec<_>>(),
        [("activation", false), ("activation", true)]
    );
}

/// y = 2x, which keeps its input, can make its output again, and counts how often it did.
#[derive(Clone)]
struct Twice {
    again: Arc<AtomicUsize>,
}

impl Operation for Twice {
    const NAME: &'static str = "twice";
    type Saved = Vec<Tensor>;

    fn infer(&self, inputs: &[Shape]) -> genesis_kernels::Result<Shape> {
        Ok(inputs[0])
    }

    fn cost(&self, _: &[Shape]) -> Cost {
        Cost::default()
    }

    fn forward(&self, _: &Context, inputs: &[&Tensor]) -> genesis_kernels::Result<(Tensor, Vec<Tensor>)> {
        let values: Vec<f32> = inputs[0].as_slice().iter().map(|v| 2.0 * v).collect();
        Ok((Tensor::from_slice(inputs[0].shape(), &values)?, vec![inputs[0].clone()]))
    }

    fn backward(
        &self,
        _: &Context,
        saved: Vec<Tensor>,
        mut dy: Tensor,
        _: &[bool],
    ) -> genesis_kernels::Result<Vec<Option<Tensor>>> {
        assert!(dy.is_unique(), "a gradient that an operation cannot work on in place");
        assert_eq!(saved[0].shape(), dy.shape(), "what was taken away is back");
        dy.as_mut_slice()?.iter_mut().for_each(|v| *v *= 2.0);
        Ok(vec![Some(dy)])
    }

    fn recomputes(&self) -> bool {
        true
    }

    fn recompute(&self, cx: &Context, saved: &Vec<Tensor>) -> genesis_kernels::Result<Tensor> {
        self.again.fetch_add(1, Ordering::Relaxed);
        Ok(self.forward(cx, &[&saved[0]])?.0)
    }

    fn reference(&self, _: &[Array]) -> Array {
        unreachable!("no case runs this operation")
    }

    fn reference_backward(&self, _: &[Array], _: &Array) -> Vec<Option<Array>> {
        unreachable!("no case runs this operation")
    }
}

/// z = sigmoid(2·2·a) as one chain, or with the doublings in a segment; the gradient of a, and how
/// often a doubling ran again.
fn chain(recompute: bool, segment: bool) -> (Vec<f32>, usize) {
    let cx = Context::new(1);
    let again = Arc::new(AtomicUsize::new(0));
    let parameters = Parameters::new(&[("a".into(), Shape::new(&[3]))]).unwrap();
    let mut gradients = parameters.zero_gradients().unwrap();
    gradients.restart();
    let mut tape = Tape::training().recomputing(recompute).with_profile();
    let a = tape.parameter(ParameterId(0), Tensor::from_slice([3], &[-1.0, 0.5, 0.25]).unwrap());
    let twice = Twice { again: Arc::clone(&again) };
    let double = move |cx: &Context, tape: &mut Tape, inputs: Vec<Var>| {
        let once = tape.apply(cx, twice.clone(), &[&inputs[0]])?;
        drop(inputs);
        tape.apply(cx, twice.clone(), &[&once])
    };
    let y = if segment {
        let y = tape.unrecorded(|tape| double(&cx, tape, vec![a.clone()])).unwrap();
        tape.segment(&[&a], y, Box::new(double)).unwrap()
    } else {
        double(&cx, &mut tape, vec![a.clone()]).unwrap()
    };
    drop(a);
    let z = tape.apply(&cx, Activation::Relu, &[&y]).unwrap();
    drop(y);
    tape.backward(&cx, z, Tensor::full([3], 1.0).unwrap(), &mut gradients).unwrap();
    let profile = tape.take_profile();
    assert_eq!(profile.iter().filter(|e| e.backward).count(), 3);
    assert!(segment || profile.iter().filter(|e| e.recomputed).count() == again.load(Ordering::Relaxed));
    let gradient = gradients.of(ParameterId(0)).unwrap().as_slice().to_vec();
    (gradient, again.load(Ordering::Relaxed))
}

#[test]
fn what_is_recomputed_and_what_runs_again_gives_the_same_gradients() {
    let (wanted, none) = chain(false, false);
    assert_eq!((wanted.as_slice(), none), ([0.0, 4.0, 4.0].as_slice(), 0));
    // The second doubling reads the first one's output. (ReLU keeps its own output.)
    assert_eq!(chain(true, false), (wanted.clone(), 1));
    assert_eq!(chain(false, true), (wanted.clone(), 0));
    assert_eq!(chain(true, true), (wanted, 1));
}
