//! Which files make which scan, and what each becomes.

use super::PredictArgs;
use crate::finetune::{is_brats_segmentation, sequence_file, sequence_of};
use crate::inference::{ScanFiles, split_extension};
use crate::task::{Inputs, TaskDescription};
use crate::volume::{ReadOptions, channel_count, is_volume, is_volume_name, list_volumes, no_volumes};
use crate::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// One scan: its files, and what it becomes.
pub(super) struct Scan {
    pub files: ScanFiles,
    pub out: PathBuf,
    pub probabilities: Option<PathBuf>,
}

impl Scan {
    /// Its first file, to name it by.
    pub fn first(&self) -> &Path {
        self.files.files.first().unwrap_or(&self.out)
    }
}

/// Whether the input is a folder that stands for one scan, a DICOM series, to be written as one file.
pub(super) fn is_series(args: &PredictArgs) -> bool {
    args.input.is_dir() && !args.out.is_dir() && is_volume_name(&args.out) && is_volume(&args.input)
}

/// The scan a single file or a series names. A folder as `--out` gets it under the name it would have among others.
pub(super) fn of_file(args: &PredictArgs, task: &TaskDescription) -> Result<Scan> {
    let folder = is_folder_name(&args.out);
    if !folder && !is_volume_name(&args.out) {
        let out = args.out.display();
        return Err(Error::Usage(format!(
            "--out {out}: the name is of no volume format (.nii.gz, .mha, .nrrd, …); a folder ends in /"
        )));
    }
    let alone = || ScanFiles { files: vec![args.input.clone()], options: options(args), chosen: false };
    let (name, files) = match channels_beside(&args.input, task, args) {
        Some((name, files)) => (name.into(), files),
        None => (args.input.file_name().map_or_else(|| args.input.clone(), PathBuf::from), alone()),
    };
    let beside = args.input.parent().unwrap_or(Path::new(""));
    let target = written_name(beside, name);
    let out = if folder { args.out.join(&target) } else { args.out.clone() };
    if files.files.iter().any(|file| same(file, &out)) {
        return Err(Error::Usage(format!("--out {} would replace the input", out.display())));
    }
    let within = |path: &PathBuf| if is_folder_name(path) { path.join(&target) } else { path.clone() };
    Ok(Scan { files, out, probabilities: args.probabilities.as_ref().map(within) })
}

/// The scans of a folder; files of several channels belong together by name.
pub(super) fn in_folder(args: &PredictArgs, task: &TaskDescription) -> Result<Vec<Scan>> {
    if args.out.is_file() || same(&args.input, &args.out) {
        let out = args.out.display();
        return Err(Error::Usage(format!("--out {out}: for a folder of scans, another folder is needed")));
    }
    let paths = list_volumes(&args.input)?;
    let brats = of_sequences(task) && paths.iter().any(|path| sequence_of(&stem(path)).is_some());
    let mut scans = BTreeMap::<PathBuf, ScanFiles>::new();
    for path in paths {
        if brats && is_brats_segmentation(&stem(&path)) {
            continue;
        }
        let relative = path.strip_prefix(&args.input).unwrap_or(&path);
        match channels_beside(&path, task, args) {
            Some((name, files)) => {
                scans.insert(relative.with_file_name(name), files);
            }
            None => {
                let files = ScanFiles { files: vec![path.clone()], options: options(args), chosen: false };
                scans.insert(relative.to_path_buf(), files);
            }
        }
    }
    if scans.is_empty() {
        return Err(no_volumes(&args.input));
    }
    let mut taken = BTreeSet::new();
    let scan = |(relative, files): (PathBuf, ScanFiles)| {
        let target = written_name(&args.input, relative);
        if !taken.insert(target.clone()) {
            let out = args.out.join(&target);
            return Err(Error::Usage(format!(
                "{}: two scans of the input would be written there",
                out.display()
            )));
        }
        let probabilities = args.probabilities.as_ref().map(|folder| folder.join(&target));
        Ok(Scan { files, out: args.out.join(target), probabilities })
    };
    let scans: Vec<Scan> = scans.into_iter().map(scan).collect::<Result<_>>()?;
    // A folder within the other one, or links, could make one scan's result another scan's input.
    let inputs: BTreeSet<PathBuf> =
        scans.iter().flat_map(|scan| &scan.files.files).filter_map(|path| path.canonicalize().ok()).collect();
    let replaces = |scan: &&Scan| scan.out.canonicalize().is_ok_and(|out| inputs.contains(&out));
    match scans.iter().find(replaces) {
        Some(scan) => Err(Error::Usage(format!("writing {} would replace an input", scan.out.display()))),
        None => Ok(scans),
    }
}

/// The file a scan of a folder becomes, `relative` being its place there: NIfTI for what is not written as it is read.
fn written_name(input: &Path, mut relative: PathBuf) -> PathBuf {
    if relative.as_os_str().is_empty() {
        // The folder itself is a series.
        let whole = input.canonicalize().unwrap_or_else(|_| input.to_path_buf());
        relative = whole.file_name().map_or_else(|| "series".into(), PathBuf::from);
        return with_ending(relative);
    }
    match relative.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase()).as_deref() {
        // The pair is read, but written as one file.
        Some("hdr") => relative.with_extension("nii"),
        Some("dcm" | "dicom" | "ima") if !input.join(&relative).is_dir() => {
            with_ending(relative.with_extension(""))
        }
        _ if input.join(&relative).is_dir() || !is_volume_name(&relative) => with_ending(relative),
        _ => relative,
    }
}

fn with_ending(mut name: PathBuf) -> PathBuf {
    name.as_mut_os_string().push(".nii.gz");
    name
}

/// For a file that is one channel of a scan: the scan's file name, and the files of the channels the network
/// wants, whether they are there or not. A file of several volumes is a scan by itself, and so is any file where
/// the network was trained on scans of one channel.
fn channels_beside(path: &Path, task: &TaskDescription, args: &PredictArgs) -> Option<(String, ScanFiles)> {
    if task.channels == 1 && task.inputs.is_none() {
        return None;
    }
    let name = path.file_name()?.to_str()?;
    let (stem, extension) = split_extension(name);
    let beside = |name: String| path.with_file_name(format!("{name}{extension}"));
    let (case, files) = match (&task.inputs, sequence_of(stem)) {
        (Some(inputs), Some((case, _))) if of_sequences(task) => {
            let names = inputs.channels.iter().filter_map(|input| input.name.as_deref());
            let files: Option<_> = names.map(|wanted| sequence_file(stem, wanted).map(beside)).collect();
            (case, ScanFiles { files: files?, options: options(args), chosen: true })
        }
        _ => numbered(stem, task, options(args), beside)?,
    };
    // A file that cannot be read is reported when it is.
    let single = args.frame.is_some() || channel_count(path).unwrap_or(1) == 1;
    single.then(|| (format!("{case}{extension}"), files))
}

/// How the files are read.
fn options(args: &PredictArgs) -> ReadOptions {
    ReadOptions::frame(args.frame)
}

/// The case and the files for the name `case_0003`.
fn numbered<'a>(
    stem: &'a str,
    task: &TaskDescription,
    options: ReadOptions,
    beside: impl Fn(String) -> PathBuf,
) -> Option<(&'a str, ScanFiles)> {
    let (case, digits) = stem.rsplit_once('_')?;
    if digits.len() != 4 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let file = |number: usize| beside(format!("{case}_{number:04}"));
    let of = task.inputs.as_ref().map_or(task.channels, |inputs| inputs.of);
    if file(of).is_file() {
        // More than scans of training had: refused when the network's channels are looked for.
        let files = (0..).map(file).take_while(|file| file.is_file()).collect();
        return Some((case, ScanFiles { files, options, chosen: false }));
    }
    let files = match &task.inputs {
        Some(inputs) => inputs.channels.iter().map(|input| file(input.number)).collect(),
        None => (0..of).map(file).collect(),
    };
    Some((case, ScanFiles { files, options, chosen: true }))
}

/// Whether the network was trained on sequences named as BraTS names them.
fn of_sequences(task: &TaskDescription) -> bool {
    let known = |name: &str| sequence_file("_flair", name).is_some();
    let all = |inputs: &Inputs| inputs.channels.iter().all(|input| input.name.as_deref().is_some_and(known));
    task.inputs.as_ref().is_some_and(all)
}

fn stem(path: &Path) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    split_extension(&name).0.to_string()
}

/// Whether results are to lie in a folder of this name: one that is there, or is called one.
fn is_folder_name(path: &Path) -> bool {
    path.is_dir()
        || path
            .as_os_str()
            .as_encoded_bytes()
            .last()
            .is_some_and(|&last| std::path::is_separator(last.into()))
}

fn same(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}
