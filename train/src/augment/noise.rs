//! Additive Gaussian noise.

use genesis_tensor::random::Stream;

use super::intensities;

/// Noise is made in pieces of this many voxels, which stay in the nearest cache.
const PIECE: usize = 1024;

/// Adds noise whose standard deviation is `share` of the channel's.
pub(super) fn apply(share: f64, channel: &mut [f32], stream: &mut Stream) {
    let sigma = (share * intensities::deviation(channel)) as f32;
    let mut noise = [0.0; PIECE];
    for piece in channel.chunks_mut(PIECE) {
        let noise = &mut noise[..piece.len()];
        stream.fill_normal(noise);
        for (value, &added) in piece.iter_mut().zip(&*noise) {
            *value += sigma * added;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use genesis_tensor::random::Purpose;

    #[test]
    fn noise_is_normal_with_the_asked_deviation() {
        let mut stream = Stream::new(3, 0, 0, Purpose::Other);
        let mut before = vec![0.0f32; 100_000];
        stream.fill_uniform(&mut before);
        let mut after = before.clone();
        apply(0.2, &mut after, &mut stream);
        let added: Vec<f64> = after.iter().zip(&before).map(|(a, b)| f64::from(a - b)).collect();
        let moment = |power| added.iter().map(|v| v.powi(power)).sum::<f64>() / 1e5;
        // A uniform channel has the variance 1/12; tolerances of five standard errors.
        let variance = 0.04f64 / 12.0;
        assert!(moment(1).abs() < 5.0 * (variance / 1e5).sqrt(), "mean {}", moment(1));
        assert!((moment(2) / variance - 1.0).abs() < 5.0 * (2.0f64 / 1e5).sqrt() + 0.01);
        assert!((moment(4) / moment(2).powi(2) - 3.0).abs() < 5.0 * (24.0f64 / 1e5).sqrt());
        // A constant channel has no deviation to take a share of.
        let mut constant = vec![0.25; 100];
        apply(0.2, &mut constant, &mut stream);
        assert_eq!(constant, [0.25; 100]);
    }
}
