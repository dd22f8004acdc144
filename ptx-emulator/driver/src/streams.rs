//! The order of work. Each stream is a queue; a task is work, or a wait until another stream has come to a point.
//! Without lag a task runs as soon as it is queued, with lag when something waits for it.

use crate::card::{Card, LEGACY};
use crate::status::Status;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// Work on the card. It runs more than once in graphs.
pub type Operation = Arc<dyn Fn(&mut Card) -> Result<(), Status> + Send + Sync>;

enum Task {
    Run(Operation),
    /// Until a stream has done so many tasks.
    After(usize, u64),
    /// Notes the time for an event.
    Stamp(usize),
}

/// A queue of work.
pub struct Stream {
    tasks: VecDeque<Task>,
    pushed: u64,
    done: u64,
    /// Whether it is ordered with the legacy default stream.
    pub blocking: bool,
    /// The capture that takes its work.
    pub capture: Option<usize>,
}

impl Stream {
    pub fn new(blocking: bool) -> Self {
        Self { tasks: VecDeque::new(), pushed: 0, done: 0, blocking, capture: None }
    }
}

/// A point in a stream.
#[derive(Default, Clone)]
pub struct Event {
    /// Stream and number of tasks before it.
    pub point: Option<(usize, u64)>,
    pub time: Option<Instant>,
    /// The capture in which it was recorded.
    pub capture: Option<usize>,
}

/// The stream a handle means.
pub fn number(handle: usize) -> usize {
    if handle == 0 { LEGACY } else { handle }
}

impl Card {
    pub fn stream(&mut self, handle: usize) -> Result<&mut Stream, Status> {
        let number = number(handle);
        // The per-thread default stream exists without being made.
        if number == 2 {
            return Ok(self.streams.entry(2).or_insert_with(|| Stream::new(true)));
        }
        self.streams.get_mut(&number).ok_or(Status::InvalidHandle)
    }

    fn push(&mut self, stream: usize, task: Task) -> Result<(), Status> {
        let number = number(stream);
        let blocking = self.stream(stream)?.blocking;
        let before: Vec<(usize, u64)> = self
            .streams
            .iter()
            .filter(|&(&other, s)| {
                other != number
                    && s.done < s.pushed
                    && (number == LEGACY && s.blocking || blocking && other == LEGACY)
            })
            .map(|(&other, s)| (other, s.pushed))
            .collect();
        let own = self.stream(stream)?;
        for (other, count) in before {
            own.tasks.push_back(Task::After(other, count));
            own.pushed += 1;
        }
        own.tasks.push_back(task);
        own.pushed += 1;
        if self.lag { Ok(()) } else { self.drain(stream) }
    }

    /// Queues work, or gives it to the capture that the stream takes part in.
    pub fn submit(&mut self, stream: usize, operation: Operation) -> Result<(), Status> {
        if let Some(capture) = self.stream(stream)?.capture {
            self.captures.entry(capture).or_default().push(operation);
            return Ok(());
        }
        self.push(stream, Task::Run(operation))
    }

    /// Runs the first task of a stream.
    pub fn step(&mut self, stream: usize) -> Result<(), Status> {
        let number = number(stream);
        let Some(task) = self.stream(number)?.tasks.pop_front() else { return Ok(()) };
        let result = match task {
            Task::Run(operation) => operation(self),
            Task::After(other, count) => self.run_until(other, count),
            Task::Stamp(event) => {
                if let Some(event) = self.events.get_mut(&event) {
                    event.time = Some(Instant::now());
                }
                Ok(())
            }
        };
        self.stream(number)?.done += 1;
        result
    }

    /// Runs a stream until it has done `count` tasks; a stream that is gone has done all.
    pub fn run_until(&mut self, stream: usize, count: u64) -> Result<(), Status> {
        while self.streams.get(&stream).is_some_and(|s| s.done < count && !s.tasks.is_empty()) {
            self.step(stream)?;
        }
        Ok(())
    }

    /// Runs all of a stream.
    pub fn drain(&mut self, stream: usize) -> Result<(), Status> {
        let pushed = self.stream(stream)?.pushed;
        self.run_until(number(stream), pushed)
    }

    /// Runs all of every stream.
    pub fn drain_all(&mut self) -> Result<(), Status> {
        let all: Vec<usize> = self.streams.keys().copied().collect();
        all.into_iter().try_for_each(|stream| self.drain(stream))
    }

    /// What a synchronous call of the legacy stream waits for: every blocking stream.
    pub fn drain_blocking(&mut self) -> Result<(), Status> {
        let all: Vec<usize> =
            self.streams.iter().filter(|(_, s)| s.blocking).map(|(&number, _)| number).collect();
        all.into_iter().try_for_each(|stream| self.drain(stream))
    }

    /// Whether a stream has nothing left to do.
    pub fn idle(&mut self, stream: usize) -> Result<bool, Status> {
        Ok(self.stream(stream)?.tasks.is_empty())
    }

    /// Records an event at a stream's end.
    pub fn record(&mut self, event: usize, stream: usize) -> Result<(), Status> {
        if !self.events.contains_key(&event) {
            return Err(Status::InvalidHandle);
        }
        let capture = self.stream(stream)?.capture;
        if capture.is_none() {
            self.push(stream, Task::Stamp(event))?;
        }
        let point = Some((number(stream), self.stream(stream)?.pushed));
        let event = self.events.get_mut(&event).ok_or(Status::InvalidHandle)?;
        event.capture = capture;
        if capture.is_none() {
            event.point = point;
        }
        Ok(())
    }

    /// Makes a stream wait for an event; one that was never recorded is no wait.
    pub fn wait(&mut self, stream: usize, event: usize) -> Result<(), Status> {
        let event = self.events.get(&event).cloned().ok_or(Status::InvalidHandle)?;
        if let Some(capture) = event.capture {
            // The stream joins the capture: its work comes after what was captured so far.
            self.stream(stream)?.capture = Some(capture);
            return Ok(());
        }
        if self.stream(stream)?.capture.is_some() {
            return Ok(());
        }
        match event.point {
            Some((other, count)) if !self.passed(&event) => {
                if self.has_work_before(other, count) && self.skips_wait() {
                    Ok(())
                } else {
                    self.push(stream, Task::After(other, count))
                }
            }
            _ => Ok(()),
        }
    }

    /// Whether a stream has work, and not just events, to do until it has done `count` tasks.
    pub fn has_work_before(&self, stream: usize, count: u64) -> bool {
        let Some(found) = self.streams.get(&stream) else { return false };
        found.tasks.iter().take(count.saturating_sub(found.done) as usize).any(|task| match task {
            Task::Run(_) => true,
            Task::Stamp(_) => false,
            Task::After(other, count) => self.streams.get(other).is_some_and(|other| other.done < *count),
        })
    }

    /// Whether an event's point was passed.
    pub fn passed(&self, event: &Event) -> bool {
        event.point.is_none_or(|(stream, count)| self.streams.get(&stream).is_none_or(|s| s.done >= count))
    }
}
