//! The exact Euclidean distance transform, one axis after the other, in time linear in the voxels
//! (Felzenszwalb and Huttenlocher, *Distance transforms of sampled functions*, Theory of Computing 2012).

use super::grid::Grid;
use crate::error::Result;

/// The squared distance in mm² from every voxel's centre to the nearest source's centre, 0 at sources,
/// infinite where there is no source at all. `sources` and the result are in the grid's order.
///
/// # Errors
/// [`Error::Work`](crate::Error::Work) if `sources` does not fill the grid.
pub fn squared_distances(sources: &[bool], grid: &Grid) -> Result<Vec<f64>> {
    grid.check("set of sources", sources.len())?;
    let mut squares: Vec<f64> =
        sources.iter().map(|&source| if source { 0.0 } else { f64::INFINITY }).collect();
    let [x, y, z] = grid.size();
    let mut envelope = Envelope::default();
    // Lines along an axis start at every (outer, inner); neighbours on a line are `stride` apart.
    for (outer, length, stride, step) in
        [(x * y, z, 1, grid.spacing()[2]), (x, y, z, grid.spacing()[1]), (1, x, y * z, grid.spacing()[0])]
    {
        let mut line = vec![0.0; length];
        for start in (0..outer).flat_map(|o| (0..stride).map(move |inner| o * length * stride + inner)) {
            for (i, value) in line.iter_mut().enumerate() {
                *value = squares[start + i * stride];
            }
            if envelope.transform(&mut line, step) {
                for (i, value) in line.iter().enumerate() {
                    squares[start + i * stride] = *value;
                }
            }
        }
    }
    Ok(squares)
}

/// The lower envelope of the parabolas `height + (step (position - vertex))²` of one line.
#[derive(Default)]
struct Envelope {
    parabolas: Vec<Parabola>,
}

struct Parabola {
    vertex: usize,
    height: f64,
    /// The position from which on this one is the lowest.
    from: f64,
}

impl Envelope {
    /// Replaces `line[q]` by the minimum over v of `line[v] + (step (q - v))²`. False, and nothing
    /// done, if all values are infinite.
    fn transform(&mut self, line: &mut [f64], step: f64) -> bool {
        let parabolas = &mut self.parabolas;
        parabolas.clear();
        for (q, &height) in line.iter().enumerate().filter(|(_, height)| height.is_finite()) {
            let mut from = f64::NEG_INFINITY;
            while let Some(last) = parabolas.last() {
                let distance = (q - last.vertex) as f64;
                // Where the new parabola crosses the last one.
                from = 0.5 * ((height - last.height) / (step * step * distance) + (q + last.vertex) as f64);
                if from > last.from {
                    break;
                }
                parabolas.pop();
                from = f64::NEG_INFINITY;
            }
            parabolas.push(Parabola { vertex: q, height, from });
        }
        if parabolas.is_empty() {
            return false;
        }
        let mut lowest = 0;
        for (q, value) in line.iter_mut().enumerate() {
            while parabolas.get(lowest + 1).is_some_and(|next| next.from < q as f64) {
                lowest += 1;
            }
            let Parabola { vertex, height, .. } = parabolas[lowest];
            let distance = step * vertex.abs_diff(q) as f64;
            *value = distance * distance + height;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use genesis_tensor::random::{Purpose, Stream};

    use super::*;

    /// The definition: the nearest of all sources.
    fn brute_force(sources: &[bool], grid: &Grid) -> Vec<f64> {
        let [_, y, z] = grid.size();
        let place = |voxel: usize| [voxel / (y * z), voxel / z % y, voxel % z];
        let square = |a: usize, b: usize| -> f64 {
            let axis = |i: usize| (place(a)[i] as f64 - place(b)[i] as f64) * grid.spacing()[i];
            (0..3).map(|i| axis(i) * axis(i)).sum()
        };
        let nearest = |voxel| {
            let sources = (0..sources.len()).filter(|&source| sources[source]);
            sources.map(|source| square(voxel, source)).fold(f64::INFINITY, f64::min)
        };
        (0..sources.len()).map(nearest).collect()
    }

    #[test]
    fn equals_the_definition_on_random_sources_and_spacings() {
        let mut stream = Stream::new(41, 0, 0, Purpose::Other);
        for case in 0..40 {
            let size = [0; 3].map(|_| stream.between(1, 9));
            let spacing = [0; 3].map(|_| 0.2 + 4.0 * stream.uniform_f64());
            let grid = Grid::new(size, spacing).unwrap();
            // Few, some, many sources, and now and then none.
            let share = [0.01, 0.1, 0.6][case % 3];
            let sources: Vec<bool> = (0..grid.voxels()).map(|_| stream.chance(share)).collect();
            let squares = squared_distances(&sources, &grid).unwrap();
            for (got, want) in squares.iter().zip(brute_force(&sources, &grid)) {
                let close = (got - want).abs() <= 1e-12 * want || *got == want;
                assert!(close, "{size:?} {spacing:?}: {got} for {want}");
            }
        }
    }

    #[test]
    fn without_a_source_everything_is_infinitely_far() {
        let grid = Grid::new([2, 3, 2], [1.0; 3]).unwrap();
        assert!(
            squared_distances(&[false; 12], &grid).unwrap().iter().all(|square| *square == f64::INFINITY)
        );
        assert!(squared_distances(&[false; 11], &grid).is_err());
        let empty = Grid::new([0, 3, 2], [1.0; 3]).unwrap();
        assert!(squared_distances(&[], &empty).unwrap().is_empty());
    }
}
