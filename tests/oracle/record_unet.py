"""Records what PyTorch computes for the U-Net, with weights and inputs both sides derive from a formula.

    python tests/oracle/record_unet.py        # writes tests/fixtures/unet.json

Value i of tensor number k (in the order of the state dict) is h(k, i) scaled, with
h(k, i) = frac((i + 1) * 0.6180339887498949 + (k + 1) * 0.7548776662466927) in [0, 1), computed in f64.
"""
import json
import pathlib

import numpy as np
import torch
from unet import UNet3D

WIDTH, BATCH, SIZE = 4, 2, (16, 16, 8)


def h(k, n):
    i = np.arange(1, n + 1, dtype=np.float64)
    return (i * 0.6180339887498949 + (k + 1) * 0.7548776662466927) % 1.0


def fill(model):
    for k, (name, value) in enumerate(model.state_dict().items()):
        if name.endswith("num_batches_tracked"):
            value.fill_(3)
            continue
        u = h(k, value.numel())
        if value.dim() == 5:
            fan_in = value[0].numel()
            v = (2 * u - 1) * 1.7 / np.sqrt(fan_in)
        elif name.endswith("bn1.weight") or name.endswith("running_var"):
            v = 0.75 + 0.5 * u
        elif name.endswith("activation.weight"):
            v = 0.1 + 0.2 * u
        else:
            v = 0.2 * u - 0.1
        value.copy_(torch.from_numpy(v.reshape(value.shape)).to(value.dtype))


def pair():
    n = BATCH * int(np.prod(SIZE))
    x = h(1000, n).reshape(BATCH, 1, *SIZE)
    # A smooth target, so that training has something to learn.
    d, r, c = np.meshgrid(*[np.linspace(0, 1, s) for s in SIZE], indexing="ij")
    y = 0.5 + 0.4 * np.sin(3 * d + 2 * r) * np.cos(4 * c)
    y = np.stack([y, y[::-1]])[:, None]
    return torch.from_numpy(x.copy()).float(), torch.from_numpy(y.copy()).float()


def projections(k, value):
    """Three numbers per tensor: its norm, and its products with two hash vectors."""
    v = value.detach().double().flatten().numpy()
    return [float(np.sqrt((v * v).sum())), float(v @ (h(2000 + k, v.size) - 0.5)), float(v @ (h(3000 + k, v.size) - 0.5))]


def main():
    torch.set_num_threads(2)
    out = {"width": WIDTH, "batch": BATCH, "size": SIZE, "torch": torch.__version__, "activations": {}}
    x, y = pair()
    for act in ["relu", "prelu", "elu"]:
        model = UNet3D(WIDTH, act).double()
        fill(model)
        xd, yd = x.double(), y.double()
        record = {}
        model.eval()
        with torch.no_grad():
            record["running"] = torch.sigmoid(model(xd)).flatten().tolist()[::37]
        model.train()
        prediction = torch.sigmoid(model(xd))
        record["batch"] = prediction.detach().flatten().tolist()[::37]
        loss = torch.nn.functional.mse_loss(prediction, yd)
        record["loss"] = loss.item()
        loss.backward()
        names = [name for name, _ in model.named_parameters()]
        record["gradients"] = {n: projections(k, p.grad) for k, (n, p) in enumerate(zip(names, model.parameters()))}
        record["buffers"] = {
            n: projections(k, v) for k, (n, v) in enumerate(model.state_dict().items()) if "running" in n
        }
        out["activations"][act] = record
    model = UNet3D(WIDTH)
    fill(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(torch.sigmoid(model(x)), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    out["sgd_losses"] = losses
    print(losses)
    target = pathlib.Path(__file__).parent.parent / "fixtures" / "unet.json"
    target.write_text(json.dumps(out) + "\n")
    print(target, target.stat().st_size)


if __name__ == "__main__":
    main()
