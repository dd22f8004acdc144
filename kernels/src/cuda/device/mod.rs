//! A card: its driver's context, one stream on which everything happens in order (but what is sent ahead, see
//! [`Upload`]), the kernels loaded so far, and a pool of memory.
//!
//! Work is queued and this thread goes on; [`Card::download`] waits. A kernel that fails is therefore noticed later:
//! the error then names the last kernel queued, and `GENESIS_CUDA_SYNC=1`, which waits after every kernel, the one
//! that failed.

mod copies;
mod driver;
mod event;
mod graph;
mod pool;
mod staging;
mod tensor_map;
mod timing;

pub use copies::Upload;
pub use driver::{Found, LEAST_CAPABILITY, cards};
pub use graph::Graph;
pub use pool::MemoryUse;
pub(super) use timing::PeakArguments;

use super::{Address, Kernel, Launch, Target, Workspace, ptx};
use crate::{Error, Result};
use copies::Copies;
use cudarc::driver::result;
use cudarc::driver::sys::{self, CUfunction_attribute_enum as Attribute};
use driver::failed;
use genesis_tensor::{Card, DType, Device, Error as TensorError, Shape, Tensor};
use graph::Recording;
use pool::{Pool, Scratch, rounded};
use staging::Staging;
use std::collections::{BTreeMap, HashMap};
use std::ffi::{CString, c_void};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};

/// Dynamic shared memory that needs no permission, whatever static memory a kernel has: 48 KB together.
const SHARED_WITHOUT_ASKING: u32 = 32 << 10;

#[derive(Clone, Copy)]
struct Function {
    handle: sys::CUfunction,
    /// Dynamic shared memory it may have.
    shared: u32,
}

/// What was queued last.
#[derive(Default)]
enum Last {
    #[default]
    Nothing,
    /// A kernel, its blocks and shared memory.
    Kernel(&'static Kernel, [u32; 3], u32),
    /// A graph of so many kernels.
    Graph(u64),
}

#[derive(Default)]
struct Loaded {
    modules: HashMap<&'static str, sys::CUmodule>,
    functions: HashMap<&'static str, Function>,
    last: Last,
    /// Kernels queued.
    launches: u64,
}

/// A CUDA card.
pub struct CudaCard {
    found: Found,
    handle: sys::CUdevice,
    context: sys::CUcontext,
    stream: sys::CUstream,
    loaded: Mutex<Loaded>,
    pool: Mutex<Pool>,
    staging: Mutex<Staging>,
    copies: Copies,
    /// Of the graph that is being recorded.
    recording: Mutex<Option<Recording>>,
    /// A recording is over.
    recorded: Condvar,
    /// Wait after every kernel.
    synchronous: bool,
    graphs: bool,
    target: Target,
}

// SAFETY: the handles are the driver's, which any thread may use once the context is current there (`enter`); what
// changes is behind locks.
unsafe impl Send for CudaCard {}
// SAFETY: as above.
unsafe impl Sync for CudaCard {}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Where a tensor's first element is on its card.
///
/// # Errors
/// When it is in main memory.
pub(crate) fn address(tensor: &Tensor) -> Result<Address> {
    tensor.address().ok_or_else(|| Error::operation("cuda", format!("{tensor:?} is in main memory")))
}

/// The same, for a kernel that writes there.
///
/// # Errors
/// When it is in main memory, or memory for a copy of a shared block runs out.
pub(crate) fn address_mut(tensor: &mut Tensor) -> Result<Address> {
    tensor.address_mut()?.ok_or_else(|| Error::operation("cuda", "a tensor to write is in main memory"))
}

impl CudaCard {
    /// Opens the card `cuda:number`, or gives the one that is open: a second one would have a stream of its own.
    ///
    /// # Errors
    /// When there is no driver or an old one, no such card, or it is older than [`LEAST_CAPABILITY`].
    pub fn open(number: usize) -> Result<Arc<Self>> {
        static OPEN: Mutex<BTreeMap<usize, Weak<CudaCard>>> = Mutex::new(BTreeMap::new());
        let mut all = lock(&OPEN);
        if let Some(card) = all.get(&number).and_then(Weak::upgrade) {
            return Ok(card);
        }
        let card = Self::open_anew(number)?;
        all.insert(number, Arc::downgrade(&card));
        Ok(card)
    }

    fn open_anew(number: usize) -> Result<Arc<Self>> {
        let all = cards()?;
        let count = all.len();
        let Some(found) = all.into_iter().find(|card| card.number == number) else {
            let cause = format!("cuda:{number} does not exist: the CUDA driver finds {count} card(s)");
            return Err(TensorError::Device(cause).into());
        };
        if !found.is_supported() {
            let ([major, minor], [least, least_minor]) = (found.capability, LEAST_CAPABILITY);
            let cause = format!(
                "cuda:{number} ({}) has compute capability {major}.{minor}; the kernels want {least}.{least_minor}",
                found.name
            );
            return Err(TensorError::Device(cause).into());
        }
        driver::check_version()?;
        let target = driver::target(&found)?;
        let fail = |error| failed(&format!("opening cuda:{number}"), error);
        let handle = driver::handle(number)?;
        // SAFETY: the handle is the driver's; `drop` releases what is retained here.
        let context = unsafe { result::primary_ctx::retain(handle) }.map_err(fail)?;
        // SAFETY: the context was just retained.
        unsafe { result::ctx::set_current(context) }.map_err(fail)?;
        let stream = || result::stream::create(result::stream::StreamKind::NonBlocking).map_err(fail);
        let copies = Copies { stream: stream()?, staging: Mutex::new(Staging::new()) };
        let stream = stream()?;
        Ok(Arc::new(Self {
            found,
            handle,
            context,
            stream,
            loaded: Mutex::default(),
            pool: Mutex::default(),
            staging: Mutex::new(Staging::new()),
            copies,
            recording: Mutex::default(),
            recorded: Condvar::new(),
            synchronous: std::env::var_os("GENESIS_CUDA_SYNC").is_some_and(|value| value != "0"),
            graphs: std::env::var_os("GENESIS_CUDA_GRAPHS").is_none_or(|value| value != "0"),
            target,
        }))
    }

    /// What the driver says of it.
    pub fn found(&self) -> &Found {
        &self.found
    }

    /// Which kernels it runs: `GENESIS_CUDA_KERNELS`.
    pub fn target(&self) -> Target {
        self.target
    }

    /// Its memory.
    pub fn memory(&self) -> MemoryUse {
        lock(&self.pool).memory
    }

    /// Kernels queued so far.
    pub fn launches(&self) -> u64 {
        lock(&self.loaded).launches
    }

    /// Names of the kernels queued so far, sorted.
    pub fn kernels(&self) -> Vec<&'static str> {
        let mut names: Vec<&str> = lock(&self.loaded).functions.keys().copied().collect();
        names.sort_unstable();
        names
    }

    /// A tensor on this card whose content is unspecified.
    ///
    /// # Errors
    /// Memory.
    pub fn unspecified(self: &Arc<Self>, shape: impl Into<Shape>, dtype: DType) -> Result<Tensor> {
        let card: Arc<dyn Card> = self.clone();
        Ok(Tensor::unspecified_on(&card, shape, dtype)?)
    }

    /// Brings a tensor here; a clone if it is here.
    ///
    /// # Errors
    /// Memory.
    pub fn place(self: &Arc<Self>, tensor: &Tensor) -> Result<Tensor> {
        if tensor.device() == Device::Cuda(self.found.number) {
            return Ok(tensor.clone());
        }
        let card: Arc<dyn Card> = self.clone();
        Ok(tensor.to_card(&card)?)
    }

    /// Makes the context current on this thread, once no other one records a graph: every call to the driver comes
    /// after this.
    fn enter(&self) -> genesis_tensor::Result<()> {
        self.is_recording();
        // SAFETY: the context lives until `drop`.
        unsafe { result::ctx::set_current(self.context) }
            .map_err(|error| self.failed("choosing the card", error))
    }

    fn failed(&self, what: &str, error: result::DriverError) -> TensorError {
        let last = match &lock(&self.loaded).last {
            Last::Kernel(kernel, grid, shared) => format!(
                "; the last kernel was {} on a grid of {grid:?} blocks of {} threads with {shared} bytes of dynamic \
                 shared memory",
                kernel.name, kernel.threads
            ),
            Last::Graph(kernels) => {
                format!(
                    "; the last work was a graph of {kernels} kernels, which GENESIS_CUDA_SYNC=1 runs one by one"
                )
            }
            Last::Nothing => String::new(),
        };
        let number = self.found.number;
        match failed(&format!("cuda:{number}: {what}"), error) {
            TensorError::Device(cause) => TensorError::Device(format!("{cause}{last}")),
            other => other,
        }
    }

    /// Waits for everything that was queued.
    ///
    /// # Errors
    /// What failed meanwhile.
    pub fn synchronize(&self) -> Result<()> {
        self.enter()?;
        let _turn = self.unrecorded_turn("a wait")?;
        // SAFETY: the stream lives until `drop`.
        Ok(unsafe { result::stream::synchronize(self.stream) }
            .map_err(|error| self.failed("waiting", error))?)
    }

    /// Queues launches that need no workspace.
    ///
    /// # Errors
    /// A kernel that cannot be loaded or launched, with its name and launch shape.
    pub fn run(&self, launches: &[Launch]) -> Result<()> {
        self.enter()?;
        for launch in launches {
            let function = self.function(launch)?;
            let [x, y, z] = launch.grid;
            let maps = tensor_map::encoded(launch)?;
            // The driver reads them during the call; it does not write them.
            let mut parameters = [
                maps.as_ptr().cast_mut().cast::<c_void>(),
                launch.arguments.as_ptr().cast_mut().cast::<c_void>(),
            ];
            let arguments = &mut parameters[usize::from(maps.is_empty())..];
            let mut turn = self.turn();
            // SAFETY: the function is loaded, takes parameters of these bytes (as the tests of launches on an
            // emulated card show), and its addresses are those of live tensors: whoever frees one while this waits
            // gives it to the pool, whose next user comes later on the same stream.
            let launched = unsafe {
                result::launch_kernel(
                    function,
                    (x, y, z),
                    (launch.kernel.threads, 1, 1),
                    launch.shared_bytes,
                    self.stream,
                    arguments,
                )
            };
            // What is recorded does not run, so there is nothing to wait for.
            let wait = self.synchronous && turn.is_none();
            turn.iter_mut().for_each(Recording::kernel);
            drop(turn);
            launched.map_err(|error| self.failed("a launch", error))?;
            if wait {
                self.synchronize()?;
            }
        }
        Ok(())
    }

    /// Queues what `build` makes, with as much workspace as it asks for. `build` is called twice, the first time
    /// with a workspace that only counts.
    ///
    /// # Errors
    /// Its own; memory; as [`CudaCard::run`].
    pub fn run_with(&self, build: impl Fn(&mut Workspace) -> Result<Vec<Launch>>) -> Result<()> {
        self.run_with_on(self.target, build)
    }

    /// The same with the kernels of another target than the card's.
    pub(super) fn run_with_on(
        &self,
        target: Target,
        build: impl Fn(&mut Workspace) -> Result<Vec<Launch>>,
    ) -> Result<()> {
        let mut counting = Workspace::default().on(target);
        let launches = build(&mut counting)?;
        if counting.bytes() == 0 {
            return self.run(&launches);
        }
        let scratch = Scratch::new(self, counting.bytes() as usize)?;
        self.run(&build(&mut Workspace::new(scratch.address).on(target))?)
    }

    /// The loaded kernel of a launch, with permission for its shared memory.
    fn function(&self, launch: &Launch) -> Result<sys::CUfunction> {
        let kernel = launch.kernel;
        let mut loaded = lock(&self.loaded);
        let known = loaded.functions.get(kernel.name).copied();
        let mut function = match known {
            Some(function) => function,
            None => {
                let module = match loaded.modules.get(kernel.module) {
                    Some(&module) => module,
                    None => {
                        let module = self.load(kernel.module)?;
                        loaded.modules.insert(kernel.module, module);
                        module
                    }
                };
                let name = CString::new(kernel.name).map_err(|error| Error::operation("cuda", error))?;
                // SAFETY: the module is loaded and never unloaded before `drop`.
                let handle = unsafe { result::module::get_function(module, name) }
                    .map_err(|error| failed(&format!("kernel {}", kernel.name), error))?;
                Function { handle, shared: SHARED_WITHOUT_ASKING }
            }
        };
        if launch.shared_bytes > function.shared {
            let which = Attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            let bytes = launch.shared_bytes;
            // SAFETY: the function belongs to a loaded module.
            unsafe { result::function::set_function_attribute(function.handle, which, bytes as i32) }
                .map_err(|error| {
                    failed(&format!("kernel {}, {bytes} bytes of shared memory", kernel.name), error)
                })?;
            function.shared = bytes;
        }
        loaded.functions.insert(kernel.name, function);
        loaded.last = Last::Kernel(kernel, launch.grid, launch.shared_bytes);
        loaded.launches += 1;
        Ok(function.handle)
    }

    fn load(&self, name: &str) -> Result<sys::CUmodule> {
        let text = ptx(name).ok_or_else(|| Error::operation("cuda", format!("there is no module {name}")))?;
        let text = CString::new(text).map_err(|error| Error::operation("cuda", error))?;
        // SAFETY: PTX that ends with a zero byte.
        Ok(unsafe { result::module::load_data(text.as_ptr().cast()) }
            .map_err(|error| failed(&format!("loading the kernels of {name}"), error))?)
    }

    fn release(&self, blocks: Vec<u64>) {
        for address in blocks {
            // SAFETY: the pool no longer knows the block, and the caller has waited for the stream. Should the driver
            // refuse, the block is lost until the program ends.
            let _ = unsafe { result::free_sync(address) };
        }
    }
}

impl Card for CudaCard {
    fn number(&self) -> usize {
        self.found.number
    }

    fn allocate(&self, bytes: usize) -> genesis_tensor::Result<u64> {
        let recording = self.is_recording();
        if let Some(address) = lock(&self.pool).take(bytes) {
            return Ok(address);
        }
        self.enter()?;
        let size = rounded(bytes);
        // SAFETY: asks for memory of the current context.
        let mut given = unsafe { result::malloc_sync(size) };
        // What is free first, then what graphs reserve. A recording must not wait for the stream.
        for graphs in [false, true] {
            if given.is_ok() || recording || graphs && !lock(&self.pool).give_up_all() {
                break;
            }
            let _turn = self.turn();
            // SAFETY: the stream lives until `drop`.
            unsafe { result::stream::synchronize(self.stream) }
                .map_err(|error| self.failed("waiting", error))?;
            let free = lock(&self.pool).drain();
            self.release(free);
            // SAFETY: as above.
            given = unsafe { result::malloc_sync(size) };
        }
        let address = given.map_err(|error| {
            let held = self.memory().held;
            let cause =
                format!("{size} bytes of memory, with {held} in use (a smaller --batch-size needs less)");
            self.failed(&cause, error)
        })?;
        lock(&self.pool).grown(address, bytes);
        Ok(address)
    }

    fn free(&self, address: u64, _bytes: usize) {
        lock(&self.pool).give(address);
    }

    fn upload(&self, from: &[u8], to: u64) -> genesis_tensor::Result<()> {
        if from.is_empty() {
            return Ok(());
        }
        self.enter()?;
        let _turn = self.unrecorded_turn("an upload")?;
        // SAFETY: the context is current, and `to` is a block as long as `from`: tensors ask for both.
        unsafe { lock(&self.staging).upload(from, to, self.stream) }
    }

    fn download(&self, from: u64, to: &mut [u8]) -> genesis_tensor::Result<()> {
        if to.is_empty() {
            return Ok(());
        }
        self.enter()?;
        let _turn = self.unrecorded_turn("a download")?;
        // SAFETY: `from` is a block at least as long as `to`, which stays borrowed until the wait below is over.
        unsafe { result::memcpy_dtoh_async(to, from, self.stream) }
            .map_err(|error| self.failed("a download", error))?;
        // SAFETY: the stream lives until `drop`.
        unsafe { result::stream::synchronize(self.stream) }
            .map_err(|error| self.failed("waiting for a download", error))
    }

    fn copy(&self, from: u64, to: u64, bytes: usize) -> genesis_tensor::Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        self.enter()?;
        let _turn = self.turn();
        // SAFETY: both are blocks of at least `bytes`, live or, if freed, with later users on the same stream.
        unsafe { result::memcpy_dtod_async(to, from, bytes, self.stream) }
            .map_err(|error| self.failed("a copy", error))
    }
}

impl Drop for CudaCard {
    fn drop(&mut self) {
        // SAFETY: no tensor is left, since each holds this card; everything was made in `open` or later and is used
        // no more. A driver that fails here has already told so, or is going down with the program.
        unsafe {
            let _ = result::ctx::set_current(self.context);
            let _ = result::stream::synchronize(self.stream);
            let _ = result::stream::synchronize(self.copies.stream);
            lock(&self.staging).release();
            lock(&self.copies.staging).release();
            let free = lock(&self.pool).drain();
            self.release(free);
            for module in lock(&self.loaded).modules.values() {
                let _ = result::module::unload(*module);
            }
            let _ = result::stream::destroy(self.copies.stream);
            let _ = result::stream::destroy(self.stream);
            let _ = result::primary_ctx::release(self.handle);
        }
    }
}
