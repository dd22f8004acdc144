//! In-painting baseline (Pathak et al., *Context encoders*, 2016, without the adversarial part): the
//! holes of an inner cut-out, with the loss counted inside them only.

use super::cutout::Cutout;

/// Writes 1 where the loss counts: in the holes, or everywhere. An in-painting draw always has a
/// hole ([`Cutout::draw`] is told so), hence its mask is never empty.
pub(super) fn write_mask(loss_in_holes: bool, cutout: &Cutout, mask: &mut [f32]) {
    if loss_in_holes {
        mask.fill(0.0);
        cutout.hidden.for_each_run(|hole| mask[hole].fill(1.0));
    } else {
        mask.fill(1.0);
    }
}
