//! Bounds on paper: no kernel is faster on a card than its arithmetic and its bytes at the card's published peaks.

use crate::Result;
use crate::table::KERNELS;
use std::fmt::Write;

/// Requests of warps to device memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Warp instructions.
    pub requests: u64,
    /// 32-byte sectors.
    pub sectors: u64,
    /// Bytes used of them.
    pub bytes: u64,
}

/// What the emulator counts of a launch: a line of the example `cuda_counts`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// What was computed.
    pub shape: String,
    /// From device memory.
    pub loads: Traffic,
    /// To device memory.
    pub stores: Traffic,
    /// Passes of shared memory.
    pub wavefronts: u64,
    /// Those without conflicts.
    pub ideal: u64,
    /// Barriers of blocks.
    pub barriers: u64,
    /// Branches that parted a warp.
    pub divergences: u64,
    /// Floating-point operations outside tensor cores.
    pub flops: u64,
    /// Floating-point operations of tensor cores.
    pub matrix_flops: u64,
    /// Different bytes of device memory that were read, and that were written.
    pub touched: [u64; 2],
}

impl Counts {
    /// The kernel and its counts, of a line with tabs.
    pub fn parse(line: &str) -> Result<(&str, Self)> {
        let mut cells = line.split('\t');
        let wrong = || format!("cuda_counts writes {line:?}");
        let (name, shape) = cells.next().zip(cells.next()).ok_or_else(wrong)?;
        let numbers: Vec<u64> = cells.map(|cell| cell.parse().map_err(|_| wrong())).collect::<Result<_>>()?;
        let &[a, b, c, d, e, f, wavefronts, ideal, barriers, divergences, flops, matrix_flops, read, written] =
            &numbers[..]
        else {
            return Err(wrong());
        };
        let traffic = |requests, sectors, bytes| Traffic { requests, sectors, bytes };
        let counts = Self {
            shape: shape.to_string(),
            loads: traffic(a, b, c),
            stores: traffic(d, e, f),
            wavefronts,
            ideal,
            barriers,
            divergences,
            flops,
            matrix_flops,
            touched: [read, written],
        };
        Ok((name, counts))
    }

    fn bytes(&self) -> u64 {
        self.touched.iter().sum()
    }

    /// Operations a byte that must be moved at least.
    fn intensity(&self) -> f64 {
        (self.flops + self.matrix_flops) as f64 / self.bytes().max(1) as f64
    }
}

/// Published peaks, dense, sums of products in f32.
struct Card {
    name: &'static str,
    /// Whether it runs the kernels for compute capability 9.0 alone.
    hopper: bool,
    /// bf16 and f16 on tensor cores, TFLOP/s.
    half: f64,
    /// tf32 on tensor cores, TFLOP/s.
    tf32: f64,
    /// f32, TFLOP/s.
    f32: f64,
    /// Memory, GB/s.
    bandwidth: f64,
}

/// NVIDIA: A100 data sheet (SXM, 80 GB); H100 data sheet (SXM, without sparsity); Ada architecture white paper.
const CARDS: [Card; 3] = [
    Card { name: "A100", hopper: false, half: 312.0, tf32: 156.0, f32: 19.5, bandwidth: 2039.0 },
    Card { name: "H100", hopper: true, half: 989.4, tf32: 494.7, f32: 66.9, bandwidth: 3350.0 },
    Card { name: "RTX 4090", hopper: false, half: 165.2, tf32: 82.6, f32: 82.6, bandwidth: 1008.0 },
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    TensorCores,
    Arithmetic,
    Memory,
}

impl Card {
    /// The operations a second that no run of these counts exceeds, TFLOP/s, and what forbids more.
    fn bound(&self, kernel: &str, counts: &Counts) -> (f64, Limit) {
        let tensor_cores = if kernel.contains("tf32") { self.tf32 } else { self.half };
        // Units work side by side, so that the slowest alone bounds the time; 10⁻¹² seconds.
        let times = [
            (counts.matrix_flops as f64 / tensor_cores, Limit::TensorCores),
            (counts.flops as f64 / self.f32, Limit::Arithmetic),
            (counts.bytes() as f64 / self.bandwidth * 1e3, Limit::Memory),
        ];
        let mut slowest = times[2];
        for time in times {
            if time.0 > slowest.0 {
                slowest = time;
            }
        }
        ((counts.flops + counts.matrix_flops) as f64 / slowest.0.max(1e-9), slowest.1)
    }
}

/// The table of bounds.
pub fn table(counts: &[(&str, Counts)]) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    for card in &CARDS {
        let Card { name, half, tf32, f32, bandwidth, .. } = card;
        let _ = writeln!(
            text,
            "- {name}: {half} TFLOP/s bf16 and f16, {tf32} tf32, {f32} f32, {bandwidth} GB/s; bf16 products are bound by \
             memory below {:.0} operations a byte, f32 arithmetic below {:.0}.",
            half * 1e3 / bandwidth,
            f32 * 1e3 / bandwidth
        );
    }
    let names: Vec<String> = CARDS.iter().map(|card| format!("bound on {}", card.name)).collect();
    let _ = writeln!(text, "\n| kernel | bytes read | written | operations a byte | {} |", names.join(" | "));
    let _ = writeln!(text, "| --- | ---: | ---: | ---: | --- | --- | --- |");
    for (name, counts) in counts {
        let [read, written] = counts.touched;
        let hopper = KERNELS.iter().any(|kernel| kernel.name == *name && kernel.is_hopper());
        let bounds: Vec<String> = CARDS
            .iter()
            .map(|card| {
                if hopper && !card.hopper {
                    return "-".to_string();
                }
                let (most, limit) = card.bound(name, counts);
                let limit = match limit {
                    Limit::TensorCores => "tensor cores",
                    Limit::Arithmetic => "arithmetic",
                    Limit::Memory => "memory",
                };
                if counts.flops + counts.matrix_flops == 0 {
                    limit.to_string()
                } else {
                    format!("≤ {} TFLOP/s, {limit}", short(most))
                }
            })
            .collect();
        let intensity = short(counts.intensity());
        let _ = writeln!(text, "| `{name}` | {read} | {written} | {intensity} | {} |", bounds.join(" | "));
    }
    text
}

/// Two or three digits.
fn short(value: f64) -> String {
    match value {
        0.0 => "0".to_string(),
        value if value < 1.0 => format!("{value:.2}"),
        value if value < 100.0 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_of_arithmetic_and_memory_is_the_bound() {
        let line = "conv3d_bf16_128x64\t4×4×4\t1\t4\t128\t1\t4\t128\t10\t9\t2\t3\t0\t624000\t1000\t1039";
        let (name, counts) = Counts::parse(line).unwrap();
        assert_eq!((counts.wavefronts, counts.touched, counts.bytes()), (10, [1000, 1039], 2039));
        // 624 000 operations take 2 ns at 312 TFLOP/s, 2039 bytes take 1 ns at 2039 GB/s.
        let (most, limit) = CARDS[0].bound(name, &counts);
        assert!((most - 312.0).abs() < 1e-9 && limit == Limit::TensorCores, "{most} {limit:?}");
        // At 4 times the bytes memory needs 4 ns.
        let (most, limit) = CARDS[0].bound(name, &Counts { touched: [4000, 4156], ..counts.clone() });
        assert!((most - 156.0).abs() < 1e-9 && limit == Limit::Memory, "{most} {limit:?}");
        // tf32 has half the peak.
        let (most, _) = CARDS[0].bound("conv3d_tf32_128x64", &counts);
        assert!((most - 156.0).abs() < 1e-9, "{most}");
        let (_, limit) = CARDS[0].bound("fill_f32", &Counts { flops: 0, matrix_flops: 0, ..counts });
        assert_eq!(limit, Limit::Memory);
        assert!(Counts::parse("conv3d\t4×4×4\t1").is_err() && Counts::parse("").is_err());
    }
}
