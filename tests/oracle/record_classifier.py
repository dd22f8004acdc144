"""Records what PyTorch computes for the classifier, with the weights and inputs of record_unet.py's formula.

    python tests/oracle/record_classifier.py        # writes tests/fixtures/classifier.json
"""
import json
import pathlib

import numpy as np
import torch
from record_unet import fill, h, projections
from unet import Classifier3D

WIDTH, BATCH, SIZE = 3, 4, (16, 24, 16)


def main():
    torch.set_num_threads(2)
    out = {"width": WIDTH, "batch": BATCH, "size": SIZE, "torch": torch.__version__, "classes": {}}
    x = torch.from_numpy(h(1000, BATCH * int(np.prod(SIZE))).reshape(BATCH, 1, *SIZE)).float().double()
    for classes in [1, 3]:
        model = Classifier3D(WIDTH, classes=classes).double()
        fill(model)
        labels = torch.tensor([0, 1, 1, 0] if classes == 1 else [0, 2, 1, 2])
        record = {"labels": labels.tolist()}
        model.eval()
        with torch.no_grad():
            record["running"] = model(x).flatten().tolist()
        model.train()
        logits = model(x)
        record["batch"] = logits.detach().flatten().tolist()
        if classes == 1:
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits[:, 0], labels.double())
        else:
            loss = torch.nn.functional.cross_entropy(logits, labels)
        record["loss"] = loss.item()
        loss.backward()
        names = [name for name, _ in model.named_parameters()]
        record["gradients"] = {n: projections(k, p.grad) for k, (n, p) in enumerate(zip(names, model.parameters()))}
        record["buffers"] = {
            n: projections(k, v) for k, (n, v) in enumerate(model.state_dict().items()) if "running" in n
        }
        out["classes"][classes] = record
    target = pathlib.Path(__file__).parent.parent / "fixtures" / "classifier.json"
    target.write_text(json.dumps(out) + "\n")
    print(target, target.stat().st_size)


main()
