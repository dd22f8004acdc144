//! Planes of a volume or cube as they are looked at: cut, turned, resized, coloured.
//!
//! Arrays are `[X, Y, Z]`, z fastest (a cube's rows, columns, depth). A plane is shown with x across
//! and y down (axial), x across and z up (coronal), y across and z up (sagittal), turned so that the
//! patient's right is at the picture's left, front at the top, head at the top.

use super::picture::{Colour, Picture};
use crate::error::{Error, Result};

/// One of the three planes of anatomy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plane {
    /// Across the body: x and y at one z.
    Axial,
    /// Ear to ear: x and z at one y.
    Coronal,
    /// Nose to nape: y and z at one x.
    Sagittal,
}

impl Plane {
    /// All three, in the order they are shown.
    pub const ALL: [Self; 3] = [Self::Axial, Self::Coronal, Self::Sagittal];

    /// The axes shown across, shown downwards, and held fixed.
    pub const fn axes(self) -> [usize; 3] {
        match self {
            Self::Axial => [0, 1, 2],
            Self::Coronal => [0, 2, 1],
            Self::Sagittal => [1, 2, 0],
        }
    }

    /// The plane's name in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Axial => "axial",
            Self::Coronal => "coronal",
            Self::Sagittal => "sagittal",
        }
    }
}

/// Which of the axes x, y, z are mirrored for display.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Orientation(pub [bool; 3]);

impl Orientation {
    /// For arrays whose axes run to the patient's left, back and head, as CT scanners and the
    /// original's LUNA16 volumes store them; assumed of bare cubes, which know no direction.
    pub const LEFT_POSTERIOR_SUPERIOR: Self = Self([false, false, true]);

    /// From a NIfTI affine, index to millimetres towards right, front and head: each array axis is
    /// mirrored according to the sign of its own diagonal entry (an oblique or permuted volume is
    /// shown along its array axes).
    pub fn from_affine(affine: &[[f64; 4]; 4]) -> Self {
        // Pictures run to the patient's left, back and feet: the negatives of the affine's x, y, z.
        Self([affine[0][0] > 0.0, affine[1][1] > 0.0, affine[2][2] > 0.0])
    }
}

/// How values become pixels when a picture is enlarged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enlargement {
    /// Each voxel a square: what the network sees.
    Nearest,
    /// Cubic interpolation (Catmull-Rom): what a viewer shows.
    Smooth,
}

/// One plane of values, rows from the top.
#[derive(Clone, Debug, PartialEq)]
pub struct Slice {
    /// Values across.
    pub width: usize,
    /// Values downwards.
    pub height: usize,
    /// `height * width` values.
    pub values: Vec<f32>,
}

impl Slice {
    /// Cuts `plane` at `index` of its fixed axis out of `voxels`, an array of `size` `[X, Y, Z]`.
    ///
    /// # Errors
    /// [`Error::Work`] if the sizes do not fit together or the index lies outside.
    pub fn cut(
        voxels: &[f32],
        size: [usize; 3],
        plane: Plane,
        index: usize,
        orientation: Orientation,
    ) -> Result<Self> {
        let [across, down, fixed] = plane.axes();
        if voxels.len() != size.iter().product::<usize>() || index >= size[fixed] {
            return Err(Error::Work(format!(
                "cannot show {} slice {index} of {size:?} voxels held in {} values",
                plane.name(),
                voxels.len()
            )));
        }
        let (width, height) = (size[across], size[down]);
        let mut values = Vec::with_capacity(width * height);
        let mirrored = |axis: usize, at: usize| if orientation.0[axis] { size[axis] - 1 - at } else { at };
        let mut position = [0; 3];
        position[fixed] = index;
        for row in 0..height {
            position[down] = mirrored(down, row);
            for column in 0..width {
                position[across] = mirrored(across, column);
                values.push(voxels[(position[0] * size[1] + position[1]) * size[2] + position[2]]);
            }
        }
        Ok(Self { width, height, values })
    }

    /// The same plane with `width` by `height` values. Shrinking averages over what falls together.
    pub fn resized(&self, width: usize, height: usize, enlargement: Enlargement) -> Self {
        let across = self.transposed_resize(width, enlargement);
        across.transposed_resize(height, enlargement)
    }

    /// Resizes each row to `width` values and transposes, so that two calls resize a plane.
    fn transposed_resize(&self, width: usize, enlargement: Enlargement) -> Self {
        let mut values = vec![0.0; width * self.height];
        let ratio = self.width as f64 / width.max(1) as f64;
        for column in 0..width {
            let centre = (column as f64 + 0.5) * ratio;
            let taps = taps(centre, ratio, self.width, enlargement);
            for row in 0..self.height {
                let line = &self.values[row * self.width..(row + 1) * self.width];
                let sum: f64 = taps.iter().map(|&(at, weight)| f64::from(line[at]) * weight).sum();
                values[column * self.height + row] = sum as f32;
            }
        }
        Self { width: self.height, height: width, values }
    }

    /// The plane as a picture, `low` drawn as the palette's first colour and `high` as its last.
    /// What is not a number is drawn magenta, so that a broken network cannot pass for black.
    pub fn picture(&self, low: f32, high: f32, palette: Palette) -> Picture {
        let mut picture = Picture::new(self.width, self.height, Colour(0, 0, 0));
        for (at, &value) in self.values.iter().enumerate() {
            let colour = if value.is_nan() {
                Colour(255, 0, 255)
            } else {
                palette.colour(((value - low) / (high - low)).clamp(0.0, 1.0))
            };
            picture.set(at % self.width, at / self.width, colour);
        }
        picture
    }
}

/// The source positions and weights (sum 1) of one resized value centred on `centre`, where source
/// value i covers i..i+1 and `ratio` source values fall on one.
fn taps(centre: f64, ratio: f64, length: usize, enlargement: Enlargement) -> Vec<(usize, f64)> {
    let last = length.saturating_sub(1);
    if enlargement == Enlargement::Nearest && ratio <= 1.0 {
        return vec![((centre as usize).min(last), 1.0)];
    }
    let stretch = ratio.max(1.0);
    let reach = 2.0 * stretch;
    let mut taps: Vec<(usize, f64)> = Vec::new();
    let mut total = 0.0;
    for at in (centre - reach).floor() as i64..=(centre + reach).ceil() as i64 {
        let weight = catmull_rom((at as f64 + 0.5 - centre) / stretch);
        if weight != 0.0 {
            taps.push((at.clamp(0, last as i64) as usize, weight));
            total += weight;
        }
    }
    for tap in &mut taps {
        tap.1 /= total;
    }
    taps
}

/// The cubic of Catmull and Rom (1974): passes through its points, support 2.
fn catmull_rom(distance: f64) -> f64 {
    let d = distance.abs();
    if d < 1.0 {
        1.0 + d * d * (1.5 * d - 2.5)
    } else if d < 2.0 {
        2.0 + d * (-4.0 + d * (2.5 - 0.5 * d))
    } else {
        0.0
    }
}

/// The colours of values from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Palette {
    /// Black to white.
    Gray,
    /// Black over violet and orange to pale yellow (after matplotlib's "inferno"): for errors.
    Heat,
}

impl Palette {
    /// The colour of `value` in 0..=1.
    pub fn colour(self, value: f32) -> Colour {
        const HEAT: [[f32; 3]; 6] = [
            [0.0, 0.0, 4.0],
            [66.0, 10.0, 104.0],
            [147.0, 38.0, 103.0],
            [221.0, 81.0, 58.0],
            [252.0, 165.0, 10.0],
            [252.0, 255.0, 164.0],
        ];
        match self {
            Self::Gray => {
                let gray = (value * 255.0).round() as u8;
                Colour(gray, gray, gray)
            }
            Self::Heat => {
                let place = value * (HEAT.len() - 1) as f32;
                let below = (place as usize).min(HEAT.len() - 2);
                let share = place - below as f32;
                let mix =
                    |channel: usize| HEAT[below][channel] * (1.0 - share) + HEAT[below + 1][channel] * share;
                Colour(mix(0).round() as u8, mix(1).round() as u8, mix(2).round() as u8)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A 2x3x4 array whose value tells its position: 100 x + 10 y + z.
    fn telling() -> (Vec<f32>, [usize; 3]) {
        let size = [2, 3, 4];
        let values = (0..24).map(|at| (at / 12 * 100 + at / 4 % 3 * 10 + at % 4) as f32);
        (values.collect(), size)
    }

    #[test]
    fn planes_hold_the_voxels_they_name() {
        let (voxels, size) = telling();
        let cut = |plane, index| {
            Slice::cut(&voxels, size, plane, index, Orientation::LEFT_POSTERIOR_SUPERIOR).unwrap()
        };
        let axial = cut(Plane::Axial, 3);
        assert_eq!((axial.width, axial.height), (2, 3));
        assert_eq!(axial.values, [3.0, 103.0, 13.0, 113.0, 23.0, 123.0]);
        let coronal = cut(Plane::Coronal, 1);
        assert_eq!((coronal.width, coronal.height), (2, 4));
        assert_eq!(coronal.values, [13.0, 113.0, 12.0, 112.0, 11.0, 111.0, 10.0, 110.0]);
        let sagittal = cut(Plane::Sagittal, 1);
        assert_eq!((sagittal.width, sagittal.height), (3, 4));
        assert_eq!(sagittal.values[..3], [103.0, 113.0, 123.0]);
        assert!(Slice::cut(&voxels, size, Plane::Axial, 4, Orientation([false; 3])).is_err());
        assert!(Slice::cut(&voxels[1..], size, Plane::Axial, 0, Orientation([false; 3])).is_err());
    }

    #[test]
    fn a_right_anterior_superior_volume_is_mirrored_in_all_axes() {
        let mut affine = [[0.0; 4]; 4];
        for axis in 0..3 {
            affine[axis][axis] = 2.0;
        }
        assert_eq!(Orientation::from_affine(&affine), Orientation([true; 3]));
        affine[0][0] = -2.0;
        affine[1][1] = -2.0;
        assert_eq!(Orientation::from_affine(&affine), Orientation::LEFT_POSTERIOR_SUPERIOR);
        let (voxels, size) = telling();
        let slice = Slice::cut(&voxels, size, Plane::Axial, 0, Orientation([true; 3])).unwrap();
        assert_eq!(slice.values, [120.0, 20.0, 110.0, 10.0, 100.0, 0.0]);
    }

    #[test]
    fn nearest_repeats_and_smooth_keeps_constants_and_slopes() {
        let slice = Slice { width: 2, height: 1, values: vec![1.0, 5.0] };
        let doubled = slice.resized(4, 2, Enlargement::Nearest);
        assert_eq!(doubled.values, [1.0, 1.0, 5.0, 5.0, 1.0, 1.0, 5.0, 5.0]);

        let slope = Slice { width: 9, height: 3, values: (0..27).map(|at| (at % 9) as f32).collect() };
        let smooth = slope.resized(27, 9, Enlargement::Smooth);
        // Away from the borders a cubic reproduces a straight line: (column + 0.5) / 3 - 0.5.
        for column in 8..19 {
            let expected = (column as f32 + 0.5) / 3.0 - 0.5;
            assert!((smooth.values[4 * 27 + column] - expected).abs() < 1e-5);
        }
    }

    #[test]
    fn shrinking_averages() {
        let stripes = Slice { width: 64, height: 1, values: (0..64).map(|at| (at % 2) as f32).collect() };
        let small = stripes.resized(8, 1, Enlargement::Smooth);
        assert!(small.values[1..7].iter().all(|value| (value - 0.5).abs() < 0.02), "{:?}", small.values);
    }

    #[test]
    fn windows_clamp_and_nan_shows() {
        let slice = Slice { width: 4, height: 1, values: vec![-9.0, 0.5, 7.0, f32::NAN] };
        let picture = slice.picture(0.0, 1.0, Palette::Gray);
        let colours: Vec<_> = (0..4).filter_map(|x| picture.pixel(x, 0)).collect();
        let expected = [Colour(0, 0, 0), Colour(128, 128, 128), Colour(255, 255, 255), Colour(255, 0, 255)];
        assert_eq!(colours, expected);
        assert_eq!(Palette::Heat.colour(0.2), Colour(66, 10, 104));
        assert_eq!(Palette::Heat.colour(1.0), Colour(252, 255, 164));
    }
}
