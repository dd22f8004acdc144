//! Volumes: NIfTI, MetaImage, NRRD, DICOM, NumPy.

use std::path::Path;

use genesis_train::volume::{
    self, CubeFile, ElementType, MAX_VOXELS, ReadOptions, Volume, affine, channel_count, describe,
    read_channels, read_npy, read_volume, write_nifti,
};

use crate::allocation::measured;
use crate::{Outcome, folder, message};

/// Volumes of more voxels are not written and read back, to keep an execution short.
const ROUND_TRIP_VOXELS: usize = 4096;

/// NIfTI-1 and -2, packed or not; bytes with the magic of a pair become a header and a file of voxels.
pub fn nifti(data: &[u8]) -> Outcome {
    folder::with(|place| {
        let pair = [(348, data.get(344..347)), (540, data.get(4..7))]
            .into_iter()
            .find(|(_, magic)| matches!(magic, Some(b"ni1" | b"ni2")));
        match pair {
            Some((length, _)) if data.len() >= length => {
                folder::write(place, "pair.img", &data[length..]);
                volume(&folder::write(place, "pair.hdr", &data[..length]))
            }
            _ => volume(&folder::write(place, "scan.nii", data)),
        }
    })
}

/// MetaImage: `.mha` where the header says `LOCAL`, else a `.mhd` and the rest of the bytes as `data.raw`.
pub fn metaimage(data: &[u8]) -> Outcome {
    folder::with(|place| match crate::need::metaimage_header(data) {
        Some(length) if !data[..length].trim_ascii_end().to_ascii_lowercase().ends_with(b"local") => {
            folder::write(place, "data.raw", &data[length..]);
            volume(&folder::write(place, "scan.mhd", &data[..length]))
        }
        _ => volume(&folder::write(place, "scan.mha", data)),
    })
}

/// NRRD with its data in the same file.
pub fn nrrd(data: &[u8]) -> Outcome {
    folder::with(|place| volume(&folder::write(place, "scan.nrrd", data)))
}

/// DICOM: one file, alone in its folder.
pub fn dicom(data: &[u8]) -> Outcome {
    folder::with(|place| volume(&folder::write(place, "scan.dcm", data)))
}

/// `.npy`: as a volume, as an array, and as a file of cubes.
pub fn npy(data: &[u8]) -> Outcome {
    folder::with(|place| {
        let path = folder::write(place, "cubes.npy", data);
        let as_volume = volume(&path);
        let as_cubes = match measured(|| CubeFile::open(&path)) {
            Ok(file) => {
                let voxels = file.voxels();
                assert_eq!(voxels, file.size().iter().product::<usize>());
                // The file holds at least that much, so this is no more than its own size.
                let mut cube = vec![0.0; voxels];
                for index in [0, file.count() - 1] {
                    file.read(index, &mut cube).expect("a cube of a file that was opened");
                }
                format!("{} cubes", file.count())
            }
            Err(error) => message(&error),
        };
        match measured(|| read_npy(&path)) {
            Ok(array) => {
                assert_eq!(array.values.len(), array.shape.iter().product::<usize>());
                Ok(format!("array; {as_volume:?}; {as_cubes}"))
            }
            Err(error) => {
                assert!(as_volume.is_err(), "a volume of an array that is refused");
                Err(format!("{}; {as_cubes}", message(&error)))
            }
        }
    })
}

fn volume(path: &Path) -> Outcome {
    let channels = measured(|| channel_count(path));
    match measured(|| read_channels(path)) {
        Ok(read) => {
            let number = channels.expect("a header that was read with its voxels");
            assert_eq!(read.len(), number, "as many channels as the header alone tells");
            read.iter().for_each(check);
            assert!(read.windows(2).all(|pair| pair[0].size == pair[1].size), "channels of one size");
        }
        Err(error) => _ = message(&error),
    }
    let result = measured(|| read_volume(path));
    let described = measured(|| describe(path, &ReadOptions::default()));
    match result {
        Ok(volume) => {
            check(&volume);
            let description = described.expect("a volume that was read");
            assert_eq!(description.size, volume.size);
            if volume.voxels.len() <= ROUND_TRIP_VOXELS {
                round_trip(path, &volume);
            }
            let source = &volume.source;
            Ok(format!(
                "{:?} {:?} {:?} {}",
                source.format, source.element, source.byte_order, source.affine_from
            ))
        }
        Err(error) => {
            assert!(described.is_err(), "described, but not read");
            let text = message(&error);
            // The data file of a header may be the one to blame.
            let named = ["scan", "pair", "cubes", "data"].iter().any(|name| text.contains(name));
            assert!(named || text.contains("cannot read"), "names no file: {text}");
            Err(text)
        }
    }
}

/// The volume agrees with itself.
fn check(volume: &Volume) {
    let count: u64 = volume.size.iter().map(|&extent| extent as u64).product();
    assert!(count > 0 && count <= MAX_VOXELS && volume.voxels.len() as u64 == count, "{:?}", volume.size);
    assert!(volume.spacing.iter().all(|length| length.is_finite() && *length > 0.0), "{:?}", volume.spacing);
    affine::check(&volume.affine).expect("an affine matrix that can be used");
    assert!(affine::determinant(&volume.affine).is_finite(), "{:?}", volume.affine);
    assert_eq!(volume.orientation_code().len(), 3);
}

/// Turning it to the canonical orientation and writing it lose nothing.
fn round_trip(beside: &Path, volume: &Volume) {
    let (canonical, change) = volume.clone().to_canonical();
    check(&canonical);
    let back = canonical.reorient(&change.inverse());
    assert!(same(&back.voxels, &volume.voxels), "turned and turned back");
    let path = beside.with_file_name("copy.nii");
    // What single precision cannot hold of the geometry is refused.
    if write_nifti(&path, volume, ElementType::Float32).is_ok()
        && let Ok(copy) = volume::read_volume(&path)
    {
        assert!(same(&copy.voxels, &volume.voxels), "written and read back");
    }
}

fn same(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan())
}
