"""One rank from job.json to its files, on a scripted platform."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import pytest

from harness import registry, worker
from harness.hardware import Cluster, Device, Node
from harness.job import Began, Event, Job, Measured, Started, read_reports
from harness.policy import Policy
from harness.store import Planned

HERE = Device("scripted", "cpu", "all of it", ("scripted",))


def events(folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: object) -> list[Event]:
    """What rank 0 wrote for a job of four cells."""
    folder.mkdir()
    job = Job(
        run="r", launch=0, modules=("harness_scripted",), platform="harness_scripted:platform", accelerator="cpu",
        cluster=Cluster("c", "C", "cpu", 1, HERE, Node(1)),
        cells=tuple(Planned("scripted.one", 1, {"m": m}) for m in range(4)),
        seed=3, policy=Policy(cap=1.0, warmup_cap=0.1), nodes=1, ranks_per_node=1, threads=1, timeout=1.0, command=(),
    )  # fmt: skip
    (folder / "job.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(job, **changes)))
    monkeypatch.setattr(worker, "_report_when_told_to_end", lambda progress: None)
    monkeypatch.setattr(worker, "end_with_parent", lambda: None)
    monkeypatch.setattr(registry, "_registered", {})
    monkeypatch.delitem(sys.modules, "harness_scripted", raising=False)
    assert worker.main(["--job", str(folder / "job.json"), "--out", str(folder)]) == 0
    assert read_reports(folder)[0].status == "done"
    lines = (folder / "results.jsonl").read_bytes().splitlines()
    return [msgspec.json.decode(line, type=Event) for line in lines]


def test_a_cell_that_is_visited_again_keeps_every_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = events(tmp_path / "a", monkeypatch, budget=60.0)
    assert isinstance(said[0], Started)
    began = [event for event in said if isinstance(event, Began)]
    assert sorted(event.cell for event in began if event.passing == 1) == [0, 1, 2, 3]
    again = [event.cell for event in began if event.passing > 1]
    assert again
    counts: dict[int, list[tuple[float, ...]]] = {}
    for event in said:
        if isinstance(event, Measured):
            counts.setdefault(event.cell, []).append(event.record.measurements[0].samples)
    first, second = counts[again[0]][:2]
    assert second[: len(first)] == first
    assert len(second) > len(first)


def test_each_launch_has_an_order_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    orders = {
        tuple(e.cell for e in events(tmp_path / str(n), monkeypatch, launch=n) if isinstance(e, Began))
        for n in range(4)
    }
    assert len(orders) > 1
