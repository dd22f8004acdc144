//! An emulated card: uploads, launches, downloads.

use genesis_kernels::Array;
use genesis_kernels::cuda::{Address, Format, Launch, Workspace, ptx};
use genesis_tensor::Shape;
use half::{bf16, f16};
use ptx_emulator::{Argument, Counters, Grid, Memory, Module, Options};
use std::collections::BTreeMap;

/// Device memory and the modules loaded so far.
#[derive(Default)]
pub struct Card {
    memory: Memory,
    modules: BTreeMap<&'static str, Module>,
    /// What each launch did, by kernel.
    pub counters: Vec<(&'static str, Counters)>,
}

impl Card {
    /// Runs launches in order, every access checked.
    pub fn run(&mut self, launches: &[Launch]) {
        for launch in launches {
            let name = launch.kernel.module;
            if !self.modules.contains_key(name) {
                let module = Module::load(ptx(name).unwrap(), &mut self.memory);
                let module = module.unwrap_or_else(|cause| panic!("{name}: {cause}"));
                self.modules.insert(name, module);
            }
            let grid = Grid {
                blocks: launch.grid,
                threads: [launch.kernel.threads, 1, 1],
                shared: launch.shared_bytes as usize,
            };
            let options = Options { most_dynamic_shared: 163 << 10, ..Options::default() };
            let arguments = [Argument::Bytes(&launch.arguments)];
            let result = self.modules[name].launch_with(
                launch.kernel.name,
                grid,
                &mut self.memory,
                &arguments,
                &options,
            );
            let counters = result.unwrap_or_else(|cause| panic!("{}: {cause}", launch.kernel.name));
            self.counters.push((launch.kernel.name, counters));
        }
    }

    /// Builds launches with as much workspace as they want, and runs them.
    pub fn run_with(&mut self, build: impl Fn(&mut Workspace) -> genesis_kernels::Result<Vec<Launch>>) {
        let mut measured = Workspace::default();
        build(&mut measured).unwrap();
        let mut workspace = Workspace::new(self.room(measured.bytes() as usize));
        let launches = build(&mut workspace).unwrap();
        assert_eq!(workspace.bytes(), measured.bytes());
        self.run(&launches);
    }

    /// Memory that holds nothing yet.
    pub fn room(&mut self, bytes: usize) -> Address {
        self.memory.allocate(bytes.max(1)).unwrap()
    }

    /// Room for the elements of a shape.
    pub fn room_for(&mut self, shape: Shape, format: Format) -> Address {
        self.room(shape.elements() * format.size())
    }

    /// Rounds values to `format` and uploads them; the address, and what they have become.
    pub fn upload(&mut self, array: &Array, format: Format) -> (Address, Array) {
        let narrow: Vec<f32> = array.values.iter().map(|&v| v as f32).collect();
        match format {
            Format::F32 | Format::Tf32 => {
                let kept = Array { shape: array.shape, values: narrow.iter().map(|&v| v.into()).collect() };
                (self.memory.upload(&narrow).unwrap(), kept)
            }
            Format::Bf16 => {
                let words: Vec<u16> = narrow.iter().map(|&v| bf16::from_f32(v).to_bits()).collect();
                let values = words.iter().map(|&bits| bf16::from_bits(bits).to_f64()).collect();
                (self.memory.upload(&words).unwrap(), Array { shape: array.shape, values })
            }
            Format::F16 => {
                let words: Vec<u16> = narrow.iter().map(|&v| f16::from_f32(v).to_bits()).collect();
                let values = words.iter().map(|&bits| f16::from_bits(bits).to_f64()).collect();
                (self.memory.upload(&words).unwrap(), Array { shape: array.shape, values })
            }
        }
    }

    /// Uploads f32, or nothing.
    pub fn upload_f32(&mut self, values: &[f32]) -> Address {
        self.memory.upload(values).unwrap()
    }

    /// What lies at `address`.
    pub fn download(&mut self, address: Address, shape: impl Into<Shape>, format: Format) -> Array {
        let shape = shape.into();
        let count = shape.elements();
        let values = match format {
            Format::F32 | Format::Tf32 => {
                self.memory.download::<f32>(address, count).unwrap().iter().map(|&v| v.into()).collect()
            }
            Format::Bf16 => {
                let words = self.memory.download::<u16>(address, count).unwrap();
                words.iter().map(|&bits| bf16::from_bits(bits).to_f64()).collect()
            }
            Format::F16 => {
                let words = self.memory.download::<u16>(address, count).unwrap();
                words.iter().map(|&bits| f16::from_bits(bits).to_f64()).collect()
            }
        };
        Array { shape, values }
    }

    /// f64 numbers at `address`.
    pub fn download_f64(&mut self, address: Address, count: usize) -> Vec<f64> {
        self.memory.download::<f64>(address, count).unwrap()
    }
}

/// Values that look random, in (-1, 1), the same for the same seed.
pub fn noise(shape: impl Into<Shape>, seed: u64) -> Array {
    let shape = shape.into();
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    Array { shape, values: (0..shape.elements()).map(|_| next()).collect() }
}

/// Fails unless `found` is near `wanted`.
pub fn close(label: &str, found: &Array, wanted: &Array, tolerance: f64) {
    let error = found.relative_error(wanted);
    assert!(error <= tolerance, "{label}: error {error:e}, {tolerance:e} allowed");
}

/// Error allowed in each format, relative: f32 as on the CPU, bf16 likewise; tf32 and f16 have 10 bits of fraction.
pub fn tolerance(format: Format) -> f64 {
    match format {
        Format::F32 => 1e-5,
        Format::Tf32 | Format::F16 => 1e-3,
        Format::Bf16 => 1e-2,
    }
}
