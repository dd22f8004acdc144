//! What tests and benches run.

use super::Activation;
use crate::case::{Case, Input, Runnable};

pub fn all() -> Vec<Box<dyn Runnable>> {
    let mut cases = Vec::new();
    for activation in [Activation::Relu, Activation::Elu, Activation::Sigmoid] {
        for shape in [[1, 1, 1, 1, 1], [2, 3, 4, 5, 7], [1, 8, 8, 16, 64]] {
            let label = format!("{activation:?} {shape:?}");
            cases.push(Case::new(label, activation, vec![Input::normal(shape)]));
        }
    }
    for (shape, slopes) in [([3, 5, 11], 1), ([3, 5, 11], 11), ([9, 40, 64], 64), ([7, 300, 17], 17)] {
        let inputs = vec![Input::normal(shape), Input::uniform([slopes], 0.1, 0.4)];
        cases.push(Case::new(format!("Prelu {shape:?}, {slopes} slopes"), Activation::Prelu, inputs));
    }
    let mixed = cases.clone().into_iter().map(|case| case.mixed(1));
    cases.clone().into_iter().chain(mixed).map(|case| Box::new(case) as Box<dyn Runnable>).collect()
}
