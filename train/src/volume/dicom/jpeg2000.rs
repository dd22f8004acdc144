//! JPEG 2000 frames (ISO 15444-1), one component.

use hayro_jpeg2000::{DecodeSettings, DecoderContext, Image};

/// Decodes a frame into little-endian `pixels` of `width` bytes.
///
/// # Errors
/// Damage; another size than the header says; colours; more bits than a pixel has.
pub(super) fn decode(
    raw: &[u8],
    columns: u16,
    rows: u16,
    width: usize,
    pixels: &mut Vec<u8>,
) -> Result<(), String> {
    let (bits, signed) = look(raw, columns, rows)
        .map_err(|cause| format!("is damaged or not read: its JPEG 2000 stream {cause}"))?;
    if usize::from(bits) > 8 * width {
        return Err(format!("is damaged: its JPEG 2000 stream has {bits} bits, pixels have {}", 8 * width));
    }
    let failed = |error| format!("is damaged: its JPEG 2000 stream cannot be decoded ({error})");
    let settings = DecodeSettings { resolve_palette_indices: false, strict: true, target_resolution: None };
    let image = Image::new(raw, &settings).map_err(failed)?;
    let mut context = DecoderContext::default();
    let decoded = image.decode(&mut context).map_err(failed)?;
    let [component] = decoded.components() else {
        return Err("has a JPEG 2000 stream of colours".to_owned());
    };
    // The decoder lifts signed samples too, as if they were unsigned.
    let lift = if signed { 1i64 << (bits - 1) } else { 0 };
    pixels.reserve(component.samples().len() * width);
    for &sample in component.samples() {
        // Bits beyond BitsStored, the copies of the sign, are cut off later.
        let number = sample.round_ties_even() as i64 - lift;
        pixels.extend_from_slice(&number.to_le_bytes()[..width]);
    }
    Ok(())
}

/// Bits and sign of the samples, read from the head of the codestream before the decoder sees it (15444-1, A.5.1).
fn look(raw: &[u8], columns: u16, rows: u16) -> Result<(u8, bool), String> {
    let head: &[u8; 45] = raw.first_chunk().ok_or("is cut off")?;
    let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    if head[..4] != [0xFF, 0x4F, 0xFF, 0x51] {
        return Err("does not begin as one".to_owned());
    }
    let (width, height) = (word(8).checked_sub(word(16)), word(12).checked_sub(word(20)));
    if (width, height) != (Some(columns.into()), Some(rows.into())) {
        return Err(format!("is of {width:?} x {height:?} pixels, the header says {columns} x {rows}"));
    }
    if head[40..42] != [0, 1] || head[43..45] != [1, 1] {
        return Err("is of colours or of fewer samples than pixels".to_owned());
    }
    // Samples come as `f32`, which holds 24 bits exactly.
    match (head[42] & 0x7F) + 1 {
        bits @ 1..=24 => Ok((bits, head[42] & 0x80 != 0)),
        bits => Err(format!("has {bits} bits, at most 24 are read")),
    }
}
