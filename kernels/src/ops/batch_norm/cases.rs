//! What tests and benches run.

use super::{BatchNorm, Fused, Statistics};
use crate::case::{Case, Input, Runnable};

fn inputs(shape: [usize; 5], statistics: Statistics) -> Vec<Input> {
    let channels = [shape[4]];
    let mut inputs =
        vec![Input::normal(shape), Input::uniform(channels, 0.5, 1.5), Input::uniform(channels, -0.5, 0.5)];
    match statistics {
        Statistics::Batch => {}
        Statistics::Running => {
            inputs.push(Input::uniform(channels, -0.5, 0.5).fixed());
            inputs.push(Input::uniform(channels, 0.5, 2.0).fixed());
        }
        Statistics::Sums => inputs.push(Input::moments([2, shape[4]])),
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
    for statistics in [Statistics::Batch, Statistics::Running, Statistics::Sums] {
        for activation in [Fused::None, Fused::Relu, Fused::Elu] {
            for shape in shapes {
                let op = BatchNorm { epsilon: 1e-5, statistics, activation };
                let label = format!("{statistics:?} {activation:?} {shape:?}");
                cases.push(Case::new(label, op, inputs(shape, statistics)));
            }
        }
    }
    // A mean of 1000 in bf16 would have steps of 8: the far case of mixed precision is nearer.
    for (label, statistics, low, high) in
        [("mean 1000", Statistics::Batch, 998.0, 1_002.0), ("mean 10", Statistics::Sums, 8.0, 12.0)]
    {
        let op = BatchNorm { epsilon: 1e-5, statistics, activation: Fused::Elu };
        let mut far = inputs([2, 9, 8, 8, 5], statistics);
        far[0] = Input::uniform(far[0].shape, low, high);
        cases.push(Case::new(label, op, far));
    }
    let mixed = cases.clone().into_iter().filter(|case| case.label != "mean 1000").map(|case| case.mixed(1));
    cases.clone().into_iter().chain(mixed).map(|case| Box::new(case) as Box<dyn Runnable>).collect()
}
