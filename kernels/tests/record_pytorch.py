"""Writes the numbers that tests/ops_pytorch.rs compares with to standard output, as Rust constants:

    python kernels/tests/record_pytorch.py > kernels/tests/pytorch_numbers/mod.rs

Recorded with PyTorch 2.15.0 on a CPU, in f64, from inputs that both sides compute by formula: wave(i, a, b) =
sin(a * i + b) rounded to f32. Nothing here is needed to build or test Genesis.
"""

import numpy
import torch


def wave(count, a, b):
    """sin(a * i + b) for i in 0..count, rounded to f32 and widened again."""
    values = numpy.sin(a * numpy.arange(count, dtype=numpy.float64) + b).astype(numpy.float32)
    return torch.tensor(values.astype(numpy.float64))


def show(name, values):
    numbers = [float(v) for v in torch.as_tensor(values).detach().flatten()]
    body = ", ".join(f"{v:.9e}" for v in numbers)
    print(f"pub const {name}: [f64; {len(numbers)}] = [{body}];")


def batch_norm():
    # [N, D, H, W, C] = [2, 2, 3, 2, 3] on our side, [N, C, D, H, W] on PyTorch's.
    shape, channels = (2, 2, 3, 2, 3), 3
    for mode in ["train", "eval"]:
        for activation in ["none", "relu", "elu"]:
            x = (wave(72, 0.7, 0.1) * 2 + 0.5).float().double().reshape(shape).requires_grad_()
            gamma = (wave(3, 1.3, 0.4) + 1.5).float().double().requires_grad_()
            beta = (wave(3, 0.9, 0.2) * 0.5).float().double().requires_grad_()
            mean = (wave(3, 0.5, 0.3) * 0.25).float().double()
            variance = (wave(3, 0.6, 0.7) + 1.5).float().double()
            y = torch.nn.functional.batch_norm(
                x.permute(0, 4, 1, 2, 3), mean, variance, gamma, beta, mode == "train", 0.1, float(numpy.float32(1e-5))
            ).permute(0, 2, 3, 4, 1)
            y = {"none": lambda v: v, "relu": torch.relu, "elu": torch.nn.functional.elu}[activation](y)
            y.backward(wave(72, 1.1, 0.6).reshape(shape))
            name = f"BATCH_NORM_{mode}_{activation}".upper()
            show(f"{name}_Y", y)
            show(f"{name}_DX", x.grad)
            show(f"{name}_DGAMMA", gamma.grad)
            show(f"{name}_DBETA", beta.grad)
            if mode == "train" and activation == "none":
                show("BATCH_NORM_RUNNING_MEAN", mean)
                show("BATCH_NORM_RUNNING_VAR", variance)


def losses():
    functional = torch.nn.functional
    logits, target = wave(12, 0.8, 0.3) * 3, wave(12, 1.7, 0.2) * 0.5 + 0.5
    probability = wave(12, 0.9, 0.5) * 0.45 + 0.5
    logits, target, probability = (v.float().double() for v in (logits, target, probability))
    mask = (torch.arange(12) % 3 != 0).double()
    labels = torch.tensor([2, 0, 1, 1])
    cases = {
        "MSE": (logits, lambda p: functional.mse_loss(p, target)),
        "MASKED_MSE": (logits, lambda p: functional.mse_loss(p[mask > 0], target[mask > 0])),
        "BCE": (probability, lambda p: functional.binary_cross_entropy(p, target)),
        "BCE_WITH_LOGITS": (logits, lambda p: functional.binary_cross_entropy_with_logits(p, target)),
        "CROSS_ENTROPY": (logits, lambda p: functional.cross_entropy(p.reshape(4, 3), labels)),
        "DICE": (
            probability,
            lambda p: 1 - (2 * (p * target).sum() + 1) / (p.sum() + target.sum() + 1),
        ),
        "SIGMOID_MSE": (logits, lambda p: functional.mse_loss(torch.sigmoid(p), target)),
    }
    for name, (prediction, function) in cases.items():
        p = prediction.clone().requires_grad_()
        value = function(p)
        value.backward()
        show(f"LOSS_{name}", value)
        show(f"LOSS_{name}_GRADIENT", p.grad)
    # The cut-offs at certain probabilities.
    p = torch.tensor([0.0, 1.0, 0.0, 1.0], dtype=torch.float64, requires_grad=True)
    value = functional.binary_cross_entropy(p, torch.tensor([0.0, 1.0, 1.0, 0.0], dtype=torch.float64))
    show("LOSS_BCE_CERTAIN", value)


def optimizers():
    optim = torch.optim
    cases = {
        "SGD": lambda p: optim.SGD(p, lr=0.1),
        "SGD_MOMENTUM": lambda p: optim.SGD(p, lr=0.1, momentum=0.9),
        "SGD_ALL": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.3, weight_decay=0.05),
        "SGD_NESTEROV": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.05, nesterov=True),
        "ADAM": lambda p: optim.Adam(p, lr=0.1),
        "ADAM_DECAY": lambda p: optim.Adam(p, lr=0.1, weight_decay=0.05),
        "ADAMW": lambda p: optim.AdamW(p, lr=0.1, weight_decay=0.05),
    }
    for name, build in cases.items():
        p = wave(5, 0.7, 0.2).requires_grad_()
        optimizer = build([p])
        for step in range(3):
            p.grad = wave(5, 1.3, 0.5 + step)
            optimizer.step()
        show(f"OPTIMIZER_{name}", p)


def pooling():
    for name, kernel, stride in [("HALVE", 2, 2), ("OVERLAP", 3, 2)]:
        # [1, 5, 4, 6, 2] on our side. Rounded to quarters, so that there are ties.
        x = (wave(240, 0.37, 0.1) * 4).round() / 4
        x = x.reshape(1, 5, 4, 6, 2).requires_grad_()
        y = torch.nn.functional.max_pool3d(x.permute(0, 4, 1, 2, 3), kernel, stride).permute(0, 2, 3, 4, 1)
        y.backward(wave(y.numel(), 1.1, 0.6).reshape(y.shape))
        show(f"MAX_POOL_{name}_Y", y)
        show(f"MAX_POOL_{name}_DX", x.grad)


def schedules():
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.8)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=7, eta_min=0.1)
    rates = []
    for _ in range(8):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    show("COSINE", rates)


print("//! Written by tests/record_pytorch.py; see there. Not to be edited.")
print()
print(f"// PyTorch {torch.__version__.split('+')[0]}")
batch_norm()
losses()
optimizers()
pooling()
schedules()
