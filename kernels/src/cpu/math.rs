//! Exponentials that the vectoriser can widen: plain arithmetic, no calls, no branches.
//!
//! Cody and Waite's argument reduction, x = n·ln 2 + r with |r| ≤ ln 2 / 2, and the polynomial of
//! Cephes' `expf` (Moshier, 1992). No multiply-add is contracted, so every instruction set gives the
//! same bits. NaN in, NaN out.

const LOG2_E: f32 = std::f32::consts::LOG2_E;
/// ln 2 in two parts; the first has so few bits that n times it is exact.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;
/// 1.5 · 2²³: adding it rounds to a whole number, which then stands in the low bits.
const ROUND: f32 = 12_582_912.0;

/// n and exp(r) - 1 of the reduced argument.
#[inline(always)]
fn reduce(x: f32) -> (i32, f32) {
    let shifted = x * LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * LN_2_HIGH - n * LN_2_LOW;
    let mut p = 1.987_569_1e-4_f32;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 5.0e-1;
    ((shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32), p * r * r + r)
}

/// 2ⁿ for -127 ≤ n ≤ 128 (the ends give 0 and infinity).
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// exp(x), within 2 units in the last place over the whole range, denormal results included.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Beyond these ends the result is 0 or infinity. Comparisons let a NaN through, `clamp` too, but
    // only these compile to a plain minimum and maximum.
    let x = if x < -104.0 { -104.0 } else { x };
    let x = if x > 89.0 { 89.0 } else { x };
    let (n, p) = reduce(x);
    // In two steps: 2ⁿ alone would leave the range of normal numbers before exp(x) does.
    let half = n >> 1;
    (1.0 + p) * power_of_two(half) * power_of_two(n.wrapping_sub(half))
}

/// exp(x) - 1 for x ≤ 0, without the cancellation near 0. Unspecified for positive x.
#[inline(always)]
pub fn exp_m1_of_negative(x: f32) -> f32 {
    let x = if x < -30.0 { -30.0 } else { x };
    let (n, p) = reduce(x);
    let power = power_of_two(n);
    p * power + (power - 1.0)
}

/// x where positive, else exp(x) - 1.
#[inline(always)]
pub fn elu(x: f32) -> f32 {
    let negative = exp_m1_of_negative(x);
    if x > 0.0 { x } else { negative }
}

/// ln(1 + x) for 0 ≤ x ≤ 1, by the series of 2·artanh(x / (2 + x)).
#[inline(always)]
pub fn ln_1p_of_fraction(x: f32) -> f32 {
    let s = x / (2.0 + x);
    let square = s * s;
    let mut p = 1.0 / 15.0;
    p = p * square + 1.0 / 13.0;
    p = p * square + 1.0 / 11.0;
    p = p * square + 1.0 / 9.0;
    p = p * square + 1.0 / 7.0;
    p = p * square + 1.0 / 5.0;
    p = p * square + 1.0 / 3.0;
    2.0 * (s + s * square * p)
}

/// 1 / (1 + exp(-x)).
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every 1 009th bit pattern of finite numbers.
    fn numbers() -> impl Iterator<Item = f32> {
        (0..=u32::MAX).step_by(1_009).map(f32::from_bits).filter(|x| x.is_finite())
    }

    #[test]
    fn exp_is_within_two_units_in_the_last_place() {
        for x in numbers() {
            let (given, wanted) = (exp(x), f64::from(x).exp());
            if wanted >= f64::from(f32::MAX) {
                assert!(given >= f32::MAX * 0.999_999, "exp({x}) = {given}");
                continue;
            }
            let unit = (wanted * 2f64.powi(-23)).max(2f64.powi(-149));
            assert!((f64::from(given) - wanted).abs() <= 2.0 * unit, "exp({x}) = {given}, not {wanted}");
        }
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn exp_m1_keeps_its_digits_near_zero() {
        for x in numbers().filter(|x| *x <= 0.0) {
            let (given, wanted) = (f64::from(exp_m1_of_negative(x)), f64::from(x).exp_m1());
            let unit = (wanted.abs() * 2f64.powi(-23)).max(2f64.powi(-149));
            assert!((given - wanted).abs() <= 2.0 * unit, "exp_m1({x}) = {given}, not {wanted}");
        }
        assert_eq!(exp_m1_of_negative(f32::NEG_INFINITY), -1.0);
        assert!(exp_m1_of_negative(f32::NAN).is_nan());
    }

    #[test]
    fn ln_1p_is_within_three_units_in_the_last_place() {
        for x in numbers().filter(|x| (0.0..=1.0).contains(x)) {
            let (given, wanted) = (f64::from(ln_1p_of_fraction(x)), f64::from(x).ln_1p());
            let unit = (wanted.abs() * 2f64.powi(-23)).max(2f64.powi(-149));
            assert!((given - wanted).abs() <= 3.0 * unit, "ln_1p({x}) = {given}, not {wanted}");
        }
        assert!(ln_1p_of_fraction(f32::NAN).is_nan());
    }

    #[test]
    fn sigmoid_has_its_limits() {
        assert_eq!(sigmoid(f32::INFINITY), 1.0);
        assert_eq!(sigmoid(f32::NEG_INFINITY), 0.0);
        assert_eq!(sigmoid(0.0), 0.5);
        assert!(sigmoid(f32::NAN).is_nan());
    }
}
