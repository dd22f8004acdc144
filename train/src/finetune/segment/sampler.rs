//! Which case a sample is cut from, and where: a pure function of the seed and the sample's number.

use super::case::Case;
use crate::finetune::passes::Passes;
use genesis_tensor::random::{Purpose, Stream};
use serde::{Deserialize, Serialize};

/// How patches are drawn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PatchConfig {
    /// Extents of a patch along x, y and z of the working grid; each must divide by 8.
    pub size: [usize; 3],
    /// Share of patches centred on a voxel of a foreground class that is drawn first, so that small
    /// classes are seen as often as large ones. The others lie anywhere.
    pub foreground_share: f64,
    /// Patches of each case in an epoch.
    pub per_case: usize,
}

/// One sample of training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PatchSample {
    /// The case's number.
    pub case: usize,
    /// First part of the key of the sample's streams: how often all cases have been passed.
    pub pass: u64,
    /// Second part: the position within the pass.
    pub position: u64,
}

/// Turns step numbers into samples: pass after pass over all cases, each in a new order. A batch may
/// reach into the next pass.
#[derive(Clone, Copy, Debug)]
pub struct PatchPlan {
    /// Seed of the orders.
    pub seed: u64,
    /// Number of cases.
    pub cases: usize,
    /// Samples of a step.
    pub batch_size: usize,
    /// Patches of each case in an epoch.
    pub per_case: usize,
}

impl PatchPlan {
    /// Steps of an epoch, at least one.
    pub fn steps_per_epoch(&self) -> u64 {
        ((self.cases * self.per_case) as u64).div_ceil(self.batch_size.max(1) as u64).max(1)
    }

    /// The samples of step `step`, counted from 0.
    pub fn batch(&self, step: u64) -> Vec<PatchSample> {
        let first = step * self.batch_size as u64;
        let mut passes = Passes::new(self.seed, 0, self.cases);
        let sample = |number: u64| PatchSample {
            case: passes.at(number),
            pass: number / self.cases as u64,
            position: number % self.cases as u64,
        };
        (first..first + self.batch_size as u64).map(sample).collect()
    }
}

/// The first voxel of a sample's patch. Along an axis on which the volume is smaller than the patch it
/// may be negative: the volume then lies anywhere within the patch.
pub fn corner(config: &PatchConfig, seed: u64, sample: PatchSample, case: &Case) -> [i64; 3] {
    let mut stream = Stream::new(seed, sample.pass, sample.position, Purpose::Cubes);
    let free: [[i64; 2]; 3] = std::array::from_fn(|axis| {
        let slack = case.size[axis] as i64 - config.size[axis] as i64;
        [slack.min(0), slack.max(0)]
    });
    let present: Vec<&Vec<u32>> = case.centres.iter().filter(|centres| !centres.is_empty()).collect();
    if !present.is_empty() && stream.chance(config.foreground_share) {
        let centres = present[stream.below(present.len() as u32) as usize];
        let place = centres[stream.below(centres.len() as u32) as usize] as usize;
        let [_, ny, nz] = case.size;
        let centre = [place / (ny * nz), place / nz % ny, place % nz];
        return std::array::from_fn(|axis| {
            let corner = centre[axis] as i64 - config.size[axis] as i64 / 2;
            corner.clamp(free[axis][0], free[axis][1])
        });
    }
    free.map(|[low, high]| low + i64::from(stream.below((high - low + 1) as u32)))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn case(size: [usize; 3], centres: Vec<Vec<u32>>) -> Case {
        let voxels: usize = size.iter().product();
        let mut labels = vec![0; voxels];
        for (class, centres) in centres.iter().enumerate() {
            centres.iter().for_each(|&place| labels[place as usize] = class as u8 + 1);
        }
        Case {
            name: "case".into(),
            image: (0..voxels).map(|i| i as f32 / voxels as f32).collect(),
            channels: 1,
            padding: vec![0.0],
            labels,
            size,
            spacing: [1.0; 3],
            centres,
        }
    }

    fn draws(config: &PatchConfig, case: &Case) -> Vec<[i64; 3]> {
        (0..400).map(|position| corner(config, 1, PatchSample { case: 0, pass: 0, position }, case)).collect()
    }

    #[test]
    fn every_pass_shows_every_case_once_and_batches_cross_passes() {
        let plan = PatchPlan { seed: 3, cases: 5, batch_size: 2, per_case: 3 };
        assert_eq!(plan.steps_per_epoch(), 8);
        let all: Vec<PatchSample> = (0..10).flat_map(|step| plan.batch(step)).collect();
        for pass in 0..4 {
            let mut cases: Vec<usize> = all[5 * pass..5 * pass + 5].iter().map(|s| s.case).collect();
            cases.sort();
            assert_eq!(cases, [0, 1, 2, 3, 4]);
        }
        let mut keys: Vec<(u64, u64)> = all.iter().map(|s| (s.pass, s.position)).collect();
        keys.dedup();
        assert_eq!(keys.len(), 20);
        assert_eq!(plan.batch(7), all[14..16]);
    }

    #[test]
    fn rare_classes_are_met_as_often_as_common_ones() {
        let size = [32, 32, 32];
        let at = |[x, y, z]: [usize; 3]| ((x * 32 + y) * 32 + z) as u32;
        let common: Vec<u32> = (0..2000).collect();
        let case = case(size, vec![common, vec![at([30, 30, 30])], vec![]]);
        let config = PatchConfig { size: [8, 8, 8], foreground_share: 1.0, per_case: 1 };
        let corners = draws(&config, &case);
        // The rare voxel lies at the far corner: its patch ends with the volume.
        let rare = corners.iter().filter(|corner| **corner == [24, 24, 24]).count();
        assert!((150..250).contains(&rare), "{rare} of 400");
        assert!(corners.iter().flatten().all(|c| (0..=24).contains(c)));
        let anywhere = draws(&PatchConfig { foreground_share: 0.0, ..config }, &case);
        let mean = anywhere.iter().map(|c| c[2] as f64).sum::<f64>() / 400.0;
        assert!((mean - 12.0).abs() < 1.5, "{mean}");
    }

    #[test]
    fn a_small_volume_lies_anywhere_within_the_patch() {
        let case = case([5, 40, 16], vec![vec![3]]);
        let config = PatchConfig { size: [16, 16, 16], foreground_share: 0.5, per_case: 1 };
        let corners = draws(&config, &case);
        assert!(corners.iter().all(|c| (-11..=0).contains(&c[0]) && (0..=24).contains(&c[1]) && c[2] == 0));
        for wanted in [-11, 0] {
            assert!(corners.iter().any(|c| c[0] == wanted));
        }
    }
}
