//! The Dice of every case, one strip a class, with the quartiles.

use super::case::CaseScores;
use crate::evaluation::statistics::percentile;
use crate::report::axis::Axis;
use crate::report::chart::{Chart, Series, SeriesColour, SeriesShape};

/// Fewer cases than this have no box: their dots say all.
const FEWEST_FOR_A_BOX: usize = 4;
/// Half the width of a box and of a strip, in distances of two classes.
const HALF: f64 = 0.3;
/// Letters of all names together that fit under the axis.
const LETTERS: usize = 100;

/// A chart of the cases' Dice for every class.
pub fn dice_chart(cases: &[CaseScores], classes: &[String]) -> Chart {
    let (mut boxes, mut medians, mut dots) = (Vec::new(), Vec::new(), Vec::new());
    let gap = (f64::NAN, f64::NAN);
    for class in 0..classes.len() {
        let centre = class as f64 + 1.0;
        let values: Vec<f64> = cases.iter().map(|case| case.classes[class].dice).collect();
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        let quartiles = [25.0, 50.0, 75.0].map(|percent| percentile(&sorted, percent));
        if let ([Some(low), Some(middle), Some(high)], true) = (quartiles, values.len() >= FEWEST_FOR_A_BOX) {
            let (left, right) = (centre - HALF, centre + HALF);
            boxes.extend([(left, low), (right, low), (right, high), (left, high), (left, low), gap]);
            medians.extend([(left, middle), (right, middle), gap]);
        }
        for (case, &dice) in values.iter().enumerate() {
            // Multiples of the golden ratio spread evenly, and the same on every run.
            let aside = (case as f64 * 0.618_033_988_749_895).fract() - 0.5;
            dots.extend([(centre + aside * HALF, dice), gap]);
        }
    }
    let series = |name: &str, points, colour, shape| Series { name: name.into(), points, colour, shape };
    let mut all = vec![series("a case", dots, SeriesColour::Green, SeriesShape::Dots)];
    if !boxes.is_empty() {
        all.push(series("middle half", boxes, SeriesColour::Blue, SeriesShape::Thin));
        all.push(series("median", medians, SeriesColour::Orange, SeriesShape::Thick));
    }
    Chart {
        horizontal_label: "class".into(),
        vertical_label: "Dice".into(),
        horizontal: Axis::categories(short(classes)),
        vertical: Axis::linear(0.0, 1.0, 10),
        series: all,
    }
}

/// Names cut to what fits side by side; numbers where not even four letters do.
fn short(classes: &[String]) -> Vec<String> {
    let room = (LETTERS / classes.len().max(1)).saturating_sub(1);
    if room < 4 {
        return (1..=classes.len()).map(|number| number.to_string()).collect();
    }
    let cut = |name: &String| match name.chars().count() > room {
        true => name.chars().take(room - 1).chain(['.']).collect(),
        false => name.clone(),
    };
    classes.iter().map(cut).collect()
}
