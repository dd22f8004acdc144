//! What tests and benches run.

use super::GlobalAveragePool;
use crate::case::{Case, Input, Runnable};

pub fn all() -> Vec<Box<dyn Runnable>> {
    [[1, 1, 1, 1, 1], [1, 3, 5, 2, 3], [3, 4, 3, 3, 17], [2, 8, 8, 4, 512], [2, 31, 33, 35, 1]]
        .into_iter()
        .map(|shape| Case::boxed(format!("{shape:?}"), GlobalAveragePool, vec![Input::normal(shape)]))
        .collect()
}
