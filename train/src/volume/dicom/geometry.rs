//! From the places of slices to one grid: order, even distances, one affine matrix (PS3.3, C.7.6.2.1.1).

use crate::volume::Affine;
use crate::volume::affine::IDENTITY;

/// Where one slice lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Place {
    /// Centre of the first voxel, LPS millimetres.
    pub position: [f64; 3],
    /// Direction of growing columns, then of growing rows.
    pub orientation: [f64; 6],
    /// Distance of rows, then of columns, in millimetres.
    pub spacing: [f64; 2],
}

/// Slices in order, as a grid.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Grid {
    /// Indices of the slices, first to last along the normal.
    pub order: Vec<usize>,
    /// Voxel (column, row, slice) to RAS millimetres.
    pub affine: Affine,
    /// What was not quite even, in words.
    pub uneven: Option<String>,
}

/// Directions may differ by this much between slices: files write six digits.
const DIRECTION_TOLERANCE: f64 = 1e-3;
/// Share of a pixel by which slices may lie off the line through the first along the normal.
const SHIFT_TOLERANCE: f64 = 0.1;
/// Share of the usual distance by which a distance may differ, and from which on it is told.
const GAP_TOLERANCE: f64 = 0.1;
const GAP_TOLD: f64 = 0.01;

/// Puts slices in order along their normal and finds the grid they lie on; `name` calls a slice by its file,
/// `thickness` stands for the distance where there is one slice only.
///
/// # Errors
/// Slices that lie on no grid: of different directions or pixel sizes, tilted against their normal, twice at one
/// place, or with gaps.
pub(super) fn arrange(
    places: &[Place],
    thickness: Option<f64>,
    name: &dyn Fn(usize) -> String,
) -> Result<Grid, String> {
    let first = places.first().ok_or("has no slices")?;
    let (along_columns, along_rows) = directions(first).map_err(|cause| format!("{}: {cause}", name(0)))?;
    let normal = cross(along_columns, along_rows);
    for (index, place) in places.iter().enumerate() {
        let turned = place
            .orientation
            .iter()
            .zip(&first.orientation)
            .any(|(a, b)| (a - b).abs() > DIRECTION_TOLERANCE);
        let sized = place.spacing.iter().zip(&first.spacing).any(|(a, b)| (a - b).abs() > 1e-3 * b.abs());
        if turned || sized {
            let what = if turned { "ImageOrientationPatient" } else { "PixelSpacing" };
            return Err(format!("{} has another {what} than {}", name(index), name(0)));
        }
    }
    let depth = |index: usize| dot(places[index].position, normal);
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_by(|&a, &b| depth(a).total_cmp(&depth(b)));
    let depths: Vec<f64> = order.iter().map(|&index| depth(index)).collect();

    let (distance, uneven) = match places.len() {
        1 => (thickness.filter(|&mm| mm > 0.0).unwrap_or(1.0), None),
        _ => even(&depths, &order, name)?,
    };
    upright(places, &order, [along_columns, along_rows], &depths, name)?;

    let origin = places[order[0]].position;
    let [row_distance, column_distance] = first.spacing;
    let mut affine = IDENTITY;
    for row in 0..3 {
        // RAS: left and back become right and front.
        let sign = if row < 2 { -1.0 } else { 1.0 };
        affine[row] = [
            sign * along_columns[row] * column_distance,
            sign * along_rows[row] * row_distance,
            sign * normal[row] * distance,
            sign * origin[row],
        ];
    }
    // No negative zeros: they are equal, but look odd.
    affine.iter_mut().flatten().for_each(|value| *value += 0.0);
    Ok(Grid { order, affine, uneven })
}

/// Unit vectors of growing columns and growing rows.
fn directions(place: &Place) -> Result<([f64; 3], [f64; 3]), String> {
    let [a, b, c, d, e, f] = place.orientation;
    let (columns, rows) = ([a, b, c], [d, e, f]);
    let (long, wide) = (dot(columns, columns).sqrt(), dot(rows, rows).sqrt());
    let tolerance = 0.01;
    if (long - 1.0).abs() > tolerance
        || (wide - 1.0).abs() > tolerance
        || dot(columns, rows).abs() > tolerance
    {
        return Err(format!(
            "ImageOrientationPatient {:?} is no pair of perpendicular unit vectors",
            place.orientation
        ));
    }
    if place.spacing.iter().any(|&mm| mm <= 0.0) {
        return Err(format!("PixelSpacing is {:?} mm", place.spacing));
    }
    Ok((columns.map(|part| part / long), rows.map(|part| part / wide)))
}

/// The distance of slices at `depths` (ascending), which must be even, and how it is not quite.
fn even(
    depths: &[f64],
    order: &[usize],
    name: &dyn Fn(usize) -> String,
) -> Result<(f64, Option<String>), String> {
    let gaps: Vec<f64> = depths.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let between = |at: usize| format!("{} and {}", name(order[at]), name(order[at + 1]));
    let mut sorted = gaps.clone();
    sorted.sort_by(f64::total_cmp);
    let largest = sorted.last().copied().unwrap_or(0.0);
    // Below a hundredth of the largest gap, two slices are at one place.
    let same = (0.01 * largest).max(1e-4);
    let distinct: Vec<f64> = sorted.iter().copied().filter(|&gap| gap > same).collect();
    let twice = gaps.len() - distinct.len();
    if twice > 0 {
        let at = gaps.iter().position(|&gap| gap <= same).unwrap_or(0);
        let (all, places) = (depths.len(), distinct.len() + 1);
        if places < all && all % places == 0 && all / places > 1 && places > 1 {
            return Err(format!(
                "has {all} slices at {places} places, {} at each (times, echoes or phases, which are not read; copies \
                 too), such as {}",
                all / places,
                between(at)
            ));
        }
        return Err(format!("has two slices at one place: {}", between(at)));
    }
    let usual = distinct[distinct.len() / 2];
    if let Some((at, &gap)) =
        gaps.iter().enumerate().max_by(|a, b| (a.1 - usual).abs().total_cmp(&(b.1 - usual).abs()))
        && (gap - usual).abs() > GAP_TOLERANCE * usual
    {
        let missing = (gap / usual).round() as usize;
        let whole = missing > 1 && (gap / usual - missing as f64).abs() < GAP_TOLERANCE;
        let cause = if whole {
            format!(
                "{} missing between",
                if missing == 2 { "a slice is".to_owned() } else { format!("{} slices are", missing - 1) }
            )
        } else {
            "its slices are unevenly spaced:".to_owned()
        };
        return Err(format!("{cause} {}: they lie {gap:.3} mm apart, others {usual:.3} mm", between(at)));
    }
    let mean = (depths[depths.len() - 1] - depths[0]) / gaps.len() as f64;
    let off =
        (0..depths.len()).map(|at| (depths[at] - depths[0] - at as f64 * mean).abs()).fold(0.0, f64::max);
    if off > 0.5 * mean {
        return Err(format!("its slices drift {off:.3} mm from an even distance of {mean:.3} mm"));
    }
    let spread = sorted.iter().map(|gap| (gap - mean).abs()).fold(0.0, f64::max);
    let uneven = (spread > GAP_TOLD * mean)
        .then(|| format!("its slices lie {:.3} to {largest:.3} mm apart, {mean:.3} mm is taken", sorted[0]));
    Ok((mean, uneven))
}

/// Refuses slices that do not lie on a line along their normal.
fn upright(
    places: &[Place],
    order: &[usize],
    [along_columns, along_rows]: [[f64; 3]; 2],
    depths: &[f64],
    name: &dyn Fn(usize) -> String,
) -> Result<(), String> {
    let origin = places[order[0]].position;
    let shift = |index: usize| {
        let moved: [f64; 3] = std::array::from_fn(|axis| places[index].position[axis] - origin[axis]);
        dot(moved, along_columns).hypot(dot(moved, along_rows))
    };
    let pixel = places[order[0]].spacing[0].min(places[order[0]].spacing[1]);
    let worst = order.iter().copied().max_by(|&a, &b| shift(a).total_cmp(&shift(b))).unwrap_or(0);
    if shift(worst) <= SHIFT_TOLERANCE * pixel {
        return Ok(());
    }
    let last = order[order.len() - 1];
    let degrees = shift(last).atan2(depths[depths.len() - 1] - depths[0]).to_degrees();
    if degrees > 0.05 && shift(last) >= 0.9 * shift(worst) {
        return Err(format!(
            "its slices are tilted by {degrees:.2} degrees against their normal (gantry tilt), which is not read: resample \
             it first"
        ));
    }
    Err(format!("{} lies {:.3} mm beside the line of the other slices", name(worst), shift(worst)))
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

fn cross(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

#[cfg(test)]
mod tests {
    use super::*;

    const AXIAL: [f64; 6] = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0];

    fn stack(depths: &[f64]) -> Vec<Place> {
        let place =
            |&z: &f64| Place { position: [-10.0, -20.0, z], orientation: AXIAL, spacing: [0.5, 0.75] };
        depths.iter().map(place).collect()
    }

    fn arranged(places: &[Place]) -> Result<Grid, String> {
        arrange(places, None, &|index| format!("slice {index}"))
    }

    #[test]
    fn slices_are_put_in_order_and_measured() {
        let grid = arranged(&stack(&[4.0, 0.0, 6.0, 2.0])).expect("a grid");
        assert_eq!(grid.order, [1, 3, 0, 2]);
        let wanted =
            [[-0.75, 0.0, 0.0, 10.0], [0.0, -0.5, 0.0, 20.0], [0.0, 0.0, 2.0, 0.0], [0.0, 0.0, 0.0, 1.0]];
        assert_eq!((grid.affine, grid.uneven), (wanted, None));
        let jitter = arranged(&stack(&[0.0, 2.05, 4.0, 6.0])).expect("a grid");
        assert!(jitter.uneven.expect("told").contains("2.000 mm is taken"));
    }

    #[test]
    fn gaps_copies_and_times_are_named() {
        let refused = |depths: &[f64]| arranged(&stack(depths)).expect_err("refused");
        let gap = refused(&[0.0, 2.0, 4.0, 8.0, 10.0]);
        assert!(gap.contains("a slice is missing between slice 2 and slice 3"), "{gap}");
        assert!(gap.contains("4.000 mm apart, others 2.000 mm"), "{gap}");
        assert!(refused(&[0.0, 2.0, 4.0, 7.0]).contains("unevenly"));
        assert!(refused(&[0.0, 2.0, 2.0, 4.0]).contains("two slices at one place: slice 1 and slice 2"));
        assert!(refused(&[0.0, 0.0, 2.0, 2.0, 4.0, 4.0]).contains("6 slices at 3 places, 2 at each"));
        assert!(refused(&[1.0, 1.0]).contains("two slices at one place"));
    }

    #[test]
    fn tilt_and_shifts_are_refused_with_their_size() {
        let mut tilted = stack(&[0.0, 2.0, 4.0, 6.0]);
        for (index, place) in tilted.iter_mut().enumerate() {
            place.position[1] += 2.0 * 15f64.to_radians().tan() * index as f64;
        }
        assert!(arranged(&tilted).expect_err("tilted").contains("15.00 degrees"));
        let mut shifted = stack(&[0.0, 2.0, 4.0, 6.0]);
        shifted[2].position[0] += 1.0;
        assert!(arranged(&shifted).expect_err("shifted").contains("slice 2 lies 1.000 mm beside"));
        let mut turned = stack(&[0.0, 2.0]);
        turned[1].orientation = [0.0, 1.0, 0.0, 0.0, 0.0, -1.0];
        assert!(arranged(&turned).expect_err("turned").contains("another ImageOrientationPatient"));
    }
}
