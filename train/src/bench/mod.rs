//! The workbench: times every operation on the network's real layers, and whole training steps, beside
//! the ceilings of the machine measured in the same run.
//!
//! ```text
//! scale ─ workloads ─ timed ─┐
//!                            ├─ row: GFLOP/s, GB/s, what limits it ─┬─ text, JSON
//! ceilings ──────────────────┘                                      └─ report::roofline
//! step: the network on a tape with a profile ─ layers, totals, memory
//! ```

pub mod ceilings;
pub mod layers;
pub mod memory;
pub mod row;
pub mod scale;
pub mod step;
pub mod timed;
pub mod workloads;

/// The middle one of several times; of an even number the lesser of the two in the middle, so that it
/// is always a time that was measured.
pub fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_one_of_the_times() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.0);
        assert_eq!(median(&[5.0]), 5.0);
        assert!(median(&[]).is_nan());
    }
}
