//! What tests and benches run.

use super::GlobalAveragePool;
use crate::case::{Case, Input, Runnable};

pub fn all() -> Vec<Box<dyn Runnable>> {
    let shapes = [
        [1, 1, 1, 1, 1],
        [1, 3, 5, 2, 3],
        [3, 4, 3, 3, 17],
        [2, 8, 8, 4, 512],
        [2, 31, 33, 35, 1],
        [3, 1, 1, 1, 8],
        [1, 2, 2, 2, 33],
        [3, 5, 3, 7, 16],
        [1, 16, 16, 8, 4],
        [2, 3, 3, 3, 40],
        [1, 7, 1, 1, 5],
        [3, 2, 9, 4, 64],
    ];
    let case = |shape| Case::new(format!("{shape:?}"), GlobalAveragePool, vec![Input::normal(shape)]);
    let mixed = shapes.map(|shape| case(shape).mixed(1));
    shapes.map(case).into_iter().chain(mixed).map(|case| Box::new(case) as Box<dyn Runnable>).collect()
}
