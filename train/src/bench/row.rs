//! One measured line: rates, arithmetic intensity, and which ceiling limits it.

use super::ceilings::Ceilings;
use super::median;
use super::timed::Measured;
use crate::Precision;
use genesis_kernels::op::Direction;
use serde::Serialize;

/// The ceiling that is reached first at an arithmetic intensity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Limit {
    /// Arithmetic.
    Compute,
    /// Memory traffic.
    Memory,
}

impl Limit {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Compute => "compute",
            Self::Memory => "memory",
        }
    }
}

/// One operation on one layer in one direction.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The operation's name in `OPS`.
    pub operation: &'static str,
    /// The layer's name in the network, and the operation's variant where it has several.
    pub layer: String,
    /// `forward`, `input gradient`, `weight gradient` or `backward` (every gradient).
    pub direction: &'static str,
    /// The shapes of the activations and the output.
    pub shapes: String,
    /// The algorithm chosen, if the operation has several and says so.
    pub path: Option<&'static str>,
    /// The median time.
    pub seconds: f64,
    /// Every time.
    pub runs: Vec<f64>,
    /// Arithmetic; of convolutions always that of the direct algorithm.
    pub flops: u64,
    /// Bytes that must be read and written at least once.
    pub bytes: u64,
    /// Arithmetic a second, in 1e9.
    pub gflops: f64,
    /// Traffic a second, in 1e9 bytes.
    pub gigabytes_per_second: f64,
    /// FLOPs a byte.
    pub intensity: f64,
    /// The lower ceiling at this intensity.
    pub limit: Limit,
    /// The part of that ceiling that was reached; 1 is all of it.
    pub share: f64,
    /// The number format whose arithmetic ceiling applies.
    #[serde(skip)]
    pub products: Precision,
}

impl Row {
    /// Puts a measurement beside the ceilings.
    pub fn new(operation: &'static str, layer: &str, measured: Measured, ceilings: &Ceilings) -> Self {
        let Measured { direction, shapes, path, seconds: runs, work, products } = measured;
        let seconds = median(&runs);
        let rate = |amount: u64| amount as f64 / seconds / 1e9;
        let (gflops, gigabytes_per_second) = (rate(work.flops), rate(work.bytes));
        let intensity = work.flops as f64 / work.bytes.max(1) as f64;
        let peak = ceilings.gflops(products);
        let copy = ceilings.copy_gigabytes_per_second.unwrap_or(f64::INFINITY);
        let limit = if intensity * copy < peak { Limit::Memory } else { Limit::Compute };
        let share = match limit {
            Limit::Memory => gigabytes_per_second / copy,
            Limit::Compute => gflops / peak,
        };
        Self {
            operation,
            layer: layer.to_string(),
            direction: direction_name(direction),
            shapes,
            path,
            seconds,
            runs,
            flops: work.flops,
            bytes: work.bytes,
            gflops,
            gigabytes_per_second,
            intensity,
            limit,
            share,
            products,
        }
    }
}

/// A direction's name in tables.
pub fn direction_name(direction: Direction) -> &'static str {
    match direction {
        Direction::Forward => "forward",
        Direction::InputGradient => "input gradient",
        Direction::WeightGradient => "weight gradient",
        Direction::Backward => "backward",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use genesis_kernels::op::Work;

    fn row(work: Work) -> Row {
        let ceilings = Ceilings {
            f32_gflops: 200.0,
            bf16_gflops: None,
            tf32_gflops: None,
            copy_gigabytes_per_second: Some(20.0),
        };
        let measured = Measured {
            direction: Direction::Forward,
            shapes: String::new(),
            path: None,
            seconds: vec![3.0, 1.0, 2.0],
            work,
            products: Precision::F32,
        };
        Row::new("conv3d", "x", measured, &ceilings)
    }

    #[test]
    fn the_lower_ceiling_limits() {
        // The ridge is at 10 FLOPs a byte.
        let low = row(Work { flops: 20_000_000_000, bytes: 4_000_000_000 });
        assert_eq!((low.limit, low.seconds, low.gflops), (Limit::Memory, 2.0, 10.0));
        assert!((low.share - 0.1).abs() < 1e-12);
        let high = row(Work { flops: 200_000_000_000, bytes: 1_000_000_000 });
        assert_eq!((high.limit, high.share), (Limit::Compute, 0.5));
        let none = row(Work { flops: 0, bytes: 4_000_000_000 });
        assert_eq!((none.limit, none.gigabytes_per_second), (Limit::Memory, 2.0));
    }
}
