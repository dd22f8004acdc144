//! An emulated card: uploads, launches, downloads.

use genesis_kernels::cuda::cases::{self, Build, Machine};
use genesis_kernels::cuda::{Address, Format, Kernel, Launch, Target, TensorMap, Workspace, ptx};
use genesis_kernels::ops::batch_norm::cuda::Tables;
use genesis_kernels::{Array, Error, Result};
use genesis_tensor::Shape;
use ptx_emulator::{
    Argument, Capability, Counters, Finding, Grid, LaunchError, Memory, Module, Options, Swizzle, TensorType,
};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

#[allow(unused_imports, reason = "the counts need no values")]
pub use genesis_kernels::cuda::cases::{noise, tolerance};

/// A module as shipped, read once: without variables it belongs to no card's memory.
fn shipped(name: &'static str) -> Arc<Module> {
    static MODULES: Mutex<BTreeMap<&'static str, Arc<Module>>> = Mutex::new(BTreeMap::new());
    let mut modules = MODULES.lock().unwrap();
    let load = || {
        let text = ptx(name).unwrap();
        let variables = |line: &str| line.starts_with(".global") || line.starts_with(".const");
        assert!(!text.lines().any(variables), "{name} has variables");
        let module = Module::load(text, &mut Memory::default());
        Arc::new(module.unwrap_or_else(|cause| panic!("{name}: {cause}")))
    };
    modules.entry(name).or_insert_with(load).clone()
}

/// Device memory and what runs on it.
#[derive(Default)]
pub struct Card {
    memory: Memory,
    /// What each launch did, by kernel.
    pub counters: Vec<(&'static str, Counters)>,
    /// Different bytes of device memory that each launch read, and wrote, if that is counted.
    pub touched: Vec<[u64; 2]>,
    /// Whether sectors, wavefronts and bytes are counted.
    counts: bool,
    /// A kernel with a planted fault.
    planted: Option<(&'static Kernel, Module)>,
    /// What was found of it; nothing runs from then on.
    pub finding: Option<Finding>,
    /// Which kernels it runs.
    pub target: Target,
}

impl Card {
    /// A card whose `kernel` is that of `text`; a finding does not end the test, but all that the card does.
    ///
    /// Nothing else is checked: as shipped, it passes.
    #[allow(dead_code, reason = "the counts plant nothing")]
    pub fn with_planted(kernel: &'static Kernel, text: &str) -> Self {
        let mut card = Self::default();
        let module = Module::load(text, &mut card.memory);
        let module = module.unwrap_or_else(|cause| panic!("{}: {cause}", kernel.name));
        Self { planted: Some((kernel, module)), ..card }
    }

    /// A card that runs the kernels of `target`.
    #[allow(dead_code, reason = "the counts choose by scene")]
    pub fn on(target: Target) -> Self {
        Self { target, ..Self::default() }
    }

    /// The same card, which counts the memory that is touched.
    pub fn counting(self) -> Self {
        Self { counts: true, ..self }
    }

    /// Runs launches in order, every access checked.
    pub fn run(&mut self, launches: &[Launch]) {
        for launch in launches {
            if self.finding.is_some() {
                return;
            }
            let shipped = shipped(launch.kernel.module);
            let (module, checks) = match &self.planted {
                None => (&*shipped, Options { traffic: self.counts, ..Options::default() }),
                Some((kernel, module)) if kernel.name == launch.kernel.name => {
                    (module, Options { traffic: false, ..Options::default() })
                }
                Some(_) => (&*shipped, Options::unchecked()),
            };
            let grid = Grid {
                blocks: launch.grid,
                threads: [launch.kernel.threads, 1, 1],
                shared: launch.shared_bytes as usize,
            };
            let capability = match launch.kernel.is_hopper() {
                true => Capability::Hopper,
                false => Capability::Ampere,
            };
            let most_dynamic_shared = capability.shared_most();
            let options = Options { most_dynamic_shared, capability, ..checks };
            let maps: Vec<u8> = launch.maps.iter().flat_map(encoded).collect();
            let arguments = [Argument::Bytes(&maps), Argument::Bytes(&launch.arguments)];
            let arguments = &arguments[usize::from(maps.is_empty())..];
            let result = module.launch_with(launch.kernel.name, grid, &mut self.memory, arguments, &options);
            match result {
                Ok(counters) => {
                    self.counters.push((launch.kernel.name, counters));
                    if self.counts {
                        self.touched.push(self.memory.touched());
                    }
                }
                Err(LaunchError::Finding(found)) if self.planted.is_some() => self.finding = Some(*found),
                Err(cause) => panic!("{}: {cause}", launch.kernel.name),
            }
        }
    }

    /// Builds launches with as much workspace as they want, and runs them.
    pub fn run_with(&mut self, build: impl Fn(&mut Workspace) -> Result<Vec<Launch>>) {
        let mut measured = Workspace::default().on(self.target);
        build(&mut measured).unwrap();
        let room = self.room(measured.bytes() as usize);
        let mut workspace = Workspace::new(room).on(self.target);
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
        cases::upload(self, array, format).unwrap()
    }

    /// Uploads f32, or nothing.
    pub fn upload_f32(&mut self, values: &[f32]) -> Address {
        self.memory.upload(values).unwrap()
    }

    /// What lies at `address`.
    pub fn download(&mut self, address: Address, shape: impl Into<Shape>, format: Format) -> Array {
        cases::download(self, address, shape, format).unwrap()
    }

    /// f64 numbers at `address`.
    pub fn download_f64(&mut self, address: Address, count: usize) -> Vec<f64> {
        self.memory.download::<f64>(address, count).unwrap()
    }
}

/// What a driver makes of a map.
fn encoded(map: &TensorMap) -> [u8; 128] {
    let map = ptx_emulator::TensorMap {
        data_type: if map.format == Format::Bf16 { TensorType::Bf16 } else { TensorType::F16 },
        address: map.address,
        dimensions: map.extents.clone(),
        strides: map.strides.clone(),
        box_dimensions: map.boxed.clone(),
        element_strides: map.steps.clone(),
        swizzle: Swizzle::Bytes128,
    };
    map.encode().unwrap_or_else(|cause| panic!("{map:?}: {cause}"))
}

impl Machine for Card {
    fn room(&mut self, bytes: usize) -> Result<Address> {
        Ok(Card::room(self, bytes))
    }

    fn upload(&mut self, bytes: &[u8]) -> Result<Address> {
        Ok(self.memory.upload(bytes).unwrap())
    }

    fn download(&mut self, from: Address, to: &mut [u8]) -> Result<()> {
        self.memory.read(from, to).unwrap();
        Ok(())
    }

    fn run_with(&mut self, build: Build<'_>) -> Result<()> {
        Card::run_with(self, build);
        let found = self.finding.as_ref();
        found.map_or(Ok(()), |found| Err(Error::operation("planted", found)))
    }
}

/// Room for a batch norm's tables, beside its parameters.
pub fn batch_norm_tables(card: &mut Card, channels: usize, gamma: Address, beta: Address) -> Tables {
    let mut table = || card.room(channels * 4);
    let [mean, remainder, variance, inverse] = [(); 4].map(|()| table());
    Tables { mean, remainder, variance, inverse, gamma, beta }
}

/// Fails unless `found` is near `wanted`.
pub fn close(label: &str, found: &Array, wanted: &Array, tolerance: f64) {
    let error = found.relative_error(wanted);
    assert!(error <= tolerance, "{label}: error {error:e}, {tolerance:e} allowed");
}
