"""Records what MedPy, MONAI, SciPy and scikit-learn compute for inputs both sides derive from one generator.

    pip install numpy scipy scikit-learn medpy monai torch
    python tests/oracle/record_metrics.py        # writes train/src/evaluation/oracle.json

The generator is the 64-bit linear congruential one of Knuth's MMIX; draw(n) is its upper 31 bits modulo n.
"""
import json
import pathlib
from importlib.metadata import version

import numpy as np
import scipy.stats
import sklearn.metrics as sk
import torch
from medpy.metric import binary as medpy
from monai.metrics import compute_surface_dice

TOLERANCES = [0.0, 1.0, 2.0]
SPACINGS = [(1.0, 1.0, 1.0), (0.7, 0.7, 2.5), (3.0, 0.5, 0.5), (0.8, 1.3, 5.0), (1.5, 1.0, 0.6)]


class Generator:
    def __init__(self, seed):
        self.state = seed

    def draw(self, n):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self.state >> 33) % n


def paint(labels, label, centre, radii):
    """Labels the voxels of an ellipsoid, in integers."""
    g = np.meshgrid(*[np.arange(n) for n in labels.shape], indexing="ij")
    a, b, c = [r * r for r in radii]
    d = [(axis - at) ** 2 for axis, at in zip(g, centre)]
    labels[d[0] * (b * c) + d[1] * (a * c) + d[2] * (a * b) <= a * b * c] = label


def label_pair(case):
    g = Generator(case + 1)
    size = [16 + g.draw(9), 18 + g.draw(13), 10 + g.draw(11)]
    prediction, reference = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
    for _ in range(2 + g.draw(4)):
        label = 1 + g.draw(2)
        centre = [g.draw(n) for n in size]
        radii = [2 + g.draw(n // 4) for n in size]
        paint(reference, label, centre, radii)
        shifted = [at + g.draw(5) - 2 for at in centre]
        grown = [r + g.draw(3) - 1 for r in radii]
        if g.draw(8) > 0:
            paint(prediction, label, shifted, grown)
    # A spurious island, for the tail of the distances.
    if g.draw(2) == 0:
        paint(prediction, 1 + g.draw(2), [g.draw(n) for n in size], [1, 1, 1])
    return prediction, reference


def segmentation(prediction, reference, spacing):
    p, r = prediction.astype(bool), reference.astype(bool)
    out = {
        # 0 / 0 in MedPy where both are empty.
        "dice": medpy.dc(p, r) if p.any() or r.any() else None,
        "iou": medpy.jc(p, r) if p.any() or r.any() else None,
        "sensitivity": medpy.sensitivity(p, r) if r.any() else None,
        "precision": medpy.precision(p, r) if p.any() else None,
        "specificity": medpy.specificity(p, r),
        "predicted_volume_ml": float(p.sum() * np.prod(spacing) / 1000),
        "reference_volume_ml": float(r.sum() * np.prod(spacing) / 1000),
    }
    if p.any() and r.any():
        out["hausdorff_mm"] = float(medpy.hd(p, r, spacing))
        out["hausdorff_95_mm"] = float(medpy.hd95(p, r, spacing))
        out["average_surface_distance_mm"] = float(medpy.assd(p, r, spacing))
        one_hot = [torch.from_numpy(m)[None, None] for m in (p, r)]
        out["surface_dice"] = [
            # Their share is single precision; times the surface's size it is a whole number.
            round(compute_surface_dice(*one_hot, [t], include_background=True, spacing=list(spacing)).double().item() * n) / n
            for n in [surface_voxels(p) + surface_voxels(r)]
            for t in TOLERANCES
        ]
    return out


def surface_voxels(mask):
    from scipy.ndimage import binary_erosion

    return int((mask ^ binary_erosion(mask)).sum())


def mean_iou(probabilities, reference):
    """The original's mean_iou, its streaming counts fresh: two classes, ten thresholds."""
    scores = []
    for t in np.arange(0.5, 1.0, 0.05).astype(np.float32):
        scores.append(sk.jaccard_score(reference, (probabilities > t).astype(int), labels=[0, 1], average="macro"))
    return float(np.mean(scores))


def ranked(seed, cases, levels, classes):
    """Scores [cases, classes] in whole levels, higher for the true class, and labels."""
    g = Generator(1000 + seed)
    labels, scores = [], []
    for _ in range(cases):
        label = g.draw(classes)
        labels.append(label)
        scores.append([(g.draw(levels) + (g.draw(levels) if k == label else 0)) / (2 * levels) for k in range(classes)])
    return np.array(scores), np.array(labels)


def ranking(seed, cases, levels):
    scores, labels = ranked(seed, cases, levels, 2)
    scores = scores[:, 1]
    fpr, tpr, thresholds = sk.roc_curve(labels, scores)
    precision, recall, pr_thresholds = sk.precision_recall_curve(labels, scores)
    full_fpr, full_tpr, _ = sk.roc_curve(labels, scores, drop_intermediate=False)
    called = (scores >= 0.5).astype(int)
    negatives = int((labels == 0).sum())
    specificity = (negatives - np.round(full_fpr * negatives)) / negatives
    return {
        "seed": seed,
        "cases": cases,
        "levels": levels,
        "auc": sk.roc_auc_score(labels, scores),
        "average_precision": sk.average_precision_score(labels, scores),
        "roc": [fpr.tolist(), tpr.tolist(), thresholds[1:].tolist()],
        "precision_recall": [precision.tolist(), recall.tolist(), pr_thresholds.tolist()],
        "accuracy": sk.accuracy_score(labels, called),
        "sensitivity": sk.recall_score(labels, called),
        "specificity": sk.recall_score(labels, called, pos_label=0),
        "precision": sk.precision_score(labels, called),
        "f1": sk.f1_score(labels, called),
        "confusion": sk.confusion_matrix(labels, called).tolist(),
        "sensitivity_at_specificity": {
            str(s): float(full_tpr[specificity >= s].max()) for s in (0.8, 0.9, 0.95)
        },
    }


def multi_class(seed, cases, levels, classes):
    scores, labels = ranked(seed, cases, levels, classes)
    called = scores.argmax(1)
    return {
        "seed": seed,
        "cases": cases,
        "levels": levels,
        "classes": classes,
        "auc": [sk.roc_auc_score(labels == k, scores[:, k]) for k in range(classes)],
        "accuracy": sk.accuracy_score(labels, called),
        "sensitivity": sk.recall_score(labels, called, average=None).tolist(),
        "precision": sk.precision_score(labels, called, average=None).tolist(),
        "f1": sk.f1_score(labels, called, average=None).tolist(),
        "confusion": sk.confusion_matrix(labels, called).tolist(),
    }


def froc(seed, scans, findings, candidates):
    """As computeFROC of LUNA16's noduleCADEvaluationLUNA16.py: each finding's best candidate, ROC, rescaled."""
    g = Generator(2000 + seed)
    best, false = {}, []
    for _ in range(candidates):
        finding = g.draw(findings * 4)
        score = g.draw(500) / 500
        if finding < findings:
            score = (score + 1) / 2
            best[finding] = max(best.get(finding, 0.0), score)
        else:
            false.append(score)
    labels = [1] * len(best) + [0] * len(false)
    fpr, tpr, _ = sk.roc_curve(labels, list(best.values()) + false)
    fps, sensitivities = fpr * len(false) / scans, tpr * len(best) / findings
    return {
        "seed": seed,
        "scans": scans,
        "findings": findings,
        "candidates": candidates,
        "sensitivities": [float(np.interp(x, fps, sensitivities)) for x in (0.125, 0.25, 0.5, 1, 2, 4, 8)],
    }


def welch(seed, n, m, shift):
    g = Generator(3000 + seed)
    a = [g.draw(1000) / 1000 + shift for _ in range(n)]
    b = [g.draw(500) / 1000 for _ in range(m)]
    result = scipy.stats.ttest_ind(a, b, equal_var=False)
    keys = {"seed": seed, "n": n, "m": m, "shift": shift}
    return keys | {"t": result.statistic, "degrees_of_freedom": result.df, "p_value": result.pvalue}


def main():
    out = {"versions": {name: version(name) for name in ("medpy", "monai", "scipy", "scikit-learn")}}
    out["tolerances"] = TOLERANCES
    out["segmentation"] = []
    for case in range(20):
        prediction, reference = label_pair(case)
        spacing = SPACINGS[case % len(SPACINGS)]
        g = Generator(4000 + case)
        probabilities = np.array([g.draw(1024) / 1024 for _ in range(reference.size)], np.float32)
        probabilities[prediction.ravel() > 0] = 1 - probabilities[prediction.ravel() > 0] / 2
        record = {
            "spacing": spacing,
            "classes": {str(k): segmentation(prediction == k, reference == k, spacing) for k in (1, 2)},
            "iou_two_class_mean": mean_iou(probabilities, (reference.ravel() > 0).astype(int)),
        }
        out["segmentation"].append(record)
    out["ranking"] = [ranking(s, n, k) for s, n, k in [(0, 40, 10), (1, 60, 5), (2, 50, 1000000), (3, 31, 3), (4, 80, 40)]]
    out["multi_class"] = [multi_class(s, n, k, c) for s, n, k, c in [(10, 60, 20, 3), (11, 90, 1000, 5)]]
    out["froc"] = [froc(*a) for a in [(0, 10, 12, 200), (1, 4, 9, 120), (2, 30, 20, 80)]]
    out["welch"] = [welch(*a) for a in [(0, 10, 10, 0.0), (1, 3, 3, 0.5), (2, 10, 5, -0.4), (3, 40, 25, 3.0)]]
    root = pathlib.Path(__file__).resolve().parents[2]
    path = root / "train/src/evaluation/oracle.json"
    lines = ",\n".join(f"{json.dumps(k)}: " + value_lines(v) for k, v in out.items())
    path.write_text("{\n" + lines + "\n}\n")
    print(path.relative_to(root), path.stat().st_size, "bytes")


def value_lines(value):
    """A record a line."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join(json.dumps(v) for v in value) + "\n]"
    return json.dumps(value)


if __name__ == "__main__":
    main()
