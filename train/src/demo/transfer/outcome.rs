//! The comparison's numbers, as they stand in `summary.json`.

use super::crops::Crops;
use super::{Start, Transfer};
use crate::evaluation::statistics::{Better, Summary};
use crate::evaluation::student::welch_t_test;
use serde::Serialize;

/// Below this probability a difference is called one.
pub const SIGNIFICANT: f64 = 0.05;

/// One fine-tuning.
#[derive(Clone, Debug, Serialize)]
pub struct TransferRun {
    /// Where its weights came from.
    pub start: Start,
    /// Its seed.
    pub seed: u64,
    /// Labelled phantoms it saw.
    pub labelled: usize,
    /// Nodule crops it saw.
    pub train_crops: usize,
    /// Mean Dice of the test crops.
    pub dice: f64,
    /// Mean intersection over union of the test crops.
    pub iou: f64,
    /// Mean Dice of the validation crops in the state tested.
    pub best_valid_dice: f64,
    /// Steps done.
    pub steps: u64,
    /// Wall time in seconds, on one thread beside other runs.
    pub seconds: f64,
}

/// A number over the seeds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Arithmetic mean.
    pub mean: f64,
    /// Sample standard deviation (n - 1); `None` for one seed.
    pub standard_deviation: Option<f64>,
    /// One value a seed.
    pub values: Vec<f64>,
}

impl Spread {
    fn of(values: Vec<f64>) -> Self {
        let summary = Summary::of(&values.iter().copied().map(Some).collect::<Vec<_>>(), Better::Higher);
        Self { mean: summary.mean.unwrap_or(0.0), standard_deviation: summary.standard_deviation, values }
    }

    /// "0.853 ± 0.021".
    pub fn text(&self) -> String {
        match self.standard_deviation {
            Some(deviation) => format!("{:.3} ± {deviation:.3}", self.mean),
            None => format!("{:.3}", self.mean),
        }
    }
}

/// One start at one number of labelled phantoms.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StartOutcome {
    /// Dice of the test crops.
    pub dice: Spread,
    /// Intersection over union of the test crops.
    pub iou: Spread,
}

/// Both starts at one number of labelled phantoms.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ShareOutcome {
    /// Labelled phantoms.
    pub labelled: usize,
    /// Their share of all labelled phantoms.
    pub share: f64,
    /// Drawn at random.
    pub scratch: StartOutcome,
    /// From pre-training.
    pub pretrained: StartOutcome,
    /// Mean Dice pre-trained less mean Dice from scratch.
    pub dice_difference: f64,
    /// Welch's two-sided t-test of the Dice over the seeds; `None` where it is undefined.
    pub dice_p_value: Option<f64>,
    /// The same of the intersection over union.
    pub iou_p_value: Option<f64>,
}

impl ShareOutcome {
    /// What the numbers allow to say.
    pub fn verdict(&self) -> String {
        let (phantoms, difference) = (phantoms(self.labelled), self.dice_difference);
        let said = match self.dice_p_value {
            Some(p) if p < SIGNIFICANT && difference > 0.0 => "pre-training helps",
            Some(p) if p < SIGNIFICANT => "pre-training harms",
            _ => "no difference beyond chance",
        };
        format!("{phantoms}: {said} ({difference:+.3} Dice, {})", p_text(self.dice_p_value))
    }
}

/// "1 phantom", "8 phantoms".
pub fn phantoms(count: usize) -> String {
    format!("{count} phantom{}", if count == 1 { "" } else { "s" })
}

/// "p = 0.031"; small ones as "p < 0.001".
pub fn p_text(p: Option<f64>) -> String {
    match p {
        Some(p) if p < 0.001 => "p < 0.001".into(),
        Some(p) => format!("p = {p:.3}"),
        None => "p undefined".into(),
    }
}

/// The whole comparison.
#[derive(Clone, Debug, Serialize)]
pub struct TransferOutcome {
    /// What was learned.
    pub task: &'static str,
    /// Extents of a crop.
    pub crop: [usize; 3],
    /// Steps of each run.
    pub steps: u64,
    /// Crops per step.
    pub batch_size: usize,
    /// Runs from each start at each number of labelled phantoms.
    pub seeds: u64,
    /// Labelled phantoms there are, and their crops.
    pub train_phantoms: usize,
    /// Crops of all labelled phantoms.
    pub train_crops: usize,
    /// Crops that chose each run's state.
    pub valid_crops: usize,
    /// Phantoms tested on.
    pub test_phantoms: usize,
    /// Crops tested on.
    pub test_crops: usize,
    /// By number of labelled phantoms, rising.
    pub shares: Vec<ShareOutcome>,
    /// Every run.
    pub runs: Vec<TransferRun>,
    /// Wall time in seconds.
    pub seconds: f64,
}

impl TransferOutcome {
    pub(super) fn of(transfer: &Transfer<'_>, crops: &Crops, runs: Vec<TransferRun>, seconds: f64) -> Self {
        let settings = transfer.settings;
        let share = |&labelled: &usize| {
            let values = |start: Start, metric: fn(&TransferRun) -> f64| -> Vec<f64> {
                let of = runs.iter().filter(|run| run.start == start && run.labelled == labelled);
                of.map(metric).collect()
            };
            let start = |start: Start| StartOutcome {
                dice: Spread::of(values(start, |run| run.dice)),
                iou: Spread::of(values(start, |run| run.iou)),
            };
            let (scratch, pretrained) = (start(Start::Scratch), start(Start::Pretrained));
            let p = |a: &Spread, b: &Spread| welch_t_test(&a.values, &b.values).map(|test| test.p_value);
            ShareOutcome {
                labelled,
                share: labelled as f64 / settings.all_labelled() as f64,
                dice_difference: pretrained.dice.mean - scratch.dice.mean,
                dice_p_value: p(&pretrained.dice, &scratch.dice),
                iou_p_value: p(&pretrained.iou, &scratch.iou),
                scratch,
                pretrained,
            }
        };
        Self {
            task: "nodule segmentation",
            crop: settings.crop,
            steps: settings.steps,
            batch_size: settings.batch_size,
            seeds: settings.seeds,
            train_phantoms: settings.all_labelled(),
            train_crops: crops.train.iter().map(Vec::len).sum(),
            valid_crops: crops.valid.len(),
            test_phantoms: settings.test,
            test_crops: crops.test.len(),
            shares: settings.labelled.iter().map(share).collect(),
            runs,
            seconds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(scratch: &[f64], pretrained: &[f64]) -> ShareOutcome {
        let start = |values: &[f64]| StartOutcome {
            dice: Spread::of(values.to_vec()),
            iou: Spread::of(values.to_vec()),
        };
        let p = welch_t_test(pretrained, scratch).map(|test| test.p_value);
        let (scratch, pretrained) = (start(scratch), start(pretrained));
        ShareOutcome {
            labelled: 1,
            share: 0.125,
            dice_difference: pretrained.dice.mean - scratch.dice.mean,
            dice_p_value: p,
            iou_p_value: p,
            scratch,
            pretrained,
        }
    }

    #[test]
    fn the_verdict_follows_the_numbers() {
        let says = |a: &[f64], b: &[f64]| share(a, b).verdict();
        let (low, high) = ([0.50, 0.51, 0.52], [0.70, 0.71, 0.72]);
        assert_eq!(says(&low, &high), "1 phantom: pre-training helps (+0.200 Dice, p < 0.001)");
        assert!(says(&high, &low).contains("pre-training harms (-0.200 Dice"));
        let chance = says(&[0.4, 0.5, 0.6], &[0.45, 0.5, 0.61]);
        assert!(chance.contains("no difference beyond chance (+0.020 Dice, p = 0."), "{chance}");
        assert!(says(&[0.4], &[0.6]).contains("no difference beyond chance (+0.200 Dice, p undefined"));
        assert_eq!(share(&low, &high).scratch.dice.text(), "0.510 ± 0.010");
    }
}
