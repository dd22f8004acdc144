//! A case as a picture: three planes of the scan with the outlines of reference and prediction.

use crate::Result;
use crate::report::montage::Montage;
use crate::report::picture::{Colour, Picture, TextStyle};
use crate::report::slice::{Enlargement, Palette, Plane, Slice};
use crate::volume::{Reorientation, Volume};

/// Sky blue and orange of Okabe and Ito's palette, told apart by colour-blind readers too.
const REFERENCE: Colour = Colour(86, 180, 233);
const PREDICTION: Colour = Colour(230, 159, 0);
/// The ground of montages.
const GROUND: Colour = Colour(24, 26, 30);
/// Pixels of a plane's longer side.
const SIDE: usize = 320;
/// Room around what is outlined in a close-up, as a share of its extent, and the least, in millimetres.
const ROOM: f64 = 0.25;
const LEAST_ROOM_MM: f64 = 5.0;

/// The three planes of a scan through one place, in canonical orientation.
pub struct View {
    change: Reorientation,
    /// Extents of the scan as its file has them.
    input_size: [usize; 3],
    /// Extents and spacing in canonical orientation.
    size: [usize; 3],
    spacing: [f64; 3],
    /// The place.
    at: [usize; 3],
    planes: Vec<Slice>,
}

impl View {
    /// Cuts the planes through voxel `centre` of the scan.
    pub fn cut(scan: &Volume, centre: [usize; 3]) -> Self {
        let change = Reorientation::to_canonical(scan);
        let size = change.size(scan.size);
        let at = std::array::from_fn(|axis| {
            let place = centre[change.from_axis[axis]];
            if change.reversed[axis] { size[axis] - 1 - place } else { place }
        });
        let spacing = change.from_axis.map(|axis| scan.spacing[axis]);
        let mut view = Self { change, input_size: scan.size, size, spacing, at, planes: Vec::new() };
        view.planes = Plane::ALL.iter().map(|&plane| view.slice(plane, |i| scan.voxels[i])).collect();
        view
    }

    /// One plane of an array of the scan, head and front at the top.
    fn slice(&self, plane: Plane, value: impl Fn(usize) -> f32) -> Slice {
        let [across, down, fixed] = plane.axes();
        let (width, height) = (self.size[across], self.size[down]);
        let mut place = [0; 3];
        place[fixed] = self.at[fixed];
        let mut values = Vec::with_capacity(width * height);
        for row in 0..height {
            // The last axis grows towards the head.
            place[down] = if down == 2 { height - 1 - row } else { row };
            for column in 0..width {
                place[across] = column;
                values.push(value(self.input_index(place)));
            }
        }
        Slice { width, height, values }
    }

    /// The position in the scan's arrays of a place in canonical orientation.
    fn input_index(&self, place: [usize; 3]) -> usize {
        let mut old = [0; 3];
        for axis in 0..3 {
            let reversed = self.change.reversed[axis];
            old[self.change.from_axis[axis]] =
                if reversed { self.size[axis] - 1 - place[axis] } else { place[axis] };
        }
        (old[0] * self.input_size[1] + old[1]) * self.input_size[2] + old[2]
    }
}

/// The voxel nearest to the centre of mass of all foreground; `None` without any. Labels are `[X, Y, Z]`.
pub fn centre_of_mass(labels: &[u8], size: [usize; 3]) -> Option<[usize; 3]> {
    let (mut sums, mut count) = ([0u64; 3], 0u64);
    for (place, _) in labels.iter().enumerate().filter(|(_, label)| **label > 0) {
        let [_, ny, nz] = size;
        let position = [place / (ny * nz), place / nz % ny, place % nz];
        sums.iter_mut().zip(position).for_each(|(sum, at)| *sum += at as u64);
        count += 1;
    }
    (count > 0).then(|| sums.map(|sum| ((sum as f64 / count as f64).round()) as usize))
}

/// Draws whole planes with outlines, close-ups with outlines, and close-ups without. `window` are the
/// intensities drawn black and white; without one, the percentiles 1 and 99 of the planes.
///
/// # Errors
/// Those of drawing.
pub fn overlay(
    view: &View,
    caption: &str,
    predicted: &[u8],
    reference: &[u8],
    window: Option<(f32, f32)>,
) -> Result<Picture> {
    let window = window.unwrap_or_else(|| percentiles(&view.planes));
    let mut rows: [Vec<Picture>; 3] = Default::default();
    for (&plane, image) in Plane::ALL.iter().zip(&view.planes) {
        let [across, down, _] = plane.axes();
        let spacing = [view.spacing[across], view.spacing[down]];
        let masks = [reference, predicted].map(|labels| view.slice(plane, |i| f32::from(labels[i])));
        let whole = Window { left: 0, top: 0, width: image.width, height: image.height };
        let near = Window::around(&masks, spacing).unwrap_or(whole);
        let draw = |part: &Window, outlined: bool| {
            let cut = part.cut(image);
            let (width, height) = pixels(&cut, spacing);
            let enlarged = cut.resized(width, height, Enlargement::Smooth);
            let mut picture = enlarged.picture(window.0, window.1, Palette::Gray);
            if outlined {
                // The reference's line is broad, the prediction's narrow: where they agree both are seen.
                for (mask, colour, broad) in [(&masks[0], REFERENCE, true), (&masks[1], PREDICTION, false)] {
                    outline(&mut picture, &part.cut(mask), colour, broad);
                }
            }
            picture
        };
        rows[0].push(draw(&whole, true));
        rows[1].push(draw(&near, true));
        rows[2].push(draw(&near, false));
    }
    let mut montage = Montage::new(Plane::ALL.map(Plane::name));
    let [whole, near, bare] = rows;
    montage.add_row(caption, whole);
    montage.add_row("close-up", near);
    montage.add_row("", bare);
    Ok(with_legend(&montage.draw()?))
}

/// A part of a plane, in its voxels.
#[derive(Clone, Copy)]
struct Window {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
}

impl Window {
    /// The part around all foreground with some room; `None` without foreground.
    fn around(masks: &[Slice; 2], spacing: [f64; 2]) -> Option<Self> {
        let (width, height) = (masks[0].width, masks[0].height);
        let inside = |x: usize, y: usize| masks.iter().any(|mask| mask.values[y * width + x] > 0.0);
        let columns: Vec<usize> = (0..width).filter(|&x| (0..height).any(|y| inside(x, y))).collect();
        let rows: Vec<usize> = (0..height).filter(|&y| (0..width).any(|x| inside(x, y))).collect();
        let span = |places: &[usize], extent: usize, spacing: f64| {
            let (&first, &last) = (places.first()?, places.last()?);
            let room = ((last + 1 - first) as f64 * ROOM).max(LEAST_ROOM_MM / spacing).ceil() as usize;
            let start = first.saturating_sub(room);
            Some((start, (last + 1 + room).min(extent) - start))
        };
        let (left, width) = span(&columns, width, spacing[0])?;
        let (top, height) = span(&rows, height, spacing[1])?;
        Some(Self { left, top, width, height })
    }

    fn cut(&self, slice: &Slice) -> Slice {
        let mut values = Vec::with_capacity(self.width * self.height);
        for row in self.top..self.top + self.height {
            values.extend_from_slice(&slice.values[row * slice.width + self.left..][..self.width]);
        }
        Slice { width: self.width, height: self.height, values }
    }
}

/// Extents in pixels at true proportions.
fn pixels(slice: &Slice, spacing: [f64; 2]) -> (usize, usize) {
    let (wide, high) = (slice.width as f64 * spacing[0], slice.height as f64 * spacing[1]);
    let scale = SIDE as f64 / wide.max(high);
    let extent = |millimetres: f64| ((millimetres * scale).round() as usize).max(1);
    (extent(wide), extent(high))
}

/// Outlines every class of a plane of labels on its picture.
fn outline(picture: &mut Picture, labels: &Slice, colour: Colour, broad: bool) {
    let (width, height) = (picture.width(), picture.height());
    let mut present = [false; 256];
    labels.values.iter().for_each(|&value| present[value as usize & 255] = true);
    for class in (1..256).filter(|&class| present[class]) {
        let mask = labels.values.iter().map(|&value| f32::from(u8::from(value as usize == class)));
        let mask = Slice { values: mask.collect(), ..*labels };
        let mask = mask.resized(width, height, Enlargement::Smooth);
        let inside = |x: usize, y: usize| mask.values[y * width + x] >= 0.5;
        for y in 0..height {
            for x in 0..width {
                let here = inside(x, y);
                let mut beside = [(x.wrapping_sub(1), y), (x + 1, y), (x, y.wrapping_sub(1)), (x, y + 1)]
                    .into_iter()
                    .filter(|&(x, y)| x < width && y < height);
                if (here || broad) && beside.any(|(x, y)| inside(x, y) != here) {
                    picture.set(x, y, colour);
                }
            }
        }
    }
}

fn percentiles(planes: &[Slice]) -> (f32, f32) {
    let finite = planes.iter().flat_map(|plane| plane.values.iter().copied());
    let mut values: Vec<f64> = finite.filter(|value| value.is_finite()).map(f64::from).collect();
    values.sort_by(f64::total_cmp);
    let percentile = |percent| crate::evaluation::statistics::percentile(&values, percent);
    match (percentile(1.0), percentile(99.0)) {
        (Some(low), Some(high)) if low < high => (low as f32, high as f32),
        (Some(low), _) => (low as f32, low as f32 + 1.0),
        _ => (0.0, 1.0),
    }
}

/// The picture with a line below it that says whose outlines have which colour.
fn with_legend(picture: &Picture) -> Picture {
    let style = |colour| TextStyle::bold(colour);
    let line = style(REFERENCE).line_height();
    let mut whole = Picture::new(picture.width(), picture.height() + 2 * line, GROUND);
    whole.paste(picture, 0, 0);
    let mut left = 16;
    for (name, colour, thick) in [("reference", REFERENCE, 4), ("prediction", PREDICTION, 2)] {
        whole.paste(&Picture::new(24, thick, colour), left, picture.height() + (line - thick) / 2);
        whole.text(name, left + 32, picture.height(), style(colour));
        left += 32 + style(colour).width(name) + 32;
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::affine;

    /// A scan whose axes run z, x, y of the patient, with one bright line, and a label there.
    fn turned() -> (Volume, Vec<u8>) {
        let mut affine = affine::IDENTITY;
        // Voxel axis 0 runs to the head, 1 to the left, 2 to the back.
        for (row, values) in affine.iter_mut().zip([[0.0, -1.0, 0.0], [0.0, 0.0, -2.0], [3.0, 0.0, 0.0]]) {
            row[..3].copy_from_slice(&values);
        }
        let size = [5, 6, 7];
        let mut voxels = vec![0.0; 210];
        let mut labels = vec![0; 210];
        let place = (4 * 6 + 1) * 7 + 2;
        (voxels[place], labels[place]) = (1.0, 1);
        (Volume::new(voxels, size, affine).unwrap(), labels)
    }

    #[test]
    fn planes_are_cut_through_the_centre_in_canonical_orientation() {
        let (scan, labels) = turned();
        let centre = centre_of_mass(&labels, scan.size).unwrap();
        assert_eq!(centre, [4, 1, 2]);
        let view = View::cut(&scan, centre);
        assert_eq!((view.size, view.spacing, view.at), ([6, 7, 5], [1.0, 2.0, 3.0], [1, 2, 4]));
        // Axial: x across, y down; coronal and sagittal: the head (the last z) at the top.
        let bright: Vec<usize> =
            view.planes.iter().map(|plane| plane.values.iter().position(|&v| v == 1.0).unwrap()).collect();
        assert_eq!(bright, [2 * 6 + 1, 1, 2]);
        assert_eq!(centre_of_mass(&[0; 8], [2; 3]), None);
    }

    #[test]
    fn outlines_have_the_colours_of_the_legend() {
        let (scan, labels) = turned();
        let view = View::cut(&scan, [4, 1, 2]);
        let count = |picture: &Picture, colour: Colour| {
            let places = (0..picture.height()).flat_map(|y| (0..picture.width()).map(move |x| (x, y)));
            places.filter(|&(x, y)| picture.pixel(x, y) == Some(colour)).count()
        };
        let nothing = vec![0u8; labels.len()];
        let both = overlay(&view, "case\nDice 1.000", &labels, &labels, None).unwrap();
        let reference = overlay(&view, "case\nDice 0.000", &nothing, &labels, None).unwrap();
        let none = overlay(&view, "case\nDice 1.000", &nothing, &nothing, Some((0.0, 1.0))).unwrap();
        // The legend itself is drawn in both colours.
        assert!(count(&both, REFERENCE) > count(&none, REFERENCE) + 100);
        assert!(count(&both, PREDICTION) > count(&none, PREDICTION) + 100);
        assert_eq!(count(&reference, PREDICTION), count(&none, PREDICTION));
        assert!(count(&none, PREDICTION) > 20);
    }

    #[test]
    fn a_square_is_outlined_at_its_edge() {
        let mut labels = Slice { width: 8, height: 8, values: vec![0.0; 64] };
        (2..6).for_each(|y| (2..6).for_each(|x| labels.values[y * 8 + x] = 3.0));
        let mut picture = Picture::new(80, 80, GROUND);
        outline(&mut picture, &labels, PREDICTION, false);
        for (x, y, drawn) in
            [(20, 40, true), (59, 40, true), (40, 20, true), (19, 40, false), (40, 40, false)]
        {
            assert_eq!(picture.pixel(x, y) == Some(PREDICTION), drawn, "{x} {y}");
        }
    }
}
