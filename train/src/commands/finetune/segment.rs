//! `genesis finetune segment`: a label for every voxel.

use super::training_args::{TrainingArgs, absolute, set};
use crate::commands::{Common, parse_size, print_json};
use crate::finetune::{
    ClassWeights, LossName, SegmentationConfig, SegmentationSummary, finetune_segmentation,
};
use crate::{Error, Result};
use clap::Args;
use std::path::PathBuf;

/// Trains a network to label every voxel
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  genesis finetune segment --data Task09_Spleen --weights runs/a/checkpoints/best.safetensors --out runs/spleen
  genesis finetune segment --data brats/ --modality mri --labels 1+2+4=tumour --channels FLAIR --out runs/tumour
  genesis finetune segment --data hippocampus/ --modality mri --patch 40x56x40 --splits splits.json --out runs/h
  genesis finetune segment --data liver/ --labels liver --window -160,240 --spacing 1.5,1.5,2 --out runs/liver
  genesis finetune segment --data Task03_Liver --loss dice-ce --class-weights balanced --out runs/tumours
  genesis finetune segment --resume --out runs/liver

Data: a folder with dataset.json (Medical Segmentation Decathlon, nnU-Net), with imagesTr/ and labelsTr/ or
images/ and labels/ (the same file names; _0000, _0001, … are channels), or BraTS or LiTS as distributed.")]
pub struct SegmentArgs {
    /// Folder of scans with label maps
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Foreground classes: values or names, merged by +, named by =; the rest is background
    /// [default: every label]
    #[arg(long, value_delimiter = ',', value_name = "LABEL[+LABEL…][=NAME],…")]
    labels: Vec<String>,
    /// Channels of the scans that are used, by number or name [default: all]
    #[arg(long, value_delimiter = ',', value_name = "CHANNEL,…")]
    channels: Vec<String>,
    /// Extents of a patch, each a multiple of 8 [default: 64x64x32]
    #[arg(long, value_name = "XxYxZ", value_parser = parse_size)]
    patch: Option<[usize; 3]>,
    /// Share of the patches centred on the foreground [default: 0.5]
    #[arg(long, value_name = "SHARE")]
    foreground_share: Option<f64>,
    /// Patches of each case in an epoch [default: 2]
    #[arg(long, value_name = "N")]
    patches_per_case: Option<usize>,
    /// dice, dice-ce, ce, focal, or bce for one class [default: dice-ce]
    #[arg(long, value_name = "NAME")]
    loss: Option<LossName>,
    /// How much each class counts in ce, dice-ce or focal: none, balanced (by the voxels of the training cases), or a
    /// weight for each, the background's first [default: none]
    #[arg(long, value_name = "none|balanced|W,W,…")]
    class_weights: Option<ClassWeights>,
    #[command(flatten)]
    training: TrainingArgs,
}

/// Runs the command.
///
/// # Errors
/// Wrong usage, bad data, a run directory that cannot be written, a training that fails.
pub fn run(args: &SegmentArgs, common: &Common) -> Result<()> {
    let config = resolve(args, common)?;
    let execution = args.training.execution(common)?;
    let summary = finetune_segmentation(&config, &args.training.out, &execution)?;
    report(&summary, args, common)
}

/// The configuration from defaults, file and flags, the later over the earlier.
fn resolve(args: &SegmentArgs, common: &Common) -> Result<SegmentationConfig> {
    let mut config: SegmentationConfig = args.training.config(common)?;
    if let Some(path) = &args.data {
        config.data.folder = absolute(path)?;
    }
    if config.data.folder.as_os_str().is_empty() {
        return Err(Error::Usage("give --data DIR".into()));
    }
    if !args.labels.is_empty() {
        config.data.labels.clone_from(&args.labels);
    }
    if !args.channels.is_empty() {
        config.data.channels.clone_from(&args.channels);
    }
    set(&mut config.patch.size, args.patch);
    set(&mut config.patch.foreground_share, args.foreground_share);
    set(&mut config.patch.per_case, args.patches_per_case);
    set(&mut config.loss, args.loss);
    set(&mut config.class_weights, args.class_weights.clone());
    config.check()?;
    Ok(config)
}

fn report(summary: &SegmentationSummary, args: &SegmentArgs, common: &Common) -> Result<()> {
    if common.json {
        return print_json(summary);
    }
    println!(
        "{} steps, {} epochs in {:.1} s ({:.2} patches/s): validation Dice {:.4}, best {:.4} (epoch {})",
        summary.run.steps,
        summary.run.epochs,
        summary.run.seconds,
        summary.run.samples_per_second,
        summary.last_valid_dice,
        summary.best_valid_dice,
        summary.run.best_epoch
    );
    for (class, dice) in &summary.last_valid_dice_classes {
        match dice {
            Some(dice) => println!("  {class}: {dice:.4}"),
            None => println!("  {class}: in no validation case"),
        }
    }
    println!("{}", args.training.out.join("checkpoints/best.safetensors").display());
    Ok(())
}
