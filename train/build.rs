//! Tells the program which commit it is built from, for the provenance of checkpoints.

use std::path::Path;
use std::process::Command;

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    // A debug build is made again with every edit: its commit would say little and cost a compilation each time.
    if std::env::var("PROFILE").is_ok_and(|profile| profile == "debug") {
        println!("cargo:rerun-if-changed=build.rs");
        println!("cargo:rustc-env=GENESIS_COMMIT=debug build");
        return;
    }
    for watched in
        [".git/HEAD", ".git/index", "train/src", "model/src", "autograd/src", "kernels/src", "tensor/src"]
    {
        let path = root.join(watched);
        if path.exists() {
            println!("cargo:rerun-if-changed={}", path.display());
        }
    }
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(&root).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_string())
    };
    // Built from a package, or without git: said as it is.
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        println!("cargo:rustc-env=GENESIS_COMMIT=unknown");
        return;
    };
    let modified =
        git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|list| !list.is_empty());
    println!("cargo:rustc-env=GENESIS_COMMIT={commit}{}", if modified { "-modified" } else { "" });
}
