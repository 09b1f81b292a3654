"""Start-up: wall time of `bench --help` and `bench list` over that of `python -c pass`, and no torch.

`python benchmarks/startup.py [--json]`.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter

from common import Row, abba, median, row, show, wants_json

ROUNDS = 15
MOST = 8.0
COMMANDS = (("--help",), ("list",))
HEAVY = ("torch", "numpy", "pandas", "matplotlib", "weasyprint", "duckdb")
PROGRAM = Path(sys.executable).with_name("bench")


def timed(command: Sequence[str]) -> Callable[[], float]:
    """Wall time of one start, in s."""

    def run() -> float:
        begin = perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return perf_counter() - begin

    return run


def imported(arguments: Sequence[str]) -> set[str]:
    """Top-level packages that a command imports, as Python itself lists them."""
    command = [sys.executable, "-X", "importtime", str(PROGRAM), *arguments]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in listed.splitlines() if "|" in line}


def rows() -> list[Row]:
    found, bare = [], timed([sys.executable, "-c", "pass"])
    for arguments in COMMANDS:
        heavy = sorted(imported(arguments) & set(HEAVY))
        pairs = abba(timed([str(PROGRAM), *arguments]), bare, ROUNDS)
        note = (
            f"{median(pairs[0]) * 1e3:.0f} ms; imports {', '.join(heavy) if heavy else 'none of ' + ', '.join(HEAVY)}"
        )
        # A start that imports torch misses the target at any speed.
        found.append(row(f"bench {' '.join(arguments)}", pairs, note, most=0.0 if "torch" in heavy else MOST))
    return found


if __name__ == "__main__":
    as_json = wants_json(__doc__)
    show("start-up: time / python -c pass", rows(), as_json)
