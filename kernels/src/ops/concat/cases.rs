//! What tests and benches run.

use super::Concat;
use crate::case::{Case, Input, Runnable};

pub fn all() -> Vec<Box<dyn Runnable>> {
    let mut cases = Vec::new();
    for (a, b) in [(1, 1), (3, 17), (17, 3), (8, 16), (64, 128)] {
        for extents in [[1, 1, 1, 1], [2, 3, 5, 7], [1, 9, 8, 11]] {
            let [n, d, h, w] = extents;
            let inputs = vec![Input::normal([n, d, h, w, a]), Input::normal([n, d, h, w, b])];
            cases.push(Case::new(format!("{extents:?} {a} + {b}"), Concat, inputs));
        }
    }
    let inputs = vec![Input::normal([2, 3, 4]), Input::normal([2, 3, 1]).fixed()];
    cases.push(Case::new("one gradient", Concat, inputs));
    let inputs = vec![Input::normal([2, 20_000]), Input::normal([2, 3])];
    cases.push(Case::new("longer than a piece", Concat, inputs));
    let mixed = cases.clone().into_iter().map(|case| case.mixed(2));
    cases.clone().into_iter().chain(mixed).map(|case| Box::new(case) as Box<dyn Runnable>).collect()
}
