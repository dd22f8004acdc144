//! Gamma: a power law between a channel's smallest and largest intensity.

use super::intensities;

/// Raises intensities, as shares of the channel's range, to the power `exponent`; `inverted`: as
/// shares below its largest intensity. The range stays; a constant channel does not change.
pub(super) fn apply(exponent: f64, inverted: bool, channel: &mut [f32]) {
    let [low, high] = intensities::range(channel);
    let width = high - low;
    if !(width > 0.0 && width.is_finite()) {
        return;
    }
    let exponent = exponent as f32;
    let (origin, sign) = if inverted { (high, -1.0) } else { (low, 1.0) };
    for value in channel {
        let share = ((*value - origin) * sign / width).clamp(0.0, 1.0);
        *value = (origin + sign * width * share.powf(exponent)).clamp(low, high);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_power_law_keeps_range_and_order() {
        let original: Vec<f32> = (0..=100).map(|i| i as f32 * 0.02 - 1.0).collect();
        for inverted in [false, true] {
            for exponent in [0.7, 1.5] {
                let mut channel = original.clone();
                apply(exponent, inverted, &mut channel);
                assert_eq!(intensities::range(&channel), [-1.0, 1.0]);
                assert!(channel.windows(2).all(|pair| pair[0] < pair[1]));
                let (origin, sign) = if inverted { (1.0, -1.0) } else { (-1.0, 1.0) };
                for (after, before) in channel.iter().zip(&original) {
                    let share = (f64::from(*before) - origin) * sign / 2.0;
                    let want = origin + sign * 2.0 * share.max(0.0).powf(exponent);
                    assert!((f64::from(*after) - want).abs() < 1e-5, "{before}: {after}, {want}");
                }
            }
        }
        let mut constant = vec![0.4; 9];
        apply(1.5, false, &mut constant);
        assert_eq!(constant, [0.4; 9]);
    }
}
