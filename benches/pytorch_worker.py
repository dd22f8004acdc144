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
    parser.add_argument("--precision", choices=["f32", "tf32", "bf16"], required=True)
    parser.add_argument("--format", choices=["contiguous", "channels_last_3d"], required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    on_card = device.type == "cuda"
    if on_card and not torch.cuda.is_available():
        raise SystemExit("PyTorch finds no CUDA card")

    torch.set_num_threads(arguments.threads)
    # Products of f32 in f32, unless tf32 is asked for; cuDNN tries its algorithms once for each shape.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = arguments.precision == "tf32"
    torch.backends.cudnn.benchmark = on_card
    torch.manual_seed(1)
    batch, *extents = (int(part) for part in arguments.shape.split("x"))
    layout = {"contiguous": torch.contiguous_format, "channels_last_3d": torch.channels_last_3d}[arguments.format]
    network = UNet3D(arguments.width).to(device, memory_format=layout)
    cubes = torch.rand(batch, 1, *extents).to(device, memory_format=layout)
    target = torch.rand(batch, 1, *extents).to(device, memory_format=layout)
    autocast = torch.autocast(device.type, dtype=torch.bfloat16, enabled=arguments.precision == "bf16")
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

    def run():
        (step if arguments.work == "step" else forward)()
        if on_card:
            torch.cuda.synchronize()

    # On a card the second run is the first with the algorithms that were found to be fastest.
    for _ in range(2 if on_card else 1):
        run()
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        run()
        print(time.perf_counter() - start, flush=True)
    report = {"peak_rss_bytes": peak_rss_bytes(), "torch": torch.__version__}
    if on_card:
        report |= {"peak_memory_bytes": torch.cuda.max_memory_allocated(), "card": torch.cuda.get_device_name()}
    print(json.dumps(report))


main()
