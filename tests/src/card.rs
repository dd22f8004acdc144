//! The program on the emulated card: `ptx-emulator/driver` as its CUDA driver.

use crate::built::library;
use crate::program;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// The folder with the emulator's `libcuda.so`, built with the profile of the tests.
///
/// # Panics
/// If it does not build.
pub fn driver() -> &'static Path {
    static DRIVER: OnceLock<PathBuf> = OnceLock::new();
    DRIVER.get_or_init(|| library("ptx-emulator-driver", "libcuda.so"))
}

/// Runs the program where `cuda:0` is the emulated card; `variables` are the emulator's.
///
/// # Panics
/// If it cannot be started.
pub fn on_card(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(program());
    command.args(arguments).env("LD_LIBRARY_PATH", driver()).envs(variables.iter().copied());
    command.output().expect("the program can be started")
}

/// The same for a run that must succeed; its standard output.
///
/// # Panics
/// If it fails.
pub fn succeed_on_card(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let output = on_card(arguments, variables);
    let [out, err] =
        [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert!(output.status.success(), "genesis {} failed:\n{err}\n{out}", arguments.join(" "));
    out
}

/// Runs an ignored test of the running test program alone, as a process of its own whose card is the emulated one:
/// the emulator reads its variables once a process.
///
/// # Panics
/// If it cannot be started.
pub fn child_on_card(test: &str, variables: &[(&str, &str)]) -> Output {
    let own = std::env::current_exe().expect("a running test has a path");
    let mut command = Command::new(own);
    command.args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"]);
    command.env("LD_LIBRARY_PATH", driver()).envs(variables.iter().copied());
    command.output().expect("the test program can be started")
}
