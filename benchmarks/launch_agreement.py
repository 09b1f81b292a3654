"""Collectives: do repeated runs agree within the interval that each prints?

`python benchmarks/launch_agreement.py [--json]`. Ten runs of three launches each of `bench run`, all-reduce of 1 KiB on
two gloo ranks; each prints a median with a 95 % interval across launches. A run agrees where its interval holds the
median of all ten runs' medians. The target is 9 of 10.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from common import median, wants_json

RUNS, LAUNCHES, WANTED = 10, 3, 9
BENCH = (sys.executable, "-m", "bench.main")
CELL = ("--only", "collectives.all_reduce", "--set", "size=1KiB", "--set", "dtype=float32", "--set", "ranks=2")


def one(folder: Path) -> tuple[float, float, float]:
    """(median, low, high) of the isolated time, in s, as one run prints it."""
    argv = [*BENCH, "run", *CELL, "--launches", str(LAUNCHES), "--budget", "20s", "--no-report", "--json"]
    done = subprocess.run([*argv, "--out", str(folder)], capture_output=True, text=True, check=True)
    known = json.loads(done.stdout)["records"][0]["quantities"]["time.isolated"]
    return known["value"], known["low"], known["high"]


def main() -> int:
    as_json = wants_json(__doc__)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(RUNS):
            found.append(one(Path(folder)))
            value, low, high = (1e6 * figure for figure in found[-1])
            print(f"run {number + 1} of {RUNS}: {value:.0f} µs [{low:.0f}, {high:.0f}]", file=sys.stderr)
    middle = median([value for value, _, _ in found])
    agree = sum(low <= middle <= high for _, low, high in found)
    if as_json:
        print(json.dumps({"agree": agree, "runs": RUNS, "median": middle, "intervals": found, "met": agree >= WANTED}))
        return 0
    verdict = "met" if agree >= WANTED else "MISSED"
    print(f"{agree} of {RUNS} runs agree with the median of all, {middle * 1e6:.0f} µs; target {WANTED}: {verdict}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
