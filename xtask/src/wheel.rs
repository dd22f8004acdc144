//! NVIDIA's tools, each from one pinned Python wheel: the compiler, NVRTC of CUDA 12.0, whose PTX every driver from 525 on
//! accepts, and the disassembler.

use crate::Result;
use crate::sources::{hex, root};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::{env, fs};

/// A wheel, and what is wanted of it.
struct Wheel {
    /// Package and version.
    package: &'static str,
    /// Where it is unpacked, in the target folder.
    folder: &'static str,
    platform: &'static str,
    megabytes: u32,
    sha256: &'static str,
    /// The file wanted, within the wheel.
    wanted: &'static str,
    /// Names a folder with that file, in place of the wheel.
    variable: &'static str,
}

const NVRTC: Wheel = Wheel {
    package: "nvidia-cuda-nvrtc-cu12==12.0.140",
    folder: "nvrtc-12.0.140",
    platform: "manylinux1_x86_64",
    megabytes: 23,
    sha256: "8e94e991d85c422de4da87bdc7472fdc1364367bd4aace7000b559cd33122071",
    wanted: "nvidia/cuda_nvrtc/lib/libnvrtc.so.12",
    variable: "GENESIS_NVRTC",
};

const NVDISASM: Wheel = Wheel {
    package: "nvidia-cuda-nvdisasm==13.2.78",
    folder: "nvdisasm-13.2.78",
    platform: "manylinux2014_x86_64",
    megabytes: 4,
    sha256: "b4ebcd3c5046bf8039ac52675b9dbefd843600969649ecaab0a42b0713a61dae",
    wanted: "nvidia/cu13/bin/nvdisasm",
    variable: "GENESIS_NVDISASM",
};

/// The compiler's library; fetches the wheel if need be.
///
/// # Errors
/// When the wheel cannot be had, or is not the pinned one.
pub fn library() -> Result<PathBuf> {
    NVRTC.file()
}

/// The disassembler; fetches the wheel if need be.
///
/// # Errors
/// When the wheel cannot be had, or is not the pinned one.
pub fn disassembler() -> Result<PathBuf> {
    let program = NVDISASM.file()?;
    executable(&program).map_err(|cause| format!("{}: {cause}", program.display()))?;
    Ok(program)
}

/// Python unpacks programs without the permission to run them.
fn executable(program: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mut permissions = fs::metadata(program)?.permissions();
        if permissions.mode() & 0o111 == 0 {
            permissions.set_mode(permissions.mode() | 0o111);
            fs::set_permissions(program, permissions)?;
        }
    }
    #[cfg(not(unix))]
    fs::metadata(program)?;
    Ok(())
}

/// Where cargo builds, and tools lie.
pub fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

impl Wheel {
    fn file(&self) -> Result<PathBuf> {
        let wanted = Path::new(self.wanted);
        if let Some(folder) = env::var_os(self.variable) {
            let file = PathBuf::from(folder).join(wanted.file_name().unwrap_or_default());
            return match file.is_file() {
                true => Ok(file),
                false => Err(format!("{} names a folder without {}", self.variable, file.display())),
            };
        }
        // Tests ask at the same time.
        static ONE: Mutex<()> = Mutex::new(());
        let _one = ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let folder = target().join(self.folder);
        let file = folder.join(wanted);
        if !file.is_file() {
            self.fetch(&folder)?;
        }
        match file.is_file() {
            true => Ok(file),
            false => Err(format!("{} holds no {}", self.package, self.wanted)),
        }
    }

    fn fetch(&self, folder: &Path) -> Result<()> {
        eprintln!("fetching {} ({} MB)", self.package, self.megabytes);
        let fail = |cause: std::io::Error| format!("{}: {cause}", folder.display());
        fs::create_dir_all(folder).map_err(fail)?;
        self.run(
            Command::new("python3")
                .args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"])
                .args(["--only-binary=:all:", "--platform", self.platform, "--dest"])
                .arg(folder)
                .arg(self.package),
        )?;
        let files = fs::read_dir(folder).map_err(fail)?.filter_map(|entry| Some(entry.ok()?.path()));
        let mut wheels = files.filter(|path| path.extension().is_some_and(|extension| extension == "whl"));
        let wheel = wheels.next().ok_or_else(|| format!("python3 brought no wheel of {}", self.package))?;
        let bytes = fs::read(&wheel).map_err(fail)?;
        let found = hex(&Sha256::digest(&bytes));
        if found != self.sha256 {
            return Err(format!("{} has the hash {found}, wanted {}", self.package, self.sha256));
        }
        self.run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(&wheel).arg(folder))
    }

    fn run(&self, command: &mut Command) -> Result<()> {
        match command.status() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("python3 failed ({status}) while fetching {}", self.package)),
            Err(cause) => Err(format!("python3, which fetches {}, does not start: {cause}", self.package)),
        }
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
