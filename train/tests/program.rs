//! The program answers. That this test is here lets `cargo test` build the program, for the tests of `tests/` as well.

use serde_json::Value;
use std::process::Command;

/// Standard output of a call that must succeed.
fn succeed(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_genesis")).args(arguments).output().unwrap();
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(output.status.success(), "genesis {} failed:\n{err}\n{out}", arguments.join(" "));
    out.into_owned()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn small_commands_answer() {
    assert!(succeed(&["--version"]).starts_with("genesis "));
    let devices = json(&succeed(&["devices", "--json"]));
    assert!(devices["f32_gflops"].as_f64().unwrap() > 0.0);
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(succeed(&["completions", shell]).contains("pretrain"), "{shell}");
    }
    let report = json(&succeed(&["selftest", "activation", "--json"]));
    assert_eq!(report["failed"], 0);
    assert!(report["passed"].as_u64().unwrap() > 10);
    for command in [
        "demo", "phantom", "cubes", "deform", "pretrain", "restore", "convert", "inspect", "selftest",
        "bench",
    ] {
        assert!(succeed(&[command, "--help"]).contains("Examples:"), "{command} --help has examples");
    }
}
