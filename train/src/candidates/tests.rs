//! Tables of both kinds, what is refused, and cubes at known places of known volumes.

use super::*;
use crate::preprocess::{Intensity, Orientation, Preprocessing};
use crate::volume::{Affine, ElementType, Volume, affine, write_volume};
use genesis_tensor::parallel::ThreadPool;
use std::fs;
use std::path::Path;

/// A volume whose intensity, linear in RAS millimetres, tells the place.
fn ramp(size: [usize; 3], affine: Affine) -> Volume {
    let [nx, ny, nz] = size;
    let voxels = (0..nx * ny * nz).map(|i| {
        let index = [i / (ny * nz), i / nz % ny, i % nz];
        let world = |row: usize| {
            (0..3).map(|axis| affine[row][axis] * index[axis] as f64).sum::<f64>() + affine[row][3]
        };
        intensity([world(0), world(1), world(2)]) as f32
    });
    Volume::new(voxels.collect(), size, affine).unwrap()
}

fn intensity([x, y, z]: [f64; 3]) -> f64 {
    0.5 + 0.001 * x + 0.0017 * y - 0.0013 * z
}

/// Intensities as they are, clipped to [0, 1].
fn cropper(extents: [usize; 3]) -> Cropper {
    let intensity = Intensity::Window { low: 0.0, high: 1.0 };
    Cropper {
        preprocessing: Preprocessing { intensity, ..Default::default() },
        extents,
        channels: 1,
        read: Default::default(),
    }
}

fn candidate(path: &Path, position_mm: Option<[f64; 3]>) -> Candidate {
    let name = "a".to_string();
    Candidate {
        name,
        volume: "a".into(),
        path: path.into(),
        label: None,
        split: None,
        group: None,
        scan: None,
        annotation: None,
        position_mm,
        line: 2,
    }
}

fn write(folder: &Path, name: &str, volume: &Volume) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    write_volume(&path, volume, ElementType::Float32).unwrap();
}

fn tiny() -> Volume {
    Volume::new(vec![0.25; 8], [2, 2, 2], affine::IDENTITY).unwrap()
}

#[test]
fn flipped_and_oblique_volumes_show_the_place_in_the_middle_of_the_cube() {
    let folder = tempfile::tempdir().unwrap();
    let pool = ThreadPool::new(1);
    let mut lps = affine::IDENTITY;
    (lps[0][0], lps[1][1], lps[2][2]) = (-0.7, -0.8, 2.5);
    (lps[0][3], lps[1][3], lps[2][3]) = (20.0, 31.0, -40.0);
    let mut flipped = lps;
    (flipped[0][0], flipped[0][3], flipped[2][2], flipped[2][3]) = (0.7, -15.0, -2.5, 22.0);
    let oblique =
        affine::from_quaternion([0.1, -0.2, 0.3], [0.7, 0.8, 2.5], -1.0, [10.0, -20.0, 30.0]).unwrap();
    for (number, matrix) in [lps, flipped, oblique].into_iter().enumerate() {
        let name = format!("{number}.nii.gz");
        let volume = ramp([40, 36, 20], matrix);
        write(folder.path(), &name, &volume);
        let path = folder.path().join(name);
        // The RAS millimetres of voxel (21, 17, 9); a table has LPS.
        let ras: [f64; 3] = std::array::from_fn(|row| {
            matrix[row][0] * 21.0 + matrix[row][1] * 17.0 + matrix[row][2] * 9.0 + matrix[row][3]
        });
        let row = candidate(&path, Some([-ras[0], -ras[1], ras[2]]));
        let extents = [8, 6, 4];
        let cube = cropper(extents).crop(&pool, &row).unwrap();
        // Along an even extent e, voxel e/2 is the one at the place.
        let centre = f64::from(cube[(4 * 6 + 3) * 4 + 2]);
        assert!((centre - intensity(ras)).abs() < 1e-5, "{number}: {centre} for {}", intensity(ras));
        // On a working grid of 1 mm: to within half a voxel along each axis.
        let mut finer = cropper([9, 9, 9]);
        finer.preprocessing.spacing = Some([1.0; 3]);
        let scan = finer.open(&pool, &path).unwrap();
        let place = scan.voxel([-ras[0], -ras[1], ras[2]]);
        let corner = scan.corner(&row, [9, 9, 9]).unwrap();
        assert!((0..3).all(|axis| (corner[axis] as f64 + 4.0 - place[axis]).abs() <= 0.5 + 1e-3));
        let cube = finer.crop(&pool, &row).unwrap();
        assert!((f64::from(cube[(4 * 9 + 4) * 9 + 4]) - intensity(ras)).abs() < 0.002);
    }
}

#[test]
fn a_matrix_and_its_inverse_agree() {
    let matrix = affine::from_quaternion([0.3, 0.1, -0.4], [0.5, 1.5, 3.0], 1.0, [-3.0, 7.0, 100.0]).unwrap();
    let voxel = [3.25, -8.0, 70.5];
    let world: [f64; 3] = std::array::from_fn(|row| {
        (0..3).map(|axis| matrix[row][axis] * voxel[axis]).sum::<f64>() + matrix[row][3]
    });
    for (found, wanted) in affine::to_voxel(&matrix, world).iter().zip(voxel) {
        assert!((found - wanted).abs() < 1e-9);
    }
}

#[test]
fn cubes_over_the_border_are_padded_and_small_volumes_lie_in_the_middle() {
    let folder = tempfile::tempdir().unwrap();
    let pool = ThreadPool::new(1);
    let mut matrix = affine::IDENTITY;
    (matrix[0][0], matrix[1][1]) = (-1.0, -1.0);
    let voxels = (0..60).map(|i| 0.1 + i as f32 / 100.0).collect::<Vec<_>>();
    write(folder.path(), "v.nii", &Volume::new(voxels.clone(), [3, 4, 5], matrix).unwrap());
    let path = folder.path().join("v.nii");
    let at = |x: usize, y: usize, z: usize| voxels[(x * 4 + y) * 5 + z];
    let close = |a: f32, b: f32| (a - b).abs() < 1e-6;
    // No place: the volume's centre; a cube of the volume's size is the volume.
    let whole = cropper([3, 4, 5]).crop(&pool, &candidate(&path, None)).unwrap();
    assert!(whole.iter().zip(&voxels).all(|(&a, &b)| close(a, b)));
    let wider = cropper([5, 6, 7]).crop(&pool, &candidate(&path, None)).unwrap();
    assert_eq!(wider.iter().filter(|&&value| value == 0.0).count(), 5 * 6 * 7 - 60);
    assert!(close(wider[(6 + 1) * 7 + 1], at(0, 0, 0)));
    // The corner voxel: LPS (0, 0, 0), of which the far half is padding.
    let corner = cropper([2, 2, 2]).crop(&pool, &candidate(&path, Some([0.0; 3]))).unwrap();
    assert_eq!(corner[..7], [0.0; 7]);
    assert!(close(corner[7], at(0, 0, 0)));
    let far = cropper([4, 2, 4]).crop(&pool, &candidate(&path, Some([2.0, 3.0, 4.4]))).unwrap();
    for (place, &value) in far.iter().enumerate() {
        let (x, y, z) = (place / 8, place / 4 % 2 + 2, place % 4 + 3);
        assert!(close(value, if x < 3 && z < 5 { at(x, y, z) } else { 0.0 }), "{place}");
    }
    // Without a window, padding is the least intensity.
    let mut scaled = cropper([5, 6, 7]);
    scaled.preprocessing.intensity = Intensity::ZScore { nonzero_only: false };
    let cube = scaled.crop(&pool, &candidate(&path, None)).unwrap();
    let least = cube.iter().copied().fold(f32::INFINITY, f32::min);
    assert!(least < -1.0 && cube[0] == least);
    for outside in [[-2.0, 0.0, 0.0], [0.0, 0.0, 90.0], [1.0, -40.0, 1.0]] {
        let line = cropper([2; 3]).crop(&pool, &candidate(&path, Some(outside))).unwrap_err().to_string();
        assert!(line.contains("v.nii") && line.contains("LPS") && !line.contains('\n'), "{line}");
    }
    let mut two = cropper([2; 3]);
    two.channels = 2;
    assert!(two.crop(&pool, &candidate(&path, None)).unwrap_err().to_string().contains("1 channels"));
    two.preprocessing.orientation = Orientation::Keep;
    assert_eq!((two.values(), two.extents), (16, [2, 2, 2]));
}

#[test]
fn each_volume_is_read_once_and_rows_keep_their_numbers() {
    let folder = tempfile::tempdir().unwrap();
    for (name, value) in [("a.nii", 0.25), ("b.nii", 0.75)] {
        write(folder.path(), name, &Volume::new(vec![value; 8], [2, 2, 2], affine::IDENTITY).unwrap());
    }
    let file = folder.path().join("t.csv");
    fs::write(&file, "path,x,y,z\na.nii,,,\nb.nii,0,0,0\na.nii,0,0,1\n").unwrap();
    let table = CandidateTable::read(&TableSource::new(&file), None).unwrap();
    assert_eq!(
        table.by_volume().iter().map(|(_, rows)| rows.clone()).collect::<Vec<_>>(),
        [vec![0, 2], vec![1]]
    );
    let mut seen = Vec::new();
    let pool = ThreadPool::new(1);
    cropper([1; 3])
        .for_each(&pool, &table, |row, cube| {
            seen.push((row, cube[0]));
            Ok(())
        })
        .unwrap();
    assert_eq!(seen, [(0, 0.25), (2, 0.25), (1, 0.75)]);
    fs::write(&file, "path,x,y,z\na.nii,0,0,0\nb.nii,500,0,0\n").unwrap();
    let table = CandidateTable::read(&TableSource::new(&file), None).unwrap();
    let line = cropper([1; 3]).for_each(&pool, &table, |_, _| Ok(())).unwrap_err().to_string();
    assert!(line.contains("t.csv: line 3: (500, 0, 0)"), "{line}");
}

#[test]
fn a_table_of_volumes_is_read_whatever_the_order_of_its_columns() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.nii.gz", "sub/b.mha", "sub/c.npy"] {
        write(folder.path(), name, &tiny());
    }
    let file = folder.path().join("table.csv");
    let text = "\u{feff}Label, z,group,split,path,x,y,comment\r\n\
                malignant,3.5,p1,train,a.nii.gz,-1,2e1,\"late, but seen\"\r\n\r\n\
                ,,p2,val,sub/b.mha,,,\r\n\
                benign,1,p1,test,a.nii.gz,2,3,\r\n\
                benign,,,,sub/c.npy,,,\r\n";
    fs::write(&file, text).unwrap();
    let table = CandidateTable::read(&TableSource::new(&file), None).unwrap();
    assert_eq!(table.classes, ["benign", "malignant"]);
    let names: Vec<&str> = table.rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names, ["a.nii.gz:1", "sub/b.mha", "a.nii.gz:2", "sub/c.npy"]);
    let labels: Vec<Option<usize>> = table.rows.iter().map(|row| row.label).collect();
    assert_eq!(labels, [Some(1), None, Some(0), Some(0)]);
    assert_eq!(table.rows[0].position_mm, Some([-1.0, 20.0, 3.5]));
    assert_eq!((table.rows[1].position_mm, table.rows[1].line), (None, 4));
    assert_eq!((table.rows[0].group.as_deref(), table.rows[3].group.as_deref()), (Some("p1"), None));
    assert_eq!(table.splits(), ["test", "train", "val"]);
    assert_eq!(table.rows_of_splits(&["valid", "test"]).unwrap(), [1, 2]);
    let error = table.rows_of_splits(&["fold7"]).unwrap_err().to_string();
    assert!(error.contains("\"fold7\"") && error.contains("test, train, val"), "{error}");
    let error = table.labels().unwrap_err().to_string();
    assert!(error.contains("table.csv: line 4"), "{error}");
    assert_eq!(table.select(&[3, 0]).labels().unwrap(), [0, 1]);
    // A checkpoint's classes, by name or number.
    let given = ["malignant".to_string(), "benign".to_string()];
    let table = CandidateTable::read(&TableSource::new(&file), Some(&given)).unwrap();
    assert_eq!(table.select(&[0, 2]).labels().unwrap(), [0, 1]);
    fs::write(&file, "path,label\na.nii.gz,1.0\nsub/b.mha,0\n").unwrap();
    for classes in [None, Some(&given[..])] {
        let table = CandidateTable::read(&TableSource::new(&file), classes).unwrap();
        assert_eq!((table.labels().unwrap(), table.classes.len()), (vec![1, 0], 2));
    }
}

#[test]
fn luna16_is_found_in_its_subsets() {
    let folder = tempfile::tempdir().unwrap();
    let uid = |number: usize| format!("1.3.6.1.4.1.14519.5.2.1.6279.6001.{number}");
    for number in 0..4 {
        write(folder.path(), &format!("subset{number}/{}.mhd", uid(number)), &tiny());
    }
    // Lung masks carry the scans' names.
    write(folder.path(), &format!("seg-lungs-LUNA16/{}.mhd", uid(2)), &tiny());
    write(folder.path(), &format!("a-seg-lungs/{}.mhd", uid(1)), &tiny());
    let file = folder.path().join("candidates_V2.csv");
    let row = |number: usize, class: usize| format!("{},-56.08,-67.85,{number}.5,{class}\n", uid(number));
    let text: String = [(0, 0), (0, 1), (2, 0), (1, 0), (3, 1)].iter().map(|&(n, c)| row(n, c)).collect();
    fs::write(&file, format!("seriesuid,coordX,coordY,coordZ,class\n{text}")).unwrap();
    let mut source = TableSource { volumes: Some(folder.path().into()), ..TableSource::new(&file) };
    let table = CandidateTable::read(&source, None).unwrap();
    assert_eq!(table.classes, ["non-nodule", "nodule"]);
    assert_eq!(table.labels().unwrap(), [0, 1, 0, 0, 1]);
    assert_eq!(table.rows[1].name, format!("{}:2", uid(0)));
    assert_eq!(table.rows[2].group.as_deref(), Some(uid(2).as_str()));
    assert!(table.rows.iter().all(|row| row.path.parent().unwrap().ends_with(row.split.as_deref().unwrap())));
    assert_eq!(table.rows[2].position_mm, Some([-56.08, -67.85, 2.5]));
    assert_eq!(table.rows_of_splits(&["subset0-1", "subset3"]).unwrap(), [0, 1, 3, 4]);
    // A part of the data set: an error that counts, or a warning on request.
    fs::remove_dir_all(folder.path().join("subset3")).unwrap();
    fs::remove_dir_all(folder.path().join("subset0")).unwrap();
    let line = CandidateTable::read(&source, None).unwrap_err().to_string();
    assert!(line.contains("2 of 4 volumes are missing") && line.contains("6001.0 (line 2)"), "{line}");
    source.skip_missing = true;
    let table = CandidateTable::read(&source, None).unwrap();
    assert_eq!(table.rows.iter().map(|row| row.line).collect::<Vec<_>>(), [4, 5]);
    // The same scan twice is no guess.
    write(folder.path(), &format!("subset5/{}.nii.gz", uid(1)), &tiny());
    let line = CandidateTable::read(&source, None).unwrap_err().to_string();
    assert!(line.contains("twice") && line.contains("subset1") && line.contains("subset5"), "{line}");
}

#[test]
fn bad_tables_are_one_line_with_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.nii", &tiny());
    let file = folder.path().join("t.csv");
    let known = ["no".to_string(), "yes".to_string()];
    let too_many: String = (0..257).map(|i| format!("a.nii,c{i}\n")).collect();
    let cases: [(&[u8], &str); 20] = [
        (b"", "is empty"),
        (b"path,label\n", "no rows"),
        (b"file,label\na.nii,1\n", "line 1: has no column \"path\" (it has file, label)"),
        (b"path;label\na.nii;1\n", "it has path;label"),
        (b"path,label,Path\na.nii,1,b\n", "line 1: has two columns \"path\""),
        (b"path,x,y\na.nii,1,2\n", "line 1: has no column \"z\""),
        (b"seriesuid,coordX,coordY,class\n1,1,1,1\n", "has no column \"coordZ\""),
        (b"path,label\na.nii,yes\na.nii,maybe\n", "line 3: label \"maybe\" is none of the classes no, yes"),
        (b"path,label\na.nii,2\n", "line 2: label \"2\""),
        (b"path,label\na.nii,-1\n", "line 2: label \"-1\""),
        (b"path,x,y,z\na.nii,1,2,3\na.nii,1,two,3\n", "line 3: y is \"two\""),
        (b"path,x,y,z\na.nii,1,2,NaN\n", "line 2: z is \"NaN\""),
        (b"path,x,y,z\na.nii,inf,2,1\n", "line 2: x is \"inf\""),
        (b"path,x,y,z\na.nii,1,,3\n", "line 2: y is \"\""),
        (b"path,label\na.nii\n", "line 2: has 1 cells, but the header has 2"),
        (b"path,label\na.nii,1\n\xff\xfe,1\n", "line 3: is not UTF-8"),
        (b"path,label\n,1\n", "line 2: names no volume"),
        (b"path,label\na.txt,1\n", "line 2: a.txt is of no volume format"),
        (b"path,label\na.nii,1\nb.nii,0\nc.nii,0\nb.nii,1\n", "2 of 3 volumes are missing, the first is"),
        (b"seriesuid,coordX,coordY,coordZ,class\nb,1,1,1,1\n", "1 of 1 volumes are missing"),
    ];
    let refused = |text: &[u8], classes: Option<&[String]>| {
        fs::write(&file, text).unwrap();
        let line = CandidateTable::read(&TableSource::new(&file), classes).unwrap_err().to_string();
        assert!(line.contains("t.csv") && !line.contains('\n'), "{line}");
        line
    };
    for (text, part) in cases {
        let line = refused(text, Some(&known));
        assert!(line.contains(part), "\"{part}\" is not in: {line}");
    }
    assert!(refused(b"path,label\na.nii,700\n", None).contains("line 2: label 700"));
    let line = refused(format!("path,label\n{too_many}").as_bytes(), None);
    assert!(line.contains("line 258: label \"c256\""), "{line}");
    assert!(CandidateTable::read(&TableSource::new(folder.path().join("none.csv")), None).is_err());
}
