//! Counter-based random streams: Philox4x32-10 (Salmon et al., *Parallel random numbers: as easy
//! as 1, 2, 3*, SC 2011).
//!
//! A [`Stream`] is a pure function of `(seed, epoch, sample, purpose)`, so a value never depends on
//! how many threads drew others before it, and a resumed run needs no saved generator state.
//!
//! ```
//! use genesis_tensor::random::{Purpose, Stream};
//! let mut a = Stream::new(7, 0, 3, Purpose::Deformation);
//! let mut b = Stream::new(7, 0, 3, Purpose::Deformation);
//! assert_eq!(a.next_u32(), b.next_u32());
//! ```

use std::convert::Infallible;

/// What a stream is drawn for; two purposes of one sample never share numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Purpose {
    /// Initial values of the network's parameters.
    Initialization = 1,
    /// The order of samples within an epoch.
    Order = 2,
    /// Deformation of one cube.
    Deformation = 3,
    /// Choice of cube corners within a volume.
    Cubes = 4,
    /// Synthetic phantoms.
    Phantom = 5,
    /// Inputs of operation test cases.
    Cases = 6,
    /// Anything else (examples, tests).
    Other = 7,
    /// Augmentation of one patch of a target task.
    Augmentation = 8,
}

const BLOCKS: usize = 16;
const BUFFER: usize = 4 * BLOCKS;

/// A reproducible stream of random numbers.
#[derive(Clone)]
pub struct Stream {
    key: [u32; 2],
    counter: [u32; 4],
    buffer: [u32; BUFFER],
    used: usize,
}

#[inline(always)]
fn philox_block(mut c: [u32; 4], mut k: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let p0 = u64::from(c[0]) * 0xD251_1F53;
        let p1 = u64::from(c[2]) * 0xCD9E_8D57;
        c = [(p1 >> 32) as u32 ^ c[1] ^ k[0], p1 as u32, (p0 >> 32) as u32 ^ c[3] ^ k[1], p0 as u32];
        k[0] = k[0].wrapping_add(0x9E37_79B9);
        k[1] = k[1].wrapping_add(0xBB67_AE85);
    }
    c
}

/// A number in `[0, 1)` from the upper 24 of 32 random bits. (Signed conversion: the one that
/// vectorises everywhere.)
#[inline(always)]
fn unit(bits: u32) -> f32 {
    (bits >> 8) as i32 as f32 * (1.0 / 16_777_216.0)
}

impl Stream {
    /// The stream of one `(seed, epoch, sample, purpose)`.
    ///
    /// The 64-bit seed, epoch and sample are hashed into the key and the upper counter words by
    /// Philox itself, so neighbouring values give unrelated streams.
    pub fn new(seed: u64, epoch: u64, sample: u64, purpose: Purpose) -> Self {
        let first = philox_block(
            [seed as u32, (seed >> 32) as u32, purpose as u32, 0x6765_6e65],
            [epoch as u32, (epoch >> 32) as u32],
        );
        let mixed =
            philox_block([first[0], first[1], sample as u32, (sample >> 32) as u32], [first[2], first[3]]);
        Self {
            key: [mixed[0], mixed[1]],
            counter: [0, 0, mixed[2], mixed[3]],
            buffer: [0; BUFFER],
            used: BUFFER,
        }
    }

    fn refill(&mut self) {
        let base = u64::from(self.counter[0]) | (u64::from(self.counter[1]) << 32);
        // Structure-of-arrays so that the compiler vectorises across blocks, and each 32-bit number
        // in a 64-bit lane, the form of the vector multiplication; upper halves are ignored.
        const LOW: u64 = 0xffff_ffff;
        let mut c = [[0u64; BLOCKS]; 4];
        for i in 0..BLOCKS {
            let n = base.wrapping_add(i as u64);
            c[0][i] = n;
            c[1][i] = n >> 32;
            c[2][i] = u64::from(self.counter[2]);
            c[3][i] = u64::from(self.counter[3]);
        }
        let mut k = self.key;
        for _ in 0..10 {
            for i in 0..BLOCKS {
                let p0 = (c[0][i] & LOW) * 0xD251_1F53;
                let p1 = (c[2][i] & LOW) * 0xCD9E_8D57;
                c[0][i] = (p1 >> 32) ^ c[1][i] ^ u64::from(k[0]);
                c[1][i] = p1;
                c[2][i] = (p0 >> 32) ^ c[3][i] ^ u64::from(k[1]);
                c[3][i] = p0;
            }
            k[0] = k[0].wrapping_add(0x9E37_79B9);
            k[1] = k[1].wrapping_add(0xBB67_AE85);
        }
        for i in 0..BLOCKS {
            for word in 0..4 {
                self.buffer[4 * i + word] = c[word][i] as u32;
            }
        }
        let next = base.wrapping_add(BLOCKS as u64);
        self.counter[0] = next as u32;
        self.counter[1] = (next >> 32) as u32;
        self.used = 0;
    }

    /// 32 uniform random bits.
    #[inline]
    pub fn next_u32(&mut self) -> u32 {
        if self.used == BUFFER {
            self.refill();
        }
        let value = self.buffer[self.used];
        self.used += 1;
        value
    }

    /// 64 uniform random bits.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        u64::from(self.next_u32()) | (u64::from(self.next_u32()) << 32)
    }

    /// A uniform number in `[0, 1)` with 24 random bits.
    #[inline]
    pub fn uniform(&mut self) -> f32 {
        unit(self.next_u32())
    }

    /// A uniform number in `[0, 1)` with 53 random bits.
    #[inline]
    pub fn uniform_f64(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / 9_007_199_254_740_992.0)
    }

    /// A uniform integer in `[0, bound)`, without bias (Lemire, *Fast random integer generation in
    /// an interval*, 2019). Returns 0 for a bound of 0 or 1.
    #[inline]
    pub fn below(&mut self, bound: u32) -> u32 {
        let mut product = u64::from(self.next_u32()) * u64::from(bound);
        if (product as u32) < bound {
            let threshold = bound.wrapping_neg() % bound.max(1);
            while (product as u32) < threshold {
                product = u64::from(self.next_u32()) * u64::from(bound);
            }
        }
        (product >> 32) as u32
    }

    /// A uniform integer in `[low, high]`, both ends included. `high` must be at least `low`.
    #[inline]
    pub fn between(&mut self, low: usize, high: usize) -> usize {
        assert!(low <= high, "empty interval [{low}, {high}]");
        low + self.below((high - low + 1) as u32) as usize
    }

    /// Several independent uniform integers from one 32-bit word, the i-th in `[0, bounds[i])`,
    /// without bias (Brackett-Rozinsky and Lemire, *Batched ranged random integer generation*,
    /// 2024). Every bound must be at least 1 and their product must fit in 32 bits; words are
    /// rejected with a probability below product / 2^32.
    #[inline]
    pub fn below_each<const N: usize>(&mut self, bounds: [u32; N]) -> [u32; N] {
        let product = bounds.iter().map(|&bound| u64::from(bound)).product::<u64>();
        debug_assert!(product > 0 && product <= u64::from(u32::MAX), "bounds {bounds:?}");
        let product = product as u32;
        loop {
            let mut rest = self.next_u32();
            let values = bounds.map(|bound| {
                let scaled = u64::from(rest) * u64::from(bound);
                rest = scaled as u32;
                (scaled >> 32) as u32
            });
            // 2^32 mod product leading words would be one too many for some outcomes.
            if rest >= product || rest >= product.wrapping_neg() % product.max(1) {
                return values;
            }
        }
    }

    /// True with probability `p`.
    #[inline]
    pub fn chance(&mut self, p: f64) -> bool {
        self.uniform_f64() < p
    }

    /// A standard normal number (Box and Muller, 1958).
    pub fn normal(&mut self) -> f64 {
        let u = 1.0 - self.uniform_f64();
        let v = self.uniform_f64();
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }

    /// Fisher-Yates shuffle in place.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u32 + 1) as usize);
        }
    }

    /// Fills a slice with uniform numbers in `[0, 1)`: the same numbers as that many calls of
    /// [`Stream::uniform`], faster.
    pub fn fill_uniform(&mut self, mut out: &mut [f32]) {
        while !out.is_empty() {
            if self.used == BUFFER {
                self.refill();
            }
            let count = out.len().min(BUFFER - self.used);
            let (now, later) = out.split_at_mut(count);
            for (value, &bits) in now.iter_mut().zip(&self.buffer[self.used..self.used + count]) {
                *value = unit(bits);
            }
            self.used += count;
            out = later;
        }
    }

    /// Fills a slice with standard normal numbers in single precision (Box and Muller, 1958, both
    /// numbers of each pair used; the tails end at 5.8 standard deviations).
    pub fn fill_normal(&mut self, out: &mut [f32]) {
        for pair in out.chunks_mut(2) {
            let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
            let (sine, cosine) = (std::f32::consts::TAU * self.uniform()).sin_cos();
            pair[0] = radius * cosine;
            if let Some(second) = pair.get_mut(1) {
                *second = radius * sine;
            }
        }
    }
}

impl rand_core::TryRng for Stream {
    type Error = Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.next_u32())
    }
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.next_u64())
    }
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(4) {
            let word = self.next_u32().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_matches_the_published_known_answers() {
        // Random123's kat_vectors for philox4x32, 10 rounds.
        assert_eq!(philox_block([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(
            philox_block([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
    }

    #[test]
    fn the_vectorised_refill_equals_the_block_function() {
        let mut stream = Stream::new(1, 2, 3, Purpose::Other);
        let (key, counter) = (stream.key, stream.counter);
        for block in 0..40u32 {
            let want = philox_block([block, 0, counter[2], counter[3]], key);
            for word in want {
                assert_eq!(stream.next_u32(), word);
            }
        }
    }

    #[test]
    fn every_part_of_the_key_changes_the_stream() {
        let base = Stream::new(1, 2, 3, Purpose::Other).next_u64();
        for mut other in [
            Stream::new(2, 2, 3, Purpose::Other),
            Stream::new(1, 3, 3, Purpose::Other),
            Stream::new(1, 2, 4, Purpose::Other),
            Stream::new(1, 2, 3, Purpose::Cubes),
        ] {
            assert_ne!(base, other.next_u64());
        }
    }

    #[test]
    fn bulk_uniform_equals_single_draws_at_any_offset() {
        let mut bulk = Stream::new(5, 0, 0, Purpose::Other);
        let mut single = bulk.clone();
        for length in [1, 63, 64, 65, 0, 7, 300] {
            let mut out = vec![0.0; length];
            bulk.fill_uniform(&mut out);
            for value in out {
                assert_eq!(value, (single.next_u32() >> 8) as f32 / 16_777_216.0);
            }
        }
    }

    #[test]
    fn bulk_normal_has_the_moments_of_a_standard_normal() {
        let mut out = vec![0.0f32; 200_001];
        Stream::new(6, 0, 0, Purpose::Other).fill_normal(&mut out);
        let moment = |power| out.iter().map(|&v| f64::from(v).powi(power)).sum::<f64>() / out.len() as f64;
        // Five standard errors of each moment: sqrt((E v^2k - (E v^k)^2) / n), k = 1..4.
        for (power, want, variance) in [(1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)] {
            let tolerance = 5.0 * (variance / out.len() as f64).sqrt();
            assert!((moment(power) - want).abs() < tolerance, "moment {power}: {}", moment(power));
        }
        let neighbours = out.chunks_exact(2).map(|p| f64::from(p[0] * p[1])).sum::<f64>() / 1e5;
        assert!(neighbours.abs() < 5.0 / 1e5f64.sqrt(), "correlation {neighbours}");
    }

    #[test]
    fn batched_integers_are_jointly_uniform() {
        let mut stream = Stream::new(10, 0, 0, Purpose::Other);
        let mut counts = [0u32; 105];
        for _ in 0..105_000 {
            let [a, b, c] = stream.below_each([3, 5, 7]);
            assert!(a < 3 && b < 5 && c < 7);
            counts[((a * 5 + b) * 7 + c) as usize] += 1;
        }
        // Chi-square with 104 degrees of freedom: mean 104, standard deviation 14.4.
        let chi: f64 = counts.iter().map(|&c| (f64::from(c) - 1000.0).powi(2) / 1000.0).sum();
        assert!((50.0..170.0).contains(&chi), "chi-square {chi}");
    }

    #[test]
    fn batched_integers_reject_what_would_be_biased() {
        // 2^32 words on 3 * 2^30 outcomes: without rejection every third outcome (a + b divisible
        // by 3, since 2^30 leaves 1) would come twice as often as the others.
        let mut stream = Stream::new(11, 0, 0, Purpose::Other);
        let outcomes = (0..30_000).map(|_| stream.below_each([3, 1 << 30]));
        let third = outcomes.filter(|[a, b]| (a + b) % 3 == 0).count();
        // 10 000 expected, standard deviation 82; 15 000 if biased.
        assert!((9_500..10_500).contains(&third), "{third} of 30 000");
    }

    #[test]
    fn below_is_uniform_and_in_range() {
        let mut stream = Stream::new(9, 0, 0, Purpose::Other);
        let mut counts = [0u32; 7];
        for _ in 0..70_000 {
            counts[stream.below(7) as usize] += 1;
        }
        // 10 000 expected each, standard deviation 93.
        assert!(counts.iter().all(|&c| (9_500..10_500).contains(&c)), "{counts:?}");
        assert_eq!(stream.below(1), 0);
        assert_eq!(stream.below(0), 0);
    }
}
