//! The tissue score of a cube: how much of it is dense.
//!
//! A voxel scores 1 if it is dense itself, 1/2 if not it but the next slice is, and 0 otherwise. (The
//! original looks two slices further, but what it finds only there scores 0 as well.) Scores are
//! counted in halves, so that sums are whole numbers.

/// The score in halves of rows along z, each of `depth` voxels and at least one more.
pub(super) fn score_in_halves<'a>(
    rows: impl Iterator<Item = &'a [f32]>,
    depth: usize,
    threshold: f32,
) -> u64 {
    rows.map(|row| {
        let (here, next) = (&row[..depth], &row[1..=depth]);
        // No branches: this becomes vector comparisons.
        let score: u32 = here
            .iter()
            .zip(next)
            .map(|(&here, &next)| {
                let dense = here >= threshold;
                2 * u32::from(dense) + u32::from(!dense & (next >= threshold))
            })
            .sum();
        u64::from(score)
    })
    .sum()
}
