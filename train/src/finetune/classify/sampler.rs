//! Which cubes a step shows: a pure function of the seed and the step.

use super::config::Sampler;
use crate::finetune::passes::Passes;

/// The stream of the order in which classes take turns, and the first of those of their cubes.
const TURNS: u64 = 16;

/// One sample of training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CubeSample {
    /// The cube's number among those that train.
    pub cube: usize,
    /// First part of the key of the sample's streams: how often as many cubes as there are have been shown.
    pub pass: u64,
    /// Second part: the position within the pass.
    pub position: u64,
}

/// Turns step numbers into samples. A batch may reach into the next pass.
#[derive(Clone, Debug)]
pub struct CubePlan {
    seed: u64,
    batch_size: usize,
    count: usize,
    /// The cubes of every class that has any, if classes take turns.
    classes: Option<Vec<Vec<usize>>>,
}

impl CubePlan {
    /// A plan for training cubes of these classes.
    pub fn new(seed: u64, batch_size: usize, labels: &[usize], sampler: Sampler) -> Self {
        let classes = (sampler == Sampler::Balanced).then(|| {
            let mut classes = vec![Vec::new(); labels.iter().max().map_or(0, |last| last + 1)];
            labels.iter().enumerate().for_each(|(cube, &label)| classes[label].push(cube));
            classes.retain(|cubes| !cubes.is_empty());
            classes
        });
        Self { seed, batch_size, count: labels.len(), classes }
    }

    /// Steps of an epoch, at least one.
    pub fn steps_per_epoch(&self) -> u64 {
        (self.count as u64).div_ceil(self.batch_size.max(1) as u64).max(1)
    }

    /// The samples of step `step`, counted from 0.
    pub fn batch(&self, step: u64) -> Vec<CubeSample> {
        let first = step * self.batch_size as u64;
        let mut cubes: Box<dyn FnMut(u64) -> usize> = match &self.classes {
            None => {
                let mut passes = Passes::new(self.seed, 0, self.count);
                Box::new(move |number| passes.at(number))
            }
            // Every class once in each round, and within a class every cube once before any comes again.
            Some(classes) => {
                let mut turns = Passes::new(self.seed, TURNS, classes.len());
                let within = |(class, cubes): (usize, &Vec<usize>)| {
                    Passes::new(self.seed, TURNS + 1 + class as u64, cubes.len())
                };
                let mut within: Vec<Passes> = classes.iter().enumerate().map(within).collect();
                Box::new(move |number| {
                    let class = turns.at(number);
                    classes[class][within[class].at(number / classes.len() as u64)]
                })
            }
        };
        let count = self.count.max(1) as u64;
        let sample =
            |number: u64| CubeSample { cube: cubes(number), pass: number / count, position: number % count };
        (first..first + self.batch_size as u64).map(sample).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cubes(plan: &CubePlan, steps: std::ops::Range<u64>) -> Vec<usize> {
        steps.flat_map(|step| plan.batch(step)).map(|sample| sample.cube).collect()
    }

    #[test]
    fn every_pass_shows_every_cube_once() {
        let plan = CubePlan::new(3, 2, &[0, 0, 1, 0, 2], Sampler::Shuffled);
        assert_eq!(plan.steps_per_epoch(), 3);
        let all = cubes(&plan, 0..10);
        for pass in all.chunks(5) {
            let mut pass = pass.to_vec();
            pass.sort();
            assert_eq!(pass, [0, 1, 2, 3, 4]);
        }
        assert_ne!(all[..5], all[5..10]);
        let mut keys: Vec<(u64, u64)> =
            (0..10).flat_map(|step| plan.batch(step)).map(|s| (s.pass, s.position)).collect();
        keys.dedup();
        assert_eq!(keys.len(), 20);
    }

    #[test]
    fn balanced_classes_take_turns_and_no_cube_comes_twice_before_all_have() {
        // Class 1 is missing, class 2 is rare.
        let labels = [0, 0, 0, 0, 0, 0, 2, 2, 0];
        let plan = CubePlan::new(5, 3, &labels, Sampler::Balanced);
        assert_eq!(plan.steps_per_epoch(), 3);
        let all = cubes(&plan, 0..14);
        for round in all.chunks_exact(2) {
            assert_eq!(round.iter().map(|&cube| labels[cube]).sum::<usize>(), 2, "{round:?}");
        }
        let of = |class: usize| all.iter().copied().filter(move |&cube| labels[cube] == class);
        let mut common: Vec<usize> = of(0).take(7).collect();
        common.sort();
        assert_eq!(common, [0, 1, 2, 3, 4, 5, 8]);
        for pair in of(2).collect::<Vec<_>>().chunks_exact(2) {
            assert_ne!(pair[0], pair[1]);
        }
        assert_eq!(plan.batch(4), CubePlan::new(5, 3, &labels, Sampler::Balanced).batch(4));
    }
}
