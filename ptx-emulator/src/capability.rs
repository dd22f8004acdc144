//! Which card is emulated, and which PTX it takes.

use std::str::FromStr;

/// What the emulated card is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Capability {
    /// Compute capability 8.0, as an A100 has.
    #[default]
    Ampere,
    /// Compute capability 9.0, as an H100 has.
    Hopper,
}

impl FromStr for Capability {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "8.0" => Ok(Self::Ampere),
            "9.0" => Ok(Self::Hopper),
            _ => Err(format!("`{text}` is no compute capability of the emulator: 8.0 or 9.0")),
        }
    }
}

impl Capability {
    /// Major and minor number.
    pub fn numbers(self) -> (u32, u32) {
        match self {
            Self::Ampere => (8, 0),
            Self::Hopper => (9, 0),
        }
    }

    /// As PTX counts: 80 or 90.
    pub fn number(self) -> u32 {
        let (major, minor) = self.numbers();
        10 * major + minor
    }

    /// Shared memory of a block with permission, in bytes.
    pub fn shared_most(self) -> usize {
        match self {
            Self::Ampere => 163 << 10,
            Self::Hopper => 227 << 10,
        }
    }

    /// Shared memory of a multiprocessor in bytes.
    pub fn shared_of_multiprocessor(self) -> usize {
        self.shared_most() + 1024
    }

    /// Multiprocessors of the card.
    pub fn multiprocessors(self) -> u32 {
        match self {
            Self::Ampere => 108,
            Self::Hopper => 132,
        }
    }
}

/// What PTX was made for: `.target sm_90a`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Target {
    /// 90
    pub number: u32,
    /// The `a`: this capability only.
    pub exact: bool,
}

impl Target {
    /// Reads `sm_90a`.
    pub fn read(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("sm_")?;
        let exact = digits.ends_with('a');
        let number = digits.strip_suffix('a').unwrap_or(digits).parse().ok()?;
        Some(Self { number, exact })
    }

    /// Whether a card runs it.
    pub fn runs_on(self, card: Capability) -> bool {
        if self.exact { self.number == card.number() } else { self.number <= card.number() }
    }

    /// Whether it has the instructions that only `sm_90a` has.
    pub fn has_warpgroups(self) -> bool {
        self == Self { number: 90, exact: true }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "sm_{}{}", self.number, if self.exact { "a" } else { "" })
    }
}
