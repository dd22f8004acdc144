"""Records what nibabel, SimpleITK, pynrrd and NumPy read in volume files.

    python tests/oracle/record_volumes.py variants            # writes tests/fixtures/volumes/*
    python tests/oracle/record_volumes.py data ../shared/data  # writes tests/fixtures/volumes/shared_data.json

`variants` makes small files (type x byte order x compression x orientation x scaling x 2D/3D/4D) and writes
expected.json beside them; `data` reads every volume below a folder, whose files stay where they are. Entries:
file, frame (absent: the file holds one volume), frames, shape, spacing, affine (voxel index to RAS mm) and the
SHA-256 of the voxels as little-endian float32, x fastest. train/src/volume/oracle.rs compares.

NIfTI is nibabel's word. SimpleITK reads every NIfTI file too, and where its geometry differs the file must stand in
DIFFERENCES with the reason. MetaImage and NRRD are SimpleITK's word, turned from LPS to RAS; pynrrd's where ITK
lacks bzip2, and it must agree on the voxels of every NRRD file.

Recorded with nibabel 5.4.2, SimpleITK 2.5.7, pynrrd 1.1.3, NumPy 2.
"""

import gzip
import hashlib
import json
import struct
import sys
import zlib
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import SimpleITK as sitk

sitk.ProcessObject.SetGlobalWarningDisplay(False)
FIXTURES = Path(__file__).resolve().parent.parent / "fixtures" / "volumes"
TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

# Why SimpleITK places a NIfTI file elsewhere than nibabel.
NO_CODES = "neither sform nor qform: nibabel centres the volume with x to the left, ITK starts at 0"
SHEARED = "ITK images cannot be sheared: SimpleITK refuses, or takes the qform or the nearest rotation"
NIFTI2 = "SimpleITK does not read NIfTI-2"
INFINITE = "a scale slope of infinity: nibabel takes it as none, ITK multiplies by it"
FLAT = "a 2D image of SimpleITK has no third axis"
DIFFERENCES = {}


def number(value):
    """A float that JSON keeps short."""
    return float(f"{float(value):.9g}") + 0.0


def entry(name, voxels, affine, frame=None, frames=1, reader="", dtype=None):
    """`voxels` is [X, Y, Z] in float64 or an integer type."""
    voxels = np.asarray(voxels)
    voxels = voxels.reshape(voxels.shape + (1,) * (3 - voxels.ndim))
    stored = np.asfortranarray(voxels.astype("<f4"))
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    found = {"file": name}
    if frames > 1:
        found |= {"frame": frame, "frames": frames}
    return found | {
        "reader": reader,
        "shape": list(voxels.shape),
        "spacing": [number(value) for value in spacing],
        "affine": [[number(value) for value in row] for row in affine[:3]],
        "sha256": hashlib.sha256(stored.tobytes(order="F")).hexdigest(),
    }


def by_frames(name, all_voxels, affine, reader):
    """`all_voxels` is [X, Y, Z, N]."""
    count = all_voxels.shape[3]
    return [entry(name, all_voxels[..., n], affine, n, count, reader) for n in range(count)]


def itk_geometry(image):
    """The RAS matrix of the first three axes."""
    dimension = image.GetDimension()
    direction = np.array(image.GetDirection()).reshape(dimension, dimension)
    matrix = np.eye(4)
    used = min(dimension, 3)
    matrix[:used, :used] = direction[:used, :used] * np.array(image.GetSpacing())[:used]
    matrix[:used, 3] = np.array(image.GetOrigin())[:used]
    return TO_RAS @ matrix


def itk_voxels(image):
    """[X, Y, Z, N]: the components of a voxel or the fourth dimension as N."""
    array = sitk.GetArrayFromImage(image)
    components = image.GetNumberOfComponentsPerPixel()
    if components == 1:
        array = array[..., None]
    # Now [..., Z, Y, X, C].
    array = np.moveaxis(array, -1, 0)
    dimension = image.GetDimension()
    if dimension == 5:
        assert components == 1 and array.shape[2] == 1
        array = array[0, :, 0]
    elif dimension == 4:
        assert 1 in (components, array.shape[1])
        array = array[0] if components == 1 else array[:, 0]
    while array.ndim < 4:
        array = array[:, None] if dimension == 2 else array[None]
    return array.transpose(3, 2, 1, 0)


def read_itk(path, name):
    image = sitk.ReadImage(str(path))
    return by_frames(name, itk_voxels(image), itk_geometry(image), "SimpleITK")


def slope_of(path):
    """The slope as stored; nibabel's own header object clears one it does not use."""
    data = path.read_bytes()
    data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    length = next((struct.unpack(order + "i", data[:4])[0], order) for order in "<>"
                  if struct.unpack(order + "i", data[:4])[0] in (348, 540))
    form, place = {348: ("f", 112), 540: ("d", 176)}[length[0]]
    return struct.unpack_from(length[1] + form, data, place)[0]


def read_nibabel(path, name):
    image = nibabel.load(path)
    voxels = np.asanyarray(image.dataobj)
    voxels = voxels.reshape(voxels.shape + (1,) * (3 - voxels.ndim))
    # At most one axis beyond the third is longer than 1.
    voxels = voxels.reshape(voxels.shape[:3] + (-1,), order="F")
    try:
        theirs = sitk.ReadImage(str(path))
    except RuntimeError as error:
        theirs = None
        sheared = "orthonormal" in str(error)
        assert sheared or image.header.sizeof_hdr == 540, f"{name}: {error}"
        reason = SHEARED if sheared else NIFTI2
    if theirs is not None:
        reason = None
        found = itk_voxels(theirs)
        if theirs.GetDimension() == 2:
            reason = FLAT
        elif not np.allclose(itk_geometry(theirs), image.affine, rtol=1e-4, atol=1e-3):
            header = image.header
            codes = int(header["sform_code"]) > 0, int(header["qform_code"]) > 0
            rotation = image.affine[:3, :3] / np.sqrt((image.affine[:3, :3] ** 2).sum(axis=0))
            sheared = not np.allclose(rotation.T @ rotation, np.eye(3), atol=1e-4)
            reason = SHEARED if sheared else NO_CODES if codes == (False, False) else None
            assert reason, f"{name}: SimpleITK {itk_geometry(theirs)}, nibabel {image.affine}, codes {codes}"
        same = np.allclose(found.astype("f8"), voxels.astype("f8"), rtol=1e-5, atol=1e-5)
        if not same and np.isinf(slope_of(path)):
            reason = INFINITE
        else:
            assert same, f"{name}: other voxels"
    if reason:
        DIFFERENCES[name] = reason
    return by_frames(name, voxels, image.affine, "nibabel")


def read_nrrd(path, name):
    data, header = nrrd.read(str(path))
    try:
        found = read_itk(path, name)
    except RuntimeError:
        # ITK is built without bzip2; these files are LPS of three axes.
        assert header["encoding"] in ("bzip2", "bz2"), f"{name}: {header}"
        matrix = np.eye(4)
        matrix[:3, :3] = np.array(header["space directions"]).T
        matrix[:3, 3] = header["space origin"]
        return [entry(name, data, TO_RAS @ matrix, reader="pynrrd")]
    frames = [axis for axis, kind in enumerate(header.get("kinds", [])) if kind in ("list", "vector", "time")]
    array = np.moveaxis(data, frames[0], -1) if frames else data
    for index, one in enumerate(found):
        part = array[..., index] if len(found) > 1 else array
        assert entry(name, part.reshape(one["shape"], order="F"), np.eye(4))["sha256"] == one["sha256"], name
    return found


def read_npy(path, name):
    array = np.load(path)
    voxels = np.moveaxis(array.reshape((-1,) + array.shape[-3:]), 0, -1)
    return by_frames(name, voxels, np.diag([-1.0, -1.0, 1.0, 1.0]), "NumPy")


READERS = {
    ".nii": read_nibabel,
    ".nii.gz": read_nibabel,
    ".hdr": read_nibabel,
    ".mha": read_itk,
    ".mhd": read_itk,
    ".nrrd": read_nrrd,
    ".nhdr": read_nrrd,
    ".npy": read_npy,
}


def reader(path):
    name = path.name.lower()
    return next((read for ending, read in READERS.items() if name.endswith(ending)), None)


def dump(path, value):
    """One entry a line, so that a change shows as one."""
    lists = {key: ",\n  ".join(json.dumps(one) for one in value[key]) for key in ("volumes", "differences")}
    text = ",\n ".join(f'"{key}": [\n  {lines}\n ]' for key, lines in lists.items())
    path.write_text("{\n " + text + "\n}\n")


def differences():
    return [{"file": name, "reason": reason} for name, reason in sorted(DIFFERENCES.items())]


# The small files.

TYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"]


def values(shape, kind, seed):
    """Small numbers of the type; real ones with a fraction, so that none is taken for an integer."""
    random = np.random.default_rng(seed)
    low, high = (0, 120) if kind[0] == "u" or kind == "i1" else (-1000, 1000)
    found = random.integers(low, high, shape)
    return (found + (random.integers(0, 4, shape) / 4 if kind[0] == "f" else 0)).astype("<" + kind)


def rotation(angle, axis):
    c, s = np.cos(angle), np.sin(angle)
    matrix = np.eye(3)
    i, j = [(1, 2), (0, 2), (0, 1)][axis]
    matrix[i, i], matrix[i, j], matrix[j, i], matrix[j, j] = c, -s, s, c
    return matrix


ORIENTATIONS = {
    "ras": np.diag([1.0, 1.5, 2.0]),
    "lps": np.diag([-0.5, -0.75, 3.0]),
    "las": np.diag([-2.0, 1.0, 1.25]),
    "permuted": np.array([[0, 0, 1.5], [-1, 0, 0], [0, 0.8, 0]], float),
    "oblique": rotation(0.3, 2) @ rotation(-0.2, 0) @ np.diag([-0.7, -0.7, 2.5]),
}


def ras(orientation, origin=(10.5, -20.25, 30.0)):
    matrix = np.eye(4)
    matrix[:3, :3] = ORIENTATIONS[orientation]
    matrix[:3, 3] = origin
    return matrix


def nifti_variants(folder):
    names = list(ORIENTATIONS)
    count = 0

    def save(name, array, affine, version=1, order="<", scaling=None, codes=(1, 1), pair=False):
        """`codes`: of qform and sform."""
        nonlocal count
        count += 1
        kind = {1: nibabel.Nifti1Image, 2: nibabel.Nifti2Image}[version]
        if pair:
            kind = {1: nibabel.Nifti1Pair, 2: nibabel.Nifti2Pair}[version]
        header = kind.header_class(endianness=order)
        header.set_data_dtype(array.dtype.newbyteorder(order))
        header.set_data_shape(array.shape)
        image = kind(array.astype(array.dtype.newbyteorder(order)), affine, header)
        if codes[0]:
            image.set_qform(affine, codes[0])
        else:
            image.header["qform_code"] = 0
        image.set_sform(affine if codes[1] else None, codes[1])
        nibabel.save(image, folder / name)
        if scaling:
            path = folder / name
            packed = name.endswith(".gz")
            data = bytearray(gzip.decompress(path.read_bytes()) if packed else path.read_bytes())
            place, form = (112, "ff") if version == 1 else (176, "dd")
            struct.pack_into(order + form, data, place, *scaling)
            path.write_bytes(gzip.compress(bytes(data), mtime=0) if packed else bytes(data))

    for index, kind in enumerate(TYPES):
        version, order = 1 + index % 2, "<>"[index // 2 % 2]
        ending = [".nii", ".nii.gz"][index % 3 == 0]
        array = values((4, 3, 5), kind, index)
        save(f"nifti{version}_{kind}_{names[index % 5]}{ending}", array, ras(names[index % 5]), version, order)
        # The other version and byte order, in other positions.
        version, order = 3 - version, "<>"[1 - index // 2 % 2]
        orientation = names[(index + 2) % 5]
        save(f"nifti{version}_{kind}_{orientation}.nii.gz", array, ras(orientation), version, order)
    scaled = values((4, 3, 5), "i2", 77)
    nan, infinity = float("nan"), float("inf")
    for version, order, scaling, name in [
        (1, "<", (0.25, -1024.0), "scaled"),
        (1, ">", (2.0, 0.0), "slope"),
        (2, "<", (0.001, 5.0), "scaled"),
        (2, ">", (-1.5, 100.0), "negative"),
        (1, "<", (nan, nan), "nan_slope"),
        (1, ">", (infinity, 3.0), "infinite_slope"),
        (2, "<", (0.0, 7.0), "zero_slope"),
    ]:
        save(f"nifti{version}_{name}.nii", scaled, ras("lps"), version, order, scaling)
    for version in (1, 2):
        save(f"nifti{version}_qform_only.nii.gz", scaled, ras("oblique"), version, "<", codes=(1, 0))
        save(f"nifti{version}_sform_only.nii.gz", scaled, ras("permuted"), version, ">", codes=(0, 2))
        save(f"nifti{version}_no_codes.nii", scaled, ras("ras"), version, "<", codes=(0, 0))
    sheared = ras("oblique")
    sheared[0, 1] += 0.4
    save("nifti1_sheared.nii", scaled, sheared, codes=(0, 1))
    save("nifti1_2d.nii", values((5, 4), "u1", 3), ras("ras"))
    save("nifti2_2d.nii.gz", values((5, 4), "f4", 4), ras("las"), 2, ">")
    save("nifti1_4d.nii.gz", values((3, 2, 4, 3), "i2", 5), ras("oblique"))
    save("nifti1_4d_big.nii", values((3, 2, 4, 2), "f4", 6), ras("lps"), 1, ">", (0.5, 1.0))
    save("nifti2_4d.nii.gz", values((3, 2, 4, 3), "u2", 7), ras("permuted"), 2)
    save("nifti1_4d_of_one.nii", values((3, 2, 4, 1), "i2", 8), ras("las"))
    save("nifti1_vector.nii.gz", values((3, 2, 4, 1, 3), "f4", 9), ras("lps"))
    save("nifti1_pair.hdr", scaled, ras("lps"), pair=True)
    save("nifti2_pair.hdr", scaled, ras("oblique"), 2, ">", pair=True)


def itk_image(array, orientation, vector=False):
    """An image of [X, Y, (Z)] voxels, [X, Y, Z, C] with `vector`, or [X, Y, Z, T]."""
    axes = [2, 1, 0, 3] if vector else list(range(array.ndim))[::-1]
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(axes)), isVector=vector)
    matrix = TO_RAS @ ras(orientation)
    spacing = np.sqrt((matrix[:3, :3] ** 2).sum(axis=0))
    direction = np.eye(image.GetDimension())
    used = min(image.GetDimension(), 3)
    full = matrix[:3, :3] / spacing
    direction[:used, :used] = full[:used, :used]
    if used == 3 or abs(np.linalg.det(direction)) > 0.5:
        image.SetDirection([float(value) for value in direction.ravel()])
    image.SetSpacing([float(value) for value in list(spacing[:used]) + [2.0] * (image.GetDimension() - used)])
    image.SetOrigin([float(value) for value in list(matrix[:used, 3]) + [0.0] * (image.GetDimension() - used)])
    return image


def metaimage_variants(folder):
    names = list(ORIENTATIONS)
    for index, kind in enumerate(TYPES):
        image = itk_image(values((4, 3, 5), kind, 20 + index), names[index % 5])
        ending = ["mha", "mhd"][index % 4 == 1]
        sitk.WriteImage(image, str(folder / f"meta_{kind}_{names[index % 5]}.{ending}"), index % 2 == 1)
    for name, shape, vector in [
        ("meta_2d", (5, 4), False),
        ("meta_4d", (3, 2, 4, 3), False),
        ("meta_channels", (3, 2, 4, 3), True),
    ]:
        for packed in (False, True):
            image = itk_image(values(shape, "i2", 31), "las" if len(shape) == 2 else "oblique", vector)
            sitk.WriteImage(image, str(folder / f"{name}{'_packed' * packed}.mha"), packed)
    # ITK writes little-endian only.
    for kind, met in [("i2", "MET_SHORT"), ("f4", "MET_FLOAT"), ("f8", "MET_DOUBLE"), ("u4", "MET_UINT")]:
        data = values((4, 3, 5), kind, 40).astype(">" + kind).tobytes(order="F")
        packed = kind in ("f4", "u4")
        data = zlib.compress(data) if packed else data
        size = f"CompressedDataSize = {len(data)}\n" if packed else ""
        text = (
            "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = True\n"
            f"CompressedData = {packed}\n{size}TransformMatrix = 0 1 0 -1 0 0 0 0 1\nOffset = 1.5 -2 3.25\n"
            "ElementSpacing = 0.5 0.6 0.7\nDimSize = 4 3 5\n"
            f"ElementType = {met}\nElementDataFile = LOCAL\n"
        )
        (folder / f"meta_{kind}_big.mha").write_bytes(text.encode() + data)


def nrrd_variants(folder):
    spaces = {"lps": ("left-posterior-superior", TO_RAS), "ras": ("right-anterior-superior", np.eye(4))}
    spaces["las"] = ("LAS", np.diag([-1.0, 1.0, 1.0, 1.0]))
    names = list(ORIENTATIONS)
    encodings = ["raw", "gzip", "ascii", "bzip2"]

    def header_of(orientation, space, before=(), after=()):
        text, turn = spaces[space]
        matrix = turn @ ras(orientation)
        directions = [None] * len(before) + list(matrix[:3, :3].T) + [None] * len(after)
        nothing = [float("nan")] * 3
        return {
            "space": text,
            "space directions": np.array([nothing if one is None else one for one in directions]),
            "space origin": matrix[:3, 3],
            "kinds": list(before) + ["domain"] * 3 + list(after),
        }

    for index, kind in enumerate(TYPES):
        encoding, endian = encodings[index % 4], ["little", "big"][index // 4 % 2]
        # pynrrd tells LPS alone apart where ITK cannot read along.
        space = "lps" if encoding == "bzip2" else list(spaces)[index % 3]
        header = header_of(names[index % 5], space) | {"encoding": encoding, "endian": endian}
        array = values((4, 3, 5), kind, 50 + index)
        array = array.astype(array.dtype.newbyteorder("<>"[endian == "big"]))
        ending = "nhdr" if index in (4, 5) else "nrrd"
        path = folder / f"nrrd_{kind}_{space}_{encoding}.{ending}"
        nrrd.write(str(path), array, header, custom_field_map={}, detached_header=ending == "nhdr", relative_data_path=True)
    for name, before, after in [("first", ("vector",), ()), ("last", (), ("list",))]:
        for encoding in ("raw", "gzip"):
            header = header_of("oblique", "ras", before, after) | {"encoding": encoding, "endian": "little"}
            shape = (3, 3, 2, 4) if before else (3, 2, 4, 3)
            nrrd.write(str(folder / f"nrrd_frames_{name}_{encoding}.nrrd"), values(shape, "i2", 61), header)
    for name, shape, vector in [("2d", (5, 4), False), ("4d", (3, 2, 4, 3), False), ("channels", (3, 2, 4, 3), True)]:
        image = itk_image(values(shape, "f4", 62), "las" if len(shape) == 2 else "lps", vector)
        sitk.WriteImage(image, str(folder / f"nrrd_itk_{name}.nrrd"), name == "channels")
    raw = values((4, 3, 5), "i2", 63)
    plain = b"NRRD0001\n# by hand\ntype: int16_t\ndimension: 3\nsizes: 4 3 5\nencoding: raw\nendian: little\n"
    data = raw.tobytes(order="F")
    (folder / "nrrd_no_geometry.nrrd").write_bytes(plain + b"\n" + data)
    (folder / "nrrd_spacings.nrrd").write_bytes(plain + b"spacings: 0.5 0.6 2\n\n" + data)
    minimums = b"spacings: 0.5 0.6 2\naxis mins: 10 20 30\ncenters: cell cell cell\n\n"
    (folder / "nrrd_minimums.nrrd").write_bytes(plain + minimums + data)
    skips = b"line skip: 2\nbyte skip: 3\nspacings: 1 1 2\n\n"
    (folder / "nrrd_skips.nrrd").write_bytes(plain + skips + b"one\ntwo\nxyz" + data)
    (folder / "nrrd_at_the_end.nrrd").write_bytes(plain + b"byte skip: -1\n\n" + b"whatever" + data)
    (folder / "nrrd_crlf.nrrd").write_bytes(plain.replace(b"\n", b"\r\n") + b"key:=value: 7\r\n\r\n" + data)


def npy_variants(folder):
    for index, kind in enumerate(TYPES + ["f2"]):
        array = values((4, 3, 5), kind, 80 + index).astype("<>"[index % 2] + kind)
        np.save(folder / f"npy_{kind}.npy", np.asfortranarray(array) if index % 3 == 1 else array)
    np.save(folder / "npy_4d.npy", values((3, 4, 3, 2), "f4", 99))
    np.save(folder / "npy_4d_fortran.npy", np.asfortranarray(values((2, 4, 3, 2), "i2", 98)))


def main():
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    if command == "variants":
        FIXTURES.mkdir(parents=True, exist_ok=True)
        for path in FIXTURES.iterdir():
            if path.name != "shared_data.json":
                path.unlink()
        for make in (nifti_variants, metaimage_variants, nrrd_variants, npy_variants):
            make(FIXTURES)
        folder, out = FIXTURES, FIXTURES / "expected.json"
    elif command == "data":
        folder, out = Path(sys.argv[2]), FIXTURES / "shared_data.json"
    else:
        sys.exit(__doc__)
    volumes = []
    for path in sorted(folder.rglob("*")):
        read = reader(path) if path.is_file() else None
        if read:
            volumes += read(path, path.relative_to(folder).as_posix())
    dump(out, {"volumes": volumes, "differences": differences()})
    files = len({one["file"] for one in volumes})
    print(f"{len(volumes)} volumes of {files} files, {len(DIFFERENCES)} placed otherwise by SimpleITK")


main()
