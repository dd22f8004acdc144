//! Operands of the weight gradient, whose products run over voxels: rows of voxels turned into rows of one
//! channel each, and pairs of voxels side by side.

use super::values::Element;
use half::bf16;

/// A row of voxels: `count` of them, `step` values apart.
#[derive(Clone, Copy)]
pub(super) struct Row<'a, S> {
    pub from: &'a [S],
    pub step: usize,
    pub count: usize,
}

/// An element of a turned operand and how values of an activation become it.
pub(super) trait Turned<S>: Element {
    /// Writes the voxels of channel c to `to[c · pitch..]`, for `channels` channels.
    fn turn(row: Row<S>, channels: usize, to: &mut [Self], pitch: usize);

    /// Writes channels of one voxel, or of two side by side, zeros beyond the last one. `to` has `group`
    /// elements a lane; a voxel that does not exist has no channels.
    fn columns(voxels: [&[S]; 2], to: &mut [Self], group: usize);
}

#[inline(always)]
fn turn_plain<S: Element, T: Element>(row: Row<S>, channels: usize, to: &mut [T], pitch: usize) {
    /// Voxels at a time, so that what is read stays in the L1 cache.
    const STRIP: usize = 16;
    for first in (0..row.count).step_by(STRIP) {
        let strip = first..row.count.min(first + STRIP);
        for channel in 0..channels {
            for voxel in strip.clone() {
                to[channel * pitch + voxel] = T::nearest(row.from[voxel * row.step + channel].widen());
            }
        }
    }
}

impl<S: Element> Turned<S> for f32 {
    fn turn(row: Row<S>, channels: usize, to: &mut [Self], pitch: usize) {
        turn_plain(row, channels, to, pitch);
    }

    fn columns([voxel, _]: [&[S]; 2], to: &mut [Self], group: usize) {
        debug_assert_eq!(group, 1);
        let (to, rest) = to.split_at_mut(voxel.len());
        for (to, from) in to.iter_mut().zip(voxel) {
            *to = from.widen();
        }
        rest.fill(0.0);
    }
}

impl Turned<f32> for bf16 {
    fn turn(row: Row<f32>, channels: usize, to: &mut [Self], pitch: usize) {
        turn_plain(row, channels, to, pitch);
    }

    fn columns([first, second]: [&[f32]; 2], to: &mut [Self], group: usize) {
        debug_assert_eq!(group, 2);
        for (lane, pair) in to.chunks_exact_mut(2).enumerate() {
            let value = |voxel: &[f32]| voxel.get(lane).map_or(bf16::ZERO, |&value| Element::nearest(value));
            pair.copy_from_slice(&[value(first), value(second)]);
        }
    }
}

impl Turned<bf16> for bf16 {
    fn turn(row: Row<bf16>, channels: usize, to: &mut [Self], pitch: usize) {
        #[cfg(target_arch = "x86_64")]
        if row.count > 0 && channels > 0 {
            assert!(row.from.len() >= (row.count - 1) * row.step + channels);
            assert!(to.len() >= (channels - 1) * pitch + row.count);
            let whole = channels / 8 * 8;
            for voxel in (0..row.count).step_by(8) {
                for channel in (0..whole).step_by(8) {
                    // SAFETY: eight channels of up to eight voxels lie inside `from`, and as many voxels of
                    // as many channels inside `to`, by the asserts; SSE2 is part of x86-64.
                    unsafe {
                        let from = row.from.as_ptr().add(voxel * row.step + channel);
                        let to = to.as_mut_ptr().add(channel * pitch + voxel);
                        turn_eight(from, row.step, (row.count - voxel).min(8), to, pitch);
                    }
                }
            }
            if whole < channels {
                let from = Row { from: &row.from[whole..], ..row };
                turn_plain(from, channels - whole, &mut to[whole * pitch..], pitch);
            }
            return;
        }
        turn_plain(row, channels, to, pitch);
    }

    fn columns([first, second]: [&[bf16]; 2], to: &mut [Self], group: usize) {
        debug_assert_eq!(group, 2);
        let lanes = first.len();
        let (whole, rest) = to.split_at_mut(2 * lanes);
        if second.len() == lanes {
            for ((pair, a), b) in whole.chunks_exact_mut(2).zip(first).zip(second) {
                pair[0] = *a;
                pair[1] = *b;
            }
        } else {
            for (pair, a) in whole.chunks_exact_mut(2).zip(first) {
                pair[0] = *a;
                pair[1] = bf16::ZERO;
            }
        }
        rest.fill(bf16::ZERO);
    }
}

/// Turns up to 8 rows of 8 values.
///
/// # Safety
/// `rows` rows of eight values, `step` apart, are readable; eight of `rows`, `pitch` apart, writable.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn turn_eight(from: *const bf16, step: usize, rows: usize, to: *mut bf16, pitch: usize) {
    use std::arch::x86_64::*;
    // SAFETY: the caller's contract; SSE2 is part of x86-64.
    unsafe {
        let mut row = [_mm_setzero_si128(); 8];
        for i in 0..8 {
            if i < rows {
                row[i] = _mm_loadu_si128(from.add(i * step).cast());
            }
        }
        // Pairs of rows, then fours, then all eight, interleaved.
        let mut twos = [_mm_setzero_si128(); 8];
        for i in 0..4 {
            twos[2 * i] = _mm_unpacklo_epi16(row[2 * i], row[2 * i + 1]);
            twos[2 * i + 1] = _mm_unpackhi_epi16(row[2 * i], row[2 * i + 1]);
        }
        let mut fours = [_mm_setzero_si128(); 8];
        for half in 0..2 {
            for part in 0..2 {
                let (a, b) = (twos[4 * half + part], twos[4 * half + part + 2]);
                fours[4 * half + 2 * part] = _mm_unpacklo_epi32(a, b);
                fours[4 * half + 2 * part + 1] = _mm_unpackhi_epi32(a, b);
            }
        }
        for i in 0..4 {
            let (low, high) =
                (_mm_unpacklo_epi64(fours[i], fours[i + 4]), _mm_unpackhi_epi64(fours[i], fours[i + 4]));
            for (channel, values) in [(2 * i, low), (2 * i + 1, high)] {
                let to = to.add(channel * pitch);
                if rows == 8 {
                    _mm_storeu_si128(to.cast(), values);
                    continue;
                }
                let mut left = [half::bf16::ZERO; 8];
                _mm_storeu_si128(left.as_mut_ptr().cast(), values);
                for place in 0..rows {
                    *to.add(place) = left[place];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_turned_whatever_their_extents() {
        for (count, channels, step) in [(1, 1, 1), (8, 8, 8), (9, 17, 20), (23, 5, 10), (16, 24, 24)] {
            let from: Vec<bf16> = (0..count * step).map(|i| bf16::from_bits(i as u16)).collect();
            let pitch = count + 3;
            let mut to = vec![bf16::NAN; channels * pitch];
            bf16::turn(Row { from: &from, step, count }, channels, &mut to, pitch);
            for channel in 0..channels {
                for voxel in 0..pitch {
                    let given = to[channel * pitch + voxel];
                    if voxel < count {
                        assert_eq!(given.to_bits(), from[voxel * step + channel].to_bits());
                    } else {
                        assert!(given.is_nan());
                    }
                }
            }
        }
    }
}
