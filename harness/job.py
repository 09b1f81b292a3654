"""What a parent asks of a launch, and what the ranks write back: the files between the two.

job.json holds a `Job`. Rank 0 appends `results.jsonl` (a `Began` before each cell, a `Measured` after
it); every rank writes one `rank-N.json` atomically when it ends, however it ends.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

import msgspec

from harness.hardware import Cluster
from harness.policy import Policy
from harness.records import Provenance, Record, Struct
from harness.store import Planned

RESULTS_FILE = "results.jsonl"


class Job(Struct, frozen=True):
    """One launch: all that a rank needs to know.

    modules register the benchmarks. platform is 'module:function', called with the job and giving a
    `harness.platform.Platform`. timing and assumptions are the same for a simulated cluster: functions
    of the cluster that give its model and what that takes for granted; else empty.
    """

    run: str
    launch: int
    modules: tuple[str, ...]
    platform: str
    accelerator: str
    cluster: Cluster
    cells: tuple[Planned, ...]
    seed: int
    policy: Policy
    nodes: int
    ranks_per_node: int
    threads: int  # per rank
    timeout: float  # s, of one collective
    command: tuple[str, ...]
    budget: float | None = None  # s, for this launch
    timing: str = ""
    assumptions: str = ""
    scratch: str = ""  # folder for what cells write; the parent makes and removes it
    kept: str = ""  # folder of the run for what outlasts a launch; a resumed run finds it again

    @property
    def world(self) -> int:
        return self.nodes * self.ranks_per_node


class Began(Struct, frozen=True, tag="began", tag_field="event"):
    """Rank 0 starts a cell; `passing` counts visits, from 1."""

    cell: int
    passing: int


class Measured(Struct, frozen=True, tag="measured", tag_field="event"):
    """A cell's record so far; a later one for the same cell replaces it."""

    cell: int
    record: Record


class Started(Struct, frozen=True, tag="started", tag_field="event"):
    """All ranks are there."""

    provenance: Provenance


class Said(Struct, frozen=True, tag="said", tag_field="event"):
    """What a cell that takes long is at; a sign of life."""

    text: str


Event = Started | Began | Measured | Said


class RankReport(Struct, frozen=True):
    """How one rank ended, and where it ran."""

    rank: int
    local: int
    host: str
    pid: int
    status: Literal["done", "failed", "ended"]
    device: str = ""
    cell: int | None = None  # being measured when it ended
    reason: str = ""


def kept_folder(kept: str, cell: Planned, launch: int) -> Path:
    """Where one cell of one launch keeps what it would lose in an interruption. Named by all that its work depends
    on, so that nothing of another cell, or of another version, is ever taken up."""
    asked = msgspec.json.encode((cell.benchmark, cell.version, cell.params, launch), order="deterministic")
    return Path(kept) / f"{cell.benchmark}-{hashlib.sha256(asked).hexdigest()[:16]}"


def rank_file(folder: Path, rank: int) -> Path:
    return folder / f"rank-{rank:05d}.json"


def read_reports(folder: Path) -> dict[int, RankReport]:
    """Reports by rank; a rank without one is missing."""
    reports = (msgspec.json.decode(path.read_bytes(), type=RankReport) for path in folder.glob("rank-*.json"))
    return {report.rank: report for report in reports}
