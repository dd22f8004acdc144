//! Modules of PTX and their kernels.

use crate::card::{Function, current};
use crate::status::Status;
use crate::{driver, put};
use ptx_emulator::{LoadError, Module, Target};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::without_provenance_mut;

/// Newest PTX that a driver for CUDA 12.0 reads.
const NEWEST: (u32, u32) = (8, 0);

driver! {
    /// Loads PTX text that ends with a zero byte.
    fn cuModuleLoadData(module: *mut *mut c_void, image: *const c_void) {
        // SAFETY: by the caller's promise `image` is such text, or an image whose first bytes say that it is none.
        unsafe { load(module, image, &mut []) }
    }

    /// Loads PTX text; errors go to the log buffer among the options.
    fn cuModuleLoadDataEx(
        module: *mut *mut c_void,
        image: *const c_void,
        count: u32,
        options: *const u32,
        values: *const *mut c_void,
    ) {
        let (mut buffer, mut size) = (std::ptr::null_mut::<u8>(), 0);
        for i in 0..count as usize {
            // SAFETY: the caller gives `count` options and values.
            let (option, value) = unsafe { (options.add(i).read(), values.add(i).read()) };
            match option {
                5 => buffer = value.cast(),
                6 => size = value.addr(),
                _ => {}
            }
        }
        if buffer.is_null() || size == 0 {
            // SAFETY: as for cuModuleLoadData.
            return unsafe { load(module, image, &mut []) };
        }
        // SAFETY: the caller's error log has `size` bytes and nobody else uses it during the call.
        let log = unsafe { std::slice::from_raw_parts_mut(buffer, size) };
        // SAFETY: as for cuModuleLoadData.
        unsafe { load(module, image, log) }
    }

    /// Loads a file of PTX.
    fn cuModuleLoad(module: *mut *mut c_void, path: *const c_char) {
        if path.is_null() {
            return Err(Status::InvalidValue);
        }
        // SAFETY: a path that ends with a zero byte.
        let path = unsafe { CStr::from_ptr(path) };
        let text = std::fs::read_to_string(path.to_string_lossy().as_ref()).map_err(|_| Status::FileNotFound)?;
        let handle = load_text(&text, &mut [])?;
        // SAFETY: the caller's pointer.
        unsafe { put(module, without_provenance_mut(handle)) }
    }

    /// Frees a module and its variables.
    fn cuModuleUnload(module: *mut c_void) {
        let mut card = current()?;
        card.drain_all()?;
        let found = card.modules.remove(&module.addr()).ok_or(Status::InvalidHandle)?;
        card.functions.retain(|_, f| f.module != module.addr());
        found.unload(&mut card.memory).map_err(Status::from)
    }

    /// A kernel by name.
    fn cuModuleGetFunction(function: *mut *mut c_void, module: *mut c_void, name: *const c_char) {
        let mut card = current()?;
        if name.is_null() {
            return Err(Status::InvalidValue);
        }
        // SAFETY: a name that ends with a zero byte.
        let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
        let found = card.modules.get(&module.addr()).ok_or(Status::InvalidHandle)?;
        let kernel = found.kernel(&name).ok_or(Status::NotFound)?.clone();
        let most_dynamic = card.options.most_dynamic_shared.saturating_sub(kernel.static_shared());
        let handle = card.handle();
        card.functions.insert(handle, Function { kernel, module: module.addr(), most_dynamic });
        // SAFETY: the caller's pointer.
        unsafe { put(function, without_provenance_mut(handle)) }
    }

    /// Address and bytes of a variable.
    fn cuModuleGetGlobal_v2(address: *mut u64, bytes: *mut usize, module: *mut c_void, name: *const c_char) {
        let card = current()?;
        if name.is_null() {
            return Err(Status::InvalidValue);
        }
        // SAFETY: a name that ends with a zero byte.
        let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
        let found = card.modules.get(&module.addr()).ok_or(Status::InvalidHandle)?;
        let (start, size) = found.variable(&name).ok_or(Status::NotFound)?;
        if !address.is_null() {
            // SAFETY: the caller's pointer; so below.
            unsafe { put(address, start)? };
        }
        if !bytes.is_null() {
            // SAFETY: see above.
            unsafe { put(bytes, size)? };
        }
        Ok(())
    }

    /// A property of a kernel.
    fn cuFuncGetAttribute(value: *mut c_int, attribute: c_int, function: *mut c_void) {
        let card = current()?;
        let f = card.functions.get(&function.addr()).ok_or(Status::InvalidHandle)?;
        let found = match attribute {
            0 => f.kernel.max_threads(),
            1 => f.kernel.static_shared(),
            2 => 0,
            3 => f.kernel.local(),
            // Registers are the business of ptxas, which we do not have.
            4 => 0,
            5 => f.kernel.target().number as usize,
            6 => card.options.capability.number() as usize,
            7 => 0,
            8 => f.most_dynamic,
            9 => 0,
            _ => return Err(Status::InvalidValue),
        };
        // SAFETY: the caller's pointer.
        unsafe { put(value, found as c_int) }
    }

    /// Permits more dynamic shared memory (attribute 8); a hint about caches (9) is accepted.
    fn cuFuncSetAttribute(function: *mut c_void, attribute: c_int, value: c_int) {
        let mut card = current()?;
        let most = card.options.capability.shared_most();
        let f = card.functions.get_mut(&function.addr()).ok_or(Status::InvalidHandle)?;
        match attribute {
            8 if value >= 0 && value as usize + f.kernel.static_shared() <= most => {
                f.most_dynamic = value as usize;
                Ok(())
            }
            9 if (-1..=100).contains(&value) => Ok(()),
            _ => Err(Status::InvalidValue),
        }
    }

    /// Preference between cache and shared memory: of no meaning here.
    fn cuFuncSetCacheConfig(_function: *mut c_void, _config: c_int) {
        current().map(drop)
    }
}

/// # Safety
/// `image` points at text with a final zero byte, or at a binary whose magic number says so; `module` as for `put`.
unsafe fn load(module: *mut *mut c_void, image: *const c_void, log: &mut [u8]) -> Result<(), Status> {
    if image.is_null() {
        return Err(Status::InvalidValue);
    }
    // SAFETY: every image has at least four bytes (text: with its final zero, compared byte by byte).
    let magic = unsafe { std::slice::from_raw_parts(image.cast::<u8>(), 4) };
    if magic == b"\x7fELF" || magic == [0x50, 0xed, 0x55, 0xba] {
        eprintln!("ptx-emulator: binaries (cubin, fatbin) cannot be run, only PTX");
        return Err(Status::NoBinary);
    }
    // SAFETY: text with a final zero byte.
    let text = unsafe { CStr::from_ptr(image.cast()) }.to_str().map_err(|_| Status::InvalidImage)?;
    let handle = load_text(text, log)?;
    // SAFETY: by this function's contract.
    unsafe { put(module, without_provenance_mut(handle)) }
}

fn load_text(text: &str, log: &mut [u8]) -> Result<usize, Status> {
    let mut card = current()?;
    let mut complain = |message: String| {
        eprintln!("ptx-emulator: {message}");
        if let Some(last) = log.len().checked_sub(1) {
            let count = message.len().min(last);
            log[..count].copy_from_slice(&message.as_bytes()[..count]);
            log[count] = 0;
        }
    };
    let directive = |name: &str| {
        let line = text.lines().find(|l| l.trim_start().starts_with(name))?;
        line.split_whitespace().nth(1).map(|word| word.trim_end_matches(',').to_string())
    };
    if let Some(version) = directive(".version")
        && let Some((major, minor)) = version.split_once('.')
        && let (Ok(major), Ok(minor)) = (major.parse::<u32>(), minor.parse::<u32>())
        && (major, minor) > NEWEST
    {
        complain(format!("PTX version {version} is newer than {}.{}", NEWEST.0, NEWEST.1));
        return Err(Status::UnsupportedPtx);
    }
    let capability = card.options.capability;
    if let Some(target) = directive(".target")
        && !Target::read(&target).is_some_and(|target| target.runs_on(capability))
    {
        complain(format!("PTX for {target} does not run on sm_{}", capability.number()));
        return Err(Status::NoBinary);
    }
    let module = Module::load(text, &mut card.memory).map_err(|error: LoadError| {
        complain(error.to_string());
        Status::from(&error)
    })?;
    let handle = card.handle();
    card.modules.insert(handle, module);
    Ok(handle)
}
