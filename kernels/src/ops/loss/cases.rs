//! What tests and benches run.

use super::Loss;
use crate::case::{Case, Input, Runnable};
use genesis_tensor::Shape;

fn inputs(loss: Loss, shape: Shape) -> Vec<Input> {
    let target = Input::uniform(shape, 0.0, 1.0).fixed();
    let classes = Input::labels(shape, 2);
    let probability = Input::uniform(shape, 0.05, 0.95);
    match loss {
        Loss::Mse | Loss::SigmoidMse => vec![Input::normal(shape), target],
        Loss::MaskedMse => vec![Input::normal(shape), target, classes],
        Loss::Bce => vec![probability, target],
        Loss::BceWithLogits => vec![Input::normal(shape), classes],
        Loss::CrossEntropy => {
            let (last, rows) = shape.dims().split_last().unwrap_or((&1, &[]));
            vec![Input::normal(shape), Input::labels(Shape::new(rows), *last)]
        }
        Loss::Dice { .. } => vec![probability, classes],
    }
}

pub fn all() -> Vec<Box<dyn Runnable>> {
    let losses = [
        Loss::Mse,
        Loss::MaskedMse,
        Loss::Bce,
        Loss::BceWithLogits,
        Loss::CrossEntropy,
        Loss::Dice { smooth: 1.0 },
        Loss::SigmoidMse,
    ];
    // The last two reach over several pieces, with a tail.
    let shapes: [&[usize]; 7] =
        [&[1], &[1, 1], &[3, 5], &[2, 3, 5, 7, 1], &[2, 3, 3, 4, 17], &[2, 17, 16, 33, 1], &[7_001, 3]];
    let mut cases = Vec::new();
    for loss in losses {
        for shape in shapes {
            cases.push(Case::new(format!("{loss:?} {shape:?}"), loss, inputs(loss, Shape::new(shape))));
        }
    }
    let logits = Input::uniform([4, 5], -30.0, 30.0);
    let labels = Input::labels([4], 5);
    cases.push(Case::new("CrossEntropy, large logits", Loss::CrossEntropy, vec![logits.clone(), labels]));
    let target = Input::labels([4, 5], 2);
    cases.push(Case::new("BceWithLogits, large logits", Loss::BceWithLogits, vec![logits, target]));
    let mixed = cases.clone().into_iter().map(|case| case.mixed(1));
    cases.clone().into_iter().chain(mixed).map(|case| Box::new(case) as Box<dyn Runnable>).collect()
}
