//! What other readers found in the same files: recorded by `tests/oracle/record_volumes.py`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::test_support::{bytes_x_fastest, sha256, shared_data};
use super::*;

/// One volume as nibabel, SimpleITK, pynrrd or NumPy reads it.
#[derive(Deserialize)]
struct Entry {
    file: String,
    frame: Option<usize>,
    frames: Option<u64>,
    shape: [usize; 3],
    spacing: [f64; 3],
    /// The first three rows.
    affine: [[f64; 4]; 3],
    sha256: String,
}

#[derive(Deserialize)]
struct Record {
    volumes: Vec<Entry>,
}

/// The DICOM files and series of the shared data, which this test leaves out.
const DICOM: [&str; 4] = [
    "hippocampus/dicom_series_unlabelled",
    "lung-ct/LIDC-IDRI-0314_dicom",
    "readers/dicom/CT_small.dcm",
    "readers/dicom/MR_small.dcm",
];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/volumes")
}

fn record(name: &str) -> Vec<Entry> {
    let path = fixtures().join(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str::<Record>(&text).expect("the JSON of the script").volumes
}

/// Relative to the matrix's largest part, as accurate as single precision, in which NIfTI-1 stores it.
fn close(a: f64, b: f64, scale: f64) -> bool {
    (a - b).abs() <= 1e-5 * scale.max(1e-3)
}

fn compare(folder: &Path, entry: &Entry) {
    let name = format!("{} (frame {:?})", entry.file, entry.frame);
    let path = folder.join(&entry.file);
    let volume =
        read_volume_with(&path, &ReadOptions::frame(entry.frame)).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(volume.size, entry.shape, "{name}");
    assert_eq!(volume.source.frames, entry.frames.unwrap_or(1), "{name}");
    assert_eq!(volume.source.frame, entry.frame.unwrap_or(0) as u64, "{name}");
    assert_eq!(channel_count(&path).expect("a header") as u64, volume.source.frames, "{name}");
    for axis in 0..3 {
        let (found, wanted) = (volume.spacing[axis], entry.spacing[axis]);
        assert!(close(found, wanted, wanted), "{name}: spacing {found} instead of {wanted}");
    }
    for row in 0..3 {
        let scale = entry.affine[row].iter().fold(0.0f64, |most, value| most.max(value.abs()));
        for column in 0..4 {
            let (found, wanted) = (volume.affine[row][column], entry.affine[row][column]);
            assert!(close(found, wanted, scale), "{name}: {:?} instead of {:?}", volume.affine, entry.affine);
        }
    }
    assert_eq!(sha256(&bytes_x_fastest(&volume)), entry.sha256, "{name}: other voxels");
    let (canonical, _) = volume.to_canonical();
    assert_eq!(canonical.orientation_code(), "LPS", "{name}");
}

#[test]
fn generated_files_of_every_kind_are_read_as_other_readers_read_them() {
    let entries = record("expected.json");
    entries.iter().for_each(|entry| compare(&fixtures(), entry));
    let files: BTreeSet<&str> = entries.iter().map(|entry| entry.file.as_str()).collect();
    let of = |ending: &str| files.iter().filter(|file| file.ends_with(ending)).count();
    assert!(
        files.len() >= 99 && of(".nrrd") >= 20 && of(".mha") >= 12 && of(".npy") >= 10,
        "{}",
        files.len()
    );
    for (file, count) in entries.iter().filter_map(|entry| Some((&entry.file, entry.frames?))) {
        let path = fixtures().join(file);
        let message = read_volume(&path).expect_err("several").to_string();
        assert!(
            message.contains(&format!("holds {count} volumes")) && message.contains("--frame"),
            "{message}"
        );
        assert!(!message.contains('\n'));
        assert!(read_volume_with(&path, &ReadOptions::frame(Some(count as usize))).is_err());
        let channels = read_channels(&path).expect("valid");
        assert_eq!(channels.len() as u64, count);
        for (frame, channel) in channels.iter().enumerate() {
            let chosen = read_volume_with(&path, &ReadOptions::frame(Some(frame))).expect("valid");
            assert_eq!(*channel, chosen);
        }
    }
}

/// Volumes that come with the shared data set, which is not part of the repository.
#[test]
fn every_file_of_the_shared_data_is_read_as_other_readers_read_it() {
    let Some(folder) = shared_data() else { return };
    let entries = record("shared_data.json");
    entries.iter().for_each(|entry| compare(&folder, entry));
    // Every file that is there was recorded, is part of a recorded one, or is left out here by name.
    let recorded: BTreeSet<&str> = entries.iter().map(|entry| entry.file.as_str()).collect();
    let (mut parts, mut dicom) = (0, 0);
    let mut folders = vec![folder.clone()];
    while let Some(next) = folders.pop() {
        for item in fs::read_dir(&next).expect("a folder") {
            let path = item.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(&folder).expect("below").to_string_lossy().replace('\\', "/");
            let extension = path.extension().unwrap_or_default().to_string_lossy().into_owned();
            match extension.as_str() {
                _ if recorded.contains(name.as_str()) => {}
                "dcm" if DICOM.iter().any(|left_out| name.starts_with(left_out)) => dicom += 1,
                // The voxels of a recorded header.
                "raw" | "zraw" => parts += 1,
                "gz" if name == "readers/nrrd/image10x11x12_compressed.raw.gz" => parts += 1,
                "img" => {
                    let pair = read_volume(&path).expect("half of a pair");
                    assert_eq!(pair, read_volume(&path.with_extension("hdr")).expect("the other half"));
                    parts += 1;
                }
                "json" | "csv" | "md" | "txt" => {}
                _ => panic!("{name} is no volume that was recorded"),
            }
        }
    }
    eprintln!(
        "{} real files agree with nibabel, SimpleITK and NumPy; {parts} hold their voxels, {dicom} are DICOM",
        recorded.len()
    );
    assert!(recorded.len() > 400, "only {} files were recorded", recorded.len());
}
