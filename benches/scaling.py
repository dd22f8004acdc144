"""How a second core helps: our two threads beside two programs of one thread each, which share nothing but the machine.

    python benches/scaling.py [--precision f32] [--shape 2x64x64x32] [--runs 5] [--genesis PATH]

What two separate programs gain over one is what the machine itself has to give (clock, caches, memory, neighbours on
the same host); our threads can be expected to come near it, not to pass it. Needs Python alone.
"""
import argparse
import os
from pathlib import Path

from turns import Player, median

ROOT = Path(__file__).resolve().parent.parent


def together(players):
    """One run of each at the same time; the seconds of the slower."""
    for player in players:
        player.process.stdin.write("\n")
        player.process.stdin.flush()
    return max(float(player.process.stdout.readline()) for player in players)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--genesis", default=str(ROOT / "target" / "release" / "genesis"), help="the program")
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--shape", default="2x64x64x32")
    parser.add_argument("--width", default="32")
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    common = ["--shape", arguments.shape, "--width", arguments.width, "--precision", arguments.precision]

    def player(threads):
        command = [arguments.genesis, "bench", "step", *common, "--threads", str(threads), "--on-request", "--json", "--quiet"]
        player = Player(command, dict(os.environ))
        if player.failure:
            raise SystemExit(f"error: {player.failure}")
        return player

    one, other, two = player(1), player(1), player(2)
    alone, both, threads = [], [], []
    for _ in range(arguments.runs):
        alone.append(together([one]))
        both.append(together([one, other]))
        threads.append(together([two]))
    for each in (one, other, two):
        each.finish()
    alone, both, threads = median(alone), median(both), median(threads)
    print(f"training step, {arguments.precision}, {arguments.shape}, width {arguments.width}, medians of {arguments.runs} runs in turn")
    print(f"one thread                    {alone:.3f} s")
    print(f"two programs, one thread each {both:.3f} s for a step of each: the machine scales by {2 * alone / both:.2f}")
    print(f"two threads                   {threads:.3f} s: Genesis scales by {alone / threads:.2f}")


if __name__ == "__main__":
    main()
