//! `cases.csv`: one line for each case and class.

use super::case::{CaseScores, METRICS};
use super::summary::Failure;

/// The whole file: `case,class,` the [metrics](METRICS), `iou_two_class_mean,error`. An undefined value is an
/// empty cell; a case that failed has one line, with nothing but its name and the error.
pub fn csv(cases: &[CaseScores], classes: &[String], failed: &[Failure]) -> String {
    let mut text = String::from("case,class");
    for metric in &METRICS {
        text.push(',');
        text.push_str(metric.name);
    }
    text.push_str(",iou_two_class_mean,error\n");
    let number = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
    for case in cases {
        for (class, scores) in classes.iter().zip(&case.classes) {
            text.push_str(&format!("{},{}", quoted(&case.name), quoted(class)));
            for metric in &METRICS {
                text.push(',');
                text.push_str(&number((metric.value)(scores)));
            }
            let two_class = case.two_class_iou.as_ref().and_then(|iou| iou.value());
            text.push_str(&format!(",{},\n", number(two_class)));
        }
    }
    for failure in failed {
        let empty = ",".repeat(METRICS.len() + 2);
        text.push_str(&format!("{},{empty}{}\n", quoted(&failure.case), quoted(&failure.error)));
    }
    text
}

/// A field as RFC 4180 has it.
fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_with_commas_are_quoted_and_failures_fill_their_line() {
        assert_eq!(quoted("a,\"b\""), "\"a,\"\"b\"\"\"");
        let failed = [Failure { case: "x".into(), error: "bad, really".into() }];
        let text = csv(&[], &[], &failed);
        let lines: Vec<&str> = text.lines().collect();
        let columns = lines[0].split(',').count();
        // The comma inside the quotes is one more.
        assert_eq!(lines[1].split(',').count(), columns + 1);
        assert!(lines[1].starts_with("x,,") && lines[1].ends_with(",\"bad, really\""), "{text}");
    }
}
