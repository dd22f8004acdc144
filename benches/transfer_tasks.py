"""The target tasks of transfer.py on the public development set: where their data lie, how much is trained, and what a
trivial method gives. The settings were chosen on the validation splits, once, from scratch."""
import csv
import json
import math
import os

# Validations of one run, about.
VALIDATIONS = 6


class Task:
    """What the tasks have in common."""

    width = 8
    fractions = [1.0]
    baseline = ""
    # Budgets that two cores finish in a quarter of an hour. After 600 steps restored cubes were still blurred.
    pretraining_steps = {"own": 3000, "chest": 1500}
    steps = 400
    batch = 2

    def __init__(self, data, folder):
        self.data = data
        self.folder = folder
        self.splits = json.loads((data / "splits.json").read_text())[self.split_name]
        self.prepare()

    def link(self, name, files):
        """A folder of links to `files`."""
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        for file in files:
            target = folder / file.name
            if not target.exists():
                os.symlink(file, target)
        return folder

    def unlabelled(self, start):
        """The folder of volumes and the flags of `genesis cubes` for a start."""
        return self.chest() if start == "chest" else self.own()

    def chest(self):
        lung = self.data / "lung-ct"
        files = [lung / "LIDC-IDRI-0314_2mm.nii.gz", lung / "C3N-00247.mhd", lung / "C3N-00247.zraw"]
        return self.link("chest", files), ["--cube", "48x48x32", "--border", "10,10,5", "--per-volume", "150"]

    def file(self, name, text):
        """A small file of the run's folder."""
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path

    def budget(self, per_epoch):
        """Flags for the length of a run, of which an epoch shows so many samples."""
        epoch = math.ceil(per_epoch / self.batch)
        every = max(1, round(self.steps / VALIDATIONS / epoch))
        return ["--steps", self.steps, "--epochs", self.steps, "--patience", self.steps + 1, "--batch-size", self.batch,
                "--validate-every", every]


class Segmentation(Task):
    """Dice on the test split."""

    # At 0.001 so few steps do not suffice: from some starts one of two classes was not found at all.
    steps = 200
    modality = []
    extra = []

    def finetune(self, fraction):
        cases = max(1, round(fraction * len(self.splits["train"])))
        return ["segment", "--data", self.labelled, "--splits", self.data / "splits.json", "--splits-key",
                self.split_name, "--lr", "0.003", "--patch", self.patch, *self.modality, *self.extra, *self.budget(2 * cases)]

    @property
    def evaluate(self):
        return ["--data", self.labelled, "--splits", self.data / "splits.json", "--splits-key", self.split_name]

    def scores(self, report):
        found = {each["class"]: each["metrics"]["dice"]["mean"] for each in report["classes"]}
        return {f"Dice {name}": found[label] for label, name in self.classes}


class Hippocampus(Segmentation):
    split_name = "hippocampus"
    fractions = [0.1, 0.25, 1.0]
    patch = "32x48x32"
    modality = ["--modality", "mri"]
    classes = [("label 1", "anterior"), ("label 2", "posterior")]
    baseline = ("The average training label alone, without looking at the image: Dice 0.61 anterior, 0.63 posterior. "
                "Test split: 11 cases.")

    def prepare(self):
        self.labelled = self.data / "hippocampus"
        # Left and right mirror each other; front and back are what the classes are.
        flip = self.file("augment.toml", "[augmentation.flip]\nprobability = [0.5, 0.0, 0.0]\n")
        self.extra = ["--config", flip]

    def own(self):
        images = self.data / "hippocampus" / "images"
        files = [images / f"{name}.nii.gz" for name in self.splits["train"]]
        return self.link("own", files), ["--modality", "mri", "--percentiles", "0.5,99.5", "--cube", "24x40x24", "--max-tissue",
                                         "1", "--per-volume", "8"]


class Lidc:
    """The nodule cubes: 51 voxels of 1 mm a side."""

    split_name = "lidc_nodule_cubes"
    pretraining_steps = {"own": 1500, "chest": 1500}

    def own(self):
        images = self.data / "lidc-nodule-cubes" / "images"
        files = [images / f"{name}.nii.gz" for name in self.splits["train"]]
        return self.link("own", files), ["--cube", "32x32x32", "--border", "0,0,0", "--max-tissue", "1", "--per-volume",
                                         "8"]

    def part(self, name):
        """Which split a patient is in."""
        return next((part for part in ["train", "val", "test"] if name in self.splits[part]), None)

    def rows(self, file):
        with open(self.data / "lidc-nodule-cubes" / file, encoding="utf-8") as text:
            return list(csv.DictReader(text))


class Nodules(Lidc, Segmentation):
    fractions = [0.1, 0.25, 1.0]
    # Nearly the whole cube: after 200 steps on patches of 40 voxels, or 400 on 32, the validation Dice was 0.2.
    patch = "48x48x48"
    steps = 400
    classes = [("label 1", "nodule")]
    baseline = "Test split: 13 nodules of 13 patients."

    def prepare(self):
        self.labelled = self.folder / "nodules"
        for part, source in [("images", "images"), ("labels", "masks")]:
            files = sorted((self.data / "lidc-nodule-cubes" / source).glob("*.nii.gz"))
            self.link(f"nodules/{part}", files)


class Classification(Lidc, Task):
    """AUC on the test split."""

    batch = 8
    # After 150 steps the training loss is still 0.5.
    steps = 400
    fractions = [1.0]

    def table(self, name, rows):
        """A CSV of candidates; positions are voxel indices, since these volumes' LPS origin is 0."""
        path = self.folder / name
        with open(path, "w", encoding="utf-8", newline="") as text:
            writer = csv.writer(text)
            writer.writerow(["path", "label", "split", "group", "x", "y", "z"])
            for identity, label, centre in rows:
                image = self.data / "lidc-nodule-cubes" / "images" / f"{identity}.nii.gz"
                part = {"train": "train", "val": "valid", "test": "test"}[self.part(identity)]
                writer.writerow([image, label, part, identity, *centre])
        return path

    def finetune(self, fraction):
        with open(self.csv, encoding="utf-8") as text:
            training = sum(row["split"] == "train" for row in csv.DictReader(text))
        return ["classify", "--data", self.csv, "--cube", self.cube, *self.budget(max(1, round(fraction * training)))]

    @property
    def evaluate(self):
        return ["--data", self.csv, "--split", "test"]

    def scores(self, report):
        return {"AUC": report["auc"]}


class Boxes(Classification):
    cube = "24x24x24"
    baseline = "One number, the mean HU of the central 6×6×6 voxels: AUC 0.85 over all 198 boxes."

    def prepare(self):
        rows = []
        for row in self.rows("nodule_vs_none_boxes.csv"):
            half = (int(row["size"]) - 1) / 2
            rows.append((row["id"], row["nodule"], [int(row[axis]) + half for axis in ("x0", "y0", "z0")]))
        self.csv = self.table("boxes.csv", rows)


class Malignancy(Classification):
    cube = "48x48x48"
    batch = 4
    steps = 300
    baseline = "One number, the diameter: AUC 0.91 over all 60 nodules that are not indeterminate."

    def prepare(self):
        rows = []
        for row in self.rows("labels.csv"):
            median = float(row["malignancy_median"])
            # 3 means indeterminate.
            if median != 3:
                rows.append((row["id"], int(median > 3), [25, 25, 25]))
        self.csv = self.table("malignancy.csv", rows)


TASKS = {"hippocampus": Hippocampus, "nodules": Nodules, "boxes": Boxes, "malignancy": Malignancy}
