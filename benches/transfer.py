"""What pre-training is worth on real target tasks: from scratch, pre-trained on the task's own training images, and
pre-trained on chest CT, at equal budget, for several seeds and shares of the labels, scored on the test split.

    cargo build --release -p genesis-train
    python benches/transfer.py TASK --data ../shared/data --out RUNS [--jobs 2] [--table FILE.md]

TASK is hippocampus, nodules (segmentation), boxes (nodule or not) or malignancy. Needs Python alone. Every run is one
`genesis finetune` and one `genesis evaluate` on one thread; finished ones are kept in RUNS/TASK/results.jsonl and not
run again. Nothing here looks at the test split but the last command.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

import transfer_tasks

ROOT = Path(__file__).resolve().parent.parent
STARTS = ["scratch", "own", "chest"]
SAID = {"scratch": "from scratch", "own": "pre-trained on its own images", "chest": "pre-trained on chest CT"}


class Runner:
    """The program, the folders, and everything that has been measured."""

    def __init__(self, arguments):
        self.genesis = str(Path(arguments.genesis).resolve())
        self.data = Path(arguments.data).resolve()
        self.folder = Path(arguments.out).resolve() / (arguments.task + ("-plain" if arguments.plain else ""))
        self.folder.mkdir(parents=True, exist_ok=True)
        self.results = self.folder / "results.jsonl"
        self.lock = Lock()

    def call(self, *words, threads=1):
        """Runs a command of the program; what it prints as JSON."""
        command = [self.genesis, *[str(word) for word in words], "--threads", str(threads), "--json", "--quiet"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(command)}\n{done.stderr.strip()}")
        return json.loads(done.stdout)

    def done(self):
        if not self.results.exists():
            return []
        return [json.loads(line) for line in self.results.read_text().splitlines()]

    def keep(self, result):
        with self.lock, open(self.results, "a", encoding="utf-8") as file:
            file.write(json.dumps(result) + "\n")


def pretrained(runner, task, start, threads):
    """The weights of a start: made once, and shared by the tasks on the same images."""
    if start == "scratch":
        return None
    folder = runner.folder.parent / "pretrained" / ("chest" if start == "chest" else task.split_name)
    run = folder / "run"
    best = run / "checkpoints" / "best.safetensors"
    if (run / "summary.json").exists():
        return best
    folder.mkdir(parents=True, exist_ok=True)
    cubes = folder / "cubes.npy"
    volumes, flags = task.unlabelled(start)
    runner.call("cubes", "--volumes", volumes, "--out", cubes, *flags, threads=threads)
    steps = task.pretraining_steps[start]
    summary = runner.call("pretrain", "--cubes", cubes, "--out", run, "--width", task.width, "--steps", steps,
                          "--epochs", steps, "--batch-size", 4, "--optimizer", "adam", "--lr", "0.001", threads=threads)
    print(f"pre-trained ({start}): {summary['steps']} steps, {summary['seconds']:.0f} s, "
          f"best validation loss {summary['best_valid_loss']:.5f}", file=sys.stderr)
    return best


def run_one(runner, task, start, weights, seed, fraction):
    """One fine-tuning and its evaluation on the test split."""
    name = f"{start}-{fraction:g}-{seed}"
    out = runner.folder / "runs" / name
    started = time.time()
    flags = ["--weights", weights] if weights else ["--width", task.width]
    share = ["--label-fraction", fraction] if fraction < 1 else []
    summary = runner.call("finetune", *task.finetune(fraction), *flags, *share, "--seed", seed, "--out", out)
    best = out / "checkpoints" / "best.safetensors"
    scores = task.scores(runner.call("evaluate", "--weights", best, *task.evaluate, "--out", out / "test"))
    result = {"start": start, "seed": seed, "fraction": fraction, "scores": scores, "steps": summary["steps"],
              "seconds": round(summary["seconds"], 1), "whole": round(time.time() - started, 1)}
    runner.keep(result)
    print(f"{name}: " + ", ".join(f"{key} {value:.3f}" for key, value in scores.items()), file=sys.stderr)


def spread(values):
    if len(values) == 1:
        return f"{values[0]:.3f}"
    return f"{statistics.mean(values):.3f} ± {statistics.stdev(values):.3f}"


def table(task, results):
    """A row for each share of the labels and start."""
    names = list(results[0]["scores"])
    lines = ["| labels | start | " + " | ".join(names) + " | runs | wall time of one |",
             "| ---: | --- |" + " ---: |" * (len(names) + 2)]
    for fraction in sorted({result["fraction"] for result in results}):
        for start in STARTS:
            chosen = [result for result in results if result["start"] == start and result["fraction"] == fraction]
            if not chosen:
                continue
            cells = [spread([result["scores"][name] for result in chosen]) for name in names]
            seconds = statistics.median(result["seconds"] for result in chosen)
            lines.append(f"| {100 * fraction:.0f} % | {SAID[start]} | " + " | ".join(cells) +
                         f" | {len(chosen)} | {seconds:.0f} s |")
    return "\n".join([*lines, "", task.baseline])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=sorted(transfer_tasks.TASKS))
    parser.add_argument("--data", required=True, help="the folder of real volumes")
    parser.add_argument("--out", required=True, help="where runs and results are kept")
    parser.add_argument("--genesis", default=str(ROOT / "target" / "release" / "genesis"), help="the program")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="runs at a time, one thread each [all cores]")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--starts", default=",".join(STARTS))
    parser.add_argument("--fractions", help="shares of the labels [the task's]")
    parser.add_argument("--plain", action="store_true", help="without augmentation, for transfer_pytorch.py")
    parser.add_argument("--table", help="also write the table to this file")
    arguments = parser.parse_args()
    runner = Runner(arguments)
    task = transfer_tasks.TASKS[arguments.task](runner.data, runner.folder)
    if arguments.plain:
        task.extra = ["--augment", "none"]
    fractions = [float(part) for part in arguments.fractions.split(",")] if arguments.fractions else task.fractions
    starts = arguments.starts.split(",")
    weights = {start: pretrained(runner, task, start, arguments.jobs) for start in starts}
    known = {(result["start"], result["seed"], result["fraction"]) for result in runner.done()}
    jobs = [(start, seed, fraction) for seed in map(int, arguments.seeds.split(",")) for fraction in fractions
            for start in starts if (start, seed, fraction) not in known]
    with ThreadPoolExecutor(arguments.jobs) as pool:
        list(pool.map(lambda job: run_one(runner, task, job[0], weights[job[0]], job[1], job[2]), jobs))
    text = table(task, runner.done())
    print(text)
    if arguments.table:
        Path(arguments.table).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
