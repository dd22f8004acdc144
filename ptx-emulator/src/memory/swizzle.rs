//! Patterns in which 16-byte pieces of shared memory change places, so that a column touches every bank group once.

/// A pattern: a function of the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Swizzle {
    /// Everything stays in its place.
    #[default]
    None,
    /// Within 32 bytes: bit 4 is changed by bit 7.
    Bytes32,
    /// Within 64 bytes: bits 4 and 5 by bits 7 and 8.
    Bytes64,
    /// Within 128 bytes: bits 4 to 6 by bits 7 to 9.
    Bytes128,
}

impl Swizzle {
    /// Bytes within which pieces change places; 16, a piece, for none.
    pub fn span(self) -> usize {
        match self {
            Self::None => 16,
            Self::Bytes32 => 32,
            Self::Bytes64 => 64,
            Self::Bytes128 => 128,
        }
    }

    /// Where the byte at `address` lies.
    #[inline]
    pub fn place(self, address: u64) -> u64 {
        let mask = self.span() as u64 / 16 - 1;
        address ^ (address >> 7 & mask) << 4
    }
}
