//! An operand of the weight gradient's products: how it lies in memory, and its lines in that order.

use super::LINE;
use super::cube::prefetch;

/// Tiles that one task transforms, and that lie together in memory.
pub(super) const RUN: usize = 16;

/// One operand, transformed: `[run][panel][point][tile of the run, or pair of them][width]`, in words from
/// one to the next. A panel is a vector of input channels or a block of output channels.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    pub width: usize,
    pub point: usize,
    pub panel: usize,
    pub run: usize,
}

impl Layout {
    pub fn new<const PAIRS: bool>(points: usize, panels: usize, width: usize) -> Self {
        let point = width * if PAIRS { RUN / 2 } else { RUN };
        let panel = points * point;
        // A point more a run: the same point of all runs must not fall into one set of the cache.
        Self { width, point, panel, run: panels * panel + point }
    }
}

/// The cache lines of one point of an operand, to be asked for while the point before it is multiplied: they
/// lie scattered, a few in each panel, and the hardware foresees none.
pub(super) struct Lines {
    /// How many there are.
    pub count: usize,
    layout: Layout,
    panels: usize,
    /// Begin of the present panel of the present run.
    at: *const f32,
    panel: usize,
    word: usize,
}

impl Lines {
    /// The lines of `panels` panels of `runs` runs from `at` on, the point's first word. They need not be
    /// valid.
    #[inline(always)]
    pub fn new(at: *const f32, layout: Layout, panels: usize, runs: usize) -> Self {
        let count = runs * panels * layout.point / LINE;
        Self { count, layout, panels, at, panel: 0, word: 0 }
    }

    /// Asks for the next `count` lines, or those that come after the last.
    #[inline(always)]
    pub fn ask_for(&mut self, count: usize) {
        for _ in 0..count {
            prefetch(self.at.wrapping_add(self.panel * self.layout.panel + self.word));
            self.word += LINE;
            if self.word == self.layout.point {
                self.word = 0;
                self.panel += 1;
                if self.panel == self.panels {
                    self.panel = 0;
                    self.at = self.at.wrapping_add(self.layout.run);
                }
            }
        }
    }
}
