//! Many executions of one parser in this process.
//!
//! Inputs come from the corpus by [`mutate`](crate::mutate), the same ones for the same seed and number of
//! executions. An input with an outcome not met before (messages count without their digits) joins the pool that
//! further ones are made from: a cheap stand-in for coverage.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::mutate::{Random, mutate};
use crate::{Target, allocation, corpus};

/// Buffers and the like that a reader may take whatever the size of the file: 512 KiB.
pub const SLACK: u64 = 1 << 19;

/// How many times the honest need a reader may take.
pub const FACTOR: u64 = 2;

/// One execution that lasts longer is taken for a hang, and ends the process. Far beyond the slowest ever met.
const HANG: Duration = Duration::from_secs(60);

/// When a campaign ends.
#[derive(Clone, Copy, Debug)]
pub enum Limit {
    /// After this many executions.
    Executions(u64),
    /// After this time.
    Time(Duration),
}

/// What a campaign found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Inputs read.
    pub executions: u64,
    /// Of these, inputs that were read to the end.
    pub accepted: u64,
    /// Different outcomes.
    pub outcomes: usize,
    /// The most memory a reader held, in bytes.
    pub peak: u64,
    /// The largest single request, in bytes.
    pub largest: u64,
    /// The most memory beyond [`SLACK`] over the honest need.
    pub ratio: f64,
    /// The slowest execution.
    pub slowest: Duration,
    /// All of it.
    pub elapsed: Duration,
    /// Promises that were broken, with the file that shows each.
    pub failures: Vec<String>,
}

/// What the guard against hangs looks at.
struct Guard {
    began: Instant,
    /// Milliseconds from `began` to the start of the current execution, and 1; 0 between executions.
    since: AtomicU64,
    input: Mutex<Vec<u8>>,
    done: AtomicBool,
}

impl Guard {
    fn start(target: &'static str, artifacts: PathBuf) -> Arc<Self> {
        let guard = Arc::new(Self {
            began: Instant::now(),
            since: AtomicU64::new(0),
            input: Mutex::new(Vec::new()),
            done: AtomicBool::new(false),
        });
        let watched = Arc::clone(&guard);
        std::thread::spawn(move || {
            while !watched.done.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(200));
                let since = watched.since.load(Ordering::Relaxed);
                let now = watched.began.elapsed().as_millis() as u64;
                if since > 0 && now.saturating_sub(since) > HANG.as_millis() as u64 {
                    let input = watched.input.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    let place = keep(&artifacts, target, "hang", &input);
                    eprintln!("{target}: no end after {HANG:?}: {place}");
                    std::process::abort();
                }
            }
        });
        guard
    }
}

/// Writes an input that broke a promise, and says where.
fn keep(folder: &Path, target: &str, what: &str, input: &[u8]) -> String {
    let name = format!("{target}-{what}-{:08x}", crc32fast::hash(input));
    let path = folder.join(name);
    let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&path, input));
    match written {
        Ok(()) => path.display().to_string(),
        Err(error) => format!("(not kept: {error})"),
    }
}

/// Executes a target on its corpus, then on what `seed` makes of it, until the limit. Inputs that break a promise
/// are written to the folder `artifacts`.
///
/// # Errors
/// A corpus that cannot be read, in words.
pub fn run(target: &'static Target, seed: u64, limit: Limit, artifacts: &Path) -> Result<Report, String> {
    let mut pool: Vec<Vec<u8>> = corpus::files(target.name)?.into_iter().map(|(_, bytes)| bytes).collect();
    let guard = Guard::start(target.name, artifacts.to_path_buf());
    let mut seen = HashSet::new();
    let mut report = Report::default();
    let mut kinds = HashSet::new();
    for input in &pool {
        execute(target, input, &guard, &mut seen, &mut report, &mut kinds, artifacts);
    }
    let mut random = Random::new(seed);
    let reached = |report: &Report| match limit {
        Limit::Executions(count) => report.executions >= count,
        Limit::Time(time) => guard.began.elapsed() >= time,
    };
    while !reached(&report) {
        let mut input = pool[random.below(pool.len())].clone();
        let other = &pool[random.below(pool.len())];
        mutate(&mut random, &mut input, other, target.words);
        if let Some(wrap) = target.wrap.filter(|_| random.below(3) == 0) {
            input = wrap(&input);
        }
        if execute(target, &input, &guard, &mut seen, &mut report, &mut kinds, artifacts) {
            pool.push(input);
        }
    }
    guard.done.store(true, Ordering::Relaxed);
    report.outcomes = seen.len();
    report.elapsed = guard.began.elapsed();
    Ok(report)
}

/// Executes once; true if the outcome is a new one.
fn execute(
    target: &Target,
    input: &[u8],
    guard: &Guard,
    seen: &mut HashSet<String>,
    report: &mut Report,
    kinds: &mut HashSet<String>,
    artifacts: &Path,
) -> bool {
    input.clone_into(&mut guard.input.lock().unwrap_or_else(PoisonError::into_inner));
    allocation::take();
    let start = Instant::now();
    guard.since.store(guard.began.elapsed().as_millis() as u64 + 1, Ordering::Relaxed);
    let outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    guard.since.store(0, Ordering::Relaxed);
    report.slowest = report.slowest.max(start.elapsed());
    report.executions += 1;
    let taken = allocation::take();
    report.peak = report.peak.max(taken.peak);
    report.largest = report.largest.max(taken.largest);
    let need = ((target.content)(input).max(1)) * target.bound;
    report.ratio = report.ratio.max(taken.peak.saturating_sub(SLACK) as f64 / need as f64);
    let mut fail = |kind: String, text: String| {
        // One file for each kind of failure is enough to mend it.
        if kinds.insert(kind.clone()) {
            let what = kind.split(':').next().unwrap_or_default().to_string();
            report.failures.push(format!("{text}: {}", keep(artifacts, target.name, &what, input)));
        }
    };
    if taken.peak > FACTOR * need + SLACK {
        let text = format!("{} bytes of memory for an honest need of {need}", taken.peak);
        fail("memory".into(), text);
    }
    match outcome {
        Ok(outcome) => {
            report.accepted += u64::from(outcome.is_ok());
            let text = outcome.unwrap_or_else(|message| message);
            seen.insert(text.chars().filter(|c| !c.is_ascii_digit()).take(160).collect())
        }
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text =
                text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default();
            let kind: String = text.chars().filter(|c| !c.is_ascii_digit()).take(40).collect();
            fail(format!("panic:{kind}"), format!("panicked: {text}"));
            false
        }
    }
}
