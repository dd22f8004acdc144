//! What tests and benches run.

use super::Linear;
use crate::case::{Case, Input, Runnable};

pub fn all() -> Vec<Box<dyn Runnable>> {
    let few = [[1, 1, 1], [1, 3, 2], [2, 17, 5], [3, 8, 8], [1, 64, 3], [2, 40, 33], [3, 16, 1], [1, 5, 130]];
    let many = [[6, 33, 64], [5, 200, 3], [3, 512, 1_024], [7, 131, 257]];
    few.into_iter()
        .chain(many)
        .map(|[samples, features, outputs]| {
            let inputs = vec![
                Input::normal([samples, features]),
                Input::normal([outputs, features]),
                Input::normal([outputs]),
            ];
            Case::new(format!("{samples} x {features} to {outputs}"), Linear, inputs)
        })
        .flat_map(|case| [case.clone(), case.mixed(1)])
        .map(|case| Box::new(case) as Box<dyn Runnable>)
        .collect()
}
