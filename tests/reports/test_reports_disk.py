"""The disk's part of the offload chapter: shares of fio, curves, a long write and contention, from known numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
import reports_synthetic as synthetic

from harness.hardware import Cluster, Device, Link, Node
from harness.records import Better, Cadence, FoundDevice, Measurement, Ok, Origin, Params, Rate, Record
from harness.store import Run
from harness.units import Unit
from reports.chapters.offload import chapter, io
from reports.chapters.offload.stream import part
from reports.model import Chapter, Table
from reports.subject import Subject

KIB, MIB = 1 << 10, 1 << 20
NOISE = synthetic.Noise(3, 0.01)


def cell(engine: str, rate: float, op: str = "read", block: int = MIB, depth: int = 32, **more: object) -> Record:
    size = 64 * MIB
    params: Params = {"op": op, "engine": engine, "size": size, "block": block, "depth": depth, "threads": 1,
                      "pinned": True, "layout": "own", "writers": 1, "direct": True, **more}  # type: ignore[dict-item]  # fmt: skip
    rates = (Rate("bandwidth", float(size), Unit.BYTE_PER_SECOND),)
    return synthetic.record("offload.io", params, Ok(), [NOISE.time(Cadence.ISOLATED, size / rate, rates, 20, 1)])


def measurement(metric: str, unit: Unit, samples: Sequence[float], part: str = "") -> Measurement:
    rates = (Rate("bandwidth", 32.0 * MIB, Unit.BYTE_PER_SECOND),) if part else ()
    return Measurement(metric, unit, Better.LOWER, tuple(samples), Origin.MEASURED, rates=rates,
                       params={"part": part} if part else {})  # fmt: skip


def long_write(burst: int = 20, steady: int = 40) -> Record:
    fast, slow = NOISE.samples(0.01, burst), NOISE.samples(0.03, steady)
    held = [
        measurement("chunk", Unit.SECOND, slow, "steady"),
        measurement("chunk", Unit.SECOND, (*fast, *slow), "series"),
    ]
    if burst:
        held += [
            measurement("chunk", Unit.SECOND, fast, "burst"),
            measurement("change", Unit.BYTE, [burst * 32.0 * MIB]),
        ]
    params: Params = {
        "size": (burst + steady) * 32 * MIB,
        "chunk": 32 * MIB,
        "block": MIB,
        "threads": 8,
        "direct": True,
    }
    return synthetic.record("offload.sustained", params, Ok(), held)


def beside() -> Record:
    params: Params = {
        "op": "read",
        "direction": "host",
        "size": 128 * MIB,
        "copied": 64 * MIB,
        "block": MIB,
        "threads": 8,
    }
    held = [
        measurement("disk_slowdown", Unit.RATIO, NOISE.samples(1.4, 9)),
        measurement("copy_slowdown", Unit.RATIO, NOISE.samples(1.2, 9)),
        measurement("disk_alone.isolated", Unit.SECOND, NOISE.samples(0.05, 9)),
        measurement("copy_alone.isolated", Unit.SECOND, NOISE.samples(0.01, 9)),
    ]
    return synthetic.record("offload.contention", params, Ok(), held)


def subject(records: Sequence[Record]) -> Subject:
    cluster = Cluster("one", "One", "cpu", 1, Device("A processor", "cpu", "all cores", ()),
                      Node(1, Link("shared memory", "host memory")))  # fmt: skip
    device = FoundDevice("A processor", "cpu", 0, 24 << 30, {"cores": "2"})
    held = synthetic.provenance(cluster, (device,), 1, 1, "gloo", {"bench": "0.1.0"})
    run: Run = synthetic.run(synthetic.info(cluster, records, "quick", 1), records, held)
    return Subject(run, "r1")


def made(records: Iterator[Record] | Sequence[Record]) -> Chapter:
    held = subject(list(records))
    return chapter(held, held.measured)


def table(held: Chapter, identifier: str) -> Table:
    return next(one for one in held.tables if one.identifier == f"r1-{identifier}")


def test_each_engine_has_its_share_of_the_faster_fio() -> None:
    held = table(made([cell("uring", 1.9e9), cell("fio", 2e9), cell("fio_uring", 1e9), cell("aio", 1e9)]), "disk")
    ((title, rows),) = [(group.title, group.rows) for group in held.groups]
    assert title == "read, 64\u00a0MiB in blocks of 1\u00a0MiB, 32 in flight"
    assert [row[0].main for row in rows] == ["fio, libaio", "io_uring", "DeepSpeed aio", "fio, io_uring"] or [
        row[0].main for row in rows
    ] == ["fio, libaio", "io_uring", "fio, io_uring", "DeepSpeed aio"]
    assert rows[0][3].main == "100\u00a0%"
    assert 93 < float(rows[1][3].main.split("\u00a0")[0]) < 97


@pytest.mark.parametrize(
    "other",
    [{"op": "write"}, {"block": 128 * KIB}, {"depth": 8}, {"writers": 2}, {"layout": "shared"}, {"direct": False}],
)
def test_a_number_is_never_held_against_another_settings_fio(other: dict[str, object]) -> None:
    held = table(made([cell("uring", 1.9e9), cell("fio", 2e9, **other)]), "disk")  # type: ignore[arg-type]
    (alone,) = (row for group in held.groups for row in group.rows if row[0].main == "io_uring")
    assert alone[3].main == "–"


def test_threads_and_depth_count_together() -> None:
    held = table(made([cell("positional", 1e9, depth=1, threads=32), cell("fio", 2e9)]), "disk")
    assert [row[0].main for row in held.groups[0].rows] == ["fio, libaio", "positional, 32 threads"]
    assert len(held.groups) == 1


def test_what_is_not_the_usual_is_said() -> None:
    rows = table(made([cell("aio", 1e9, pinned=False), cell("positional", 5e9, direct=False, cached=True)]), "disk")
    names = {row[0].main for group in rows.groups for row in group.rows}
    assert names == {"DeepSpeed aio, bounce buffer", "positional, 1 thread, from cache"}
    assert any("through the system's cache" in group.title for group in rows.groups)


def test_curves_over_blocks_and_depths_are_drawn_where_there_are_several() -> None:
    assert made([cell("uring", 1e9), cell("fio", 2e9)]).pictures == ()
    blocks = [cell("uring", 1e9 * block / MIB, block=block) for block in (128 * KIB, 256 * KIB, MIB)]
    depths = [cell("uring", 1e8 * depth, depth=depth) for depth in (1, 8)]
    names = [picture.identifier for picture in made([*blocks, *depths]).pictures]
    assert names == ["r1-disk-block-size", "r1-disk-requests-in-flight"]


def test_a_long_write_names_burst_steady_state_and_place() -> None:
    held = made([long_write()])
    (picture,) = held.pictures
    assert "The first 640\u00a0MiB went at 3" in picture.caption
    assert "and the last stretch at 1.1" in picture.caption
    steady = part(subject([long_write()]).measured[0], "steady")
    assert steady is not None
    assert steady.interval.value == pytest.approx(32 * MIB / 0.03, rel=0.02)


def test_a_long_write_at_one_level_says_so() -> None:
    (picture,) = made([long_write(burst=0)]).pictures
    assert "No burst: the last level, 1.1" in picture.caption


def test_contention_names_what_runs_beside_and_both_slow_downs() -> None:
    held = table(made([beside()]), "disk-contention")
    (row,) = held.groups[0].rows
    assert (row[0].main, row[0].sub) == ("read 128\u00a0MiB", "copy in the host's memory, 64\u00a0MiB")
    assert row[2].main.startswith("1.4")
    assert row[4].main.startswith("1.2")
    assert "the copies are within its memory" in held.caption


def test_requests_in_flight_are_those_of_all_threads() -> None:
    assert io.flight({"depth": 4, "threads": 8}) == 32
    assert io.flight({}) == 1
