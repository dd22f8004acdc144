//! What the card is.

use crate::card::{initialised, lock};
use crate::status::{Status, describe};
use crate::{driver, put};
use ptx_emulator::{Capability, SHARED_DEFAULT};
use std::ffi::{c_char, c_int, c_void};

/// CUDA 12.0: what the product asks for, and no more.
const VERSION: c_int = 12000;
const NAME: &[u8] = b"PTX emulator (no card)";

/// Value of a device attribute; `None` for numbers that we do not know.
pub(crate) fn attribute(card: Capability, number: c_int) -> Option<c_int> {
    let hopper = card >= Capability::Hopper;
    Some(match number {
        1..=3 => 1024,
        4 => 64,
        5 => i32::MAX,
        6 | 7 => 65535,
        8 => SHARED_DEFAULT as c_int,
        9 => 65536,
        10 => 32,
        11 => i32::MAX,
        12 | 82 => 65536,
        // Clock rates in kHz, the bus width and the second-level cache: published figures of an A100 80 GB and of an H100
        // SXM.
        13 if hopper => 1_980_000,
        36 if hopper => 2_619_000,
        38 if hopper => 50 << 20,
        13 => 1_410_000,
        14 => 512,
        15 => 1,
        16 => card.multiprocessors() as c_int,
        19 => 1,
        31 => 1,
        36 => 1_593_000,
        37 => 5120,
        38 => 40 << 20,
        39 => 2048,
        40 => 3,
        41 => 1,
        75 => card.numbers().0 as c_int,
        76 => card.numbers().1 as c_int,
        78 => 1,
        81 => card.shared_of_multiprocessor() as c_int,
        95 => 0,
        97 => card.shared_most() as c_int,
        106 => 32,
        111 => 1024,
        115 => 1,
        // Tensor maps.
        127 => c_int::from(hopper),
        0..=149 => 0,
        _ => return None,
    })
}

driver! {
    /// Starts the driver.
    fn cuInit(flags: u32) {
        if flags != 0 {
            return Err(Status::InvalidValue);
        }
        let mut card = lock();
        if let Some(message) = &card.impossible {
            eprintln!("ptx-emulator: {message}");
            return Err(Status::InvalidDevice);
        }
        card.initialised = true;
        Ok(())
    }

    /// Newest CUDA version that the driver supports.
    fn cuDriverGetVersion(version: *mut c_int) {
        // SAFETY: the caller's pointer; so below.
        unsafe { put(version, VERSION) }
    }

    /// Number of cards.
    fn cuDeviceGetCount(count: *mut c_int) {
        drop(initialised()?);
        // SAFETY: see above.
        unsafe { put(count, 1) }
    }

    /// Handle of a card.
    fn cuDeviceGet(device: *mut c_int, ordinal: c_int) {
        drop(initialised()?);
        check(ordinal)?;
        // SAFETY: see above.
        unsafe { put(device, ordinal) }
    }

    /// Name of a card, cut to `length` bytes.
    fn cuDeviceGetName(name: *mut c_char, length: c_int, device: c_int) {
        drop(initialised()?);
        check(device)?;
        let count = NAME.len().min(length.max(1) as usize - 1);
        if name.is_null() || length < 1 {
            return Err(Status::InvalidValue);
        }
        // SAFETY: the caller gives `length` bytes; `count + 1` are written.
        unsafe {
            std::ptr::copy_nonoverlapping(NAME.as_ptr().cast(), name, count);
            name.add(count).write(0);
        }
        Ok(())
    }

    /// A number that is the card's own.
    fn cuDeviceGetUuid(uuid: *mut [u8; 16], device: c_int) {
        check(device)?;
        // SAFETY: see above.
        unsafe { put(uuid, *b"genesis emulator") }
    }

    /// A number that is the card's own.
    fn cuDeviceGetUuid_v2(uuid: *mut [u8; 16], device: c_int) {
        check(device)?;
        // SAFETY: see above.
        unsafe { put(uuid, *b"genesis emulator") }
    }

    /// Memory in bytes.
    fn cuDeviceTotalMem_v2(bytes: *mut usize, device: c_int) {
        check(device)?;
        let total = initialised()?.memory.info().1;
        // SAFETY: see above.
        unsafe { put(bytes, total as usize) }
    }

    /// A property of a card.
    fn cuDeviceGetAttribute(value: *mut c_int, number: c_int, device: c_int) {
        let capability = initialised()?.options.capability;
        check(device)?;
        let found = attribute(capability, number).ok_or(Status::InvalidValue)?;
        // SAFETY: see above.
        unsafe { put(value, found) }
    }

    /// The pool of `cuMemAllocAsync`.
    fn cuDeviceGetDefaultMemPool(pool: *mut *mut c_void, device: c_int) {
        check(device)?;
        // SAFETY: see above.
        unsafe { put(pool, std::ptr::without_provenance_mut(0x20)) }
    }

    /// The pool of `cuMemAllocAsync`.
    fn cuDeviceGetMemPool(pool: *mut *mut c_void, device: c_int) {
        check(device)?;
        // SAFETY: see above.
        unsafe { put(pool, std::ptr::without_provenance_mut(0x20)) }
    }

    /// Pools keep nothing here: a no-op.
    fn cuMemPoolSetAttribute(_pool: *mut c_void, _attribute: c_int, _value: *mut c_void) {
        initialised().map(drop)
    }

    /// Pools keep nothing here: a no-op.
    fn cuMemPoolTrimTo(_pool: *mut c_void, _bytes: usize) {
        initialised().map(drop)
    }

    /// Symbol of an error code.
    fn cuGetErrorName(code: u32, text: *mut *const c_char) {
        let (symbol, _) = describe(code).ok_or(Status::InvalidValue)?;
        // SAFETY: see above.
        unsafe { put(text, symbol.as_ptr()) }
    }

    /// Description of an error code.
    fn cuGetErrorString(code: u32, text: *mut *const c_char) {
        let (_, description) = describe(code).ok_or(Status::InvalidValue)?;
        // SAFETY: see above.
        unsafe { put(text, description.as_ptr()) }
    }

    /// The last finding of a kernel, cut to `length` bytes with a final zero: not of CUDA, for tests.
    fn ptxEmulatorLastFinding(text: *mut c_char, length: usize) {
        let card = lock();
        let last = card.findings.last().ok_or(Status::NotFound)?;
        if text.is_null() || length == 0 {
            return Err(Status::InvalidValue);
        }
        let count = last.len().min(length - 1);
        // SAFETY: the caller gives `length` bytes; `count + 1` are written.
        unsafe {
            std::ptr::copy_nonoverlapping(last.as_ptr().cast(), text, count);
            text.add(count).write(0);
        }
        Ok(())
    }
}

fn check(device: c_int) -> Result<(), Status> {
    if device == 0 { Ok(()) } else { Err(Status::InvalidDevice) }
}
