//! A small RGB raster: fill, copy, text, PNG. Everything this crate draws as pixels ends here.

use std::path::Path;

use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};

use super::file::write_atomically;
use crate::error::{Error, Result};

/// A colour as red, green, blue, 0 to 255 each (sRGB).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Colour(pub u8, pub u8, pub u8);

/// The look of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextStyle {
    /// Ink.
    pub colour: Colour,
    /// Bold weight instead of regular.
    pub bold: bool,
    /// 20 pixels high instead of 16.
    pub large: bool,
}

impl TextStyle {
    /// Regular weight, 16 pixels.
    pub const fn regular(colour: Colour) -> Self {
        Self { colour, bold: false, large: false }
    }

    /// Bold weight, 16 pixels.
    pub const fn bold(colour: Colour) -> Self {
        Self { colour, bold: true, large: false }
    }

    fn font(self) -> (FontWeight, RasterHeight) {
        (
            if self.bold { FontWeight::Bold } else { FontWeight::Regular },
            if self.large { RasterHeight::Size20 } else { RasterHeight::Size16 },
        )
    }

    /// Height of a line in pixels.
    pub fn line_height(self) -> usize {
        self.font().1.val()
    }

    /// Width of `text` in pixels; the font is fixed-pitch.
    pub fn width(self, text: &str) -> usize {
        let (weight, height) = self.font();
        text.chars().count() * get_raster_width(weight, height)
    }
}

/// An RGB picture of 8 bits a channel, rows from the top.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl Picture {
    /// A picture of one colour.
    pub fn new(width: usize, height: usize, background: Colour) -> Self {
        let Colour(red, green, blue) = background;
        Self { width, height, pixels: [red, green, blue].repeat(width * height) }
    }

    /// A picture from its pixels, `height * width * 3` bytes.
    ///
    /// # Errors
    /// [`Error::Work`] if the number of bytes does not fit.
    pub fn from_rgb(width: usize, height: usize, pixels: Vec<u8>) -> Result<Self> {
        if pixels.len() != width * height * 3 {
            return Err(Error::Work(format!(
                "a picture of {width}x{height} needs {} bytes, not {}",
                width * height * 3,
                pixels.len()
            )));
        }
        Ok(Self { width, height, pixels })
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The colour at column `x`, row `y`, or `None` outside.
    pub fn pixel(&self, x: usize, y: usize) -> Option<Colour> {
        let at = self.offset(x, y)?;
        Some(Colour(self.pixels[at], self.pixels[at + 1], self.pixels[at + 2]))
    }

    /// Sets one pixel; outside the picture nothing happens.
    pub fn set(&mut self, x: usize, y: usize, Colour(red, green, blue): Colour) {
        if let Some(at) = self.offset(x, y) {
            self.pixels[at..at + 3].copy_from_slice(&[red, green, blue]);
        }
    }

    /// Lays `colour` over one pixel with `coverage` 0 (nothing) to 255 (opaque).
    pub fn blend(&mut self, x: usize, y: usize, Colour(red, green, blue): Colour, coverage: u8) {
        if let Some(at) = self.offset(x, y) {
            for (channel, ink) in [red, green, blue].into_iter().enumerate() {
                let below = u32::from(self.pixels[at + channel]);
                let mixed = below * (255 - u32::from(coverage)) + u32::from(ink) * u32::from(coverage);
                self.pixels[at + channel] = ((mixed + 127) / 255) as u8;
            }
        }
    }

    /// Copies `other` with its upper left corner at `(x, y)`; what hangs over the edge is cut.
    pub fn paste(&mut self, other: &Picture, x: usize, y: usize) {
        let columns = other.width.min(self.width.saturating_sub(x));
        for row in 0..other.height.min(self.height.saturating_sub(y)) {
            let from = row * other.width * 3;
            let to = ((y + row) * self.width + x) * 3;
            self.pixels[to..to + columns * 3].copy_from_slice(&other.pixels[from..from + columns * 3]);
        }
    }

    /// Writes one line of text with its upper left corner at `(x, y)`. Letters the embedded font
    /// (Noto Sans Mono: Latin with accents) lacks are drawn as a question mark.
    pub fn text(&mut self, text: &str, x: usize, y: usize, style: TextStyle) {
        self.stamp(text, style, |picture, column, row, coverage| {
            picture.blend(x + column, y + row, style.colour, coverage);
        });
    }

    /// Writes one line of text upwards, turned a quarter to the left; `(x, y)` is the lower left
    /// corner of the turned text.
    pub fn text_upwards(&mut self, text: &str, x: usize, y: usize, style: TextStyle) {
        self.stamp(text, style, |picture, column, row, coverage| {
            if let Some(y) = y.checked_sub(column) {
                picture.blend(x + row, y, style.colour, coverage);
            }
        });
    }

    /// Calls `draw(picture, column, row, coverage)` for each inked pixel of `text` from (0, 0).
    fn stamp(&mut self, text: &str, style: TextStyle, mut draw: impl FnMut(&mut Self, usize, usize, u8)) {
        let (weight, height) = style.font();
        let advance = get_raster_width(weight, height);
        for (position, letter) in text.chars().enumerate() {
            let glyph = get_raster(letter, weight, height).or_else(|| get_raster('?', weight, height));
            let Some(glyph) = glyph else { continue };
            for (row, line) in glyph.rows().enumerate() {
                for (column, &coverage) in line.iter().enumerate().filter(|(_, coverage)| **coverage > 0) {
                    draw(self, position * advance + column, row, coverage);
                }
            }
        }
    }

    /// The picture as a PNG file in memory.
    ///
    /// # Errors
    /// [`Error::Work`] if the picture is empty or too large for PNG.
    pub fn to_png(&self) -> Result<Vec<u8>> {
        let refused = |cause: &dyn std::fmt::Display| {
            Error::Work(format!("cannot encode a picture of {}x{}: {cause}", self.width, self.height))
        };
        let width = u32::try_from(self.width).map_err(|cause| refused(&cause))?;
        let height = u32::try_from(self.height).map_err(|cause| refused(&cause))?;
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, width, height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header().map_err(|cause| refused(&cause))?;
        writer.write_image_data(&self.pixels).map_err(|cause| refused(&cause))?;
        writer.finish().map_err(|cause| refused(&cause))?;
        Ok(bytes)
    }

    /// Writes the picture as a PNG file, in one step.
    ///
    /// # Errors
    /// As [`Picture::to_png`] and [`write_atomically`].
    pub fn write_png(&self, path: &Path) -> Result<()> {
        write_atomically(path, &self.to_png()?)
    }

    fn offset(&self, x: usize, y: usize) -> Option<usize> {
        (x < self.width && y < self.height).then(|| (y * self.width + x) * 3)
    }
}

/// Decodes an 8-bit RGB PNG, for tests: width, height, pixels.
#[cfg(test)]
pub(crate) fn decode_png(bytes: &[u8]) -> (usize, usize, Vec<u8>) {
    let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let information = reader.next_frame(&mut pixels).unwrap();
    assert_eq!((information.color_type, information.bit_depth), (png::ColorType::Rgb, png::BitDepth::Eight));
    (information.width as usize, information.height as usize, pixels)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLACK: Colour = Colour(0, 0, 0);
    const WHITE: Colour = Colour(255, 255, 255);

    #[test]
    fn png_holds_the_same_pixels() {
        let mut picture = Picture::new(5, 3, Colour(10, 20, 30));
        picture.set(4, 2, Colour(1, 2, 3));
        picture.set(5, 2, WHITE);
        let (width, height, pixels) = decode_png(&picture.to_png().unwrap());
        assert_eq!((width, height), (5, 3));
        assert_eq!(&pixels[..3], &[10, 20, 30]);
        assert_eq!(&pixels[pixels.len() - 3..], &[1, 2, 3]);
        assert_eq!(pixels, picture.pixels);
    }

    #[test]
    fn pasting_is_cut_at_the_edge() {
        let mut picture = Picture::new(4, 4, BLACK);
        picture.paste(&Picture::new(3, 3, WHITE), 2, 3);
        let white: Vec<_> = (0..16).filter(|at| picture.pixel(at % 4, at / 4) == Some(WHITE)).collect();
        assert_eq!(white, [14, 15]);
        picture.paste(&Picture::new(3, 3, WHITE), 9, 9);
    }

    #[test]
    fn blending_halves() {
        let mut picture = Picture::new(1, 1, Colour(0, 100, 255));
        picture.blend(0, 0, WHITE, 51);
        assert_eq!(picture.pixel(0, 0), Some(Colour(51, 131, 255)));
    }

    #[test]
    fn text_has_the_announced_extent_and_turns_a_quarter_to_the_left() {
        let style = TextStyle::bold(WHITE);
        let text = "Lung 7×?";
        let (width, height) = (style.width(text), style.line_height());
        let mut across = Picture::new(width, height, BLACK);
        across.text(text, 0, 0, style);
        let mut upwards = Picture::new(height, width, BLACK);
        upwards.text_upwards(text, 0, width - 1, style);
        let mut inked = 0;
        for y in 0..height {
            for x in 0..width {
                assert_eq!(across.pixel(x, y), upwards.pixel(y, width - 1 - x));
                inked += usize::from(across.pixel(x, y) != Some(BLACK));
            }
        }
        assert!(inked > 100, "only {inked} pixels inked");
    }

    #[test]
    fn an_unknown_letter_is_a_question_mark() {
        let style = TextStyle::regular(WHITE);
        let mut unknown = Picture::new(20, 20, BLACK);
        let mut question = unknown.clone();
        unknown.text("肺", 0, 0, style);
        question.text("?", 0, 0, style);
        assert_eq!(unknown, question);
    }

    #[test]
    fn wrong_sizes_are_errors() {
        assert!(Picture::from_rgb(2, 2, vec![0; 11]).is_err());
        assert!(Picture::new(0, 4, BLACK).to_png().is_err());
    }
}
