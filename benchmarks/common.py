"""What the ratio scripts share: a context on this machine, interleaved pairs, one table.

Each script prints what this project promises of itself, as ratios of medians measured side by side in ABBA order with
the 95 % interval of the median ratio. Nothing is asserted: a busy machine may miss a target.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from harness.statistics import Interval, ratio_interval


@dataclass(frozen=True)
class Row:
    """One ratio. least, most: the target; None where there is none on that side, or at all. within: it is met
    where the interval reaches it."""

    name: str
    ratio: Interval
    least: float | None = None
    most: float | None = None
    pairs: int = 0
    note: str = ""
    within: bool = False

    @property
    def target(self) -> str:
        if self.least is not None and self.most is not None:
            return f"{self.least:g} to {self.most:g}"
        return f">= {self.least:g}" if self.least is not None else f"<= {self.most:g}" if self.most is not None else "-"

    @property
    def met(self) -> bool | None:
        if self.least is None and self.most is None:
            return None
        low, high = (self.ratio.low, self.ratio.high) if self.within else (self.ratio.value, self.ratio.value)
        return (self.least or 0) <= high and low <= (self.most or float("inf"))


def abba(first: Callable[[], float], second: Callable[[], float], rounds: int) -> tuple[list[float], list[float]]:
    """Pairs measured in the order first, second, second, first: what drifts falls on both alike."""
    a: list[float] = []
    b: list[float] = []
    first(), second()
    for _ in range(rounds):
        a.append(first())
        b.append(second())
        b.append(second())
        a.append(first())
    return a, b


def row(name: str, pairs: tuple[Sequence[float], Sequence[float]], note: str = "",
        least: float | None = None, most: float | None = None, within: bool = False) -> Row:  # fmt: skip
    """The ratio of the first to the second of interleaved pairs."""
    return Row(name, ratio_interval(*pairs), least, most, len(pairs[0]), note, within)


def inverse(pairs: tuple[Sequence[float], Sequence[float]], amount: float = 1.0) -> tuple[Sequence[float], list[float]]:
    """Pairs whose ratio is that of rates: amount × second / first."""
    return [amount * value for value in pairs[1]], list(pairs[0])


def median(values: Sequence[float]) -> float:
    return float(np.median(values))


def wants_json(description: str | None) -> bool:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    return bool(parser.parse_args().json)


def show(title: str, rows: Sequence[Row], as_json: bool) -> None:
    load = os.getloadavg()[0]
    if as_json:
        entries = [asdict(entry) | {"target": entry.target, "met": entry.met} for entry in rows]
        print(json.dumps({"title": title, "load": load, "rows": entries}, indent=1))
        return
    width = max(len(entry.name) for entry in rows)
    print(f"{title}   (load {load:.1f})")
    for entry in rows:
        met = {True: "met", False: "MISSED", None: ""}[entry.met]
        i = entry.ratio
        print(f"  {entry.name:<{width}}  {i.value:6.3f}  [{i.low:.3f}, {i.high:.3f}]  n {entry.pairs:<3} "
              f"target {entry.target:<12} {met:<6} {entry.note}")  # fmt: skip
    sys.stdout.flush()
