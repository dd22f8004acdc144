//! A bitmap back end for `plotters` with smooth lines and letters, needing no font file and no
//! system library: shapes are drawn several times too large and averaged down, letters come from the
//! embedded bitmap font at their final size.

use std::convert::Infallible;

use plotters_backend::text_anchor::{HPos, VPos};
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind, FontStyle,
    FontTransform,
};

use super::picture::{Colour, Picture, TextStyle};
use crate::error::Result;

/// A drawing surface `factor` times as wide and high as the picture it becomes.
pub struct Supersampled {
    width: usize,
    height: usize,
    factor: usize,
    pixels: Vec<u8>,
    texts: Vec<Text>,
}

/// A line of text, kept until the shapes have been averaged down.
struct Text {
    text: String,
    style: TextStyle,
    upwards: bool,
    left: i64,
    top: i64,
}

impl Supersampled {
    /// A white surface for a picture of `width` by `height` pixels; drawing coordinates, line widths
    /// and font sizes are `factor` times those of the picture.
    pub fn new(width: usize, height: usize, factor: usize) -> Self {
        let pixels = vec![255; width * factor * height * factor * 3];
        Self { width, height, factor, pixels, texts: Vec::new() }
    }

    /// The finished picture.
    ///
    /// # Errors
    /// None in practice; see [`Picture::from_rgb`].
    pub fn into_picture(self) -> Result<Picture> {
        let (factor, pitch) = (self.factor, self.width * self.factor);
        let area = (factor * factor) as u32;
        let mut small = Vec::with_capacity(self.width * self.height * 3);
        for y in 0..self.height {
            for x in 0..self.width {
                for channel in 0..3 {
                    let mut sum = 0;
                    for row in y * factor..(y + 1) * factor {
                        for column in x * factor..(x + 1) * factor {
                            sum += u32::from(self.pixels[(row * pitch + column) * 3 + channel]);
                        }
                    }
                    small.push(((sum + area / 2) / area) as u8);
                }
            }
        }
        let mut picture = Picture::from_rgb(self.width, self.height, small)?;
        for text in &self.texts {
            let (Ok(left), Ok(top)) = (usize::try_from(text.left), usize::try_from(text.top)) else {
                continue;
            };
            if text.upwards {
                picture.text_upwards(&text.text, left, top, text.style);
            } else {
                picture.text(&text.text, left, top, text.style);
            }
        }
        Ok(picture)
    }

    fn put(&mut self, x: i64, y: i64, color: BackendColor) {
        let (width, height) = ((self.width * self.factor) as i64, (self.height * self.factor) as i64);
        if (0..width).contains(&x) && (0..height).contains(&y) {
            let at = ((y * width + x) * 3) as usize;
            for (channel, ink) in <[u8; 3]>::from(color.rgb).into_iter().enumerate() {
                let below = f64::from(self.pixels[at + channel]);
                self.pixels[at + channel] = (below + (f64::from(ink) - below) * color.alpha).round() as u8;
            }
        }
    }

    /// A straight line with round ends: every point within half the width of it.
    fn stroke(&mut self, from: BackendCoord, to: BackendCoord, width: u32, color: BackendColor) {
        let radius = f64::from(width.max(1)) / 2.0;
        let (x0, y0) = (f64::from(from.0), f64::from(from.1));
        let (dx, dy) = (f64::from(to.0) - x0, f64::from(to.1) - y0);
        let length_squared = dx * dx + dy * dy;
        let (top, bottom) = (from.1.min(to.1), from.1.max(to.1));
        let (left, right) = (from.0.min(to.0), from.0.max(to.0));
        let reach = radius.ceil() as i32;
        for y in top - reach..=bottom + reach {
            for x in left - reach..=right + reach {
                // Pixel centres against the line, both half a pixel in.
                let (px, py) = (f64::from(x) - x0, f64::from(y) - y0);
                let along = if length_squared > 0.0 {
                    ((px * dx + py * dy) / length_squared).clamp(0.0, 1.0)
                } else {
                    0.0
                };
                let (ox, oy) = (px - along * dx, py - along * dy);
                if ox * ox + oy * oy <= radius * radius {
                    self.put(i64::from(x), i64::from(y), color);
                }
            }
        }
    }

    fn text_style<S: BackendTextStyle>(&self, style: &S) -> TextStyle {
        let (red, green, blue) = style.color().rgb;
        TextStyle {
            colour: Colour(red, green, blue),
            bold: matches!(style.style(), FontStyle::Bold),
            large: style.size() / self.factor as f64 > 18.0,
        }
    }
}

impl DrawingBackend for &mut Supersampled {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        ((self.width * self.factor) as u32, (self.height * self.factor) as u32)
    }

    fn ensure_prepared(&mut self) -> Result<(), DrawingErrorKind<Infallible>> {
        Ok(())
    }

    fn present(&mut self) -> Result<(), DrawingErrorKind<Infallible>> {
        Ok(())
    }

    fn draw_pixel(
        &mut self,
        (x, y): BackendCoord,
        color: BackendColor,
    ) -> Result<(), DrawingErrorKind<Infallible>> {
        self.put(i64::from(x), i64::from(y), color);
        Ok(())
    }

    fn draw_line<S: BackendStyle>(
        &mut self,
        from: BackendCoord,
        to: BackendCoord,
        style: &S,
    ) -> Result<(), DrawingErrorKind<Infallible>> {
        if style.color().alpha > 0.0 {
            self.stroke(from, to, style.stroke_width(), style.color());
        }
        Ok(())
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        path: I,
        style: &S,
    ) -> Result<(), DrawingErrorKind<Infallible>> {
        let points: Vec<_> = path.into_iter().collect();
        points.windows(2).try_for_each(|ends| self.draw_line(ends[0], ends[1], style))
    }

    fn draw_circle<S: BackendStyle>(
        &mut self,
        center: BackendCoord,
        radius: u32,
        style: &S,
        _fill: bool,
    ) -> Result<(), DrawingErrorKind<Infallible>> {
        self.stroke(center, center, 2 * radius, style.color());
        Ok(())
    }

    fn draw_text<S: BackendTextStyle>(
        &mut self,
        text: &str,
        style: &S,
        (x, y): BackendCoord,
    ) -> Result<(), DrawingErrorKind<Infallible>> {
        if style.color().alpha == 0.0 {
            return Ok(());
        }
        let look = self.text_style(style);
        let (width, height) = (look.width(text) as i64, look.line_height() as i64);
        let (x, y) = (i64::from(x) / self.factor as i64, i64::from(y) / self.factor as i64);
        let along = match style.anchor().h_pos {
            HPos::Left => 0,
            HPos::Center => width / 2,
            HPos::Right => width,
        };
        let across = match style.anchor().v_pos {
            VPos::Top => 0,
            VPos::Center => height / 2,
            VPos::Bottom => height,
        };
        let upwards = matches!(style.transform(), FontTransform::Rotate270);
        let (left, top) = if upwards { (x - across, y + along) } else { (x - along, y - across) };
        self.texts.push(Text { text: text.into(), style: look, upwards, left, top });
        Ok(())
    }

    fn estimate_text_size<S: BackendTextStyle>(
        &self,
        text: &str,
        style: &S,
    ) -> Result<(u32, u32), DrawingErrorKind<Infallible>> {
        let look = self.text_style(style);
        Ok(((look.width(text) * self.factor) as u32, (look.line_height() * self.factor) as u32))
    }
}

#[cfg(test)]
mod tests {
    use plotters::prelude::*;

    use super::*;

    #[test]
    fn lines_are_averaged_down_to_their_width() {
        let mut surface = Supersampled::new(40, 20, 4);
        // 8 units wide, so 2 pixels, centred on the boundary between pixel rows 9 and 10.
        let mut pen = &mut surface;
        pen.draw_line((20, 40), (140, 40), &Color::stroke_width(&BLACK, 8)).unwrap();
        pen.draw_text("Ag", &("sans", 56).into_font().color(&RED), (0, 0)).unwrap();
        let picture = surface.into_picture().unwrap();
        let ink: u32 = (0..20).filter_map(|y| picture.pixel(25, y)).map(|c| 255 - u32::from(c.0)).sum();
        // 9 of 8 rows: both edges of an integer coordinate are within the radius.
        assert_eq!(ink, (255.0_f64 * 9.0 / 4.0).round() as u32);
        assert_eq!(picture.pixel(25, 9), Some(Colour(0, 0, 0)));
        assert_eq!(picture.pixel(38, 10), Some(Colour(255, 255, 255)));
        let red = (0..16 * 16).filter(|at| {
            picture.pixel(at % 16, at / 16).is_some_and(|colour| colour.0 == 255 && colour.1 < 128)
        });
        assert!(red.count() > 20);
    }
}
