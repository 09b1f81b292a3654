"""What a report is told of each curve: its model, and what the declared hardware should give."""

from __future__ import annotations

import pytest

from bench.curves import Trace
from bench.expectations import _expected, _model
from clusters import definition, local
from costmodels.segments import Point
from harness.hardware import Cluster
from harness.records import Cadence, Origin
from reports.chapters.collectives.models import verdict

MIB = 2**20


def trace(rate: float, latency: float = 25e-6, **params: object) -> Trace:
    """An all-reduce over 8 ranks that follows α–β exactly."""
    factor = 2 * 7 / 8
    sizes = [2.0**power for power in range(10, 31, 2)]
    points = tuple(Point(size, time, 0.99 * time, 1.01 * time) for size in sizes
                   for time in [latency + size * factor / rate])  # fmt: skip
    held = {"ranks": 8, "placement": "packed", "groups": 1, "dtype": "float32", "reduction": "sum"} | params
    return Trace("collectives.all_reduce", held, Cadence.STREAMING, Origin.MEASURED, factor, points)


@pytest.fixture(scope="module")
def mi300x() -> Cluster:
    return definition.load("mi300x")


@pytest.mark.parametrize(("rate", "latency", "says"), [
    (316e9, 25e-6, "yes: "),
    (220e9, 25e-6, "low: "),
    (316e9, 90e-6, "latency "),
    (440e9, 25e-6, "above expected: "),
])  # fmt: skip
def test_a_curve_is_judged_by_what_the_declared_links_should_give(
    mi300x: Cluster, rate: float, latency: float, says: str
) -> None:
    said, why = verdict(_model(mi300x, trace(rate, latency)))
    assert says in said
    assert "published runs reach" in why


def test_between_nodes_no_latency_is_expected_and_a_rail_is_slower(mi300x: Cluster) -> None:
    ends = (1024.0, 1024.0 * MIB)
    inside, across = (_expected(mi300x, trace(1e11, ranks=ranks), ends) for ranks in (8, 16))
    assert inside.time is not None
    assert across.time is None
    rail = _expected(mi300x, trace(1e11, placement="rail", ranks=16), ends)
    assert rail.rate is not None
    assert across.rate is not None
    assert rail.rate < across.rate / 4


def test_where_nothing_is_known_it_cannot_be_told() -> None:
    said, why = verdict(_model(local.detect(), trace(1e9)))
    assert said == "cannot be told"
    assert "gloo" in why
