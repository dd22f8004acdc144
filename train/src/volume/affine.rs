//! 4×4 matrices that map voxel indices to millimetres, and what can be read off them.

use serde::Serialize;

use crate::error::{Error, Result};

/// A homogeneous matrix, row by row: `world = affine · (x, y, z, 1)`, in RAS millimetres (x to the
/// patient's right, y to the front, z to the head), as NIfTI defines it.
pub type Affine = [[f64; 4]; 4];

/// The identity.
pub const IDENTITY: Affine =
    [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]];

/// The distances in millimetres between neighbouring voxels: the lengths of the first three columns.
pub fn spacing(affine: &Affine) -> [f64; 3] {
    std::array::from_fn(|axis| (0..3).map(|row| affine[row][axis].powi(2)).sum::<f64>().sqrt())
}

/// Determinant of the upper left 3×3 block.
pub fn determinant(affine: &Affine) -> f64 {
    let m = affine;
    m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
        + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0])
}

/// The voxel index, between centres too, of a place in RAS millimetres: the inverse of a matrix that
/// [`check`] lets pass (Cramer's rule).
pub fn to_voxel(affine: &Affine, world: [f64; 3]) -> [f64; 3] {
    let whole = determinant(affine);
    std::array::from_fn(|axis| {
        let mut replaced = *affine;
        for row in 0..3 {
            replaced[row][axis] = world[row] - affine[row][3];
        }
        determinant(&replaced) / whole
    })
}

/// Refuses a matrix that maps different voxels to one place or holds a value that is not finite.
///
/// # Errors
/// The cause in words.
pub fn check(affine: &Affine) -> Result<(), String> {
    if affine.iter().flatten().any(|value| !value.is_finite()) {
        return Err("the affine matrix holds a value that is not finite".to_owned());
    }
    let (lengths, determinant) = (spacing(affine), determinant(affine));
    let volume: f64 = lengths.iter().product();
    if !volume.is_finite() || !determinant.is_finite() {
        return Err(format!("voxels of {lengths:?} mm are beyond what can be computed with"));
    }
    // Relative to the box of the same edge lengths, so that small voxels are not refused.
    if volume == 0.0 || determinant.abs() < 1e-6 * volume {
        return Err(
            "the affine matrix is singular (two voxel axes point the same way, or one has no length)"
                .to_owned(),
        );
    }
    Ok(())
}

/// The same matrix with the world's first two axes turned around: from LPS to RAS and back.
pub fn turn_lps_ras(affine: &Affine) -> Affine {
    // Minus zero would look odd in files and reports.
    std::array::from_fn(|row| affine[row].map(|value| if row < 2 { 0.0 - value } else { value + 0.0 }))
}

/// The rotation of a NIfTI quaternion `(b, c, d)` with voxel sizes and offset, as nibabel computes it.
///
/// # Errors
/// If `b² + c² + d²` exceeds 1 by more than rounding.
pub fn from_quaternion(
    [b, c, d]: [f64; 3],
    voxel_size: [f64; 3],
    qfac: f64,
    offset: [f64; 3],
) -> Result<Affine, String> {
    let rest = 1.0 - (b * b + c * c + d * d);
    // nibabel's tolerance: three single-precision epsilons.
    let threshold = -3.0 * f64::from(f32::EPSILON);
    let a = if rest >= 0.0 {
        rest.sqrt()
    } else if rest >= threshold {
        0.0
    } else {
        return Err(format!("the quaternion ({b}, {c}, {d}) of the qform is longer than 1"));
    };
    let norm = a * a + b * b + c * c + d * d;
    let s = 2.0 / norm;
    let rotation = [
        [1.0 - s * (c * c + d * d), s * (b * c - a * d), s * (b * d + a * c)],
        [s * (b * c + a * d), 1.0 - s * (b * b + d * d), s * (c * d - a * b)],
        [s * (b * d - a * c), s * (c * d + a * b), 1.0 - s * (b * b + c * c)],
    ];
    let mut affine = IDENTITY;
    for row in 0..3 {
        for axis in 0..3 {
            let sign = if axis == 2 { qfac } else { 1.0 };
            affine[row][axis] = rotation[row][axis] * voxel_size[axis] * sign;
        }
        affine[row][3] = offset[row];
    }
    Ok(affine)
}

/// The quaternion `(b, c, d)` and `qfac` (1 or -1) of a matrix with perpendicular axes; `None` if it
/// is sheared, which a quaternion cannot express.
pub fn to_quaternion(affine: &Affine) -> Option<([f64; 3], f64)> {
    let lengths = spacing(affine);
    let qfac = if determinant(affine) < 0.0 { -1.0 } else { 1.0 };
    let r: [[f64; 3]; 3] = std::array::from_fn(|row| {
        std::array::from_fn(|axis| affine[row][axis] / lengths[axis] * if axis == 2 { qfac } else { 1.0 })
    });
    for (first, second) in [(0, 1), (0, 2), (1, 2)] {
        let cosine: f64 = (0..3).map(|row| r[row][first] * r[row][second]).sum();
        if cosine.abs() > 1e-4 {
            return None;
        }
    }
    // Shepperd's method: divide by the largest of the four components.
    let trace = r[0][0] + r[1][1] + r[2][2];
    let [a, b, c, d] = if trace > r[0][0].max(r[1][1]).max(r[2][2]) {
        let a = 0.5 * (1.0 + trace).sqrt();
        let q = 0.25 / a;
        [a, q * (r[2][1] - r[1][2]), q * (r[0][2] - r[2][0]), q * (r[1][0] - r[0][1])]
    } else if r[0][0] >= r[1][1] && r[0][0] >= r[2][2] {
        let b = 0.5 * (1.0 + r[0][0] - r[1][1] - r[2][2]).sqrt();
        let q = 0.25 / b;
        [q * (r[2][1] - r[1][2]), b, q * (r[0][1] + r[1][0]), q * (r[0][2] + r[2][0])]
    } else if r[1][1] >= r[2][2] {
        let c = 0.5 * (1.0 + r[1][1] - r[0][0] - r[2][2]).sqrt();
        let q = 0.25 / c;
        [q * (r[0][2] - r[2][0]), q * (r[0][1] + r[1][0]), c, q * (r[1][2] + r[2][1])]
    } else {
        let d = 0.5 * (1.0 + r[2][2] - r[0][0] - r[1][1]).sqrt();
        let q = 0.25 / d;
        [q * (r[1][0] - r[0][1]), q * (r[0][2] + r[2][0]), q * (r[1][2] + r[2][1]), d]
    };
    let sign = if a < 0.0 { -1.0 } else { 1.0 };
    let norm = sign * (a * a + b * b + c * c + d * d).sqrt();
    Some(([b / norm, c / norm, d / norm], qfac))
}

/// Where each voxel axis points, to the closest anatomical direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct AxisDirection {
    /// The world axis: 0 left-right, 1 back-front, 2 feet-head.
    pub world_axis: usize,
    /// True if the voxel index grows towards right, front or head (RAS).
    pub towards_ras: bool,
}

/// The anatomical direction of each voxel axis: of the six ways to pair voxel with world axes, the
/// one with the largest sum of squared direction cosines.
pub fn axis_directions(affine: &Affine) -> [AxisDirection; 3] {
    const PAIRINGS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    let lengths = spacing(affine);
    let score = |pairing: &[usize; 3]| -> f64 {
        (0..3).map(|axis| (affine[pairing[axis]][axis] / lengths[axis]).powi(2)).sum()
    };
    let mut best = PAIRINGS[0];
    for pairing in PAIRINGS {
        // A margin, so that rounding does not decide between directions at exactly 45 degrees.
        if score(&pairing) > score(&best) + 1e-9 {
            best = pairing;
        }
    }
    std::array::from_fn(|axis| AxisDirection {
        world_axis: best[axis],
        towards_ras: affine[best[axis]][axis] >= 0.0,
    })
}

/// Three letters naming the direction in which each voxel index grows, e.g. `"LPS"`: left,
/// posterior (back), superior (head).
pub fn orientation_code(affine: &Affine) -> String {
    axis_directions(affine)
        .iter()
        .map(|direction| match (direction.world_axis, direction.towards_ras) {
            (0, true) => 'R',
            (0, false) => 'L',
            (1, true) => 'A',
            (1, false) => 'P',
            (_, true) => 'S',
            (_, false) => 'I',
        })
        .collect()
}

/// The largest angle in degrees between a voxel axis and its closest anatomical direction.
pub fn obliqueness(affine: &Affine) -> f64 {
    let lengths = spacing(affine);
    axis_directions(affine)
        .iter()
        .enumerate()
        .map(|(axis, direction)| {
            let cosine = affine[direction.world_axis][axis].abs() / lengths[axis];
            cosine.min(1.0).acos().to_degrees()
        })
        .fold(0.0, f64::max)
}

/// `error` as an error about `path`.
pub(super) fn file_error(path: &std::path::Path) -> impl FnOnce(String) -> Error + '_ {
    move |cause| Error::file(path, cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: &Affine, b: &Affine) {
        for (x, y) in a.iter().flatten().zip(b.iter().flatten()) {
            assert!((x - y).abs() < 1e-12, "{a:?} {b:?}");
        }
    }

    #[test]
    fn quaternions_and_matrices_agree_for_every_rotation_branch() {
        // Rotations of half a turn exercise the branches with a = 0.
        for quaternion in [
            [0.0, 0.0, 0.0],
            [1.0, 0.0, 0.0],
            [0.0, 1.0, 0.0],
            [0.0, 0.0, 1.0],
            [0.1, -0.2, 0.3],
            [0.9, 0.1, -0.2],
            [-0.1, 0.95, 0.1],
            [0.2, 0.1, 0.96],
        ] {
            for qfac in [1.0, -1.0] {
                let affine =
                    from_quaternion(quaternion, [0.5, 2.0, 3.0], qfac, [1.0, -2.0, 3.0]).expect("valid");
                assert!((determinant(&affine) - 3.0 * qfac).abs() < 1e-9);
                let (back, back_qfac) = to_quaternion(&affine).expect("not sheared");
                assert_eq!(back_qfac, qfac);
                let again = from_quaternion(back, [0.5, 2.0, 3.0], qfac, [1.0, -2.0, 3.0]).expect("valid");
                close(&affine, &again);
            }
        }
    }

    #[test]
    fn a_quarter_turn_about_z_has_the_textbook_matrix() {
        let half = std::f64::consts::FRAC_1_SQRT_2;
        let affine = from_quaternion([0.0, 0.0, half], [1.0; 3], 1.0, [0.0; 3]).expect("valid");
        close(
            &affine,
            &[[0.0, -1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]],
        );
        assert_eq!(orientation_code(&affine), "ALS");
        assert!(from_quaternion([0.8, 0.8, 0.0], [1.0; 3], 1.0, [0.0; 3]).is_err());
    }

    #[test]
    fn orientation_of_an_oblique_matrix_is_the_closest_one() {
        let (s, c) = 0.3f64.sin_cos();
        let affine = [[-c, s, 0.0, 1.0], [-s, -c, 0.0, 2.0], [0.0, 0.0, 2.0, 3.0], [0.0, 0.0, 0.0, 1.0]];
        assert_eq!(orientation_code(&affine), "LPS");
        assert!((obliqueness(&affine) - 0.3f64.to_degrees()).abs() < 1e-9);
        assert!(check(&affine).is_ok());
    }

    #[test]
    fn degenerate_matrices_are_refused() {
        let mut singular = IDENTITY;
        singular[1] = [1.0, 0.0, 0.0, 0.0];
        assert!(check(&singular).is_err());
        let mut broken = IDENTITY;
        broken[0][3] = f64::NAN;
        assert!(check(&broken).is_err());
        // Every value is finite, but lengths and determinant are not.
        let mut huge = IDENTITY;
        huge[0][0] = 1e200;
        assert!(check(&huge).is_err());
        let mut small = IDENTITY;
        for axis in 0..3 {
            small[axis][axis] = 1e-4;
        }
        assert!(check(&small).is_ok());
        let mut sheared = IDENTITY;
        sheared[0][1] = 0.5;
        assert!(to_quaternion(&sheared).is_none());
    }
}
