//! `cases.csv`: one line for each case and class.

use super::case::{CaseScores, METRICS};
use super::summary::Failure;
use crate::Result;
use crate::candidates::CsvText;

/// The whole file: `case,class,` the [metrics](METRICS), `iou_two_class_mean,error`. An undefined value is an
/// empty cell; a case that failed has one line, with nothing but its name and the error.
///
/// # Errors
/// None that scores can cause.
pub fn csv(cases: &[CaseScores], classes: &[String], failed: &[Failure]) -> Result<Vec<u8>> {
    let mut table = CsvText::new();
    let metrics = METRICS.iter().map(|metric| metric.name.to_string());
    table
        .row(["case", "class"].map(String::from).into_iter().chain(metrics).chain(LAST.map(String::from)))?;
    let number = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
    for case in cases {
        for (class, scores) in classes.iter().zip(&case.classes) {
            let two_class = case.two_class_iou.as_ref().and_then(|iou| iou.value());
            let last = [number(two_class), String::new()];
            let metrics = METRICS.iter().map(|metric| number((metric.value)(scores)));
            table.row([case.name.clone(), class.clone()].into_iter().chain(metrics).chain(last))?;
        }
    }
    for failure in failed {
        let empty = std::iter::repeat_n(String::new(), METRICS.len() + 2);
        table.row([failure.case.clone()].into_iter().chain(empty).chain([failure.error.clone()]))?;
    }
    table.finish()
}

/// The columns after the metrics.
const LAST: [&str; 2] = ["iou_two_class_mean", "error"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_with_commas_are_quoted_and_failures_fill_their_line() {
        let failed = [Failure { case: "x".into(), error: "bad, really".into() }];
        let text = String::from_utf8(csv(&[], &[], &failed).unwrap()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let columns = lines[0].split(',').count();
        // The comma inside the quotes is one more.
        assert_eq!(lines[1].split(',').count(), columns + 1);
        assert!(lines[1].starts_with("x,,") && lines[1].ends_with(",\"bad, really\""), "{text}");
    }
}
