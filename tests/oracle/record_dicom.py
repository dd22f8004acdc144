"""Makes the tiny DICOM series of tests/fixtures/dicom and records what SimpleITK, or pydicom and NumPy, read from them.

Needs pydicom, pylibjpeg-libjpeg, pylibjpeg-openjpeg, SimpleITK and numpy:  python tests/oracle/record_dicom.py
"""

import json
import pathlib
import shutil
import struct

import numpy as np
import openjpeg
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import UID

ROOT = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "dicom"
CT, MR, PET, CAPTURE, REPORT = (
    "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.5.1.4.1.1.4",
    "1.2.840.10008.5.1.4.1.1.128",
    "1.2.840.10008.5.1.4.1.1.7",
    "1.2.840.10008.5.1.4.1.1.88.11",
)
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED, RLE = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5"
LOSSLESS, BASELINE = "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.50"
JPEG_LS, JPEG_2000 = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90"
ROWS, COLUMNS, SLICES = 6, 8, 4
AXIAL = [1, 0, 0, 0, 1, 0]


def values(slices=SLICES, low=0, high=4095, seed=1, rows=ROWS, columns=COLUMNS):
    """Smooth with a little noise, [slices, rows, columns], reaching both ends."""
    z, y, x = np.mgrid[:slices, :rows, :columns]
    noise = np.random.default_rng(seed).integers(0, 40, z.shape)
    v = (x * 31 + y * 57 + z * 211 + noise) % (high - low + 1) + low
    v[0, 0, 0], v[-1, -1, -1] = low, high
    return v


def jpeg_lossless(plane, precision, predictor=1, shift=0, restart=0):
    """A lossless JPEG stream (ISO 10918-1, H) of one component; every category has a code of 5 bits."""
    plane = plane.astype(np.int64) >> shift
    rows, columns = plane.shape
    out = bytearray(b"\xff\xd8")
    out += b"\xff\xc3" + struct.pack(">HBHHB3B", 11, precision, rows, columns, 1, 1, 0x11, 0)
    out += b"\xff\xc4" + struct.pack(">HB16B17B", 36, 0, *([0] * 4 + [17] + [0] * 11), *range(17))
    if restart:
        out += b"\xff\xdd" + struct.pack(">HH", 4, restart)
    out += b"\xff\xda" + struct.pack(">HB2B3B", 8, 1, 1, 0, predictor, 0, shift)
    bits = []
    for y in range(rows):
        for x in range(columns):
            a = plane[y, x - 1] if x else 0
            b = plane[y - 1, x] if y else 0
            c = plane[y - 1, x - 1] if x and y else 0
            if x == 0 and y == 0:
                p = 1 << (precision - shift - 1)
            elif y == 0:
                p = a
            elif x == 0:
                p = b
            else:
                p = [0, a, b, c, a + b - c, a + ((b - c) >> 1), b + ((a - c) >> 1), (a + b) >> 1][predictor]
            d = int((plane[y, x] - p + 32768) % 65536 - 32768)
            size = 16 if d == -32768 else int(abs(d)).bit_length()
            bits.append(format(size, "05b"))
            if 0 < size < 16:
                bits.append(format(d if d > 0 else d + (1 << size) - 1, f"0{size}b"))
    text = "".join(bits)
    text += "1" * (-len(text) % 8)
    for i in range(0, len(text), 8):
        byte = int(text[i : i + 8], 2)
        out.append(byte)
        if byte == 0xFF:
            out.append(0)
    return bytes(out + b"\xff\xd9")


def header(folder, number, sop_class, syntax, modality, series):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(sop_class)
    meta.MediaStorageSOPInstanceUID = UID(f"1.2.826.0.1.3680043.8.498.{series}.{number}")
    meta.TransferSyntaxUID = UID(syntax)
    meta.ImplementationClassUID = UID("1.2.826.0.1.3680043.8.498.1")
    ds = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    ds.Modality, ds.SeriesDescription = modality, folder
    ds.SeriesInstanceUID, ds.StudyInstanceUID = UID(f"1.2.826.0.1.3680043.8.498.{series}"), UID("1.2.826.0.1.3680043.8.498.2")
    ds.PatientName, ds.PatientID = "SECRET^NAME", "SECRET-ID"
    return ds


def pixel_module(ds, bits=12, signed=False, allocated=16, columns=COLUMNS, rows=ROWS):
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = rows, columns
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = allocated, bits, bits - 1, int(signed)


def raw_bytes(plane, allocated, signed, big=False):
    kind = f"{'>' if big else '<'}{'i' if signed else 'u'}{allocated // 8}"
    return plane.astype(kind).tobytes()


def save(ds, folder, name):
    path = ROOT / folder
    path.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path / name, ds, enforce_file_format=True)


def series(
    folder,
    number,
    v=None,
    syntax=EXPLICIT,
    modality="CT",
    sop_class=CT,
    bits=12,
    signed=False,
    allocated=16,
    orientation=AXIAL,
    spacing=(0.75, 0.5),
    step=None,
    origin=(-10.5, 20.25, -30.0),
    names=None,
    scaling=lambda z: (1, -1024),
    edit=None,
    encode=None,
    leave=(),
):
    """One file a slice; `step` from slice to slice in mm, along the normal unless given."""
    v = values() if v is None else v
    row, column = np.array(orientation[:3], float), np.array(orientation[3:], float)
    step = np.cross(row, column) * 2.5 if step is None else np.array(step, float)
    for z, plane in enumerate(v):
        if z in leave:
            continue
        ds = header(folder, z + 1, sop_class, syntax, modality, number)
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        pixel_module(ds, bits, signed, allocated, plane.shape[1], plane.shape[0])
        ds.ImagePositionPatient = [f"{p:.6f}" for p in np.array(origin) + z * step]
        ds.ImageOrientationPatient = [f"{p:.8f}"[:16] for p in orientation]
        ds.PixelSpacing = [str(s) for s in spacing]
        # Thicker than their distance: who takes it for the distance is found out.
        ds.SliceThickness, ds.InstanceNumber = "5", str(len(v) - z)
        if scaling(z) is not None:
            ds.RescaleSlope, ds.RescaleIntercept = (str(s) for s in scaling(z))
        if encode is None:
            big = syntax == BIG
            ds.PixelData = raw_bytes(plane, allocated, signed, big)
            ds["PixelData"].VR = "OW" if allocated > 8 else "OB"
        else:
            ds.PixelData = encapsulate([encode(plane)])
            ds["PixelData"].VR = "OB"
            ds["PixelData"].is_undefined_length = True
        if edit is not None:
            edit(ds, z)
        save(ds, folder, names(z) if names else f"{z + 1}.dcm")


def rle(folder, number, **more):
    """pydicom packs the run lengths."""
    series(folder, number, **more)
    for path in (ROOT / folder).iterdir():
        ds = pydicom.dcmread(path)
        ds.compress(RLE, generate_instance_uid=False)
        ds.save_as(path)


def jpeg_baseline(plane):
    """Quantised by 1, so that eight bits come back within rounding."""
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(plane.astype(np.uint8)).save(buffer, "JPEG", quality=100)
    return buffer.getvalue()


def j2k(signed, bits):
    def encode(plane):
        kind = ("i" if signed else "u") + str(1 if bits <= 8 else 2)
        return bytes(openjpeg.encode(plane.astype(kind), bits_stored=bits, photometric_interpretation=2, codec_format=0))

    return encode


def functional(facts):
    item = Dataset()
    if "position" in facts:
        inner = Dataset()
        inner.ImagePositionPatient = [f"{p:.6f}" for p in facts["position"]]
        item.PlanePositionSequence = Sequence([inner])
    if "orientation" in facts:
        inner = Dataset()
        inner.ImageOrientationPatient = [f"{p:.8f}"[:16] for p in facts["orientation"]]
        item.PlaneOrientationSequence = Sequence([inner])
    if "spacing" in facts:
        inner = Dataset()
        inner.PixelSpacing, inner.SliceThickness = [str(s) for s in facts["spacing"]], "5"
        item.PixelMeasuresSequence = Sequence([inner])
    if "scaling" in facts:
        inner = Dataset()
        inner.RescaleSlope, inner.RescaleIntercept = (str(s) for s in facts["scaling"])
        inner.RescaleType = "US"
        item.PixelValueTransformationSequence = Sequence([inner])
    return item


def multi_frame(folder, number, places=True, syntax=EXPLICIT, undefined=False):
    v, order = values(), [2, 0, 3, 1]
    ds = header(folder, 1, ENHANCED_MR, syntax, "MR", number)
    ds.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    pixel_module(ds)
    ds.NumberOfFrames = SLICES
    if places:
        ds.SharedFunctionalGroupsSequence = Sequence([functional({"orientation": AXIAL, "spacing": (0.75, 0.5)})])
        ds.PerFrameFunctionalGroupsSequence = Sequence(
            [functional({"position": (-10.5, 20.25, -30 + 2.5 * z), "scaling": (z + 1, -z)}) for z in order]
        )
        if undefined:
            for name in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
                ds[name].is_undefined_length = True
                for item in ds[name].value:
                    item.is_undefined_length_sequence_item = True
    ds.PixelData = b"".join(raw_bytes(v[z], 16, False) for z in order)
    ds["PixelData"].VR = "OW"
    save(ds, folder, "1.dcm")


def make():
    shutil.rmtree(ROOT, ignore_errors=True)
    ROOT.mkdir(parents=True)
    full, signed = values(), values(low=-2048, high=2047)
    oblique = [0.8, 0.6, 0.0, -0.36, 0.48, 0.8]
    series("implicit", 101, syntax=IMPLICIT)
    series("explicit", 102)
    series("big_endian", 103, syntax=BIG)
    series("big_endian_8", 104, syntax=BIG, v=values(high=255), bits=8, allocated=8, scaling=lambda z: (2, 1))
    series("deflated", 105, syntax=DEFLATED)
    rle("rle", 106)
    rle("rle_8", 107, v=values(high=255), bits=8, allocated=8)
    for predictor in range(1, 8):
        encode = lambda plane, p=predictor: jpeg_lossless(plane, 12, p)
        series(f"jpeg_lossless_{predictor}", 110 + predictor, syntax=LOSSLESS if predictor == 1 else "1.2.840.10008.1.2.4.57", v=full[:2], encode=encode)
    series("jpeg_lossless_16", 118, syntax=LOSSLESS, v=values(low=0, high=65535), bits=16, encode=lambda p: jpeg_lossless(p, 16))
    series("jpeg_lossless_signed", 119, syntax=LOSSLESS, v=signed, signed=True, encode=lambda p: jpeg_lossless(p & 0xFFF, 12))
    series("jpeg_restarts", 120, syntax=LOSSLESS, v=full[:2], encode=lambda p: jpeg_lossless(p, 12, restart=COLUMNS))
    series("jpeg_baseline", 121, syntax=BASELINE, v=values(high=255)[:2], bits=8, allocated=8, encode=jpeg_baseline)
    # OpenJPEG's six resolutions need 32 pixels.
    large = values(2, rows=33, columns=35)
    series("jpeg_2000", 122, syntax=JPEG_2000, v=large, encode=j2k(False, 12))
    series("jpeg_2000_signed", 123, syntax=JPEG_2000, v=large - 2048, signed=True, encode=j2k(True, 12))
    series("jpeg_ls", 124, syntax=JPEG_LS, v=full[:2], encode=lambda p: b"\xff\xd8\xff\xf7" + b"\0" * 40)
    series("reversed", 130, step=(0, 0, -2.5))
    series("shuffled", 131, names=lambda z: f"IM{[3, 1, 4, 2][z]:04}")
    series("oblique", 132, orientation=oblique, modality="MR", sop_class=MR, scaling=lambda z: None)
    series("per_slice_rescale", 133, modality="PT", sop_class=PET, scaling=lambda z: (0.25 * (z + 1), 0))
    series("signed_12", 134, v=signed, signed=True)
    series("unsigned_32", 135, v=full * 1_000_003 % 2**32, bits=32, allocated=32)

    def high_bits(ds, z):
        # Overlays once lived in the bits above the pixel.
        plane = np.frombuffer(ds.PixelData, "<u2") | 0xF000
        ds.PixelData = plane.tobytes()

    series("overlay_bits", 136, edit=high_bits)
    series("monochrome1", 137, edit=lambda ds, z: setattr(ds, "PhotometricInterpretation", "MONOCHROME1"))

    def padding(ds, z):
        ds.add_new(0x00280120, "SS", -2000)

    series("padding", 138, v=signed, signed=True, edit=padding)
    multi_frame("multi_frame", 139)
    multi_frame("multi_frame_undefined", 140, syntax=IMPLICIT, undefined=True)
    # Refused.
    series("tilt", 150, step=(0, 2.5 * np.tan(np.radians(12)), 2.5))
    series("missing", 151, v=values(6), leave=(2,))
    series("duplicate", 152, origin=(0, 0, 0), step=(0, 0, 2.5), edit=lambda ds, z: setattr(ds, "ImagePositionPatient", [0, 0, 2.5 * min(z, 2)]))
    series("times", 153, edit=lambda ds, z: setattr(ds, "ImagePositionPatient", [0, 0, 2.5 * (z % 2)]))
    series("two_series", 154, names=lambda z: f"a{z}.dcm")
    series("two_series", 155, v=values(3), names=lambda z: f"b{z}.dcm")
    multi_frame("multi_frame_placeless", 156, places=False)

    def table(ds, z):
        inner = Dataset()
        inner.add_new(0x00283002, "US", [4, 0, 16])
        inner.ModalityLUTType = "HU"
        inner.add_new(0x00283006, "OW", np.arange(4, dtype="<u2").tobytes())
        ds.ModalityLUTSequence = Sequence([inner])

    series("modality_table", 157, v=full[:2], scaling=lambda z: None, edit=table)

    def resized(ds, z):
        if z == 1:
            ds.PixelSpacing = ["0.75", "0.6"]

    series("spacing_differs", 158, edit=resized)
    # A series with what lies beside one: a scout, a capture, a report, a slice of another series.
    series("beside", 160)
    ds = pydicom.dcmread(ROOT / "beside" / "1.dcm")
    ds.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID("1.2.826.0.1.3680043.8.498.160.90")
    save(ds, "beside", "scout.dcm")
    ds = header("capture", 1, CAPTURE, EXPLICIT, "OT", 161)
    pixel_module(ds, 8, allocated=8)
    ds.PixelData = bytes(ROWS * COLUMNS)
    save(ds, "beside", "capture.dcm")
    ds = header("report", 1, REPORT, EXPLICIT, "SR", 162)
    save(ds, "beside", "report.dcm")
    series("beside", 163, v=values(1), names=lambda z: "single.dcm")
    (ROOT / "beside" / "notes.txt").write_text("No DICOM file.\n" * 20)
    # As old and broken devices write: no preamble; implicit elements in a file that says explicit.
    series("no_preamble", 170, syntax=IMPLICIT)
    for path in (ROOT / "no_preamble").iterdir():
        path.write_bytes(data_set(path))
    series("mislabelled", 171)
    metas = {path: path.read_bytes()[: -len(data_set(path))] for path in (ROOT / "mislabelled").iterdir()}
    series("mislabelled", 171, syntax=IMPLICIT)
    for path, meta in metas.items():
        path.write_bytes(meta + data_set(path))
    series("trailing", 172)
    for path in (ROOT / "trailing").iterdir():
        path.write_bytes(path.read_bytes() + b"garbage that is longer than a head")


def data_set(path):
    content = path.read_bytes()
    group_length = struct.unpack("<I", content[140:144])[0]
    return content[144 + group_length :]


def affine_of(image):
    d = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    m = np.eye(4)
    m[:3, :3], m[:3, 3] = d, image.GetOrigin()
    return np.diag([-1, -1, 1, 1]) @ m


def by_simpleitk(folder):
    files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    image = sitk.ReadImage(files)
    return np.transpose(sitk.GetArrayFromImage(image), (2, 1, 0)).astype(np.float32), affine_of(image)


def by_pydicom(folder):
    """Slices in order along the normal, each with its own scaling; for what SimpleITK takes otherwise or not at all."""
    planes = []
    for path in sorted(folder.iterdir()):
        ds = pydicom.dcmread(path, force=True)
        if not hasattr(ds.file_meta, "TransferSyntaxUID"):
            ds.file_meta.TransferSyntaxUID = IMPLICIT
        frames = ds.pixel_array.reshape(-1, ds.Rows, ds.Columns).astype(np.float64)
        for k, frame in enumerate(frames):
            place, scale, shared = ds, ds, ds
            if "PerFrameFunctionalGroupsSequence" in ds:
                own, shared = ds.PerFrameFunctionalGroupsSequence[k], ds.SharedFunctionalGroupsSequence[0]
                place, scale = own.PlanePositionSequence[0], own.PixelValueTransformationSequence[0]
                orientation, spacing = shared.PlaneOrientationSequence[0].ImageOrientationPatient, shared.PixelMeasuresSequence[0].PixelSpacing
            else:
                orientation, spacing = ds.ImageOrientationPatient, ds.PixelSpacing
            slope, intercept = float(getattr(scale, "RescaleSlope", 1)), float(getattr(scale, "RescaleIntercept", 0))
            planes.append((np.array(place.ImagePositionPatient, float), frame * slope + intercept))
    row, column = np.array(orientation[:3], float), np.array(orientation[3:], float)
    normal = np.cross(row, column)
    planes.sort(key=lambda plane: plane[0] @ normal)
    distance = (planes[-1][0] - planes[0][0]) @ normal / (len(planes) - 1)
    m = np.eye(4)
    m[:3, 0], m[:3, 1], m[:3, 2], m[:3, 3] = row * float(spacing[1]), column * float(spacing[0]), normal * distance, planes[0][0]
    volume = np.stack([plane for _, plane in planes], axis=2)
    return np.transpose(volume, (1, 0, 2)).astype(np.float32), np.diag([-1, -1, 1, 1]) @ m


# SimpleITK scales every slice as the first one, reads frames without their places, needs preambles, and stumbles over garbage and
# files that say explicit and are not. It turns MONOCHROME1 into its negative, which Genesis does not, and does not read
# these run lengths of 8 bits.
PYDICOM = {
    "per_slice_rescale", "multi_frame", "multi_frame_undefined", "no_preamble", "mislabelled", "big_endian_8",
    "monochrome1", "rle_8", "trailing",
}
REFUSED = {
    "jpeg_restarts", "jpeg_ls", "tilt", "missing", "duplicate", "times", "two_series", "multi_frame_placeless",
    "modality_table", "spacing_differs", "beside",
}


def record():
    expected = {}
    for folder in sorted(path for path in ROOT.iterdir() if path.is_dir()):
        if folder.name in REFUSED:
            continue
        reader = "pydicom" if folder.name in PYDICOM else "SimpleITK"
        try:
            voxels, affine = (by_pydicom if reader == "pydicom" else by_simpleitk)(folder)
        except Exception as error:
            raise RuntimeError(folder.name) from error
        expected[folder.name] = {
            "reader": reader,
            "size": list(voxels.shape),
            "affine_ras": [[round(float(x), 9) + 0.0 for x in row] for row in affine],
            # z fastest
            "voxels": [float(x) for x in voxels.ravel()],
        }
        try:
            other, place = by_pydicom(folder)
            same = np.array_equal(other, voxels) and np.allclose(place, affine, atol=1e-6)
            print(f"{folder.name}: {reader}, pydicom {'agrees' if same else f'differs by {np.abs(other - voxels).max()}'}")
        except Exception as error:
            print(f"{folder.name}: {reader}, pydicom fails: {error}")
    lines = [f"{json.dumps(name)}: {json.dumps(entry, separators=(',', ':'))}" for name, entry in expected.items()]
    (ROOT / "expected.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


make()
record()
