//! Validation: every cube classified once; loss, AUC and accuracy.

use super::data::ClassifiedCubes;
use crate::Result;
use crate::evaluation::ranking::one_vs_rest;
use crate::finetune::segment::interleave;
use crate::finetune::target_trainer::TargetTrainer;
use crate::inference::{class_logits, class_probabilities, predicted_class};
use genesis_autograd::{Tape, Var};
use genesis_model::{Classifier3d, Statistics};
use genesis_tensor::parallel::ThreadPool;
use genesis_tensor::{DType, Tensor};

/// What a validation found.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassificationReport {
    /// The training loss of the validation cubes.
    pub loss: f64,
    /// Area under the ROC curve, see [`area_under_curve`].
    pub auc: Option<f64>,
    /// Share of the cubes whose most probable class is theirs.
    pub accuracy: f64,
    /// The probabilities of every cube's classes.
    pub probabilities: Vec<Vec<f64>>,
}

/// Classifies every validation cube, `batch_size` at a time.
///
/// # Errors
/// A cube that cannot be read again; memory.
pub fn validate(
    trainer: &mut TargetTrainer<Classifier3d>,
    cubes: &ClassifiedCubes,
    batch_size: usize,
    statistics: Statistics,
) -> Result<ClassificationReport> {
    let pool = ThreadPool::new(1);
    let numbers: Vec<usize> = (cubes.train()..cubes.store.count()).collect();
    let mut all: Vec<f32> = Vec::new();
    let outputs = trainer.trainer.network.config().classes;
    for batch in numbers.chunks(batch_size.max(1)) {
        trainer.trainer.stop.check()?;
        let held = batch.iter().map(|&number| cubes.store.get(&pool, number)).collect::<Result<Vec<_>>>()?;
        let Some([d, h, w]) = held.first().map(|cube| cube.size) else { continue };
        let mut input = Tensor::unspecified([held.len(), d, h, w, cubes.channels], DType::F32)?;
        let values = input.as_mut_slice()?.chunks_exact_mut(d * h * w * cubes.channels);
        held.iter().zip(values).for_each(|(cube, values)| interleave(&cube.image, cubes.channels, values));
        let core = &mut trainer.trainer;
        let precision = core.precision();
        let logits = class_logits(&core.cx, &mut core.network, input, statistics, precision)?;
        all.extend_from_slice(logits.as_slice());
    }
    let labels = cubes.valid_labels();
    let targets: Vec<f32> = labels.iter().map(|&label| label as f32).collect();
    let logits = Var::constant(Tensor::from_slice([labels.len(), outputs], &all)?);
    let targets = Tensor::from_slice([labels.len()], &targets)?;
    let loss = trainer.loss().apply(&trainer.trainer.cx, &mut Tape::inference(), &logits, targets)?;
    let probabilities: Vec<Vec<f64>> = all.chunks_exact(outputs).map(class_probabilities).collect();
    let right = probabilities.iter().zip(labels).filter(|(p, label)| predicted_class(p) == **label).count();
    Ok(ClassificationReport {
        loss: f64::from(loss.tensor().to_host()?.as_slice()[0]),
        auc: area_under_curve(&probabilities, labels)?,
        accuracy: right as f64 / labels.len().max(1) as f64,
        probabilities,
    })
}

/// The area under the ROC curve: of class 1 for two classes, else the mean over the classes that occur, each
/// against all others. `None` where it is not defined: all labels are of one class.
///
/// # Errors
/// Probabilities that are not finite or do not fit the labels.
pub fn area_under_curve(probabilities: &[Vec<f64>], labels: &[usize]) -> Result<Option<f64>> {
    let classes = probabilities.first().map_or(0, Vec::len);
    if classes == 0 {
        return Ok(None);
    }
    let flat = probabilities.concat();
    let auc = |class| one_vs_rest(&flat, labels, classes, class).map(|ranking| ranking.auc());
    if classes == 2 {
        return auc(1);
    }
    let found: Vec<Option<f64>> = (0..classes).map(auc).collect::<Result<_>>()?;
    let defined: Vec<f64> = found.into_iter().flatten().collect();
    Ok((!defined.is_empty()).then(|| defined.iter().sum::<f64>() / defined.len() as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auc_is_of_class_1_or_the_mean_over_classes_that_occur() {
        let binary: Vec<Vec<f64>> = [0.9, 0.4, 0.65, 0.2].map(|p| vec![p, 1.0 - p]).to_vec();
        assert_eq!(area_under_curve(&binary, &[0, 0, 1, 1]).unwrap(), Some(0.75));
        assert_eq!(area_under_curve(&binary, &[1, 1, 1, 1]).unwrap(), None);
        let three = [vec![0.7, 0.2, 0.1], vec![0.1, 0.8, 0.1], vec![0.5, 0.4, 0.1], vec![0.2, 0.3, 0.5]];
        // Class 0: 1, class 1: 3/4 … of rows 1 and 3 against 0 and 2; class 2 does not occur.
        let first = one_vs_rest(&three.concat(), &[0, 1, 0, 1], 3, 0).unwrap().auc().unwrap();
        let second = one_vs_rest(&three.concat(), &[0, 1, 0, 1], 3, 1).unwrap().auc().unwrap();
        assert_eq!((first, second), (1.0, 0.75));
        assert_eq!(area_under_curve(&three, &[0, 1, 0, 1]).unwrap(), Some(0.875));
        assert_eq!(area_under_curve(&[], &[]).unwrap(), None);
    }
}
