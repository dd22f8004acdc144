//! R6 and R8: disks that are full, folders that are gone, read-only or in use; the last checkpoint stays whole.

use genesis_tests::runs::{difference, trained};
use genesis_tests::trust::Tally;
use genesis_tests::{fail, genesis, program, small_cubes, succeed};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The arguments of a small run of so many steps.
fn run<'a>(cubes: &'a str, out: &'a Path, steps: &'a str) -> Vec<&'a str> {
    let train = ["pretrain", "--cubes", cubes, "--width", "2", "--batch-size", "2", "--lr", "0.2"];
    [&train[..], &["--checkpoint-every", "1", "--steps", steps, "--out", text(out), "--quiet"]].concat()
}

/// A file system of its own size, gone when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None`, said aloud, where none can be mounted.
    fn mount(at: PathBuf, options: &str) -> Option<Self> {
        std::fs::create_dir_all(&at).unwrap();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs", text(&at)]).output();
        if mount.is_ok_and(|output| output.status.success()) {
            return Some(Self(at));
        }
        eprintln!("SKIPPED: a small file system cannot be mounted here");
        None
    }

    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        assert!(Command::new("mount").args(["-o", &options, text(&self.0)]).status().unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_stops_the_run_with_its_last_checkpoint_whole_and_a_larger_one_lets_it_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let cubes = small_cubes(folder.path(), "cubes.npy", 10);
    let whole = folder.path().join("whole");
    succeed(&run(&cubes, &whole, "9"));
    let one = std::fs::metadata(whole.join("checkpoints/last.safetensors")).unwrap().len();
    let Some(disk) = SmallDisk::mount(folder.path().join("disk"), "size=2m") else { return };
    let mut tally = Tally::new("R6", "a 2 MB file system that fills up while checkpoints are written");
    // What is left of the disk differs, so that each of the files of a step finds it full once.
    for room in (one..3 * one).step_by((one / 7) as usize) {
        let out = disk.0.join("run");
        let filler = disk.0.join("filler");
        std::fs::write(&filler, vec![0; ((2 << 20) - room) as usize]).unwrap();
        let output = genesis(run(&cubes, &out, "9"));
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        let last = out.join("checkpoints/last.safetensors");
        let mut outcome = match output.status.code() {
            Some(0) => Ok(()),
            Some(1) if told.lines().filter(|line| line.starts_with("error:")).count() == 1 => Ok(()),
            other => Err(format!("{room} bytes left: exit code {other:?}: {told}")),
        };
        if last.exists() && std::panic::catch_unwind(|| trained(&last)).is_err() {
            outcome = Err(format!("{room} bytes left: the last checkpoint is not whole"));
        }
        disk.remount("size=16m");
        let begun = out.join("config.toml").exists();
        let resume = ["pretrain", "--resume", "--out", text(&out), "--steps", "9", "--quiet"];
        let again = if begun { genesis(resume) } else { genesis(run(&cubes, &out, "9")) };
        if !again.status.success() {
            outcome = Err(format!("{room} bytes left: {}", String::from_utf8_lossy(&again.stderr)));
        } else if let Some(difference) = difference(&whole, &out) {
            outcome = Err(format!("{room} bytes left: {difference}"));
        }
        tally.count(outcome);
        std::fs::remove_dir_all(&out).unwrap();
        std::fs::remove_file(&filler).unwrap();
        disk.remount("size=2m");
    }
    drop(disk);
    tally.finish();
}

#[test]
fn places_that_cannot_be_written_end_with_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let cubes = small_cubes(folder.path(), "cubes.npy", 10);
    let file = folder.path().join("file");
    std::fs::write(&file, b"in the way").unwrap();
    let mut tally =
        Tally::new("R6", "an output that is a file, a directory, a device, read-only or below a file");
    let mut expect = |arguments: &[&str], part: &str| {
        let outcome = std::panic::catch_unwind(|| fail(1, arguments));
        tally.count(match outcome {
            Ok(line) if line.contains(part) => Ok(()),
            Ok(line) => Err(format!("{line} does not say {part}")),
            Err(_) => Err(format!("genesis {} does not fail with one line", arguments.join(" "))),
        });
    };
    expect(&run(&cubes, &file, "1"), "not a directory");
    expect(&run(&cubes, &file.join("run"), "1"), "file");
    let directory = folder.path().join("directory.npy");
    std::fs::create_dir(&directory).unwrap();
    let scans = folder.path().join("scans");
    succeed(&["phantom", "--out", text(&scans), "--count", "1", "--size", "24x24x24", "--quiet"]);
    expect(&["cubes", "--volumes", text(&scans.join("imagesTr")), "--out", text(&directory)], "directory");
    // Renaming over them would put a file in their place.
    let device = Path::new("/dev/full");
    if device.exists() {
        for name in ["/dev/full", "/dev/null"] {
            let link = folder.path().join("device.safetensors");
            let _ = std::fs::remove_file(&link);
            #[cfg(unix)]
            std::os::unix::fs::symlink(name, &link).unwrap();
            let whole = folder.path().join("whole");
            if !whole.exists() {
                succeed(&run(&cubes, &whole, "1"));
            }
            let last = whole.join("checkpoints/last.safetensors");
            expect(&["convert", text(&last), text(&link)], "device");
            assert!(!Path::new(name).is_file(), "{name} was replaced");
        }
    }
    if let Some(disk) = SmallDisk::mount(folder.path().join("disk"), "size=4m") {
        succeed(&run(&cubes, &disk.0.join("run"), "2"));
        disk.remount("ro");
        expect(&run(&cubes, &disk.0.join("new"), "1"), "Read-only");
        expect(&["pretrain", "--resume", "--out", text(&disk.0.join("run")), "--steps", "3"], "Read-only");
        disk.remount("rw");
        succeed(&["pretrain", "--resume", "--out", text(&disk.0.join("run")), "--steps", "3", "--quiet"]);
    }
    tally.finish();
}

#[test]
fn a_run_directory_that_vanishes_ends_the_run_with_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let cubes = small_cubes(folder.path(), "cubes.npy", 10);
    let out = folder.path().join("run");
    let mut tally = Tally::new("R6", "the run directory removed in the middle of the run");
    let child = Command::new(program())
        .args(run(&cubes, &out, "100000"))
        .env_remove("LD_LIBRARY_PATH")
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    while !out.join("checkpoints/last.safetensors").exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    // A file may appear while the folder is emptied.
    while std::fs::remove_dir_all(&out).is_err() && out.exists() {}
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let errors = told.lines().filter(|line| line.starts_with("error:")).count();
    tally.count(match output.status.code() {
        Some(1) if errors == 1 && told.contains("run") => Ok(()),
        code => Err(format!("exit code {code:?}: {told}")),
    });
    tally.finish();
}

#[test]
fn the_second_of_two_runs_on_one_directory_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let cubes = small_cubes(folder.path(), "cubes.npy", 10);
    let out = folder.path().join("run");
    let mut tally = Tally::new("R8", "a second process on the run directory of one that trains");
    let mut first = Command::new(program())
        .args(run(&cubes, &out, "100000"))
        .env_remove("LD_LIBRARY_PATH")
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    while !out.join("checkpoints/last.safetensors").exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let resume = ["pretrain", "--resume", "--out", text(&out), "--steps", "3"];
    let line = std::panic::catch_unwind(|| fail(1, &resume)).unwrap_or_default();
    let owner = first.id().to_string();
    tally.count(if line.contains("another process") && line.contains(&owner) { Ok(()) } else { Err(line) });
    assert!(first.try_wait().unwrap().is_none(), "the first run was disturbed");
    first.kill().unwrap();
    first.wait().unwrap();
    // The lock goes with its owner, however that ended.
    let again = genesis(["pretrain", "--resume", "--out", text(&out), "--steps", "1", "--quiet"]);
    tally.count(if again.status.success() { Ok(()) } else { Err("the lock outlived its owner") });
    tally.finish();
}
