//! A stream of its own for what is sent ahead: the next batch travels while the step before it computes.
//!
//! Two streams have no order but that of events, so whatever one of them reads or writes the other must wait for:
//!
//! ```text
//! computation  ── ... last use of a block, freed by the host ──●────────────── step under way ─────◐── reads the batch
//!                                                     allocated│                                   │done
//! copies                                                       ◐── staging buffer → block ─────────●
//! ```
//!
//! * **Before the copy**: a block from the pool may still be read or written by work that waits on the computation's
//!   stream; that it comes "later on the same stream" is no argument here. An event recorded there once the blocks
//!   are allocated, which their last users precede, holds the copies.
//! * **After it**: nobody gets the tensors before [`Upload::arrive`] has put a wait for the copies into the
//!   computation's stream. An [`Upload`] that is dropped puts it there too, since its blocks go back to the pool, whose
//!   next user is on that stream.
//! * **Staging buffers** are the host's to fill again when the event of their last copy is over ([`Staging`]).

use super::event::Event;
use super::staging::Staging;
use super::{CudaCard, lock};
use crate::{Error, Result};
use cudarc::driver::result;
use cudarc::driver::sys;
use genesis_tensor::{Device, Tensor};
use std::sync::{Arc, Mutex};

/// The stream of copies and what they start from.
pub(super) struct Copies {
    pub stream: sys::CUstream,
    pub staging: Mutex<Staging>,
}

/// Tensors on their way to a card.
#[must_use = "the tensors come out of `arrive`"]
pub struct Upload {
    card: Arc<CudaCard>,
    tensors: Vec<Tensor>,
    /// The last copy; none once the stream of computation waits for it.
    done: Option<Event>,
}

impl CudaCard {
    /// Sends tensors of main memory, which may change as soon as this returns, while the card goes on with what it
    /// was given before. A batch of more than 24 MB makes the host wait for its own first part.
    ///
    /// # Errors
    /// Memory; a card that failed; while a graph is recorded.
    pub fn send(self: &Arc<Self>, tensors: &[Tensor]) -> Result<Upload> {
        self.enter()?;
        let mut sent = Vec::with_capacity(tensors.len());
        for tensor in tensors {
            sent.push(match tensor.device() {
                Device::Cpu => self.unspecified(tensor.shape(), tensor.dtype())?,
                _ => self.place(tensor)?,
            });
        }
        let done = self.copy_ahead(tensors, &mut sent);
        if done.is_err() {
            // Some copies may be under way to blocks that the pool gets back now.
            // SAFETY: the stream lives until the card is dropped.
            let _ = unsafe { result::stream::synchronize(self.copies.stream) };
        }
        Ok(Upload { done: Some(done?), card: self.clone(), tensors: sent })
    }

    /// Queues the copies; the event behind the last one.
    fn copy_ahead(&self, from: &[Tensor], to: &mut [Tensor]) -> Result<Event> {
        let fail = |error| -> Error { self.failed("an upload ahead", error).into() };
        let _turn = self.unrecorded_turn("an upload ahead")?;
        let allocated = Event::new().map_err(fail)?;
        // SAFETY: events and streams are of this card's context, which is current.
        unsafe { allocated.record(self.stream) }.map_err(fail)?;
        // SAFETY: as above.
        unsafe { allocated.hold(self.copies.stream) }.map_err(fail)?;
        let host = from.iter().zip(to).filter(|(from, _)| from.device() == Device::Cpu);
        for (from, to) in host {
            let Some(address) = to.address_mut()? else { continue };
            let mut staging = lock(&self.copies.staging);
            // SAFETY: the context is current, and the block is as long as the tensor it was allocated for.
            unsafe { staging.upload(from.bytes(), address, self.copies.stream) }?;
        }
        let done = Event::new().map_err(fail)?;
        // SAFETY: as above.
        unsafe { done.record(self.copies.stream) }.map_err(fail)?;
        Ok(done)
    }
}

impl Upload {
    /// The tensors on the card, for whatever is asked of it from now on: that waits for the copies, the host does not.
    ///
    /// # Errors
    /// A card that failed.
    pub fn arrive(mut self) -> Result<Vec<Tensor>> {
        self.hold()?;
        Ok(std::mem::take(&mut self.tensors))
    }

    /// Lets the stream of computation wait for the copies.
    fn hold(&mut self) -> Result<()> {
        if let Some(done) = &self.done {
            self.card.enter()?;
            let _turn = self.card.unrecorded_turn("the arrival of an upload")?;
            // SAFETY: event and stream are of this card's context, which is current.
            unsafe { done.hold(self.card.stream) }
                .map_err(|error| self.card.failed("waiting for an upload ahead", error))?;
        }
        self.done = None;
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if self.hold().is_err() {
            // SAFETY: the stream lives as long as the card. Where this fails too, the card does nothing any more.
            let _ = unsafe { result::stream::synchronize(self.card.copies.stream) };
        }
    }
}
