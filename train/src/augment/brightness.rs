//! Brightness (a factor on all intensities) and contrast (a factor on their differences from the
//! mean).

use super::intensities;

/// Multiplies every intensity.
pub(super) fn scale(factor: f64, channel: &mut [f32]) {
    let factor = factor as f32;
    for value in channel {
        *value *= factor;
    }
}

/// Multiplies every difference from the channel's mean and clips to the channel's former range.
pub(super) fn stretch(factor: f64, channel: &mut [f32]) {
    let [low, high] = intensities::range(channel);
    let (mean, factor) = (intensities::mean(channel) as f32, factor as f32);
    for value in channel {
        *value = (mean + (*value - mean) * factor).max(low).min(high);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brightness_multiplies_and_contrast_keeps_mean_and_range() {
        let original: Vec<f32> = (0..101).map(|i| i as f32 * 0.01).collect();
        let mut channel = original.clone();
        scale(1.25, &mut channel);
        assert!(channel.iter().zip(&original).all(|(after, before)| *after == before * 1.25));

        let mut weaker = original.clone();
        stretch(0.5, &mut weaker);
        let [low, high] = intensities::range(&weaker);
        assert!((low - 0.25).abs() < 1e-6 && (high - 0.75).abs() < 1e-6, "{low} {high}");
        assert!((intensities::mean(&weaker) - 0.5).abs() < 1e-6);

        let mut stronger = original.clone();
        stretch(2.0, &mut stronger);
        assert_eq!(intensities::range(&stronger), [0.0, 1.0]);
        assert!((stronger[60] - 0.7).abs() < 1e-6);
    }
}
