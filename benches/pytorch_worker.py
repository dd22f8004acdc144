"""PyTorch's side of versus_pytorch.py: the same network, taking turns by the protocol of turns.py."""
import argparse
import json
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "oracle"))
from unet import UNet3D  # noqa: E402  (our definition, used by the tests as well)


def peak_rss_bytes():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", choices=["step", "forward"])
    parser.add_argument("--shape", required=True, help="NxDxHxW")
    parser.add_argument("--width", type=int, required=True)
    parser.add_argument("--precision", choices=["f32", "bf16"], required=True)
    parser.add_argument("--format", choices=["contiguous", "channels_last_3d"], required=True)
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    batch, *extents = (int(part) for part in arguments.shape.split("x"))
    layout = {"contiguous": torch.contiguous_format, "channels_last_3d": torch.channels_last_3d}[arguments.format]
    network = UNet3D(arguments.width).to(memory_format=layout)
    cubes = torch.rand(batch, 1, *extents).to(memory_format=layout)
    target = torch.rand(batch, 1, *extents).to(memory_format=layout)
    autocast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=arguments.precision == "bf16")
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    network.train(arguments.work == "step")

    def step():
        optimizer.zero_grad(set_to_none=True)
        with autocast:
            logits = network(cubes)
        # The loss in f32, as autocast itself would have it.
        loss = torch.nn.functional.mse_loss(torch.sigmoid(logits.float()), target)
        loss.backward()
        optimizer.step()

    def forward():
        with torch.inference_mode(), autocast:
            network(cubes)

    run = step if arguments.work == "step" else forward
    run()
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        run()
        print(time.perf_counter() - start, flush=True)
    print(json.dumps({"peak_rss_bytes": peak_rss_bytes(), "torch": torch.__version__}))


main()
