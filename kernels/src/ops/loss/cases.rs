//! What tests and benches run.

use super::Loss;
use crate::case::{Case, Input, Runnable};
use genesis_tensor::Shape;

fn inputs(loss: Loss, shape: Shape) -> Vec<Input> {
    let target = Input::uniform(shape, 0.0, 1.0).fixed();
    let classes = Input::labels(shape, 2);
    let probability = Input::uniform(shape, 0.05, 0.95);
    if loss.is_of_classes() {
        let (last, rows) = shape.dims().split_last().unwrap_or((&1, &[]));
        return vec![Input::normal(shape), Input::labels(Shape::new(rows), *last)];
    }
    match loss {
        Loss::Mse | Loss::SigmoidMse => vec![Input::normal(shape), target],
        Loss::MaskedMse => vec![Input::normal(shape), target, classes],
        Loss::Bce => vec![probability, target],
        Loss::Dice { .. } => vec![probability, classes],
        _ => vec![Input::normal(shape), classes],
    }
}

/// A weight for each class.
fn weighted(case: Case<Loss>) -> Case<Loss> {
    let mut inputs = case.inputs;
    inputs.push(Input::uniform([inputs[0].shape.channels()], 0.2, 3.0).fixed());
    Case { label: format!("{}, weighted", case.label), inputs, ..case }
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
        Loss::WeightedBceWithLogits { positive: 3.5 },
        Loss::SigmoidDice { smooth: 1.0 },
        Loss::SigmoidDiceBce { smooth: 0.5 },
        Loss::SigmoidFocal { alpha: 0.25, gamma: 2.0 },
        Loss::SigmoidFocal { alpha: 0.6, gamma: 0.5 },
        Loss::SoftmaxDice { smooth: 1.0, background: true },
        Loss::SoftmaxDice { smooth: 0.5, background: false },
        Loss::SoftmaxDiceCrossEntropy { smooth: 1.0, background: true },
        Loss::SoftmaxDiceCrossEntropy { smooth: 1.0, background: false },
        Loss::SoftmaxFocal { gamma: 2.0 },
        Loss::SoftmaxFocal { gamma: 0.0 },
        Loss::SoftmaxFocal { gamma: 1.5 },
    ];
    // The last two reach over several pieces, with a tail.
    let shapes: [&[usize]; 7] =
        [&[1], &[1, 1], &[3, 5], &[2, 3, 5, 7, 1], &[2, 3, 3, 4, 17], &[2, 17, 16, 33, 1], &[7_001, 3]];
    let mut cases = Vec::new();
    for loss in losses {
        for shape in shapes {
            let least = super::softmax::Terms::of(loss).map_or(1, |terms| terms.least_classes());
            if shape[shape.len() - 1] < least {
                continue;
            }
            let case = Case::new(format!("{loss:?} {shape:?}"), loss, inputs(loss, Shape::new(shape)));
            if super::softmax::Terms::of(loss).is_some_and(|terms| terms.entropy) {
                cases.push(weighted(case.clone()));
            }
            cases.push(case);
        }
    }
    let large = Input::uniform([4, 5], -30.0, 30.0);
    for loss in [
        Loss::CrossEntropy,
        Loss::SoftmaxDiceCrossEntropy { smooth: 1.0, background: false },
        Loss::SoftmaxFocal { gamma: 2.0 },
        Loss::BceWithLogits,
        Loss::WeightedBceWithLogits { positive: 0.5 },
        Loss::SigmoidDiceBce { smooth: 1.0 },
        Loss::SigmoidFocal { alpha: 0.25, gamma: 2.0 },
    ] {
        let mut inputs = inputs(loss, large.shape);
        inputs[0] = large.clone();
        cases.push(Case::new(format!("{loss:?}, large logits"), loss, inputs));
    }
    let mixed = cases.clone().into_iter().map(|case| case.mixed(1));
    cases.clone().into_iter().chain(mixed).map(|case| Box::new(case) as Box<dyn Runnable>).collect()
}
