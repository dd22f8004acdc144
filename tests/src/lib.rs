//! What the whole-program tests in `tests/tests` share: running the `genesis` program, and cubes to
//! run it on.

pub mod built;
pub mod card;
pub mod pages;
pub mod runs;
pub mod trust;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// The program, built from this workspace with the profile of the tests: as what `genesis-train`'s own test `program`
/// starts, which `cargo test --workspace` has built already. `cargo build` would choose fewer features of what it depends
/// on, and compile everything once more.
///
/// # Panics
/// If it does not build.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let test = std::env::current_exe().expect("a running test has a path");
        // target/<profile>/deps/<test>
        let profile = test.parent().and_then(Path::parent).expect("tests run from the target folder");
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build.args(["test", "--quiet", "--locked", "--workspace", "--no-run", "--test", "program"]);
        if profile.ends_with("release") {
            build.arg("--release");
        }
        let status = build.current_dir(workspace()).status().expect("cargo can be started");
        assert!(status.success(), "the program does not build");
        profile.join("genesis")
    })
}

/// The root of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace")
}

/// Runs the program, without the emulated CUDA driver: cargo lets what its tests start find it.
///
/// # Panics
/// If it cannot be started.
pub fn genesis<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Output {
    let mut command = Command::new(program());
    command.args(arguments).env_remove("LD_LIBRARY_PATH").output().expect("the program can be started")
}

/// Runs the program and returns its standard output.
///
/// # Panics
/// If it fails.
pub fn succeed(arguments: &[&str]) -> String {
    let output = genesis(arguments);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "genesis {} failed:\n{err}\n{out}", arguments.join(" "));
    out
}

/// Runs the program, which must fail with `code` and one line on standard error; returns that line.
///
/// # Panics
/// If it succeeds, ends with another code, says nothing or says more than one line.
pub fn fail(code: i32, arguments: &[&str]) -> String {
    let output = genesis(arguments);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    let shown = arguments.join(" ");
    assert_eq!(output.status.code(), Some(code), "genesis {shown}:\n{err}\n{out}");
    let errors: Vec<&str> = err.lines().filter(|line| line.starts_with("error:")).collect();
    assert_eq!(errors.len(), 1, "genesis {shown} should print one error line:\n{err}");
    assert!(!err.contains("internal error"), "genesis {shown} panicked:\n{err}");
    // clap names the arguments that are missing in the lines after its own.
    let after = err.lines().skip_while(|line| !line.starts_with("error:")).skip(1);
    let named: Vec<&str> = after.take_while(|_| errors[0].ends_with(':')).map(str::trim).collect();
    [errors[0], &named.join(" ")].join(" ").trim_end().to_string()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Writes `count` smooth cubes of 16×16×16 as `.npy` and returns the path as text.
///
/// # Panics
/// If the folder cannot be written.
pub fn small_cubes(folder: &Path, name: &str, count: usize) -> String {
    let size = [16usize, 16, 16];
    let path = folder.join(name);
    let mut writer = genesis_train::volume::CubeWriter::create(&path, size).expect("a writable folder");
    for cube in 0..count {
        let values: Vec<f32> = (0..size.iter().product())
            .map(|v| {
                let (x, y, z) = (v / 256, v / 16 % 16, v % 16);
                let phase = cube as f32 * 0.7;
                0.5 + 0.4
                    * (0.4 * x as f32 + phase).sin()
                    * (0.3 * y as f32).cos()
                    * (0.2 * z as f32 + phase).cos()
            })
            .collect();
        writer.push(&values).expect("a writable folder");
    }
    writer.finish().expect("a writable folder");
    path.to_str().expect("a UTF-8 path").to_string()
}

/// What a command printed with `--json`.
///
/// # Panics
/// If that is no JSON.
pub fn json(output: &str) -> serde_json::Value {
    serde_json::from_str(output).unwrap_or_else(|error| panic!("{error}: {output}"))
}

/// Every cube of a `.npy` file.
///
/// # Panics
/// If it cannot be read.
pub fn cubes(path: &Path) -> Vec<Vec<f32>> {
    let file = genesis_train::volume::CubeFile::open(path).expect("a file of cubes");
    let read = |index| {
        let mut cube = vec![0.0; file.size().iter().product()];
        file.read(index, &mut cube).expect("a cube of the file");
        cube
    };
    (0..file.count()).map(read).collect()
}
