//! Graphs by stream capture: work is noted instead of run, and launched as a whole, any number of times.

use crate::card::current;
use crate::status::Status;
use crate::{driver, put};
use std::ffi::{c_int, c_void};
use std::ptr::without_provenance_mut;
use std::sync::Arc;

driver! {
    /// From now on the stream's work is noted.
    fn cuStreamBeginCapture_v2(stream: *mut c_void, _mode: c_int) {
        let mut card = current()?;
        if stream.addr() < 2 {
            return Err(Status::CaptureUnsupported);
        }
        let own = crate::streams::number(stream.addr());
        let found = card.stream(own)?;
        if found.capture.is_some() {
            return Err(Status::IllegalState);
        }
        found.capture = Some(own);
        card.captures.insert(own, Vec::new());
        Ok(())
    }

    /// Ends a capture in the stream where it began.
    fn cuStreamEndCapture(stream: *mut c_void, graph: *mut *mut c_void) {
        let mut card = current()?;
        let own = crate::streams::number(stream.addr());
        let work = card.captures.remove(&own).ok_or(Status::CaptureUnmatched)?;
        for stream in card.streams.values_mut().filter(|s| s.capture == Some(own)) {
            stream.capture = None;
        }
        for event in card.events.values_mut().filter(|e| e.capture == Some(own)) {
            event.capture = None;
        }
        let handle = card.handle();
        card.graphs.insert(handle, Arc::new(work));
        // SAFETY: the caller's pointer; so below.
        unsafe { put(graph, without_provenance_mut(handle)) }
    }

    /// A graph ready to be launched.
    fn cuGraphInstantiateWithFlags(executable: *mut *mut c_void, graph: *mut c_void, _flags: u64) {
        let mut card = current()?;
        let work = card.graphs.get(&graph.addr()).cloned().ok_or(Status::InvalidHandle)?;
        let handle = card.handle();
        card.graphs.insert(handle, work);
        // SAFETY: see above.
        unsafe { put(executable, without_provenance_mut(handle)) }
    }

    /// There is nothing to prepare.
    fn cuGraphUpload(executable: *mut c_void, _stream: *mut c_void) {
        if current()?.graphs.contains_key(&executable.addr()) { Ok(()) } else { Err(Status::InvalidHandle) }
    }

    /// Queues all work of a graph.
    fn cuGraphLaunch(executable: *mut c_void, stream: *mut c_void) {
        let mut card = current()?;
        let work = card.graphs.get(&executable.addr()).cloned().ok_or(Status::InvalidHandle)?;
        card.report(&format!("graph of {}", work.len()));
        work.iter().try_for_each(|operation| card.submit(stream.addr(), operation.clone()))
    }

    /// Ends a graph; what was instantiated from it stays.
    fn cuGraphDestroy(graph: *mut c_void) {
        current()?.graphs.remove(&graph.addr()).map(drop).ok_or(Status::InvalidHandle)
    }

    /// Ends an instantiated graph.
    fn cuGraphExecDestroy(executable: *mut c_void) {
        current()?.graphs.remove(&executable.addr()).map(drop).ok_or(Status::InvalidHandle)
    }
}
