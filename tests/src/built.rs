//! Libraries of the workspace that tests put before or in the place of the system's.

use crate::{program, workspace};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds a package with the profile of the tests; the folder its library lies in, named `file`.
///
/// # Panics
/// If it does not build.
pub fn library(package: &str, file: &str) -> PathBuf {
    let profile: &Path = program().parent().expect("the program lies in a folder");
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.args(["build", "--quiet", "--locked", "-p", package]);
    if profile.ends_with("release") {
        build.arg("--release");
    }
    let status = build.current_dir(workspace()).status().expect("cargo can be started");
    assert!(status.success(), "{package} does not build");
    assert!(profile.join(file).is_file(), "{file} is not beside the program");
    profile.to_path_buf()
}
