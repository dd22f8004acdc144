//! The program on a card: the emulated one, `ptx-emulator/driver` as its CUDA driver, or with the feature `gpu-tests`
//! this machine's own.

use crate::built::library;
use crate::program;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// Whether the card is a real one.
pub const REAL: bool = cfg!(feature = "gpu-tests");

/// The folder with the emulator's `libcuda.so`, built with the profile of the tests.
///
/// # Panics
/// If it does not build.
pub fn driver() -> &'static Path {
    static DRIVER: OnceLock<PathBuf> = OnceLock::new();
    DRIVER.get_or_init(|| library("ptx-emulator-driver", "libcuda.so"))
}

/// The machine's libraries as they were before cargo put those of the workspace, the emulator's among them, before them.
fn libraries() -> std::ffi::OsString {
    let profile = program().parent().expect("the program lies in a folder");
    let all = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let others = std::env::split_paths(&all).filter(|folder| !folder.starts_with(profile));
    std::env::join_paths(others).expect("parts of a list can be joined")
}

/// Lets what a command starts find the card; `variables` whose names begin with `PTX_EMULATOR` mean nothing to a real one.
fn equip(command: &mut Command, variables: &[(&str, &str)]) -> Output {
    let path = if REAL { libraries() } else { driver().into() };
    command.env("LD_LIBRARY_PATH", path).envs(variables.iter().copied());
    command.output().expect("the program can be started")
}

/// Runs the program where `cuda:0` is the card; `variables` are the emulator's, and the program's.
///
/// # Panics
/// If it cannot be started.
pub fn on_card(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    equip(Command::new(program()).args(arguments), variables)
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

/// Runs an ignored test of the running test program alone, as a process of its own with the card: the emulator reads its
/// variables once a process.
///
/// # Panics
/// If it cannot be started.
pub fn child_on_card(test: &str, variables: &[(&str, &str)]) -> Output {
    let own = std::env::current_exe().expect("a running test has a path");
    let arguments = ["--exact", test, "--ignored", "--nocapture", "--test-threads=1"];
    equip(Command::new(own).args(arguments), variables)
}

/// The card's compute capability, such as "8.0".
///
/// # Panics
/// If there is none.
pub fn capability(variables: &[(&str, &str)]) -> String {
    let devices: Value = crate::json(&succeed_on_card(&["devices", "--json"], variables));
    devices["gpus"][0]["capability"].as_str().expect("this machine has a card").to_string()
}

/// How many graphs were launched, by the emulator's report; nobody counts those of a real card.
///
/// # Panics
/// If the emulator wrote no report.
pub fn graphs(report: &Path) -> Option<usize> {
    let text = || std::fs::read_to_string(report).expect("the emulator writes a report");
    (!REAL).then(|| text().matches("graph of").count())
}
