//! Passes over a number of things, each in a new order: a pure function of the seed and a running number.

use genesis_tensor::random::{Purpose, Stream};

/// Turns running numbers into things: pass after pass over all of them.
#[derive(Clone, Debug)]
pub struct Passes {
    seed: u64,
    stream: u64,
    count: usize,
    /// The order of the pass looked at last.
    order: Option<(u64, Vec<usize>)>,
}

impl Passes {
    /// Passes over `count` things. `stream` tells apart the orders of one seed.
    pub fn new(seed: u64, stream: u64, count: usize) -> Self {
        Self { seed, stream, count, order: None }
    }

    /// The thing at a running number, for a count above 0.
    pub fn at(&mut self, number: u64) -> usize {
        let count = self.count.max(1) as u64;
        let (pass, position) = (number / count, (number % count) as usize);
        if self.order.as_ref().is_none_or(|(known, _)| *known != pass) {
            let mut order: Vec<usize> = (0..self.count).collect();
            Stream::new(self.seed, pass, self.stream, Purpose::Order).shuffle(&mut order);
            self.order = Some((pass, order));
        }
        self.order.as_ref().map_or(0, |(_, order)| order[position])
    }
}
