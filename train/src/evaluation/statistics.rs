//! What many values come to: over cases, over trials.

use serde::{Deserialize, Serialize};

/// Which end of a metric is the good one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// Dice, AUC.
    Higher,
    /// Distances, losses.
    Lower,
}

/// Mean, spread and remarkable cases of one metric. Undefined values (`None`, or not finite) are left
/// out of everything and counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Values that entered.
    pub defined: usize,
    /// Values left out.
    pub undefined: usize,
    /// Arithmetic mean.
    pub mean: Option<f64>,
    /// Sample standard deviation (n - 1); undefined for fewer than two values.
    pub standard_deviation: Option<f64>,
    /// Median; between the two middle values of an even number.
    pub median: Option<f64>,
    /// The smallest value.
    pub minimum: Option<f64>,
    /// The largest value.
    pub maximum: Option<f64>,
    /// Index of the worst case; the first of equals.
    pub worst_case: Option<usize>,
    /// Index of the middle case in order from worst to best; the worse of two.
    pub median_case: Option<usize>,
    /// Index of the best case; the last of equals.
    pub best_case: Option<usize>,
}

impl Summary {
    /// Summarises one value a case.
    pub fn of(values: &[Option<f64>], better: Better) -> Self {
        let defined = |value: Option<f64>| value.filter(|value| value.is_finite());
        let mut cases: Vec<(usize, f64)> =
            values.iter().enumerate().filter_map(|(case, &value)| Some((case, defined(value)?))).collect();
        let numbers: Vec<f64> = cases.iter().map(|(_, value)| *value).collect();
        let mut sorted = numbers.clone();
        sorted.sort_by(f64::total_cmp);
        // From worst to best; a stable sort keeps equals in the order of the cases.
        cases.sort_by(|(_, a), (_, b)| match better {
            Better::Higher => a.total_cmp(b),
            Better::Lower => b.total_cmp(a),
        });
        let case = |at: Option<&(usize, f64)>| at.map(|(case, _)| *case);
        Self {
            defined: cases.len(),
            undefined: values.len() - cases.len(),
            mean: mean(&numbers),
            standard_deviation: variance(&numbers).map(f64::sqrt),
            median: percentile(&sorted, 50.0),
            minimum: sorted.first().copied(),
            maximum: sorted.last().copied(),
            worst_case: case(cases.first()),
            median_case: case(cases.get(cases.len().saturating_sub(1) / 2)),
            best_case: case(cases.last()),
        }
    }

    /// "0.853 ± 0.021", "0.853" for one value, "undefined" for none; `decimals` after the point.
    pub fn text(&self, decimals: usize) -> String {
        match (self.mean, self.standard_deviation) {
            (Some(mean), Some(deviation)) => format!("{mean:.decimals$} ± {deviation:.decimals$}"),
            (Some(mean), None) => format!("{mean:.decimals$}"),
            (None, _) => "undefined".into(),
        }
    }
}

/// Arithmetic mean; `None` of nothing.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Sample variance (n - 1); `None` of fewer than two values.
pub fn variance(values: &[f64]) -> Option<f64> {
    let mean = mean(values)?;
    let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
    (values.len() > 1).then(|| squares / (values.len() - 1) as f64)
}

/// The `percent`th percentile, 0 to 100, of rising values, linear between neighbours (NumPy's
/// default); `None` of nothing.
pub fn percentile(sorted: &[f64], percent: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let position = (percent / 100.0).clamp(0.0, 1.0) * last as f64;
    let below = position.floor() as usize;
    let above = (below + 1).min(last);
    Some(sorted[below] + (sorted[above] - sorted[below]) * (position - below as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_leaves_out_and_counts_what_is_undefined() {
        let values = [Some(0.5), None, Some(0.9), Some(f64::INFINITY), Some(0.7), Some(0.1)];
        let summary = Summary::of(&values, Better::Higher);
        assert_eq!((summary.defined, summary.undefined), (4, 2));
        assert!((summary.mean.unwrap() - 0.55).abs() < 1e-15);
        assert!((summary.median.unwrap() - 0.6).abs() < 1e-15);
        // Deviations -0.05, 0.35, 0.15, -0.45: squares sum to 0.35.
        assert!((summary.standard_deviation.unwrap() - (0.35f64 / 3.0).sqrt()).abs() < 1e-15);
        assert_eq!((summary.minimum, summary.maximum), (Some(0.1), Some(0.9)));
        assert_eq!((summary.worst_case, summary.median_case, summary.best_case), (Some(5), Some(0), Some(2)));
        assert_eq!(summary.text(2), "0.55 ± 0.34");
        let distances = Summary::of(&values, Better::Lower);
        assert_eq!((distances.worst_case, distances.best_case), (Some(2), Some(5)));
    }

    #[test]
    fn one_value_has_no_spread_and_none_has_nothing() {
        let one = Summary::of(&[Some(3.0)], Better::Lower);
        assert_eq!((one.mean, one.standard_deviation, one.median_case), (Some(3.0), None, Some(0)));
        assert_eq!(one.text(1), "3.0");
        let none = Summary::of(&[None, None], Better::Lower);
        assert_eq!((none.mean, none.median, none.worst_case, none.undefined), (None, None, None, 2));
        assert_eq!(none.text(1), "undefined");
        assert_eq!(Summary::of(&[], Better::Higher).best_case, None);
    }

    #[test]
    fn percentiles_lie_between_neighbours() {
        let sorted = [1.0, 2.0, 4.0];
        for (percent, want) in [(0.0, 1.0), (25.0, 1.5), (50.0, 2.0), (95.0, 3.8), (100.0, 4.0)] {
            assert!((percentile(&sorted, percent).unwrap() - want).abs() < 1e-12, "{percent}");
        }
        assert_eq!(percentile(&[], 50.0), None);
    }
}
