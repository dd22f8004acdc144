//! What the machine, or its card, can do at most, measured.

use crate::{Precision, Result};
use genesis_kernels::Context;
use genesis_kernels::cpu::peak;
use serde::Serialize;

/// Ceilings of all threads together, or of a card.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ceilings {
    /// Multiply-adds of f32 in registers, GFLOP/s.
    pub f32_gflops: f64,
    /// Multiply-adds of bf16 in registers, GFLOP/s, if the instruction set has any.
    pub bf16_gflops: Option<f64>,
    /// Multiply-adds of tf32 in registers, GFLOP/s; of cards alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tf32_gflops: Option<f64>,
    /// A copy of memory, read plus written, GB/s; not measured for whole steps, since its buffers would
    /// count in the process's memory.
    pub copy_gigabytes_per_second: Option<f64>,
}

impl Ceilings {
    /// Measures the arithmetic alone, which takes no memory; of the card, where `cx` computes on one.
    ///
    /// # Errors
    /// A card that failed.
    pub fn arithmetic(cx: &Context) -> Result<Self> {
        let (f32_gflops, bf16_gflops, tf32_gflops) = match &cx.card {
            Some(card) => (card.f32_gflops()?, Some(card.bf16_gflops()?), Some(card.tf32_gflops()?)),
            None => (peak::f32_gflops(cx), peak::bf16_gflops(cx), None),
        };
        Ok(Self { f32_gflops, bf16_gflops, tf32_gflops, copy_gigabytes_per_second: None })
    }

    /// Measures everything.
    ///
    /// # Errors
    /// As [`Ceilings::arithmetic`].
    pub fn all(cx: &Context) -> Result<Self> {
        let copy = match &cx.card {
            Some(card) => card.copy_gigabytes_per_second()?,
            None => peak::copy_gigabytes_per_second(cx),
        };
        Ok(Self { copy_gigabytes_per_second: Some(copy), ..Self::arithmetic(cx)? })
    }

    /// The better of two measurements, one before and one after the work: other programs only take away.
    pub fn better(self, other: Self) -> Self {
        let either = |a: Option<f64>, b: Option<f64>| match (a, b) {
            (Some(a), Some(b)) => Some(a.max(b)),
            (a, b) => a.or(b),
        };
        Self {
            f32_gflops: self.f32_gflops.max(other.f32_gflops),
            bf16_gflops: either(self.bf16_gflops, other.bf16_gflops),
            tf32_gflops: either(self.tf32_gflops, other.tf32_gflops),
            copy_gigabytes_per_second: either(
                self.copy_gigabytes_per_second,
                other.copy_gigabytes_per_second,
            ),
        }
    }

    /// GFLOP/s of products in this format; f32's where there is no instruction for it.
    pub fn gflops(&self, precision: Precision) -> f64 {
        let own = match precision {
            Precision::F32 => None,
            Precision::Bf16 => self.bf16_gflops,
            Precision::Tf32 => self.tf32_gflops,
        };
        own.unwrap_or(self.f32_gflops)
    }

    /// One line for people.
    pub fn line(&self) -> String {
        let bf16 = self.bf16_gflops.map_or("none".into(), |peak| format!("{peak:.0} GFLOP/s"));
        let tf32 = self.tf32_gflops.map_or(String::new(), |peak| format!(", tf32 {peak:.0} GFLOP/s"));
        let copy =
            self.copy_gigabytes_per_second.map_or(String::new(), |copy| format!(", copy {copy:.1} GB/s"));
        format!("f32 {:.0} GFLOP/s, bf16 {bf16}{tf32}{copy}", self.f32_gflops)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_without_instructions_is_bound_by_f32() {
        let mut ceilings = Ceilings {
            f32_gflops: 100.0,
            bf16_gflops: None,
            tf32_gflops: None,
            copy_gigabytes_per_second: None,
        };
        assert_eq!(ceilings.gflops(Precision::Bf16), 100.0);
        assert_eq!(ceilings.line(), "f32 100 GFLOP/s, bf16 none");
        ceilings = ceilings.better(Ceilings {
            f32_gflops: 90.0,
            bf16_gflops: Some(400.0),
            tf32_gflops: Some(200.0),
            copy_gigabytes_per_second: Some(20.0),
        });
        let each = [Precision::F32, Precision::Bf16, Precision::Tf32].map(|each| ceilings.gflops(each));
        assert_eq!(each, [100.0, 400.0, 200.0]);
        assert!(ceilings.line().ends_with("tf32 200 GFLOP/s, copy 20.0 GB/s"));
    }
}
