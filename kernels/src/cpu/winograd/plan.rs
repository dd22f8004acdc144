//! Which tiling a convolution uses, if any, and how its loops are blocked. A model, not a measurement:
//! the choice depends on shapes and the instruction set alone, and so do the bits of the result.

use crate::cpu::Isa;

/// How a convolution is computed in the transformed domain.
///
/// F(4×2×2) in bf16 is off by 0.9 % of the result's norm (F(2×2×2) by 0.6 %, a direct sum by 0.2 %, the
/// result's own rounding), where 1 % is allowed; F(4×4×4) in bf16 would be off by 2 to 10 %.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Method {
    /// F(2×2×2, 3×3×3), multiplying f32.
    TwoF32,
    /// F(4×4×4, 3×3×3), multiplying f32.
    FourF32,
    /// F(2×2×2, 3×3×3), multiplying pairs of bf16.
    TwoBf16,
    /// F(4×2×2, 3×3×3), multiplying pairs of bf16.
    FourTwoBf16,
}

impl Method {
    /// Every method.
    #[cfg(test)]
    pub const ALL: [Self; 4] = [Self::TwoF32, Self::FourF32, Self::TwoBf16, Self::FourTwoBf16];

    /// Its name in profiles and benches.
    pub fn name(self) -> &'static str {
        match self {
            Self::TwoF32 => "winograd F(2x2x2) f32",
            Self::FourF32 => "winograd F(4x4x4) f32",
            Self::TwoBf16 => "winograd F(2x2x2) bf16",
            Self::FourTwoBf16 => "winograd F(4x2x2) bf16",
        }
    }

    /// Whether it multiplies pairs of bf16.
    pub fn pairs(self) -> bool {
        matches!(self, Self::TwoBf16 | Self::FourTwoBf16)
    }

    /// Extents of a tile of the output.
    pub fn tile(self) -> [usize; 3] {
        match self {
            Self::TwoF32 | Self::TwoBf16 => [2; 3],
            Self::FourF32 => [4; 3],
            Self::FourTwoBf16 => [4, 2, 2],
        }
    }

    fn points(self) -> usize {
        self.tile().iter().map(|extent| extent + 2).product()
    }
}

/// The size of a convolution.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub batch: usize,
    /// Extents of the output.
    pub output: [usize; 3],
    pub inputs: usize,
    pub outputs: usize,
}

/// A transform's cost of one channel of one point, in f32 multiply-adds; measured on Zen 4.
const TRANSFORM_TWO: f64 = 20.0;
const TRANSFORM_FOUR: f64 = 28.0;
/// Transforming and reading a weight, in tiles it could have been multiplied with.
const WEIGHT: f64 = 46.0;
/// F(4, 3)'s points are so many that its sums leave the L2 cache.
const SPILLED: f64 = 1.8;
/// What the direct kernels lose to their peak.
const DIRECT: f64 = 1.1;
/// The direct kernels multiply bf16 pairs at twice the rate.
const PAIRS: f64 = 0.5;

/// Voxels of an image mostly border: the padding's zeros shrink the result and not the rounding errors.
const SMALL: usize = 16 * 16 * 8;

impl Size {
    /// Multiply-adds, weighted, of a method.
    fn cost(&self, method: Method, lanes: usize) -> f64 {
        let tile = method.tile();
        let tiles: usize = (0..3).map(|axis| self.output[axis].div_ceil(tile[axis])).product();
        let tiles = self.batch * tiles;
        let inputs = self.inputs.next_multiple_of(lanes) as f64;
        let outputs = self.outputs.next_multiple_of(2 * lanes) as f64;
        let (tiles, products) = (tiles as f64, inputs * outputs);
        let (transform, rate) = match method {
            Method::TwoF32 => (TRANSFORM_TWO, 1.0),
            Method::TwoBf16 | Method::FourTwoBf16 => (TRANSFORM_TWO, PAIRS),
            Method::FourF32 => (TRANSFORM_FOUR, SPILLED),
        };
        let per_tile = products * rate + transform * (inputs + outputs);
        method.points() as f64 * (tiles * per_tile + WEIGHT * rate.min(1.0) * products)
    }

    /// The cheapest method for f32 or (`half`) bf16 activations; none where the direct kernels are
    /// cheaper.
    pub fn method(&self, isa: Isa, half: bool) -> Option<Method> {
        let lanes = super::lanes(isa);
        let native = isa >= Isa::Avx512Bf16;
        if half && isa == Isa::Amx {
            // Tile registers multiply 16 times as fast as vectors: the transforms alone take longer.
            return None;
        }
        let candidates: &[Method] = match half && native {
            true if self.output.iter().product::<usize>() < SMALL => &[Method::TwoBf16, Method::FourF32],
            true => &[Method::FourTwoBf16, Method::FourF32],
            false => &[Method::TwoF32, Method::FourF32],
        };
        let voxels = (self.batch * self.output.iter().product::<usize>()) as f64;
        let products = (self.inputs.max(4) * self.outputs.next_multiple_of(lanes)) as f64;
        let direct = 27.0 * voxels * products * DIRECT * if half && native { PAIRS } else { 1.0 };
        candidates
            .iter()
            .map(|&method| (self.cost(method, lanes), method))
            .filter(|(cost, _)| *cost < direct)
            .min_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, method)| method)
    }
}

/// How the loops of a forward pass are blocked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Blocking {
    /// Input channels transformed together.
    pub chunk: usize,
    /// Tiles of a piece.
    pub tiles: usize,
    /// Vectors of a block of output channels.
    pub vectors: usize,
    /// Blocks of output channels of a piece.
    pub blocks: usize,
    /// Blocks whose sums are held at the same time, if all input channels are one chunk.
    pub together: usize,
}

/// Tiles are handled in sixes, by portable code in fours.
const TILE_STEP: usize = 6;
const TILE_STEP_PORTABLE: usize = 12;
/// Tiles of a piece: with their sums, half of the L2 cache and no more: where it is backed by small pages,
/// more collides in it.
const TILES: usize = 24;
/// The same where bf16 pairs are multiplied.
const PAIR_TILES: usize = 18;
/// Transformed weights larger than this are read from memory again for every piece: fewer, larger pieces.
/// Measured on Zen 4 with AVX-512.
const LARGE_WEIGHTS: usize = 12 << 20;
const LARGE_TILES: usize = 48;
/// The same with narrower registers, on Zen 3 with AVX2.
const LARGE_WEIGHTS_NARROW: usize = 8 << 20;
const LARGE_TILES_NARROW: usize = 72;
/// Pieces wanted, so that many threads share them evenly.
const PIECES: usize = 16;
/// Output channels of a piece, at least, where pieces share tiles: each transforms the tiles' input anew.
const PIECE_OUTPUTS: usize = 128;

pub(super) fn forward(method: Method, tiles: usize, inputs: usize, outputs: usize, lanes: usize) -> Blocking {
    let wide = lanes == 16;
    let vectors = if wide && outputs.is_multiple_of(64) { 4 } else { 2 };
    let word = if method.pairs() { 2 } else { 4 };
    let (limit, large_tiles) = match wide {
        true => (LARGE_WEIGHTS, LARGE_TILES),
        false => (LARGE_WEIGHTS_NARROW, LARGE_TILES_NARROW),
    };
    let large = method.points() * inputs * outputs * word > limit;
    let chunk = if method == Method::TwoF32 { 64 } else { 128 };
    let wanted = match large {
        true => large_tiles,
        false if method.pairs() => PAIR_TILES,
        false => TILES,
    };
    // An even number of large pieces: two threads then end together.
    let ranges = match tiles.div_ceil(wanted) {
        ranges if large && tiles > TILES => ranges.next_multiple_of(2),
        ranges => ranges,
    };
    let step = if lanes == 4 { TILE_STEP_PORTABLE } else { TILE_STEP };
    let tiles = tiles.div_ceil(ranges).next_multiple_of(step);
    let width = vectors * lanes;
    let blocks = outputs.div_ceil(width);
    let groups = PIECES.div_ceil(ranges).min(outputs.div_ceil(PIECE_OUTPUTS));
    let blocks = blocks.div_ceil(groups);
    // Block by block the sums stay in the L2 cache, and the transformed input is read for each. Where a
    // large piece's input has left that cache, it is read once, for all blocks.
    let together = if large && !wide { blocks } else { 1 };
    Blocking { chunk, tiles, vectors, blocks, together }
}

/// Input channels transformed together, and tiles of a slab, of a weight gradient: the transformed slab
/// should stay near the core, the sums should not be read and written too often.
pub(super) fn weight_gradient(method: Method, outputs: usize, lanes: usize) -> (usize, usize) {
    let many = outputs > 64;
    match method {
        Method::TwoF32 => (64, 96),
        // Measured on Zen 4 with AVX-512.
        Method::FourF32 if lanes == 16 => (64, if many { 32 } else { 64 }),
        // On Zen 3 with AVX2.
        Method::FourF32 => (64, if many { 128 } else { 96 }),
        Method::TwoBf16 | Method::FourTwoBf16 => (128, if many { 256 } else { 128 }),
    }
}
