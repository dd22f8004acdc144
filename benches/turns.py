"""Programs that take turns: each stays alive, makes one run for each line it gets and answers with the
seconds, so that a noisy moment of the machine meets all of them alike and nobody warms up twice.

The protocol, that of `genesis bench step --on-request`: the program prints `ready` after a run to warm up;
each line on its standard input makes one run, answered by its seconds; the end of the input is answered by
one JSON object with at least `peak_rss_bytes`.
"""
import json
import subprocess
import time


class Player:
    """One program in one setting."""

    def __init__(self, command, environment=None):
        self.seconds = []
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        self.failure = None if self._line() == "ready" else self._last_words()

    def _line(self):
        return self.process.stdout.readline().strip()

    def _last_words(self):
        lines = self.process.communicate()[1].strip().splitlines()
        return lines[-1] if lines else f"ended with code {self.process.returncode}"

    def run(self):
        """One run, if the program lives."""
        if self.failure:
            return
        try:
            self.process.stdin.write("\n")
            self.process.stdin.flush()
            self.seconds.append(float(self._line()))
        except (OSError, ValueError):
            self.failure = self._last_words()

    def finish(self):
        """Ends the program; its report, or None if it failed."""
        if self.failure:
            return None
        out, err = self.process.communicate()
        try:
            return json.loads(out)
        except ValueError:
            self.failure = (err.strip().splitlines() or ["no report"])[-1]
            return None


def take_turns(commands, runs, environment=None):
    """Lets the programs of {name: command} make `runs` runs each, in turn; {name: result}, where a result has
    `seconds` (all of them), `median`, `report`, or `failure`."""
    players = {name: Player(command, environment) for name, command in commands.items()}
    for _ in range(runs):
        for player in players.values():
            # Threads that wait by spinning (OpenMP's) go to sleep before the next one is timed.
            time.sleep(0.05)
            player.run()
    results = {}
    for name, player in players.items():
        report = player.finish()
        if report is None:
            results[name] = {"failure": player.failure}
        else:
            results[name] = {"seconds": player.seconds, "median": median(player.seconds), "report": report}
    return results


def median(values):
    """The middle one; of an even number the lesser of the two, as `genesis bench` has it."""
    return sorted(values)[(len(values) - 1) // 2]
