//! De-noising baseline: additive Gaussian noise.

use genesis_tensor::random::Stream;

use super::recipe::Denoising;

/// Noise is made in pieces of this many voxels, which stay in the nearest cache.
const PIECE: usize = 1024;

/// Adds Gaussian noise whose standard deviation is uniform in `[0, largest_sigma]`. The result may
/// leave `[0, 1]`, as in the original.
pub(super) fn apply(rule: &Denoising, cube: &mut [f32], stream: &mut Stream) {
    let sigma = (rule.largest_sigma * stream.uniform_f64()) as f32;
    let mut noise = [0.0; PIECE];
    for piece in cube.chunks_mut(PIECE) {
        let noise = &mut noise[..piece.len()];
        stream.fill_normal(noise);
        for (value, added) in piece.iter_mut().zip(noise) {
            *value += sigma * *added;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use genesis_tensor::random::Purpose;

    #[test]
    fn the_standard_deviation_is_uniform_up_to_a_tenth() {
        let rule = Denoising { probability: 1.0, largest_sigma: 0.1 };
        let sigmas: Vec<f64> = (0..400)
            .map(|sample| {
                let mut cube = vec![0.5f32; 5_000];
                apply(&rule, &mut cube, &mut Stream::new(1, 0, sample, Purpose::Deformation));
                let mean_square = cube.iter().map(|&v| f64::from(v - 0.5).powi(2)).sum::<f64>() / 5e3;
                mean_square.sqrt()
            })
            .collect();
        // Uniform on [0, 0.1]: mean 0.05, standard deviation 0.1 / sqrt(12); five standard errors.
        let mean = sigmas.iter().sum::<f64>() / 400.0;
        assert!((mean - 0.05).abs() < 5.0 * 0.0289 / 20.0, "{mean}");
        let low = sigmas.iter().filter(|&&s| s < 0.025).count();
        assert!((60..140).contains(&low), "{low} of 100 expected");
        assert!(sigmas.iter().all(|&s| s < 0.106));
    }
}
