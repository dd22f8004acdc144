//! Threads that cut and augment patches ahead of the training step.

use super::case::CaseStore;
use super::sampler::{PatchConfig, PatchPlan, corner};
use crate::augment::{AugmentationRecipe, Augmenter, Source};
use crate::finetune::target_trainer::TargetBatch;
use crate::training::prefetch::{Maker, Prefetch};
use crate::{Error, Result};
use genesis_tensor::parallel::ThreadPool;
use genesis_tensor::{DType, Tensor};
use std::ops::Range;
use std::sync::Arc;

/// What to load.
#[derive(Clone)]
pub struct PatchOrder {
    /// The cases.
    pub store: Arc<CaseStore>,
    /// Which cases at which step.
    pub plan: PatchPlan,
    /// Where patches lie.
    pub patch: PatchConfig,
    /// How they are augmented.
    pub recipe: AugmentationRecipe,
    /// The run's seed.
    pub seed: u64,
}

/// Loads batches on its own threads; dropping it stops them.
pub type PatchLoader = Prefetch<TargetBatch>;

impl PatchOrder {
    /// Starts `threads` loader threads (at least one) for a range of steps.
    ///
    /// # Errors
    /// A recipe that makes no sense; no thread to be had.
    pub fn start(&self, steps: Range<u64>, threads: usize) -> Result<PatchLoader> {
        let augmenter = Augmenter::new(self.recipe.clone(), self.patch.size)?;
        let maker = |_| -> Maker<TargetBatch> {
            let (order, mut augmenter) = (self.clone(), augmenter.clone());
            let pool = ThreadPool::new(1);
            Box::new(move |step| order.make(step, &pool, &mut augmenter))
        };
        Prefetch::start((0..threads.max(1)).map(maker).collect(), steps)
    }

    fn make(&self, step: u64, pool: &ThreadPool, augmenter: &mut Augmenter) -> Result<TargetBatch> {
        let samples = self.plan.batch(step);
        let [d, h, w] = self.patch.size;
        let voxels = d * h * w;
        let mut cases = Vec::with_capacity(samples.len());
        for sample in &samples {
            cases.push(self.store.get(pool, sample.case)?);
        }
        let channels = cases.first().map_or(1, |case| case.channels);
        let count = samples.len();
        let mut input = Tensor::unspecified([count, d, h, w, channels], DType::F32)?;
        let mut labels = Tensor::unspecified([count, d, h, w], DType::F32)?;
        let (mut image, mut classes) = (vec![0.0f32; channels * voxels], vec![0u8; voxels]);
        {
            let inputs = input.as_mut_slice()?.chunks_exact_mut(channels * voxels);
            let targets = labels.as_mut_slice()?.chunks_exact_mut(voxels);
            for (((sample, case), input), target) in samples.iter().zip(&cases).zip(inputs).zip(targets) {
                if case.channels != channels {
                    let name = &cases[0].name;
                    let cause = format!("{} channels, case {name} {channels}", case.channels);
                    return Err(Error::Work(format!("case {} has {cause}", case.name)));
                }
                let source = Source::new(&case.image, channels, case.size, case.spacing)?
                    .padded(&case.padding)?
                    .with_labels(&case.labels, 0)?;
                let corner = corner(&self.patch, self.seed, *sample, case);
                augmenter.patch_for_sample(
                    self.seed,
                    sample.pass,
                    sample.position,
                    &source,
                    corner,
                    &mut image,
                    Some(&mut classes),
                );
                interleave(&image, channels, input);
                for (target, &class) in target.iter_mut().zip(&classes) {
                    *target = f32::from(class);
                }
            }
        }
        Ok(TargetBatch { step, input, labels })
    }
}

/// From `[C][voxels]` to `[voxels][C]`.
pub(in crate::finetune) fn interleave(channels_first: &[f32], channels: usize, out: &mut [f32]) {
    let voxels = channels_first.len() / channels.max(1);
    for (channel, values) in channels_first.chunks_exact(voxels.max(1)).enumerate() {
        for (out, &value) in out[channel..].iter_mut().step_by(channels).zip(values) {
            *out = value;
        }
    }
}
