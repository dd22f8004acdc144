//! Which cubes a step trains on: a pure function of the seed and the step, so that neither the
//! number of loader threads nor a restart can change it.

use super::config::Sampling;
use genesis_tensor::random::{Purpose, Stream};

/// The epoch number under which fixed validation pairs are drawn.
const FIXED_VALIDATION: u64 = u64::MAX;

/// One deformed pair: the cube and the key of its random stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Index of the cube.
    pub cube: usize,
    /// First part of the stream's key.
    pub epoch: u64,
    /// Second part: the position within the epoch.
    pub sample: u64,
}

/// Turns a step number into samples.
#[derive(Clone, Debug)]
pub struct Plan {
    seed: u64,
    cubes: usize,
    batch_size: usize,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Training(Sampling),
    /// Every cube in order, under this epoch key.
    Everything(u64),
    /// A random subset as in the release, for this epoch.
    Subset(u64),
}

impl Plan {
    /// Training batches. A batch size beyond the number of cubes is reduced to it.
    pub fn training(seed: u64, cubes: usize, batch_size: usize, sampling: Sampling) -> Self {
        Self { seed, cubes, batch_size: batch_size.min(cubes).max(1), kind: Kind::Training(sampling) }
    }

    /// Validation on every cube with pairs fixed by the seed.
    pub fn fixed_validation(seed: u64, cubes: usize, batch_size: usize) -> Self {
        let kind = Kind::Everything(FIXED_VALIDATION);
        Self { seed, cubes, batch_size: batch_size.min(cubes).max(1), kind }
    }

    /// Validation as in the release: `floor(N / batch)` random batches, deformed anew each epoch.
    pub fn fresh_validation(seed: u64, cubes: usize, batch_size: usize, epoch: u64) -> Self {
        // The upper half of the epoch numbers belongs to validation.
        let kind = Kind::Subset(epoch | (1 << 63));
        Self { seed, cubes, batch_size: batch_size.min(cubes).max(1), kind }
    }

    /// Steps of one epoch: whole batches only in training, at least one.
    pub fn steps_per_epoch(&self) -> u64 {
        match self.kind {
            Kind::Everything(_) => self.cubes.div_ceil(self.batch_size) as u64,
            _ => ((self.cubes / self.batch_size) as u64).max(1),
        }
    }

    /// The epoch of a training step, from 0.
    pub fn epoch(&self, step: u64) -> u64 {
        step / self.steps_per_epoch()
    }

    /// The samples of step `step`, counted from 0 over all epochs.
    pub fn batch(&self, step: u64) -> Vec<Sample> {
        let (epoch, within) = (self.epoch(step), step % self.steps_per_epoch());
        let first = within as usize * self.batch_size;
        let numbered = |cubes: &[usize], epoch: u64| {
            let key =
                |(index, &cube): (usize, &usize)| Sample { cube, epoch, sample: (first + index) as u64 };
            cubes.iter().enumerate().map(key).collect()
        };
        match self.kind {
            Kind::Training(Sampling::Pass) => {
                let mut order: Vec<usize> = (0..self.cubes).collect();
                Stream::new(self.seed, epoch, 0, Purpose::Order).shuffle(&mut order);
                numbered(&order[first..first + self.batch_size], epoch)
            }
            Kind::Training(Sampling::Afresh) => numbered(&self.draw(epoch, within), epoch),
            Kind::Subset(epoch) => numbered(&self.draw(epoch, step), epoch),
            Kind::Everything(epoch) => {
                let order: Vec<usize> = (first..self.cubes.min(first + self.batch_size)).collect();
                numbered(&order, epoch)
            }
        }
    }

    /// A batch without replacement within itself.
    fn draw(&self, epoch: u64, within: u64) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.cubes).collect();
        // Stream 0 of an epoch is the order of a pass.
        Stream::new(self.seed, epoch, within + 1, Purpose::Order).shuffle(&mut order);
        order.truncate(self.batch_size);
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_visits_each_cube_once_and_orders_differ() {
        let plan = Plan::training(3, 12, 4, Sampling::Pass);
        let epoch = |e: u64| (0..3).flat_map(|s| plan.batch(3 * e + s)).map(|s| s.cube).collect::<Vec<_>>();
        let mut first = epoch(0);
        assert_ne!(first, epoch(1));
        first.sort();
        assert_eq!(first, (0..12).collect::<Vec<_>>());
    }

    #[test]
    fn no_two_samples_of_an_epoch_share_a_stream() {
        for sampling in [Sampling::Pass, Sampling::Afresh] {
            let plan = Plan::training(3, 10, 3, sampling);
            let mut keys: Vec<u64> = (0..3).flat_map(|s| plan.batch(s)).map(|s| s.sample).collect();
            keys.sort();
            keys.dedup();
            assert_eq!(keys.len(), 9);
        }
    }

    #[test]
    fn afresh_repeats_across_batches_but_not_within() {
        let plan = Plan::training(1, 6, 4, Sampling::Afresh);
        for step in 0..50 {
            let mut cubes: Vec<usize> = plan.batch(step).iter().map(|s| s.cube).collect();
            cubes.sort();
            cubes.dedup();
            assert_eq!(cubes.len(), 4);
        }
    }

    #[test]
    fn fixed_validation_covers_all_cubes_including_the_rest() {
        let plan = Plan::fixed_validation(1, 7, 3);
        assert_eq!(plan.steps_per_epoch(), 3);
        let cubes: Vec<usize> = (0..3).flat_map(|s| plan.batch(s)).map(|s| s.cube).collect();
        assert_eq!(cubes, (0..7).collect::<Vec<_>>());
    }

    #[test]
    fn fewer_cubes_than_a_batch_still_train() {
        let plan = Plan::training(1, 2, 6, Sampling::Pass);
        assert_eq!((plan.steps_per_epoch(), plan.batch(5).len()), (1, 2));
    }
}
