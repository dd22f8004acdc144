//! A line chart, drawn alike as SVG text and as pixels.

use std::fmt::Display;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::axis::Axis;
use super::picture::Picture;
use super::supersampled::Supersampled;
use crate::error::{Error, Result};

/// Drawing units a pixel: lines get a quarter of a pixel's precision in both formats.
pub(super) const UNIT: i32 = 4;
const FONT_FAMILY: &str = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";
const WIDTH: i32 = 960;
const HEIGHT: i32 = 400;

pub(super) const INK: RGBColor = RGBColor(0x1f, 0x29, 0x33);
pub(super) const FAINT_INK: RGBColor = RGBColor(0x5b, 0x66, 0x75);
pub(super) const GRID: RGBColor = RGBColor(0xe6, 0xe9, 0xef);
pub(super) const FRAME: RGBColor = RGBColor(0xb8, 0xc0, 0xcc);

/// The colour of a series. The page's style sheet knows each and gives it a twin on dark ground.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeriesColour {
    /// Strong blue.
    Blue,
    /// Pale blue, for what lies behind a blue line.
    PaleBlue,
    /// Orange.
    Orange,
    /// Green.
    Green,
    /// Slate, for yardsticks.
    Slate,
}

impl SeriesColour {
    pub(super) const fn rgb(self) -> RGBColor {
        match self {
            Self::Blue => RGBColor(0x25, 0x63, 0xeb),
            Self::PaleBlue => RGBColor(0xbf, 0xd3, 0xf5),
            Self::Orange => RGBColor(0xe8, 0x5d, 0x0c),
            Self::Green => RGBColor(0x05, 0x8a, 0x5e),
            Self::Slate => RGBColor(0x64, 0x74, 0x8b),
        }
    }
}

/// How a series is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeriesShape {
    /// A thin line.
    Thin,
    /// A thick line.
    Thick,
    /// Dots joined by a line.
    Dots,
    /// A dashed level over the whole width, at the first point's height.
    Level,
}

/// One line of a chart.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its name in the legend; without one it is not listed there.
    pub name: String,
    /// Points (x, y), x rising. Where a value is not finite the line is broken.
    pub points: Vec<(f64, f64)>,
    /// Colour.
    pub colour: SeriesColour,
    /// Shape.
    pub shape: SeriesShape,
}

/// A chart of several series over one pair of axes.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// What stands below the horizontal axis.
    pub horizontal_label: String,
    /// What stands beside the vertical axis.
    pub vertical_label: String,
    /// The horizontal axis.
    pub horizontal: Axis,
    /// The vertical axis; points beyond it are drawn on its edge.
    pub vertical: Axis,
    /// What is drawn, the first lowest.
    pub series: Vec<Series>,
}

impl Chart {
    /// The chart as an SVG document, 960 by 400 pixels, scaling with its `viewBox`.
    ///
    /// # Errors
    /// [`Error::Work`] if drawing fails.
    pub fn svg(&self) -> Result<String> {
        let mut text = String::new();
        let (width, height) = ((WIDTH * UNIT) as u32, (HEIGHT * UNIT) as u32);
        self.draw(SVGBackend::with_string(&mut text, (width, height)).into_drawing_area())?;
        let large = format!(r#"<svg width="{width}" height="{height}""#);
        let natural = format!(r#"<svg width="{WIDTH}" height="{HEIGHT}""#);
        Ok(text.replacen(&large, &natural, 1))
    }

    /// The chart as pixels, 960 by 400.
    ///
    /// # Errors
    /// [`Error::Work`] if drawing fails.
    pub fn picture(&self) -> Result<Picture> {
        let mut surface = Supersampled::new(WIDTH as usize, HEIGHT as usize, UNIT as usize);
        self.draw((&mut surface).into_drawing_area())?;
        surface.into_picture()
    }

    fn draw<B: DrawingBackend>(&self, area: DrawingArea<B, Shift>) -> Result<()> {
        area.fill(&WHITE).map_err(failed)?;
        let (legend, plot) = area.split_vertically(36 * UNIT);
        self.draw_legend(&legend)?;
        let label = font(13).color(&FAINT_INK);
        let mut chart = ChartBuilder::on(&plot)
            .margin_top(6 * UNIT)
            .margin_right(22 * UNIT)
            .margin_left(8 * UNIT)
            .margin_bottom(6 * UNIT)
            .x_label_area_size(52 * UNIT)
            .y_label_area_size(70 * UNIT)
            .build_cartesian_2d(self.horizontal.clone(), self.vertical.clone())
            .map_err(failed)?;
        chart
            .configure_mesh()
            .bold_line_style(GRID.stroke_width(UNIT as u32))
            .light_line_style(TRANSPARENT)
            .axis_style(FRAME.stroke_width(UNIT as u32))
            .set_all_tick_mark_size(5 * UNIT)
            .label_style(label)
            .axis_desc_style(font(13).color(&INK))
            .x_desc(self.horizontal_label.as_str())
            .y_desc(self.vertical_label.as_str())
            .draw()
            .map_err(failed)?;
        for series in &self.series {
            let colour = series.colour.rgb();
            if series.shape == SeriesShape::Level {
                let Some(&(_, level)) = series.points.iter().find(|(_, y)| y.is_finite()) else { continue };
                let level = self.vertical.clamp(level);
                let ends = [f64::NEG_INFINITY, f64::INFINITY].map(|x| (self.horizontal.clamp(x), level));
                let dashes =
                    DashedLineSeries::new(ends, 9 * UNIT, 7 * UNIT, colour.stroke_width(2 * UNIT as u32));
                chart.draw_series(dashes).map_err(failed)?;
                continue;
            }
            let width = if series.shape == SeriesShape::Thin { UNIT } else { 2 * UNIT + UNIT / 4 };
            for piece in series.points.split(|(x, y)| !x.is_finite() || !y.is_finite()) {
                let points: Vec<_> =
                    piece.iter().map(|&(x, y)| (self.horizontal.clamp(x), self.vertical.clamp(y))).collect();
                if points.len() > 1 {
                    chart
                        .draw_series([PathElement::new(points.clone(), colour.stroke_width(width as u32))])
                        .map_err(failed)?;
                }
                if series.shape == SeriesShape::Dots || points.len() == 1 {
                    let dots = points.into_iter().map(|point| Circle::new(point, 4 * UNIT, colour.filled()));
                    chart.draw_series(dots).map_err(failed)?;
                }
            }
        }
        area.present().map_err(failed)
    }

    /// The names in a row above the plot, each behind a sample of its line.
    fn draw_legend<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Result<()> {
        let mut left = 80 * UNIT;
        let middle = 20 * UNIT;
        let style = font(13).color(&INK).pos(Pos::new(HPos::Left, VPos::Center));
        for series in self.series.iter().filter(|series| !series.name.is_empty()) {
            let colour = series.colour.rgb();
            let right = left + 26 * UNIT;
            let width = if series.shape == SeriesShape::Thin { UNIT } else { 2 * UNIT + UNIT / 4 };
            let strokes = if series.shape == SeriesShape::Level {
                vec![(left, left + 9 * UNIT), (left + 16 * UNIT, left + 25 * UNIT)]
            } else {
                vec![(left, right)]
            };
            for (from, to) in strokes {
                let line = vec![(from, middle), (to, middle)];
                area.draw(&PathElement::new(line, colour.stroke_width(width as u32))).map_err(failed)?;
            }
            if series.shape == SeriesShape::Dots {
                let dot = Circle::new(((left + right) / 2, middle), 4 * UNIT, colour.filled());
                area.draw(&dot).map_err(failed)?;
            }
            area.draw(&Text::new(series.name.clone(), (right + 8 * UNIT, middle), style.clone()))
                .map_err(failed)?;
            // SVG cannot measure letters; 0.56 em is a generous mean for both fonts.
            let letters = series.name.chars().count() as f64;
            left = right + 8 * UNIT + (letters * 14.0 * 0.56 * f64::from(UNIT)) as i32 + 30 * UNIT;
        }
        Ok(())
    }
}

/// The charts' font, `size` pixels high as a browser counts.
pub(super) fn font(size: i32) -> FontDesc<'static> {
    // The SVG back end divides by 1.24.
    (FONT_FAMILY, f64::from(size * UNIT) * 1.24).into_font()
}

pub(super) fn failed(cause: impl Display) -> Error {
    Error::Work(format!("cannot draw a chart: {cause}"))
}
