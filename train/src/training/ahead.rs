//! The next batch travels to the card while the step before it computes.

use super::on_nan::KeptBatch;
use super::prefetch::Prefetch;
use crate::{Precision, Result};
use genesis_kernels::Context;
use genesis_kernels::cuda::Upload;
use genesis_tensor::Tensor;

/// A batch of a training step.
pub trait StepBatch: Send + 'static {
    /// The batch again, its tensors shared.
    fn keep(&self) -> KeptBatch;

    /// Its tensors, the network's input first.
    fn tensors_mut(&mut self) -> Vec<&mut Tensor>;
}

/// A batch where the step wants it.
pub struct ReadyBatch<B> {
    /// With its tensors on the card, if there is one.
    pub batch: B,
    /// As it was made, in main memory.
    pub kept: KeptBatch,
}

/// Batches in order. With a card the one after is sent ahead, if it is made by the time it can be; without, nothing is
/// sent anywhere.
pub struct Ahead<B: StepBatch> {
    batches: Prefetch<B>,
    precision: Precision,
    /// The next one, or why there is none: told when its turn comes.
    next: Option<Result<Sent<B>>>,
}

struct Sent<B> {
    ready: ReadyBatch<B>,
    upload: Option<Upload>,
}

impl<B: StepBatch> Ahead<B> {
    /// The batches of a loader, for a network that computes in `precision`.
    pub fn new(batches: impl Into<Prefetch<B>>, precision: Precision) -> Self {
        Self { batches: batches.into(), precision, next: None }
    }

    /// The next batch, or `None` after the last.
    ///
    /// # Errors
    /// What went wrong making it; memory; a card that failed.
    pub fn next_batch(&mut self, cx: &Context) -> Result<Option<ReadyBatch<B>>> {
        let sent = match self.next.take() {
            Some(sent) => sent?,
            None => match self.batches.next_batch()? {
                Some(batch) => self.send(cx, batch)?,
                None => return Ok(None),
            },
        };
        let ready = sent.arrive()?;
        if cx.card.is_some() {
            self.next = self.batches.ready_batch().map(|batch| self.send(cx, batch?));
        }
        Ok(Some(ready))
    }

    fn send(&self, cx: &Context, mut batch: B) -> Result<Sent<B>> {
        let kept = batch.keep();
        let Some(card) = &cx.card else {
            return Ok(Sent { ready: ReadyBatch { batch, kept }, upload: None });
        };
        let mut tensors = batch.tensors_mut();
        if let Some(input) = tensors.first_mut() {
            **input = self.precision.input(cx, (*input).clone())?;
        }
        let tensors: Vec<Tensor> = tensors.into_iter().map(|tensor| tensor.clone()).collect();
        let upload = Some(card.send(&tensors)?);
        Ok(Sent { ready: ReadyBatch { batch, kept }, upload })
    }
}

impl<B: StepBatch> Sent<B> {
    fn arrive(self) -> Result<ReadyBatch<B>> {
        let mut ready = self.ready;
        if let Some(upload) = self.upload {
            for (tensor, arrived) in ready.batch.tensors_mut().into_iter().zip(upload.arrive()?) {
                *tensor = arrived;
            }
        }
        Ok(ready)
    }
}
