"""What whole runs cost: wall time and peak memory of the quick suite here, and of 1,024 simulated ranks.

`python benchmarks/whole_runs.py [--json]`; about three minutes. Both end with their report, as a user's do. Memory is
the largest sum over the process tree, each page that is shared counted once for each process (RSS): an upper bound.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from common import wants_json

PROGRAM = Path(sys.executable).with_name("bench")
RUNS = {
    "quick suite": (["run"], 240.0, 4 * 2**30),
    "1,024 simulated ranks, every operation and sub-group": (
        ["run", "--cluster", "mi300x", "--simulate", "--suite", "standard", "--launches", "1", "--only", "collectives"],
        120.0,
        2 * 2**30,
    ),
}


@dataclass(frozen=True)
class Cost:
    """seconds of wall time and bytes at the peak, each with the most that is promised."""

    name: str
    seconds: float
    most_seconds: float
    bytes: int
    most_bytes: int
    outcome: str

    @property
    def met(self) -> bool:
        return self.outcome == "complete" and self.seconds <= self.most_seconds and self.bytes <= self.most_bytes


def tree_memory(process: psutil.Process) -> int:
    """RSS of a process and its descendants, in B."""
    total = 0
    for member in [process, *process.children(recursive=True)]:
        try:
            total += member.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def cost(name: str) -> Cost:
    arguments, most_seconds, most_bytes = RUNS[name]
    with tempfile.TemporaryDirectory() as folder, open(Path(folder, "out.json"), "w+") as output:
        begin, peak = time.perf_counter(), 0
        command = [str(PROGRAM), *arguments, "--json", "--out", folder]
        with subprocess.Popen(command, stdout=output) as process:
            watched = psutil.Process(process.pid)
            while process.poll() is None:
                peak = max(peak, tree_memory(watched))
                time.sleep(0.2)
        seconds = time.perf_counter() - begin
        output.seek(0)
        return Cost(name, seconds, most_seconds, peak, most_bytes, json.load(output)["outcome"])


if __name__ == "__main__":
    as_json = wants_json(__doc__)
    costs = [cost(name) for name in RUNS]
    if as_json:
        print(json.dumps([asdict(each) | {"met": each.met} for each in costs], indent=1))
    else:
        for each in costs:
            print(
                f"{each.name:<53}  {each.seconds:5.0f} s (at most {each.most_seconds:.0f})  "
                f"{each.bytes / 2**30:.2f} GiB (at most {each.most_bytes / 2**30:.0f})  "
                f"{each.outcome}  {'met' if each.met else 'MISSED'}"
            )
