"""Genesis beside PyTorch on this machine: the same network, the same work, taking turns run by run.

    cargo build --release -p genesis-train
    python benches/versus_pytorch.py [--quick] [--readme] [--out results.json]

wants a Python with torch; the product does not. Each setting (step or forward, f32 or bf16, batch) keeps three
processes alive, Genesis and PyTorch in both memory formats, and lets them make one run each in turn; the medians
count, and of PyTorch's formats the faster, and for memory the smaller. A process measures one setting only, so
that its peak resident memory is that setting's. Then the same for 1 and 2 threads and for larger cubes.

With --device cuda both run on the machine's first card, PyTorch with cuDNN, and memory is what each has allocated there
at most; there is no second part.
"""
import argparse
import json
import os
import subprocess
import sys
from datetime import date
from pathlib import Path

import blocks
from turns import take_turns

ROOT = Path(__file__).resolve().parent.parent
FORMATS = ["channels_last_3d", "contiguous"]


class Bench:
    """Where the programs are, how often they run, and everything measured so far."""

    def __init__(self, arguments):
        self.genesis = arguments.genesis
        self.python = sys.executable
        self.runs = arguments.runs
        self.width = arguments.width
        self.device = arguments.device
        self.results = []

    def compare(self, work, shape, precision, threads):
        """One setting; the result is kept and returned."""
        common = ["--shape", shape, "--width", str(self.width), "--precision", precision, "--threads", str(threads)]
        place = ["--device", "cuda:0" if self.device == "cuda" else "cpu"]
        commands = {"genesis": [self.genesis, "bench", work, *common, *place, "--on-request", "--json", "--quiet"]}
        for layout in FORMATS:
            worker = str(ROOT / "benches" / "pytorch_worker.py")
            commands[layout] = [self.python, worker, work, *common, "--format", layout, "--device", self.device]
        players = take_turns(commands, self.runs, {**os.environ, "OMP_NUM_THREADS": str(threads)})
        result = {"work": work, "shape": shape, "precision": precision, "threads": threads, **players}
        self.results.append(result)
        for name, player in players.items():
            said = player.get("failure") or " ".join(f"{seconds:.3f}" for seconds in player["seconds"])
            print(f"{work:7} {precision:4} {shape:14} {threads} thread(s) {name:16} {said}", file=sys.stderr)
        return result


def ours(result):
    return result["genesis"]


def theirs(result, key):
    """The better of PyTorch's memory formats: (value, format), or None if both failed."""
    values = [(key(result[layout]), layout) for layout in FORMATS if "failure" not in result[layout]]
    return min(values) if values else None


def peak(player):
    """Bytes of the card's memory where there is one, otherwise resident."""
    report = player["report"]
    return report["peak_memory_bytes"] if on_card(report) else report["peak_rss_bytes"]


def on_card(report):
    return "card" in report or report.get("isa", "").startswith("cuda")


def seconds(value):
    if value < 0.1:
        return f"{1000 * value:.2f} ms"
    return f"{value:.3f} s" if value < 10 else f"{value:.1f} s"


def comparison(results):
    """The table of times and memory."""
    names = {"step": "training step", "forward": "forward pass"}
    rows = []
    for result in results:
        batch = result["shape"].split("x")[0]
        row = [f"{names[result['work']]}, {result['precision']}, batch {batch}"]
        fastest, smallest = theirs(result, lambda player: player["median"]), theirs(result, peak)
        mine = None if "failure" in ours(result) else ours(result)
        row.append(seconds(mine["median"]) if mine else "-")
        row.append(f"{seconds(fastest[0])} ({fastest[1]})" if fastest else "-")
        row.append(f"{mine['median'] / fastest[0]:.2f}" if mine and fastest else "-")
        row.append(f"{peak(mine) / 1e9:.2f} GB" if mine else "-")
        row.append(f"{smallest[0] / 1e9:.2f} GB" if smallest else "-")
        row.append(f"{peak(mine) / smallest[0]:.2f}" if mine and smallest else "-")
        rows.append(row)
    header = ["", "Genesis", "PyTorch", "time, ratio", "Genesis", "PyTorch", "memory, ratio"]
    return blocks.table(header, rows)


def scaling(results, per):
    """A table of how times change between settings; `per` turns a result into its name and its unit of work."""
    rows = []
    first = {}
    for result in results:
        name, unit, amount = per(result)
        row = [name]
        fastest = theirs(result, lambda player: player["median"])
        mine = None if "failure" in ours(result) else ours(result)["median"]
        for who, value in (("Genesis", mine), ("PyTorch", fastest[0] if fastest else None)):
            if value is None:
                row += ["-", "-"]
                continue
            value /= amount
            base = first.setdefault(who, value)
            row += [f"{value:.3f} {unit}", f"{base / value:.2f}"]
        rows.append(row)
    return blocks.table(["f32 training step", "Genesis", "faster", "PyTorch", "faster"], rows)


def by_threads(result):
    return f"{result['threads']} thread(s), {result['shape']}", "s", 1.0


def by_voxel(result):
    batch, d, h, w = (int(part) for part in result["shape"].split("x"))
    return f"{d}x{h}x{w}, batch {batch}, a million voxels", "s", batch * d * h * w / 1e6


def caption(bench):
    reports = [result[name]["report"] for result in bench.results for name in ["genesis", *FORMATS]
               if "failure" not in result[name]]
    torch = next((report["torch"] for report in reports if "torch" in report), "?")
    isa = next((report["isa"] for report in reports if "isa" in report), "?")
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    place, memory = f"{bench.threads} threads of {blocks.processor()}", "resident memory of each process"
    if bench.device == "cuda":
        place, memory = next((report["card"] for report in reports if "card" in report), "no card"), "memory on the card"
    return (f"Network of width {bench.width}, cubes of {bench.cubes}, {place} (Genesis uses {isa}), PyTorch {torch}; "
            f"medians of {bench.runs} runs in turn, PyTorch in the better of its two memory formats, memory the peak "
            f"{memory}; {date.today()}, commit {commit.stdout.strip() or 'unknown'}.")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--genesis", default=str(ROOT / "target" / "release" / "genesis"), help="the program")
    parser.add_argument("--runs", type=int, help="runs of each program a setting [5]")
    parser.add_argument("--width", type=int, help="channels of the first convolution [32]")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="compute threads [all cores]")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where both run [cpu]")
    parser.add_argument("--batches", default=None, help="batch sizes [2,6]")
    parser.add_argument("--precisions", default=None, help="number formats compared [f32,bf16; on a card f32,tf32,bf16]; "
                        "on a processor without bf16 arithmetic PyTorch takes minutes a bf16 step")
    parser.add_argument("--only", choices=["comparison", "scaling"], help="one of the two parts")
    parser.add_argument("--quick", action="store_true", help="small cubes, width 8, two runs: does it work at all")
    parser.add_argument("--readme", action="store_true", help="rewrite the marked block of README.md")
    parser.add_argument("--block", default="versus-pytorch", help="the block's name, for a second machine [versus-pytorch]")
    parser.add_argument("--out", help="write everything measured as JSON")
    arguments = parser.parse_args()
    quick = arguments.quick
    arguments.runs = arguments.runs or (2 if quick else 5)
    arguments.width = arguments.width or (8 if quick else 32)
    batches = [int(part) for part in (arguments.batches or ("2" if quick else "2,6")).split(",")]
    on_card = arguments.device == "cuda"
    precisions = (arguments.precisions or ("f32,tf32,bf16" if on_card else "f32,bf16")).split(",")
    if not Path(arguments.genesis).exists():
        raise SystemExit(f"error: {arguments.genesis} is missing: cargo build --release -p genesis-train")
    if on_card and arguments.only == "scaling":
        raise SystemExit("error: --device cuda has no scaling")
    if quick and arguments.readme:
        raise SystemExit("error: figures of --quick are not for the README")
    bench = Bench(arguments)
    bench.threads = arguments.threads
    bench.cubes = "32x32x16" if quick else "64x64x32"
    large = "64x64x32" if quick else "128x128x64"

    parts = []
    if arguments.only != "scaling":
        results = [bench.compare(work, f"{batch}x{bench.cubes}", precision, arguments.threads)
                   for batch in batches for precision in precisions for work in ["step", "forward"]]
        parts.append(comparison(results))
    if arguments.only != "comparison" and not on_card:
        counts = sorted({1, min(2, arguments.threads), arguments.threads})
        parts.append(scaling([bench.compare("step", f"2x{bench.cubes}", "f32", count) for count in counts], by_threads))
        sizes = [bench.cubes, large]
        results = [bench.compare("step", f"1x{size}", "f32", arguments.threads) for size in sizes]
        parts.append(scaling(results, by_voxel))
    if all("failure" in ours(result) for result in bench.results):
        raise SystemExit(f"error: Genesis measured nothing: {ours(bench.results[0])['failure']}")
    text = "\n\n".join([caption(bench), *parts])
    print(text)
    if arguments.out:
        Path(arguments.out).write_text(json.dumps(bench.results, indent=1))
    if arguments.readme:
        if "emulator" in text:
            raise SystemExit("error: the times of an emulated card are not for the README")
        command = "python benches/versus_pytorch.py --readme"
        if on_card:
            command += " --device cuda"
        if arguments.block != parser.get_default("block"):
            command += f" --block {arguments.block}"
        blocks.replace(ROOT / "README.md", arguments.block, text, command)


if __name__ == "__main__":
    main()
