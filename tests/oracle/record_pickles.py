"""Writes tests/fixtures/pickles/*.pt: checkpoints whose pickles do harm, or lie (test S7). Needs torch.

Each is what PyTorch's own archive looks like, with another pickle. With `--check` they are also given to
torch.load(weights_only=True), which must refuse each as well (nothing is executed).
"""

import io
import os
import pickle
import pickletools
import sys
import zipfile

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures", "pickles")


def archive(data, storage=bytes(range(64))):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as zipped:
        for name, content in [
            ("archive/data.pkl", data),
            ("archive/byteorder", b"little"),
            ("archive/data/0", storage),
            ("archive/version", b"3\n"),
        ]:
            zipped.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)
    return file.getvalue()


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def text(value):
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


def tensor(count, offset, size, stride, key="0"):
    """A float tensor by opcodes: elements of the storage, offset, sizes, strides."""
    number = lambda value: b"\x8a\x08" + value.to_bytes(8, "little", signed=True)
    row = lambda values: b"(" + b"".join(map(number, values)) + b"t"
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n((" + text("storage") + b"ctorch\nFloatStorage\n" + text(key) + text("cpu")
        + number(count) + b"tQ" + number(offset) + row(size) + row(stride) + b"\x89ccollections\nOrderedDict\n)RtR"
    )


def entry(value):
    return b"\x80\x02}(" + text("w") + value + b"u."


def files():
    yield "os-system", pickle.dumps({"w": Call(os.system, "touch genesis-was-here")}, 2)
    yield "eval", pickle.dumps({"w": Call(eval, "__import__('os').abort()")}, 2)
    yield "exec-nested", pickle.dumps({"state_dict": {"w": [{"a": Call(exec, "raise SystemExit")}]}}, 4)
    yield "getattr-chain", pickle.dumps({"w": Call(getattr, "", "format")}, 2)
    yield "open-file", pickle.dumps({"w": Call(open, "/etc/passwd")}, 2)
    yield "popen", entry(b"csubprocess\nPopen\n(" + text("id") + b"tR")
    yield "build-setstate", entry(b"cos\nsystem\n)\x81}" + text("a") + b"K\x01sb")
    yield "global-beside-tensor", b"\x80\x02}(" + text("w") + tensor(4, 0, [4], [1]) + text("x") + b"c__builtin__\ncompile\nu."
    bomb = b"\x80\x02](K\x01eq\0"
    for round in range(40):
        bomb += b"0](" + bytes([ord("h"), round, ord("h"), round]) + b"e" + bytes([ord("q"), round + 1])
    yield "memo-bomb", bomb + b"."
    yield "nesting-10k", b"\x80\x02" + b"]" * 10_000 + b"a" * 9_999 + b"."
    yield "negative-stride", entry(tensor(16, 15, [16], [-1]))
    yield "negative-offset", entry(tensor(16, -4, [4], [1]))
    yield "storage-overrun", entry(tensor(16, 8, [16], [1]))
    yield "storage-larger-than-file", entry(tensor(1 << 40, 0, [1 << 40], [1]))
    yield "overlap-2-60", entry(tensor(16, 0, [1 << 30, 1 << 30], [0, 0]))
    yield "storage-outside", entry(tensor(4, 0, [4], [1], "../../../../etc/passwd"))


def main():
    os.makedirs(OUT, exist_ok=True)
    for name, data in files():
        if "memo" not in name and "nesting" not in name:
            for _ in pickletools.genops(data):
                pass
        path = os.path.join(OUT, name + ".pt")
        with open(path, "wb") as file:
            file.write(archive(data))
        if "--check" in sys.argv:
            import torch

            try:
                torch.load(path, weights_only=True)
                print(name, "is loaded by torch")
            except Exception as error:
                print(name, type(error).__name__)


main()
