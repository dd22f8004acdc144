//! What tests and benches run.

use super::{Moments, Optimizer, OptimizerStep};
use crate::case::{Case, Input, Runnable};

pub fn all() -> Vec<Box<dyn Runnable>> {
    let sgd = |momentum, dampening, weight_decay, nesterov| Optimizer::Sgd {
        momentum,
        dampening,
        weight_decay,
        nesterov,
    };
    let decay = Moments { weight_decay: 0.1, ..Moments::default() };
    let optimizers = [
        ("SGD", sgd(0.0, 0.0, 0.0, false)),
        ("SGD, decay", sgd(0.0, 0.0, 0.1, false)),
        ("SGD, momentum", sgd(0.9, 0.0, 0.0, false)),
        ("SGD, damped, decay", sgd(0.9, 0.3, 0.1, false)),
        ("SGD, Nesterov, decay", sgd(0.9, 0.0, 0.1, true)),
        ("Adam", Optimizer::Adam(Moments::default())),
        ("Adam, decay", Optimizer::Adam(decay)),
        ("AdamW, decay", Optimizer::AdamW(decay)),
    ];
    let mut cases: Vec<Box<dyn Runnable>> = Vec::new();
    for (name, optimizer) in optimizers {
        for (step, length) in [(1, 1), (1, 17), (2, 1_000), (1_000, 3), (5, 40_001)] {
            let mut inputs = vec![Input::normal([length]), Input::normal([length])];
            // Squares are never negative; any state will do for step > 1.
            inputs.resize(2 + optimizer.state_count(), Input::uniform([length], 0.0, 1.0));
            let op = OptimizerStep { optimizer, step, rate: 0.05 };
            let mut case = Case::new(format!("{name}, step {step}, {length} values"), op, inputs);
            case.forward_only = true;
            cases.push(Box::new(case));
        }
    }
    cases
}
