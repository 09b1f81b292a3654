"""The memory chapter: plateaus by cache, threads compared, orders, latency and copies, from curves that are known."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import pytest
import reports_synthetic as synthetic
from msgspec import structs

from harness.hardware import Cluster, Device, Link, Node, Peak
from harness.records import Cadence, Evidence, FoundDevice, Ok, Params, Rate, Record
from harness.statistics import Interval
from harness.store import Run
from harness.units import Unit
from reports.chapters.memory import chapter, ratios, settings
from reports.model import Chapter, Table
from reports.subject import Subject

KIB, MIB = 1 << 10, 1 << 20
LEVELS = ((96 * KIB, 2e11), (4 * MIB, 8e10), (64 * MIB, 3e10), (math.inf, 1e10))  # of both threads
PAST = "non-temporal stores: lines go past the caches"
NOISE = synthetic.Noise(7, 0.01)


def taken(benchmark: str, params: Params, moved: float, rate: float, flags: tuple[str, ...] = ()) -> Record:
    one = NOISE.time(Cadence.STREAMING, moved / rate, (Rate("bandwidth", moved, Unit.BYTE_PER_SECOND),), 40, 1)
    one = structs.replace(one, evidence=Evidence(flags=flags))
    return synthetic.record(benchmark, params, Ok(), [one])


def sweeps(kernel: str, threads: int, speed: float) -> Iterator[Record]:
    """One thread has one of the two L1 and L2 caches, and the whole L3."""
    for size in synthetic.powers(14, 29):
        private = 2 if threads == 1 else 1
        held = next(rate for end, rate in LEVELS if size <= (end / private if end <= 4 * MIB else end))
        params: Params = {"op": "triad", "dtype": "float32", "size": size, "kernel": kernel, "threads": threads}
        flags = (PAST,) if kernel == "compiled" and size > 64 * MIB else ()
        yield taken("memory.stream", params, size, held * speed, flags)


def orders() -> Iterator[Record]:
    common: Params = {"size": 64 * MIB, "piece": 64, "kernel": "compiled", "threads": 0}
    for stride, rate in ((64, 2e10), (256, 1.5e10), (4096, 5e9)):
        yield taken("memory.strided", common | {"stride": stride}, 64 * MIB, rate)
    yield taken("memory.random", common, 64 * MIB, 4e9)


def copies() -> Iterator[Record]:
    for direction, pinned, rate in (("h2d", True, 5e10), ("d2h", True, 4e10), ("both", True, 7.2e10),
                                    ("h2d", False, 1e10)):  # fmt: skip
        params: Params = {"size": 64 * MIB, "direction": direction, "pinned": pinned}
        yield taken("memory.transfer", params, 64 * MIB, rate)


def loads() -> Iterator[Record]:
    for size in synthetic.powers(13, 29):
        time = next(t for end, t in ((48 * KIB, 1e-9), (2 * MIB, 5e-9), (64 * MIB, 2e-8), (math.inf, 1e-7))
                    if size <= end)  # fmt: skip
        measurement = NOISE.time(Cadence.STREAMING, time, (), 40, 1)
        yield synthetic.record("memory.latency", {"size": size}, Ok(), [measurement])


def subject(records: Sequence[Record]) -> Subject:
    """One rank on two cores."""
    peak = Peak(4e10, Unit.BYTE_PER_SECOND, "two channels", "a document")
    cluster = Cluster("one", "One", "cpu", 1, Device("A processor", "cpu", "all cores", (), bandwidth=peak),
                      Node(1, Link("shared memory", "host memory")))  # fmt: skip
    details = {"cores": "2", "caches": "L1d 2 x 48 KiB, L2 2 x 2 MiB, L3 1 x 64 MiB"}
    device = FoundDevice("A processor", "cpu", 0, 24 << 30, details)
    held = synthetic.provenance(cluster, (device,), 1, 1, "gloo", {"bench": "0.1.0"})
    run: Run = synthetic.run(synthetic.info(cluster, records, "quick", 1), records, held)
    return Subject(run, "r1")


def made(records: Iterator[Record] | Sequence[Record]) -> Chapter:
    held = subject(list(records))
    return chapter(held, held.measured)


def table(found: Chapter, name: str) -> Table:
    return next(table for table in found.tables if table.identifier == f"r1-{name}")


@pytest.fixture(scope="module")
def swept() -> Chapter:
    return made([*sweeps("torch", 0, 0.7), *sweeps("compiled", 1, 0.5), *sweeps("compiled", 0, 1.0)])


def test_plateaus_are_named_by_the_caches_that_take_part(swept: Chapter) -> None:
    groups = {group.title: group.rows for group in table(swept, "plateaus").groups}
    assert list(groups) == [f"float32, {how}" for how in ("compiled, all threads", "compiled, 1 thread",
                            "torch")]  # fmt: skip
    every, one, _ = groups.values()
    assert [row[1].main for row in every] == ["L1d", "L2", "L3", "memory"]
    assert [row[2].main.replace("\xa0", " ") for row in every][:2] == ["16 KiB to 64 KiB", "128 KiB to 4 MiB"]
    assert [row[2].main.replace("\xa0", " ") for row in one][:2] == ["16 KiB to 32 KiB", "64 KiB to 2 MiB"]
    assert every[3][3].main.startswith("9.9")
    assert every[0][5].main == "16\xa0KiB"


def test_too_few_sizes_have_no_plateaus() -> None:
    few = [r for r in sweeps("torch", 0, 1.0) if int(str(r.params["size"])) in (1 << 15, 1 << 16, 1 << 28)]
    assert not [table for table in made(few).tables if "plateaus" in table.identifier]


def test_threads_are_compared_where_both_ran(swept: Chapter) -> None:
    first, second = swept.pictures
    assert first.identifier == "r1-memory-float32"
    assert first.alt.index("compiled, all threads") < first.alt.index("compiled, 1 thread") < first.alt.index("torch")
    assert "triad 2.0" in second.caption
    assert len(made(sweeps("compiled", 0, 1.0)).pictures) == 1


def test_the_caches_of_one_thread_are_one_core_s() -> None:
    held = subject(list(sweeps("compiled", 1, 1.0)))
    assert settings.taking_part(held, 1) == {"L1d": 48 * KIB, "L2": 2 * MIB, "L3": 64 * MIB}
    assert settings.taking_part(held, 0) == {"L1d": 96 * KIB, "L2": 4 * MIB, "L3": 64 * MIB}


def test_stores_past_the_caches_are_said(swept: Chapter) -> None:
    assert "compiled loops that write use non-temporal stores for working sets of 128 MiB" in swept.remarks[0]
    assert not made(sweeps("torch", 0, 1.0)).remarks


def test_orders_are_shares_of_what_is_in_order() -> None:
    (group,) = table(made(orders()), "pieces").groups
    assert "a stride of one piece" in group.title
    shares = {row[0].main.replace("\xa0", " "): float(row[3].main.split("\xa0")[0]) for row in group.rows}
    assert list(shares) == ["in order", "every 256 B", "every 4 KiB", "random"]
    assert shares["random"] == pytest.approx(20, rel=0.05)
    assert shares["every 4 KiB"] == pytest.approx(25, rel=0.05)


def test_without_a_dense_stride_the_copy_of_a_stream_stands_in() -> None:
    stream: Params = {"op": "copy", "dtype": "float32", "size": 64 * MIB, "kernel": "compiled", "threads": 0}
    scattered = list(orders())[-1]
    (group,) = table(made([scattered, taken("memory.stream", stream, 64 * MIB, 1e10)]), "pieces").groups
    assert "memory.stream's copy" in group.title
    assert group.rows[0][3].main.startswith(("39", "40", "41"))
    (group,) = table(made([scattered]), "pieces").groups
    assert "nothing in order" in group.title
    assert group.rows[0][3].main == "–"


def test_latency_is_level_in_each_cache() -> None:
    (picture,) = made(loads()).pictures
    assert picture.identifier == "r1-memory-latency"
    places = [picture.caption.index(f"{name} ") for name in ("L1d", "L2", "L3", "memory")]
    assert places == sorted(places)
    assert "Vertical lines: L1d 48 KiB, L2 2 MiB and L3 64 MiB" in picture.alt


def test_both_ways_at_once_against_each_alone() -> None:
    found = made(copies())
    ways = [column.title for column in table(found, "memory-transfers").columns if column.title not in ("Size", "95 %")]
    assert ways == ["to device, pageable", "to device, pinned", "from device, pinned", "both ways, pinned"]
    (row,) = table(found, "memory-both").groups[0].rows
    assert float(row[4].main.split("\xa0")[0]) == pytest.approx(80, rel=0.03)
    one = made([r for r in copies() if r.params["direction"] != "both"])
    assert not [table for table in one.tables if table.identifier == "r1-memory-both"]


def test_memory_nodes_are_a_map() -> None:
    record = taken("memory.numa", {"op": "read", "size": 256 * MIB, "dtype": "float32"}, 256 * MIB, 1e10)
    measured = [structs.replace(record.measurements[0], params={"cores": cores, "memory": memory})
                for cores in (0, 1) for memory in (0, 1)]  # fmt: skip
    found = made([structs.replace(record, measurements=tuple(measured))])
    (held,) = found.tables
    assert [row[0].main for row in held.groups[0].rows] == ["0", "1"]
    assert [column.title for column in held.columns][1::2] == ["memory 0", "memory 1"]


def test_intervals_of_a_ratio_and_a_sum_add_in_squares() -> None:
    one, other = Interval(8.0, 8 / math.exp(0.03), 8 * math.exp(0.03)), Interval(2.0, 2 / math.exp(0.04), 2.0)
    found = ratios.ratio(one, other)
    assert found.value == 4
    assert math.log(found.value / found.low) == pytest.approx(0.03)  # other's upper end is its value
    assert math.log(found.high / found.value) == pytest.approx(0.05)
    assert ratios.total(Interval(10, 7, 13), Interval(20, 16, 21)) == Interval(30, 25, 30 + math.hypot(3, 1))
