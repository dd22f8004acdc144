//! Run lengths (PS3.5, G): one segment for each byte of a pixel, the most significant first, packed as TIFF's
//! PackBits.

/// Decodes a frame of `count` pixels of `width` bytes into little-endian `pixels`.
///
/// # Errors
/// Segments that are not there, of another number, or that do not hold `count` bytes.
pub(super) fn decode(raw: &[u8], count: usize, width: usize, pixels: &mut Vec<u8>) -> Result<(), String> {
    let damaged = |what: &str| format!("is damaged: its run lengths {what}");
    let (head, _) = raw.split_first_chunk::<64>().ok_or_else(|| damaged("have no header"))?;
    let words: Vec<usize> =
        head.as_chunks::<4>().0.iter().map(|&word| u32::from_le_bytes(word) as usize).collect();
    if words[0] != width {
        return Err(damaged(&format!("have {} segments, pixels of {width} bytes need {width}", words[0])));
    }
    let mut planes = Vec::with_capacity(width);
    for segment in 0..width {
        let start = words[1 + segment];
        let end = if segment + 1 < width { words[2 + segment] } else { raw.len() };
        let packed =
            raw.get(start..end).filter(|_| start >= 64).ok_or_else(|| damaged("point outside the frame"))?;
        planes.push(unpack(packed, count).ok_or_else(|| damaged("end before the frame is full"))?);
    }
    pixels.resize(count * width, 0);
    for (segment, plane) in planes.iter().enumerate() {
        for (pixel, &byte) in pixels.chunks_exact_mut(width).zip(plane) {
            pixel[width - 1 - segment] = byte;
        }
    }
    Ok(())
}

/// `count` bytes, which grow with what is there; `None` where it ends too early.
fn unpack(mut packed: &[u8], count: usize) -> Option<Vec<u8>> {
    let mut plane = Vec::new();
    while plane.len() < count {
        let (&control, rest) = packed.split_first()?;
        packed = match control as i8 {
            length @ 0.. => {
                let (literal, rest) = rest.split_at_checked(length as usize + 1)?;
                plane.extend_from_slice(literal);
                rest
            }
            -128 => rest,
            length => {
                let (&byte, rest) = rest.split_first()?;
                plane.resize(plane.len() + 1 + usize::from(length.unsigned_abs()), byte);
                rest
            }
        };
    }
    plane.truncate(count);
    Some(plane)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_runs_are_unpacked_and_early_ends_are_seen() {
        let packed = [2, 7, 8, 9, 0x80, 0xFD, 5];
        assert_eq!(unpack(&packed, 7), Some(vec![7, 8, 9, 5, 5, 5, 5]));
        assert_eq!(unpack(&packed, 5), Some(vec![7, 8, 9, 5, 5]));
        assert_eq!(unpack(&packed, 8), None);
        assert_eq!(unpack(&packed[..3], 3), None);
    }

    #[test]
    fn segments_are_the_bytes_of_each_pixel_most_significant_first() {
        let mut raw = vec![0u8; 64];
        raw[..12].copy_from_slice(&[2, 0, 0, 0, 64, 0, 0, 0, 67, 0, 0, 0]);
        raw.extend([1, 0x12, 0x34, 0xFF, 0xAB]);
        let mut pixels = Vec::new();
        decode(&raw, 2, 2, &mut pixels).expect("valid");
        assert_eq!(pixels, [0xAB, 0x12, 0xAB, 0x34]);
        raw[8] = 200;
        assert!(decode(&raw, 2, 2, &mut pixels).expect_err("outside").contains("outside"));
        assert!(decode(&raw, 2, 1, &mut pixels).expect_err("segments").contains("2 segments"));
        assert!(decode(&raw[..60], 2, 1, &mut pixels).is_err());
    }
}
