//! The one emulated card and all that programs made on it.

use crate::status::Status;
use crate::streams::{Event, Operation, Stream};
use ptx_emulator::{Capability, Kernel, LaunchError, Memory, Module, Options};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

/// Handle of the primary context.
pub const PRIMARY: usize = 0x10;
/// The legacy default stream: null, or `CU_STREAM_LEGACY`.
pub const LEGACY: usize = 1;

/// A kernel that a program asked for.
#[derive(Clone)]
pub struct Function {
    pub kernel: Kernel,
    pub module: usize,
    /// Permitted dynamic shared memory in bytes.
    pub most_dynamic: usize,
}

/// Everything behind the driver's functions.
pub struct Card {
    pub initialised: bool,
    /// Why there is no such card as was asked for.
    pub impossible: Option<String>,
    pub memory: Memory,
    pub options: Options,
    pub lag: bool,
    /// The wait that is left out, counted from 1.
    skip_wait: Option<u64>,
    /// Waits for an event with work before it that was not done.
    waits: u64,
    report: Option<String>,
    pub contexts: Vec<usize>,
    pub modules: BTreeMap<usize, Module>,
    pub functions: BTreeMap<usize, Function>,
    pub streams: BTreeMap<usize, Stream>,
    pub events: BTreeMap<usize, Event>,
    pub graphs: BTreeMap<usize, Arc<Vec<Operation>>>,
    /// Work being captured instead of run.
    pub captures: BTreeMap<usize, Vec<Operation>>,
    /// Page-locked host memory: address to bytes.
    pub pinned: BTreeMap<usize, usize>,
    next: usize,
    /// What a kernel did wrong; as on a card, nothing works any more afterwards.
    pub failed: Option<Status>,
    pub findings: Vec<String>,
}

static CARD: LazyLock<Mutex<Card>> = LazyLock::new(|| Mutex::new(Card::new()));

thread_local! {
    /// The calling thread's context.
    pub static CURRENT: Cell<usize> = const { Cell::new(0) };
}

/// The card, for one call of the driver.
pub type Lock = MutexGuard<'static, Card>;

/// The card, initialised or not.
pub fn lock() -> Lock {
    CARD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The card after `cuInit`.
pub fn initialised() -> Result<Lock, Status> {
    let card = lock();
    if card.initialised { Ok(card) } else { Err(Status::NotInitialised) }
}

/// The card for a call that needs a context on this thread, and a card that still works.
pub fn current() -> Result<Lock, Status> {
    let card = initialised()?;
    if !card.contexts.contains(&CURRENT.get()) {
        return Err(Status::InvalidContext);
    }
    match card.failed {
        Some(status) => Err(status),
        None => Ok(card),
    }
}

impl Card {
    fn new() -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
        let asked = variable("PTX_EMULATOR_CAPABILITY").map(|text| text.parse::<Capability>());
        let (capability, impossible) = match asked {
            None => (Capability::default(), None),
            Some(Ok(capability)) => (capability, None),
            Some(Err(message)) => {
                (Capability::default(), Some(format!("PTX_EMULATOR_CAPABILITY: {message}")))
            }
        };
        let checks = match variable("PTX_EMULATOR_CHECKS").as_deref() {
            Some("none") => Options::unchecked(),
            _ => Options::default(),
        };
        let options = Options { capability, ..checks };
        let total = variable("PTX_EMULATOR_MEMORY").and_then(|v| v.parse().ok()).unwrap_or(80 << 30);
        let mut streams = BTreeMap::new();
        streams.insert(LEGACY, Stream::new(true));
        Self {
            initialised: false,
            impossible,
            memory: Memory::new(total),
            options,
            lag: variable("PTX_EMULATOR_LAG").as_deref() == Some("1"),
            skip_wait: variable("PTX_EMULATOR_SKIP_WAIT").and_then(|v| v.parse().ok()),
            waits: 0,
            report: variable("PTX_EMULATOR_REPORT"),
            contexts: Vec::new(),
            modules: BTreeMap::new(),
            functions: BTreeMap::new(),
            streams,
            events: BTreeMap::new(),
            graphs: BTreeMap::new(),
            captures: BTreeMap::new(),
            pinned: BTreeMap::new(),
            next: 0x1000,
            failed: None,
            findings: Vec::new(),
        }
    }

    /// A handle that was never used before.
    pub fn handle(&mut self) -> usize {
        self.next += 0x10;
        self.next
    }

    /// Counts a wait, of a stream or the host, for an event with work before it that is not done. True for the one that is
    /// to be left out, as if the program had forgotten it.
    pub fn skips_wait(&mut self) -> bool {
        self.waits += 1;
        let skips = self.skip_wait == Some(self.waits);
        if skips {
            self.report(&format!("wait {} left out", self.waits));
        }
        skips
    }

    /// Appends a line to the report, if one was asked for.
    pub fn report(&self, line: &str) {
        let Some(path) = &self.report else { return };
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        if let Err(error) = file.and_then(|mut file| writeln!(file, "{line}")) {
            eprintln!("ptx-emulator: {path}: {error}");
        }
    }

    /// Keeps and prints what a launch did wrong.
    pub fn finding(&mut self, error: &LaunchError) -> Status {
        let text = format!("ptx-emulator: {error}");
        eprintln!("{text}");
        self.report(&text);
        self.findings.push(text);
        let status = Status::from(error);
        if matches!(error, LaunchError::Finding(_)) {
            self.failed = Some(status);
        }
        status
    }

    /// Whether host memory is page-locked: only then copies may run later.
    pub fn is_pinned(&self, address: usize, bytes: usize) -> bool {
        let before = self.pinned.range(..=address).next_back();
        before.is_some_and(|(start, size)| address + bytes <= start + size)
    }
}
