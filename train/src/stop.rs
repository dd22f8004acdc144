//! Asking a training to stop: SIGTERM (a batch system's notice), SIGINT (Ctrl-C) and SIGUSR1 (what mpirun forwards).
//!
//! The handler sets a flag and nothing else; the training looks at it between steps, writes its checkpoint and ends
//! with the shell's code for the signal, 128 + its number. A second signal ends the process at once.

use crate::{Error, Result};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// A signal that asks to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal(usize);

impl Signal {
    /// What a shell reports for a process that this signal ended: 143 for SIGTERM, 130 for SIGINT.
    pub fn exit_code(self) -> u8 {
        u8::try_from(128 + self.0).unwrap_or(u8::MAX)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match i32::try_from(self.0) {
            Ok(signal_hook::consts::SIGTERM) => f.write_str("SIGTERM"),
            Ok(signal_hook::consts::SIGINT) => f.write_str("SIGINT"),
            #[cfg(unix)]
            Ok(signal_hook::consts::SIGUSR1) => f.write_str("SIGUSR1"),
            _ => write!(f, "signal {}", self.0),
        }
    }
}

/// Whether the process was asked to stop; clones see the same. The default is never asked.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// The signal's number, 0 for none yet.
    signal: Arc<AtomicUsize>,
}

impl Stop {
    /// Listens for signals from now on.
    ///
    /// # Errors
    /// A system that lets no handler be installed.
    pub fn on_signals() -> Result<Self> {
        let stop = Self::default();
        let asked = Arc::new(AtomicBool::new(false));
        for signal in Self::signals() {
            let code = 128 + signal;
            // In this order, so that the first signal finds `asked` unset and the second ends the process.
            signal_hook::flag::register_conditional_shutdown(signal, code, Arc::clone(&asked))
                .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&asked)))
                .and_then(|_| {
                    signal_hook::flag::register_usize(signal, Arc::clone(&stop.signal), signal as usize)
                })
                .map_err(|error| Error::Work(format!("no handler for signal {signal}: {error}")))?;
        }
        stop.announce();
        Ok(stop)
    }

    /// Says at once that a signal has arrived: a step may take many seconds. The thread ends with the process, as
    /// the handlers do.
    fn announce(&self) {
        let stop = self.clone();
        let watch = move || loop {
            if let Some(signal) = stop.requested() {
                tracing::warn!(
                    "{signal}: ending after this step; a second signal ends at once, without a checkpoint"
                );
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        };
        // Without a thread to be had the run still stops, silently.
        let _ = std::thread::Builder::new().name("signals".into()).spawn(watch);
    }

    fn signals() -> Vec<i32> {
        vec![
            signal_hook::consts::SIGTERM,
            signal_hook::consts::SIGINT,
            #[cfg(unix)]
            signal_hook::consts::SIGUSR1,
        ]
    }

    /// The signal that asked, if one did.
    pub fn requested(&self) -> Option<Signal> {
        match self.signal.load(Ordering::Relaxed) {
            0 => None,
            number => Some(Signal(number)),
        }
    }

    /// [`Error::Stopped`] once the process was asked to stop, to leave work that will be done again.
    ///
    /// # Errors
    /// Only that.
    pub fn check(&self) -> Result<()> {
        self.requested().map_or(Ok(()), |signal| Err(Error::Stopped { signal, saved: None }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_seen_by_every_clone_and_ends_with_the_shells_code() {
        let stop = Stop::default();
        assert!(stop.requested().is_none() && stop.check().is_ok());
        let clone = stop.clone();
        stop.signal.store(15, Ordering::Relaxed);
        assert_eq!(
            clone.requested().map(|signal| (signal.to_string(), signal.exit_code())),
            Some(("SIGTERM".into(), 143))
        );
        let error = clone.check().unwrap_err();
        assert_eq!((error.exit_code(), error.to_string()), (143, "stopped by SIGTERM".into()));
        stop.signal.store(2, Ordering::Relaxed);
        assert_eq!(clone.check().unwrap_err().exit_code(), 130);
    }
}
