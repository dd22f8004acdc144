//! The driver: opened at run time, or one line that says why not.

use crate::cuda::Target;
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys::{self, CUdevice_attribute_enum as Attribute};
use genesis_tensor::{Error, Result};
use std::ffi::c_int;

/// A card the driver knows.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its number: N of `cuda:N`.
    pub number: usize,
    /// Its name.
    pub name: String,
    /// Compute capability, major and minor.
    pub capability: [i32; 2],
    /// Memory in bytes.
    pub memory_bytes: usize,
    /// Multiprocessors.
    pub multiprocessors: i32,
}

/// Lowest CUDA version of the driver whose compiler takes our PTX, as the driver counts: 12.0, driver 525.
const LEAST_VERSION: c_int = 12_000;

/// Lowest compute capability that the PTX is made for.
pub const LEAST_CAPABILITY: [i32; 2] = [8, 0];

impl Found {
    /// True for the card of `ptx-emulator`, which is for tests. Cargo puts the folder of its `libcuda.so` before the
    /// system's for whatever it runs, so nobody should get it without asking.
    pub fn is_emulated(&self) -> bool {
        self.name.contains("emulator")
    }

    /// True if the kernels run on it.
    pub fn is_supported(&self) -> bool {
        self.capability >= LEAST_CAPABILITY
    }

    /// True if the kernels for compute capability 9.0 alone run on it too.
    pub fn is_hopper(&self) -> bool {
        self.capability == [9, 0]
    }
}

/// Which kernels a card is to run: those for compute capability 8.0, unless `GENESIS_CUDA_KERNELS=sm_90a` asks for the
/// others. No card has measured those yet; until one has, nobody gets them without asking.
///
/// # Errors
/// For another value, and where the card cannot run them.
pub(super) fn target(found: &Found) -> Result<Target> {
    const NAME: &str = "GENESIS_CUDA_KERNELS";
    let refuse = |cause: String| Err(Error::Device(format!("{NAME}: {cause}")));
    let Some(chosen) = std::env::var_os(NAME) else { return Ok(Target::Sm80) };
    match chosen.to_str() {
        Some("" | "sm_80") => Ok(Target::Sm80),
        Some("sm_90a") if found.is_hopper() => Ok(Target::Sm90a),
        Some("sm_90a") => {
            let [major, minor] = found.capability;
            refuse(format!(
                "sm_90a kernels want compute capability 9.0, and cuda:{} has {major}.{minor}",
                found.number
            ))
        }
        _ => refuse(format!("{chosen:?} is neither sm_80 nor sm_90a")),
    }
}

/// What the driver said, with what was asked of it.
pub(super) fn failed(what: &str, error: DriverError) -> Error {
    let name = match error.error_name() {
        Ok(name) => name.to_string_lossy().into_owned(),
        Err(_) => format!("{:?}", error.0),
    };
    let words = error.error_string().map(|text| text.to_string_lossy().into_owned()).unwrap_or_default();
    Error::Device(format!("{what}: {name} ({words})"))
}

/// The cards of this machine.
///
/// # Errors
/// [`Error::Device`] when there is no driver, or it finds no card.
pub fn cards() -> Result<Vec<Found>> {
    // SAFETY: loads the driver's library, as every CUDA program does at its start; its initialisers are the driver's.
    if !unsafe { sys::is_culib_present() } {
        return Err(Error::Device("no CUDA driver was found (libcuda.so.1)".into()));
    }
    result::init().map_err(|error| failed("the CUDA driver is present but unusable", error))?;
    let count = result::device::get_count().map_err(|error| failed("counting CUDA cards", error))?;
    (0..count).map(describe).collect()
}

/// Checks that the driver can compile the kernels.
///
/// # Errors
/// [`Error::Device`] for a driver that is too old.
pub(super) fn check_version() -> Result<()> {
    let mut version = 0;
    // SAFETY: writes one number.
    let asked = unsafe { sys::cuDriverGetVersion(&raw mut version) };
    asked.result().map_err(|error| failed("asking for the driver's version", error))?;
    if version < LEAST_VERSION {
        let (major, minor) = (version / 1000, version % 1000 / 10);
        return Err(Error::Device(format!(
            "the CUDA driver knows CUDA {major}.{minor}; 12.0 (driver 525) is needed"
        )));
    }
    Ok(())
}

/// The driver's handle of a card.
pub(super) fn handle(number: usize) -> Result<sys::CUdevice> {
    result::device::get(number as c_int).map_err(|error| failed(&format!("cuda:{number}"), error))
}

fn describe(number: c_int) -> Result<Found> {
    let device = handle(number as usize)?;
    let fail = |error| failed(&format!("cuda:{number}"), error);
    // SAFETY: the handle is the driver's own.
    let attribute = |which| unsafe { result::device::get_attribute(device, which) }.map_err(fail);
    Ok(Found {
        number: number as usize,
        name: result::device::get_name(device).map_err(fail)?,
        capability: [
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        ],
        // SAFETY: the handle is the driver's own.
        memory_bytes: unsafe { result::device::total_mem(device) }.map_err(fail)?,
        multiprocessors: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
    })
}
