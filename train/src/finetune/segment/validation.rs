//! Validation: whole cases predicted by sliding window, and the Dice of every class.

use super::case::Case;
use super::data::SegmentationCases;
use super::prediction::predict_classes;
use crate::Result;
use crate::finetune::target_trainer::TargetTrainer;
use crate::inference::SegmentSettings;
use crate::training::Trainer;
use genesis_model::UNet3d;
use genesis_tensor::parallel::ThreadPool;

/// The Dice of a case's classes, 2|P∩R| / (|P| + |R|) on the working grid.
#[derive(Clone, Debug, PartialEq)]
pub struct CaseDice {
    /// The case's name.
    pub name: String,
    /// One value a foreground class; `None` where neither prediction nor reference holds any voxel.
    pub classes: Vec<Option<f64>>,
}

impl CaseDice {
    /// The mean over the classes that occur.
    pub fn mean(&self) -> Option<f64> {
        mean(self.classes.iter().copied())
    }
}

/// What a validation found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DiceReport {
    /// Every case.
    pub cases: Vec<CaseDice>,
}

impl DiceReport {
    /// The mean over the cases in which the class occurs, for every foreground class.
    pub fn classes(&self) -> Vec<Option<f64>> {
        let count = self.cases.first().map_or(0, |case| case.classes.len());
        (0..count).map(|class| mean(self.cases.iter().map(|case| case.classes[class]))).collect()
    }

    /// The mean over the classes that occur anywhere; 0 if none does.
    pub fn mean(&self) -> f64 {
        mean(self.classes().into_iter()).unwrap_or(0.0)
    }
}

fn mean(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let (sum, count) = values.flatten().fold((0.0, 0usize), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / count as f64)
}

/// The Dice of the classes 1 to `foreground`.
pub fn dice(predicted: &[u8], reference: &[u8], foreground: usize) -> Vec<Option<f64>> {
    let mut both = vec![0u64; 256];
    let mut sizes = vec![0u64; 256];
    for (&p, &r) in predicted.iter().zip(reference) {
        sizes[usize::from(p)] += 1;
        sizes[usize::from(r)] += 1;
        if p == r {
            both[usize::from(p)] += 1;
        }
    }
    let of = |class: usize| (sizes[class] > 0).then(|| 2.0 * both[class] as f64 / sizes[class] as f64);
    (1..=foreground).map(of).collect()
}

/// Predicts every validation case and compares; `show(number, case, predicted classes)` sees each.
///
/// # Errors
/// A case that cannot be read again; memory.
pub fn validate(
    trainer: &mut TargetTrainer<UNet3d>,
    cases: &SegmentationCases,
    settings: &SegmentSettings,
    mut show: impl FnMut(usize, &Case, Vec<u8>, &CaseDice),
) -> Result<DiceReport> {
    let pool = ThreadPool::new(1);
    let mut report = DiceReport::default();
    for (number, index) in cases.valid().enumerate() {
        trainer.trainer.stop.check()?;
        let case = cases.store.get(&pool, index)?;
        let Trainer { cx, network, .. } = &mut trainer.trainer;
        let predicted = predict_classes(cx, network, &case, settings)?;
        let classes = dice(&predicted, &case.labels, cases.classes.foreground.len());
        let found = CaseDice { name: case.name.clone(), classes };
        show(number, &case, predicted, &found);
        report.cases.push(found);
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dice_counts_overlap_and_leaves_out_what_nobody_sees() {
        let reference = [0, 1, 1, 2, 2, 0];
        let predicted = [0, 1, 0, 2, 2, 2];
        let found = dice(&predicted, &reference, 3);
        assert_eq!(found, [Some(2.0 / 3.0), Some(0.8), None]);
        // Predicted but not there: 0, not left out.
        assert_eq!(dice(&[1, 1], &[0, 0], 1), [Some(0.0)]);
        let case = |classes: &[Option<f64>]| CaseDice { name: String::new(), classes: classes.to_vec() };
        let report = DiceReport { cases: vec![case(&[Some(0.5), None]), case(&[Some(1.0), Some(0.25)])] };
        assert_eq!(report.classes(), [Some(0.75), Some(0.25)]);
        assert_eq!((report.mean(), report.cases[0].mean()), (0.5, Some(0.5)));
        assert_eq!(DiceReport::default().mean(), 0.0);
    }
}
