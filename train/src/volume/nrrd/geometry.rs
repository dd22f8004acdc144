//! Which axes of an NRRD file are spatial, and where they lie in the world.

use super::header::number;
use crate::volume::affine::{self, Affine};
use crate::volume::frames::Frames;

/// What the axes mean.
#[derive(Clone, Debug)]
pub(super) struct Geometry {
    /// Voxels along x, y and z.
    pub size: [u64; 3],
    /// The volumes: those of the axis that is not spatial.
    pub frames: Frames,
    /// Voxel index to RAS millimetres.
    pub affine: Affine,
    /// Which fields gave the matrix.
    pub affine_from: &'static str,
    /// What had to be assumed, if anything.
    pub assumed: Option<String>,
}

/// The world's axes in RAS: the signs of its first two, and how many it has.
struct Space {
    signs: [f64; 3],
    dimension: usize,
    assumed: Option<String>,
}

/// The direction of an axis; `None` if it is not spatial.
type Direction = Option<Vec<f64>>;

/// Reads the geometry; `find` gives the value of a field.
///
/// # Errors
/// The cause in words.
pub(super) fn parse<'a>(sizes: &[u64], find: &impl Fn(&str) -> Option<&'a str>) -> Result<Geometry, String> {
    if sizes.contains(&0) {
        return Err("an axis of size 0 holds no voxel".to_owned());
    }
    let space = space(find)?;
    let directions =
        find("space directions").map(|text| directions(text, sizes.len(), &space)).transpose()?;
    let spatial = spatial_axes(sizes, directions.as_deref(), find("kinds"))?;
    let further: Vec<usize> =
        (0..sizes.len()).filter(|axis| !spatial.contains(axis) && sizes[*axis] != 1).collect();
    let frames = match further[..] {
        [] => Frames::ONE,
        [axis] => {
            let before = spatial.iter().filter(|&&other| other < axis).count();
            // Behind the last spatial axis is behind all three, of which the missing ones have size 1.
            let place = if before == spatial.len() { 3 } else { before };
            Frames { count: sizes[axis], axis: place }
        }
        _ => {
            let count = further.len();
            return Err(format!(
                "has {count} axes beyond three spatial ones (sizes {sizes:?}), at most one is read"
            ));
        }
    };
    let spacings = find("spacings").map(|text| per_axis("spacings", text, sizes.len())).transpose()?;
    let columns: Vec<[f64; 3]> = spatial
        .iter()
        .enumerate()
        .map(|(place, &axis)| match &directions {
            Some(directions) => in_three(directions[axis].as_deref().unwrap_or_default()),
            None => {
                let length = spacings.as_ref().map(|values| values[axis]).filter(|value| value.is_finite());
                let mut column = [0.0; 3];
                column[place] = length.unwrap_or(1.0);
                column
            }
        })
        .collect();
    let mut columns = complete(columns);
    if space.dimension == 2 {
        // A plane in a flat world, however its axes turn, lies below the next one.
        columns[2] = [0.0, 0.0, 1.0];
    }
    let origin = match find("space origin").filter(|text| *text != "none") {
        Some(text) => match &vectors("space origin", text)?[..] {
            [Some(origin)] if origin.len() == space.dimension => in_three(origin),
            _ => {
                return Err(format!(
                    "space origin is {text:?}, not one vector of {} numbers",
                    space.dimension
                ));
            }
        },
        None if directions.is_none() => axis_minimums(sizes.len(), &spatial, spacings.as_deref(), find)?,
        None => [0.0; 3],
    };
    let mut matrix = affine::IDENTITY;
    for row in 0..3 {
        for axis in 0..3 {
            // The sum turns minus zero, which would look odd in reports, into zero.
            matrix[row][axis] = space.signs[row] * columns[axis][row] + 0.0;
        }
        matrix[row][3] = space.signs[row] * origin[row] + 0.0;
    }
    affine::check(&matrix)?;
    let affine_from = match (directions.is_some(), spacings.is_some()) {
        (true, _) => "space directions and space origin",
        (false, true) => "spacings only",
        (false, false) => "nothing (1 mm assumed)",
    };
    let size = std::array::from_fn(|place| spatial.get(place).map_or(1, |&axis| sizes[axis]));
    Ok(Geometry { size, frames, affine: matrix, affine_from, assumed: space.assumed })
}

/// The world of the fields `space` and `space dimension`.
fn space<'a>(find: &impl Fn(&str) -> Option<&'a str>) -> Result<Space, String> {
    let lps = [-1.0, -1.0, 1.0];
    let Some(name) = find("space").map(|name| name.trim().to_ascii_lowercase()) else {
        let dimension = find("space dimension").map_or(Ok(3), |text| number("space dimension", text))?;
        return match dimension {
            2..=4 => Ok(Space { signs: lps, dimension, assumed: None }),
            _ => Err(format!("space dimension is {dimension}, 2 to 4 are read")),
        };
    };
    let (plain, dimension) = match name.strip_suffix("-time") {
        Some(plain) => (plain, 4),
        None => match name.as_str() {
            "rast" | "last" | "lpst" => (&name[..3], 4),
            plain => (plain, 3),
        },
    };
    let (signs, assumed) = match plain {
        "left-posterior-superior" | "lps" => (lps, None),
        "right-anterior-superior" | "ras" => ([1.0, 1.0, 1.0], None),
        "left-anterior-superior" | "las" => ([-1.0, 1.0, 1.0], None),
        // As ITK takes it.
        "scanner-xyz" | "3d-right-handed" => (
            lps,
            Some(format!(
                "the space {plain} does not say left from right; it is taken as left-posterior-superior"
            )),
        ),
        other => {
            return Err(format!(
                "the space {other:?} is not read (left-posterior-superior, right-anterior-superior, left-anterior-superior and scanner-xyz are)"
            ));
        }
    };
    Ok(Space { signs, dimension, assumed })
}

/// The vectors of a field: `(1,0,0) none (0,0,2)`.
fn vectors(name: &str, text: &str) -> Result<Vec<Direction>, String> {
    let mut found = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("none") {
            found.push(None);
            rest = after.trim_start();
            continue;
        }
        let (inside, after) = rest
            .strip_prefix('(')
            .and_then(|rest| rest.split_once(')'))
            .ok_or_else(|| format!("{name} is {text:?}, vectors look like (1,0,0)"))?;
        let values: Vec<f64> = inside.split(',').map(|word| number(name, word)).collect::<Result<_, _>>()?;
        // Files older than the word "none" hold NaN instead.
        found.push(if values.iter().all(|value| value.is_nan()) { None } else { Some(values) });
        rest = after.trim_start();
    }
    Ok(found)
}

/// The direction of each axis in the first three dimensions of the world; an axis along a fourth one, time, is
/// none.
fn directions(text: &str, axes: usize, space: &Space) -> Result<Vec<Direction>, String> {
    let mut found = vectors("space directions", text)?;
    if found.len() != axes {
        return Err(format!("space directions has {} entries for {axes} axes", found.len()));
    }
    for direction in &mut found {
        let Some(values) = direction else { continue };
        if values.len() != space.dimension {
            return Err(format!(
                "space directions has vectors of {} numbers in a space of {}",
                values.len(),
                space.dimension
            ));
        }
        if let [x, y, z, time] = values[..] {
            *direction = match time {
                0.0 => Some(vec![x, y, z]),
                _ if [x, y, z] == [0.0; 3] => None,
                _ => return Err("space directions mixes time with place".to_owned()),
            };
        }
    }
    Ok(found)
}

/// The numbers of the spatial axes, at least one and at most three.
fn spatial_axes(
    sizes: &[u64],
    directions: Option<&[Direction]>,
    kinds: Option<&str>,
) -> Result<Vec<usize>, String> {
    let axes = 0..sizes.len();
    let mut spatial: Vec<usize> = match (directions, kinds) {
        (Some(directions), _) => axes.filter(|&axis| directions[axis].is_some()).collect(),
        (None, Some(kinds)) => {
            let kinds: Vec<String> = kinds.split_whitespace().map(str::to_ascii_lowercase).collect();
            if kinds.len() != sizes.len() {
                return Err(format!("kinds has {} entries for {} axes", kinds.len(), sizes.len()));
            }
            axes.filter(|&axis| matches!(kinds[axis].as_str(), "domain" | "space" | "none" | "???")).collect()
        }
        (None, None) => axes.collect(),
    };
    if directions.is_some() && spatial.len() > 3 {
        return Err(format!("has {} spatial axes, at most 3 are read", spatial.len()));
    }
    // Nothing says what a fourth axis is: the slowest one then holds frames.
    spatial.truncate(3);
    if spatial.is_empty() { Err("has no spatial axis".to_owned()) } else { Ok(spatial) }
}

fn per_axis(name: &str, text: &str, axes: usize) -> Result<Vec<f64>, String> {
    let values: Vec<f64> =
        text.split_whitespace().map(|word| number(name, word)).collect::<Result<_, _>>()?;
    if values.len() != axes {
        return Err(format!("{name} has {} entries for {axes} axes", values.len()));
    }
    Ok(values)
}

/// The origin where no orientation is given: the middle of the first voxel, from the places where the axes start
/// (teem's `nrrdOriginCalculate`, which ITK uses).
fn axis_minimums<'a>(
    axes: usize,
    spatial: &[usize],
    spacings: Option<&[f64]>,
    find: &impl Fn(&str) -> Option<&'a str>,
) -> Result<[f64; 3], String> {
    let (Some(minimums), Some(spacings)) = (find("axis mins"), spacings) else { return Ok([0.0; 3]) };
    let minimums = per_axis("axis mins", minimums, axes)?;
    let centers = find("centers").or_else(|| find("centerings")).unwrap_or_default();
    let centers: Vec<&str> = centers.split_whitespace().collect();
    if spatial.iter().any(|&axis| !minimums[axis].is_finite() || !spacings[axis].is_finite()) {
        return Ok([0.0; 3]);
    }
    let mut origin = [0.0; 3];
    for (place, &axis) in spatial.iter().enumerate() {
        let half = if centers.get(axis) == Some(&"node") { 0.0 } else { spacings[axis] / 2.0 };
        origin[place] = minimums[axis] + half;
    }
    Ok(origin)
}

/// A vector of two or more numbers as one of three.
fn in_three(vector: &[f64]) -> [f64; 3] {
    std::array::from_fn(|row| vector.get(row).copied().unwrap_or(0.0))
}

/// Three columns from one to three: missing ones get length 1 and stand upright on the others.
fn complete(mut columns: Vec<[f64; 3]>) -> [[f64; 3]; 3] {
    let cross = |a: [f64; 3], b: [f64; 3]| {
        let product = [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
        let length = product.iter().map(|value| value * value).sum::<f64>().sqrt();
        product.map(|value| value / length)
    };
    if columns.len() == 1 {
        let first = columns[0];
        let least =
            (0..3).fold(2, |least, row| if first[row].abs() < first[least].abs() { row } else { least });
        let mut upright = [0.0; 3];
        upright[least] = 1.0;
        columns.push(cross(upright, first));
    }
    if columns.len() == 2 {
        columns.push(cross(columns[0], columns[1]));
    }
    [columns[0], columns[1], columns[2]]
}
