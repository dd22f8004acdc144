//! Where the arrays of shared or local memory lie: each exactly at its declared alignment and at no better one, with
//! gaps between, so that a luckily aligned or adjacent array hides no defect.

/// An array's place.
#[derive(Debug, Clone)]
pub struct Array {
    /// Its name in the PTX.
    pub name: String,
    /// First byte.
    pub start: usize,
    /// Bytes.
    pub size: usize,
}

/// Places of all arrays of one memory.
#[derive(Debug, Clone, Default)]
pub struct Layout {
    /// By address.
    pub arrays: Vec<Array>,
    /// One past the last byte.
    pub end: usize,
    /// Bytes that a card would need, without our gaps.
    pub natural: usize,
}

/// Nothing lies below this: address 0 is a mistake.
const FIRST: usize = 1024;

impl Layout {
    /// Adds an array and returns its address.
    pub fn place(&mut self, name: &str, size: usize, align: usize) -> usize {
        let free = self.end.max(FIRST) + 16;
        let start = free.next_multiple_of(2 * align) + align;
        self.arrays.push(Array { name: name.to_string(), start, size });
        self.end = start + size;
        self.natural = self.natural.next_multiple_of(align) + size;
        start
    }

    /// The array that holds `bytes` at `offset`.
    #[inline]
    pub fn find(&self, offset: u64, bytes: usize) -> Option<&Array> {
        self.arrays.iter().find(|a| {
            let inside = offset.wrapping_sub(a.start as u64);
            inside < a.size as u64 && a.size as u64 - inside >= bytes as u64
        })
    }

    /// Where an address lies, in words.
    pub fn describe(&self, offset: u64) -> String {
        match self.arrays.iter().rev().find(|a| a.start as u64 <= offset) {
            Some(a) => {
                format!("at byte {} of array {} of {} bytes", offset - a.start as u64, a.name, a.size)
            }
            None => "below every array".into(),
        }
    }
}
