//! What tests and benches run.

use super::{BatchNorm, Fused, Statistics};
use crate::case::{Case, Input, Runnable};

fn inputs(shape: [usize; 5], statistics: Statistics) -> Vec<Input> {
    let channels = [shape[4]];
    let mut inputs =
        vec![Input::normal(shape), Input::uniform(channels, 0.5, 1.5), Input::uniform(channels, -0.5, 0.5)];
    if statistics == Statistics::Running {
        inputs.push(Input::uniform(channels, -0.5, 0.5).fixed());
        inputs.push(Input::uniform(channels, 0.5, 2.0).fixed());
    }
    inputs
}

pub fn all() -> Vec<Box<dyn Runnable>> {
    let mut cases = Vec::new();
    let shapes = [
        [1, 1, 1, 3, 1],
        [1, 4, 3, 7, 1],
        [2, 3, 5, 7, 3],
        [1, 5, 4, 3, 8],
        [3, 3, 3, 3, 17],
        [1, 8, 8, 16, 64],
        [2, 2, 2, 2, 130],
        // Several pieces, the last one short; more channels than a row of lanes holds.
        [2, 17, 16, 33, 3],
        [1, 3, 3, 5, 1_031],
    ];
    for statistics in [Statistics::Batch, Statistics::Running] {
        for activation in [Fused::None, Fused::Relu, Fused::Elu] {
            for shape in shapes {
                let op = BatchNorm { epsilon: 1e-5, statistics, activation };
                let label = format!("{statistics:?} {activation:?} {shape:?}");
                cases.push(Case::boxed(label, op, inputs(shape, statistics)));
            }
        }
    }
    let op = BatchNorm { epsilon: 1e-5, statistics: Statistics::Batch, activation: Fused::Elu };
    let mut far = inputs([2, 9, 8, 8, 5], Statistics::Batch);
    far[0] = Input::uniform(far[0].shape, 998.0, 1_002.0);
    cases.push(Case::boxed("mean 1000", op, far));
    cases
}
