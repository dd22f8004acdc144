//! The pinned compiler: NVRTC of CUDA 12.0, whose PTX every driver from 525 on accepts.

use crate::Result;
use crate::sources::{hex, root};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::{env, fs};

/// Package and version.
pub const PACKAGE: &str = "nvidia-cuda-nvrtc-cu12==12.0.140";
const FILE: &str = "nvidia_cuda_nvrtc_cu12-12.0.140-py3-none-manylinux1_x86_64.whl";
const SHA256: &str = "8e94e991d85c422de4da87bdc7472fdc1364367bd4aace7000b559cd33122071";
const LIBRARY: &str = "libnvrtc.so.12";

/// The library; fetches the wheel if need be.
///
/// # Errors
/// When the wheel cannot be had, or is not the pinned one.
pub fn library() -> Result<PathBuf> {
    if let Some(folder) = env::var_os("GENESIS_NVRTC") {
        let library = PathBuf::from(folder).join(LIBRARY);
        return match library.is_file() {
            true => Ok(library),
            false => Err(format!("GENESIS_NVRTC names a folder without {LIBRARY}: {}", library.display())),
        };
    }
    // Tests ask at the same time.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let folder = target.join("nvrtc-12.0.140");
    let library = folder.join("nvidia/cuda_nvrtc/lib").join(LIBRARY);
    if !library.is_file() {
        fetch(&folder)?;
    }
    Ok(library)
}

fn fetch(folder: &Path) -> Result<()> {
    eprintln!("fetching {PACKAGE} (23 MB)");
    fs::create_dir_all(folder).map_err(|cause| format!("{}: {cause}", folder.display()))?;
    run(Command::new("python3")
        .args([
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--only-binary=:all:",
        ])
        .args(["--platform", "manylinux1_x86_64", "--dest"])
        .arg(folder)
        .arg(PACKAGE))?;
    let wheel = folder.join(FILE);
    let bytes = fs::read(&wheel).map_err(|cause| format!("{}: {cause}", wheel.display()))?;
    let found = hex(&Sha256::digest(&bytes));
    if found != SHA256 {
        return Err(format!("{FILE} has the hash {found}, wanted {SHA256}"));
    }
    run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(&wheel).arg(folder))
}

fn run(command: &mut Command) -> Result<()> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("python3 failed ({status}) while fetching {PACKAGE}")),
        Err(cause) => Err(format!("python3, which fetches {PACKAGE}, does not start: {cause}")),
    }
}

/// For tests: whether the compiler is here or can be had. Without Python or a network they are skipped aloud; a wheel
/// that is not the pinned one fails them.
#[cfg(test)]
pub fn is_within_reach() -> bool {
    match library() {
        Ok(_) => true,
        Err(cause) if cause.starts_with("python3") => {
            eprintln!("SKIPPED: {cause}");
            false
        }
        Err(cause) => panic!("{cause}"),
    }
}
