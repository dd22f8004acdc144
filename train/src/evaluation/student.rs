//! The independent two-sample t-test with which the paper compares methods over trials.

use serde::{Deserialize, Serialize};

use super::statistics::{mean, variance};

/// The result of a t-test.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TTest {
    /// The statistic: positive where the first sample's mean is larger.
    pub t: f64,
    /// Degrees of freedom (Welch and Satterthwaite's).
    pub degrees_of_freedom: f64,
    /// Two-sided probability of so large a difference between samples of equal means.
    pub p_value: f64,
}

/// Welch's two-sample t-test: independent samples, variances not assumed equal
/// (`scipy.stats.ttest_ind(a, b, equal_var=False)`). `None` if a sample has fewer than two values, one
/// that is not finite, or neither sample varies.
pub fn welch_t_test(a: &[f64], b: &[f64]) -> Option<TTest> {
    let difference = mean(a)? - mean(b)?;
    let [a, b] = [(variance(a)?, a.len() as f64), (variance(b)?, b.len() as f64)];
    let (error_a, error_b) = (a.0 / a.1, b.0 / b.1);
    let error = error_a + error_b;
    if !(error > 0.0 && error.is_finite() && difference.is_finite()) {
        return None;
    }
    let t = difference / error.sqrt();
    // By shares of the error: the squares of tiny variances would underflow.
    let (share_a, share_b) = (error_a / error, error_b / error);
    let degrees_of_freedom = 1.0 / (share_a * share_a / (a.1 - 1.0) + share_b * share_b / (b.1 - 1.0));
    let x = degrees_of_freedom / (degrees_of_freedom + t * t);
    let p_value = regularised_incomplete_beta(x, 0.5 * degrees_of_freedom, 0.5);
    Some(TTest { t, degrees_of_freedom, p_value })
}

/// I_x(a, b) for x in [0, 1] and positive a, b, by its continued fraction (Abramowitz and Stegun
/// 26.5.8), evaluated by the modified Lentz method (Thompson and Barnett 1986).
fn regularised_incomplete_beta(x: f64, a: f64, b: f64) -> f64 {
    // The fraction converges fast below its turning point; beyond it the symmetric one does.
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - regularised_incomplete_beta(1.0 - x, b, a);
    }
    if x <= 0.0 {
        return 0.0;
    }
    let log_front = a * x.ln() + b * (-x).ln_1p() + log_gamma(a + b) - log_gamma(a) - log_gamma(b) - a.ln();
    let away_from_zero = |value: f64| if value.abs() < 1e-300 { 1e-300 } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / away_from_zero(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    for step in 1..1000 {
        let m = f64::from(step);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let mut change = 1.0;
        for numerator in [even, odd] {
            d = 1.0 / away_from_zero(1.0 + numerator * d);
            c = away_from_zero(1.0 + numerator / c);
            change = c * d;
            fraction *= change;
        }
        if (change - 1.0).abs() < 1e-15 {
            break;
        }
    }
    log_front.exp() * fraction
}

/// ln Γ(x) for positive x (Lanczos 1964; Godfrey's coefficients for g = 7, n = 9).
fn log_gamma(x: f64) -> f64 {
    const COEFFICIENTS: [f64; 8] = [
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    if x < 0.5 {
        // Γ(x) = Γ(x + 1) / x.
        return log_gamma(x + 1.0) - x.ln();
    }
    let x = x - 1.0;
    let series: f64 =
        COEFFICIENTS.iter().enumerate().map(|(i, coefficient)| coefficient / (x + 1.0 + i as f64)).sum();
    let t = x + 7.5;
    0.5 * std::f64::consts::TAU.ln() + (x + 0.5) * t.ln() - t + (0.999_999_999_999_809_9 + series).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_gamma_of_known_arguments() {
        let half = std::f64::consts::PI.sqrt().ln();
        let factorial_9 = 362_880f64.ln();
        for (x, want) in
            [(1.0, 0.0), (2.0, 0.0), (0.5, half), (10.0, factorial_9), (0.25, 3.625_609_908_2f64.ln())]
        {
            assert!((log_gamma(x) - want).abs() < 1e-10, "ln Γ({x}) = {}", log_gamma(x));
        }
    }

    #[test]
    fn with_one_degree_of_freedom_beta_is_an_arcus_tangent() {
        // Student's t with 1 degree of freedom is Cauchy: p = 1 - 2/π atan t.
        for t in [0.01f64, 0.5, 1.0, 3.0, 50.0] {
            let want = 1.0 - std::f64::consts::FRAC_2_PI * t.atan();
            let got = regularised_incomplete_beta(1.0 / (1.0 + t * t), 0.5, 0.5);
            assert!((got - want).abs() < 1e-13, "{t}: {got} for {want}");
        }
    }

    #[test]
    fn the_test_is_symmetric_and_certain_of_equals() {
        let (a, b) = ([0.80, 0.82, 0.85], [0.70, 0.74, 0.71, 0.75]);
        let (ab, ba) = (welch_t_test(&a, &b).unwrap(), welch_t_test(&b, &a).unwrap());
        assert!(ab.t > 0.0 && (ab.t + ba.t).abs() < 1e-15 && (ab.p_value - ba.p_value).abs() < 1e-15);
        assert_eq!(welch_t_test(&a, &a).unwrap().p_value, 1.0);
    }

    #[test]
    fn what_cannot_be_compared_is_undefined() {
        assert_eq!(welch_t_test(&[1.0], &[1.0, 2.0]), None);
        assert_eq!(welch_t_test(&[1.0, 1.0], &[2.0, 2.0]), None);
        assert_eq!(welch_t_test(&[1.0, f64::NAN], &[1.0, 2.0]), None);
        assert!(welch_t_test(&[1.0, 1.0], &[1.0, 2.0]).is_some());
    }
}
