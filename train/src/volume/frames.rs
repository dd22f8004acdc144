//! Files of several volumes on one grid: the frames of a film, the channels of a scan.

use std::ops::Range;
use std::path::Path;

use crate::error::{Error, Result};

/// More volumes in one file are a film, not the channels of a scan; each takes memory of its own beside its voxels.
const MOST_CHANNELS: u64 = 1024;

/// How a volume is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// Which volume of a file of several, counted from 0; a file of several is refused without it.
    pub frame: Option<usize>,
}

impl ReadOptions {
    /// With this frame of a file, if one is given.
    pub fn frame(frame: Option<usize>) -> Self {
        Self { frame }
    }

    /// Refuses a choice that a file of one volume does not offer.
    ///
    /// # Errors
    /// Any frame but 0.
    pub(super) fn check_single(&self, path: &Path) -> Result<()> {
        Wanted::One(self.frame).of(path, 1).map(drop)
    }
}

/// Which of a file's volumes are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// One: of this number, or the only one there is.
    One(Option<usize>),
    /// Every one.
    All,
}

impl Wanted {
    /// The numbers of the volumes that are read of a file that holds `count`.
    ///
    /// # Errors
    /// A file of several of which none was chosen; a choice that is not there; too many for channels.
    pub fn of(self, path: &Path, count: u64) -> Result<Range<u64>> {
        let last = count.saturating_sub(1);
        match self {
            Self::All if count > MOST_CHANNELS => Err(Error::file(
                path,
                format!("holds {count} volumes, at most {MOST_CHANNELS} channels are read"),
            )),
            Self::All => Ok(0..count),
            Self::One(None) if count == 1 => Ok(0..1),
            Self::One(None) => Err(Error::file(
                path,
                format!("holds {count} volumes (frames), one is needed: choose it with --frame, 0 to {last}"),
            )),
            Self::One(Some(frame)) => match frame as u64 {
                frame if frame < count => Ok(frame..frame + 1),
                frame if count == 1 => {
                    Err(Error::file(path, format!("has no frame {frame}: it holds one volume, frame 0")))
                }
                frame => Err(Error::file(
                    path,
                    format!("has no frame {frame}: its {count} frames are numbered 0 to {last}"),
                )),
            },
        }
    }
}

/// The volumes of a file and how they lie in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frames {
    /// How many there are; at least 1.
    pub count: u64,
    /// The place of the axis that tells them apart among the file's axes, the fastest first: 0 where the values
    /// of a voxel lie together, 1 and 2 between x and y and between y and z, 3 where one volume follows another.
    pub axis: usize,
}

impl Frames {
    /// One volume.
    pub const ONE: Self = Self { count: 1, axis: 3 };
}
