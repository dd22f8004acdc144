"""Measures every operation and puts its figures into docs/kernels/NAME.md, between the marks.

    cargo build --release -p genesis-train
    python benches/figures.py [NAME ...] [--runs 5] [--roofline docs/roofline.svg]

Needs Python alone.
"""
import argparse
import json
import os
import subprocess
from datetime import date
from pathlib import Path

import blocks

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "docs" / "kernels"


def measure(genesis, names, options):
    command = [genesis, "bench", *names, "--json", "--quiet", *options]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(done.stderr.strip() or f"error: {' '.join(command)} failed")
    return json.loads(done.stdout)


def time(seconds):
    return f"{1e3 * seconds:.1f} ms" if seconds >= 1e-2 else f"{1e3 * seconds:.3f} ms"


def figure(report, name):
    rows = []
    for row in report["results"]:
        if row["operation"] != name:
            continue
        rows.append([
            f"{row['layer']}, {row['direction']}",
            row["shapes"].replace(" -> ", " → "),
            row["path"] or "-",
            time(row["seconds"]),
            f"{row['gflops']:.1f}",
            f"{row['gigabytes_per_second']:.1f}",
            f"{row['intensity']:.2g}" if row["intensity"] < 100 else f"{row['intensity']:.0f}",
            f"{100 * row['share']:.0f} % of {row['limit']}",
        ])
    ceilings = report["ceilings"]
    bf16 = f"{ceilings['bf16_gflops']:.0f} GFLOP/s" if ceilings["bf16_gflops"] else "none"
    caption = (f"{report['precision']}, {report['isa']}, {report['threads']} threads of {blocks.processor()}, "
               f"{date.today()}. Ceilings in the same run: f32 {ceilings['f32_gflops']:.0f} GFLOP/s, bf16 {bf16}, copy "
               f"{ceilings['copy_gigabytes_per_second']:.1f} GB/s.")
    header = ["layer", "shapes", "path", "time", "GFLOP/s", "GB/s", "FLOP/B", "share"]
    return f"{caption}\n\n{blocks.table(header, rows)}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="operations [all that have a page]")
    parser.add_argument("--genesis", default=str(ROOT / "target" / "release" / "genesis"), help="the program")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--shape", default="2x64x64x32")
    parser.add_argument("--roofline", help="draw the roofline, too")
    parser.add_argument("--busy", action="store_true", help="measure although other programs run")
    arguments = parser.parse_args()
    names = arguments.names or sorted(path.stem for path in PAGES.glob("*.md") if path.stem != "README")
    options = ["--runs", str(arguments.runs), "--shape", arguments.shape]
    if arguments.roofline:
        options += ["--roofline", arguments.roofline]
    load = os.getloadavg()[0]
    if load > 0.5 and not arguments.busy:
        raise SystemExit(f"error: the machine is busy (load {load:.1f}), figures would be too low; --busy measures all the same")
    report = measure(arguments.genesis, names, options)
    for name in names:
        command = f"python benches/figures.py {name}"
        blocks.replace(PAGES / f"{name}.md", "figures", figure(report, name), command)


main()
