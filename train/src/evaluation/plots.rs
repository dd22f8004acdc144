//! Curves and matrices as pictures. A [`Chart`] becomes a file by `chart.picture()?.write_png(path)`.

use super::confusion::ConfusionMatrix;
use super::detection::{FALSE_POSITIVE_RATES, Froc};
use super::ranking::{Ranking, prevalence};
use crate::report::axis::Axis;
use crate::report::chart::{Chart, Series, SeriesColour, SeriesShape};
use crate::report::picture::{Colour, Picture, TextStyle};

const COLOURS: [SeriesColour; 4] =
    [SeriesColour::Blue, SeriesColour::Orange, SeriesColour::Green, SeriesColour::PaleBlue];

/// ROC curves, each with its AUC in the legend, over the diagonal of guessing. A ranking without both
/// classes has no curve and is left out.
pub fn roc_chart(rankings: &[(String, &Ranking)]) -> Chart {
    let mut series = vec![guessing(vec![(0.0, 0.0), (1.0, 1.0)], SeriesShape::Thin)];
    for (name, ranking) in rankings {
        let Some(auc) = ranking.auc() else { continue };
        let points = ranking.roc().iter().map(|p| (p.false_positive_rate, p.true_positive_rate)).collect();
        series.push(curve(format!("{name} (AUC {auc:.3})"), points, series.len() - 1));
    }
    chart("false positive rate (1 - specificity)", "sensitivity", Axis::linear(0.0, 1.0, 10), series)
}

/// Precision over recall, each with its average precision (AP) in the legend; the first ranking's
/// prevalence, the precision of guessing, is the dashed level. A ranking without positives is left out.
pub fn precision_recall_chart(rankings: &[(String, &Ranking)]) -> Chart {
    let mut series = Vec::new();
    if let Some(level) = rankings.first().and_then(|(_, ranking)| prevalence(ranking)) {
        series.push(guessing(vec![(0.0, level)], SeriesShape::Level));
    }
    let levels = series.len();
    for (name, ranking) in rankings {
        let Some(precision) = ranking.average_precision() else { continue };
        let points = ranking.precision_recall().iter().rev().map(|p| (p.recall, p.precision)).collect();
        series.push(curve(format!("{name} (AP {precision:.3})"), points, series.len() - levels));
    }
    chart("recall (sensitivity)", "precision", Axis::linear(0.0, 1.0, 10), series)
}

/// FROC curves from 1/8 to 8 false positives a scan, each with its CPM in the legend.
pub fn froc_chart(curves: &[(String, &Froc)]) -> Chart {
    let (first, last) = (FALSE_POSITIVE_RATES[0], FALSE_POSITIVE_RATES[FALSE_POSITIVE_RATES.len() - 1]);
    let mut series = Vec::new();
    for (name, froc) in curves {
        let inside = |rate: &f64| *rate > first && *rate < last;
        let steps = froc.points.iter().map(|p| (p.false_positives_per_scan, p.sensitivity));
        let mut points = vec![(first, froc.sensitivity_at(first))];
        points.extend(steps.filter(|(rate, _)| inside(rate)));
        points.push((last, froc.sensitivity_at(last)));
        series.push(curve(format!("{name} (CPM {:.3})", froc.scores().cpm), points, series.len()));
    }
    chart("false positives a scan", "sensitivity", Axis::logarithmic(first, last, 12), series)
}

fn chart(horizontal: &str, vertical: &str, axis: Axis, series: Vec<Series>) -> Chart {
    Chart {
        horizontal_label: horizontal.into(),
        vertical_label: vertical.into(),
        horizontal: axis,
        vertical: Axis::linear(0.0, 1.0, 6),
        series,
    }
}

fn curve(name: String, points: Vec<(f64, f64)>, number: usize) -> Series {
    Series { name, points, colour: COLOURS[number % COLOURS.len()], shape: SeriesShape::Thick }
}

fn guessing(points: Vec<(f64, f64)>, shape: SeriesShape) -> Series {
    Series { name: "guessing".into(), points, colour: SeriesColour::Slate, shape }
}

const INK: Colour = Colour(0x1f, 0x29, 0x33);
const PAPER: Colour = Colour(255, 255, 255);
/// The ground of a cell with all cases of its row.
const FULL: Colour = Colour(0x25, 0x63, 0xeb);
const CELL: (usize, usize) = (112, 64);
const MARGIN: usize = 16;

/// A confusion matrix, true classes downwards, predicted ones across: the number of cases and their
/// share of the row, on a ground as blue as that share. Names beyond the matrix's classes are ignored,
/// missing ones are numbers.
pub fn confusion_picture(matrix: &ConfusionMatrix, names: &[String]) -> Picture {
    let (regular, bold) = (TextStyle::regular(INK), TextStyle::bold(INK));
    let classes = matrix.classes();
    let name = |class: usize| names.get(class).cloned().unwrap_or_else(|| class.to_string());
    let widest = (0..classes).map(|class| regular.width(&name(class))).max().unwrap_or(0);
    let cell_width = CELL.0.max(widest + 16);
    let line = regular.line_height();
    let (left, top) = (MARGIN + line + 12 + widest + 10, MARGIN + 2 * line + 16);
    let across = "predicted class";
    let width = (left + classes * cell_width).max(left + bold.width(across)) + MARGIN;
    let down = "true class";
    let height = (top + classes * CELL.1).max(MARGIN + bold.width(down)) + MARGIN;
    let mut picture = Picture::new(width, height, PAPER);
    picture.text(across, left, MARGIN, bold);
    picture.text_upwards(down, MARGIN, height - MARGIN - 1, bold);
    for (label, row) in matrix.counts.iter().enumerate() {
        let y = top + label * CELL.1;
        let text = name(label);
        picture.text(&text, left - 10 - regular.width(&text), y + (CELL.1 - line) / 2, regular);
        let text_x = left + label * cell_width + (cell_width.saturating_sub(regular.width(&text))) / 2;
        picture.text(&text, text_x, top - line - 6, regular);
        let total: u64 = row.iter().sum();
        for (prediction, &cases) in row.iter().enumerate() {
            let x = left + prediction * cell_width;
            let share = if total > 0 { cases as f64 / total as f64 } else { 0.0 };
            let mut cell = Picture::new(cell_width - 2, CELL.1 - 2, mixed(share));
            let colour = if share > 0.5 { PAPER } else { INK };
            let lines = [
                (cases.to_string(), TextStyle::bold(colour)),
                (format!("{:.1} %", 100.0 * share), TextStyle::regular(colour)),
            ];
            for (number, (text, style)) in lines.iter().enumerate() {
                let x = cell.width().saturating_sub(style.width(text)) / 2;
                cell.text(text, x, CELL.1 / 2 - line + number * line, *style);
            }
            picture.paste(&cell, x + 1, y + 1);
        }
    }
    picture
}

/// Between a pale grey (0) and full blue (1).
fn mixed(share: f64) -> Colour {
    let pale = Colour(0xf1, 0xf4, 0xf9);
    let mix = |from: u8, to: u8| (f64::from(from) + (f64::from(to) - f64::from(from)) * share).round() as u8;
    Colour(mix(pale.0, FULL.0), mix(pale.1, FULL.1), mix(pale.2, FULL.2))
}

#[cfg(test)]
mod tests {
    use super::super::detection::Mark;
    use super::*;

    fn ranking() -> Ranking {
        Ranking::new(&[0.1, 0.4, 0.35, 0.8], &[false, false, true, true]).unwrap()
    }

    #[test]
    fn charts_name_their_numbers() {
        let ranking = ranking();
        let only_positive = Ranking::new(&[0.5], &[true]).unwrap();
        let named = [("nodules".to_string(), &ranking), ("one class".to_string(), &only_positive)];
        let roc = roc_chart(&named);
        assert_eq!(roc.series.len(), 2);
        assert_eq!(roc.series[1].name, "nodules (AUC 0.750)");
        let svg = roc.svg().unwrap();
        assert!(svg.contains("nodules (AUC 0.750)") && svg.contains("1 - specificity"));
        let curve = precision_recall_chart(&named[..1]);
        assert_eq!(curve.series[0].points, [(0.0, 0.5)]);
        assert_eq!(curve.series[1].name, "nodules (AP 0.833)");
        assert_eq!(curve.series[1].points[0], (0.0, 1.0));
        assert!(curve.series[1].points.windows(2).all(|pair| pair[0].0 <= pair[1].0));
        assert!(curve.picture().unwrap().to_png().unwrap().starts_with(b"\x89PNG"));
    }

    #[test]
    fn the_froc_spans_the_seven_rates() {
        let marks = [Mark { score: 0.9, finding: Some(0) }, Mark { score: 0.8, finding: None }];
        let froc = Froc::new(&marks, 2, 1).unwrap();
        let chart = froc_chart(&[("candidates".into(), &froc)]);
        assert_eq!(chart.series[0].points, [(0.125, 0.5), (1.0, 0.5), (8.0, 0.5)]);
        assert!(chart.horizontal.is_logarithmic() && chart.svg().is_ok());
    }

    #[test]
    fn full_cells_are_blue() {
        let matrix = ConfusionMatrix { counts: vec![vec![5, 0], vec![1, 3]] };
        let picture = confusion_picture(&matrix, &["benign".into()]);
        let shade = |wanted: Colour| {
            let places = (0..picture.height()).flat_map(|y| (0..picture.width()).map(move |x| (x, y)));
            places.filter(|&(x, y)| picture.pixel(x, y) == Some(wanted)).count()
        };
        assert!(shade(FULL) > 4000 && shade(mixed(0.0)) > 4000 && shade(mixed(0.75)) > 4000);
        assert_eq!(confusion_picture(&ConfusionMatrix { counts: vec![] }, &[]).pixel(0, 0), Some(PAPER));
    }
}
