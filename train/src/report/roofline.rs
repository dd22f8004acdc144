//! The roofline (Williams et al., *Roofline: an insightful visual performance model*, 2009): what each
//! operation reaches over its arithmetic intensity, below what the machine can do.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::axis::Axis;
use super::chart::{FAINT_INK, FRAME, GRID, INK, SeriesColour, UNIT, failed, font};
use super::file::write_atomically;
use super::picture::Picture;
use super::placement::{Pixel, Place, Rectangle, place};
use super::supersampled::Supersampled;
use crate::error::{Error, Result};

const WIDTH: i32 = 1200;
const HEIGHT: i32 = 720;
/// Pixels: radius of a point, height of a label, width of one of its letters.
const RADIUS: f64 = 4.0;
const LABEL_HEIGHT: f64 = 14.0;
const LETTER: f64 = 8.0;

/// One measurement.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// FLOPs a byte, positive.
    pub intensity: f64,
    /// GFLOP/s, positive.
    pub gflops: f64,
    /// The series it belongs to: an index into [`Roofline::series`].
    pub series: usize,
}

/// Measurements that share a label: the directions of one layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// What stands beside the points; of groups with the same label the longest has it.
    pub label: String,
    /// The layer, to tell groups with one label apart.
    pub layer: String,
    /// Its points.
    pub points: Vec<Point>,
    /// Seconds in total: who takes longer is labelled first.
    pub seconds: f64,
}

impl Group {
    /// Whether a line joins its points: they differ in speed alone.
    fn is_vertical(&self) -> bool {
        self.points.iter().all(|point| (point.intensity / self.points[0].intensity - 1.0).abs() < 1e-6)
    }

    /// The points a label may stand beside: the slowest and the fastest of a line, or any.
    fn anchors(&self) -> Vec<&Point> {
        let mut points: Vec<&Point> = self.points.iter().collect();
        points.sort_by(|a, b| a.gflops.total_cmp(&b.gflops));
        if self.is_vertical() && points.len() > 2 {
            points.drain(1..points.len() - 1);
        }
        points
    }
}

/// A roofline with its points.
#[derive(Clone, Debug, PartialEq)]
pub struct Roofline {
    /// One line above the plot.
    pub title: String,
    /// Memory bandwidth in GB/s: the slope.
    pub gigabytes_per_second: f64,
    /// Arithmetic ceilings in GFLOP/s with their names, at least one.
    pub ceilings: Vec<(String, f64)>,
    /// Names and colours of the kinds of points.
    pub series: Vec<(String, SeriesColour)>,
    /// What was measured.
    pub groups: Vec<Group>,
}

impl Roofline {
    /// Writes an `.svg` or a `.png`, by the path's extension.
    ///
    /// # Errors
    /// [`Error::Usage`] for another extension; a file that cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("svg") => write_atomically(path, self.svg()?.as_bytes()),
            Some("png") => self.picture()?.write_png(path),
            _ => Err(Error::Usage(format!("{}: wanted a name that ends in .svg or .png", path.display()))),
        }
    }

    /// As an SVG document, scaling with its `viewBox`.
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

    /// As pixels.
    ///
    /// # Errors
    /// [`Error::Work`] if drawing fails.
    pub fn picture(&self) -> Result<Picture> {
        let mut surface = Supersampled::new(WIDTH as usize, HEIGHT as usize, UNIT as usize);
        self.draw((&mut surface).into_drawing_area())?;
        surface.into_picture()
    }

    fn points(&self) -> impl Iterator<Item = &Point> {
        self.groups.iter().flat_map(|group| &group.points)
    }

    fn highest(&self) -> f64 {
        self.ceilings.iter().map(|(_, gflops)| *gflops).fold(0.0, f64::max)
    }

    /// The axes: every point, the ridge of the highest ceiling, and air around them for labels.
    fn axes(&self) -> (Axis, Axis) {
        let ridge = self.highest() / self.gigabytes_per_second;
        let range = |values: &mut dyn Iterator<Item = f64>| {
            values.fold((f64::INFINITY, 0.0f64), |(low, high), v| (low.min(v), high.max(v)))
        };
        let (left, right) = range(&mut self.points().map(|point| point.intensity).chain([ridge]));
        let (bottom, top) = range(&mut self.points().map(|point| point.gflops).chain([self.highest()]));
        (Axis::logarithmic(left / 2.5, right * 4.0, 9), Axis::logarithmic(bottom / 2.0, top * 3.0, 9))
    }

    fn draw<B: DrawingBackend>(&self, area: DrawingArea<B, Shift>) -> Result<()> {
        area.fill(&WHITE).map_err(failed)?;
        let (heading, plot) = area.split_vertically(58 * UNIT);
        self.draw_heading(&heading)?;
        let (horizontal, vertical) = self.axes();
        let right = horizontal.clamp(f64::INFINITY);
        let left = horizontal.clamp(0.0);
        let bottom = vertical.clamp(0.0);
        let mut chart = ChartBuilder::on(&plot)
            .margin_right(22 * UNIT)
            .margin_left(8 * UNIT)
            .margin_bottom(6 * UNIT)
            .x_label_area_size(52 * UNIT)
            .y_label_area_size(70 * UNIT)
            .build_cartesian_2d(horizontal, vertical)
            .map_err(failed)?;
        chart
            .configure_mesh()
            .bold_line_style(GRID.stroke_width(UNIT as u32))
            .light_line_style(TRANSPARENT)
            .axis_style(FRAME.stroke_width(UNIT as u32))
            .set_all_tick_mark_size(5 * UNIT)
            .label_style(font(13).color(&FAINT_INK))
            .axis_desc_style(font(13).color(&INK))
            .x_desc("arithmetic intensity (FLOP a byte that must be moved)")
            .y_desc("GFLOP/s")
            .draw()
            .map_err(failed)?;
        let bandwidth = self.gigabytes_per_second;
        let start = left.max(bottom / bandwidth);
        let mut roofs = Vec::new();
        for (_, ceiling) in &self.ceilings {
            roofs.push(vec![(ceiling / bandwidth, *ceiling), (right, *ceiling)]);
        }
        roofs.push(vec![(start, start * bandwidth), (self.highest() / bandwidth, self.highest())]);
        let dark = INK.stroke_width(2 * UNIT as u32);
        chart.draw_series(roofs.into_iter().map(|line| PathElement::new(line, dark))).map_err(failed)?;
        for group in &self.groups {
            if group.is_vertical() {
                let line: Vec<(f64, f64)> = group.points.iter().map(|p| (p.intensity, p.gflops)).collect();
                let style = FRAME.stroke_width(UNIT as u32);
                chart.draw_series([PathElement::new(line, style)]).map_err(failed)?;
            }
            for point in &group.points {
                let colour = self.series.get(point.series).map_or(SeriesColour::Slate, |(_, colour)| *colour);
                let dot =
                    Circle::new((point.intensity, point.gflops), RADIUS as i32 * UNIT, colour.rgb().filled());
                chart.draw_series([dot]).map_err(failed)?;
            }
        }
        let position = |x: f64, y: f64| {
            let (x, y) = chart.backend_coord(&(x, y));
            (f64::from(x) / f64::from(UNIT), f64::from(y) / f64::from(UNIT))
        };
        let ((x0, x1), (y0, y1)) = {
            let (x, y) = chart.plotting_area().get_pixel_range();
            ((x.start, x.end), (y.start, y.end))
        };
        let [left, right, top, bottom] = [x0, x1, y0, y1].map(|edge| f64::from(edge) / f64::from(UNIT));
        let frame = Rectangle { left: left + 3.0, top: top + 3.0, right: right - 3.0, bottom: bottom - 3.0 };
        self.draw_labels(&area, &frame, &position)?;
        area.present().map_err(failed)
    }

    /// The title, and below it the colours with their names.
    fn draw_heading<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Result<()> {
        let style = |colour| font(13).color(colour).pos(Pos::new(HPos::Left, VPos::Center));
        let title = Text::new(self.title.clone(), (80 * UNIT, 18 * UNIT), style(&FAINT_INK));
        area.draw(&title).map_err(failed)?;
        let mut left = 86 * UNIT;
        for (name, colour) in &self.series {
            let dot = Circle::new((left, 42 * UNIT), RADIUS as i32 * UNIT, colour.rgb().filled());
            area.draw(&dot).map_err(failed)?;
            left += 12 * UNIT;
            area.draw(&Text::new(name.clone(), (left, 42 * UNIT), style(&INK))).map_err(failed)?;
            left += (name.chars().count() as f64 * LETTER) as i32 * UNIT + 28 * UNIT;
        }
        Ok(())
    }

    /// The names of the roofs and, where there is room, of the points.
    fn draw_labels<B: DrawingBackend>(
        &self,
        area: &DrawingArea<B, Shift>,
        frame: &Rectangle,
        position: &dyn Fn(f64, f64) -> (f64, f64),
    ) -> Result<()> {
        let unit = f64::from(UNIT);
        let pixel = |(x, y): (f64, f64)| ((x * unit) as i32, (y * unit) as i32);
        let mut labels: Vec<Place> = Vec::new();
        let mut leaders: Vec<[Pixel; 2]> = Vec::new();
        for (name, gflops) in &self.ceilings {
            let y = position(1.0, *gflops).1 - 10.0;
            let left = frame.right - name.chars().count() as f64 * LETTER - 4.0;
            let text = Rectangle { left, top: y - 7.0, right: frame.right, bottom: y + 7.0 };
            labels.push(Place { text, end: (left, y) });
            // The line itself is in the way of other labels.
            leaders.push([position(gflops / self.gigabytes_per_second, *gflops), (frame.right, y + 10.0)]);
            let style = font(13).color(&INK).pos(Pos::new(HPos::Left, VPos::Center));
            area.draw(&Text::new(name.clone(), pixel((left, y)), style)).map_err(failed)?;
        }
        let ridge = self.highest() / self.gigabytes_per_second;
        let low = (ridge * 1e-4, self.highest() * 1e-4);
        leaders.push([position(low.0, low.1), position(ridge, self.highest())]);
        let taken: Vec<Rectangle> = self
            .points()
            .map(|point| Rectangle::around(position(point.intensity, point.gflops), RADIUS + 1.0))
            .collect();
        let mut groups: Vec<(&str, f64, Vec<Pixel>)> = Vec::new();
        for group in self.groups.iter() {
            let anchors: Vec<Pixel> =
                group.anchors().iter().map(|point| position(point.intensity, point.gflops)).collect();
            if let (true, [first, .., last]) = (group.is_vertical(), &anchors[..]) {
                leaders.push([*first, *last]);
            }
            groups.push((&group.label, group.seconds, anchors));
        }
        let slope = format!("copy {:.1} GB/s", self.gigabytes_per_second);
        let middle = (ridge * 0.25, self.highest() * 0.25);
        groups.push((&slope, f64::INFINITY, vec![position(middle.0, middle.1)]));
        groups.sort_by(|a, b| b.1.total_cmp(&a.1));
        let mut written: Vec<&str> = Vec::new();
        for (label, seconds, anchors) in groups {
            if written.contains(&label) {
                continue;
            }
            written.push(label);
            let size = (label.chars().count() as f64 * LETTER, LABEL_HEIGHT);
            let found = place(&anchors, size, frame, &taken, &labels, &leaders);
            let Some((anchor, found)) = found else { continue };
            let colour = if seconds.is_finite() { &FAINT_INK } else { &INK };
            if (found.end.0 - anchor.0).hypot(found.end.1 - anchor.1) > 14.0 {
                let line = vec![pixel(anchor), pixel(found.end)];
                area.draw(&PathElement::new(line, FRAME.stroke_width(UNIT as u32))).map_err(failed)?;
                leaders.push([anchor, found.end]);
            }
            let at = (found.text.left, (found.text.top + found.text.bottom) / 2.0);
            let style = font(12).color(colour).pos(Pos::new(HPos::Left, VPos::Center));
            area.draw(&Text::new(label.to_string(), pixel(at), style)).map_err(failed)?;
            labels.push(found);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roofline() -> Roofline {
        let point = |intensity, gflops, series| Point { intensity, gflops, series };
        let group =
            |label: &str, points| Group { label: label.into(), layer: label.into(), points, seconds: 1.0 };
        Roofline {
            title: "two layers".into(),
            gigabytes_per_second: 20.0,
            ceilings: vec![("f32 peak 230 GFLOP/s".into(), 230.0)],
            series: vec![("forward".into(), SeriesColour::Blue), ("backward".into(), SeriesColour::Slate)],
            groups: vec![
                group("up_tr64.ops.0", vec![point(300.0, 200.0, 0), point(300.0, 180.0, 1)]),
                group("batch_norm <a & b>", vec![point(0.4, 7.0, 0)]),
            ],
        }
    }

    #[test]
    fn the_svg_names_roofs_series_and_points() {
        let svg = roofline().svg().unwrap();
        for text in [
            "f32 peak 230 GFLOP/s",
            "copy 20.0 GB/s",
            "up_tr64.ops.0",
            "batch_norm &lt;a &amp; b&gt;",
            "forward",
        ] {
            assert!(svg.contains(text), "{text} is missing");
        }
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    }

    #[test]
    fn the_picture_has_the_colours_of_its_points() {
        let png = roofline().picture().unwrap().to_png().unwrap();
        let (width, height, pixels) = super::super::picture::decode_png(&png);
        assert_eq!((width, height), (WIDTH as usize, HEIGHT as usize));
        let RGBColor(red, green, blue) = SeriesColour::Blue.rgb();
        assert!(pixels.chunks(3).filter(|pixel| *pixel == [red, green, blue]).count() > 20);
    }

    #[test]
    fn another_extension_is_refused() {
        let error = roofline().write(Path::new("roofline.gif")).unwrap_err();
        assert!(matches!(error, Error::Usage(_)) && error.to_string().contains(".svg"));
    }
}
