//! Connected components, by union-find over runs of equal labels along z.

use serde::Serialize;

/// Which voxels are neighbours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Connectivity {
    /// Six: those that share a face.
    Faces,
    /// Twenty-six: those that share a face, an edge or a corner.
    #[default]
    Corners,
}

/// Keeps the largest component of one class (the first of equal ones) and sets the others to
/// `background`; returns how many components were removed. `labels` is `[X, Y, Z]`, z fastest.
pub fn keep_largest_component(
    labels: &mut [u8],
    [nx, ny, nz]: [usize; 3],
    class: u8,
    background: u8,
    connectivity: Connectivity,
) -> usize {
    // Runs `start..end` of positions, row after row; `rows[r]` is the first run of row r.
    let (mut runs, mut rows) = (Vec::<(usize, usize)>::new(), Vec::with_capacity(nx * ny + 1));
    for row in labels.chunks_exact(nz) {
        let base = rows.len() * nz;
        rows.push(runs.len());
        let mut z = 0;
        while z < nz {
            if row[z] == class {
                let start = z;
                while z < nz && row[z] == class {
                    z += 1;
                }
                runs.push((base + start, base + z));
            } else {
                z += 1;
            }
        }
    }
    rows.push(runs.len());
    let mut parents: Vec<usize> = (0..runs.len()).collect();
    for x in 0..nx {
        for y in 0..ny {
            let here = x * ny + y;
            let mut earlier = Vec::with_capacity(4);
            if y > 0 {
                earlier.push(here - 1);
            }
            if x > 0 {
                earlier.push(here - ny);
                if connectivity == Connectivity::Corners {
                    earlier.extend((y > 0).then(|| here - ny - 1));
                    earlier.extend((y + 1 < ny).then(|| here - ny + 1));
                }
            }
            for there in earlier {
                let (mut a, mut b) = (rows[here], rows[there]);
                let reach = usize::from(connectivity == Connectivity::Corners);
                while a < rows[here + 1] && b < rows[there + 1] {
                    let ((a0, a1), (b0, b1)) = (runs[a], runs[b]);
                    let (a0, a1) = (a0 - here * nz, a1 - here * nz);
                    let (b0, b1) = (b0 - there * nz, b1 - there * nz);
                    if a0 < b1 + reach && b0 < a1 + reach {
                        join(&mut parents, a, b);
                    }
                    if a1 < b1 { a += 1 } else { b += 1 }
                }
            }
        }
    }
    let mut sizes = vec![0usize; runs.len()];
    for run in 0..runs.len() {
        sizes[root(&mut parents, run)] += runs[run].1 - runs[run].0;
    }
    // The last maximum of the reversed order is the first of equal ones.
    let Some((largest, _)) = sizes.iter().enumerate().rev().max_by_key(|(_, size)| **size) else { return 0 };
    for run in 0..runs.len() {
        if root(&mut parents, run) != largest {
            labels[runs[run].0..runs[run].1].fill(background);
        }
    }
    sizes.iter().filter(|&&size| size > 0).count() - 1
}

fn root(parents: &mut [usize], mut run: usize) -> usize {
    while parents[run] != run {
        parents[run] = parents[parents[run]];
        run = parents[run];
    }
    run
}

/// The lower root stays, so that a component is named by its first run.
fn join(parents: &mut [usize], a: usize, b: usize) {
    let (a, b) = (root(parents, a), root(parents, b));
    parents[a.max(b)] = a.min(b);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Flood fill, voxel by voxel.
    fn reference(labels: &[u8], size: [usize; 3], class: u8, connectivity: Connectivity) -> Vec<u8> {
        let index = |p: [usize; 3]| (p[0] * size[1] + p[1]) * size[2] + p[2];
        let mut seen = vec![false; labels.len()];
        let mut largest = Vec::new();
        for start in 0..labels.len() {
            if seen[start] || labels[start] != class {
                continue;
            }
            seen[start] = true;
            let mut found = vec![start];
            let mut next = 0;
            while next < found.len() {
                let i = found[next];
                next += 1;
                let p = [i / (size[1] * size[2]), i / size[2] % size[1], i % size[2]];
                for d in 0..27 {
                    let step = [d / 9, d / 3 % 3, d % 3];
                    let distance: usize = step.iter().map(|&s: &usize| s.abs_diff(1)).sum();
                    let inside = (0..3).all(|a| (1..=size[a]).contains(&(p[a] + step[a])));
                    if !inside || connectivity == Connectivity::Faces && distance != 1 {
                        continue;
                    }
                    let j = index(std::array::from_fn(|a| p[a] + step[a] - 1));
                    if !seen[j] && labels[j] == class {
                        seen[j] = true;
                        found.push(j);
                    }
                }
            }
            if found.len() > largest.len() {
                largest = found;
            }
        }
        let mut result: Vec<u8> = labels.iter().map(|&l| if l == class { 0 } else { l }).collect();
        largest.into_iter().for_each(|i| result[i] = class);
        result
    }

    #[test]
    fn the_largest_component_is_that_of_a_flood_fill() {
        let mut state = 1u32;
        for (size, share) in
            [([7, 9, 11], 3), ([1, 1, 40], 2), ([12, 1, 9], 4), ([6, 6, 6], 8), ([5, 5, 5], 30)]
        {
            for _ in 0..20 {
                let labels: Vec<u8> = (0..size.iter().product::<usize>())
                    .map(|_| {
                        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        let draw = (state >> 16) % 10;
                        if draw * 3 < share { 2 } else { (draw % 2) as u8 }
                    })
                    .collect();
                for connectivity in [Connectivity::Faces, Connectivity::Corners] {
                    let mut found = labels.clone();
                    keep_largest_component(&mut found, size, 2, 0, connectivity);
                    assert_eq!(found, reference(&labels, size, 2, connectivity), "{size:?} {connectivity:?}");
                }
            }
        }
        let mut labels = [1, 0, 1, 1, 0, 1];
        assert_eq!(keep_largest_component(&mut labels, [1, 1, 6], 1, 0, Connectivity::Faces), 2);
        assert_eq!(labels, [0, 0, 1, 1, 0, 0]);
        assert_eq!(keep_largest_component(&mut labels, [1, 1, 6], 7, 0, Connectivity::Faces), 0);
    }
}
