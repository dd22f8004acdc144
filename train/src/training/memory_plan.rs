//! What a training step takes, found before the first one by a rehearsal of it; too much is refused at once.
//!
//! A process that takes more than it may is ended by the system in the middle of a run, without a word. Containers
//! have a limit below the machine's memory, so this happens on servers that seem to have enough.

use super::trainer::Trainer;
use crate::{Error, Result};
use genesis_autograd::{Tape, Var};
use genesis_kernels::Context;
use genesis_model::Network;
use genesis_tensor::{Shape, Tensor, memory};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// What one step takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MemoryPlan {
    /// Highest memory use of tensors in bytes; beside it stands what was measured, `peak_memory_bytes`.
    pub planned_memory_bytes: Option<usize>,
    /// Highest memory use of the process in bytes.
    pub planned_resident_bytes: Option<usize>,
}

/// The batches of a run.
pub struct BatchShapes {
    /// The input, `[N, D, H, W, C]`.
    pub input: Vec<usize>,
    /// What else a batch holds: targets, labels, a mask.
    pub others: Vec<Vec<usize>>,
    /// Threads that make further batches meanwhile.
    pub loader_threads: usize,
    /// A checkpoint lies in memory, to go on from, and is dropped before one is written.
    pub checkpoint_is_loaded: bool,
}

impl MemoryPlan {
    /// Rehearses a step of `trainer` and refuses one that takes more than this process may have. `loss` makes the loss of
    /// the logits and the tensors of [`BatchShapes::others`]. With a card nothing is found out.
    ///
    /// # Errors
    /// One line that says how much is needed, how much there is, and what takes less.
    pub fn check<N: Network>(
        trainer: &mut Trainer<N>,
        shapes: &BatchShapes,
        loss: impl Fn(&Context, &mut Tape, Var, Vec<Tensor>) -> Result<Var>,
    ) -> Result<Self> {
        if trainer.cx.card.is_some() {
            return Ok(Self::default());
        }
        memory::release_free();
        let (before, resident) = (memory::statistics(), memory::resident_bytes());
        memory::reset_peak();
        let outcome = rehearse(trainer, shapes, loss);
        let after = memory::statistics();
        memory::release_free();
        memory::reset_peak();
        outcome.map_err(|error| match error.is_out_of_memory() {
            true => Error::Work(format!("a training step: {error}; {LESS}")),
            false => error,
        })?;
        // At most one more than there are threads waits, see `Prefetch`.
        let waiting = (shapes.loader_threads.max(1) + 1) * shapes.bytes();
        let planned = after.peak + waiting;
        // Blocks do not fill all that is held, and some of it was held before; a checkpoint is put together beside them.
        let held =
            after.held.saturating_sub(before.held).max(after.peak.saturating_sub(before.live)) + waiting;
        let checkpoint = if shapes.checkpoint_is_loaded { 0 } else { checkpoint_bytes(trainer) };
        let planned_resident = resident.map(|now| now + held + checkpoint);
        tracing::info!("a training step takes {} of memory for tensors", gigabytes(planned));
        if let (Some(needed), Some((allowed, whose))) = (planned_resident, allowed())
            && needed > allowed
        {
            let (needed, allowed) = (gigabytes(needed), gigabytes(allowed));
            let cause = format!("training needs about {needed} of memory, and {whose} is {allowed}: {LESS}");
            return Err(Error::Work(cause));
        }
        Ok(Self { planned_memory_bytes: Some(planned), planned_resident_bytes: planned_resident })
    }
}

const LESS: &str = "a smaller --batch-size, --width or cube, --recompute 2 or --precision bf16 takes less";

impl BatchShapes {
    fn bytes(&self) -> usize {
        let elements = |shape: &Vec<usize>| shape.iter().product::<usize>();
        4 * (elements(&self.input) + self.others.iter().map(elements).sum::<usize>())
    }
}

/// A copy of the parameters and of what the optimiser remembers.
fn checkpoint_bytes<N: Network>(trainer: &Trainer<N>) -> usize {
    4 * trainer.network.parameters().count() * (1 + trainer.updater.state.len())
}

fn rehearse<N: Network>(
    trainer: &mut Trainer<N>,
    shapes: &BatchShapes,
    loss: impl Fn(&Context, &mut Tape, Var, Vec<Tensor>) -> Result<Var>,
) -> Result<()> {
    let tensor = |shape: &Vec<usize>| Tensor::zeros(Shape::new(shape));
    let all = std::iter::once(&shapes.input).chain(&shapes.others);
    let batch = all.map(tensor).collect::<Result<Vec<_>, _>>()?;
    // A step's batch is kept until the step is known to be sound.
    let _kept = batch.clone();
    trainer.rehearse(batch, loss)
}

fn gigabytes(bytes: usize) -> String {
    format!("{:.2} GB", bytes as f64 / 1e9)
}

/// The most memory this process may have, and what says so.
fn allowed() -> Option<(usize, &'static str)> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = limit_of_groups(&groups, Path::new("/sys/fs/cgroup"));
    let machine = memory::machine_bytes().map(|bytes| (bytes, "what the machine has"));
    let group = group.map(|bytes| (bytes, "the limit of its control group (container)"));
    // Address space is needed for more than memory, so this refuses only what cannot be.
    let space =
        memory::address_space_bytes().map(|bytes| (bytes, "the limit of its address space (ulimit -v)"));
    machine.into_iter().chain(group).chain(space).min_by_key(|&(bytes, _)| bytes)
}

/// The lowest limit of the control groups in `groups` (lines of `/proc/self/cgroup`) and of those around them.
///
/// `0::/a/b` is one of version 2 (`memory.max`), `7:memory:/a` of version 1 (`memory.limit_in_bytes`).
fn limit_of_groups(groups: &str, root: &Path) -> Option<usize> {
    let folders = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?.trim_start_matches('/'));
        match controllers {
            "" => Some((root.to_path_buf(), path, "memory.max")),
            _ if controllers.split(',').any(|each| each == "memory") => {
                Some((root.join("memory"), path, "memory.limit_in_bytes"))
            }
            _ => None,
        }
    });
    let limit = |file: PathBuf| std::fs::read_to_string(file).ok()?.trim().parse::<usize>().ok();
    folders
        .flat_map(|(root, path, file)| {
            Path::new(path).ancestors().map(move |folder| root.join(folder).join(file)).collect::<Vec<_>>()
        })
        .filter_map(limit)
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_limit_of_a_group_and_those_around_it_counts() {
        let root = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let limit = |groups: &str| limit_of_groups(groups, root.path());
        assert_eq!(limit("0::/jobs/mine\n"), None);
        write("jobs/memory.max", "5000\n");
        write("jobs/mine/memory.max", "max\n");
        write("memory.max", "9000\n");
        assert_eq!(limit("0::/jobs/mine\n"), Some(5000));
        assert_eq!(limit("0::/\n"), Some(9000));
        write("memory/old/memory.limit_in_bytes", "700\n");
        assert_eq!(limit("3:cpu,memory:/old\n2:pids:/x\n0::/jobs\n"), Some(700));
        assert_eq!(limit("2:pids:/old\nnonsense"), None);
    }
}
