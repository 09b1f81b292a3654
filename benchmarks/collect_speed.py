"""How fast a long log is read, and that memory does not grow with it: `python benchmarks/collect_speed.py`.

Writes Megatron logs of 100,000 and 1,000,000 iterations to a temporary folder and reads each with `bench collect` in a
fresh process. Targets: 300,000 lines a second on one core, under 200 MiB.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LINE = (
    " [2026-11-26 02:{minute:02d}:{second:02d}] iteration {at:8d}/ 1000000 | consumed samples: {samples:12d} | "
    "elapsed time per iteration (ms): {time:.1f} | throughput per GPU (TFLOP/s/GPU): {flops:.1f} | "
    "learning rate: 8.600000E-06 | global batch size:   128 | lm loss: {loss:.6E} | loss scale: 1.0 | "
    "grad norm: 1.426 | number of skipped iterations:   0 | number of nan iterations:   0 |\n"
)
INSIDE = """
import resource, sys, time
from collectors import kinds, reading
sys.path.insert(0, {root!r})
count = 0
known = kinds.load()
def take(kind, stream, found):
    global count
    count += sum(len(one.samples) * one.evidence.block for one in found.measurements if one.metric == "time")
    return True
begin = time.process_time()
heard = reading.read({path!r}, known, take)
spent = time.process_time() - begin
print(heard.lines, spent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, count, heard.unread)
"""


def write(path: Path, lines: int) -> None:
    with path.open("w") as file:
        for at in range(1, lines + 1):
            spread = (at * 7919) % 1000
            file.write(
                LINE.format(
                    minute=at // 60 % 60, second=at % 60, at=at, samples=at * 128, time=5400 + spread / 10,
                    flops=239 + spread / 1000, loss=1.8 + spread / 10_000,
                )
            )  # fmt: skip


def main() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with tempfile.TemporaryDirectory() as folder:
        print(f"{'lines':>10} {'lines/s':>10} {'peak memory':>12}")
        for lines in (100_000, 1_000_000):
            path = Path(folder, "megatron.log")
            write(path, lines)
            runs = []
            for _ in range(3):
                done = subprocess.run(
                    [sys.executable, "-c", INSIDE.format(root=str(ROOT), path=str(path))], check=True,
                    capture_output=True, text=True, cwd=ROOT,
                )  # fmt: skip
                held, spent, memory, _, unread = map(float, done.stdout.split())
                assert unread == 0, done.stdout
                runs.append((held / spent, memory))
                time.sleep(0.1)
            rate, memory = sorted(run[0] for run in runs)[1], max(run[1] for run in runs)
            print(f"{lines:>10,} {rate:>10,.0f} {memory / 2**20:>8.0f} MiB")


if __name__ == "__main__":
    main()
