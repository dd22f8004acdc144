//! JPEG frames (ISO 10918-1): baseline of 8 bits and lossless of 2 to 16, one component.
//!
//! The markers are looked at before the decoder sees the frame: it takes a size from the stream and reserves memory
//! for it, takes a point transform of any value, and loses its place at restart markers of lossless streams.

use jpeg_decoder::{Decoder, PixelFormat};

/// Decodes a frame into little-endian `pixels` of `width` bytes.
///
/// # Errors
/// Damage; another size than the header says; colours, 12 bits with loss, restarts of lossless streams, hierarchical,
/// progressive and arithmetic streams.
pub(super) fn decode(
    raw: &[u8],
    columns: u16,
    rows: u16,
    width: usize,
    pixels: &mut Vec<u8>,
) -> Result<(), String> {
    let stream = look(raw, columns, rows)
        .map_err(|cause| format!("is damaged or not read: its JPEG stream {cause}"))?;
    let failed =
        |error: jpeg_decoder::Error| format!("is damaged: its JPEG stream cannot be decoded ({error})");
    let mut decoder = Decoder::new(stream);
    decoder.set_max_decoding_buffer_size(2 * usize::from(columns) * usize::from(rows));
    let decoded = decoder.decode().map_err(failed)?;
    let depth = match decoder.info().map(|info| info.pixel_format) {
        Some(PixelFormat::L8) => 1,
        Some(PixelFormat::L16) => 2,
        _ => return Err("has a JPEG stream of colours".to_owned()),
    };
    if depth > width {
        return Err("is damaged: its JPEG stream has more bits than BitsAllocated".to_owned());
    }
    pixels.resize(decoded.len() / depth * width, 0);
    for (pixel, sample) in pixels.chunks_exact_mut(width).zip(decoded.chunks_exact(depth)) {
        match *sample {
            [byte] => pixel[0] = byte,
            // The decoder gives samples in this machine's byte order.
            [a, b] => pixel[..2].copy_from_slice(&u16::from_ne_bytes([a, b]).to_le_bytes()),
            _ => {}
        }
    }
    Ok(())
}

/// The stream as far as its only scan goes, if it is one the decoder reads rightly.
fn look(raw: &[u8], columns: u16, rows: u16) -> Result<&[u8], String> {
    let word = |at: usize| Some(u16::from_be_bytes([*raw.get(at)?, *raw.get(at + 1)?]));
    let cut = || "is cut off".to_owned();
    if raw.get(..2) != Some(&[0xFF, 0xD8]) {
        return Err("does not begin as one".to_owned());
    }
    let (mut at, mut frame, mut restarts) = (2, None, false);
    loop {
        let marker = *raw.get(at + 1).ok_or_else(cut)?;
        if raw[at] != 0xFF {
            return Err("has no marker where one should stand".to_owned());
        }
        if marker == 0xFF {
            at += 1;
            continue;
        }
        let length = usize::from(word(at + 2).ok_or_else(cut)?);
        let segment = raw.get(at + 4..at + 2 + length.max(2)).ok_or_else(cut)?;
        match (marker, segment) {
            (0xC0 | 0xC1 | 0xC3, &[precision, h1, h0, w1, w0, components, ..]) => {
                let (height, width) = (u16::from_be_bytes([h1, h0]), u16::from_be_bytes([w1, w0]));
                if (width, height) != (columns, rows) {
                    return Err(format!(
                        "is of {width} x {height} pixels, the header says {columns} x {rows}"
                    ));
                }
                if components != 1 {
                    return Err(format!("has {components} components"));
                }
                if marker != 0xC3 && precision != 8 {
                    return Err(format!("has {precision} bits with loss, for which there is no decoder"));
                }
                frame = Some((marker == 0xC3, precision));
            }
            (0xC0..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF, _) => {
                return Err(
                    "is progressive, hierarchical or arithmetic, for which there is no decoder".to_owned()
                );
            }
            (0xDD, &[a, b]) => restarts = [a, b] != [0, 0],
            (0xDA, &[1, _, _, _, _, low]) => {
                let (lossless, precision) = frame.ok_or("has a scan before its frame")?;
                if lossless && restarts {
                    return Err("is lossless with restarts, for which there is no decoder".to_owned());
                }
                if lossless && low & 15 >= precision {
                    return Err("has a point transform beyond its bits".to_owned());
                }
                return scan_end(raw, at + 2 + length);
            }
            (0xDA, _) => return Err("has a scan of several components".to_owned()),
            _ => {}
        }
        at += 2 + length.max(2);
    }
}

/// The stream up to the end of the scan that begins at `start`, after which nothing but the image's end may come.
fn scan_end(raw: &[u8], start: usize) -> Result<&[u8], String> {
    let data = raw.get(start..).ok_or("is cut off")?;
    let marker =
        data.windows(2).position(|pair| pair[0] == 0xFF && !matches!(pair[1], 0 | 0xD0..=0xD7 | 0xFF));
    match marker.map(|at| (at, data[at + 1])) {
        Some((at, 0xD9)) => Ok(&raw[..start + at + 2]),
        Some(_) => Err("has more than one scan".to_owned()),
        None => Err("is cut off".to_owned()),
    }
}
