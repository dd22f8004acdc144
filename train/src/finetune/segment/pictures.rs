//! `samples/`: validation cases with the predicted and the true labels laid over them.

use crate::report::montage::Montage;
use crate::report::picture::{Colour, Picture};
use crate::report::slice::{Enlargement, Orientation, Palette, Plane, Slice};
use crate::{Error, Result};

/// Colours of the classes from 1 on (Okabe and Ito's, told apart by colour-blind readers too); further
/// classes begin again.
const COLOURS: [Colour; 7] = [
    Colour(230, 159, 0),
    Colour(86, 180, 233),
    Colour(0, 158, 115),
    Colour(240, 228, 66),
    Colour(213, 94, 0),
    Colour(204, 121, 167),
    Colour(0, 114, 178),
];
/// Coverage of a label's colour, of 255.
const COVERAGE: u8 = 140;
/// Pixels the longer side of a plane takes, at least.
const SIDE: usize = 192;

/// One case to show.
pub struct SegmentationSample<'a> {
    /// What to write beside it.
    pub caption: String,
    /// One channel `[X, Y, Z]`.
    pub image: &'a [f32],
    /// Predicted classes.
    pub predicted: &'a [u8],
    /// True classes.
    pub reference: &'a [u8],
    /// Extents.
    pub size: [usize; 3],
}

/// Several labellings of one case to show beside each other.
pub struct LabelledRow<'a> {
    /// What to write beside it.
    pub caption: String,
    /// One channel `[X, Y, Z]`.
    pub image: &'a [f32],
    /// Classes by column, the reference first.
    pub labels: Vec<&'a [u8]>,
    /// Extents.
    pub size: [usize; 3],
}

/// Draws `image | prediction | reference` for each case: the axial and the coronal plane with the largest
/// true area (the middle ones where there is none).
///
/// # Errors
/// Arrays that do not fit their sizes; no sample.
pub fn segmentation_montage(samples: &[SegmentationSample<'_>]) -> Result<Picture> {
    let mut montage = Montage::new(["image", "prediction", "reference"]);
    for sample in samples {
        let labels = [sample.predicted, sample.reference];
        add_planes(&mut montage, &sample.caption, sample.image, sample.size, &labels, sample.reference)?;
    }
    montage.draw()
}

/// Draws `image` and then each labelling under its name: the planes in which the first of them, the
/// reference, is largest.
///
/// # Errors
/// Arrays that do not fit their sizes; rows without labels or longer than the names; no row.
pub fn labelled_montage<'a>(
    names: impl IntoIterator<Item = &'a str>,
    rows: &[LabelledRow<'_>],
) -> Result<Picture> {
    let mut montage = Montage::new(std::iter::once("image").chain(names));
    for row in rows {
        let reference = row.labels.first().ok_or_else(|| Error::Work("a row without labels".into()))?;
        add_planes(&mut montage, &row.caption, row.image, row.size, &row.labels, reference)?;
    }
    montage.draw()
}

/// Adds the axial and the coronal plane of a case.
fn add_planes(
    montage: &mut Montage,
    caption: &str,
    image: &[f32],
    size: [usize; 3],
    labels: &[&[u8]],
    reference: &[u8],
) -> Result<()> {
    let nothing = vec![0; reference.len()];
    for (number, plane) in [Plane::Axial, Plane::Coronal].into_iter().enumerate() {
        let index = fullest(reference, size, plane.axes()[2]);
        let all = std::iter::once(&nothing[..]).chain(labels.iter().copied());
        let cells =
            all.map(|labels| overlay(image, size, labels, plane, index)).collect::<Result<Vec<_>>>()?;
        montage.add_row(if number == 0 { caption } else { "" }, cells);
    }
    Ok(())
}

/// The index along an axis of the plane with the most foreground; the middle if there is none.
fn fullest(labels: &[u8], size: [usize; 3], axis: usize) -> usize {
    let mut counts = vec![0usize; size[axis]];
    let [_, ny, nz] = size;
    for (place, _) in labels.iter().enumerate().filter(|(_, label)| **label > 0) {
        counts[[place / (ny * nz), place / nz % ny, place % nz][axis]] += 1;
    }
    let most = counts.iter().copied().max().unwrap_or(0);
    if most == 0 { size[axis] / 2 } else { counts.iter().position(|&count| count == most).unwrap_or(0) }
}

fn overlay(image: &[f32], size: [usize; 3], labels: &[u8], plane: Plane, index: usize) -> Result<Picture> {
    let towards = Orientation::LEFT_POSTERIOR_SUPERIOR;
    let slice = Slice::cut(image, size, plane, index, towards)?;
    let values: Vec<f32> = labels.iter().map(|&label| f32::from(label)).collect();
    let classes = Slice::cut(&values, size, plane, index, towards)?;
    let scale = SIDE.div_ceil(slice.width.max(slice.height).max(1));
    let low = slice.values.iter().copied().fold(f32::INFINITY, f32::min);
    let high = slice.values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let enlarged = slice.resized(slice.width * scale, slice.height * scale, Enlargement::Smooth);
    let mut picture = enlarged.picture(low, high.max(low + 1e-6), Palette::Gray);
    for y in 0..picture.height() {
        for x in 0..picture.width() {
            let class = classes.values[y / scale * classes.width + x / scale] as usize;
            if class > 0 {
                picture.blend(x, y, COLOURS[(class - 1) % COLOURS.len()], COVERAGE);
            }
        }
    }
    Ok(picture)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plane_with_the_largest_area_is_shown_in_the_class_s_colour() {
        let size = [8, 8, 8];
        let mut reference = vec![0u8; 512];
        (0..8).for_each(|x| reference[(x * 8 + 3) * 8 + 6] = 1);
        assert_eq!(fullest(&reference, size, 2), 6);
        assert_eq!(fullest(&reference, size, 1), 3);
        assert_eq!(fullest(&[0; 512], size, 0), 4);
        let image = vec![0.0; 512];
        let sample = SegmentationSample {
            caption: "a".into(),
            image: &image,
            predicted: &reference,
            reference: &reference,
            size,
        };
        let picture = overlay(&image, size, &reference, Plane::Axial, 6).unwrap();
        let scale = picture.width() / 8;
        let Colour(red, green, blue) = picture.pixel(4 * scale, 3 * scale + 1).unwrap();
        assert!(red > 100 && green > 60 && blue == 0, "{red} {green} {blue}");
        assert_eq!(picture.pixel(4 * scale, 5 * scale), Some(Colour(0, 0, 0)));
        assert!(segmentation_montage(&[sample]).is_ok());
        let row = |labels| LabelledRow { caption: "a".into(), image: &image, labels, size };
        let two = labelled_montage(["reference", "b"], &[row(vec![&reference[..]; 2])]).unwrap();
        let three = labelled_montage(["reference", "b", "c"], &[row(vec![&reference[..]; 3])]).unwrap();
        assert!(three.width() > two.width() + 180 && three.height() == two.height());
        assert!(labelled_montage(["reference"], &[row(vec![])]).is_err());
        assert!(segmentation_montage(&[]).is_err());
    }
}
