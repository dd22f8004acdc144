//! Where patches come from: the channels and labels of one volume, borrowed.

use crate::error::{Error, Result};

/// The channels of a volume, its labels if any, and what lies beyond its faces.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a, L = u8> {
    pub(super) image: &'a [f32],
    pub(super) channels: usize,
    pub(super) extents: [usize; 3],
    pub(super) spacing: [f64; 3],
    pub(super) padding: Option<&'a [f32]>,
    pub(super) labels: Option<&'a [L]>,
    pub(super) padding_label: L,
}

impl<'a> Source<'a, u8> {
    /// The channels `[C, x, y, z]` (C order) of a volume of `extents` voxels with the given spacing
    /// in millimetres. Intensities beyond its faces are 0 unless [`Source::padded`] says otherwise.
    ///
    /// # Errors
    /// [`Error::Work`] if the image is empty or does not hold that many values, or the spacing is not
    /// positive.
    pub fn new(image: &'a [f32], channels: usize, extents: [usize; 3], spacing: [f64; 3]) -> Result<Self> {
        let [x, y, z] = extents;
        let values = [x, y, z].iter().try_fold(channels, |product, &extent| product.checked_mul(extent));
        if values != Some(image.len()) || image.is_empty() {
            return Err(Error::Work(format!(
                "augmentation: {} intensities are not {channels} channels of {x}x{y}x{z} voxels",
                image.len()
            )));
        }
        if !spacing.iter().all(|&length| length.is_finite() && length > 0.0) {
            return Err(Error::Work(format!("augmentation: no voxels are {spacing:?} mm large")));
        }
        Ok(Self { image, channels, extents, spacing, padding: None, labels: None, padding_label: 0 })
    }
}

impl<'a, L: Copy> Source<'a, L> {
    /// With the labels `[x, y, z]`, and the one that voxels beyond the faces get.
    ///
    /// # Errors
    /// [`Error::Work`] if there is not one label for each voxel.
    pub fn with_labels<M: Copy>(self, labels: &'a [M], padding_label: M) -> Result<Source<'a, M>> {
        let Self { image, channels, extents, spacing, padding, .. } = self;
        if labels.len() != self.voxels() {
            return Err(Error::Work(format!(
                "augmentation: {} labels for a volume of {} voxels",
                labels.len(),
                self.voxels()
            )));
        }
        Ok(Source { image, channels, extents, spacing, padding, labels: Some(labels), padding_label })
    }

    /// With the intensity that each channel has beyond the volume's faces.
    ///
    /// # Errors
    /// [`Error::Work`] unless there is one finite value for each channel.
    pub fn padded(mut self, padding: &'a [f32]) -> Result<Self> {
        if padding.len() != self.channels || !padding.iter().all(|value| value.is_finite()) {
            return Err(Error::Work(format!(
                "augmentation: padding {padding:?} is not one number for each of {} channels",
                self.channels
            )));
        }
        self.padding = Some(padding);
        Ok(self)
    }

    /// Number of channels.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Voxels along each axis.
    pub fn extents(&self) -> [usize; 3] {
        self.extents
    }

    /// Millimetres between neighbouring voxels along each axis.
    pub fn spacing(&self) -> [f64; 3] {
        self.spacing
    }

    /// Voxels of one channel.
    pub(super) fn voxels(&self) -> usize {
        self.extents.iter().product()
    }

    /// Each channel with its padding.
    pub(super) fn padded_channels(&self) -> impl Iterator<Item = (&'a [f32], f32)> {
        let padding = self.padding;
        let channels = self.image.chunks_exact(self.voxels()).enumerate();
        channels.map(move |(index, channel)| (channel, padding.map_or(0.0, |values| values[index])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let image = [0.5f32; 24];
        let message = |result: Result<Source<'_, u8>>| result.unwrap_err().to_string();
        assert!(message(Source::new(&image, 2, [2, 2, 2], [1.0; 3])).contains("24 intensities"));
        assert!(message(Source::new(&image, usize::MAX, [2, 2, 2], [1.0; 3])).contains("24 intensities"));
        assert!(message(Source::new(&[], 1, [0, 2, 2], [1.0; 3])).contains("0x2x2"));
        assert!(message(Source::new(&image, 1, [2, 3, 4], [1.0, 0.0, 1.0])).contains("0.0"));
        let source = Source::new(&image, 3, [2, 2, 2], [1.0; 3]).unwrap();
        assert!(message(source.with_labels(&[0u8; 7], 0)).contains("7 labels"));
        assert!(message(source.padded(&[0.0; 2])).contains("3 channels"));
        assert!(message(source.padded(&[0.0, 1.0, f32::NAN])).contains("NaN"));
        let source = source.with_labels(&[0u16; 8], 9).unwrap().padded(&[1.0, 2.0, 3.0]).unwrap();
        assert_eq!(source.padded_channels().map(|(_, padding)| padding).collect::<Vec<_>>(), [1.0, 2.0, 3.0]);
        assert_eq!(source.padding_label, 9);
    }
}
