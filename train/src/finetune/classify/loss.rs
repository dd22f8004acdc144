//! The loss of a classification.

use super::config::ClassLoss;
use genesis_kernels::ops::loss::Loss;

/// The loss on logits of so many classes: one logit for two classes, else one a class. The focal loss of two
/// classes has the paper's α = 0.25 unless class weights say otherwise.
pub fn on_logits(loss: ClassLoss, classes: usize) -> Loss {
    match (loss, classes) {
        (ClassLoss::Ce, 2) => Loss::BceWithLogits,
        (ClassLoss::Focal, 2) => Loss::SigmoidFocal { alpha: 0.25, gamma: 2.0 },
        (ClassLoss::Ce, _) => Loss::CrossEntropy,
        (ClassLoss::Focal, _) => Loss::SoftmaxFocal { gamma: 2.0 },
    }
}
