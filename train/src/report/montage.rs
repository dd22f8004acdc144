//! Pictures of cubes and volumes: the three planes through the middle, side by side in a captioned
//! grid. Used for a run's `samples/`, for `genesis deform` and for the report of `genesis demo`.

use super::picture::{Colour, Picture, TextStyle};
use super::slice::{Enlargement, Orientation, Palette, Plane, Slice};
use crate::error::{Error, Result};

const BACKGROUND: Colour = Colour(24, 26, 30);
const SEPARATOR: Colour = Colour(52, 56, 64);
const INK: Colour = Colour(226, 229, 234);
const FAINT_INK: Colour = Colour(150, 156, 166);

/// Pixels between planes of one cube.
const PLANE_GAP: usize = 2;
/// Pixels between cells, with the separator in the middle.
const CELL_GAP: usize = 17;
/// Pixels around the whole grid.
const MARGIN: usize = 16;
/// Letters of a row's caption before it is wrapped.
const CAPTION_LETTERS: usize = 18;

/// One cube to show, `[X, Y, Z]` with z fastest.
#[derive(Clone, Copy, Debug)]
pub struct CubeView<'a> {
    /// The voxels.
    pub voxels: &'a [f32],
    /// Extent along x, y, z (rows, columns, depth).
    pub size: [usize; 3],
    /// The values drawn darkest and lightest; cubes hold 0 to 1.
    pub window: (f32, f32),
    /// Gray for images, heat for errors.
    pub palette: Palette,
    /// Which axes are mirrored for display.
    pub orientation: Orientation,
}

impl<'a> CubeView<'a> {
    /// A cube of values in [0, 1], in gray.
    pub fn new(voxels: &'a [f32], size: [usize; 3]) -> Self {
        Self {
            voxels,
            size,
            window: (0.0, 1.0),
            palette: Palette::Gray,
            orientation: Orientation::LEFT_POSTERIOR_SUPERIOR,
        }
    }

    /// The cube's middle planes in one picture, each voxel `scale` pixels wide. Coronal and sagittal
    /// stand one above the other beside the axial plane if they fit its height (as with 64x64x32),
    /// else all three stand in a row.
    ///
    /// # Errors
    /// [`Error::Work`] if the number of voxels does not fit the size.
    pub fn three_planes(&self, scale: usize, enlargement: Enlargement) -> Result<Picture> {
        let mut planes = Vec::with_capacity(3);
        for plane in Plane::ALL {
            let middle = self.size[plane.axes()[2]] / 2;
            let slice = Slice::cut(self.voxels, self.size, plane, middle, self.orientation)?;
            let slice = slice.resized(slice.width * scale, slice.height * scale, enlargement);
            planes.push(slice.picture(self.window.0, self.window.1, self.palette));
        }
        Ok(arrange(&planes))
    }
}

/// Joins axial, coronal and sagittal pictures into one, as [`CubeView::three_planes`] says.
fn arrange(planes: &[Picture]) -> Picture {
    let [axial, coronal, sagittal] = planes else { unreachable!("there are three planes") };
    let stacked = coronal.height() + PLANE_GAP + sagittal.height();
    if stacked <= axial.height() + 2 * PLANE_GAP {
        let side = coronal.width().max(sagittal.width());
        let mut whole =
            Picture::new(axial.width() + PLANE_GAP + side, axial.height().max(stacked), BACKGROUND);
        whole.paste(axial, 0, 0);
        whole.paste(coronal, axial.width() + PLANE_GAP, 0);
        whole.paste(sagittal, axial.width() + PLANE_GAP, coronal.height() + PLANE_GAP);
        return whole;
    }
    let width = planes.iter().map(Picture::width).sum::<usize>() + 2 * PLANE_GAP;
    let height = planes.iter().map(Picture::height).max().unwrap_or(0);
    let mut whole = Picture::new(width, height, BACKGROUND);
    let mut left = 0;
    for plane in planes {
        whole.paste(plane, left, 0);
        left += plane.width() + PLANE_GAP;
    }
    whole
}

/// A grid of pictures with a caption over each column and one at the left of each row.
#[derive(Clone, Debug, Default)]
pub struct Montage {
    columns: Vec<String>,
    rows: Vec<(String, Vec<Picture>)>,
}

impl Montage {
    /// An empty grid with these column captions.
    pub fn new<S: Into<String>>(columns: impl IntoIterator<Item = S>) -> Self {
        Self { columns: columns.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    /// Adds a row, one picture a column. The caption's first line is bold, those after a line break
    /// are fainter; long ones are wrapped. An empty caption takes no room.
    pub fn add_row(&mut self, caption: impl Into<String>, cells: Vec<Picture>) {
        self.rows.push((caption.into(), cells));
    }

    /// Draws the grid.
    ///
    /// # Errors
    /// [`Error::Work`] if there is nothing to draw or a row has more cells than there are columns.
    pub fn draw(&self) -> Result<Picture> {
        let count = self.columns.len();
        if count == 0 || self.rows.is_empty() || self.rows.iter().any(|(_, cells)| cells.len() > count) {
            return Err(Error::Work(format!(
                "cannot draw a montage of {} rows under {count} columns",
                self.rows.len()
            )));
        }
        let bold = TextStyle::bold(INK);
        let captions: Vec<Vec<CaptionLine>> =
            self.rows.iter().map(|(caption, _)| wrap_caption(caption)).collect();
        let lines = captions.iter().flatten();
        let gutter = lines.map(|line| line.style.width(&line.text)).max().unwrap_or(0);
        let first = MARGIN + if gutter > 0 { gutter + CELL_GAP } else { 0 };
        let widths: Vec<usize> = (0..count)
            .map(|column| {
                let cells = self.rows.iter().filter_map(|(_, cells)| cells.get(column));
                cells.map(Picture::width).max().unwrap_or(0).max(bold.width(&self.columns[column]))
            })
            .collect();
        let heights: Vec<usize> = self
            .rows
            .iter()
            .zip(&captions)
            .map(|((_, cells), caption)| {
                let tallest = cells.iter().map(Picture::height).max().unwrap_or(0);
                tallest.max(caption.iter().map(|line| line.style.line_height() + 2).sum())
            })
            .collect();
        let top = MARGIN + bold.line_height() + 10;
        let width = first + widths.iter().sum::<usize>() + (count - 1) * CELL_GAP + MARGIN;
        let height = top + heights.iter().sum::<usize>() + (heights.len() - 1) * CELL_GAP + MARGIN;
        let mut whole = Picture::new(width, height, BACKGROUND);

        let mut left = first;
        for (column, caption) in self.columns.iter().enumerate() {
            whole.text(caption, left + (widths[column] - bold.width(caption)) / 2, MARGIN, bold);
            left += widths[column] + CELL_GAP;
            if column + 1 < count {
                fill(&mut whole, left - CELL_GAP / 2 - 1, MARGIN, 1, height - 2 * MARGIN, SEPARATOR);
            }
        }
        let mut y = top;
        for (row, (_, cells)) in self.rows.iter().enumerate() {
            let mut line_top = y;
            for line in &captions[row] {
                whole.text(&line.text, MARGIN, line_top, line.style);
                line_top += line.style.line_height() + 2;
            }
            let mut left = first;
            for (column, cell) in cells.iter().enumerate() {
                whole.paste(cell, left + (widths[column] - cell.width()) / 2, y);
                left += widths[column] + CELL_GAP;
            }
            y += heights[row] + CELL_GAP;
            if row + 1 < heights.len() {
                fill(&mut whole, MARGIN, y - CELL_GAP / 2 - 1, width - 2 * MARGIN, 1, SEPARATOR);
            }
        }
        Ok(whole)
    }
}

fn fill(picture: &mut Picture, left: usize, top: usize, width: usize, height: usize, colour: Colour) {
    picture.paste(&Picture::new(width, height, colour), left, top);
}

struct CaptionLine {
    text: String,
    style: TextStyle,
}

/// Breaks a caption into lines of at most [`CAPTION_LETTERS`], between words where it can.
fn wrap_caption(caption: &str) -> Vec<CaptionLine> {
    let mut lines = Vec::new();
    for (paragraph, text) in caption.lines().enumerate() {
        let style = if paragraph == 0 { TextStyle::bold(INK) } else { TextStyle::regular(FAINT_INK) };
        let mut line = String::new();
        for word in text.split_whitespace() {
            let mut word: Vec<char> = word.chars().collect();
            if !line.is_empty() && line.chars().count() + 1 + word.len() > CAPTION_LETTERS {
                lines.push(CaptionLine { text: std::mem::take(&mut line), style });
            }
            if !line.is_empty() {
                line.push(' ');
            }
            while word.len() > CAPTION_LETTERS {
                let rest = word.split_off(CAPTION_LETTERS);
                lines.push(CaptionLine { text: word.into_iter().collect(), style });
                word = rest;
            }
            line.extend(word);
        }
        if !line.is_empty() {
            lines.push(CaptionLine { text: line, style });
        }
    }
    lines
}

/// One restoration to show; all cubes in [0, 1] and of the same size.
#[derive(Clone, Debug)]
pub struct RestorationSample<'a> {
    /// What to write beside it, for example its errors; may be empty.
    pub caption: String,
    /// The deformed cube the network was given.
    pub input: &'a [f32],
    /// What the network made of it.
    pub restored: &'a [f32],
    /// The cube before deformation, the target.
    pub original: &'a [f32],
}

/// Draws `input | restored | original` in three planes for each sample, and with `difference` the
/// absolute error of the restoration, doubled, as a fourth column. A voxel is `scale` pixels wide: 3
/// suits a picture file, 2 the width of the HTML report.
///
/// # Errors
/// [`Error::Work`] if a cube's length does not fit `size` or there is no sample.
pub fn restoration_montage(
    samples: &[RestorationSample],
    size: [usize; 3],
    scale: usize,
    difference: bool,
) -> Result<Picture> {
    let mut columns = vec!["input", "restored", "original"];
    if difference {
        columns.push("|difference| ×2");
    }
    let mut montage = Montage::new(columns);
    for sample in samples {
        let mut cells = Vec::with_capacity(4);
        for voxels in [sample.input, sample.restored, sample.original] {
            cells.push(CubeView::new(voxels, size).three_planes(scale, Enlargement::Smooth)?);
        }
        if difference {
            let pairs = sample.restored.iter().zip(sample.original);
            let error: Vec<f32> = pairs.map(|(restored, original)| (restored - original).abs()).collect();
            let view = CubeView { window: (0.0, 0.5), palette: Palette::Heat, ..CubeView::new(&error, size) };
            cells.push(view.three_planes(scale, Enlargement::Smooth)?);
        }
        montage.add_row(sample.caption.clone(), cells);
    }
    montage.draw()
}

/// One deformation to show; both cubes in [0, 1] and of the same size.
#[derive(Clone, Debug)]
pub struct DeformationSample<'a> {
    /// The deformation's name.
    pub name: String,
    /// The cube before.
    pub original: &'a [f32],
    /// The cube after.
    pub deformed: &'a [f32],
}

/// Draws `original | deformed` in three planes, a row for each deformation. A voxel is `scale`
/// pixels wide, drawn as a square, so that shuffled and painted voxels show as they are.
///
/// # Errors
/// [`Error::Work`] if a cube's length does not fit `size` or there is no sample.
pub fn deformation_montage(samples: &[DeformationSample], size: [usize; 3], scale: usize) -> Result<Picture> {
    let mut montage = Montage::new(["original", "deformed"]);
    for sample in samples {
        let mut cells = Vec::with_capacity(2);
        for voxels in [sample.original, sample.deformed] {
            cells.push(CubeView::new(voxels, size).three_planes(scale, Enlargement::Nearest)?);
        }
        montage.add_row(sample.name.clone(), cells);
    }
    montage.draw()
}

/// One plane of a whole volume at its true proportions, for galleries.
///
/// `voxels` are `[X, Y, Z]` of extent `size`, `spacing` millimetres apart; `window` gives the values
/// drawn black and white (Hounsfield units for CT); `index` counts along the plane's fixed axis, and
/// the picture's longer side takes `longer_side` pixels.
///
/// # Errors
/// [`Error::Work`] if sizes do not fit, the index lies outside, or a spacing is not positive.
pub fn volume_plane(
    voxels: &[f32],
    size: [usize; 3],
    spacing: [f64; 3],
    window: (f32, f32),
    plane: Plane,
    index: usize,
    orientation: Orientation,
    longer_side: usize,
) -> Result<Picture> {
    let slice = Slice::cut(voxels, size, plane, index, orientation)?;
    let [across, down, _] = plane.axes();
    let (wide, high) = (slice.width as f64 * spacing[across], slice.height as f64 * spacing[down]);
    if !(wide > 0.0 && high > 0.0 && wide.is_finite() && high.is_finite()) {
        return Err(Error::Work(format!("cannot show a volume with a spacing of {spacing:?} mm")));
    }
    let pixels = longer_side as f64 / wide.max(high);
    let extent = |millimetres: f64| ((millimetres * pixels).round() as usize).max(1);
    let slice = slice.resized(extent(wide), extent(high), Enlargement::Smooth);
    Ok(slice.picture(window.0, window.1, Palette::Gray))
}

#[cfg(test)]
mod tests {
    use super::super::picture::decode_png;
    use super::*;

    const SIZE: [usize; 3] = [8, 8, 4];

    fn constant(value: f32) -> Vec<f32> {
        vec![value; SIZE.iter().product()]
    }

    #[test]
    fn flat_cubes_stack_their_planes_and_deep_ones_stand_in_a_row() {
        let cube = constant(1.0);
        let picture = CubeView::new(&cube, SIZE).three_planes(3, Enlargement::Nearest).unwrap();
        assert_eq!((picture.width(), picture.height()), (24 + PLANE_GAP + 24, 24 + PLANE_GAP));
        let cube = vec![1.0; 512];
        let picture = CubeView::new(&cube, [8, 8, 8]).three_planes(1, Enlargement::Nearest).unwrap();
        assert_eq!((picture.width(), picture.height()), (3 * 8 + 2 * PLANE_GAP, 8));
    }

    #[test]
    fn a_voxel_lands_in_all_three_planes() {
        let mut cube = constant(0.0);
        // The middle planes are x = 4, y = 4, z = 2; z is drawn upwards.
        cube[(4 * 8 + 4) * 4 + 2] = 1.0;
        let picture = CubeView::new(&cube, SIZE).three_planes(2, Enlargement::Nearest).unwrap();
        let white = Colour(255, 255, 255);
        let side = 16 + PLANE_GAP;
        for (x, y) in [(8, 8), (side + 8, 2), (side + 8, 8 + PLANE_GAP + 2)] {
            assert_eq!(picture.pixel(x, y), Some(white), "at {x}, {y}");
        }
        let lit = (0..picture.width() * picture.height())
            .filter(|at| picture.pixel(at % picture.width(), at / picture.width()) == Some(white));
        assert_eq!(lit.count(), 3 * 4);
    }

    #[test]
    fn restoration_montage_has_its_cells_in_order() {
        let (input, restored, original) = (constant(0.2), constant(0.5), constant(1.0));
        let sample = RestorationSample {
            caption: String::new(),
            input: &input,
            restored: &restored,
            original: &original,
        };
        let picture = restoration_montage(&[sample.clone(), sample], SIZE, 20, true).unwrap();
        let (width, height, pixels) = decode_png(&picture.to_png().unwrap());
        let (cell_width, cell_height) = (2 * 160 + PLANE_GAP, 160 + PLANE_GAP);
        assert_eq!(width, 2 * MARGIN + 4 * cell_width + 3 * CELL_GAP);
        let top = MARGIN + 16 + 10;
        assert_eq!(height, top + 2 * cell_height + CELL_GAP + MARGIN);
        let expected = [[51; 3], [128; 3], [255; 3], [252, 255, 164]];
        for row in 0..2 {
            for (column, colour) in expected.iter().enumerate() {
                let x = MARGIN + column * (cell_width + CELL_GAP) + 30;
                let y = top + row * (cell_height + CELL_GAP) + 30;
                assert_eq!(&pixels[(y * width + x) * 3..][..3], colour, "row {row} column {column}");
            }
        }
    }

    #[test]
    fn captions_wrap_between_words_and_widen_the_picture() {
        let lines = wrap_caption("non-linear intensity transformation\nMSE 0.0123");
        let texts: Vec<_> = lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(texts, ["non-linear", "intensity", "transformation", "MSE 0.0123"]);
        assert_eq!(wrap_caption(&"x".repeat(40)).len(), 3);
        let cube = constant(0.5);
        let sample = |name: &str| DeformationSample { name: name.into(), original: &cube, deformed: &cube };
        let bare = deformation_montage(&[sample("")], SIZE, 10).unwrap();
        let captioned = deformation_montage(&[sample("flip")], SIZE, 10).unwrap();
        let gutter = TextStyle::bold(INK).width("flip") + CELL_GAP;
        assert_eq!(captioned.width(), bare.width() + gutter);
    }

    #[test]
    fn volumes_keep_their_proportions() {
        let voxels = vec![-500.0; 10 * 20 * 5];
        let window = (-1000.0, 0.0);
        let draw = |plane, index, spacing| {
            let towards = Orientation([false; 3]);
            volume_plane(&voxels, [10, 20, 5], spacing, window, plane, index, towards, 100)
        };
        let coronal = draw(Plane::Coronal, 19, [1.0, 1.0, 4.0]).unwrap();
        assert_eq!((coronal.width(), coronal.height()), (50, 100));
        assert_eq!(coronal.pixel(25, 50), Some(Colour(128, 128, 128)));
        assert!(draw(Plane::Coronal, 20, [1.0; 3]).is_err());
        assert!(draw(Plane::Axial, 0, [0.0; 3]).is_err());
        assert!(draw(Plane::Axial, 0, [f64::NAN; 3]).is_err());
    }

    #[test]
    fn nothing_to_draw_is_an_error() {
        assert!(restoration_montage(&[], SIZE, 3, false).is_err());
        let cube = [0.0; 3];
        assert!(CubeView::new(&cube, SIZE).three_planes(1, Enlargement::Smooth).is_err());
    }
}
