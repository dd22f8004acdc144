"""Hippocampus segmentation in PyTorch with the settings of transfer.py, without augmentation: does a framework that has
nothing in common with Genesis get the same Dice from the same cases in as many steps?

    python benches/transfer_pytorch.py --data ../shared/data [--seeds 1,2,3] [--fraction 1] [--out results.jsonl]

wants a Python with torch and nibabel. Its counterpart is `genesis finetune segment` as transfer.py calls it, with
`--augment none` (`transfer.py hippocampus --plain`). The network is tests/oracle/unet.py, with PyTorch's own initial
values; loss, optimiser, schedule, sampling, intensities and sliding window follow Genesis's documentation.
"""
import argparse
import json
import math
import sys
import time
from pathlib import Path

import nibabel
import numpy
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "oracle"))
from unet import UNet3D  # noqa: E402

PATCH = numpy.array([32, 48, 32])
CLASSES = 3


def load(folder, name):
    """Intensities between the percentiles 0.5 and 99.5 as [0, 1], labels."""
    image = numpy.asarray(nibabel.load(folder / "images" / f"{name}.nii.gz").dataobj, dtype=numpy.float32)
    labels = numpy.asarray(nibabel.load(folder / "labels" / f"{name}.nii.gz").dataobj).astype(numpy.int64)
    low, high = numpy.percentile(image, [0.5, 99.5])
    return numpy.clip((image - low) / (high - low), 0, 1), labels


def cut(case, corner):
    """The patch at `corner`; what lies outside is background."""
    image, labels = numpy.zeros(PATCH, numpy.float32), numpy.zeros(PATCH, numpy.int64)
    low = numpy.maximum(corner, 0)
    high = numpy.minimum(corner + PATCH, case[0].shape)
    source = tuple(slice(a, b) for a, b in zip(low, high))
    place = tuple(slice(a, b) for a, b in zip(low - corner, high - corner))
    image[place], labels[place] = case[0][source], case[1][source]
    return image, labels


def draw(case, random):
    """Half of the patches are centred on a voxel of a foreground class, the others lie anywhere."""
    slack = numpy.array(case[0].shape) - PATCH
    low, high = numpy.minimum(slack, 0), numpy.maximum(slack, 0)
    if random.random() < 0.5:
        places = numpy.argwhere(case[1] == random.integers(1, CLASSES))
        if len(places):
            return cut(case, numpy.clip(places[random.integers(len(places))] - PATCH // 2, low, high))
    return cut(case, random.integers(low, high + 1))


def dice_and_cross_entropy(logits, labels):
    """Soft Dice of the foreground classes over the whole batch, plus cross-entropy."""
    probabilities = torch.softmax(logits, 1)
    wanted = torch.nn.functional.one_hot(labels, CLASSES).movedim(-1, 1).float()
    axes = (0, 2, 3, 4)
    overlap, sizes = (probabilities * wanted).sum(axes), probabilities.sum(axes) + wanted.sum(axes)
    return (1 - (2 * overlap + 1) / (sizes + 1))[1:].mean() + torch.nn.functional.cross_entropy(logits, labels)


def starts(extent, window):
    if extent <= window:
        return [0]
    count = math.ceil((extent - window) / (window / 2)) + 1
    return [round((extent - window) * i / (count - 1)) for i in range(count)]


def predict(network, case):
    """Sliding windows that overlap by half, weighted by a Gaussian of an eighth of the window."""
    weight = numpy.ones(1)
    for extent in PATCH:
        line = numpy.exp(-0.5 * ((numpy.arange(extent) - (extent - 1) / 2) / (extent / 8)) ** 2)
        weight = numpy.multiply.outer(weight, numpy.maximum(line, 1e-3))
    weight = weight[0]
    shape = numpy.maximum(case[0].shape, PATCH)
    sums = numpy.zeros((CLASSES, *shape))
    image = numpy.zeros(shape, numpy.float32)
    image[tuple(slice(0, extent) for extent in case[0].shape)] = case[0]
    for x in starts(shape[0], PATCH[0]):
        for y in starts(shape[1], PATCH[1]):
            for z in starts(shape[2], PATCH[2]):
                place = tuple(slice(a, a + extent) for a, extent in zip((x, y, z), PATCH))
                with torch.inference_mode():
                    logits = network(torch.from_numpy(image[place].copy())[None, None])
                sums[(slice(None), *place)] += torch.softmax(logits, 1)[0].numpy() * weight
    return sums.argmax(0)[tuple(slice(0, extent) for extent in case[0].shape)]


def dice(network, cases):
    """The mean over the cases for each foreground class."""
    network.eval()
    found = []
    for case in cases:
        predicted = predict(network, case)
        row = []
        for label in range(1, CLASSES):
            both = ((predicted == label) & (case[1] == label)).sum()
            row.append(2 * both / max((predicted == label).sum() + (case[1] == label).sum(), 1))
        found.append(row)
    network.train()
    return numpy.mean(found, 0)


def run(arguments, cases, seed):
    torch.manual_seed(seed)
    random = numpy.random.default_rng(seed)
    training = list(cases["train"])
    random.shuffle(training)
    training = training[:max(1, round(arguments.fraction * len(training)))]
    network = UNet3D(arguments.width, classes=CLASSES)
    optimizer = torch.optim.Adam(network.parameters(), lr=arguments.lr)
    best, kept, order, started = -1.0, None, [], time.time()
    every = max(1, round(arguments.steps / 6 / len(training))) * len(training)
    for step in range(1, arguments.steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = arguments.lr * (1 - (step - 1) / arguments.steps) ** 0.9
        batch = []
        for _ in range(2):
            order = order or list(random.permutation(len(training)))
            batch.append(draw(training[order.pop()], random))
        image = torch.from_numpy(numpy.stack([image for image, _ in batch]))[:, None]
        labels = torch.from_numpy(numpy.stack([labels for _, labels in batch]))
        optimizer.zero_grad(set_to_none=True)
        dice_and_cross_entropy(network(image), labels).backward()
        optimizer.step()
        if step % every == 0 or step == arguments.steps:
            valid = float(dice(network, cases["val"]).mean())
            if valid > best:
                best, kept = valid, {name: value.clone() for name, value in network.state_dict().items()}
    network.load_state_dict(kept)
    anterior, posterior = dice(network, cases["test"])
    return {"seed": seed, "fraction": arguments.fraction, "scores": {"anterior": anterior, "posterior": posterior},
            "best_valid_dice": best, "steps": arguments.steps, "seconds": round(time.time() - started, 1)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--fraction", type=float, default=1.0)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--lr", type=float, default=0.003)
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", help="a file that results are added to")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    data = Path(arguments.data)
    splits = json.loads((data / "splits.json").read_text())["hippocampus"]
    cases = {part: [load(data / "hippocampus", name) for name in splits[part]] for part in ["train", "val", "test"]}
    for seed in map(int, arguments.seeds.split(",")):
        line = json.dumps(run(arguments, cases, seed))
        print(line, flush=True)
        if arguments.out:
            with open(arguments.out, "a", encoding="utf-8") as file:
                file.write(line + "\n")


main()
