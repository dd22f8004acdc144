//! Which levels of the network run again in the backward pass instead of keeping their activations.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A set of levels of the U-Net, by the numbers in the original's names: 64 (full resolution), 128,
/// 256, 512 (an eighth of it). In text and configurations a list such as `64,128`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<u32>", into = "Vec<u32>")]
pub struct Levels([bool; 4]);

impl Levels {
    /// The levels' names.
    pub const NAMES: [u32; 4] = [64, 128, 256, 512];
    /// None.
    pub const NONE: Self = Self([false; 4]);
    /// Full and half resolution: they hold nine tenths of the activations.
    pub const WIDEST: Self = Self([true, true, false, false]);

    /// True if level `index`, counted from full resolution, is in the set.
    pub fn contains(self, index: usize) -> bool {
        self.0.get(index).is_some_and(|&is_in| is_in)
    }
}

impl TryFrom<Vec<u32>> for Levels {
    type Error = String;

    fn try_from(names: Vec<u32>) -> Result<Self, String> {
        let mut levels = Self::NONE;
        for name in names {
            let index = Self::NAMES.iter().position(|&known| known == name);
            let index = index.ok_or_else(|| format!("there is no level {name} (64, 128, 256, 512)"))?;
            levels.0[index] = true;
        }
        Ok(levels)
    }
}

impl From<Levels> for Vec<u32> {
    fn from(levels: Levels) -> Self {
        Levels::NAMES.into_iter().zip(levels.0).filter(|(_, is_in)| *is_in).map(|(name, _)| name).collect()
    }
}

impl FromStr for Levels {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names: Result<Vec<u32>, _> = text.split(',').map(|name| name.trim().parse()).collect();
        names.map_err(|_| "a list of levels such as 64,128".to_string())?.try_into()
    }
}

impl fmt::Display for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = Vec::from(*self).iter().map(u32::to_string).collect();
        f.write_str(&names.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read_written_or_refused() {
        let levels: Levels = "512, 64".parse().unwrap();
        assert_eq!((levels.contains(0), levels.contains(1), levels.contains(3)), (true, false, true));
        assert_eq!(levels.to_string(), "64,512");
        for bad in ["", "32", "64;128", "-64", "64,"] {
            assert!(bad.parse::<Levels>().is_err(), "{bad}");
        }
    }
}
