//! Counting what a test of trust survived, for `docs/trust.md`.
//!
//! Such a test runs a small amount by itself (in CI) and a large one where `GENESIS_TRUST=long` is set, and ends with
//! [`Tally::finish`]: one line on standard output, which `cargo xtask trust` collects into the page's table.

use std::fmt::Display;

/// True where the long amounts are wanted (`GENESIS_TRUST=long`).
pub fn is_long() -> bool {
    std::env::var_os("GENESIS_TRUST").is_some_and(|value| value == "long")
}

/// How often to try: `short` by default, `long` where the long amounts are wanted.
pub fn amount(short: u64, long: u64) -> u64 {
    if is_long() { long } else { short }
}

/// How many executions a test made, and which of them it did not survive.
#[derive(Debug)]
pub struct Tally {
    number: &'static str,
    what: &'static str,
    executions: u64,
    misses: Vec<String>,
}

impl Tally {
    /// Begins counting for a test number of the design (`R1` … `S10`) and what is done to the program.
    pub fn new(number: &'static str, what: &'static str) -> Self {
        Self { number, what, executions: 0, misses: Vec::new() }
    }

    /// Counts one execution; `outcome` is an error where the promise was not kept.
    pub fn count<T>(&mut self, outcome: Result<T, impl Display>) -> Option<T> {
        self.executions += 1;
        match outcome {
            Ok(value) => Some(value),
            Err(miss) => {
                self.misses.push(miss.to_string());
                None
            }
        }
    }

    /// Counts many executions at once, of which those in `misses` broke the promise.
    pub fn count_many(&mut self, executions: u64, misses: impl IntoIterator<Item = String>) {
        self.executions += executions;
        self.misses.extend(misses);
    }

    /// Prints the line `trust` collects.
    ///
    /// # Panics
    /// If a promise was not kept, naming the first few misses, or nothing was executed.
    pub fn finish(self) {
        let Self { number, what, executions, misses } = self;
        let survived = executions.saturating_sub(misses.len() as u64);
        println!("trust | {number} | {what} | {executions} | {survived} | {}", misses.len());
        assert!(executions > 0, "{number}: nothing was executed");
        let first = misses.iter().take(5).cloned().collect::<Vec<_>>().join("\n");
        assert!(misses.is_empty(), "{number}: {} of {executions} missed:\n{first}", misses.len());
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn a_miss_fails_the_test_and_nothing_done_does_too() {
        let mut tally = Tally::new("R0", "nothing");
        assert_eq!(tally.count(Ok::<_, &str>(3)), Some(3));
        tally.finish();
        for executions in [0, 1] {
            let mut tally = Tally::new("R0", "nothing");
            (0..executions).for_each(|_| assert!(tally.count::<()>(Err("lost")).is_none()));
            assert!(std::panic::catch_unwind(|| tally.finish()).is_err());
        }
    }
}
