//! `genesis finetune classify`: a class for every cube.

use super::training_args::{TrainingArgs, absolute, set};
use crate::commands::{Common, parse_size, print_json};
use crate::finetune::{
    ClassLoss, ClassWeights, ClassificationConfig, ClassificationSummary, Sampler, finetune_classification,
};
use crate::{Error, Result};
use clap::Args;
use std::path::PathBuf;

/// Trains a network to tell the class of cubes
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  genesis finetune classify --data cubes.csv --weights runs/a/checkpoints/best.safetensors --out runs/nodules
  genesis finetune classify --data candidates_V2.csv --volumes LUNA16/ --train-on subset0-6 --validate-on subset7,subset8 \
--sampler balanced --weights Genesis_Chest_CT.pt --spacing 1,1,1 --out runs/ncc
  genesis finetune classify --data emboli.csv --cube 64x64x64 --class-weights balanced --held-out 0.2 --out runs/ecc
  genesis finetune classify --data brains.csv --modality mri --loss focal --label-fraction 0.1 --out runs/tenth
  genesis finetune classify --resume --out runs/nodules

Data: a CSV file with columns path,label and, if wanted, split, group, x, y, z (LPS millimetres; without, the \
volume's middle), or LUNA16's candidates with --volumes. Without a column split, groups (or else volumes) are held \
out as a whole.")]
pub struct ClassifyArgs {
    /// Table of cubes or of places in volumes, with their classes
    #[arg(long, value_name = "FILE.csv")]
    data: Option<PathBuf>,
    /// Folder the table's volumes lie below [default: the table's]
    #[arg(long, value_name = "DIR")]
    volumes: Option<PathBuf>,
    /// Leave out rows whose volume is missing
    #[arg(long)]
    skip_missing: bool,
    /// The table's splits that train [default: train]
    #[arg(long, value_delimiter = ',', value_name = "SPLIT,…", conflicts_with = "splits")]
    train_on: Vec<String>,
    /// The table's splits that validate [default: valid]
    #[arg(long, value_delimiter = ',', value_name = "SPLIT,…", conflicts_with = "splits")]
    validate_on: Vec<String>,
    /// Extents of a cube, each a multiple of 8 [default: 64x64x32]
    #[arg(long, value_name = "XxYxZ", value_parser = parse_size)]
    cube: Option<[usize; 3]>,
    /// ce (for two classes binary) or focal [default: ce]
    #[arg(long, value_name = "NAME")]
    loss: Option<ClassLoss>,
    /// How much each class counts: none, balanced (by the training cubes), or a weight for each [default: none]
    #[arg(long, value_name = "none|balanced|W,W,…")]
    class_weights: Option<ClassWeights>,
    /// How cubes are drawn: shuffled, or balanced so that every class is seen as often [default: shuffled]
    #[arg(long, value_name = "NAME")]
    sampler: Option<Sampler>,
    #[command(flatten)]
    training: TrainingArgs,
}

/// Runs the command.
///
/// # Errors
/// Wrong usage, bad data, a run directory that cannot be written, a training that fails.
pub fn run(args: &ClassifyArgs, common: &Common) -> Result<()> {
    let config = resolve(args, common)?;
    let execution = args.training.execution(common)?;
    let summary = finetune_classification(&config, &args.training.out, &execution)?;
    report(&summary, args, common)
}

/// The configuration from defaults, file and flags, the later over the earlier.
fn resolve(args: &ClassifyArgs, common: &Common) -> Result<ClassificationConfig> {
    let mut config: ClassificationConfig = args.training.config(common)?;
    let data = &mut config.data;
    if let Some(path) = &args.data {
        data.file = absolute(path)?;
    }
    if data.file.as_os_str().is_empty() {
        return Err(Error::Usage("give --data FILE.csv".into()));
    }
    if let Some(path) = &args.volumes {
        data.volumes = Some(absolute(path)?);
    }
    data.skip_missing |= args.skip_missing;
    if !args.train_on.is_empty() {
        data.train.clone_from(&args.train_on);
    }
    if !args.validate_on.is_empty() {
        data.valid.clone_from(&args.validate_on);
    }
    set(&mut config.cube, args.cube);
    set(&mut config.loss, args.loss);
    set(&mut config.class_weights, args.class_weights.clone());
    set(&mut config.sampler, args.sampler);
    config.check()?;
    Ok(config)
}

fn report(summary: &ClassificationSummary, args: &ClassifyArgs, common: &Common) -> Result<()> {
    if common.json {
        return print_json(summary);
    }
    let auc = |auc: Option<f64>| auc.map_or("-".to_string(), |auc| format!("{auc:.4}"));
    println!(
        "{} steps, {} epochs in {:.1} s ({:.2} cubes/s): validation AUC {}, accuracy {:.4}, best AUC {} (epoch {})",
        summary.run.steps,
        summary.run.epochs,
        summary.run.seconds,
        summary.run.samples_per_second,
        auc(summary.last_valid_auc),
        summary.last_valid_accuracy,
        auc(summary.best_valid_auc),
        summary.run.best_epoch
    );
    println!("{}", args.training.out.join("checkpoints/best.safetensors").display());
    Ok(())
}
