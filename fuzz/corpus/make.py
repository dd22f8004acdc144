"""Writes the valid files of the corpus: python make.py (needs numpy, nibabel, safetensors, torch).

Files named valid-* are read, refused-* are not; others may go either way. Regressions are added by hand.
"""

import gzip
import io
import json
import os
import pickle
import struct
import tarfile
import zipfile
import zlib

import nibabel
import numpy
import safetensors.torch
import torch

HERE = os.path.dirname(os.path.abspath(__file__))


def write(target, name, data):
    os.makedirs(os.path.join(HERE, target), exist_ok=True)
    with open(os.path.join(HERE, target, name), "wb") as file:
        file.write(data.encode() if isinstance(data, str) else data)


def nifti():
    voxels = numpy.arange(2 * 3 * 4, dtype=numpy.int16).reshape(2, 3, 4)
    affine = numpy.array([[-0.5, 0.1, 0, 10], [0, 0.75, 0, -20], [0, 0, 2, 30], [0, 0, 0, 1]])
    one = nibabel.Nifti1Image(voxels, affine)
    one.header.set_slope_inter(0.5, -3)
    write("nifti", "valid-int16.nii", one.to_bytes())
    write("nifti", "valid-int16.nii.gz", gzip.compress(one.to_bytes(), mtime=0))
    write("nifti", "valid-float64.nii", nibabel.Nifti1Image(voxels.astype("f8"), affine).to_bytes())
    big = nibabel.Nifti1Image(voxels, affine, nibabel.Nifti1Header(endianness=">"))
    write("nifti", "valid-big-endian.nii", big.to_bytes())
    write("nifti", "valid-2.nii", nibabel.Nifti2Image(voxels.astype("u1"), affine).to_bytes())
    four = nibabel.Nifti1Image(numpy.zeros((2, 2, 2, 3), "u1"), affine)
    write("nifti", "4d.nii", four.to_bytes())
    flat = nibabel.Nifti1Image(numpy.zeros((3, 4), "i4"), None)
    write("nifti", "valid-2d-qform.nii", flat.to_bytes())
    header = bytearray(one.to_bytes())
    header[344:348] = b"ni1\0"
    header[108:112] = struct.pack("<f", 0)
    write("nifti", "valid-pair", bytes(header[:348]) + voxels.tobytes(order="F"))


def metaimage():
    def text(**over):
        fields = {
            "ObjectType": "Image", "NDims": "3", "BinaryData": "True", "BinaryDataByteOrderMSB": "False",
            "CompressedData": "False", "TransformMatrix": "1 0 0 0 0.8 0.6 0 -0.6 0.8", "Offset": "1 -2 3.5",
            "CenterOfRotation": "0 0 0", "ElementSpacing": "0.5 0.75 2", "DimSize": "2 3 4",
            "ElementType": "MET_SHORT", "ElementDataFile": "LOCAL",
        }
        fields.update(over)
        fields["ElementDataFile"] = fields.pop("ElementDataFile")  # last, as the format asks
        return "".join(f"{key} = {value}\n" for key, value in fields.items()).encode()

    voxels = numpy.arange(24, dtype="<i2").tobytes()
    packed = zlib.compress(voxels)
    write("metaimage", "valid-local.mha", text() + voxels)
    write("metaimage", "valid-big.mha", text(BinaryDataByteOrderMSB="True", ElementType="MET_FLOAT") + 2 * voxels)
    write("metaimage", "valid-raw.mhd", text(ElementDataFile="data.raw") + voxels)
    write("metaimage", "valid-end.mhd", text(ElementDataFile="data.raw", HeaderSize="-1") + b"skip" + voxels)
    write("metaimage", "valid-zlib.mha", text(CompressedData="True", CompressedDataSize=len(packed)) + packed)
    write("metaimage", "valid-gzip.mhd", text(CompressedData="True", ElementDataFile="data.raw") + gzip.compress(voxels, mtime=0))
    write("metaimage", "valid-2d.mha", text(NDims="2", DimSize="4 6", TransformMatrix="1 0 0 1", Offset="0 0", ElementSpacing="1 1") + voxels)
    write("metaimage", "refused-outside.mhd", text(ElementDataFile="../../etc/passwd") + voxels)
    write("metaimage", "refused-channels.mha", text(ElementNumberOfChannels="3") + voxels)


def npy():
    for name, array in {
        "valid-cubes.npy": numpy.linspace(0, 1, 48, dtype="f4").reshape(2, 2, 3, 4),
        "valid-volume.npy": numpy.arange(24, dtype=">i2").reshape(2, 3, 4),
        "valid-fortran.npy": numpy.asfortranarray(numpy.arange(24, dtype="f8").reshape(2, 3, 4)),
        "valid-half.npy": numpy.arange(5, dtype="f2"),
        "valid-scalar.npy": numpy.array(3, dtype="u8"),
        "valid-empty.npy": numpy.zeros((0, 4, 4, 4), "u1"),
        "refused-complex.npy": numpy.zeros(3, "c8"),
        "refused-records.npy": numpy.zeros(2, [("a", "<f4"), ("b", "<i4")]),
    }.items():
        file = io.BytesIO()
        numpy.save(file, array)
        write("npy", name, file.getvalue())
        if name == "valid-cubes.npy":
            write("npy", "packed.npy.gz", gzip.compress(file.getvalue(), mtime=0))
    file = io.BytesIO()
    numpy.lib.format.write_array(file, numpy.arange(6, dtype="i8").reshape(1, 2, 3), version=(2, 0))
    write("npy", "valid-version-2.npy", file.getvalue())
    file = io.BytesIO()
    numpy.savez_compressed(file, a=numpy.zeros(3))
    write("npy", "refused-archive.npz", file.getvalue())
    file = io.BytesIO()
    numpy.save(file, numpy.array([{"a": 1}], dtype=object), allow_pickle=True)
    write("npy", "refused-objects.npy", file.getvalue())


def state():
    return {
        "conv.weight": torch.arange(12, dtype=torch.float32).reshape(3, 4) / 8,
        "conv.bias": torch.tensor([0.5, -1.0], dtype=torch.float64),
        "bn.running_mean": torch.tensor([1.0, 2.0]).half(),
        "bn.num_batches_tracked": torch.tensor(7),
        "mask": torch.tensor([True, False]),
    }


def saved(value, **options):
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


def before_0_1_10(tensors):
    """A tar archive as PyTorch before 0.1.10 wrote it: {name: (shape, values)}, f32."""

    def described(*numbers, kind):
        return b"\x80\x02(" + b"".join(b"M" + struct.pack("<H", number) for number in numbers) + b"%sctorch\n%s\nt." % (
            b"U\x03cpu" if kind.endswith(b"Storage") else b"", kind)

    count = pickle.dumps(len(tensors), 2)
    storages, table, names = [count], [count], b""
    for key, (name, (shape, values)) in enumerate(tensors.items(), 1000):
        storages += [described(key, kind=b"FloatStorage"), struct.pack("<q", len(values)), numpy.array(values, "<f4").tobytes()]
        strides = [int(numpy.prod(shape[axis + 1:])) for axis in range(len(shape))]
        table += [described(1000 + key, key, kind=b"FloatTensor"), struct.pack("<ii", len(shape), 0)]
        table += [struct.pack("<%dq" % (2 * len(shape) + 1), *shape, *strides, 0)]
        names += b"U" + bytes([len(name)]) + name.encode() + b"U\x04%dQ" % (1000 + key)
    entries = {
        "sys_info": pickle.dumps({"protocol_version": 1000, "little_endian": True}, 2),
        "pickle": b"\x80\x02}(" + names + b"u.",
        "tensors": b"".join(table),
        "storages": b"".join(storages) + pickle.dumps([], 2),
    }
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in entries.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    # Blocks of zeros to a multiple of 10 KB tell nothing.
    return file.getvalue().rstrip(b"\0") + bytes(1024 + 512 - len(file.getvalue().rstrip(b"\0")) % 512)


def checkpoints():
    write("safetensors", "valid-plain.safetensors", safetensors.torch.save(state()))
    described = safetensors.torch.save({"a": torch.zeros(0, 3), "b": torch.ones(2)}, {"epoch": "3", "note": "text\n"})
    write("safetensors", "valid-metadata.safetensors", described)
    optimizer = {"optimizer.momentum_buffer.a": torch.ones(2), "optimizer.step.a": torch.tensor(5), "a": torch.zeros(2)}
    groups = json.dumps([{"settings": {"lr": 0.1}, "parameters": ["a"]}])
    write("safetensors", "valid-optimizer.safetensors", safetensors.torch.save(optimizer, {"optimizer.groups": groups}))
    write("safetensors", "task.safetensors", safetensors.torch.save({"a": torch.ones(1)}, {"genesis.task": json.dumps({
        "task": "segment", "classes": ["background", "a"], "channels": 1, "patch": [64, 64, 32],
        "network": {"channels": 1, "classes": 1, "width": 2, "activation": "relu"}})}))
    write("pt", "valid-zip.pt", saved(state()))
    write("pt", "valid-legacy.pt", saved(state(), _use_new_zipfile_serialization=False))
    write("pt", "valid-tar.pt", before_0_1_10({"conv.weight": ([3, 4], numpy.arange(12) / 8), "conv.bias": ([2], [0.5, -1])}))
    parameter = torch.nn.Parameter(torch.ones(2, 2))
    sgd = torch.optim.SGD([parameter], lr=0.1, momentum=0.9)
    parameter.sum().backward()
    sgd.step()
    training = {"epoch": 3, "state_dict": {"module.w": parameter.data}, "optimizer_state_dict": sgd.state_dict(), "loss": 0.25}
    write("pt", "valid-training.pt", saved(training))
    base = torch.arange(6, dtype=torch.float32)
    write("pt", "valid-views.pt", saved({"a": base[::2], "b": base.reshape(2, 3).T, "c": base}))
    for name, value in {"pickle-state": state(), "pickle-training": training}.items():
        with zipfile.ZipFile(io.BytesIO(saved(value))) as archive:
            entry = [entry for entry in archive.namelist() if entry.endswith("data.pkl")][0]
            write("pt", name, archive.read(entry))


def text():
    write("config", "valid-little.toml", "preset = 'original'\nbatch_size = 2\n[optimizer]\nname = 'adam'\n")
    write("config", "valid-recipe.toml", "seed = 3\n[deformation.flip]\nprobability = 1.0\nrounds = 3\naxes = ['rows', 'deps']\n[deformation.painting]\nprobability = 1.0\ninner_probability = 0.5\n[network]\nwidth = 4\n[data]\ncubes = ['a.npy']\nheld_out = 0.25\n")
    write("finetune_config", "valid-little.toml", "batch_size = 2\nwidth = 8\n[optimizer]\nname = 'adam'\n[preprocessing]\nspacing = [1.0, 1.0, 2.5]\n")
    write("finetune_config", "valid-segment.toml", "loss = 'dice-ce'\n[patch]\nsize = [16, 16, 16]\nper_case = 2\n[augmentation.rotation]\nprobability = 0.5\ndegrees = [15.0, 0.0, 0.0]\n[data]\nfolder = 'd'\nlabels = ['1+2=whole']\n")
    write("finetune_config", "valid-classify.toml", "cube = [64, 64, 32]\nclass_weights = 'balanced'\nsampler = 'balanced'\n[data]\nfile = 'a.csv'\ntrain = ['subset0']\n")
    write("candidates", "valid-cubes.csv", "path,label,split,group,x,y,z\na.nii,benign,train,p1,1.5,-2,3e1\nb.npy,malignant,valid,p2,,,\n\"a.nii\",benign,test,\"p \"\"3\"\"\",0,0,0\n")
    write("candidates", "valid-numbers.csv", "path,label\r\na.nii,0\r\nb.npy,1.0\r\n")
    write("candidates", "luna16.csv", "seriesuid,coordX,coordY,coordZ,class\n1.2.3,-1.5,2,3,0\na,1,2,3,1\n")
    write("candidates", "refused-escape.csv", "path,label\n\x1b[31ma.nii,0\n")
    write("annotations", "valid-one.csv", "seriesuid,coordX,coordY,coordZ,diameter_mm\n1.2.3,-1.5,2,3,4.5\n9.9,1,2,3,-1\n")
    write("predictions", "valid-binary.csv", "path,label,probability\na.nii,0,0.25\nb.npy,1,0.75\n")
    write("predictions", "valid-classes.csv", "path,group,x,y,z,probability_a,probability_b,predicted\na.nii,p,1,2,3,0.25,0.75,b\n")
    case = {"image": "./imagesTr/case.nii.gz", "label": "./labelsTr/case.nii.gz"}
    write("dataset", "valid-decathlon.json", json.dumps({"name": "t", "modality": {"0": "CT"}, "labels": {"0": "background", "1": "a"}, "numTraining": 1, "training": [case], "test": []}))
    write("dataset", "valid-nnunet.json", json.dumps({"channel_names": {"0": "FLAIR", "1": "T1"}, "labels": {"background": 0, "a": 1, "b": 2}, "numTraining": 1, "file_ending": ".nii.gz"}))
    write("dataset", "refused-outside.json", json.dumps({"labels": {"0": "b", "1": "a"}, "training": [{"image": "../../../etc/passwd", "label": "./labelsTr/case.nii.gz"}]}))
    write("splits", "valid-flat.json", json.dumps({"train": ["a.nii.gz", "b"], "val": ["c"], "test": ["d"]}))
    write("splits", "valid-nnunet.json", json.dumps([{"train": ["a"], "val": ["b"]}, {"train": ["b"], "val": ["a"]}]))
    write("splits", "valid-named.json", json.dumps({"mri": {"train": ["a"], "valid": ["b"]}, "ct": {"train": ["x"], "val": ["y"]}}))


for part in (nifti, metaimage, npy, checkpoints, text):
    part()
