//! A chart's axis, linear or logarithmic, with ticks at round numbers.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

/// An axis from `low` to `high`; everything is `f64` and finite.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    low: f64,
    high: f64,
    logarithmic: bool,
    most_ticks: usize,
    /// What stands at 1, 2, 3, … instead of numbers.
    names: Vec<String>,
}

impl Axis {
    /// An axis with equal distances for equal differences and at most about `most_ticks` ticks.
    pub fn linear(low: f64, high: f64, most_ticks: usize) -> Self {
        let (low, high) = if high > low { (low, high) } else { (low - 0.5, low + 0.5) };
        Self { low, high, logarithmic: false, most_ticks, names: Vec::new() }
    }

    /// An axis with equal distances for equal ratios; both ends must be positive, or the axis is
    /// linear.
    pub fn logarithmic(low: f64, high: f64, most_ticks: usize) -> Self {
        Self { logarithmic: low > 0.0 && high > low, ..Self::linear(low, high, most_ticks) }
    }

    /// An axis of categories: the first at 1, the next at 2, and so on, half a unit of room at both ends.
    pub fn categories(names: Vec<String>) -> Self {
        let count = names.len();
        Self { names, ..Self::linear(0.5, count.max(1) as f64 + 0.5, count) }
    }

    /// Whether equal ratios take equal distances.
    pub fn is_logarithmic(&self) -> bool {
        self.logarithmic
    }

    /// The nearest value on the axis.
    pub fn clamp(&self, value: f64) -> f64 {
        value.clamp(self.low, self.high)
    }

    /// Where `value` lies between the ends, 0 to 1.
    fn fraction(&self, value: f64) -> f64 {
        if self.logarithmic {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        }
    }

    /// Round values to mark, rising.
    pub fn ticks(&self) -> Vec<f64> {
        if !self.names.is_empty() {
            return (1..=self.names.len()).map(|place| place as f64).collect();
        }
        if !self.logarithmic || self.high / self.low < 4.0 {
            return self.linear_ticks();
        }
        // The densest set of mantissas that stays within the wanted number.
        const MANTISSAS: [&[f64]; 4] = [&[1.0, 2.0, 3.0, 5.0, 7.0], &[1.0, 2.0, 5.0], &[1.0, 3.0], &[1.0]];
        let exponents = (self.low.log10().floor() as i32)..=(self.high.log10().ceil() as i32);
        let mut ticks = Vec::new();
        for mantissas in MANTISSAS {
            ticks = exponents
                .clone()
                .flat_map(|exponent| mantissas.iter().map(move |mantissa| decimal(*mantissa, exponent)))
                .filter(|tick| (self.low..=self.high).contains(tick))
                .collect();
            if ticks.len() <= self.most_ticks {
                break;
            }
        }
        let every = ticks.len().div_ceil(self.most_ticks.max(1)).max(1);
        ticks.into_iter().step_by(every).collect()
    }

    fn linear_ticks(&self) -> Vec<f64> {
        let rough = (self.high - self.low) / self.most_ticks.max(1) as f64;
        let exponent = rough.log10().floor() as i32;
        let steps = [1.0, 2.0, 5.0, 10.0].map(|mantissa| decimal(mantissa, exponent));
        let step = steps.into_iter().find(|step| *step >= rough * 0.999).unwrap_or(steps[3]);
        let first = (self.low / step - 1e-9).ceil() as i64;
        let last = (self.high / step + 1e-9).floor() as i64;
        (first..=last).map(|multiple| multiple as f64 * step).collect()
    }
}

/// `mantissa` times ten to the `exponent`, as near as a decimal literal.
fn decimal(mantissa: f64, exponent: i32) -> f64 {
    if exponent < 0 { mantissa / 10f64.powi(-exponent) } else { mantissa * 10f64.powi(exponent) }
}

/// A number as a tick shows it: at most four significant digits, thousands as `k`, millions as `M`,
/// very small numbers as `2e-5`.
pub fn tick_label(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude >= 1e6 {
        return format!("{}M", trimmed(value / 1e6));
    }
    if magnitude >= 1e4 {
        return format!("{}k", trimmed(value / 1e3));
    }
    if magnitude < 1e-12 {
        return "0".into();
    }
    if magnitude < 1e-4 {
        let text = format!("{value:.1e}");
        return text.replace(".0e", "e");
    }
    trimmed(value)
}

/// Four significant digits without zeros at the end.
fn trimmed(value: f64) -> String {
    let digits_before = value.abs().max(1e-9).log10().floor() as i32 + 1;
    let decimals = usize::try_from(4 - digits_before).unwrap_or(0);
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').into() } else { text }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        limit.0 + (self.fraction(*value) * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks()
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        let name = (value.round() as usize).checked_sub(1).and_then(|place| self.names.get(place));
        name.cloned().unwrap_or_else(|| tick_label(*value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linear_ticks_are_round_and_inside() {
        assert_eq!(Axis::linear(0.0, 1234.0, 7).ticks(), [0.0, 200.0, 400.0, 600.0, 800.0, 1000.0, 1200.0]);
        let labels: Vec<_> = Axis::linear(0.011, 0.052, 5).ticks().into_iter().map(tick_label).collect();
        assert_eq!(labels, ["0.02", "0.03", "0.04", "0.05"]);
    }

    #[test]
    fn logarithmic_ticks_follow_the_decades() {
        assert_eq!(Axis::logarithmic(0.004, 0.3, 8).ticks(), [0.005, 0.01, 0.02, 0.05, 0.1, 0.2]);
        assert_eq!(Axis::logarithmic(1e-5, 10.0, 7).ticks(), [1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0]);
        assert!(Axis::logarithmic(1e-30, 10.0, 7).ticks().len() <= 7);
        assert!(!Axis::logarithmic(0.0, 1.0, 7).is_logarithmic());
    }

    #[test]
    fn the_ends_map_to_the_limits() {
        for axis in [Axis::linear(2.0, 8.0, 5), Axis::logarithmic(2.0, 8.0, 5)] {
            assert_eq!((axis.map(&2.0, (10, 110)), axis.map(&8.0, (10, 110))), (10, 110));
        }
        assert_eq!(Axis::logarithmic(2.0, 8.0, 5).map(&4.0, (100, 0)), 50);
        assert_eq!(Axis::linear(3.0, 3.0, 5).map(&3.0, (0, 100)), 50);
    }

    #[test]
    fn categories_stand_at_whole_numbers() {
        let axis = Axis::categories(vec!["liver".into(), "tumour".into()]);
        assert_eq!(axis.ticks(), [1.0, 2.0]);
        assert_eq!(
            axis.ticks().iter().map(|tick| axis.format_ext(tick)).collect::<Vec<_>>(),
            ["liver", "tumour"]
        );
        assert_eq!([0.5, 1.0, 2.5].map(|value| axis.map(&value, (0, 200))), [0, 50, 200]);
    }

    #[test]
    fn labels_are_short() {
        let labels: Vec<_> =
            [0.0, 1200.0, 25_000.0, 1.5e6, 0.00025, 2e-5, -0.5, 100.0].map(tick_label).into();
        assert_eq!(labels, ["0", "1200", "25k", "1.5M", "0.00025", "2e-5", "-0.5", "100"]);
    }
}
