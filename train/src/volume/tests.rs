//! The volume type itself, finding and converting files, and every real file of the shared data set.

use std::fs;

use serde_json::Value;

use super::test_support::{assert_affine, bytes_x_fastest, counting_volume, sha256, shared_data};
use super::*;

#[test]
fn a_volume_must_have_as_many_voxels_as_its_size_says() {
    assert!(Volume::new(vec![0.0; 24], [2, 3, 4], affine::IDENTITY).is_ok());
    assert!(Volume::new(vec![0.0; 23], [2, 3, 4], affine::IDENTITY).is_err());
    assert!(Volume::new(Vec::new(), [0, 3, 4], affine::IDENTITY).is_err());
    assert!(Volume::new(vec![0.0; 24], [usize::MAX, usize::MAX, 2], affine::IDENTITY).is_err());
}

#[test]
fn voxels_that_are_not_finite_are_counted_and_placed() {
    let mut volume = Volume::new(vec![0.0; 24], [2, 3, 4], affine::IDENTITY).expect("valid");
    assert!(volume.check_finite().is_ok());
    let place = volume.index([1, 0, 2]);
    volume.voxels[place] = f32::NAN;
    volume.voxels[23] = f32::INFINITY;
    let message = volume.check_finite().expect_err("two bad voxels").to_string();
    assert!(message.contains("2 of 24 voxels") && message.contains("(1, 0, 2)"), "{message}");
}

#[test]
fn volumes_are_found_below_a_folder_and_other_files_are_not() {
    let folder = tempfile::tempdir().expect("folder");
    let root = folder.path();
    fs::create_dir_all(root.join("b/c")).expect("folder");
    fs::create_dir_all(root.join(".hidden")).expect("folder");
    for name in [
        "z.nii",
        "b/A.NII.GZ",
        "b/c/m.mhd",
        "b/c/m.raw",
        "m.mha",
        "p.hdr",
        "p.img",
        "envi.hdr",
        "._z.nii",
        ".hidden/x.nii",
        "cubes.npy",
        "readme.txt",
        "x.gz",
        "n.nrrd",
    ] {
        fs::write(root.join(name), b"").expect("write");
    }
    #[cfg(unix)]
    std::os::unix::fs::symlink(root, root.join("b/circle")).expect("link");
    let found = list_volumes(root).expect("listed");
    let names: Vec<_> = found
        .iter()
        .map(|path| path.strip_prefix(root).expect("below").to_string_lossy().into_owned())
        .collect();
    assert_eq!(names, ["b/A.NII.GZ", "b/c/m.mhd", "m.mha", "p.hdr", "z.nii"]);
    assert!(list_volumes(&root.join("none")).is_err());
}

#[test]
fn conversion_keeps_voxels_geometry_and_the_number_format_where_it_can() {
    let folder = tempfile::tempdir().expect("folder");
    let path = |name: &str| folder.path().join(name);
    let mut volume = counting_volume([5, 4, 18]);
    write_volume(&path("a.mha"), &volume, ElementType::Int16).expect("written");
    convert(&path("a.mha"), &path("b.nii.gz")).expect("converted");
    convert(&path("b.nii.gz"), &path("c.mhd")).expect("converted");
    convert(&path("c.mhd"), &path("d.nii")).expect("converted");
    let back = read_volume(&path("d.nii")).expect("valid");
    assert_eq!((&back.voxels, back.source.element), (&volume.voxels, ElementType::Int16));
    assert_affine(&back.affine, &volume.affine, "after three conversions");
    convert(&path("d.nii"), &path("e.npy")).expect("converted");
    assert_eq!(read_volume(&path("e.npy")).expect("valid").voxels, volume.voxels);
    volume.voxels[7] = 0.25;
    volume.source.element = ElementType::Int16;
    assert_eq!(files::exact_element(&volume), ElementType::Float32);
    assert_eq!(convert(&path("d.nii"), &path("f.txt")).expect_err("unknown").exit_code(), 2);
    assert_eq!(convert(&path("f.txt"), &path("d.nii")).expect_err("unknown").exit_code(), 1);
}

#[test]
fn a_description_tells_what_the_file_holds() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("a.nii.gz");
    let mut volume = counting_volume([2, 3, 4]);
    volume.voxels[5] = f32::NAN;
    write_nifti(&path, &volume, ElementType::Float32).expect("written");
    let description = describe(&path).expect("valid");
    assert_eq!((description.minimum, description.maximum), (Some(-30.0), Some(-7.0)));
    assert_eq!((description.not_finite, description.dtype), (1, "float32"));
    let text = description.to_string();
    assert!(text.contains("NIfTI-1, compressed") && text.contains("2 x 3 x 4 voxels"), "{text}");
    assert!(text.lines().count() < 24, "one screen");
    let json = serde_json::to_value(&description).expect("JSON");
    assert_eq!(json["size"], serde_json::json!([2, 3, 4]));
    assert_eq!(json["orientation"], volume.orientation_code());
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().map_or_else(Vec::new, |list| list.iter().filter_map(Value::as_f64).collect())
}

/// The RAS matrix recorded by nibabel, or made from what SimpleITK recorded in LPS.
fn recorded_affine(entry: &Value) -> Affine {
    let mut affine = affine::IDENTITY;
    if let Some(rows) = entry["affine_ras"].as_array() {
        for (row, values) in rows.iter().enumerate() {
            affine[row].copy_from_slice(&numbers(values));
        }
        return affine;
    }
    let (spacing, origin) = (numbers(&entry["spacing"]), numbers(&entry["origin_lps"]));
    let direction = numbers(&entry["direction_lps"]);
    for row in 0..3 {
        let sign = if row < 2 { -1.0 } else { 1.0 };
        for axis in 0..3 {
            affine[row][axis] = sign * direction[3 * row + axis] * spacing[axis];
        }
        affine[row][3] = sign * origin[row];
    }
    affine
}

/// Recorded with nibabel 5.4 and SimpleITK 2.5: shape, affine matrix and SHA-256 of the scaled voxels.
#[test]
fn every_real_file_has_the_recorded_shape_affine_and_voxels() {
    let Some(folder) = shared_data() else { return };
    let mut checked = 0;
    for (list, base) in [("volumes.json", ""), ("readers/expected.json", "readers")] {
        let text = fs::read_to_string(folder.join(list)).expect("a list of files");
        let entries: Vec<Value> = serde_json::from_str(&text).expect("JSON");
        for entry in &entries {
            let name = entry["file"].as_str().expect("a name");
            let path = folder.join(base).join(name);
            if !is_volume(&path) {
                continue;
            }
            let volume = read_volume(&path).unwrap_or_else(|error| panic!("{error}"));
            let shape = numbers(&entry["shape"]);
            let size: [f64; 3] = std::array::from_fn(|axis| shape.get(axis).copied().unwrap_or(1.0));
            assert_eq!(volume.size.map(|n| n as f64), size, "{name}");
            assert_affine(&volume.affine, &recorded_affine(entry), name);
            let digest = sha256(&bytes_x_fastest(&volume));
            assert_eq!(entry["sha256_f32_xyz"].as_str(), Some(digest.as_str()), "{name}");
            let (canonical, _) = volume.to_canonical();
            assert_eq!(canonical.orientation_code(), "LPS", "{name}");
            checked += 1;
        }
    }
    eprintln!("{checked} real files agree with nibabel and SimpleITK");
    assert!(checked > 400, "only {checked} files were found");
}

/// `original-npy` is a NumPy file as its authors published it; what it holds was recorded with NumPy.
#[test]
fn a_published_numpy_file_is_read() {
    let Some(folder) = shared_data() else { return };
    let array =
        read_npy(&folder.join("lidc-nodule-cubes/original-npy/0_nod1_ann0_image.npy")).expect("valid");
    assert_eq!((array.shape.as_slice(), array.element), (&[51, 51, 51][..], ElementType::Float64));
    let sum: f64 = array.values.iter().map(|&value| f64::from(value)).sum();
    assert!((sum - 50_836.719_006).abs() < 1e-3, "{sum}");
    let place = |x: usize, y: usize, z: usize| array.values[(x * 51 + y) * 51 + z];
    assert_eq!((place(1, 2, 3), place(30, 20, 10)), (0.188_984_38, 0.221_484_38));
}
