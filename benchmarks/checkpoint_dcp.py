"""The synchronous DCP save over plain writes: bandwidth of the same bytes by as many writers, in turn, in one run.

`python benchmarks/checkpoint_dcp.py [--json] [--scratch FOLDER] [--size 512MiB] [--saves 8]`. A model in training on
two ranks, fully sharded; each save is followed by the same bytes written plainly, through the cache and past it,
with fsync inside; the faster way is the roof. Below stands where the rest of a save's time went. The folder must lie on
the disk that is meant; it is removed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import msgspec
from common import Row, inverse, median, row, show

from clusters.filesystem import direct_alignment
from harness import children
from harness.statistics import Interval
from harness.units import parse_size, show_size
from microbench.checkpoint.state import Shape
from microbench.checkpoint.trial import Asked, Saved

RANKS, TARGET = 2, 0.9
LIMIT = 900.0  # s


def trial(engine: str, size: int, saves: int, scratch: str | None) -> Saved:
    """Saves and roofs in turn; what the first rank returned."""
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        folder = Path(name)
        (folder / "checkpoints").mkdir()
        asked = Asked(
            engine, Shape(size, sequence=16), str(folder / "checkpoints"), saves, 1, direct_alignment(folder) or 0
        )
        ended = children.run(
            children.Work("microbench.checkpoint.trial:save", asked, RANKS), folder / "world", LIMIT,
            lambda text: print(text, file=sys.stderr), f"{engine}, {show_size(size)}",
        )  # fmt: skip
        for one in ended:
            if not one.ok:
                raise SystemExit(one.reason)
        return msgspec.json.decode(ended[0].result, type=Saved)


def rows(engine: str, found: Saved) -> list[Row]:
    """The ratio held to the target, then each way of the roof, then each phase's share of the time."""
    durable = found.durable[1:]  # the first plans, and makes memory that later ones use again
    best = [min(ways) for ways in zip(*found.raw.values(), strict=True)][1:]
    held = [row(f"{engine}: roof", inverse((durable, best)), f"{median(durable):.3g} s a save", TARGET)]
    for way, seconds in found.raw.items():
        held.append(row(f"  against {way} writes alone", inverse((durable, seconds[1:]))))
    for part, seconds in found.phases.items():
        share = median(seconds[1:]) / median(durable)
        held.append(Row(f"  {part}, of its time", Interval(share, share, share), pairs=len(durable)))
    return held


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    parser.add_argument("--scratch", help="folder on the disk to measure")
    parser.add_argument("--size", type=parse_size, default=512 << 20, help="B of state over both ranks")
    parser.add_argument("--saves", type=int, default=8)
    parser.add_argument("--engine", action="append", help="dcp where none is named; can be repeated")
    asked = parser.parse_args()
    found = [r for e in asked.engine or ["dcp"] for r in rows(e, trial(e, asked.size, asked.saves, asked.scratch))]
    show(f"checkpoint of {show_size(asked.size)}: bandwidth of a save / of plain writes", found, asked.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
