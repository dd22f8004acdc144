//! Launches.

use crate::card::{Card, Function, current};
use crate::driver;
use crate::status::Status;
use ptx_emulator::{Grid, Options};
use std::ffi::c_void;
use std::sync::Arc;

/// `CUlaunchConfig`
#[repr(C)]
pub struct Config {
    blocks: [u32; 3],
    threads: [u32; 3],
    shared: u32,
    stream: *mut c_void,
    attributes: *mut c_void,
    count: u32,
}

driver! {
    /// Queues a kernel.
    fn cuLaunchKernel(
        function: *mut c_void,
        blocks_x: u32,
        blocks_y: u32,
        blocks_z: u32,
        threads_x: u32,
        threads_y: u32,
        threads_z: u32,
        shared: u32,
        stream: *mut c_void,
        parameters: *const *const c_void,
        extra: *const *mut c_void,
    ) {
        let blocks = [blocks_x, blocks_y, blocks_z];
        let grid = Grid { blocks, threads: [threads_x, threads_y, threads_z], shared: shared as usize };
        // SAFETY: the caller's arguments are as the kernel declares them.
        unsafe { queue(function, grid, stream, parameters, extra) }
    }

    /// Queues a kernel; attributes (clusters and the like) are not emulated.
    fn cuLaunchKernelEx(
        config: *const Config,
        function: *mut c_void,
        parameters: *const *const c_void,
        extra: *const *mut c_void,
    ) {
        if config.is_null() {
            return Err(Status::InvalidValue);
        }
        // SAFETY: the caller's configuration.
        let config = unsafe { &*config };
        if config.count > 0 && !config.attributes.is_null() {
            return Err(Status::NotSupported);
        }
        let grid = Grid { blocks: config.blocks, threads: config.threads, shared: config.shared as usize };
        // SAFETY: the caller's arguments are as the kernel declares them.
        unsafe { queue(function, grid, config.stream, parameters, extra) }
    }

    /// Blocks that wait for one another are not emulated.
    fn cuLaunchCooperativeKernel(
        _function: *mut c_void,
        _blocks_x: u32,
        _blocks_y: u32,
        _blocks_z: u32,
        _threads_x: u32,
        _threads_y: u32,
        _threads_z: u32,
        _shared: u32,
        _stream: *mut c_void,
        _parameters: *const *const c_void,
    ) {
        Err(Status::NotSupported)
    }
}

/// # Safety
/// `parameters` points at one pointer per parameter, each valid for its bytes, or is null and `extra` describes a buffer.
unsafe fn queue(
    function: *mut c_void,
    grid: Grid,
    stream: *mut c_void,
    parameters: *const *const c_void,
    extra: *const *mut c_void,
) -> Result<(), Status> {
    let mut card = current()?;
    let function = card.functions.get(&function.addr()).ok_or(Status::InvalidHandle)?.clone();
    let layout = function.kernel.parameters();
    let bytes = layout.last().map_or(0, |&(offset, size)| offset + size);
    let mut data = vec![0u8; bytes];
    if !parameters.is_null() {
        for (i, &(offset, size)) in layout.iter().enumerate() {
            // SAFETY: by this function's contract.
            let from = unsafe { parameters.add(i).read() };
            if from.is_null() {
                return Err(Status::InvalidValue);
            }
            // SAFETY: see above; `data` has room by the layout.
            unsafe { std::ptr::copy_nonoverlapping(from.cast(), data[offset..].as_mut_ptr(), size) };
        }
    } else if !extra.is_null() {
        // SAFETY: by this function's contract: pairs of keys and values with a null at the end.
        let (buffer, size) = unsafe { buffer(extra) };
        if buffer.is_null() || size != bytes {
            return Err(Status::InvalidValue);
        }
        // SAFETY: the caller's buffer has `size` bytes.
        unsafe { std::ptr::copy_nonoverlapping(buffer, data.as_mut_ptr(), size) };
    } else if bytes > 0 {
        return Err(Status::InvalidValue);
    }
    // A card refuses impossible shapes at once, before anything runs.
    let threads: u64 = grid.threads.iter().map(|&n| u64::from(n)).product();
    if threads == 0 || grid.blocks.contains(&0) {
        return Err(Status::InvalidValue);
    }
    if threads > function.kernel.max_threads() as u64 {
        return Err(if threads > 1024 { Status::InvalidValue } else { Status::OutOfResources });
    }
    if grid.shared > function.most_dynamic {
        let (name, most) = (function.kernel.name(), function.most_dynamic);
        eprintln!(
            "ptx-emulator: kernel {name}: {} bytes of dynamic shared memory, {most} are permitted",
            grid.shared
        );
        return Err(Status::InvalidValue);
    }
    card.submit(stream.addr(), Arc::new(move |card| run(card, &function, grid, &data)))
}

/// # Safety
/// `extra` has pairs of keys and values and ends with a null key.
unsafe fn buffer(extra: *const *mut c_void) -> (*const u8, usize) {
    let (mut found, mut size) = (std::ptr::null(), 0);
    let mut at = extra;
    loop {
        // SAFETY: by this function's contract; so below.
        let key = unsafe { at.read() }.addr();
        if key == 0 {
            return (found, size);
        }
        // SAFETY: see above.
        let value = unsafe { at.add(1).read() };
        match key {
            1 => found = value.cast_const().cast(),
            // SAFETY: the value of this key points at the size.
            2 => size = unsafe { value.cast::<usize>().read() },
            _ => {}
        }
        // SAFETY: see above.
        at = unsafe { at.add(2) };
    }
}

fn run(card: &mut Card, function: &Function, grid: Grid, parameters: &[u8]) -> Result<(), Status> {
    if let Some(status) = card.failed {
        return Err(status);
    }
    let most = function.most_dynamic + function.kernel.static_shared();
    let options =
        Options { most_dynamic_shared: most.max(card.options.most_dynamic_shared), ..card.options.clone() };
    match function.kernel.launch(grid, &mut card.memory, parameters, &options) {
        Ok(counters) => {
            card.report(&format!("{} {grid:?}: {counters}", function.kernel.name()));
            Ok(())
        }
        Err(error) => Err(card.finding(&error)),
    }
}
