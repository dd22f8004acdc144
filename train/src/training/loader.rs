//! Threads that read cubes and deform them ahead of the training step.
//!
//! Step `s` is a pure function of the plan; [`Prefetch`] has it made by any thread and hands batches
//! out in order, each in tensors from the memory pool.

use super::ahead::StepBatch;
use super::on_nan::KeptBatch;
use super::plan::Plan;
use super::prefetch::{Maker, Prefetch};
use super::source::CubeSource;
use crate::deform::{Deformer, Recipe};
use crate::{Error, Result};
use genesis_tensor::{DType, Tensor};
use std::ops::Range;
use std::sync::Arc;

/// One batch of deformed pairs.
#[derive(Debug)]
pub struct Batch {
    /// The step it is for.
    pub step: u64,
    /// Deformed cubes `[N, D, H, W, 1]`.
    pub input: Tensor,
    /// What they should become, same shape.
    pub target: Tensor,
    /// 1 where the loss counts, for recipes with a loss in holes only.
    pub mask: Option<Tensor>,
    /// Sum over the batch's voxels that count of (input - target)², and their number.
    pub identity: (f64, f64),
}

impl StepBatch for Batch {
    fn keep(&self) -> KeptBatch {
        let mut tensors = vec![("input", self.input.clone()), ("target", self.target.clone())];
        tensors.extend(self.mask.clone().map(|mask| ("mask", mask)));
        KeptBatch { step: self.step, tensors }
    }

    fn tensors_mut(&mut self) -> Vec<&mut Tensor> {
        [&mut self.input, &mut self.target].into_iter().chain(&mut self.mask).collect()
    }
}

impl From<Loader> for Prefetch<Batch> {
    fn from(loader: Loader) -> Self {
        loader.0
    }
}

/// What to load.
pub struct Order {
    /// The cubes.
    pub source: Arc<dyn CubeSource>,
    /// Which cubes at which step.
    pub plan: Plan,
    /// How they are deformed.
    pub recipe: Recipe,
    /// The run's seed.
    pub seed: u64,
    /// The steps wanted.
    pub steps: Range<u64>,
}

/// Loads batches on its own threads; dropping it stops them.
pub struct Loader(Prefetch<Batch>);

impl Loader {
    /// Starts `threads` loader threads (at least one).
    ///
    /// # Errors
    /// A recipe that does not fit the cubes' size; no thread to be had.
    pub fn start(order: Order, threads: usize) -> Result<Self> {
        let deformer = Deformer::new(order.recipe.clone(), order.source.size())?;
        let steps = order.steps.clone();
        let order = Arc::new(order);
        let maker = |_| -> Maker<Batch> {
            let (order, mut deformer) = (Arc::clone(&order), deformer.clone());
            let mut cube = vec![0.0; order.source.size().iter().product()];
            Box::new(move |step| order.make(step, &mut deformer, &mut cube))
        };
        Ok(Self(Prefetch::start((0..threads.max(1)).map(maker).collect(), steps)?))
    }

    /// The next batch in order, or `None` after the last.
    ///
    /// # Errors
    /// What went wrong reading or deforming its cubes.
    pub fn next_batch(&mut self) -> Result<Option<Batch>> {
        self.0.next_batch()
    }
}

impl Order {
    fn make(&self, step: u64, deformer: &mut Deformer, cube: &mut [f32]) -> Result<Batch> {
        let Self { source, plan, recipe, seed, .. } = self;
        let samples = plan.batch(step);
        let [rows, cols, deps] = source.size();
        let shape = [samples.len(), rows, cols, deps, 1];
        let tensor =
            || Tensor::unspecified(shape, DType::F32).map_err(|error| Error::Work(error.to_string()));
        let memory = |error: genesis_tensor::Error| Error::Work(error.to_string());
        let (mut input, mut target) = (tensor()?, tensor()?);
        let mut mask = if recipe.loss_in_holes { Some(tensor()?) } else { None };
        {
            let inputs = input.as_mut_slice().map_err(memory)?.chunks_exact_mut(cube.len());
            let targets = target.as_mut_slice().map_err(memory)?.chunks_exact_mut(cube.len());
            let mut masks = match &mut mask {
                Some(mask) => Some(mask.as_mut_slice().map_err(memory)?.chunks_exact_mut(cube.len())),
                None => None,
            };
            for ((sample, input), target) in samples.iter().zip(inputs).zip(targets) {
                source.read(sample.cube, cube)?;
                let mask = masks.as_mut().and_then(Iterator::next);
                deformer.pair_for_sample(*seed, sample.epoch, sample.sample, cube, target, input, mask);
            }
        }
        let identity = squared_error(&input, &target, mask.as_ref());
        Ok(Batch { step, input, target, mask, identity })
    }
}

/// Sum of squared differences over the voxels that count, and their number.
pub fn squared_error(input: &Tensor, target: &Tensor, mask: Option<&Tensor>) -> (f64, f64) {
    let difference = |(a, b): (&f32, &f32)| f64::from(a - b) * f64::from(a - b);
    let pairs = input.as_slice().iter().zip(target.as_slice());
    match mask {
        None => (pairs.map(difference).sum(), input.elements() as f64),
        Some(mask) => {
            let mask = mask.as_slice();
            let sum = pairs.zip(mask).map(|(pair, &m)| f64::from(m) * difference(pair)).sum();
            (sum, mask.iter().map(|&m| f64::from(m)).sum())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::Sampling;
    use super::super::source::tests::Memory;
    use super::*;

    fn run(threads: usize, steps: Range<u64>) -> Vec<Batch> {
        let source = Arc::new(Memory::ramps(7, [16, 16, 16]));
        let plan = Plan::training(5, 7, 2, Sampling::Pass);
        let order = Order { source, plan, recipe: Recipe::genesis(), seed: 5, steps };
        let mut loader = Loader::start(order, threads).unwrap();
        std::iter::from_fn(|| loader.next_batch().unwrap()).collect()
    }

    #[test]
    fn batches_do_not_depend_on_threads_or_on_where_one_starts() {
        let one = run(1, 0..8);
        let five = run(5, 0..8);
        let late = run(3, 5..8);
        assert_eq!(one.iter().map(|b| b.step).collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
        for (a, b) in one.iter().zip(&five).chain(one[5..].iter().zip(&late)) {
            assert_eq!(a.step, b.step);
            assert_eq!(a.input.as_slice(), b.input.as_slice());
            assert_eq!(a.target.as_slice(), b.target.as_slice());
        }
    }

    #[test]
    fn a_bad_cube_is_an_error_at_its_step_and_not_a_hang() {
        let source = Arc::new(Memory { broken: Some(3), ..Memory::ramps(7, [16, 16, 16]) });
        let plan = Plan::fixed_validation(5, 7, 2);
        let order = Order { source, plan, recipe: Recipe::genesis(), seed: 5, steps: 0..4 };
        let mut loader = Loader::start(order, 2).unwrap();
        assert!(loader.next_batch().unwrap().is_some());
        assert!(loader.next_batch().unwrap_err().to_string().contains("cube 3"));
    }

    #[test]
    fn dropping_a_loader_early_stops_its_threads() {
        let source = Arc::new(Memory::ramps(7, [16, 16, 16]));
        let plan = Plan::training(5, 7, 2, Sampling::Pass);
        let order = Order { source, plan, recipe: Recipe::genesis(), seed: 5, steps: 0..u64::MAX };
        let mut loader = Loader::start(order, 2).unwrap();
        assert!(loader.next_batch().unwrap().is_some());
        drop(loader);
    }
}
