//! The loss of a run, step by step: from `metrics.jsonl` to `loss.png` and to the report's SVG.

use std::path::Path;

use super::axis::Axis;
use super::chart::{Chart, Series, SeriesColour, SeriesShape};
use super::metrics::{Record, Split};
use crate::error::{Error, Result};

/// Points of the raw line beyond which neighbours are joined, so that an SVG stays small.
const MOST_POINTS: usize = 700;

/// The losses of one run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LossCurves {
    /// Training loss: (optimiser step, loss), steps rising.
    pub training: Vec<(f64, f64)>,
    /// Validation loss, likewise.
    pub validation: Vec<(f64, f64)>,
    /// The loss of the identity, which hands back its deformed input: what restoration has to beat.
    pub identity_baseline: Option<f64>,
    /// What the loss is, such as "mean squared error".
    pub loss_name: String,
}

impl LossCurves {
    /// The curves of a run's records.
    pub fn from_records(records: &[Record], loss_name: &str, identity_baseline: Option<f64>) -> Self {
        let of = |split| {
            let chosen = records.iter().filter(move |record| record.split == split);
            chosen.map(|record| (record.step as f64, record.loss.0)).collect()
        };
        Self {
            training: of(Split::Train),
            validation: of(Split::Valid),
            identity_baseline,
            loss_name: loss_name.into(),
        }
    }

    /// The chart: raw and smoothed training loss, validation loss, baseline. The vertical axis is
    /// logarithmic if the losses span more than a factor of eight.
    ///
    /// # Errors
    /// [`Error::Work`] if there is no finite loss to draw.
    pub fn chart(&self) -> Result<Chart> {
        let smooth = smoothed(&self.training);
        let vertical = self.vertical_axis()?;
        let steps = || self.training.iter().chain(&self.validation).map(|(step, _)| *step);
        let last = steps().fold(1.0, f64::max);
        let first = steps().fold(last, f64::min);
        // Runs begin at step 1; a resumed file's curves may begin later.
        let first = if first <= last * 0.1 { 0.0 } else { first };
        let mut series = Vec::new();
        if !self.training.is_empty() {
            series.push(Series {
                name: "training, each record".into(),
                points: thinned(&self.training),
                colour: SeriesColour::PaleBlue,
                shape: SeriesShape::Thin,
            });
            series.push(Series {
                name: "training, smoothed".into(),
                points: strided(&smooth),
                colour: SeriesColour::Blue,
                shape: SeriesShape::Thick,
            });
        }
        if !self.validation.is_empty() {
            series.push(Series {
                name: "validation".into(),
                points: self.validation.clone(),
                colour: SeriesColour::Orange,
                shape: SeriesShape::Dots,
            });
        }
        if let Some(level) = self.identity_baseline {
            series.push(Series {
                name: "identity (no restoration)".into(),
                points: vec![(0.0, level)],
                colour: SeriesColour::Slate,
                shape: SeriesShape::Level,
            });
        }
        let scale = if vertical.is_logarithmic() { ", log scale" } else { "" };
        Ok(Chart {
            horizontal_label: "optimiser step".into(),
            vertical_label: format!("{}{scale}", self.loss_name),
            horizontal: Axis::linear(first, last, 10),
            vertical,
            series,
        })
    }

    /// Draws the chart as an SVG document.
    ///
    /// # Errors
    /// As [`LossCurves::chart`].
    pub fn svg(&self) -> Result<String> {
        self.chart()?.svg()
    }

    /// Writes the chart as a PNG file of 960 by 400 pixels.
    ///
    /// # Errors
    /// As [`LossCurves::chart`], and [`Error::Io`] if the file cannot be written.
    pub fn write_png(&self, path: &Path) -> Result<()> {
        self.chart()?.picture()?.write_png(path)
    }

    /// An axis for everything but the rarest raw values: one outlier must not flatten the curve.
    fn vertical_axis(&self) -> Result<Axis> {
        let mut raw: Vec<f64> = finite(&self.training).collect();
        raw.sort_by(f64::total_cmp);
        let last = raw.len().saturating_sub(1) as f64;
        let lowest = raw.get((last * 0.01).floor() as usize).copied();
        let highest = raw.get((last * 0.99).ceil() as usize).copied();
        let shown =
            || finite(&self.validation).chain(self.identity_baseline.filter(|level| level.is_finite()));
        let low = shown().chain(lowest).fold(f64::INFINITY, f64::min);
        let high = shown().chain(highest).fold(f64::NEG_INFINITY, f64::max);
        if !(low.is_finite() && high.is_finite()) {
            return Err(Error::Work("there is no finite loss to draw".into()));
        }
        if low > 0.0 && high / low > 8.0 {
            return Ok(Axis::logarithmic(low / 1.15, high * 1.15, 8));
        }
        let margin = ((high - low) * 0.06).max(high.abs() * 0.02);
        let bottom = if low >= 0.0 { (low - margin).max(0.0) } else { low - margin };
        Ok(Axis::linear(bottom, high + margin, 7))
    }
}

fn finite(points: &[(f64, f64)]) -> impl Iterator<Item = f64> {
    points.iter().map(|(_, loss)| *loss).filter(|loss| loss.is_finite())
}

/// The mean of two exponential moving averages, one from the start and one from the end, each over
/// about a fortieth of the run: smooth, and not late where the loss falls. Losses that are not finite
/// break the line and leave the averages as they were.
pub(crate) fn smoothed(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let losses = || points.iter().map(|(_, loss)| *loss);
    let memory = (points.len() as f64 / 40.0).max(1.0);
    let forwards = moving_average(losses(), memory);
    let backwards = moving_average(losses().rev(), memory);
    let both = forwards.into_iter().zip(backwards.into_iter().rev());
    points.iter().zip(both).map(|((step, _), (before, after))| (*step, (before + after) / 2.0)).collect()
}

/// An exponential moving average without its bias towards the start (as in Adam: Kingma and Ba 2015,
/// section 3).
fn moving_average(losses: impl Iterator<Item = f64>, memory: f64) -> Vec<f64> {
    let keep = 1.0 - 1.0 / memory;
    let (mut mean, mut weight) = (0.0, 0.0);
    let average = |loss: f64| {
        if !loss.is_finite() {
            return f64::NAN;
        }
        mean = keep * mean + (1.0 - keep) * loss;
        weight = keep * weight + (1.0 - keep);
        mean / weight
    };
    losses.map(average).collect()
}

/// The line with each run of neighbours replaced by its lowest and highest point, so that its
/// outline stays.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if points.len() <= MOST_POINTS {
        return points.to_vec();
    }
    let group = points.len().div_ceil(MOST_POINTS / 2);
    let mut kept = Vec::with_capacity(MOST_POINTS);
    for group in points.chunks(group) {
        // `total_cmp` orders not-a-number last, so a broken group breaks the line.
        let by_loss = |a: &usize, b: &usize| group[*a].1.total_cmp(&group[*b].1);
        let lowest = (0..group.len()).min_by(by_loss).unwrap_or(0);
        let highest = (0..group.len()).max_by(by_loss).unwrap_or(0);
        kept.push(group[lowest.min(highest)]);
        if lowest != highest {
            kept.push(group[lowest.max(highest)]);
        }
    }
    kept
}

/// Some of the points, the first and last among them, for a line that is smooth anyway.
fn strided(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let stride = points.len().div_ceil(MOST_POINTS).max(1);
    let last = points.len().saturating_sub(1);
    let chosen = points.iter().enumerate().filter(|(at, _)| at % stride == 0 || *at == last);
    chosen.map(|(_, point)| *point).collect()
}

#[cfg(test)]
mod tests {
    use super::super::picture::{Colour, decode_png};
    use super::*;

    fn falling(count: usize, to: f64) -> LossCurves {
        let loss = |step: usize| to + 0.2 * (-(step as f64) / (count as f64 / 8.0)).exp();
        LossCurves {
            training: (1..=count).map(|step| (step as f64, loss(step))).collect(),
            validation: (1..=4).map(|e| ((e * count / 4) as f64, loss(e * count / 4) * 1.1)).collect(),
            identity_baseline: Some(0.08),
            loss_name: "mean squared error".into(),
        }
    }

    #[test]
    fn the_axis_is_logarithmic_only_for_wide_ranges() {
        assert!(falling(400, 0.005).chart().unwrap().vertical.is_logarithmic());
        assert!(!falling(400, 0.1).chart().unwrap().vertical.is_logarithmic());
        let negative = LossCurves { training: vec![(1.0, -0.1), (2.0, -0.9)], ..LossCurves::default() };
        assert!(!negative.chart().unwrap().vertical.is_logarithmic());
    }

    #[test]
    fn smoothing_keeps_a_constant_from_the_first_point_and_skips_gaps() {
        let mut points: Vec<_> = (0..300).map(|step| (f64::from(step), 0.25)).collect();
        points[10].1 = f64::NAN;
        for (at, (_, loss)) in smoothed(&points).into_iter().enumerate() {
            assert!(if at == 10 { loss.is_nan() } else { (loss - 0.25).abs() < 1e-12 }, "{at}: {loss}");
        }
    }

    #[test]
    fn smoothing_is_not_late_on_a_slope() {
        let points: Vec<_> = (0..400).map(|step| (f64::from(step), f64::from(step) * 0.01)).collect();
        for (step, loss) in &smoothed(&points)[100..300] {
            assert!((loss - step * 0.01).abs() < 1e-3, "{step}: {loss}");
        }
    }

    #[test]
    fn thinning_keeps_the_extremes() {
        let mut points: Vec<_> = (0..10_000).map(|step| (f64::from(step), 0.5)).collect();
        points[7_777].1 = 9.0;
        points[3_333].1 = -9.0;
        let thin = thinned(&points);
        assert!(thin.len() <= MOST_POINTS);
        assert!(thin.contains(&(7_777.0, 9.0)) && thin.contains(&(3_333.0, -9.0)));
        assert!(thin.is_sorted_by(|a, b| a.0 <= b.0));
    }

    #[test]
    fn an_outlier_does_not_flatten_the_curve() {
        let mut curves = falling(1000, 0.1);
        curves.training[500].1 = 1e6;
        assert!(!curves.chart().unwrap().vertical.is_logarithmic());
    }

    #[test]
    fn the_svg_names_axes_and_series() {
        let svg = falling(50, 0.1).svg().unwrap();
        assert!(
            svg.starts_with(r#"<svg width="960" height="400" viewBox="0 0 3840 1600""#),
            "{}",
            &svg[..99]
        );
        for text in ["optimiser step", "mean squared error", "validation", "identity"] {
            assert!(svg.contains(text), "{text} is missing");
        }
        assert_eq!(svg.matches("<circle").count(), 5, "four validations and the legend's");
        assert!(svg.trim_end().ends_with("</svg>"));
        assert!(!svg.contains("NaN"));
    }

    #[test]
    fn the_png_shows_the_curve() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("loss.png");
        falling(50, 0.1).write_png(&path).unwrap();
        let (width, height, pixels) = decode_png(&std::fs::read(&path).unwrap());
        assert_eq!((width, height), (960, 400));
        let Colour(red, green, blue) = Colour(0x25, 0x63, 0xeb);
        let strong_blue = pixels.chunks(3).filter(|pixel| *pixel == [red, green, blue]).count();
        assert!(strong_blue > 500, "{strong_blue} pixels of the smoothed line");
    }

    #[test]
    fn a_run_without_a_finite_loss_is_an_error() {
        assert!(LossCurves::default().svg().is_err());
        let broken = LossCurves { training: vec![(1.0, f64::NAN)], ..LossCurves::default() };
        assert!(broken.svg().is_err());
        let single = LossCurves { training: vec![(1.0, 0.5)], ..LossCurves::default() };
        assert!(single.svg().is_ok());
    }
}
