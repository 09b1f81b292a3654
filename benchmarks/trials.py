"""What the scripts that plant faults share: how a trial's outcome is counted and shown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from harness.outliers import Findings

TRIALS, SLOWER = 20, 1.2
FOUND, ALARMS = 19, 1  # of TRIALS: at least, at most

Where = tuple[str, tuple[int, ...]]


@dataclass(frozen=True)
class Row:
    """What came of the trials of one kind; None where the kind was not tried."""

    name: str
    found: int | None
    alarms: int | None
    smallest: float | None = None

    @property
    def met(self) -> bool:
        return (self.found is None or self.found >= FOUND) and (self.alarms is None or self.alarms <= ALARMS)


def named(found: Findings) -> list[Where]:
    return [(fault.kind, fault.where) for fault in found.faults]


def said(found: Findings) -> str:
    return ", ".join(fault.label for fault in found.faults) or "nothing"


def show(rows: Sequence[Row], as_json: bool) -> None:
    if as_json:
        print(json.dumps([asdict(row) | {"met": row.met} for row in rows], indent=1))
        return
    print(f"detectors: found and named, and alarms without a fault, of {TRIALS} trials each")
    for row in rows:
        least = f"smallest found 9 times in 10: {100 * (row.smallest - 1):.0f} %" if row.smallest else ""
        print(f"  {row.name:<34} found {row.found:>2} (target {FOUND})  alarms {row.alarms:>2} (at most {ALARMS})  "
              f"{'met' if row.met else 'MISSED':<6} {least}")  # fmt: skip
