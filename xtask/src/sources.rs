//! The CUDA sources and what identifies them.

use crate::Result;
use crate::table::is_hopper;
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};

/// A `.cu` file with the headers that it may include.
pub struct Source {
    /// Its name without the extension, which its PTX has too: unique in the repository.
    pub name: String,
    /// Its text.
    pub text: String,
    /// SHA-256 over the options, the text, and the names and texts of all headers.
    pub hash: String,
}

/// Everything under `kernels/src` that is CUDA.
pub struct Sources {
    /// The files that are compiled, by name.
    pub units: Vec<Source>,
    /// Names and texts of the headers, by name.
    pub headers: Vec<(String, String)>,
}

/// The root of the workspace.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// What a source is compiled for: the compute capability that its PTX wants at least, or alone if it ends in `a`.
pub fn target(name: &str) -> &'static str {
    if is_hopper(name) { "90a" } else { "80" }
}

/// Options of the compiler that make PTX of a source; part of its hash.
pub fn options(name: &str) -> [String; 2] {
    [format!("--gpu-architecture=compute_{}", target(name)), "--std=c++17".to_string()]
}

/// Where the PTX of a source lies.
pub fn ptx_path(name: &str) -> PathBuf {
    root().join("kernels/ptx").join(format!("{name}.sm_{}.ptx", target(name)))
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(|cause| format!("{}: {cause}", folder.display()))? {
        let path = entry.map_err(|cause| format!("{}: {cause}", folder.display()))?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

impl Sources {
    /// Reads all sources.
    ///
    /// # Errors
    /// When a file cannot be read, or two have one name.
    pub fn read() -> Result<Self> {
        let mut files = Vec::new();
        collect(&root().join("kernels/src"), &mut files)?;
        let of_kind = |extension: &str| -> Result<Vec<(String, String)>> {
            let mut found = Vec::new();
            for path in files.iter().filter(|path| path.extension().is_some_and(|e| e == extension)) {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let text =
                    fs::read_to_string(path).map_err(|cause| format!("{}: {cause}", path.display()))?;
                found.push((name, text));
            }
            found.sort();
            match found.windows(2).find(|pair| pair[0].0 == pair[1].0) {
                Some(pair) => Err(format!("two files are named {}", pair[0].0)),
                None => Ok(found),
            }
        };
        let headers = of_kind("cuh")?;
        let units = of_kind("cu")?;
        let units = units
            .into_iter()
            .map(|(file, text)| {
                let name = file.trim_end_matches(".cu").to_string();
                let mut hash = Sha256::new();
                for part in options(&name).iter().chain([&text]) {
                    update(&mut hash, part);
                }
                for (name, text) in &headers {
                    update(&mut hash, name);
                    update(&mut hash, text);
                }
                Source { name, text, hash: hex(&hash.finalize()) }
            })
            .collect();
        Ok(Self { units, headers })
    }
}

/// The length first, so that no two lists of texts look alike.
fn update(hash: &mut Sha256, text: &str) {
    hash.update((text.len() as u64).to_le_bytes());
    hash.update(text.as_bytes());
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
