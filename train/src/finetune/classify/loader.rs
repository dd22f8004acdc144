//! Threads that augment cubes ahead of the training step.

use super::data::Cube;
use super::sampler::CubePlan;
use crate::Result;
use crate::augment::{AugmentationRecipe, Augmenter, Source};
use crate::finetune::segment::interleave;
use crate::finetune::store::Store;
use crate::finetune::target_trainer::TargetBatch;
use crate::training::prefetch::{Maker, Prefetch};
use genesis_tensor::parallel::ThreadPool;
use genesis_tensor::{DType, Tensor};
use std::ops::Range;
use std::sync::Arc;

/// What to load.
#[derive(Clone)]
pub struct CubeOrder {
    /// The cubes.
    pub store: Arc<Store<Cube>>,
    /// Their classes.
    pub labels: Arc<[usize]>,
    /// Which cubes at which step.
    pub plan: CubePlan,
    /// Extents of a cube.
    pub size: [usize; 3],
    /// Channels of a cube.
    pub channels: usize,
    /// Voxels that stored cubes have more on each side.
    pub margin: [usize; 3],
    /// How they are augmented.
    pub recipe: AugmentationRecipe,
    /// The run's seed.
    pub seed: u64,
}

impl CubeOrder {
    /// Loads the batches of a range of steps.
    ///
    /// # Errors
    /// No thread to be had; a recipe that makes no sense.
    pub fn start(self, steps: Range<u64>, threads: usize) -> Result<Prefetch<TargetBatch>> {
        let augmenter = Augmenter::new(self.recipe.clone(), self.size)?;
        let maker = |_| -> Maker<TargetBatch> {
            let (order, mut augmenter) = (self.clone(), augmenter.clone());
            let pool = ThreadPool::new(1);
            Box::new(move |step| order.make(step, &pool, &mut augmenter))
        };
        Prefetch::start((0..threads.max(1)).map(maker).collect(), steps)
    }

    fn make(&self, step: u64, pool: &ThreadPool, augmenter: &mut Augmenter) -> Result<TargetBatch> {
        let samples = self.plan.batch(step);
        let [d, h, w] = self.size;
        let (count, channels) = (samples.len(), self.channels);
        let mut input = Tensor::unspecified([count, d, h, w, channels], DType::F32)?;
        let mut labels = Vec::with_capacity(count);
        let mut image = vec![0.0f32; channels * d * h * w];
        let corner = self.margin.map(|margin| margin as i64);
        for (sample, values) in samples.iter().zip(input.as_mut_slice()?.chunks_exact_mut(image.len())) {
            let cube = self.store.get(pool, sample.cube)?;
            let source =
                Source::new(&cube.image, channels, cube.size, cube.spacing)?.padded(&cube.padding)?;
            augmenter.patch_for_sample(
                self.seed,
                sample.pass,
                sample.position,
                &source,
                corner,
                &mut image,
                None,
            );
            interleave(&image, channels, values);
            labels.push(self.labels[sample.cube] as f32);
        }
        Ok(TargetBatch { step, input, labels: Tensor::from_slice([count], &labels)? })
    }
}
