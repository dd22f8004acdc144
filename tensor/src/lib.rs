//! Floor 1 of Genesis: what data is.

pub mod random;
