//! Range and moments of one channel's intensities.

/// Independent partial results, which the compiler keeps in vector registers.
const LANES: usize = 16;

/// Smallest and largest intensity; `[inf, -inf]` of nothing.
pub(super) fn range(channel: &[f32]) -> [f32; 2] {
    let (mut low, mut high) = ([f32::INFINITY; LANES], [f32::NEG_INFINITY; LANES]);
    let mut include = |piece: &[f32]| {
        for ((low, high), &value) in low.iter_mut().zip(&mut high).zip(piece) {
            *low = if value < *low { value } else { *low };
            *high = if value > *high { value } else { *high };
        }
    };
    let pieces = channel.chunks_exact(LANES);
    include(pieces.remainder());
    pieces.for_each(include);
    [low.into_iter().fold(f32::INFINITY, f32::min), high.into_iter().fold(f32::NEG_INFINITY, f32::max)]
}

/// Mean of the intensities.
pub(super) fn mean(channel: &[f32]) -> f64 {
    sum_of(channel, |value| value) / channel.len().max(1) as f64
}

/// Standard deviation of the intensities.
pub(super) fn deviation(channel: &[f32]) -> f64 {
    let mean = mean(channel);
    (sum_of(channel, |value| (value - mean) * (value - mean)) / channel.len().max(1) as f64).sqrt()
}

fn sum_of(channel: &[f32], of: impl Fn(f64) -> f64) -> f64 {
    let mut sums = [0.0f64; LANES];
    let mut include = |piece: &[f32]| {
        for (sum, &value) in sums.iter_mut().zip(piece) {
            *sum += of(f64::from(value));
        }
    };
    let pieces = channel.chunks_exact(LANES);
    include(pieces.remainder());
    pieces.for_each(include);
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_and_range_are_those_of_the_definition() {
        let values: Vec<f32> = (0..103).map(|i| 3.0 - ((i * 37) % 103) as f32).collect();
        assert_eq!(range(&values), [-99.0, 3.0]);
        assert_eq!(range(&values[5..6]), [values[5]; 2]);
        assert!((mean(&values) + 48.0).abs() < 1e-12);
        // 0..103 has the variance (103² - 1) / 12 = 884.
        assert!((deviation(&values) - 884f64.sqrt()).abs() < 1e-9);
    }
}
