//! `samples/`: validation cubes with the probabilities the network gives them.

use super::data::ClassifiedCubes;
use super::validation::ClassificationReport;
use crate::Result;
use crate::inference::predicted_class;
use crate::report::montage::{CubeView, Montage};
use crate::report::picture::Picture;
use crate::report::slice::Enlargement;
use genesis_tensor::parallel::ThreadPool;

/// Cubes shown.
const SHOWN: usize = 8;
/// Pixels the longest axis takes, at least.
const SIDE: usize = 128;

/// The middle planes of the first validation cubes of every class, with their true class and the
/// probabilities.
///
/// # Errors
/// A cube that cannot be read again.
pub fn classification_montage(cubes: &ClassifiedCubes, report: &ClassificationReport) -> Result<Picture> {
    let classes = &cubes.table.classes;
    let pool = ThreadPool::new(1);
    let mut montage = Montage::new(["axial, coronal, sagittal"]);
    for row in shown(cubes.valid_labels(), classes.len()) {
        let index = cubes.train() + row;
        let cube = cubes.store.get(&pool, index)?;
        let voxels: usize = cube.size.iter().product();
        let image = &cube.image[..voxels];
        let low = image.iter().copied().fold(f32::INFINITY, f32::min);
        let high = image.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let longest = cube.size.iter().copied().max().unwrap_or(1);
        let view = CubeView { window: (low, high.max(low + 1e-6)), ..CubeView::new(image, cube.size) };
        let picture = view.three_planes(SIDE.div_ceil(longest), Enlargement::Smooth)?;
        let probabilities = &report.probabilities[row];
        let (truth, found) = (cubes.labels[index], predicted_class(probabilities));
        let mark = if truth == found { "right" } else { "WRONG" };
        let caption = format!(
            "{}\nis {}\nfound {} ({:.3})\n{mark}",
            cubes.table.rows[index].name, classes[truth], classes[found], probabilities[found]
        );
        montage.add_row(caption, vec![picture]);
    }
    montage.draw()
}

/// The first rows of every class, equally many as far as they reach, in order.
fn shown(labels: &[usize], classes: usize) -> Vec<usize> {
    let each = SHOWN.div_ceil(classes.max(1));
    let mut left = vec![each; classes];
    let mut rows = Vec::new();
    for (row, &label) in labels.iter().enumerate() {
        if left[label] > 0 && rows.len() < SHOWN {
            left[label] -= 1;
            rows.push(row);
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_is_shown() {
        assert_eq!(shown(&[0, 0, 0, 0, 0, 0, 1], 2), [0, 1, 2, 3, 6]);
        assert_eq!(shown(&[0; 20], 1).len(), SHOWN);
    }
}
