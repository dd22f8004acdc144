//! What a user sees while something takes long, and where the log goes: standard error, so that
//! standard output carries results alone.
//!
//! On a terminal a bar shows rate and time left, and log lines are printed above it. Elsewhere (a
//! file, a job scheduler's log) plain lines appear every few seconds. With `--quiet` nothing does.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use genesis_model::error::printable;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::debug_fn;

/// The least time between two plain lines.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// All bars of the process; the log asks it to step aside while a line is printed.
fn bars() -> &'static MultiProgress {
    static BARS: OnceLock<MultiProgress> = OnceLock::new();
    BARS.get_or_init(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10)))
}

/// The progress of one long piece of work. It may be shared between threads, and leaves the screen
/// tidy when dropped early.
#[derive(Debug)]
pub struct Progress {
    display: Display,
}

#[derive(Debug)]
enum Display {
    Silent,
    Bar(ProgressBar),
    Lines(Mutex<Lines>),
}

impl Progress {
    /// Starts showing work of `total` equal steps under `title`; with `quiet`, shows nothing.
    pub fn new(title: &str, total: u64, quiet: bool) -> Self {
        // Titles and messages may name files.
        let title = &printable(title);
        let display = if quiet {
            Display::Silent
        } else if io::stderr().is_terminal() {
            Display::Bar(bar(title, total))
        } else {
            Display::Lines(Mutex::new(Lines::new(title, total, Instant::now())))
        };
        Self { display }
    }

    /// Reports `steps` further steps done.
    pub fn advance(&self, steps: u64) {
        match &self.display {
            Display::Silent => {}
            Display::Bar(bar) => bar.inc(steps),
            Display::Lines(lines) => {
                let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
                print(lines.advance(steps, Instant::now()));
            }
        }
    }

    /// Counts the work as `steps` done already, for a run that is resumed; they do not enter the rate.
    pub fn start_at(&self, steps: u64) {
        match &self.display {
            Display::Silent => {}
            Display::Bar(bar) => {
                bar.set_position(steps);
                bar.reset_eta();
            }
            Display::Lines(lines) => {
                let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
                lines.done = steps;
                lines.resumed_at = steps;
            }
        }
    }

    /// Shows `message` beside the figures, such as the current loss, until the next one.
    pub fn message(&self, message: impl AsRef<str>) {
        let message = printable(message.as_ref());
        match &self.display {
            Display::Silent => {}
            Display::Bar(bar) => bar.set_message(message),
            Display::Lines(lines) => {
                lines.lock().unwrap_or_else(PoisonError::into_inner).message = message;
            }
        }
    }

    /// Ends the display: the bar vanishes from a terminal, a log gets its last line.
    pub fn finish(&self) {
        match &self.display {
            Display::Silent => {}
            Display::Bar(bar) => bar.finish_and_clear(),
            Display::Lines(lines) => {
                print(lines.lock().unwrap_or_else(PoisonError::into_inner).finish(Instant::now()));
            }
        }
    }
}

impl Drop for Progress {
    /// Clears a bar that an error left behind; plain lines need no clearing.
    fn drop(&mut self) {
        if let Display::Bar(bar) = &self.display {
            bar.finish_and_clear();
            bars().remove(bar);
        }
    }
}

fn bar(title: &str, total: u64) -> ProgressBar {
    const TEMPLATE: &str = "{prefix:.bold}  {bar:32.cyan/dim}  {pos}/{len}  {per_sec}  {eta} left  {msg}";
    let bar = bars().add(ProgressBar::new(total));
    // The template is checked by a test; the library's plain bar stands in should it ever be refused.
    let style = ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar());
    let style = style.progress_chars("━╸─").with_key(
        "per_sec",
        |state: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
            // A `fmt` error can only come from the receiving string, which gives none.
            let _ = out.write_str(&rate(state.per_sec()));
        },
    );
    bar.set_style(style);
    bar.set_prefix(title.to_string());
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}

/// Prints a plain line. Nobody may be reading any more; that must not stop the work.
fn print(line: Option<String>) {
    if let Some(line) = line {
        let _ = writeln!(io::stderr().lock(), "{line}");
    }
}

/// Prints a line on standard error while the bars step aside; what a file put into it is escaped.
pub fn note(line: &str) {
    bars().suspend(|| print(Some(printable(line))));
}

/// Plain lines: decides when to print what. The clock is passed in.
#[derive(Debug)]
struct Lines {
    title: String,
    total: u64,
    done: u64,
    resumed_at: u64,
    message: String,
    began: Instant,
    last_line: Instant,
    finished: bool,
}

impl Lines {
    fn new(title: &str, total: u64, now: Instant) -> Self {
        Self {
            title: title.into(),
            total,
            done: 0,
            resumed_at: 0,
            message: String::new(),
            began: now,
            last_line: now,
            finished: false,
        }
    }

    /// The line to print after `steps` more steps, if it is time for one.
    fn advance(&mut self, steps: u64, now: Instant) -> Option<String> {
        self.done += steps;
        if self.finished || now.duration_since(self.last_line) < LINE_INTERVAL {
            return None;
        }
        self.last_line = now;
        Some(self.line(now))
    }

    /// The last line, once.
    fn finish(&mut self, now: Instant) -> Option<String> {
        if self.finished {
            return None;
        }
        self.finished = true;
        Some(self.line(now))
    }

    fn line(&self, now: Instant) -> String {
        let elapsed = now.duration_since(self.began);
        let steps_per_second = (self.done - self.resumed_at) as f64 / elapsed.as_secs_f64().max(1e-9);
        let mut line = format!("{}: {}/{}", self.title, self.done, self.total);
        if let Some(percent) = (self.done * 100).checked_div(self.total) {
            line += &format!(" ({percent} %)");
        }
        line += &format!(", {}", rate(steps_per_second));
        let left = self.total.saturating_sub(self.done);
        if self.finished || left == 0 {
            line += &format!(", took {}", duration(elapsed.as_secs_f64()));
        } else if steps_per_second > 0.0 {
            line += &format!(", {} left", duration(left as f64 / steps_per_second));
        }
        if !self.message.is_empty() {
            line += &format!(", {}", self.message);
        }
        line
    }
}

/// Steps a second, or seconds a step where those are longer.
fn rate(steps_per_second: f64) -> String {
    if !steps_per_second.is_finite() || steps_per_second <= 0.0 {
        "-/s".into()
    } else if steps_per_second < 0.5 {
        format!("{:.1} s each", 1.0 / steps_per_second)
    } else if steps_per_second < 100.0 {
        format!("{steps_per_second:.1}/s")
    } else {
        format!("{steps_per_second:.0}/s")
    }
}

/// Seconds as `8s`, `4m 05s` or `3h 20m`.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..60 => format!("{whole}s"),
        60..3600 => format!("{}m {:02}s", whole / 60, whole % 60),
        _ => format!("{}h {:02}m", whole / 3600, whole % 3600 / 60),
    }
}

/// Sends the log to standard error: errors alone with `quiet`, details with `verbose`. Levels are
/// coloured on a terminal unless `NO_COLOR` is set and not empty (no-color.org). A second call, as in
/// tests, changes nothing.
pub fn init_logging(verbose: bool, quiet: bool) {
    let colour =
        io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let subscriber = tracing_subscriber::fmt()
        .compact()
        .without_time()
        .with_target(verbose)
        .with_ansi(colour)
        .with_max_level(level(verbose, quiet))
        // Messages name files and what files hold.
        .fmt_fields(debug_fn(|writer, field, value| {
            let text = printable(&format!("{value:?}"));
            if field.name() == "message" {
                write!(writer, "{text}")
            } else {
                write!(writer, "{field}={text}")
            }
        }))
        .with_writer(BesideBars)
        .finish();
    // Fails only if a log is already set up: then that one stays.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

fn level(verbose: bool, quiet: bool) -> LevelFilter {
    match (quiet, verbose) {
        (true, _) => LevelFilter::ERROR,
        (false, true) => LevelFilter::DEBUG,
        (false, false) => LevelFilter::INFO,
    }
}

/// Writes to standard error while the bars step aside.
#[derive(Clone, Copy, Debug)]
struct BesideBars;

impl Write for BesideBars {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // The log hands over whole lines in one call.
        bars().suspend(|| io::stderr().lock().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().lock().flush()
    }
}

impl<'a> MakeWriter<'a> for BesideBars {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        *self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn plain_lines_come_every_five_seconds_and_at_the_end() {
        let start = Instant::now();
        let mut lines = Lines::new("Pre-training", 200, start);
        lines.message = "loss 0.012".into();
        let mut printed = Vec::new();
        for second in 1..=20 {
            printed.extend(lines.advance(10, start + second * SECOND));
        }
        printed.extend(lines.finish(start + 21 * SECOND));
        printed.extend(lines.finish(start + 22 * SECOND));
        assert_eq!(
            printed,
            [
                "Pre-training: 50/200 (25 %), 10.0/s, 15s left, loss 0.012",
                "Pre-training: 100/200 (50 %), 10.0/s, 10s left, loss 0.012",
                "Pre-training: 150/200 (75 %), 10.0/s, 5s left, loss 0.012",
                "Pre-training: 200/200 (100 %), 10.0/s, took 20s, loss 0.012",
                "Pre-training: 200/200 (100 %), 9.5/s, took 21s, loss 0.012",
            ]
        );
    }

    #[test]
    fn a_resumed_run_s_rate_counts_its_own_steps() {
        let start = Instant::now();
        let mut lines = Lines::new("x", 1000, start);
        (lines.done, lines.resumed_at) = (900, 900);
        let line = lines.advance(10, start + 10 * SECOND);
        assert_eq!(line.as_deref(), Some("x: 910/1000 (91 %), 1.0/s, 1m 30s left"));
    }

    #[test]
    fn an_empty_or_unstarted_work_prints_sensibly() {
        let start = Instant::now();
        let mut lines = Lines::new("x", 0, start);
        assert_eq!(lines.finish(start).as_deref(), Some("x: 0/0, -/s, took 0s"));
        let mut lines = Lines::new("x", 5, start);
        assert_eq!(lines.advance(0, start + 6 * SECOND).as_deref(), Some("x: 0/5 (0 %), -/s"));
    }

    #[test]
    fn rates_and_durations_read_well() {
        assert_eq!(
            [0.0, 0.02, 0.5, 17.34, 1234.5].map(rate),
            ["-/s", "50.0 s each", "0.5/s", "17.3/s", "1234/s"]
        );
        assert_eq!([7.6, 245.0, 12_000.0, -1.0].map(duration), ["8s", "4m 05s", "3h 20m", "0s"]);
    }

    #[test]
    fn the_bar_s_template_is_valid_and_a_quiet_progress_is_silent() {
        let bar = bar("title", 3);
        bar.inc(1);
        assert_eq!((bar.position(), bar.length(), bar.prefix().as_str()), (1, Some(3), "title"));
        let quiet = Progress::new("title", 3, true);
        quiet.advance(1);
        quiet.message("loss");
        quiet.finish();
        assert!(matches!(quiet.display, Display::Silent));
    }

    #[test]
    fn quiet_wins_over_verbose() {
        assert_eq!(level(true, true), LevelFilter::ERROR);
        assert_eq!(level(true, false), LevelFilter::DEBUG);
        assert_eq!(level(false, false), LevelFilter::INFO);
    }
}
