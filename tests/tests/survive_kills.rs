//! R1 and R3: a run that is killed or asked to stop at any moment, and goes on, ends as if nothing had happened.

use genesis_tests::runs::difference;
use genesis_tests::trust::{Tally, amount};
use genesis_tests::{genesis, program, small_cubes, succeed};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Kills or signals that one run goes through before it may end.
const PER_RUN: u64 = 5;

/// One kind of run: the arguments that begin it, without `--out`.
struct Kind {
    begin: Vec<String>,
    command: Vec<String>,
    whole: PathBuf,
    time: Duration,
}

impl Kind {
    /// Trains once undisturbed.
    fn new(folder: &Path, command: &[&str], begin: &[&str]) -> Self {
        let text = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        let whole = folder.join(format!("{}-whole", command.join("-")));
        let mut kind = Self { begin: text(begin), command: text(command), whole, time: Duration::ZERO };
        let start = Instant::now();
        let done = genesis(kind.arguments(&kind.whole, false));
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        kind.time = start.elapsed();
        kind
    }

    fn arguments(&self, out: &Path, resume: bool) -> Vec<String> {
        let mut all = self.command.clone();
        if resume {
            all.push("--resume".into());
        } else {
            all.extend(self.begin.iter().cloned());
        }
        all.extend(["--out".into(), out.to_str().unwrap().into(), "--quiet".into()]);
        all
    }

    /// Starts a run, or goes on with one that has begun.
    fn start(&self, out: &Path) -> Child {
        let has_begun = out.join("config.toml").exists();
        let mut command = Command::new(program());
        command.args(self.arguments(out, has_begun)).env_remove("LD_LIBRARY_PATH");
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }
}

/// Two kinds of run, checkpointing after every step.
fn kinds(folder: &Path) -> Vec<Kind> {
    let cubes = small_cubes(folder, "cubes.npy", 10);
    let pretrain = ["--cubes", &cubes, "--width", "2", "--batch-size", "2", "--epochs", "4", "--lr", "0.2"];
    let every = ["--checkpoint-every", "1", "--threads", "1"];
    let scans = folder.join("scans");
    succeed(&["phantom", "--out", scans.to_str().unwrap(), "--count", "3", "--size", "32x32x24", "--quiet"]);
    let segment = ["--data", scans.to_str().unwrap(), "--patch", "16x16x16", "--width", "2", "--epochs", "3"];
    vec![
        Kind::new(folder, &["pretrain"], &[&pretrain[..], &every].concat()),
        Kind::new(folder, &["finetune", "segment"], &[&segment[..], &every].concat()),
    ]
}

/// A number below `bound` from a small generator: the same moments in every run of the test.
fn draw(state: &mut u64, bound: u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % bound.max(1)
}

#[test]
fn a_run_killed_at_random_moments_ends_as_if_nothing_had_happened() {
    let folder = tempfile::tempdir().unwrap();
    let kinds = kinds(folder.path());
    let mut tally = Tally::new("R1", "kill -9 at a random moment of pretrain or finetune, then --resume");
    let (mut random, mut number) = (5, 0);
    let wanted = amount(50, 200);
    let mut kills = 0;
    while kills < wanted {
        let kind = &kinds[number % kinds.len()];
        let run = folder.path().join(format!("run-{number}"));
        number += 1;
        let (mut here, mut attempts) = (0, 0);
        while here < PER_RUN.min(wanted - kills) && attempts < 10 * PER_RUN {
            attempts += 1;
            let mut child = kind.start(&run);
            std::thread::sleep(Duration::from_micros(draw(&mut random, kind.time.as_micros() as u64)));
            child.kill().unwrap();
            if child.wait().unwrap().code().is_none() {
                here += 1;
            }
            if run.join("summary.json").exists() {
                break;
            }
        }
        let end = kind.start(&run).wait().unwrap();
        let outcome = match end.code() {
            Some(0) => difference(&kind.whole, &run).map_or(Ok(()), Err),
            code => Err(format!("the resumed run ended with {code:?}")),
        };
        // Every kill of a run that went wrong counts as one that was not survived.
        (0..here).for_each(|_| tally.count(outcome.clone()).unwrap_or_default());
        kills += here;
        std::fs::remove_dir_all(&run).unwrap();
    }
    tally.finish();
}

#[cfg(unix)]
#[test]
fn a_run_that_is_asked_to_stop_saves_and_says_so_by_its_exit_code() {
    use std::os::unix::process::ExitStatusExt;
    let folder = tempfile::tempdir().unwrap();
    let kinds = kinds(folder.path());
    let mut slowest = Duration::ZERO;
    for (name, number, code) in [("TERM", 15, 143), ("INT", 2, 130), ("USR1", 10, 138)] {
        let what = match name {
            "TERM" => "SIGTERM at a random moment, exit code 143, then --resume",
            "INT" => "SIGINT at a random moment, exit code 130, then --resume",
            _ => "SIGUSR1 at a random moment, exit code 138, then --resume",
        };
        let mut tally = Tally::new("R3", what);
        let (mut random, mut run_number, mut sent) = (number as u64, 0, 0);
        let wanted = amount(20, 200);
        while sent < wanted {
            let kind = &kinds[run_number % kinds.len()];
            let run = folder.path().join(format!("{name}-{run_number}"));
            run_number += 1;
            let mut outcome = Ok(());
            let mut here = 0;
            for _ in 0..10 * PER_RUN {
                if here >= PER_RUN.min(wanted - sent) || run.join("summary.json").exists() {
                    break;
                }
                let mut child = kind.start(&run);
                std::thread::sleep(Duration::from_micros(draw(&mut random, kind.time.as_micros() as u64)));
                let asked = Instant::now();
                // The shell's own: not every machine has the program.
                let kill = format!("kill -{name} {}", child.id());
                let _ = Command::new("sh").args(["-c", &kill]).stderr(Stdio::null()).status();
                let status = child.wait().unwrap();
                match (status.code(), status.signal()) {
                    // It came after the end.
                    (Some(0), _) => {}
                    (Some(found), _) if found == code => {
                        here += 1;
                        slowest = slowest.max(asked.elapsed());
                    }
                    // Before there was anything to save; a shell reports the same code.
                    (None, Some(found)) if found == number => here += 1,
                    other => {
                        here += 1;
                        outcome = Err(format!("SIG{name}: the run ended with {other:?}"));
                    }
                }
            }
            let end = kind.start(&run).wait().unwrap();
            let outcome = outcome.and_then(|()| match end.code() {
                Some(0) => difference(&kind.whole, &run).map_or(Ok(()), Err),
                code => Err(format!("the resumed run ended with {code:?}")),
            });
            (0..here).for_each(|_| tally.count(outcome.clone()).unwrap_or_default());
            sent += here;
            std::fs::remove_dir_all(&run).unwrap();
        }
        tally.finish();
    }
    eprintln!("the slowest run took {:.3} s from the signal to its end", slowest.as_secs_f64());
}
