"""Offload: efficiency predicted by ZeRO-Infinity's model over the efficiency measured.

`python benchmarks/offload_efficiency.py [--json] [--scratch DIR]`. For each setting, DeepSpeed takes steps with states
on disk and, in turn, steps of the same stage with nothing offloaded, and does the swaps of a step by themselves:
every round gives a prediction, base / (base + swaps), and a measurement, base / step. The note has both, and what a
schedule that overlaps swaps with computing would reach.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from pathlib import Path

from common import Row, median, row, show
from place import context, cores

from harness.context import Context
from harness.records import Measurement
from microbench.offload.training import TrainingParams, training

SETTINGS = (
    TrainingParams(3, "nvme", "none"), TrainingParams(3, "nvme", "nvme"), TrainingParams(3, "none", "nvme"),
    TrainingParams(3, "nvme", "nvme", dtype="float32"), TrainingParams(3, "nvme", "nvme", sequence=512, batch=2),
)  # fmt: skip


def one(found: list[Measurement], metric: str, *own: str) -> tuple[float, ...]:
    """Samples of the measurement of that name and those params; 0 where nothing moves that way."""
    held = (m.samples for m in found if m.metric == metric and tuple(map(str, m.params.values())) == own)
    return next(held, (0.0,))


def compared(ctx: Context, params: TrainingParams) -> Row:
    found = list(training(ctx, params))
    base, steps = one(found, "base"), one(found, "step")
    computing = [(before + after) / 2 for before, after in zip(base[::2], base[1::2], strict=True)]
    swaps = [one(found, "swap", way) for way in ("in", "out")]
    spent = [sum(way[at % len(way)] for way in swaps) for at in range(len(steps))]
    predicted = [c / (c + s) for c, s in zip(computing, spent, strict=True)]
    measured = [c / s for c, s in zip(computing, steps, strict=True)]
    note = (
        f"predicted {median(predicted):.0%}, measured {median(measured):.0%}, overlapped "
        f"{one(found, 'predicted', 'overlapped')[0]:.0%}; step {median(steps):.2f} s, swaps {median(spent):.2f} s"
    )
    name = f"optimizer {params.optimizer}, parameters {params.parameters}, {params.dtype}, "
    name += f"{params.batch} x {params.sequence} tokens"
    return row(name, (predicted, measured), note, least=0.75, most=1.25)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    parser.add_argument("--scratch", default=".", help="a folder on the disk to measure")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.scratch) as folder:
        ctx = dataclasses.replace(context(threads=cores()), scratch=Path(folder).resolve())
        rows = [compared(ctx, params) for params in SETTINGS]
    show("offload: predicted efficiency / measured efficiency", rows, given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
