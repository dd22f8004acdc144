//! What pre-training is worth for a task with few labels: nodules of new phantoms are segmented from
//! scratch and from the pre-trained weights, on the same cases, with the same steps, several times over.
//!
//! As in the paper's task NCS (Zhou et al., Medical Image Analysis 67 (2021) 101840) the network sees crops
//! around nodules; Dice and IoU are those of the nodule's voxels in crops of phantoms that took no part in
//! training.
//!
//! ```text
//! phantoms ─ crops ─┐
//!                   ├─ runs (finetune) ─ outcome ─ page
//! weights ──────────┘
//! ```

mod crops;
mod outcome;
mod page;
mod runs;
#[cfg(test)]
mod tests;

pub use outcome::{ShareOutcome, Spread, StartOutcome, TransferOutcome, TransferRun};
pub use page::{add_section, add_tiles};
pub use runs::Start;

use crate::{Error, Precision, Result};
use genesis_kernels::Hardware;
use genesis_model::DIVISOR;
use std::path::Path;

/// The comparison's size. Both starts share all of it.
#[derive(Clone, Debug, PartialEq)]
pub struct TransferSettings {
    /// Voxels of a phantom.
    pub phantom_size: [usize; 3],
    /// Nodules of each phantom, where its lungs leave room for them.
    pub nodules: usize,
    /// Numbers of labelled phantoms to compare at, rising; the last is all of them.
    pub labelled: Vec<usize>,
    /// Phantoms that choose the best state of a run.
    pub validation: usize,
    /// Phantoms tested on.
    pub test: usize,
    /// Extents of a crop; each must divide by 8. At a phantom's 2 to 3 mm a nodule of 30 mm just fits into
    /// 16 voxels.
    pub crop: [usize; 3],
    /// Crops per step.
    pub batch_size: usize,
    /// Steps of each run.
    pub steps: u64,
    /// Runs from each start at each number of phantoms.
    pub seeds: u64,
}

impl Default for TransferSettings {
    fn default() -> Self {
        Self {
            phantom_size: super::PHANTOM_SIZE,
            nodules: 4,
            labelled: vec![1, 2, 8],
            validation: 2,
            test: 6,
            crop: [16, 16, 16],
            batch_size: 8,
            steps: Self::STEPS,
            seeds: Self::SEEDS,
        }
    }
}

impl TransferSettings {
    /// Steps of each run unless told otherwise. Twice as many segment better from either start (docs/experiments.md), but
    /// take the demo past its 8 minutes on a slow machine.
    pub const STEPS: u64 = 100;
    /// Runs from each start unless told otherwise.
    pub const SEEDS: u64 = 3;

    /// All labelled phantoms.
    pub fn all_labelled(&self) -> usize {
        self.labelled.last().copied().unwrap_or(0)
    }

    /// Refuses sizes that mean nothing.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the value.
    pub fn check(&self) -> Result<()> {
        let refuse = |cause: &str| Err(Error::Usage(format!("the demo's fine-tuning: {cause}")));
        if self.steps == 0 || self.seeds == 0 || self.batch_size == 0 || self.nodules == 0 {
            return refuse("steps, seeds, batch size and nodules must be at least 1");
        }
        if self.validation == 0 || self.test == 0 || self.labelled.first().is_none_or(|&first| first == 0) {
            return refuse("training, validation and test need a phantom each");
        }
        if !self.labelled.is_sorted_by(|a, b| a < b) {
            return refuse("the numbers of labelled phantoms must rise");
        }
        if (0..3).any(|a| {
            !self.crop[a].is_multiple_of(DIVISOR) || !(1..=self.phantom_size[a]).contains(&self.crop[a])
        }) {
            return refuse("a crop's extents must divide by 8 and fit into a phantom");
        }
        Ok(())
    }
}

/// What runs are carried out with.
pub struct Transfer<'a> {
    /// The comparison's size.
    pub settings: &'a TransferSettings,
    /// Directory to write; made here.
    pub out: &'a Path,
    /// The pre-trained weights.
    pub weights: &'a Path,
    /// Width of the network.
    pub width: usize,
    /// Seed of everything.
    pub seed: u64,
    /// Threads; as many runs go side by side, one thread each.
    pub threads: usize,
    /// What computes.
    pub hardware: Hardware,
    /// Number format of activations and gradients.
    pub precision: Precision,
    /// No progress.
    pub quiet: bool,
}

/// What came of it, with what only pictures need.
pub struct Comparison {
    /// The numbers.
    pub outcome: TransferOutcome,
    /// The test crops.
    cases: Vec<std::sync::Arc<crate::finetune::Case>>,
    /// Of each run, in the order of the outcome's.
    details: Vec<runs::Detail>,
}

impl Transfer<'_> {
    /// Makes the crops, fine-tunes, and compares. The numbers depend on the seed, never on the threads.
    ///
    /// # Errors
    /// Settings that mean nothing; a directory that cannot be written; whatever fine-tuning meets.
    pub fn run(&self) -> Result<Comparison> {
        let started = std::time::Instant::now();
        self.settings.check()?;
        let crops = crops::make(self)?;
        let finished = runs::run_all(self, &crops)?;
        let (runs, details): (Vec<_>, Vec<_>) = finished.runs.into_iter().unzip();
        let outcome = TransferOutcome::of(self, &crops, runs, started.elapsed().as_secs_f64());
        Ok(Comparison { outcome, cases: finished.cases, details })
    }
}
