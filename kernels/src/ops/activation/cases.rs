//! What tests and benches run.

use super::Activation;
use crate::case::{Case, Input, Runnable};

pub fn all() -> Vec<Box<dyn Runnable>> {
    let mut cases = Vec::new();
    for activation in [Activation::Relu, Activation::Elu, Activation::Sigmoid] {
        for shape in [[1, 1, 1, 1, 1], [2, 3, 4, 5, 7], [1, 8, 8, 16, 64]] {
            cases.push(Case::boxed(
                format!("{activation:?} {shape:?}"),
                activation,
                vec![Input::normal(shape)],
            ));
        }
    }
    let shapes = [vec![Input::normal([3, 5, 11]), Input::uniform([1], 0.1, 0.4)]];
    cases.extend(shapes.map(|inputs| Case::boxed("Prelu [3, 5, 11]", Activation::Prelu, inputs)));
    cases
}
