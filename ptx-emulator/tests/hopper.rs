//! A pipeline of tensor copies, mbarriers and warpgroup products as NVRTC compiles it, against a plain product; and what
//! is found when something is missing.

use ptx_emulator::{
    Argument, Capability, Counters, Finding, FindingKind, Grid, LaunchError, Memory, Module, Options,
    Swizzle, TensorMap, TensorType,
};

const TEXT: &str = include_str!("fixtures/hopper.ptx");
const ROWS: usize = 64;
const COLUMNS: usize = 128;
const DEPTH: usize = 64;

/// Whole numbers in [-8, 8): products and sums are exact in any order.
fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 28) as f32 - 8.0
    };
    (0..count).map(|_| next()).collect()
}

fn bf16(values: &[f32]) -> Vec<u16> {
    values.iter().map(|v| (v.to_bits() >> 16) as u16).collect()
}

struct Product {
    m: usize,
    n: usize,
    k: usize,
    transposed: bool,
}

impl Product {
    /// The kernel's result, the right one, counts.
    fn run(&self, text: &str, options: &Options) -> Result<(Vec<f32>, Vec<f32>, Counters), LaunchError> {
        let &Self { m, n, k, transposed } = self;
        let (a, b) = (numbers(m * k, 1), numbers(n * k, 2));
        let mut memory = Memory::default();
        let module = Module::load(text, &mut memory).unwrap_or_else(|e| panic!("{e}"));
        let (pa, pb) = (memory.upload(&bf16(&a)).expect("memory"), memory.upload(&bf16(&b)).expect("memory"));
        let pc = memory.allocate(4 * m * n).expect("memory");
        let map = |address, size: usize, box_size: u32| {
            let (dimensions, box_dimensions, stride) = match transposed {
                true => (vec![size as u64, k as u64], vec![64, DEPTH as u32], size as u64 * 2),
                false => (vec![k as u64, size as u64], vec![DEPTH as u32, box_size], k as u64 * 2),
            };
            let map = TensorMap {
                data_type: TensorType::Bf16,
                address,
                dimensions,
                strides: vec![stride],
                box_dimensions,
                element_strides: vec![1, 1],
                swizzle: Swizzle::Bytes128,
            };
            map.encode().unwrap_or_else(|e| panic!("{e}"))
        };
        let mut parameters = map(pa, m, ROWS as u32).to_vec();
        parameters.extend(map(pb, n, COLUMNS as u32));
        parameters.extend(pc.to_le_bytes());
        [m, n, k].iter().for_each(|&size| parameters.extend((size as u32).to_le_bytes()));
        parameters.resize(320, 0);
        let grid = Grid {
            blocks: [n.div_ceil(COLUMNS) as u32, m.div_ceil(ROWS) as u32, 1],
            threads: [256, 1, 1],
            shared: 3 * (ROWS + COLUMNS) * DEPTH * 2,
        };
        let name = if transposed { "gemm_mn_major" } else { "gemm_k_major" };
        let counters =
            module.launch_with(name, grid, &mut memory, &[Argument::Bytes(&parameters)], options)?;
        let element = |x: &[f32], i: usize, j: usize, size: usize| {
            if transposed { x[j * size + i] } else { x[i * k + j] }
        };
        let right = (0..m * n)
            .map(|i| (0..k).map(|j| element(&a, i / n, j, m) * element(&b, i % n, j, n)).sum())
            .collect();
        Ok((memory.download(pc, m * n).expect("memory"), right, counters))
    }
}

fn hopper() -> Options {
    Options { capability: Capability::Hopper, most_dynamic_shared: 227 << 10, ..Options::default() }
}

#[test]
fn products_are_right() {
    for transposed in [false, true] {
        for (m, n, k) in [(64, 128, 64), (64, 128, 448), (128, 256, 128), (72, 136, 200)] {
            let product = Product { m, n, k: k / 64 * 64, transposed };
            let (found, right, counters) =
                product.run(TEXT, &hopper()).unwrap_or_else(|e| panic!("{transposed} {m} {n} {k}: {e}"));
            assert!(found == right, "{transposed} {m} {n} {k}");
            let tiles = m.div_ceil(ROWS) * n.div_ceil(COLUMNS);
            assert_eq!(counters.matrix_flops as usize, 2 * tiles * ROWS * COLUMNS * (k / 64 * 64));
            assert_eq!(counters.shared.wavefronts, counters.shared.ideal, "{counters}");
        }
    }
}
