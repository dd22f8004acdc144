//! What tests and benches run.

use super::MaxPool3d;
use crate::case::{Case, Input, Runnable};

pub fn all() -> Vec<Box<dyn Runnable>> {
    let mut cases = Vec::new();
    let mut add = |label: &str, op, shape: [usize; 5]| {
        cases.push(Case::new(format!("{label} {shape:?}"), op, vec![Input::normal(shape)]));
    };
    for channels in [1, 3, 8, 17, 64] {
        add("halve", MaxPool3d::HALVE, [2, 4, 6, 8, channels]);
    }
    add("halve, one window", MaxPool3d::HALVE, [1, 2, 2, 2, 1]);
    add("halve, odd extents", MaxPool3d::HALVE, [1, 5, 7, 3, 9]);
    add("halve, a layer", MaxPool3d::HALVE, [1, 16, 16, 8, 64]);
    let op = |kernel, stride| MaxPool3d { kernel, stride };
    add("overlapping", op([3; 3], [2; 3]), [1, 7, 8, 9, 5]);
    add("stride 1", op([2, 3, 2], [1; 3]), [2, 4, 5, 3, 40]);
    add("gaps", op([1, 2, 1], [2, 3, 4]), [1, 6, 8, 10, 3]);
    add("one axis", op([1, 1, 3], [1, 1, 2]), [1, 2, 3, 9, 4]);
    add("window of 343", op([7; 3], [2, 1, 3]), [1, 9, 8, 10, 3]);
    add("everything", op([4, 5, 6], [1; 3]), [2, 4, 5, 6, 17]);
    let mixed = cases.clone().into_iter().map(|case| case.mixed(1));
    cases.clone().into_iter().chain(mixed).map(|case| Box::new(case) as Box<dyn Runnable>).collect()
}
